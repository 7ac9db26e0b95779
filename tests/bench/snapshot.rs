//! Taking and deleting an internal snapshot of an image whose whole disk is mapped, against
//! `qemu-img snapshot` on the same file.
//!
//! `cargo bench --bench snapshot` makes a sparse image of 1 TiB (`QANOPY_BENCH_GIB` sets another
//! size) with `preallocation=metadata`, takes and deletes a snapshot by both in turns, checks the
//! image with qemu-img, and prints the medians of the paired ratios, of time and of processor time, and
//! the most memory this process ever had. Every time contains the flush at the end.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

mod memory;
mod usage;

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;

use qanopy::host::{Access, Host, HostFile, RealHost};
use qanopy::image::{ImageFile, NewSnapshot, NoProgress, SnapshotChange};
use usage::{Spent, Who, timed};

fn qemu_img(args: &[&str], path: &Path) -> Spent {
    let (status, spent) = timed(Who::Children, || {
        let mut command = Command::new("qemu-img");
        command.args(args).arg(path).stdout(Stdio::null()).status()
    });
    assert!(status.unwrap().success(), "qemu-img {args:?}");
    spent
}

fn open(path: &Path) -> Arc<dyn HostFile> {
    RealHost.open(path, Access::ReadWrite).unwrap()
}

/// What it takes to work the change out, and to work it out and make it.
fn ours(change: impl FnOnce() -> SnapshotChange) -> (Spent, Spent) {
    let (worked_out, whole) = timed(Who::Own, || {
        let (change, worked_out) = timed(Who::Own, change);
        change.commit(&NoProgress).unwrap();
        worked_out
    });
    (worked_out, whole)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // `cargo test --benches` runs this too; then a look at a small image is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let wished = std::env::var("QANOPY_BENCH_GIB").ok();
    let gib = wished
        .and_then(|number| number.parse().ok())
        .unwrap_or(if full { 1024 } else { 1 });
    let pairs = if full { 5 } else { 1 };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mapped.qcow2");
    let made = Command::new("qemu-img")
        .args([
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            "preallocation=metadata",
        ])
        .arg(&path)
        .arg(format!("{gib}G"))
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: qemu-img is not installed");
        return;
    }

    let mut create = Vec::new();
    let mut delete = Vec::new();
    for _ in 0..pairs {
        let theirs = qemu_img(&["snapshot", "-c", "one"], &path);
        let theirs_gone = qemu_img(&["snapshot", "-d", "one"], &path);
        let file = ImageFile::new(&path, open(&path));
        let new = NewSnapshot {
            name: b"one".to_vec(),
            date: SystemTime::now(),
        };
        let (worked_out, taken) =
            ours(|| SnapshotChange::create(&file, &new, &NoProgress).unwrap());
        create.push((theirs, worked_out, taken));
        let (worked_out, gone) = ours(|| SnapshotChange::delete(&file, b"1", &NoProgress).unwrap());
        delete.push((theirs_gone, worked_out, gone));
    }
    let memory = memory::peak_kib();
    qemu_img(&["check", "-q"], &path);

    println!("mapped             {gib} GiB, {pairs} pairs");
    println!("                     qemu-img (cpu)         ours (cpu)  (worked out)  ratio  (cpu)");
    for (what, samples) in [("create", create), ("delete", delete)] {
        let of = |value: fn(&(Spent, Spent, Spent)) -> f64| median(samples.iter().map(value));
        println!(
            "{what:18} {:>7.3} s {:>6.2}  {:>7.3} s {:>6.2}  {:>9.3} s  {:>5.1}  {:>5.1}",
            of(|(theirs, ..)| theirs.wall),
            of(|(theirs, ..)| theirs.cpu),
            of(|(.., ours)| ours.wall),
            of(|(.., ours)| ours.cpu),
            of(|(_, worked_out, _)| worked_out.wall),
            of(|(theirs, _, ours)| theirs.wall / ours.wall),
            of(|(theirs, _, ours)| theirs.cpu / ours.cpu.max(0.01)),
        );
    }
    println!("peak memory        {:.1} MiB", memory as f64 / 1024.0);
}
