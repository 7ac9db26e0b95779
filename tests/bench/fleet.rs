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
mod many;
mod process;
#[path = "../tui/pty.rs"]
mod pty;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use qanopy::fleet::{FromAgent, Hello, Stream, ToAgent, greeting};

const QANOPY: &str = env!("CARGO_BIN_EXE_qanopy");
/// What one frame brings.
const PIECE: usize = 64 << 10;

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
            // Nothing here asks, or waits.
            _ => continue,
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
        ("HOME", dir.path().to_str().unwrap()),
        ("QANOPY_SSH", ssh.to_str().unwrap()),
        ("XDG_CONFIG_HOME", configured.to_str().unwrap()),
    ];
    println!("hosts              {hosts}, {each} images each");
    many::command("tree", &["tree", "@lab"], &env);
    many::screen(&env, hosts * each);
}
