//! The forests of a hundred hosts with a hundred images each, by one command line: a shell stands in for ssh and for the
//! hosts, so that what is measured is this program on both sides, and no key exchange.
//!
//! `cargo bench --bench hosts` prints for `tree` and `doctor` the seconds until something is printed and until all is, and
//! the most memory that this side ever had. `QANOPY_BENCH_HOSTS` sets another number of hosts.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

mod images;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");

const STAND_IN: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do shift; done
export HOME="@HOSTS@/$2"
unset XDG_STATE_HOME XDG_CONFIG_HOME
cd "$HOME" && exec sh -c "$3"
"#;

/// Seconds to the first byte and to the end, bytes printed, and the most memory in KiB.
fn run(dir: &Path, words: &[&str]) -> (f64, f64, usize, u64) {
    let begun = Instant::now();
    let mut child = Command::new(QANOPY)
        .args(words)
        .env("QANOPY_SSH", dir.join("ssh"))
        .env("XDG_CONFIG_HOME", dir.join("config"))
        .env("HOME", dir)
        .env_remove("XDG_STATE_HOME")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut out = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let (mut first, mut bytes) = ([0], Vec::new());
        out.read_exact(&mut first).unwrap();
        let at = begun.elapsed().as_secs_f64();
        out.read_to_end(&mut bytes).unwrap();
        (at, bytes.len() + 1)
    });
    let mut peak = 0;
    // Doctor ends with 3 where it finds something.
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        peak = kib.and_then(|kib| kib.parse().ok()).unwrap_or(0).max(peak);
        thread::sleep(Duration::from_millis(5));
    }
    let took = begun.elapsed().as_secs_f64();
    let (first, bytes) = reader.join().unwrap();
    (first, took, bytes, peak)
}

fn main() {
    // `cargo test --benches` runs this too; then few hosts are enough.
    let full = std::env::args().any(|arg| arg == "--bench");
    let wished = std::env::var("QANOPY_BENCH_HOSTS").ok();
    let wished = wished.and_then(|number| number.parse().ok());
    let hosts: usize = wished.unwrap_or(if full { 100 } else { 3 });
    let each = images::wished(if full { 100 } else { 5 });
    let dir = tempfile::tempdir().unwrap();
    let ssh = dir.path().join("ssh");
    let text = STAND_IN.replace("@HOSTS@", dir.path().to_str().unwrap());
    fs::write(&ssh, text).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let mut config = String::new();
    for number in 0..hosts {
        let name = format!("host-{number:03}");
        let home = dir.path().join(&name);
        fs::create_dir(&home).unwrap();
        images::build(&home, each);
        config += &format!("[[host]]\nname = \"{name}\"\nagent = \"{QANOPY}\"\n");
        config += "groups = [\"lab\"]\ndirs = [\".\"]\n";
    }
    fs::create_dir_all(dir.path().join("config/qanopy")).unwrap();
    fs::write(dir.path().join("config/qanopy/config.toml"), config).unwrap();
    println!("hosts              {hosts}, {each} images each");
    for (what, words) in [
        ("tree, first", &["tree", "@lab"][..]),
        ("tree, again", &["tree", "@lab"]),
        ("tree --json", &["tree", "@lab", "--json"]),
        ("doctor", &["doctor", "@lab"]),
    ] {
        let (first, took, bytes, peak) = run(dir.path(), words);
        assert!(bytes > hosts);
        println!(
            "{what:<18} {first:.2} s to the first byte, {took:.2} s in all, {} KiB printed, {:.1} MiB of memory",
            bytes >> 10,
            f64::from(u32::try_from(peak).unwrap()) / 1024.0
        );
    }
}
