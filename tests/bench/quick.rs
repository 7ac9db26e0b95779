//! Commands that move no data, from the start of the process to its end: branch, relink, resize, rename, discard,
//! restore. `cargo bench --bench quick` times the program in pairs with `qemu-img create -b` (one run of ours, one
//! of theirs, in turn) in a folder of `QANOPY_BENCH_IMAGES` images (a chain of 10 unless it says otherwise), and
//! prints the median of each with the median of the ratios. `QANOPY_BENCH_DIR` says where the folder is made:
//! ours wait for stable storage, qemu-img does not, so that a slow disk shows as a ratio.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// The program from its start to its end, with a state directory of its own.
fn ours(dir: &Path, state: &Path, words: &[&str]) -> Duration {
    let started = Instant::now();
    let done = Command::new(env!("CARGO_BIN_EXE_qanopy"))
        .args(words)
        .current_dir(dir)
        .env("XDG_STATE_HOME", state)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let took = started.elapsed();
    assert!(done.status.success(), "{words:?}: {done:?}");
    took
}

/// What all are measured by.
fn theirs(dir: &Path, base: &str) -> Duration {
    let args = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"];
    let started = Instant::now();
    qemu_img(dir, &[&args[..], &[base, "other.qcow2"]].concat());
    let took = started.elapsed();
    fs::remove_file(dir.join("other.qcow2")).unwrap();
    took
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn main() {
    // `cargo test --benches` runs this too; then one turn is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let images: usize =
        std::env::var("QANOPY_BENCH_IMAGES").map_or(10, |number| number.parse().unwrap());
    let turns = if full { 41 } else { 1 };
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
    let (dir, state) = (home.path().join("images"), home.path().join("state"));
    fs::create_dir(&dir).unwrap();
    build(&dir, images);
    let (middle, top) = (layer(images / 2), layer(images - 1));
    // Each leaves what the next one needs, and the last what the first does.
    let commands: [(&str, Vec<&str>); 8] = [
        ("branch", vec!["branch", &top, "new.qcow2"]),
        ("resize", vec!["resize", "new.qcow2", "+1M", "--yes"]),
        ("relink", vec!["relink", &middle, "--absolute", "--yes"]),
        (
            "relink back",
            vec!["relink", &middle, "--relative", "--yes"],
        ),
        (
            "rename",
            vec!["move", "new.qcow2", "renamed.qcow2", "--yes"],
        ),
        (
            "rename back",
            vec!["move", "renamed.qcow2", "new.qcow2", "--yes"],
        ),
        ("discard", vec!["discard", "new.qcow2", "--confirm", "1"]),
        ("info", vec!["info", &top]),
    ];
    let mut rows: Vec<(&str, Vec<f64>, Vec<f64>)> = Vec::new();
    for turn in 0..turns {
        for (at, (what, words)) in commands.iter().enumerate() {
            let own = ours(&dir, &state, words).as_secs_f64();
            let other = theirs(&dir, &top).as_secs_f64();
            if turn == 0 {
                rows.push((what, Vec::new(), Vec::new()));
            }
            if let Some((_, own_times, ratios)) = rows.get_mut(at) {
                own_times.push(own * 1e3);
                ratios.push(own / other);
            }
        }
    }
    println!("the program in a chain of {images} images, {turns} pairs with `qemu-img create -b`");
    println!("{:12} {:>9} {:>18}", "", "ours", "times qemu-img's");
    for (what, own, ratios) in rows {
        println!("{what:12} {:>6.2} ms {:>18.2}", median(own), median(ratios));
    }
}
