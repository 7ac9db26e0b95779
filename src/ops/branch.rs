//! Branch: a new overlay on any image. The base is only looked at; its header, its length and its
//! content stay as they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Content, Flags, Forest, Location, Node};
use crate::host::{Host, printable};
use crate::image::{self, Encryption, ErrorKind, Format, Preallocation};
use crate::units::{count, size};

use super::framework::built_on::BuiltOn;
use super::framework::format::{command, name, shown};
use super::framework::locked_host::LockedHost;
use super::framework::locks::{Locking, Locks};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{backing_format, backing_name, machines, new_file, new_image, resolve};
use super::{
    BackingStyle, CommandLine, EffectKind, Error, ImageOptions, NoteKind, Outcome, Phase, Plan,
    Progress, RefusalKind, Request, Undo,
};

/// A new overlay `new` on `base`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// The image to build on: any node, qcow2 or raw, leaf or frozen.
    pub base: PathBuf,
    /// The file to create.
    pub new: PathBuf,
    /// What the base is said to be; refused where it is something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Its virtual size in bytes; none for the base's.
    pub size: Option<u64>,
    /// How the backing name is recorded.
    pub style: BackingStyle,
    /// How it is made.
    pub image: ImageOptions,
}

impl Operation for Branch {
    fn name(&self) -> &'static str {
        "branch"
    }

    fn verb(&self) -> &'static str {
        "Create"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::CreatesImage(&self.new)
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.base));
        visit(Name::Path(&mut self.new));
        self.image.each_name(visit);
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new(&["branch"])
            .path(&self.base)
            .path(&self.new)
            .option("--backing-format", self.format.as_ref().map(Format::name))
            .number("--size", self.size)
            .flag("--absolute", self.style == BackingStyle::Absolute);
        Some(self.image.add_to(line))
    }

    fn plan(&self, plan: &mut Plan) {
        if let Some(job) = plan_branch(plan, self) {
            plan.job = Some(Arc::new(job));
        }
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        half.finish_making(self.clone())
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.unmake()
    }
}

/// Plans a new overlay; what makes it, unless that was refused.
pub(super) fn plan_branch(plan: &mut Plan, request: &Branch) -> Option<BranchJob> {
    let ask = |plan: &mut Plan, watch| BuiltOn::ask(plan, &request.base, &request.new, watch);
    let (overlay, on) = plan_overlay(plan, request, ask)?;
    let context = plan.context().clone();
    if let Ok(node) = resolve::named(&context, &request.base) {
        describe_children(plan, node, &request.new);
    }
    Some(BranchJob { overlay, on })
}

/// Plans a new overlay; `ask` finds out who uses its base.
pub(super) fn plan_overlay<T>(
    plan: &mut Plan,
    request: &Branch,
    ask: impl FnOnce(&mut Plan, Compare) -> T,
) -> Option<(NewOverlay, T)> {
    let Branch {
        base,
        new,
        format: said,
        size: wanted,
        style,
        image,
    } = request;
    let (wanted, style) = (*wanted, *style);
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    plan.title = format!("Branch {} on {}", name(new), name(base));
    let node = match resolve::named(&context, base) {
        Ok(node) => node,
        Err(sentence) => {
            plan.refuse_for(sentence);
            return None;
        }
    };
    match said {
        Some(said) => drop(backing_format::said(plan, node, said)?),
        None if !backing_format::as_defined(plan, node) => return None,
        None => {}
    }
    let (format, least) = base_info(plan, forest, node, base, said.as_ref(), wanted)?;
    check_secrecy(plan, node, new, image);
    machines::warn_of_owner(plan, node, new);
    let whole = new_file::whole_sectors(plan, wanted.unwrap_or(least));
    if let Some(wanted) = wanted.filter(|wanted| *wanted < least) {
        plan.warn(NoteKind::Size, format!(
            "{} is less than the {} of {}: the guest does not see the end of that disk, where a partition table \
             has its copy and a filesystem may end",
            size(wanted),
            size(least),
            name(base)
        ));
    }
    // By the name that every other operation records: a link may go, and the base's own relative backing
    // name may lead nowhere from it.
    let recorded = match backing_name::leading(plan.host(), new, &node.path, style) {
        Ok(recorded) => recorded,
        Err(sentence) => {
            plan.refuse(RefusalKind::BackingName, sentence);
            return None;
        }
    };
    let backing = Some((recorded.clone(), format.clone()));
    let made = new_image::check(plan, new, whole, backing, image, 0)?;
    let needed = made.len.image_blocks;
    let on = ask(plan, watch(&format));
    plan.effect(EffectKind::Creates, new, Some(needed), {
        let shows = if wanted.is_some() {
            format!("a disk of {}", size(whole))
        } else {
            format!("the disk of {} ({})", name(base), size(whole))
        };
        format!(
            "{}, {shows}, built on {} ({format})",
            size(needed),
            printable(&recorded)
        )
    });
    new_image::describe_data_file(plan, &made);
    new_image::describe_encryption(plan, &made);
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    let mut words = vec![
        "qemu-img".into(),
        "create".into(),
        "-f".into(),
        "qcow2".into(),
        "-F".into(),
        format.name().into(),
        "-b".into(),
        recorded,
    ];
    words.extend(new_image::qemu_secret(&made.options));
    if let Some(options) = new_image::qemu_options(&made.options) {
        words.extend(["-o".into(), options]);
    }
    words.push(new.as_os_str().to_owned());
    if wanted.is_some() {
        words.push(whole.to_string().into());
    }
    plan.commands.push(command(&words));
    let below = match format {
        Format::Raw => vec![node.id],
        _ => forest.chain(node.id),
    };
    let below = below.into_iter().filter_map(|id| forest.get(id));
    let below = below.filter(|node| node.location == Location::Scanned);
    let overlay = NewOverlay {
        new: new.clone(),
        options: made.options,
        below: below.map(|node| node.path.clone()).collect(),
    };
    Some((overlay, on))
}

/// The base's format and the bytes its guest sees, if an overlay on it can work. A base that is said to be raw is,
/// whatever it begins like: its guest may have written that.
pub(super) fn base_info(
    plan: &mut Plan,
    forest: &Forest,
    node: &Node,
    base: &Path,
    said: Option<&Format>,
    wanted: Option<u64>,
) -> Option<(Format, u64)> {
    let path = shown(base);
    match node.location {
        Location::Missing => {
            plan.refuse(RefusalKind::NotFound, format!("{path} is not there"));
            return None;
        }
        Location::Elsewhere => {
            plan.refuse(RefusalKind::NotFound, format!("{path} is no local file"));
            return None;
        }
        Location::Scanned | Location::OutsideScan | Location::InTrash => {}
    }
    let len = node.stat.as_ref().map_or(0, |stat| stat.len);
    let is_said_raw = said == Some(&Format::Raw);
    let info = match &node.content {
        Content::Raw => (Format::Raw, len),
        Content::Qcow2(_) | Content::Opaque(_) | Content::Damaged(_) if is_said_raw => {
            (Format::Raw, len)
        }
        Content::Qcow2(info) => {
            if info.encryption == Some(Encryption::Aes) {
                plan.refuse(RefusalKind::Unsupported, format!(
                    "{path} is encrypted (legacy AES), which is not understood here and which no machine runs \
                     on any more"
                ));
            }
            if !info.unknown_features.is_empty() {
                plan.refuse(
                    RefusalKind::Unsupported,
                    format!(
                        "{path} needs features that are not known here: {}",
                        printable(info.unknown_features.join(", "))
                    ),
                );
            }
            (Format::Qcow2, info.virtual_size)
        }
        Content::Opaque(format) => {
            // The size is inside a format whose content stays closed.
            let Some(wanted) = wanted else {
                plan.refuse(RefusalKind::Unsupported, format!(
                    "{path} is of format {format}, whose disk size is not known here: say the size"
                ));
                return None;
            };
            plan.warn(NoteKind::Size, format!(
                "{path} is of format {format}: that {} is no less than its disk cannot be checked \
                 here",
                size(wanted)
            ));
            (format.clone(), 0)
        }
        Content::Damaged(why) | Content::Unreadable(why) => {
            plan.refuse(
                RefusalKind::Unreadable,
                format!("{path} cannot be built on: {}", printable(why)),
            );
            return None;
        }
        Content::Unopened => {
            plan.refuse_for(resolve::outside(base));
            return None;
        }
    };
    // What is raw is built on nothing, whatever a header in it names.
    if info.0 != Format::Raw {
        check_chain(plan, forest, node, &path);
    }
    plan.require_unchanged(base, watch(&info.0));
    Some(info)
}

/// What of a base must not change while an overlay on it is made: a guest may write the rest of one.
pub(super) fn watch(format: &Format) -> Compare {
    match format {
        Format::Qcow2 => Compare::Header,
        _ => Compare::Length,
    }
}

/// An overlay and its base may differ in whether they are encrypted; what that means is easily missed.
fn check_secrecy(plan: &mut Plan, node: &Node, new: &Path, image: &ImageOptions) {
    let info = node.info();
    let below = info.is_some_and(|info| info.encryption == Some(Encryption::Luks));
    match (below, image.encryption.is_some()) {
        (true, false) => plan.warn(NoteKind::Secrecy, format!(
            "{} is encrypted, and the overlay is not: what its guest writes will lie there for everybody to \
             read",
            shown(&node.path)
        )),
        (false, true) => plan.warn(NoteKind::Secrecy, format!(
            "{} is not encrypted: only what is written to {} from now on will be",
            shown(&node.path),
            name(new)
        )),
        (true, true) | (false, false) => {}
    }
}

/// An overlay is opened with its whole chain.
fn check_chain(plan: &mut Plan, forest: &Forest, node: &Node, path: &str) {
    let flags = forest.flags(node.id);
    if flags.contains(Flags::LOOP) {
        plan.refuse(
            RefusalKind::Loop,
            format!("{path} runs in a circle of backing links: nothing on it can be opened"),
        );
        return;
    }
    for below in forest.chain(node.id) {
        let Some(below) = forest.get(below) else {
            continue;
        };
        if below.location == Location::Missing {
            plan.refuse(
                RefusalKind::NotFound,
                format!(
                    "{path} is built on {}, which is not there: nothing on it can be opened",
                    shown(&below.path)
                ),
            );
        }
        if below
            .backing
            .as_ref()
            .is_some_and(|backing| backing.format().is_none())
        {
            plan.warn(
                NoteKind::BackingFormat,
                format!(
                    "{} records no format for the image it is built on: libvirt refuses to start a \
                 machine on this chain",
                    shown(&below.path)
                ),
            );
        }
        let Some(info) = below.info() else {
            continue;
        };
        if let Some(why) = &info.unopenable {
            plan.refuse(
                RefusalKind::Unreadable,
                format!(
                    "{} {}: nothing on it can be opened",
                    shown(&below.path),
                    printable(&*why.why)
                ),
            );
        }
        if info.corrupt || info.truncated.is_some() {
            plan.warn(
                NoteKind::Damaged,
                format!(
                    "{} is damaged: the overlay can only be as good as what it is built on",
                    shown(&below.path)
                ),
            );
        } else if info.dirty {
            plan.warn(
                NoteKind::Damaged,
                format!(
                    "{} was not closed properly (dirty bit): repair it before others depend on it",
                    shown(&below.path)
                ),
            );
        }
    }
}

fn describe_children(plan: &mut Plan, node: &Node, new: &Path) {
    let base = name(&node.path);
    let children = node.children.len() + 1;
    if node.children.is_empty() {
        plan.note(
            NoteKind::Dependants,
            format!(
                "{base} is frozen from then on: writing to it would corrupt {}",
                name(new)
            ),
        );
    } else {
        plan.note(
            NoteKind::Dependants,
            format!(
                "{base} then has {}: writing to it would corrupt them",
                count(children, "overlay")
            ),
        );
    }
}

/// A new overlay that can be made.
#[derive(Debug)]
pub(super) struct NewOverlay {
    pub(super) new: PathBuf,
    pub(super) options: image::CreateOptions,
    /// The base, and what that is built on.
    pub(super) below: Vec<PathBuf>,
}

impl NewOverlay {
    /// Makes it.
    pub(super) fn make(
        &self,
        plan: &Plan,
        progress: &Progress,
        on: Option<&BuiltOn>,
    ) -> Result<Outcome, Error> {
        // What its guest writes is as private as what it is built on.
        new_image(plan, progress, &self.new, &self.options, on, &self.below)
    }
}

impl NewOverlay {
    /// Makes it, for whoever has settled all locks.
    pub(super) fn create(
        &self,
        host: &dyn Host,
        locks: &Locks,
        progress: &Progress,
    ) -> Result<(), Error> {
        let host = &LockedHost::new(host, locks).for_copies(self.below.clone(), false);
        image::create(host, &self.new, &self.options, progress)
            .map_err(|error| not_created(&self.new, error))
    }
}

/// What makes a new overlay.
#[derive(Debug)]
pub(super) struct BranchJob {
    pub(super) overlay: NewOverlay,
    pub(super) on: BuiltOn,
}

impl Job for BranchJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        self.overlay.make(plan, progress, Some(&self.on))
    }
}

/// Creates the image a plan describes; a name taken since then is refused by the system.
pub(super) fn new_image(
    plan: &Plan,
    progress: &Progress,
    new: &Path,
    options: &image::CreateOptions,
    on: Option<&BuiltOn>,
    below: &[PathBuf],
) -> Result<Outcome, Error> {
    let fills = matches!(
        options.format.preallocation,
        Preallocation::Falloc | Preallocation::Full
    );
    if fills {
        progress.enter(Phase::Copy, options.size);
    } else {
        progress.enter(Phase::Switch, 0);
    }
    let host = plan.host();
    let mut locking = Locking::default();
    if let Some(on) = on {
        on.hold(host, &mut locking)?;
    }
    let locks = locking.settle(plan)?;
    let host = &LockedHost::new(host, &locks).for_copies(below.to_vec(), false);
    image::create(host, new, options, progress).map_err(|error| not_created(new, error))?;
    let data_file = options.data_file.iter().map(|data| data.path.clone());
    let touched: Vec<PathBuf> = std::iter::once(new.to_path_buf())
        .chain(data_file)
        .collect();
    if let Some(on) = on {
        on.look_again(host, &touched)?;
    }
    Ok(created(new, touched))
}

/// What became of a new image.
pub(super) fn created(new: &Path, touched: Vec<PathBuf>) -> Outcome {
    Outcome {
        summary: format!("created {}", shown(new)),
        touched,
        undo: Some(Request::discard(vec![new.to_path_buf()])),
        remarks: Vec::new(),
    }
}

/// What to say of a new file that did not come into being.
pub(super) fn not_created(new: &Path, error: image::Error) -> Error {
    let new = shown(new);
    if matches!(error.kind, ErrorKind::Cancelled) {
        Error::cancelled(format!("stopped: {new} was not created"))
    } else {
        Error::of_image(format!("{new} was not created: {error}"), error)
    }
}
