//! A file that is a vector: what the targets open images from, so that a run costs no system call.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use qanopy_core::host::{
    Cloned, FileId, FileKind, HostFile, Lock, LockGuard, LockProbe, LockSet, Segment, Stat,
};

/// No image of a target has a reason to grow beyond this many bytes; a full disk is what it meets.
const CAPACITY: u64 = 16 << 20;

/// The bytes.
#[derive(Debug)]
pub(super) struct MemoryFile {
    bytes: Mutex<Vec<u8>>,
}

impl MemoryFile {
    /// A file with these bytes.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Mutex::new(bytes),
        }
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The range as indices, the file made long enough for it.
    fn reach(bytes: &mut Vec<u8>, offset: u64, len: u64) -> io::Result<std::ops::Range<usize>> {
        let end = offset.checked_add(len).filter(|end| *end <= CAPACITY);
        let end = end.ok_or(io::ErrorKind::StorageFull)?;
        let (from, to) = (usize::try_from(offset), usize::try_from(end));
        let (Ok(from), Ok(to)) = (from, to) else {
            return Err(io::ErrorKind::StorageFull.into());
        };
        if bytes.len() < to {
            bytes.resize(to, 0);
        }
        Ok(from..to)
    }
}

impl HostFile for MemoryFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = bytes.get(from..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes();
        let range = Self::reach(&mut bytes, offset, buf.len() as u64)?;
        bytes[range].copy_from_slice(buf);
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes();
        let range = Self::reach(&mut bytes, offset, len)?;
        bytes[range].fill(0);
        Ok(())
    }

    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(false)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let to = usize::try_from(offset.saturating_add(len)).unwrap_or(usize::MAX);
        let end = bytes.len();
        if let Some(range) = bytes.get_mut(from..to.min(end)) {
            range.fill(0);
        }
        Ok(())
    }

    fn clone_range(&self, _: &dyn HostFile, _: u64, _: u64, _: u64) -> io::Result<Cloned> {
        Ok(Cloned::Unsupported)
    }

    fn copy_range(&self, _: &dyn HostFile, _: u64, _: u64, _: u64) -> io::Result<Cloned> {
        Ok(Cloned::Unsupported)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes();
        if len > CAPACITY {
            return Err(io::ErrorKind::StorageFull.into());
        }
        bytes.resize(usize::try_from(len).unwrap_or(0), 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn segment_at(&self, offset: u64) -> io::Result<Segment> {
        let len = self.bytes().len() as u64;
        Ok(if offset < len {
            Segment::Data(len)
        } else {
            Segment::Hole(u64::MAX)
        })
    }

    fn stat(&self) -> io::Result<Stat> {
        let len = self.bytes().len() as u64;
        Ok(Stat {
            id: FileId {
                device: 1,
                inode: 1,
            },
            kind: FileKind::Regular,
            len,
            allocated: len,
            modified: SystemTime::UNIX_EPOCH,
            changed: SystemTime::UNIX_EPOCH,
            mode: 0o644,
            uid: 0,
            gid: 0,
            links: 1,
        })
    }

    fn lock(&self, _: LockSet) -> io::Result<Lock> {
        Ok(Lock::Held(LockGuard::new(None)))
    }

    fn probe_lock(&self, _: LockSet) -> io::Result<LockProbe> {
        Ok(LockProbe::Free)
    }
}
