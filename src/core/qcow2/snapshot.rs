//! The snapshot table: one entry per internal snapshot.
//!
//! A snapshot's L1 table is not read here.

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::address::HostOffset;
use super::error::{FormatError, in_range};
use super::extension::slice;
use super::geometry::Geometry;
use super::limits;
use super::table::TablePlace;

/// The fixed part of an entry, as it is on disk. Extra data, ID and name follow.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSnapshot {
    l1_offset: U64,
    l1_entries: U32,
    id_size: U16,
    name_size: U16,
    date_seconds: U32,
    date_nanoseconds: U32,
    vm_clock_nanoseconds: U64,
    vm_state_size: U32,
    extra_size: U32,
}

/// One internal snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Snapshot {
    /// Where its L1 table is. Checked by [`Snapshot::check_l1`], not by parsing.
    pub l1_offset: HostOffset,
    /// Entries of its L1 table.
    pub l1_entries: u32,
    /// Its ID, unique in the image. From the image: escape it before showing it.
    pub id: Vec<u8>,
    /// Its name. From the image: escape it before showing it.
    pub name: Vec<u8>,
    /// When it was taken, in seconds since 1970.
    pub date_seconds: u32,
    /// The part below the second.
    pub date_nanoseconds: u32,
    /// How long the guest had run, in nanoseconds.
    pub vm_clock_nanoseconds: u64,
    /// Size of the VM state in the field of version 2; see [`Snapshot::vm_state_size`].
    pub vm_state_size_32: u32,
    /// The extra data as it is on disk, fields of the future included, at most 1024 bytes.
    pub extra: Vec<u8>,
}

impl Snapshot {
    /// Size of the saved VM state in bytes; 0 for a snapshot of the disk only.
    #[must_use]
    pub fn vm_state_size(&self) -> u64 {
        self.extra_u64(0)
            .unwrap_or_else(|| self.vm_state_size_32.into())
    }

    /// The virtual size at the time of the snapshot in bytes; `None` where it is not recorded, so
    /// that it is the image's.
    #[must_use]
    pub fn virtual_size(&self) -> Option<u64> {
        self.extra_u64(8)
    }

    /// The instruction count of record and replay; `None` where it is not recorded.
    #[must_use]
    pub fn icount(&self) -> Option<u64> {
        self.extra_u64(16).filter(|count| *count != u64::MAX)
    }

    fn extra_u64(&self, at: u64) -> Option<u64> {
        let bytes = slice(&self.extra, at, 8)?;
        U64::read_from_bytes(bytes).ok().map(U64::get)
    }

    /// Records VM state size, virtual size and instruction count the way QEMU 10.0 does: 24 bytes of
    /// extra data, those of the future kept.
    pub fn set_extra(&mut self, vm_state_size: u64, virtual_size: u64, icount: Option<u64>) {
        // A state too large for the old field is no state to an old reader, rather than a part of one.
        self.vm_state_size_32 = u32::try_from(vm_state_size).unwrap_or(0);
        let mut extra = Vec::with_capacity(24);
        extra.extend_from_slice(&vm_state_size.to_be_bytes());
        extra.extend_from_slice(&virtual_size.to_be_bytes());
        extra.extend_from_slice(&icount.unwrap_or(u64::MAX).to_be_bytes());
        extra.extend_from_slice(self.extra.get(24..).unwrap_or_default());
        self.extra = extra;
    }

    /// Where its L1 table is.
    #[must_use]
    pub fn l1(&self) -> TablePlace {
        TablePlace {
            offset: self.l1_offset,
            entries: self.l1_entries.into(),
        }
    }

    /// Checks the place of the L1 table as QEMU does before it reads it.
    ///
    /// # Errors
    /// Too many entries, an unaligned place, or one beyond the largest file.
    pub fn check_l1(&self, geometry: Geometry) -> Result<(), FormatError> {
        let length = u64::from(self.l1_entries) * 8;
        in_range("snapshot L1 table size", length, 0, limits::MAX_L1_BYTES)?;
        geometry.require_aligned("snapshot L1 table offset", self.l1_offset.get())?;
        if self.l1_offset.get() > limits::MAX_OFFSET - length {
            return Err(FormatError::BeyondEnd {
                field: "snapshot L1 table",
                offset: self.l1_offset.get(),
                length,
            });
        }
        Ok(())
    }

    /// Checks that its disk is no larger than its L1 table maps, as that of every snapshot is: what goes
    /// through the disk would else go on for as long as the image likes.
    ///
    /// # Errors
    /// [`FormatError::OutOfRange`] with the largest disk that the table maps.
    pub fn check_size(&self, geometry: Geometry) -> Result<(), FormatError> {
        let Some(size) = self.virtual_size() else {
            return Ok(());
        };
        if geometry.l1_entries_for(size) <= u64::from(self.l1_entries) {
            return Ok(());
        }
        let mapped = geometry
            .l2_coverage()
            .saturating_mul(self.l1_entries.into());
        in_range("snapshot disk size", size, 0, mapped)
    }

    /// Reads the entry at `at`, which may have `most_extra` bytes of extra data; gives it and where it
    /// ends, without padding. Of its extra data as much is kept as the format allows.
    fn parse(bytes: &[u8], at: u64, most_extra: u32) -> Result<(Self, u64), FormatError> {
        let truncated = |needed: u64| FormatError::Truncated {
            field: "the snapshot table",
            needed,
            have: bytes.len() as u64,
        };
        let fixed_end = at + 40;
        let raw = slice(bytes, at, 40)
            .and_then(|fixed| RawSnapshot::ref_from_bytes(fixed).ok())
            .ok_or_else(|| truncated(fixed_end))?;
        in_range(
            "snapshot extra data size",
            raw.extra_size.get().into(),
            0,
            most_extra.into(),
        )?;
        let extra_size = raw.extra_size.get().min(limits::MAX_SNAPSHOT_EXTRA_BYTES);
        let id_at = fixed_end + u64::from(raw.extra_size.get());
        let name_at = id_at + u64::from(raw.id_size.get());
        let end = name_at + u64::from(raw.name_size.get());
        let part = |from: u64, to: u64| slice(bytes, from, to - from).map(<[u8]>::to_vec);
        let (Some(extra), Some(id), Some(name)) = (
            part(fixed_end, fixed_end + u64::from(extra_size)),
            part(id_at, name_at),
            part(name_at, end),
        ) else {
            return Err(truncated(end));
        };
        let snapshot = Self {
            l1_offset: HostOffset(raw.l1_offset.get()),
            l1_entries: raw.l1_entries.get(),
            id,
            name,
            date_seconds: raw.date_seconds.get(),
            date_nanoseconds: raw.date_nanoseconds.get(),
            vm_clock_nanoseconds: raw.vm_clock_nanoseconds.get(),
            vm_state_size_32: raw.vm_state_size.get(),
            extra,
        };
        Ok((snapshot, end))
    }

    fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let size16 = |field, len: usize| {
            u16::try_from(len).map_err(|_| FormatError::DoesNotFit {
                field,
                value: len as u64,
                max: u16::MAX.into(),
            })
        };
        in_range(
            "snapshot extra data size",
            self.extra.len() as u64,
            0,
            limits::MAX_SNAPSHOT_EXTRA_BYTES.into(),
        )?;
        let extra_size = u32::try_from(self.extra.len()).map_err(|_| FormatError::DoesNotFit {
            field: "snapshot extra data size",
            value: self.extra.len() as u64,
            max: u32::MAX.into(),
        })?;
        let raw = RawSnapshot {
            l1_offset: self.l1_offset.get().into(),
            l1_entries: self.l1_entries.into(),
            id_size: size16("snapshot ID", self.id.len())?.into(),
            name_size: size16("snapshot name", self.name.len())?.into(),
            date_seconds: self.date_seconds.into(),
            date_nanoseconds: self.date_nanoseconds.into(),
            vm_clock_nanoseconds: self.vm_clock_nanoseconds.into(),
            vm_state_size: self.vm_state_size_32.into(),
            extra_size: extra_size.into(),
        };
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend_from_slice(raw.as_bytes());
        out.extend_from_slice(&self.extra);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.name);
        Ok(())
    }
}

/// Reads the snapshot table from its first bytes; gives the snapshots and the table's length in
/// bytes. The length is recorded nowhere: read some, and read on while the answer is
/// [`FormatError::Truncated`]. Bytes beyond the end of the file count as zero.
///
/// # Errors
/// [`FormatError::Truncated`] with a lower bound of what is needed; more extra data or a longer table
/// than QEMU allows.
pub fn parse_table(bytes: &[u8], count: u32) -> Result<(Vec<Snapshot>, u64), FormatError> {
    parse_entries(bytes, count, limits::MAX_SNAPSHOT_EXTRA_BYTES)
}

/// As [`parse_table`], but entries may have any amount of extra data, of which they keep as much as the
/// format allows: QEMU does not open such an image, and a repair cuts them down.
///
/// # Errors
/// As those of [`parse_table`], but for too much extra data.
pub fn parse_overlong_table(bytes: &[u8], count: u32) -> Result<(Vec<Snapshot>, u64), FormatError> {
    parse_entries(bytes, count, u32::MAX)
}

fn parse_entries(
    bytes: &[u8],
    count: u32,
    most_extra: u32,
) -> Result<(Vec<Snapshot>, u64), FormatError> {
    in_range(
        "nb_snapshots",
        count.into(),
        0,
        limits::MAX_SNAPSHOTS.into(),
    )?;
    let mut snapshots = Vec::new();
    let mut end = 0;
    for _ in 0..count {
        let (snapshot, next) = Snapshot::parse(bytes, u64::next_multiple_of(end, 8), most_extra)?;
        in_range(
            "snapshot table size",
            next,
            0,
            limits::MAX_SNAPSHOT_TABLE_BYTES,
        )?;
        snapshots.push(snapshot);
        end = next;
    }
    Ok((snapshots, end))
}

/// The first entries of a snapshot table, `most` of them, as far as they are whole in `bytes` and can be
/// entries at all; and their length in bytes.
#[must_use]
pub fn parse_first(bytes: &[u8], most: u32) -> (Vec<Snapshot>, u64) {
    let (mut snapshots, mut end) = (Vec::new(), 0);
    for _ in 0..most {
        let at = u64::next_multiple_of(end, 8);
        let parsed = Snapshot::parse(bytes, at, limits::MAX_SNAPSHOT_EXTRA_BYTES);
        let Ok((snapshot, next)) = parsed else {
            break;
        };
        snapshots.push(snapshot);
        end = next;
    }
    (snapshots, end)
}

/// The snapshot table's bytes; the exact inverse of [`parse_table`].
///
/// # Errors
/// [`FormatError::DoesNotFit`] or [`FormatError::OutOfRange`] for what the table has no room for.
pub fn encode_table(snapshots: &[Snapshot]) -> Result<Vec<u8>, FormatError> {
    in_range(
        "nb_snapshots",
        snapshots.len() as u64,
        0,
        limits::MAX_SNAPSHOTS.into(),
    )?;
    let mut out = Vec::new();
    for snapshot in snapshots {
        snapshot.encode_into(&mut out)?;
        in_range(
            "snapshot table size",
            out.len() as u64,
            0,
            limits::MAX_SNAPSHOT_TABLE_BYTES,
        )?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot() -> impl Strategy<Value = Snapshot> {
        (
            any::<(u64, u32, u32, u32, u64, u32)>(),
            prop::collection::vec(any::<u8>(), 0..20),
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(any::<u8>(), 0..60),
        )
            .prop_map(|(n, id, name, extra)| Snapshot {
                l1_offset: HostOffset(n.0),
                l1_entries: n.1,
                id,
                name,
                date_seconds: n.2,
                date_nanoseconds: n.3,
                vm_clock_nanoseconds: n.4,
                vm_state_size_32: n.5,
                extra,
            })
    }

    #[test]
    fn an_entry_lies_where_the_specification_says() {
        let mut bytes = vec![0u8; 40];
        bytes[5] = 0x05; // L1 at 0x50000
        bytes[11] = 2; // two entries
        bytes[13] = 1; // ID of one byte
        bytes[15] = 2; // name of two bytes
        bytes[19] = 9; // date
        bytes[35] = 7; // VM state
        bytes[39] = 16; // extra data
        bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]); // large VM state: 4 GiB
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0x10, 0, 0]); // 1 MiB
        bytes.extend_from_slice(b"1ok");
        let (found, len) = parse_table(&bytes, 1).unwrap();
        assert_eq!(len, 59);
        assert_eq!(found[0].l1_offset, HostOffset(0x50000));
        assert_eq!(found[0].l1_entries, 2);
        assert_eq!(found[0].vm_state_size(), 4 << 30);
        assert_eq!(found[0].virtual_size(), Some(1 << 20));
        assert_eq!(found[0].icount(), None);
        assert_eq!((&*found[0].id, &*found[0].name), (&b"1"[..], &b"ok"[..]));
    }

    #[test]
    fn too_much_extra_data_is_refused_before_it_is_read() {
        let mut bytes = vec![0u8; 40];
        bytes[36..40].copy_from_slice(&[0xff; 4]);
        assert!(matches!(
            parse_table(&bytes, 1),
            Err(FormatError::OutOfRange { .. })
        ));
        assert!(matches!(
            parse_table(&[], 70_000),
            Err(FormatError::OutOfRange { .. })
        ));
        assert!(matches!(
            parse_table(&[0; 39], 65_536),
            Err(FormatError::Truncated { needed: 40, .. })
        ));
    }

    #[test]
    fn of_too_much_extra_data_the_first_is_kept_and_what_follows_it_is_found() {
        let mut bytes = vec![0u8; 40];
        bytes[13] = 1; // ID of one byte
        bytes[38..40].copy_from_slice(&[8, 0]); // 2048 bytes of extra data
        bytes.extend((0..2048).map(|at| u8::try_from(at / 16).unwrap()));
        bytes.extend_from_slice(b"1");
        bytes.resize(bytes.len().next_multiple_of(8) + 40, 0);
        assert!(parse_table(&bytes, 2).is_err());
        let (list, len) = parse_overlong_table(&bytes, 2).unwrap();
        assert_eq!((list.len(), len), (2, bytes.len() as u64));
        assert_eq!((list[0].extra.len(), &*list[0].id), (1024, &b"1"[..]));
        assert_eq!(list[0].extra[1023], 63);
        let (first, len) = parse_first(&bytes, 2);
        assert_eq!((first.len(), len), (0, 0));
    }

    #[test]
    fn setting_the_extra_data_keeps_what_is_not_known() {
        let mut s = parse_table(&[0; 40], 1).unwrap().0.remove(0);
        s.extra = vec![9; 30];
        s.set_extra(1 << 32, 512, None);
        assert_eq!((s.vm_state_size(), s.vm_state_size_32), (1 << 32, 0));
        assert_eq!((s.virtual_size(), s.icount()), (Some(512), None));
        assert_eq!(s.extra[24..], [9; 6]);
    }

    proptest! {
        #[test]
        fn a_table_survives_a_round_trip(list in prop::collection::vec(snapshot(), 0..5)) {
            let bytes = encode_table(&list).unwrap();
            let count = u32::try_from(list.len()).unwrap();
            let (back, len) = parse_table(&bytes, count).unwrap();
            prop_assert_eq!(len, bytes.len() as u64);
            prop_assert_eq!(back, list);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), n: u32) {
            let _ = parse_table(&bytes, n);
        }
    }
}
