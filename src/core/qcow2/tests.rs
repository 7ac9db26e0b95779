//! The tables of images that qemu-img made, read by this floor and written back to the same bytes.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::header::tests::parse_file;
use super::*;
use crate::qcow2::bitmap::{BitmapTableEntry, encode_directory, parse_directory};
use crate::qcow2::snapshot::{encode_table, parse_table};

/// A directory of a test's own, with qemu-img at hand.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A directory of its own for a test that needs qemu-img; `None`, loudly, where that is missing.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if Command::new("qemu-img").arg("--version").output().is_err() {
            let required = std::env::var_os("QANOPY_REQUIRE_QEMU").is_some_and(|v| v == "1");
            assert!(
                !required,
                "{test} needs qemu-img; QANOPY_REQUIRE_QEMU=1 allows no skipping"
            );
            // Not `eprintln!`, whose output the test harness swallows when the test passes.
            let line = format!("SKIPPED (qemu-utils missing): {test}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
            return None;
        }
        let dir = std::env::temp_dir().join(format!("qanopy-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Some(Self(dir))
    }

    pub(crate) fn qemu_img(&self, args: &[&str]) -> (bool, String) {
        let out = Command::new("qemu-img")
            .args(args)
            .current_dir(&self.0)
            .output()
            .unwrap();
        (
            out.status.success(),
            String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned(),
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn at(bytes: &[u8], offset: HostOffset, len: u64) -> Vec<u8> {
    let start = usize::try_from(offset.get()).unwrap();
    let mut part = bytes[start.min(bytes.len())..].to_vec();
    part.resize(usize::try_from(len).unwrap(), 0);
    part
}

/// Every guest cluster of a small image with one L2 table, by the image's own tables.
fn read_all(bytes: &[u8], header: &Header) -> Vec<u8> {
    let g = header.geometry;
    let l1 = EntryTable::from_bytes(at(
        bytes,
        header.l1_offset,
        u64::from(header.l1_entries) * 8,
    ));
    let table = L1Entry::parse(l1.get(0).unwrap(), g)
        .unwrap()
        .table
        .unwrap();
    let l2 = L2Buf::from_bytes(at(bytes, table, g.cluster_size()), L2Context::of(header)).unwrap();
    let mut inflater = Inflater::new(header.compression).unwrap();
    let mut out = Vec::new();
    for index in 0..g.clusters_for(header.virtual_size()) {
        let mut cluster = vec![0; g.cluster_len()];
        match l2.get(usize::try_from(index).unwrap()).unwrap() {
            L2Entry::Data { host, .. } => cluster = at(bytes, host, g.cluster_size()),
            L2Entry::Compressed(c) => {
                inflater
                    .inflate(&at(bytes, c.host, c.max_len()), &mut cluster)
                    .unwrap();
            }
            entry => {
                for (run, state) in entry.runs(g) {
                    if state == SubclusterState::Data {
                        let range =
                            |n: u32| usize::try_from(u64::from(n) * g.subcluster_size()).unwrap();
                        let data = at(bytes, entry.host().unwrap(), g.cluster_size());
                        let span = range(run.start)..range(run.end);
                        cluster[span.clone()].copy_from_slice(&data[span]);
                    }
                }
            }
        }
        out.extend(cluster);
    }
    out.truncate(usize::try_from(header.virtual_size()).unwrap());
    out
}

#[test]
fn images_made_by_qemu_img_read_as_the_bytes_they_were_made_from() {
    let Some(scratch) = Scratch::new("made-images") else {
        return;
    };
    let mut raw: Vec<u8> = (0..1u32 << 18)
        .flat_map(|n| (n / 3).to_le_bytes())
        .collect();
    raw[200_000..400_000].fill(0);
    raw.truncate(1_000_448);
    std::fs::write(scratch.path("raw"), &raw).unwrap();
    for (options, compress) in [
        ("compat=0.10", false),
        ("compat=1.1", true),
        ("compression_type=zstd", true),
        ("compression_type=zstd,cluster_size=16k", true),
        ("compression_type=zlib,cluster_size=2M", true),
        ("extended_l2=on", false),
        ("extended_l2=on,cluster_size=128k", true),
    ] {
        let mut args = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", options];
        args.extend(compress.then_some("-c"));
        args.extend(["raw", "image"]);
        let (made, said) = scratch.qemu_img(&args);
        assert!(made, "{options}: {said}");
        let header = parse_file(&scratch.path("image")).unwrap();
        let bytes = std::fs::read(scratch.path("image")).unwrap();
        assert!(read_all(&bytes, &header) == raw, "{options}");
    }
}

#[test]
fn the_refcounts_of_an_image_made_by_qemu_img_count_its_clusters() {
    let Some(scratch) = Scratch::new("made-refcounts") else {
        return;
    };
    for bits in ["1", "2", "4", "8", "16", "32", "64"] {
        let options = format!("refcount_bits={bits},preallocation=metadata");
        let (made, said) =
            scratch.qemu_img(&["create", "-q", "-f", "qcow2", "-o", &options, "image", "1M"]);
        assert!(made, "{said}");
        let header = parse_file(&scratch.path("image")).unwrap();
        let bytes = std::fs::read(scratch.path("image")).unwrap();
        let g = header.geometry;
        let table = EntryTable::from_bytes(at(&bytes, header.refcount_table_offset, 65536));
        let block = refcount::parse_table_entry(table.get(0).unwrap(), g)
            .unwrap()
            .unwrap();
        let block = RefcountBlock::from_bytes(at(&bytes, block, g.cluster_size()), g).unwrap();
        // Header, refcount table and block, L1, L2, and 16 clusters of data.
        assert_eq!(block.iter().sum::<u64>(), 21, "{bits} bits");
        assert_eq!(block.first_free(0), Some(21), "{bits} bits");
    }
}

#[test]
fn snapshots_made_by_qemu_img_encode_back_to_their_bytes() {
    let Some(scratch) = Scratch::new("made-snapshots") else {
        return;
    };
    assert!(
        scratch
            .qemu_img(&["create", "-q", "-f", "qcow2", "image", "1M"])
            .0
    );
    for name in ["one", "a longer name", "3"] {
        assert!(scratch.qemu_img(&["snapshot", "-c", name, "image"]).0);
    }
    let header = parse_file(&scratch.path("image")).unwrap();
    let bytes = std::fs::read(scratch.path("image")).unwrap();
    assert_eq!(header.snapshot_count, 3);
    let table = at(&bytes, header.snapshots_offset, 4096);
    let (found, len) = parse_table(&table, header.snapshot_count).unwrap();
    assert_eq!(found[1].name, b"a longer name");
    assert_eq!(found[2].id, b"3");
    assert!(
        found
            .iter()
            .all(|s| s.virtual_size() == Some(1 << 20) && s.vm_state_size() == 0)
    );
    assert!(found.iter().all(|s| s.check_l1(header.geometry).is_ok()));
    assert_eq!(
        encode_table(&found).unwrap()[..],
        table[..usize::try_from(len).unwrap()]
    );
}

#[test]
fn bitmaps_made_by_qemu_img_encode_back_to_their_bytes() {
    let Some(scratch) = Scratch::new("made-bitmaps") else {
        return;
    };
    assert!(
        scratch
            .qemu_img(&["create", "-q", "-f", "qcow2", "image", "1M"])
            .0
    );
    assert!(scratch.qemu_img(&["bitmap", "--add", "image", "first"]).0);
    assert!(
        scratch
            .qemu_img(&[
                "bitmap",
                "--add",
                "--disable",
                "-g",
                "32k",
                "image",
                "second"
            ])
            .0
    );
    let header = parse_file(&scratch.path("image")).unwrap();
    let bytes = std::fs::read(scratch.path("image")).unwrap();
    let extension = header.bitmaps().unwrap();
    let directory = at(&bytes, extension.directory_offset, extension.directory_size);
    let found = parse_directory(&directory, extension.count, header.geometry).unwrap();
    assert_eq!(found.len(), 2);
    let second = found.iter().find(|b| b.name == b"second").unwrap();
    assert_eq!(second.granularity(), 32768);
    assert!(second.flags.is_empty());
    assert_eq!(
        encode_directory(&found, header.geometry).unwrap(),
        directory
    );
    let table = EntryTable::from_bytes(at(&bytes, second.table_offset, 8));
    let entry = BitmapTableEntry::parse(table.get(0).unwrap(), header.geometry).unwrap();
    assert_eq!(entry, BitmapTableEntry::Zeros);
}

#[test]
fn qemu_img_reads_a_backing_name_we_rewrote() {
    let Some(scratch) = Scratch::new("rewritten-headers") else {
        return;
    };
    let long = "n".repeat(200);
    for name in ["old", "new", &long] {
        assert!(
            scratch
                .qemu_img(&["create", "-q", "-f", "qcow2", name, "1M"])
                .0
        );
    }
    for options in [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=4k",
        "cluster_size=2M",
    ] {
        for name in ["new", &long] {
            let args = [
                "create", "-q", "-f", "qcow2", "-o", options, "-b", "old", "-F", "qcow2", "image",
            ];
            assert!(scratch.qemu_img(&args).0);
            let header = parse_file(&scratch.path("image")).unwrap();
            let mut bytes = std::fs::read(scratch.path("image")).unwrap();
            let cluster = at(&bytes, HostOffset(0), header.geometry.cluster_size());
            let edit = HeaderEdit {
                backing: Some(BackingEdit::Set {
                    name: name.as_bytes().to_vec(),
                    format: Some(b"qcow2".to_vec()),
                }),
                ..HeaderEdit::default()
            };
            for write in rewrite(&cluster, &edit)
                .unwrap()
                .iter()
                .flat_map(|step| &step.writes)
            {
                let start = usize::try_from(write.offset).unwrap();
                bytes[start..start + write.bytes.len()].copy_from_slice(&write.bytes);
            }
            std::fs::write(scratch.path("image"), &bytes).unwrap();
            let (fine, said) = scratch.qemu_img(&["info", "--backing-chain", "image"]);
            assert!(
                fine && said.contains(&format!("backing file: {name}\n")),
                "{options}: {said}"
            );
            assert!(scratch.qemu_img(&["check", "-q", "image"]).0, "{options}");
        }
    }
}
