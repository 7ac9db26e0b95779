//! How much is read to tell what differs: near what the records of files and folders take, however much the files hold.
//! ext4 has such a test of its own.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy_guest::diff::{self, NoWatch, Options};
use qanopy_guest::filesystem::{NodeId, Use};
use qanopy_guest::readers::{self, OpenFilesystem};
use qanopy_guest::{Filesystem, Source};

use crate::support::mount::Mount;
use crate::support::source::{self, Counted};
use crate::support::tools::{has, is_root, run};
use crate::support::{files, nodes};

const FOLDERS: usize = 20;
const FILES: usize = 225;
/// Bytes read together.
const CHUNK: u64 = 64 << 10;

/// Two states of a filesystem with many files, of which a few differ.
struct States {
    _folder: tempfile::TempDir,
    before: PathBuf,
    after: PathBuf,
}

impl States {
    /// Of so many MiB, made by these words and mounted with these options.
    fn new(make: &[&str], mount: &str, mebibytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let states = Self {
            before: folder.path().join("before"),
            after: folder.path().join("after"),
            _folder: folder,
        };
        let image = fs::File::create(&states.before).unwrap();
        image.set_len(mebibytes << 20).unwrap();
        run(&[make, &[states.before.to_str().unwrap()]].concat());
        let mounted = Mount::new(&states.before, mount);
        fill(&mounted.path());
        drop(mounted);
        fs::copy(&states.before, &states.after).unwrap();
        let mounted = Mount::new(&states.after, mount);
        for folder in (0..FOLDERS).step_by(2) {
            fs::write(path(&mounted.path(), folder, 3), b"changed").unwrap();
        }
        drop(mounted);
        states
    }

    /// What is read to compare both states, and to name every node of the newer one: in bytes.
    fn read(&self) -> (u64, u64) {
        let [before, after] = [&self.before, &self.after].map(|image| source::raw(image));
        let changed = source::differing(&before, &after, 64 << 10);
        let (was, before) = counted(&before);
        let (is, after_read) = counted(&after);
        let (options, watch) = (Options::default(), &mut NoWatch);
        let told = diff::filesystems(&*was, &*is, &changed, options, watch).unwrap();
        assert!(told.problems.is_empty(), "{:?}", told.problems);
        assert_eq!(told.changes.len(), FOLDERS / 2);
        let compared = before.read() + after_read.read();

        let all: HashSet<NodeId> = nodes::all(&*is).keys().copied().collect();
        let (fresh, read) = counted(&after);
        assert_eq!(fresh.links(&all).unwrap().len(), all.len() - 1);
        (compared, read.read())
    }

    fn newer(&self) -> OpenFilesystem {
        readers::open(&source::raw(&self.after)).unwrap().unwrap()
    }
}

fn path(root: &Path, folder: usize, file: usize) -> PathBuf {
    root.join(format!("{folder}/a file with a name {file}"))
}

fn fill(root: &Path) {
    for folder in 0..FOLDERS {
        fs::create_dir_all(path(root, folder, 0).parent().unwrap()).unwrap();
        for file in 0..FILES {
            // Content that is not within the record.
            let content = files::bytes(file as u64, 12_000);
            fs::write(path(root, folder, file), content).unwrap();
        }
    }
}

/// A filesystem, and what counts the bytes that are read of it.
fn counted(image: &Source) -> (OpenFilesystem, Arc<Counted>) {
    let disk = Arc::new(Counted::new(image.clone()));
    let source: Source = disk.clone();
    (readers::open(&source).unwrap().unwrap(), disk)
}

/// Bytes that its own records take.
fn metadata(filesystem: &dyn Filesystem) -> u64 {
    let mut sum = 0;
    let mut each = |range: std::ops::Range<u64>, used| {
        if used == Use::Metadata {
            sum += range.end - range.start;
        }
        Ok(())
    };
    filesystem.usage(&mut each).unwrap();
    sum
}

/// Bytes of records of this length, and of the chunks that hold folders.
fn records(filesystem: &dyn Filesystem, size: u64) -> u64 {
    let all = nodes::all(filesystem);
    let folders = all.values().filter(|node| node.is_directory());
    let extents = folders.flat_map(|node| filesystem.extents(node.id).unwrap());
    let chunks =
        extents.flat_map(|one| one.volume / CHUNK..(one.volume + one.stored).div_ceil(CHUNK));
    all.len() as u64 * size + chunks.collect::<HashSet<u64>>().len() as u64 * CHUNK
}

#[test]
fn xfs_reads_inodes_and_folders() {
    if !has(&["mkfs.xfs", "mount"]) || !is_root() {
        return;
    }
    let states = States::new(&["mkfs.xfs", "-q"], "noatime", 320);
    let (compared, named) = states.read();
    let least = records(&*states.newer(), 512);
    println!("{compared} to compare, {named} to name, of {least}");
    // What may have been written at once before the log's end, as the kernel does: of each state.
    let log = 2 << 20;
    let most = least * 3 / 2;
    assert!(compared < most + 2 * log, "{compared}, not {most}");
    assert!(named < most + log, "{named}, not {most}");
}

#[test]
fn btrfs_reads_the_leaves_that_differ() {
    if !has(&["mkfs.btrfs", "mount"]) || !is_root() {
        return;
    }
    let states = States::new(&["mkfs.btrfs", "-q"], "noatime", 256);
    let (compared, named) = states.read();
    let all = metadata(&*states.newer());
    println!("{compared} to compare, {named} to name, of {all}");
    assert!(compared < all / 4, "{compared} of {all}");
    assert!(named < all, "{named} of {all}");
}

#[test]
fn ntfs_reads_records_that_differ() {
    if !has(&["mkntfs", "mount.ntfs-3g"]) || !is_root() {
        return;
    }
    let states = States::new(&["mkntfs", "-Q", "-F", "-q"], "noatime", 96);
    let (compared, named) = states.read();
    let newer = states.newer();
    let least = records(&*newer, 1024);
    println!("{compared} to compare, {named} to name, of {least}");
    assert!(compared < least * 3 / 2, "{compared}, not {least}");
    // Records say what they are called: no folder is read.
    let records = nodes::all(&*newer).len() as u64 * 1024;
    assert!(named < records * 3 / 2, "{named}, not {records}");
}
