//! What is told of an inode: a [`Node`].

use std::time::{Duration, SystemTime};

use super::inode::{Inode, OLD_SIZE};
use super::superblock::Superblock;
use crate::digest::Digest;
use crate::error::Result;
use crate::filesystem::{Node, NodeId};

/// Bytes of a record that change by reading, or say nothing of what is recorded: checksums, access time, counters of
/// changes. The last are within what `i_extra_isize` covers.
const LEFT_OUT: [std::ops::Range<usize>; 6] = [
    0x08..0x0c, // i_atime
    0x24..0x28, // l_i_version
    0x7c..0x7e, // l_i_checksum_lo
    0x82..0x84, // i_checksum_hi
    0x8c..0x90, // i_atime_extra
    0x98..0x9c, // i_version_hi
];

/// What is recorded in an inode.
///
/// # Errors
/// When its mode or size is none that can be.
pub(super) fn node(superblock: &Superblock, inode: &Inode) -> Result<Node> {
    let raw = &inode.raw;
    let joined = |low: u16, high: u16| u32::from(low) | u32::from(high) << 16;
    Ok(Node {
        id: NodeId::new(u64::from(inode.number)),
        kind: inode.kind()?,
        size: inode.size(superblock)?,
        allocated: inode.allocated(superblock),
        mode: u32::from(raw.i_mode.get()),
        uid: joined(raw.i_uid.get(), raw.l_i_uid_high.get()),
        gid: joined(raw.i_gid.get(), raw.l_i_gid_high.get()),
        links: u32::from(raw.i_links_count.get()),
        modified: time(raw.i_mtime.get(), inode.extra.i_mtime_extra.get()),
        changed: time(raw.i_ctime.get(), inode.extra.i_ctime_extra.get()),
        generation: u64::from(raw.i_generation.get()),
        digest: digest(inode),
    })
}

/// A time of seconds since 1970 with a sign, and of two more bits above them and nanoseconds in `extra`.
fn time(seconds: u32, extra: u32) -> Option<SystemTime> {
    let low = i64::from(i32::from_le_bytes(seconds.to_le_bytes()));
    let seconds = low + (i64::from(extra & 3) << 32);
    let nanoseconds = match extra >> 2 {
        valid @ ..1_000_000_000 => valid,
        _ => 0,
    };
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let start = SystemTime::UNIX_EPOCH;
    let whole = match seconds {
        0.. => start.checked_add(whole),
        _ => start.checked_sub(whole),
    };
    whole?.checked_add(Duration::from_nanos(u64::from(nanoseconds)))
}

fn digest(inode: &Inode) -> u64 {
    let covered = OLD_SIZE + usize::from(inode.extra.i_extra_isize.get());
    let mut record = inode.record.clone();
    for range in LEFT_OUT {
        if range.end <= OLD_SIZE || range.end <= covered {
            for byte in record.get_mut(range).unwrap_or_default() {
                *byte = 0;
            }
        }
    }
    Digest::new().with(&record).value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_after_2038_are_told() {
        let seconds = |low: i32, extra: u32| {
            let low = u32::from_le_bytes(low.to_le_bytes());
            let time = time(low, extra).unwrap();
            time.duration_since(SystemTime::UNIX_EPOCH).map_or_else(
                |before| -i64::try_from(before.duration().as_secs()).unwrap(),
                |since| i64::try_from(since.as_secs()).unwrap(),
            )
        };
        assert_eq!(seconds(-1, 0), -1);
        assert_eq!(seconds(i32::MAX, 0), 2_147_483_647);
        assert_eq!(seconds(i32::MIN, 1), 2_147_483_648);
        assert_eq!(seconds(0, 3), 12_884_901_888);
        let with_nanoseconds = time(5, 7 << 2).unwrap();
        assert_eq!(
            with_nanoseconds,
            SystemTime::UNIX_EPOCH + Duration::new(5, 7)
        );
    }
}
