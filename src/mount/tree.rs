//! What a mount shows, as far as it is known without opening an image: the folders and the images in them. Nothing is
//! read here.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use crate::guest::filesystem::NodeId;

/// An image as it is now, or as one of its internal snapshots shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewId {
    /// The image, by its number.
    pub image: u32,
    /// The internal snapshot, by its place in the image's table; none for what the image shows now.
    pub snapshot: Option<u32>,
}

impl ViewId {
    /// What an image shows now.
    #[must_use]
    pub const fn now(image: u32) -> Self {
        Self {
            image,
            snapshot: None,
        }
    }
}

/// What can be shown under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A folder with images below it, by its number.
    Folder(u32),
    /// The folder of an image, or of an internal snapshot.
    View(ViewId),
    /// `disk.raw` in it.
    Disk(ViewId),
    /// `ERROR.txt` in it: what cannot be shown, and why.
    Error(ViewId),
    /// `IN-USE.txt` in it: who writes the image.
    InUse(ViewId),
    /// `p2.txt` in it: what there is to say of a volume, by the number of the volume.
    VolumeNote(ViewId, u16),
    /// The folder of an image's internal snapshots.
    Snapshots(u32),
    /// A file of the guest: on which volume, by its number, and which.
    Node(ViewId, u16, NodeId),
}

impl Place {
    /// The image that it is of, by its number; none of a folder with images.
    #[must_use]
    pub fn image(self) -> Option<u32> {
        match self {
            Self::Folder(_) => None,
            Self::Snapshots(image) => Some(image),
            Self::View(id)
            | Self::Disk(id)
            | Self::Error(id)
            | Self::InUse(id)
            | Self::VolumeNote(id, _)
            | Self::Node(id, ..) => Some(id.image),
        }
    }
}

/// The names in a folder, and what each stands for.
pub(super) type Names = BTreeMap<OsString, Place>;

/// The folders of a mount.
#[derive(Debug)]
pub struct Tree {
    /// The first is the mount itself.
    folders: Vec<Names>,
    root: Place,
}

impl Tree {
    /// One image, whose folder the mount itself is.
    #[must_use]
    pub fn of_one() -> Self {
        Self {
            folders: Vec::new(),
            root: Place::View(ViewId::now(0)),
        }
    }

    /// Images by their paths below one folder; each gets the number of its place in the row. What has no name at the
    /// end of its path is left out.
    #[must_use]
    pub fn of_images<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut tree = Self {
            folders: vec![Names::new()],
            root: Place::Folder(0),
        };
        for (image, path) in (0..).zip(paths) {
            let Some(name) = path.file_name() else {
                continue;
            };
            let folder = tree.folder_of(path.parent().unwrap_or(Path::new("")));
            if let Some(names) = tree.names_mut(folder) {
                insert(names, name, Place::View(ViewId::now(image)));
            }
        }
        tree
    }

    /// What the mount itself is.
    #[must_use]
    pub fn root(&self) -> Place {
        self.root
    }

    /// The names in a folder.
    #[must_use]
    pub(super) fn names(&self, folder: u32) -> Option<&Names> {
        self.folders.get(usize::try_from(folder).ok()?)
    }

    fn names_mut(&mut self, folder: u32) -> Option<&mut Names> {
        self.folders.get_mut(usize::try_from(folder).ok()?)
    }

    /// The folder of that path, which comes into being where it is not there.
    fn folder_of(&mut self, path: &Path) -> u32 {
        let mut at = 0;
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let Ok(new) = u32::try_from(self.folders.len()) else {
                return at;
            };
            let Some(names) = self.names_mut(at) else {
                return at;
            };
            at = match names.get(name) {
                Some(Place::Folder(there)) => *there,
                _ => {
                    insert(names, name, Place::Folder(new));
                    self.folders.push(Names::new());
                    new
                }
            };
        }
        at
    }
}

fn insert(names: &mut Names, name: &OsStr, place: Place) {
    let name = free_name(name, &|name| names.contains_key(name));
    names.insert(name, place);
}

/// Longest name that Linux filesystems have, in bytes.
const NAME_MAX: usize = 255;

/// The name, or with `~2`, `~3` behind it where it is taken.
fn free_name(name: &OsStr, is_taken: &dyn Fn(&OsStr) -> bool) -> OsString {
    let mut free = name.to_owned();
    let mut number = 2_u64;
    while is_taken(&free) {
        let end = format!("~{number}");
        let room = NAME_MAX.saturating_sub(end.len());
        let own = name.as_bytes();
        let mut bytes = own.get(..room.min(own.len())).unwrap_or(own).to_vec();
        bytes.extend(end.as_bytes());
        free = OsString::from_vec(bytes);
        number += 1;
    }
    free
}

/// Names of files for words that others chose, in the same order: what a name cannot hold becomes `_`, and of equal ones
/// the later get a number. `otherwise` names what has no word.
#[must_use]
pub(super) fn file_names(words: &[&[u8]], otherwise: &str) -> Vec<OsString> {
    let mut taken: HashSet<OsString> = HashSet::with_capacity(words.len());
    let mut names = Vec::with_capacity(words.len());
    for word in words {
        let mut bytes: Vec<u8> = word
            .iter()
            .take(NAME_MAX)
            .map(|byte| {
                if matches!(byte, b'/' | 0) {
                    b'_'
                } else {
                    *byte
                }
            })
            .collect();
        if matches!(&*bytes, b"" | b"." | b"..") {
            bytes = otherwise.as_bytes().to_vec();
        }
        let name = free_name(&OsString::from_vec(bytes), &|name| taken.contains(name));
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

/// Whether the kernel takes these bytes for a name. A directory that holds another one is told without it.
#[must_use]
pub(super) fn is_file_name(name: &[u8]) -> bool {
    /// `FUSE_NAME_MAX` of Linux.
    const LONGEST: usize = 1024;
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= LONGEST
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tree: &Tree, folder: u32) -> Vec<(String, Place)> {
        let names = tree.names(folder).unwrap().iter();
        let names = names.map(|(name, place)| (name.to_string_lossy().into_owned(), *place));
        names.collect()
    }

    fn view(image: u32) -> Place {
        Place::View(ViewId::now(image))
    }

    #[test]
    fn images_keep_the_folders_they_are_in() {
        let paths = ["b.qcow2", "sub/deep/a.qcow2", "sub/c.raw", "/", "b.qcow2"];
        let tree = Tree::of_images(paths.map(Path::new));
        assert_eq!(
            told(&tree, 0),
            [
                ("b.qcow2".to_owned(), view(0)),
                ("b.qcow2~2".to_owned(), view(4)),
                ("sub".to_owned(), Place::Folder(1)),
            ]
        );
        assert_eq!(
            told(&tree, 1),
            [
                ("c.raw".to_owned(), view(2)),
                ("deep".to_owned(), Place::Folder(2)),
            ]
        );
        assert_eq!(told(&tree, 2), [("a.qcow2".to_owned(), view(1))]);
        assert!(tree.names(3).is_none());
    }

    #[test]
    fn a_path_that_leads_upward_stays_below_the_mount() {
        let tree = Tree::of_images([Path::new("../../a.qcow2")]);
        assert_eq!(told(&tree, 0), [("a.qcow2".to_owned(), view(0))]);
    }

    #[test]
    fn words_become_names_that_no_two_share() {
        let words: [&[u8]; 6] = [b"a/b", b"a_b", b"", b"..", b"a\0b", &[b'x'; 300]];
        let names: Vec<String> = file_names(&words, "snapshot")
            .iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            names[..5],
            ["a_b", "a_b~2", "snapshot", "snapshot~2", "a_b~3"]
        );
        assert_eq!(names[5].len(), 255);
        let long: [&[u8]; 2] = [&[b'x'; 300], &[b'x'; 260]];
        assert_eq!(file_names(&long, "")[1].len(), 255);
    }

    #[test]
    fn what_the_kernel_refuses_is_no_name() {
        for name in [&b"a"[..], b"...", b"\xff\n\x1b[31m", &[b'n'; 1024]] {
            assert!(is_file_name(name), "{name:?}");
        }
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'n'; 1025]] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
