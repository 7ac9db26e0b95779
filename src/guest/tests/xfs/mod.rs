//! XFS: against the kernel's mounts of what mkfs.xfs made.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use qanopy_guest::Ranges;
use qanopy_guest::diff::{self, NoWatch};
use qanopy_guest::filesystem::{Candidates, Condition, Filesystem, Node, NodeId, NodeKind};
use qanopy_guest::readers::{self, OpenFilesystem};
use tempfile::TempDir;

use crate::support::changes::{self, State};
use crate::support::files::{self, Abilities};
use crate::support::mount::Mount;
use crate::support::source;
use crate::support::tools::{has, is_root, run};
use crate::support::tree;

mod hostile;
mod special;

const UNIX: Abilities = Abilities { unix: true };

/// Whether what these tests need is here.
fn can() -> bool {
    has(&["mkfs.xfs", "xfs_db", "xfs_io", "mount", "fallocate"]) && is_root()
}

/// An image with an XFS made with these words.
fn made(folder: &TempDir, options: &str) -> PathBuf {
    let image = folder.path().join("image");
    File::create(&image).unwrap().set_len(320 << 20).unwrap();
    let mut words: Vec<&str> = vec!["mkfs.xfs", "-q", "-f"];
    words.extend(options.split_whitespace());
    words.push(image.to_str().unwrap());
    run(&words);
    image
}

fn copied(image: &Path, name: &str) -> PathBuf {
    let copy = image.with_file_name(name);
    let (from, to) = (image.to_str().unwrap(), copy.to_str().unwrap());
    run(&["cp", "--sparse=always", "--reflink=never", from, to]);
    copy
}

fn opened(image: &Path) -> OpenFilesystem {
    readers::open(&source::raw(image)).unwrap().unwrap()
}

/// The clusters in which two images differ.
fn differing(before: &Path, after: &Path) -> Ranges {
    source::differing(&source::raw(before), &source::raw(after), 64 << 10)
}

/// What the kernel shows of an image.
fn state(image: &Path) -> State {
    let mount = Mount::new(image, "ro,nouuid");
    State::of(&mount.path())
}

/// A node, the directory that holds it and its name there.
type Named = (NodeId, NodeId, Vec<u8>);

/// All nodes that can be reached, and how they are reached.
fn walked(filesystem: &dyn Filesystem) -> (HashMap<NodeId, Node>, HashSet<Named>) {
    let root = filesystem.root();
    let mut nodes = HashMap::from([(root, filesystem.node(root).unwrap())]);
    let mut links = HashSet::new();
    let mut rest = vec![root];
    while let Some(folder) = rest.pop() {
        let mut found = Vec::new();
        let mut each = |entry: qanopy_guest::filesystem::Entry<'_>| {
            found.push((entry.id, entry.name.to_vec()));
            ControlFlow::Continue(())
        };
        filesystem.entries(folder, &mut each).unwrap();
        for (id, name) in found {
            let node = filesystem.node(id).unwrap();
            if node.kind == NodeKind::Directory {
                rest.push(id);
            }
            nodes.insert(id, node);
            links.insert((id, folder, name));
        }
    }
    (nodes, links)
}

/// The nodes that differ are candidates of one or the other state, and all names are found.
fn assert_found(before: &Path, after: &Path, differing: &Ranges) {
    let mut differing = differing.clone();
    let (old, new) = (opened(before), opened(after));
    differing.extend(&old.replayed());
    differing.extend(&new.replayed());
    let mut candidates = HashSet::new();
    for filesystem in [&old, &new] {
        match filesystem.candidates(&differing).unwrap() {
            Candidates::Nodes(found) => candidates.extend(found),
            Candidates::All => panic!("all"),
        }
    }
    let ((was, _), (is, links)) = (walked(old.as_ref()), walked(new.as_ref()));
    let ids: HashSet<NodeId> = was.keys().chain(is.keys()).copied().collect();
    for id in ids {
        let same = was.get(&id).map(|node| node.digest) == is.get(&id).map(|node| node.digest);
        // Of inodes that were given up with their chunk, only the directory tells.
        let is_gone = !is.contains_key(&id) && new.node(id).is_err();
        let is_told = candidates.contains(&id) || is_gone;
        assert!(same || is_told, "{id:?} is missing");
    }
    let all: HashSet<NodeId> = is.keys().copied().collect();
    let found = new.links(&all).unwrap();
    let found: HashSet<_> = found
        .into_iter()
        .flat_map(|(id, links)| links.into_iter().map(move |link| (id, link)))
        .map(|(id, link)| (id, link.parent, link.name))
        .collect();
    assert!(found == links);
}

/// What is told of the changes is what the kernel shows of both states.
fn assert_told(before: &Path, after: &Path, differing: &Ranges) {
    let (old, new) = (opened(before), opened(after));
    let options = diff::Options::default();
    let found = diff::filesystems(old.as_ref(), new.as_ref(), differing, options, &mut NoWatch);
    let found = found.unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    let expected = changes::expected(&state(before), &state(after));
    changes::assert_same(&changes::told(&found.changes), &expected);
}

#[test]
fn variants_are_read_and_compared_as_the_kernel_shows_them() {
    if !can() {
        return;
    }
    for options in [
        "",
        "-b size=1024",
        "-b size=1024 -n size=8192 -i size=512",
        "-n size=65536",
        "-m bigtime=0,reflink=0,finobt=0,inobtcount=0",
        "-m rmapbt=1 -i size=2048,nrext64=1",
        "-d agcount=3 -i sparse=0",
        "-s size=4096 -L label",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let after = made(&folder, options);
        let mount = Mount::new(&after, "nouuid");
        files::populate(&mount.path(), UNIX);
        drop(mount);
        let before = copied(&after, "before");
        let mount = Mount::new(&after, "nouuid");
        files::change(&mount.path(), UNIX);
        drop(mount);
        for image in [&before, &after] {
            let ours = tree::of_filesystem(opened(image).as_ref());
            let mount = Mount::new(image, "ro,nouuid");
            tree::assert_same(&ours, &tree::of_folder(&mount.path()));
        }
        let differing = differing(&before, &after);
        assert_found(&before, &after, &differing);
        assert_told(&before, &after, &differing);
    }
}

#[test]
fn what_the_log_holds_is_read_as_the_kernel_replays_it() {
    if !can() {
        return;
    }
    for options in ["", "-b size=1024 -m bigtime=0", "-m rmapbt=1 -i size=1024"] {
        let folder = tempfile::tempdir().unwrap();
        let image = made(&folder, options);
        let mount = Mount::new(&image, "nouuid");
        files::populate(&mount.path(), UNIX);
        run(&["sync", "-f", mount.path().to_str().unwrap()]);
        let before = copied(&image, "before");
        files::change(&mount.path(), UNIX);
        for index in 0..300 {
            let name = mount.path().join(format!("new-{index}"));
            fs::write(name, files::bytes(index, 3_000)).unwrap();
        }
        for index in 0..900 {
            let name = format!("many/file-{index:04}.conf");
            fs::remove_file(mount.path().join(name)).unwrap();
        }
        let last = File::create(mount.path().join("last")).unwrap();
        run(&["sync", "-f", mount.path().to_str().unwrap()]);
        last.sync_all().unwrap();
        let after = copied(&image, "after");
        drop((last, mount));
        for copy in [&before, &after] {
            let filesystem = opened(copy);
            assert_eq!(filesystem.summary().condition, Condition::Replayed);
            assert!(!filesystem.replayed().is_empty());
            let ours = tree::of_filesystem(filesystem.as_ref());
            // The kernel replays it into another copy.
            let replayed = copied(copy, "replayed");
            let mount = Mount::new(&replayed, "nouuid");
            tree::assert_same(&ours, &tree::of_folder(&mount.path()));
            drop(mount);
            let clean = opened(&replayed);
            assert_eq!(clean.summary().condition, Condition::Clean);
            // The kernel frees what was allocated in advance.
            let used = |one: &OpenFilesystem| one.summary().used.unwrap();
            let apart = used(&filesystem).abs_diff(used(&clean));
            assert!(apart < 1 << 20, "{apart}");
        }
        assert_found(&before, &after, &differing(&before, &after));
    }
}

#[test]
fn a_log_that_went_round_is_read_from_its_tail() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Every record takes 256 KiB, so that a hundred of them go round.
    let image = made(&folder, "--unsupported -l size=26m,sunit=512 -b size=1024");
    let mount = Mount::new(&image, "nouuid");
    files::populate(&mount.path(), UNIX);
    for index in 0..250 {
        let name = mount.path().join(format!("new-{index}"));
        fs::write(&name, files::bytes(index, 3_000)).unwrap();
        File::open(&name).unwrap().sync_all().unwrap();
        if index % 3 == 0 {
            fs::rename(&name, mount.path().join("the same again")).unwrap();
        }
    }
    fs::remove_dir_all(mount.path().join("level0")).unwrap();
    // As if the power went.
    let root = mount.path();
    run(&["xfs_io", "-x", "-c", "shutdown", root.to_str().unwrap()]);
    drop(mount);
    let filesystem = opened(&image);
    assert_eq!(filesystem.summary().condition, Condition::Replayed);
    let ours = tree::of_filesystem(&*filesystem);
    let mount = Mount::new(&image, "nouuid");
    tree::assert_same(&ours, &tree::of_folder(&mount.path()));
}
