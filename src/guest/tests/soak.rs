//! Forged disks for as long as one likes: edits chosen at random, of all disks of `tests/fuzz/disks` in turns.
//!
//! `cargo test -p qanopy-guest --bench soak -- SECONDS [TARGET]...` works for so many seconds of processor time, or 10,
//! and prints for each target how many disks there were, the slowest, and the most memory. Each run forges other
//! disks. An input that makes it panic, or takes longer than five seconds, is written to `target/soak/`: it is mended,
//! and goes to `tests/fuzz/corpus/TARGET/`. `-- FILE` forges the disk of such a file once more.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic)] // A test fails loudly and prints.
#![allow(dead_code, unused_imports)] // What others do with a disk is there as well.

#[path = "../../../tests/fuzz/exercise/guest/mod.rs"]
mod guest;
#[path = "../../../tests/fuzz/exercise/memory.rs"]
mod memory;

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What one disk may take, of processor time.
const MOST_SECONDS: f64 = 5.0;
/// Longer than this, it is taken to have no end.
const NO_END: f64 = 60.0;

/// Numbers that are others in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A disk of the target, and one to eight edits.
    fn input(&mut self) -> Vec<u8> {
        let mut input = vec![self.next().to_le_bytes()[7]];
        for _ in 0..=(self.next() >> 60 & 7) {
            let mut edit = (self.next() ^ self.next() >> 29).to_le_bytes();
            // Mostly metadata with checksums that are right, and seldom a disk that was cut.
            let kind = edit[4];
            if kind & 0x30 != 0 {
                edit[4] &= 0x4f;
                edit[4] &= if kind & 0x20 != 0 { 0x0f } else { 0x4f };
            }
            if edit[4] & 15 == 15 && edit[5] > 16 {
                edit[4] ^= 8;
            }
            input.extend(edit);
        }
        input
    }
}

/// Processor time of the first thread so far, which forges, in seconds.
fn spent() -> f64 {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap();
    let nanos: f64 = stat.split(' ').next().unwrap().parse().unwrap();
    nanos / 1e9
}

/// The most memory so far, in MiB.
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<f64>().unwrap() / 1024.0
}

/// Keeps an input that failed, and says where.
fn keep(target: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/soak")
        .join(target);
    fs::create_dir_all(&folder).unwrap();
    let name: String = input
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .take(40)
        .collect();
    let path = folder.join(format!("{name}-{}", input.len()));
    fs::write(&path, input).unwrap();
    path
}

/// What is forged now and since when, for whoever looks whether it ends.
type Now = Arc<Mutex<Option<(&'static str, Vec<u8>, f64)>>>;

/// Ends the process where a disk takes too long.
fn watch(now: &Now) {
    let now = Arc::clone(now);
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(1));
            if let Some((target, input, since)) = &*now.lock().unwrap()
                && spent() - since > NO_END
            {
                println!("{target}: no end: {}", keep(target, input).display());
                std::process::exit(1);
            }
        }
    });
}

/// What came of a target.
#[derive(Default)]
struct Told {
    seconds: f64,
    disks: u64,
    panics: u64,
    slow: u64,
    slowest: (f64, Vec<u8>),
    most_read: u64,
}

/// Forges disks of a target for so many seconds.
fn forge(target: &'static guest::Target, seconds: f64, random: &mut Random, now: &Now) -> Told {
    let mut told = Told::default();
    let start = spent();
    while told.seconds < seconds {
        let input = random.input();
        *now.lock().unwrap() = Some((target.name, input.clone(), spent()));
        let (before, memory) = (spent(), peak());
        let ended = panic::catch_unwind(AssertUnwindSafe(|| guest::run(target, &input)));
        let took = spent() - before;
        if let Ok(read) = &ended {
            told.most_read = told.most_read.max(*read);
        } else {
            told.panics += 1;
            println!(
                "{}: panic: {}",
                target.name,
                keep(target.name, &input).display()
            );
        }
        if took > MOST_SECONDS {
            told.slow += 1;
            println!(
                "{}: {took:.1} s: {}",
                target.name,
                keep(target.name, &input).display()
            );
        }
        if peak() > memory + 32.0 {
            println!(
                "{}: {:.0} MiB more: {}",
                target.name,
                peak() - memory,
                keep(target.name, &input).display()
            );
        }
        if took > told.slowest.0 {
            told.slowest = (took, input);
        }
        told.disks += 1;
        told.seconds = spent() - start;
    }
    told
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if let Some(file) = words.first().map(Path::new).filter(|file| file.is_file()) {
        let target = file.parent().and_then(Path::file_name).unwrap();
        let target = guest::target(target.to_str().unwrap());
        let read = guest::run(target, &fs::read(file).unwrap());
        println!(
            "{:.2} s, {} MiB read, memory {:.0} MiB",
            spent(),
            read >> 20,
            peak()
        );
        return ExitCode::SUCCESS;
    }
    let seconds = words
        .first()
        .map_or(10.0, |word| word.parse::<f64>().unwrap());
    let wished = words.get(1..).unwrap_or_default();
    let targets: Vec<_> = guest::TARGETS
        .iter()
        .filter(|target| wished.is_empty() || wished.iter().any(|name| name == target.name))
        .collect();
    let now = Now::default();
    watch(&now);
    let mut random = Random(RandomState::new().hash_one(0) | 1);
    let mut failed = false;
    for target in &targets {
        let told = forge(target, seconds / targets.len() as f64, &mut random, &now);
        println!(
            "{:<6} {:>7.0} s of processor time, {:>8} disks, {} panics, {} slow; slowest {:.2} s, most read {} MiB, \
             memory {:.0} MiB",
            target.name,
            told.seconds,
            told.disks,
            told.panics,
            told.slow,
            told.slowest.0,
            told.most_read >> 20,
            peak()
        );
        println!(
            "       slowest: {}",
            keep(target.name, &told.slowest.1).display()
        );
        failed |= told.panics + told.slow > 0;
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
