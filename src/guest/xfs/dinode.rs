//! The record of an inode as it is stored, fields named as in the kernel's `struct xfs_dinode`. The log holds the same
//! fields in the byte order of its host.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zerocopy::byteorder::{BE, ByteOrder, LE, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version 3, the only one of XFS version 5.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Dinode<O: ByteOrder> {
    pub(super) magic: U16<O>,
    pub(super) mode: U16<O>,
    pub(super) version: u8,
    pub(super) format: u8,
    pub(super) metatype: U16<O>,
    pub(super) uid: U32<O>,
    pub(super) gid: U32<O>,
    pub(super) nlink: U32<O>,
    pub(super) projid_lo: U16<O>,
    pub(super) projid_hi: U16<O>,
    pub(super) big_nextents: U64<O>,
    pub(super) atime: Timestamp<O>,
    pub(super) mtime: Timestamp<O>,
    pub(super) ctime: Timestamp<O>,
    pub(super) size: U64<O>,
    pub(super) nblocks: U64<O>,
    pub(super) extsize: U32<O>,
    /// With large counts, the extents of attributes.
    pub(super) nextents: U32<O>,
    pub(super) anextents: U16<O>,
    pub(super) forkoff: u8,
    pub(super) aformat: u8,
    pub(super) dmevmask: U32<O>,
    pub(super) dmstate: U16<O>,
    pub(super) flags: U16<O>,
    pub(super) gen_: U32<O>,
    pub(super) next_unlinked: U32<O>,
    /// Little-endian wherever it is.
    pub(super) crc: U32<LE>,
    pub(super) changecount: U64<O>,
    pub(super) lsn: U64<O>,
    pub(super) flags2: U64<O>,
    pub(super) cowextsize: U32<O>,
    pub(super) pad2: [u8; 12],
    pub(super) crtime: Timestamp<O>,
    pub(super) ino: U64<O>,
    pub(super) uuid: [u8; 16],
}

/// Seconds and nanoseconds since 1970; with big times, nanoseconds since December 1901.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub(super) struct Timestamp<O: ByteOrder> {
    pub(super) sec: U32<O>,
    pub(super) nsec: U32<O>,
}

/// Bytes before the forks.
pub(super) const CORE: usize = size_of::<Dinode<BE>>();
pub(super) const MAGIC: u16 = 0x494e;

/// `di_flags`: its data is on the real-time device.
pub(super) const DIFLAG_REALTIME: u16 = 1 << 0;
/// `di_flags2`: times are big.
pub(super) const DIFLAG2_BIGTIME: u64 = 1 << 3;
/// `di_flags2`: counts of extents are large.
pub(super) const DIFLAG2_NREXT64: u64 = 1 << 4;

/// Seconds from the first big time to 1970.
const BIGTIME_EPOCH: u64 = 1 << 31;
const NANOSECONDS: u64 = 1_000_000_000;

impl Dinode<BE> {
    /// Whether its times are big ones.
    pub(super) fn has_big_times(&self) -> bool {
        self.flags2.get() & DIFLAG2_BIGTIME != 0
    }

    /// How many extents its data has, and its attributes.
    pub(super) fn extents(&self) -> (u64, u32) {
        if self.flags2.get() & DIFLAG2_NREXT64 != 0 {
            (self.big_nextents.get(), self.nextents.get())
        } else {
            (self.nextents.get().into(), self.anextents.get().into())
        }
    }

    /// One of its times; none that is out of range.
    pub(super) fn time(&self, stamp: Timestamp<BE>) -> Option<SystemTime> {
        let (sec, nsec) = (stamp.sec.get(), stamp.nsec.get());
        let (negative, seconds, nanoseconds) = if self.has_big_times() {
            let count = (u64::from(sec) << 32) | u64::from(nsec);
            let (whole, part) = (count / NANOSECONDS, count % NANOSECONDS);
            let before = whole < BIGTIME_EPOCH;
            (before, whole.abs_diff(BIGTIME_EPOCH), part)
        } else {
            let whole = sec.cast_signed();
            (whole < 0, whole.unsigned_abs().into(), nsec.into())
        };
        if nanoseconds >= NANOSECONDS {
            return None;
        }
        let seconds = Duration::from_secs(seconds);
        let whole = if negative {
            UNIX_EPOCH.checked_sub(seconds)
        } else {
            UNIX_EPOCH.checked_add(seconds)
        };
        whole?.checked_add(Duration::from_nanos(nanoseconds))
    }
}

impl Dinode<LE> {
    /// As it is stored outside the log, with the number of the transaction that holds it.
    pub(super) fn to_disk(self, lsn: u64) -> Dinode<BE> {
        let big = self.flags2.get() & DIFLAG2_BIGTIME != 0;
        let time = |stamp: Timestamp<LE>| {
            // A big time is one number, of which the high half comes last in this order.
            let (first, second) = if big {
                (stamp.nsec, stamp.sec)
            } else {
                (stamp.sec, stamp.nsec)
            };
            Timestamp {
                sec: first.get().into(),
                nsec: second.get().into(),
            }
        };
        Dinode {
            magic: self.magic.get().into(),
            mode: self.mode.get().into(),
            version: self.version,
            format: self.format,
            metatype: self.metatype.get().into(),
            uid: self.uid.get().into(),
            gid: self.gid.get().into(),
            nlink: self.nlink.get().into(),
            projid_lo: self.projid_lo.get().into(),
            projid_hi: self.projid_hi.get().into(),
            big_nextents: self.big_nextents.get().into(),
            atime: time(self.atime),
            mtime: time(self.mtime),
            ctime: time(self.ctime),
            size: self.size.get().into(),
            nblocks: self.nblocks.get().into(),
            extsize: self.extsize.get().into(),
            nextents: self.nextents.get().into(),
            anextents: self.anextents.get().into(),
            forkoff: self.forkoff,
            aformat: self.aformat,
            dmevmask: self.dmevmask.get().into(),
            dmstate: self.dmstate.get().into(),
            flags: self.flags.get().into(),
            gen_: self.gen_.get().into(),
            next_unlinked: self.next_unlinked.get().into(),
            crc: self.crc,
            changecount: self.changecount.get().into(),
            lsn: lsn.into(),
            flags2: self.flags2.get().into(),
            cowextsize: self.cowextsize.get().into(),
            pad2: self.pad2,
            crtime: time(self.crtime),
            ino: self.ino.get().into(),
            uuid: self.uuid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        assert_eq!(CORE, 176);
        assert_eq!(std::mem::offset_of!(Dinode<BE>, size), 56);
        assert_eq!(std::mem::offset_of!(Dinode<BE>, forkoff), 82);
        assert_eq!(std::mem::offset_of!(Dinode<BE>, crc), 100);
        assert_eq!(std::mem::offset_of!(Dinode<BE>, ino), 152);
    }

    #[test]
    fn times_of_both_kinds_reach_before_1970() {
        let mut inode = Dinode::<BE>::read_from_bytes(&[0; CORE]).unwrap();
        let stamp = |sec: u32, nsec: u32| Timestamp {
            sec: sec.into(),
            nsec: nsec.into(),
        };
        let second = Duration::from_secs(1);
        let half = Duration::from_millis(500);
        let before = UNIX_EPOCH - second + half;
        assert_eq!(inode.time(stamp(u32::MAX, 500_000_000)), Some(before));
        assert_eq!(
            inode.time(stamp(1, 500_000_000)),
            Some(UNIX_EPOCH + second + half)
        );
        assert_eq!(inode.time(stamp(1, 1_000_000_000)), None);
        inode.flags2 = DIFLAG2_BIGTIME.into();
        let big = (BIGTIME_EPOCH - 1) * NANOSECONDS + 500_000_000;
        let bytes = big.to_be_bytes();
        let stamp = Timestamp::read_from_bytes(&bytes).unwrap();
        assert_eq!(inode.time(stamp), Some(before));
        // In the log of a little-endian host it is the same number.
        let mut logged = Dinode::<LE>::read_from_bytes(&[0; CORE]).unwrap();
        logged.flags2 = DIFLAG2_BIGTIME.into();
        logged.mtime = Timestamp::read_from_bytes(&big.to_le_bytes()).unwrap();
        assert_eq!(logged.to_disk(7).mtime, stamp);
    }
}
