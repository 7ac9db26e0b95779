//! A check of a qcow2 file that shares no code with the library: every reference counted, offsets
//! written out as the specification gives them. It stands in for `qemu-img check` where thousands of
//! files are looked at (a process costs ten milliseconds), and is itself compared with qemu-img.
//! Encryption headers and external data files' content are not its business.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// What is wrong, a sentence each.
    pub corruptions: Vec<String>,
    /// Clusters with a higher count than references.
    pub leaks: u64,
    /// The dirty bit: counts may be too low until somebody opens the file for writing.
    pub dirty: bool,
}

impl Counted {
    /// No corruptions; with the dirty bit set, wrong counts are what QEMU repairs by itself.
    pub fn is_sound(&self) -> bool {
        self.corruptions.is_empty()
    }

    /// Nothing at all.
    pub fn is_clean(&self) -> bool {
        self.corruptions.is_empty() && self.leaks == 0 && !self.dirty
    }
}

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

struct Image {
    bytes: Vec<u8>,
    cluster_bits: u32,
    /// References by cluster index.
    references: BTreeMap<u64, u64>,
    counted: Counted,
}

impl Image {
    fn u32(&self, at: u64) -> u64 {
        let at = usize::try_from(at).unwrap();
        self.bytes
            .get(at..at + 4)
            .map_or(0, |b| u64::from(u32::from_be_bytes(b.try_into().unwrap())))
    }

    fn u64(&self, at: u64) -> u64 {
        (self.u32(at) << 32) | self.u32(at + 4)
    }

    fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    fn wrong(&mut self, what: String) {
        if self.counted.corruptions.len() < 20 {
            self.counted.corruptions.push(what);
        }
    }

    /// Counts a reference to every cluster of a range.
    fn refer(&mut self, what: &str, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        for index in offset >> self.cluster_bits..=(offset + len - 1) >> self.cluster_bits {
            *self.references.entry(index).or_default() += 1;
        }
        if offset >= self.bytes.len() as u64 {
            self.wrong(format!(
                "{what} at {offset:#x} lies past the end of the file"
            ));
        }
    }
}

/// Checks a file.
pub fn check(path: &Path) -> Counted {
    let bytes = fs::read(path).unwrap();
    if bytes.len() < 72 || bytes[..4] != *b"QFI\xfb" {
        return Counted {
            corruptions: vec!["is no qcow2 file".to_owned()],
            ..Counted::default()
        };
    }
    let mut image = Image {
        bytes,
        cluster_bits: 0,
        references: BTreeMap::new(),
        counted: Counted::default(),
    };
    let bits = image.u32(20);
    if !(9..=21).contains(&bits) {
        image.wrong(format!("cluster_bits {bits}"));
        return image.counted;
    }
    image.cluster_bits = u32::try_from(bits).unwrap();
    let version = image.u32(4);
    let incompatible = if version >= 3 { image.u64(72) } else { 0 };
    let refcount_order = if version >= 3 { image.u32(96) } else { 4 };
    let extended = incompatible & 16 != 0;
    let data_file = incompatible & 4 != 0;
    image.counted.dirty = incompatible & 1 != 0;
    if incompatible & 2 != 0 {
        image.wrong("the corrupt bit is set".to_owned());
    }
    let cluster = image.cluster();

    image.refer("header", 0, cluster);
    let (table, table_clusters) = (image.u64(48), image.u32(56));
    image.refer("refcount table", table, table_clusters * cluster);
    let blocks: Vec<u64> = (0..table_clusters * cluster / 8)
        .map(|i| image.u64(table + i * 8) & !0x1ff)
        .collect();
    for block in blocks.iter().filter(|&&block| block != 0) {
        if !block.is_multiple_of(cluster) {
            image.wrong(format!("refcount block at {block:#x} is not aligned"));
        }
        image.refer("refcount block", *block, cluster);
    }

    let mut l1s = vec![(image.u64(40), image.u32(36), true)];
    let (snapshots, mut at) = (image.u32(60), image.u64(64));
    let snapshot_table = at;
    for _ in 0..snapshots {
        let (offset, entries) = (image.u64(at), image.u32(at + 8));
        l1s.push((offset, entries, false));
        let id = image.u32(at + 12) >> 16;
        let name = image.u32(at + 12) & 0xffff;
        let extra = image.u32(at + 36);
        at = (at + 40 + extra + id + name).next_multiple_of(8);
    }
    image.refer("snapshot table", snapshot_table, at - snapshot_table);

    if version >= 3 && image.u64(88) & 1 != 0 {
        refer_bitmaps(&mut image);
    }

    // COPIED is to be compared when every reference is counted.
    let mut copied: Vec<(u64, bool, u64)> = Vec::new();
    for (l1, entries, active) in l1s {
        image.refer("L1 table", l1, entries * 8);
        for i in 0..entries {
            let entry = image.u64(l1 + i * 8);
            let l2 = entry & OFFSET;
            if l2 == 0 {
                continue;
            }
            if !l2.is_multiple_of(cluster) {
                image.wrong(format!("L2 table at {l2:#x} is not aligned"));
                continue;
            }
            image.refer("L2 table", l2, cluster);
            if active {
                copied.push((l2, entry & COPIED != 0, l1 + i * 8));
            }
            let size = if extended { 16 } else { 8 };
            for j in 0..cluster / size {
                check_l2_entry(
                    &mut image,
                    l2 + j * size,
                    (version, extended, data_file, active),
                    &mut copied,
                );
            }
        }
    }

    // The counts themselves.
    let per_block = (cluster * 8) >> refcount_order;
    let count_of = |image: &Image, index: u64| -> u64 {
        let block = usize::try_from(index / per_block)
            .ok()
            .and_then(|i| blocks.get(i).copied())
            .unwrap_or(0);
        if block == 0 {
            return 0;
        }
        let bit = (index % per_block) << refcount_order;
        let byte = block + bit / 8;
        match refcount_order {
            6 => image.u64(byte),
            5 => image.u32(byte),
            4 => image.u32(byte & !3) >> (16 - (byte & 3) * 8) & 0xffff,
            order => {
                let whole = image.u32(byte & !3) >> (24 - (byte & 3) * 8) & 0xff;
                whole >> (bit % 8) & ((1 << (1 << order)) - 1)
            }
        }
    };
    for (offset, bit, entry) in copied {
        if bit != (count_of(&image, offset >> bits) == 1) && !image.counted.dirty {
            image.wrong(format!(
                "COPIED of the entry at {entry:#x} is {bit}, cluster {offset:#x} has count {}",
                count_of(&image, offset >> bits)
            ));
        }
    }
    // Blocks that are not there count nothing; what refers to their clusters is looked at as well.
    let mut indices: BTreeSet<u64> = image.references.keys().copied().collect();
    for (i, _) in blocks.iter().enumerate().filter(|(_, block)| **block != 0) {
        // A count of 0 needs no look where nothing refers to the cluster, and past the end of the
        // file all counts of a sane image are 0: they are looked at up to a bound.
        let first = i as u64 * per_block;
        indices.extend(first..first + per_block.min(1 << 16));
    }
    for index in indices {
        let (count, references) = (
            count_of(&image, index),
            image.references.get(&index).copied().unwrap_or(0),
        );
        if count > references {
            image.counted.leaks += 1;
        }
        if count < references && !image.counted.dirty {
            image.wrong(format!(
                "cluster {index} has count {count} and {references} references"
            ));
        }
    }
    image.counted
}

/// The bitmap directory that the header extension names, each bitmap's table, and its bits.
fn refer_bitmaps(image: &mut Image) {
    let cluster = image.cluster();
    let mut at = image.u32(100);
    let (mut count, mut directory) = (0, (0, 0));
    while at < cluster && image.u32(at) != 0 {
        if image.u32(at) == 0x2385_2875 {
            count = image.u32(at + 8);
            directory = (image.u64(at + 24), image.u64(at + 16));
        }
        at += 8 + image.u32(at + 4).next_multiple_of(8);
    }
    image.refer("bitmap directory", directory.0, directory.1);
    let mut at = directory.0;
    for _ in 0..count {
        let (table, entries) = (image.u64(at), image.u32(at + 8));
        let name = image.u32(at + 16) & 0xffff;
        image.refer("bitmap table", table, entries * 8);
        for entry in 0..entries {
            let bits = image.u64(table + entry * 8) & OFFSET;
            if bits != 0 {
                image.refer("bitmap", bits, cluster);
            }
        }
        at = (at + 24 + name).next_multiple_of(8);
    }
    if at != directory.0 + directory.1 {
        image.wrong(format!("the bitmap directory ends at {at:#x}"));
    }
}

fn check_l2_entry(
    image: &mut Image,
    at: u64,
    (version, extended, data_file, active): (u64, bool, bool, bool),
    copied: &mut Vec<(u64, bool, u64)>,
) {
    let entry = image.u64(at);
    let bitmap = if extended { image.u64(at + 8) } else { 0 };
    let cluster = image.cluster();
    if entry & COMPRESSED != 0 {
        let split = 62 - (image.cluster_bits - 8);
        let offset = entry & ((1 << split) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> split;
        let len = (sectors + 1) * 512 - offset % 512;
        image.refer("compressed cluster", offset, len);
        if entry & COPIED != 0 {
            image.wrong(format!("compressed entry at {at:#x} has COPIED"));
        }
        if bitmap != 0 {
            image.wrong(format!("compressed entry at {at:#x} has subclusters"));
        }
        return;
    }
    let offset = entry & OFFSET;
    if !extended && entry & 1 != 0 && version < 3 {
        image.wrong(format!("entry at {at:#x} is a zero cluster in version 2"));
    }
    if extended {
        let (alloc, zero) = (bitmap & 0xffff_ffff, bitmap >> 32);
        if alloc & zero != 0 {
            image.wrong(format!("entry at {at:#x}: subclusters both zero and data"));
        }
        if offset == 0 && alloc != 0 && !data_file {
            image.wrong(format!("entry at {at:#x}: subclusters without a cluster"));
        }
    }
    if data_file {
        return;
    }
    if offset == 0 {
        if entry & COPIED != 0 {
            image.wrong(format!("entry at {at:#x} has COPIED and no cluster"));
        }
        return;
    }
    if !offset.is_multiple_of(cluster) {
        image.wrong(format!("cluster at {offset:#x} is not aligned"));
        return;
    }
    image.refer("data cluster", offset, cluster);
    if active {
        copied.push((offset, entry & COPIED != 0, at));
    }
}
