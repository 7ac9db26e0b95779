//! Btrfs against the kernel, and against `btrfs restore`.

mod damage;
mod diff;
mod log;

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy_guest::filesystem::Use;
use qanopy_guest::readers::{self, OpenFilesystem};
use qanopy_guest::{Source, system};

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
fn what_is_free_can_be_overwritten() {
    if !is_possible() {
        return;
    }
    for options in [&["-m", "dup"][..], &["-M"], &["-m", "single", "-d", "dup"]] {
        let images = Images::new(256 * MIB, options);
        let kernel = images.mounted("before", "noatime", |root| {
            files::populate(root, UNIX);
            fs::remove_file(root.join("large")).unwrap();
        });
        let mut uses = vec![Use::FileData; usize::try_from(256 * MIB / 4096).unwrap()];
        let mut tell = |range: std::ops::Range<u64>, used_for| {
            assert!(
                range.start.is_multiple_of(4096) && range.end.is_multiple_of(4096),
                "{range:?}"
            );
            for at in range.start / 4096..range.end / 4096 {
                uses[usize::try_from(at).unwrap()] = used_for;
            }
            Ok(())
        };
        images.open("before").usage(&mut tell).unwrap();
        let count = |wanted| uses.iter().filter(|used_for| **used_for == wanted).count();
        assert!(count(Use::FileData) > 1_000 && count(Use::Metadata) > 100);
        assert!(count(Use::Free) > uses.len() / 2);
        let mut image = fs::read(images.path("before")).unwrap();
        for (used_for, block) in uses.iter().zip(image.chunks_mut(4096)) {
            if *used_for == Use::Free {
                block.fill(0xa5);
            }
        }
        let path = images.path("overwritten");
        fs::write(&path, image).unwrap();
        run(&[
            "btrfs",
            "check",
            "--check-data-csum",
            path.to_str().unwrap(),
        ]);
        tree::assert_same(&images.mounted("overwritten", "ro", |_| {}), &kernel);
    }
}

#[test]
fn extents_are_where_the_content_is() {
    if !is_possible() {
        return;
    }
    let images = Images::new(256 * MIB, &[]);
    images.mounted("before", "noatime", |root| {
        files::populate(root, UNIX);
        let allocated = root.join("allocated");
        run(&["fallocate", "-l", "1M", allocated.to_str().unwrap()]);
    });
    let (ours, image) = (
        images.open("before"),
        fs::read(images.path("before")).unwrap(),
    );
    let find = |name: &str| ours.lookup(ours.root(), name.as_bytes()).unwrap().unwrap();
    for (name, most) in [("large", 100), ("sparse", 10)] {
        let content = tree::content(&*ours, find(name));
        let extents = ours.extents(find(name)).unwrap();
        assert!(!extents.is_empty() && extents.len() < most);
        let mut seen = vec![0; content.len()];
        for one in extents {
            let [file, volume, len] =
                [one.file, one.volume, one.len].map(|at| usize::try_from(at).unwrap());
            let end = seen.len().min(file + len);
            seen[file..end].copy_from_slice(&image[volume..volume + (end - file)]);
        }
        assert!(seen == content, "{name}");
    }
    let allocated = ours.extents(find("allocated")).unwrap();
    assert!(allocated.iter().all(|extent| extent.unwritten));
    assert_eq!(allocated.iter().map(|extent| extent.len).sum::<u64>(), MIB);
    assert_eq!(tree::content(&*ours, find("allocated")), vec![0; 1 << 20]);
}

#[test]
fn files_are_those_that_another_reader_restores() {
    if !has(&["mkfs.btrfs", "btrfs"]) {
        return;
    }
    // Neither of them needs root.
    let content = tempfile::tempdir().unwrap();
    files::populate(content.path(), UNIX);
    let images = Images::new(256 * MIB, &["--rootdir", content.path().to_str().unwrap()]);
    let restored = tempfile::tempdir().unwrap();
    let (image, target) = (images.path("before"), restored.path().to_str().unwrap());
    run(&["btrfs", "restore", "-S", image.to_str().unwrap(), target]);
    let theirs = tree::of_folder(restored.path());
    let ours = tree::of_filesystem(&*images.open("before"));
    let files = |all: &Tree| -> Vec<_> {
        let files = all.iter().filter(|(_, seen)| !seen.content.is_empty());
        files
            .map(|(path, seen)| (path.clone(), seen.content.clone()))
            .collect()
    };
    assert!(files(&ours) == files(&theirs) && files(&ours).len() > 1_500);
}

#[test]
fn the_system_is_the_one_of_the_subvolume_that_is_mounted_by_default() {
    if !is_possible() {
        return;
    }
    let images = Images::new(128 * MIB, &[]);
    // As openSUSE has it: the root is a snapshot below `@`, and an older one is beside it.
    images.mounted("before", "noatime", |root| {
        btrfs(&["subvolume", "create"], &root.join("@"));
        for (number, id) in [("1", "old"), ("2", "opensuse-leap")] {
            let snapshot = root.join("@").join(number);
            btrfs(&["subvolume", "create"], &snapshot);
            fs::create_dir_all(snapshot.join("usr/lib")).unwrap();
            fs::create_dir(snapshot.join("etc")).unwrap();
            fs::write(snapshot.join("usr/lib/os-release"), format!("ID={id}\n")).unwrap();
            // Absolute links lead to the subvolume's own root.
            let link = snapshot.join("etc/os-release");
            std::os::unix::fs::symlink("/usr/lib/os-release", link).unwrap();
        }
        btrfs(&["subvolume", "set-default"], &root.join("@/2"));
    });
    let found = system::system(&*images.open("before")).unwrap().unwrap();
    assert_eq!(found.id, "opensuse-leap");
}
