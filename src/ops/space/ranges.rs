//! Sets of guest bytes, as ranges.

use std::cmp::Ordering;
use std::ops::Range;

/// Bytes of a disk: ranges in order, none empty, none next to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds bytes that lie behind all that are in it, or go on where they end.
    pub(super) fn push(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => self.0.push(range),
        }
    }

    /// How many ranges these are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many bytes these are.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().fold(0, |sum, range| {
            sum.saturating_add(range.end.saturating_sub(range.start))
        })
    }

    /// The ranges in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// What is in either of them.
    pub(super) fn union(&self, other: &Self) -> Self {
        let (mut own, mut others) = (self.iter().peekable(), other.iter().peekable());
        let mut all = Self::default();
        loop {
            let next = match (own.peek(), others.peek()) {
                (Some(a), Some(b)) if a.start.cmp(&b.start) == Ordering::Greater => others.next(),
                (Some(_), _) => own.next(),
                (None, _) => others.next(),
            };
            match next {
                Some(range) => all.push(range),
                None => return all,
            }
        }
    }

    /// What is in both of them.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let (mut own, mut others) = (self.iter().peekable(), other.iter().peekable());
        let mut both = Self::default();
        while let (Some(a), Some(b)) = (own.peek(), others.peek()) {
            both.push(a.start.max(b.start)..a.end.min(b.end));
            if a.end <= b.end {
                own.next();
            } else {
                others.next();
            }
        }
        both
    }

    /// What is in this one alone.
    pub(super) fn difference(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        let mut others = other.iter().peekable();
        for range in self.iter() {
            let mut at = range.start;
            while let Some(taken) = others.peek().filter(|taken| taken.start < range.end) {
                rest.push(at..taken.start.max(at));
                at = at.max(taken.end);
                if taken.end > range.end {
                    break;
                }
                others.next();
            }
            rest.push(at..range.end.max(at));
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn of(set: &BTreeSet<u64>) -> Ranges {
        let mut ranges = Ranges::default();
        set.iter().for_each(|at| ranges.push(*at..at + 1));
        ranges
    }

    proptest! {
        #[test]
        fn they_are_sets(a in prop::collection::btree_set(0_u64..40, 0..30), b in prop::collection::btree_set(0_u64..40, 0..30)) {
            let (x, y) = (of(&a), of(&b));
            prop_assert_eq!(x.bytes(), u64::try_from(a.len()).unwrap());
            prop_assert_eq!(x.union(&y), of(&(&a | &b)));
            prop_assert_eq!(x.intersection(&y), of(&(&a & &b)));
            prop_assert_eq!(x.difference(&y), of(&(&a - &b)));
        }
    }
}
