//! Images with an ext filesystem, and sources that count what is read of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy_guest::Source;
use qanopy_guest::readers::{self, OpenFilesystem};

use crate::support::files::{self, Abilities};
use crate::support::mount::Mount;
use crate::support::source::{self, Counted};
use crate::support::tools::run;

/// What an ext filesystem can hold.
pub const CAN: Abilities = Abilities { unix: true };

/// A way to make a filesystem.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    pub name: &'static str,
    /// Words for `mkfs.ext4`.
    pub options: &'static str,
    /// What `summary` says it is.
    pub kind: &'static str,
}

const fn variant(name: &'static str, options: &'static str, kind: &'static str) -> Variant {
    Variant {
        name,
        options,
        kind,
    }
}

/// What is older than ext4.
pub const OLD: &[Variant] = &[
    variant("ext2", "-t ext2 -b 4096", "ext2"),
    variant("ext2 1 KiB", "-t ext2 -b 1024 -I 128", "ext2"),
    variant("ext3", "-t ext3 -b 4096", "ext3"),
    variant("ext3 1 KiB", "-t ext3 -b 1024 -I 128 -J size=4", "ext3"),
];

/// Layouts of ext4.
pub const LAYOUTS: &[Variant] = &[
    variant("plain", "-b 4096", "ext4"),
    variant("1 KiB", "-b 1024", "ext4"),
    variant("2 KiB", "-b 2048", "ext4"),
    variant("128-byte inodes", "-b 4096 -I 128", "ext4"),
    variant("large inodes", "-b 4096 -I 1024", "ext4"),
    variant("no flex_bg", "-O ^flex_bg -b 1024 -g 1024 -N 8192", "ext4"),
    variant(
        "meta_bg",
        "-O meta_bg,^resize_inode -b 1024 -g 1024 -N 8192",
        "ext4",
    ),
    variant(
        "meta_bg of 32 bits",
        "-O meta_bg,^resize_inode,^64bit -b 1024 -g 1024 -N 8192",
        "ext4",
    ),
    variant(
        "sparse_super2",
        "-O sparse_super2,^resize_inode -b 1024",
        "ext4",
    ),
    variant("32 bits", "-b 4096 -O ^64bit", "ext4"),
];

/// Features of ext4 that every kernel mounts.
pub const FEATURES: &[Variant] = &[
    variant("uninit_bg", "-b 4096 -O ^metadata_csum,uninit_bg", "ext4"),
    variant(
        "no checksums",
        "-b 4096 -O ^metadata_csum,^uninit_bg",
        "ext4",
    ),
    variant("block maps", "-O ^extents,^64bit -b 1024", "ext4"),
    variant("inline_data", "-b 4096 -O inline_data -I 256", "ext4"),
    variant("bigalloc", "-b 4096 -O bigalloc -C 16384", "ext4"),
    variant("bigalloc 1 KiB", "-O bigalloc -b 1024 -C 8192", "ext4"),
    variant("large_dir", "-O large_dir -b 1024", "ext4"),
    variant("no index of directories", "-b 4096 -O ^dir_index", "ext4"),
    variant("no types of entries", "-b 4096 -O ^filetype", "ext4"),
    variant("ea_inode", "-b 4096 -O ea_inode", "ext4"),
    variant(
        "metadata_csum_seed",
        "-b 4096 -O metadata_csum_seed",
        "ext4",
    ),
    variant("no journal", "-b 4096 -O ^has_journal", "ext4"),
    variant("orphan_file", "-b 4096 -O orphan_file", "ext4"),
    variant("mmp", "-b 4096 -O mmp", "ext4"),
];

/// An image in a folder of its own.
#[derive(Debug)]
pub struct Image {
    dir: tempfile::TempDir,
}

impl Image {
    /// An empty filesystem of so many MiB.
    pub fn new(mebibytes: u64, options: &str) -> Self {
        let image = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        File::create(image.path())
            .unwrap()
            .set_len(mebibytes << 20)
            .unwrap();
        let path = image.path();
        let mut words = vec!["mkfs.ext4", "-q", "-F", "-L", "a label"];
        words.extend(options.split_whitespace());
        words.push(path.to_str().unwrap());
        run(&words);
        image
    }

    /// A filesystem with the files of [`files::populate`] from the kernel.
    pub fn populated(mebibytes: u64, options: &str) -> Self {
        let image = Self::new(mebibytes, options);
        let mount = Mount::new(&image.path(), "noatime");
        files::populate(&mount.path(), CAN);
        drop(mount);
        image
    }

    /// One that holds what lies in a folder, without any mount.
    pub fn of_folder(folder: &Path, mebibytes: u64, options: &str) -> Self {
        Self::new(
            mebibytes,
            &format!("-d {} {options}", folder.to_str().unwrap()),
        )
    }

    /// The same bytes in another file.
    pub fn copy(&self) -> Self {
        let image = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        let (from, to) = (self.path(), image.path());
        run(&[
            "cp",
            "--sparse=always",
            from.to_str().unwrap(),
            to.to_str().unwrap(),
        ]);
        image
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Opened by the reader, with what counts the bytes it reads.
    pub fn open(&self) -> (OpenFilesystem, Arc<Counted>) {
        let disk = Arc::new(Counted::new(source::raw(&self.path())));
        let source: Source = disk.clone();
        (readers::open(&source).unwrap().unwrap(), disk)
    }

    /// What `debugfs` says to a request; one that changes the image has to be written.
    pub fn debugfs(&self, request: &str) -> String {
        let path = self.path();
        run(&["debugfs", "-w", "-R", request, path.to_str().unwrap()])
    }
}
