//! A chain's runs in order: which layer decides them, and how that layer stores them. [`Runs`] looks at each
//! entry of each table once, however often the layers above and below change over.

use std::ops::Range;
use std::sync::Arc;

use crate::image::error::{OfFile, Result};
use crate::image::internal::{self, Fault};
use crate::image::read::joined::{Joined, in_row};
use crate::image::{Chain, Error, ErrorKind, Extent, Layer, Placed, Resolved, State};

/// A run of guest bytes of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The run; absent where no layer holds anything.
    pub(crate) placed: Placed,
    /// The layer that decides, 0 for the top; where none holds anything, the last that was asked.
    pub(crate) layer: usize,
    /// Whether a layer that could not be opened would decide.
    pub(crate) unknown: bool,
}

/// The runs of a chain over a range.
#[derive(Debug)]
pub(crate) struct Runs<'a> {
    chain: &'a Chain,
    /// What each layer said last; it is asked again past the end of that.
    said: Vec<Option<Placed>>,
    at: u64,
    end: u64,
}

impl<'a> Runs<'a> {
    /// The runs over `start..end`, which ends where the chain does at the latest.
    pub(crate) fn new(chain: &'a Chain, start: u64, end: u64) -> Self {
        Self {
            chain,
            said: vec![None; chain.layers().len()],
            at: start,
            end: end.min(chain.virtual_size()),
        }
    }

    fn run(&mut self) -> Result<Option<Run>> {
        let (at, said) = (self.at, &mut self.said);
        let layers = self.chain.layers().iter().enumerate();
        let decided = decide(layers, at, self.end, |index, layer, end| {
            let said = internal::item_mut(said, index).of(layer.path())?;
            if let Some(known) = said.and_then(|said| said.clip(at, end)) {
                return Ok(known);
            }
            let asked = layer.placed_at(at, layer.virtual_size())?;
            *said = Some(asked);
            let told = asked.clip(at, end);
            told.ok_or_else(|| Error::new(layer.path(), Fault::new("a run that lies elsewhere")))
        })?;
        let unknown = decided.by.is_none() && !decided.is_past_end && self.chain.is_cut();
        let found = decided.by.or(decided.last);
        Ok(found.map(|(layer, placed)| Run {
            placed,
            layer,
            unknown,
        }))
    }
}

impl Iterator for Runs<'_> {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        match self.run() {
            Ok(Some(run)) => {
                self.at = run.placed.extent.end();
                Some(Ok(run))
            }
            Ok(None) => {
                self.at = self.end;
                None
            }
            Err(error) => {
                self.at = self.end;
                Some(Err(error))
            }
        }
    }
}

impl Chain {
    /// Which layer decides the bytes from `start` on, and how they are stored there; the run is
    /// never empty and ends at `end` at the latest. Past the end of a layer below another one,
    /// zeros show, whatever lies deeper: so it is in QEMU.
    ///
    /// # Errors
    /// When a table cannot be read or holds an entry that cannot be, or the layer that decides could
    /// not be opened.
    pub fn resolve(&self, start: u64, end: u64) -> Result<Resolved> {
        let mut found = self.resolve_in(0..self.layers().len(), start, end)?;
        if found.extent.state == State::Unallocated {
            if let Some(last) = self.layers().last().filter(|_| self.is_cut()) {
                let why = "it could not be opened".to_owned();
                return Err(Error::new(last.path(), ErrorKind::Backing(why)));
            }
            found.extent.state = State::Zero;
        }
        Ok(found)
    }

    /// As [`Chain::resolve`], asking only these layers, by number: [`State::Unallocated`] where none of
    /// them holds anything and the ones below decide.
    ///
    /// # Errors
    /// As there.
    pub fn resolve_in(&self, layers: Range<usize>, start: u64, end: u64) -> Result<Resolved> {
        self.decide(layers, start, end, Layer::extent_at)
    }

    /// As [`Chain::resolve_in`] for whoever takes what there is: where the tables of the layer that would
    /// decide cannot be read, how far that reaches.
    pub(crate) fn resolve_or_lost(
        &self,
        layers: Range<usize>,
        start: u64,
        end: u64,
    ) -> std::result::Result<Resolved, u64> {
        self.decide(layers, start, end, Layer::extent_or_lost)
    }

    fn decide<E>(
        &self,
        layers: Range<usize>,
        start: u64,
        end: u64,
        ask: impl Fn(&Layer, u64, u64) -> std::result::Result<Extent, E>,
    ) -> std::result::Result<Resolved, E> {
        let asked = self.layers().iter().enumerate();
        let asked = asked.take(layers.end).skip(layers.start);
        let decided = decide(asked, start, end, |_, layer, end| ask(layer, start, end))?;
        if let Some((index, extent)) = decided.by {
            return Ok(Resolved {
                extent,
                layer: Some(index),
            });
        }
        let state = if decided.is_past_end {
            State::Zero
        } else {
            State::Unallocated
        };
        Ok(Resolved {
            extent: Extent {
                start,
                len: decided.end - start,
                state,
            },
            layer: None,
        })
    }

    /// The runs of `start..end` that the uppermost `depth` layers decide, in order, as long as they
    /// are stored in a row; an error is the last item.
    pub fn runs(
        &self,
        depth: usize,
        start: u64,
        end: u64,
    ) -> impl Iterator<Item = Result<Resolved>> + '_ {
        let ask = move |at| self.resolve_in(0..depth, at, end);
        Joined::new(
            in_row(start, end, ask, |run| run.extent.end()),
            |run, next| {
                let extent = run.extent.joined(&next.extent)?;
                (run.layer == next.layer).then_some(Resolved { extent, ..*next })
            },
        )
    }
}

/// What layers, asked from above, say of the bytes from one place on.
struct Decided<T> {
    /// The layer that decides, by number, and what it says.
    by: Option<(usize, T)>,
    /// Where none does: the last that was asked, and what it said.
    last: Option<(usize, T)>,
    /// How far the answer goes.
    end: u64,
    /// Whether the next layer ends before that place: there zeros show, whatever lies deeper. So it is in QEMU.
    is_past_end: bool,
}

/// Asks one layer after the other until one decides the bytes from `start` on: `ask` is given its number, the
/// layer, and up to where to tell.
fn decide<'a, T: Told, E>(
    layers: impl Iterator<Item = (usize, &'a Arc<Layer>)>,
    start: u64,
    end: u64,
    mut ask: impl FnMut(usize, &Layer, u64) -> std::result::Result<T, E>,
) -> std::result::Result<Decided<T>, E> {
    let mut decided = Decided {
        by: None,
        last: None,
        end,
        is_past_end: false,
    };
    for (index, layer) in layers {
        let size = layer.virtual_size();
        if start >= size {
            decided.is_past_end = true;
            break;
        }
        let told = ask(index, layer, decided.end.min(size))?;
        decided.end = told.extent().end();
        if told.extent().state != State::Unallocated {
            decided.by = Some((index, told));
            break;
        }
        decided.last = Some((index, told));
    }
    Ok(decided)
}

/// What a layer says.
trait Told {
    fn extent(&self) -> &Extent;
}

impl Told for Extent {
    fn extent(&self) -> &Extent {
        self
    }
}

impl Told for Placed {
    fn extent(&self) -> &Extent {
        &self.extent
    }
}
