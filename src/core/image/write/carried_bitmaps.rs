//! Dirty bitmaps on their way into a new image that shows the same disk. Where they are written is the
//! business of whoever makes the image.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::host::printable_bytes;
use crate::image::error::{OfFile, Result};
use crate::image::read::bitmaps::{Dirty, bitmaps, stale};
use crate::image::{Chain, Error, ErrorKind, Layer};
use crate::qcow2::bitmap::{Bitmap, BitmapFlags};
use crate::qcow2::{Geometry, HostOffset, Version};

/// Which dirty bitmaps of its source a new image gets. Their names, granularities and bits stay, and
/// those that record writes go on recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum CarriedBitmaps {
    /// None.
    #[default]
    None,
    /// All; one that is marked as in use, so that nobody knows what it would say, is an error.
    All,
    /// All that are not marked as in use.
    Sound,
}

/// A bitmap that has no place yet.
#[derive(Debug)]
pub(crate) struct Carried {
    /// Its entry of the directory, whose table has no place.
    pub(crate) entry: Bitmap,
    /// Its bits, in pages of the new image's clusters.
    pub(crate) dirty: Dirty,
}

impl Carried {
    /// Clusters that its bits and its table take.
    pub(crate) fn clusters(&self, geometry: Geometry) -> u64 {
        let table = geometry.clusters_for(u64::from(self.entry.table_entries) * 8);
        self.dirty.stored_pages() + table
    }
}

/// The bitmaps of the image on top of `chain`, made to fit clusters of another size.
///
/// # Errors
/// When it cannot have bitmaps, one is marked as in use, cannot be read, or would take more room
/// there than QEMU allows.
pub(crate) fn carried(
    chain: &Chain,
    which: CarriedBitmaps,
    geometry: Geometry,
) -> Result<Vec<Carried>> {
    if which == CarriedBitmaps::None {
        return Ok(Vec::new());
    }
    let top = chain.layers().first().map(|layer| &**layer);
    let image = match top {
        Some(Layer::Qcow2(image)) if image.header().version != Version::V2 => image,
        _ => {
            let path = top.map_or(std::path::Path::new(""), Layer::path);
            let text = "has no dirty bitmaps: only qcow2 images of version 3 do".to_owned();
            return Err(Error::new(path, ErrorKind::Unsupported(text)));
        }
    };
    let (file, header) = (image.file(), image.header());
    let mut all = Vec::new();
    for bitmap in bitmaps(file, header)? {
        if bitmap.flags.contains(BitmapFlags::IN_USE) {
            match which {
                CarriedBitmaps::Sound => continue,
                _ => return Err(stale(file.path(), &bitmap)),
            }
        }
        let old = Dirty::read(file, header.geometry, &bitmap, header.virtual_size())?;
        let fitted = Dirty::clean(old.size(), bitmap.granularity_bits, geometry);
        let too_large = || {
            let text = format!(
                "its dirty bitmap {} would take too much room in the new image",
                printable_bytes(&bitmap.name)
            );
            Error::new(file, ErrorKind::Limit(text))
        };
        let mut dirty = fitted.ok_or_else(too_large)?;
        dirty.merge(&old).of(file)?;
        let table_entries = u32::try_from(dirty.pages().len()).map_err(|_| too_large())?;
        let entry = Bitmap {
            table_offset: HostOffset(0),
            table_entries,
            ..bitmap
        };
        all.push(Carried { entry, dirty });
    }
    Ok(all)
}
