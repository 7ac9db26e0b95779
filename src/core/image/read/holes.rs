//! Clusters that an image counts as data and that lie in holes of its file: images made with
//! `preallocation=metadata` are full of them. QEMU looks for them only where it guesses so.

use std::collections::HashSet;

use crate::host::Segment;
use crate::image::error::Result;
use crate::image::read::table_reader::read_refcount_table;
use crate::image::{ImageFile, Layer, Qcow2};
use crate::qcow2::{HostOffset, RefcountBlock, refcount};

/// Where the holes of one layer's file are, asked for in turn.
#[derive(Debug, Default)]
pub(crate) struct Holes {
    /// Whether they are looked for at all; unknown until the first question.
    looked_for: Option<bool>,
    /// The file's length in whole sectors.
    file_end: u64,
    /// What the filesystem said last: from, to, whether it is a hole.
    said: (u64, u64, bool),
}

impl Holes {
    /// How many of the `len` bytes at `offset` of the file are alike, and whether they lie in a hole.
    ///
    /// The rule is that of QEMU's `bdrv_co_do_block_status`: what follows the last data of the file
    /// is one hole, whether the file has these bytes or not.
    ///
    /// # Errors
    /// When the file's length cannot be asked.
    pub(crate) fn at(&mut self, layer: &Layer, offset: u64, len: u64) -> Result<(u64, bool)> {
        let Layer::Qcow2(image) = layer else {
            return Ok((len, false));
        };
        let Some(file) = image.guest_file() else {
            return Ok((len, false));
        };
        let looked_for = match self.looked_for {
            Some(looked_for) => looked_for,
            None => {
                let bytes = file.len()?;
                self.file_end = bytes.checked_next_multiple_of(512).unwrap_or(bytes);
                *self.looked_for.insert(looks_preallocated(image))
            }
        };
        if !looked_for {
            return Ok((len, false));
        }
        if offset >= self.file_end {
            return Ok((len, true));
        }
        let (from, to, _) = self.said;
        if !(from..to).contains(&offset) {
            // A filesystem that cannot tell has no holes to tell of.
            self.said = match file.segment_at(offset) {
                Ok(Segment::Hole(to)) => (offset, to.min(self.file_end), true),
                Ok(Segment::Data(to)) => {
                    let to = to.checked_next_multiple_of(512).unwrap_or(to);
                    (offset, to.max(offset + 1), false)
                }
                Err(_) => (offset, u64::MAX, false),
            };
        }
        let (_, to, hole) = self.said;
        if hole && to >= self.file_end {
            return Ok((len, true));
        }
        Ok(((to - offset).min(len).max(1), hole))
    }
}

/// Whether QEMU takes an image for one with preallocated metadata: its refcounts count a tenth more
/// clusters than its file has room on disk for (`qcow2_detect_metadata_preallocation`). Where that
/// cannot be found out it is not.
fn looks_preallocated(image: &Qcow2) -> bool {
    count_says_so(image).unwrap_or(false)
}

fn count_says_so(image: &Qcow2) -> Option<bool> {
    let (file, header) = (image.file(), image.header());
    let geometry = header.geometry;
    let stat = file.stat("stat").ok()?;
    let size = geometry.cluster_size();
    let on_disk = stat.allocated / size;
    let enough = (on_disk.saturating_mul(10) / 9).max(on_disk + 2);
    let mut clusters = stat.len.div_ceil(size);
    let table = read_refcount_table(file, header).ok()?;
    let mut counted = 0;
    // Blocks without a count, so that a forged table cannot have one of them read for ever.
    let mut free = HashSet::new();
    for raw in table.iter() {
        if counted >= enough || clusters == 0 {
            break;
        }
        let within = clusters.min(geometry.refcounts_per_block());
        clusters -= within;
        let Some(block) = refcount::parse_table_entry(raw, geometry).ok()? else {
            continue;
        };
        if free.contains(&block) || in_a_hole(file, block, size) {
            continue;
        }
        let mut bytes = vec![0; geometry.cluster_len()];
        file.read(&mut bytes, block.get()).ok()?;
        let block_of_counts = RefcountBlock::from_bytes(bytes, geometry).ok()?;
        let used = block_of_counts.used(usize::try_from(within).ok()?);
        if used == 0 {
            free.insert(block);
        }
        counted += used as u64;
    }
    Some(counted >= enough)
}

/// Whether the cluster there has no byte on disk.
fn in_a_hole(file: &ImageFile, cluster: HostOffset, size: u64) -> bool {
    let end = cluster.get().saturating_add(size);
    matches!(file.segment_at(cluster.get()), Ok(Segment::Hole(to)) if to >= end)
}
