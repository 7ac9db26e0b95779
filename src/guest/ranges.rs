//! Sets of bytes: sorted ranges that neither overlap nor touch.

use std::ops::Range;

/// A set of bytes of a disk or volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// No byte.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Every byte there can be.
    #[must_use]
    pub fn all() -> Self {
        let mut set = Self::new();
        set.insert(0..u64::MAX);
        set
    }

    /// Adds a range. In order of their starts, this takes constant time.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|one| one.end < range.start);
        let end = first
            + self
                .0
                .iter()
                .skip(first)
                .take_while(|one| one.start <= range.end)
                .count();
        let mut whole = range;
        for one in self.0.iter().skip(first).take(end - first) {
            whole = whole.start.min(one.start)..whole.end.max(one.end);
        }
        self.0.splice(first..end, [whole]);
    }

    /// Whether a byte of `range` is in it.
    #[must_use]
    pub fn intersects(&self, range: &Range<u64>) -> bool {
        let first = self.0.partition_point(|one| one.end <= range.start);
        !range.is_empty() && self.0.get(first).is_some_and(|one| one.start < range.end)
    }

    /// The parts of `range` that are in it, in order.
    pub fn within(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let first = self.0.partition_point(|one| one.end <= range.start);
        let (start, end) = (range.start, range.end);
        self.0
            .iter()
            .skip(first)
            .take_while(move |one| one.start < end)
            .map(move |one| one.start.max(start)..one.end.min(end))
            .filter(|one| !one.is_empty())
    }

    /// Its bytes that are not in another set.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Self::new();
        for own in &self.0 {
            let mut at = own.start;
            for gone in other.within(own.clone()) {
                left.insert(at..gone.start);
                at = gone.end;
            }
            left.insert(at..own.end);
        }
        left
    }

    /// How many bytes they are.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, one| sum.saturating_add(one.end - one.start))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Range<u64>] {
        &self.0
    }

    /// Adds all bytes of another set.
    pub fn extend(&mut self, other: &Self) {
        for range in &other.0 {
            self.insert(range.clone());
        }
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<T: IntoIterator<Item = Range<u64>>>(ranges: T) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let mut set: Ranges = [10..20, 30..40, 20..25, 0..5].into_iter().collect();
        assert_eq!(set.as_slice(), [0..5, 10..25, 30..40]);
        set.insert(4..31);
        assert_eq!(set.as_slice().first(), Some(&(0..40)));
        assert_eq!(set.as_slice().len(), 1);
        set.insert(7..7);
        assert_eq!(set.bytes(), 40);
    }

    #[test]
    fn what_is_within_a_range_is_cut_to_it() {
        let set: Ranges = [0..5, 10..25, 30..40].into_iter().collect();
        assert_eq!(
            set.within(4..32).collect::<Vec<_>>(),
            [4..5, 10..25, 30..32]
        );
        assert_eq!(set.within(5..10).count(), 0);
        assert!(
            set.intersects(&(24..26)) && !set.intersects(&(25..30)) && !set.intersects(&(3..3))
        );
        assert!(Ranges::all().intersects(&(7..8)));
        let gone: Ranges = [3..11, 12..13, 24..50].into_iter().collect();
        assert_eq!(set.without(&gone).as_slice(), [0..3, 11..12, 13..24]);
        assert_eq!(set.without(&Ranges::new()), set);
    }
}
