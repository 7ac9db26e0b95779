//! Which files differ between two images, or two states of one.

use crate::guest::diff::{self, Options, VolumeDiff, Watch};
use crate::guest::{self, Ranges};
use crate::image::{Chain, Keys};

use super::View;

/// What an image is compared with, where only one is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Older {
    /// What it is built on.
    Base,
    /// The lowest layer of its chain.
    Root,
}

/// The two states to compare.
#[derive(Debug)]
pub struct Sides {
    /// The older one.
    pub before: Chain,
    /// The newer one.
    pub after: Chain,
}

impl Sides {
    /// An image and what it is built on; none where it is built on nothing.
    #[must_use]
    pub fn of(chain: &Chain, older: Older) -> Option<Self> {
        let layers = chain.layers().len();
        let above = match older {
            Older::Base => 1,
            Older::Root => layers.saturating_sub(1),
        };
        (layers > 1).then(|| Self {
            before: chain.without(above),
            after: chain.clone(),
        })
    }
}

/// Compares the files of two states; encrypted volumes are opened with `keys`.
///
/// # Errors
/// When one of them cannot be read, or it was stopped. What is damaged inside is told by its volume.
pub fn compare(
    sides: &Sides,
    keys: &Keys,
    options: Options,
    watch: &mut dyn Watch,
) -> guest::Result<Vec<VolumeDiff>> {
    let changed = guest::changed(&sides.before, &sides.after)?;
    compare_changed(sides, &changed, keys, options, watch)
}

/// As [`compare`], with the bytes of the disk that can differ, as [`guest::changed`] tells them.
///
/// # Errors
/// As there.
pub fn compare_changed(
    sides: &Sides,
    changed: &Ranges,
    keys: &Keys,
    options: Options,
    watch: &mut dyn Watch,
) -> guest::Result<Vec<VolumeDiff>> {
    // The newer one first: it is the one that a passphrase is given for, and the older one opens to the same key.
    let after = View::open(sides.after.clone(), keys)?;
    let before = View::open(sides.before.clone(), keys)?;
    diff::disks(&before.disk, &after.disk, changed, options, watch)
}
