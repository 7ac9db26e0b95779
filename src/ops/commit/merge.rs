//! The merge itself. Order: others are kept intact, the base receives the overlay's content, and
//! only when all of that is on stable storage are children re-parented and the overlay given up. At
//! every instant the overlay and everything built on it show what they showed.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::host::{Access, Host};
use crate::image::{
    self, Chain, ErrorKind, Extent, Format, Keys, Layer, Pace, Root, State, Target,
};

use super::super::members::Members;
use super::super::trash::{Batch, Item};
use super::super::words::{count, name, shown};
use super::super::{CommittedLayer, Error, Job, Outcome, Phase, Plan, Progress};
use super::preserve::{Change, keep_views};

/// Bytes moved between two looks at whether to go on.
const PIECE: u64 = 16 << 20;

/// A file and what it is.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) path: PathBuf,
    pub(super) format: Format,
}

/// An image that was built on the overlay, and the name by which it will know the base.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) path: PathBuf,
    pub(super) recorded: OsString,
}

/// Everything decided when the plan was made.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) overlay: Member,
    pub(super) base: Member,
    /// Every file that is opened.
    pub(super) members: Members,
    pub(super) children: Vec<Child>,
    /// Images that have views to be kept intact.
    pub(super) preserve: Vec<PathBuf>,
    pub(super) layer: CommittedLayer,
    /// Bytes to be copied, for the progress.
    pub(super) bytes: u64,
    pub(super) overlay_bytes: u64,
    pub(super) keys: Keys,
}

/// Work that may be stopped, but reports no bytes of its own.
struct Looking<'a>(&'a Progress);

impl Pace for Looking<'_> {
    fn advance(&self, _bytes: u64) -> bool {
        !self.0.is_cancelled()
    }
}

/// Work that may not be stopped any more.
struct Switching;

impl Pace for Switching {
    fn advance(&self, _bytes: u64) -> bool {
        true
    }
}

impl Job for Commit {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let _locks = self.members.lock(host)?;
        plan.verify_pins()?;
        let chain = self.open_chain(host).map_err(|error| self.failed(&error))?;
        // A folder that takes no trash is found out before anything is written.
        let batch = match self.layer {
            CommittedLayer::Keep => None,
            CommittedLayer::Trash => Some(self.prepare_trash(plan)?),
        };
        let merged = self.merge(host, &chain, progress);
        let batch = match merged {
            Ok(()) => batch,
            Err(error) => {
                batch.into_iter().for_each(Batch::give_up);
                return Err(self.failed(&error));
            }
        };
        let mut touched = vec![self.base.path.clone(), self.overlay.path.clone()];
        touched.extend(self.preserve.iter().cloned());
        let mut remarks = Vec::new();
        let gone = match batch {
            None => format!("{} is an empty layer on it now", name(&self.overlay.path)),
            Some(batch) => {
                touched.extend(self.children.iter().map(|child| child.path.clone()));
                progress.enter(Phase::CleanUp, 0);
                remarks.extend(batch.remarks().iter().cloned());
                let entry = batch.name().to_owned();
                // The merge is done: the overlay goes whatever was asked meanwhile.
                touched.extend(batch.carry_out(&Progress::new())?);
                let layer = name(&self.overlay.path);
                let base = name(&self.base.path);
                match self.children.len() {
                    0 => format!("{layer} is in the trash as {entry}"),
                    1 => format!(
                        "{layer} is in the trash as {entry}, its child is built on {base} now"
                    ),
                    n => format!(
                        "{layer} is in the trash as {entry}, its {n} children are built on {base} now"
                    ),
                }
            }
        };
        let kept = match self.preserve.len() {
            0 => String::new(),
            n => format!("; {} kept intact", count(n, "other image")),
        };
        Ok(Outcome {
            summary: format!(
                "committed {} into {}; {gone}{kept}",
                shown(&self.overlay.path),
                shown(&self.base.path)
            ),
            touched,
            undo: None,
            remarks,
        })
    }
}

impl Commit {
    /// Everything but the trash: afterwards nothing needs the overlay's content any more.
    fn merge(&self, host: &dyn Host, chain: &Chain, progress: &Progress) -> image::Result<()> {
        progress.enter(Phase::Copy, self.bytes);
        self.keep_others(host, chain, progress)?;
        self.copy(host, chain, progress)?;
        progress.enter(Phase::Switch, 0);
        match self.layer {
            CommittedLayer::Keep => self.empty(host, chain),
            CommittedLayer::Trash => self.relink_children(host),
        }
    }

    fn prepare_trash<'p>(&self, plan: &'p Plan) -> Result<Batch<'p>, Error> {
        let item = Item {
            path: self.overlay.path.clone(),
            why: format!("committed into {}", name(&self.base.path)),
            bytes: self.overlay_bytes,
            step: 0,
        };
        let state_dir = plan.context().state_dir.as_deref();
        Batch::prepare(plan.host(), state_dir, "commit", vec![item])
    }

    /// The overlay and what it is built on, as they are now.
    fn open_chain(&self, host: &dyn Host) -> image::Result<Chain> {
        let Member { path, format } = &self.overlay;
        let chain = Chain::open(host, path, Some(format), &|_| true)?;
        // Opened when the plan was made, so that nothing has to be derived now.
        chain.unlock(&self.keys, &Switching)?;
        Ok(chain)
    }

    fn failed(&self, error: &image::Error) -> Error {
        if matches!(error.kind, ErrorKind::Stopped) {
            return Error::Cancelled(format!(
                "stopped: {} holds part of {} now, which still shows what it showed; commit it again to finish",
                shown(&self.base.path),
                name(&self.overlay.path)
            ));
        }
        Error::Failed(format!(
            "{error}. {} and what is built on it still show what they showed; once that is mended, commit it again",
            shown(&self.overlay.path)
        ))
    }

    /// Every view that is to be kept intact receives what it would lose, all of it on stable storage
    /// before the base changes.
    fn keep_others(
        &self,
        host: &dyn Host,
        chain: &Chain,
        progress: &Progress,
    ) -> image::Result<()> {
        let Some(overlay) = chain.layers().first() else {
            return Ok(());
        };
        let below = chain.below();
        let size_below = overlay.virtual_size().max(below.virtual_size());
        for path in &self.preserve {
            let mut ranges =
                |start: u64, end: u64| held_ranges(overlay, start, end.min(overlay.virtual_size()));
            let mut change = Change {
                ranges: &mut ranges,
                below: &below,
                size_below,
                keys: &self.keys,
            };
            keep_views(
                host,
                path,
                *path != self.overlay.path,
                &mut change,
                progress,
            )?;
        }
        Ok(())
    }

    /// The base receives everything the overlay holds.
    fn copy(&self, host: &dyn Host, chain: &Chain, progress: &Progress) -> image::Result<()> {
        let Some(overlay) = chain.layers().first() else {
            return Ok(());
        };
        let path = &self.base.path;
        let looking = Looking(progress);
        let mut base = Target::open(
            host,
            path,
            &self.base.format,
            chain.below(),
            Root::Active,
            &looking,
        )?;
        base.begin()?;
        base.grow(overlay.virtual_size())?;
        for extent in overlay.extents(0, overlay.virtual_size()) {
            let extent = extent?;
            if extent.state == State::Absent {
                continue;
            }
            let mut at = extent.start;
            while let Some(piece) = extent.clip(at, at.saturating_add(PIECE)) {
                base.write_from(overlay, piece)?;
                at = piece.end();
                let counted = if piece.state == State::Zero {
                    0
                } else {
                    piece.len
                };
                if progress.advance(counted).is_err() {
                    base.finish()?;
                    return Err(image::Error::new(path, ErrorKind::Stopped));
                }
            }
        }
        base.finish()
    }

    /// The overlay's children are built on the base from now on, each by one write of its header.
    fn relink_children(&self, host: &dyn Host) -> image::Result<()> {
        // Opened anew: the base's tables are not those it had before the merge.
        let chain = &self.open_chain(host)?;
        let Some(overlay) = chain.layers().first() else {
            return Ok(());
        };
        let base = Layer::open(host, &self.base.path, &self.base.format)?;
        let keys = &self.keys;
        let (end, base_end) = (overlay.virtual_size(), base.virtual_size());
        for child in &self.children {
            if end < base_end {
                // Past the overlay's end the children read zeros, and would read the base there.
                let mut ranges = |start: u64, to: u64| {
                    let range = (start.max(end), to.min(base_end));
                    Ok(if range.0 < range.1 {
                        vec![range]
                    } else {
                        Vec::new()
                    })
                };
                let mut change = Change {
                    ranges: &mut ranges,
                    below: chain,
                    size_below: base_end,
                    keys,
                };
                keep_views(host, &child.path, true, &mut change, &Switching)?;
            }
            let file = host
                .open(&child.path, Access::ReadWrite)
                .map_err(|error| image::Error::io(&child.path, "open for writing", error))?;
            image::relink(&child.path, file, &child.recorded, &self.base.format)?;
        }
        Ok(())
    }

    /// The overlay gives up what it holds; the base shows the same.
    fn empty(&self, host: &dyn Host, chain: &Chain) -> image::Result<()> {
        let path = &self.overlay.path;
        let mut overlay = Target::open(
            host,
            path,
            &Format::Qcow2,
            chain.clone(),
            Root::Active,
            &Switching,
        )?;
        overlay.empty()
    }
}

/// The ranges in which a layer holds something, in order.
fn held_ranges(layer: &Layer, start: u64, end: u64) -> image::Result<Vec<(u64, u64)>> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for extent in layer.extents(start, end) {
        let extent: Extent = extent?;
        if extent.state == State::Absent {
            continue;
        }
        match ranges.last_mut() {
            Some((_, to)) if *to == extent.start => *to = extent.end(),
            _ => ranges.push((extent.start, extent.end())),
        }
    }
    Ok(ranges)
}
