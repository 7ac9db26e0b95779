//! NTFS against `ntfs-3g`, which mounts it without the kernel's help.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use qanopy_guest::block::{Mapped, Place};
use qanopy_guest::filesystem::{Candidates, Condition, Use};
use qanopy_guest::{Filesystem, Ranges, Source, diff, readers};

use crate::support::changes::{self, State};
use crate::support::files::{Abilities, bytes, change, populate};
use crate::support::hostile;
use crate::support::mount::Mount;
use crate::support::nodes;
use crate::support::source;
use crate::support::tools::{has, is_root, run, sample};
use crate::support::tree::{self, Tree, assert_same};

const TOOLS: [&str; 2] = ["mkntfs", "mount.ntfs-3g"];

/// How it is mounted where nothing else matters: what is no folder, file or link becomes a reparse point.
const MOUNT: &str = "special_files=wsl,streams_interface=xattr";

/// A filesystem in a file.
struct Case {
    _dir: tempfile::TempDir,
    image: PathBuf,
}

impl Case {
    /// Of `size` bytes, made with these options of `mkntfs`.
    fn new(size: u64, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("ntfs.raw");
        File::create(&image).unwrap().set_len(size).unwrap();
        let name = image.to_str().unwrap();
        run(&[
            &["mkntfs", "-Q", "-F", "-q", "-L", "Gäste 🎉"],
            options,
            &[name],
        ]
        .concat());
        Self { _dir: dir, image }
    }

    fn mount(&self, options: &str) -> Mount {
        Mount::new(&self.image, options)
    }

    fn open(&self) -> Arc<dyn Filesystem> {
        open(&self.image)
    }
}

fn open(image: &Path) -> Arc<dyn Filesystem> {
    let volume: Source = Arc::new(fs::read(image).unwrap());
    readers::open(&volume).unwrap().unwrap()
}

/// A tree without modes and owners, which ntfs-3g makes up in another way.
fn as_ntfs(mut tree: Tree) -> Tree {
    for seen in tree.values_mut() {
        (seen.mode, seen.owner) = (0, (0, 0));
    }
    tree
}

/// What a mounted filesystem shows.
pub(crate) fn truth(mount: &Mount) -> Tree {
    as_ntfs(tree::of_folder(&mount.path()))
}

/// What a reader shows of it.
pub(crate) fn shown(filesystem: &dyn Filesystem) -> Tree {
    as_ntfs(tree::of_filesystem(filesystem))
}

/// The usual files, and those that NTFS can hold besides.
fn files_for_ntfs(root: &Path) {
    populate(root, Abilities { unix: false });
    let mut sparse = File::create(root.join("sparse")).unwrap();
    for at in [0, 1 << 20, 40 << 20] {
        sparse.seek(SeekFrom::Start(at)).unwrap();
        sparse.write_all(&bytes(at, 10_000)).unwrap();
    }
    sparse.set_len(50 << 20).unwrap();
    fs::hard_link(root.join("large"), root.join("etc/large-again")).unwrap();
    symlink("etc/file-0001.conf", root.join("short-link")).unwrap();
    symlink("x".repeat(900), root.join("long-link")).unwrap();
    // So many names that one record cannot hold them.
    for index in 0..40 {
        let name = format!("var/log/one of many names of the same file, number {index}");
        fs::hard_link(root.join("text"), root.join(name)).unwrap();
    }
    // In so many pieces that one record cannot tell where they are.
    let pieces = File::create(root.join("pieces")).unwrap();
    for index in 0..400 {
        pieces
            .write_all_at(&bytes(index, 4096), index << 17)
            .unwrap();
    }
    set(&root.join("text"), "user.another", b"a stream with a name");
}

/// Changes of every kind.
fn change_ntfs(root: &Path) {
    change(root, Abilities { unix: false });
    fs::remove_file(root.join("short-link")).unwrap();
    symlink("etc/file-0002.conf", root.join("short-link")).unwrap();
    fs::hard_link(root.join("etc/file-0014.conf"), root.join("var/log/linked")).unwrap();
    fs::remove_file(root.join("var/log/one of many names of the same file, number 7")).unwrap();
    let mut sparse = File::options()
        .write(true)
        .open(root.join("sparse"))
        .unwrap();
    sparse.seek(SeekFrom::Start(20 << 20)).unwrap();
    sparse.write_all(b"no hole any more").unwrap();
}

/// The time of birth, which ntfs-3g tells by an extended attribute.
fn born(path: &Path) -> Option<SystemTime> {
    let mut ticks = [0_u8; 8];
    let len = rustix::fs::lgetxattr(path, "system.ntfs_crtime", &mut ticks).unwrap();
    assert_eq!(len, 8);
    UNIX_EPOCH.checked_add(Duration::from_nanos(u64::from_le_bytes(ticks) >> 8))
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

const VARIANTS: [(&str, u64, &[&str]); 4] = [
    ("4 KiB", 96 << 20, &["-c", "4096"]),
    ("512 bytes", 64 << 20, &["-c", "512"]),
    ("64 KiB", 200 << 20, &["-c", "65536"]),
    ("sectors of 4 KiB", 96 << 20, &["-s", "4096", "-c", "4096"]),
];

#[test]
fn an_ntfs_holds_what_ntfs_3g_shows_and_the_changes_that_were_made() {
    if !has(&TOOLS) || !is_root() {
        return;
    }
    for (name, size, options) in VARIANTS {
        let case = Case::new(size, options);
        let mounted = case.mount(MOUNT);
        files_for_ntfs(&mounted.path());
        drop(mounted);
        let state = || {
            let mounted = case.mount(&format!("ro,{MOUNT}"));
            let truth = truth(&mounted);
            (truth, State::with(&mounted.path(), &|path, _| born(path)))
        };
        let (truth_before, before) = state();
        let bytes_before: Source = Arc::new(fs::read(&case.image).unwrap());
        let was = readers::open(&bytes_before).unwrap().unwrap();
        assert_same(&shown(&*was), &truth_before);
        assert!(truth_before.len() > 1690, "{name}: {}", truth_before.len());
        assert_eq!(was.summary().condition, Condition::Clean, "{name}");
        // What is more than one record can hold.
        let links = was.node(nodes::find(&*was, "text")).unwrap().links;
        assert_eq!(links, 41, "{name}");
        let pieces = was.extents(nodes::find(&*was, "pieces")).unwrap().len();
        assert!(pieces > 300, "{name}: {pieces} pieces");

        let mounted = case.mount(MOUNT);
        change_ntfs(&mounted.path());
        drop(mounted);
        let (truth_after, after) = state();
        let bytes_after: Source = Arc::new(fs::read(&case.image).unwrap());
        let is = readers::open(&bytes_after).unwrap().unwrap();
        assert_same(&shown(&*is), &truth_after);

        let changed = source::differing(&bytes_before, &bytes_after, 64 << 10);
        nodes::assert_candidates(&*was, &*is, &changed);
        let (options, watch) = (diff::Options::default(), &mut diff::NoWatch);
        let told = diff::filesystems(&*was, &*is, &changed, options, watch).unwrap();
        assert!(told.problems.is_empty(), "{:?}", told.problems);
        changes::assert_same(
            &changes::told(&told.changes),
            &changes::expected(&before, &after),
        );
    }
}

#[test]
fn a_master_file_table_in_many_pieces_is_read() {
    if !has(&TOOLS) || !is_root() {
        return;
    }
    let case = Case::new(8 << 20, &["-c", "512"]);
    let mounted = case.mount(MOUNT);
    let root = mounted.path();
    // Fill it, leave a hole in every other place, and make the table grow into these.
    let full = |name: &str, content: &[u8]| -> usize {
        let made = (0..10_000).take_while(|index| {
            let path = root.join(format!("{name}{index}"));
            fs::write(&path, content).is_ok()
        });
        made.count()
    };
    let files = full("file ", &bytes(1, 1500));
    for index in (0..files).step_by(2) {
        fs::remove_file(root.join(format!("file {index}"))).unwrap();
    }
    let empty = full("empty ", b"");
    assert!(empty > files / 2, "{empty} after {files}");
    drop(mounted);
    // The first record is too small to tell where all pieces are.
    let table = run(&[
        "ntfsinfo",
        "-f",
        "-v",
        "-i",
        "0",
        case.image.to_str().unwrap(),
    ]);
    assert!(table.contains("$ATTRIBUTE_LIST"), "{table}");
    let filesystem = case.open();
    assert_same(&shown(&*filesystem), &truth(&case.mount("ro")));
    let Candidates::Nodes(all) = filesystem.candidates(&Ranges::all()).unwrap() else {
        panic!("it tells candidates");
    };
    let nodes = nodes::all(&*filesystem);
    assert!(nodes.keys().all(|id| all.contains(id)));
    let links = filesystem.links(&nodes.keys().copied().collect()).unwrap();
    assert_eq!(links.len(), nodes.len() - 1, "all but the root");
}

#[test]
fn compressed_content_is_unpacked() {
    if !has(&TOOLS) || !is_root() {
        return;
    }
    let case = Case::new(64 << 20, &["-c", "4096", "-C"]);
    let mounted = case.mount("compression");
    let root = mounted.path();
    populate(&root, Abilities { unix: false });
    // Units that are packed, stored as they are and holes; and what was written within them later.
    let mut mixed = Vec::new();
    for unit in 0..40_u64 {
        match unit % 4 {
            0 => mixed.extend(bytes(unit, 64 << 10)),
            1 => mixed.extend(vec![0; 64 << 10]),
            2 => mixed.extend([bytes(unit, 30_000), vec![7; (64 << 10) - 30_000]].concat()),
            _ => mixed.extend(b"packed ".repeat(9363)),
        }
    }
    fs::write(root.join("mixed"), &mixed).unwrap();
    let mut mixed = File::options()
        .write(true)
        .open(root.join("mixed"))
        .unwrap();
    mixed.seek(SeekFrom::Start(700_000)).unwrap();
    mixed.write_all(&bytes(5, 100_000)).unwrap();
    drop(mixed);
    drop(mounted);
    let filesystem = case.open();
    assert_same(&shown(&*filesystem), &truth(&case.mount("ro")));
    for name in ["mixed", "text"] {
        let extents = filesystem.extents(nodes::find(&*filesystem, name)).unwrap();
        let packed = extents.iter().filter(|one| one.stored < one.len).count();
        assert!(packed > 1, "{name}: {extents:?}");
        let stored: u64 = extents.iter().map(|one| one.stored).sum();
        let node = filesystem.node(nodes::find(&*filesystem, name)).unwrap();
        assert_eq!(stored, node.allocated, "{name}");
        assert!(node.allocated < node.size, "{name}");
    }
}

#[test]
fn links_are_told_and_what_is_kept_elsewhere_is_not_read() {
    if !has(&TOOLS) || !is_root() {
        return;
    }
    let case = Case::new(16 << 20, &["-c", "4096"]);
    let mounted = case.mount("streams_interface=xattr");
    let root = mounted.path();
    let reparse = |path: &str, tag: u32, data: &[u8]| {
        let len = u16::try_from(data.len()).unwrap();
        let value = [&tag.to_le_bytes()[..], &len.to_le_bytes(), &[0; 2], data].concat();
        set(&root.join(path), "system.ntfs_reparse_data", &value);
    };
    fs::create_dir(root.join("junction")).unwrap();
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let target = utf16(r"C:\Users");
    let len = u16::try_from(target.len()).unwrap();
    let lens = [0, len, len + 2, 0].map(u16::to_le_bytes).concat();
    reparse(
        "junction",
        0xa000_0003,
        &[&lens[..], &target, &[0; 4]].concat(),
    );
    fs::write(root.join("packed"), b"x").unwrap();
    reparse(
        "packed",
        0x8000_0017,
        &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
    );
    // The way of Interix, which is that of ntfs-3g unless told otherwise.
    symlink("../of interix", root.join("link")).unwrap();
    fs::write(root.join("secret"), bytes(1, 20_000)).unwrap();
    fs::write(root.join("read-only"), b"x").unwrap();
    set(
        &root.join("read-only"),
        "system.ntfs_attrib",
        &0x21_u32.to_le_bytes(),
    );
    drop(mounted);

    // No tool here encrypts: the flag of the stream of a file is set by hand.
    let mut image = fs::read(&case.image).unwrap();
    let name = utf16("secret");
    let at = (0..image.len() / 1024)
        .map(|number| number * 1024)
        .find(|at| {
            let record = &image[*at..*at + 1024];
            record.starts_with(b"FILE") && record.windows(name.len()).any(|part| part == name)
        })
        .unwrap();
    let mut attribute = at + usize::from(image[at + 20]);
    while image[attribute] != 0x80 {
        attribute += usize::from(image[attribute + 4]);
    }
    image[attribute + 13] = 0x40;
    let volume: Source = Arc::new(image);
    let filesystem = readers::open(&volume).unwrap().unwrap();

    let target = |path: &str| {
        filesystem
            .link_target(nodes::find(&*filesystem, path))
            .unwrap()
    };
    assert_eq!(target("junction"), br"C:\Users");
    assert_eq!(target("link"), b"../of interix");
    for (path, feature) in [("secret", "EFS"), ("packed", "WOF")] {
        let id = nodes::find(&*filesystem, path);
        let error = filesystem.read(id, 0, &mut [0; 10]).unwrap_err();
        assert!(error.to_string().contains(feature), "{error}");
        assert!(filesystem.node(id).unwrap().size > 0);
    }
    let mode = |path| {
        filesystem
            .node(nodes::find(&*filesystem, path))
            .unwrap()
            .mode
    };
    assert_eq!(mode("read-only"), 0o100_444);
    assert_eq!((mode("junction"), mode("link")), (0o120_777, 0o120_777));
    let upper = filesystem.lookup(filesystem.root(), b"SECRET").unwrap();
    assert_eq!(upper, Some(nodes::find(&*filesystem, "secret")));
}

#[test]
fn usage_is_what_the_bitmap_says() {
    if !has(&TOOLS) || !is_root() {
        return;
    }
    for (name, size, options) in VARIANTS {
        let case = Case::new(size, options);
        let mounted = case.mount(MOUNT);
        files_for_ntfs(&mounted.path());
        fs::remove_file(mounted.path().join("etc/large-again")).unwrap();
        fs::remove_file(mounted.path().join("large")).unwrap();
        drop(mounted);
        let mounted = case.mount("ro");
        let told = rustix::fs::statvfs(mounted.path()).unwrap();
        let filesystem = case.open();
        let mut places = [Use::Free, Use::Metadata, Use::Journal].map(|used| (used, Ranges::new()));
        filesystem
            .usage(&mut |range, used| {
                let place = places.iter_mut().find(|(kind, _)| *kind == used);
                place.unwrap().1.insert(range);
                Ok(())
            })
            .unwrap();
        let [free, metadata, journal] = places.map(|(_, place)| place);
        assert_eq!(free.bytes(), told.f_bfree * told.f_frsize, "{name}");
        let used = filesystem.used().unwrap().unwrap();
        assert_eq!(used + free.bytes(), told.f_blocks * told.f_frsize, "{name}");
        assert!(journal.bytes() >= 1 << 20, "{name}: {journal:?}");
        assert!(metadata.bytes() > 1 << 20, "{name}");
        for (id, node) in nodes::all(&*filesystem) {
            for extent in filesystem.extents(id).unwrap() {
                let place = extent.volume..extent.volume + extent.stored;
                assert!(!free.intersects(&place), "{name}: {node:?}");
                assert!(!journal.intersects(&place), "{name}: {node:?}");
                assert_eq!(
                    metadata.intersects(&place),
                    node.is_directory(),
                    "{name}: {node:?}"
                );
            }
        }
    }
}

#[test]
fn label_and_serial_number_are_those_that_blkid_tells() {
    if !has(&TOOLS) || !has(&["blkid"]) {
        return;
    }
    let case = Case::new(8 << 20, &["-c", "4096"]);
    let image = case.image.to_str().unwrap();
    let tell = |tag: &str| run(&["blkid", "-p", "-o", "value", "-s", tag, image]);
    let filesystem = case.open();
    let summary = filesystem.summary();
    assert_eq!(summary.uuid, tell("UUID").trim());
    assert_eq!(
        String::from_utf8_lossy(&summary.label),
        tell("LABEL").trim()
    );
    assert_eq!((summary.kind, summary.block_size), ("NTFS", 4096));
}

#[test]
fn a_volume_that_was_not_unmounted_says_so() {
    if !has(&TOOLS) || !is_root() {
        return;
    }
    let case = Case::new(16 << 20, &["-c", "4096"]);
    // VOLUME_FLAG_DIRTY, as Windows and the kernel set it; ntfs-3g does not.
    let mut image = fs::read(&case.image).unwrap();
    let mft = usize::try_from(u64::from_le_bytes(image[0x30..0x38].try_into().unwrap())).unwrap();
    let volume = mft * 4096 + 3 * 1024;
    let mut attribute = volume + usize::from(image[volume + 20]);
    while image[attribute] != 0x70 {
        attribute += usize::from(image[attribute + 4]);
    }
    let value = attribute + usize::from(image[attribute + 20]);
    image[value + 10] |= 1;
    let volume: Source = Arc::new(image);
    let filesystem = readers::open(&volume).unwrap().unwrap();
    assert_eq!(
        filesystem.summary().condition,
        Condition::NotReplayed("the volume is marked as dirty".to_owned())
    );
}

#[test]
fn a_forged_ntfs_is_survived() {
    if !has(&TOOLS) || !is_root() {
        return;
    }
    let case = Case::new(3 << 20, &["-c", "512", "-C"]);
    let mounted = case.mount(&format!("compression,{MOUNT}"));
    let root = mounted.path();
    for index in 0..60_u64 {
        let folder = root.join(format!("folder-{}", index % 2));
        fs::create_dir_all(&folder).unwrap();
        let what = [bytes(index, 900), vec![0; 3000]].concat();
        fs::write(folder.join(format!("a file {index}.txt")), what).unwrap();
    }
    for index in 0..30 {
        fs::hard_link(
            root.join("folder-1/a file 1.txt"),
            root.join(format!("another name {index}")),
        )
        .unwrap();
    }
    symlink("a target", root.join("link")).unwrap();
    drop(mounted);
    let image = fs::read(&case.image).unwrap();
    let filesystem = case.open();
    let mft = usize::try_from(u64::from_le_bytes(image[0x30..0x38].try_into().unwrap())).unwrap();
    let mut places = vec![0..0x50, mft * 512..mft * 512 + 27 * 1024];
    // Every record and block of an index, wherever it is.
    for at in (0..image.len()).step_by(512) {
        match &image[at..at + 4] {
            b"FILE" => places.push(at..at + 512),
            b"INDX" => places.push(at..at + 1024),
            _ => {}
        }
    }
    assert!(places.len() > 80, "{}", places.len());
    drop(filesystem);
    hostile::survives(&image, &places, 3_000);
}

#[test]
fn an_image_of_debian_s_forensics_samples_is_read_as_ntfs_3g_reads_it() {
    if !has(&TOOLS) || !has(&["xz"]) || !is_root() {
        return;
    }
    let Some(disk) = sample("fs.ntfs") else {
        return;
    };
    // Its only partition begins at sector 2048.
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("partition.raw");
    fs::write(&image, &disk[1 << 20..]).unwrap();
    let disk: Source = Arc::new(disk);
    let volume: Source = Arc::new(Mapped::new(disk.clone(), Place::range(1 << 20..disk.len())));
    let filesystem = readers::open(&volume).unwrap().unwrap();
    let mounted = Mount::new(&image, "ro");
    let ours = shown(&*filesystem);
    assert!(ours.len() > 20, "{}", ours.len());
    assert_same(&ours, &truth(&mounted));
}

#[test]
fn names_are_the_same_where_the_volume_s_own_table_says_so() {
    if !has(&TOOLS) || !is_root() {
        return;
    }
    let case = Case::new(16 << 20, &[]);
    let mounted = case.mount(MOUNT);
    for name in ["Grüße", "\u{131}x", "\u{17f}ilent"] {
        fs::write(mounted.path().join(name), name).unwrap();
    }
    drop(mounted);
    let filesystem = case.open();
    let is_there = |name: &str| {
        let found = filesystem.lookup(filesystem.root(), name.as_bytes());
        found.unwrap().is_some()
    };
    assert!(is_there("GRÜßE") && is_there("grüße") && !is_there("GRÜSSE"));
    // Unicode has I and S for these; Windows does not.
    assert!(is_there("\u{131}X") && !is_there("IX") && !is_there("ix"));
    assert!(is_there("\u{17f}ILENT") && !is_there("SILENT"));
}

#[test]
fn what_is_used_of_a_large_volume_is_counted() {
    if !has(&TOOLS) {
        return;
    }
    let size = 300 << 30;
    let case = Case::new(size, &[]);
    let counted = Arc::new(source::Counted::new(source::raw(&case.image)));
    let volume: Source = counted.clone();
    let filesystem = readers::open(&volume).unwrap().unwrap();
    // Its bitmap has some 9 MiB, and is read only where somebody asks.
    let read = counted.read();
    assert!(read < 1 << 20, "{read} bytes read to open it");
    let used = filesystem.used().unwrap().unwrap();
    assert!((1 << 20..1 << 30).contains(&used), "{used}");
}
