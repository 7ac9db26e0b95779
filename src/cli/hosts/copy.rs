//! A copy between two machines, either of which may be this one: one gives the images, the other takes them, and what
//! they say to each other goes through here.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::anyhow;
use crossbeam_channel::{Receiver, unbounded};
use serde_json::Value;

use crate::fleet::{
    Connection, Destination, Ends, Error, Feed, HERE, HostEntry, Moved, Patience, Question, Run,
    Stream, Watcher,
};
use crate::host::{printable, printable_lines};

use super::super::config;
use super::super::execute::question_until;
use super::super::exit::{NOT_AGREED, Stop};
use super::super::options::Globals;
use super::super::output::{self, Out};
use super::super::send::{self, SendArgs};
use super::destination::destination;
use super::filter::Filter;
use super::original::Original;
use super::peers;
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

    /// Whether both are on the same machine.
    pub(in crate::cli) fn is_beside(&self, other: &Self) -> bool {
        (self.is_here, &self.to.name) == (other.is_here, &other.to.name)
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
    /// Tells the side that has the images what is asked for.
    asks: &'a dyn Fn(&[u8]) -> io::Result<()>,
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
        (self.asks)(&bytes)
    }
}

/// Both sides of it, each with what it is asked to do.
#[derive(Debug)]
pub(in crate::cli) struct Sides {
    pub(in crate::cli) from: (Side, SendArgs),
    pub(in crate::cli) to: (Side, Vec<OsString>),
    /// What discards the original, where that is wanted.
    pub(in crate::cli) discard: Option<Vec<OsString>>,
    /// Whether nobody is to be asked.
    pub(in crate::cli) yes: bool,
}

/// Runs both command lines, and gives the exit code of the one that takes, or of the one that discards the original
/// then.
pub(in crate::cli) fn copy(out: &mut Out, globals: Globals, sides: Sides) -> anyhow::Result<u8> {
    let stops = count_stops()?;
    let task = |side: &Side, words: Vec<OsString>| Task {
        to: side.to.clone(),
        words: global_words(globals).into_iter().chain(words).collect(),
    };
    let (from, send) = sides.from;
    let (to, receive) = sides.to;
    let giving = match from.is_here {
        true => Giver::Here(send),
        false => Giver::There(&from.to, task(&from, send.words()).unwatched()),
    };
    let taking = task(&to, receive);
    let is_document = globals.json && !globals.bare_json;
    let moving = sides.discard.map(|words| task(&from, words));
    let moving = match moving {
        Some(task) => {
            let sides_far = [&from, &to].into_iter().filter(|side| !side.is_here);
            let named: Vec<String> = sides_far.map(|side| side.to.name.clone()).collect();
            Some(Moving::plan(
                out,
                (task, &named),
                sides.yes,
                is_document,
                &stops,
            )?)
        }
        None => None,
    };
    let moving = match moving {
        Some(Planned::Refused(code)) => return Ok(code),
        Some(Planned::Asks(moving)) => Some(moving),
        None => None,
    };
    let mut shown = Shown::new(out, &taking, &stops);
    shown.held = is_document.then(Vec::new);
    let mut run = taking.watched();
    run.asks_always = moving.is_some() && !sides.yes;
    let ended = both(giving, (&taking.to, run), &mut shown, &stops);
    let held = shown.held.take();
    let mut code = judged(shown.end(), ended, &taking)?;
    let mut original = None;
    if let Some(moving) = moving {
        (code, original) = moving.ended(out, code, is_document)?;
    }
    if let Some(held) = held {
        let document: Value = serde_json::from_slice(&held)
            .map_err(|_| anyhow!("{} gives no JSON of this version", taking.to.name))?;
        if let Some(mut result) = document.get("result").cloned() {
            if let Some((fields, original)) = result.as_object_mut().zip(original) {
                fields.insert("original".to_owned(), original);
            }
            out.json(result)?;
        }
        out.end(document.get("error").cloned())?;
    }
    Ok(code)
}

/// The plan for the original, once it is made.
enum Planned {
    /// It is not to be, with this exit code: nothing is copied.
    Refused(u8),
    Asks(Moving),
}

/// The original of what is copied, which goes once that is done.
struct Moving {
    /// None where the plan was only to be shown.
    original: Option<Original>,
    host: String,
    answer: String,
    /// What it told where it is over.
    told: String,
}

impl Moving {
    /// Has the plan made, and shows it.
    fn plan(
        out: &mut Out,
        (task, named): (Task, &[String]),
        yes: bool,
        is_document: bool,
        stops: &Arc<AtomicUsize>,
    ) -> anyhow::Result<Planned> {
        let host = task.to.name.clone();
        let entries = config::of_this_run().0.hosts;
        let named = named.iter().map(String::as_str);
        let peers = peers::of(&entries, named).beside(&host);
        let head = format!("Once it is copied, on {host}:");
        let original = Original::plan(task.clone(), peers, stops);
        let Some(question) = original.asked() else {
            let told = original.answered(String::new());
            let told = told.ok_or_else(|| anyhow!("{host}: what discards it failed"))?;
            told.err.lines().for_each(output::complain);
            if !is_document && !told.out.is_empty() {
                out.line(&head)?;
                out.text(&told.out)?;
            }
            return match judged(Ok(()), told.ended, &task)? {
                0 => Ok(Planned::Asks(Self {
                    original: None,
                    host,
                    answer: String::new(),
                    told: told.out,
                })),
                code => {
                    output::complain(format_args!(
                        "qanopy: nothing was copied: {host} would not let the original go"
                    ));
                    if is_document {
                        let document: Value = serde_json::from_str(&told.out).unwrap_or_default();
                        out.end(document.get("error").cloned())?;
                    }
                    Ok(Planned::Refused(code))
                }
            };
        };
        let is_person_here = io::stdin().is_terminal() && io::stderr().is_terminal();
        if !yes && !is_person_here {
            drop(original.answered(String::new()));
            let text = "nobody is there to ask; look at the plan with --dry-run and agree to it with --yes";
            return Err(Stop::refused(NOT_AGREED, text.to_owned()).into());
        }
        for line in std::iter::once(&head).chain(&question.lines) {
            match is_document {
                true => output::complain(line),
                false => out.line(line)?,
            }
        }
        out.flush()?;
        let answer = match question.count {
            // Who is asked about the copy, which stands below this, agrees to both.
            None => Some("y".to_owned()),
            Some(_) if yes => None,
            Some(_) => question_until(&printable_lines(&question.prompt), &|| {
                stops.load(Ordering::Relaxed) > 0
            })?,
        };
        let is_agreed = match question.count {
            None => true,
            Some(count) => answer
                .as_ref()
                .is_some_and(|typed| *typed == count.to_string()),
        };
        if !is_agreed {
            drop(original.answered(String::new()));
            let text = format!(
                "nothing was copied: moving the original on {host} to the trash asks for a number, which was not typed"
            );
            return Err(Stop::refused(NOT_AGREED, text).into());
        }
        Ok(Planned::Asks(Self {
            original: Some(original),
            host,
            answer: answer.unwrap_or_default(),
            told: String::new(),
        }))
    }

    /// Discards the original where all is copied, and nothing otherwise; the exit code of both, and the document of
    /// this.
    fn ended(
        self,
        out: &mut Out,
        copied: u8,
        is_document: bool,
    ) -> anyhow::Result<(u8, Option<Value>)> {
        let host = self.host;
        let Some(original) = self.original else {
            return Ok((copied, result_of(&self.told)));
        };
        let answer = match copied {
            0 => self.answer,
            _ => String::new(),
        };
        let told = original.answered(answer);
        if copied != 0 {
            return Ok((copied, None));
        }
        let (ended, text, err) = match told {
            Some(told) => (told.ended, told.out, told.err),
            None => return Err(anyhow!("{host}: what discards the original failed")),
        };
        err.lines().for_each(output::complain);
        let left = |why: &str| {
            format!("it is copied, and the original on {host} may be there as well{why}")
        };
        match ended {
            Ok(0) => {
                if !is_document {
                    out.text(&text)?;
                }
                Ok((0, result_of(&text)))
            }
            Ok(code) => {
                output::complain(format_args!("qanopy: {}", left("")));
                Ok((code, None))
            }
            Err(error) => {
                let text = left(&format!(": `qanopy recover {host}:` tells"));
                Err(anyhow::Error::from(error).context(text))
            }
        }
    }
}

/// The result in a document.
fn result_of(text: &str) -> Option<Value> {
    let document: Value = serde_json::from_str(text).ok()?;
    document.get("result").cloned()
}

/// The side that has the images.
enum Giver<'a> {
    /// This process.
    Here(SendArgs),
    There(&'a Destination, Run),
}

fn both(
    giver: Giver<'_>,
    (to, taking): (&Destination, Run),
    shown: &mut Shown<'_>,
    stops: &AtomicUsize,
) -> Result<u8, Error> {
    match giver {
        Giver::Here(send) => from_here(send, (to, taking), shown, stops),
        Giver::There(from, giving) => from_there((from, giving), (to, taking), shown, stops),
    }
}

fn from_there(
    (from, giving): (&Destination, Run),
    (to, taking): (&Destination, Run),
    shown: &mut Shown<'_>,
    stops: &AtomicUsize,
) -> Result<u8, Error> {
    let mut giver = Connection::open(from, Patience::default(), shown, stops)?;
    let mut taker = Connection::open(to, Patience::default(), shown, stops)?;
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
            asks: &|bytes| to_giver.send(bytes),
        };
        let ended = taker.run(taking, &mut ends, stops);
        to_giver.end();
        let given = giver.join();
        match (ended, given) {
            // What cut the one off explains why the other failed.
            (Ok(code), Ok(Err(error))) if code != 0 => Err(error),
            (ended, _) => ended,
        }
    })
}

fn from_here(
    send: SendArgs,
    (to, taking): (&Destination, Run),
    shown: &mut Shown<'_>,
    stops: &AtomicUsize,
) -> Result<u8, Error> {
    let mut taker = Connection::open(to, Patience::default(), shown, stops)?;
    let mut to_taker = taker.feed();
    let (asks, asked) = unbounded();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Who is gone says so itself.
            let _ = send::send(&send, &mut Asked::of(asked), &mut to_taker);
            to_taker.end();
        });
        let mut ends = Taking {
            shown,
            asks: &|bytes| {
                let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
                asks.send(bytes.to_vec()).map_err(gone)
            },
        };
        let ended = taker.run(taking, &mut ends, stops);
        // Nobody asks for anything any more.
        drop(asks);
        ended
    })
}

/// What is asked for, to be read; it ends with whoever asks.
struct Asked {
    pieces: Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Asked {
    fn of(pieces: Receiver<Vec<u8>>) -> Self {
        Self {
            pieces,
            piece: io::Cursor::default(),
        }
    }
}

impl Read for Asked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.piece.read(buf)?;
        if read > 0 || buf.is_empty() {
            return Ok(read);
        }
        let Ok(piece) = self.pieces.recv() else {
            return Ok(0);
        };
        self.piece = io::Cursor::new(piece);
        self.piece.read(buf)
    }
}
