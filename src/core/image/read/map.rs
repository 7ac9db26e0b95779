//! The map of a chain: which layer decides each run of guest bytes, how it stores them, and where. In
//! the terms of `qemu-img map`, and with the same runs.

use crate::image::error::{OfFile, Result};
use crate::image::read::holes::Holes;
use crate::image::read::joined::Joined;
use crate::image::read::runs::{Run, Runs};
use crate::image::{Chain, State, internal};

/// A run of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapRun {
    /// Guest offset in bytes.
    pub start: u64,
    /// Length in bytes; never 0.
    pub len: u64,
    /// The layer that decides, 0 for the top; where none holds anything, the last that was asked.
    pub layer: usize,
    /// What is there.
    pub state: MapState,
    /// The byte of that layer's file (see [`crate::image::Layer::guest_file`]) where the run is, or where
    /// room is kept for it. Compressed and encrypted clusters have none.
    pub offset: Option<u64>,
}

/// What a run of the map is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MapState {
    /// Stored as it is.
    Data,
    /// Stored compressed.
    Compressed,
    /// Counted as data, in a hole of the file: reads as zero.
    Hole,
    /// The layer says that it reads as zero.
    Zero,
    /// No layer holds it: reads as zero.
    Unallocated,
    /// The layer that would decide could not be opened.
    Unknown,
}

impl MapState {
    /// Whether a layer of the chain holds it: `present` of `qemu-img map`.
    #[must_use]
    pub fn is_present(self) -> bool {
        !matches!(self, Self::Unallocated | Self::Unknown)
    }

    /// Whether it is known to read as zero: `zero` of `qemu-img map`.
    #[must_use]
    pub fn is_zero(self) -> bool {
        matches!(self, Self::Hole | Self::Zero | Self::Unallocated)
    }

    /// Whether it has clusters of data: `data` of `qemu-img map`.
    #[must_use]
    pub fn is_data(self) -> bool {
        matches!(self, Self::Data | Self::Compressed | Self::Hole)
    }

    /// A word for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Compressed => "compressed",
            Self::Hole => "hole",
            Self::Zero => "zero",
            Self::Unallocated => "nothing",
            Self::Unknown => "unknown",
        }
    }
}

impl MapRun {
    /// The guest offset just past the run.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    fn joined(&self, next: &Self) -> Option<Self> {
        let goes_on = self.offset.map(|offset| offset.saturating_add(self.len)) == next.offset;
        let alike = (self.layer, self.state) == (next.layer, next.state);
        (goes_on && alike && self.end() == next.start).then_some(Self {
            len: self.len.saturating_add(next.len),
            ..*self
        })
    }
}

/// The runs of a map in order, not joined with their neighbours; an error is the last item.
#[derive(Debug)]
struct MapRuns<'a> {
    chain: &'a Chain,
    runs: Runs<'a>,
    holes: Vec<Holes>,
    /// What is left of a run of data that holes divide.
    rest: Option<Run>,
}

impl Chain {
    /// The map over `start..end`, which ends where the chain does at the latest: its runs in order, each as
    /// long as it can be; an error is the last item. Nothing is read but tables; where a chain is cut, its
    /// part below is unknown.
    pub fn map(&self, start: u64, end: u64) -> impl Iterator<Item = Result<MapRun>> + '_ {
        let pieces = MapRuns {
            chain: self,
            runs: Runs::new(self, start, end),
            holes: self.layers().iter().map(|_| Holes::default()).collect(),
            rest: None,
        };
        Joined::new(pieces, MapRun::joined)
    }
}

impl Iterator for MapRuns<'_> {
    type Item = Result<MapRun>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut run = match self.rest.take() {
            Some(rest) => rest,
            None => match self.runs.next()? {
                Ok(run) => run,
                Err(error) => return Some(Err(error)),
            },
        };
        let state = match run.placed.extent.state {
            State::Data { host } => match self.hole(&run, host) {
                Ok((len, hole)) => {
                    let extent = run.placed.extent;
                    let (middle, end) = (extent.start.saturating_add(len), extent.end());
                    self.rest = run
                        .placed
                        .clip(middle, end)
                        .map(|placed| Run { placed, ..run });
                    if let Some(first) = run.placed.clip(extent.start, middle) {
                        run.placed = first;
                    }
                    if hole { MapState::Hole } else { MapState::Data }
                }
                Err(error) => return Some(Err(error)),
            },
            State::Compressed { .. } => MapState::Compressed,
            State::Zero => MapState::Zero,
            State::Unallocated if run.unknown => MapState::Unknown,
            State::Unallocated => MapState::Unallocated,
        };
        Some(Ok(MapRun {
            start: run.placed.extent.start,
            len: run.placed.extent.len,
            layer: run.layer,
            state,
            offset: run.placed.place,
        }))
    }
}

impl MapRuns<'_> {
    fn hole(&mut self, run: &Run, host: u64) -> Result<(u64, bool)> {
        let layer = self.chain.layer(run.layer)?;
        let holes = internal::item_mut(&mut self.holes, run.layer).of(layer.path())?;
        holes.at(layer, host, run.placed.extent.len)
    }
}
