//! What is rare: deep maps, encryption, folded names, forged records.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qanopy_guest::diff::{self, NoWatch, Options};
use qanopy_guest::filesystem::{NodeId, NodeKind};
use qanopy_guest::{Error, Source, readers};

use super::differences::states;
use super::fixtures::{CAN, Image};
use crate::support::changes;
use crate::support::hostile::ask_everything;
use crate::support::mount::Mount;
use crate::support::{files, tools, tree};

#[test]
fn maps_as_deep_as_they_get_are_read() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) || !tools::is_root() {
        return;
    }
    for (options, kind) in [("-b 1024", "extents"), ("-b 1024 -t ext2", "block map")] {
        println!("{kind}");
        let image = Image::new(64, options);
        let mount = Mount::new(&image.path(), "noatime");
        // Every other block, so that extents cannot be joined.
        let file = File::create(mount.path().join("fragments")).unwrap();
        for index in 0..2_000 {
            file.write_all_at(&files::bytes(index, 1024), index * 2048)
                .unwrap();
        }
        drop(file);
        // Behind single, double and triple indirect blocks, and past 4 GiB.
        let file = File::create(mount.path().join("far")).unwrap();
        for at in [0, 200 << 10, 30 << 20, 100 << 20, 500 << 20, 5 << 30] {
            file.write_all_at(&files::bytes(at, 5_000), at).unwrap();
        }
        drop(file);
        let ends = [0, 200 << 10, 30 << 20, 100 << 20, 500 << 20, 5 << 30];
        drop(mount);
        if kind == "extents" {
            let said = image.debugfs("dump_extents -i /fragments");
            assert!(said.contains("0/ 2"), "not deep: {said}");
        }
        let (ours, _) = image.open();
        let file = tree::path(&*ours, b"fragments");
        let content = tree::content(&*ours, file);
        for (index, piece) in (0..).zip(content.chunks(2048)) {
            assert_eq!(piece[..1024], files::bytes(index, 1024));
            assert!(piece[1024..].iter().all(|byte| *byte == 0));
        }
        assert_eq!(ours.extents(file).unwrap().len(), 2_000);
        let far = tree::path(&*ours, b"far");
        let mut buf = vec![1; 6_000];
        for at in ends {
            let start = at.max(500) - 500;
            let read = ours.read(far, start, &mut buf).unwrap();
            let from = usize::try_from(at - start).unwrap();
            let len = (read - from).min(5_000);
            assert_eq!(buf[from..from + len], files::bytes(at, 5_000)[..len]);
            assert!(buf[..from].iter().all(|byte| *byte == 0));
        }
        assert_eq!(ours.read(far, 6 << 30, &mut buf).unwrap(), 0);
    }
}

#[test]
fn what_is_not_written_yet_reads_as_zeros() {
    if !tools::has(&["mkfs.ext4", "fallocate"]) || !tools::is_root() {
        return;
    }
    let image = Image::new(32, "-b 4096");
    let mount = Mount::new(&image.path(), "noatime");
    let path = mount.path().join("file");
    tools::run(&["fallocate", "-l", "1M", path.to_str().unwrap()]);
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"written", 300_000).unwrap();
    drop(file);
    drop(mount);
    let (ours, _) = image.open();
    let file = tree::path(&*ours, b"file");
    let mut expected = vec![0; 1 << 20];
    expected[300_000..300_007].copy_from_slice(b"written");
    assert!(tree::content(&*ours, file) == expected);
    let extents = ours.extents(file).unwrap();
    assert!(extents.iter().any(|extent| extent.unwritten));
    let all: u64 = extents.iter().map(|extent| extent.len).sum();
    assert_eq!(all, 1 << 20);
}

/// Sets a flag of an inode, and the checksum that goes with it.
fn set_flag(image: &Image, path: &str, flag: u32) {
    let (ours, _) = image.open();
    let said = image.debugfs(&format!("stat {path}"));
    let flags = said.split("Flags: 0x").nth(1).unwrap();
    let flags = flags.split_whitespace().next().unwrap();
    let flags = u32::from_str_radix(flags, 16).unwrap() | flag;
    drop(ours);
    image.debugfs(&format!("sif {path} flags {flags:#x}"));
}

#[test]
fn encrypted_files_are_listed_and_not_read() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("secret")).unwrap();
    fs::write(folder.path().join("secret/file"), b"text").unwrap();
    fs::write(folder.path().join("open"), b"text").unwrap();
    let image = Image::of_folder(folder.path(), 16, "-b 4096 -O encrypt");
    let inside = tree::path(&*image.open().0, b"secret/file");
    set_flag(&image, "/secret/file", 0x800);
    set_flag(&image, "/secret", 0x800);
    let (ours, _) = image.open();
    let secret = tree::path(&*ours, b"secret");
    let not_read = |error: Error| assert_eq!(error.to_string(), "ext4: encrypt is not read");
    not_read(
        ours.entries(secret, &mut |_| std::ops::ControlFlow::Continue(()))
            .unwrap_err(),
    );
    not_read(ours.read(inside, 0, &mut [0; 4]).unwrap_err());
    assert_eq!(ours.node(inside).unwrap().size, 4);
    let open = tree::path(&*ours, b"open");
    assert_eq!(tree::content(&*ours, open), b"text");
    // Its name is known as far as it is stored.
    let links = ours.links(&[inside].into()).unwrap();
    assert_eq!(links[&inside][0].parent, secret);
}

#[test]
fn names_of_a_folder_that_folds_case_are_found_in_any() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folds")).unwrap();
    fs::write(folder.path().join("folds/Größe"), b"1").unwrap();
    fs::write(folder.path().join("Other"), b"2").unwrap();
    let image = Image::of_folder(folder.path(), 16, "-b 4096 -O casefold -E encoding=utf8");
    set_flag(&image, "/folds", 0x4000_0000);
    let (ours, _) = image.open();
    let folds = tree::path(&*ours, b"folds");
    let found = ours.lookup(folds, "GRÖẞE".to_lowercase().as_bytes());
    assert_eq!(
        found.unwrap(),
        ours.lookup(folds, "GRößE".as_bytes()).unwrap()
    );
    assert!(ours.lookup(folds, "größe".as_bytes()).unwrap().is_some());
    assert_eq!(ours.lookup(ours.root(), b"other").unwrap(), None);
}

#[test]
fn a_wrong_checksum_names_what_is_damaged() {
    if !tools::has(&["mkfs.ext4", "debugfs", "dumpe2fs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"content").unwrap();
    let image = Image::of_folder(folder.path(), 16, "-b 4096");
    let said = image.debugfs("imap file");
    let number = |after: &str| {
        let rest = said.split(after).nth(1).unwrap();
        let digits: String = rest
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
            None => digits.parse().unwrap(),
        }
    };
    let record = number("located at block ") * 4096 + number("offset ");
    let bytes = image.bytes();
    let problem = |at: u64| {
        let mut forged = bytes.clone();
        forged[usize::try_from(at).unwrap()] ^= 1;
        let source: Source = Arc::new(forged);
        let opened = readers::open(&source).map(Option::unwrap);
        let read = opened.and_then(|ours| {
            let file = ours.lookup(ours.root(), b"file")?.unwrap();
            ours.node(file)
        });
        read.unwrap_err().to_string()
    };
    let name = format!(
        "ext4: inode {}",
        tree::path(&*image.open().0, b"file").number
    );
    assert_eq!(
        problem(record + 0x18),
        format!("{name} at byte {record} of the volume: i_checksum is wrong")
    );
    assert!(problem(1024 + 0x78).contains("superblock at byte 2044"));
    assert!(problem(4096 + 0x1c).contains("group descriptor 0 at byte 4096"));
    let (ours, _) = image.open();
    let root = ours.extents(ours.root()).unwrap()[0].volume;
    assert!(problem(root + 30).contains("directory inode 2"));
}

#[test]
fn maps_and_folders_that_lead_back_to_themselves_end() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::write(folder.path().join("file"), files::bytes(1, 600_000)).unwrap();
    let image = Image::of_folder(folder.path(), 32, "-b 1024 -t ext2 -N 64");
    // The map's blocks of all three depths are one block, which is full of its own number.
    let block = 20_000_u32;
    for level in ["IND", "DIND", "TIND"] {
        image.debugfs(&format!("sif /file block[{level}] {block}"));
    }
    image.debugfs("sif /file size 0x7fffffff");
    image.debugfs("link /a /a/b/again");
    let file = File::options().write(true).open(image.path()).unwrap();
    let own = block.to_le_bytes().repeat(256);
    file.write_all_at(&own, u64::from(block) * 1024).unwrap();
    let start = Instant::now();
    let (ours, _) = image.open();
    let inode = tree::path(&*ours, b"file");
    assert!(ours.extents(inode).is_err());
    ask_everything(&*ours);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn edits_without_a_mount_are_told_as_well() {
    if !tools::has(&["mkfs.ext4", "debugfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    files::populate(folder.path(), CAN);
    let new = folder.path().join("text");
    for options in ["-b 4096", "-b 1024 -t ext2", "-b 1024 -O inline_data"] {
        let before = Image::of_folder(folder.path(), 100, options);
        let after = before.copy();
        for request in [
            format!("write {} etc/new", new.display()),
            "rm usr/share/doc/file-0003.conf".to_owned(),
            "mkdir var/log/made".to_owned(),
            "ln etc/file-0001.conf many/linked".to_owned(),
            "sif etc/file-0002.conf mode 0100600".to_owned(),
        ] {
            after.debugfs(&request);
        }
        let (_, changed) = states(&before, &after);
        let (one, _) = before.open();
        let (other, _) = after.open();
        let diff =
            diff::filesystems(&*one, &*other, &changed, Options::default(), &mut NoWatch).unwrap();
        let told = |kind: &str, path: &str| (kind.to_owned(), path.as_bytes().to_vec(), None);
        let expected = [
            told("added", "etc/new"),
            told("deleted", "usr/share/doc/file-0003.conf"),
            told("added", "var/log/made"),
            told("added", "many/linked"),
            told("metadata", "etc/file-0002.conf"),
        ];
        println!("{options}");
        changes::assert_same(&changes::told(&diff.changes), &expected.into());
    }
}

#[test]
fn nodes_that_are_not_there_are_not_found() {
    if !tools::has(&["mkfs.ext4"]) {
        return;
    }
    let image = Image::new(16, "-b 4096");
    let (ours, _) = image.open();
    for number in [0, 500, 1 << 33, u64::MAX] {
        let found = ours.node(NodeId::new(number));
        assert!(matches!(found, Err(Error::NotFound(_))), "{found:?}");
    }
    let other_tree = NodeId { tree: 1, number: 2 };
    assert!(matches!(ours.node(other_tree), Err(Error::NotFound(_))));
    let root = ours.node(ours.root()).unwrap();
    assert_eq!(root.kind, NodeKind::Directory);
    assert!(matches!(
        ours.read(ours.root(), 0, &mut [0]),
        Err(Error::NotAFile(_))
    ));
}
