//! Other machines that may see the same storage: before a file of it is changed, they are asked who uses it there. A
//! process on a host does not know them; it asks the person's machine, which asks the others.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use super::connection::{Connection, Ends, Patience, Watcher};
use super::destination::Destination;
use super::last_words::LastWords;
use super::message::{Moved, PeerAnswer, PeerFacts, PeerQuery, Question, Run, Stream};
use super::person::Person;

/// What this machine is called beside others.
pub const HERE: &str = "localhost";
/// The command that answers on another machine.
const HOLDERS: &str = "holders";

/// Machines that are asked at the same time.
const AT_ONCE: usize = 64;
/// Machines that are asked at all.
const MOST_PEERS: usize = 1024;
/// How long they have, all together.
const IN_TIME: Duration = Duration::from_secs(30);
/// How often a wish to stop is looked for.
const TICK: Duration = Duration::from_millis(50);
/// What one of them may say: less than fits a frame that all of them share.
const MOST_TOLD: usize = 256 << 10;
/// What all of them may say together: it fits one frame.
const MOST_IN_ALL: usize = 8 << 20;
/// How long one may say nothing.
const PATIENCE: Patience = Patience {
    mark: Duration::from_secs(5),
    give_up: Duration::from_secs(10),
};

/// Who is asked.
#[derive(Debug, Clone, Default)]
pub enum Peers {
    /// Nobody.
    #[default]
    Nobody,
    /// These machines.
    Hosts(Arc<[Destination]>),
    /// Whoever started this process: they know the others.
    Person(&'static Person),
}

impl Peers {
    /// These machines.
    #[must_use]
    pub fn hosts(hosts: impl IntoIterator<Item = Destination>) -> Self {
        let hosts: Vec<Destination> = hosts.into_iter().take(MOST_PEERS).collect();
        match hosts.is_empty() {
            true => Self::Nobody,
            false => Self::Hosts(hosts.into()),
        }
    }

    /// Those that are asked for a machine which is one of them: the others, and this one.
    #[must_use]
    pub fn beside(&self, host: &str) -> Self {
        let others = match self {
            Self::Hosts(hosts) => hosts
                .iter()
                .filter(|one| one.name != host)
                .cloned()
                .collect(),
            Self::Nobody | Self::Person(_) => Vec::new(),
        };
        Self::hosts([Destination::here(HERE)].into_iter().chain(others))
    }

    /// Whether nobody is asked.
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    /// Asks all of them, and waits for what they say, no longer than is bounded. `stops` counts the wishes to stop.
    #[must_use]
    pub fn ask(&self, query: &PeerQuery, stops: &AtomicUsize) -> Vec<PeerAnswer> {
        match self {
            Self::Nobody => Vec::new(),
            Self::Hosts(hosts) => ask_all(hosts, query, stops),
            Self::Person(person) => person.ask_peers(query),
        }
    }
}

/// One answer of each, in the order of the machines.
fn ask_all(hosts: &[Destination], query: &PeerQuery, stops: &AtomicUsize) -> Vec<PeerAnswer> {
    let (to_ask, asked) = unbounded();
    for one in hosts.iter().cloned().enumerate() {
        // Both ends are held here.
        let _ = to_ask.send(one);
    }
    drop(to_ask);
    let inner = Arc::new(AtomicUsize::new(0));
    let (told_in, told) = unbounded();
    for _ in 0..hosts.len().min(AT_ONCE) {
        let (asked, told, stops) = (asked.clone(), told_in.clone(), Arc::clone(&inner));
        let query = query.clone();
        // Whoever hangs is left behind, and ends by the wish to stop.
        thread::spawn(move || work(&asked, &query, &stops, &told));
    }
    drop(told_in);
    let answers = gather(hosts.len(), &told, stops);
    // A second wish leaves a connection at once.
    inner.store(2, Ordering::Relaxed);
    let mut room = MOST_IN_ALL;
    let mut fitting = |(told, bytes): (Told, usize)| match room.checked_sub(bytes) {
        Some(rest) => {
            room = rest;
            told
        }
        None => Err("all together say more than is read".to_owned()),
    };
    let late = || Err(format!("it did not answer within {} s", IN_TIME.as_secs()));
    let answers = hosts.iter().zip(answers);
    answers
        .map(|(host, told)| PeerAnswer {
            host: host.name.clone(),
            told: told.map_or_else(late, &mut fitting),
        })
        .collect()
}

type Told = Result<PeerFacts, String>;
/// With the bytes that it takes.
type Sized = (Told, usize);

fn gather(
    number: usize,
    told: &Receiver<(usize, Sized)>,
    stops: &AtomicUsize,
) -> Vec<Option<Sized>> {
    let mut answers: Vec<Option<Sized>> = vec![None; number];
    let begun = Instant::now();
    while begun.elapsed() < IN_TIME && stops.load(Ordering::Relaxed) == 0 {
        match told.recv_timeout(TICK) {
            Ok((at, told)) => {
                if let Some(place) = answers.get_mut(at) {
                    *place = Some(told);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    answers
}

fn work(
    asked: &Receiver<(usize, Destination)>,
    query: &PeerQuery,
    stops: &AtomicUsize,
    told: &Sender<(usize, Sized)>,
) {
    while let Ok((at, host)) = asked.recv() {
        if stops.load(Ordering::Relaxed) > 0 || told.send((at, ask(&host, query, stops))).is_err() {
            return;
        }
    }
}

fn ask(host: &Destination, query: &PeerQuery, stops: &AtomicUsize) -> Sized {
    let mut kept = Kept::default();
    let mut words: Vec<OsString> = [HOLDERS, "--machine"].map(OsString::from).into();
    words.extend([OsString::from(&query.machine), "--".into()]);
    words.extend(query.files.iter().cloned());
    let run = Run::new(words, &host.name);
    let ended = Connection::open(host, PATIENCE, &mut kept, stops)
        .and_then(|mut connection| connection.run(run, &mut kept, stops));
    let without_name = |text: String| match text.strip_prefix(host.name.as_str()) {
        Some(rest) => rest.trim_start_matches([':', ' ']).to_owned(),
        None => text,
    };
    let told = match ended {
        Ok(0) => serde_json::from_slice(&kept.out)
            .map_err(|_| "what it says is of another version".to_owned()),
        Ok(_) => Err(kept.said.line().unwrap_or_else(|| "it failed".to_owned())),
        Err(error) => Err(without_name(error.to_string())),
    };
    (told, kept.out.len())
}

/// What one of them printed.
#[derive(Default)]
struct Kept {
    out: Vec<u8>,
    said: LastWords,
}

impl Watcher for Kept {
    // It is told of as one that did not answer.
    fn silent(&mut self, _: &str, _: u64) {}
}

impl Ends for Kept {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Out if self.out.len() + bytes.len() > MOST_TOLD => {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Stream::Out => self.out.extend(bytes),
            Stream::Err => self.said.hear(bytes),
        }
        Ok(())
    }

    fn asked(&mut self, _: &Question) -> io::Result<String> {
        // It only reads.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn moved(&mut self, _: &Moved) {}
}
