//! The merge itself. Order: others are kept intact, the old content of the base is put aside if that is
//! asked, the base receives what the merged layers hold, and only when all of that is on stable storage
//! are children re-parented and the layers given up. At every instant the uppermost layer and everything
//! that is not merged show what they showed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::host::{Access, Host};
use crate::image::{
    self, BackingChange, BackingSwitch, BackingView, Chain, CompareBy, CreateOptions, ErrorKind,
    Format, ImageFile, Keys, NoProgress, ProgressSink, Root, State, Stores, Target, Views,
    new_overlay, preserve_views,
};
use crate::ops::framework::files_to_lock::FilesToLock;
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::locked_host::{LockedHost, files_of, has_secrets};
use crate::ops::framework::locks::Locks;
use crate::ops::framework::plan::Job;
use crate::ops::framework::trash::{Batch, TrashItem};
use crate::ops::{
    Commit, CommittedLayer, Error, Outcome, Phase, Plan, Progress, Relinked, Request, Uncommit,
};
use crate::units::count;

/// Bytes moved between two looks at whether to go on.
const PIECE: u64 = 16 << 20;

/// A file and what it is.
#[derive(Debug)]
pub(super) struct MergedFile {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// Bytes it takes on disk.
    pub(super) bytes: u64,
}

/// An image that was built on a merged layer, and the name by which it will know the base.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) path: PathBuf,
    pub(super) recorded: OsString,
}

/// An image that has views to be kept intact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PreservedImage {
    pub(super) path: PathBuf,
    pub(super) views: Views,
    /// The number, in the chain of the uppermost layer, of the layer it is built on.
    pub(super) on: usize,
}

/// An overlay that keeps what the base shows now.
#[derive(Debug, Clone)]
pub(super) struct KeepOld {
    pub(super) path: PathBuf,
    pub(super) options: CreateOptions,
    /// A commit that was cut off has made it already.
    pub(super) is_there: bool,
}

/// Everything decided when the plan was made.
#[derive(Debug)]
pub(super) struct CommitJob {
    /// The layers to be merged, the uppermost first.
    pub(super) run: Vec<MergedFile>,
    pub(super) base: MergedFile,
    /// Every file that is opened.
    pub(super) files_to_lock: FilesToLock,
    pub(super) children: Vec<Child>,
    pub(super) kept: Vec<PreservedImage>,
    pub(super) keep_old: Option<KeepOld>,
    pub(super) layer: CommittedLayer,
    /// Bytes to be copied, for the progress.
    pub(super) bytes: u64,
    pub(super) undo: Option<Request>,
    /// What the children's headers say before.
    pub(super) were: Vec<Relinked>,
    pub(super) keys: Keys,
}

/// Work that may be stopped, but reports no bytes of its own.
struct Looking<'a>(&'a Progress);

impl ProgressSink for Looking<'_> {
    fn advance(&self, _bytes: u64) -> bool {
        !self.0.is_cancelled()
    }
}

impl Job for CommitJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Collect, 0);
        let locks = self.files_to_lock.lock(plan)?;
        self.execute(plan, &locks, progress)
    }
}

impl CommitJob {
    /// Everything, with the files locked and looked at.
    pub(super) fn execute(
        &self,
        plan: &Plan,
        locks: &Locks,
        progress: &Progress,
    ) -> Result<Outcome, Error> {
        let host = &LockedHost::new(plan.host(), locks);
        // A folder that takes no trash is found out before anything is written.
        let batch = self.prepare_trash(plan)?;
        if let Err(error) = self.merge(host, progress) {
            batch.into_iter().for_each(Batch::give_up);
            return Err(self.failed(error));
        }
        let mut touched = vec![self.base.path.clone()];
        touched.extend(self.run.iter().map(|member| member.path.clone()));
        touched.extend(self.kept.iter().map(|kept| kept.path.clone()));
        touched.extend(self.children.iter().map(|child| child.path.clone()));
        touched.extend(self.keep_old.iter().map(|old| old.path.clone()));
        let mut remarks = Vec::new();
        let mut entry = None;
        if let Some(batch) = batch {
            progress.enter(Phase::CleanUp, 0);
            remarks.extend(batch.remarks().iter().cloned());
            entry = Some(batch.name().to_owned());
            // Whoever had a layer as its disk has the base, which shows the same.
            plan.redefine_sources()?;
            // The merge is done: the layers go whatever was asked meanwhile.
            touched.extend(batch.execute(&Progress::new())?);
        }
        touched.sort();
        touched.dedup();
        Ok(Outcome {
            summary: self.summary(entry.as_deref()),
            touched,
            undo: self.back(entry),
            remarks,
        })
    }

    /// What takes it back, where the old content of the base is kept.
    fn back(&self, entry: Option<String>) -> Option<Request> {
        let undo = self.undo.clone()?;
        match (entry, undo) {
            (Some(entry), Request::Commit(Commit { overlay, .. })) => {
                Some(Request::Uncommit(Uncommit {
                    old: overlay,
                    layers: self.run.iter().map(|member| member.path.clone()).collect(),
                    entry,
                    children: self.were.clone(),
                }))
            }
            (_, undo) => Some(undo),
        }
    }

    fn top(&self) -> Option<&MergedFile> {
        self.run.first()
    }

    fn top_name(&self) -> String {
        self.top().map_or_else(String::new, |top| name(&top.path))
    }

    fn summary(&self, entry: Option<&str>) -> String {
        let top = self.top_name();
        let base = name(&self.base.path);
        let between = match self.run.len() {
            0 | 1 => String::new(),
            n => format!(" and {} below it", count(n - 1, "layer")),
        };
        let gone = match entry {
            Some(entry) => {
                let verb = if self.run.len() > 1 { "are" } else { "is" };
                format!("{top}{between} {verb} in the trash as {entry}")
            }
            None => format!("{top} is an empty layer on it now"),
        };
        let children = match self.children.len() {
            0 => String::new(),
            1 if self.run.len() == 1 => format!(", its child is built on {base} now"),
            n if self.run.len() == 1 => format!(", its {n} children are built on {base} now"),
            n => format!(", {} built on {base} now", count(n, "image")),
        };
        let moved: Vec<&PathBuf> = self.children.iter().map(|child| &child.path).collect();
        let mut others: Vec<&PathBuf> = self
            .kept
            .iter()
            .map(|kept| &kept.path)
            .filter(|path| !moved.contains(path))
            .collect();
        others.dedup();
        let kept = match others.len() {
            0 => String::new(),
            n => format!("; {} kept intact", count(n, "other image")),
        };
        let old = self.keep_old.as_ref().map_or_else(String::new, |old| {
            format!("; {} shows what {base} showed", name(&old.path))
        });
        let top_path = self.top().map_or_else(String::new, |top| shown(&top.path));
        format!(
            "committed {top_path}{between} into {}; {gone}{children}{kept}{old}",
            shown(&self.base.path)
        )
    }

    /// Everything but the trash: afterwards nothing needs the layers' content any more.
    fn merge(&self, host: &dyn Host, progress: &Progress) -> image::Result<()> {
        self.keep(&self.kept, host, progress)?;
        // Only now: a merged layer whose snapshots were kept may have moved what it holds.
        let chain = &self.open_chain(host)?;
        let base = chain.without(self.run.len());
        if let Some(old) = self.keep_old.as_ref().filter(|old| !old.is_there) {
            let now = BackingView::of(base.clone());
            let merged = BackingView::merged(chain.clone(), base.clone());
            let change = BackingChange {
                old: &now,
                new: &merged,
                judge: CompareBy::Tables,
                keys: &self.keys,
            };
            let secret = old.options.encryption.is_none() && has_secrets(&base);
            let making = LockedHost::unlocked(host).for_copies(files_of(&base), secret);
            new_overlay(&making, &old.path, &old.options, change, progress)?;
        }
        self.copy(host, chain, base, progress)?;
        progress.enter(Phase::Switch, 0);
        self.relink_children(host)?;
        match self.layer {
            CommittedLayer::Keep => self.empty(host),
            CommittedLayer::Trash => Ok(()),
        }
    }

    /// These receive what they would lose.
    pub(super) fn keep(
        &self,
        all: &[PreservedImage],
        host: &dyn Host,
        progress: &Progress,
    ) -> image::Result<()> {
        progress.enter(Phase::Copy, self.bytes);
        for kept in all {
            let below = BackingSwitch {
                backing_views: &|| {
                    let chain = self.open_chain(host)?;
                    let old = BackingView::of(chain.without(kept.on));
                    let base = chain.without(self.run.len());
                    Ok((old, BackingView::merged(chain, base)))
                },
                judge: CompareBy::Tables,
                keys: &self.keys,
                stores: Stores::Plain,
            };
            preserve_views(host, &kept.path, kept.views, below, progress)?;
        }
        Ok(())
    }

    pub(super) fn prepare_trash<'p>(&self, plan: &'p Plan) -> Result<Option<Batch<'p>>, Error> {
        if self.layer == CommittedLayer::Keep {
            return Ok(None);
        }
        let layers = self.run.iter().map(|member| (&member.path, member.bytes));
        prepare_trash(plan, layers, &self.base.path).map(Some)
    }

    /// The uppermost layer and what it is built on, as they are now.
    fn open_chain(&self, host: &dyn Host) -> image::Result<Chain> {
        let top = self.top().unwrap_or(&self.base);
        let chain = Chain::open(host, &top.path, Some(&top.format), &|_| true)?;
        // Opened when the plan was made, so that nothing has to be derived now.
        chain.unlock(&self.keys, &NoProgress)?;
        Ok(chain)
    }

    pub(super) fn failed(&self, error: image::Error) -> Error {
        let top = self.top_name();
        if matches!(error.kind, ErrorKind::Cancelled) {
            return Error::cancelled(format!(
                "stopped: {} holds part of {top} now, which still shows what it showed; commit it again to finish",
                shown(&self.base.path),
            ));
        }
        Error::of_image(
            format!(
                "{error}. {} and what is built on it still show what they showed; once that is mended, commit it again",
                self.top().map_or_else(String::new, |top| shown(&top.path))
            ),
            error,
        )
    }

    /// The base receives everything the merged layers hold.
    fn copy(
        &self,
        host: &dyn Host,
        chain: &Chain,
        below: Chain,
        progress: &Progress,
    ) -> image::Result<()> {
        let path = &self.base.path;
        let size = chain.virtual_size();
        let looking = Looking(progress);
        let mut base = Target::open(host, path, &self.base.format, below, Root::Active, &looking)?;
        base.begin()?;
        base.grow(size)?;
        for run in chain.runs(self.run.len(), 0, size) {
            let run = run?;
            if run.extent.state == State::Unallocated {
                continue;
            }
            let layer = run.layer.and_then(|index| chain.layers().get(index));
            let mut at = run.extent.start;
            while let Some(piece) = run.extent.clip(at, at.saturating_add(PIECE)) {
                match layer {
                    Some(layer) => base.write_from(layer, piece)?,
                    None => base.write_zeros(piece.start, piece.len)?,
                }
                at = piece.end();
                let counted = if piece.state == State::Zero {
                    0
                } else {
                    piece.len
                };
                if progress.advance(counted).is_err() {
                    base.finish()?;
                    return Err(image::Error::new(path, ErrorKind::Cancelled));
                }
            }
        }
        base.finish()
    }

    /// What was built on merged layers is built on the base from now on, each by one write of its
    /// header.
    pub(super) fn relink_children(&self, host: &dyn Host) -> image::Result<()> {
        for Child { path, recorded } in &self.children {
            let file = ImageFile::open(host, path, Access::ReadWrite)?;
            image::relink(&file, recorded, &self.base.format)?;
        }
        Ok(())
    }

    /// The uppermost layer gives up what it holds; the base shows the same.
    fn empty(&self, host: &dyn Host) -> image::Result<()> {
        let Some(top) = self.top() else {
            return Ok(());
        };
        let chain = self.open_chain(host)?;
        let mut overlay = Target::open(
            host,
            &top.path,
            &Format::Qcow2,
            chain,
            Root::Active,
            &NoProgress,
        )?;
        overlay.empty()
    }
}

/// Prepares layers that were merged into `base`, each with its bytes, to go to the trash. The uppermost comes first:
/// what is left of a run that is cut off here has nobody above it, and the trash brings back what went.
///
/// # Errors
/// [`Error`] where a folder takes no trash.
pub(super) fn prepare_trash<'p, 'l>(
    plan: &'p Plan,
    layers: impl Iterator<Item = (&'l PathBuf, u64)>,
    base: &Path,
) -> Result<Batch<'p>, Error> {
    let items = layers.map(|(path, bytes)| TrashItem {
        path: path.clone(),
        why: format!("committed into {}", name(base)),
        bytes,
        step: 0,
        file: None,
    });
    let state_dir = plan.context().state_dir.as_deref();
    Batch::prepare(
        plan.host(),
        state_dir,
        plan.reason("commit"),
        items.collect(),
    )
}
