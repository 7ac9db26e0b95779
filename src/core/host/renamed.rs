//! A file under another name, where the filesystem renames only over what is there: it gets a second name, and loses the
//! first. Some filesystems make up the number of a file by its name, so that the number does not tell that it is the same.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, fstatfs, linkat, openat, statat, unlinkat,
};
use rustix::io::pread;

use super::interface::require_file;
use super::real_file::stat_of;
use super::stat::FileId;

/// Filesystems that may make the numbers up (`statfs(2)`): FUSE, SMB.
const MADE_UP: [i64; 4] = [0x6573_5546, 0x517b, 0xff53_4d42, 0xfe53_4d42];
/// Bytes at the begin and at the end that are compared.
const COMPARED: usize = 64 << 10;

/// Gives this very file the name `to`, which nothing has, in place of `from`.
///
/// # Errors
/// The system's; where it is another file by now, which keeps its name.
pub(super) fn rename_by_link(
    file: FileId,
    (from_dir, from): (&OwnedFd, &OsStr),
    (to_dir, to): (&OwnedFd, &OsStr),
) -> io::Result<()> {
    let seen = match makes_up_numbers(from_dir) {
        true => Some(Seen::of(from_dir, from)?),
        false => None,
    };
    linkat(from_dir, from, to_dir, to, AtFlags::empty())?;
    let is_it = require_named(file, to_dir, to).or_else(|error| match &seen {
        Some(seen) if seen.is_alike(&Seen::of(to_dir, to)?)? => Ok(()),
        _ => Err(error),
    });
    if let Err(error) = is_it.and_then(|()| require_named(file, from_dir, from)) {
        // It was put there between the two calls, and has its own name still.
        let _ = unlinkat(to_dir, to, AtFlags::empty());
        return Err(error);
    }
    Ok(unlinkat(from_dir, from, AtFlags::empty())?)
}

/// Refuses what is not this very file by that name.
pub(super) fn require_named(file: FileId, dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    require_file(file, &stat_of(&stat))
}

fn makes_up_numbers(dir: &OwnedFd) -> bool {
    let kind = fstatfs(dir).map(|found| found.f_type & 0xffff_ffff);
    kind.is_ok_and(|kind| MADE_UP.contains(&kind))
}

/// A file that is open, by whatever name.
struct Seen {
    fd: OwnedFd,
    stat: Stat,
}

impl Seen {
    fn of(dir: &OwnedFd, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(dir, name, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Self { fd, stat }),
            _ => Err(io::Error::other("it is no regular file")),
        }
    }

    /// Whether all that tells a file but its number is the same.
    fn is_alike(&self, other: &Self) -> io::Result<bool> {
        let told = |stat: &Stat| {
            (
                stat.st_dev,
                stat.st_size,
                stat.st_mtime,
                stat.st_mode,
                (stat.st_uid, stat.st_gid),
            )
        };
        Ok(told(&self.stat) == told(&other.stat)
            && self.piece(0)? == other.piece(0)?
            && self.piece(self.end())? == other.piece(other.end())?)
    }

    fn end(&self) -> u64 {
        let len = u64::try_from(self.stat.st_size).unwrap_or(0);
        len.saturating_sub(COMPARED as u64)
    }

    /// What stands there, up to [`COMPARED`] bytes.
    fn piece(&self, at: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; COMPARED];
        let mut read = 0;
        while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match pread(&self.fd, rest, at + read as u64)? {
                0 => break,
                more => read += more,
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use crate::host::{Host, RealHost};

    fn opened(dir: &Path) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        rustix::fs::open(dir, flags, Mode::empty()).unwrap()
    }

    #[test]
    fn a_file_is_renamed_where_it_is_that_file_and_the_name_is_free() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let fd = opened(dir.path());
        let id = RealHost.stat(&dir.path().join("a")).unwrap().id;
        let rename =
            |from: &str, to: &str| rename_by_link(id, (&fd, from.as_ref()), (&fd, to.as_ref()));
        rename("a", "b").unwrap_err();
        rename("b", "c").unwrap_err();
        let names = || fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names(), 2);
        rename("a", "c").unwrap();
        assert_eq!(
            (names(), fs::read(dir.path().join("c")).unwrap()),
            (2, b"a".to_vec())
        );
    }

    #[test]
    fn files_are_alike_where_nothing_but_the_number_differs() {
        let dir = tempfile::tempdir().unwrap();
        let when = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let file = |name: &str, content: &[u8], when: SystemTime| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(when)
                .unwrap();
        };
        let mut content = vec![7; 3 * COMPARED];
        file("a", &content, when);
        file("same", &content, when);
        file("later", &content, when + Duration::from_secs(1));
        file("longer", &[&content[..], b"x"].concat(), when);
        content[COMPARED - 1] = 8;
        file("begin", &content, when);
        content[COMPARED - 1] = 7;
        content[2 * COMPARED] = 8;
        file("end", &content, when);
        let fd = opened(dir.path());
        let seen = |name: &str| Seen::of(&fd, name.as_ref()).unwrap();
        for (name, expected) in [
            ("same", true),
            ("later", false),
            ("longer", false),
            ("begin", false),
            ("end", false),
        ] {
            assert_eq!(seen("a").is_alike(&seen(name)).unwrap(), expected, "{name}");
        }
        assert!(
            Seen::of(
                &opened(dir.path().parent().unwrap()),
                dir.path().file_name().unwrap()
            )
            .is_err()
        );
    }
}
