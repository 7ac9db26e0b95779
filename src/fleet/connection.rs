//! This side of a connection: threads that read and write, deadlines, and the end of it. A host that hangs is told of
//! and given up; it never holds up who asks.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use rustix::process::{Pid, Signal, kill_process_group};

use super::binary::{file_name, own_sha256, program_for};
use super::bootstrap::Line;
use super::destination::Destination;
use super::error::Error;
use super::feed::Feed;
use super::frame::widen;
use super::message::{
    Answer, FromAgent, Hello, Moved, Outgoing, PROTOCOL, PeerAnswer, PeerQuery, Question, Run,
    Said, Stream, ToAgent,
};
use super::passphrase::{MOST_ASKED, PassphraseAnswer, PassphraseQuery};
use crate::host::printable_bytes;
use crate::image::Passphrase;

/// How often a wish to stop is looked for.
const TICK: Duration = Duration::from_millis(50);
/// What a shell may print before the agent speaks.
const MOST_NOISE: u64 = 64 << 10;
/// What is kept of what is said on standard error.
const MOST_SAID: usize = 2048;
/// Messages that wait for whoever reads them: four times what is on the way, and no more.
const WAITING: usize = 16;
/// What is written at a time of a program that is put there.
const PIECE: usize = 256 << 10;
/// Printed bytes at once from which on there is much of them.
const BULK: usize = 64 << 10;
/// How long the program that joined us may take to end.
const LEAVING: Duration = Duration::from_secs(2);
/// How long it may take once it is killed.
const KILLING: Duration = Duration::from_secs(1);

/// How long a host may say nothing.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until that is told.
    pub mark: Duration,
    /// Until it is given up.
    pub give_up: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            mark: Duration::from_secs(5),
            give_up: Duration::from_secs(60),
        }
    }
}

/// Who watches a connection.
pub trait Watcher {
    /// The host has said nothing for so long.
    fn silent(&mut self, host: &str, seconds: u64);
}

/// Where what a command line prints and asks goes.
pub trait Ends: Watcher {
    /// It printed this.
    ///
    /// # Errors
    /// When it cannot be handed on: then the command line is asked to stop.
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()>;
    /// It asks; none if nobody answers.
    ///
    /// # Errors
    /// When nobody can be asked: then the command line is asked to stop.
    fn asked(&mut self, question: &Question) -> io::Result<String>;
    /// It is so far.
    fn moved(&mut self, moved: &Moved);
    /// What its plan would do, as it travels; nobody but a screen wants to know.
    fn planned(&mut self, _plan: &str) {}
    /// It has something for whoever brings it bytes; where nobody does, it has nobody to tell.
    ///
    /// # Errors
    /// When it cannot be handed on: then the command line is asked to stop.
    fn asked_for(&mut self, _bytes: Vec<u8>) -> io::Result<()> {
        Ok(())
    }
    /// It needs a passphrase; none where nobody gives one. It is named by this side: what the host calls things is not
    /// believed to be more than a path.
    fn passphrase_asked(&mut self, _query: &PassphraseQuery) -> Option<Passphrase> {
        None
    }
    /// It wants to know what other machines say of files; where nobody asks them, it is told that.
    fn peers_asked(&mut self, _query: &PeerQuery) -> Vec<PeerAnswer> {
        let told = Err("it asks no other machine".to_owned());
        let host = "the machine that this is asked for from".to_owned();
        vec![PeerAnswer { host, told }]
    }
}

/// What comes from the other side.
enum Incoming {
    Line(Line),
    Message(FromAgent),
    Nonsense(&'static str),
    End,
}

/// A host that an agent runs on. Dropping it ends the agent.
#[derive(Debug)]
pub struct Connection {
    host: String,
    /// The words that have a shell there run one more.
    reach: String,
    child: Child,
    to: Option<Sender<Outgoing>>,
    from: Receiver<Incoming>,
    said: Arc<Mutex<VecDeque<u8>>>,
    /// When something last moved in either direction.
    moved: Arc<Mutex<Instant>>,
    patience: Patience,
    is_marked: bool,
    is_pinged: bool,
    runs: u32,
    /// How often the run asked for a passphrase.
    asked: u32,
    /// The way to the next run, where something is brought to it.
    feed: Option<Feed>,
    hello: Option<Hello>,
}

impl Connection {
    /// Joins us with the host, and starts the agent there. `stops` counts how often the person asked to stop.
    ///
    /// # Errors
    /// Why it does not work.
    pub fn open(
        to: &Destination,
        patience: Patience,
        watcher: &mut dyn Watcher,
        stops: &AtomicUsize,
    ) -> Result<Self, Error> {
        let host = to.name.clone();
        let no_binary = |source| Error::NoBinary {
            host: to.name.clone(),
            source,
        };
        let own = if to.is_stored() {
            own_sha256().map_err(no_binary)?
        } else {
            ""
        };
        let mut child = to
            .command(&to.script(own))
            .spawn()
            .map_err(|source| Error::NoProgram {
                host: host.clone(),
                program: to.program(),
                source,
            })?;
        let moved = Arc::new(Mutex::new(Instant::now()));
        let (incoming, from) = bounded(WAITING);
        let (sender, outgoing) = unbounded();
        let said = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(out) = child.stdout.take() {
            thread::spawn(move || read_all(out, &incoming));
        }
        if let Some(input) = child.stdin.take() {
            let moved = moved.clone();
            thread::spawn(move || write_all(input, &outgoing, &moved));
        }
        if let Some(err) = child.stderr.take() {
            let said = said.clone();
            thread::spawn(move || keep_last(err, &said));
        }
        let mut connection = Self {
            host,
            reach: to.typed(),
            child,
            to: Some(sender),
            from,
            said,
            moved,
            patience,
            is_marked: false,
            is_pinged: false,
            runs: 0,
            asked: 0,
            feed: None,
            hello: None,
        };
        connection.hello = Some(connection.begin(watcher, stops)?);
        Ok(connection)
    }

    /// What the agent says of itself.
    #[must_use]
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Runs a command line there to its end, and gives its exit code. A first wish to stop is handed on; with the
    /// second the connection is left, which has the agent stop it.
    ///
    /// # Errors
    /// Why it did not come to an end.
    pub fn run(
        &mut self,
        mut run: Run,
        ends: &mut dyn Ends,
        stops: &AtomicUsize,
    ) -> Result<u8, Error> {
        self.runs += 1;
        self.asked = 0;
        run.id = self.runs;
        run.reach.clone_from(&self.reach);
        // Nobody had anything to say since the one before.
        self.heard();
        let feed = self.feed.take();
        self.send(ToAgent::Run(run));
        if let Some(feed) = &feed {
            feed.begin();
        }
        let ended = self.follow(self.runs, ends, stops, feed.as_ref());
        if let Some(feed) = &feed {
            feed.over();
        }
        ended
    }

    /// A way to bring bytes to the next command line that is run there.
    pub fn feed(&mut self) -> Feed {
        let feed = Feed::new(self.runs + 1, self.to.clone());
        self.feed = Some(feed.clone());
        feed
    }

    /// Follows a run to its end.
    fn follow(
        &mut self,
        id: u32,
        ends: &mut dyn Ends,
        stops: &AtomicUsize,
        feed: Option<&Feed>,
    ) -> Result<u8, Error> {
        let mut cancelled = false;
        let mut must_stop = false;
        let mut unprinted: Option<io::Error> = None;
        loop {
            let wishes = stops.load(Ordering::Relaxed);
            if wishes > 1 {
                return Err(Error::Left {
                    host: self.host.clone(),
                });
            }
            if (wishes > 0 || must_stop) && !cancelled {
                cancelled = true;
                self.send(ToAgent::Cancel { run: id });
            }
            let Some(incoming) = self.next(ends)? else {
                continue;
            };
            let handed_on = match incoming {
                Incoming::Message(FromAgent::Output { run, stream, bytes }) if run == id => {
                    // What follows a failure to print is not printed.
                    if unprinted.is_some() {
                        Ok(())
                    } else {
                        let printed = ends.printed(stream, &bytes);
                        // Whoever reads it may have been slow.
                        self.heard();
                        // Who has read enough, as `head` does, does not mean that it should stop.
                        must_stop |= printed.as_ref().is_err_and(|error| !is_closed(error));
                        printed
                    }
                }
                Incoming::Message(FromAgent::Said {
                    run,
                    said: Said::Taken(bytes),
                }) if run == id => {
                    if let Some(feed) = feed {
                        feed.taken(bytes);
                    }
                    Ok(())
                }
                Incoming::Message(FromAgent::Said { run, said }) if run == id => {
                    let said = self.said(id, said, ends, stops)?;
                    must_stop |= said.is_err();
                    said
                }
                Incoming::Message(FromAgent::Ended { run, code }) if run == id => {
                    let host = self.host.clone();
                    let end = unprinted
                        .filter(|error| !is_closed(error))
                        .map(|source| Error::NotPrinted { host, source });
                    return end.map_or(Ok(code), Err);
                }
                Incoming::Message(FromAgent::Denied { run, why }) if run == id => {
                    let why = printable_bytes(why.as_bytes());
                    return Err(Error::Denied {
                        host: self.host.clone(),
                        why,
                    });
                }
                Incoming::Message(FromAgent::Pong) => Ok(()),
                Incoming::End => {
                    return Err(Error::Cut {
                        host: self.host.clone(),
                        why: self.last_words(),
                    });
                }
                Incoming::Nonsense(what) => return Err(self.garbled(what)),
                Incoming::Message(_) | Incoming::Line(_) => {
                    return Err(self.garbled("it speaks of what nobody asked for"));
                }
            };
            unprinted = unprinted.or(handed_on.err());
        }
    }

    /// Shows what it says, and has it answered; the inner failure is whoever's is asked.
    fn said(
        &mut self,
        run: u32,
        said: Said,
        ends: &mut dyn Ends,
        stops: &AtomicUsize,
    ) -> Result<io::Result<()>, Error> {
        match said {
            Said::Moved(moved) => ends.moved(&moved),
            Said::Plan(plan) => ends.planned(&plan),
            Said::Asked(bytes) => return Ok(ends.asked_for(bytes)),
            Said::Peers(query) => {
                let answers = ends.peers_asked(&query);
                // They may have taken their time.
                self.heard();
                self.send(ToAgent::Peers { run, answers });
            }
            Said::Passphrase(query) if !query.is_plausible() => {
                return Err(self.garbled("it asks for the passphrase of what is no file"));
            }
            Said::Passphrase(_) if self.asked >= MOST_ASKED => {
                return Err(self.garbled("it asks for passphrases without end"));
            }
            Said::Passphrase(query) => {
                self.asked += 1;
                let given = ends.passphrase_asked(&query);
                // The person may have thought for long.
                self.heard();
                let is_stopped = stops.load(Ordering::Relaxed) > 0;
                if is_stopped {
                    // First: it is to end by that, and not by the passphrase that it lacks.
                    self.send(ToAgent::Cancel { run });
                }
                let answer = PassphraseAnswer {
                    number: query.number,
                    passphrase: given.filter(|_| !is_stopped),
                };
                self.send(ToAgent::Passphrase { run, answer });
            }
            // What nobody brought is not taken.
            Said::Taken(_) => {}
            Said::Question(question) if !question.is_short() => {
                return Err(self.garbled("it asks more than a person reads"));
            }
            Said::Question(question) => {
                let typed = match ends.asked(&question) {
                    Ok(typed) => typed,
                    Err(error) => return Ok(Err(error)),
                };
                // The person may have thought for long.
                self.heard();
                // Who asked to stop meanwhile has agreed to nothing: a cancel goes there instead.
                if stops.load(Ordering::Relaxed) > 0 {
                    return Ok(Ok(()));
                }
                let answer = Answer {
                    digest: question.digest(),
                    typed,
                };
                self.send(ToAgent::Answer { run, answer });
            }
        }
        Ok(Ok(()))
    }

    /// From the first line to the agent's hello.
    fn begin(&mut self, watcher: &mut dyn Watcher, stops: &AtomicUsize) -> Result<Hello, Error> {
        let host = self.host.clone();
        let mut program = None;
        loop {
            if stops.load(Ordering::Relaxed) > 0 {
                return Err(Error::Left { host });
            }
            let Some(incoming) = self.next(watcher)? else {
                continue;
            };
            match incoming {
                Incoming::Line(Line::Need(system, machine)) if program.is_none() => {
                    let (bytes, sha256) = self.program(&system, &machine)?;
                    let line = format!("{sha256} {}\n", bytes.len());
                    self.write(line.into_bytes());
                    program = Some(bytes);
                }
                Incoming::Line(Line::Send) => match program.take() {
                    Some(bytes) => self.write(bytes),
                    None => return Err(self.garbled("it asks for a program twice")),
                },
                Incoming::Line(Line::NotStored) => {
                    return Err(Error::NotStored {
                        host,
                        why: self.last_words(),
                    });
                }
                Incoming::Line(Line::Damaged) => return Err(Error::Damaged { host }),
                Incoming::Line(Line::NotRunnable) => {
                    return Err(Error::NotRunnable {
                        host,
                        why: self.last_words(),
                    });
                }
                Incoming::Line(Line::Agent(PROTOCOL, _)) => {
                    self.send(ToAgent::Hello { protocol: PROTOCOL });
                }
                Incoming::Line(Line::Agent(_, theirs)) => {
                    let theirs = printable_bytes(theirs.as_bytes());
                    return Err(Error::OtherProtocol { host, theirs });
                }
                Incoming::Message(FromAgent::Hello(hello)) => return Ok(hello),
                Incoming::End => {
                    let code = self.ended();
                    return Err(Error::at_start(&host, code, &self.last_words()));
                }
                Incoming::Nonsense(what) => return Err(self.garbled(what)),
                Incoming::Line(Line::Need(..)) | Incoming::Message(_) => {
                    return Err(self.garbled("it begins otherwise than an agent does"));
                }
            }
        }
    }

    /// A program for that machine.
    fn program(&self, system: &str, machine: &str) -> Result<(Vec<u8>, String), Error> {
        let host = self.host.clone();
        let found = program_for(system, machine);
        let found = found.map_err(|source| Error::NoBinary {
            host: host.clone(),
            source,
        })?;
        found.ok_or_else(|| Error::OtherMachine {
            host,
            theirs: printable_bytes(format!("{system} on {machine}").as_bytes()),
            file: printable_bytes(file_name(machine).as_bytes()),
        })
    }

    /// What comes next; none where that takes a while. Tells of a host that says nothing.
    fn next(&mut self, watcher: &mut (impl Watcher + ?Sized)) -> Result<Option<Incoming>, Error> {
        match self.from.recv_timeout(TICK) {
            Ok(incoming) => {
                let was_marked = self.is_marked;
                self.heard();
                // That the agent lives is no news of what it runs.
                let is_pong = matches!(incoming, Incoming::Message(FromAgent::Pong));
                self.is_marked = was_marked && is_pong;
                Ok(Some(incoming))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(Some(Incoming::End)),
            Err(RecvTimeoutError::Timeout) => {
                let last = *self.moved.lock().unwrap_or_else(PoisonError::into_inner);
                let silence = last.elapsed();
                if silence >= self.patience.give_up {
                    let seconds = silence.as_secs();
                    return Err(Error::Silent {
                        host: self.host.clone(),
                        seconds,
                    });
                }
                if self.hello.is_some() && silence >= self.patience.mark / 2 && !self.is_pinged {
                    self.is_pinged = true;
                    self.send(ToAgent::Ping);
                }
                if silence >= self.patience.mark && !self.is_marked {
                    self.is_marked = true;
                    watcher.silent(&self.host, silence.as_secs());
                }
                Ok(None)
            }
        }
    }

    fn heard(&mut self) {
        touch(&self.moved);
        self.is_marked = false;
        self.is_pinged = false;
    }

    fn send(&self, message: ToAgent) {
        self.queue(Outgoing::Message(message));
    }

    fn write(&self, bytes: Vec<u8>) {
        self.queue(Outgoing::Bytes(bytes));
    }

    /// A side that went away is noticed where its messages are read.
    fn queue(&self, outgoing: Outgoing) {
        if let Some(to) = &self.to {
            let _ = to.send(outgoing);
        }
    }

    fn garbled(&self, what: &'static str) -> Error {
        Error::Garbled {
            host: self.host.clone(),
            what,
        }
    }

    /// The exit code of the program that joined us, if it ends soon.
    fn ended(&mut self) -> Option<i32> {
        self.to = None;
        self.status(LEAVING)?.code()
    }

    /// How the program that joined us ended, if it does within that time.
    fn status(&mut self, within: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(5)),
                ended => return ended.ok().flatten(),
            }
        }
        None
    }

    /// The last line that was said on standard error.
    fn last_words(&self) -> String {
        // It is read by a thread of its own, which may be a moment behind.
        thread::sleep(Duration::from_millis(20));
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = said.iter().copied().collect();
        let lines = bytes.split(|byte| *byte == b'\n');
        let last = lines.map(<[u8]>::trim_ascii).rfind(|line| !line.is_empty());
        printable_bytes(last.unwrap_or_default())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(feed) = &self.feed {
            feed.over();
        }
        // The end of its input has the agent stop what runs; then it ends, and the program that joined us after it.
        self.to = None;
        if self.status(LEAVING).is_none() {
            // What it started itself, as a ProxyCommand, goes with it.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            // One that hangs in the kernel is not waited for.
            self.status(KILLING);
        }
    }
}

/// Whether nobody reads any more what is printed.
fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn touch(moved: &Mutex<Instant>) {
    *moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
}

/// Reads lines until the agent speaks, and messages from there on.
fn read_all(from: impl Read + AsFd, to: &Sender<Incoming>) {
    let mut from = BufReader::new(from);
    let end = match read_lines(&mut from, to) {
        Ok(true) => read_messages(&mut from, to),
        Ok(false) => Incoming::End,
        Err(what) => Incoming::Nonsense(what),
    };
    let _ = to.send(end);
}

/// Whether the agent spoke before all ended.
fn read_lines(from: &mut impl BufRead, to: &Sender<Incoming>) -> Result<bool, &'static str> {
    let mut left = MOST_NOISE;
    loop {
        let mut line = Vec::new();
        let read = from.by_ref().take(left).read_until(b'\n', &mut line);
        match read {
            Ok(0) if left == 0 => return Err("its shell prints without end"),
            Ok(0) | Err(_) => return Ok(false),
            Ok(read) => left = left.saturating_sub(read as u64),
        }
        if let Some(line) = Line::read(&line) {
            let is_agent = matches!(line, Line::Agent(PROTOCOL, _));
            if to.send(Incoming::Line(line)).is_err() {
                return Ok(false);
            }
            if is_agent {
                return Ok(true);
            }
        }
    }
}

fn read_messages(from: &mut BufReader<impl Read + AsFd>, to: &Sender<Incoming>) -> Incoming {
    let mut is_wide = false;
    loop {
        match FromAgent::read(from) {
            Ok(Some(message)) => {
                let is_bulk =
                    matches!(&message, FromAgent::Output { bytes, .. } if bytes.len() >= BULK);
                if is_bulk && !std::mem::replace(&mut is_wide, true) {
                    widen(from.get_ref());
                }
                if to.send(Incoming::Message(message)).is_err() {
                    return Incoming::End;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Incoming::Nonsense("it sends what is no message");
            }
            Ok(None) | Err(_) => return Incoming::End,
        }
    }
}

fn write_all(mut to: ChildStdin, from: &Receiver<Outgoing>, moved: &Mutex<Instant>) {
    let mut is_wide = false;
    for outgoing in from {
        let written = match outgoing {
            Outgoing::Message(message) => {
                let is_bulk = matches!(message, ToAgent::Input { .. });
                if is_bulk && !std::mem::replace(&mut is_wide, true) {
                    widen(&to);
                }
                message.write(&mut to)
            }
            Outgoing::Bytes(bytes) => bytes.chunks(PIECE).try_for_each(|piece| {
                to.write_all(piece)?;
                touch(moved);
                Ok(())
            }),
        };
        if written.is_err() {
            return;
        }
    }
}

/// Keeps the end of what is said there.
fn keep_last(mut from: impl Read, said: &Mutex<VecDeque<u8>>) {
    let mut piece = [0; 1024];
    while let Ok(read @ 1..) = from.read(&mut piece) {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend(piece.iter().take(read));
        let over = said.len().saturating_sub(MOST_SAID);
        said.drain(..over);
    }
}
