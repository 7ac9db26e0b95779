//! Owner, mode and extended attributes (SELinux label, access control lists) of a file that is
//! about to be replaced by another. The bytes of the file are the caller's business.

use std::ffi::CStr;

use rustix::fs::{
    Gid, Mode, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr, fremovexattr, fsetxattr,
};
use rustix::io::Errno;

use super::file::HostFile;
use super::printable::printable_bytes;
use super::real_file::RealFile;

/// The kernel's bound on the value of one extended attribute, and on the list of their names.
const MAX_XATTR: usize = 64 << 10;

/// The access control list; the mode's group bits are its mask.
const POSIX_ACL: &CStr = c"system.posix_acl_access";

/// What became of a file's attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributesKept {
    /// What could not be carried over, as words that fit after "could not keep": `its owner (1000)`.
    pub lost: Vec<String>,
}

impl AttributesKept {
    /// Whether everything was carried over.
    #[must_use]
    pub fn all(&self) -> bool {
        self.lost.is_empty()
    }
}

/// Gives `to` the owner, mode and extended attributes of `from`, as far as the system allows.
///
/// Call it on a new file before anything secret is written there. When the group cannot be kept,
/// nor are the group's rights: they would go to somebody else. Set-user-id and set-group-id are
/// never given.
pub fn copy_attributes(from: &dyn HostFile, to: &dyn HostFile) -> AttributesKept {
    let mut kept = AttributesKept::default();
    let (Some(source), Some(target)) = (from.real(), to.real()) else {
        kept.lost
            .push("its owner, mode and extended attributes".into());
        return kept;
    };
    copy_owner_and_mode(source, target, &mut kept);
    copy_xattrs(source, target, &mut kept);
    kept
}

fn copy_owner_and_mode(source: &RealFile, target: &RealFile, kept: &mut AttributesKept) {
    let (Ok(old), Ok(new)) = (source.stat(), target.stat()) else {
        kept.lost.push("its owner and mode".into());
        return;
    };
    let fd = target.fd();
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

fn copy_xattrs(source: &RealFile, target: &RealFile, kept: &mut AttributesKept) {
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
        match fremovexattr(target.fd(), POSIX_ACL) {
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
            fsetxattr(target.fd(), name.as_c_str(), &wanted, XattrFlags::empty())
        });
        match carried {
            // Taken away between listing and reading: nothing to keep.
            Ok(()) | Err(Errno::NODATA) => {}
            Err(_) => kept.lost.push(format!(
                "its attribute {}",
                printable_bytes(name.as_bytes())
            )),
        }
    }
}

fn list(file: &RealFile) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut names = vec![0_u8; MAX_XATTR];
    let len = flistxattr(file.fd(), names.as_mut_slice())?;
    names.truncate(len);
    Ok(names
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| Some(CStr::from_bytes_with_nul(name).ok()?.to_owned()))
        .collect())
}

fn value(file: &RealFile, name: &CStr) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0_u8; MAX_XATTR];
    let len = fgetxattr(file.fd(), name, value.as_mut_slice())?;
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
        let fd = source.real().unwrap().fd();
        let named = fsetxattr(fd, c"user.note", b"golden", XattrFlags::empty()).is_ok();
        let target = RealHost.create_new(&new).unwrap();
        let kept = copy_attributes(&*source, &*target);
        assert!(kept.all(), "{kept:?}");
        assert_eq!(target.stat().unwrap().mode, 0o640);
        if named {
            let note = value(target.real().unwrap(), c"user.note").unwrap();
            assert_eq!(note, b"golden");
        }
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
        assert!(copy_attributes(&*source, &*target).all());
        let stat = target.stat().unwrap();
        assert_eq!((stat.uid, stat.gid), (1234, 4321));
    }
}
