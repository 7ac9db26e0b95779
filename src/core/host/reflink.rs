//! FICLONERANGE: sharing a range of blocks between two files. It has a file of its own because
//! no dependency wraps it safely.
#![allow(unsafe_code)] // rustix wraps FICLONE for whole files only; a range needs the raw ioctl.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `struct file_clone_range` of `linux/fs.h`.
#[repr(C)]
#[derive(Debug)]
struct FileCloneRange {
    src_fd: i64,
    src_offset: u64,
    src_length: u64,
    dest_offset: u64,
}

/// `_IOW(0x94, 13, struct file_clone_range)`.
const FICLONERANGE: Opcode = opcode::write::<FileCloneRange>(0x94, 13);

/// Makes `len` bytes at `to` of `target` share the blocks of `len` bytes at `from` of `source`.
/// The kernel takes a `len` of 0 for "up to the end of the source": callers rule it out.
pub(super) fn clone_file_range(
    target: BorrowedFd<'_>,
    source: BorrowedFd<'_>,
    from: u64,
    to: u64,
    len: u64,
) -> Result<(), Errno> {
    let range = FileCloneRange {
        src_fd: i64::from(source.as_raw_fd()),
        src_offset: from,
        src_length: len,
        dest_offset: to,
    };
    // SAFETY: the opcode is FICLONERANGE and the argument is the structure that opcode reads, laid
    // out as the kernel declares it. The kernel only reads it and keeps no pointer; both
    // descriptors are borrowed for the length of the call.
    unsafe { ioctl(target, Setter::<FICLONERANGE, FileCloneRange>::new(range)) }
}
