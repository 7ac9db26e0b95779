//! Several hosts at once: each is asked by itself, and what they print is shown host by host, in the order they were
//! named.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Sender, unbounded};
use serde_json::{Map, Value, json};

use crate::fleet::{
    Dials, Ends, Error, Moved, PeerAnswer, PeerQuery, Peers, Question, Stream, Watcher,
};

use super::super::json;
use super::super::options::Globals;
use super::super::output::{self, Out};
use super::filter::Filter;
use super::shared::{Printed, is_shared, join};
use super::task::{Task, tell_silent};

/// Hosts that are asked at the same time.
const AT_ONCE: usize = 32;
/// What is kept of what one host prints.
const MOST_PRINTED: usize = 32 << 20;
/// The exit codes of what failed, was found, was cancelled and was refused.
const FAILED: u8 = 1;
const PROBLEMS: u8 = 3;
const REFUSED: u8 = 4;
const CANCELLED: u8 = 130;

/// What one host said.
struct Done {
    out: Vec<u8>,
    err: Vec<u8>,
    ended: Result<u8, Error>,
}

/// What a host prints, kept until it is its turn.
struct Kept<'a> {
    out: Vec<u8>,
    err: Vec<u8>,
    is_too_much: bool,
    /// The machines that are asked for it.
    peers: Peers,
    stops: &'a AtomicUsize,
}

impl Watcher for Kept<'_> {
    fn silent(&mut self, host: &str, seconds: u64) {
        tell_silent(host, seconds);
    }
}

impl Ends for Kept<'_> {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if self.out.len() + self.err.len() + bytes.len() > MOST_PRINTED {
            self.is_too_much = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        match stream {
            Stream::Out => self.out.extend(bytes),
            Stream::Err => self.err.extend(bytes),
        }
        Ok(())
    }

    fn asked(&mut self, _: &Question) -> io::Result<String> {
        // Nobody is asked for several at once, and they were told so.
        Err(io::ErrorKind::InvalidData.into())
    }

    fn moved(&mut self, _: &Moved) {}

    fn peers_asked(&mut self, query: &PeerQuery) -> Vec<PeerAnswer> {
        self.peers.ask(query, self.stops)
    }
}

/// Has it done by all of them, by one after the other where they do it in turn, and gives the exit code that stands for
/// theirs.
pub(super) fn run(
    out: &mut Out,
    globals: Globals,
    (tasks, in_turn): (&[Task], bool),
    peers: &Peers,
    stops: &AtomicUsize,
) -> anyhow::Result<u8> {
    let at_once = if in_turn { 1 } else { AT_ONCE };
    let queue = Mutex::new(tasks.iter().enumerate().collect::<VecDeque<_>>());
    let dials = Dials::default();
    thread::scope(|scope| {
        let (sender, done) = unbounded();
        for _ in 0..tasks.len().min(at_once) {
            let (queue, dials, sender) = (&queue, &dials, sender.clone());
            scope.spawn(move || work(queue, dials, (peers, stops), &sender));
        }
        drop(sender);
        let mut waiting: Vec<Option<Done>> = tasks.iter().map(|_| None).collect();
        let mut shown = Shown::new(globals.json);
        if shown.is_json {
            out.begin_hosts()?;
        }
        let mut next = 0;
        for (at, host) in done {
            if let Some(place) = waiting.get_mut(at) {
                *place = Some(host);
            }
            while let Some((task, host)) = tasks.get(next).zip(waiting.get_mut(next)) {
                let Some(host) = host.take() else { break };
                shown.add(out, task, host)?;
                next += 1;
            }
        }
        shown.end(out)
    })
}

fn work(
    queue: &Mutex<VecDeque<(usize, &Task)>>,
    dials: &Dials,
    (peers, stops): (&Peers, &AtomicUsize),
    done: &Sender<(usize, Done)>,
) {
    loop {
        let next = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let Some((at, task)) = next else { return };
        let mut kept = Kept {
            out: Vec::new(),
            err: Vec::new(),
            is_too_much: false,
            peers: peers.beside(&task.to.name),
            stops,
        };
        let ended = dials
            .open(&task.to, &mut kept, stops)
            .and_then(|mut connection| connection.run(task.among_others(), &mut kept, stops));
        let ended = match kept.is_too_much {
            true => Err(Error::TooMuch {
                host: task.to.name.clone(),
            }),
            false => ended,
        };
        let host = Done {
            out: kept.out,
            err: kept.err,
            ended,
        };
        if done.send((at, host)).is_err() {
            return;
        }
    }
}

/// What is shown of them so far.
struct Shown {
    is_json: bool,
    codes: Vec<u8>,
    error: Option<Value>,
    printed: Printed,
    /// Documents from the first on that is about images which others may see, until all are there.
    held: Vec<Value>,
    /// How many are printed.
    shown: usize,
}

impl Shown {
    fn new(is_json: bool) -> Self {
        Self {
            is_json,
            codes: Vec::new(),
            error: None,
            printed: Printed::default(),
            held: Vec::new(),
            shown: 0,
        }
    }

    fn add(&mut self, out: &mut Out, task: &Task, host: Done) -> io::Result<()> {
        let name = &task.to.name;
        let code = match &host.ended {
            Ok(code) => *code,
            Err(Error::Denied { .. }) => REFUSED,
            Err(Error::Left { .. }) => CANCELLED,
            Err(_) => FAILED,
        };
        let mut error = None;
        if self.is_json {
            // One host at a time: all of them together may be more than fits.
            let document = self.document(name, code, &host);
            error = document.get("error").cloned();
            if !self.held.is_empty() || is_shared(&document) {
                self.held.push(document);
            } else {
                out.host(document, self.shown == 0)?;
                self.shown += 1;
            }
        } else {
            if !self.codes.is_empty() {
                out.line("")?;
            }
            out.line(format_args!("{name}:"))?;
            let mut filter = Filter::default();
            let told = String::from_utf8_lossy(&host.out);
            let told = self.printed.pass(name, &told);
            let text = filter.pass(told.as_bytes()) + &filter.end();
            out.text(&text)?;
        }
        out.flush()?;
        let mut filter = Filter::default();
        let said = filter.pass(&host.err) + &filter.end();
        for line in said.lines() {
            output::complain(format_args!("{name}: {line}"));
        }
        if let Err(error) = &host.ended {
            output::complain(format_args!("qanopy: {error}"));
        }
        self.codes.push(code);
        if self.error.is_none() {
            self.error = error.map(|mut error| {
                let told = error
                    .get("message")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let told = match told.starts_with(name.as_str()) {
                    true => told.to_owned(),
                    false => format!("{name}: {told}"),
                };
                if let Some(fields) = error.as_object_mut() {
                    fields.insert("message".to_owned(), told.into());
                }
                error
            });
        }
        Ok(())
    }

    /// A host's part of the document: its own document, or why there is none.
    fn document(&self, name: &str, code: u8, host: &Done) -> Value {
        let mut fields = Map::new();
        fields.insert("host".to_owned(), name.into());
        fields.insert("code".to_owned(), code.into());
        let error = |kind: &str, text: &str| json::error(kind, text, None, &[], &[]);
        match &host.ended {
            Err(why) => {
                fields.insert("error".to_owned(), error(why.kind(), &why.to_string()));
            }
            Ok(_) => match serde_json::from_slice::<Value>(&host.out) {
                Ok(Value::Object(mut document)) if document.get("schema") == Some(&json!(1)) => {
                    for key in ["result", "error"] {
                        if let Some(value) = document.remove(key) {
                            fields.insert(key.to_owned(), value);
                        }
                    }
                }
                _ => {
                    let text = format!("{name} prints no document of this version");
                    fields.insert("error".to_owned(), error("host-garbled", &text));
                }
            },
        }
        fields.into()
    }

    fn end(mut self, out: &mut Out) -> anyhow::Result<u8> {
        let failed = self.codes.iter().find(|code| ![0, PROBLEMS].contains(code));
        let found = self.codes.iter().find(|code| **code == PROBLEMS);
        let code = failed.or(found).copied().unwrap_or(0);
        if self.is_json {
            join(&mut self.held);
            for document in self.held {
                out.host(document, self.shown == 0)?;
                self.shown += 1;
            }
            out.end_hosts()?;
            let error = failed.and(self.error);
            out.end(error)?;
        }
        out.flush()?;
        Ok(code)
    }
}
