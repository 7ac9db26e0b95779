//! A user of this system, and what the permissions of a file let them do: by its owner, its mode and its access
//! control list, as the kernel goes by them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::getxattr;
use rustix::io::Errno;

use super::attributes::POSIX_ACL;
use super::stat::Stat;

/// Bytes of an access control list that are read: thousands of entries.
const MAX_ACL: usize = 64 << 10;

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
    fn bits(self) -> u32 {
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

    /// Whether the permissions of this file, which `stat` tells of, let them do it. The way to it is another question.
    ///
    /// # Errors
    /// When its access control list cannot be read.
    pub fn may(&self, permission: Permission, path: &Path, stat: &Stat) -> io::Result<bool> {
        let mut list = vec![0; MAX_ACL];
        let list = match getxattr(path, POSIX_ACL, list.as_mut_slice()) {
            Ok(len) => list.get(..len).map(<[u8]>::to_vec),
            Err(Errno::NODATA | Errno::NOTSUP) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(self.is_let(permission, stat, list.as_deref()))
    }

    fn is_let(&self, permission: Permission, stat: &Stat, list: Option<&[u8]>) -> bool {
        let bits = permission.bits();
        let has = |granted: u32| granted & bits == bits;
        if self.uid == 0 {
            return true;
        }
        if self.uid == stat.uid {
            return has(stat.mode >> 6);
        }
        let Some(list) = list.and_then(entries) else {
            return match self.groups.contains(&stat.gid) {
                true => has(stat.mode >> 3),
                false => has(stat.mode),
            };
        };
        let mask = list.iter().find(|entry| entry.tag == MASK);
        let mask = mask.map_or(0o7, |entry| entry.bits);
        let own = |entry: &&Entry| entry.tag == USER && entry.id == self.uid;
        if let Some(own) = list.iter().find(own) {
            return has(own.bits & mask);
        }
        let of_group = |entry: &&Entry| match entry.tag {
            GROUP_OBJ => self.groups.contains(&stat.gid),
            GROUP => self.groups.contains(&entry.id),
            _ => false,
        };
        let mut of_groups = list.iter().filter(of_group).peekable();
        match of_groups.peek() {
            Some(_) => of_groups.any(|entry| has(entry.bits & mask)),
            None => has(stat.mode),
        }
    }
}

/// An entry of an access control list.
struct Entry {
    tag: u16,
    bits: u32,
    id: u32,
}

const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;

/// The entries of a list as the kernel gives it (`linux/posix_acl_xattr.h`): a version, then eight bytes each.
fn entries(list: &[u8]) -> Option<Vec<Entry>> {
    let (version, rest) = list.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != 2 {
        return None;
    }
    let entry = |bytes: &[u8]| {
        let (tag, rest) = bytes.split_first_chunk::<2>()?;
        let (bits, rest) = rest.split_first_chunk::<2>()?;
        let (id, _) = rest.split_first_chunk::<4>()?;
        Some(Entry {
            tag: u16::from_le_bytes(*tag),
            bits: u32::from(u16::from_le_bytes(*bits)),
            id: u32::from_le_bytes(*id),
        })
    };
    rest.chunks_exact(8).map(entry).collect()
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

    /// Tag, bits, number.
    type Row = (u16, u16, u32);

    fn list(entries: &[Row]) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, bits, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(bits.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
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
                vm().is_let(permission, &stat, None),
                is_let,
                "{mode:o} {uid} {gid}"
            );
        }
        let root = User::of("root", USERS, GROUPS).unwrap();
        assert!(root.is_let(Permission::ReadWrite, &stat(0, 1, 1), None));
    }

    #[test]
    fn a_list_grants_what_its_mask_leaves_of_it() {
        let stat = stat(0o660, 0, 0);
        let rows: &[(&[Row], bool)] = &[
            (&[(USER, 6, 64055), (MASK, 6, 0)], true),
            (&[(USER, 6, 64055), (MASK, 4, 0)], false),
            (&[(USER, 6, 1), (MASK, 6, 0)], false),
            (&[(GROUP, 6, 6), (MASK, 6, 0)], true),
            (&[(GROUP, 4, 6), (GROUP, 6, 107), (MASK, 6, 0)], true),
            (&[(USER, 0, 64055), (GROUP, 6, 6), (MASK, 6, 0)], false),
        ];
        for (entries, is_let) in rows {
            let list = list(entries);
            assert_eq!(
                vm().is_let(Permission::ReadWrite, &stat, Some(&list)),
                *is_let,
                "{entries:?}"
            );
        }
        // What is no list is passed over.
        assert!(!vm().is_let(Permission::Read, &stat, Some(&[1, 2, 3])));
    }
}
