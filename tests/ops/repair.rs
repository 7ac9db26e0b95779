//! Repair: whatever single field of an image is forged, its repair is clean by `qemu-img check`, or
//! says what it leaves; what could be read reads the same; and no crash or fault on the way makes it
//! worse.

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qanopy::host::{Access, Host, RealHost};
use qanopy::image::{
    self, Chain, Check, FindingKind, Format, ImageFile, NoProgress, Repair, RepairExtent, Verdict,
    read_header, snapshot_view, snapshots,
};
use qanopy::ops::{self, Outcome, Progress, RefusalKind, RepairAction, RepairImage, Request};
use support::fields::samples;
use support::script::{self, Script};
use support::{Calls, Fault, FaultyHost, HoldMode, RecordingHost, Then, oracle, own_code};

fn opened(path: &Path) -> ImageFile {
    ImageFile::open(&RealHost, path, Access::ReadWrite).unwrap()
}

/// What every part of every view reads as; none for what cannot be read.
type Parts = Vec<Option<Vec<u8>>>;

/// Bytes of a part: no larger than any cluster's smallest piece.
const PART: usize = 512;

fn parts(path: &Path) -> Option<Parts> {
    let chain = Chain::open(&RealHost, path, Some(&Format::Qcow2), &|_| true).ok()?;
    let file = opened(path);
    let header = read_header(&file).unwrap();
    let mut parts = Vec::new();
    let mut read = |chain: &Chain| {
        let mut at = 0;
        while at < chain.virtual_size() {
            let mut bytes = vec![0; PART];
            let read = chain.read_at(&mut bytes, at);
            parts.push(read.ok().map(|_| bytes));
            at += PART as u64;
        }
    };
    read(&chain);
    for snapshot in snapshots(&file, &header).unwrap_or_default() {
        if let Ok(view) = snapshot_view(&chain, &snapshot) {
            read(&view);
        }
    }
    Some(parts)
}

/// Says which readable part differs, if one does.
fn changed(before: &Parts, after: &Parts) -> Option<usize> {
    if before.len() != after.len() {
        return Some(usize::MAX);
    }
    before
        .iter()
        .zip(after)
        .position(|(before, after)| before.is_some() && before != after)
}

fn work_out(path: &Path, extent: RepairExtent) -> image::Result<Repair> {
    Repair::work_out(&opened(path), extent, &NoProgress)
}

#[test]
fn one_forged_field_is_repaired_or_named() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    let (mut clean, mut left, mut refused) = (0, 0, 0);
    for sample in samples(dir.path()) {
        let path = dir.path().join(sample.name);
        let mut tasks = Vec::new();
        for (what, places) in sample.fields() {
            for place in places {
                for value in sample.values(sample.u64(place)) {
                    tasks.push((what, place, value));
                }
            }
        }
        let budget = std::env::var("QANOPY_FORGED").map_or(50, |n| n.parse().unwrap());
        let step = tasks.len().div_ceil(budget);
        for &(what, place, value) in tasks.iter().skip(sample.name.len() % step).step_by(step) {
            let mut bytes = sample.bytes.clone();
            bytes[place..place + 8].copy_from_slice(&value.to_be_bytes());
            fs::write(&path, &bytes).unwrap();
            let mut say = |text: String| {
                wrong.push(format!(
                    "{} {what} at {place:#x} = {value:#x} (was {:#x}): {text}",
                    sample.name,
                    sample.u64(place)
                ));
            };
            let before = parts(&path);
            let repair = match work_out(&path, RepairExtent::All) {
                Ok(repair) => repair,
                Err(error) => {
                    refused += 1;
                    let known = image::check(&opened(&path), &NoProgress).is_err()
                        || error.to_string().contains("beyond the end of the file")
                        || error.to_string().contains("do not pass the check")
                        || error.to_string().contains("refcounts of 1 bits can count");
                    if !known {
                        say(format!("refused: {error}"));
                    }
                    continue;
                }
            };
            assert_eq!(fs::read(&path).unwrap(), bytes, "planning writes nothing");
            let whole = repair.left_count() == 0;
            let leaves: Vec<String> = repair.left().iter().map(|f| f.text.clone()).collect();
            let found = repair.found().clone();
            let now = match repair.commit(&NoProgress) {
                Ok(now) => now,
                Err(error) => {
                    say(format!("failed: {error}\n  {found:?}"));
                    continue;
                }
            };
            let theirs = oracle::check(&path);
            if whole {
                clean += 1;
                if now.verdict() != Verdict::Clean || !theirs.is_clean() {
                    say(format!("{now:?}\n  {theirs:?}"));
                }
            } else {
                left += 1;
                if now.verdict() != Verdict::Corrupt {
                    say(format!("left {leaves:?}, and now {now:?}"));
                }
            }
            match (before, parts(&path)) {
                (Some(before), Some(after)) => {
                    if let Some(at) = changed(&before, &after) {
                        say(format!("part {at} of {} reads differently", before.len()));
                    }
                }
                (Some(_), None) => say("cannot be opened any more".to_owned()),
                _ => {}
            }
        }
        fs::write(&path, &sample.bytes).unwrap();
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(
        clean > 100 && left > 5 && refused > 5,
        "{clean} {left} {refused}"
    );
}

fn request(image: &Path, action: RepairAction) -> Request {
    Request::Repair(RepairImage {
        image: image.to_path_buf(),
        action,
    })
}

fn run(host: &Arc<dyn Host>, dir: &Path, request: &Request) -> Result<Outcome, String> {
    let ready = own_code::agree(own_code::plan(host, dir, request))?;
    ops::run(ready, &Progress::new()).map_err(|error| error.to_string())
}

/// A big-endian number in a file's bytes.
fn be(bytes: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).unwrap();
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: u64, value: u64) {
    let at = usize::try_from(at).unwrap();
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Ways to damage an image made by [`damaged`].
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// The refcount table names nothing.
    NoRefcounts,
    /// The first refcount block is full of the largest counts.
    WildRefcounts,
    /// The refcount table's first entry leads to an L2 table.
    RefcountsOnTable,
    /// Guest data on the L1 table, an entry past the end, wrong copied flags, the corrupt bit.
    Entries,
    /// The L1 table entry names the L1 table itself as its L2 table.
    TableOnTable,
    /// One cluster is counted twice, and rubbish lies at the end.
    Leak,
    /// A zero cluster keeps a place that is not aligned.
    PlacedZeros,
}

fn l2_of(bytes: &[u8], entry: u64) -> u64 {
    be(bytes, be(bytes, 40) + entry * 8) & OFFSET
}

fn damage(bytes: &mut Vec<u8>, how: Damage) {
    let cluster = 1_u64 << u32::from_be_bytes(bytes[20..24].try_into().unwrap());
    let wide = if be(bytes, 72) & 16 != 0 { 16 } else { 8 };
    let table = be(bytes, 48);
    let block = be(bytes, table);
    match how {
        Damage::NoRefcounts => put(bytes, table, 0),
        Damage::WildRefcounts => {
            let at = usize::try_from(block).unwrap();
            bytes[at..at + 64].fill(0xff);
        }
        Damage::RefcountsOnTable => {
            let l2 = l2_of(bytes, 0);
            put(bytes, table, l2);
        }
        Damage::Entries => {
            let (l1, l2) = (be(bytes, 40), l2_of(bytes, 0));
            let len = bytes.len() as u64;
            put(bytes, l2 + wide, 1 << 63 | l1);
            put(
                bytes,
                l2 + 2 * wide,
                1 << 63 | (len.next_multiple_of(cluster) + cluster),
            );
            let now = be(bytes, l2 + 3 * wide);
            put(bytes, l2 + 3 * wide, now & !(1 << 63) | 1 << 60);
            if u32::from_be_bytes(bytes[4..8].try_into().unwrap()) == 3 {
                let now = be(bytes, 72);
                put(bytes, 72, now | 2);
            }
        }
        Damage::TableOnTable => {
            let l1 = be(bytes, 40);
            put(bytes, l1, 1 << 63 | l1);
        }
        Damage::Leak => {
            bytes.resize(
                bytes
                    .len()
                    .next_multiple_of(usize::try_from(cluster).unwrap()),
                0,
            );
            let l2 = l2_of(bytes, 0);
            put(bytes, l2 + 4 * wide, 0);
            if wide == 16 {
                put(bytes, l2 + 4 * wide + 8, 0);
            }
            bytes.extend(script::noise(7, 3000));
        }
        Damage::PlacedZeros => {
            let l2 = l2_of(bytes, 0);
            let place = l2_of(bytes, 0) + 512;
            if wide == 16 {
                put(bytes, l2 + 4 * wide, 1 << 63 | place);
                put(bytes, l2 + 4 * wide + 8, 0xffff_ffff << 32);
            } else {
                put(bytes, l2 + 4 * wide, 1 << 63 | place | 1);
            }
        }
    }
}

/// Where the entries of the snapshot table are.
fn snapshot_entries(bytes: &[u8]) -> Vec<u64> {
    let count = be(bytes, 56) & 0xffff_ffff;
    let mut at = be(bytes, 64);
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(at);
        let names = be(bytes, at + 8);
        let extra = be(bytes, at + 32) & 0xffff_ffff;
        let len = 40 + extra + (names >> 16 & 0xffff) + (names & 0xffff);
        at = (at + len).next_multiple_of(8);
    }
    entries
}

/// An image with two snapshots, and its bytes.
fn with_two_snapshots(dir: &Path) -> (PathBuf, Vec<u8>) {
    let mut script = image("-o cluster_size=4k");
    script.run("qemu-img snapshot -c second image.qcow2");
    script.io(
        "qcow2",
        "image.qcow2",
        &["write -P 0x14 0 16k", "write -P 0x15 600k 16k"],
    );
    script.build(dir);
    let path = dir.join("image.qcow2");
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

/// The image with its snapshot table at the file's end, where the first entry has `extra` bytes of extra
/// data.
fn with_extra(bytes: &[u8], extra: usize) -> Vec<u8> {
    let at = |n: u64| usize::try_from(n).unwrap();
    let entries = snapshot_entries(bytes);
    let (first, second) = (at(entries[0]), at(entries[1]));
    let was = at(be(bytes, entries[0] + 32) & 0xffff_ffff);
    let mut table = bytes[first..first + 40].to_vec();
    table[36..40].copy_from_slice(&u32::try_from(extra).unwrap().to_be_bytes());
    table.extend(&bytes[first + 40..first + 40 + was]);
    table.extend(script::noise(3, (extra - was) as u64));
    let names = be(bytes, entries[0] + 8);
    let names = at((names >> 16 & 0xffff) + (names & 0xffff));
    table.extend(&bytes[first + 40 + was..first + 40 + was + names]);
    table.resize(table.len().next_multiple_of(8), 0);
    table.extend(&bytes[second..second + 100]);
    let mut new = bytes.to_vec();
    new.resize(new.len().next_multiple_of(4096), 0);
    let place = new.len() as u64;
    put(&mut new, 64, place);
    new.extend(table);
    new.resize(new.len().next_multiple_of(4096), 0);
    new
}

/// The images of [`with_two_snapshots`] whose table nobody opens, though all of it can be understood.
const TOO_MUCH_EXTRA: [usize; 3] = [1025, 2024, 70_000];

#[test]
fn a_snapshot_table_that_keeps_qemu_from_opening_an_image_is_mended_with_every_snapshot() {
    let Some(qemu) = support::qemu() else { return };
    let host = own_code::real_host();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (path, pristine) = with_two_snapshots(dir);
    let before = parts(&path).unwrap();
    for extra in TOO_MUCH_EXTRA {
        let broken = with_extra(&pristine, extra);
        fs::write(&path, &broken).unwrap();
        let theirs = qemu.try_img(&["snapshot", "-l", path.to_str().unwrap()]);
        assert!(!theirs.success(), "QEMU does not open it");
        let why = Chain::open(&RealHost, &path, Some(&Format::Qcow2), &|_| true).unwrap_err();
        let way = "A repair mends that, and keeps every snapshot";
        assert!(why.to_string().contains(way), "{why}");
        let found = image::check(&opened(&path), &NoProgress).unwrap();
        assert_eq!(found.numbers[&FindingKind::SnapshotTable], 1, "{found:?}");
        let outcome = run(&host, dir, &request(&path, RepairAction::All)).unwrap();
        let theirs = oracle::check(&path);
        assert!(theirs.is_clean(), "{extra}: {theirs:?}");
        assert_eq!(changed(&before, &parts(&path).unwrap()), None, "{extra}");
        let now = fs::read(&path).unwrap();
        let [first, second] = snapshot_entries(&now)[..] else {
            panic!("two snapshots")
        };
        assert_eq!(be(&now, first + 32) & 0xffff_ffff, 1024);
        let extra_of = |bytes: &[u8], entry: u64| {
            let at = usize::try_from(entry + 40).unwrap();
            bytes[at..at + 1024].to_vec()
        };
        let was = be(&broken, 64);
        assert!(extra_of(&now, first) == extra_of(&broken, was), "{extra}");
        assert_eq!(
            be(&now, second),
            be(&pristine, snapshot_entries(&pristine)[1])
        );
        run(&host, dir, &outcome.undo.unwrap()).unwrap();
        assert!(fs::read(&path).unwrap() == broken, "{extra}");
    }
}

#[test]
fn mending_a_snapshot_table_survives_every_crash() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (path, pristine) = with_two_snapshots(dir);
    let before = parts(&path).unwrap();
    let broken = with_extra(&pristine, 2024);
    fs::write(&path, &broken).unwrap();
    let recorder = Arc::new(RecordingHost::new(dir));
    let host: Arc<dyn Host> = recorder.clone();
    run(&host, dir, &request(&path, RepairAction::All)).unwrap();
    recorder.mark("done");
    let log = recorder.log();
    let (mut olds, mut news) = (0, 0);
    for (number, state) in log.crash_states(60, 7).enumerate() {
        let replayed = log.replay(&state);
        let path = replayed.path().join("image.qcow2");
        let context = || format!("state {number}:\n{}", log.describe(&state));
        if let Some(read) = parts(&path) {
            assert_eq!(changed(&before, &read), None, "{}", context());
            news += 1;
        } else {
            assert!(!state.passed("done"), "{}", context());
            olds += 1;
            if number % 5 == 0 {
                let host = own_code::real_host();
                run(&host, replayed.path(), &request(&path, RepairAction::All))
                    .unwrap_or_else(|why| panic!("{why}\n{}", context()));
                assert_eq!(changed(&before, &parts(&path).unwrap()), None);
            }
        }
        if number % 5 == 0 {
            let theirs = oracle::check(&path);
            assert!(theirs.is_clean(), "{theirs:?}\n{}", context());
        }
    }
    assert!(olds > 0 && news > 0, "{olds} old, {news} new");
}

/// A field of a snapshot's entry: offset in it, width, what becomes of what it says.
type Lost = (&'static str, u64, usize, fn(u64) -> u64);

/// Fields of the second snapshot's entry, with values that make no sense.
const LOST_SNAPSHOTS: [Lost; 4] = [
    ("an unaligned L1 table", 0, 8, |was| was + 512),
    ("an L1 table past the end", 0, 8, |_| 1 << 40),
    ("an L1 table that is too long", 8, 4, |_| 5 << 20),
    ("extra data without end", 36, 4, |_| 0xffff_ff00),
];

#[test]
fn a_snapshot_that_cannot_be_read_is_left_whole_and_the_rest_is_repaired() {
    let Some(qemu) = support::qemu() else { return };
    let host = own_code::real_host();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let (path, pristine) = with_two_snapshots(dir);
    let before = parts(&path).unwrap();
    for (what, at, width, value) in LOST_SNAPSHOTS {
        let mut broken = pristine.clone();
        let field = |bytes: &[u8]| usize::try_from(last_entry(bytes) + at).unwrap();
        let place = field(&broken);
        let was = broken[place..place + width].to_vec();
        let value = value(be(&broken, place as u64));
        broken[place..place + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
        // And something that can be repaired: a copied flag where there must be none, one that is missing.
        let l2 = l2_of(&broken, 0);
        for entry in [20, 0] {
            let flipped = be(&broken, l2 + entry * 8) ^ 1 << 63;
            put(&mut broken, l2 + entry * 8, flipped);
        }
        fs::write(&path, &broken).unwrap();
        let found = image::check(&opened(&path), &NoProgress).unwrap();
        assert!(
            found.numbers[&FindingKind::CopiedFlag] >= 2,
            "{what}: {found:?}"
        );
        let repair = work_out(&path, RepairExtent::All).unwrap();
        assert_eq!(repair.left_count(), 1, "{what}: {:?}", repair.left());
        let mends: Vec<_> = repair.mends().collect();
        assert!(
            mends
                .iter()
                .all(|(kind, _)| *kind == FindingKind::CopiedFlag)
                && !mends.is_empty(),
            "{what}: {mends:?}"
        );
        drop(repair);
        run(&host, dir, &request(&path, RepairAction::All))
            .unwrap_or_else(|why| panic!("{what}: {why}"));
        let now = image::check(&opened(&path), &NoProgress).unwrap();
        assert_eq!(now.corruptions, 1, "{what}: {now:?}");
        // Once the field is right again the snapshot is, too; also if somebody wrote in between.
        // QEMU writes where it believes no table of a snapshot to be.
        let written = width == 8;
        if written {
            qemu.io(&path, &["write -P 0x77 0 1M"]);
        }
        let mut mended = fs::read(&path).unwrap();
        let place = field(&mended);
        mended[place..place + width].copy_from_slice(&was);
        fs::write(&path, &mended).unwrap();
        let after = parts(&path).unwrap();
        let disk = if written { (1 << 20) / PART } else { 0 };
        let (before, after) = (before[disk..].to_vec(), after[disk..].to_vec());
        assert_eq!(changed(&before, &after), None, "{what}");
        let theirs = oracle::check(&path);
        assert_eq!(theirs.corruptions, 0, "{what}: {theirs:?}");
    }
}

/// The entry of the last snapshot in the table, whatever it says of its own length.
fn last_entry(bytes: &[u8]) -> u64 {
    let first = be(bytes, 64);
    let names = be(bytes, first + 8);
    let extra = be(bytes, first + 32) & 0xffff_ffff;
    (first + 40 + extra + (names >> 16 & 0xffff) + (names & 0xffff)).next_multiple_of(8)
}

/// An image with data, zeros, compressed clusters and, if it may have them, a snapshot and a bitmap.
fn image(options: &str) -> Script {
    let mut script = Script::default();
    let cluster = options.split("cluster_size=").nth(1).unwrap_or("64k");
    let cluster = cluster.split(',').next().unwrap();
    // In KiB: a sixteenth of the disk, and several clusters of any size.
    let unit = if cluster == "2M" { 1024 } else { 64 };
    script.create(options, "image.qcow2", &format!("{}k", 16 * unit));
    script.io(
        "qcow2",
        "image.qcow2",
        &[
            &format!("write -P 0x10 0 {}k", 8 * unit),
            &format!("write -z {}k {unit}k", 4 * unit),
        ],
    );
    if !options.contains("data_file") {
        script.run("qemu-img snapshot -c first image.qcow2");
        script.io(
            "qcow2",
            "image.qcow2",
            &[
                &format!("write -P 0x11 0 {unit}k"),
                &format!("write -c -P 0x12 {}k {cluster}", 12 * unit),
            ],
        );
    }
    if !options.contains("compat=0.10") {
        script.run("qemu-img bitmap --add image.qcow2 map");
        script.io(
            "qcow2",
            "image.qcow2",
            &[&format!("write -P 0x13 {}k 1k", 10 * unit)],
        );
    }
    script
}

fn build(options: &str, dir: &Path, how: Damage) -> PathBuf {
    image(options).build(dir);
    let path = dir.join("image.qcow2");
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes, how);
    fs::write(&path, bytes).unwrap();
    path
}

const EVERY_DAMAGE: [Damage; 7] = [
    Damage::NoRefcounts,
    Damage::WildRefcounts,
    Damage::RefcountsOnTable,
    Damage::Entries,
    Damage::TableOnTable,
    Damage::Leak,
    Damage::PlacedZeros,
];

#[test]
fn whatever_the_kind_of_image_its_repair_is_clean_and_can_be_taken_back() {
    let Some(qemu) = support::qemu() else { return };
    let host = own_code::real_host();
    let options = [
        "-o cluster_size=64k",
        "-o cluster_size=512,refcount_bits=2",
        "-o cluster_size=1k,compat=0.10",
        "-o cluster_size=2M,refcount_bits=64",
        "-o cluster_size=16k,extended_l2=on,refcount_bits=8",
        "-o cluster_size=4k,compression_type=zstd,refcount_bits=32",
        "-o cluster_size=8k,data_file=data.raw,data_file_raw=on",
        "-o cluster_size=64k,lazy_refcounts=on",
    ];
    for options in options {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        image(options).build(dir);
        let path = dir.join("image.qcow2");
        let pristine = fs::read(&path).unwrap();
        for how in EVERY_DAMAGE {
            // Version 2 knows no zero clusters, and beside a data file a place means what it says.
            let no_zeros = ["compat=0.10", "data_file"];
            if matches!(how, Damage::PlacedZeros) && no_zeros.iter().any(|it| options.contains(it))
            {
                continue;
            }
            let mut broken = pristine.clone();
            damage(&mut broken, how);
            fs::write(&path, &broken).unwrap();
            let context = || format!("{how:?} of {options}");
            let before = parts(&path).unwrap();
            let was = image::check(&opened(&path), &NoProgress).unwrap();
            let outcome = run(&host, dir, &request(&path, RepairAction::All))
                .unwrap_or_else(|why| panic!("{why}\n{}", context()));
            let left = image::check(&opened(&path), &NoProgress).unwrap();
            let theirs = oracle::check(&path);
            // An L1 table read as an L2 table maps nonsense, of which some cannot be read.
            if !matches!(how, Damage::TableOnTable) {
                assert!(theirs.is_clean(), "{theirs:?}\n{left:?}\n{}", context());
                assert_eq!(left.verdict(), Verdict::Clean, "{left:?}\n{}", context());
                assert!(!left.numbers.contains_key(&FindingKind::MarkedCorrupt));
            }
            let after = parts(&path).unwrap();
            assert_eq!(changed(&before, &after), None, "{}", context());
            let undo = outcome.undo.clone().unwrap();
            run(&host, dir, &undo).unwrap_or_else(|why| panic!("{why}\n{}", context()));
            let back = image::check(&opened(&path), &NoProgress).unwrap();
            assert_eq!(back.numbers, was.numbers, "{}", context());
            assert!(fs::read(&path).unwrap() == broken, "{}", context());
            assert_eq!(
                changed(&before, &parts(&path).unwrap()),
                None,
                "{}",
                context()
            );
            let again = run(&host, dir, &request(&path, RepairAction::All));
            again.unwrap_or_else(|why| panic!("{why}\n{}", context()));
            assert_eq!(changed(&before, &parts(&path).unwrap()), None);
            if !options.contains("data_file") {
                qemu.try_io(&path, &["write -P 0x33 900k 100k"]);
                let why = run(&host, dir, &undo).unwrap_err();
                assert!(why.contains("fit it any more"), "{why}\n{}", context());
            }
        }
    }
}

/// Cuts a repair off at every moment: each state reads as before and can be repaired.
fn survives(options: &str, how: Damage) {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let path = build(options, dir, how);
    let before = parts(&path).unwrap();
    let found = image::check(&opened(&path), &NoProgress).unwrap();
    let recorder = Arc::new(RecordingHost::new(dir));
    let host: Arc<dyn Host> = recorder.clone();
    run(&host, dir, &request(&path, RepairAction::All)).unwrap();
    recorder.mark("done");
    let log = recorder.log();
    let (mut olds, mut news) = (0, 0);
    for (number, state) in log.crash_states(90, 7).enumerate() {
        let replayed = log.replay(&state);
        let path = replayed.path().join("image.qcow2");
        let context = || {
            format!(
                "state {number}:\n{}\n{how:?} of {options}",
                log.describe(&state)
            )
        };
        let now = image::check(&opened(&path), &NoProgress).unwrap();
        let is_new = now.verdict() == Verdict::Clean;
        // The file may be longer, so that what led past its end leads to zeros inside it.
        for kind in [FindingKind::TableAliased, FindingKind::TablesOverlap] {
            let number = |check: &Check| check.numbers.get(&kind).copied().unwrap_or(0);
            assert!(
                number(&now) <= number(&found),
                "{found:?}\n{now:?}\n{}",
                context()
            );
        }
        assert!(is_new || !state.passed("done"), "{}", context());
        let read = parts(&path).unwrap();
        assert_eq!(changed(&before, &read), None, "{}", context());
        if is_new {
            news += 1;
        } else {
            olds += 1;
        }
        if number % 9 == 0 {
            if !is_new {
                let host = own_code::real_host();
                run(&host, replayed.path(), &request(&path, RepairAction::All))
                    .unwrap_or_else(|why| panic!("{why}\n{}", context()));
            }
            let theirs = oracle::check(&path);
            assert!(theirs.is_clean(), "{theirs:?}\n{}", context());
            assert_eq!(changed(&before, &parts(&path).unwrap()), None);
        }
    }
    assert!(olds > 0 && news > 0, "{olds} old, {news} new");
}

#[test]
fn a_repair_survives_every_crash() {
    survives("-o cluster_size=4k", Damage::Entries);
    survives("-o cluster_size=512,refcount_bits=4", Damage::NoRefcounts);
    survives("-o cluster_size=64k,compat=0.10", Damage::RefcountsOnTable);
    survives("-o cluster_size=1k", Damage::WildRefcounts);
    survives("-o cluster_size=4k", Damage::Leak);
    survives("-o cluster_size=4k", Damage::PlacedZeros);
}

#[test]
fn taking_a_repair_back_survives_every_crash() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let path = build("-o cluster_size=4k", dir, Damage::Entries);
    let before = parts(&path).unwrap();
    let real = own_code::real_host();
    let outcome = run(&real, dir, &request(&path, RepairAction::All)).unwrap();
    let recorder = Arc::new(RecordingHost::new(dir));
    let host: Arc<dyn Host> = recorder.clone();
    run(&host, dir, &outcome.undo.unwrap()).unwrap();
    recorder.mark("done");
    let log = recorder.log();
    let (mut repaired, mut back) = (0, 0);
    for (number, state) in log.crash_states(60, 7).enumerate() {
        let replayed = log.replay(&state);
        let path = replayed.path().join("image.qcow2");
        let context = || format!("state {number}:\n{}", log.describe(&state));
        let read = parts(&path).unwrap();
        assert_eq!(changed(&before, &read), None, "{}", context());
        let now = image::check(&opened(&path), &NoProgress).unwrap();
        match now.verdict() {
            Verdict::Clean => repaired += 1,
            _ => back += 1,
        }
        assert!(
            !state.passed("done") || now.verdict() == Verdict::Corrupt,
            "{}",
            context()
        );
        if now.verdict() != Verdict::Clean {
            run(&real, replayed.path(), &request(&path, RepairAction::All))
                .unwrap_or_else(|why| panic!("{why}\n{}", context()));
        }
        if number % 9 == 0 {
            assert!(oracle::check(&path).is_clean(), "{}", context());
        }
    }
    assert!(repaired > 0 && back > 0, "{repaired} repaired, {back} back");
}

#[test]
fn a_repair_that_fails_anywhere_can_be_run_again() {
    if support::qemu().is_none() {
        return;
    }
    for how in [Damage::Entries, Damage::Leak] {
        let home = tempfile::tempdir().unwrap();
        let path = build("-o cluster_size=4k", home.path(), how);
        let before = parts(&path).unwrap();
        let broken = fs::read(&path).unwrap();
        let try_on = |host: FaultyHost, to_the_byte: bool| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("image.qcow2");
            fs::write(&path, &broken).unwrap();
            let host = Arc::new(host);
            let failing: Arc<dyn Host> = host.clone();
            let done = run(&failing, dir.path(), &request(&path, RepairAction::All));
            let context = || format!("{how:?}, {:?}: {done:?}", host.struck());
            assert_eq!(
                changed(&before, &parts(&path).unwrap()),
                None,
                "{}",
                context()
            );
            if done.is_err() && to_the_byte {
                assert!(fs::read(&path).unwrap() == broken, "{}", context());
            }
            let now = image::check(&opened(&path), &NoProgress).unwrap();
            if now.verdict() != Verdict::Clean || now.trailing_bytes() > 0 {
                run(
                    &own_code::real_host(),
                    dir.path(),
                    &request(&path, RepairAction::All),
                )
                .unwrap_or_else(|why| panic!("{why}\n{}", context()));
            }
            assert!(oracle::check(&path).is_clean(), "{}", context());
            (done.is_err(), host)
        };
        let real = || -> Arc<dyn Host> { Arc::new(RealHost) };
        let (_, counted) = try_on(FaultyHost::counting(real()), true);
        let mut failed = 0;
        for (class, fault) in [
            (Calls::Mutating, Fault::eio()),
            (Calls::Allocating, Fault::Partly(rustix::io::Errno::NOSPC)),
        ] {
            for nth in 0..counted.count(class) {
                for then in [Then::KeepFailing, Then::Recover] {
                    let host = FaultyHost::failing(real(), class, nth, fault, then);
                    let (error, _) = try_on(host, matches!(then, Then::Recover));
                    failed += usize::from(error);
                }
            }
        }
        for nth in (0..counted.count(Calls::Reading)).step_by(5) {
            try_on(
                FaultyHost::failing(real(), Calls::Reading, nth, Fault::eio(), Then::Recover),
                true,
            );
        }
        assert!(failed > 20, "{failed}");
    }
}

#[test]
fn an_image_in_use_and_leaks_beside_damage_are_refused_before_anything_is_written() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let host = own_code::real_host();
    let path = build("-o cluster_size=4k", dir, Damage::Leak);
    {
        let _held = qemu.hold_with_nbd(&path, HoldMode::ReadOnly);
        let why = run(&host, dir, &request(&path, RepairAction::All)).unwrap_err();
        assert!(why.contains("in use by qemu-nbd"), "{why}");
    }
    let plan = ops::plan(
        &own_code::context(&host, dir),
        &request(&path, RepairAction::Leaks),
    );
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes, Damage::Entries);
    fs::write(&path, &bytes).unwrap();
    let plan = ops::plan(
        &own_code::context(&host, dir),
        &request(&path, RepairAction::Leaks),
    );
    assert_eq!(plan.refusals[0].kind, RefusalKind::Damaged, "{plan:?}");
    assert_eq!(
        plan.refusals[0].ways_out[0].request,
        request(&path, RepairAction::All)
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert!(!dir.join(".qanopy-trash").exists());
}

#[test]
fn an_image_whose_backing_file_is_missing_is_repaired() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let qemu = qemu.within(dir);
    qemu.img(&["create", "-q", "-f", "qcow2", "base.qcow2", "1M"]);
    let mut script = Script::default();
    script.overlay("qcow2", "base.qcow2", "image.qcow2");
    script.io("qcow2", "image.qcow2", &["write -P 7 0 512k"]);
    script.build(dir);
    fs::remove_file(dir.join("base.qcow2")).unwrap();
    let path = dir.join("image.qcow2");
    let mut bytes = fs::read(&path).unwrap();
    damage(&mut bytes, Damage::WildRefcounts);
    fs::write(&path, bytes).unwrap();
    run(
        &own_code::real_host(),
        dir,
        &request(&path, RepairAction::All),
    )
    .unwrap();
    let now = image::check(&opened(&path), &NoProgress).unwrap();
    assert_eq!(now.verdict(), Verdict::Clean, "{now:?}");
}

fn qanopy(dir: &Path, words: &[&str]) -> (i32, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_qanopy"));
    let out = command
        .current_dir(dir)
        .env("XDG_STATE_HOME", dir.join("state"))
        .args(words)
        .output()
        .unwrap();
    (
        out.status.code().unwrap_or(-1),
        String::from_utf8(out.stdout).unwrap(),
        String::from_utf8(out.stderr).unwrap(),
    )
}

#[test]
fn the_command_line_reports_plans_repairs_and_puts_back() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let path = build("-o cluster_size=4k", dir, Damage::Entries);
    let broken = fs::read(&path).unwrap();
    let (code, ..) = qanopy(dir, &["check", "image.qcow2"]);
    assert_eq!(code, 3);
    let (code, out, _) = qanopy(dir, &["check", "--repair", "leaks", "image.qcow2"]);
    assert_eq!(code, 4, "{out}");
    assert!(out.contains("qanopy check --repair all"), "{out}");
    let (code, out, _) = qanopy(dir, &["check", "--repair", "all", "-n", "image.qcow2"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("1 entry that leads past the end"), "{out}");
    assert!(out.contains("suspect: guest offset 0x2000"), "{out}");
    assert!(
        fs::read(&path).unwrap() == broken,
        "a dry run writes nothing"
    );
    let (code, _, err) = qanopy(dir, &["check", "--repair", "all", "image.qcow2"]);
    assert_eq!(code, 4, "nobody is there to ask: {err}");
    assert!(fs::read(&path).unwrap() == broken);
    let (code, out, err) = qanopy(
        dir,
        &["check", "--repair", "all", "--yes", "--json", "image.qcow2"],
    );
    assert_eq!(code, 0, "{out}{err}");
    let done: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(done["result"]["plan"]["danger"], "reversible");
    assert_eq!(done["result"]["outcome"]["undoable"], true);
    assert!(oracle::check(&path).is_clean());
    let (code, out, _) = qanopy(dir, &["check", "--repair", "all", "image.qcow2"]);
    assert_eq!((code, out.as_str()), (0, "image.qcow2: clean\n"));
    let (_, out, _) = qanopy(dir, &["trash", "list", "--dir", "."]);
    assert!(out.contains("image.qcow2.tables"), "{out}");
    let entry = out.split_whitespace().next().unwrap();
    let (code, out, err) = qanopy(dir, &["check", "--put-back", entry, "-y", "image.qcow2"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, ..) = qanopy(dir, &["check", "image.qcow2"]);
    assert_eq!(code, 3);
    // What is so already is said, and is no failure.
    let (code, out, err) = qanopy(dir, &["check", "--put-back", entry, "-y", "image.qcow2"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("as it was before its repair already"), "{out}");
}

#[test]
fn zero_clusters_of_version_2_and_counts_too_narrow_have_a_way_out() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let (dir, host) = (home.path(), own_code::real_host());
    let path = dir.join("image.qcow2");
    let name = path.to_str().unwrap();
    let make = |options: &str, forge: &Forge| {
        qemu.img(&["create", "-q", "-f", "qcow2", "-o", options, name, "8M"]);
        qemu.io(
            &path,
            &["write -P 5 0 1M", "write -z 2M 1M", "write -P 6 4M 1M"],
        );
        let meant = parts(&path).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        forge(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        (meant, bytes)
    };
    let (meant, forged) = make("compat=1.1", &|bytes| bytes[7] = 2);
    let plan = ops::plan(
        &own_code::context(&host, dir),
        &request(&path, RepairAction::All),
    );
    assert!(
        plan.effects.iter().any(|e| e.detail.contains("version 3")),
        "{plan:?}"
    );
    let outcome = run(&host, dir, &request(&path, RepairAction::All)).unwrap();
    assert_eq!(parts(&path).unwrap(), meant);
    assert!(oracle::check(&path).is_clean());
    run(&host, dir, &outcome.undo.unwrap()).unwrap();
    assert!(fs::read(&path).unwrap() == forged);

    // The second place of the guest's disk shows what the first does.
    let (_, forged) = make("compat=1.1,refcount_bits=1", &|bytes| {
        let l2 = l2_of(bytes, 0);
        let first = be(bytes, l2);
        put(bytes, l2 + 8, first);
    });
    let before = parts(&path).unwrap();
    let outcome = run(&host, dir, &request(&path, RepairAction::All)).unwrap();
    assert!(oracle::check(&path).is_clean());
    assert_eq!(parts(&path).unwrap(), before);
    let header = read_header(&opened(&path)).unwrap();
    assert_eq!(header.geometry.refcount_bits(), 16);
    run(&host, dir, &outcome.undo.unwrap()).unwrap();
    assert!(fs::read(&path).unwrap() == forged);
}

/// Changes an image's bytes.
type Forge = dyn Fn(&mut Vec<u8>);

#[test]
fn leaks_beside_a_table_that_lost_its_entries_are_suspects_and_keep_their_bytes() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let (dir, host) = (home.path(), own_code::real_host());
    let path = dir.join("image.qcow2");
    let losses: [(&Forge, &str); 2] = [
        (
            &|bytes| {
                let at = usize::try_from(l2_of(bytes, 0)).unwrap();
                bytes[at..at + 65536].fill(0);
            },
            "has no entry at all",
        ),
        (
            &|bytes| {
                let l1 = be(bytes, 40);
                put(bytes, l1, 0);
            },
            "looks like an L2 table of 64 clusters",
        ),
    ];
    for (lose, sentence) in losses {
        qemu.img(&["create", "-q", "-f", "qcow2", path.to_str().unwrap(), "64M"]);
        qemu.io(&path, &["write -P 5 0 4M"]);
        let mut bytes = fs::read(&path).unwrap();
        lose(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let wish = request(&path, RepairAction::Leaks);
        let plan = ops::plan(&own_code::context(&host, dir), &wish);
        assert!(
            plan.notes.iter().any(|note| note.text.contains(sentence)),
            "{plan:?}"
        );
        let outcome = run(&host, dir, &wish).unwrap();
        assert!(oracle::check(&path).is_clean());
        let data = 0x5_0000..0x45_0000;
        assert!(fs::read(&path).unwrap()[data.clone()] == bytes[data]);
        run(&host, dir, &outcome.undo.unwrap()).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
    }
}

#[test]
fn the_end_of_a_check_says_whether_something_has_to_be_done() {
    let Some(qemu) = support::qemu() else { return };
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let path = dir.join("image.qcow2");
    qemu.img(&["create", "-q", "-f", "qcow2", path.to_str().unwrap(), "4M"]);
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(16 << 20).unwrap();
    // Who has it open for writing is taken for one that uses it.
    drop(file);
    let (code, out, err) = qanopy(dir, &["check", "image.qcow2"]);
    assert!(out.contains("goes on for"), "{out}");
    assert_eq!(code, 0, "{out}{err}");
    fs::write(dir.join("raw"), [7; 512]).unwrap();
    let (code, _, err) = qanopy(dir, &["check", "image.qcow2", "raw"]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("1 image could not be checked"), "{err}");
    let _held = qemu.hold_with_nbd(&path, HoldMode::ReadWrite);
    for words in [
        &["check", "--repair", "all", "-n", "image.qcow2"][..],
        &["check", "--repair", "leaks", "--yes", "image.qcow2"],
    ] {
        let (code, out, err) = qanopy(dir, words);
        assert_eq!(code, 4, "{out}{err}");
        assert!(
            err.contains("in use") || out.contains("in use"),
            "{out}{err}"
        );
    }
}
