//! FAT12, FAT16 and FAT32 against `mtools`, which reads and writes them without a kernel.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy_guest::block::{Mapped, Place};
use qanopy_guest::filesystem::{Candidates, NodeId, Use};
use qanopy_guest::{Disk, Filesystem, Ranges, Source, diff, explain, readers};

use super::support::nodes;
use super::support::source;
use crate::support::changes;
use crate::support::files::{Abilities, bytes, populate};
use crate::support::hostile;
use crate::support::tools::{has, run, sample};
use crate::support::tree::{self, Tree, assert_same};

const TOOLS: [&str; 8] = [
    "mkfs.fat", "mcopy", "mmd", "mdel", "mdeltree", "mmove", "mattrib", "fsck.fat",
];

/// A filesystem in a file and a folder that holds the same.
struct Case {
    dir: tempfile::TempDir,
    image: PathBuf,
}

impl Case {
    /// Of `size` bytes, made with these options of `mkfs.fat`.
    fn new(size: u64, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("fat.raw");
        File::create(&image).unwrap().set_len(size).unwrap();
        let name = image.to_str().unwrap();
        run(&[&["mkfs.fat", "-i", "1234abcd"], options, &[name]].concat());
        Self { dir, image }
    }

    /// One of the tools of mtools, on this image.
    fn tool(&self, tool: &str, words: &[&str]) {
        let image = self.image.to_str().unwrap();
        let before = ["env", "TZ=UTC", "MTOOLS_SKIP_CHECK=1", tool, "-i", image];
        run(&[&before, words].concat());
    }

    /// Copies what a folder of this host holds into the root.
    fn fill(&self, from: &Path) {
        let names: Vec<String> = fs::read_dir(from)
            .unwrap()
            .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.tool(
            "mcopy",
            &[&["-s", "-m", "-Q"], &names[..], &["::"]].concat(),
        );
    }

    /// What mtools shows.
    fn truth(&self) -> Tree {
        let out = tempfile::tempdir_in(self.dir.path()).unwrap();
        self.tool(
            "mcopy",
            &["-s", "-n", "-p", "-m", "::/", out.path().to_str().unwrap()],
        );
        as_fat(tree::of_folder(out.path()))
    }

    fn open(&self) -> Arc<dyn Filesystem> {
        open(&self.image)
    }
}

fn open(image: &Path) -> Arc<dyn Filesystem> {
    let volume: Source = Arc::new(fs::read(image).unwrap());
    readers::open(&volume).unwrap().unwrap()
}

/// The usual files. mtools makes up 8.3 names one by one until one is free, so many that begin alike take it long.
fn files_for_fat(root: &Path) {
    populate(root, Abilities { unix: false });
    for index in 0..1500 {
        let old = root.join(format!("many/file-{index:04}.conf"));
        fs::rename(old, root.join(format!("many/{index:04}-of-many.conf"))).unwrap();
    }
}

/// A tree without what FAT cannot hold, or mtools does not give back.
fn as_fat(mut tree: Tree) -> Tree {
    for seen in tree.values_mut() {
        seen.owner = (0, 0);
        let is_directory = seen.kind == qanopy_guest::filesystem::NodeKind::Directory;
        seen.mode = 0;
        if is_directory {
            // mtools gives folders no times back.
            seen.modified = 0;
        }
    }
    tree
}

const VARIANTS: [(&str, u64, &[&str]); 6] = [
    ("FAT12", 40 << 20, &["-F", "12", "-s", "32", "-n", "TWELVE"]),
    ("FAT16", 30 << 20, &["-F", "16", "-s", "1", "-n", "SIXTEEN"]),
    ("FAT16", 200 << 20, &["-F", "16", "-s", "8", "-r", "224"]),
    (
        "FAT32",
        64 << 20,
        &["-F", "32", "-s", "1", "-n", "EFI SYSTEM"],
    ),
    ("FAT32", 300 << 20, &["-F", "32", "-s", "8", "-f", "1"]),
    ("FAT32", 300 << 20, &["-F", "32", "-S", "4096", "-s", "1"]),
];

/// What the test below changes, in the words of `diff`.
fn expected(before: &Tree) -> changes::Told {
    let one = |kind: &str, path: &str, from: Option<&str>| {
        let from = from.map(|from| from.as_bytes().to_vec());
        (kind.to_owned(), path.as_bytes().to_vec(), from)
    };
    let deleted = before
        .keys()
        .filter(|path| path.starts_with(b"level0/level1"))
        .map(|path| one("deleted", std::str::from_utf8(path).unwrap(), None));
    deleted
        .chain([
            one("modified", "etc/file-0005.conf", None),
            one("added", "etc/an added file with a long name.txt", None),
            one("added", "added folder", None),
            one("added", "added folder/UPPER.TXT", None),
            one("deleted", "etc/file-0007.conf", None),
            one(
                "renamed",
                "var/log/file-0030.conf",
                Some("etc/file-0030.conf"),
            ),
            one("metadata", "etc/file-0010.conf", None),
        ])
        .collect()
}

#[test]
fn a_fat_holds_what_mtools_shows_before_and_after_changes() {
    if !has(&TOOLS) {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    files_for_fat(files.path());
    for (kind, size, options) in VARIANTS {
        let case = Case::new(size, options);
        case.fill(files.path());
        let bytes_before: Source = Arc::new(fs::read(&case.image).unwrap());
        let before = case.open();
        assert_eq!(before.summary().kind, kind);
        assert_eq!(before.summary().uuid, "1234-ABCD");
        let ours = as_fat(tree::of_filesystem(&*before));
        assert_same(&ours, &case.truth());
        assert!(ours.len() > 1600, "{}", ours.len());
        let tree_before = ours;
        let nodes_before = nodes::all(&*before);

        let new = case.dir.path().join("new");
        fs::write(&new, bytes(3, 70_000)).unwrap();
        let new = new.to_str().unwrap();
        case.tool("mcopy", &["-o", new, "::/etc/file-0005.conf"]);
        case.tool("mcopy", &[new, "::/etc/an added file with a long name.txt"]);
        case.tool("mmd", &["::/added folder"]);
        case.tool("mcopy", &[new, "::/added folder/UPPER.TXT"]);
        case.tool("mdel", &["::/etc/file-0007.conf"]);
        case.tool("mdeltree", &["::/level0/level1"]);
        case.tool("mmove", &["::/etc/file-0030.conf", "::/var/log"]);
        case.tool("mattrib", &["+r", "::/etc/file-0010.conf"]);
        let after = case.open();
        let ours = as_fat(tree::of_filesystem(&*after));
        assert_same(&ours, &case.truth());
        let mode = |path| after.node(nodes::find(&*after, path)).unwrap().mode;
        assert_eq!(mode("etc/file-0010.conf"), 0o100_444);
        assert_eq!(mode("etc/file-0011.conf"), 0o100_644);
        assert_eq!(mode("etc"), 0o40_755);

        // What was not touched has the digest it had; what was touched has another or is gone.
        let nodes_after = nodes::all(&*after);
        for (path, same) in [
            ("", true),
            ("etc/file-0005.conf", false),
            ("etc/file-0010.conf", false),
            ("level0", true),
            ("etc/file-0011.conf", true),
            ("many", true),
            ("usr", true),
            ("large", true),
        ] {
            let id = match path {
                "" => after.root(),
                path => nodes::find(&*after, path),
            };
            let is_same = nodes_before.get(&id) == nodes_after.get(&id);
            assert_eq!(is_same, same, "{path} of {kind}");
        }
        let bytes_after: Source = Arc::new(fs::read(&case.image).unwrap());
        let changed = source::differing(&bytes_before, &bytes_after, 512);
        assert_eq!(after.candidates(&changed).unwrap(), Candidates::All);
        let (options, watch) = (diff::Options::default(), &mut diff::NoWatch);
        let told = diff::filesystems(&*before, &*after, &changed, options, watch).unwrap();
        assert!(told.problems.is_empty(), "{:?}", told.problems);
        changes::assert_same(&changes::told(&told.changes), &expected(&tree_before));
        run(&["fsck.fat", "-n", case.image.to_str().unwrap()]);
    }
}

#[test]
fn links_lead_from_a_file_to_the_root() {
    if !has(&TOOLS) {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    files_for_fat(files.path());
    let case = Case::new(140 << 20, &["-F", "32", "-s", "2"]);
    case.fill(files.path());
    let filesystem = case.open();
    let paths = [
        "usr/share/doc/file-0007.conf",
        "large",
        "level0/level1/level2",
        "var/log/file-0003.conf",
    ];
    let wanted: HashSet<NodeId> = paths
        .iter()
        .map(|path| nodes::find(&*filesystem, path))
        .collect();
    let links = filesystem.links(&wanted).unwrap();
    for path in paths {
        let mut names = Vec::new();
        let mut at = nodes::find(&*filesystem, path);
        while at != filesystem.root() {
            let [link] = &links[&at][..] else {
                panic!("{path}");
            };
            names.push(String::from_utf8(link.name.clone()).unwrap());
            at = link.parent;
        }
        names.reverse();
        assert_eq!(names.join("/"), path);
    }
    assert_eq!(
        links.len(),
        11,
        "only what was asked for and what is above it"
    );
    assert_eq!(
        filesystem.lookup(filesystem.root(), b"LARGE").unwrap(),
        Some(nodes::find(&*filesystem, "large"))
    );
    assert_eq!(filesystem.lookup(filesystem.root(), b"larg").unwrap(), None);
}

#[test]
fn usage_is_what_the_table_says() {
    if !has(&TOOLS) {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    files_for_fat(files.path());
    for (_, size, options) in VARIANTS {
        let case = Case::new(size, options);
        case.fill(files.path());
        case.tool("mdel", &["::/large"]);
        let filesystem = case.open();
        let (mut free, mut metadata) = (Ranges::new(), Ranges::new());
        filesystem
            .usage(&mut |range, used| {
                match used {
                    Use::Free => free.insert(range),
                    Use::Metadata => metadata.insert(range),
                    other => panic!("{other:?}"),
                }
                Ok(())
            })
            .unwrap();
        // fsck.fat ends with: FILE: 1234 files, 5678/91011 clusters.
        let told = run(&["fsck.fat", "-n", case.image.to_str().unwrap()]);
        let words: Vec<u64> = told
            .rsplit(&[' ', '/', ','])
            .filter_map(|word| word.parse().ok())
            .collect();
        let [all, used] = words[..2] else {
            panic!("{told}");
        };
        let cluster = u64::from(filesystem.summary().block_size);
        let tail = filesystem.summary().total - free.bytes();
        assert_eq!(free.bytes() / cluster, all - used, "{told}");
        if let Some(bytes) = filesystem.summary().used {
            assert_eq!(bytes, used * cluster);
        }
        assert!(tail >= used * cluster);
        // No extent of a file is free, and none is metadata.
        for id in nodes::all(&*filesystem).into_keys() {
            let is_directory = filesystem.node(id).unwrap().is_directory();
            for extent in filesystem.extents(id).unwrap() {
                let place = extent.volume..extent.volume + extent.len;
                assert!(!free.intersects(&place));
                assert_eq!(metadata.intersects(&place), is_directory);
            }
        }
    }
}

#[test]
fn an_image_of_debian_s_forensics_samples_is_read_as_mtools_reads_it() {
    if !has(&TOOLS) || !has(&["xz", "blkid"]) {
        return;
    }
    let Some(disk) = sample("fs.vfat") else {
        return;
    };
    // Its only partition begins at sector 2048.
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("partition.raw");
    fs::write(&image, &disk[1 << 20..]).unwrap();
    let case = Case { dir, image };
    let disk: Source = Arc::new(disk);
    let volume: Source = Arc::new(Mapped::new(disk.clone(), Place::range(1 << 20..disk.len())));
    let filesystem = readers::open(&volume).unwrap().unwrap();
    let ours = as_fat(tree::of_filesystem(&*filesystem));
    assert_eq!(ours.len(), 22);
    assert_same(&ours, &case.truth());
    assert_eq!(filesystem.summary().uuid, "189C-1E3D");
}

#[test]
fn a_folder_that_qemu_shows_as_fat_is_read() {
    if !has(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    for (path, len) in [
        ("EFI/BOOT/BOOTX64.EFI", 70_000),
        ("EFI/debian/grub.cfg", 126),
        ("a name that is longer than thirteen units.text", 1),
        ("empty", 0),
    ] {
        let path = files.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes(len as u64, len)).unwrap();
    }
    let image = dir.path().join("fat.raw");
    let from = format!("fat:{}", files.display());
    run(&[
        "qemu-img",
        "convert",
        "-O",
        "raw",
        &from,
        image.to_str().unwrap(),
    ]);
    let disk: Source = Arc::new(fs::read(&image).unwrap());
    // Its only partition begins at sector 63.
    let volume: Source = Arc::new(Mapped::new(
        disk.clone(),
        Place::range(63 * 512..disk.len()),
    ));
    let filesystem = readers::open(&volume).unwrap().unwrap();
    let without_times = |mut tree: Tree| {
        tree.values_mut().for_each(|seen| seen.modified = 0);
        as_fat(tree)
    };
    assert_same(
        &without_times(tree::of_filesystem(&*filesystem)),
        &without_times(tree::of_folder(&files)),
    );
}

#[test]
fn a_damaged_folder_does_not_spoil_the_rest() {
    if !has(&TOOLS) {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    files_for_fat(files.path());
    let case = Case::new(30 << 20, &["-F", "16", "-s", "1"]);
    case.fill(files.path());
    let sound = case.open();
    let sound_free = explain::free(&*sound).unwrap();
    assert_eq!(sound.doubt().unwrap(), None);
    let folder = nodes::find(&*sound, "usr");
    let inside = nodes::find(&*sound, "usr/share/doc/file-0007.conf");
    let large = nodes::find(&*sound, "large");
    let places = |id| -> Ranges {
        let extents = sound.extents(id).unwrap();
        extents
            .iter()
            .map(|one| one.volume..one.volume + one.len)
            .collect()
    };

    // The entry of its first cluster, in the first table, says what no entry may.
    let mut image = fs::read(&case.image).unwrap();
    let field = |at: usize| usize::from(u16::from_le_bytes([image[at], image[at + 1]]));
    let (reserved, tables, len) = (field(14), usize::from(image[16]), field(22));
    let root = field(17) * 32;
    let data = (reserved + tables * len) * 512 + root;
    let first = usize::try_from(places(folder).as_slice()[0].start).unwrap();
    let entry = reserved * 512 + ((first - data) / 512 + 2) * 2;
    image[entry..entry + 2].copy_from_slice(&1_u16.to_le_bytes());
    let damaged: Source = Arc::new(image);
    let filesystem = readers::open(&damaged).unwrap().unwrap();
    assert!(
        filesystem
            .entries(folder, &mut |_| std::ops::ControlFlow::Continue(()))
            .is_err()
    );

    // What the table calls free is free still; what is not known is not called content of files.
    assert_eq!(explain::free(&*filesystem).unwrap(), sound_free);
    let disk = Disk::open(&damaged).unwrap();
    let sums = explain::explain(&disk, &source::until(disk.len)).unwrap();
    assert_eq!(sums.total(), disk.len);
    let of = |id| explain::explain(&disk, &places(id)).unwrap();
    assert_eq!(of(inside).unread, places(inside).bytes());
    assert_eq!(of(large).file_data, places(large).bytes());
    assert_eq!(of(folder).metadata, places(folder).bytes());
    // Names elsewhere are found, and those in there are not said to be nowhere.
    let links = filesystem.links(&HashSet::from([large])).unwrap();
    assert_eq!(links[&large][0].name, b"large");
    assert!(filesystem.links(&HashSet::from([large, inside])).is_err());
    // Nothing is thrown away of such a volume.
    let doubt = filesystem.doubt().unwrap().unwrap();
    assert!(doubt.contains("cluster chain"), "{doubt}");
}

#[test]
fn label_and_serial_number_are_those_that_blkid_tells() {
    if !has(&["mkfs.fat", "blkid"]) {
        return;
    }
    for (_, size, options) in VARIANTS {
        let case = Case::new(size, options);
        let image = case.image.to_str().unwrap();
        let tell = |tag: &str| {
            let out = std::process::Command::new("blkid")
                .args(["-p", "-o", "value", "-s", tag, image])
                .output()
                .unwrap();
            String::from_utf8(out.stdout).unwrap().trim().to_owned()
        };
        let filesystem = case.open();
        let summary = filesystem.summary();
        assert_eq!(summary.uuid, tell("UUID"));
        assert_eq!(String::from_utf8_lossy(&summary.label), tell("LABEL"));
        assert_eq!(summary.kind, tell("VERSION"));
    }
}

#[test]
fn a_forged_fat_is_survived() {
    if !has(&TOOLS) {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    for index in 0..20_u64 {
        let folder = files
            .path()
            .join(format!("folder-{}/{}", index % 3, index % 5));
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("a file {index}.txt")),
            bytes(index, 3_000),
        )
        .unwrap();
    }
    for (size, options) in [
        (400 << 10, &["-F", "12", "-s", "1"]),
        (3 << 20, &["-F", "16", "-s", "1"]),
        (66 << 20, &["-F", "32", "-s", "1"]),
    ] {
        let case = Case::new(size, options);
        case.fill(files.path());
        let image = fs::read(&case.image).unwrap();
        // The boot sector; tables, and of FAT12 and FAT16 the root directory.
        let mut places = vec![0..64, 512..40 << 10];
        let filesystem = case.open();
        let mut directories = Vec::new();
        for id in nodes::all(&*filesystem).into_keys() {
            if filesystem.node(id).unwrap().is_directory() {
                directories.extend(filesystem.extents(id).unwrap());
            }
        }
        for extent in directories {
            let start = usize::try_from(extent.volume).unwrap();
            places.push(start..start + usize::try_from(extent.len).unwrap());
        }
        hostile::survives(&image, &places, 1_500);
    }
}
