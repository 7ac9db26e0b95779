//! The program on 100,000 images on the disk, opened in a pseudo-terminal as a person opens it.
//!
//! `cargo bench --bench session` prints when the first frame is seen, when the scan is done, the memory
//! held when the program rests after that and after one of the images was written, the most it ever held,
//! how long it takes to leave, and how long a key takes until its frame is seen, at rest and while a job
//! copies. `QANOPY_BENCH_IMAGES` sets another number of images.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.
#![allow(clippy::panic, dead_code, unreachable_pub)] // The terminal is the tests' own.

mod images;
mod process;
#[path = "../tui/pty.rs"]
mod pty;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use process::{memory, rest};
use pty::{Terminal, under_cursor};

struct Session {
    first_frame: f64,
    scanned: f64,
    rested: f64,
    after_a_change: f64,
    peak: f64,
    leaving: f64,
}

fn session(dir: &Path, changed: &Path) -> Session {
    let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
    let started = Instant::now();
    let mut terminal = Terminal::open(dir, &[], (120, 40));
    terminal.until("a frame", |screen| !screen.trim().is_empty());
    let first_frame = ms(started);
    terminal.until("rows", |screen| screen.contains("layer-00"));
    terminal.lose("scanning");
    let scanned = ms(started);
    let pid = terminal.pid();
    rest(pid);
    let rested = memory(pid, "VmRSS").unwrap();
    let bytes = fs::read(changed).unwrap();
    let mut file = File::options().write(true).open(changed).unwrap();
    file.write_all(&bytes[..512]).unwrap();
    // Written bytes are told of every few seconds.
    thread::sleep(Duration::from_secs(4));
    rest(pid);
    let (after_a_change, peak) = (memory(pid, "VmRSS").unwrap(), memory(pid, "VmHWM").unwrap());
    let leaving = Instant::now();
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    Session {
        first_frame,
        scanned,
        rested,
        after_a_change,
        peak,
        leaving: ms(leaving),
    }
}

/// Bytes that the job copies: it is to last longer than the keys are pressed.
const COPIED: u64 = 6 << 30;
/// Keys pressed for one figure.
const KEYS: usize = 300;

/// A raw disk full of data and an overlay on it, before all others in order.
fn big(dir: &Path, bytes: u64) {
    let folder = dir.join("a-big");
    fs::create_dir(&folder).unwrap();
    let mut raw = File::create(folder.join("big.raw")).unwrap();
    let piece = vec![0x5a; 1 << 20];
    for _ in 0..bytes >> 20 {
        raw.write_all(&piece).unwrap();
    }
    images::image(&folder.join("over.qcow2"), Some(("big.raw", "raw")));
}

/// How long each of some keys takes until the row under the cursor is another, in milliseconds.
fn keys(terminal: &mut Terminal, running: impl Fn(&str) -> bool) -> Vec<f64> {
    let mut took = Vec::new();
    while took.len() < KEYS {
        let before = terminal.screen();
        if !running(&before) {
            break;
        }
        let old = under_cursor(&before);
        let since = Instant::now();
        terminal.press("j");
        while under_cursor(&terminal.screen()) == old {
            assert!(since.elapsed() < Duration::from_secs(5), "{before}");
            thread::sleep(Duration::from_micros(200));
        }
        took.push(since.elapsed().as_secs_f64() * 1e3);
        // A person is slower.
        thread::sleep(Duration::from_millis(8));
    }
    took.sort_by(f64::total_cmp);
    took
}

fn print_keys(what: &str, took: &[f64]) {
    let last = took.len() - 1;
    println!(
        "{what:<18} median {:.1}, 99 of 100 within {:.1}, all {} within {:.1} ms",
        took[last / 2],
        took[last * 99 / 100],
        took.len(),
        took[last]
    );
}

/// Keys at rest and while a flat copy of the big disk is made.
fn pressed(dir: &Path) {
    let mut terminal = Terminal::open(dir, &[], (120, 40));
    terminal.see("big.raw");
    terminal.lose("scanning");
    rest(terminal.pid());
    print_keys("key to frame", &keys(&mut terminal, |_| true));
    terminal.go_to("over.qcow2");
    terminal.press("f");
    terminal.see("creates");
    terminal.press("<enter>");
    terminal.see("▶1");
    let took = keys(&mut terminal, |screen| screen.contains("▶1"));
    print_keys("while a job copies", &took);
    terminal.until("the end of the job", |screen| !screen.contains("▶1"));
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
}

fn main() {
    // `cargo test --benches` runs this too; then a look at few images is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let count = images::wished(if full { 100_000 } else { 100 });
    let dir = tempfile::tempdir().unwrap();
    let images = images::build(dir.path(), count);
    let samples = if full { 5 } else { 1 };
    let sessions = (0..samples).map(|i| session(dir.path(), &images[i * count / samples]));
    let sessions: Vec<Session> = sessions.collect();
    let median = |of: &dyn Fn(&Session) -> f64| {
        let mut values: Vec<f64> = sessions.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!("images             {count}, the median of {samples} sessions");
    println!("first frame        {:.0} ms", median(&|s| s.first_frame));
    println!("scan done          {:.0} ms", median(&|s| s.scanned));
    println!("memory at rest     {:.1} MiB", median(&|s| s.rested));
    println!(
        "after a change     {:.1} MiB",
        median(&|s| s.after_a_change)
    );
    println!("peak memory        {:.1} MiB", median(&|s| s.peak));
    println!("leaving            {:.0} ms", median(&|s| s.leaving));
    big(dir.path(), if full { COPIED } else { 1 << 30 });
    pressed(dir.path());
}
