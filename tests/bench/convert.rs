//! Converting, against `qemu-img convert` on the same files in turns: a compressed image to raw, a raw one to a
//! compressed image by both codecs, and a plain image to raw; that last also against `cp` of the same file.
//!
//! `cargo bench --bench convert` makes a disk of programs and libraries of this machine, noise and
//! zeros (`QANOPY_BENCH_MIB` sets another size than 512), in the temporary directory (`TMPDIR`),
//! and prints medians of the paired ratios, of time as well as of processor time, which tells more
//! on a machine that is busy with other things, and the sizes. All flush at the end: qemu-img is told `-t writeback`
//! and `cp` is followed by `sync`, since by default they do not.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

mod usage;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use qanopy::host::RealHost;
use qanopy::image::{
    CarriedBitmaps, Chain, Compression, CompressionLevel, ConvertFrom, ConvertTo, CreateOptions,
    Format, NoProgress, Preallocation, convert,
};
use usage::{Spent, Who, timed};

fn qemu_img(args: &[&str], from: &Path, to: &Path) -> Spent {
    timed(Who::Children, || {
        let status = Command::new("qemu-img")
            .args(["convert", "-t", "writeback"])
            .args(args)
            .args([from, to])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "qemu-img convert {args:?}");
    })
    .1
}

/// What copies bytes and knows nothing of images.
fn cp(from: &Path, to: &Path) -> Spent {
    timed(Who::Children, || {
        let done = |command: &mut Command| assert!(command.status().unwrap().success());
        done(Command::new("cp").arg(from).arg(to));
        done(Command::new("sync").arg("-d").arg(to));
    })
    .1
}

fn ours(from: &Path, format: &Format, to: &Path, form: &ConvertTo) -> Spent {
    timed(Who::Own, || {
        let chain = Chain::open(&RealHost, from, Some(format), &|_| true).unwrap();
        let from = ConvertFrom {
            sources: vec![chain],
            ..ConvertFrom::default()
        };
        convert(&RealHost, &from, to, form, &NoProgress).unwrap();
    })
    .1
}

/// Files of this machine one after the other, with noise and zeros between them.
fn disk(path: &Path, len: u64) {
    let file = File::create_new(path).unwrap();
    file.set_len(len).unwrap();
    let mut dirs = vec![PathBuf::from("/usr/bin"), PathBuf::from("/usr/lib")];
    let mut at = 0;
    let mut state = 1u64;
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(dir) else {
            continue;
        };
        let mut entries: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        entries.sort();
        for entry in entries {
            let Ok(stat) = fs::symlink_metadata(&entry) else {
                continue;
            };
            if stat.is_dir() {
                dirs.push(entry);
            } else if stat.is_file() && stat.len() < 8 << 20 {
                let Ok(mut bytes) = fs::read(&entry) else {
                    continue;
                };
                if at % 7 == 0 {
                    bytes.extend((0..16 << 10).map(|_| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        state.to_be_bytes()[0]
                    }));
                }
                // A quarter of the disk stays a hole.
                let next = at + (bytes.len() as u64).next_multiple_of(4096) + 4096;
                if next > len / 4 * 3 {
                    return;
                }
                file.write_all_at(&bytes, at).unwrap();
                at = next;
            }
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compressed(size: u64, compression: Compression) -> ConvertTo {
    let mut options = CreateOptions::new(size);
    options.format.compression = compression;
    ConvertTo::Qcow2 {
        options: Box::new(options),
        compress: Some(CompressionLevel::Default),
        bitmaps: CarriedBitmaps::None,
    }
}

fn main() {
    // `cargo test --benches` runs this too; then a look at a small disk is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let wished = std::env::var("QANOPY_BENCH_MIB").ok();
    let mib: u64 = wished
        .and_then(|number| number.parse().ok())
        .unwrap_or(if full { 512 } else { 8 });
    let pairs = if full { 5 } else { 1 };
    let installed = Command::new("qemu-img").arg("--version").output();
    if !installed.is_ok_and(|output| output.status.success()) {
        println!("skipped: qemu-img is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let size = mib << 20;
    disk(&file("disk.img"), size);
    let plain = ["-f", "raw", "-O", "qcow2"];
    qemu_img(&plain, &file("disk.img"), &file("plain"));
    for codec in ["zlib", "zstd"] {
        let option = format!("compression_type={codec}");
        let args = ["-c", "-f", "raw", "-O", "qcow2", "-o", &option];
        qemu_img(&args, &file("disk.img"), &file(codec));
    }

    println!("disk               {mib} MiB, {pairs} pairs");
    println!(
        "                     qemu-img (cpu)        ours (cpu)  ratio  (cpu)   size by qemu-img      ours"
    );
    let raw = ConvertTo::Raw {
        preallocation: Preallocation::Off,
    };
    let (zlib, zstd) = (
        compressed(size, Compression::Zlib),
        compressed(size, Compression::Zstd),
    );
    for (what, source, format, args, form) in [
        (
            "plain to raw, cp",
            "plain",
            Format::Qcow2,
            &[] as &[&str],
            &raw,
        ),
        (
            "plain to raw",
            "plain",
            Format::Qcow2,
            &["-f", "qcow2", "-O", "raw"],
            &raw,
        ),
        (
            "zlib to raw",
            "zlib",
            Format::Qcow2,
            &["-f", "qcow2", "-O", "raw"],
            &raw,
        ),
        (
            "zstd to raw",
            "zstd",
            Format::Qcow2,
            &["-f", "qcow2", "-O", "raw"],
            &raw,
        ),
        (
            "raw to zlib",
            "disk.img",
            Format::Raw,
            &["-c", "-f", "raw", "-O", "qcow2"],
            &zlib,
        ),
        (
            "raw to zstd",
            "disk.img",
            Format::Raw,
            &[
                "-c",
                "-f",
                "raw",
                "-O",
                "qcow2",
                "-o",
                "compression_type=zstd",
            ],
            &zstd,
        ),
    ] {
        let mut samples = Vec::new();
        let mut lengths = (0, 0);
        for _ in 0..pairs {
            let theirs = match args {
                [] => cp(&file(source), &file("theirs")),
                args => qemu_img(args, &file(source), &file("theirs")),
            };
            let ours = ours(&file(source), &format, &file("ours"), form);
            samples.push((theirs, ours));
            lengths = (
                fs::metadata(file("theirs")).unwrap().len(),
                fs::metadata(file("ours")).unwrap().len(),
            );
            let compared = Command::new("qemu-img")
                .args(["compare", "-q"])
                .args([file("theirs"), file("ours")])
                .status()
                .unwrap();
            assert!(compared.success(), "{what}");
            fs::remove_file(file("theirs")).unwrap();
            fs::remove_file(file("ours")).unwrap();
        }
        let of = |value: fn(&(Spent, Spent)) -> f64| median(samples.iter().map(value));
        println!(
            "{what:18} {:>8.3} s {:>6.2} s {:>8.3} s {:>6.2} s {:>6.2} {:>6.2} {:>15} B {:>10} B",
            of(|(theirs, _)| theirs.wall),
            of(|(theirs, _)| theirs.cpu),
            of(|(_, ours)| ours.wall),
            of(|(_, ours)| ours.cpu),
            of(|(theirs, ours)| theirs.wall / ours.wall),
            of(|(theirs, ours)| theirs.cpu / ours.cpu.max(0.01)),
            lengths.0,
            lengths.1,
        );
    }
}
