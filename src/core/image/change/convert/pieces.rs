//! The sources cut into pieces that one worker deals with at a time: which bytes of the new disk come
//! from where. Nothing is read here but tables.

use std::path::Path;
use std::sync::Arc;

use crate::image::error::{OfFile, Result};
use crate::image::{Chain, Extent, Layer, Resolved, State, internal};

use super::options::ConvertFrom;
use super::sparse::{LONGEST, SparseSize};

/// Pieces of a raw target start at multiples of this.
pub(super) const RAW_UNIT: u64 = 1 << 16;

/// Bytes of a piece, unless a cluster of the target is larger.
const PIECE: u64 = 1 << 20;

/// Bytes of the new disk that are stored in one way.
#[derive(Debug, Clone)]
pub(super) struct SourceRun {
    /// Where on the new disk.
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) state: State,
    /// Who stores them, and where on its own disk they are.
    pub(super) layer: Option<(Arc<Layer>, u64)>,
}

impl SourceRun {
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }

    /// The image that stores it, by name; of no name where none does.
    pub(super) fn path(&self) -> &Path {
        let layer = self.layer.as_ref();
        layer.map_or(Path::new(""), |(layer, _)| layer.path())
    }

    pub(super) fn holds_data(&self) -> bool {
        matches!(self.state, State::Data { .. } | State::Compressed { .. })
    }

    fn clipped(&self, end: u64) -> Self {
        Self {
            len: self.len.min(end.saturating_sub(self.start)),
            ..self.clone()
        }
    }
}

/// What one worker, or the writer alone, deals with.
#[derive(Debug)]
pub(super) enum Piece {
    /// Whole units that hold nothing, or read as zero, by their tables.
    Gap {
        start: u64,
        len: u64,
        /// Whether the target's backing file is to show through.
        absent: bool,
    },
    /// Bytes to be read.
    Work {
        start: u64,
        len: u64,
        runs: Vec<SourceRun>,
    },
}

/// A walk over the sources.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    from: &'a ConvertFrom,
    /// The chain being walked, and where its disk starts on the new one.
    index: usize,
    base: u64,
    at: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(from: &'a ConvertFrom) -> Self {
        Self {
            from,
            index: 0,
            base: 0,
            at: 0,
        }
    }

    fn chain(&mut self) -> Option<&'a Chain> {
        loop {
            let chain = self.from.sources.get(self.index)?;
            let end = self.base.saturating_add(chain.virtual_size());
            if self.at < end {
                return Some(chain);
            }
            self.base = end;
            self.index += 1;
        }
    }

    /// The next run, which ends at `end` of the new disk at the latest; none at the end of all.
    pub(super) fn next_run(&mut self, end: u64) -> Result<Option<SourceRun>> {
        let Some(chain) = self.chain() else {
            return Ok(None);
        };
        let local = self.at - self.base;
        let end = end.saturating_sub(self.base).min(chain.virtual_size());
        let found = match (self.from.layers, &self.from.salvage) {
            (layers, Some(lost)) => {
                let found = saved(chain, layers, local, end);
                found.unwrap_or_else(|until| {
                    let len = until.clamp(local + 1, end.max(local + 1)) - local;
                    lost.add(self.at, len);
                    zeros(local, len)
                })
            }
            (None, None) => chain.resolve(local, end)?,
            (Some(layers), None) => chain.resolve_in(0..layers, local, end)?,
        };
        let run = SourceRun {
            start: self.at,
            len: found.extent.len.min(end - local).max(1),
            state: found.extent.state,
            layer: chain
                .decider(&found)?
                .map(|layer| (Arc::clone(layer), local)),
        };
        self.at = run.end();
        Ok(Some(run))
    }

    /// What a run that no copied layer holds shows through the layers below. Only for the one chain
    /// of a target with a backing file.
    fn shown(&self, run: &SourceRun, runs: &mut Vec<SourceRun>) -> Result<()> {
        let path = self.from.sources.first().map_or(Path::new(""), Chain::name);
        let chain = internal::item(&self.from.sources, self.index).of(path)?;
        let mut at = run.start;
        while at < run.end() {
            let found = chain.resolve(at - self.base, run.end() - self.base)?;
            let len = found.extent.len.clamp(1, run.end() - at);
            runs.push(SourceRun {
                start: at,
                len,
                state: found.extent.state,
                layer: chain
                    .decider(&found)?
                    .map(|layer| (Arc::clone(layer), at - self.base)),
            });
            at += len;
        }
        Ok(())
    }
}

/// Who decides a run for whoever takes what there is: what the tables say, as far as they can be read and the
/// file has what they say; else how far what is lost reaches.
fn saved(
    chain: &Chain,
    layers: Option<usize>,
    start: u64,
    end: u64,
) -> std::result::Result<Resolved, u64> {
    let asked = layers.unwrap_or(chain.layers().len());
    let mut found = chain.resolve_or_lost(0..asked, start, end)?;
    if layers.is_none() && found.extent.state == State::Unallocated {
        found.extent.state = State::Zero;
    }
    let layer = found.layer.and_then(|index| chain.layers().get(index));
    if let (Some(Layer::Qcow2(image)), State::Data { host }) =
        (layer.map(|layer| &**layer), found.extent.state)
    {
        // What the tables place past the end of the file is gone, not zero.
        let held = image.stored_in().len().unwrap_or(u64::MAX);
        let held = held.checked_next_multiple_of(image.header().geometry.cluster_size());
        let there = held.unwrap_or(u64::MAX).saturating_sub(host);
        if there == 0 {
            return Err(found.extent.end());
        }
        found.extent.len = found.extent.len.min(there);
    }
    Ok(found)
}

/// Zeros that no layer holds.
fn zeros(start: u64, len: u64) -> Resolved {
    let state = State::Zero;
    Resolved {
        extent: Extent { start, len, state },
        layer: None,
    }
}

/// The pieces of a conversion, in order and without gaps between them.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    walk: Walk<'a>,
    /// What a piece starts and ends at a multiple of: the target's cluster.
    unit: u64,
    /// The most bytes of a piece.
    piece: u64,
    at: u64,
    size: u64,
    /// A run that reaches beyond the piece it was met in.
    held: Option<SourceRun>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(from: &'a ConvertFrom, unit: u64) -> Self {
        // Zeros are counted within a piece.
        let piece = match from.sparse == SparseSize::default() {
            true => PIECE,
            false => LONGEST,
        };
        Self {
            walk: Walk::new(from),
            unit,
            piece: piece.max(unit),
            at: 0,
            size: from.virtual_size(),
            held: None,
        }
    }

    pub(super) fn next_piece(&mut self) -> Result<Option<Piece>> {
        if self.at >= self.size {
            return Ok(None);
        }
        let start = self.at;
        let Some(first) = self.next_run()? else {
            return Ok(None);
        };
        let is_stored = self.walk.from.sparse.stores_all() && first.state == State::Zero;
        if !first.holds_data() && !is_stored {
            // The whole units of it need nobody to look at.
            let end = if first.end() == self.size {
                self.size
            } else {
                first.end() - first.end() % self.unit
            };
            if end > start {
                let absent = first.state == State::Unallocated;
                if first.end() > end {
                    self.held = Some(SourceRun {
                        start: end,
                        len: first.end() - end,
                        ..first
                    });
                }
                self.at = end;
                return Ok(Some(Piece::Gap {
                    start,
                    len: end - start,
                    absent,
                }));
            }
        }
        let end = start.saturating_add(self.piece).min(self.size);
        let mut runs: Vec<SourceRun> = Vec::new();
        let mut next = Some(first);
        while let Some(run) = next {
            let inside = run.clipped(end);
            if run.end() > end {
                let by = end - run.start;
                self.held = Some(SourceRun {
                    start: end,
                    len: run.end() - end,
                    state: run.state.skip(by),
                    layer: run.layer.map(|(layer, at)| (layer, at + by)),
                });
            }
            match runs.last_mut() {
                // What no layer holds comes as many runs, from many tables.
                Some(last)
                    if last.state == State::Unallocated && inside.state == State::Unallocated =>
                {
                    last.len += inside.len;
                }
                _ => runs.push(inside),
            }
            if runs.last().is_some_and(|run| run.end() >= end) {
                break;
            }
            next = self.next_run()?;
        }
        self.at = end;
        let runs = self.completed(runs)?;
        Ok(Some(Piece::Work {
            start,
            len: end - start,
            runs,
        }))
    }

    fn next_run(&mut self) -> Result<Option<SourceRun>> {
        match self.held.take() {
            Some(run) => Ok(Some(run)),
            None => self.walk.next_run(u64::MAX),
        }
    }

    /// A cluster of which a copied layer holds a part becomes the target's own, so that the rest of it
    /// has to be copied from below.
    fn completed(&self, runs: Vec<SourceRun>) -> Result<Vec<SourceRun>> {
        if self.walk.from.layers.is_none() {
            return Ok(runs);
        }
        let mut all = Vec::with_capacity(runs.len());
        let mut held_until = 0;
        for (index, run) in runs.iter().enumerate() {
            if run.state != State::Unallocated {
                held_until = run.end().next_multiple_of(self.unit);
                all.push(run.clone());
                continue;
            }
            // The part before belongs to a cluster that starts with data, the part behind to one
            // that goes on with data; what is between belongs to the backing file.
            let head = held_until.clamp(run.start, run.end());
            let goes_on = runs.get(index + 1).is_some() && !run.end().is_multiple_of(self.unit);
            let tail = if goes_on {
                (run.end() - run.end() % self.unit).clamp(head, run.end())
            } else {
                run.end()
            };
            let part = |from: u64, to: u64| SourceRun {
                start: from,
                len: to - from,
                ..run.clone()
            };
            if head > run.start {
                self.walk.shown(&part(run.start, head), &mut all)?;
            }
            if tail > head {
                all.push(part(head, tail));
            }
            if run.end() > tail {
                self.walk.shown(&part(tail, run.end()), &mut all)?;
            }
        }
        Ok(all)
    }
}
