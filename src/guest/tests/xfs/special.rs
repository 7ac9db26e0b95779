//! What needs more than the usual files: maps and directories that are trees, shared and unwritten blocks, files past
//! what is written, what space is used for, a real-time device.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use qanopy_guest::filesystem::{Candidates, Filesystem, NodeId, NodeKind, Use};
use qanopy_guest::{Error, Ranges, readers};

use super::{assert_told, can, copied, differing, made, opened, walked};
use crate::support::files::bytes;
use crate::support::mount::Mount;
use crate::support::source;
use crate::support::tools::run;
use crate::support::tree;

/// Files whose maps are trees, with shared, unwritten and missing blocks, and a directory whose hashes are one.
fn populate(root: &Path) {
    let apart = File::create(root.join("apart")).unwrap();
    for index in 0..3_000 {
        apart
            .write_all_at(&bytes(index, 4096), index * 8192)
            .unwrap();
    }
    apart.set_len(100 << 20).unwrap();
    let in_root = |name: &str| root.join(name).to_str().unwrap().to_owned();
    fs::write(root.join("original"), bytes(1, 3 << 20)).unwrap();
    run(&[
        "cp",
        "--reflink=always",
        &in_root("original"),
        &in_root("clone"),
    ]);
    let clone = File::options()
        .write(true)
        .open(root.join("clone"))
        .unwrap();
    clone.write_all_at(b"apart now", 1 << 20).unwrap();
    run(&["fallocate", "-l", "5M", &in_root("unwritten")]);
    let unwritten = File::options()
        .write(true)
        .open(root.join("unwritten"))
        .unwrap();
    unwritten.write_all_at(b"written", 2 << 20).unwrap();
    run(&["fallocate", "-n", "-l", "20M", &in_root("original")]);
    run(&["mknod", &in_root("device"), "b", "7", "300"]);
    fs::create_dir(root.join("directory")).unwrap();
    for index in 0..9_000 {
        let name = format!("directory/a-name-that-takes-some-room-{index:05}");
        File::create(root.join(name)).unwrap();
    }
}

#[test]
fn trees_of_extents_shared_and_unwritten_blocks_are_read() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = made(&folder, "-b size=1024");
    let mount = Mount::new(&image, "nouuid");
    populate(&mount.path());
    let is = fs::metadata(mount.path().join("apart")).unwrap();
    drop(mount);
    let filesystem = opened(&image);
    let mount = Mount::new(&image, "ro,nouuid");
    tree::assert_same(
        &tree::of_filesystem(&*filesystem),
        &tree::of_folder(&mount.path()),
    );
    let id = filesystem
        .lookup(filesystem.root(), b"apart")
        .unwrap()
        .unwrap();
    assert_eq!(id, NodeId::new(is.ino()));
    assert_eq!(filesystem.node(id).unwrap().allocated, is.blocks() * 512);
    assert!(filesystem.extents(id).unwrap().len() >= 3_000);
    let extents = |name: &[u8]| {
        let id = filesystem.lookup(filesystem.root(), name).unwrap().unwrap();
        filesystem.extents(id).unwrap()
    };
    assert!(extents(b"unwritten").iter().any(|extent| extent.unwritten));
    let shared = |one: &qanopy_guest::filesystem::FileExtent| one.volume;
    assert_eq!(
        extents(b"original").first().map(shared),
        extents(b"clone").first().map(shared)
    );
}

/// What every byte is used for, in the order it is told.
fn told(filesystem: &dyn Filesystem) -> BTreeMap<&'static str, Ranges> {
    let mut uses: BTreeMap<&'static str, Ranges> = BTreeMap::new();
    filesystem
        .usage(&mut |range: Range<u64>, what| {
            let name = match what {
                Use::FileData => "data",
                Use::Metadata => "metadata",
                Use::Journal => "journal",
                Use::Free => "free",
                Use::Unread => "unread",
            };
            uses.entry(name).or_default().insert(range);
            Ok(())
        })
        .unwrap();
    uses
}

#[test]
fn every_byte_is_used_for_one_thing() {
    if !can() {
        return;
    }
    for options in ["-b size=1024", "-m rmapbt=1", "-n size=16384 -d agcount=3"] {
        let folder = tempfile::tempdir().unwrap();
        let image = made(&folder, options);
        let mount = Mount::new(&image, "nouuid");
        populate(&mount.path());
        drop(mount);
        let filesystem = opened(&image);
        let mut uses = told(&*filesystem);
        let mut data = Ranges::new();
        for (id, node) in walked(&*filesystem).0 {
            if node.kind == NodeKind::File {
                for extent in filesystem.extents(id).unwrap() {
                    data.insert(extent.volume..extent.volume + extent.len);
                }
            }
        }
        uses.insert("data", data);
        // Nothing is told twice, and everything once.
        let mut all = Ranges::new();
        uses.values().for_each(|ranges| all.extend(ranges));
        let sum: u64 = uses.values().map(Ranges::bytes).sum();
        assert_eq!(sum, all.bytes(), "{options}");
        let total = filesystem.summary().total;
        // Quotas and real-time files have no blocks here.
        let mut whole = Ranges::new();
        whole.insert(0..total);
        assert_eq!(all, whole, "{options}");
        // The other reader of free space: with the list of blocks for trees, which is told as free as well.
        let freed = run(&["xfs_db", "-r", "-c", "freesp -s", image.to_str().unwrap()]);
        let blocks = freed
            .lines()
            .find_map(|line| line.strip_prefix("total free blocks "));
        let size = u64::from(filesystem.summary().block_size);
        let free = blocks.unwrap().trim().parse::<u64>().unwrap() * size;
        let own = uses["free"].bytes();
        assert!(
            (free..free + 100 * size).contains(&own),
            "{own}, not {free}: {options}"
        );
        let used = filesystem.summary().used.unwrap();
        assert!(
            used.abs_diff(total - own) < 1 << 20,
            "{used}, not {}",
            total - own
        );
    }
}

#[test]
fn what_is_not_read_is_named() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let failed = |options: &str, change: &dyn Fn(&Path)| {
        let image = made(&folder, options);
        change(&image);
        let opened = readers::open(&source::raw(&image));
        opened.unwrap_err().to_string()
    };
    let features = |value: &'static str| {
        move |image: &Path| {
            let write = format!("write -d features_incompat {value}");
            let image = image.to_str().unwrap();
            run(&["xfs_db", "-x", "-c", "sb 0", "-c", &write, image]);
        }
    };
    let file = |image: &Path| File::options().write(true).open(image).unwrap();
    assert_eq!(
        [
            failed("-m crc=0", &|_| {}),
            failed("", &features("0x1b")),
            failed("", &features("0x800b")),
            failed("", &|image| file(image).write_all_at(b"?", 4).unwrap()),
            failed("", &|image| file(image).set_len(100 << 20).unwrap()),
        ],
        [
            "XFS: version 4 is not read",
            "XFS: needsrepair is not read",
            "XFS: incompatible feature 0x8000 is not read",
            "XFS: superblock at byte 0 of the volume: its checksum is wrong",
            "XFS: superblock at byte 0 of the volume: sb_dblocks: 335544320 bytes, and the volume has 104857600",
        ]
    );
}

#[test]
fn files_on_a_real_time_device_are_not_taken_for_empty() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = made(&folder, "");
    let mount = Mount::new(&image, "nouuid");
    let file = mount.path().join("file");
    fs::write(&file, bytes(1, 64 << 10)).unwrap();
    let number = fs::metadata(&file).unwrap().ino();
    fs::write(mount.path().join("other"), b"on the data device").unwrap();
    drop(mount);
    // Not every kernel can make one.
    let inode = format!("inode {number}");
    let name = image.to_str().unwrap();
    run(&[
        "xfs_db",
        "-x",
        "-c",
        &inode,
        "-c",
        "write core.realtime 1",
        name,
    ]);
    let filesystem = opened(&image);
    let find = |name: &[u8]| filesystem.lookup(filesystem.root(), name).unwrap().unwrap();
    let mut buf = [0; 18];
    assert_eq!(filesystem.read(find(b"other"), 0, &mut buf).unwrap(), 18);
    assert_eq!(&buf, b"on the data device");
    assert_eq!(filesystem.node(find(b"file")).unwrap().size, 64 << 10);
    for failed in [
        filesystem.read(find(b"file"), 0, &mut buf).map(drop),
        filesystem.extents(find(b"file")).map(drop),
    ] {
        assert!(
            matches!(failed, Err(Error::Unsupported { .. })),
            "{failed:?}"
        );
    }
    filesystem.usage(&mut |_, _| Ok(())).unwrap();
}

#[test]
fn what_went_with_its_chunk_of_inodes_is_told() {
    if !can() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let after = made(&folder, "");
    let mount = Mount::new(&after, "nouuid");
    for index in 0..500 {
        let directory = mount.path().join(format!("gone/{index}"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("inside"), b"of it").unwrap();
    }
    drop(mount);
    let before = copied(&after, "before");
    let mount = Mount::new(&after, "nouuid");
    fs::remove_dir_all(mount.path().join("gone")).unwrap();
    drop(mount);
    let differing = differing(&before, &after);
    let (old, new) = (opened(&before), opened(&after));
    let known: usize = [&old, &new]
        .map(|one| match one.candidates(&differing).unwrap() {
            Candidates::Nodes(found) => found.len(),
            Candidates::All => usize::MAX,
        })
        .iter()
        .sum();
    // Their records are as they were.
    assert!(known < 900, "{known}");
    assert_told(&before, &after, &differing);
}
