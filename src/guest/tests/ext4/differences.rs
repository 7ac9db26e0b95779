//! What differs between two states, and which nodes are told to.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use qanopy_guest::diff::{self, NoWatch, Options};
use qanopy_guest::filesystem::{Candidates, Condition, Node, NodeId};
use qanopy_guest::{Filesystem, Ranges, Source};

use super::fixtures::{CAN, FEATURES, Image, LAYOUTS, OLD, Variant};
use crate::support::changes::{self, State};
use crate::support::mount::Mount;
use crate::support::source::{differing, raw};
use crate::support::{files, tools, tree};

const CLUSTER: usize = 64 << 10;

/// All nodes that can be reached.
pub fn all_nodes(filesystem: &dyn Filesystem) -> BTreeMap<NodeId, Node> {
    let root = filesystem.root();
    let mut found = BTreeMap::from([(root, filesystem.node(root).unwrap())]);
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        let mut ids = Vec::new();
        filesystem
            .entries(folder, &mut |entry| {
                ids.push(entry.id);
                ControlFlow::Continue(())
            })
            .unwrap();
        for id in ids {
            let node = filesystem.node(id).unwrap();
            if node.is_directory() {
                folders.push(id);
            }
            found.insert(id, node);
        }
    }
    found
}

pub fn candidates(filesystem: &dyn Filesystem, changed: &Ranges) -> HashSet<NodeId> {
    match filesystem.candidates(changed).unwrap() {
        Candidates::Nodes(found) => found.into_iter().collect(),
        Candidates::All => panic!("it names none"),
    }
}

/// Both states of an image and the clusters in which they differ.
pub fn states(before: &Image, after: &Image) -> ([Source; 2], Ranges) {
    let sources = [raw(&before.path()), raw(&after.path())];
    let changed = differing(&sources[0], &sources[1], CLUSTER);
    (sources, changed)
}

/// Each variant is made, changed by the kernel, and compared with what the kernel shows.
fn assert_as_the_kernel(variants: &[Variant]) {
    if !tools::has(&["mkfs.ext4"]) || !tools::is_root() {
        return;
    }
    for variant in variants {
        println!("{}", variant.name);
        let after = Image::populated(80, variant.options);
        let before = after.copy();
        let mount = Mount::new(&before.path(), "ro");
        let was = State::of(&mount.path());
        drop(mount);
        let mount = Mount::new(&after.path(), "relatime");
        files::change(&mount.path(), CAN);
        let is = State::of(&mount.path());
        drop(mount);

        let (_, changed) = states(&before, &after);
        let (one, _) = before.open();
        let (other, _) = after.open();
        assert_eq!(other.summary().kind, variant.kind);
        assert_eq!(other.summary().condition, Condition::Clean);
        tree::assert_same(&tree::of_filesystem(&*other), &is.tree);

        let (old, new) = (all_nodes(&*one), all_nodes(&*other));
        let mut named = candidates(&*one, &changed);
        named.extend(candidates(&*other, &changed));
        for id in old.keys().chain(new.keys()) {
            let differs = old.get(id) != new.get(id);
            assert!(!differs || named.contains(id), "{id:?} is missed");
        }

        // Without a time of birth, the kernel does not show whether an inode is of another file now.
        if !variant.options.contains("-I 128") {
            let diff =
                diff::filesystems(&*one, &*other, &changed, Options::default(), &mut NoWatch)
                    .unwrap();
            assert!(diff.problems.is_empty(), "{:?}", diff.problems);
            changes::assert_same(&changes::told(&diff.changes), &changes::expected(&was, &is));
        }
    }
}

#[test]
fn changes_of_ext2_and_ext3_are_those_that_the_kernel_shows() {
    assert_as_the_kernel(OLD);
}

#[test]
fn changes_of_every_layout_of_ext4_are_those_that_the_kernel_shows() {
    assert_as_the_kernel(LAYOUTS);
}

#[test]
fn changes_of_every_feature_of_ext4_are_those_that_the_kernel_shows() {
    assert_as_the_kernel(FEATURES);
}

#[test]
fn links_lead_to_where_a_walk_finds_the_nodes() {
    if !tools::has(&["mkfs.ext4"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    files::populate(folder.path(), CAN);
    for options in [
        "-b 4096",
        "-b 1024 -O inline_data",
        "-O ^dir_index,^filetype,^metadata_csum",
    ] {
        let image = Image::of_folder(folder.path(), 100, options);
        let (ours, _) = image.open();
        let nodes = all_nodes(&*ours);
        let mut walked: BTreeMap<NodeId, HashSet<(NodeId, Vec<u8>)>> = BTreeMap::new();
        for parent in nodes.values().filter(|node| node.is_directory()) {
            ours.entries(parent.id, &mut |entry| {
                let link = (parent.id, entry.name.to_vec());
                walked.entry(entry.id).or_default().insert(link);
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        let links = ours.links(&nodes.keys().copied().collect()).unwrap();
        let found: BTreeMap<_, HashSet<_>> = links
            .into_iter()
            .map(|(id, links)| {
                let links = links.into_iter().map(|link| (link.parent, link.name));
                (id, links.collect())
            })
            .collect();
        assert_eq!(found, walked, "{options}");

        // Of one file, those of the folders above it as well, and of nothing else.
        let deep = tree::path(&*ours, b"level0/level1/level2");
        let above = ours.links(&HashSet::from([deep])).unwrap();
        assert_eq!(above.len(), 3, "{above:?}");
    }
}

#[test]
fn reads_stay_near_the_size_of_inodes_and_directories() {
    if !tools::has(&["mkfs.ext4"]) || !tools::is_root() {
        return;
    }
    let image = Image::new(400, "-N 40000");
    let mount = Mount::new(&image.path(), "noatime");
    for folder in 0..2_500 {
        let folder = mount.path().join(format!("{}/{folder}", folder / 50));
        std::fs::create_dir_all(&folder).unwrap();
        for file in 0..9 {
            std::fs::write(
                folder.join(format!("a file with a name {file}")),
                b"content",
            )
            .unwrap();
        }
    }
    drop(mount);
    let (ours, _) = image.open();
    let nodes = all_nodes(&*ours);
    assert!(nodes.len() > 25_000);
    let directories: u64 = nodes
        .values()
        .filter(|node| node.is_directory())
        .map(|node| node.size)
        .sum();
    let inodes = nodes.len() as u64 * 256;
    let one_percent: Ranges = (0..400)
        .map(|mib: u64| mib << 20..(mib << 20) + (10 << 10))
        .collect();
    let (fresh, disk) = image.open();
    fresh.candidates(&one_percent).unwrap();
    fresh.links(&nodes.keys().copied().collect()).unwrap();
    let (read, least) = (disk.read(), inodes + directories);
    println!("{read} bytes read, of {inodes} of inodes and {directories} of directories");
    assert!(read >= least && read < least * 3 / 2, "{read}, not {least}");
}
