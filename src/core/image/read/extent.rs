//! What lies in a range of guest addresses: the words all maps are written in.

/// A run of guest bytes of one image that are stored in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Guest offset in bytes.
    pub start: u64,
    /// Length in bytes; never 0.
    pub len: u64,
    /// How they are stored.
    pub state: State,
}

/// How a run of guest bytes is stored in one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not here: the image it is built on shows through (or zeros, if there is none).
    Unallocated,
    /// Reads as zero, whatever lies below.
    Zero,
    /// At this byte of the file that holds the data, uncompressed and in order.
    Data {
        /// Host offset of the first byte.
        host: u64,
    },
    /// Inside one compressed cluster.
    Compressed {
        /// Guest offset of the cluster's first byte.
        cluster: u64,
        /// Host offset of the first compressed byte.
        host: u64,
        /// Upper bound of the compressed bytes.
        len: u64,
    },
}

/// A run and its place: zeros and what shows through from below may have a place kept for them, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The run.
    pub extent: Extent,
    /// Host offset of its first byte in the file that holds the data, if it has a place there that
    /// is not compressed.
    pub place: Option<u64>,
}

impl Placed {
    /// A run whose place, if it has one, is where its data is.
    #[must_use]
    pub fn of(extent: Extent) -> Self {
        let place = match extent.state {
            State::Data { host } => Some(host),
            State::Unallocated | State::Zero | State::Compressed { .. } => None,
        };
        Self { extent, place }
    }

    /// The part of the run inside `start..end`, if any is.
    #[must_use]
    pub fn clip(&self, start: u64, end: u64) -> Option<Self> {
        let extent = self.extent.clip(start, end)?;
        let by = extent.start - self.extent.start;
        Some(Self {
            extent,
            place: self.place.map(|place| place.saturating_add(by)),
        })
    }

    /// Both runs as one, if `next` goes on where this one ends, stored in the same way and place.
    #[must_use]
    pub fn joined(&self, next: &Self) -> Option<Self> {
        let expected = self
            .place
            .map(|place| place.saturating_add(self.extent.len));
        let extent = self.extent.joined(&next.extent)?;
        (expected == next.place).then_some(Self {
            extent,
            place: self.place,
        })
    }
}

impl State {
    /// The state `by` bytes further on in the same run.
    #[must_use]
    pub fn skip(self, by: u64) -> Self {
        match self {
            Self::Data { host } => Self::Data {
                host: host.saturating_add(by),
            },
            other => other,
        }
    }
}

impl Extent {
    /// The guest offset just past the run.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// The part of the run inside `start..end`, if any is.
    #[must_use]
    pub fn clip(&self, start: u64, end: u64) -> Option<Self> {
        let from = self.start.max(start);
        let to = self.end().min(end);
        (from < to).then(|| Self {
            start: from,
            len: to - from,
            state: self.state.skip(from - self.start),
        })
    }

    /// Both runs as one, if `next` goes on where this one ends, stored in the same way.
    #[must_use]
    pub fn joined(&self, next: &Self) -> Option<Self> {
        let goes_on = match (self.state, next.state) {
            (State::Compressed { .. }, _) | (_, State::Compressed { .. }) => false,
            (state, other) => state.skip(self.len) == other,
        };
        (goes_on && self.end() == next.start).then(|| Self {
            len: self.len.saturating_add(next.len),
            ..*self
        })
    }
}
