//! The bits of one dirty bitmap, kept as the pages its table names: one cluster of bits each, most of
//! which are all zeros or all ones and take no room.

use std::ops::Range;
use std::path::Path;

use crate::image::error::{OfFile, Result};
use crate::image::internal::{self, Fault};
use crate::image::read::table_reader::read_entries;
use crate::image::{Error, ErrorKind, ImageFile};
use crate::qcow2::bitmap::{Bitmap, BitmapTableEntry};
use crate::qcow2::limits::{MAX_BITMAP_DATA_BYTES, MAX_FILE_LENGTH};
use crate::qcow2::{EntryTable, FormatError, Geometry, HostOffset};

/// Which parts of a disk a bitmap calls dirty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirty {
    size: u64,
    granularity_bits: u8,
    page_len: usize,
    pages: Vec<Page>,
}

/// One cluster of bits. The last page is never `Ones` unless it has no bits beyond the disk's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Page {
    Zeros,
    Ones,
    Bits(Box<[u8]>),
}

/// How many clusters of bits a disk of `size` bytes takes; none if that is more than QEMU allows.
fn pages_for(size: u64, granularity_bits: u8, geometry: Geometry) -> Option<usize> {
    let bits = size.div_ceil(1u64.checked_shl(granularity_bits.into())?);
    let bytes = bits.div_ceil(8);
    let pages = bytes.div_ceil(geometry.cluster_size());
    let fits = pages.saturating_mul(geometry.cluster_size()) <= MAX_BITMAP_DATA_BYTES;
    usize::try_from(pages).ok().filter(|_| fits)
}

fn not_as_long(path: &Path, bitmap: &Bitmap) -> Error {
    let name = crate::host::printable_bytes(&bitmap.name);
    let text = format!("its dirty bitmap {name} is not as long as its disk");
    Error::new(path, ErrorKind::Damaged(text))
}

/// The entries of a bitmap's table.
fn read_table(
    file: &ImageFile,
    geometry: Geometry,
    bitmap: &Bitmap,
) -> Result<Vec<BitmapTableEntry>> {
    let place = bitmap.table();
    let (offset, length) = (place.offset.get(), place.bytes());
    if offset > MAX_FILE_LENGTH - length {
        return Err(Error::new(
            file,
            FormatError::BeyondEnd {
                field: "bitmap table offset",
                offset,
                length,
            },
        ));
    }
    read_entries(file, place, "bitmap table")?
        .iter()
        .map(|raw| BitmapTableEntry::parse(raw, geometry).map_err(|e| Error::new(file, e)))
        .collect()
}

/// Refuses a bitmap whose table QEMU would not load, on a disk of `size` bytes.
///
/// # Errors
/// As [`Dirty::read`], of whose work the bits are left out.
pub(crate) fn require_loadable(
    file: &ImageFile,
    geometry: Geometry,
    bitmap: &Bitmap,
    size: u64,
) -> Result<()> {
    if !bitmap.fits(size, geometry) {
        return Err(not_as_long(file.path(), bitmap));
    }
    read_table(file, geometry, bitmap).map(drop)
}

impl Dirty {
    /// A bitmap without a dirty bit; none if it would be longer than QEMU allows.
    #[must_use]
    pub(crate) fn clean(size: u64, granularity_bits: u8, geometry: Geometry) -> Option<Self> {
        Some(Self {
            size,
            granularity_bits,
            page_len: geometry.cluster_len(),
            pages: vec![Page::Zeros; pages_for(size, granularity_bits, geometry)?],
        })
    }

    /// Reads a bitmap of a disk of `size` bytes.
    ///
    /// # Errors
    /// When the table does not fit the disk's size, holds an entry that cannot be, or the file
    /// cannot be read.
    pub(crate) fn read(
        file: &ImageFile,
        geometry: Geometry,
        bitmap: &Bitmap,
        size: u64,
    ) -> Result<Self> {
        let name = || crate::host::printable_bytes(&bitmap.name);
        let mut dirty = Self::clean(size, bitmap.granularity_bits, geometry)
            .filter(|dirty| dirty.pages.len() as u64 == u64::from(bitmap.table_entries))
            .ok_or_else(|| not_as_long(file.path(), bitmap))?;
        let bits = dirty.bits();
        for (at, entry) in read_table(file, geometry, bitmap)?.iter().enumerate() {
            match *entry {
                BitmapTableEntry::Zeros => {}
                BitmapTableEntry::Ones => {
                    let page = dirty.page_bits(at);
                    dirty.set(page.start..page.end.min(bits)).of(file)?;
                }
                BitmapTableEntry::Stored(offset) => {
                    let mut bytes = vec![0; dirty.page_len];
                    file.read_padded(
                        &mut bytes,
                        offset.get(),
                        format_args!("read the bitmap {} at {offset}", name()),
                    )?;
                    dirty.put_page(at, bytes).of(file)?;
                }
            }
        }
        Ok(dirty)
    }

    /// The size of the disk in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Guest bytes per bit.
    #[must_use]
    pub fn granularity(&self) -> u64 {
        1 << self.granularity_bits
    }

    /// How many guest bytes are dirty.
    #[must_use]
    pub fn dirty_bytes(&self) -> u64 {
        let mut sum = 0;
        self.each_run(&mut |bits| {
            let bytes = self.guest(bits);
            sum += bytes.end - bytes.start;
        });
        sum
    }

    /// The dirty guest bytes as runs, in order; neighbours are one run.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let mut all: Vec<Range<u64>> = Vec::new();
        self.each_run(&mut |bits| {
            let bytes = self.guest(bits);
            match all.last_mut() {
                Some(last) if last.end == bytes.start => last.end = bytes.end,
                _ => all.push(bytes),
            }
        });
        all
    }

    fn guest(&self, bits: Range<u64>) -> Range<u64> {
        let unit = self.granularity();
        bits.start * unit..bits.end.saturating_mul(unit).min(self.size)
    }

    fn bits(&self) -> u64 {
        self.size.div_ceil(self.granularity())
    }

    fn bits_per_page(&self) -> u64 {
        self.page_len as u64 * 8
    }

    fn page_bits(&self, at: usize) -> Range<u64> {
        let start = at as u64 * self.bits_per_page();
        start..start + self.bits_per_page()
    }

    /// Takes a page's bytes; bits beyond the disk's end are dropped.
    fn put_page(&mut self, at: usize, mut bytes: Vec<u8>) -> std::result::Result<(), Fault> {
        let (page, bits) = (self.page_bits(at), self.bits());
        if page.end > bits {
            clear_from(&mut bytes, bits.saturating_sub(page.start))?;
        }
        *internal::item_mut(&mut self.pages, at)? = Page::of(bytes);
        Ok(())
    }

    /// Tells each run of set bits inside a page, in order.
    fn each_run(&self, tell: &mut dyn FnMut(Range<u64>)) {
        for (at, page) in self.pages.iter().enumerate() {
            let whole = self.page_bits(at);
            match page {
                Page::Zeros => {}
                Page::Ones => tell(whole),
                Page::Bits(bytes) => {
                    let mut open: Option<u64> = None;
                    for (start, byte) in (whole.start..).step_by(8).zip(bytes.iter()) {
                        // Whole bytes of one kind, which most are, go on what is open.
                        if (*byte == 0 && open.is_none()) || (*byte == 0xff && open.is_some()) {
                            continue;
                        }
                        for (bit, mask) in (start..start + 8).zip((0..8).map(|n| 1u8 << n)) {
                            match (byte & mask != 0, open) {
                                (true, None) => open = Some(bit),
                                (false, Some(from)) => {
                                    tell(from..bit);
                                    open = None;
                                }
                                _ => {}
                            }
                        }
                    }
                    if let Some(from) = open {
                        tell(from..whole.end);
                    }
                }
            }
        }
    }

    /// Sets bits.
    fn set(&mut self, bits: Range<u64>) -> std::result::Result<(), Fault> {
        let (per_page, len) = (self.bits_per_page(), self.page_len);
        let mut at = bits.start;
        while at < bits.end {
            let index = internal::index(at / per_page)?;
            let page = self.page_bits(index);
            let to = page.end.min(bits.end);
            let held = internal::item_mut(&mut self.pages, index)?;
            if at == page.start && to == page.end {
                *held = Page::Ones;
            } else if *held != Page::Ones {
                let mut bytes = match std::mem::replace(held, Page::Zeros) {
                    Page::Bits(bytes) => bytes.into_vec(),
                    Page::Zeros | Page::Ones => vec![0; len],
                };
                set_bits(&mut bytes, at - page.start..to - page.start)?;
                *held = Page::of(bytes);
            }
            at = to;
        }
        Ok(())
    }

    /// Calls dirty whatever `other`, of a disk of the same size, calls dirty.
    ///
    /// # Errors
    /// The disks are not of one size, which the caller has looked at.
    pub(crate) fn merge(&mut self, other: &Self) -> std::result::Result<(), Fault> {
        if other.size != self.size {
            return Err(Fault::new("bitmaps of disks that are not of one size"));
        }
        if (other.granularity_bits, other.page_len) == (self.granularity_bits, self.page_len) {
            for (page, other) in self.pages.iter_mut().zip(&other.pages) {
                page.merge(other);
            }
            return Ok(());
        }
        let (unit, size) = (self.granularity(), self.size);
        let mut merged = Ok(());
        other.each_run(&mut |bits| {
            let bytes = other.guest(bits);
            if merged.is_ok() {
                merged = self.set(bytes.start / unit..bytes.end.min(size).div_ceil(unit));
            }
        });
        merged
    }

    /// The bitmap of the same disk made longer or shorter; none if it would be too long. What is new
    /// is not dirty.
    pub(crate) fn resized(
        mut self,
        size: u64,
        geometry: Geometry,
    ) -> std::result::Result<Option<Self>, Fault> {
        let Some(pages) = pages_for(size, self.granularity_bits, geometry) else {
            return Ok(None);
        };
        self.size = size;
        self.pages.resize(pages, Page::Zeros);
        let bits = self.bits();
        if let Some(last) = pages.checked_sub(1)
            && self.page_bits(last).end > bits
        {
            let len = self.page_len;
            let bytes = match internal::item(&self.pages, last)? {
                Page::Bits(bytes) => bytes.to_vec(),
                Page::Ones => vec![0xff; len],
                Page::Zeros => vec![0; len],
            };
            self.put_page(last, bytes)?;
        }
        Ok(Some(self))
    }

    pub(crate) fn granularity_bits(&self) -> u8 {
        self.granularity_bits
    }

    pub(crate) fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// How many pages have to be stored.
    pub(crate) fn stored_pages(&self) -> u64 {
        let stored = self
            .pages
            .iter()
            .filter(|page| matches!(page, Page::Bits(_)));
        stored.count() as u64
    }

    /// Has the bits written by `put`, which says where they came to lie, and gives the table that names
    /// them.
    ///
    /// # Errors
    /// Whatever `put` fails with, or when the format has no entry for such a place.
    pub(crate) fn store(
        &self,
        geometry: Geometry,
        put: &mut dyn FnMut(&[u8]) -> Result<HostOffset>,
        bad: &dyn Fn(FormatError) -> Error,
    ) -> Result<EntryTable> {
        let mut table = EntryTable::zeroed(self.pages.len());
        for (at, page) in self.pages.iter().enumerate() {
            let entry = match page {
                Page::Zeros => continue,
                Page::Ones => BitmapTableEntry::Ones,
                Page::Bits(bytes) => BitmapTableEntry::Stored(put(bytes)?),
            };
            let raw = entry.encode(geometry).map_err(bad)?;
            table.set(at, raw).map_err(bad)?;
        }
        Ok(table)
    }
}

impl Page {
    fn of(bytes: Vec<u8>) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            Self::Zeros
        } else if bytes.iter().all(|byte| *byte == 0xff) {
            Self::Ones
        } else {
            Self::Bits(bytes.into_boxed_slice())
        }
    }

    fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Ones, _) | (_, Self::Zeros) => {}
            (_, Self::Ones) => *self = Self::Ones,
            (Self::Zeros, Self::Bits(_)) => *self = other.clone(),
            (Self::Bits(mine), Self::Bits(other)) => {
                let mut merged = mine.to_vec();
                for (byte, other) in merged.iter_mut().zip(other) {
                    *byte |= other;
                }
                *self = Self::of(merged);
            }
        }
    }
}

/// Sets bits of a page: bit n is bit n % 8 of byte n / 8.
fn set_bits(bytes: &mut [u8], bits: Range<u64>) -> std::result::Result<(), Fault> {
    let mut at = bits.start;
    while at < bits.end {
        let to = (at / 8 * 8 + 8).min(bits.end);
        *internal::item_mut(bytes, internal::index(at / 8)?)? |=
            (0xffu8 << (at % 8)) & (0xff >> (7 - (to - 1) % 8));
        at = to;
    }
    Ok(())
}

/// Clears all bits of a page from this one on.
fn clear_from(bytes: &mut [u8], bit: u64) -> std::result::Result<(), Fault> {
    let (at, len) = (internal::index(bit / 8)?, bytes.len());
    let [first, rest @ ..] = internal::part_mut(bytes, at..len)? else {
        return Ok(());
    };
    *first &= !(0xffu8 << (bit % 8));
    rest.fill(0);
    Ok(())
}

#[allow(clippy::single_range_in_vec_init)] // Expected ranges, of which there may be one.
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry() -> Geometry {
        Geometry::new(9, 4, false).unwrap()
    }

    fn clean(size: u64, bits: u8) -> Dirty {
        Dirty::clean(size, bits, geometry()).unwrap()
    }

    #[test]
    fn a_bit_lies_where_qemu_serialises_it() {
        let mut dirty = clean(1 << 21, 9);
        dirty.set(9..11).unwrap();
        assert_eq!(dirty.ranges(), vec![9 * 512..11 * 512]);
        assert!(
            matches!(&dirty.pages[0], Page::Bits(bytes) if bytes[..3] == [0, 0b110, 0] && bytes.len() == 512)
        );
        dirty.set(0..4096).unwrap();
        assert_eq!(dirty.pages, [Page::Ones]);
    }

    #[test]
    fn what_is_cut_off_is_not_dirty_when_the_disk_grows_again() {
        let mut dirty = clean(10 * 512, 9);
        dirty.set(0..10).unwrap();
        let shorter = dirty.resized(3 * 512 + 100, geometry()).unwrap().unwrap();
        assert_eq!(shorter.ranges(), vec![0..3 * 512 + 100]);
        let longer = shorter.resized(1 << 22, geometry()).unwrap().unwrap();
        assert_eq!(longer.ranges(), vec![0..4 * 512]);
    }

    #[test]
    fn bits_that_a_bitmap_does_not_have_are_a_fault() {
        let mut dirty = clean(1 << 21, 9);
        assert!(dirty.set(4096..4097).is_err());
        assert!(dirty.merge(&clean(1 << 22, 9)).is_err());
        assert!(set_bits(&mut [0; 2], 15..17).is_err() && clear_from(&mut [0; 2], 24).is_err());
    }

    #[test]
    fn more_bits_than_qemu_allows_are_refused_before_any_room_is_taken() {
        assert!(Dirty::clean(1 << 62, 9, geometry()).is_none());
        assert!(Dirty::clean(u64::MAX, 31, geometry()).is_none());
        assert!(Dirty::clean(1 << 41, 9, geometry()).is_some());
    }

    proptest! {
        #[test]
        fn merging_sets_what_either_calls_dirty(
            size in 1u64..6_000_000,
            (mine, theirs) in (9u8..16, 9u8..16),
            runs in prop::collection::vec((any::<bool>(), 0u64..6_000_000, 0u64..3_000_000), 0..6),
        ) {
            let (mut a, mut b) = (clean(size, mine), clean(size, theirs));
            let mut expected = vec![false; usize::try_from(size.div_ceil(1 << mine)).unwrap()];
            for (first, start, len) in runs {
                let (start, end) = (start.min(size), start.saturating_add(len).min(size));
                let of = if first { &mut a } else { &mut b };
                let bits = start / of.granularity()..end.div_ceil(of.granularity());
                if start < end {
                    let unit = of.granularity();
                    of.set(bits.clone()).unwrap();
                    let bytes = bits.start * unit..(bits.end * unit).min(size);
                    let range = bytes.start >> mine..bytes.end.div_ceil(1 << mine);
                    for bit in range {
                        expected[usize::try_from(bit).unwrap()] = true;
                    }
                }
            }
            a.merge(&b).unwrap();
            let mut found = vec![false; expected.len()];
            a.each_run(&mut |bits| {
                for bit in bits {
                    found[usize::try_from(bit).unwrap()] = true;
                }
            });
            prop_assert_eq!(found, expected);
            let bytes: u64 = a.ranges().iter().map(|run| run.end - run.start).sum();
            prop_assert_eq!(bytes, a.dirty_bytes());
        }
    }
}
