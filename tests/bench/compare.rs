//! Comparing two images, against `qemu-img compare` on the same files, both as whole processes.
//!
//! `cargo bench --bench compare` makes images with 1 GiB of data each (`QANOPY_BENCH_MIB` sets
//! another amount), equal to the last byte and in the page cache, compares them by both in turns, and
//! prints the medians and the median of the paired ratios. `QANOPY_BENCH_DIR` says where.
//!
//! Beside the time that passes it prints the processor time, which says what the work costs on a machine
//! that has other things to do: a comparison in the page cache is bounded by copying out of it, which
//! both do once, and is quicker than the real tool by as many processors as are idle.
//!
//! At the end the proof of `--verify` on nine views of one base, of which each shares 98 %, beside one
//! `sha256sum` of the base: once where only an overlay's header is written, once where the base is written.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Processor time of all children so far, in seconds: in ticks of 1/100 s.
fn spent() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name, which may hold anything: cutime and cstime are the fields 16 and 17 of all.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(14) + ticks(15)) / 100.0
}

fn timed(program: &str, args: &[&str], dir: &Path) -> Duration {
    let started = Instant::now();
    let status = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{program} {args:?}");
    started.elapsed()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Bytes that no codec shrinks to nothing and no filesystem turns into a hole.
fn fill(path: &Path, mib: u64) {
    let mut file = File::create(path).unwrap();
    let mut state = 0x5eed_u64;
    let mut block = vec![0; 1 << 20];
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // Four random bytes a word: compressed clusters have something to do.
            word[..4].copy_from_slice(&state.to_be_bytes()[..4]);
        }
        file.write_all(&block).unwrap();
    }
}

/// The proof over a forest of nine views beside one `sha256sum` of their base.
fn proof(dir: &Path, mib: u64, pairs: usize) {
    let state = dir.join("state");
    let qanopy = |args: &[&str]| {
        let started = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_qanopy"))
            .args(args)
            .current_dir(dir.join("forest"))
            .env("XDG_STATE_HOME", &state)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{args:?}");
        started.elapsed().as_secs_f64()
    };
    fs::create_dir(dir.join("forest")).unwrap();
    fill(&dir.join("proof.raw"), mib);
    let make = |program: &str, args: &[&str]| timed(program, args, dir);
    let base = "forest/base.qcow2";
    make(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "qcow2", "proof.raw", base],
    );
    for number in 0..8 {
        let (name, options) = (format!("forest/{number}.qcow2"), ["-b", "base.qcow2"]);
        let mut words = vec!["create", "-q", "-f", "qcow2", "-F", "qcow2"];
        words.extend(options);
        words.push(&name);
        make("qemu-img", &words);
        let own = format!(
            "write -P {} {}M {}k",
            number + 1,
            number * mib / 9,
            mib * 20
        );
        make("qemu-io", &["-c", &own, &name]);
    }
    // A file that has just changed may change once more without a sign.
    std::thread::sleep(Duration::from_secs(3));
    let sum = || timed("sha256sum", &[base], dir).as_secs_f64();
    sum();
    println!();
    println!("proof of 9 views of {mib} MiB, {pairs} pairs");
    println!("                  sha256sum       ours   ratio");
    for (what, there, back) in [
        (
            "an overlay's header",
            ["relink", "3.qcow2", "--absolute"].as_slice(),
            ["relink", "3.qcow2", "--relative"].as_slice(),
        ),
        (
            "the base itself",
            &["snapshot", "create", "base.qcow2", "now"],
            &["snapshot", "delete", "base.qcow2", "now"],
        ),
    ] {
        let mut samples = Vec::new();
        for _ in 0..pairs {
            let theirs = sum();
            let ours = qanopy(&[there, &["--confirm", "1", "--verify"]].concat());
            samples.push([theirs, ours, ours / theirs]);
            qanopy(&[back, &["--confirm", "1"]].concat());
            std::thread::sleep(Duration::from_millis(2100));
        }
        let [theirs, ours, ratio] =
            [0, 1, 2].map(|at| median(samples.iter().map(|sample| sample[at])));
        println!("{what:19} {theirs:>6.3} s   {ours:>6.3} s  {ratio:>6.2}");
    }
}

fn main() {
    // `cargo test --benches` runs this too; then a look at small images is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let wished = std::env::var("QANOPY_BENCH_MIB").ok();
    let mib = wished
        .and_then(|number| number.parse().ok())
        .unwrap_or(if full { 1024 } else { 4 });
    let pairs = if full { 9 } else { 1 };
    let home = std::env::var_os("QANOPY_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let temporary = tempfile::tempdir_in(home).unwrap();
    let dir = temporary.path();
    fill(&dir.join("a.raw"), mib);
    if Command::new("qemu-img").arg("--version").output().is_err() {
        println!("skipped: qemu-img is not installed");
        return;
    }
    let make = |args: &[&str]| {
        timed("qemu-img", args, dir);
    };
    fs::copy(dir.join("a.raw"), dir.join("b.raw")).unwrap();
    make(&["convert", "-f", "raw", "-O", "qcow2", "a.raw", "a.qcow2"]);
    // Another cluster size: no extent of one is an extent of the other.
    let options = "cluster_size=32k";
    make(&[
        "convert", "-f", "raw", "-O", "qcow2", "-o", options, "a.raw", "b.qcow2",
    ]);
    make(&[
        "convert", "-c", "-f", "raw", "-O", "qcow2", "a.raw", "c.qcow2",
    ]);
    for overlay in ["x.qcow2", "y.qcow2"] {
        make(&[
            "create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", overlay,
        ]);
    }
    println!("data               {mib} MiB an image, {pairs} pairs");
    println!("                        time passed                 processor time");
    println!("                   qemu-img       ours   ratio    qemu-img       ours   ratio");
    for (what, a, b) in [
        ("raw, raw", "a.raw", "b.raw"),
        ("qcow2, qcow2", "a.qcow2", "b.qcow2"),
        ("qcow2, raw", "a.qcow2", "b.raw"),
        ("compressed, raw", "c.qcow2", "b.raw"),
        ("two overlays", "x.qcow2", "y.qcow2"),
    ] {
        let ours = || timed(env!("CARGO_BIN_EXE_qanopy"), &["compare", a, b], dir);
        let theirs = || timed("qemu-img", &["compare", a, b], dir);
        // Both once, so that the files are in memory for both.
        ours();
        theirs();
        let one = |run: &dyn Fn() -> Duration| {
            let before = spent();
            let passed = run().as_secs_f64();
            // Less than a tick is a part of one.
            [passed, (spent() - before).max(0.005)]
        };
        let samples: Vec<[[f64; 2]; 2]> = (0..pairs).map(|_| [one(&theirs), one(&ours)]).collect();
        let columns = [0, 1].map(|kind| {
            let of = |who: usize| median(samples.iter().map(|pair| pair[who][kind]));
            let ratio = median(samples.iter().map(|pair| pair[0][kind] / pair[1][kind]));
            format!("{:>7.3} s  {:>7.3} s  {ratio:>5.1}x", of(0), of(1))
        });
        println!("{what:18} {}   {}", columns[0], columns[1]);
    }
    proof(dir, mib.min(430), pairs);
}
