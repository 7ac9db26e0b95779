//! Which files an overlay changed, as a whole process, against what there is to do without this program: a view of
//! both states by `qemu-storage-daemon`, mounted by the kernel, and `diff -rq` over them.
//!
//! `cargo bench --bench guest` makes a guest's disk of about as many files as a Debian has (25,000 entries, an overlay
//! of 70 MiB), one of 60,000, and the first once more on a compressed base. It prints medians of time that passed with
//! everything in the page cache, the most memory, the paired ratios, and when the screen shows the first line of an
//! answer. It needs `mkfs.ext4`, `debugfs` and `qemu-img`, some GiB in the temporary directory (`TMPDIR`), and root for
//! the comparison: without it, only the times of this program are printed.
//!
//! The ratios are those of what is done, and not of what it is done by: the other way reads every file of both states.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.
#![allow(clippy::panic, dead_code, unreachable_pub)] // The terminal is the tests' own.

mod own_mounts;
#[path = "../tui/pty.rs"]
mod pty;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use pty::Terminal;

/// Runs of this program, and of the other way, which takes long.
const ROUNDS: usize = 15;
const PAIRS: usize = 3;

/// What a run of a program took.
#[derive(Debug, Clone, Copy)]
struct Run {
    millis: f64,
    mebibytes: f64,
}

/// Runs this program, whose exit code is one of these.
fn ours(dir: &Path, words: &[&str], codes: &[i32]) -> Run {
    // By a process in between, which has no other child: the system tells the most memory of all children together.
    let out = Command::new(std::env::current_exe().unwrap())
        .arg("--measured")
        .args(words)
        .current_dir(dir)
        .env("XDG_STATE_HOME", dir)
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let told: Vec<f64> = text.split(' ').map(|word| word.parse().unwrap()).collect();
    assert!(
        codes.iter().any(|code| f64::from(*code) == told[0]),
        "{words:?}: {text}"
    );
    Run {
        millis: told[1],
        mebibytes: told[2],
    }
}

/// The process in between: prints how the program ended, how long it ran and how much memory it took.
fn measured(words: &[String]) {
    let started = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_qanopy"))
        .args(words)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let millis = started.elapsed().as_secs_f64() * 1e3;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    print!(
        "{} {millis} {}",
        status.code().unwrap(),
        usage.max_rss() as f64 / 1024.0
    );
}

fn tool(dir: &Path, words: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let out = Command::new("/usr/bin/env")
        .arg(format!("PATH={path}"))
        .args(words)
        .current_dir(dir)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words:?}: {stderr}");
}

/// Half of these bytes are random.
fn bytes(seed: usize, len: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut made = vec![0; len];
    for word in made.chunks_exact_mut(8) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        word[..4].copy_from_slice(&state.to_be_bytes()[..4]);
    }
    made
}

/// How many files, in how many folders, and how large the disk is.
#[derive(Debug, Clone, Copy)]
struct Size {
    files: usize,
    folders: usize,
    mebibytes: u64,
}

/// The folder of a file.
fn folder(size: Size, file: usize) -> String {
    let folder = file % size.folders;
    format!("usr/share/part-{}/folder-{folder}", folder % 50)
}

/// Makes `base.qcow2` of this size, and `top.qcow2` on it with 300 changes: 70 MiB.
fn make(dir: &Path, size: Size) {
    let root = dir.join("root");
    for file in 0..size.files {
        let folder = root.join(folder(size, file));
        fs::create_dir_all(&folder).unwrap();
        let len = file * 7919 % 30_000;
        fs::write(
            folder.join(format!("a file of the system {file}")),
            bytes(file, len),
        )
        .unwrap();
    }
    let len = format!("{}M", size.mebibytes);
    tool(
        dir,
        &[
            "mkfs.ext4",
            "-q",
            "-N",
            "131072",
            "-d",
            "root",
            "base.raw",
            &len,
        ],
    );
    fs::remove_dir_all(root).unwrap();
    tool(dir, &["cp", "--sparse=always", "base.raw", "edited.raw"]);
    let mut edits = String::new();
    for change in 0..100 {
        let file = change * size.files / 100;
        let (new, other) = (format!("new-{change}"), format!("other-{change}"));
        fs::write(dir.join(&new), bytes(change, 700_000)).unwrap();
        fs::write(dir.join(&other), bytes(change, 20_000)).unwrap();
        let path = |file: usize| format!("\"{}/a file of the system {file}\"", folder(size, file));
        let (one, next) = (path(file), path(file + 1));
        // As from a kernel: another file has another generation, even with the same inode.
        let generation = |name: &str| format!("set_inode_field {name} generation {}", change + 1);
        writeln!(
            edits,
            "write {new} {}/{new}\nrm {one}\nwrite {other} {one}",
            folder(size, file)
        )
        .unwrap();
        writeln!(edits, "{}", generation(&one)).unwrap();
        writeln!(edits, "set_inode_field {next} mode 0100600").unwrap();
    }
    fs::write(dir.join("edits"), edits).unwrap();
    tool(dir, &["debugfs", "-w", "-f", "edits", "edited.raw"]);
    tool(
        dir,
        &[
            "qemu-img",
            "convert",
            "-O",
            "qcow2",
            "base.raw",
            "base.qcow2",
        ],
    );
    overlay(dir, "base.qcow2", "top.qcow2");
}

/// Makes an overlay that shows `edited.raw`.
fn overlay(dir: &Path, base: &str, top: &str) {
    let from = [
        "qemu-img",
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        "edited.raw",
        "-F",
        "raw",
        top,
    ];
    tool(dir, &from);
    tool(
        dir,
        &["qemu-img", "rebase", "-q", "-b", base, "-F", "qcow2", top],
    );
}

/// An image shown as a file and mounted.
struct Mounted {
    at: PathBuf,
    child: Child,
}

impl Mounted {
    fn new(dir: &Path, image: &str) -> Self {
        let (disk, at) = (
            dir.join(format!("{image}.raw")),
            dir.join(format!("{image}.d")),
        );
        File::create(&disk).unwrap();
        fs::create_dir_all(&at).unwrap();
        let node = format!(
            "driver=qcow2,node-name=disk,read-only=on,file.driver=file,file.filename={image}"
        );
        let export = format!(
            "type=fuse,id=export,node-name=disk,mountpoint={},writable=off",
            disk.display()
        );
        let child = Command::new("qemu-storage-daemon")
            .args(["--blockdev", &node, "--export", &export])
            .current_dir(dir)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while fs::metadata(&disk).unwrap().len() == 0 {
            assert!(Instant::now() < deadline, "no export");
            std::thread::sleep(Duration::from_millis(2));
        }
        let (disk, place) = (disk.to_str().unwrap(), at.to_str().unwrap());
        tool(dir, &["mount", "-o", "ro,loop,noload", disk, place]);
        Self { at, child }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).status();
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        let _ = self.child.wait();
    }
}

/// The time that the other way takes, from the images to the answer.
fn theirs(dir: &Path, base: &str, top: &str) -> f64 {
    let started = Instant::now();
    let (before, after) = (Mounted::new(dir, base), Mounted::new(dir, top));
    let out = Command::new("diff")
        .args(["-rq", "--no-dereference"])
        .args([&before.at, &after.at])
        .output()
        .unwrap();
    let took = started.elapsed().as_secs_f64() * 1e3;
    assert_eq!(out.status.code(), Some(1));
    // It is silent about the hundred files of which only the mode differs.
    let lines = out.stdout.split(|byte| *byte == b'\n').count() - 1;
    assert_eq!(lines, 200);
    took
}

/// Milliseconds from the key to the first words of an answer, and to the names.
fn screen(dir: &Path) -> (f64, f64) {
    let mut terminal = Terminal::open(dir, &[], (120, 40));
    terminal.go_to("top.qcow2");
    let started = Instant::now();
    terminal.press("4");
    let until = |words: &str| {
        while !terminal.screen().contains(words) {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "{}",
                terminal.screen()
            );
            std::thread::sleep(Duration::from_micros(200));
        }
        started.elapsed().as_secs_f64() * 1e3
    };
    (until("are stored anew"), until("100 added"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(what: &str, dir: &Path, base: &str, top: &str, is_root: bool) {
    // What was told is right, and all is in the page cache then.
    let out = Command::new(env!("CARGO_BIN_EXE_qanopy"))
        .args(["diff", "--json", top])
        .current_dir(dir)
        .env("XDG_STATE_HOME", dir)
        .output()
        .unwrap();
    let told = String::from_utf8(out.stdout).unwrap();
    let count = |kind: &str| told.matches(&format!("\"kind\": \"{kind}\"")).count();
    let counts = ["added", "replaced", "metadata", "deleted", "modified"].map(count);
    assert_eq!(counts, [100, 100, 100, 0, 0], "{what}");
    let runs: Vec<Run> = (0..ROUNDS)
        .map(|_| ours(dir, &["diff", top], &[1]))
        .collect();
    let millis = median(runs.iter().map(|run| run.millis).collect());
    let peak = runs.iter().map(|run| run.mebibytes).fold(0.0, f64::max);
    print!("{what:<28} {millis:>6.0} ms  {peak:>4.0} MiB");
    if is_root {
        let pairs: Vec<(f64, f64)> = (0..PAIRS)
            .map(|_| {
                (
                    theirs(dir, base, top),
                    ours(dir, &["diff", top], &[1]).millis,
                )
            })
            .collect();
        let other = median(pairs.iter().map(|(theirs, _)| *theirs).collect());
        let ratio = median(pairs.iter().map(|(theirs, ours)| theirs / ours).collect());
        print!("  mounts and diff -rq {other:>7.0} ms  ratio {ratio:>5.0}");
    }
    println!();
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--measured") {
        return measured(&words[1..]);
    }
    own_mounts::enter();
    let is_root = nix::unistd::geteuid().is_root();
    // `cargo test --benches` runs this too; then a look at small disks is enough.
    let full = words.iter().any(|word| word == "--bench");
    let size = |files: usize, folders: usize, mebibytes: u64| {
        let part = if full { 1 } else { 10 };
        Size {
            files: files / part,
            folders: folders / part,
            mebibytes: if full { mebibytes } else { 512 },
        }
    };
    let debian = size(22_500, 2_450, 2048);
    let large = size(50_000, 9_900, 4096);
    for (name, size) in [("25,000 entries", debian), ("60,000 entries", large)] {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path();
        make(dir, size);
        report(name, dir, "base.qcow2", "top.qcow2", is_root);
        let files = ours(dir, &["ls", "top.qcow2", "/usr/share/part-7"], &[0]);
        println!(
            "  a folder listed            {:>6.0} ms  {:>4.0} MiB",
            files.millis, files.mebibytes
        );
        let found = ours(dir, &["find", "top.qcow2", "new-77"], &[0]);
        println!(
            "  a name found               {:>6.0} ms  {:>4.0} MiB",
            found.millis, found.mebibytes
        );
        let explained = ours(dir, &["explain", "top.qcow2"], &[0]);
        println!(
            "  a layer explained          {:>6.0} ms  {:>4.0} MiB",
            explained.millis, explained.mebibytes
        );
        let (first, names): (Vec<f64>, Vec<f64>) = (0..5).map(|_| screen(dir)).unzip();
        println!(
            "  on the screen: first words {:>6.0} ms, names {:.0} ms",
            median(first),
            median(names)
        );
        if size.files == debian.files {
            tool(
                dir,
                &[
                    "qemu-img",
                    "convert",
                    "-c",
                    "-O",
                    "qcow2",
                    "base.raw",
                    "packed.qcow2",
                ],
            );
            overlay(dir, "packed.qcow2", "on-packed.qcow2");
            report(
                "  on a compressed base",
                dir,
                "packed.qcow2",
                "on-packed.qcow2",
                is_root,
            );
        }
    }
}
