//! The access control list of a file, as the kernel keeps and gives it (`linux/posix_acl_xattr.h`; what it means is in
//! `acl(5)`). Values only: nothing here asks the system.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// The version of the form that the kernel gives.
const VERSION: u32 = 2;
/// What stands for the number of an entry that has none.
const NO_ID: u32 = u32::MAX;
/// Entries that are read: as many as fit into an extended attribute.
const MAX_ENTRIES: usize = 8_191;

/// An access control list: whom a file's permissions let do what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "String", try_from = "String"))]
pub struct AccessList {
    /// Ordered as the kernel wants them.
    entries: Vec<Entry>,
}

/// An entry of an access control list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    whom: Whom,
    /// Read, write and search as `0o4`, `0o2` and `0o1`.
    bits: u32,
}

/// Whom an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Whom {
    Owner,
    User(u32),
    OwningGroup,
    Group(u32),
    /// The most that users and groups get who are named, and the owning group.
    Mask,
    Others,
}

/// A text or bytes that are no access control list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no access control list")]
pub struct NotAnAccessList;

impl Whom {
    fn of_tag(tag: u16, id: u32) -> Option<Self> {
        Some(match tag {
            0x01 => Self::Owner,
            0x02 => Self::User(id),
            0x04 => Self::OwningGroup,
            0x08 => Self::Group(id),
            0x10 => Self::Mask,
            0x20 => Self::Others,
            _ => return None,
        })
    }

    fn tag(self) -> (u16, u32) {
        match self {
            Self::Owner => (0x01, NO_ID),
            Self::User(id) => (0x02, id),
            Self::OwningGroup => (0x04, NO_ID),
            Self::Group(id) => (0x08, id),
            Self::Mask => (0x10, NO_ID),
            Self::Others => (0x20, NO_ID),
        }
    }

    fn is_masked(self) -> bool {
        matches!(self, Self::User(_) | Self::OwningGroup | Self::Group(_))
    }
}

impl AccessList {
    /// The list that says the same as the permission bits of a mode.
    #[must_use]
    pub fn of_mode(mode: u32) -> Self {
        let entry = |whom, shift: u32| Entry {
            whom,
            bits: mode >> shift & 0o7,
        };
        Self {
            entries: vec![
                entry(Whom::Owner, 6),
                entry(Whom::OwningGroup, 3),
                entry(Whom::Others, 0),
            ],
        }
    }

    /// The list in the form that the kernel gives: a version, then eight bytes each; none where it is no list.
    #[must_use]
    pub fn of_bytes(list: &[u8]) -> Option<Self> {
        let (version, rest) = list.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*version) != VERSION {
            return None;
        }
        let entry = |bytes: &[u8]| {
            let (tag, rest) = bytes.split_first_chunk::<2>()?;
            let (bits, rest) = rest.split_first_chunk::<2>()?;
            let (id, _) = rest.split_first_chunk::<4>()?;
            Some(Entry {
                whom: Whom::of_tag(u16::from_le_bytes(*tag), u32::from_le_bytes(*id))?,
                bits: u32::from(u16::from_le_bytes(*bits)),
            })
        };
        let entries: Option<Vec<Entry>> = rest.chunks(8).map(entry).collect();
        Self::of_entries(entries?)
    }

    /// The list in the form that the kernel takes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for Entry { whom, bits } in &self.entries {
            let (tag, id) = whom.tag();
            bytes.extend(tag.to_le_bytes());
            bytes.extend(u16::try_from(*bits).unwrap_or(0).to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    /// One of entries that make a list: each once, the three of a mode, and a mask where somebody is named.
    fn of_entries(mut entries: Vec<Entry>) -> Option<Self> {
        entries.sort_unstable();
        let is_whole = entries.len() <= MAX_ENTRIES
            && entries.iter().all(|entry| entry.bits <= 0o7)
            && entries
                .windows(2)
                .all(|two| two.first().map(|it| it.whom) != two.last().map(|it| it.whom));
        let list = Self { entries };
        let has = |whom| list.bits(whom).is_some();
        let names = |entry: &Entry| matches!(entry.whom, Whom::User(_) | Whom::Group(_));
        let is_list = is_whole
            && has(Whom::Owner)
            && has(Whom::OwningGroup)
            && has(Whom::Others)
            && (has(Whom::Mask) || !list.entries.iter().any(names));
        is_list.then_some(list)
    }

    fn bits(&self, whom: Whom) -> Option<u32> {
        let found = self.entries.iter().find(|entry| entry.whom == whom);
        found.map(|entry| entry.bits)
    }

    /// The permission bits that a file has by it: those of its group are the mask.
    #[must_use]
    pub fn mode(&self) -> u32 {
        let bits = |whom| self.bits(whom).unwrap_or(0);
        let group = self.bits(Whom::Mask).unwrap_or(bits(Whom::OwningGroup));
        bits(Whom::Owner) << 6 | group << 3 | bits(Whom::Others)
    }

    fn mask(&self) -> u32 {
        self.bits(Whom::Mask).unwrap_or(0o7)
    }

    /// Whether somebody who does not own the file may do what all of these bits say. The first class that fits
    /// decides; of several groups one that has them all is enough.
    #[must_use]
    pub(super) fn lets(&self, user: u32, is_in: impl Fn(Option<u32>) -> bool, bits: u32) -> bool {
        let has = |granted: u32| granted & bits == bits;
        let mask = self.mask();
        if let Some(own) = self.bits(Whom::User(user)) {
            return has(own & mask);
        }
        let of_group = |entry: &&Entry| match entry.whom {
            Whom::OwningGroup => is_in(None),
            Whom::Group(id) => is_in(Some(id)),
            _ => false,
        };
        let mut groups = self.entries.iter().filter(of_group).peekable();
        match groups.peek() {
            Some(_) => groups.any(|entry| has(entry.bits & mask)),
            None => has(self.bits(Whom::Others).unwrap_or(0)),
        }
    }

    /// The same with just these rights for a user. The mask becomes as wide as that needs, and nobody gets more by
    /// it: what it barred is taken out.
    #[must_use]
    pub fn with_user(&self, user: u32, bits: u32) -> Self {
        let mask = self.mask();
        let others = self.entries.iter();
        let others = others.filter(|entry| ![Whom::User(user), Whom::Mask].contains(&entry.whom));
        let mut entries: Vec<Entry> = others
            .map(|entry| Entry {
                whom: entry.whom,
                bits: match entry.whom.is_masked() {
                    true => entry.bits & mask,
                    false => entry.bits,
                },
            })
            .collect();
        entries.push(Entry {
            whom: Whom::User(user),
            bits: bits & 0o7,
        });
        let masked = entries.iter().filter(|entry| entry.whom.is_masked());
        let bits = masked.fold(0, |all, entry| all | entry.bits);
        entries.push(Entry {
            whom: Whom::Mask,
            bits,
        });
        entries.sort_unstable();
        Self { entries }
    }

    /// The same with more rights for the owner.
    #[must_use]
    pub fn with_owner(&self, bits: u32) -> Self {
        let mut list = self.clone();
        for entry in &mut list.entries {
            if entry.whom == Whom::Owner {
                entry.bits |= bits & 0o7;
            }
        }
        list
    }
}

/// Rights as letters: `r-x`.
#[must_use]
pub fn right_letters(bits: u32) -> String {
    let letter = |bit: u32, letter: char| if bits & bit == 0 { '-' } else { letter };
    [letter(0o4, 'r'), letter(0o2, 'w'), letter(0o1, 'x')]
        .into_iter()
        .collect()
}

/// The short text form of `acl(5)`, by numbers: `u::rwx,u:64055:--x,g::r-x,m::r-x,o::---`.
impl fmt::Display for AccessList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Entry { whom, bits }) in self.entries.iter().enumerate() {
            if number > 0 {
                f.write_str(",")?;
            }
            let bits = right_letters(*bits);
            match whom {
                Whom::Owner => write!(f, "u::{bits}")?,
                Whom::User(id) => write!(f, "u:{id}:{bits}")?,
                Whom::OwningGroup => write!(f, "g::{bits}")?,
                Whom::Group(id) => write!(f, "g:{id}:{bits}")?,
                Whom::Mask => write!(f, "m::{bits}")?,
                Whom::Others => write!(f, "o::{bits}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for AccessList {
    type Err = NotAnAccessList;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let entry = |text: &str| {
            let mut fields = text.split(':');
            let (class, id, bits) = (fields.next()?, fields.next()?, fields.next()?);
            let number = || id.parse().ok();
            let whom = match (class, id) {
                ("u", "") => Whom::Owner,
                ("u", _) => Whom::User(number()?),
                ("g", "") => Whom::OwningGroup,
                ("g", _) => Whom::Group(number()?),
                ("m", "") => Whom::Mask,
                ("o", "") => Whom::Others,
                _ => return None,
            };
            let value = (0..=0o7).find(|value| right_letters(*value) == bits)?;
            let is_end = fields.next().is_none();
            is_end.then_some(Entry { whom, bits: value })
        };
        let entries: Option<Vec<Entry>> = text.split(',').map(entry).collect();
        entries.and_then(Self::of_entries).ok_or(NotAnAccessList)
    }
}

impl From<AccessList> for String {
    fn from(list: AccessList) -> Self {
        list.to_string()
    }
}

impl TryFrom<String> for AccessList {
    type Error = NotAnAccessList;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> AccessList {
        text.parse().unwrap()
    }

    #[test]
    fn a_list_is_read_and_written_as_the_kernel_does_and_as_text() {
        // What the kernel gave for `setfacl -m u:65534:r` on a file of mode 0640.
        let bytes = [
            &[2, 0, 0, 0][..],
            &[1, 0, 6, 0, 255, 255, 255, 255],
            &[2, 0, 4, 0, 254, 255, 0, 0],
            &[4, 0, 4, 0, 255, 255, 255, 255],
            &[16, 0, 4, 0, 255, 255, 255, 255],
            &[32, 0, 0, 0, 255, 255, 255, 255],
        ]
        .concat();
        let text = "u::rw-,u:65534:r--,g::r--,m::r--,o::---";
        let read = AccessList::of_bytes(&bytes).unwrap();
        assert_eq!(read, list(text));
        assert_eq!(read.to_string(), text);
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(read.mode(), 0o640);
        assert_eq!(AccessList::of_mode(0o751), list("u::rwx,g::r-x,o::--x"));
        assert_eq!(AccessList::of_mode(0o751).mode(), 0o751);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in [
            "",
            "u::rwx",
            "u::rwx,g::r-x,o::--x,o::--x",
            "u::rwx,u:5:r--,g::r-x,o::--x",
            "u::rwx,g::r-x,o::-x-",
            "u::rwx,g::r-x,o:5:--x",
            "u::rwx,g::r-x,o::--x:",
            "u::rwx,u:-5:r--,g::r-x,m::rwx,o::--x",
        ] {
            assert_eq!(text.parse::<AccessList>(), Err(NotAnAccessList), "{text}");
        }
        let bytes = AccessList::of_mode(0o640).to_bytes();
        for end in 0..bytes.len() {
            assert_eq!(AccessList::of_bytes(&bytes[..end]), None, "{end}");
        }
        let mut other = bytes.clone();
        other[0] = 1;
        assert_eq!(AccessList::of_bytes(&other), None);
        let mut wide = bytes;
        wide[6] = 8;
        assert_eq!(AccessList::of_bytes(&wide), None);
    }

    #[test]
    fn a_user_that_is_let_in_lets_nobody_else_in() {
        for (before, bits, after) in [
            (
                "u::rwx,g::---,o::---",
                0o1,
                "u::rwx,u:7:--x,g::---,m::--x,o::---",
            ),
            (
                "u::rw-,g::r--,o::---",
                0o6,
                "u::rw-,u:7:rw-,g::r--,m::rw-,o::---",
            ),
            // The mask barred writing, and bars it still.
            (
                "u::rw-,u:5:rw-,g::rw-,g:6:r--,m::r--,o::---",
                0o6,
                "u::rw-,u:5:r--,u:7:rw-,g::r--,g:6:r--,m::rw-,o::---",
            ),
            (
                "u::rwx,u:7:rwx,g::r-x,m::r--,o::r-x",
                0o1,
                "u::rwx,u:7:--x,g::r--,m::r-x,o::r-x",
            ),
        ] {
            let (before, after) = (list(before), list(after));
            assert_eq!(before.with_user(7, bits), after, "{before}");
            for group in [None, Some(6)] {
                let (other, is_in) = (9, |id| id == group);
                for bit in [0o4, 0o2, 0o1] {
                    assert_eq!(before.lets(5, is_in, bit), after.lets(5, is_in, bit));
                    assert_eq!(
                        before.lets(other, is_in, bit),
                        after.lets(other, is_in, bit)
                    );
                }
            }
        }
        assert_eq!(
            list("u::r--,g::---,o::---").with_owner(0o2),
            list("u::rw-,g::---,o::---")
        );
    }
}
