//! `info` and `map` of a fragmented image, against qemu-img on the same file, both as whole processes
//! that print JSON.
//!
//! `cargo bench --bench map` makes an image of some 30,000 runs and eight overlays on it, asks both
//! in turns, and prints the medians and the median of the paired ratios.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Runs it and returns seconds and the lines printed.
fn timed(program: &str, args: &[&str], dir: &Path) -> (f64, usize) {
    let started = Instant::now();
    let out = Command::new(program)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    let elapsed = started.elapsed().as_secs_f64();
    assert!(out.status.success(), "{program} {args:?}");
    (elapsed, out.stdout.split(|byte| *byte == b'\n').count())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // `cargo test --benches` runs this too; then a look at a small image is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let (writes, pairs) = if full { (15_000_u64, 25) } else { (50, 1) };
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    if Command::new("qemu-img").arg("--version").output().is_err() {
        println!("skipped: qemu-img is not installed");
        return;
    }
    let create = |args: &[&str]| {
        let made = ["create", "-q", "-f", "qcow2"];
        timed("qemu-img", &[&made, args].concat(), dir);
    };
    create(&["-o", "cluster_size=4k", "base.qcow2", "1G"]);
    let mut io = Command::new("qemu-io")
        .args(["-f", "qcow2", "-t", "unsafe", "base.qcow2"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut commands = io.stdin.take().unwrap();
    for n in 0..writes {
        writeln!(commands, "write -P 1 {} 4k", n * 8192).unwrap();
    }
    drop(commands);
    assert!(io.wait().unwrap().success());
    let mut below = "base.qcow2".to_owned();
    for n in 0..8 {
        let name = format!("over-{n}.qcow2");
        create(&["-b", &below, "-F", "qcow2", &name]);
        below = name;
    }
    println!("                   qemu-img       ours   ratio   lines (qemu-img, ours)");
    for (what, command, name) in [
        ("info", "info", "base.qcow2"),
        ("map", "map", "base.qcow2"),
        ("map, 9 layers", "map", &below),
    ] {
        let ours = || {
            timed(
                env!("CARGO_BIN_EXE_qanopy"),
                &[command, "--json", name],
                dir,
            )
        };
        let theirs = || timed("qemu-img", &[command, "--output=json", name], dir);
        let lines = (theirs().1, ours().1);
        let samples: Vec<(f64, f64)> = (0..pairs).map(|_| (theirs().0, ours().0)).collect();
        println!(
            "{what:18} {:>6.1} ms  {:>6.1} ms  {:>5.1}x   {}, {}",
            median(samples.iter().map(|(theirs, _)| theirs * 1e3)),
            median(samples.iter().map(|(_, ours)| ours * 1e3)),
            median(samples.iter().map(|(theirs, ours)| theirs / ours)),
            lines.0,
            lines.1,
        );
    }
}
