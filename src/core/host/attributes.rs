//! Owner, mode and extended attributes (SELinux label, access control lists) of a file that is
//! about to be replaced by another. The bytes of the file are the caller's business.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    Gid, Mode, Uid, XattrFlags, fchmod, fchown, fgetxattr, fgetxattr_query, flistxattr,
    fremovexattr, fsetxattr, fsync, getxattr,
};
use rustix::io::Errno;

use super::file::HostFile;
use super::printable::printable_bytes;

/// The kernel's bound on the value of one extended attribute, and on the list of their names.
pub(super) const MAX_XATTR: usize = 64 << 10;

/// A label is no longer than a page.
const MAX_LABEL: usize = 4 << 10;

/// The access control list; the mode's group bits are its mask.
pub(super) const POSIX_ACL: &CStr = c"system.posix_acl_access";

/// What became of a file's attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributesKept {
    /// What could not be carried over, as words that fit after "could not keep": `its owner (1000)`.
    pub lost: Vec<String>,
}

/// A file, and its descriptor.
struct Open<'a> {
    file: &'a dyn HostFile,
    fd: BorrowedFd<'a>,
}

impl<'a> Open<'a> {
    fn of(file: &'a dyn HostFile) -> Option<Self> {
        let fd = file.fd()?;
        Some(Self { file, fd })
    }
}

/// Gives `to` the owner, mode and extended attributes of `from`, as far as the system allows.
///
/// Call it on a new file before anything secret is written there. When the group cannot be kept,
/// nor are the group's rights: they would go to somebody else. Set-user-id and set-group-id are
/// never given.
pub fn copy_attributes(from: &dyn HostFile, to: &dyn HostFile) -> AttributesKept {
    let mut kept = AttributesKept::default();
    let (Some(source), Some(target)) = (Open::of(from), Open::of(to)) else {
        kept.lost
            .push("its owner, mode and extended attributes".into());
        return kept;
    };
    copy_owner_and_mode(&source, &target, &mut kept);
    copy_xattrs(&source, &target, &mut kept);
    kept
}

/// The type in a file's SELinux label (`user:role:TYPE:level`), links followed; none where it has no label.
///
/// # Errors
/// The system's own.
pub fn selinux_type(path: &Path) -> io::Result<Option<String>> {
    let mut label = vec![0; MAX_LABEL];
    let len = match getxattr(path, c"security.selinux", label.as_mut_slice()) {
        Ok(len) => len,
        Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    label.truncate(len);
    let label = String::from_utf8_lossy(&label);
    Ok(label.split(':').nth(2).map(str::to_owned))
}

/// Gives a file these permission bits.
///
/// # Errors
/// The system's: only its owner and root may. `Unsupported` where there is no file of the system behind it.
pub fn set_mode(file: &dyn HostFile, mode: u32) -> io::Result<()> {
    let fd = file.fd().ok_or(io::ErrorKind::Unsupported)?;
    Ok(fchmod(fd, Mode::from_raw_mode(mode))?)
}

/// What stands in an extended attribute of an open file; none where it has no such attribute.
///
/// # Errors
/// The system's; `Unsupported` where the filesystem keeps none, or there is no file of the system behind it;
/// `InvalidData` of a value longer than `most` bytes.
pub fn attribute(file: &dyn HostFile, name: &CStr, most: usize) -> io::Result<Option<Vec<u8>>> {
    let fd = file.fd().ok_or(io::ErrorKind::Unsupported)?;
    // By far the most files have none: only the length is asked for.
    let len = match fgetxattr_query(fd, name) {
        Ok(len) => len,
        Err(Errno::NODATA) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if len > most {
        let text = "the attribute is longer than it may be";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0_u8; len];
    let read = match fgetxattr(fd, name, bytes.as_mut_slice()) {
        Ok(read) => read,
        Err(Errno::NODATA) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Gives an open file these values of extended attributes, or takes the attributes away, and waits until that is on
/// stable storage.
///
/// # Errors
/// The system's; `Unsupported` where there is no file of the system behind it. Those before the one that failed are
/// set then.
pub fn set_attributes(file: &dyn HostFile, values: &[(&CStr, Option<&[u8]>)]) -> io::Result<()> {
    let fd = file.fd().ok_or(io::ErrorKind::Unsupported)?;
    for (name, value) in values {
        match value {
            Some(value) => fsetxattr(fd, *name, value, XattrFlags::empty())?,
            None => match fremovexattr(fd, *name) {
                Ok(()) | Err(Errno::NODATA) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
    Ok(fsync(fd)?)
}

/// Lets those read `to` who may read every one of `from`, of which it holds a part, and nobody whom the
/// umask bars; of a `secret` only its owner. Call it on a file made by
/// [`Host::create_private`](super::Host::create_private) before anything is written there. What cannot be
/// granted is not: the file stays the owner's alone.
pub fn limit_readers(to: &dyn HostFile, from: &[Arc<dyn HostFile>], secret: bool) {
    let Some(target) = Open::of(to) else { return };
    // A directory's default list would let others in as soon as the mode does.
    let without_list = matches!(
        fremovexattr(target.fd, POSIX_ACL),
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP)
    );
    let mut readers = if secret || !without_list {
        0
    } else {
        0o044 & !umask()
    };
    let mut groups = Vec::new();
    for file in from.iter().filter_map(|file| Open::of(file.as_ref())) {
        readers &= file.file.stat().map_or(0, |stat| {
            groups.push(stat.gid);
            readers_of(&file, stat.mode)
        });
    }
    if readers == 0o040 {
        // Only the group: it has to be the same one.
        groups.dedup();
        let is_given = match (groups.as_slice(), target.file.stat()) {
            ([], Ok(_)) => true,
            ([one], Ok(stat)) => {
                stat.gid == *one || fchown(target.fd, None, Some(Gid::from_raw(*one))).is_ok()
            }
            _ => false,
        };
        if !is_given {
            readers = 0;
        }
    }
    // Refused, it stays as it was created.
    let _ = fchmod(target.fd, Mode::from_raw_mode(0o600 | readers));
}

/// Which of group and others may read a file. Whom an access control list bars is not seen in the mode.
fn readers_of(file: &Open<'_>, mode: u32) -> u32 {
    match value(file, POSIX_ACL) {
        Err(Errno::NODATA | Errno::NOTSUP) => match mode & 0o044 {
            // The group's members are others to the new file.
            0o004 => 0,
            readers => readers,
        },
        _ => 0,
    }
}

/// The process's umask, which can only be asked for without setting it in `/proc`.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o077)
}

fn copy_owner_and_mode(source: &Open<'_>, target: &Open<'_>, kept: &mut AttributesKept) {
    let (Ok(old), Ok(new)) = (source.file.stat(), target.file.stat()) else {
        kept.lost.push("its owner and mode".into());
        return;
    };
    let fd = target.fd;
    let mut mode = old.mode & 0o777;
    // The group first: after giving the file away we may no longer change it.
    if old.gid != new.gid && fchown(fd, None, Some(Gid::from_raw(old.gid))).is_err() {
        mode &= !0o070;
        kept.lost.push(format!("its group ({})", old.gid));
    }
    if old.uid != new.uid && fchown(fd, Some(Uid::from_raw(old.uid)), None).is_err() {
        kept.lost.push(format!("its owner ({})", old.uid));
    }
    if fchmod(fd, Mode::from_raw_mode(mode)).is_err() {
        kept.lost.push(format!("its mode ({mode:04o})"));
    }
}

fn copy_xattrs(source: &Open<'_>, target: &Open<'_>, kept: &mut AttributesKept) {
    let names = match list(source) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return,
        Err(_) => {
            kept.lost.push("its extended attributes".into());
            return;
        }
    };
    // A directory's default list gives a new file one that the old file never had.
    if !names.iter().any(|name| name.as_c_str() == POSIX_ACL) {
        match fremovexattr(target.fd, POSIX_ACL) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(_) => kept
                .lost
                .push("its being without an access control list".into()),
        }
    }
    for name in names {
        let carried = value(source, &name).and_then(|wanted| {
            if value(target, &name).is_ok_and(|present| present == wanted) {
                return Ok(());
            }
            fsetxattr(target.fd, name.as_c_str(), &wanted, XattrFlags::empty())
        });
        match carried {
            // Taken away between listing and reading: nothing to keep.
            Ok(()) | Err(Errno::NODATA) => {}
            Err(_) => {
                if name.as_c_str() == POSIX_ACL
                    && let Ok(stat) = target.file.stat()
                {
                    // Without the list the mode's group bits, its mask, would let the whole group in.
                    let alone = Mode::from_raw_mode(stat.mode & 0o700);
                    let _ = fchmod(target.fd, alone);
                }
                let name = printable_bytes(name.as_bytes());
                kept.lost.push(format!("its attribute {name}"));
            }
        }
    }
}

fn list(file: &Open<'_>) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut names = vec![0_u8; MAX_XATTR];
    let len = flistxattr(file.fd, names.as_mut_slice())?;
    names.truncate(len);
    Ok(names
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| Some(CStr::from_bytes_with_nul(name).ok()?.to_owned()))
        .collect())
}

fn value(file: &Open<'_>, name: &CStr) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0_u8; MAX_XATTR];
    let len = fgetxattr(file.fd, name, value.as_mut_slice())?;
    value.truncate(len);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Host, RealHost};
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn mode_and_extended_attributes_are_carried_over() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        std::fs::write(&old, b"x").unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o640)).unwrap();
        let source = RealHost.open(&old, Access::ReadWrite).unwrap();
        let fd = source.fd().unwrap();
        let named = fsetxattr(fd, c"user.note", b"golden", XattrFlags::empty()).is_ok();
        let target = RealHost.create_new(&new).unwrap();
        let kept = copy_attributes(&*source, &*target);
        assert!(kept.lost.is_empty(), "{kept:?}");
        assert_eq!(target.stat().unwrap().mode, 0o640);
        if named {
            let note = value(&Open::of(&*target).unwrap(), c"user.note").unwrap();
            assert_eq!(note, b"golden");
        }
    }

    #[test]
    fn a_copy_is_read_by_those_who_may_read_all_it_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode| {
            let path = dir.path().join(name);
            std::fs::write(&path, b"x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            RealHost.open(&path, Access::Read).unwrap()
        };
        let may = 0o044 & !umask();
        let cases: [(&[u32], bool, u32); 7] = [
            (&[0o644], false, 0o600 | may),
            (&[0o666, 0o444], false, 0o600 | may),
            (&[0o600], false, 0o600),
            (&[0o644, 0o400], false, 0o600),
            (&[0o640], false, 0o600 | may & 0o040),
            (&[0o604], false, 0o600),
            (&[0o644], true, 0o600),
        ];
        for (at, (modes, secret, expected)) in cases.into_iter().enumerate() {
            let from: Vec<_> = modes
                .iter()
                .enumerate()
                .map(|(i, mode)| file(&format!("{at}-{i}"), *mode))
                .collect();
            let new = RealHost
                .create_private(&dir.path().join(format!("new-{at}")))
                .unwrap();
            assert_eq!(new.stat().unwrap().mode, 0o600);
            limit_readers(&*new, &from, secret);
            assert_eq!(new.stat().unwrap().mode, expected, "{modes:?} {secret}");
        }
    }

    #[test]
    fn a_group_that_may_read_goes_along_where_it_can_be_given() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: giving a file to a group needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, group| {
            let path = dir.path().join(name);
            std::fs::write(&path, b"x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            std::os::unix::fs::chown(&path, None, Some(group)).unwrap();
            RealHost.open(&path, Access::Read).unwrap()
        };
        let (one, other) = (file("one", 4321), file("other", 4322));
        let new = RealHost.create_private(&dir.path().join("a")).unwrap();
        limit_readers(&*new, std::slice::from_ref(&one), false);
        let stat = new.stat().unwrap();
        assert_eq!((stat.gid, stat.mode), (4321, 0o600 | 0o040 & !umask()));
        let new = RealHost.create_private(&dir.path().join("b")).unwrap();
        limit_readers(&*new, &[one, other], false);
        assert_eq!(new.stat().unwrap().mode, 0o600);
    }

    #[test]
    fn the_owner_is_carried_over_where_we_may() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        std::fs::write(&old, b"x").unwrap();
        std::os::unix::fs::chown(&old, Some(1234), Some(4321)).unwrap();
        let source = RealHost.open(&old, Access::Read).unwrap();
        let target = RealHost.create_new(&new).unwrap();
        assert!(copy_attributes(&*source, &*target).lost.is_empty());
        let stat = target.stat().unwrap();
        assert_eq!((stat.uid, stat.gid), (1234, 4321));
    }
}
