//! Btrfs against the kernel, and against `btrfs restore`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy_guest::Source;
use qanopy_guest::readers::{self, OpenFilesystem};

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
