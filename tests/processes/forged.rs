//! Images are hostile input: whatever a few forged bytes of them say, opening, listing, mapping, reading
//! and checking end soon, without a panic and without much memory, and what is written to them is right
//! or refused. Each field by itself, and whether QEMU agrees, is the matter of `verdict`.

use crate::support;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use qanopy::host::{Access, RealHost};
use qanopy::image::{
    self, Chain, Format, ImageFile, MeasureAs, NoProgress, Qcow2Options, Repair, RepairExtent,
};
use qanopy::ops::{CommittedLayer, Siblings};
use support::script::Script;
use support::{oracle, own_code};

/// One image to be forged.
struct Sample {
    name: &'static str,
    bytes: Vec<u8>,
}

/// Small images of every kind that has tables of its own.
fn samples(dir: &Path) -> Vec<Sample> {
    let mut s = Script::default();
    s.create("", "plain.qcow2", "4M");
    s.io(
        "qcow2",
        "plain.qcow2",
        &["write -P 1 100k 300k", "write -z 1M 64k"],
    );
    s.create("-o compat=0.10", "old.qcow2", "4M");
    s.io("qcow2", "old.qcow2", &["write -P 2 0 100k"]);
    s.create("-o cluster_size=512,refcount_bits=1", "tiny.qcow2", "200k");
    s.io("qcow2", "tiny.qcow2", &["write -P 3 10k 30k"]);
    s.create(
        "-o extended_l2=on,cluster_size=16k",
        "subclusters.qcow2",
        "1M",
    );
    s.io(
        "qcow2",
        "subclusters.qcow2",
        &["write -P 4 1k 30k", "write -z 100k 2k"],
    );
    s.create("-o cluster_size=4k", "compressed.qcow2", "256k");
    s.io(
        "qcow2",
        "compressed.qcow2",
        &[
            "write -c -P 5 0 4k",
            "write -c -P 6 4k 4k",
            "write -P 7 8k 4k",
        ],
    );
    s.create(
        "-o cluster_size=4k,compression_type=zstd",
        "zstd.qcow2",
        "256k",
    );
    s.io(
        "qcow2",
        "zstd.qcow2",
        &[
            "write -c -P 5 0 4k",
            "write -c -P 6 4k 4k",
            "write -P 7 8k 4k",
        ],
    );
    s.create("-o cluster_size=4k", "snapshots.qcow2", "256k");
    s.io("qcow2", "snapshots.qcow2", &["write -P 8 0 20k"]);
    s.run("qemu-img snapshot -c one snapshots.qcow2");
    s.io("qcow2", "snapshots.qcow2", &["write -P 9 4k 20k"]);
    s.run("qemu-img snapshot -c two snapshots.qcow2");
    s.create("-o cluster_size=4k", "bitmaps.qcow2", "256k");
    s.run("qemu-img bitmap --add bitmaps.qcow2 map");
    s.build(dir);
    [
        "plain",
        "old",
        "tiny",
        "subclusters",
        "compressed",
        "zstd",
        "snapshots",
        "bitmaps",
    ]
    .into_iter()
    .map(|name| Sample {
        name,
        bytes: fs::read(dir.join(format!("{name}.qcow2"))).unwrap(),
    })
    .collect()
}

/// How much of an image is read through: forged sizes reach exabytes.
const READ: u64 = 8 << 20;
/// How long everything done to one image may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens, reads, maps, lists and checks an image, all at once where a hang would be noticed: its first
/// bytes, or why they cannot be read.
fn treat(dir: &Path, image: &Path) -> Result<Vec<u8>, String> {
    let (send, receive) = mpsc::channel();
    let (dir, path): (PathBuf, PathBuf) = (dir.to_path_buf(), image.to_path_buf());
    let worker = std::thread::spawn(move || {
        let _ = send.send(treat_here(&dir, &path));
    });
    match receive.recv_timeout(PATIENCE) {
        Ok(first) => first,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{}: it hangs", image.display()),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let why = worker.join().unwrap_err();
            let said = why
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| why.downcast_ref::<&str>().map(ToString::to_string));
            panic!("{}: it panics: {said:?}", image.display());
        }
    }
}

fn treat_here(dir: &Path, path: &Path) -> Result<Vec<u8>, String> {
    let host = own_code::real_host();
    // Listing: every word of it can be printed.
    let forest = own_code::scan(&host, dir);
    for node in forest.nodes() {
        for problem in &node.problems {
            let said = &problem.message;
            assert!(!said.chars().any(char::is_control), "{said:?}");
        }
    }
    let file = ImageFile::open(&RealHost, path, Access::Read).unwrap();
    let checked = image::check(&file, &NoProgress);
    assert_plain(checked.map(|_| ()).err());
    let repair = Repair::work_out(&file, RepairExtent::All, &NoProgress);
    assert_plain(repair.map(|_| ()).err());

    let chain = Chain::open(&RealHost, path, Some(&Format::Qcow2), &|_| true);
    let chain = match chain {
        Ok(chain) => chain,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.chars().any(char::is_control), "{said:?}");
            return Err(said);
        }
    };
    let size = chain.virtual_size();
    let whole = size.min(READ);
    let mut first = vec![0; usize::try_from(whole).unwrap()];
    let read = chain.read_at(&mut first, 0);
    // The map, in whole and at the far end.
    for start in [0, size.saturating_sub(1 << 20)] {
        let (mut at, end) = (start, size.min(start.saturating_add(READ)));
        while at < end {
            match chain.resolve(at, end) {
                Ok(run) => {
                    assert!(run.extent.end() > at, "an empty run at {at:#x}");
                    at = run.extent.end();
                }
                Err(error) => {
                    assert_plain(Some(error));
                    break;
                }
            }
        }
    }
    look(&chain);
    let mut last = [0; 700];
    assert_plain(chain.read_at(&mut last, size.saturating_sub(300)).err());
    read.map(|()| first).map_err(|error| error.to_string())
}

/// Maps, measures and compares: nothing comes back empty or out of order, and an image differs from
/// itself nowhere.
fn look(chain: &Chain) {
    let mut at = 0;
    for run in chain.map(0, u64::MAX).take(200_000) {
        match run {
            Ok(run) => {
                assert!(run.start == at && run.len > 0, "{run:?} after {at:#x}");
                at = run.end();
            }
            Err(error) => assert_plain(Some(error)),
        }
    }
    let options = Qcow2Options::default();
    let copy = MeasureAs::Qcow2 {
        options: &options,
        backing: false,
        luks: false,
    };
    match image::measure(Some(chain), 0, copy) {
        Ok(measured) => assert!(measured.required <= measured.fully_allocated),
        Err(error) => assert_plain(Some(error)),
    }
    let same = image::compare(
        chain,
        chain,
        &NoProgress,
        &mut |_| ControlFlow::Continue(()),
    );
    match same {
        Ok(compared) => assert_eq!((compared.differences, compared.read), (0, 0)),
        Err(error) => assert_plain(Some(error)),
    }
    // With an empty disk: everything that is not zero is read, for a while.
    let empty = Chain::new(Vec::new());
    let pace = ForAWhile(Instant::now());
    let read = image::compare(chain, &empty, &pace, &mut |_| ControlFlow::Continue(()));
    assert_plain(read.map(|_| ()).err());
}

/// Stops after a second.
struct ForAWhile(Instant);

impl image::ProgressSink for ForAWhile {
    fn advance(&self, _: u64) -> bool {
        self.0.elapsed() < Duration::from_secs(1)
    }
}

fn assert_plain(error: Option<image::Error>) {
    if let Some(error) = error {
        let said = error.to_string();
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }
}

/// The most memory this process ever used, in bytes.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

/// Changes a few bytes of an image, near those that mean something.
struct Forger(u64);

impl Forger {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn forge(&mut self, bytes: &[u8]) -> Vec<u8> {
        // The first megabyte holds every table of these small images; most of a 64 KiB table is
        // zero, so bytes next to ones that are not are chosen.
        let busy: Vec<usize> = (8..bytes.len().min(1 << 20))
            .filter(|i| bytes[*i] != bytes[i ^ 1] || bytes[*i] == 0x80)
            .collect();
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.roll(3) {
            let near = busy[self.roll(busy.len())];
            let at = ((near & !7) + self.roll(16)).min(bytes.len() - 1);
            bytes[at] = match self.roll(4) {
                0 => 0xff,
                1 => 0,
                2 => bytes[at] ^ (1 << self.roll(8)),
                _ => u8::try_from(self.roll(256)).unwrap(),
            };
        }
        if self.roll(12) == 0 {
            let keep = self.roll(bytes.len()).max(1);
            bytes.truncate(keep);
        }
        bytes
    }
}

#[test]
fn forged_tables_never_panic_hang_or_eat_memory_and_read_as_qemu_reads_them() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (made, odd) = (home.path().join("made"), home.path().join("odd"));
    fs::create_dir(&odd).unwrap();
    let image = odd.join("forged.qcow2");
    let before = peak_memory();
    let mut forger = Forger(0x5eed);
    let mut compared = 0;
    for sample in samples(&made) {
        for round in 0..120 {
            let bytes = forger.forge(&sample.bytes);
            fs::write(&image, &bytes).unwrap();
            let first = treat(&odd, &image);
            if round % 4 != 0 {
                continue;
            }
            let Ok(first) = first else { continue };
            if let Ok(theirs) = oracle::guest_view(&image, Some("qcow2"))
                && theirs.len == first.len() as u64
            {
                let ours = oracle::View::of(&first);
                compared += 1;
                if ours != theirs {
                    let kept = std::env::temp_dir().join("forged-tables-differ.qcow2");
                    fs::copy(&image, &kept).unwrap();
                    panic!(
                        "{} round {round}: {} (kept as {})",
                        sample.name,
                        ours.explain(&theirs),
                        kept.display()
                    );
                }
            }
        }
    }
    assert!(compared > 50, "only {compared} were comparable");
    let used = peak_memory() - before;
    assert!(used < 300 << 20, "{used} bytes of memory");
}

#[test]
fn a_commit_into_a_forged_base_is_right_or_refused_without_a_change() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (made, odd) = (home.path().join("made"), home.path().join("odd"));
    fs::create_dir(&odd).unwrap();
    let (base, overlay) = (odd.join("forged.qcow2"), odd.join("overlay.qcow2"));
    let mut forger = Forger(0xc0de);
    let (mut done, mut refused) = (0, 0);
    for sample in samples(&made) {
        fs::write(&base, &sample.bytes).unwrap();
        let mut s = Script::default();
        s.create(
            "-o cluster_size=4k -F qcow2 -b forged.qcow2",
            "overlay.qcow2",
            "",
        );
        s.io(
            "qcow2",
            "overlay.qcow2",
            &[
                "write -P 0xa1 2k 5k",
                "write -P 0xa2 40k 9k",
                "write -z 100k 4k",
            ],
        );
        s.build(&odd);
        let pristine = fs::read(&overlay).unwrap();
        for round in 0..40 {
            fs::write(&base, forger.forge(&sample.bytes)).unwrap();
            fs::write(&overlay, &pristine).unwrap();
            let context = format!("{} round {round}", sample.name);
            let kept = || {
                let kept = std::env::temp_dir().join("forged-base.qcow2");
                fs::copy(&base, &kept).unwrap();
            };
            let before = oracle::Bytes::below(&odd);
            let forged = fs::read(&base).unwrap();
            let expected = oracle::guest_view(&overlay, Some("qcow2"));
            let old = oracle::guest_view(&base, Some("qcow2"));
            let verdict = oracle::check(&base);
            let host = own_code::real_host();
            let result =
                own_code::commit(&host, &odd, &overlay, CommittedLayer::Keep, Siblings::Break);
            if let Err(said) = result {
                refused += 1;
                assert!(!said.chars().any(char::is_control), "{context}: {said:?}");
                before.assert_unchanged(&odd, &format!("{context}: {said}"));
                continue;
            }
            done += 1;
            // A damaged compressed cluster shows only to who reads it.
            let (Ok(expected), Ok(old)) = (expected, old) else {
                continue;
            };
            let now = oracle::guest_view(&base, Some("qcow2")).unwrap();
            let whole = expected.over(&old);
            let after = oracle::check(&base);
            if now != whole || !after.is_sound() || !verdict.is_sound() {
                let explained = now.explain(&whole);
                fs::write(&base, forged).unwrap();
                kept();
                panic!("{context}: {explained}; check was {verdict:?}, is {after:?}");
            }
        }
    }
    assert!(done > 30 && refused > 30, "{done} done, {refused} refused");
}

#[test]
fn a_repair_of_a_forged_image_is_clean_or_says_what_it_leaves_and_everything_reads_as_before() {
    if support::qemu().is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (made, odd) = (home.path().join("made"), home.path().join("odd"));
    fs::create_dir(&odd).unwrap();
    let image = odd.join("forged.qcow2");
    let mut forger = Forger(0x4e9a);
    let (mut whole, mut partly, mut refused) = (0, 0, 0);
    for sample in samples(&made) {
        for round in 0..60 {
            let bytes = forger.forge(&sample.bytes);
            fs::write(&image, &bytes).unwrap();
            let context = || {
                let kept = std::env::temp_dir().join("forged-repair.qcow2");
                fs::write(&kept, &bytes).unwrap();
                format!("{} round {round} (kept as {})", sample.name, kept.display())
            };
            let before = own_code::view(&image, Some("qcow2"));
            let file = ImageFile::open(&RealHost, &image, Access::ReadWrite).unwrap();
            let Ok(repair) = Repair::work_out(&file, RepairExtent::All, &NoProgress) else {
                refused += 1;
                continue;
            };
            let leaves = repair.left_count();
            // What would not pass the check is found out when the repair is worked out.
            let now = repair
                .commit(&NoProgress)
                .unwrap_or_else(|why| panic!("{why}: {}", context()));
            if leaves == 0 {
                whole += 1;
                assert_eq!(
                    (now.corruptions, now.leaks),
                    (0, 0),
                    "{now:?}: {}",
                    context()
                );
                if round % 3 == 0 {
                    let theirs = oracle::check(&image);
                    assert!(theirs.is_clean(), "{theirs:?}: {}", context());
                }
            } else {
                partly += 1;
            }
            if let Ok(before) = before {
                let after = own_code::view(&image, Some("qcow2"))
                    .unwrap_or_else(|why| panic!("{why}: {}", context()));
                assert!(after == before, "{}: {}", after.explain(&before), context());
            }
        }
    }
    assert!(
        whole > 100 && partly > 10 && refused > 30,
        "{whole} whole, {partly} partly, {refused} refused"
    );
}
