//! What a conversion that saves what it can could not read: zeros stand for it in the new image.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ranges that are kept by their places: an image that is damaged all over would else fill the memory.
const MAX_RANGES: usize = 10_000;

/// Ranges of the new disk, in bytes, that could not be read. Any thread may add to it.
#[derive(Debug, Default)]
pub struct Lost(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Ends by starts; none touches the next.
    ranges: BTreeMap<u64, u64>,
    bytes: u64,
    left_out: bool,
}

impl Lost {
    /// Adds a range, which nobody has added before.
    pub(super) fn add(&self, start: u64, len: u64) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_add(len);
        let (mut from, mut to) = (start, start.saturating_add(len));
        if let Some(end) = inner.ranges.remove(&to) {
            to = end;
        }
        let before = inner.ranges.range(..from).next_back();
        if let Some((&first, _)) = before.filter(|(_, end)| **end == from) {
            from = first;
        } else if inner.ranges.len() >= MAX_RANGES {
            inner.left_out = true;
            return;
        }
        inner.ranges.insert(from, to);
    }

    /// How many bytes in all.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// The ranges, in order; no more than are kept.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let inner = self.lock();
        inner.ranges.iter().map(|(from, to)| *from..*to).collect()
    }

    /// Whether there are more ranges than are kept.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.lock().left_out
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_touches_is_one_range_in_whatever_order_it_comes() {
        let lost = Lost::default();
        for start in [4u64, 0, 2, 9, 6] {
            lost.add(start, 2);
        }
        assert_eq!(lost.ranges(), [0..8, 9..11]);
        assert_eq!((lost.bytes(), lost.has_more()), (10, false));
    }

    #[test]
    fn however_many_there_are_the_bytes_are_counted_and_the_places_bounded() {
        let lost = Lost::default();
        for number in 0..20_000 {
            lost.add(number * 2, 1);
        }
        assert_eq!(lost.ranges().len(), MAX_RANGES);
        assert_eq!((lost.bytes(), lost.has_more()), (20_000, true));
    }
}
