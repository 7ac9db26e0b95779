//! Which changes there are between two states of a mounted filesystem, from what the kernel shows of them, in the terms
//! of `qanopy_guest::diff`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use qanopy_guest::diff::{Change, ChangeKind};
use qanopy_guest::filesystem::NodeKind;

use super::tree::{self, Tree};

/// Tells files apart that had one inode number after another.
type Identity = (u64, Option<SystemTime>);

/// A state as the kernel shows it.
#[derive(Debug)]
pub struct State {
    pub tree: Tree,
    /// By path; the root is the empty path.
    identities: BTreeMap<Vec<u8>, Identity>,
    /// Hard links and time of the last change of metadata.
    changed: BTreeMap<Vec<u8>, (u64, i64, i64)>,
}

/// How a path changed, and where it was before.
pub type Told = BTreeSet<One>;

/// A change: its kind, the path, and where that was.
type One = (String, Vec<u8>, Option<Vec<u8>>);

impl State {
    /// What is mounted at `root`. Filesystems that record no time of birth must not reuse inode numbers.
    pub fn of(root: &Path) -> Self {
        Self::with(root, &|_, meta| meta.created().ok())
    }

    /// What is mounted at `root`, where the time of birth is told in another way.
    pub fn with(root: &Path, born: &dyn Fn(&Path, &fs::Metadata) -> Option<SystemTime>) -> Self {
        let tree = tree::of_folder(root);
        let mut state = Self {
            tree,
            identities: BTreeMap::new(),
            changed: BTreeMap::new(),
        };
        let paths: Vec<Vec<u8>> = std::iter::once(Vec::new())
            .chain(state.tree.keys().cloned())
            .collect();
        for path in paths {
            let place = root.join(std::ffi::OsStr::from_bytes(&path));
            let meta = fs::symlink_metadata(&place).unwrap();
            state
                .identities
                .insert(path.clone(), (meta.ino(), born(&place, &meta)));
            state
                .changed
                .insert(path, (meta.nlink(), meta.ctime(), meta.ctime_nsec()));
        }
        state
    }

    /// What a name in a folder leads to, by the identity of the folder.
    fn entries(&self) -> BTreeMap<(Identity, Vec<u8>), (Identity, Vec<u8>)> {
        let named = |path: &Vec<u8>| {
            let cut = path.iter().rposition(|byte| *byte == b'/');
            let (folder, name) = cut.map_or((&path[..0], &path[..]), |cut| {
                (&path[..cut], &path[cut + 1..])
            });
            (
                (self.identities[folder], name.to_vec()),
                (self.identities[path], path.clone()),
            )
        };
        self.tree.keys().map(named).collect()
    }
}

/// The changes from one state to another.
pub fn expected(before: &State, after: &State) -> Told {
    let (was, is) = (before.entries(), after.entries());
    let mut went: BTreeMap<Vec<u8>, Identity> = BTreeMap::new();
    let mut came: BTreeMap<Vec<u8>, Identity> = BTreeMap::new();
    for (entry, (identity, path)) in &was {
        if is.get(entry).is_none_or(|(other, _)| other != identity) {
            went.insert(path.clone(), *identity);
        }
    }
    for (entry, (identity, path)) in &is {
        if was.get(entry).is_none_or(|(other, _)| other != identity) {
            came.insert(path.clone(), *identity);
        }
    }
    let mut told = Told::new();
    let mut tell = |kind: ChangeKind, path: &[u8], from: Option<&Vec<u8>>| {
        told.insert((kind.name().to_owned(), path.to_vec(), from.cloned()));
    };
    let replaced: Vec<Vec<u8>> = came
        .keys()
        .filter(|path| went.contains_key(*path))
        .cloned()
        .collect();
    for path in replaced {
        tell(ChangeKind::Replaced, &path, None);
        went.remove(&path);
        came.remove(&path);
    }
    for (path, identity) in &came.clone() {
        let from = went
            .iter()
            .find(|(_, other)| *other == identity)
            .map(|(from, _)| from.clone());
        match from {
            Some(from) => {
                tell(ChangeKind::Renamed, path, Some(&from));
                went.remove(&from);
            }
            None => tell(ChangeKind::Added, path, None),
        }
    }
    for path in went.keys() {
        tell(ChangeKind::Deleted, path, None);
    }
    for (entry, (identity, path)) in &is {
        let Some((_, old_path)) = was.get(entry).filter(|(other, _)| other == identity) else {
            continue;
        };
        let (was, is) = (&before.tree[old_path], &after.tree[path]);
        let is_folder = is.kind == NodeKind::Directory;
        if (was.size, &was.content) != (is.size, &is.content) {
            tell(ChangeKind::Modified, path, None);
        } else if (was.mode, was.owner) != (is.mode, is.owner)
            || (!is_folder
                && (was.modified != is.modified || before.changed[old_path] != after.changed[path]))
        {
            tell(ChangeKind::Metadata, path, None);
        }
    }
    told
}

/// What a comparison told.
pub fn told(changes: &[Change]) -> Told {
    changes
        .iter()
        .map(|change| {
            (
                change.kind.name().to_owned(),
                change.path.clone(),
                change.from.clone(),
            )
        })
        .collect()
}

/// Fails with what is told too much or too little.
pub fn assert_same(ours: &Told, kernel: &Told) {
    let show = |told: BTreeSet<&One>| {
        let line = |(kind, path, from): &One| {
            let from = from
                .as_ref()
                .map(|from| format!(" from {}", from.escape_ascii()))
                .unwrap_or_default();
            format!("{kind} {}{from}", path.escape_ascii())
        };
        told.into_iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let (missed, invented) = (
        kernel.difference(ours).collect(),
        ours.difference(kernel).collect(),
    );
    assert!(
        ours == kernel,
        "missed:\n{}\ninvented:\n{}",
        show(missed),
        show(invented)
    );
}
