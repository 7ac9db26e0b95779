//! [`RealFile`]: an open regular file or block device of this Linux. Names and directories are in
//! `real`.

use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::fs::{
    Advice, FallocateFlags, FileType, SeekFrom, copy_file_range, fadvise, fallocate, fdatasync,
    fstat, ftruncate, seek,
};
use rustix::io::{Errno, pread, pwrite};

use super::fiemap;
use super::file::{Cloned, HostFile, Segment};
use super::holders::holders_in_the_way;
use super::lock::{Conflict, Lock, LockGuard, LockProbe, LockSet, LocksSeen};
use super::ofd::{Attempt, Description};
use super::own::{OwnLock, own_work};
use super::process::is_child;
use super::reflink::clone_file_range;
use super::stat::{FileId, FileKind, Stat};

/// How much is written at a time where zeros must be written out.
const ZEROS: usize = 1 << 20;

/// How much one call of copy_file_range is asked for. The kernel can be interrupted between calls
/// only, so this bounds how long a cancelled copy still runs.
const COPY_STEP: u64 = 64 << 20;

/// Long enough for a process that was just started to begin its own program.
const A_CHILD_BEGINS: Duration = Duration::from_millis(20);

/// An open file. Cheap to share: locks keep their own hold on the descriptor.
#[derive(Debug)]
pub(super) struct RealFile {
    description: Arc<Description>,
    kind: FileKind,
}

impl RealFile {
    /// Wraps a descriptor of a regular file or a block device; refuses anything else.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        let kind = kind_of(FileType::from_raw_mode(stat.st_mode));
        refuse_unless_bytes(kind, FileType::from_raw_mode(stat.st_mode))?;
        Ok(Self {
            description: Arc::new(Description::new(fd)),
            kind,
        })
    }

    /// The descriptor.
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.description.fd()
    }

    /// Turns a failed attempt into a conflict with names.
    fn conflict(&self, writer: bool) -> Conflict {
        let holders = fstat(self.descriptor()).map_or_else(
            |_| Vec::new(),
            |stat| holders_in_the_way(id_of(&stat), self.descriptor().as_raw_fd()),
        );
        Conflict { writer, holders }
    }

    /// Attempts it, and once more where only children of this process stand in the way: one that has not
    /// begun its own program yet has every file that was open here, and with it locks that were let go since.
    fn attempt(
        &self,
        attempt: impl Fn() -> io::Result<Attempt>,
    ) -> io::Result<Result<Attempt, Conflict>> {
        let mut is_first = true;
        loop {
            let writer = match attempt()? {
                Attempt::Busy { writer } => writer,
                other => return Ok(Ok(other)),
            };
            let conflict = self.conflict(writer);
            let are_ours = conflict.holders.iter().all(|held| is_child(held.pid));
            if !(is_first && are_ours) {
                return Ok(Err(conflict));
            }
            is_first = false;
            thread::sleep(A_CHILD_BEGINS);
        }
    }

    /// Writes zeros, for where the filesystem has nothing cheaper.
    fn write_zeros(&self, mut offset: u64, mut len: u64) -> io::Result<()> {
        let zeros = vec![0_u8; usize::try_from(len).map_or(ZEROS, |len| len.min(ZEROS))];
        while len > 0 {
            let step = usize::try_from(len).map_or(zeros.len(), |len| len.min(zeros.len()));
            self.write_at(zeros.get(..step).unwrap_or(&zeros), offset)?;
            offset += as_u64(step);
            len -= as_u64(step);
        }
        Ok(())
    }
}

impl HostFile for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match pread(self.descriptor(), rest, add(offset, done)?) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(done)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            match pwrite(self.descriptor(), rest, add(offset, done)?) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = end_of(offset, len)?;
        if len == 0 {
            return Ok(());
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let zero = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        let file_len = self.len()?;
        let inside = end.min(file_len).saturating_sub(offset);
        if inside > 0
            && !allocate(self.descriptor(), punch, offset, inside)?
            && !allocate(self.descriptor(), zero, offset, inside)?
        {
            self.write_zeros(offset, inside)?;
        }
        if end > file_len {
            self.set_len(end)?;
        }
        Ok(())
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        end_of(offset, len)?;
        if len > 0 {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            allocate(self.descriptor(), punch, offset, len)?;
        }
        Ok(())
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<bool> {
        end_of(offset, len)?;
        if len == 0 {
            return Ok(true);
        }
        allocate(self.descriptor(), FallocateFlags::empty(), offset, len)
    }

    fn clone_range(
        &self,
        source: &dyn HostFile,
        from: u64,
        to: u64,
        len: u64,
    ) -> io::Result<Cloned> {
        let Some(source) = source.fd() else {
            return Ok(Cloned::Unsupported);
        };
        end_of(from, len)?;
        end_of(to, len)?;
        if len == 0 {
            return Ok(Cloned::Done);
        }
        loop {
            match clone_file_range(self.descriptor(), source, from, to, len) {
                Ok(()) => return Ok(Cloned::Done),
                Err(Errno::INTR) => {}
                Err(errno) if cannot_share(errno) => return Ok(Cloned::Unsupported),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn copy_range(
        &self,
        source: &dyn HostFile,
        mut from: u64,
        mut to: u64,
        mut len: u64,
    ) -> io::Result<Cloned> {
        let Some(source) = source.fd() else {
            return Ok(Cloned::Unsupported);
        };
        end_of(from, len)?;
        end_of(to, len)?;
        while len > 0 {
            let step = usize::try_from(len.min(COPY_STEP)).unwrap_or(usize::MAX);
            // The kernel's call moves both offsets on by what it copied.
            match copy_file_range(
                source,
                Some(&mut from),
                self.descriptor(),
                Some(&mut to),
                step,
            ) {
                // The source has ended, or is of a kind that pretends to.
                Ok(0) => return Ok(Cloned::Unsupported),
                Ok(n) => len = len.saturating_sub(as_u64(n)),
                Err(Errno::INTR) => {}
                Err(errno) if cannot_share(errno) => return Ok(Cloned::Unsupported),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Cloned::Done)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.kind == FileKind::BlockDevice {
            // What lies past an image's end on a device is nobody's: there is nothing to give back.
            return if len <= self.len()? {
                Ok(())
            } else {
                Err(io::Error::new(
                    io::ErrorKind::StorageFull,
                    "a block device has the length it has",
                ))
            };
        }
        loop {
            match ftruncate(self.descriptor(), len) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        if self.kind == FileKind::BlockDevice {
            // A device's `stat` tells no length; the position is not used by anything else.
            return Ok(seek(self.descriptor(), SeekFrom::End(0))?);
        }
        Ok(u64::try_from(fstat(self.descriptor())?.st_size).unwrap_or(0))
    }

    fn flush(&self) -> io::Result<()> {
        // Never retried after an error other than an interruption: the kernel may have dropped the
        // pages it could not write, and a second call would wrongly succeed.
        loop {
            match fdatasync(self.descriptor()) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn write_out(&self, offset: u64, len: u64) {
        // Linux begins to write dirty pages of the range back before it drops those that are clean, and does
        // not wait (mm/fadvise.c). An error of that writing is kept for the next flush.
        if let Some(len) = NonZeroU64::new(len) {
            let _ = fadvise(self.descriptor(), offset, Some(len), Advice::DontNeed);
        }
    }

    fn segment_at(&self, offset: u64) -> io::Result<Segment> {
        let no_holes = || -> io::Result<Segment> {
            let len = self.len()?;
            Ok(if offset < len {
                Segment::Data(len)
            } else {
                Segment::Hole(u64::MAX)
            })
        };
        if i64::try_from(offset).is_err() {
            return Ok(Segment::Hole(u64::MAX));
        }
        match seek(self.descriptor(), SeekFrom::Data(offset)) {
            Ok(data) if data > offset => Ok(Segment::Hole(data)),
            Ok(_) => match seek(self.descriptor(), SeekFrom::Hole(offset)) {
                Ok(hole) if hole > offset => Ok(Segment::Data(hole)),
                // The file changed between the two calls.
                Ok(_) | Err(_) => no_holes(),
            },
            Err(Errno::NXIO) => {
                let len = self.len()?;
                Ok(Segment::Hole(if offset < len { len } else { u64::MAX }))
            }
            Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => no_holes(),
            Err(errno) => Err(errno.into()),
        }
    }

    fn shared_bytes(&self, range: Range<u64>) -> io::Result<Option<u64>> {
        Ok(fiemap::shared_bytes(self.descriptor(), range)?)
    }

    fn stat(&self) -> io::Result<Stat> {
        let mut stat = stat_of(&fstat(self.descriptor())?);
        if self.kind == FileKind::BlockDevice {
            stat.len = self.len()?;
        }
        Ok(stat)
    }

    fn lock(&self, want: LockSet) -> io::Result<Lock> {
        Ok(match self.attempt(|| self.description.take(want))? {
            Ok(Attempt::Held(bytes)) => {
                let own = OwnLock::note(id_of(&fstat(self.descriptor())?), want);
                Lock::Held(LockGuard::new(Some(Box::new((own, bytes)))))
            }
            Ok(Attempt::Busy { writer }) => Lock::Busy(self.conflict(writer)),
            Ok(Attempt::Unsupported) => Lock::Unsupported,
            Err(conflict) => Lock::Busy(conflict),
        })
    }

    fn probe_lock(&self, want: LockSet) -> io::Result<LockProbe> {
        Ok(match self.attempt(|| self.description.probe(want))? {
            Ok(Attempt::Held(_)) => LockProbe::Free,
            Ok(Attempt::Busy { writer }) => LockProbe::Busy(self.conflict(writer)),
            Ok(Attempt::Unsupported) => LockProbe::Unsupported,
            Err(conflict) => LockProbe::Busy(conflict),
        })
    }

    fn locks_seen(&self) -> io::Result<LocksSeen> {
        match self.description.seen()? {
            LocksSeen::Read | LocksSeen::Written
                if !own_work(id_of(&fstat(self.descriptor())?)).is_empty() =>
            {
                Ok(LocksSeen::Free)
            }
            seen => Ok(seen),
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.description.fd())
    }
}

/// Whether the filesystem did it; `false` where it cannot.
fn allocate(fd: BorrowedFd<'_>, how: FallocateFlags, offset: u64, len: u64) -> io::Result<bool> {
    loop {
        match fallocate(fd, how, offset, len) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            // A device refuses ranges off its sectors as invalid; a filesystem of its own kind says
            // it does not support the call. Whatever else is wrong, writing will tell.
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::NODEV | Errno::PERM) => {
                return Ok(false);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What kernels answer when this pair of files, this alignment or this sandbox does not allow the
/// range to be shared or copied inside the kernel.
fn cannot_share(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOTSUP
            | Errno::NOTTY
            | Errno::NOSYS
            | Errno::XDEV
            | Errno::INVAL
            | Errno::PERM
            | Errno::TXTBSY
    )
}

/// Refuses what has no bytes at offsets.
pub(super) fn refuse_unless_bytes(kind: FileKind, file_type: FileType) -> io::Result<()> {
    let what = match kind {
        FileKind::Regular | FileKind::BlockDevice => return Ok(()),
        FileKind::Directory => return Err(io::ErrorKind::IsADirectory.into()),
        FileKind::Symlink => "a symbolic link",
        FileKind::Other => match file_type {
            FileType::Fifo => "a named pipe",
            FileType::Socket => "a socket",
            FileType::CharacterDevice => "a character device",
            _ => "something special",
        },
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("it is {what}, not a regular file or a block device"),
    ))
}

/// The kind behind a mode.
pub(super) fn kind_of(file_type: FileType) -> FileKind {
    match file_type {
        FileType::RegularFile => FileKind::Regular,
        FileType::Directory => FileKind::Directory,
        FileType::BlockDevice => FileKind::BlockDevice,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn id_of(stat: &rustix::fs::Stat) -> FileId {
    if kind_of(FileType::from_raw_mode(stat.st_mode)) == FileKind::BlockDevice {
        return FileId::of_device(stat.st_rdev);
    }
    FileId {
        device: stat.st_dev,
        inode: stat.st_ino,
    }
}

/// The system's `stat` as ours. The length of a block device is for the caller to find.
pub(super) fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    let nanos = |nanos| u32::try_from(nanos).unwrap_or(0);
    Stat {
        id: id_of(stat),
        kind: kind_of(FileType::from_raw_mode(stat.st_mode)),
        len: u64::try_from(stat.st_size).unwrap_or(0),
        allocated: u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512),
        modified: time_of(stat.st_mtime, nanos(stat.st_mtime_nsec)),
        changed: time_of(stat.st_ctime, nanos(stat.st_ctime_nsec)),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        #[allow(clippy::useless_conversion)] // The field has 32 bits on some architectures.
        links: u64::from(stat.st_nlink),
    }
}

/// A time as the system gives it, before 1970 too.
fn time_of(seconds: i64, nanos: u32) -> SystemTime {
    let time = match u64::try_from(seconds) {
        Ok(seconds) => SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos)),
        Err(_) => SystemTime::UNIX_EPOCH
            .checked_sub(Duration::from_secs(seconds.unsigned_abs()))
            .and_then(|time| time.checked_add(Duration::new(0, nanos))),
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn add(offset: u64, done: usize) -> io::Result<u64> {
    end_of(offset, as_u64(done))
}

/// `offset + len`, refused where it passes what a file can have.
fn end_of(offset: u64, len: u64) -> io::Result<u64> {
    offset
        .checked_add(len)
        .filter(|end| i64::try_from(*end).is_ok())
        .ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Host, RealHost};
    use super::*;

    fn scratch() -> (tempfile::TempDir, Arc<dyn HostFile>) {
        let dir = tempfile::tempdir().unwrap();
        let file = RealHost.create_new(&dir.path().join("f")).unwrap();
        (dir, file)
    }

    fn content(file: &dyn HostFile) -> Vec<u8> {
        let mut all = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        assert_eq!(file.read_at(&mut all, 0).unwrap(), all.len());
        all
    }

    #[test]
    fn a_write_past_the_end_extends_and_a_read_past_the_end_is_short() {
        let (_dir, file) = scratch();
        assert!(file.is_empty().unwrap());
        file.write_at(b"hello", 10).unwrap();
        assert_eq!(file.len().unwrap(), 15);
        let mut buf = [9; 32];
        assert_eq!(file.read_at(&mut buf, 8).unwrap(), 7);
        assert_eq!(&buf[..7], b"\0\0hello");
        assert_eq!(file.read_at(&mut buf, 15).unwrap(), 0);
        file.flush().unwrap();
    }

    #[test]
    fn zero_keeps_the_length_inside_and_extends_beyond() {
        let (_dir, file) = scratch();
        file.write_at(&[7; 10_000], 0).unwrap();
        file.zero(100, 5000).unwrap();
        let all = content(&*file);
        assert_eq!(all.len(), 10_000);
        assert!(all[100..5100].iter().all(|byte| *byte == 0));
        assert!(all[..100].iter().chain(&all[5100..]).all(|byte| *byte == 7));
        file.zero(9_000, 3_000).unwrap();
        assert_eq!(file.len().unwrap(), 12_000);
        file.zero(20_000, 10).unwrap();
        assert_eq!(file.len().unwrap(), 20_010);
        assert!(content(&*file)[9_000..].iter().all(|byte| *byte == 0));
        file.zero(5, 0).unwrap();
    }

    #[test]
    fn zeros_are_written_out_where_nothing_is_cheaper() {
        let (_dir, file) = scratch();
        let len = ZEROS + 5000;
        file.write_at(&vec![7; len + 10], 0).unwrap();
        let fd = file.fd().unwrap().try_clone_to_owned().unwrap();
        let file = RealFile::new(fd).unwrap();
        file.write_zeros(5, as_u64(len)).unwrap();
        let all = content(&file);
        assert!(all[5..len + 5].iter().all(|byte| *byte == 0));
        assert_eq!((all[4], all[len + 5]), (7, 7));
    }

    #[test]
    fn a_punched_range_gives_back_its_blocks_and_shows_as_a_hole() {
        let (_dir, file) = scratch();
        file.write_at(&vec![7; 1 << 20], 0).unwrap();
        file.flush().unwrap();
        let before = file.stat().unwrap().allocated;
        file.punch(256 << 10, 512 << 10).unwrap();
        let stat = file.stat().unwrap();
        assert_eq!(stat.len, 1 << 20);
        if stat.allocated < before {
            assert_eq!(file.segment_at(0).unwrap(), Segment::Data(256 << 10));
            assert_eq!(
                file.segment_at(300 << 10).unwrap(),
                Segment::Hole(768 << 10)
            );
        }
        assert_eq!(file.segment_at(1 << 20).unwrap(), Segment::Hole(u64::MAX));
        assert_eq!(file.segment_at(u64::MAX).unwrap(), Segment::Hole(u64::MAX));
        file.set_len(2 << 20).unwrap();
        assert_eq!(file.segment_at(1_500_000).unwrap(), Segment::Hole(2 << 20));
    }

    #[test]
    fn a_range_is_copied_in_the_kernel_or_says_it_cannot() {
        let dir = tempfile::tempdir().unwrap();
        let source = RealHost.create_new(&dir.path().join("a")).unwrap();
        let target = RealHost.create_new(&dir.path().join("b")).unwrap();
        let data: Vec<u8> = (0..=250).cycle().take(128 << 10).collect();
        source.write_at(&data, 0).unwrap();
        target.set_len(256 << 10).unwrap();
        for clone in [true, false] {
            let to = if clone { 0 } else { 128 << 10 };
            let done = if clone {
                target.clone_range(&*source, 0, to, 128 << 10).unwrap()
            } else {
                target.copy_range(&*source, 0, to, 128 << 10).unwrap()
            };
            if done == Cloned::Done {
                let mut copy = vec![0; data.len()];
                target.read_at(&mut copy, to).unwrap();
                assert_eq!(copy, data);
            }
        }
        let beyond = target.copy_range(&*source, 64 << 10, 0, 128 << 10).unwrap();
        assert_eq!(beyond, Cloned::Unsupported, "the source ends before");
        let crooked = target.clone_range(&*source, 1, 0, 512).unwrap();
        assert_eq!(crooked, Cloned::Unsupported);
        let nothing = target.clone_range(&*source, 0, 0, 0).unwrap();
        assert_eq!(nothing, Cloned::Done, "a length of 0 is not the whole file");
        assert_eq!(target.len().unwrap(), 256 << 10);
    }

    #[test]
    fn offsets_no_file_can_have_are_refused() {
        let (_dir, file) = scratch();
        assert!(file.write_at(b"x", u64::MAX).is_err());
        assert!(file.zero(u64::MAX - 1, 5).is_err());
        assert!(file.punch(1 << 62, 1 << 63).is_err());
        assert!(file.set_len(u64::MAX).is_err());
    }

    #[test]
    fn a_file_opened_for_reading_cannot_be_written() {
        let (dir, _file) = scratch();
        let file = RealHost.open(&dir.path().join("f"), Access::Read).unwrap();
        assert!(file.write_at(b"x", 0).is_err());
        assert!(file.set_len(1).is_err());
    }
}
