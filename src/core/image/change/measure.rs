//! How large the file of a new image would be, by the rules of `qemu-img measure`: the forecast of
//! space for a copy. Nothing is created here.

use std::path::Path;

use crate::image::error::Result;
use crate::image::write::luks;
use crate::image::{
    Bitmap, BitmapFlags, Chain, Error, ErrorKind, Layer, MapState, Preallocation, Qcow2Options,
    bitmaps,
};
use crate::qcow2::limits::{MAX_L1_BYTES, SECTOR};
use crate::qcow2::{Geometry, refcount};

/// What the new image is to be.
#[derive(Debug, Clone, Copy)]
pub enum MeasureAs<'a> {
    /// A raw file.
    Raw,
    /// A qcow2 image.
    Qcow2 {
        /// How it is to be made.
        options: &'a Qcow2Options,
        /// Whether it is to be built on another image.
        backing: bool,
        /// Whether it is to be encrypted with LUKS.
        luks: bool,
    },
}

/// How large a file would be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// At most this much for what there is to be copied.
    pub required: u64,
    /// When every byte of the disk is written.
    pub fully_allocated: u64,
    /// On top of both: the source's bitmaps; none where bitmaps cannot be copied.
    pub bitmaps: Option<u64>,
}

/// Measures a copy of what `source` shows, or an empty disk of `size` bytes where there is no source.
/// Reads tables only.
///
/// # Errors
/// When a table cannot be read, or the image would be beyond the format's limits.
pub fn measure(source: Option<&Chain>, size: u64, target: MeasureAs<'_>) -> Result<Measure> {
    let name = source.and_then(|chain| chain.layers().first());
    let name = name.map_or(Path::new("the new image"), |layer| layer.path());
    let too_large = || {
        let text = "would be too large an image (a larger cluster size allows more)";
        Error::new(name, ErrorKind::Limit(text.to_owned()))
    };
    let size = source.map_or(size, Chain::virtual_size);
    let (options, backing, luks) = match target {
        MeasureAs::Raw => {
            let bytes = size
                .checked_next_multiple_of(SECTOR)
                .ok_or_else(too_large)?;
            return Ok(Measure {
                required: bytes,
                fully_allocated: bytes,
                bitmaps: None,
            });
        }
        MeasureAs::Qcow2 {
            options,
            backing,
            luks,
        } => (options, backing, luks),
    };
    let geometry = options.geometry().map_err(|e| Error::new(name, e))?;
    let disk = size
        .checked_next_multiple_of(geometry.cluster_size())
        .filter(|disk| i64::try_from(*disk).is_ok())
        .ok_or_else(too_large)?;
    if geometry.l1_entries_for(disk).saturating_mul(8) > MAX_L1_BYTES {
        return Err(too_large());
    }
    let takes_room = matches!(
        options.preallocation,
        Preallocation::Falloc | Preallocation::Full
    );
    let data = match source {
        _ if takes_room => disk,
        None => 0,
        // How much of it the new image's backing file has is not known: the worst is assumed.
        Some(_) if backing => disk,
        Some(chain) => clusters_with_data(chain, geometry)? * geometry.cluster_size(),
    };
    let mut tables = bytes_of_tables(disk, geometry);
    if luks {
        tables += luks::room().next_multiple_of(geometry.cluster_size());
    }
    Ok(Measure {
        required: tables + data,
        fully_allocated: tables + disk,
        bitmaps: match source {
            Some(chain) if !options.old_version => bytes_of_bitmaps(chain, geometry)?,
            _ => None,
        },
    })
}

/// Clusters of the new image in which something is not known to be zero.
fn clusters_with_data(chain: &Chain, geometry: Geometry) -> Result<u64> {
    let size = geometry.cluster_size();
    let (mut clusters, mut counted_to) = (0, 0);
    for run in chain.map(0, chain.virtual_size()) {
        let run = run?;
        match run.state {
            MapState::Data | MapState::Compressed => {
                let first = (run.start / size).max(counted_to);
                let end = run.end().div_ceil(size);
                clusters += end.saturating_sub(first);
                counted_to = end.max(counted_to);
            }
            MapState::Hole | MapState::Zero | MapState::Unallocated => {}
            MapState::Unknown => {
                return Err(Error::new(
                    chain.layer(run.layer)?.path(),
                    ErrorKind::Backing("it could not be opened".to_owned()),
                ));
            }
        }
    }
    Ok(clusters)
}

/// Everything but data in a full image whose disk has `disk` bytes: header, L2 tables and L1 table, and
/// what counts all of it. `disk` is a multiple of the cluster size.
fn bytes_of_tables(disk: u64, geometry: Geometry) -> u64 {
    let size = geometry.cluster_size();
    let l2_tables = (disk / size).div_ceil(geometry.l2_entries());
    let l1_clusters = (l2_tables * 8).div_ceil(size);
    let tables = 1 + l2_tables + l1_clusters;
    let counts = refcount::size_without_limit(tables + disk / size, geometry);
    (tables + counts.blocks + counts.table_clusters) * size
}

/// Bytes that the bitmaps of the top image would take in a new one at most, without those that were not
/// saved properly; none where there can be no bitmaps.
///
/// # Errors
/// When the directory of the bitmaps cannot be read.
pub fn bytes_of_bitmaps(chain: &Chain, geometry: Geometry) -> Result<Option<u64>> {
    let Some(Layer::Qcow2(image)) = chain.layers().first().map(|layer| &**layer) else {
        return Ok(None);
    };
    if image.header().version.number() < 3 {
        return Ok(None);
    }
    let size = geometry.cluster_size();
    let (mut bytes, mut directory) = (0, 0);
    let all: Vec<Bitmap> = bitmaps(image.file(), image.header())?;
    // One that was not saved properly is not copied.
    for bitmap in all
        .iter()
        .filter(|bitmap| !bitmap.flags.contains(BitmapFlags::IN_USE))
    {
        let bits = image.virtual_size().div_ceil(bitmap.granularity().max(1));
        let clusters = bits.div_ceil(8).div_ceil(size);
        bytes += clusters * size + (clusters * 8).next_multiple_of(size);
        directory += (24 + bitmap.name.len() as u64).next_multiple_of(8);
    }
    Ok(Some(bytes + u64::next_multiple_of(directory, size)))
}
