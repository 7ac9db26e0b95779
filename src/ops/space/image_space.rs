//! What one image holds.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::forest::NodeId;
use crate::image::{Compressible, EqualBelow};

/// What one image holds. Bytes of the guest's disk are counted as the image's map tells them, those of the file as
/// it takes them on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSpace {
    /// Bytes of the file on disk, as `du` counts them.
    pub disk: u64,
    /// Bytes of the guest's disk that it holds data for.
    pub data: u64,
    /// Bytes of the guest's disk that it says are zero, or keeps as holes.
    pub zeros: u64,
    /// Of the data, what no image shows any more: whatever is built on it has something else there. Nothing where
    /// nothing is built on it, a machine has it as its disk, or it is read in a way that is not understood.
    pub hidden: u64,
    /// Bytes of clusters that are counted as used and are not.
    pub leaked: u64,
    /// Bytes of the file behind the last cluster in use.
    pub past_end: u64,
    /// Of these, what takes room on disk.
    pub past_end_on_disk: u64,
    /// Bytes on disk that other files have as well (reflinks), so that nobody gets them back when this one goes;
    /// none where the filesystem does not tell.
    pub shared: Option<u64>,
    /// What reading its data has told, where that was asked for.
    pub read: Option<Result<ReadSpace, String>>,
    /// Why its tables were not read; of all else only `disk` and `shared` are known then.
    pub unread: Option<String>,
}

/// What only reading an image's data tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSpace {
    /// What it holds and what it is built on shows as well.
    pub equal: EqualBelow,
    /// What compressing its data would give back, by an estimate.
    pub compressible: Compressible,
    /// Bytes on disk that the filesystems inside call free, where these are in order: data that was deleted. Only of
    /// an image that can be trimmed: nothing depends on it.
    pub deleted: u64,
}

/// An image and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpace {
    /// Its node in the forest that was asked.
    pub node: NodeId,
    /// Its name.
    pub path: PathBuf,
    /// The root of its tree.
    pub root: NodeId,
    /// What it holds.
    pub space: LayerSpace,
}

/// What a part of an image's bytes on disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpacePart {
    /// Data that somebody may see, and tables.
    Own,
    /// Data that no image shows any more.
    Hidden,
    /// Room that reads as zero.
    Zeros,
    /// Clusters that are counted as used and are not.
    Leaked,
    /// What lies behind the last cluster in use.
    PastEnd,
    /// Blocks that other files have as well.
    Shared,
}

impl SpacePart {
    /// All parts, in the order they are drawn.
    pub const ALL: [Self; 6] = [
        Self::Own,
        Self::Hidden,
        Self::Zeros,
        Self::Leaked,
        Self::PastEnd,
        Self::Shared,
    ];

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Hidden => "hidden",
            Self::Zeros => "zeros",
            Self::Leaked => "leaked",
            Self::PastEnd => "past the end",
            Self::Shared => "shared",
        }
    }
}

impl LayerSpace {
    /// Its bytes on disk that nobody else has: what is given back when the file goes.
    #[must_use]
    pub fn exclusive(&self) -> u64 {
        self.disk.saturating_sub(self.shared.unwrap_or_default())
    }

    /// What its bytes on disk are, by part, in the order of [`SpacePart::ALL`]: together they are `disk`. Guest bytes
    /// that take less room than they are long (compressed, in holes) count as what is left for them.
    #[must_use]
    pub fn parts(&self) -> [(SpacePart, u64); 6] {
        let mut left = self.disk;
        let mut take = |bytes: u64| {
            let taken = bytes.min(left);
            left -= taken;
            taken
        };
        let shared = take(self.shared.unwrap_or_default());
        let past_end = take(self.past_end_on_disk);
        let leaked = take(self.leaked);
        let hidden = take(self.hidden);
        let own = take(self.data.saturating_sub(self.hidden));
        let zeros = take(self.zeros);
        let own = own.saturating_add(left);
        [
            (SpacePart::Own, own),
            (SpacePart::Hidden, hidden),
            (SpacePart::Zeros, zeros),
            (SpacePart::Leaked, leaked),
            (SpacePart::PastEnd, past_end),
            (SpacePart::Shared, shared),
        ]
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let shared = [self.shared, other.shared].into_iter().flatten();
        let has_shared = self.shared.is_some() || other.shared.is_some();
        Self {
            disk: self.disk.saturating_add(other.disk),
            data: self.data.saturating_add(other.data),
            zeros: self.zeros.saturating_add(other.zeros),
            hidden: self.hidden.saturating_add(other.hidden),
            leaked: self.leaked.saturating_add(other.leaked),
            past_end: self.past_end.saturating_add(other.past_end),
            past_end_on_disk: self.past_end_on_disk.saturating_add(other.past_end_on_disk),
            shared: has_shared.then(|| shared.fold(0, u64::saturating_add)),
            read: sum_of_read(self.read.as_ref(), other.read.as_ref()),
            unread: None,
        }
    }
}

fn sum_of_read(
    one: Option<&Result<ReadSpace, String>>,
    other: Option<&Result<ReadSpace, String>>,
) -> Option<Result<ReadSpace, String>> {
    let known = [one, other].into_iter().flatten().flatten();
    let has_any = one.is_some() || other.is_some();
    has_any.then(|| Ok(known.fold(ReadSpace::default(), |sum, one| sum.plus(one))))
}

impl ReadSpace {
    fn plus(self, other: &Self) -> Self {
        let (equal, packed) = (&other.equal, &other.compressible);
        Self {
            equal: EqualBelow {
                bytes: self.equal.bytes.saturating_add(equal.bytes),
                data: self.equal.data.saturating_add(equal.data),
            },
            compressible: Compressible {
                data: self.compressible.data.saturating_add(packed.data),
                read: self.compressible.read.saturating_add(packed.read),
                saves: self.compressible.saves.saturating_add(packed.saves),
            },
            deleted: self.deleted.saturating_add(other.deleted),
        }
    }
}
