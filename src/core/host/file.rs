//! The trait [`HostFile`]: the bytes of one open file. What `stat` tells of it is in `stat`, how to come by
//! one in `machine`.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::lock::{Lock, LockProbe, LockSet, LocksSeen};
use super::stat::Stat;

/// How a file is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading only; the file's access time is left alone where the system allows.
    Read,
    /// Reading and writing an existing file. Never creates, never truncates.
    ReadWrite,
}

/// What a range copy could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cloned {
    /// The range is shared or was copied inside the kernel; nothing more to do.
    Done,
    /// This pair of files or this alignment cannot do it: read and write instead. A part of the
    /// target range may already have the source's bytes.
    Unsupported,
}

/// What lies at an offset of a host file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum Segment {
    /// Bytes that may differ from zero, up to this offset (exclusive).
    Data(u64),
    /// A hole that reads as zero, up to this offset (exclusive; the file's length for the last one).
    Hole(u64),
}

/// One open file. All offsets and lengths are in bytes; every method may be called from any thread.
///
/// Errors are the system's own and do not name the file: whoever opened it knows its name.
pub trait HostFile: Send + Sync + fmt::Debug {
    /// Reads at `offset` until `buf` is full or the file ends; returns how much was read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Fills `buf` from `offset` on; what lies past the file's end reads as zero, as QEMU reads a file.
    ///
    /// # Errors
    /// Also when bytes are missing that the file has by its length: they are no zeros.
    fn read_padded(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let got = self.read_at(buf, offset)?;
        let Some(rest) = buf.get_mut(got..).filter(|rest| !rest.is_empty()) else {
            return Ok(());
        };
        if self.len()? > offset.saturating_add(got as u64) {
            let text = "fewer bytes were read than the file has";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        rest.fill(0);
        Ok(())
    }
    /// Writes the whole of `buf` at `offset`, extending the file where needed.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the range read as zero without changing the file's length unless the range passes it;
    /// by the cheapest way there is (punch, zero range, writing zeros).
    fn zero(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Gives the range's blocks back to the filesystem; it reads as zero afterwards. A filesystem
    /// that cannot do it leaves the range as it was and returns `Ok`: the caller must not rely on
    /// the zeros. The file's length stays.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Reserves blocks for a range, so that writing there later cannot run out of room. Bytes keep
    /// what they read, new ones read as zero, and the file grows where the range passes its end.
    /// False, and nothing done, on a filesystem that cannot do it.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<bool>;
    /// Shares `len` bytes of `source` at `from` as this file's bytes at `to` (FICLONERANGE).
    /// Offsets and length must be multiples of the filesystem's block, but for a length that ends
    /// where `source` ends; anything else is [`Cloned::Unsupported`].
    fn clone_range(
        &self,
        source: &dyn HostFile,
        from: u64,
        to: u64,
        len: u64,
    ) -> io::Result<Cloned>;
    /// Copies inside the kernel (copy_file_range). [`Cloned::Unsupported`] if `source` ends before
    /// `from + len`.
    fn copy_range(&self, source: &dyn HostFile, from: u64, to: u64, len: u64)
    -> io::Result<Cloned>;
    /// Sets the file's length; growth reads as zero.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// The file's length; for a block device the device's size.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Waits until everything written before is on stable storage (fdatasync).
    fn flush(&self) -> io::Result<()>;
    /// Bytes written to this range may begin their way to the device, so that the next flush has less to wait
    /// for. Promises nothing: only a flush does.
    fn write_out(&self, _offset: u64, _len: u64) {}
    /// What lies at `offset` (SEEK_DATA / SEEK_HOLE). Filesystems without holes answer `Data(len)`.
    /// At or past the end: `Hole(u64::MAX)`.
    fn segment_at(&self, offset: u64) -> io::Result<Segment>;
    /// How many bytes of a range lie in blocks that other files have as well (reflinks): giving the file up gives
    /// these back to nobody. `None` where the filesystem cannot tell.
    fn shared_bytes(&self, _range: Range<u64>) -> io::Result<Option<u64>> {
        Ok(None)
    }
    /// `fstat`.
    fn stat(&self) -> io::Result<Stat>;
    /// Takes QEMU's image locks on this file, or says who stands in the way. They are released
    /// when the returned guard is dropped; the guard keeps the file open by itself.
    fn lock(&self, want: LockSet) -> io::Result<Lock>;
    /// Would [`HostFile::lock`] succeed now? Takes nothing. Five or so system calls when free, so
    /// a scan may ask for every file it opens; naming the holders costs a pass over `/proc` and
    /// happens only when busy.
    fn probe_lock(&self, want: LockSet) -> io::Result<LockProbe>;
    /// What others hold of QEMU's image locks: one system call when that is nothing, so that a scan asks it of
    /// every image. What this process itself has locked counts as nothing. Nobody is named.
    fn locks_seen(&self) -> io::Result<LocksSeen> {
        Ok(LocksSeen::Unknown)
    }
    /// The descriptor of the operating system behind the trait, for calls that need a pair of them
    /// (cloning, copying, attributes). A wrapper hands out that of what it wraps; `None` where there is
    /// nothing of the kind, and such calls then are [`Cloned::Unsupported`].
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
