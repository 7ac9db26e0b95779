//! What differs between two states.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use qanopy_guest::diff::{self, NoWatch, Options};
use qanopy_guest::filesystem::{Candidates, NodeId};
use qanopy_guest::readers::OpenFilesystem;
use qanopy_guest::{Filesystem, Ranges};

use super::{Images, MIB, UNIX, btrfs, is_possible, opened};
use crate::support::changes::{self, State};
use crate::support::files;
use crate::support::mount::Mount;

/// Two states of one filesystem, and where their volumes differ.
pub(super) struct States {
    before: OpenFilesystem,
    after: OpenFilesystem,
    changed: Ranges,
}

impl States {
    /// The clusters of 64 KiB that differ between two images, as an overlay would hold them.
    pub(super) fn of(images: &Images, names: [&str; 2]) -> Self {
        let [before, after] = names.map(|name| fs::read(images.path(name)).unwrap());
        let len = 64 << 10;
        let clusters = before.chunks(len).zip(after.chunks(len)).enumerate();
        let differing = clusters.filter(|(_, (was, is))| was != is);
        let range = |index: usize| (index * len) as u64..((index + 1) * len) as u64;
        Self {
            changed: differing.map(|(index, _)| range(index)).collect(),
            before: opened(before),
            after: opened(after),
        }
    }

    pub(super) fn diff(&self) -> diff::Diff {
        let (before, after) = (&*self.before, &*self.after);
        diff::filesystems(
            before,
            after,
            &self.changed,
            Options::default(),
            &mut NoWatch,
        )
        .unwrap()
    }

    fn candidates(&self) -> HashSet<NodeId> {
        let found = self.before.candidates_between(&*self.after, &self.changed);
        found.unwrap().unwrap().into_iter().collect()
    }
}

/// Generation and digest of every node that can be reached.
fn digests(filesystem: &dyn Filesystem) -> BTreeMap<NodeId, (u64, u64)> {
    let mut found = BTreeMap::new();
    let mut next = vec![filesystem.root()];
    while let Some(id) = next.pop() {
        let node = filesystem.node(id).unwrap();
        if found.insert(id, (node.generation, node.digest)).is_none() && node.is_directory() {
            let mut each = |entry: qanopy_guest::filesystem::Entry<'_>| {
                next.push(entry.id);
                ControlFlow::Continue(())
            };
            filesystem.entries(id, &mut each).unwrap();
        }
    }
    found
}

/// The states of a populated filesystem before and after every kind of change, and what the kernel says of both.
fn changed_images(options: &[&str], mount: &str) -> (Images, [State; 2]) {
    let images = Images::new(256 * MIB, options);
    images.mounted("before", mount, |root| {
        files::populate(root, UNIX);
        btrfs(&["subvolume", "create"], &root.join("volume"));
        fs::create_dir(root.join("volume/folder")).unwrap();
        fs::write(root.join("volume/folder/file"), files::bytes(8, 50_000)).unwrap();
    });
    let state = |name: &str| {
        let mount = Mount::new(&images.path(name), "ro");
        State::of(&mount.path())
    };
    let before = state("before");
    images.copy("before", "after");
    images.mounted("after", mount, |root| {
        files::change(root, UNIX);
        fs::write(root.join("volume/folder/file"), b"shorter").unwrap();
    });
    let after = state("after");
    (images, [before, after])
}

#[test]
fn what_differs_is_what_the_kernel_shows_to_differ() {
    if !is_possible() {
        return;
    }
    for (options, mount) in [
        (&["-n", "4k"][..], "noatime"),
        (&[], "noatime,compress-force=zstd"),
        (&["-M"], "strictatime"),
    ] {
        let (images, [before, after]) = changed_images(options, mount);
        let states = States::of(&images, ["before", "after"]);
        let found = states.diff();
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        let expected = changes::expected(&before, &after);
        changes::assert_same(&changes::told(&found.changes), &expected);
        assert!(expected.len() > 30);
    }
}

#[test]
fn every_node_that_differs_is_a_candidate_and_few_others_are() {
    if !is_possible() {
        return;
    }
    let (images, _) = changed_images(&["-n", "4k"], "strictatime");
    let states = States::of(&images, ["before", "after"]);
    let (was, is) = (digests(&*states.before), digests(&*states.after));
    let all: HashSet<NodeId> = was.keys().chain(is.keys()).copied().collect();
    let differ: HashSet<NodeId> = all
        .iter()
        .copied()
        .filter(|id| was.get(id) != is.get(id))
        .collect();
    let candidates = states.candidates();
    let missed: Vec<_> = differ.difference(&candidates).collect();
    assert!(
        missed.is_empty() && differ.len() > 40,
        "{missed:?} of {}",
        differ.len()
    );
    assert!(
        candidates.len() < differ.len() * 2,
        "{} for {}",
        candidates.len(),
        differ.len()
    );
    // All were read, so all have another time of access: they are stored anew, and do not differ.
    let Candidates::Nodes(stored) = states.after.candidates(&states.changed).unwrap() else {
        panic!("all nodes");
    };
    let stored: HashSet<NodeId> = stored.into_iter().collect();
    assert!(
        stored.len() > 1_500
            && differ
                .iter()
                .all(|id| stored.contains(id) || !is.contains_key(id))
    );
    let nothing = Ranges::new();
    assert_eq!(
        states.after.candidates(&nothing).unwrap(),
        Candidates::Nodes(Vec::new())
    );
}

#[test]
fn siblings_that_wrote_to_the_same_places_are_told_apart() {
    if !is_possible() {
        return;
    }
    let images = Images::new(256 * MIB, &[]);
    images.mounted("before", "noatime", |root| files::populate(root, UNIX));
    images.copy("before", "after");
    // Both states are the next transaction, and store all blocks in the same places.
    for (name, text) in [("before", "one sibling"), ("after", "the other one")] {
        images.mounted(name, "noatime", |root| {
            fs::write(root.join("etc/file-0001.conf"), text).unwrap();
        });
    }
    let states = States::of(&images, ["before", "after"]);
    // Nothing above the leaf that holds the file differs by a byte.
    assert!(!states.changed.intersects(&(64 << 10..68 << 10)));
    let found = states.diff();
    let paths: Vec<_> = found
        .changes
        .iter()
        .map(|change| &change.path[..])
        .collect();
    assert_eq!(paths, [b"etc/file-0001.conf"]);
}

#[test]
fn subvolumes_that_move_and_go_are_told_with_all_that_is_in_them() {
    if !is_possible() {
        return;
    }
    let images = Images::new(256 * MIB, &["-n", "4k"]);
    images.mounted("before", "noatime", |root| {
        for name in ["volume", "old"] {
            btrfs(&["subvolume", "create"], &root.join(name));
            fs::create_dir(root.join(name).join("folder")).unwrap();
            fs::write(root.join(name).join("folder/file"), name).unwrap();
        }
        fs::create_dir(root.join("etc")).unwrap();
    });
    images.copy("before", "after");
    images.mounted("after", "noatime", |root| {
        fs::rename(root.join("volume"), root.join("etc/moved")).unwrap();
        fs::write(root.join("etc/moved/folder/file"), b"shorter").unwrap();
        btrfs(&["subvolume", "delete", "-c"], &root.join("old"));
        let moved = root.join("etc/moved");
        let words = ["subvolume", "snapshot", "-r", moved.to_str().unwrap()];
        btrfs(&words, &root.join("copy"));
    });
    let found = States::of(&images, ["before", "after"]).diff();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    let told = changes::told(&found.changes);
    let one = |kind: &str, path: &str, from: Option<&str>| {
        let from = from.map(|from| from.as_bytes().to_vec());
        (kind.to_owned(), path.as_bytes().to_vec(), from)
    };
    let expected = [
        one("added", "copy", None),
        one("modified", "copy/folder/file", None),
        one("deleted", "old", None),
        one("deleted", "old/folder", None),
        one("deleted", "old/folder/file", None),
        one("modified", "etc/moved/folder/file", None),
        one("renamed", "etc/moved", Some("volume")),
    ];
    changes::assert_same(&told, &expected.into_iter().collect());
}

/// Takes a snapshot.
fn snapshot(root: &Path, of: &str, to: &str) {
    let of = root.join(of);
    let words = ["subvolume", "snapshot", of.to_str().unwrap()];
    btrfs(&words, &root.join(to));
}

/// What was told, and what a snapshot is one of.
fn with_origins(found: &diff::Diff) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let line = |change: &diff::Change| {
        let of = change.snapshot_of.as_ref();
        let of = of.map_or_else(String::new, |of| format!(" of {}", text(of)));
        format!("{} {}{of}", change.kind.name(), text(&change.path))
    };
    found.changes.iter().map(line).collect()
}

#[test]
fn of_a_snapshot_only_what_differs_is_told() {
    if !is_possible() {
        return;
    }
    let images = Images::new(256 * MIB, &["-n", "4k"]);
    images.mounted("before", "noatime", |root| {
        btrfs(&["subvolume", "create"], &root.join("@"));
        files::populate(&root.join("@"), UNIX);
        btrfs(&["subvolume", "create"], &root.join("@/nested"));
        fs::write(root.join("@/nested/file"), b"in no snapshot").unwrap();
        snapshot(root, "@", "old");
        fs::write(root.join("old/only here"), b"lost with it").unwrap();
        fs::write(root.join("old/text"), b"another").unwrap();
    });
    images.copy("before", "after");
    images.mounted("after", "noatime", |root| {
        snapshot(root, "@", "same");
        snapshot(root, "@", "new");
        fs::write(root.join("new/etc/added"), b"new").unwrap();
        fs::write(root.join("new/etc/file-0005.conf"), b"changed").unwrap();
        fs::remove_file(root.join("new/etc/file-0007.conf")).unwrap();
        fs::rename(root.join("new/text"), root.join("new/renamed")).unwrap();
        // What it is a snapshot of changes after that.
        fs::write(root.join("@/etc/file-0009.conf"), b"later").unwrap();
        snapshot(root, "new", "of-new");
        fs::remove_file(root.join("of-new/etc/added")).unwrap();
        btrfs(&["subvolume", "delete", "-c"], &root.join("old"));
    });
    let found = States::of(&images, ["before", "after"]).diff();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!(
        with_origins(&found),
        [
            "modified @/etc/file-0009.conf",
            "added new of @",
            "added new/etc/added",
            "modified new/etc/file-0005.conf",
            "deleted new/etc/file-0007.conf",
            "renamed new/renamed",
            "added of-new of new",
            "modified of-new/etc/file-0005.conf",
            "deleted of-new/etc/file-0007.conf",
            "renamed of-new/renamed",
            "deleted old of @",
            "deleted old/only here",
            "deleted old/text",
            "added same of @",
        ]
    );
    // Seen from the end, what came goes, and what went comes: "old" is a snapshot of what is there.
    let found = States::of(&images, ["after", "before"]).diff();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    let told = with_origins(&found);
    for line in [
        "added old of @",
        "added old/only here",
        "modified old/text",
        "deleted same of @",
        "deleted new of @",
        "deleted new/etc/added",
        "deleted new/etc/file-0005.conf",
        "deleted of-new of new",
    ] {
        assert!(told.contains(&line.to_owned()), "{line}: {told:#?}");
    }
    assert!(told.len() < 20, "{told:#?}");
}

#[test]
fn a_snapshot_of_what_is_new_or_gone_is_told_whole_once() {
    if !is_possible() {
        return;
    }
    let images = Images::new(256 * MIB, &["-n", "4k"]);
    images.mounted("before", "noatime", |root| {
        btrfs(&["subvolume", "create"], &root.join("first"));
        fs::write(root.join("first/file"), b"first").unwrap();
        snapshot(root, "first", "second");
        btrfs(&["subvolume", "delete", "-c"], &root.join("first"));
    });
    images.copy("before", "after");
    images.mounted("after", "noatime", |root| {
        btrfs(&["subvolume", "create"], &root.join("made"));
        fs::write(root.join("made/file"), b"made").unwrap();
        snapshot(root, "made", "copy");
        fs::write(root.join("copy/more"), b"more").unwrap();
        btrfs(&["subvolume", "delete", "-c"], &root.join("second"));
    });
    let found = States::of(&images, ["before", "after"]).diff();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!(
        with_origins(&found),
        [
            "added copy of made",
            "added copy/more",
            "added made",
            "added made/file",
            "deleted second",
            "deleted second/file",
        ]
    );
}
