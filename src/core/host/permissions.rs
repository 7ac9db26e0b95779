//! Who may do what with a file or a folder, as a value: read, changed, and given to it. Whose rights they are is in
//! `user`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, XattrFlags, chmod, fstat, fsync, getxattr, open, setxattr};
use rustix::io::Errno;
#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use super::access_list::AccessList;
use super::attributes::{MAX_XATTR, POSIX_ACL};
use super::real_file::stat_of;
use super::stat::{FileId, Stat};
use super::user::{Permission, User};

/// Who may do what with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Permissions {
    /// The permission bits, with set-user-id, set-group-id and sticky (`0o7777`).
    pub mode: u32,
    /// The access control list, if the file has one; the mode says a part of it.
    pub list: Option<AccessList>,
}

/// Permissions as they are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionsFound {
    /// What the system tells of the file.
    pub stat: Stat,
    /// Its permissions.
    pub permissions: Permissions,
    /// Whether its filesystem keeps access control lists.
    pub keeps_lists: bool,
}

/// Who gets rights besides the user that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gains {
    /// Nobody: the user owns the file.
    Owner,
    /// Nobody: the user is named in the file's list.
    User,
    /// The members of the file's group.
    Group,
    /// Everybody.
    Everybody,
}

/// A file that is neither read nor written here: its permissions need not allow it.
struct Handle {
    fd: OwnedFd,
    /// By which calls reach it that take no descriptor of this kind.
    name: PathBuf,
}

impl Handle {
    fn open(path: &Path) -> io::Result<(Self, Stat)> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = open(path, flags, Mode::empty())?;
        let stat = stat_of(&fstat(&fd)?);
        let name = PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()));
        Ok((Self { fd, name }, stat))
    }

    fn list(&self) -> io::Result<(Option<AccessList>, bool)> {
        let mut bytes = vec![0; MAX_XATTR];
        match getxattr(&self.name, POSIX_ACL, bytes.as_mut_slice()) {
            Ok(len) => {
                let list = bytes.get(..len).and_then(AccessList::of_bytes);
                let unknown = || io::Error::from(io::ErrorKind::InvalidData);
                Ok((Some(list.ok_or_else(unknown)?), true))
            }
            Err(Errno::NODATA) => Ok((None, true)),
            Err(Errno::NOTSUP) => Ok((None, false)),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until that is on stable storage, as far as the file may be opened for it.
    fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match open(&self.name, flags, Mode::empty()) {
            Ok(file) => Ok(fsync(&file)?),
            Err(_) => Ok(()),
        }
    }
}

impl Permissions {
    /// Those of a file or a folder. A symbolic link is not followed.
    ///
    /// # Errors
    /// The system's; `InvalidData` where its access control list is none that is understood.
    pub fn of(path: &Path) -> io::Result<PermissionsFound> {
        let (handle, stat) = Handle::open(path)?;
        let (list, keeps_lists) = handle.list()?;
        Ok(PermissionsFound {
            permissions: Self {
                mode: stat.mode,
                list,
            },
            stat,
            keeps_lists,
        })
    }

    /// The same with this user let do that as well, and who else gets it.
    #[must_use]
    pub fn letting(
        &self,
        user: &User,
        permission: Permission,
        stat: &Stat,
        keeps_lists: bool,
    ) -> (Self, Gains) {
        let bits = permission.bits();
        let with = |list: AccessList, gains| {
            let to = Self {
                mode: self.mode & !0o777 | list.mode(),
                list: Some(list),
            };
            (to, gains)
        };
        let list = || {
            let own = self.list.clone();
            own.unwrap_or_else(|| AccessList::of_mode(self.mode))
        };
        let more = |shift: u32, gains| {
            let to = Self {
                mode: self.mode | bits << shift,
                list: None,
            };
            (to, gains)
        };
        match (user.id() == stat.uid, &self.list) {
            (true, None) => more(6, Gains::Owner),
            (true, Some(list)) => with(list.with_owner(bits), Gains::Owner),
            (false, _) if keeps_lists => {
                // An entry of its own is all that counts then.
                let bits = bits | user.rights(stat, self.list.as_ref());
                with(list().with_user(user.id(), bits), Gains::User)
            }
            (false, _) if user.is_in(stat.gid) => more(3, Gains::Group),
            (false, _) => more(0, Gains::Everybody),
        }
    }

    /// Gives them to this very file. A symbolic link is not followed, and nothing is read or written.
    ///
    /// # Errors
    /// The system's: only its owner and root may; [`io::ErrorKind::Other`] where it is another file by now, or where the
    /// system took them otherwise than they were given.
    pub fn give(&self, path: &Path, file: FileId) -> io::Result<()> {
        let (handle, stat) = Handle::open(path)?;
        if stat.id != file {
            return Err(io::Error::other("it is another file by now"));
        }
        let (now, _) = handle.list()?;
        if self.list.is_some() || now.is_some() {
            // A list that only says what a mode says becomes that mode, in one step.
            let list = self.list.clone();
            let list = list.unwrap_or_else(|| AccessList::of_mode(self.mode));
            let bytes = list.to_bytes();
            setxattr(&handle.name, POSIX_ACL, &bytes, XattrFlags::empty())?;
        }
        if stat_of(&fstat(&handle.fd)?).mode != self.mode {
            chmod(&handle.name, Mode::from_raw_mode(self.mode))?;
        }
        let then = Self {
            mode: stat_of(&fstat(&handle.fd)?).mode,
            list: handle.list()?.0,
        };
        if then != *self {
            return Err(io::Error::other(
                "the system took its permissions otherwise than they were given",
            ));
        }
        handle.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_gets_a_list_and_the_mode_that_it_had_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "").unwrap();
        for (path, mode) in [(file.as_path(), 0o600), (dir.path(), 0o2750)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            let found = Permissions::of(path).unwrap();
            assert_eq!(
                (found.permissions.mode, &found.permissions.list),
                (mode, &None)
            );
            if !found.keeps_lists {
                continue;
            }
            let list = AccessList::of_mode(mode).with_user(65_534, 0o1);
            let to = Permissions {
                mode: mode & !0o777 | list.mode(),
                list: Some(list),
            };
            to.give(path, found.stat.id).unwrap();
            assert_eq!(Permissions::of(path).unwrap().permissions, to);
            found.permissions.give(path, found.stat.id).unwrap();
            assert_eq!(Permissions::of(path).unwrap(), found_again(&found, path));
        }
    }

    /// What was found, but for the time of the change.
    fn found_again(found: &PermissionsFound, path: &Path) -> PermissionsFound {
        let mut again = found.clone();
        again.stat.changed = Permissions::of(path).unwrap().stat.changed;
        again
    }

    #[test]
    fn neither_another_file_nor_what_a_link_leads_to_gets_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two, link) = (
            dir.path().join("one"),
            dir.path().join("two"),
            dir.path().join("link"),
        );
        for path in [&one, &two] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        symlink(&two, &link).unwrap();
        let (file, other) = (
            Permissions::of(&one).unwrap(),
            Permissions::of(&two).unwrap(),
        );
        let to = Permissions {
            mode: 0o666,
            list: None,
        };
        assert!(to.give(&two, file.stat.id).is_err());
        assert!(to.give(&link, other.stat.id).is_err());
        assert_eq!(Permissions::of(&two).unwrap(), other);
        to.give(&one, file.stat.id).unwrap();
        assert_eq!(Permissions::of(&one).unwrap().permissions, to);
    }
}
