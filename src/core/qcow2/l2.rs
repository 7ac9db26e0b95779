//! L2 tables: what each guest cluster is, in standard and in extended entries.
//!
//! Reading what a cluster points at is not done here.

use std::ops::Range;

use zerocopy::byteorder::big_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::address::{GuestOffset, HostOffset};
use super::compressed::CompressedCluster;
use super::error::FormatError;
use super::geometry::Geometry;
use super::header::{Header, Version};

pub(super) const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
pub(super) const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;
const RESERVED: u64 = 0x3f00_0000_0000_01fe;

/// What the meaning of an L2 entry depends on besides its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct L2Context {
    /// Cluster size and kind of entries.
    pub geometry: Geometry,
    /// Version 2 knows no zero flag.
    pub version: Version,
    /// Guest data lives in another file: offset 0 with the copied flag is a place there, and nothing
    /// is compressed.
    pub data_file: bool,
}

impl L2Context {
    /// The context of an image.
    #[must_use]
    pub const fn of(header: &Header) -> Self {
        Self {
            geometry: header.geometry,
            version: header.version,
            data_file: header.has_data_file(),
        }
    }
}

/// What one subcluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubclusterState {
    /// Not in this image: the backing file shows through, or zeros where there is none.
    Unallocated,
    /// Reads as zeros.
    Zero,
    /// Holds data at its place in the cluster.
    Data,
    /// Part of a compressed cluster.
    Compressed,
}

/// The bitmap of an extended L2 entry: for each subcluster whether it holds data and whether it
/// reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubclusterBitmap {
    /// Bit n: subcluster n holds data. Bits 0 to 31 on disk.
    pub allocated: u32,
    /// Bit n: subcluster n reads as zeros. Bits 32 to 63 on disk.
    pub zero: u32,
}

impl SubclusterBitmap {
    /// Splits a bitmap as it is on disk.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        let [z0, z1, z2, z3, a0, a1, a2, a3] = raw.to_be_bytes();
        Self {
            allocated: u32::from_be_bytes([a0, a1, a2, a3]),
            zero: u32::from_be_bytes([z0, z1, z2, z3]),
        }
    }

    /// The bitmap as it is on disk.
    #[must_use]
    pub const fn raw(self) -> u64 {
        (self.zero as u64) << 32 | self.allocated as u64
    }

    /// What subcluster `index` (0 to 31) is; beyond the last one: unallocated.
    #[must_use]
    pub const fn state(self, index: u32) -> SubclusterState {
        if index > 31 {
            SubclusterState::Unallocated
        } else if self.zero >> index & 1 == 1 {
            SubclusterState::Zero
        } else if self.allocated >> index & 1 == 1 {
            SubclusterState::Data
        } else {
            SubclusterState::Unallocated
        }
    }

    /// This bitmap with the subclusters of `range` in another state (`Compressed` counts as
    /// unallocated: compressed clusters have an empty bitmap).
    #[must_use]
    pub fn with(self, range: Range<u32>, state: SubclusterState) -> Self {
        let below = |bit: u32| 1u32.checked_shl(bit).map_or(u32::MAX, |b| b - 1);
        let mask = below(range.end) & !below(range.start);
        let (allocated, zero) = match state {
            SubclusterState::Data => (mask, 0),
            SubclusterState::Zero => (0, mask),
            SubclusterState::Unallocated | SubclusterState::Compressed => (0, 0),
        };
        Self {
            allocated: self.allocated & !mask | allocated,
            zero: self.zero & !mask | zero,
        }
    }
}

/// What a guest cluster is.
///
/// Extended entries whose subclusters are all alike read as the standard kinds; only mixed ones are
/// [`L2Entry::Subclusters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum L2Entry {
    /// Not in this image: the backing file shows through, or zeros where there is none.
    #[default]
    Unallocated,
    /// Reads as zeros.
    Zero {
        /// A cluster kept for later writes, whose content does not matter.
        host: Option<HostOffset>,
        /// That cluster's refcount is exactly 1.
        copied: bool,
    },
    /// Holds data.
    Data {
        /// Where the data is. Can be 0 in an external data file only.
        host: HostOffset,
        /// The cluster's refcount is exactly 1, so that it may be written in place.
        copied: bool,
    },
    /// Holds compressed data.
    Compressed(CompressedCluster),
    /// Subclusters of different kinds (extended L2 entries only).
    Subclusters {
        /// The cluster that holds the data subclusters; `None` if none does.
        host: Option<HostOffset>,
        /// That cluster's refcount is exactly 1.
        copied: bool,
        /// What each subcluster is.
        bitmap: SubclusterBitmap,
    },
}

impl L2Entry {
    /// Reads an entry; `bitmap` is its second half with extended L2 entries, 0 without.
    ///
    /// Reserved bits are ignored, as QEMU does when it reads; see [`faults`].
    ///
    /// # Errors
    /// What QEMU stops at: an unaligned offset, a zero flag in version 2, a compressed cluster with an
    /// external data file, a bitmap that contradicts itself or its entry.
    pub fn parse(raw: u64, bitmap: u64, context: L2Context) -> Result<Self, FormatError> {
        let extended = context.geometry.extended_l2();
        if raw & COMPRESSED != 0 {
            if context.data_file {
                return Err(FormatError::BadCompressedEntry {
                    raw,
                    reason: "an image with an external data file has no compressed clusters",
                });
            }
            return Ok(Self::Compressed(CompressedCluster::parse(
                raw,
                context.geometry,
            )));
        }
        let offset = raw & OFFSET;
        let copied = raw & COPIED != 0;
        context
            .geometry
            .require_aligned("data cluster offset", offset)?;
        let host = (offset != 0 || (context.data_file && copied)).then_some(HostOffset(offset));
        let copied = copied && host.is_some();
        if !extended {
            if raw & ZERO != 0 {
                if context.version == Version::V2 {
                    return Err(FormatError::ZeroFlagInV2 { raw });
                }
                // QEMU calls an entry zero-allocated by its offset alone, even with a data file.
                let host = host.filter(|host| host.get() != 0);
                let copied = copied && host.is_some();
                return Ok(Self::Zero { host, copied });
            }
            return Ok(match host {
                Some(host) => Self::Data { host, copied },
                None => Self::Unallocated,
            });
        }
        let bits = SubclusterBitmap::from_raw(bitmap);
        match host {
            None if bits.allocated != 0 => Err(FormatError::BadSubclusterBitmap {
                bitmap,
                reason: "subclusters hold data, but the cluster has no place",
            }),
            Some(_) if bits.allocated & bits.zero != 0 => Err(FormatError::BadSubclusterBitmap {
                bitmap,
                reason: "a subcluster both holds data and reads as zeros",
            }),
            None if bits.zero == 0 => Ok(Self::Unallocated),
            _ if bits.zero == u32::MAX => Ok(Self::Zero { host, copied }),
            Some(host) if bits.allocated == u32::MAX => Ok(Self::Data { host, copied }),
            _ => Ok(Self::Subclusters {
                host,
                copied,
                bitmap: bits,
            }),
        }
    }

    /// The entry and its bitmap (0 without extended L2 entries) as numbers, to be stored big-endian.
    /// The exact inverse of [`L2Entry::parse`] but for reserved bits.
    ///
    /// # Errors
    /// What the kind of entry cannot express: an unaligned or too large offset, zeros in version 2,
    /// subclusters without extended entries.
    pub fn encode(self, context: L2Context) -> Result<(u64, u64), FormatError> {
        let extended = context.geometry.extended_l2();
        let pointer = |host: Option<HostOffset>, copied: bool| -> Result<u64, FormatError> {
            let offset = host.map_or(0, HostOffset::get);
            context
                .geometry
                .require_aligned("data cluster offset", offset)?;
            if offset & !OFFSET != 0 {
                return Err(FormatError::DoesNotFit {
                    field: "data cluster offset",
                    value: offset,
                    max: OFFSET,
                });
            }
            Ok(offset | if copied { COPIED } else { 0 })
        };
        let all = |state| SubclusterBitmap::default().with(0..32, state).raw();
        let entry = match self {
            Self::Unallocated => (0, 0),
            Self::Zero { host, copied } if extended => {
                (pointer(host, copied)?, all(SubclusterState::Zero))
            }
            Self::Zero { host, copied } => {
                let raw = pointer(host, copied)? | ZERO;
                if context.version == Version::V2 {
                    return Err(FormatError::ZeroFlagInV2 { raw });
                }
                (raw, 0)
            }
            Self::Data { host, copied } => (
                pointer(Some(host), copied)?,
                if extended {
                    all(SubclusterState::Data)
                } else {
                    0
                },
            ),
            Self::Compressed(stream) => (stream.encode(context.geometry)? | COMPRESSED, 0),
            Self::Subclusters {
                host,
                copied,
                bitmap,
            } => {
                if !extended {
                    return Err(FormatError::BadSubclusterBitmap {
                        bitmap: bitmap.raw(),
                        reason: "this image has no extended L2 entries",
                    });
                }
                (pointer(host, copied)?, bitmap.raw())
            }
        };
        // Catches what has no encoding: data at offset 0, data bits without a place, ...
        Self::parse(entry.0, entry.1, context)?;
        Ok(entry)
    }

    /// The cluster that belongs to this entry, whether it holds data or is kept for later.
    #[must_use]
    pub const fn host(&self) -> Option<HostOffset> {
        match self {
            Self::Unallocated | Self::Compressed(_) => None,
            Self::Data { host, .. } => Some(*host),
            Self::Zero { host, .. } | Self::Subclusters { host, .. } => *host,
        }
    }

    /// The entry, if it can be that of the cluster with the guest byte `guest`: an external data file holds
    /// each byte at the guest's own offset (QEMU's `qcow2_get_host_offset`).
    ///
    /// # Errors
    /// When its cluster is elsewhere in the data file.
    pub fn in_place(self, guest: GuestOffset, context: L2Context) -> Result<Self, FormatError> {
        let start = guest.0 - context.geometry.offset_in_cluster(guest);
        match self.host() {
            Some(host) if context.data_file && host.get() != start => {
                Err(FormatError::Misplaced { offset: host.get() })
            }
            _ => Ok(self),
        }
    }

    /// Whether the entry says that its cluster's refcount is exactly 1.
    #[must_use]
    pub const fn copied(&self) -> bool {
        match self {
            Self::Unallocated | Self::Compressed(_) => false,
            Self::Data { copied, .. }
            | Self::Zero { copied, .. }
            | Self::Subclusters { copied, .. } => *copied,
        }
    }

    /// This entry with another copied flag; entries without a cluster stay as they are.
    #[must_use]
    pub const fn with_copied(mut self, now: bool) -> Self {
        match &mut self {
            Self::Data { copied, .. } => *copied = now,
            Self::Zero {
                host: Some(_),
                copied,
            }
            | Self::Subclusters {
                host: Some(_),
                copied,
                ..
            } => *copied = now,
            _ => {}
        }
        self
    }

    /// This entry with its cluster elsewhere, where its refcount is 1; entries without a cluster stay as
    /// they are.
    #[must_use]
    pub const fn moved_to(mut self, place: HostOffset) -> Self {
        match &mut self {
            Self::Data { host, copied } => (*host, *copied) = (place, true),
            Self::Zero {
                host: Some(host),
                copied,
            }
            | Self::Subclusters {
                host: Some(host),
                copied,
                ..
            } => (*host, *copied) = (place, true),
            _ => {}
        }
        self
    }

    /// What subcluster `index` is. Without extended L2 entries there is one subcluster, number 0.
    #[must_use]
    pub const fn subcluster(&self, index: u32) -> SubclusterState {
        match self {
            Self::Unallocated => SubclusterState::Unallocated,
            Self::Zero { .. } => SubclusterState::Zero,
            Self::Data { .. } => SubclusterState::Data,
            Self::Compressed(_) => SubclusterState::Compressed,
            Self::Subclusters { bitmap, .. } => bitmap.state(index),
        }
    }

    /// The subclusters as runs of one state, in order, covering all `geometry.subclusters()`.
    pub fn runs(self, geometry: Geometry) -> impl Iterator<Item = (Range<u32>, SubclusterState)> {
        let count = geometry.subclusters();
        let mut start = 0;
        std::iter::from_fn(move || {
            if start >= count {
                return None;
            }
            let state = self.subcluster(start);
            let end = (start..count)
                .find(|index| self.subcluster(*index) != state)
                .unwrap_or(count);
            let run = start..end;
            start = end;
            Some((run, state))
        })
    }

    /// The subcluster bitmap an extended entry has for this; empty for compressed clusters.
    #[must_use]
    pub fn bitmap(&self) -> SubclusterBitmap {
        let none = SubclusterBitmap::default();
        match self {
            Self::Unallocated | Self::Compressed(_) => none,
            Self::Zero { .. } => none.with(0..32, SubclusterState::Zero),
            Self::Data { .. } => none.with(0..32, SubclusterState::Data),
            Self::Subclusters { bitmap, .. } => *bitmap,
        }
    }
}

/// Everything `qemu-img check` calls corrupt in an entry by its bits alone: what
/// [`L2Entry::parse`] refuses, reserved bits, and compressed entries with a copied flag or a bitmap.
#[must_use]
pub fn faults(raw: u64, bitmap: u64, context: L2Context) -> Vec<FormatError> {
    let mut found: Vec<_> = L2Entry::parse(raw, bitmap, context)
        .err()
        .into_iter()
        .collect();
    if raw & COMPRESSED == 0 {
        if raw & RESERVED != 0 {
            found.push(FormatError::ReservedBits {
                field: "L2 entry",
                raw,
                bits: raw & RESERVED,
            });
        }
        return found;
    }
    if raw & COPIED != 0 {
        found.push(FormatError::BadCompressedEntry {
            raw,
            reason: "compressed clusters never have the copied flag",
        });
    }
    if context.geometry.extended_l2() && bitmap != 0 {
        found.push(FormatError::BadSubclusterBitmap {
            bitmap,
            reason: "compressed clusters have no subclusters",
        });
    }
    found
}

/// An entry and its bitmap without the bits that [`faults`] finds and that reading ignores: reserved
/// ones, and the copied flag and the bitmap of a compressed cluster. It reads as before.
#[must_use]
pub const fn without_ignored_bits(raw: u64, bitmap: u64) -> (u64, u64) {
    if raw & COMPRESSED == 0 {
        (raw & !RESERVED, bitmap)
    } else {
        (raw & !COPIED, 0)
    }
}

/// An entry with or without the copied flag, whatever else is in it.
#[must_use]
pub const fn with_copied_flag(raw: u64, copied: bool) -> u64 {
    if copied { raw | COPIED } else { raw & !COPIED }
}

/// The offset that an entry has if it is no compressed one, valid or not.
#[must_use]
pub const fn offset_bits(raw: u64) -> u64 {
    raw & OFFSET
}

/// A standard entry as it is on disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawStandard {
    entry: U64,
}

/// An extended entry as it is on disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawExtended {
    entry: U64,
    bitmap: U64,
}

/// An L2 table as the bytes it has on disk; an entry is read when it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct L2Buf {
    bytes: Vec<u8>,
    context: L2Context,
}

/// Bytes of a table that are looked at together.
const BLOCK: usize = 64;

impl L2Buf {
    /// A table that maps nothing.
    #[must_use]
    pub fn zeroed(context: L2Context) -> Self {
        Self {
            bytes: vec![0; context.geometry.cluster_len()],
            context,
        }
    }

    /// Takes a table's bytes.
    ///
    /// # Errors
    /// [`FormatError::Truncated`] unless they are exactly one cluster.
    pub fn from_bytes(bytes: Vec<u8>, context: L2Context) -> Result<Self, FormatError> {
        if bytes.len() != context.geometry.cluster_len() {
            return Err(FormatError::Truncated {
                field: "an L2 table",
                needed: context.geometry.cluster_size(),
                have: bytes.len() as u64,
            });
        }
        Ok(Self { bytes, context })
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.context.geometry.extended_l2() {
            self.bytes.len() / 16
        } else {
            self.bytes.len() / 8
        }
    }

    /// Whether there are no entries; never so, a cluster holds some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What the entries' meaning depends on.
    #[must_use]
    pub const fn context(&self) -> L2Context {
        self.context
    }

    /// The raw entry and its bitmap (0 without extended entries); `None` beyond the end.
    #[must_use]
    pub fn raw(&self, index: usize) -> Option<(u64, u64)> {
        if self.context.geometry.extended_l2() {
            let table = <[RawExtended]>::ref_from_bytes(&self.bytes).ok()?;
            table
                .get(index)
                .map(|raw| (raw.entry.get(), raw.bitmap.get()))
        } else {
            let table = <[RawStandard]>::ref_from_bytes(&self.bytes).ok()?;
            table.get(index).map(|raw| (raw.entry.get(), 0))
        }
    }

    /// The first entry from `index` on that is not all zero, or the number of entries where all are. Tables are mostly
    /// empty: this looks at many bytes at a time.
    #[must_use]
    pub fn next_used(&self, index: usize) -> usize {
        let size = if self.context.geometry.extended_l2() {
            16
        } else {
            8
        };
        let Some(rest) = self.bytes.get(index.saturating_mul(size)..) else {
            return self.len();
        };
        let is_zero = |block: &&[u8]| block.iter().fold(0, |sum, byte| sum | byte) == 0;
        let skipped = rest.chunks_exact(BLOCK).take_while(is_zero).count() * BLOCK;
        let found = rest.iter().skip(skipped).position(|byte| *byte != 0);
        found.map_or(self.len(), |at| index + (skipped + at) / size)
    }

    fn missing(&self, index: usize) -> FormatError {
        FormatError::NoSuchEntry {
            table: "the L2 table",
            index: index as u64,
            len: self.len() as u64,
        }
    }

    /// What the cluster at `index` is.
    ///
    /// # Errors
    /// As [`L2Entry::parse`]; [`FormatError::NoSuchEntry`] beyond the end.
    pub fn get(&self, index: usize) -> Result<L2Entry, FormatError> {
        let (raw, bitmap) = self.raw(index).ok_or_else(|| self.missing(index))?;
        L2Entry::parse(raw, bitmap, self.context)
    }

    /// Replaces an entry.
    ///
    /// # Errors
    /// As [`L2Entry::encode`]; [`FormatError::NoSuchEntry`] beyond the end. The table is then
    /// unchanged.
    pub fn set(&mut self, index: usize, entry: L2Entry) -> Result<(), FormatError> {
        let (raw, bitmap) = entry.encode(self.context)?;
        self.set_raw(index, raw, bitmap)
    }

    /// Replaces an entry by its bits, valid or not: for repair and for tests.
    ///
    /// # Errors
    /// [`FormatError::NoSuchEntry`] beyond the end.
    pub fn set_raw(&mut self, index: usize, raw: u64, bitmap: u64) -> Result<(), FormatError> {
        let missing = self.missing(index);
        if self.context.geometry.extended_l2() {
            let entry = <[RawExtended]>::mut_from_bytes(&mut self.bytes)
                .ok()
                .and_then(|table| table.get_mut(index))
                .ok_or(missing)?;
            entry.entry.set(raw);
            entry.bitmap.set(bitmap);
        } else {
            let entry = <[RawStandard]>::mut_from_bytes(&mut self.bytes)
                .ok()
                .and_then(|table| table.get_mut(index))
                .ok_or(missing)?;
            entry.entry.set(raw);
        }
        Ok(())
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<L2Entry, FormatError>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The bytes as they are on disk.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn context(extended: bool, data_file: bool) -> L2Context {
        L2Context {
            geometry: Geometry::new(16, 4, extended).unwrap(),
            version: Version::V3,
            data_file,
        }
    }

    proptest! {
        #[test]
        fn the_next_entry_in_use_is_the_first_that_is_not_zero(
            extended: bool,
            used in prop::collection::btree_map(0_usize..4096, 0_usize..8, 0..6),
            from in 0_usize..4200,
        ) {
            let context = context(extended, false);
            let mut table = L2Buf::zeroed(context);
            let size = if extended { 16 } else { 8 };
            for (at, byte) in &used {
                table.bytes[at * size + byte] = 1;
            }
            let next = used.keys().copied().find(|at| *at >= from);
            prop_assert_eq!(table.next_used(from), next.unwrap_or(table.len()));
        }
    }

    #[test]
    fn standard_entries_are_four_different_facts() {
        let c = context(false, false);
        assert_eq!(L2Entry::parse(0, 0, c), Ok(L2Entry::Unallocated));
        assert_eq!(
            L2Entry::parse(1, 0, c),
            Ok(L2Entry::Zero {
                host: None,
                copied: false
            })
        );
        assert_eq!(
            L2Entry::parse(0x8000_0000_0005_0001, 0, c),
            Ok(L2Entry::Zero {
                host: Some(HostOffset(0x50000)),
                copied: true
            })
        );
        assert_eq!(
            L2Entry::parse(0x8000_0000_0005_0000, 0, c),
            Ok(L2Entry::Data {
                host: HostOffset(0x50000),
                copied: true
            })
        );
        assert!(matches!(
            L2Entry::parse(0x4000_0000_0005_0123, 0, c),
            Ok(L2Entry::Compressed(stream)) if stream.host == HostOffset(0x50123)
        ));
    }

    #[test]
    fn offset_zero_with_the_copied_flag_is_a_place_only_in_a_data_file() {
        let raw = 0x8000_0000_0000_0000;
        assert_eq!(
            L2Entry::parse(raw, 0, context(false, false)),
            Ok(L2Entry::Unallocated)
        );
        assert_eq!(
            L2Entry::parse(raw, 0, context(false, true)),
            Ok(L2Entry::Data {
                host: HostOffset(0),
                copied: true
            })
        );
        assert!(L2Entry::parse(1 << 62, 0, context(false, true)).is_err());
    }

    #[test]
    fn what_qemu_stops_at_is_refused() {
        let c = context(false, false);
        assert!(matches!(
            L2Entry::parse(0x8000_0000_0005_0200, 0, c),
            Err(FormatError::Unaligned { .. })
        ));
        let v2 = L2Context {
            version: Version::V2,
            ..c
        };
        assert!(matches!(
            L2Entry::parse(1, 0, v2),
            Err(FormatError::ZeroFlagInV2 { .. })
        ));
        let e = context(true, false);
        assert!(L2Entry::parse(0x50000, 1 << 32 | 1, e).is_err());
        assert!(L2Entry::parse(0, 1, e).is_err());
        assert!(L2Entry::parse(0x50000, 1 << 33 | 1, e).is_ok());
    }

    #[test]
    fn reserved_bits_are_read_over_but_reported() {
        let c = context(false, false);
        let raw = 0xa000_0000_0005_0002;
        assert_eq!(
            L2Entry::parse(raw, 0, c),
            Ok(L2Entry::Data {
                host: HostOffset(0x50000),
                copied: true
            })
        );
        assert!(matches!(
            faults(raw, 0, c)[..],
            [FormatError::ReservedBits {
                bits: 0x2000_0000_0000_0002,
                ..
            }]
        ));
        assert_eq!(faults(0xc000_0000_0005_0000, 0, c).len(), 1);
        assert_eq!(
            faults(0x4000_0000_0005_0000, 1, context(true, false)).len(),
            1
        );
    }

    #[test]
    fn subclusters_come_as_runs() {
        let c = context(true, false);
        // Subclusters 0 and 1 hold data, 31 reads as zeros.
        let entry = L2Entry::parse(0x8000_0000_0005_0000, 0x8000_0000_0000_0003, c).unwrap();
        let runs: Vec<_> = entry.runs(c.geometry).collect();
        assert_eq!(
            runs,
            [
                (0..2, SubclusterState::Data),
                (2..31, SubclusterState::Unallocated),
                (31..32, SubclusterState::Zero),
            ]
        );
        let standard: Vec<_> = L2Entry::Unallocated
            .runs(context(false, false).geometry)
            .collect();
        assert_eq!(standard, [(0..1, SubclusterState::Unallocated)]);
    }

    #[test]
    fn a_bitmap_range_changes_state_without_touching_others() {
        let b = SubclusterBitmap::default()
            .with(0..32, SubclusterState::Zero)
            .with(4..8, SubclusterState::Data)
            .with(6..7, SubclusterState::Unallocated);
        assert_eq!(b.allocated, 0xb0);
        assert_eq!(b.zero, 0xffff_ff0f);
    }

    #[test]
    fn data_at_offset_zero_cannot_be_recorded_in_the_image_itself() {
        let c = context(true, false);
        let mixed = SubclusterBitmap {
            allocated: 1,
            zero: 0,
        };
        assert!(
            L2Entry::Subclusters {
                host: None,
                copied: false,
                bitmap: mixed
            }
            .encode(c)
            .is_err()
        );
    }

    fn any_context() -> impl Strategy<Value = L2Context> {
        (9u32..=21, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(bits, extended, data_file, v2)| L2Context {
                geometry: Geometry::new(bits, 4, extended && bits >= 14).unwrap(),
                version: if v2 && !extended {
                    Version::V2
                } else {
                    Version::V3
                },
                data_file,
            },
        )
    }

    proptest! {
        #[test]
        fn what_parses_encodes_back_to_the_same_meaning(
            raw in any::<u64>(), bitmap: u64, align: bool, c in any_context(),
        ) {
            let raw = if align { raw & (0xc0ff_ffff_ffe0_0001) } else { raw };
            for bitmap in [bitmap, bitmap & 0xffff_ffff, bitmap << 32, u64::MAX << 32, 0xffff_ffff, 0] {
                if let Ok(entry) = L2Entry::parse(raw, bitmap, c) {
                    let (raw2, bitmap2) = entry.encode(c).unwrap();
                    prop_assert_eq!(L2Entry::parse(raw2, bitmap2, c), Ok(entry));
                    prop_assert!(faults(raw2, bitmap2, c).is_empty());
                }
            }
        }
    }
}
