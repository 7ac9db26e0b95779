//! The way to the files of a host: one process there, to which any thread of this side puts its questions. It is
//! started when somebody asks and ended when nobody has for a while, so that a host at rest is left alone.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::super::connection::{Connection, Ends, Watcher};
use super::super::error::Error;
use super::super::feed::Feed;
use super::super::last_words::LastWords;
use super::super::message::{Moved, Question, Run, Stream, decoded, write_message};
use super::message::{Answered, Ask, Asked, BYTES, BYTES_HEAD, MOST_FRAME, Told};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a process is kept that nobody asks anything.
const IDLE: Duration = Duration::from_secs(60);
/// How long a host that could not be asked is not tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// What stands before a frame: its length and its kind.
const HEAD: usize = 5;
/// Twice asked to stop, a run is left.
const LEAVE: usize = 2;

/// Joins us with the host, whose agent serves until the connection is dropped.
pub type Opener =
    Box<dyn Fn(&mut dyn Watcher, &AtomicUsize) -> Result<Connection, Error> + Send + Sync>;

/// The sessions with one host, one after the other.
pub(super) struct Sessions {
    pub(super) name: String,
    words: Vec<OsString>,
    opener: Arc<Opener>,
    newest: Mutex<Newest>,
}

#[derive(Default)]
struct Newest {
    count: u64,
    session: Option<Arc<Session>>,
}

/// What an ask of a session came to that is over.
pub(super) enum Gone {
    /// It was over before: what was open in it is no longer.
    Before,
    /// The failure of the question.
    Failed(io::Error),
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.name)
    }
}

impl Sessions {
    pub(super) fn new(name: String, words: Vec<OsString>, opener: Opener) -> Self {
        Self {
            name,
            words,
            opener: Arc::new(opener),
            newest: Mutex::default(),
        }
    }

    /// Asks in whatever session there is, or a new one; which one it was.
    ///
    /// # Errors
    /// That of the host's file, or why it cannot be asked.
    pub(super) fn ask(&self, ask: &Ask) -> io::Result<(Told, u64)> {
        let mut tries = 2;
        loop {
            let session = self.session();
            tries -= 1;
            match session.ask(ask) {
                Ok(told) => return Ok((told, session.number)),
                Err(Gone::Before) if tries > 0 => {}
                Err(Gone::Before) => return Err(session.failure()),
                Err(Gone::Failed(error)) => return Err(error),
            }
        }
    }

    /// Asks in that session and no other.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) fn ask_in(&self, number: u64, ask: &Ask) -> Result<Told, Gone> {
        let session = self.newest().session.clone();
        let session = session.filter(|session| session.number == number);
        session.ok_or(Gone::Before)?.ask(ask)
    }

    /// Says something in that session that needs no answer.
    pub(super) fn say_in(&self, number: u64, ask: Ask) {
        if let Some(session) = &self.newest().session
            && session.number == number
        {
            session.send(0, ask);
        }
    }

    fn session(&self) -> Arc<Session> {
        let mut newest = self.newest();
        if let Some(session) = &newest.session
            && session.may_be_asked()
        {
            return Arc::clone(session);
        }
        newest.count += 1;
        let (to, outgoing) = unbounded();
        let session = Arc::new(Session {
            number: newest.count,
            host: self.name.clone(),
            to,
            stops: AtomicUsize::new(0),
            waiting: Mutex::default(),
        });
        newest.session = Some(Arc::clone(&session));
        let run = Run::new(self.words.clone(), &self.name);
        let (opener, held) = (Arc::clone(&self.opener), Arc::clone(&session));
        thread::spawn(move || {
            let why = held.serve(&opener, run, outgoing);
            held.end(why);
        });
        session
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        if let Some(session) = self.newest().session.take() {
            session.leave();
        }
    }
}

/// One process on the host.
struct Session {
    number: u64,
    host: String,
    to: Sender<Vec<u8>>,
    /// How often it was asked to stop.
    stops: AtomicUsize,
    waiting: Mutex<Waiting>,
}

/// Who waits for which answer.
#[derive(Default)]
struct Waiting {
    last: u32,
    by_question: HashMap<u32, Sender<io::Result<Told>>>,
    /// When it ended, and why.
    over: Option<(Instant, String)>,
}

impl Session {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it runs, or failed so lately that another would as well.
    fn may_be_asked(&self) -> bool {
        match &self.waiting().over {
            None => true,
            Some((at, why)) => !why.is_empty() && at.elapsed() < PAUSE,
        }
    }

    fn failure(&self) -> io::Error {
        let over = self.waiting().over.clone();
        io::Error::other(over.map(|(_, why)| why).unwrap_or_default())
    }

    fn ask(&self, ask: &Ask) -> Result<Told, Gone> {
        let (to, answer) = bounded(1);
        let id = {
            let mut waiting = self.waiting();
            if waiting.over.is_some() {
                return Err(Gone::Before);
            }
            // 0 is what nobody waits for.
            waiting.last = waiting.last.wrapping_add(1).max(1);
            let id = waiting.last;
            waiting.by_question.insert(id, to);
            id
        };
        self.send(id, ask.clone());
        let told = match answer.recv_timeout(PATIENCE) {
            Ok(told) => told,
            Err(RecvTimeoutError::Disconnected) => Err(self.failure()),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = PATIENCE.as_secs();
                self.end(format!("{} has not answered for {seconds} s", self.host));
                self.leave();
                Err(self.failure())
            }
        };
        told.and_then(Told::believed).map_err(Gone::Failed)
    }

    fn send(&self, id: u32, ask: Ask) {
        let mut frame = Vec::new();
        // Memory is written without fail; a question that is over is answered by its end.
        if write_message(&mut frame, &Asked { id, ask }).is_ok() {
            let _ = self.to.send(frame);
        }
    }

    fn answer(&self, id: u32, told: io::Result<Told>) {
        // Who waited no longer needs none.
        if let Some(to) = self.waiting().by_question.remove(&id) {
            let _ = to.send(told);
        }
    }

    /// It is over: why, as a sentence; nothing where it only was not needed any more.
    fn end(&self, why: String) {
        let mut waiting = self.waiting();
        if waiting.over.is_none() {
            waiting.over = Some((Instant::now(), why));
        }
        waiting.by_question.clear();
        drop(waiting);
        // Whoever hands questions on learns of it.
        let _ = self.to.send(Vec::new());
    }

    fn leave(&self) {
        self.stops.store(LEAVE, Ordering::Relaxed);
    }

    /// Whether it was idle, and is over by that.
    fn ends_idle(&self) -> bool {
        let mut waiting = self.waiting();
        let is_idle = waiting.by_question.is_empty();
        if is_idle && waiting.over.is_none() {
            waiting.over = Some((Instant::now(), String::new()));
        }
        is_idle
    }

    /// Serves until it is over; why it is.
    fn serve(self: &Arc<Self>, opener: &Opener, run: Run, outgoing: Receiver<Vec<u8>>) -> String {
        let mut answers = Answers {
            session: self,
            rest: Vec::new(),
            said: LastWords::default(),
            is_garbled: false,
        };
        let ended = opener(&mut answers, &self.stops).and_then(|mut connection| {
            let (feed, session) = (connection.feed(), Arc::clone(self));
            thread::spawn(move || hand_on(&session, &outgoing, &feed));
            connection.run(run, &mut answers, &self.stops)
        });
        let host = &self.host;
        match ended {
            _ if answers.is_garbled => format!("{host} answers what makes no sense"),
            Ok(0) => String::new(),
            Ok(code) => match answers.said.line() {
                None => format!("{host}: reading ended with {code}"),
                Some(said) => format!("{host}: {said}"),
            },
            Err(error) => error.to_string(),
        }
    }
}

/// Hands on questions until it is over.
fn hand_on(session: &Session, outgoing: &Receiver<Vec<u8>>, feed: &Feed) {
    loop {
        let is_sent = match outgoing.recv_timeout(IDLE) {
            Ok(frame) => !frame.is_empty() && feed.send(&frame).is_ok(),
            Err(_) => !session.ends_idle(),
        };
        if !is_sent {
            break;
        }
    }
    feed.end();
}

/// Takes in what the process prints.
struct Answers<'a> {
    session: &'a Session,
    rest: Vec<u8>,
    said: LastWords,
    is_garbled: bool,
}

impl Answers<'_> {
    /// Takes out the next whole frame.
    fn frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let Some([a, b, c, d, kind]) = self.rest.first_chunk::<HEAD>().copied() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if len > MOST_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.rest.len() < HEAD + len {
            return Ok(None);
        }
        let whole: Vec<u8> = self.rest.drain(..HEAD + len).skip(HEAD).collect();
        Ok(Some((kind, whole)))
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.rest.extend(bytes);
        while let Some((kind, body)) = self.frame()? {
            if kind == BYTES {
                let head = body.split_first_chunk::<BYTES_HEAD>();
                let (id, bytes) = head.ok_or(io::ErrorKind::InvalidData)?;
                let told = Told::Bytes(bytes.to_vec());
                self.session.answer(u32::from_le_bytes(*id), Ok(told));
            } else {
                let Answered { id, told } = decoded(kind, &body)?;
                let told = told.map_err(|failure| failure.error());
                self.session.answer(id, told);
            }
        }
        Ok(())
    }
}

impl Watcher for Answers<'_> {
    fn silent(&mut self, _: &str, _: u64) {}
}

impl Ends for Answers<'_> {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Out => self.take(bytes).inspect_err(|_| self.is_garbled = true),
            Stream::Err => {
                self.said.hear(bytes);
                Ok(())
            }
        }
    }

    fn asked(&mut self, _: &Question) -> io::Result<String> {
        // Reading asks nothing.
        Err(io::ErrorKind::InvalidData.into())
    }

    fn moved(&mut self, _: &Moved) {}
}
