//! Persistent bitmaps: the entries of the bitmap directory and of a bitmap's table.
//!
//! Where the directory is says [`super::extension::BitmapsExtension`]; the bits themselves are data.

use bitflags::bitflags;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::address::HostOffset;
use super::error::{FormatError, in_range};
use super::extension::slice;
use super::geometry::Geometry;
use super::limits;
use super::table::TablePlace;

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const ALL_ONES: u64 = 1;
const RESERVED: u64 = 0xff00_0000_0000_01fe;
/// The only type of bitmap there is: dirty tracking.
const DIRTY_TRACKING: u8 = 1;

bitflags! {
    /// Flags of a bitmap. Others are refused, as QEMU does.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct BitmapFlags: u32 {
        /// The bitmap was not saved properly: it must be taken as all ones.
        const IN_USE = 1 << 0;
        /// The bitmap records writes from the start on ("enabled").
        const AUTO = 1 << 1;
    }
}

/// The fixed part of a directory entry, as it is on disk. Extra data and name follow.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawBitmap {
    table_offset: U64,
    table_entries: U32,
    flags: U32,
    kind: u8,
    granularity_bits: u8,
    name_size: U16,
    extra_size: U32,
}

/// One bitmap, as the directory describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bitmap {
    /// Where its table is, cluster-aligned.
    pub table_offset: HostOffset,
    /// Entries of its table, at least 1.
    pub table_entries: u32,
    /// Its flags.
    pub flags: BitmapFlags,
    /// Guest bytes per bit, as a power of two, 9 to 31.
    pub granularity_bits: u8,
    /// Its name, 1 to 1023 bytes. From the image: escape it before showing it.
    pub name: Vec<u8>,
}

impl Bitmap {
    /// Where its table is.
    #[must_use]
    pub fn table(&self) -> TablePlace {
        TablePlace {
            offset: self.table_offset,
            entries: self.table_entries.into(),
        }
    }

    /// Guest bytes per bit.
    #[must_use]
    pub fn granularity(&self) -> u64 {
        1u64.checked_shl(self.granularity_bits.into()).unwrap_or(0)
    }

    /// Whether its table is as long as it has to be for a disk of `virtual_size` bytes. QEMU does not
    /// open an image with a bitmap of which this is not so, unless the bitmap is marked as in use.
    #[must_use]
    pub fn fits(&self, virtual_size: u64, geometry: Geometry) -> bool {
        let bits = virtual_size.div_ceil(self.granularity().max(1));
        let clusters = bits.div_ceil(8).div_ceil(geometry.cluster_size());
        self.flags.contains(BitmapFlags::IN_USE) || u64::from(self.table_entries) == clusters
    }

    /// What QEMU checks in an entry on its own.
    fn check(&self, geometry: Geometry) -> Result<(), FormatError> {
        in_range(
            "bitmap table size",
            self.table_entries.into(),
            1,
            limits::MAX_BITMAP_TABLE_ENTRIES.into(),
        )?;
        in_range(
            "bitmap table offset",
            self.table_offset.get(),
            1,
            limits::MAX_OFFSET - u64::from(self.table_entries) * 8,
        )?;
        geometry.require_aligned("bitmap table offset", self.table_offset.get())?;
        in_range(
            "bitmap granularity_bits",
            self.granularity_bits.into(),
            limits::MIN_BITMAP_GRANULARITY_BITS.into(),
            limits::MAX_BITMAP_GRANULARITY_BITS.into(),
        )?;
        in_range(
            "bitmap name length",
            self.name.len() as u64,
            1,
            limits::MAX_BITMAP_NAME_BYTES as u64,
        )?;
        let bytes = u64::from(self.table_entries) * geometry.cluster_size();
        in_range("bitmap data size", bytes, 0, limits::MAX_BITMAP_DATA_BYTES)?;
        let unknown = self.flags.bits() & !BitmapFlags::all().bits();
        if unknown == 0 {
            Ok(())
        } else {
            Err(FormatError::Unknown {
                field: "bitmap flags",
                value: unknown.into(),
            })
        }
    }

    fn parse(bytes: &[u8], at: u64, geometry: Geometry) -> Result<(Self, u64), FormatError> {
        let truncated = |needed: u64| FormatError::Truncated {
            field: "the bitmap directory",
            needed,
            have: bytes.len() as u64,
        };
        let raw = slice(bytes, at, 24)
            .and_then(|fixed| RawBitmap::ref_from_bytes(fixed).ok())
            .ok_or_else(|| truncated(at + 24))?;
        if raw.kind != DIRTY_TRACKING {
            return Err(FormatError::Unknown {
                field: "bitmap type",
                value: raw.kind.into(),
            });
        }
        // QEMU reads no bitmap with extra data.
        in_range("bitmap extra data size", raw.extra_size.get().into(), 0, 0)?;
        let end = at + 24 + u64::from(raw.name_size.get());
        let name =
            slice(bytes, at + 24, raw.name_size.get().into()).ok_or_else(|| truncated(end))?;
        let bitmap = Self {
            table_offset: HostOffset(raw.table_offset.get()),
            table_entries: raw.table_entries.get(),
            flags: BitmapFlags::from_bits_retain(raw.flags.get()),
            granularity_bits: raw.granularity_bits,
            name: name.to_vec(),
        };
        bitmap.check(geometry)?;
        Ok((bitmap, end.next_multiple_of(8)))
    }
}

/// Reads the bitmap directory: exactly its bytes, and as many entries as the extension says.
///
/// # Errors
/// Whatever QEMU refuses: an entry that is out of bounds, a directory longer or shorter than its
/// entries.
pub fn parse_directory(
    bytes: &[u8],
    count: u32,
    geometry: Geometry,
) -> Result<Vec<Bitmap>, FormatError> {
    in_range("bitmap count", count.into(), 0, limits::MAX_BITMAPS.into())?;
    let mut bitmaps = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        let (bitmap, end) = Bitmap::parse(bytes, at, geometry)?;
        bitmaps.push(bitmap);
        at = end;
    }
    in_range("bitmap directory size", bytes.len() as u64, at, at)?;
    Ok(bitmaps)
}

/// The bitmap directory's bytes; the exact inverse of [`parse_directory`].
///
/// # Errors
/// Whatever parsing would refuse.
pub fn encode_directory(bitmaps: &[Bitmap], geometry: Geometry) -> Result<Vec<u8>, FormatError> {
    in_range(
        "bitmap count",
        bitmaps.len() as u64,
        0,
        limits::MAX_BITMAPS.into(),
    )?;
    let mut out = Vec::new();
    for bitmap in bitmaps {
        bitmap.check(geometry)?;
        let raw = RawBitmap {
            table_offset: bitmap.table_offset.get().into(),
            table_entries: bitmap.table_entries.into(),
            flags: bitmap.flags.bits().into(),
            kind: DIRTY_TRACKING,
            granularity_bits: bitmap.granularity_bits,
            name_size: name_size(bitmap)?.into(),
            extra_size: 0.into(),
        };
        out.extend_from_slice(raw.as_bytes());
        out.extend_from_slice(&bitmap.name);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    in_range(
        "bitmap directory size",
        out.len() as u64,
        0,
        limits::MAX_BITMAP_DIRECTORY_BYTES,
    )?;
    Ok(out)
}

fn name_size(bitmap: &Bitmap) -> Result<u16, FormatError> {
    u16::try_from(bitmap.name.len()).map_err(|_| FormatError::DoesNotFit {
        field: "bitmap name",
        value: bitmap.name.len() as u64,
        max: u16::MAX.into(),
    })
}

/// One entry of a bitmap's table: a cluster's worth of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BitmapTableEntry {
    /// All bits are 0; nothing is stored.
    #[default]
    Zeros,
    /// All bits are 1; nothing is stored.
    Ones,
    /// The bits are stored in this cluster.
    Stored(HostOffset),
}

impl BitmapTableEntry {
    /// Reads an entry.
    ///
    /// # Errors
    /// [`FormatError::ReservedBits`] or [`FormatError::Unaligned`], both of which QEMU refuses.
    pub fn parse(raw: u64, geometry: Geometry) -> Result<Self, FormatError> {
        let offset = raw & OFFSET;
        // With an offset, bit 0 is reserved as well.
        let reserved = raw
            & if offset == 0 {
                RESERVED
            } else {
                RESERVED | ALL_ONES
            };
        if reserved != 0 {
            return Err(FormatError::ReservedBits {
                field: "bitmap table entry",
                raw,
                bits: reserved,
            });
        }
        geometry.require_aligned("bitmap data offset", offset)?;
        Ok(match (offset, raw & ALL_ONES) {
            (0, 0) => Self::Zeros,
            (0, _) => Self::Ones,
            _ => Self::Stored(HostOffset(offset)),
        })
    }

    /// The entry as a number, to be stored big-endian.
    ///
    /// # Errors
    /// Whatever parsing would refuse.
    pub fn encode(self, geometry: Geometry) -> Result<u64, FormatError> {
        let raw = match self {
            Self::Zeros => 0,
            Self::Ones => ALL_ONES,
            Self::Stored(offset) => offset.get(),
        };
        if Self::parse(raw, geometry)? == self {
            Ok(raw)
        } else {
            Err(FormatError::Inconsistent {
                reason: "bits of a bitmap cannot be stored at this offset",
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn geometry() -> Geometry {
        Geometry::new(16, 4, false).unwrap()
    }

    fn entry() -> Vec<u8> {
        let mut bytes = vec![0u8; 32];
        bytes[5] = 0x07; // table at 0x70000
        bytes[11] = 1; // one entry
        bytes[15] = 2; // auto
        bytes[16] = 1; // dirty tracking
        bytes[17] = 16; // granularity 64 KiB
        bytes[19] = 2; // name of two bytes
        bytes[24..26].copy_from_slice(b"b0");
        bytes
    }

    #[test]
    fn an_entry_lies_where_the_specification_says() {
        let found = parse_directory(&entry(), 1, geometry()).unwrap();
        assert_eq!(found[0].table_offset, HostOffset(0x70000));
        assert_eq!(found[0].flags, BitmapFlags::AUTO);
        assert_eq!(found[0].granularity(), 65536);
        assert_eq!(found[0].name, b"b0");
        assert_eq!(encode_directory(&found, geometry()).unwrap(), entry());
    }

    #[test]
    fn entries_out_of_bounds_are_refused() {
        for (at, value) in [
            (5, 0),
            (6, 2),
            (11, 0),
            (15, 4),
            (16, 2),
            (17, 8),
            (17, 32),
            (19, 0),
            (23, 1),
        ] {
            let mut bytes = entry();
            bytes[at] = value;
            assert!(
                parse_directory(&bytes, 1, geometry()).is_err(),
                "byte {at} = {value}"
            );
        }
        assert!(parse_directory(&entry(), 0, geometry()).is_err());
        assert!(parse_directory(&entry(), 2, geometry()).is_err());
    }

    #[test]
    fn a_table_entry_is_zeros_ones_or_a_place() {
        let g = geometry();
        assert_eq!(BitmapTableEntry::parse(0, g), Ok(BitmapTableEntry::Zeros));
        assert_eq!(BitmapTableEntry::parse(1, g), Ok(BitmapTableEntry::Ones));
        assert_eq!(
            BitmapTableEntry::parse(0x20000, g),
            Ok(BitmapTableEntry::Stored(HostOffset(0x20000)))
        );
        for raw in [0x20001, 2, 0x20200, 1 << 56] {
            assert!(BitmapTableEntry::parse(raw, g).is_err(), "{raw:#x}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), n: u32) {
            let _ = parse_directory(&bytes, n, geometry());
        }

        #[test]
        fn a_directory_survives_a_round_trip(
            list in prop::collection::vec(
                (1u64..1 << 30, 1u32..8192, 0u32..4, 9u8..=31, prop::collection::vec(any::<u8>(), 1..1023)),
                0..4,
            ),
        ) {
            let list: Vec<_> = list
                .into_iter()
                .map(|(cluster, table_entries, flags, granularity_bits, name)| Bitmap {
                    table_offset: HostOffset(cluster << 16),
                    table_entries,
                    flags: BitmapFlags::from_bits_retain(flags),
                    granularity_bits,
                    name,
                })
                .collect();
            let bytes = encode_directory(&list, geometry()).unwrap();
            let count = u32::try_from(list.len()).unwrap();
            prop_assert_eq!(parse_directory(&bytes, count, geometry()).unwrap(), list);
        }

        #[test]
        fn table_entries_encode_to_themselves(raw: u64, align: bool) {
            let raw = if align { raw & 0x00ff_ffff_ffff_0000 } else { raw };
            if let Ok(entry) = BitmapTableEntry::parse(raw, geometry()) {
                prop_assert_eq!(entry.encode(geometry()), Ok(raw));
            }
        }
    }
}
