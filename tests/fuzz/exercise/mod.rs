//! What is done with hostile bytes: one function a fuzz target, each safe to call on any input.
//!
//! The functions serve twice. `cargo fuzz` explores with them (`README.md` beside this folder says
//! how), and `tests/core/fuzz_corpus.rs` replays what was found. A panic, a hang or much memory is a
//! failure, and so is a broken promise: what parses encodes back to what it was, and an image that
//! checks clean still does so after we wrote to it.
#![allow(clippy::unwrap_used, clippy::panic)] // A broken promise is to be seen.

pub(crate) mod guest;
mod memory;

use std::path::Path;
use std::sync::Arc;

use qanopy::fleet::{FromAgent, Said, ToAgent};
use qanopy::image::{
    self, Chain, ImageFile, Layer, NewSnapshot, NoProgress, ProgressSink, Qcow2, Root,
    SnapshotChange, Source, Verdict, Writer,
};
use qanopy::qcow2::bitmap::{self, BitmapTableEntry};
use qanopy::qcow2::{
    BackingEdit, ClusterRun, CompressionType, EntryTable, Geometry, Header, HeaderEdit, Inflater,
    L1Entry, L2Buf, L2Context, RefcountBlock, cluster_run, cluster_runs, l1, l2, refcount, rewrite,
    snapshot,
};

use memory::MemoryFile;

const NAME: &str = "forged.qcow2";

/// A geometry made of three bits of input each, whether or not it is one.
fn geometry(from: u8) -> Option<Geometry> {
    let bits = [9, 12, 14, 16, 21, 10, 15, 13][usize::from(from & 7)];
    Geometry::new(bits, u32::from(from >> 3 & 7), from & 0x40 != 0).ok()
}

/// Header and extensions: parsing, encoding, rewriting.
pub(crate) fn header(data: &[u8]) {
    if Header::needed(data) > 2 << 20 {
        panic!("a header is never longer than a cluster");
    }
    let Ok(header) = Header::parse(data) else {
        return;
    };
    let _ = (header.feature_names(), header.unsupported());
    let _ = (header.bitmaps(), header.crypto_header());
    let _ = (image::header_info(&header), image::built_on(&header));
    if let Ok(encoded) = header.encode() {
        let again = Header::parse(&encoded).unwrap();
        assert_eq!(again.virtual_size(), header.virtual_size());
        assert_eq!(again.backing_file(), header.backing_file());
        assert_eq!(again.backing_format(), header.backing_format());
        assert_eq!(again.extensions, header.extensions);
    }
    let mut cluster = data.to_vec();
    cluster.resize(header.geometry.cluster_len(), 0);
    let edit = HeaderEdit {
        backing: Some(BackingEdit::Set {
            name: b"another/base.qcow2".to_vec(),
            format: Some(b"qcow2".to_vec()),
        }),
        ..HeaderEdit::default()
    };
    let Ok(steps) = rewrite(&cluster, &edit) else {
        return;
    };
    for write in steps.iter().flat_map(|step| &step.writes) {
        let from = usize::try_from(write.offset).unwrap();
        cluster[from..from + write.bytes.len()].copy_from_slice(&write.bytes);
    }
    let after = Header::parse(&cluster).unwrap();
    assert_eq!(after.backing_file(), Some(&b"another/base.qcow2"[..]));
    assert_eq!(after.backing_format(), Some(&b"qcow2"[..]));
}

/// L1 entries, L2 tables, refcount tables and blocks.
pub(crate) fn tables(data: &[u8]) {
    let Some((shape, bytes)) = data.split_first() else {
        return;
    };
    let Some(geometry) = geometry(*shape) else {
        return;
    };
    let context = L2Context {
        geometry,
        version: qanopy::qcow2::Version::V3,
        data_file: shape & 0x80 != 0,
    };
    for raw in EntryTable::from_bytes(bytes.to_vec()).iter() {
        if let Ok(entry) = L1Entry::parse(raw, geometry) {
            let known = raw & !l1::reserved_bits(raw);
            let encoded = entry.encode(geometry).unwrap();
            assert!(encoded == known || entry.table.is_none());
        }
        if let Ok(Some(block)) = refcount::parse_table_entry(raw, geometry) {
            refcount::encode_table_entry(Some(block), geometry).unwrap();
        }
    }
    let mut table = bytes.to_vec();
    table.resize(geometry.cluster_len(), 0);
    let mut l2 = L2Buf::from_bytes(table.clone(), context).unwrap();
    for at in 0..l2.len().min(bytes.len()) {
        let (raw, bitmap) = l2.raw(at).unwrap();
        let _ = l2::faults(raw, bitmap, context);
        if let Ok(entry) = l2.get(at) {
            let _ = entry.runs(geometry).count();
            if entry.encode(context).is_ok() {
                l2.set(at, entry).unwrap();
                assert_eq!(l2.get(at).unwrap(), entry);
            }
        }
    }
    let entries: usize = cluster_runs(l2.as_bytes(), context)
        .map(|stretch| match stretch {
            ClusterRun::Clusters { len, .. } => len,
            ClusterRun::Entry { .. } => 1,
        })
        .sum();
    let some = (0..l2.len()).filter(|at| l2.raw(*at) != Some((0, 0)));
    assert_eq!(entries, some.count());
    let mut flagless = l2.as_bytes().to_vec();
    cluster_run::clear_copied(&mut flagless, geometry);
    assert!(!cluster_run::any_copied(&flagless, geometry));
    let mut block = RefcountBlock::from_bytes(table, geometry).unwrap();
    let some = block.len().min(4096);
    for at in 0..some {
        let count = block.get(at).unwrap();
        block.set(at, count).unwrap();
        assert_eq!(block.get(at), Some(count));
    }
    assert_eq!(
        block.ones(0..some).map(|(run, _)| run.len()).sum::<usize>(),
        some
    );
    let before = block.clone();
    if block.raise(0..some).is_ok() {
        block.lower(0..some, &mut |_| {}).unwrap();
        assert_eq!(block.as_bytes(), before.as_bytes());
    }
}

/// The snapshot table.
pub(crate) fn snapshots(data: &[u8]) {
    let Some((count, bytes)) = data.split_first() else {
        return;
    };
    let Ok((list, len)) = snapshot::parse_table(bytes, u32::from(*count)) else {
        return;
    };
    for snapshot in &list {
        let _ = (snapshot.vm_state_size(), snapshot.virtual_size());
        let _ = snapshot.icount();
        for bits in 0..8 {
            let _ = geometry(bits).map(|geometry| snapshot.check_l1(geometry));
        }
    }
    let encoded = snapshot::encode_table(&list).unwrap();
    assert_eq!(encoded.len() as u64, len);
    assert_eq!(
        snapshot::parse_table(&encoded, u32::from(*count))
            .unwrap()
            .0,
        list
    );
}

/// The bitmap directory and bitmap tables.
pub(crate) fn bitmaps(data: &[u8]) {
    let [shape, count, bytes @ ..] = data else {
        return;
    };
    let Some(geometry) = geometry(*shape) else {
        return;
    };
    for raw in EntryTable::from_bytes(bytes.to_vec()).iter() {
        if let Ok(entry) = BitmapTableEntry::parse(raw, geometry) {
            entry.encode(geometry).unwrap();
        }
    }
    if let Ok(list) = bitmap::parse_directory(bytes, u32::from(*count), geometry) {
        let encoded = bitmap::encode_directory(&list, geometry).unwrap();
        let again = bitmap::parse_directory(&encoded, u32::from(*count), geometry).unwrap();
        assert_eq!(again, list);
    }
}

/// Compressed clusters, both algorithms.
pub(crate) fn compressed(data: &[u8]) {
    let Some((kind, stream)) = data.split_first() else {
        return;
    };
    let kind = match kind & 1 {
        0 => CompressionType::Zlib,
        _ => CompressionType::Zstd,
    };
    let mut inflater = Inflater::new(kind).unwrap();
    for len in [512, 4096, 65536] {
        let mut cluster = vec![0; len];
        if inflater.inflate(stream, &mut cluster).is_ok() {
            let mut deflater = qanopy::qcow2::Deflater::new(kind).unwrap();
            if let Some(packed) = deflater.deflate(&cluster) {
                let mut again = vec![1; len];
                inflater.inflate(&packed, &mut again).unwrap();
                assert_eq!(again, cluster);
            }
        }
    }
}

/// Ends the work after so many bytes, so that no input is a long one.
#[derive(Debug)]
struct Patience(std::sync::atomic::AtomicU64);

impl ProgressSink for Patience {
    fn advance(&self, bytes: u64) -> bool {
        let used = self
            .0
            .fetch_add(bytes.max(1), std::sync::atomic::Ordering::Relaxed);
        used < 256 << 20
    }
}

fn patience() -> Patience {
    Patience(std::sync::atomic::AtomicU64::new(0))
}

/// Maps and reads what a view shows, as far as patience goes.
fn look_through(view: &Chain) {
    let size = view.virtual_size();
    let mut at = 0;
    let mut buf = vec![0; 4096];
    for _ in 0..2048 {
        if at >= size {
            break;
        }
        let Ok(run) = view.resolve(at, size) else {
            at = at.saturating_add(512);
            continue;
        };
        assert!(run.extent.len > 0 && run.extent.start == at && run.extent.end() <= size);
        let len = usize::try_from(run.extent.len.min(4096)).unwrap();
        let _ = view.read_at(&mut buf[..len], at);
        at = run.extent.end();
    }
}

/// An image that lies in memory.
fn in_memory(bytes: &[u8]) -> ImageFile {
    ImageFile::new(Path::new(NAME), Arc::new(MemoryFile::new(bytes.to_vec())))
}

/// A whole image: header, facts, snapshots, bitmaps, map, bytes, check.
pub(crate) fn image(data: &[u8]) {
    let file = in_memory(data);
    let _ = image::probe(&file);
    let Ok(header) = image::read_header(&file) else {
        return;
    };
    let snapshots = image::snapshots(&file, &header);
    let _ = image::bitmaps(&file, &header);
    let _ = image::check(&file, &patience());
    let Ok(top) = Qcow2::open(&file, None) else {
        return;
    };
    let view = Chain::new(vec![Arc::new(Layer::Qcow2(Box::new(top)))]);
    look_through(&view);
    for snapshot in snapshots.unwrap_or_default().iter().take(4) {
        if let Ok(view) = image::snapshot_view(&view, snapshot) {
            look_through(&view);
        }
    }
}

/// The view of the active disk of an image in memory.
fn view_of(file: &ImageFile) -> Option<Chain> {
    let top = Qcow2::open(file, None).ok()?;
    Some(Chain::new(vec![Arc::new(Layer::Qcow2(Box::new(top)))]))
}

/// What the guest sees of the first 256 KiB.
fn seen(file: &ImageFile) -> Option<Vec<u8>> {
    let view = view_of(file)?;
    let len = usize::try_from(view.virtual_size().min(256 << 10)).ok()?;
    let mut bytes = vec![0; len];
    view.read_at(&mut bytes, 0).ok()?;
    Some(bytes)
}

/// Writing to an image that a check calls clean, and taking a snapshot of it: it stays clean, and
/// shows what was written. The first eight bytes of the input say what is done.
pub(crate) fn write(data: &[u8]) {
    let Some((what, bytes)) = data.split_at_checked(8) else {
        return;
    };
    let file = in_memory(bytes);
    let Ok(found) = image::check(&file, &patience()) else {
        return;
    };
    if found.verdict() == Verdict::Corrupt {
        return;
    }
    let (Some(view), Some(mut expected)) = (view_of(&file), seen(&file)) else {
        return;
    };
    if expected.is_empty() {
        return;
    }
    let at = usize::from(u16::from_be_bytes([what[0], what[1]])) * 4 % expected.len();
    let len = (usize::from(u16::from_be_bytes([what[2], what[3]])) + 1).min(expected.len() - at);
    let Ok(mut writer) = Writer::open(&file, None, view, found.tables.clone(), Root::Active) else {
        return;
    };
    let result = writer.begin().and_then(|()| {
        if what[4] & 1 == 0 {
            let fill = vec![what[5]; len];
            writer.write(at as u64, len as u64, Source::Bytes(&fill))
        } else {
            writer.write_zeros(at as u64, len as u64)
        }
    });
    let finished = result.and_then(|()| writer.finish());
    drop(writer);
    let again = image::check(&file, &patience());
    if finished.is_ok() {
        let fill = if what[4] & 1 == 0 { what[5] } else { 0 };
        expected[at..at + len].fill(fill);
        assert_eq!(
            seen(&file).as_ref(),
            Some(&expected),
            "what was written shows"
        );
    }
    let again = again.unwrap();
    assert_eq!(again.corruptions, 0, "{:?}", again.findings);
    if what[4] & 2 != 0 {
        return;
    }
    let new = NewSnapshot {
        name: b"fuzz".to_vec(),
        date: std::time::SystemTime::UNIX_EPOCH,
    };
    let Ok(change) = SnapshotChange::create(&file, &new, &NoProgress) else {
        return;
    };
    let before = seen(&file);
    if change.commit(&NoProgress).is_ok() {
        assert_eq!(
            seen(&file),
            before,
            "a snapshot changes nothing the guest sees"
        );
    }
    let after = image::check(&file, &patience()).unwrap();
    assert_eq!(after.corruptions, 0, "{:?}", after.findings);
}

/// What another machine's agent says, and what is said to an agent here: whatever reads as a message is written as the
/// same, and no question is asked that is longer than a person reads.
pub(crate) fn agent(data: &[u8]) {
    let mut from = data;
    while let Ok(Some(message)) = FromAgent::read(&mut from) {
        let mut bytes = Vec::new();
        message.clone().write(&mut bytes).unwrap();
        let again = FromAgent::read(&mut bytes.as_slice()).unwrap();
        assert_eq!(again.as_ref(), Some(&message));
        if let FromAgent::Said {
            said: Said::Question(question),
            ..
        } = &message
            && question.is_short()
        {
            assert!(question.lines.len() <= 10_000 && question.digest().len() == 64);
        }
    }
    let mut from = data;
    while let Ok(Some(message)) = ToAgent::read(&mut from) {
        let mut bytes = Vec::new();
        message.write(&mut bytes).unwrap();
        let again = ToAgent::read(&mut bytes.as_slice()).unwrap();
        assert_eq!(again, Some(message));
    }
}
