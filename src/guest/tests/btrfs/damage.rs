//! Volumes that are damaged, forged, or of several devices.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qanopy_guest::block::Replayed;
use qanopy_guest::filesystem::{Condition, NodeId, NodeKind};
use qanopy_guest::readers;
use qanopy_guest::{Filesystem, Ranges, Source};

use super::{Images, MIB, UNIX, btrfs, is_possible, opened};
use crate::support::files;
use crate::support::tools::{has, run};
use crate::support::tree;

/// Where superblocks are.
const SUPERBLOCKS: [usize; 2] = [64 << 10, 64 << 20];

/// Where the tree blocks of an image are, by their logical address.
fn tree_blocks(image: &[u8], nodesize: usize) -> BTreeMap<u64, Vec<usize>> {
    let fsid = &image[SUPERBLOCKS[0] + 32..SUPERBLOCKS[0] + 48];
    let mut found: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for at in (SUPERBLOCKS[0] + 65536..image.len()).step_by(4096) {
        if &image[at + 32..at + 48] == fsid && !SUPERBLOCKS.contains(&at) {
            let stored = u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
            if at + nodesize <= image.len()
                && crc32c::crc32c(&image[at + 32..at + nodesize]) == stored
            {
                let bytenr = image[at + 48..at + 56].try_into().unwrap();
                found
                    .entry(u64::from_le_bytes(bytenr))
                    .or_default()
                    .push(at);
            }
        }
    }
    found
}

#[test]
fn a_damaged_copy_of_metadata_is_replaced_by_the_other() {
    if !is_possible() {
        return;
    }
    let images = Images::new(256 * MIB, &["-m", "dup"]);
    let kernel = images.mounted("before", "noatime", |root| files::populate(root, UNIX));
    let mut image = fs::read(images.path("before")).unwrap();
    let blocks = tree_blocks(&image, 16384);
    assert!(blocks.values().filter(|places| places.len() == 2).count() > 10);
    for (index, places) in blocks
        .values()
        .filter(|places| places.len() == 2)
        .enumerate()
    {
        image[places[index % 2] + 200..][..50].fill(0x55);
    }
    image[SUPERBLOCKS[0] + 300] ^= 1;
    tree::assert_same(&tree::of_filesystem(&*opened(image.clone())), &kernel);
    // Neither copy is left.
    for places in blocks.values() {
        places.iter().for_each(|at| image[at + 200] = 0xee);
    }
    let error = readers::open(&(Arc::new(image.clone()) as Source)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("Btrfs: tree block ") && text.ends_with("its checksum is wrong"),
        "{text}"
    );
    image[SUPERBLOCKS[1] + 300] ^= 1;
    let error = readers::open(&(Arc::new(image.clone()) as Source)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Btrfs: superblock at byte 65536 of the volume: its checksum is wrong"
    );
    // What is left of a filesystem that was there before is none.
    image[SUPERBLOCKS[0] + 64] = 0;
    assert!(
        readers::open(&(Arc::new(image) as Source))
            .unwrap()
            .is_none()
    );
}

#[test]
fn one_of_several_devices_is_read_where_it_has_everything() {
    if !has(&["mkfs.btrfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = |data: &str| {
        let paths = ["one", "other"].map(|name| folder.path().join(format!("{data}-{name}")));
        for path in &paths {
            File::create(path).unwrap().set_len(256 * MIB).unwrap();
        }
        let [one, other] = [0, 1].map(|index: usize| paths[index].to_str().unwrap());
        run(&["mkfs.btrfs", "-q", "-m", "raid1", "-d", data, one, other]);
        paths.map(|path| readers::open(&(Arc::new(fs::read(path).unwrap()) as Source)))
    };
    for device in made("raid1") {
        let device = device.unwrap().unwrap();
        assert!(device.node(device.root()).unwrap().is_directory());
    }
    for device in made("raid0") {
        let error = device.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Btrfs: RAID0 on several devices is not read"
        );
    }
    // The only chunk of data is on the first.
    let [first, second] = made("single");
    assert!(first.unwrap().is_some());
    let error = second.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Btrfs: a chunk on another device is not read"
    );
}

/// Numbers that look random, the same ones every time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }
}

/// Asks for everything, as far as a few thousand nodes.
fn ask_all(filesystem: &dyn Filesystem, other: &dyn Filesystem) {
    let mut met = HashSet::new();
    let mut next = vec![filesystem.root()];
    let mut buf = vec![0; 100_000];
    while let Some(id) = next.pop() {
        if met.len() > 2_000 || !met.insert(id) {
            continue;
        }
        let Ok(node) = filesystem.node(id) else {
            continue;
        };
        let _ = filesystem.extents(id);
        match node.kind {
            NodeKind::Directory => {
                let mut left = 2_000;
                let _ = filesystem.entries(id, &mut |entry| {
                    left -= 1;
                    next.push(entry.id);
                    match left {
                        0 => ControlFlow::Break(()),
                        _ => ControlFlow::Continue(()),
                    }
                });
                let _ = filesystem.lookup(id, b"file-0001.conf");
            }
            NodeKind::Symlink => _ = filesystem.link_target(id),
            NodeKind::File => {
                for offset in [0, node.size.saturating_sub(10), u64::MAX - 5] {
                    let _ = filesystem.read(id, offset, &mut buf);
                }
            }
            NodeKind::Special => {}
        }
    }
    let wanted: HashSet<NodeId> = met.into_iter().collect();
    let _ = filesystem.links(&wanted);
    let _ = filesystem.candidates(&Ranges::all());
    let _ = filesystem.candidates_between(other, &Ranges::new());
    let _ = other.candidates_between(filesystem, &Ranges::all());
    let _ = filesystem.usage(&mut |_, _| Ok(()));
    let _ = filesystem.default_root();
}

#[test]
fn forged_metadata_with_sound_checksums_does_no_harm() {
    const NODESIZE: usize = 4096;
    if !is_possible() {
        return;
    }
    let images = Images::new(128 * MIB, &["-m", "single", "-n", "4k", "-s", "4k"]);
    images.mounted("before", "noatime,compress-force=lzo,commit=300", |root| {
        btrfs(&["subvolume", "create"], &root.join("volume"));
        for name in ["volume/one", "two", "three"] {
            fs::write(root.join(name), "again and again ".repeat(20_000)).unwrap();
            fs::hard_link(root.join(name), root.join(format!("{name}-linked"))).unwrap();
        }
        std::os::unix::fs::symlink("two", root.join("link")).unwrap();
        for index in 0..60 {
            fs::write(
                root.join(format!("file-{index:04}.conf")),
                files::bytes(index, 30),
            )
            .unwrap();
        }
        let copy = root.join("copy");
        let from = root.join("volume");
        btrfs(&["subvolume", "snapshot", from.to_str().unwrap()], &copy);
        // What follows is in the log tree only.
        run(&["sync", "-f", root.to_str().unwrap()]);
        fs::rename(root.join("two"), root.join("renamed")).unwrap();
        fs::write(root.join("file-0007.conf"), files::bytes(9, 30_000)).unwrap();
        for name in ["renamed", "file-0007.conf", ""] {
            File::open(root.join(name)).unwrap().sync_all().unwrap();
        }
        images.copy("before", "dirty");
    });
    let image = fs::read(images.path("dirty")).unwrap();
    let mut places: Vec<usize> = tree_blocks(&image, NODESIZE)
        .into_values()
        .flatten()
        .collect();
    // Superblocks as often as a few others.
    places.extend([SUPERBLOCKS[0]; 4]);
    let sound: Source = Arc::new(image.clone());
    let whole = readers::open(&sound).unwrap().unwrap();
    assert_eq!(whole.summary().condition, Condition::Replayed);
    let mut random = Random(20_261_130);
    let (mut opened, mut refused) = (0, 0);
    let start = Instant::now();
    for case in 0..2_000 {
        let mut blocks = BTreeMap::new();
        for _ in 0..=random.below(3) {
            let at = places[random.below(places.len())];
            let mut block = image[at..at + NODESIZE].to_vec().into_boxed_slice();
            for _ in 0..=random.below(4) {
                // Headers and what they lead to first, for all else is content.
                let most = [128, 400, NODESIZE - 32][random.below(3)];
                let byte = 32 + random.below(most);
                block[byte] =
                    [0, 1, 0xff, 0x80, block[byte] ^ (1 << random.below(8))][random.below(5)];
            }
            let checksum = crc32c::crc32c(&block[32..]).to_le_bytes();
            block[..4].copy_from_slice(&checksum);
            blocks.insert((at / NODESIZE) as u64, block);
        }
        let forged: Source = Arc::new(Replayed::new(sound.clone(), NODESIZE, blocks));
        let began = Instant::now();
        match readers::open(&forged) {
            Ok(Some(filesystem)) => {
                opened += 1;
                ask_all(&*filesystem, &*whole);
            }
            Ok(None) => {}
            Err(_) => refused += 1,
        }
        assert!(began.elapsed() < Duration::from_secs(5), "case {case}");
    }
    println!(
        "{opened} opened, {refused} refused in {:?}",
        start.elapsed()
    );
    assert!(opened > 1_000 && refused > 50, "{opened} {refused}");
}
