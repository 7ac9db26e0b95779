//! Refcounts: table entries, blocks of every width, and how many of both a new image needs.
//!
//! Which clusters are in use is not known here.

use std::ops::Range;

use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U16;

use super::address::HostOffset;
use super::error::FormatError;
use super::geometry::Geometry;
use super::limits;

/// The offset part of a refcount table entry.
const OFFSET: u64 = 0xffff_ffff_ffff_fe00;

/// Reads a refcount table entry: where the refcount block is, `None` if there is none. The reserved
/// bits 0 to 8 are ignored, as QEMU does when it reads; see [`reserved_bits`].
///
/// # Errors
/// [`FormatError::Unaligned`] if the block is not cluster-aligned, [`FormatError::OutOfRange`] if it
/// is beyond the largest file.
pub fn parse_table_entry(raw: u64, geometry: Geometry) -> Result<Option<HostOffset>, FormatError> {
    let offset = raw & OFFSET;
    geometry.require_aligned("refcount block offset", offset)?;
    super::error::in_range("refcount block offset", offset, 0, limits::MAX_OFFSET)?;
    Ok((offset != 0).then_some(HostOffset(offset)))
}

/// The refcount table entry for a block, to be stored big-endian.
///
/// # Errors
/// [`FormatError::Unaligned`] if the block is not cluster-aligned.
pub fn encode_table_entry(
    block: Option<HostOffset>,
    geometry: Geometry,
) -> Result<u64, FormatError> {
    let offset = block.map_or(0, HostOffset::get);
    geometry.require_aligned("refcount block offset", offset)?;
    Ok(offset)
}

/// The bits of a raw refcount table entry that must be zero and are not.
#[must_use]
pub const fn reserved_bits(raw: u64) -> u64 {
    raw & !OFFSET
}

/// A refcount block as the bytes it has on disk. Widths below a byte are packed from the least
/// significant bit on; wider ones are big-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefcountBlock {
    bytes: Vec<u8>,
    order: u32,
}

impl RefcountBlock {
    /// A block of zeros.
    #[must_use]
    pub fn zeroed(geometry: Geometry) -> Self {
        Self {
            bytes: vec![0; geometry.cluster_len()],
            order: geometry.refcount_order(),
        }
    }

    /// Takes a block's bytes.
    ///
    /// # Errors
    /// [`FormatError::Truncated`] unless they are exactly one cluster.
    pub fn from_bytes(bytes: Vec<u8>, geometry: Geometry) -> Result<Self, FormatError> {
        if bytes.len() != geometry.cluster_len() {
            return Err(FormatError::Truncated {
                field: "a refcount block",
                needed: geometry.cluster_size(),
                have: bytes.len() as u64,
            });
        }
        Ok(Self {
            bytes,
            order: geometry.refcount_order(),
        })
    }

    /// Number of refcounts in the block.
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.bytes.len() << 3) >> self.order
    }

    /// Whether there are no refcounts; never so, a cluster holds some.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The largest refcount that fits.
    #[must_use]
    pub const fn max(&self) -> u64 {
        u64::MAX >> (64 - (1u32 << self.order))
    }

    /// The refcount at `index`; `None` beyond the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u64> {
        if self.order < 3 {
            let (byte, shift, mask) = self.packed(index);
            return self.bytes.get(byte).map(|b| u64::from((b >> shift) & mask));
        }
        let width = 1usize << (self.order - 3);
        let start = index.checked_mul(width)?;
        let bytes = self.bytes.get(start..start.checked_add(width)?)?;
        Some(
            bytes
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        )
    }

    /// The refcount at `index`.
    fn known(&self, index: usize) -> Result<u64, FormatError> {
        self.get(index).ok_or(self.missing(index))
    }

    fn missing(&self, index: usize) -> FormatError {
        FormatError::NoSuchEntry {
            table: "the refcount block",
            index: index as u64,
            len: self.len() as u64,
        }
    }

    /// Replaces the refcount at `index`.
    ///
    /// # Errors
    /// [`FormatError::DoesNotFit`] if the width cannot hold the value, [`FormatError::NoSuchEntry`]
    /// beyond the end. The block is then unchanged.
    pub fn set(&mut self, index: usize, value: u64) -> Result<(), FormatError> {
        if value > self.max() {
            return Err(FormatError::DoesNotFit {
                field: "refcount",
                value,
                max: self.max(),
            });
        }
        let missing = self.missing(index);
        if self.order < 3 {
            let (byte, shift, mask) = self.packed(index);
            let byte = self.bytes.get_mut(byte).ok_or(missing)?;
            let [.., low] = value.to_be_bytes();
            *byte = (*byte & !(mask << shift)) | ((low & mask) << shift);
            return Ok(());
        }
        let width = 1usize << (self.order - 3);
        let target = index
            .checked_mul(width)
            .and_then(|start| self.bytes.get_mut(start..start.checked_add(width)?))
            .ok_or(missing)?;
        for (to, from) in target.iter_mut().rev().zip(value.to_le_bytes()) {
            *to = from;
        }
        Ok(())
    }

    /// Adds 1 to the refcounts of a range.
    ///
    /// # Errors
    /// [`FormatError::DoesNotFit`] if one of them is as large as the width allows,
    /// [`FormatError::NoSuchEntry`] beyond the end. Those before it are raised then.
    pub fn raise(&mut self, range: Range<usize>) -> Result<(), FormatError> {
        let max = self.max();
        let too_large = FormatError::DoesNotFit {
            field: "refcount",
            value: max.saturating_add(1),
            max,
        };
        // The usual width, in one pass over the bytes.
        if let Some(counts) = self.sixteen_bits(&range) {
            for count in counts {
                count.set(count.get().checked_add(1).ok_or(too_large.clone())?);
            }
            return Ok(());
        }
        for index in range {
            let now = self.known(index)?;
            if now == max {
                return Err(too_large);
            }
            self.set(index, now + 1)?;
        }
        Ok(())
    }

    /// Subtracts 1 from the refcounts of a range and tells each that becomes 0 by its index.
    ///
    /// # Errors
    /// [`FormatError::OutOfRange`] if one of them is 0, [`FormatError::NoSuchEntry`] beyond the end.
    /// Those before it are lowered then.
    pub fn lower(
        &mut self,
        range: Range<usize>,
        emptied: &mut dyn FnMut(usize),
    ) -> Result<(), FormatError> {
        let free = FormatError::OutOfRange {
            field: "the refcount of a cluster in use",
            value: 0,
            min: 1,
            max: self.max(),
        };
        if let Some(counts) = self.sixteen_bits(&range) {
            for (index, count) in range.zip(counts) {
                let then = count.get().checked_sub(1).ok_or(free.clone())?;
                count.set(then);
                if then == 0 {
                    emptied(index);
                }
            }
            return Ok(());
        }
        for index in range {
            let then = self.known(index)?.checked_sub(1);
            let then = then.ok_or(free.clone())?;
            self.set(index, then)?;
            if then == 0 {
                emptied(index);
            }
        }
        Ok(())
    }

    /// Which refcounts of a range are exactly 1, the measure of the copied flag: runs of those that are
    /// and those that are not, in order, as far as the block goes.
    pub fn ones(&self, range: Range<usize>) -> impl Iterator<Item = (Range<usize>, bool)> + '_ {
        let end = range.end.min(self.len());
        let mut at = range.start;
        std::iter::from_fn(move || {
            let one = self.get(at).filter(|_| at < end)? == 1;
            let start = at;
            at += match self.as_sixteen_bits().and_then(|all| all.get(at..end)) {
                // The usual width, two bytes at a time.
                Some(rest) => rest
                    .iter()
                    .position(|count| (count.get() == 1) != one)
                    .unwrap_or(rest.len()),
                None => (at..end)
                    .take_while(|index| (self.get(*index) == Some(1)) == one)
                    .count(),
            };
            Some((start..at, one))
        })
    }

    /// The refcounts as numbers, where that is how they are stored.
    #[must_use]
    pub fn as_sixteen_bits(&self) -> Option<&[U16]> {
        if self.order != 4 {
            return None;
        }
        <[U16]>::ref_from_bytes(&self.bytes).ok()
    }

    /// The refcounts of a range as numbers, where that is how they are stored.
    fn sixteen_bits(&mut self, range: &Range<usize>) -> Option<&mut [U16]> {
        if self.order != 4 {
            return None;
        }
        let bytes = range.start.checked_mul(2)?..range.end.checked_mul(2)?;
        <[U16]>::mut_from_bytes(self.bytes.get_mut(bytes)?).ok()
    }

    /// Byte, shift and mask of a refcount narrower than a byte.
    const fn packed(&self, index: usize) -> (usize, u32, u8) {
        let bits = 1u32 << self.order;
        let per_byte = 8usize >> self.order;
        let mut shift = 0;
        let mut within = index % per_byte;
        while within > 0 {
            shift += bits;
            within -= 1;
        }
        (index / per_byte, shift, 0xff >> (8 - bits))
    }

    /// All refcounts in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The index of the first refcount at or after `from` that is zero.
    #[must_use]
    pub fn first_free(&self, from: usize) -> Option<usize> {
        if let Some(counts) = self.as_sixteen_bits() {
            // The usual width, two bytes at a time.
            let found = counts.get(from..)?.iter().position(|count| *count == 0)?;
            return Some(from + found);
        }
        (from..self.len()).find(|index| self.get(*index) == Some(0))
    }

    /// How many of the first `first` refcounts are not zero.
    #[must_use]
    pub fn used(&self, first: usize) -> usize {
        let first = first.min(self.len());
        if let (4, Ok(counts)) = (self.order, <[U16]>::ref_from_bytes(&self.bytes)) {
            // The usual width, two bytes at a time.
            let counts = counts.iter().take(first);
            return counts.filter(|count| **count != 0).count();
        }
        self.iter().take(first).filter(|count| *count != 0).count()
    }

    /// The bytes as they are on disk.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Gives the bytes back, to be filled with another block.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// How many clusters of refcount metadata describe a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RefcountSize {
    /// Clusters of the refcount table, at least 1.
    pub table_clusters: u64,
    /// Refcount blocks, one cluster each.
    pub blocks: u64,
}

/// Refcount metadata for a file of `clusters` clusters besides this metadata itself, which is
/// counted in as well.
///
/// # Errors
/// [`FormatError::OutOfRange`] if the refcount table would be larger than allowed.
pub fn size_for(clusters: u64, geometry: Geometry) -> Result<RefcountSize, FormatError> {
    let size = size_without_limit(clusters, geometry);
    super::error::in_range(
        "refcount_table_clusters",
        size.table_clusters,
        1,
        limits::MAX_REFCOUNT_TABLE_BYTES / geometry.cluster_size(),
    )?;
    Ok(size)
}

/// As [`size_for`], also where the table would be larger than an image may have.
#[must_use]
pub fn size_without_limit(clusters: u64, geometry: Geometry) -> RefcountSize {
    let per_block = geometry.refcounts_per_block();
    let per_table_cluster = geometry.cluster_size() / 8;
    let mut size = RefcountSize {
        table_clusters: 1,
        blocks: 1,
    };
    // Both only grow from round to round, and what a round adds is a fraction of what the round
    // before added: a block counts 64 clusters at least.
    loop {
        let total = clusters
            .saturating_add(size.table_clusters)
            .saturating_add(size.blocks);
        let blocks = total.div_ceil(per_block);
        let table_clusters = blocks.div_ceil(per_table_cluster).max(1);
        if blocks <= size.blocks && table_clusters <= size.table_clusters {
            return size;
        }
        size = RefcountSize {
            table_clusters,
            blocks,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(order: u32) -> RefcountBlock {
        RefcountBlock::zeroed(Geometry::new(9, order, false).unwrap())
    }

    #[test]
    fn narrow_refcounts_fill_a_byte_from_its_low_end() {
        let mut one = block(0);
        one.set(0, 1).unwrap();
        one.set(7, 1).unwrap();
        assert_eq!(one.as_bytes()[0], 0x81);
        let mut two = block(1);
        two.set(1, 3).unwrap();
        assert_eq!(two.as_bytes()[0], 0x0c);
        let mut four = block(2);
        four.set(1, 0xa).unwrap();
        assert_eq!(four.as_bytes()[0], 0xa0);
    }

    #[test]
    fn wide_refcounts_are_big_endian() {
        let mut sixteen = block(4);
        sixteen.set(1, 0x0102).unwrap();
        assert_eq!(sixteen.as_bytes()[..4], [0, 0, 1, 2]);
        let mut widest = block(6);
        widest.set(0, u64::MAX).unwrap();
        assert_eq!(widest.get(0), Some(u64::MAX));
        assert_eq!(widest.len(), 64);
    }

    #[test]
    fn a_refcount_beyond_its_width_is_refused_and_changes_nothing() {
        let mut one = block(0);
        assert!(matches!(
            one.set(0, 2),
            Err(FormatError::DoesNotFit { max: 1, .. })
        ));
        assert!(one.as_bytes().iter().all(|byte| *byte == 0));
        assert!(one.set(4096, 1).is_err());
    }

    #[test]
    fn the_smallest_image_needs_one_table_cluster_and_one_block() {
        let g = Geometry::new(16, 4, false).unwrap();
        let size = size_for(2, g).unwrap();
        assert_eq!((size.table_clusters, size.blocks), (1, 1));
        // 32768 clusters fill a block; the table and the block itself tip it over.
        let size = size_for(32768 - 2, g).unwrap();
        assert_eq!((size.table_clusters, size.blocks), (1, 1));
        let size = size_for(32768 - 1, g).unwrap();
        assert_eq!((size.table_clusters, size.blocks), (1, 2));
        assert!(size_for(u64::MAX, g).is_err());
    }

    #[test]
    fn a_table_entry_is_an_aligned_offset() {
        let g = Geometry::new(16, 4, false).unwrap();
        assert_eq!(parse_table_entry(0x20000, g), Ok(Some(HostOffset(0x20000))));
        assert_eq!(parse_table_entry(0, g), Ok(None));
        assert!(parse_table_entry(0x20200, g).is_err());
        assert!(parse_table_entry(1 << 63, g).is_err());
        assert_eq!(reserved_bits(0x20001), 1);
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_and_nothing_else_changes(
            order in 0u32..=6,
            sets in prop::collection::vec((0usize..64, any::<u64>()), 0..40),
        ) {
            let mut block = block(order);
            let mut model = vec![0u64; block.len()];
            for (index, value) in sets {
                let value = value & block.max();
                block.set(index, value).unwrap();
                model[index] = value;
            }
            prop_assert_eq!(block.iter().collect::<Vec<_>>(), model);
        }

        #[test]
        fn a_range_is_raised_and_lowered_as_one_by_one(
            order in 0u32..=6,
            start in 0usize..60,
            len in 0usize..60,
            sets in prop::collection::vec((0usize..64, 0u64..4), 0..40),
        ) {
            let mut block = block(order);
            for (index, value) in sets {
                block.set(index, value.min(block.max())).unwrap();
            }
            let range = start..(start + len).min(64);
            let before: Vec<u64> = block.iter().collect();
            let full = before[range.clone()].iter().any(|count| *count == block.max());
            prop_assert_eq!(block.raise(range.clone()).is_err(), full);
            if !full {
                for (index, count) in block.iter().enumerate() {
                    prop_assert_eq!(count, before[index] + u64::from(range.contains(&index)));
                }
                let mut emptied = Vec::new();
                block.lower(range.clone(), &mut |index| emptied.push(index)).unwrap();
                prop_assert_eq!(block.iter().collect::<Vec<_>>(), before.clone());
                let zero: Vec<usize> = range.filter(|index| before[*index] == 0).collect();
                prop_assert_eq!(block.lower(0..64, &mut |_| ()).is_err(), before[..64].contains(&0));
                prop_assert_eq!(emptied, zero);
            }
        }

        #[test]
        fn which_refcounts_are_one_is_told_in_runs(
            order in 0u32..=6,
            range in (0usize..70, 0usize..70),
            sets in prop::collection::vec((0usize..64, 0u64..3), 0..60),
        ) {
            let mut block = block(order);
            for (index, value) in sets {
                block.set(index, value.min(block.max())).unwrap();
            }
            let range = range.0.min(range.1)..range.0.max(range.1);
            let mut at = range.start;
            let mut last = None;
            for (run, one) in block.ones(range.clone()) {
                prop_assert!(run.start == at && run.end > at && last != Some(one));
                for index in run.clone() {
                    prop_assert_eq!(block.get(index) == Some(1), one);
                }
                (at, last) = (run.end, Some(one));
            }
            prop_assert_eq!(at, range.end.min(block.len()).max(range.start));
        }

        #[test]
        fn sized_metadata_describes_itself(clusters in 0u64..1 << 24, bits in 9u32..=21, order in 0u32..=6) {
            let g = Geometry::new(bits, order, false).unwrap();
            if let Ok(size) = size_for(clusters, g) {
                let total = clusters + size.blocks + size.table_clusters;
                prop_assert!(size.blocks * g.refcounts_per_block() >= total);
                prop_assert!(size.table_clusters * (g.cluster_size() / 8) >= size.blocks);
            }
        }
    }
}
