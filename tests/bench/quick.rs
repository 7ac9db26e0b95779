//! Operations that move no data: branch, relink, rename, move, discard, undo of the discard, on the middle and
//! the top of a chain. `cargo bench --bench quick` prints the median time of each, planning included, in a
//! folder of `QANOPY_BENCH_IMAGES` images (a chain of 10 unless it says otherwise), with every file on stable
//! storage at the end. qemu-img has a counterpart for branch (`create -b`) and relink (`rebase -u`).
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use qanopy::forest::{ScanOptions, scan_all};
use qanopy::host::{Host, RealHost};
use qanopy::image::Keys;
use qanopy::ops::{
    self, BackingStyle, Confirm, Consent, Context, ImageOptions, LookedIn, Outcome, Progress,
    Relocation, Request,
};

fn qemu_img(dir: &Path, args: &[&str]) {
    let status = Command::new("qemu-img")
        .args(args)
        .current_dir(dir)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "qemu-img {args:?}");
}

fn layer(number: usize) -> String {
    format!("layer-{number}.qcow2")
}

fn build(dir: &Path, images: usize) {
    qemu_img(dir, &["create", "-q", "-f", "qcow2", &layer(0), "1G"]);
    for number in 1..images {
        let (base, new) = (layer(number - 1), layer(number));
        qemu_img(
            dir,
            &[
                "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &base, &new,
            ],
        );
    }
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
        state_dir: Some(dir.join("state")),
        keys: Keys::none(),
    }
}

/// Plans on what was scanned before, as the screen does, and runs.
fn timed(context: &Context, request: &Request) -> (Duration, Outcome) {
    let started = Instant::now();
    let plan = ops::plan(context, request);
    let consent = match plan.confirm {
        Confirm::Count(count) => Consent::Count(count),
        Confirm::Yes | Confirm::Impossible => Consent::Yes,
    };
    let done = ops::run(plan.agree(consent).unwrap(), &Progress::new()).unwrap();
    (started.elapsed(), done)
}

fn rename(dir: &Path, from: &str, to: PathBuf) -> Request {
    Request::Move {
        moves: vec![Relocation {
            from: dir.join(from),
            to,
            style: None,
        }],
        subtree: false,
    }
}

fn median(values: &mut [Duration]) -> f64 {
    values.sort();
    values
        .get(values.len() / 2)
        .map_or(0.0, |middle| middle.as_secs_f64() * 1e3)
}

fn main() {
    // `cargo test --benches` runs this too; then one turn is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let images: usize =
        std::env::var("QANOPY_BENCH_IMAGES").map_or(10, |number| number.parse().unwrap());
    let turns = if full { 25 } else { 1 };
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
    let dir = home.path();
    build(dir, images);
    fs::create_dir(dir.join("sub")).unwrap();
    let (middle, top) = (layer(images / 2), layer(images - 1));
    let mut rows: Vec<(&str, Vec<Duration>, Vec<Duration>)> = Vec::new();
    let mut note = |what: &'static str, own: Duration, theirs: Option<Duration>| {
        if !rows.iter().any(|(name, ..)| *name == what) {
            rows.push((what, Vec::new(), Vec::new()));
        }
        if let Some((_, own_times, their_times)) = rows.iter_mut().find(|(name, ..)| *name == what)
        {
            own_times.push(own);
            their_times.extend(theirs);
        }
    };
    let theirs = |args: &[&str]| {
        let started = Instant::now();
        qemu_img(dir, args);
        started.elapsed()
    };
    for _ in 0..turns {
        let branch = Request::Branch {
            base: dir.join(&top),
            new: dir.join("new.qcow2"),
            size: None,
            style: BackingStyle::Relative,
            image: ImageOptions::default(),
        };
        let (own, _) = timed(&context(dir), &branch);
        let other = theirs(&[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "qcow2",
            "-b",
            &top,
            "other.qcow2",
        ]);
        note("branch", own, Some(other));
        fs::remove_file(dir.join("other.qcow2")).unwrap();
        let relink = |style| Request::Relink {
            image: dir.join(&middle),
            base: None,
            format: None,
            style: Some(style),
        };
        let (own, _) = timed(&context(dir), &relink(BackingStyle::Absolute));
        let base = layer(images / 2 - 1);
        let other = theirs(&["rebase", "-q", "-u", "-F", "qcow2", "-b", &base, &middle]);
        note("relink", own, Some(other));
        let (own, _) = timed(
            &context(dir),
            &rename(dir, &middle, dir.join("renamed.qcow2")),
        );
        note("rename", own, None);
        timed(
            &context(dir),
            &rename(dir, "renamed.qcow2", dir.join(&middle)),
        );
        let (own, _) = timed(&context(dir), &rename(dir, &middle, dir.join("sub")));
        note("move", own, None);
        timed(
            &context(dir),
            &rename(dir, &format!("sub/{middle}"), dir.join(&middle)),
        );
        let discard = Request::Discard {
            images: vec![dir.join("new.qcow2")],
        };
        let (own, done) = timed(&context(dir), &discard);
        note("discard", own, None);
        let (own, _) = timed(&context(dir), &done.undo.unwrap());
        note("restore", own, None);
        fs::remove_file(dir.join("new.qcow2")).unwrap();
    }
    println!("a chain of {images} images, {turns} turns");
    println!("                 ours   qemu-img");
    for (what, own, theirs) in &mut rows {
        let other = if theirs.is_empty() {
            "-".to_owned()
        } else {
            format!("{:.2} ms", median(theirs))
        };
        println!("{what:10} {:>8.2} ms {other:>10}", median(own));
    }
}
