//! A chain's runs in order: which layer decides them, and how that layer stores them. Looks at each
//! entry of each table once, however often the layers above and below change over.

use super::error::Result;
use super::internal::{self, Fault, OfFile};
use super::{Chain, Error, Placed, State};

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

    /// What layer `index` says of the bytes from here on, at most to `end`.
    fn ask(&mut self, index: usize, end: u64) -> Result<Placed> {
        let layer = self.chain.layer(index)?;
        let said = internal::item_mut(&mut self.said, index).of(layer.path())?;
        if let Some(known) = said.and_then(|said| said.clip(self.at, end)) {
            return Ok(known);
        }
        let asked = layer.placed_at(self.at, layer.virtual_size())?;
        *said = Some(asked);
        let told = asked.clip(self.at, end);
        told.ok_or_else(|| Error::new(layer.path(), Fault::new("a run that lies elsewhere")))
    }

    fn run(&mut self) -> Result<Option<Run>> {
        let mut end = self.end;
        let mut last = None;
        for index in 0..self.chain.layers().len() {
            let placed = self.ask(index, end)?;
            if placed.extent.state != State::Absent {
                return Ok(Some(Run {
                    placed,
                    layer: index,
                    unknown: false,
                }));
            }
            let below = self.chain.layers().get(index + 1);
            last = Some(Run {
                placed,
                layer: index,
                unknown: self.chain.is_cut() && below.is_none(),
            });
            end = placed.extent.end();
            match below.map(|layer| layer.virtual_size()) {
                // Past the end of a layer below another one zeros show, whatever lies deeper.
                Some(size) if self.at < size => end = end.min(size),
                Some(_) | None => break,
            }
        }
        Ok(last)
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
