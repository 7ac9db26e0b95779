//! What one image holds.

use std::path::PathBuf;

use crate::forest::NodeId;

/// What one image holds. Bytes of the guest's disk are counted as the image's map tells them, those of the file as
/// it takes them on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// Why its tables were not read; all but `disk` is 0 then.
    pub unread: Option<String>,
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

impl LayerSpace {
    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            disk: self.disk.saturating_add(other.disk),
            data: self.data.saturating_add(other.data),
            zeros: self.zeros.saturating_add(other.zeros),
            hidden: self.hidden.saturating_add(other.hidden),
            leaked: self.leaked.saturating_add(other.leaked),
            past_end: self.past_end.saturating_add(other.past_end),
            unread: None,
        }
    }
}
