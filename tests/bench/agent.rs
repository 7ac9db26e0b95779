//! A soak: connections to an agent that lies, for as long as is asked for. What it says is a session with bytes changed,
//! left out, doubled or cut, from its first line on.
//!
//! `cargo bench --bench agent -- 600` does so for 600 seconds, and prints how many sessions there were and how they
//! ended. Each has to end within 10 seconds, with a sentence that names the host where it is no success.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // A benchmark fails loudly and prints.

mod memory;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use qanopy::fleet::{
    Connection, Destination, Ends, FromAgent, Hello, HostEntry, Moved, Patience, Question, Run,
    Said, Stream, Watcher, greeting,
};

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (most.max(1) as u64)).unwrap()
    }
}

/// A session as it should be.
fn session() -> Vec<u8> {
    let mut bytes = greeting().into_bytes();
    let question = Question {
        lines: vec!["Commit b.qcow2 into a.qcow2".to_owned(); 20],
        prompt: "Go on? [y/N] ".to_owned(),
        count: None,
    };
    let moved = Moved {
        phase: "copy".to_owned(),
        done: 7,
        total: 9,
        text: "1 MiB/s".to_owned(),
    };
    let said = |said| FromAgent::Said { run: 1, said };
    for message in [
        FromAgent::Hello(Hello {
            version: "0.1.0".to_owned(),
            read_only: false,
            restricted_to: None,
        }),
        FromAgent::Output {
            run: 1,
            stream: Stream::Out,
            bytes: b"a line\n".repeat(40),
        },
        said(Said::Question(question)),
        said(Said::Moved(moved)),
        said(Said::Taken(9)),
        said(Said::Asked(vec![1, 2, 3])),
        FromAgent::Pong,
        FromAgent::Ended { run: 1, code: 0 },
    ] {
        message.write(&mut bytes).unwrap();
    }
    bytes
}

/// The same with some lies in it.
fn forged(sound: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => {
                let end = (at + random.below(60)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 => {
                let end = (at + random.below(60)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(random.below(256)).unwrap();
                }
            }
        }
    }
    bytes
}

/// Somebody who agrees to all.
struct Agreeing;

impl Watcher for Agreeing {
    fn silent(&mut self, _: &str, _: u64) {}
}

impl Ends for Agreeing {
    fn printed(&mut self, _: Stream, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn asked(&mut self, _: &Question) -> io::Result<String> {
        Ok("y".to_owned())
    }

    fn moved(&mut self, _: &Moved) {}
}

fn main() {
    // `cargo test --benches` runs this too; then a second is enough.
    let given = std::env::args().find_map(|word| word.parse().ok());
    let seconds = Duration::from_secs(given.unwrap_or(1));
    let dir = tempfile::tempdir().unwrap();
    let (file, player) = (dir.path().join("said"), dir.path().join("player"));
    let text = format!("#!/bin/sh\nexec cat {}\n", file.display());
    fs::write(&player, text).unwrap();
    fs::set_permissions(&player, fs::Permissions::from_mode(0o755)).unwrap();
    let entry = HostEntry {
        name: "liar".to_owned(),
        ssh: vec![player.to_str().unwrap().to_owned()],
        agent: Some("qanopy".to_owned()),
        ..HostEntry::default()
    };
    let to = Destination::of("liar", &[entry], None);
    let (sound, mut random) = (session(), Random(0x9e37_79b9_7f4a_7c15));
    let (mut ended, mut failed) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < seconds {
        let bytes = forged(&sound, &mut random);
        fs::write(&file, &bytes).unwrap();
        let (session, stops) = (Instant::now(), AtomicUsize::new(0));
        let run = Run {
            columns: 80,
            asks: true,
            ..Run::new(vec!["info".into()], "liar")
        };
        let came = Connection::open(&to, Patience::default(), &mut Agreeing, &stops)
            .and_then(|mut agent| agent.run(run, &mut Agreeing, &stops));
        assert!(session.elapsed() < Duration::from_secs(10), "{bytes:?}");
        match came {
            Ok(_) => ended += 1,
            Err(error) => {
                assert!(error.to_string().contains("liar"), "{error} {bytes:?}");
                failed += 1;
            }
        }
    }
    println!("seconds            {:.0}", begun.elapsed().as_secs_f64());
    println!("sessions           {}", ended + failed);
    println!("as if all was well {ended}");
    println!("with a sentence    {failed}");
    println!(
        "peak memory        {:.1} MiB",
        memory::peak_kib() as f64 / 1024.0
    );
}
