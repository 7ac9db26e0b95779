//! The files that differ as a tree of folders, each with how many differ in it and by how many bytes, and the rows
//! that are seen of it. What changed most comes first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use crate::guest::diff::{Change, ChangeKind, VolumeDiff};
use crate::guest::filesystem::NodeKind;

/// With more changes than this the folders of a volume are folded at first.
const FEW: u64 = 40;
/// Folders in each other that have rows: what lies deeper stands in the last of them.
const MOST_DEPTH: usize = 64;
/// Entries of one folder that have rows at the most: the others are counted.
const MOST_ENTRIES: usize = 2000;

/// A folder of a volume: the volume's place in the list, and the path.
pub(super) type FolderKey = (usize, Vec<u8>);

impl RowKind {
    /// Whether what is in a folder follows; none of what is no folder.
    #[must_use]
    pub fn is_open(self) -> Option<bool> {
        match self {
            Self::Folder(_, is_open) => Some(is_open),
            Self::File(_) | Self::More(_) => None,
        }
    }
}

/// What differs in one folder.
#[derive(Debug, Default)]
pub struct Folder {
    /// The volume.
    pub volume: usize,
    /// A change in it, whose path begins with the folder's.
    sample: usize,
    /// Where in that path the folder's name is; where a folder holds nothing but one more, with that one's behind it.
    name: Range<usize>,
    /// The change of the folder itself, if it has one.
    pub own: Option<usize>,
    /// How many changes there are in it, its own with them.
    pub count: u64,
    /// How much changed in it.
    pub bytes: u64,
    entries: Vec<Entry>,
}

/// What a folder holds: a place among the folders, or among the changes of its volume.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Folder(usize),
    File(usize),
}

/// What differs on one volume.
#[derive(Debug, Default)]
pub struct VolumeTree {
    /// How many changes there are of each kind.
    pub kinds: BTreeMap<ChangeKind, u64>,
    /// Whether its folders are folded at first: there are many changes.
    pub starts_folded: bool,
    /// How many of all are logs, caches and temporary files, whether they are in the tree or not.
    pub noise: usize,
    /// Its root's place among the folders.
    root: usize,
}

/// All that differs, volume by volume.
#[derive(Debug, Default)]
pub struct ChangeTree {
    /// In the order of the volumes compared.
    pub volumes: Vec<VolumeTree>,
    folders: Vec<Folder>,
}

/// A row of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeRow {
    /// The volume.
    pub volume: usize,
    /// How many folders it is in.
    pub depth: usize,
    /// What it shows.
    pub kind: RowKind,
}

/// What a row shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// A folder, by its place, and whether what is in it follows.
    Folder(usize, bool),
    /// A change, by its place among those of its volume.
    File(usize),
    /// So many more entries of a folder.
    More(usize),
}

impl Folder {
    /// Its path, from the volume's root.
    #[must_use]
    pub fn path<'a>(&self, changes: &'a [Change]) -> &'a [u8] {
        let sample = changes.get(self.sample);
        let path = sample.and_then(|sample| sample.path.get(..self.name.end));
        path.unwrap_or_default()
    }

    /// Its name; where a folder holds nothing but one more, with that one's behind it.
    #[must_use]
    pub fn name<'a>(&self, changes: &'a [Change]) -> &'a [u8] {
        let path = self.path(changes).get(self.name.start..);
        path.unwrap_or_default()
    }

    /// What tells it from others, as long as the two states are the same.
    #[must_use]
    pub fn key(&self, changes: &[Change]) -> FolderKey {
        (self.volume, self.path(changes).to_vec())
    }
}

impl ChangeTree {
    /// The tree of what differs, with logs, caches and temporary files or without them.
    #[must_use]
    pub fn new(volumes: &[VolumeDiff], with_noise: bool) -> Self {
        let mut tree = Self::default();
        for (volume, diff) in volumes.iter().enumerate() {
            let root = tree.folders.len();
            let mut found = VolumeTree {
                root,
                ..VolumeTree::default()
            };
            tree.add_folder(volume, 0, 0..0);
            let mut known = HashMap::from([(&b""[..], root)]);
            for (at, change) in diff.changes.iter().enumerate() {
                let is_noise = change.is_noise();
                found.noise += usize::from(is_noise);
                if !is_noise || with_noise {
                    *found.kinds.entry(change.kind).or_default() += 1;
                    tree.add(volume, at, change, &mut known);
                }
            }
            tree.finish(root, &diff.changes);
            let root = tree.folders.get(root);
            found.starts_folded = root.is_some_and(|root| root.count > FEW);
            tree.volumes.push(found);
        }
        tree
    }

    /// A folder by its place.
    #[must_use]
    pub fn folder(&self, at: usize) -> Option<&Folder> {
        self.folders.get(at)
    }

    fn add_folder(&mut self, volume: usize, sample: usize, name: Range<usize>) -> usize {
        self.folders.push(Folder {
            volume,
            sample,
            name,
            ..Folder::default()
        });
        self.folders.len() - 1
    }

    fn add<'a>(
        &mut self,
        volume: usize,
        at: usize,
        change: &'a Change,
        known: &mut HashMap<&'a [u8], usize>,
    ) {
        let is_folder = change.node_kind() == Some(NodeKind::Directory);
        let path = change.path.as_slice();
        let folder = if is_folder { path } else { split(path).0 };
        let shallow = shallow(folder);
        let is_folder = is_folder && shallow.len() == folder.len();
        let place = self.place(volume, at, shallow, known);
        let Some(folder) = self.folders.get_mut(place) else {
            return;
        };
        if is_folder && folder.own.is_none() {
            folder.own = Some(at);
        } else {
            folder.entries.push(Entry::File(at));
        }
        folder.count += 1;
        folder.bytes = folder.bytes.saturating_add(change.bytes);
    }

    /// The place of the folder of that path, which is made with all above it where it is new.
    fn place<'a>(
        &mut self,
        volume: usize,
        sample: usize,
        path: &'a [u8],
        known: &mut HashMap<&'a [u8], usize>,
    ) -> usize {
        let mut new = Vec::new();
        let mut at = path;
        let mut place = loop {
            match known.get(at) {
                Some(place) => break *place,
                None => new.push(at),
            }
            at = split(at).0;
        };
        for path in new.into_iter().rev() {
            let below =
                self.add_folder(volume, sample, path.len() - split(path).1.len()..path.len());
            if let Some(above) = self.folders.get_mut(place) {
                above.entries.push(Entry::Folder(below));
            }
            known.insert(path, below);
            place = below;
        }
        place
    }

    /// Sums up, takes folders that hold nothing but one more together with it, and puts entries in order. What is below
    /// comes after what is above.
    fn finish(&mut self, root: usize, changes: &[Change]) {
        for at in (root..self.folders.len()).rev() {
            let Some(folder) = self.folders.get_mut(at) else {
                continue;
            };
            let mut entries = std::mem::take(&mut folder.entries);
            let (mut count, mut bytes) = (0, 0_u64);
            for below in entries.iter().filter_map(|entry| self.below(*entry)) {
                count += below.count;
                bytes = bytes.saturating_add(below.bytes);
            }
            entries.sort_by_cached_key(|entry| match *entry {
                Entry::Folder(at) => {
                    let folder = self.folders.get(at);
                    folder.map(|folder| (Reverse(folder.bytes), folder.path(changes).to_vec()))
                }
                Entry::File(at) => {
                    let change = changes.get(at);
                    change.map(|change| (Reverse(change.bytes), change.path.clone()))
                }
            });
            let only = match entries[..] {
                [Entry::Folder(below)] if at != root => Some(below),
                _ => None,
            };
            let Some(folder) = self.folders.get_mut(at) else {
                continue;
            };
            folder.count += count;
            folder.bytes = folder.bytes.saturating_add(bytes);
            folder.entries = entries;
            if let Some(below) = only.filter(|_| folder.own.is_none()) {
                self.take_in(at, below);
            }
        }
    }

    fn below(&self, entry: Entry) -> Option<&Folder> {
        match entry {
            Entry::Folder(at) => self.folders.get(at),
            Entry::File(_) => None,
        }
    }

    /// A folder becomes the only one that it holds.
    fn take_in(&mut self, at: usize, below: usize) {
        let below = self.folders.get_mut(below).map(std::mem::take);
        if let (Some(folder), Some(below)) = (self.folders.get_mut(at), below) {
            folder.sample = below.sample;
            folder.name.end = below.name.end;
            folder.own = below.own;
            folder.entries = below.entries;
        }
    }

    /// The rows of a volume with these changes, without what is in folders that are folded: those that were turned, or
    /// where much differs all others. None of them is folded where nothing is told of that.
    #[must_use]
    pub fn rows(
        &self,
        volume: usize,
        changes: &[Change],
        turned: Option<&HashSet<FolderKey>>,
    ) -> Vec<ChangeRow> {
        let mut rows = Vec::new();
        let root = self.volumes.get(volume);
        let starts_folded = root.is_some_and(|root| root.starts_folded);
        let is_open = |folder: &Folder| {
            turned.is_none_or(|turned| turned.contains(&folder.key(changes)) == starts_folded)
        };
        let mut open: Vec<_> = root
            .and_then(|root| self.folders.get(root.root))
            .map(|root| root.entries.iter().enumerate())
            .into_iter()
            .collect();
        while let Some(entries) = open.last_mut() {
            let left = entries.len();
            let Some((at, entry)) = entries.next() else {
                open.pop();
                continue;
            };
            let depth = open.len() - 1;
            let row = |kind| ChangeRow {
                volume,
                depth,
                kind,
            };
            if at >= MOST_ENTRIES {
                rows.push(row(RowKind::More(left)));
                open.pop();
                continue;
            }
            match *entry {
                Entry::File(change) => rows.push(row(RowKind::File(change))),
                Entry::Folder(place) => {
                    let Some(folder) = self.folders.get(place) else {
                        continue;
                    };
                    let is_open = is_open(folder);
                    rows.push(row(RowKind::Folder(place, is_open)));
                    if is_open {
                        open.push(folder.entries.iter().enumerate());
                    }
                }
            }
        }
        rows
    }
}

/// As much of a folder's path as has rows.
fn shallow(path: &[u8]) -> &[u8] {
    let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    match slashes.nth(MOST_DEPTH - 1) {
        Some((end, _)) => path.get(..end).unwrap_or(path),
        None => path,
    }
}

/// The path of the folder that something is in, and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (
            path.get(..at).unwrap_or_default(),
            path.get(at + 1..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::diff::VolumeState;
    use crate::guest::disk::VolumeName;
    use crate::guest::filesystem::{Node, NodeId};

    fn change(path: &str, bytes: u64, kind: NodeKind) -> Change {
        let node = Node {
            id: NodeId::new(1),
            kind,
            size: bytes,
            allocated: bytes,
            mode: 0,
            uid: 0,
            gid: 0,
            links: 1,
            modified: None,
            changed: None,
            generation: 0,
            digest: 0,
        };
        Change {
            kind: ChangeKind::Added,
            path: path.as_bytes().to_vec(),
            from: None,
            snapshot_of: None,
            content: true,
            before: None,
            after: Some(node),
            bytes,
        }
    }

    fn volume(changes: Vec<Change>) -> VolumeDiff {
        VolumeDiff {
            name: VolumeName::Disk,
            kind: "ext4".to_owned(),
            state: VolumeState::Compared,
            changed_bytes: 0,
            changes,
        }
    }

    /// Rows as text.
    fn drawn(tree: &ChangeTree, diff: &VolumeDiff, turned: &HashSet<FolderKey>) -> Vec<String> {
        let rows = tree.rows(0, &diff.changes, Some(turned));
        let text = rows.iter().map(|row| {
            let indent = " ".repeat(row.depth);
            match row.kind {
                RowKind::Folder(at, is_open) => {
                    let folder = tree.folder(at).unwrap();
                    let sign = if is_open { '-' } else { '+' };
                    let name = String::from_utf8_lossy(folder.name(&diff.changes));
                    format!("{indent}{sign}{name}/ {} {}", folder.count, folder.bytes)
                }
                RowKind::File(at) => {
                    let path = &diff.changes[at].path;
                    format!("{indent}{}", String::from_utf8_lossy(split(path).1))
                }
                RowKind::More(count) => format!("{indent}{count} more"),
            }
        });
        text.collect()
    }

    #[test]
    fn folders_are_summed_up_and_what_changed_most_comes_first() {
        let diff = volume(vec![
            change("etc/fstab", 10, NodeKind::File),
            change("etc/ssl/key", 500, NodeKind::File),
            change("usr/share/doc/a", 5, NodeKind::File),
            change("usr/share/doc/b", 6, NodeKind::File),
            change("new", 0, NodeKind::Directory),
            change("var/log/messages", 9_000, NodeKind::File),
            change("top", 100, NodeKind::File),
        ]);
        let diffs = [diff];
        let quiet = ChangeTree::new(&diffs, false);
        let none = HashSet::new();
        let rows = [
            "-etc/ 2 510",
            " -ssl/ 1 500",
            "  key",
            " fstab",
            "top",
            "-usr/share/doc/ 2 11",
            " b",
            " a",
            "-new/ 1 0",
        ];
        assert_eq!(drawn(&quiet, &diffs[0], &none), rows);
        assert_eq!(quiet.volumes[0].noise, 1);
        let folded = HashSet::from([(0, b"etc".to_vec()), (0, b"usr/share/doc".to_vec())]);
        assert_eq!(
            drawn(&quiet, &diffs[0], &folded),
            ["+etc/ 2 510", "top", "+usr/share/doc/ 2 11", "-new/ 1 0"]
        );
        let all = ChangeTree::new(&diffs, true);
        assert_eq!(drawn(&all, &diffs[0], &none)[0], "-var/log/ 1 9000");
    }

    #[test]
    fn where_much_differs_folders_are_folded_and_long_ones_cut() {
        let changes = (0..5_000).map(|n| change(&format!("usr/lib/{n:04}"), 1, NodeKind::File));
        let diffs = [volume(changes.collect())];
        let tree = ChangeTree::new(&diffs, true);
        let mut turned = HashSet::new();
        assert_eq!(drawn(&tree, &diffs[0], &turned), ["+usr/lib/ 5000 5000"]);
        turned.insert((0, b"usr/lib".to_vec()));
        let rows = drawn(&tree, &diffs[0], &turned);
        assert_eq!(rows.len(), 2_002);
        assert_eq!(rows.last().map(String::as_str), Some(" 3000 more"));
        assert_eq!(tree.rows(0, &diffs[0].changes, None).len(), 2_002);
    }

    #[test]
    fn what_lies_very_deep_stands_in_the_last_folder_that_has_a_row() {
        let deep = vec!["d"; 20_000].join("/");
        let diffs = [volume(vec![
            change(&deep, 1, NodeKind::File),
            change(&deep, 1, NodeKind::Directory),
            change("d/x", 1, NodeKind::File),
        ])];
        let tree = ChangeTree::new(&diffs, true);
        let rows = tree.rows(0, &diffs[0].changes, None);
        let depths: Vec<usize> = rows.iter().map(|row| row.depth).collect();
        assert_eq!(depths, [0, 1, 2, 2, 1]);
    }
}
