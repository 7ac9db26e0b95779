//! QEMU's image locks as open-file-description locks, byte by byte. What the bytes mean is told at
//! [`LockSet`]; who holds them is found in `holders`.
//!
//! The protocol of QEMU's `file-posix`: all locks are shared (`F_RDLCK`) and one byte long. Take
//! your own bytes first, then ask (`F_OFD_GETLK`, as if for `F_WRLCK`) whether anybody else holds
//! byte `200 + n` for a permission you use or byte `100 + n` for one you forbid; on a hit drop
//! everything. Two openers that race may both give way, never both win. Byte 0 is libvirt's and is
//! left alone.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::lock::{FORBIDS, LockSet, LocksSeen, USES, WRITES};

/// An open description and how often each of its lock bytes is held: a file locked twice stays
/// locked until both guards are gone.
#[derive(Debug)]
pub(super) struct Description {
    fd: OwnedFd,
    /// Counts for 100..=103, then 200..=203.
    counts: Mutex<[u32; 8]>,
}

/// What trying to lock came to.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The bytes are held.
    Held(HeldBytes),
    /// Somebody else's bytes forbid it.
    Busy {
        /// Whether somebody else holds "I use write".
        writer: bool,
    },
    /// No such locks here.
    Unsupported,
}

/// Bytes held on a description; dropping it gives them back.
#[derive(Debug)]
pub(super) struct HeldBytes {
    description: Arc<Description>,
    bytes: Vec<u64>,
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.description.release(&self.bytes);
    }
}

impl Description {
    /// A description without locks.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self {
            fd,
            counts: Mutex::new([0; 8]),
        }
    }

    /// The descriptor, for every other call.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes the bytes of `want`, or nothing.
    pub(super) fn take(self: &Arc<Self>, want: LockSet) -> io::Result<Attempt> {
        let mut held = HeldBytes {
            description: Arc::clone(self),
            bytes: Vec::with_capacity(5),
        };
        for byte in own_bytes(want) {
            match self.acquire(byte) {
                Ok(()) => held.bytes.push(byte),
                // Only an exclusive lock of somebody else stands against a shared one.
                Err(Errno::EAGAIN | Errno::EACCES) => {
                    return Ok(Attempt::Busy {
                        writer: self.is_held_by_others(WRITES)?.unwrap_or(false),
                    });
                }
                Err(errno) if unsupported(errno) => return Ok(Attempt::Unsupported),
                Err(errno) => return Err(errno.into()),
            }
        }
        match self.conflict(want)? {
            Attempt::Held(_) => Ok(Attempt::Held(held)),
            other => Ok(other),
        }
    }

    /// Whether [`Description::take`] would succeed: the same answer, with nothing taken.
    pub(super) fn probe(self: &Arc<Self>, want: LockSet) -> io::Result<Attempt> {
        self.conflict(want)
    }

    /// Asks for every byte that would stand against `want`. The `Held` of the answer is empty.
    fn conflict(self: &Arc<Self>, want: LockSet) -> io::Result<Attempt> {
        let against_used = want.used().iter().map(|n| FORBIDS + u64::from(*n));
        let against_forbidden = want.forbidden().iter().map(|n| USES + u64::from(*n));
        for byte in against_used.chain(against_forbidden) {
            match self.is_held_by_others(byte)? {
                None => return Ok(Attempt::Unsupported),
                Some(false) => {}
                Some(true) => {
                    return Ok(Attempt::Busy {
                        writer: self.is_held_by_others(WRITES)?.unwrap_or(false),
                    });
                }
            }
        }
        Ok(Attempt::Held(HeldBytes {
            description: Arc::clone(self),
            bytes: Vec::new(),
        }))
    }

    /// Whether another description holds a lock on this byte; `None` where locks are unknown.
    fn is_held_by_others(&self, byte: u64) -> io::Result<Option<bool>> {
        let mut lock = one_byte(libc::F_WRLCK, byte)?;
        match retry(|| fcntl(&self.fd, FcntlArg::F_OFD_GETLK(&mut lock))) {
            Ok(()) => Ok(Some(i32::from(lock.l_type) != libc::F_UNLCK)),
            Err(errno) if unsupported(errno) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// What others hold: one call where that is nothing.
    pub(super) fn seen(&self) -> io::Result<LocksSeen> {
        let mut all = one_byte(libc::F_WRLCK, USES)?;
        all.l_len = libc::off_t::try_from(FORBIDS + 4 - USES)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        match retry(|| fcntl(&self.fd, FcntlArg::F_OFD_GETLK(&mut all))) {
            Ok(()) if i32::from(all.l_type) == libc::F_UNLCK => Ok(LocksSeen::Free),
            Ok(()) => Ok(match self.is_held_by_others(WRITES)? {
                Some(true) => LocksSeen::Written,
                _ => LocksSeen::Read,
            }),
            Err(errno) if unsupported(errno) => Ok(LocksSeen::Unknown),
            Err(errno) => Err(errno.into()),
        }
    }

    fn acquire(&self, byte: u64) -> Result<(), Errno> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counter(&mut counts, byte).ok_or(Errno::EINVAL)?;
        if *count == 0 {
            self.set(libc::F_RDLCK, byte)?;
        }
        *count += 1;
        Ok(())
    }

    fn release(&self, bytes: &[u64]) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in bytes {
            let Some(count) = counter(&mut counts, *byte) else {
                continue;
            };
            *count = count.saturating_sub(1);
            if *count == 0 {
                // Giving back a lock we hold does not fail; if it did, the descriptor's end would
                // take the lock with it.
                let _ = self.set(libc::F_UNLCK, *byte);
            }
        }
    }

    fn set(&self, kind: i32, byte: u64) -> Result<(), Errno> {
        let lock = one_byte(kind, byte).map_err(|_| Errno::EINVAL)?;
        retry(|| fcntl(&self.fd, FcntlArg::F_OFD_SETLK(&lock)))
    }
}

/// The bytes an opener holds.
fn own_bytes(want: LockSet) -> impl Iterator<Item = u64> {
    let uses = want.used().iter().map(|n| USES + u64::from(*n));
    uses.chain(want.forbidden().iter().map(|n| FORBIDS + u64::from(*n)))
}

fn counter(counts: &mut [u32; 8], byte: u64) -> Option<&mut u32> {
    let slot = match byte {
        100..=103 => byte - 100,
        200..=203 => byte - 200 + 4,
        _ => return None,
    };
    counts.get_mut(usize::try_from(slot).ok()?)
}

/// A lock of one byte, of the given kind. The process id must be 0 for these locks.
fn one_byte(kind: i32, byte: u64) -> io::Result<libc::flock> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    Ok(libc::flock {
        l_type: libc::c_short::try_from(kind).map_err(invalid)?,
        l_whence: libc::c_short::try_from(libc::SEEK_SET).map_err(invalid)?,
        l_start: libc::off_t::try_from(byte).map_err(invalid)?,
        l_len: 1,
        l_pid: 0,
    })
}

fn retry(mut call: impl FnMut() -> nix::Result<i32>) -> Result<(), Errno> {
    loop {
        match call() {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What kernels and filesystems answer that do not know these locks.
fn unsupported(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EINVAL | Errno::ENOLCK | Errno::ENOSYS | Errno::EOPNOTSUPP
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Host, HostFile, Lock, LockProbe, RealHost};
    use super::*;

    /// A file, and so many open descriptions of it.
    fn descriptions<const N: usize>() -> (tempfile::TempDir, [Arc<dyn HostFile>; N]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"x").unwrap();
        let open = |_| RealHost.open(&path, Access::ReadWrite).unwrap();
        let files = std::array::from_fn(open);
        (dir, files)
    }

    fn is_held(lock: &io::Result<Lock>) -> bool {
        matches!(lock, Ok(Lock::Held(_)))
    }

    #[test]
    fn a_writer_keeps_writers_and_readers_out_until_its_guard_is_gone() {
        let (_dir, [a, b]) = descriptions();
        let guard = a.lock(LockSet::ReadWrite);
        assert!(is_held(&guard));
        for want in [LockSet::ReadWrite, LockSet::ReadOnly] {
            match b.lock(want).unwrap() {
                Lock::Busy(conflict) => {
                    assert!(conflict.writer);
                    let holder = &conflict.holders[0];
                    assert_eq!(holder.pid, std::process::id());
                    assert!(holder.locks && holder.writes);
                }
                other => panic!("{want:?}: {other:?}"),
            }
            assert!(matches!(b.probe_lock(want).unwrap(), LockProbe::Busy(_)));
        }
        drop(guard);
        assert_eq!(b.probe_lock(LockSet::ReadWrite).unwrap(), LockProbe::Free);
        assert!(is_held(&b.lock(LockSet::ReadWrite)));
    }

    #[test]
    fn readers_share_and_keep_writers_out() {
        let (_dir, [a, b, c]) = descriptions();
        let first = a.lock(LockSet::ReadOnly);
        let second = b.lock(LockSet::ReadOnly);
        assert!(is_held(&first) && is_held(&second));
        match c.lock(LockSet::ReadWrite).unwrap() {
            Lock::Busy(conflict) => assert!(!conflict.writer),
            other => panic!("{other:?}"),
        }
        drop(first);
        assert!(!is_held(&c.lock(LockSet::ReadWrite)));
        drop(second);
        assert!(
            is_held(&c.lock(LockSet::ReadWrite)),
            "a failed try left nothing behind"
        );
    }

    #[test]
    fn a_file_locked_twice_stays_locked_until_both_guards_are_gone() {
        let (_dir, [a, b]) = descriptions();
        let first = a.lock(LockSet::ReadWrite);
        let second = a.lock(LockSet::ReadOnly);
        assert!(is_held(&second), "our own bytes do not stand in our way");
        drop(first);
        assert!(
            is_held(&b.lock(LockSet::ReadOnly)),
            "only the reader's bytes are left"
        );
        assert!(!is_held(&b.lock(LockSet::ReadWrite)));
        drop(second);
        assert!(is_held(&b.lock(LockSet::ReadWrite)));
    }

    #[test]
    fn a_guard_outlives_its_file() {
        let (_dir, [a, b]) = descriptions();
        let guard = a.lock(LockSet::ReadWrite);
        drop(a);
        assert!(!is_held(&b.lock(LockSet::ReadOnly)));
        drop(guard);
        assert!(is_held(&b.lock(LockSet::ReadOnly)));
    }

    #[test]
    fn locks_work_on_a_file_opened_for_reading() {
        let (dir, [a]) = descriptions();
        let reader = RealHost.open(&dir.path().join("f"), Access::Read).unwrap();
        let guard = reader.lock(LockSet::ReadWrite);
        assert!(is_held(&guard));
        assert!(!is_held(&a.lock(LockSet::ReadOnly)));
    }

    #[test]
    fn a_probe_takes_nothing() {
        let (_dir, [a, b]) = descriptions();
        assert_eq!(a.probe_lock(LockSet::ReadWrite).unwrap(), LockProbe::Free);
        assert!(is_held(&b.lock(LockSet::ReadWrite)));
    }
}
