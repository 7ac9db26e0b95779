//! A thousand hosts with a thousand images each: agents that answer from one forest that was generated, and this program
//! on the near side of them all.
//!
//! `cargo bench --bench fleet` prints for the screen and for `tree` how long it takes until something and until all is
//! seen, what this side holds, and how long keys take. Each host is a process that costs next to nothing and answers at
//! once: what is measured is this side alone, beside what the kernel does for the pipes.
//! `QANOPY_BENCH_HOSTS` and `QANOPY_BENCH_IMAGES` (of each host) set other numbers.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.
#![allow(clippy::panic, dead_code, unreachable_pub)] // The terminal is the tests' own.

mod images;
mod process;
#[path = "../tui/pty.rs"]
mod pty;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use process::{memory, rest, ticks};
use pty::{Terminal, under_cursor};
use qanopy::fleet::{FromAgent, Hello, Stream, ToAgent, greeting};

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");
/// What one frame brings.
const PIECE: usize = 64 << 10;
/// How long is looked whether the program does anything at rest.
const IDLE: Duration = Duration::from_secs(30);

/// Answers as the agent of a host does, with what was written down before.
fn agent(answers: &Path) {
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    to.write_all(greeting().as_bytes()).unwrap();
    to.flush().unwrap();
    while let Ok(Some(message)) = ToAgent::read(&mut from) {
        let answer = match message {
            ToAgent::Hello { .. } => FromAgent::Hello(Hello {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                read_only: true,
                restricted_to: None,
            }),
            ToAgent::Ping => FromAgent::Pong,
            ToAgent::Run(run) => {
                let is = |word: &str| run.words.iter().any(|one| one == OsStr::new(word));
                let command = ["scan", "tree"].into_iter().find(|word| is(word));
                match command.map(|name| fs::read(answers.join(name)).unwrap()) {
                    Some(told) => {
                        for piece in told.chunks(PIECE) {
                            let (stream, bytes) = (Stream::Out, piece.to_vec());
                            let run = run.id;
                            let output = FromAgent::Output { run, stream, bytes };
                            if output.write(&mut to).is_err() {
                                return;
                            }
                        }
                        FromAgent::Ended {
                            run: run.id,
                            code: 0,
                        }
                    }
                    None => FromAgent::Denied {
                        run: run.id,
                        why: "it is not known here".to_owned(),
                    },
                }
            }
            ToAgent::Answer { .. } | ToAgent::Cancel { .. } | ToAgent::Input { .. } => continue,
        };
        if answer.write(&mut to).is_err() {
            return;
        }
    }
}

/// Writes down what a host with so many images answers.
fn write_down(answers: &Path, images: usize) {
    let forest = answers.join("srv");
    fs::create_dir_all(&forest).unwrap();
    images::build(&forest, images);
    for command in ["scan", "tree"] {
        let out = Command::new(QANOPY)
            .args([command, "--"])
            .arg(&forest)
            .env("XDG_STATE_HOME", answers)
            .output()
            .unwrap();
        assert!(out.status.success(), "{command}");
        fs::write(answers.join(command), out.stdout).unwrap();
    }
}

/// `tree` over all hosts: seconds to the first byte and to the end, and the most memory in MiB.
fn tree(dir: &Path, env: &[(&str, &str)]) {
    let begun = Instant::now();
    let mut child = Command::new(QANOPY)
        .args(["tree", "@lab"])
        .envs(env.iter().copied())
        .env("HOME", dir)
        .env("XDG_STATE_HOME", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let mut out = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let (mut first, mut all) = ([0], 0);
        out.read_exact(&mut first).unwrap();
        let at = begun.elapsed().as_secs_f64();
        let mut piece = vec![0; 1 << 20];
        while let Ok(read @ 1..) = out.read(&mut piece) {
            all += read;
        }
        (at, all)
    });
    let mut peak = 0.0_f64;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(memory(pid, "VmHWM:").unwrap_or_default());
        thread::sleep(Duration::from_millis(20));
    }
    let (first, bytes) = reader.join().unwrap();
    println!(
        "tree               {first:.2} s to the first byte, {:.2} s in all, {} MiB printed, {peak:.0} MiB of memory",
        begun.elapsed().as_secs_f64(),
        bytes >> 20
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

fn screen(env: &[(&str, &str)], hosts: usize, images: usize) {
    let begun = Instant::now();
    let mut terminal = Terminal::with_words(&["--no-query", "@lab"], env, (120, 40));
    terminal.until("rows", |screen| screen.contains("layer-"));
    let first = begun.elapsed().as_secs_f64();
    let pid = terminal.pid();
    let all = qanopy::units::count(hosts * images, "image");
    let mut last = String::new();
    while !last.contains(&all) {
        assert!(begun.elapsed() < Duration::from_secs(1200), "{last}");
        thread::sleep(Duration::from_millis(20));
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

fn main() {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let [first, answers] = &words[..]
        && first == "--agent"
    {
        return agent(Path::new(answers));
    }
    // `cargo test --benches` runs this too; then few hosts are enough.
    let full = words.iter().any(|word| word == "--bench");
    let wished = std::env::var("QANOPY_BENCH_HOSTS").ok();
    let wished = wished.and_then(|number| number.parse().ok());
    let hosts: usize = wished.unwrap_or(if full { 1000 } else { 5 });
    let each = images::wished(if full { 1000 } else { 50 });
    let dir = tempfile::tempdir().unwrap();
    write_down(dir.path(), each);
    let own = std::env::current_exe().unwrap();
    let ssh = dir.path().join("ssh");
    let text = format!(
        "#!/bin/sh\nexec {} --agent {}\n",
        own.display(),
        dir.path().display()
    );
    fs::write(&ssh, text).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let mut config = String::new();
    for number in 0..hosts {
        config += &format!("[[host]]\nname = \"host-{number:04}\"\nagent = \"qanopy\"\n");
        config += "groups = [\"lab\"]\ndirs = [\"/srv\"]\n";
    }
    let configured = dir.path().join("config");
    fs::create_dir_all(configured.join("qanopy")).unwrap();
    fs::write(configured.join("qanopy/config.toml"), config).unwrap();
    let env = [
        ("QANOPY_SSH", ssh.to_str().unwrap()),
        ("XDG_CONFIG_HOME", configured.to_str().unwrap()),
    ];
    println!("hosts              {hosts}, {each} images each");
    tree(dir.path(), &env);
    screen(&env, hosts, each);
}
