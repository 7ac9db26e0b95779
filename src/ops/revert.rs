//! Revert: a leaf starts anew under the same name, as empty as it was when it was made. What it held goes to
//! the trash and can take its place again. The new overlay is whole before the old file moves. The two change
//! places in one step; where the filesystem has none, the old file goes first, and for an instant nothing has the
//! name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Forest, Node};
use crate::host::{Access, FileId, Host, LockSet, copy_attributes, io_text, printable};
use crate::image::{self, Encryption, Preallocation, Qcow2Options, temporary_name};
use crate::units::size;

use super::branch::{self, BranchJob};
use super::discard::{
    add_image, check_use, look_up, own_names, refuse_without_name, warn_of_losses,
};
use super::framework::built_on::BuiltOn;
use super::framework::copy_file::folder;
use super::framework::eligibility::refuse_as_data_file;
use super::framework::format::{command, listed, name, shown};
use super::framework::locked_host::LockedHost;
use super::framework::locks::Locking;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::{Compare, FileVersion};
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::trash::{Batch, TrashItem};
use super::framework::{backing_format, backing_name, may_write, new_image, space};
use super::restore::say_what_became_of_bases;
use super::{
    Branch, CommandLine, EffectKind, EncryptionOption, Error, GuestFate, ImageOptions, Note,
    NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Remedy, Request, Undo, WayOut, trash,
};

/// Throw away what a leaf holds and start it anew under the same name, or take that back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revert {
    /// The leaf.
    pub image: PathBuf,
    /// The trash's entry whose content it has then; none to start anew.
    #[serde(default)]
    pub to: Option<String>,
    /// What it is made as when it starts anew. The plan finds it and the journal keeps it, since an
    /// interrupted revert may have to be finished when the old image is in the trash: with both, it starts anew,
    /// and has its owner and mode from what the entry keeps.
    #[serde(default)]
    pub anew: Option<Box<Branch>>,
}

impl Revert {
    /// To start this leaf anew.
    #[must_use]
    pub fn anew(image: PathBuf) -> Self {
        Self {
            image,
            to: None,
            anew: None,
        }
    }

    /// The trash's entry that holds what the image was before an interrupted revert.
    fn before(&self, half: &Half<'_>) -> Option<String> {
        if let Some(found) = half.entry_of_file(&self.image) {
            return found;
        }
        let image = std::slice::from_ref(&self.image);
        let of = |reason| {
            let mut batches = half.batches(image, Some(reason)).into_iter();
            // What was to come back may have gone there in the same second.
            batches.find(|batch| Some(batch) != self.to.as_ref())
        };
        of("revert").or_else(|| of("undo"))
    }
}

impl Operation for Revert {
    fn name(&self) -> &'static str {
        "revert"
    }

    fn verb(&self) -> &'static str {
        "Revert"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        if let Some(entry) = &mut self.to {
            visit(Name::TrashEntry(entry));
        }
        if let Some(branch) = &mut self.anew {
            branch.each_name(visit);
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new(&["revert"]).path(&self.image);
        Some(line.option("--to", self.to.as_ref()))
    }

    fn plan(&self, plan: &mut Plan) {
        match (&self.to, &self.anew) {
            (None, _) => plan_anew(plan, &self.image),
            (Some(entry), None) => plan_back(plan, &self.image, entry),
            (Some(entry), Some(branch)) => plan_rest(plan, &self.image, entry, branch),
        }
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        match (half.is_there(&self.image), self.before(half)) {
            (true, None) => Way::Ask(self.clone().into()),
            (true, Some(before)) => Way::Nothing(format!(
                "{} has its new content, and the old one is in the trash ({before})",
                name(&self.image)
            )),
            (false, Some(before)) => match (&self.to, &self.anew) {
                (Some(entry), _) => Way::Ask(Request::restore(vec![entry.clone()])),
                (None, Some(branch)) => Way::Ask(
                    Self {
                        image: self.image.clone(),
                        to: Some(before),
                        anew: Some(branch.clone()),
                    }
                    .into(),
                ),
                (None, None) => Way::Impossible(format!(
                    "what {} was to become was not written down: roll it back, then ask again",
                    name(&self.image)
                )),
            },
            (false, None) => Way::Impossible(format!(
                "{} is neither at its place nor in the trash: how far it came cannot be told",
                shown(&self.image)
            )),
        }
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        let Some(before) = self.before(half) else {
            return Way::Nothing(format!("{} is as it was", name(&self.image)));
        };
        Way::Ask(match half.is_there(&self.image) {
            true => back_to(&self.image, before),
            false => Request::restore(vec![before]),
        })
    }
}

fn back_to(image: &Path, entry: String) -> Request {
    Revert {
        image: image.to_path_buf(),
        to: Some(entry),
        anew: None,
    }
    .into()
}

/// Plans to start the leaf anew.
fn plan_anew(plan: &mut Plan, image: &Path) {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    plan.title = format!("Revert {}", name(image));
    let Some((node, item)) = leaf(plan, forest, image) else {
        return;
    };
    let Some(branch) = what_anew(plan, forest, node) else {
        return;
    };
    let base = node.parent.and_then(|id| forest.get(id));
    let (Some(base), Some(backing), Some(disk)) = (base, &node.backing, branch.size) else {
        return plan.refuse(
            RefusalKind::NotFound,
            format!("what {} is built on is not known", shown(&node.path)),
        );
    };
    if branch::base_info(plan, forest, base, &branch.base, None, branch.size).is_none() {
        return;
    }
    // As it records it: what the base looks like may be its guest's doing.
    let Some(format) = backing_format::recorded(plan, node, base) else {
        return;
    };
    let recorded = (backing.name().to_os_string(), format.clone());
    let Some(made) = new_image::options(plan, image, disk, Some(recorded), &branch.image) else {
        return;
    };
    space::need_in(plan, folder(&node.path), made.len.image_blocks);
    plan.effect(
        EffectKind::Creates,
        &node.path,
        Some(made.len.image_blocks),
        format!(
            "anew: {}, a disk of {}, built on {} ({format}), which shows what {} shows",
            size(made.len.image_blocks),
            size(disk),
            printable(backing.name()),
            name(&base.path)
        ),
    );
    new_image::describe_encryption(plan, &made);
    let on = BuiltOn::ask(plan, &branch.base, image, branch::watch(&format));
    plan.undo = Undo::Possible(
        "what it holds now comes back from the trash, until that is emptied".to_owned(),
    );
    push_commands(plan, node, &made.options);
    let below = forest.chain(node.id).into_iter().skip(1);
    let below = below.filter_map(|id| forest.get(id));
    let below = below.map(|node| node.path.clone()).collect();
    plan.request = Request::Revert(Revert {
        image: node.path.clone(),
        to: None,
        anew: Some(Box::new(branch)),
    });
    plan.job = Some(Arc::new(RevertJob {
        item,
        content: Content::Anew {
            options: Box::new(made.options),
            on,
            below,
        },
    }));
}

/// The node and its way to the trash, if it is a leaf that nothing uses and that may go.
fn leaf<'f>(plan: &mut Plan, forest: &'f Forest, image: &Path) -> Option<(&'f Node, TrashItem)> {
    let host = Arc::clone(&plan.context().host);
    let node = match look_up(host.as_ref(), forest, image) {
        Ok(node) => node,
        Err(sentence) => {
            plan.refuse_for(sentence);
            return None;
        }
    };
    if !own_names(host.as_ref(), node).contains(&node.path) {
        refuse_without_name(plan, host.as_ref(), node);
        return None;
    }
    let children: Vec<String> = node
        .children
        .iter()
        .filter_map(|id| forest.get(*id))
        .map(|child| name(&child.path))
        .collect();
    if !children.is_empty() {
        plan.refuse(
            RefusalKind::HasDependants,
            format!(
                "{} is built on {}, and shows what that holds: only a leaf is reverted",
                listed(&children, 5),
                name(&node.path)
            ),
        );
        return None;
    }
    let others: Vec<String> = node.other_names.iter().map(|path| shown(path)).collect();
    if !others.is_empty() {
        plan.note(
            NoteKind::OtherNames,
            format!(
                "{} is another name of the file: one that is no link keeps what it shows",
                listed(&others, 4)
            ),
        );
    }
    let all_names: Vec<PathBuf> = std::iter::once(&node.path)
        .chain(&node.other_names)
        .cloned()
        .collect();
    let mut items = Vec::new();
    let names = [node.path.clone()];
    add_image(
        plan,
        node,
        &names,
        "its content before a revert",
        0,
        &mut items,
    );
    check_use(plan, &node.path);
    warn_of_losses(plan, forest, node, &all_names);
    refuse_as_data_file(plan, forest, node, "reverted");
    plan.concerns_files(node, GuestFate::Go);
    may_write::refuse_folder(plan, host.as_ref(), folder(&node.path));
    let mut item = items.into_iter().next()?;
    // What is new waits in its place.
    item.file = FileVersion::now(host.as_ref(), &node.path).ok();
    Some((node, item))
}

/// What the leaf is made as, by what it is now.
fn what_anew(plan: &mut Plan, forest: &Forest, node: &Node) -> Option<Branch> {
    let path = shown(&node.path);
    let Some(info) = node.info() else {
        plan.refuse(RefusalKind::Unsupported, format!(
            "{path} is no qcow2 image that can be read: discard it, and create a branch of that name"
        ));
        return None;
    };
    let (Some(_), Some(base)) = (&node.backing, forest.leads_to(node)) else {
        plan.refuse(RefusalKind::NotInChain, format!(
            "{path} is built on nothing: anew it would be an empty disk. Discard it, and create one"
        ));
        return None;
    };
    if info.external_data {
        plan.refuse(RefusalKind::Unsupported, format!(
            "{path} keeps its data in a file of its own: discard it, and create a branch of that name"
        ));
        return None;
    }
    if !info.unknown_features.is_empty() || info.encryption == Some(Encryption::Aes) {
        plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{path} has features that a new image cannot be given here: discard it, and create a branch of that \
                 name"
            ),
        );
        return None;
    }
    Some(Branch {
        base: base.to_path_buf(),
        new: node.path.clone(),
        format: None,
        size: Some(info.virtual_size),
        style: backing_name::style_of(node.backing.as_ref()?.name()),
        image: ImageOptions {
            format: options_of(node)?,
            data_file: None,
            encryption: (info.encryption == Some(Encryption::Luks)).then(EncryptionOption::default),
        },
    })
}

/// What a new image is to be made with so that it has the features of this one; none of one that is not qcow2.
pub(super) fn options_of(node: &Node) -> Option<Qcow2Options> {
    let info = node.info()?;
    Some(Qcow2Options {
        cluster_bits: info.cluster_size.checked_ilog2()?,
        refcount_order: info.refcount_bits.checked_ilog2()?,
        extended_l2: info.extended_l2,
        old_version: info.version == 2,
        lazy_refcounts: info.lazy_refcounts,
        compression: info.compression,
        preallocation: Preallocation::Off,
    })
}

/// The same with qemu-img: the old file is moved by hand.
fn push_commands(plan: &mut Plan, node: &Node, options: &image::CreateOptions) {
    let Some((recorded, format)) = &options.backing else {
        return;
    };
    let mut old = node.path.clone().into_os_string();
    old.push(".old");
    plan.commands.push(command(&[
        "mv".into(),
        node.path.clone().into_os_string(),
        old,
    ]));
    let mut words = ["qemu-img", "create", "-f", "qcow2", "-F"]
        .map(Into::into)
        .to_vec();
    words.extend([format.name().into(), "-b".into(), recorded.clone()]);
    words.extend(new_image::qemu_secret(options));
    if let Some(options) = new_image::qemu_options(options) {
        words.extend(["-o".into(), options]);
    }
    words.extend([node.path.clone().into(), options.size.to_string().into()]);
    plan.commands.push(command(&words));
}

/// Plans to give the leaf the content that the trash keeps.
fn plan_back(plan: &mut Plan, image: &Path, entry: &str) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let forest = context.forest.as_ref();
    plan.title = format!("Revert {} to what the trash keeps", name(image));
    let Some((node, item)) = leaf(plan, forest, image) else {
        return;
    };
    let names = [entry.to_owned()];
    let dirs = context.looked_in.dirs();
    let (entries, _) = trash::find(host, context.state_dir.as_deref(), &dirs, &names);
    let [found] = entries.as_slice() else {
        return plan.refuse(
            RefusalKind::NotFound,
            format!("there is no {} in the trash", printable(entry)),
        );
    };
    let [file] = found.files.as_slice() else {
        return plan.refuse_but(
            RefusalKind::Invalid,
            format!("{} holds more than one file, or none", printable(entry)),
            vec![WayOut::restore(entry)],
        );
    };
    if file.original != node.path {
        return plan.refuse(
            RefusalKind::Invalid,
            format!(
                "{} holds {}, not {}",
                printable(entry),
                shown(&file.original),
                name(&node.path)
            ),
        );
    }
    plan.effect(
        EffectKind::Restores,
        &node.path,
        Some(file.bytes),
        format!("{}, as it was before", size(file.bytes)),
    );
    plan.counterpart(&file.kept_at);
    may_write::refuse_folder(plan, host, folder(&file.kept_at));
    say_what_became_of_bases(plan, &entries);
    plan.undo =
        Undo::Possible("what it holds now comes back, until the trash is emptied".to_owned());
    plan.beyond_qemu_img("the trash is a folder of this program");
    plan.job = Some(Arc::new(RevertJob {
        item,
        content: Content::Kept {
            entry: found.clone(),
            at: file.kept_at.clone(),
            file: file.file,
        },
    }));
}

/// Plans what is left of a revert that was interrupted when the image was in the trash and nothing had its name.
fn plan_rest(plan: &mut Plan, image: &Path, entry: &str, branch: &Branch) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let (names, dirs) = ([entry.to_owned()], context.looked_in.dirs());
    let (entries, _) = trash::find(host, context.state_dir.as_deref(), &dirs, &names);
    let mut files = entries.iter().flat_map(|entry| &entry.files);
    let Some(old) = files.find(|file| file.original == image) else {
        return plan.refuse(
            RefusalKind::NotFound,
            format!(
                "there is no {} in the trash that holds {}",
                printable(entry),
                name(image)
            ),
        );
    };
    let Some(job) = branch::plan_branch(plan, branch) else {
        return;
    };
    plan.job = Some(Arc::new(RestJob {
        branch: job,
        image: image.to_path_buf(),
        old: old.kept_at.clone(),
    }));
}

/// Makes the image with what the old one had, and then gives it its name.
#[derive(Debug)]
struct RestJob {
    branch: BranchJob,
    image: PathBuf,
    /// The old one, in the trash.
    old: PathBuf,
}

impl Job for RestJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let (host, image) = (plan.host(), &self.image);
        let BranchJob { overlay, on } = &self.branch;
        let (options, below) = (&overlay.options, &overlay.below);
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        on.hold(host, &mut locking)?;
        let locks = locking.settle(plan)?;
        let held = LockedHost::new(host, &locks).for_copies(below.clone(), false);
        let next = Next::anew(host, &held, image, &self.old, options, on, progress)?;
        progress.enter(Phase::Switch, 0);
        let named = host.rename_new_of(next.file, &next.path, image);
        named.map_err(|error| {
            let _ = host.remove_file(&next.path);
            Error::io("give its new content to", image, &error)
        })?;
        host.sync_dir(folder(image))
            .map_err(|error| Error::io("flush", folder(image), &error))?;
        let mut done = branch::created(image, vec![image.clone()]);
        done.remarks.extend(next.remarks);
        Ok(done)
    }
}

/// Gives a file the owner, mode and extended attributes of another; what cannot be kept of `image`, in sentences.
fn keep_attributes(host: &dyn Host, old: &Path, new: &Path, image: &Path) -> io::Result<Vec<Note>> {
    let old = host.open(old, Access::Read)?;
    let new = host.open(new, Access::ReadWrite)?;
    let lost = copy_attributes(&*old, &*new).lost;
    let lost = lost.iter().map(|lost| Note::not_kept(lost, &name(image)));
    Ok(lost.collect())
}

/// What takes the place of the image.
#[derive(Debug)]
enum Content {
    /// A new overlay.
    Anew {
        options: Box<image::CreateOptions>,
        on: BuiltOn,
        /// What it is built on, nearest first.
        below: Vec<PathBuf>,
    },
    /// A file of the trash.
    Kept {
        entry: trash::Entry,
        at: PathBuf,
        file: FileId,
    },
}

#[derive(Debug)]
struct RevertJob {
    item: TrashItem,
    content: Content,
}

impl Job for RevertJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        let image = &self.item.path;
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let _ = locking.take(host, image, Access::Read, LockSet::ReadWrite)?;
        if let Content::Anew { on, .. } = &self.content {
            on.hold(host, &mut locking)?;
        }
        let locks = locking.settle(plan)?;
        let next = match &self.content {
            Content::Anew { options, on, below } => {
                let held = LockedHost::new(host, &locks).for_copies(below.clone(), false);
                Next::anew(host, &held, image, image, options, on, progress)?
            }
            Content::Kept { entry, at, file } => {
                entry.require_unchanged(host)?;
                Next {
                    path: at.clone(),
                    file: *file,
                    remarks: Vec::new(),
                }
            }
        };
        match self.switch(plan, &next, progress) {
            Ok(outcome) => Ok(outcome),
            Err(error) => {
                if let Content::Anew { .. } = &self.content {
                    // Where it has the image's name by now this one is free.
                    let _ = host.remove_file(&next.path);
                }
                Err(error)
            }
        }
    }
}

impl RevertJob {
    /// The image goes to the trash, and what comes next gets its name.
    fn switch(&self, plan: &Plan, next: &Next, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        let image = &self.item.path;
        let state_dir = plan.context().state_dir.as_deref();
        let reason = plan.reason("revert");
        let batch = Batch::prepare(host, state_dir, reason, vec![self.item.clone()])?;
        let (mut kept, mut remarks) = (batch.name().to_owned(), batch.remarks().to_vec());
        let places: Vec<PathBuf> = batch.places().map(Path::to_path_buf).collect();
        progress.enter(Phase::Switch, 0);
        let mut touched = vec![image.clone(), next.path.clone()];
        touched.extend(places.iter().cloned());
        let has_moved = match self.exchange(host, next, &places, progress) {
            Ok(Exchange::Done) => true,
            Ok(Exchange::InOtherEntry(name)) => {
                kept = name;
                batch.give_up();
                false
            }
            Ok(Exchange::Impossible) => {
                batch.execute(progress)?;
                if let Err(error) = host.rename_new_of(next.file, &next.path, image) {
                    return Err(take_back(plan, image, &places, &kept, &error));
                }
                true
            }
            Err(error) => {
                batch.give_up();
                return Err(error);
            }
        };
        let mut folders = vec![folder(image), folder(&next.path)];
        folders.extend(places.iter().map(|place| folder(place)));
        if let Err(error) = folders.into_iter().try_for_each(|dir| host.sync_dir(dir)) {
            return Err(Error::failed(format!(
                "{} has its new content, and whether that outlives a power cut is not known: {error}. What it held \
                 is in the trash as {kept}",
                shown(image),
                error = io_text(&error)
            )));
        }
        remarks.extend(next.remarks.iter().cloned());
        let has = match &self.content {
            Content::Kept { entry, .. } => {
                if has_moved {
                    entry.clear(host, state_dir);
                }
                "has what it held before"
            }
            Content::Anew { .. } => "starts anew",
        };
        Ok(Outcome {
            summary: format!(
                "{} {has}; what it held until now is in the trash as {kept}",
                shown(image)
            ),
            touched,
            undo: Some(back_to(image, kept)),
            remarks,
        })
    }

    /// Has the image and what comes next change places in one step. What is new waits for it in the trash, and never
    /// beside the image: what is left there half made is taken away some time.
    fn exchange(
        &self,
        host: &dyn Host,
        next: &Next,
        places: &[PathBuf],
        progress: &Progress,
    ) -> Result<Exchange, Error> {
        let image = &self.item.path;
        let [place] = places else {
            return Ok(Exchange::Impossible);
        };
        progress
            .advance(0)
            .map_err(|_| Error::cancelled("cancelled: every file is where it was"))?;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::Unsupported => Ok(Exchange::Impossible),
            _ => Err(Error::io("give its new content to", image, &error)),
        };
        match &self.content {
            Content::Anew { .. } => {
                let waits = host
                    .rename_new_of(next.file, &next.path, place)
                    .and_then(|()| host.sync_dir(folder(place)));
                match waits.and_then(|()| host.exchange(next.file, place, image)) {
                    Ok(()) => Ok(Exchange::Done),
                    Err(error) => {
                        // Where it is not in the trash yet it has this name still.
                        let _ = host.rename_new_of(next.file, place, &next.path);
                        failed(error)
                    }
                }
            }
            Content::Kept { entry, .. } => {
                if let Err(error) = host.exchange(next.file, &next.path, image) {
                    return failed(error);
                }
                // What the entry says of its file is not true of this one.
                let moved = host
                    .sync_dir(folder(image))
                    .and_then(|()| host.sync_dir(folder(&next.path)))
                    .and_then(|()| host.rename_new(&next.path, place));
                Ok(match moved {
                    Ok(()) => Exchange::Done,
                    Err(_) => Exchange::InOtherEntry(entry.name.clone()),
                })
            }
        }
    }
}

/// What came of an exchange.
enum Exchange {
    /// The image is in the trash, where it was to go.
    Done,
    /// It is in this entry of the trash, that of what has its name now.
    InOtherEntry(String),
    /// Nothing: the filesystem has no such step.
    Impossible,
}

/// The file that is going to have the image's name.
struct Next {
    path: PathBuf,
    file: FileId,
    /// What the person should know of it.
    remarks: Vec<Note>,
}

impl Next {
    /// A new overlay beside where the image is or was, with the owner, mode and extended attributes of `old`, which is
    /// what the image held, on a base that is what it was when the plan was made.
    fn anew(
        host: &dyn Host,
        held: &dyn Host,
        image: &Path,
        old: &Path,
        options: &image::CreateOptions,
        on: &BuiltOn,
        progress: &Progress,
    ) -> Result<Self, Error> {
        let path = temporary_name(image);
        image::create(held, &path, options, progress)
            .map_err(|error| branch::not_created(image, error))?;
        on.look_again(host, std::slice::from_ref(&path))?;
        let made = || -> io::Result<Self> {
            Ok(Self {
                path: path.clone(),
                file: host.stat_link(&path)?.id,
                remarks: keep_attributes(host, old, &path, image)?,
            })
        };
        made().map_err(|error| {
            let _ = host.remove_file(&path);
            Error::io("make anew", image, &error)
        })
    }
}

/// Brings the old image back from the trash, and says what came of it.
fn take_back(plan: &Plan, image: &Path, places: &[PathBuf], kept: &str, why: &io::Error) -> Error {
    let host = plan.host();
    let back = places.iter().try_for_each(|place| {
        host.rename_new(place, image)?;
        host.sync_dir(folder(image))
    });
    let why = Error::io("give its new content to", image, why);
    match back {
        Ok(()) => {
            let state_dir = plan.context().state_dir.as_deref();
            let dirs = [folder(image).to_path_buf()];
            let (empty, _) = trash::find(host, state_dir, &dirs, &[kept.to_owned()]);
            for entry in empty.iter().filter(|entry| entry.files.is_empty()) {
                entry.clear(host, state_dir);
            }
            why
        }
        Err(error) => why
            .and_failed(&format!(
                "; then it could not be moved back from the trash: {}",
                io_text(&error)
            ))
            .helped_by([Remedy::restore(kept)]),
    }
}
