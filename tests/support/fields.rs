//! Small images with every kind of table, the places of their fields, and values to forge there.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::script::Script;

/// A small image with every kind of table, and where its tables are.
pub struct Sample {
    /// File name.
    pub name: &'static str,
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Bytes of a cluster.
    pub cluster: usize,
    v3: bool,
}

/// Builds them all in `dir`.
pub fn samples(dir: &Path) -> Vec<Sample> {
    let mut s = Script::default();
    s.create("-o cluster_size=4k", "plain.qcow2", "1M");
    s.io(
        "qcow2",
        "plain.qcow2",
        &[
            "write -P 1 100k 30k",
            "write -z 200k 8k",
            "write -c -P 5 400k 4k",
        ],
    );
    s.create("-o cluster_size=4k,compat=0.10", "old.qcow2", "1M");
    s.io("qcow2", "old.qcow2", &["write -P 2 0 40k"]);
    s.create("-o cluster_size=512,refcount_bits=1", "tiny.qcow2", "100k");
    s.io("qcow2", "tiny.qcow2", &["write -P 3 10k 20k"]);
    s.create("-o extended_l2=on,cluster_size=16k", "sub.qcow2", "1M");
    s.io(
        "qcow2",
        "sub.qcow2",
        &["write -P 4 1k 30k", "write -z 100k 2k"],
    );
    s.create("-o cluster_size=4k", "snaps.qcow2", "256k");
    s.io("qcow2", "snaps.qcow2", &["write -P 8 0 20k"]);
    s.run("qemu-img snapshot -c one snaps.qcow2");
    s.io("qcow2", "snaps.qcow2", &["write -P 9 4k 20k"]);
    s.run("qemu-img snapshot -c two snaps.qcow2");
    s.create("-o cluster_size=4k", "bitmaps.qcow2", "256k");
    s.io("qcow2", "bitmaps.qcow2", &["write -P 1 0 20k"]);
    s.run("qemu-img bitmap --add bitmaps.qcow2 map");
    s.io("qcow2", "bitmaps.qcow2", &["write -P 2 0 20k"]);
    s.create(
        "-o cluster_size=4k,data_file=ext.raw,data_file_raw=on",
        "ext.qcow2",
        "256k",
    );
    s.io("qcow2", "ext.qcow2", &["write -P 2 0 20k"]);
    s.build(dir);
    let sample = |name, cluster, v3| Sample {
        name,
        bytes: fs::read(dir.join(name)).unwrap(),
        cluster,
        v3,
    };
    vec![
        sample("plain.qcow2", 4096, true),
        sample("old.qcow2", 4096, false),
        sample("tiny.qcow2", 512, true),
        sample("sub.qcow2", 16384, true),
        sample("snaps.qcow2", 4096, true),
        sample("bitmaps.qcow2", 4096, true),
        sample("ext.qcow2", 4096, true),
    ]
}

impl Sample {
    /// The number at an offset.
    pub fn u64(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    /// Places of eight-byte fields worth forging, by what they are.
    pub fn fields(&self) -> BTreeMap<&'static str, Vec<usize>> {
        const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
        let at = |n: u64| usize::try_from(n).unwrap();
        let mut fields = BTreeMap::new();
        let mut header = vec![40, 48, 64];
        if self.v3 {
            header.extend([80, 88]);
        }
        fields.insert("header", header);
        let l1 = at(self.u64(40));
        let entries = at(self.u64(32) & 0xffff_ffff);
        let l1s: Vec<usize> = (0..entries).map(|i| l1 + i * 8).collect();
        let l2s: Vec<usize> = l1s
            .iter()
            .map(|&place| at(self.u64(place) & OFFSET))
            .filter(|&table| table != 0)
            .flat_map(|table| (0..self.cluster / 8).map(move |i| table + i * 8))
            .collect();
        let busy = |places: &[usize], some_empty: usize| -> Vec<usize> {
            let (full, empty): (Vec<usize>, Vec<usize>) =
                places.iter().partition(|&&place| self.u64(place) != 0);
            full.into_iter()
                .take(7)
                .chain(empty.into_iter().take(some_empty))
                .collect()
        };
        fields.insert("L1", busy(&l1s, 1));
        fields.insert("L2", busy(&l2s, 2));
        let table = at(self.u64(48));
        let table: Vec<usize> = (0..self.cluster / 8).map(|i| table + i * 8).collect();
        let blocks: Vec<usize> = busy(&table, 0)
            .into_iter()
            .map(|place| at(self.u64(place)))
            .flat_map(|block| (0..self.cluster / 8).map(move |i| block + i * 8))
            .collect();
        fields.insert("refcount table", busy(&table, 1));
        fields.insert("refcount block", busy(&blocks, 2));
        let snapshots = at(self.u64(64));
        if snapshots != 0 {
            // L1 offset; L1 size and the lengths of ID and name; VM state size and extra data.
            fields.insert(
                "snapshot table",
                [0, 8, 32, 40].map(|o| snapshots + o).to_vec(),
            );
        }
        // The bitmaps extension is found by its type.
        if let Some(ext) = (112..self.cluster)
            .step_by(8)
            .find(|&i| self.bytes[i..i + 4] == [0x23, 0x85, 0x28, 0x75])
        {
            let directory = at(self.u64(ext + 24));
            let table = at(self.u64(directory));
            fields.insert("bitmaps", vec![ext + 8, ext + 16, ext + 24]);
            fields.insert(
                "bitmap directory",
                vec![directory, directory + 8, directory + 16],
            );
            fields.insert("bitmap table", vec![table]);
        }
        fields
    }

    /// Values to try in a field that holds `now`.
    pub fn values(&self, now: u64) -> Vec<u64> {
        let cluster = self.cluster as u64;
        let len = self.bytes.len() as u64;
        let end = len.div_ceil(cluster) * cluster;
        vec![
            0,
            now ^ 1 << 63,
            now ^ 1 << 62,
            now ^ 1,
            now ^ 2,
            now ^ 1 << 56,
            now ^ 1 << 60,
            now ^ 0x200,
            now ^ cluster,
            now.wrapping_add(cluster * 2),
            now & !0x00ff_ffff_ffff_fe00 | (end - cluster),
            now & !0x00ff_ffff_ffff_fe00 | end,
            now & !0x00ff_ffff_ffff_fe00 | 0x00ff_ffff_ffff_0000,
            now | 1 << 63 | cluster,
            now ^ 1 << 32,
            now ^ 1 << 16,
            u64::MAX,
        ]
    }
}

/// Takes the extension out of a header that names the backing format: an image as old tools made them.
pub fn forget_format(image: &Path) {
    let mut bytes = std::fs::read(image).unwrap();
    let magic = 0xe279_2aca_u32.to_be_bytes();
    let at = (104..4096)
        .step_by(8)
        .find(|at| bytes[*at..*at + 4] == magic)
        .unwrap();
    // An extension that nobody knows, of the same length.
    bytes[at..at + 4].copy_from_slice(&0x7171_7171_u32.to_be_bytes());
    std::fs::write(image, bytes).unwrap();
}
