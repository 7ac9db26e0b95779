//! Btrfs against the kernel, and against `btrfs restore`.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy_guest::diff::{self, NoWatch, Options};
use qanopy_guest::filesystem::{Candidates, NodeId};
use qanopy_guest::readers::{self, OpenFilesystem};
use qanopy_guest::{Filesystem, Ranges, Source};

use crate::support::changes::{self, State};
use crate::support::files::{self, Abilities};
use crate::support::mount::Mount;
use crate::support::tools::{has, is_root, run};
use crate::support::tree::{self, Tree};

const UNIX: Abilities = Abilities { unix: true };
const MIB: u64 = 1 << 20;

fn is_possible() -> bool {
    has(&["mkfs.btrfs", "btrfs", "mount"]) && is_root()
}

/// Images of one filesystem.
#[derive(Debug)]
struct Images {
    folder: tempfile::TempDir,
}

impl Images {
    /// An image `before` with an empty filesystem.
    fn new(size: u64, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let images = Self { folder };
        let image = images.path("before");
        File::create(&image).unwrap().set_len(size).unwrap();
        let mut words = vec!["mkfs.btrfs", "-q", "-L", "a label"];
        words.extend(options);
        words.push(image.to_str().unwrap());
        run(&words);
        images
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Does something with an image that is mounted, and says what it holds then.
    fn mounted(&self, name: &str, options: &str, change: impl FnOnce(&Path)) -> Tree {
        let mount = Mount::new(&self.path(name), options);
        change(&mount.path());
        tree::of_folder(&mount.path())
    }

    fn copy(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
    }

    fn open(&self, name: &str) -> OpenFilesystem {
        opened(fs::read(self.path(name)).unwrap())
    }
}

fn opened(image: Vec<u8>) -> OpenFilesystem {
    let source: Source = Arc::new(image);
    readers::open(&source)
        .unwrap()
        .expect("no filesystem found")
}

fn btrfs(words: &[&str], path: &Path) {
    let path = path.to_str().unwrap();
    run(&[&["btrfs"], words, &[path]].concat());
}

/// Fails where a filesystem made and mounted with these options is read in another way than the kernel shows it.
fn assert_as_kernel(size: u64, options: &[&str], mount: &str) {
    let images = Images::new(size, options);
    let kernel = images.mounted("before", mount, |root| files::populate(root, UNIX));
    let ours = images.open("before");
    tree::assert_same(&tree::of_filesystem(&*ours), &kernel);
    let summary = ours.summary();
    assert_eq!(
        (summary.kind, &summary.label[..]),
        ("Btrfs", &b"a label"[..])
    );
    assert_eq!(summary.total, size);
}

#[test]
fn blocks_of_every_size_are_read_as_the_kernel_shows_them() {
    if !is_possible() {
        return;
    }
    for nodesize in ["4k", "16k", "64k"] {
        assert_as_kernel(256 * MIB, &["-n", nodesize, "-m", "single"], "noatime");
    }
    assert_as_kernel(256 * MIB, &["-M"], "noatime");
    assert_as_kernel(
        256 * MIB,
        &["-O", "^no-holes,^extref", "-m", "dup"],
        "noatime",
    );
}

#[test]
fn data_of_every_compression_is_read_as_the_kernel_shows_it() {
    if !is_possible() {
        return;
    }
    for compression in ["zlib", "lzo", "zstd:3", "zstd:15"] {
        assert_as_kernel(
            256 * MIB,
            &[],
            &format!("noatime,compress-force={compression}"),
        );
    }
}

#[test]
fn blocks_with_every_checksum_are_read() {
    if !is_possible() {
        return;
    }
    for checksum in ["xxhash", "sha256", "blake2"] {
        assert_as_kernel(256 * MIB, &["--csum", checksum], "noatime");
    }
}

#[test]
fn subvolumes_are_folders_and_entries_of_them_in_snapshots_are_empty_ones() {
    if !is_possible() {
        return;
    }
    let images = Images::new(256 * MIB, &[]);
    images.mounted("before", "noatime", |root| {
        btrfs(&["subvolume", "create"], &root.join("@"));
        files::populate(&root.join("@"), UNIX);
        btrfs(&["subvolume", "create"], &root.join("@/nested"));
        fs::write(root.join("@/nested/file"), b"in a subvolume in another").unwrap();
        let (at, copy) = (root.join("@"), root.join("copy"));
        btrfs(&["subvolume", "snapshot", at.to_str().unwrap()], &copy);
        fs::write(root.join("copy/etc/file-0003.conf"), b"changed here").unwrap();
        fs::remove_file(root.join("@/large")).unwrap();
        btrfs(&["subvolume", "create"], &root.join("gone"));
        btrfs(&["subvolume", "delete", "-c"], &root.join("gone"));
        btrfs(&["subvolume", "set-default"], &root.join("@"));
    });
    let default = images.mounted("before", "noatime", |_| {});
    assert!(default.contains_key(&b"etc/file-0003.conf"[..]));
    let kernel = images.mounted("before", "noatime,subvolid=5", |_| {});
    assert!(kernel.contains_key(&b"@/nested/file"[..]));
    assert!(!kernel.contains_key(&b"copy/nested/file"[..]));
    let ours = images.open("before");
    let mut seen = tree::of_filesystem(&*ours);
    // Such a folder has the time of looking, and nothing else of its own.
    let empty = seen.get_mut(&b"copy/nested"[..]).unwrap();
    assert_eq!((empty.modified, empty.mode), (0, 0o755));
    empty.modified = kernel[&b"copy/nested"[..]].modified;
    tree::assert_same(&seen, &kernel);
    let default = ours.default_root().unwrap();
    assert_eq!(ours.lookup(ours.root(), b"@").unwrap(), Some(default));
    assert_eq!(ours.lookup(ours.root(), b"gone").unwrap(), None);
}

/// Two states of one filesystem, and where their volumes differ.
struct States {
    before: OpenFilesystem,
    after: OpenFilesystem,
    changed: Ranges,
}

impl States {
    /// The clusters of 64 KiB that differ between the images `before` and `after`, as an overlay would hold them.
    fn of(images: &Images) -> Self {
        let [before, after] = ["before", "after"].map(|name| fs::read(images.path(name)).unwrap());
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

    fn diff(&self) -> diff::Diff {
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
        let states = States::of(&images);
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
    let states = States::of(&images);
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
    let states = States::of(&images);
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
fn links_lead_to_every_path_there_is() {
    if !is_possible() {
        return;
    }
    let images = Images::new(256 * MIB, &[]);
    // More links than one item of back references holds.
    let names: Vec<String> = (0..600)
        .map(|at| format!("{at:03}{}", "x".repeat(200)))
        .collect();
    images.mounted("before", "noatime", |root| {
        btrfs(&["subvolume", "create"], &root.join("volume"));
        let folder = root.join("volume/folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), b"much linked").unwrap();
        for name in &names {
            fs::hard_link(folder.join("file"), folder.join(name)).unwrap();
        }
    });
    let ours = images.open("before");
    let find = |folder, name: &str| ours.lookup(folder, name.as_bytes()).unwrap().unwrap();
    let volume = find(ours.root(), "volume");
    let folder = find(volume, "folder");
    let file = find(folder, "file");
    assert_eq!(find(folder, &names[599]), file);
    let links = ours.links(&HashSet::from([file])).unwrap();
    let named: HashSet<&[u8]> = links[&file].iter().map(|link| &link.name[..]).collect();
    assert_eq!(named.len(), 601);
    assert!(links[&file].iter().all(|link| link.parent == folder));
    let way: Vec<_> = [folder, volume]
        .iter()
        .map(|id| (links[id][0].parent, &links[id][0].name[..]))
        .collect();
    assert_eq!(
        way,
        [(volume, &b"folder"[..]), (ours.root(), &b"volume"[..])]
    );
    assert!(!links.contains_key(&ours.root()));
}

#[test]
fn subvolumes_that_move_come_and_go_are_told_with_all_that_is_in_them() {
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
    let found = States::of(&images).diff();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    let told = changes::told(&found.changes);
    let one = |kind: &str, path: &str, from: Option<&str>| {
        let from = from.map(|from| from.as_bytes().to_vec());
        (kind.to_owned(), path.as_bytes().to_vec(), from)
    };
    let expected = [
        one("added", "copy", None),
        one("added", "copy/folder", None),
        one("added", "copy/folder/file", None),
        one("deleted", "old", None),
        one("deleted", "old/folder", None),
        one("deleted", "old/folder/file", None),
        one("modified", "etc/moved/folder/file", None),
        one("renamed", "etc/moved", Some("volume")),
    ];
    changes::assert_same(&told, &expected.into_iter().collect());
}
