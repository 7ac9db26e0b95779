//! What the tables of one image say.

use super::image_space::LayerSpace;
use super::ranges::Ranges;

/// What an image holds, and where on its disk.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) space: LayerSpace,
    /// Where its data is.
    pub(super) data: Ranges,
    /// Where what it is built on does not show through it, as it is now.
    pub(super) opaque: Ranges,
    /// Where it shows through in none of its internal snapshots; all of it where there are none.
    pub(super) opaque_to_snapshots: Ranges,
    /// What its internal snapshots hold.
    pub(super) in_snapshots: Ranges,
}

impl Measured {
    /// What is known of an image whose tables were not read: all that it is built on may show through.
    pub(super) fn unread(space: LayerSpace, why: String) -> Self {
        let space = LayerSpace {
            unread: Some(why),
            ..space
        };
        Self {
            space,
            ..Self::default()
        }
    }

    /// How many ranges it keeps.
    pub(super) fn ranges(&self) -> usize {
        let sets = [
            &self.data,
            &self.opaque,
            &self.opaque_to_snapshots,
            &self.in_snapshots,
        ];
        sets.iter().map(|set| set.len()).sum()
    }
}
