//! What may be thrown away: with noise in its place, each filesystem is what it was to its own tools and to the kernel.
//! And where anything speaks against it, nothing may.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use qanopy_guest::discardable::{Discardable, discardable};
use qanopy_guest::disk::VolumeName;
use qanopy_guest::filesystem::{Filesystem, NodeKind};
use qanopy_guest::{BlockSource, Error, Source, readers};

use crate::support::files::{Abilities, bytes, populate};
use crate::support::mount::Mount;
use crate::support::nodes;
use crate::support::source;
use crate::support::tools::{has, is_root, run};
use crate::support::tree;

/// Bytes of the file that is deleted.
const DELETED: usize = 12 << 20;

/// A disk in a file.
struct Image {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Image {
    fn empty(mebibytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        File::create(&path)
            .unwrap()
            .set_len(mebibytes << 20)
            .unwrap();
        Self { _dir: dir, path }
    }

    /// Made by these words and the image's name.
    fn new(mebibytes: u64, make: &str) -> Self {
        let image = Self::empty(mebibytes);
        let words: Vec<&str> = make
            .split(' ')
            .chain([image.path.to_str().unwrap()])
            .collect();
        run(&words);
        image
    }

    /// With files, of which a large one was deleted again.
    fn lived_in(self) -> Self {
        let mount = Mount::new(&self.path, "noatime");
        populate(&mount.path(), Abilities { unix: false });
        let large = mount.path().join("deleted");
        fs::write(&large, bytes(3, DELETED)).unwrap();
        fs::write(mount.path().join("kept"), bytes(4, 3 << 20)).unwrap();
        run(&["sync", "-f", large.to_str().unwrap()]);
        fs::remove_file(&large).unwrap();
        drop(mount);
        self
    }

    fn copy(&self) -> Self {
        let image = Self::empty(0);
        fs::copy(&self.path, &image.path).unwrap();
        image
    }

    fn put(&self, at: u64, what: &[u8]) {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(what, at).unwrap();
    }

    fn get<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut found = [0; N];
        File::open(&self.path)
            .unwrap()
            .read_exact_at(&mut found, at)
            .unwrap();
        found
    }

    fn found(&self) -> Discardable {
        discardable(&source::raw(&self.path), &|| true).unwrap()
    }

    fn filesystem(&self) -> Arc<dyn Filesystem> {
        readers::open(&source::raw(&self.path)).unwrap().unwrap()
    }

    /// That nothing may be thrown away, for a reason with this word.
    #[track_caller]
    fn is_left_alone(&self, word: &str) {
        let found = self.found();
        assert!(
            found.free.is_empty() && found.volumes.is_empty(),
            "{word}: {found:?}"
        );
        let why = &found.left.first().unwrap().1;
        assert!(why.contains(word), "{word}: {why}");
    }
}

/// Writes noise wherever something may be thrown away.
fn noise_in_free(image: &Image, found: &Discardable) {
    for range in found.free.as_slice() {
        let len = usize::try_from(range.end - range.start).unwrap();
        image.put(range.start, &bytes(range.start | 1, len));
    }
}

/// Noise where it is free changes nothing: neither what the filesystem's own check says, nor any file.
fn noise_is_not_seen(image: &Image, check: &[&str]) {
    let before = tree::of_filesystem(&*image.filesystem());
    let found = image.found();
    let free = found.free.bytes();
    assert!(free >= DELETED as u64, "{free}: {found:?}");
    assert_eq!(found.left, []);
    assert_eq!(found.volumes.len(), 1);
    assert_eq!(found.volumes[0].bytes, free);
    let noisy = image.copy();
    noise_in_free(&noisy, &found);
    let words: Vec<&str> = check
        .iter()
        .copied()
        .chain([noisy.path.to_str().unwrap()])
        .collect();
    run(&words);
    tree::assert_same(&tree::of_filesystem(&*noisy.filesystem()), &before);
    // Looked at once more, it says the same.
    assert_eq!(noisy.found().free, found.free);
}

#[test]
fn noise_where_ext_is_free_changes_nothing() {
    if !has(&["mkfs.ext4", "e2fsck"]) || !is_root() {
        return;
    }
    for options in [
        "-t ext4",
        "-t ext4 -b 1024 -g 1024",
        "-t ext2 -b 1024",
        "-t ext3",
        "-t ext4 -O bigalloc -C 16384",
        "-t ext4 -O ^metadata_csum,uninit_bg",
        "-t ext4 -O meta_bg,^resize_inode,orphan_file",
    ] {
        println!("{options}");
        let image = Image::new(64, &format!("mkfs.ext4 -q -F {options}")).lived_in();
        noise_is_not_seen(&image, &["e2fsck", "-fn"]);
    }
}

#[test]
fn noise_where_xfs_is_free_changes_nothing() {
    if !has(&["mkfs.xfs", "xfs_repair"]) || !is_root() {
        return;
    }
    for options in [
        "-m rmapbt=1,reflink=1",
        "-m rmapbt=0,reflink=0",
        "-b size=1024 -m rmapbt=1",
    ] {
        println!("{options}");
        let image = Image::new(320, &format!("mkfs.xfs -q -f {options}")).lived_in();
        noise_is_not_seen(&image, &["xfs_repair", "-n"]);
    }
}

#[test]
fn noise_where_btrfs_is_free_changes_nothing() {
    if !has(&["mkfs.btrfs", "btrfs"]) || !is_root() {
        return;
    }
    for options in ["", " -m dup -d single", " -m single -n 4096"] {
        println!("{options}");
        let image = Image::new(160, &format!("mkfs.btrfs -q -f{options}")).lived_in();
        noise_is_not_seen(&image, &["btrfs", "check", "--check-data-csum"]);
        // What boot loaders may lie in is not free.
        assert!(!image.found().free.intersects(&(0..1 << 20)));
    }
}

#[test]
fn noise_where_ntfs_is_free_changes_nothing() {
    if !has(&["mkntfs", "mount.ntfs-3g", "ntfsfix"]) || !is_root() {
        return;
    }
    for options in ["", " -c 16384"] {
        println!("{options}");
        let image = Image::new(96, &format!("mkntfs -Q -F -q{options}")).lived_in();
        noise_is_not_seen(&image, &["ntfsfix", "-n"]);
    }
}

/// A FAT with a file that was deleted; by mtools.
fn fat(options: &str) -> Image {
    let image = Image::new(64, &format!("mkfs.fat {options}"));
    let folder = tempfile::tempdir().unwrap();
    for (name, seed, len) in [
        ("kept", 4, 3 << 20),
        ("deleted", 3, DELETED),
        ("more", 5, 100_000),
    ] {
        fs::write(folder.path().join(name), bytes(seed, len)).unwrap();
        let path = folder.path().join(name);
        run(&[
            "mcopy",
            "-i",
            image.path.to_str().unwrap(),
            path.to_str().unwrap(),
            "::",
        ]);
    }
    run(&["mdel", "-i", image.path.to_str().unwrap(), "::deleted"]);
    image
}

#[test]
fn noise_where_fat_is_free_changes_nothing() {
    if !has(&["mkfs.fat", "mcopy", "mdel", "fsck.fat"]) {
        return;
    }
    for options in ["-F 16", "-F 32 -s 1", "-F 12 -s 64"] {
        println!("{options}");
        noise_is_not_seen(&fat(options), &["fsck.fat", "-n"]);
    }
}

#[test]
fn a_fat_that_was_not_left_in_order_is_left_alone() {
    if !has(&["mkfs.fat", "mcopy", "mdel"]) {
        return;
    }
    let image = fat("-F 16");
    image.put(0x25, &[1]);
    image.is_left_alone("was not unmounted");
    image.put(0x25, &[0]);
    // The second entry of the table, behind one reserved sector at the least.
    let reserved = u64::from(u16::from_le_bytes(image.get(14))) * 512;
    image.put(reserved + 3, &[0x7f]);
    image.is_left_alone("was not unmounted");
    image.put(reserved + 3, &[0xff]);
    let sectors = u64::from(u16::from_le_bytes(image.get(22))) * 512;
    image.put(reserved + sectors + 1000, &[1]);
    image.is_left_alone("differ from each other");
    image.put(reserved + sectors + 1000, &image.get::<1>(reserved + 1000));
    assert!(!image.found().free.is_empty());
    // A chain through a cluster that both tables call free.
    for table in [reserved, reserved + sectors] {
        image.put(table + 6, &[0, 0]);
    }
    image.is_left_alone("which is free");
}

#[test]
fn an_ext_that_was_not_left_in_order_is_left_alone() {
    if !has(&["mkfs.ext4", "debugfs"]) || !is_root() {
        return;
    }
    let image = Image::new(64, "mkfs.ext4 -q -F").lived_in();
    assert!(!image.found().free.is_empty());
    for (request, word) in [
        ("ssv state 3", "errors"),
        ("ssv state 0", "not unmounted"),
        ("ssv state 5", "not unmounted"),
        ("ssv error_count 1", "errors"),
        ("ssv last_orphan 13", "wait for being removed"),
        ("ssv feature_ro_compat 0x4000", "feature_ro_compat 0x4000"),
        ("feature needs_recovery", "journal"),
        ("feature mmp", "mmp"),
    ] {
        let changed = image.copy();
        run(&[
            "debugfs",
            "-w",
            "-R",
            request,
            changed.path.to_str().unwrap(),
        ]);
        changed.is_left_alone(word);
    }
    let without_journal = Image::new(64, "mkfs.ext4 -q -F -t ext2");
    let mount = Mount::new(&without_journal.path, "noatime");
    fs::write(mount.path().join("file"), b"it").unwrap();
    run(&["sync", "-f", mount.path().to_str().unwrap()]);
    without_journal.copy().is_left_alone("not unmounted");
    let with_journal = Image::new(64, "mkfs.ext4 -q -F");
    let second = Mount::new(&with_journal.path, "noatime");
    fs::write(second.path().join("file"), b"it").unwrap();
    run(&["sync", "-f", second.path().to_str().unwrap()]);
    with_journal
        .copy()
        .is_left_alone("not unmounted, and its journal");
}

/// The records of a damaged filesystem call blocks of a file free, and agree with each other on that.
#[test]
fn where_a_file_has_what_is_said_to_be_free_nothing_is_thrown_away() {
    if !has(&["mkfs.ext4", "debugfs"]) || !is_root() {
        return;
    }
    let image = Image::new(64, "mkfs.ext4 -q -F -b 4096 -t ext2").lived_in();
    let name = image.path.to_str().unwrap();
    let filesystem = image.filesystem();
    let kept = nodes::find(&*filesystem, "kept");
    let extent = filesystem.extents(kept).unwrap()[0];
    let summary = filesystem.summary();
    let size = u64::from(summary.block_size);
    let free = (summary.total - summary.used.unwrap()) / size;
    let request = format!("freeb {} 8", extent.volume / size);
    run(&["debugfs", "-w", "-R", &request, name]);
    image.is_left_alone("contradict each other");
    let request = format!("set_bg 0 free_blocks_count {}", free + 8);
    run(&["debugfs", "-w", "-R", &request, name]);
    image.is_left_alone("which is said to be free");
    // Where they do not agree, that is enough.
    let image = Image::new(64, "mkfs.ext4 -q -F -O ^metadata_csum,^uninit_bg").lived_in();
    let name = image.path.to_str().unwrap();
    run(&["debugfs", "-w", "-R", "set_bg 0 free_blocks_count 77", name]);
    image.is_left_alone("contradict each other");
}

#[test]
fn other_filesystems_that_were_not_left_in_order_are_left_alone() {
    if !has(&["mkfs.xfs", "mkfs.btrfs", "mkntfs", "mount.ntfs-3g"]) || !is_root() {
        return;
    }
    for (size, make) in [(320, "mkfs.xfs -q -f"), (160, "mkfs.btrfs -q -f")] {
        let image = Image::new(size, make);
        let mount = Mount::new(&image.path, "noatime");
        let file = mount.path().join("file");
        fs::write(&file, bytes(7, 300_000)).unwrap();
        run(&["sync", "-f", file.to_str().unwrap()]);
        fs::write(&file, bytes(8, 300_000)).unwrap();
        // That one file goes to the log only.
        File::open(&file).unwrap().sync_all().unwrap();
        image.copy().is_left_alone("not unmounted");
    }
    let several = Image::new(160, "mkfs.btrfs -q -f");
    let flags: [u8; 8] = several.get(0x1_0038);
    several.put(0x1_0038, &(u64::from_le_bytes(flags) | 4).to_le_bytes());
    // Its checksum does not hold any more: the second one is read.
    several.is_left_alone("first superblock is damaged");
    let ntfs = Image::new(64, "mkntfs -Q -F -q").lived_in();
    let shadows = ntfs.copy();
    shadows.put(
        0x1e00,
        &[
            0x6b, 0x87, 8, 0x38, 0x76, 0xc1, 0x48, 0x4e, 0xb7, 0xae, 4, 4, 0x6e, 0x6c, 0xc7, 0x52,
        ],
    );
    assert!(
        !shadows.found().free.is_empty(),
        "there is no shadow copy yet"
    );
    shadows.put(0x1e30, &0x40_0000_u64.to_le_bytes());
    shadows.is_left_alone("shadow copies");
    let mount = Mount::new(&ntfs.path, "");
    fs::write(mount.path().join("hiberfil.sys"), vec![0; 8192]).unwrap();
    drop(mount);
    assert!(!ntfs.found().free.is_empty(), "its head is zeros");
    let mount = Mount::new(&ntfs.path, "");
    fs::write(
        mount.path().join("hiberfil.sys"),
        [b"hibr".to_vec(), vec![0; 8192]].concat(),
    )
    .unwrap();
    drop(mount);
    ntfs.is_left_alone("suspended");
}

/// A disk with a master boot record and these partitions, in MiB.
fn partitioned(mebibytes: u64, partitions: &[(u32, u32)]) -> Image {
    let image = Image::empty(mebibytes);
    let mut record = vec![0; 512];
    for (index, (start, len)) in partitions.iter().enumerate() {
        let entry = &mut record[446 + 16 * index..][..16];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&(start * 2048).to_le_bytes());
        entry[12..].copy_from_slice(&(len * 2048).to_le_bytes());
    }
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    image.put(0, &record);
    image
}

#[test]
fn only_what_is_understood_is_thrown_away_and_never_beside_a_suspended_system() {
    if !has(&["mkfs.ext4", "mkfs.fat", "mcopy", "mdel"]) || !is_root() {
        return;
    }
    let ext = Image::new(48, "mkfs.ext4 -q -F").lived_in();
    let disk = partitioned(160, &[(1, 48), (50, 8), (60, 8), (70, 64)]);
    disk.put(1 << 20, &fs::read(&ext.path).unwrap());
    disk.put((50 << 20) + 4086, b"SWAPSPACE2");
    disk.put((60 << 20) + 300, b"nobody knows");
    disk.put(70 << 20, &fs::read(&fat("-F 16").path).unwrap());
    let found = disk.found();
    let volumes: Vec<&VolumeName> = found.volumes.iter().map(|one| &one.volume).collect();
    assert_eq!(
        volumes,
        [&VolumeName::Partition(1), &VolumeName::Partition(4)]
    );
    let left: Vec<&str> = found.left.iter().map(|(_, why)| why.as_str()).collect();
    assert_eq!(left, ["swap", "what is on it is not known"]);
    for outside in [0..1 << 20, 49 << 20..70 << 20, 134 << 20..160 << 20] {
        assert!(!found.free.intersects(&outside), "{outside:?}");
    }
    assert!(found.free.intersects(&(1 << 20..49 << 20)));
    // A filesystem that ends before its partition does: what lies behind is nobody's.
    let longer = partitioned(160, &[(1, 100)]);
    longer.put(1 << 20, &fs::read(&ext.path).unwrap());
    longer.put(80 << 20, &bytes(9, 1 << 20));
    assert!(!longer.found().free.intersects(&(49 << 20..160 << 20)));
    let overlapping = partitioned(160, &[(1, 48), (40, 20)]);
    overlapping.put(1 << 20, &fs::read(&ext.path).unwrap());
    overlapping.is_left_alone("it overlaps p2");
    // The guest sleeps, and what its memory holds of the filesystem is not on the disk.
    disk.put((50 << 20) + 4086, b"S1SUSPEND\0");
    disk.is_left_alone("suspended to disk");
}

/// With a file that a system was suspended to.
fn asleep(image: &Image) {
    let mount = Mount::new(&image.path, "noatime");
    let mut swap = bytes(6, 17 << 20);
    swap[4086..4095].copy_from_slice(b"S1SUSPEND");
    fs::write(mount.path().join("swapfile"), swap).unwrap();
}

/// Two disks in one: the second one has something to throw away.
fn beside(first: &Image) -> Image {
    let disk = partitioned(160, &[(1, 64), (80, 64)]);
    disk.put(1 << 20, &fs::read(&first.path).unwrap());
    disk.put(80 << 20, &fs::read(&fat("-F 16").path).unwrap());
    disk
}

#[test]
fn a_file_that_the_guest_is_suspended_to_keeps_the_other_volumes_as_well() {
    if !has(&[
        "mkfs.ext4",
        "debugfs",
        "mkfs.fat",
        "mcopy",
        "mdel",
        "mkntfs",
        "mount.ntfs-3g",
    ]) || !is_root()
    {
        return;
    }
    let ext = Image::new(64, "mkfs.ext4 -q -F");
    let awake = beside(&ext).found();
    assert_eq!((awake.volumes.len(), awake.left.len()), (2, 0));
    asleep(&ext);
    let check = |first: &Image, word: &str| {
        let disk = beside(first);
        disk.is_left_alone(word);
        let left = disk.found().left;
        assert!(left.len() == 2 && left[0].1 == left[1].1, "{left:?}");
    };
    check(&ext, "suspended to a file on p1");
    // Nor does it matter that nothing of its own volume would be thrown away.
    let name = ext.path.to_str().unwrap();
    run(&["debugfs", "-w", "-R", "ssv state 0", name]);
    check(&ext, "suspended to a file on p1");
    let ntfs = Image::new(64, "mkntfs -Q -F -q");
    assert_eq!(beside(&ntfs).found().volumes.len(), 2);
    let mount = Mount::new(&ntfs.path, "");
    let head = [b"hibr".to_vec(), vec![0; 8192]].concat();
    fs::write(mount.path().join("hiberfil.sys"), head).unwrap();
    drop(mount);
    check(&ntfs, "p1: Windows may be suspended to it");
}

/// A disk of which one byte cannot be read.
#[derive(Debug)]
struct Unread {
    disk: Source,
    byte: u64,
    error: fn() -> Error,
}

impl BlockSource for Unread {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> qanopy_guest::Result<()> {
        match (offset..offset + buf.len() as u64).contains(&self.byte) {
            true => Err((self.error)()),
            false => self.disk.read_at(offset, buf),
        }
    }
}

#[test]
fn a_file_that_may_be_what_the_guest_is_suspended_to_is_read_or_all_is_left_alone() {
    if !has(&["mkfs.ext4"]) || !is_root() {
        return;
    }
    let image = Image::new(64, "mkfs.ext4 -q -F");
    let mount = Mount::new(&image.path, "noatime");
    fs::write(mount.path().join("swapfile"), bytes(6, 17 << 20)).unwrap();
    drop(mount);
    assert!(!image.found().free.is_empty());
    let filesystem = image.filesystem();
    let swapfile = nodes::find(&*filesystem, "swapfile");
    let byte = filesystem.extents(swapfile).unwrap()[0].volume + 4086;
    let found = |error| {
        let disk = source::raw(&image.path);
        let source: Source = Arc::new(Unread { disk, byte, error });
        discardable(&source, &|| true)
    };
    let unread = found(|| Error::TooMuch {
        what: "anything",
        most: 1,
    })
    .unwrap();
    assert!(unread.free.is_empty(), "{unread:?}");
    assert!(unread.left[0].1.contains("anything"), "{unread:?}");
    assert!(matches!(found(|| Error::Cancelled), Err(Error::Cancelled)));
    // A swap file is stored as it is.
    let packed = found(|| Error::Unsupported {
        filesystem: "ext4",
        feature: "anything".to_owned(),
    });
    assert!(!packed.unwrap().free.is_empty());
}

#[test]
fn marks_of_something_else_speak_against_a_filesystem() {
    if !has(&["mkfs.ext4", "debugfs"]) || !is_root() {
        return;
    }
    let image = Image::new(64, "mkfs.ext4 -q -F -b 4096");
    assert!(!image.found().free.is_empty());
    // Behind its superblock, in the same block.
    let swap = image.copy();
    assert_eq!(swap.get::<10>(4086), [0; 10]);
    swap.put(4086, b"SWAPSPACE2");
    swap.is_left_alone("something else: swap");
    // Before it, where FAT and others begin.
    let btrfs = image.copy();
    btrfs.put(0x1_0040, b"_BHRfS_M");
    assert!(btrfs.found().free.is_empty());
    // A file that a system was suspended to.
    let suspended = Image::new(64, "mkfs.ext4 -q -F");
    asleep(&suspended);
    suspended.is_left_alone("suspended to a file");
}

#[test]
fn looking_can_be_stopped() {
    if !has(&["mkfs.ext4"]) || !is_root() {
        return;
    }
    let image = Image::new(64, "mkfs.ext4 -q -F").lived_in();
    let stopped = discardable(&source::raw(&image.path), &|| false);
    assert!(matches!(stopped, Err(Error::Cancelled)));
    let files = tree::of_filesystem(&*image.filesystem());
    assert!(files.values().any(|seen| seen.kind == NodeKind::File));
    let empty: Source = Arc::new(vec![0; 1 << 20]);
    let found = discardable(&empty, &|| true).unwrap();
    assert!(found.free.is_empty() && found.left.len() == 1);
}
