//! Files that were put into an image without a mount.

use std::fs;

use super::fixtures::{CAN, Image};
use crate::support::files;
use crate::support::{tools, tree};

#[test]
fn the_superblock_says_what_blkid_says() {
    if !tools::has(&["mkfs.ext4", "blkid"]) {
        return;
    }
    for options in ["", "-t ext3", "-t ext2 -b 1024"] {
        let image = Image::new(16, options);
        let path = image.path();
        let said = tools::run(&["blkid", "-p", "-o", "export", path.to_str().unwrap()]);
        let value = |key: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().to_owned()
        };
        let (ours, _) = image.open();
        let summary = ours.summary();
        assert_eq!(summary.uuid, value("UUID="));
        assert_eq!(summary.label, b"a label");
        assert_eq!(summary.kind, value("TYPE="));
        assert_eq!(summary.block_size.to_string(), value("BLOCK_SIZE="));
        assert_eq!(summary.total, 16 << 20);
    }
}

#[test]
fn what_not_every_kernel_mounts_is_read() {
    if !tools::has(&["mkfs.ext4"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    files::populate(folder.path(), CAN);
    // Of which `mkfs.ext4` makes no file.
    fs::remove_file(folder.path().join("fifo")).unwrap();
    for options in [
        "-b 65536",
        "-b 16384",
        "-b 65536 -O ^extents,^64bit",
        "-O casefold -E encoding=utf8",
        "-O encrypt,verity",
        "-O quota,project",
    ] {
        println!("{options}");
        let image = Image::of_folder(folder.path(), 400, options);
        let (ours, _) = image.open();
        let mut ours = tree::of_filesystem(&*ours);
        ours.retain(|path, _| !path.starts_with(b"lost+found"));
        tree::assert_same(&ours, &tree::of_folder(folder.path()));
    }
}
