//! Command lines and the screen over many hosts: when something is seen, when all is, and what this side holds.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{memory, rest, ticks};
use crate::pty::{Terminal, under_cursor};

/// How long is looked whether the program does anything at rest.
const IDLE: Duration = Duration::from_secs(30);
/// How often the screen is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Prints when a command line prints something and when it ends, how much, and the most memory it ever had.
pub(crate) fn command(what: &str, words: &[&str], env: &[(&str, &str)]) {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_qanopy"))
        .args(words)
        .envs(env.iter().copied())
        .env_remove("XDG_STATE_HOME")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let mut out = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let (mut first, mut bytes) = ([0], 1);
        out.read_exact(&mut first).unwrap();
        let at = begun.elapsed().as_secs_f64();
        let mut piece = vec![0; 1 << 20];
        while let Ok(read @ 1..) = out.read(&mut piece) {
            bytes += read;
        }
        (at, bytes)
    });
    let mut peak = 0.0_f64;
    // Doctor ends with 3 where it finds something.
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(memory(pid, "VmHWM:").unwrap_or_default());
        thread::sleep(LOOK);
    }
    let (first, bytes) = reader.join().unwrap();
    println!(
        "{what:<18} {first:.2} s to the first byte, {:.2} s in all, {} KiB printed, {peak:.0} MiB of memory",
        begun.elapsed().as_secs_f64(),
        bytes >> 10
    );
}

/// The slowest of a few keys, from the key to its frame, in milliseconds.
fn slowest_key(terminal: &mut Terminal, keys: &[&str]) -> f64 {
    let mut slowest = 0.0_f64;
    for key in keys {
        let before = under_cursor(&terminal.screen());
        let pressed = Instant::now();
        terminal.press(key);
        terminal.until("the cursor elsewhere", |screen| {
            under_cursor(screen) != before
        });
        slowest = slowest.max(pressed.elapsed().as_secs_f64() * 1e3);
    }
    slowest
}

/// The processes that the program started, which are the hosts' connections.
fn children(pid: i32) -> usize {
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().unwrap_or_default();
        parent.split_whitespace().nth(1) == Some(&pid.to_string())
    })
    .count()
}

/// Prints the same of the screen on the group `lab`, which holds so many images: also once all are asked again, what it
/// does at rest, and how long keys take.
pub(crate) fn screen(env: &[(&str, &str)], images: usize) {
    let begun = Instant::now();
    let mut terminal = Terminal::with_words(&["--no-query", "@lab"], env, (120, 40));
    terminal.until("rows", |screen| screen.contains("layer-"));
    let first = begun.elapsed().as_secs_f64();
    let pid = terminal.pid();
    let all = qanopy::units::count(images, "image");
    let mut last = String::new();
    while !last.contains(&all) {
        assert!(begun.elapsed() < Duration::from_secs(1200), "{last}");
        thread::sleep(LOOK);
        last = terminal.screen();
    }
    let whole = begun.elapsed().as_secs_f64();
    rest(pid);
    let held = memory(pid, "VmRSS:").unwrap();
    let peak = memory(pid, "VmHWM:").unwrap();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    let connections = children(pid);
    let before = ticks(pid);
    thread::sleep(IDLE);
    let idle = ticks(pid) - before;
    println!(
        "screen             {first:.2} s to the first rows, {whole:.1} s to all, {held:.0} MiB at rest, {peak:.0} MiB \
         at most, {threads} threads, {connections} connections held, {idle} ticks in {} s at rest",
        IDLE.as_secs()
    );
    let before = ticks(pid);
    terminal.press("r");
    let again = rest(pid);
    println!(
        "asked again        {again:.1} s until nothing moves any more, {} ticks of its own, {:.0} MiB at most",
        ticks(pid) - before,
        memory(pid, "VmHWM:").unwrap()
    );
    let steps = slowest_key(&mut terminal, &["j", "j", "k"]);
    let ends = slowest_key(&mut terminal, &["G", "g"]);
    println!("keys               a step {steps:.0} ms, to the other end {ends:.0} ms");
    let leaving = Instant::now();
    terminal.press("q");
    assert_eq!(terminal.end(), 0);
    println!(
        "leaving            {:.2} s",
        leaving.elapsed().as_secs_f64()
    );
}
