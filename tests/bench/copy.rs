//! Copies of a chain to another host, against rsync through the same pipe: a shell stands in for ssh and the host.
//!
//! `cargo bench --bench copy` prints the seconds of both and their ratio (the median of paired samples): of a chain that
//! is not there, and of another overlay whose base is there. `rsync -S --inplace` is what it is compared with; it proves
//! less, and waits for no disk. `QANOPY_BENCH_MIB` sets another size of the base than 512 MiB.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

/// Called as ssh is, by both.
const STAND_IN: &str = r#"#!/bin/sh
if [ "$1" = -T ]; then while [ "$1" != -- ]; do shift; done; shift; fi
shift
export HOME="@HOME@"
cd "$HOME" && exec sh -c "$*"
"#;

fn done(command: &mut Command) -> f64 {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    begun.elapsed().as_secs_f64()
}

fn qemu_img(dir: &Path, words: &[&str]) {
    done(Command::new("qemu-img").args(words).current_dir(dir));
}

/// Fills so many MiB of a raw disk with what no two places have alike, every other MiB.
fn fill(path: &Path, mib: u64) {
    let file = fs::File::create(path).unwrap();
    file.set_len(mib << 20).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut piece = vec![0; 1 << 20];
    for at in (0..mib).step_by(2) {
        for word in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all_at(&piece, at << 20).unwrap();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // `cargo test --benches` runs this too; then a small one is enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let wished = std::env::var("QANOPY_BENCH_MIB").ok();
    let wished = wished.and_then(|number| number.parse().ok());
    let mib: u64 = wished.unwrap_or(if full { 512 } else { 8 });
    let samples = if full { 5 } else { 1 };
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if !has("rsync") || !has("qemu-img") {
        println!("skipped: rsync or qemu-img is missing");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (from, far) = (dir.path().join("from"), dir.path().join("far"));
    for made in [&from, &far, &dir.path().join("config/qanopy")] {
        fs::create_dir_all(made).unwrap();
    }
    let ssh = dir.path().join("ssh");
    fs::write(&ssh, STAND_IN.replace("@HOME@", far.to_str().unwrap())).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("[[host]]\nname = \"far\"\nagent = \"{QANOPY}\"\n");
    fs::write(dir.path().join("config/qanopy/config.toml"), config).unwrap();
    fill(&from.join("disk.raw"), mib);
    qemu_img(&from, &["convert", "-O", "qcow2", "disk.raw", "base.qcow2"]);
    fs::remove_file(from.join("disk.raw")).unwrap();
    for name in ["one.qcow2", "two.qcow2"] {
        qemu_img(
            &from,
            &[
                "create",
                "-f",
                "qcow2",
                "-F",
                "qcow2",
                "-b",
                "base.qcow2",
                name,
            ],
        );
        let write = format!("write -P 7 1M {}M", (mib / 16).max(1));
        done(
            Command::new("qemu-io")
                .args(["-c", &write])
                .arg(from.join(name)),
        );
    }
    let ours = |name: &str| {
        done(
            Command::new(QANOPY)
                .args(["copy", name, "far:ours", "--yes"])
                .current_dir(&from)
                .env("QANOPY_SSH", &ssh)
                .env("HOME", dir.path())
                .env("XDG_CONFIG_HOME", dir.path().join("config"))
                .env_remove("XDG_STATE_HOME"),
        )
    };
    let theirs = |name: &str| {
        done(
            Command::new("rsync")
                .args(["-S", "--inplace", "-e"])
                .arg(&ssh)
                .args(["base.qcow2", name, "far:theirs/"])
                .current_dir(&from),
        )
    };
    let (mut new, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        for name in ["ours", "theirs"] {
            let _ = fs::remove_dir_all(far.join(name));
            fs::create_dir(far.join(name)).unwrap();
        }
        new.push((ours("one.qcow2"), theirs("one.qcow2")));
        beside.push((ours("two.qcow2"), theirs("two.qcow2")));
    }
    println!("base               {mib} MiB, every other one with data");
    for (what, pairs) in [("nothing is there", new), ("the base is there", beside)] {
        let each = |of: fn(&(f64, f64)) -> f64| median(pairs.iter().map(of).collect());
        println!("{what:<18} {:.2} s", each(|pair| pair.0));
        println!("rsync              {:.2} s", each(|pair| pair.1));
        println!("ratio              {:.2}", each(|pair| pair.0 / pair.1));
    }
}
