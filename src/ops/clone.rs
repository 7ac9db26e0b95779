//! Clone: a second file that is what an image is now, built on the same base; or the whole chain a second
//! time, built on its own copies. Blocks are shared where the filesystem can. An overlay instead of a copy,
//! which others call a linked clone, is a branch.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::{Access, FileKind, Host, LockSet, printable};
use crate::image::{self, Format, ImageFile};
use crate::units::{count, size};

use super::framework::built_on::BuiltOn;
use super::framework::chain_files::ChainFile;
use super::framework::copy_file::{Copy, folder, same_but_header};
use super::framework::eligibility::format_of;
use super::framework::format::{command, name, shown};
use super::framework::locks::{Locking, claim};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{absolute, backing_name, chain_files, device, new_file, resolve, resumed};
use super::{
    BackingStyle, CommandLine, EffectKind, Error, Note, NoteKind, Outcome, Phase, Plan, Progress,
    Reflink, RefusalKind, Request, Undo,
};

/// Copy an image, file for file; the copy is built on the same base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneImage {
    /// The image.
    pub image: PathBuf,
    /// The file to create; for a whole chain the folder that receives the files.
    pub new: PathBuf,
    /// Whether all it is built on is copied along, so that the copy is built on copies.
    #[serde(default)]
    pub chain: bool,
    /// Whether blocks are shared.
    #[serde(default)]
    pub reflink: Reflink,
}

impl Operation for CloneImage {
    fn name(&self) -> &'static str {
        "clone"
    }

    fn verb(&self) -> &'static str {
        "Clone"
    }

    fn nature(&self) -> Nature<'_> {
        match self.chain {
            false => Nature::CreatesImage(&self.new),
            true => Nature::CreatesFiles,
        }
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        visit(Name::Path(&mut self.new));
    }

    fn copies(&self) -> Vec<&Path> {
        vec![&self.image]
    }

    fn command_line(&self) -> Option<CommandLine> {
        let reflink = match self.reflink {
            Reflink::Auto => None,
            Reflink::Always => Some("always"),
            Reflink::Never => Some("never"),
        };
        Some(
            CommandLine::new(&["clone"])
                .path(&self.image)
                .path(&self.new)
                .flag("--chain", self.chain)
                .option("--reflink", reflink),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        match self.chain {
            false => plan_clone(plan, &self.image, &self.new, self.reflink),
            true => plan_chain(plan, &self.image, &self.new, self.reflink),
        }
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        match self.chain {
            false => half.finish_making(self.clone()),
            true => half.finish_making_the_rest(self.clone()),
        }
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.unmake()
    }
}

/// Plans a copy of the image.
fn plan_clone(plan: &mut Plan, image: &Path, new: &Path, reflink: Reflink) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    plan.title = format!("Clone {} as {}", name(image), name(new));
    let node = match resolve::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    let Some(bytes) = node.size_on_disk() else {
        return plan.refuse(
            RefusalKind::NotFound,
            format!("{} is not there", shown(image)),
        );
    };
    if node.info().is_some_and(|info| info.data_file.is_some()) {
        plan.refuse(RefusalKind::Unsupported, format!(
            "{} keeps its data in another file, which both would write: flatten it into a new file instead",
            shown(image)
        ));
    }
    if new_file::check(plan, new, bytes).is_none() {
        return;
    }
    claim(plan, &node.path, LockSet::ReadOnly);
    let (mut recorded, mut on) = (None, None);
    if let Some(backing) = &node.backing
        && let Some(base) = context.forest.leads_to(node)
    {
        if host.stat(base).is_ok() {
            on = Some(BuiltOn::ask(plan, base, new, Compare::Header));
        }
        let style = backing_name::style_of(backing.name());
        let same_place = node.path.parent() == new.parent();
        if !same_place && !image::is_described(backing.name()) {
            match backing_name::leading(host, new, base, style) {
                Ok(name) => recorded = Some(name),
                Err(sentence) => plan.refuse(RefusalKind::BackingName, sentence),
            }
        }
    }
    let built_on = match (&recorded, &node.backing) {
        (Some(name), _) => format!(", built on {}", printable(name)),
        (None, Some(backing)) => format!(", built on {}", printable(backing.name())),
        (None, None) => String::new(),
    };
    let text = format!("{}, a copy of {}{built_on}", size(bytes), name(image));
    plan.effect(EffectKind::Creates, new, Some(bytes), text);
    plan.counterpart(&node.path);
    plan.copies = bytes;
    say_of_blocks(plan, reflink);
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    push_command(plan, image, new, reflink);
    plan.job = Some(Arc::new(Clone {
        image: node.path.clone(),
        format: format_of(node),
        new: new.to_path_buf(),
        bytes,
        recorded,
        on,
        reflink,
    }));
}

/// How blocks are shared, where it is not left to the filesystem.
fn say_of_blocks(plan: &mut Plan, reflink: Reflink) {
    match reflink {
        Reflink::Auto => plan.note(
            NoteKind::Manner,
            "blocks are shared where the filesystem can, until either is written",
        ),
        Reflink::Always => plan.note(
            NoteKind::Manner,
            "blocks are shared; where the filesystem cannot, nothing is created",
        ),
        Reflink::Never => {}
    }
}

fn push_command(plan: &mut Plan, from: &Path, to: &Path, reflink: Reflink) {
    let how = match reflink {
        Reflink::Auto => "--reflink=auto",
        Reflink::Always => "--reflink=always",
        Reflink::Never => "--reflink=never",
    };
    plan.commands.push(command(&[
        "cp".as_ref(),
        how.as_ref(),
        "--sparse=always".as_ref(),
        from.as_os_str(),
        to.as_os_str(),
    ]));
}

/// Plans a copy of the image and of all it is built on, side by side in the directory `dir`.
pub(super) fn plan_chain(plan: &mut Plan, image: &Path, dir: &Path, reflink: Reflink) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    plan.title = format!(
        "Clone {} and all it is built on into {}",
        name(image),
        shown(dir)
    );
    let node = match resolve::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    if !host
        .stat(dir)
        .is_ok_and(|stat| stat.kind == FileKind::Directory)
    {
        return plan.refuse(
            RefusalKind::Invalid,
            format!(
                "{} is no folder: a chain is copied into one (an export makes one of its own)",
                shown(dir)
            ),
        );
    }
    let Some(files) = chain_files::plan(plan, node, BTreeSet::new()) else {
        return;
    };
    let made = resumed::made(&context, &plan.request);
    let mut present = BTreeSet::new();
    for (index, file) in files.iter().enumerate() {
        let to = dir.join(&file.name);
        let base = files.get(index + 1);
        if made.contains(&absolute::path(&to)) && is_copy(host, file, base, &to) {
            plan.require_unchanged(&to, Compare::Content);
            let text = "it is there already, a copy as it is to be; the rest follows";
            plan.effect(EffectKind::Reads, &to, Some(file.bytes), text);
            present.insert(to);
            continue;
        }
        if new_file::check(plan, &to, file.bytes).is_none() {
            return;
        }
        let built_on = match files.get(index + 1) {
            Some(base) => {
                if let Err(why) = may_name(host, file, base, dir) {
                    plan.refuse(
                        RefusalKind::BackingName,
                        format!(
                            "a copy of {} cannot be built on a copy: {why}",
                            shown(&file.path)
                        ),
                    );
                }
                format!(", built on {}", printable(&base.name))
            }
            None => String::new(),
        };
        let text = format!(
            "{}, a copy of {}{built_on}",
            size(file.bytes),
            shown(&file.path)
        );
        plan.effect(EffectKind::Creates, &to, Some(file.bytes), text);
        plan.counterpart(&file.path);
        push_command(plan, &file.path, &to, reflink);
        if let Some(base) = files.get(index + 1) {
            plan.commands.push(command(&[
                "qemu-img".as_ref(),
                "rebase".as_ref(),
                "-u".as_ref(),
                "-F".as_ref(),
                base.format.name().as_ref(),
                "-b".as_ref(),
                base.name.as_ref(),
                to.as_os_str(),
            ]));
        }
        plan.copies = plan.copies.saturating_add(file.bytes);
    }
    say_of_blocks(plan, reflink);
    plan.undo = Undo::Possible("discard the copies".to_owned());
    plan.job = Some(Arc::new(CloneChain {
        present,
        files,
        dir: dir.to_path_buf(),
        reflink,
    }));
}

/// Whether this is the copy of the file, built on the copy of `base`.
fn is_copy(host: &dyn Host, file: &ChainFile, base: Option<&ChainFile>, to: &Path) -> bool {
    let is_file = host
        .stat_link(to)
        .is_ok_and(|stat| stat.kind == FileKind::Regular);
    if !is_file || !same_but_header(host, &file.path, to, &file.format) {
        return false;
    }
    let Some(base) = base else { return true };
    let base_path = folder(to).join(&base.name);
    let recorded = backing_name::between(host, to, &base_path, BackingStyle::Relative).ok();
    let header = ImageFile::open(host, to, Access::Read).and_then(|file| image::read_header(&file));
    header.is_ok_and(|header| {
        header.backing_file() == recorded.as_ref().map(|name| name.as_encoded_bytes())
            && header.backing_format() == Some(base.format.name().as_bytes())
    })
}

/// Whether the copy's header has room for the new name.
fn may_name(host: &dyn Host, file: &ChainFile, base: &ChainFile, dir: &Path) -> Result<(), String> {
    let (to, base_path) = (dir.join(&file.name), dir.join(&base.name));
    let recorded = backing_name::between(host, &to, &base_path, BackingStyle::Relative)?;
    ImageFile::open(host, &file.path, Access::Read)
        .and_then(|source| image::may_relink(&source, &recorded, &base.format))
        .map_err(|error| error.kind.to_string())
}

#[derive(Debug)]
struct CloneChain {
    /// Copies that a clone that was interrupted has given their names.
    present: BTreeSet<PathBuf>,
    /// The image first, then what it is built on.
    files: Vec<ChainFile>,
    dir: PathBuf,
    reflink: Reflink,
}

impl Job for CloneChain {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        for file in &self.files {
            let _ = locking.take(host, &file.path, Access::Read, LockSet::ReadOnly)?;
        }
        let _locks = locking.settle(plan)?;
        progress.enter(Phase::Copy, plan.copies);
        let mut copies = Vec::new();
        let mut below: Option<&ChainFile> = None;
        for file in self.files.iter().rev() {
            if self.present.contains(&self.dir.join(&file.name)) {
                below = Some(file);
                continue;
            }
            let copy = chain_files::copy(host, file, below, &self.dir, self.reflink, progress)?;
            copies.push(copy);
            below = Some(file);
        }
        // Somebody who knows no image locks may have written meanwhile.
        plan.verify_preconditions()?;
        progress.enter(Phase::Switch, 0);
        let mut touched: Vec<PathBuf> = self.present.iter().cloned().collect();
        if !touched.is_empty() {
            // What cut it off may have been that the last name could not be made stable.
            host.sync_dir(&self.dir)
                .map_err(|error| Error::io("flush", &self.dir, &error))?;
        }
        let mut remarks = Vec::new();
        // What is built on last: no name ever leads nowhere.
        for copy in copies {
            let to = copy.target().to_path_buf();
            let lost = copy.lost.iter();
            remarks.extend(lost.map(|lost| Note::not_kept(lost, &name(&to))));
            copy.publish()?;
            touched.push(to);
        }
        let top = touched.last().map_or_else(String::new, |path| shown(path));
        Ok(Outcome {
            summary: format!("cloned {}, {top} on top", count(touched.len(), "image")),
            undo: Some(Request::discard(touched.clone())),
            touched,
            remarks,
        })
    }
}

#[derive(Debug)]
struct Clone {
    image: PathBuf,
    format: Format,
    new: PathBuf,
    bytes: u64,
    /// The name by which the copy knows the base, where it is another one.
    recorded: Option<OsString>,
    /// What the copy is built on, where that is there.
    on: Option<BuiltOn>,
    reflink: Reflink,
}

impl Job for Clone {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let _ = locking.take(host, &self.image, Access::Read, LockSet::ReadOnly)?;
        if let Some(on) = &self.on {
            on.hold(host, &mut locking)?;
        }
        let _locks = locking.settle(plan)?;
        progress.enter(Phase::Copy, self.bytes);
        let most = device::copied_len(host, &self.image, &self.format);
        let copy = Copy::make_part(host, &self.image, &self.new, most, self.reflink, progress)?;
        if let Some(recorded) = &self.recorded {
            let file = ImageFile::open(host, copy.temporary(), Access::ReadWrite)?;
            image::rename_backing(&file, recorded)?;
        }
        // Somebody who knows no image locks may have written meanwhile.
        plan.verify_preconditions()?;
        progress.enter(Phase::Switch, 0);
        let remarks = copy
            .lost
            .iter()
            .map(|lost| Note::not_kept(lost, &name(&self.image)))
            .collect();
        copy.publish()?;
        if let Some(on) = &self.on {
            on.look_again(host, std::slice::from_ref(&self.new))?;
        }
        Ok(Outcome {
            summary: format!("cloned {} as {}", shown(&self.image), shown(&self.new)),
            touched: vec![self.new.clone()],
            undo: Some(Request::discard(vec![self.new.clone()])),
            remarks,
        })
    }
}
