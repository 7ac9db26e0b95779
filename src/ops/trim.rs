//! Trim: what the filesystems inside a leaf call free is given up, so that deleted data takes no room any more. Only of
//! filesystems that are in order, and only where nothing depends on the image: what is free to its own guest may be in
//! use by whatever else reads it. Which bytes are free is found by [`crate::guest::discardable`]. Clusters of the file
//! that nothing in the image uses go with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Content, Location, Node, Reads};
use crate::guest::block::Stoppable;
use crate::guest::cache::{Chunks, PAGE};
use crate::guest::discardable::{Discardable, FreeOf, discardable};
use crate::guest::{self, Source};
use crate::host::{Access, Host, printable};
use crate::image::{
    self, Amendment, Chain, Check, Discarded, ErrorKind, Format, ImageFile, Keys, Layer,
    NoProgress, Repair, RepairExtent, Version, frees_leaks,
};
use crate::inside::{Until, View};
use crate::machines::Part;
use crate::units::{count, size};

use super::framework::dependants::dependants_of;
use super::framework::eligibility::{
    chain_below, format_of, refuse_corrupt, refuse_foreign_data, refuse_unfit, warn_of_unread,
};
use super::framework::files_to_lock::FilesToLock;
use super::framework::format::{listed, name, shown};
use super::framework::locked_host::LockedHost;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{resolve, unlock};
use super::{
    AmendImage, CommandLine, Context, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress,
    RefusalKind, Undo, WayOut,
};

/// Give up what the filesystems inside an image call free: deleted data that the guest never discarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trim {
    /// The image, a qcow2 that nothing depends on.
    pub image: PathBuf,
}

impl Operation for Trim {
    fn name(&self) -> &'static str {
        "trim"
    }

    fn verb(&self) -> &'static str {
        "Trim"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(CommandLine::new(&["trim"]).path(&self.image))
    }

    fn plan(&self, plan: &mut Plan) {
        plan_trim(plan, &self.image)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Content)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, _half: &Half<'_>) -> Way {
        Way::Impossible(format!(
            "what was given up of {} was free to its guest, and does not come back. All its files are there, and \
             the rest can be finished",
            name(&self.image)
        ))
    }
}

/// Plans to give up what is free inside the image.
fn plan_trim(plan: &mut Plan, image: &Path) {
    let context = plan.context().clone();
    plan.title = format!("Trim {}", name(image));
    let node = match resolve::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    refuse_unfit(plan, node, "trimmed");
    refuse_kind(plan, node);
    if node.location == Location::OutsideScan {
        plan.refuse_for(resolve::dependants_unknown(&node.path));
    }
    refuse_dependants(plan, node);
    warn_of_unread(plan, &node.path);
    let Some(below) = chain_below(plan, &context.forest, node) else {
        return;
    };
    refuse_foreign_data(plan, context.forest.chain(node.id));
    if !plan.refusals.is_empty() {
        return;
    }
    if let Err(error) = unlock::unlock_chain(&context, node.id) {
        return plan.refuse_error(&error);
    }
    let Some(check) = refuse_corrupt(plan, &node.path).filter(|_| plan.refusals.is_empty()) else {
        return;
    };
    // Nobody can stop a plan.
    let until = Until::as_long_as(|| true);
    let found = match Found::of(&context.keys, context.host.as_ref(), &node.path, &until) {
        Ok(found) => found,
        Err(Failure::Image(error)) => return plan.refuse_unsaid(&error, "this"),
        Err(Failure::Guest(why)) => return plan.refuse(RefusalKind::Unreadable, why),
    };
    let unused = match Unused::of(context.host.as_ref(), &node.path, &check) {
        Ok(unused) => unused,
        Err(error) => return plan.refuse_error(&error),
    };
    if !found.is_anything(plan, node, &unused) {
        return;
    }
    describe(plan, node, &found, &unused);
    let mut files_to_lock = FilesToLock::default();
    files_to_lock.write(context.host.as_ref(), &node.path, &Format::Qcow2);
    for base in below {
        files_to_lock.read(context.host.as_ref(), &base.path, &format_of(base));
    }
    files_to_lock.secure(plan);
    plan.job = Some(Arc::new(TrimJob {
        image: node.path.clone(),
        keys: context.keys.clone(),
        files_to_lock,
    }));
}

/// Refuses an image that cannot say of a cluster that it reads as zero.
fn refuse_kind(plan: &mut Plan, node: &Node) {
    let path = shown(&node.path);
    match &node.content {
        Content::Qcow2(info) if info.version < 3 && node.backing.is_some() => {
            let amendment = Amendment {
                version: Some(Version::V3),
                ..Amendment::default()
            };
            let amend = AmendImage {
                image: node.path.clone(),
                amendment,
            };
            plan.refuse_but(
                RefusalKind::Unsupported,
                format!(
                    "{path} is of version 2 (compat 0.10), which cannot say over a backing file that bytes are zero"
                ),
                vec![WayOut {
                    label: format!("make {} one of version 3 first", name(&node.path)),
                    request: amend.into(),
                }],
            );
        }
        Content::Qcow2(info) if info.external_data && info.encryption.is_some() => plan.refuse(
            RefusalKind::Unsupported,
            format!("{path} is encrypted and has a data file, of which a hole would not read as zero"),
        ),
        Content::Raw => plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{path} is a raw image, and trim works on qcow2 images: `fstrim` in the guest gives back what is free"
            ),
        ),
        _ => {}
    }
}

/// Refuses an image that anything else depends on, each by its name: what is free to this guest's filesystem is not
/// free to others that read it.
fn refuse_dependants(plan: &mut Plan, node: &Node) {
    let context = plan.context().clone();
    let (forest, path) = (context.forest.as_ref(), shown(&node.path));
    let (mut there, mut in_trash) = (Vec::new(), Vec::new());
    for reader in dependants_of(context.host.as_ref(), forest, node) {
        if let Some(image) = forest.get(reader.node) {
            let names = if image.is_in_trash() {
                &mut in_trash
            } else {
                &mut there
            };
            names.push(name(&image.path));
        }
    }
    for (names, how) in [(&mut there, ""), (&mut in_trash, " in the trash")] {
        names.sort();
        names.dedup();
        if let Some(first) = names.first() {
            let is = if names.len() == 1 {
                "depends"
            } else {
                "depend"
            };
            let help = match how {
                "" => format!("trim {first} instead, or squash {} first", name(&node.path)),
                _ => "empty the trash first".to_owned(),
            };
            let text = format!(
                "{}{how} {is} on {path}, and what is free to its own guest may be in use there: {help}",
                listed(names, 5)
            );
            plan.refuse(RefusalKind::HasDependants, text);
        }
    }
    refuse_snapshots(plan, node);
    plan.has_no_dependants = true;
}

/// An internal snapshot keeps the clusters it shares: nothing would come free, and its own view is not asked.
fn refuse_snapshots(plan: &mut Plan, node: &Node) {
    let number = node.info().map_or(0, |info| info.snapshots);
    if number > 0 {
        let text = format!(
            "{} has {}, which would keep what is given up: delete them first",
            shown(&node.path),
            count(u64::from(number), "internal snapshot")
        );
        plan.refuse(RefusalKind::HasDependants, text);
    }
}

fn describe(plan: &mut Plan, node: &Node, found: &Found, unused: &Unused) {
    let path = &node.path;
    let bytes = found.given.guest();
    let of: Vec<String> = found.free.volumes.iter().map(free_words).collect();
    if bytes > 0 {
        plan.effect(
            EffectKind::Writes,
            path,
            Some(bytes),
            format!(
                "gives up {} that its filesystems call free ({}): they read as zero then",
                size(bytes),
                listed(&of, 5)
            ),
        );
    }
    for (bytes, what) in [
        (
            unused.free,
            "that it counts as free, and that still take room on disk",
        ),
        (
            unused.leaked,
            "that it counts as used, and that nothing uses",
        ),
    ] {
        if bytes > 0 {
            let text = format!("gives back clusters {what} ({})", size(bytes));
            plan.effect(EffectKind::Writes, path, Some(bytes), text);
        }
    }
    let forest = Arc::clone(&plan.context().forest);
    // What nothing in the image uses is in its own file.
    let edges = forest.also_reads(node.id).iter().filter(|_| bytes > 0);
    for data in edges.filter(|edge| edge.how == Reads::DataFile) {
        plan.effect(
            EffectKind::Writes,
            &*data.path,
            None,
            format!(
                "holds the data of {}: what is given up becomes holes in it",
                name(path)
            ),
        );
    }
    // What is leaked may lie in a hole already.
    plan.frees = found.given.on_disk.saturating_add(unused.free);
    plan.keeps
        .push(format!("every file inside {}, as it is", name(path)));
    if let Some(node) = node.parent.and_then(|id| plan.context().forest.get(id)) {
        plan.keeps
            .push(format!("{}: it is only read", name(&node.path)));
    }
    if bytes > 0 {
        plan.warn(
            NoteKind::Guest,
            format!(
                "deleted files cannot be recovered from {} afterwards",
                name(path)
            ),
        );
    }
    for text in found.left_words() {
        plan.note(NoteKind::Guest, text);
    }
    if node.info().is_some_and(|info| info.bitmaps > 0) {
        plan.warn(
            NoteKind::Bitmaps,
            format!(
                "the dirty bitmaps of {} that record writes will be marked as in use, which makes QEMU ignore them: \
                 backups start over",
                name(path)
            ),
        );
    }
    plan.undo = Undo::Impossible(format!(
        "what is given up of {} does not come back",
        name(path)
    ));
    plan.beyond_qemu_img(
        "`fstrim` in the guest, with `discard=unmap` for its disk, or `virt-sparsify --in-place` do the like",
    );
}

fn free_words(free: &FreeOf) -> String {
    format!("{} {} free on {}", free.kind, size(free.bytes), free.volume)
}

/// Whether an image is of a kind that can be trimmed, and nothing is known to depend on it.
pub(super) fn can_be_trimmed(context: &Context, node: &Node) -> bool {
    let request = Trim {
        image: node.path.clone(),
    };
    let mut plan = Plan::empty(request.into(), context);
    refuse_kind(&mut plan, node);
    refuse_dependants(&mut plan, node);
    let uses = context.forest.uses(node);
    let is_pinned = uses
        .iter()
        .any(|used| matches!(used.part, Part::Pinned(..)));
    node.info().is_some() && plan.refusals.is_empty() && !is_pinned
}

/// Bytes on disk of an image, unlocked, that the filesystems on its disk call free: 0 where none is in order.
///
/// # Errors
/// When the image cannot be read, or it was stopped.
pub(super) fn deleted(chain: &Chain, until: &Until) -> image::Result<u64> {
    match Found::on(chain.clone(), until) {
        Ok(found) => Ok(found.given.on_disk),
        Err(Failure::Image(error)) => Err(error),
        Err(Failure::Guest(_)) => Ok(0),
    }
}

/// What can be given up of an image.
#[derive(Debug)]
struct Found {
    chain: Chain,
    free: Discardable,
    given: Discarded,
}

/// Room that the image's file takes and nothing in the image uses: QEMU leaves it behind where it frees clusters, and so
/// does whatever was cut off.
#[derive(Debug)]
struct Unused {
    /// Bytes on disk of clusters that are counted as free.
    free: u64,
    /// Bytes of leaked clusters, which may take no room.
    leaked: u64,
}

impl Unused {
    /// Of an image in which this check has found no corruption.
    fn of(host: &dyn Host, image: &Path, check: &Check) -> image::Result<Self> {
        let file = ImageFile::open(host, image, Access::Read)?;
        let is_leaking = check.leaks > 0
            && frees_leaks(&Repair::work_out(&file, RepairExtent::Leaks, &NoProgress)?);
        Ok(Self {
            free: image::unused(&file, &NoProgress)?,
            leaked: if is_leaking { check.leaked_bytes } else { 0 },
        })
    }

    fn is_none(&self) -> bool {
        self.free == 0 && self.leaked == 0
    }
}

/// Why that is not known.
#[derive(Debug)]
enum Failure {
    Image(image::Error),
    /// A sentence.
    Guest(String),
}

impl From<image::Error> for Failure {
    fn from(error: image::Error) -> Self {
        Self::Image(error)
    }
}

impl Found {
    /// Reads the filesystems of the image, and its tables. What it is built on was judged before.
    fn of(keys: &Keys, host: &dyn Host, image: &Path, until: &Until) -> Result<Self, Failure> {
        let chain = Chain::open(host, image, Some(&Format::Qcow2), &|_| true)?;
        chain.unlock(keys, until)?;
        Self::on(chain, until)
    }

    fn on(chain: Chain, until: &Until) -> Result<Self, Failure> {
        let Some(Layer::Qcow2(top)) = chain.layers().first().map(|top| &**top) else {
            let (free, given) = Default::default();
            return Ok(Self { chain, free, given });
        };
        let cancelled = || Failure::Image(image::Error::new(top.path(), ErrorKind::Cancelled));
        let disk = Stoppable::new(Arc::new(chain.clone()), until.stop());
        let disk: Source = Arc::new(Chunks::new(Arc::new(disk), PAGE, View::KEPT));
        let free = discardable(&disk, &|| !until.is_over()).map_err(|error| match error {
            guest::Error::Image(error) => Failure::Image(error),
            guest::Error::Cancelled => cancelled(),
            other => {
                let why = printable(other.to_string());
                Failure::Guest(format!("{}: {why}", shown(top.path())))
            }
        })?;
        // What a volume holds may have been cut off, which is told of the volume.
        if until.is_over() {
            return Err(cancelled());
        }
        let given = image::discarded(top, free.free.as_slice(), until)?;
        Ok(Self { chain, free, given })
    }

    /// The volumes that are left alone, a sentence each.
    fn left_words(&self) -> Vec<String> {
        let left = self.free.left.iter();
        left.map(|(volume, why)| format!("{volume} is left alone: {}", printable(why)))
            .collect()
    }

    /// Whether there is anything to give up, refused if not.
    fn is_anything(&self, plan: &mut Plan, node: &Node, unused: &Unused) -> bool {
        let path = shown(&node.path);
        if !unused.is_none() {
            return true;
        }
        if self.free.volumes.is_empty() {
            plan.refuse(
                RefusalKind::Unsupported,
                format!(
                    "nothing on the disk of {path} can be trimmed: {}",
                    listed(&self.left_words(), 8)
                ),
            );
            return false;
        }
        if self.given.ranges.is_empty() {
            plan.refuse_as_done(format!(
                "{path} stores nothing, in whole clusters, that its filesystems call free"
            ));
            for text in self.left_words() {
                plan.note(NoteKind::Guest, text);
            }
            return false;
        }
        true
    }
}

#[derive(Debug)]
struct TrimJob {
    image: PathBuf,
    keys: Keys,
    files_to_lock: FilesToLock,
}

impl TrimJob {
    fn failed(&self, failure: Failure) -> Error {
        let path = shown(&self.image);
        match failure {
            Failure::Image(error) if matches!(error.kind, ErrorKind::Cancelled) => {
                Error::cancelled(format!(
                    "stopped: {path} is whole, with all its files; what was given up so far is given up, and the same \
                     command goes on from there"
                ))
            }
            Failure::Image(error) => Error::of_image(
                format!(
                    "{error}. {path} is whole, with all its files; once that is mended, trim it again"
                ),
                error,
            ),
            Failure::Guest(why) => Error::failed(format!("{why}. {path} is as it was")),
        }
    }

    /// Under the locks all is looked at anew: only what is free now is given up. Gives the bytes of the guest's disk, and
    /// those on disk that nothing used before.
    fn give_up(&self, host: &dyn Host, progress: &Progress) -> Result<(u64, u64), Failure> {
        let asked = progress.clone();
        let until = Until::as_long_as(move || !asked.is_cancelled());
        let found = Found::of(&self.keys, host, &self.image, &until)?;
        progress.enter(Phase::Copy, found.given.guest());
        let ranges = &found.given.ranges;
        let given_up = image::discard(host, &self.image, found.chain, ranges, progress)?;
        progress.enter(Phase::CleanUp, 0);
        let unused = image::give_back_unused(host, &self.image, progress)?;
        Ok((given_up, unused))
    }
}

impl Job for TrimJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Collect, 0);
        let locks = self.files_to_lock.lock(plan)?;
        let host = &LockedHost::new(plan.host(), &locks);
        let (bytes, unused) = self
            .give_up(host, progress)
            .map_err(|failure| self.failed(failure))?;
        let path = shown(&self.image);
        let given_up = format!(
            "gave up {} of {path} that its filesystems call free",
            size(bytes)
        );
        let given_back = format!("{} that nothing in it used", size(unused));
        let summary = match (bytes, unused) {
            (_, 0) => given_up,
            (0, _) => format!("gave back of {path} {given_back}"),
            _ => format!("{given_up}, and {given_back}"),
        };
        Ok(Outcome {
            summary,
            touched: vec![self.image.clone()],
            undo: None,
            remarks: Vec::new(),
        })
    }
}
