//! What is known of each cluster of a part of the file: how often it is referred to, and as what.
//! Four bytes a cluster; a longer file is looked at part by part.

use crate::image::internal::at_most;

/// Clusters looked at in one pass: 1 TiB of 64 KiB clusters and their tables in one.
pub(super) const WINDOW: u64 = (1 << 24) + (1 << 20);

const COUNT: u32 = (1 << 24) - 1;

/// A table that is nobody else's: header, L1, refcounts, snapshots, bitmaps, encryption header.
pub(super) const TABLE: u32 = 1 << 24;
/// Two such tables.
pub(super) const TABLES: u32 = 1 << 25;
/// An L2 table.
pub(super) const L2: u32 = 1 << 26;
/// An active entry with the copied flag leads here.
pub(super) const COPIED: u32 = 1 << 27;
/// An active entry without the copied flag leads here.
pub(super) const NOT_COPIED: u32 = 1 << 28;
/// Guest data, of the active disk or of a snapshot.
pub(super) const DATA: u32 = 1 << 29;
/// Two active entries lead here.
pub(super) const TWICE: u32 = 1 << 30;
/// Compressed guest data.
pub(super) const COMPRESSED: u32 = 1 << 31;

/// What is known of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u32);

impl Slot {
    /// References found.
    pub(super) const fn count(self) -> u64 {
        (self.0 & COUNT) as u64
    }

    /// Whether more references were found than can be counted here.
    pub(super) const fn overflows(self) -> bool {
        self.0 & COUNT == COUNT
    }

    pub(super) const fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }

    /// Whether guest data lies on a table.
    pub(super) const fn is_aliased(self) -> bool {
        self.has(DATA) && self.has(TABLE | L2)
    }

    /// Whether its roles contradict each other, whatever its refcount.
    pub(super) const fn clashes(self) -> bool {
        self.has(TABLES | TWICE)
            || (self.has(TABLE) && self.has(L2))
            || self.is_aliased()
            || (self.has(COMPRESSED) && self.has(COPIED | NOT_COPIED))
    }

    /// Whether nothing is to be said of it, if it has this refcount.
    pub(super) const fn agrees(self, refcount: u64) -> bool {
        self.count() == refcount
            && !self.overflows()
            && !self.clashes()
            && !self.has(TWICE | COMPRESSED)
            && !self.copied_lies(refcount)
    }

    /// Whether its copied flags contradict this refcount.
    pub(super) const fn copied_lies(self, refcount: u64) -> bool {
        if refcount == 1 {
            self.has(NOT_COPIED)
        } else {
            self.has(COPIED)
        }
    }
}

/// A slot with `weight` more references, at most as many as can be counted.
const fn add(slot: u32, weight: u32) -> u32 {
    // Both are less than 2^31.
    let most = if weight < COUNT { weight } else { COUNT };
    let sum = (slot & COUNT) + most;
    slot & !COUNT | if sum < COUNT { sum } else { COUNT }
}

/// The clusters of one pass.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) first: u64,
    slots: Vec<u32>,
}

impl Window {
    /// Of `len` clusters from `first` on; at most [`WINDOW`] of them.
    pub(super) fn new(first: u64, len: u64) -> Self {
        let len = at_most(len.min(WINDOW), usize::MAX);
        Self {
            first,
            slots: vec![0; len],
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The slots of `count` clusters from `cluster` on, as far as they are in the window.
    pub(super) fn slots(&self, cluster: u64, count: u64) -> &[u32] {
        let part = self.part(cluster, count);
        let (upto, _) = self.slots.split_at(part.end);
        upto.split_at(part.start).1
    }

    /// Where these clusters are among the slots, as far as they are.
    fn part(&self, cluster: u64, count: u64) -> std::ops::Range<usize> {
        let place = |cluster: u64| at_most(cluster.saturating_sub(self.first), self.slots.len());
        place(cluster)..place(cluster.saturating_add(count))
    }

    fn slots_mut(&mut self, cluster: u64, count: u64) -> &mut [u32] {
        let part = self.part(cluster, count);
        let (upto, _) = self.slots.split_at_mut(part.end);
        upto.split_at_mut(part.start).1
    }

    /// `weight` references to each of `count` clusters from `first` on, in these roles.
    pub(super) fn refer(&mut self, first: u64, count: u64, weight: u32, roles: u32) {
        for slot in self.slots_mut(first, count) {
            *slot = add(*slot, weight) | roles;
        }
    }

    /// As [`Window::refer`], for active entries: the second one to one cluster is noted.
    pub(super) fn refer_active(&mut self, first: u64, count: u64, weight: u32, roles: u32) {
        for slot in self.slots_mut(first, count) {
            let again = if *slot & (COPIED | NOT_COPIED) == 0 {
                0
            } else {
                TWICE
            };
            *slot = add(*slot, weight) | roles | again;
        }
    }

    /// `weight` references to a table that is nobody else's.
    pub(super) fn refer_table(&mut self, cluster: u64, weight: u32) {
        let [slot] = self.slots_mut(cluster, 1) else {
            return;
        };
        let again = if Slot(*slot).has(TABLE) || weight > 1 {
            TABLES
        } else {
            0
        };
        self.refer(cluster, 1, weight, TABLE | again);
    }
}
