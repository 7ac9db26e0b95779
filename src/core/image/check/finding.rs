//! What a check can find: kinds, places, how bad each is and what mends it. Finding is done elsewhere.

use std::collections::BTreeMap;

/// What was found. The names are those of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// A cluster is counted less often than it is used: it could be handed out again.
    Undercount,
    /// Guest data lies where a table is: a guest that writes would destroy the table.
    TableAliased,
    /// Two tables lie in one cluster.
    TablesOverlap,
    /// An entry points past the end of the file.
    PastEnd,
    /// An entry's offset is not a multiple of the cluster size.
    Unaligned,
    /// Bits are set that must be zero.
    ReservedBits,
    /// A copied flag that contradicts the cluster's refcount.
    CopiedFlag,
    /// A zero flag in an image of version 2.
    ZeroFlagInV2,
    /// A subcluster bitmap that contradicts itself or its entry.
    SubclusterBitmap,
    /// A compressed cluster where there cannot be one, or with bits it cannot have.
    CompressedEntry,
    /// A refcount table entry that leads to no refcount block.
    RefcountBlock,
    /// An entry of the snapshot table that cannot be.
    SnapshotTable,
    /// A bitmap directory or bitmap table that cannot be.
    BitmapTable,
    /// A cluster is counted more often than it is used: lost space.
    Leak,
    /// One cluster appears at several places of the guest's disk.
    SharedCluster,
    /// The file goes on past the last cluster in use.
    Trailing,
    /// The dirty bit is set.
    MarkedDirty,
    /// The corrupt bit is set.
    MarkedCorrupt,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Must be repaired before the image is written.
    Corruption,
    /// Lost space, counted as `qemu-img check` counts it.
    Leak,
    /// Worth knowing; `qemu-img check` does not tell it.
    Notice,
}

impl FindingKind {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Undercount => "undercount",
            Self::TableAliased => "table-aliased",
            Self::TablesOverlap => "tables-overlap",
            Self::PastEnd => "past-end",
            Self::Unaligned => "unaligned",
            Self::ReservedBits => "reserved-bits",
            Self::CopiedFlag => "copied-flag",
            Self::ZeroFlagInV2 => "zero-flag-in-v2",
            Self::SubclusterBitmap => "subcluster-bitmap",
            Self::CompressedEntry => "compressed-entry",
            Self::RefcountBlock => "refcount-block",
            Self::SnapshotTable => "snapshot-table",
            Self::BitmapTable => "bitmap-table",
            Self::Leak => "leak",
            Self::SharedCluster => "shared-cluster",
            Self::Trailing => "trailing",
            Self::MarkedDirty => "marked-dirty",
            Self::MarkedCorrupt => "marked-corrupt",
        }
    }

    /// Whether nothing has to be done about it: every reader and every writer goes on as before.
    #[must_use]
    pub const fn is_harmless(self) -> bool {
        matches!(self, Self::Trailing)
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::Leak => Severity::Leak,
            Self::SharedCluster | Self::Trailing | Self::MarkedDirty | Self::MarkedCorrupt => {
                Severity::Notice
            }
            _ => Severity::Corruption,
        }
    }
}

/// One finding. Clusters in a row that have the same fault are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Where in the file, in bytes, where it has a place.
    pub offset: Option<u64>,
    /// Length in bytes of what is concerned there; 0 where that means nothing.
    pub len: u64,
    /// What the guest sees of it, as offset and length in bytes, where that is known.
    pub guest: Option<(u64, u64)>,
    /// What was found where, without the image's name: safe to print.
    pub text: String,
}

/// Findings of one severity kept with their words; further ones are only counted.
const KEPT: usize = 100;

/// Findings as they come: all counted, the first of each severity kept.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) corruptions: u64,
    pub(super) leaks: u64,
    pub(super) numbers: BTreeMap<FindingKind, u64>,
    kept: Vec<Finding>,
    room: [usize; 3],
}

impl Findings {
    pub(super) fn new() -> Self {
        Self {
            room: [KEPT; 3],
            ..Self::default()
        }
    }

    /// Counts `times` findings, and keeps one if there is room.
    pub(super) fn add(&mut self, times: u64, finding: impl FnOnce() -> Finding, kind: FindingKind) {
        *self.numbers.entry(kind).or_default() += times;
        let room = match kind.severity() {
            Severity::Corruption => {
                self.corruptions += times;
                &mut self.room[0]
            }
            Severity::Leak => {
                self.leaks += times;
                &mut self.room[1]
            }
            Severity::Notice => &mut self.room[2],
        };
        if let Some(less) = room.checked_sub(1) {
            *room = less;
            self.kept.push(finding());
        }
    }

    /// One finding with a place in the file.
    pub(super) fn at(
        &mut self,
        kind: FindingKind,
        offset: u64,
        len: u64,
        text: impl FnOnce() -> String,
    ) {
        let finding = || Finding {
            kind,
            offset: Some(offset),
            len,
            guest: None,
            text: text(),
        };
        self.add(1, finding, kind);
    }

    /// One finding about a guest range.
    pub(super) fn seen(
        &mut self,
        kind: FindingKind,
        offset: u64,
        guest: Option<(u64, u64)>,
        text: impl FnOnce() -> String,
    ) {
        let finding = || Finding {
            kind,
            offset: Some(offset),
            len: guest.map_or(0, |(_, len)| len),
            guest,
            text: text(),
        };
        self.add(1, finding, kind);
    }

    /// Those kept, the worst first.
    pub(super) fn into_kept(self) -> Vec<Finding> {
        let mut kept = self.kept;
        kept.sort_by_key(|finding| finding.kind.severity());
        kept
    }
}
