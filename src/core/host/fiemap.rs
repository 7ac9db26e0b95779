//! FS_IOC_FIEMAP: which blocks of a file other files share. It has a file of its own because no dependency wraps it
//! safely.
#![allow(unsafe_code)] // rustix wraps no FIEMAP.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};

/// Extents asked for at a time: what the kernel writes is bounded by it, however many a file has.
const AT_ONCE: u32 = 128;
/// The same as a length.
const ROOM: usize = AT_ONCE as usize;

/// No extent of the file follows (`FIEMAP_EXTENT_LAST`).
const LAST: u32 = 1;
/// Its blocks are those of another file as well, or of another place of this one (`FIEMAP_EXTENT_SHARED`).
const SHARED: u32 = 0x2000;

/// `struct fiemap` of `linux/fiemap.h`, without what follows it.
#[repr(C)]
#[derive(Debug, Default)]
struct Head {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// `struct fiemap` with room for the extents.
#[repr(C)]
#[derive(Debug)]
struct Request {
    head: Head,
    extents: [Extent; ROOM],
}

/// `_IOWR('f', 11, struct fiemap)`.
const FS_IOC_FIEMAP: Opcode = opcode::read_write::<Head>(b'f', 11);

/// The extents of the file from `from` up to `to`, as many as are told at a time.
fn extents(file: BorrowedFd<'_>, from: u64, to: u64) -> Result<Request, Errno> {
    let mut request = Request {
        head: Head {
            start: from,
            length: to.saturating_sub(from),
            extent_count: AT_ONCE,
            ..Head::default()
        },
        extents: [Extent::default(); ROOM],
    };
    // SAFETY: the opcode is FS_IOC_FIEMAP and the argument is the structure that opcode reads and fills, laid out as
    // the kernel declares it: it writes no more extents behind the head than `extent_count` says there is room for,
    // and keeps no pointer. Every bit pattern is a value of it.
    unsafe {
        ioctl(file, Updater::<FS_IOC_FIEMAP, Request>::new(&mut request))?;
    }
    Ok(request)
}

/// Bytes of a range of the file whose blocks are shared; none where the filesystem cannot tell. Nothing is written
/// out for it: what is still on its way to the disk is shared with nobody.
pub(super) fn shared_bytes(file: BorrowedFd<'_>, range: Range<u64>) -> Result<Option<u64>, Errno> {
    let mut shared = 0_u64;
    let mut at = range.start;
    while at < range.end {
        let told = match extents(file, at, range.end) {
            Ok(told) => told,
            Err(Errno::NOTSUP | Errno::NOTTY | Errno::INVAL | Errno::NOSYS) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let count = told.head.mapped_extents.min(AT_ONCE) as usize;
        let mut next = at;
        let mut is_last = count < ROOM;
        for extent in told.extents.iter().take(count) {
            let end = extent.logical.saturating_add(extent.length);
            if extent.flags & SHARED != 0 {
                let (from, to) = (extent.logical.max(at), end.min(range.end));
                shared = shared.saturating_add(to.saturating_sub(from));
            }
            next = next.max(end);
            is_last |= extent.flags & LAST != 0;
        }
        if is_last || next <= at {
            break;
        }
        at = next;
    }
    Ok(Some(shared))
}
