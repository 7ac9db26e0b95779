//! A view that receives what it would lose.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crate::host::Host;
use crate::image::change::preserve::backing_change::{BackingChange, CompareBy, Stores};
use crate::image::change::preserve::compare_queue::{Candidate, Chunk, CompareQueue, Differing};
use crate::image::change::preserve::pieces::{UnitRun, UnitRuns};
use crate::image::change::preserve::units::{WINDOW, absent, groups, is_zero, over, unit_of};
use crate::image::error::{OfFile, Result};
use crate::image::internal::{distance, part};
use crate::image::read::backing_view::{BackingDiff, ViewRun};
use crate::image::{Error, ErrorKind, Format, Layer, ProgressSink, Root, Source, State, Target};

/// Bytes moved between two looks at whether to go on, where they need not be looked at.
const PIECE: u64 = 16 << 20;

/// Clones must lie on the filesystem's blocks; this is the largest usual block.
const BLOCK: u64 = 4096;

/// Copies into one view, of that root, what it would lose, stored so.
pub(super) fn preserve_view(
    host: &dyn Host,
    path: &Path,
    view: Layer,
    (root, stores): (Root, Stores),
    change: BackingChange<'_>,
    progress: &dyn ProgressSink,
) -> Result<()> {
    let Some(unit) = unit_of(&view) else {
        return Ok(());
    };
    let top = Arc::new(view);
    let pieces = UnitRuns {
        difference: BackingDiff::new(change.old, change.new)?,
        unit,
    };
    thread::scope(|scope| {
        let mut preserver = Preserver {
            host,
            path,
            root,
            stores,
            top: Arc::clone(&top),
            change,
            unit,
            progress,
            target: None,
            candidates: CompareQueue::new(scope, path, change, unit),
        };
        for extent in absent(&top) {
            let extent = extent?;
            let mut at = extent.start;
            while let Some(piece) = pieces.next(at, extent.end())? {
                at = piece.end();
                preserver.keep(piece)?;
            }
            preserver.go_on(0)?;
        }
        while let Some(chunk) = preserver.candidates.next()? {
            preserver.settle(chunk)?;
        }
        preserver.finish()
    })
}

/// One view that receives what it would lose.
struct Preserver<'scope, 'env> {
    host: &'env dyn Host,
    path: &'env Path,
    root: Root,
    stores: Stores,
    top: Arc<Layer>,
    change: BackingChange<'env>,
    unit: u64,
    progress: &'env dyn ProgressSink,
    /// Opened when there is something to write.
    target: Option<Target>,
    candidates: CompareQueue<'scope, 'env>,
}

impl Preserver<'_, '_> {
    fn target(&mut self) -> Result<&mut Target> {
        if self.target.is_none() {
            let view = over(Arc::clone(&self.top), self.change.old.front());
            let mut target = Target::open(
                self.host,
                self.path,
                &Format::Qcow2,
                view,
                self.root,
                self.progress,
            )?;
            target.begin_same_content()?;
            if self.stores == Stores::Compressed {
                target.compress()?;
            }
            let (old, new) = (self.change.old, self.change.new);
            target.expect_backing_size(old.virtual_size().max(new.virtual_size()));
            self.target = Some(target);
        }
        match &mut self.target {
            Some(target) => Ok(target),
            None => Err(Error::new(self.path, ErrorKind::NotQcow2)),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.target.as_mut().map_or(Ok(()), Target::finish)
    }

    fn go_on(&mut self, bytes: u64) -> Result<()> {
        if self.progress.advance(bytes) {
            return Ok(());
        }
        self.finish()?;
        Err(Error::new(self.path, ErrorKind::Cancelled))
    }

    fn keep(&mut self, piece: UnitRun) -> Result<()> {
        let (start, end) = (piece.start, piece.end());
        let Some((old, new)) = piece.places else {
            return self.candidate(start, end, None);
        };
        let mut at = start;
        while at < end {
            at = self.keep_some(at, end, &old, &new)?;
        }
        Ok(())
    }

    /// Leaves it to the bytes whether this has to be copied.
    fn candidate(
        &mut self,
        start: u64,
        end: u64,
        places: Option<(&ViewRun, &ViewRun)>,
    ) -> Result<()> {
        let (old, new) = places.map(|(old, new)| (old.clone(), new.clone())).unzip();
        let chunk = self.candidates.add(Candidate {
            start,
            end,
            old,
            new,
        })?;
        chunk.map_or(Ok(()), |chunk| self.settle(chunk))
    }

    /// Deals with the first bytes of a run; returns where it stopped.
    fn keep_some(&mut self, at: u64, end: u64, old: &ViewRun, new: &ViewRun) -> Result<u64> {
        let judged = self.change.judge == CompareBy::Tables;
        let as_it_lies = judged || new.is_zero() && self.may_clone(old, at)?;
        if !as_it_lies {
            let to = (at - at % WINDOW).saturating_add(WINDOW).min(end);
            self.candidate(at, to, Some((old, new)))?;
            return Ok(to);
        }
        // Whether blocks can be shared turns out with the first ones.
        let first = !judged && self.target.is_none();
        let most = if first { self.unit } else { PIECE };
        let to = (at - at % self.unit)
            .saturating_add(most.max(self.unit))
            .min(end);
        let Some(extent) = old.extent.clip(at, to) else {
            return Ok(to);
        };
        match &old.layer {
            Some(layer) if !old.is_zero() => self.target()?.write_from(layer, extent)?,
            _ => self.target()?.write_zeros(at, to - at)?,
        }
        // What only has to say that it is zero is not counted as copied.
        self.go_on(if judged && old.is_zero() { 0 } else { to - at })?;
        Ok(to)
    }

    /// Whether the blocks of this run can be shared, as far as is known.
    fn may_clone(&self, old: &ViewRun, at: u64) -> Result<bool> {
        let State::Data { host } = old.extent.state.skip(at - old.extent.start) else {
            return Ok(false);
        };
        let lies_well = host.is_multiple_of(BLOCK) && self.unit.is_multiple_of(BLOCK);
        Ok(lies_well && self.target.as_ref().is_none_or(Target::may_clone))
    }

    /// Copies what differs of runs that were in doubt.
    fn settle(&mut self, chunk: Chunk) -> Result<()> {
        for differing in chunk.differing() {
            self.copy(differing.of(self.path)?)?;
        }
        let bytes = chunk.len;
        self.candidates.reuse(chunk);
        self.go_on(bytes)
    }

    /// Copies a run that turned out to differ.
    fn copy(&mut self, differing: Differing<'_>) -> Result<()> {
        let Range { start, end } = differing.range;
        let (candidate, bytes) = (differing.candidate, differing.old);
        if candidate.was_zero() {
            return self.target()?.write_zeros(start, end - start);
        }
        let old = candidate.old.as_ref();
        let shared = match old.and_then(|old| Some((old, old.layer.as_ref()?))) {
            Some((old, layer)) if self.target.is_some() && self.may_clone(old, start)? => {
                old.extent.clip(start, end).map(|extent| (layer, extent))
            }
            _ => None,
        };
        if let Some((layer, extent)) = shared {
            return self.target()?.write_from(layer, extent);
        }
        // Zeros between are told by entries, not stored.
        let zeros = groups(start, end, self.unit, |range| {
            Ok(is_zero(part(bytes, range)?))
        })
        .of(self.path)?;
        let mut done = start;
        for zero in zeros {
            self.store(bytes, start, done, zero.start)?;
            self.target()?
                .write_zeros(zero.start, zero.end - zero.start)?;
            done = zero.end;
        }
        self.store(bytes, start, done, end)
    }

    /// Writes `start..end` out of bytes that begin at `from`.
    fn store(&mut self, bytes: &[u8], from: u64, start: u64, end: u64) -> Result<()> {
        let bytes = distance(from, start)
            .and_then(|start| part(bytes, start..distance(from, end)?))
            .of(self.path)?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.target()?
            .write(start, end - start, Source::Bytes(bytes))
    }
}
