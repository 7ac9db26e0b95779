//! A copy between two machines, either of which may be this one: one gives the images, the other takes them, and what
//! they say to each other goes through here.

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::atomic::AtomicUsize;
use std::thread;

use anyhow::anyhow;
use serde_json::Value;

use crate::fleet::{
    Connection, Destination, Ends, Error, Feed, HERE, HostEntry, Moved, Patience, Question, Run,
    Stream, Watcher,
};
use crate::host::printable;

use super::super::exit::Stop;
use super::super::options::Globals;
use super::super::output::{self, Out};
use super::destination::destination;
use super::filter::Filter;
use super::shown::{Shown, judged};
use super::task::{Task, tell_silent};
use super::{count_stops, global_words, members, remote};

/// One side of it.
#[derive(Debug)]
pub(in crate::cli) struct Side {
    to: Destination,
    is_here: bool,
    /// The image, or the folder, as it is called there.
    pub(in crate::cli) path: OsString,
}

impl Side {
    /// What a word names.
    ///
    /// # Errors
    /// Where it names several hosts.
    pub(in crate::cli) fn of(word: &OsStr, entries: &[HostEntry]) -> Result<Self, Stop> {
        let Some(found) = remote(word) else {
            return Ok(Self {
                to: Destination::here(HERE),
                is_here: true,
                path: word.to_owned(),
            });
        };
        let members = members(&found.host, entries)?;
        let [host] = members.as_slice() else {
            let text = format!("{} stands for several hosts: name one of them", found.host);
            return Err(Stop::Usage(text));
        };
        let path = match found.path.is_empty() {
            true => ".".into(),
            false => found.path,
        };
        Ok(Self {
            to: destination(host, entries),
            is_here: false,
            path,
        })
    }

    /// What it is called here.
    pub(in crate::cli) fn shown(&self) -> String {
        let path = printable(&self.path);
        match self.is_here {
            true => path,
            false => format!("{}:{path}", self.to.name),
        }
    }
}

/// What becomes of what the side says that has the images.
struct Giving {
    to: Feed,
    complained: Filter,
}

impl Watcher for Giving {
    fn silent(&mut self, host: &str, seconds: u64) {
        tell_silent(host, seconds);
    }
}

impl Ends for Giving {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Out => self.to.send(bytes),
            Stream::Err => {
                let text = self.complained.pass(bytes);
                text.lines().for_each(output::complain);
                Ok(())
            }
        }
    }

    fn asked(&mut self, _: &Question) -> io::Result<String> {
        // It changes nothing, so that it has nothing to ask.
        Err(io::ErrorKind::Unsupported.into())
    }

    fn moved(&mut self, _: &Moved) {}
}

/// What becomes of what the other side says.
struct Taking<'a, 'o> {
    shown: &'a mut Shown<'o>,
    to: Feed,
}

impl Watcher for Taking<'_, '_> {
    fn silent(&mut self, host: &str, seconds: u64) {
        self.shown.silent(host, seconds);
    }
}

impl Ends for Taking<'_, '_> {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.shown.printed(stream, bytes)
    }

    fn asked(&mut self, question: &Question) -> io::Result<String> {
        self.shown.asked(question)
    }

    fn moved(&mut self, moved: &Moved) {
        self.shown.moved(moved);
    }

    fn asked_for(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.to.send(&bytes)
    }
}

/// Runs both command lines, and gives the exit code of the one that takes.
pub(in crate::cli) fn copy(
    out: &mut Out,
    globals: Globals,
    (from, send): (Side, Vec<OsString>),
    (to, receive): (Side, Vec<OsString>),
) -> anyhow::Result<u8> {
    let stops = count_stops()?;
    let task = |side: &Side, words: Vec<OsString>| Task {
        to: side.to.clone(),
        words: global_words(globals).into_iter().chain(words).collect(),
    };
    let giving = task(&from, send).unwatched();
    let taking = task(&to, receive);
    let is_document = globals.json && !globals.bare_json;
    let mut shown = Shown::new(out, &taking, &stops);
    shown.held = is_document.then(Vec::new);
    let ended = both(&from.to, giving, &taking, &mut shown, &stops);
    let held = shown.held.take();
    let code = judged(shown.end(), ended, &taking)?;
    if let Some(held) = held {
        let document: Value = serde_json::from_slice(&held)
            .map_err(|_| anyhow!("{} gives no JSON of this version", taking.to.name))?;
        if let Some(result) = document.get("result") {
            out.json(result.clone())?;
        }
        out.end(document.get("error").cloned())?;
    }
    Ok(code)
}

fn both(
    from: &Destination,
    giving: Run,
    taking: &Task,
    shown: &mut Shown<'_>,
    stops: &AtomicUsize,
) -> Result<u8, Error> {
    let mut giver = Connection::open(from, Patience::default(), shown, stops)?;
    let mut taker = Connection::open(&taking.to, Patience::default(), shown, stops)?;
    let (to_giver, to_taker) = (giver.feed(), taker.feed());
    thread::scope(|scope| {
        let mut ends = Giving {
            to: to_taker.clone(),
            complained: Filter::default(),
        };
        let giver = scope.spawn(move || {
            // It ends when nobody asks for anything any more, which a wish to stop brings about.
            let ended = giver.run(giving, &mut ends, &AtomicUsize::new(0));
            to_taker.end();
            ended
        });
        let mut ends = Taking {
            shown,
            to: to_giver.clone(),
        };
        let ended = taker.run(taking.watched(), &mut ends, stops);
        to_giver.end();
        let given = giver.join();
        match (ended, given) {
            // What cut the one off explains why the other failed.
            (Ok(code), Ok(Err(error))) if code != 0 => Err(error),
            (ended, _) => ended,
        }
    })
}
