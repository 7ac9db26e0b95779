//! A user of this system, and what the permissions of a file let them do: by its owner, its mode and its access
//! control list, as the kernel goes by them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::getxattr;
use rustix::io::Errno;

use super::access_list::AccessList;
use super::attributes::{MAX_XATTR, POSIX_ACL};
use super::stat::Stat;

/// What somebody wants to do with a file, as the permission bits of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
    /// Search a directory: pass through it.
    Search,
}

impl Permission {
    /// The bits: reading is `0o4`, writing `0o2`, searching `0o1`.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Read => 0o4,
            Self::ReadWrite => 0o6,
            Self::Search => 0o1,
        }
    }
}

/// A user, with all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    uid: u32,
    groups: BTreeSet<u32>,
}

impl User {
    /// The user of that name or number, as `/etc/passwd` and `/etc/group` know them.
    ///
    /// # Errors
    /// When these cannot be read.
    pub fn named(name: &str) -> io::Result<Option<Self>> {
        let users = fs::read("/etc/passwd")?;
        let groups = fs::read("/etc/group")?;
        Ok(Self::of(
            name,
            &String::from_utf8_lossy(&users),
            &String::from_utf8_lossy(&groups),
        ))
    }

    fn of(name: &str, users: &str, groups: &str) -> Option<Self> {
        let user = |line: &str| {
            let mut fields = line.split(':');
            let (own, number, group) = (fields.next()?, fields.nth(1)?, fields.next()?);
            let is_it = own == name || number == name;
            is_it.then(|| Some((own.to_owned(), number.parse().ok()?, group.parse().ok()?)))?
        };
        let (name, uid, group) = users.lines().find_map(user)?;
        let member = |line: &str| {
            let mut fields = line.split(':');
            let number = fields.nth(2)?.parse().ok()?;
            let mut members = fields.next()?.split(',');
            members.any(|member| member == name).then_some(number)
        };
        let others = groups.lines().filter_map(member);
        Some(Self {
            uid,
            groups: others.chain([group]).collect(),
            name: name.clone(),
        })
    }

    /// The number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.uid
    }

    /// Whether they are a member of the group.
    #[must_use]
    pub fn is_in(&self, group: u32) -> bool {
        self.groups.contains(&group)
    }

    /// Whether the permissions of this file, which `stat` tells of, let them do it. The way to it is another question.
    ///
    /// # Errors
    /// When its access control list cannot be read.
    pub fn may(&self, permission: Permission, path: &Path, stat: &Stat) -> io::Result<bool> {
        let mut list = vec![0; MAX_XATTR];
        let list = match getxattr(path, POSIX_ACL, list.as_mut_slice()) {
            Ok(len) => list.get(..len).and_then(AccessList::of_bytes),
            Err(Errno::NODATA | Errno::NOTSUP) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(self.is_let(permission.bits(), stat, list.as_ref()))
    }

    /// Which of reading, writing and searching (`0o4`, `0o2`, `0o1`) a file lets them do, each by itself.
    #[must_use]
    pub fn rights(&self, stat: &Stat, list: Option<&AccessList>) -> u32 {
        let bits = [0o4, 0o2, 0o1].into_iter();
        bits.filter(|bit| self.is_let(*bit, stat, list)).sum()
    }

    fn is_let(&self, bits: u32, stat: &Stat, list: Option<&AccessList>) -> bool {
        let has = |granted: u32| granted & bits == bits;
        if self.uid == 0 {
            return true;
        }
        if self.uid == stat.uid {
            return has(stat.mode >> 6);
        }
        match list {
            Some(list) => {
                let is_in = |group: Option<u32>| self.is_in(group.unwrap_or(stat.gid));
                list.lets(self.uid, is_in, bits)
            }
            None if self.is_in(stat.gid) => has(stat.mode >> 3),
            None => has(stat.mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Host, RealHost};
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/sh\nvm:x:64055:107:VMs:/var:/bin/false\nnonsense\n";
    const GROUPS: &str = "root:x:0:\nkvm:x:107:\ndisk:x:6:ann,vm\nother:x:9:vmx\n";

    fn vm() -> User {
        User::of("vm", USERS, GROUPS).unwrap()
    }

    fn stat(mode: u32, uid: u32, gid: u32) -> Stat {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stat = RealHost.stat(file.path()).unwrap();
        Stat {
            mode,
            uid,
            gid,
            ..stat
        }
    }

    #[test]
    fn a_user_is_found_by_name_and_number_with_all_groups() {
        let user = vm();
        assert_eq!((user.uid, user.groups.len()), (64055, 2));
        assert_eq!(User::of("64055", USERS, GROUPS), Some(user));
        assert_eq!(User::of("nobody", USERS, GROUPS), None);
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        for (mode, uid, gid, permission, is_let) in [
            (0o600, 64055, 0, Permission::ReadWrite, true),
            (0o066, 64055, 0, Permission::Read, false),
            (0o640, 0, 6, Permission::Read, true),
            (0o640, 0, 6, Permission::ReadWrite, false),
            (0o604, 0, 107, Permission::Read, false),
            (0o604, 0, 0, Permission::Read, true),
            (0o711, 0, 0, Permission::Search, true),
            (0o744, 0, 0, Permission::Search, false),
        ] {
            let stat = stat(mode, uid, gid);
            assert_eq!(
                vm().is_let(permission.bits(), &stat, None),
                is_let,
                "{mode:o} {uid} {gid}"
            );
        }
        let root = User::of("root", USERS, GROUPS).unwrap();
        assert!(root.is_let(0o6, &stat(0, 1, 1), None));
    }

    #[test]
    fn a_list_grants_what_its_mask_leaves_of_it() {
        let stat = stat(0o660, 0, 0);
        for (list, is_let) in [
            ("u::rw-,u:64055:rw-,g::---,m::rw-,o::---", true),
            ("u::rw-,u:64055:rw-,g::---,m::r--,o::---", false),
            ("u::rw-,u:1:rw-,g::---,m::rw-,o::---", false),
            ("u::rw-,g::---,g:6:rw-,m::rw-,o::---", true),
            ("u::rw-,g::---,g:6:r--,g:107:rw-,m::rw-,o::---", true),
            ("u::rw-,g::---,g:6:r--,g:107:-w-,m::rw-,o::rw-", false),
            ("u::rw-,u:64055:---,g::---,g:6:rw-,m::rw-,o::---", false),
            ("u::rw-,g::---,o::rw-", true),
        ] {
            let list: AccessList = list.parse().unwrap();
            assert_eq!(vm().is_let(0o6, &stat, Some(&list)), is_let, "{list}");
        }
        let list: AccessList = "u::rw-,g::---,g:6:r--,g:107:-w-,m::rw-,o::---"
            .parse()
            .unwrap();
        assert_eq!(vm().rights(&stat, Some(&list)), 0o6);
    }
}
