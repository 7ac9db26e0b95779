//! Committing an overlay, flattening one in place and rebasing one safely, against `qemu-img commit` and
//! `qemu-img rebase` on copies of the same files.
//!
//! `cargo bench --bench commit` writes 1 GiB in pieces scattered over a disk of 4 GiB (`QANOPY_BENCH_MIB`
//! sets another amount; the disk is four times that), runs both in turns, and prints medians of the paired
//! ratios and the most memory this process ever had. Every time ends with the files on stable storage.
//! `QANOPY_BENCH_DIR` says where: on a filesystem that shares blocks the copies share theirs.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

mod memory;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qanopy::forest::{ScanOptions, scan_all};
use qanopy::host::{Host, RealHost};
use qanopy::image::Keys;
use qanopy::ops::{
    self, Commit, CommittedLayer, Confirm, Consent, Context, Flatten, LookedIn, Progress, Rebase,
    Request, Siblings,
};

/// Bytes of one piece.
const PIECE: u64 = 256 << 10;

fn run(program: &str, args: &[&str], dir: &Path) {
    let status = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{program} {args:?}");
}

/// base.qcow2 full of one byte, other.qcow2 a copy but for a tenth, top.qcow2 on the base with `bytes`
/// scattered over it, high.qcow2 empty on top.
fn build(dir: &Path, bytes: u64) {
    let disk = (bytes * 4).to_string();
    run(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", "base.qcow2", &disk],
        dir,
    );
    let scattered = |file: &str, first: u64, step: u64, count: u64, byte: u64| {
        let mut args: Vec<String> = vec!["-f".into(), "qcow2".into()];
        for n in 0..count {
            args.push("-c".into());
            args.push(format!(
                "write -q -P {} {} {PIECE}",
                (byte + n) % 255 + 1,
                (first + n * step) * PIECE
            ));
        }
        args.push(file.into());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run("qemu-io", &args, dir);
    };
    let pieces = bytes / PIECE;
    scattered("base.qcow2", 0, 2, pieces, 1);
    fs::copy(dir.join("base.qcow2"), dir.join("other.qcow2")).unwrap();
    scattered("other.qcow2", 0, 20, pieces / 10, 77);
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            "base.qcow2",
            "top.qcow2",
        ],
        dir,
    );
    scattered("top.qcow2", 1, 4, pieces, 33);
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            "base.qcow2",
            "high.qcow2",
        ],
        dir,
    );
}

fn context(dir: &Path) -> Context {
    let host: Arc<dyn Host> = Arc::new(RealHost);
    let options = ScanOptions {
        roots: vec![dir.to_path_buf()],
        ..ScanOptions::default()
    };
    Context {
        forest: Arc::new(scan_all(Arc::clone(&host), options).0),
        host,
        looked_in: LookedIn::within(vec![dir.to_path_buf()]),
        state_dir: None,
        keys: Keys::none(),
        peers: qanopy::fleet::Peers::Nobody,
    }
}

fn sync(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            File::open(path).unwrap().sync_all().unwrap();
        }
    }
}

fn ours(dir: &Path, request: &Request) -> Duration {
    let started = Instant::now();
    let plan = ops::plan(&context(dir), request);
    let consent = match plan.confirm {
        Confirm::Count(count) => Consent::Count(count),
        Confirm::Nothing | Confirm::Yes | Confirm::Impossible => Consent::Yes,
    };
    let ready = plan.agree(consent).unwrap();
    ops::run(ready, &Progress::new()).unwrap();
    sync(dir);
    started.elapsed()
}

fn theirs(dir: &Path, args: &[&str]) -> Duration {
    let started = Instant::now();
    run("qemu-img", args, dir);
    sync(dir);
    started.elapsed()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A copy of these files: blocks are shared where the filesystem can.
fn copied(from: &Path, to: &Path, names: &[&str]) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for name in names {
        run(
            "cp",
            &[
                "--reflink=auto",
                "--sparse=always",
                from.join(name).to_str().unwrap(),
                ".",
            ],
            to,
        );
    }
    sync(to);
}

/// One operation: its files, what we are asked, what qemu-img is asked.
type Case<'a> = (
    &'a str,
    &'a [&'a str],
    Box<dyn Fn(&Path) -> Request>,
    &'a [&'a str],
);

fn main() {
    // `cargo test --benches` runs this too; then a look at a small image is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let wished = std::env::var("QANOPY_BENCH_MIB").ok();
    let mib: u64 = wished
        .and_then(|number| number.parse().ok())
        .unwrap_or(if full { 1024 } else { 8 });
    let wished = std::env::var("QANOPY_BENCH_PAIRS").ok();
    let pairs: usize = wished
        .and_then(|number| number.parse().ok())
        .unwrap_or(if full { 5 } else { 1 });
    if Command::new("qemu-img")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        println!("skipped: qemu-img is not installed");
        return;
    }
    let place = std::env::var_os("QANOPY_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let home = tempfile::tempdir_in(place).unwrap();
    let built = home.path().join("built");
    fs::create_dir(&built).unwrap();
    build(&built, mib << 20);
    let top = |dir: &Path| dir.join("top.qcow2");
    let cases: [Case<'_>; 3] = [
        (
            "commit",
            &["base.qcow2", "top.qcow2"],
            Box::new(move |dir| {
                Request::Commit(Commit {
                    overlay: top(dir),
                    into: None,
                    layer: CommittedLayer::Keep,
                    siblings: Siblings::Refuse,
                    keep_old: None,
                })
            }),
            &["commit", "-q", "top.qcow2"],
        ),
        (
            "flatten",
            &["base.qcow2", "high.qcow2"],
            Box::new(|dir| {
                Request::Flatten(Flatten {
                    image: dir.join("high.qcow2"),
                    onto: None,
                    new: None,
                    compress: None,
                })
            }),
            &["rebase", "-q", "-b", "", "high.qcow2"],
        ),
        (
            "rebase",
            &["base.qcow2", "other.qcow2", "high.qcow2"],
            Box::new(|dir| {
                Request::Rebase(Rebase {
                    image: dir.join("high.qcow2"),
                    to: dir.join("other.qcow2"),
                    format: None,
                    style: None,
                    dedupe: false,
                    compress: false,
                })
            }),
            &[
                "rebase",
                "-q",
                "-F",
                "qcow2",
                "-b",
                "other.qcow2",
                "high.qcow2",
            ],
        ),
    ];
    println!(
        "data               {mib} MiB over {} MiB, {pairs} pairs",
        mib * 4
    );
    println!("                    qemu-img       ours  ours/qemu-img");
    for (what, names, request, args) in cases {
        let mut samples = Vec::new();
        for turn in 0..pairs {
            let (a, b) = (home.path().join("a"), home.path().join("b"));
            copied(&built, &a, names);
            copied(&built, &b, names);
            // What disturbs the machine disturbs both; who begins takes turns.
            let (other, own) = if turn % 2 == 0 {
                let other = theirs(&b, args);
                (other, ours(&a, &request(&a)))
            } else {
                let own = ours(&a, &request(&a));
                (theirs(&b, args), own)
            };
            samples.push((other.as_secs_f64(), own.as_secs_f64()));
            for name in names {
                run("qemu-img", &["check", "-q", name], &a);
                let (x, y) = (a.join(name), b.join(name));
                run(
                    "qemu-img",
                    &["compare", "-q", x.to_str().unwrap(), y.to_str().unwrap()],
                    &a,
                );
            }
        }
        println!(
            "{what:18} {:>7.3} s  {:>7.3} s  {:>13.2}",
            median(samples.iter().map(|(other, _)| *other)),
            median(samples.iter().map(|(_, own)| *own)),
            median(samples.iter().map(|(other, own)| own / other)),
        );
    }
    println!(
        "peak memory        {:.1} MiB",
        memory::peak_kib() as f64 / 1024.0
    );
}
