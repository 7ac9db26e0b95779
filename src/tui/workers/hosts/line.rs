//! A host, asked one thing after the other over a connection that stays.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::fleet::{
    Connection, Destination, Dials, Ends, Error, FarFolders, FarHost, Hello, Moved,
    Question as Asked, Run, Stream, Watcher,
};
use crate::tui::far_answers::Topic;

/// Takes what is told, and what became of it.
pub(crate) trait Asker: Ends + Send {
    /// The program there has said what it lets be done.
    fn greeted(&mut self, hello: &Hello);
    /// It is over: the exit code, or why there is none.
    fn ended(self: Box<Self>, ended: Result<u8, Error>);
}

/// What a question is about: of each kind the newest is worth an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Its images.
    Scan,
    /// What is known beside them.
    Beside(Topic),
}

/// A command line for the host.
pub(crate) struct Question {
    pub words: Vec<OsString>,
    pub asker: Box<dyn Asker>,
    /// How often somebody asked for it to stop.
    pub stops: Arc<AtomicUsize>,
}

/// A host that can be asked. Dropping the last of its clones lets go of the connection.
#[derive(Debug, Clone)]
pub(crate) struct HostLine {
    pub name: String,
    to: Destination,
    dials: Dials,
    /// The words that have its folders scanned.
    pub scan: Vec<OsString>,
    /// The words that have told there what is known beside its images.
    pub tell: Vec<OsString>,
    /// The words that have its files read.
    read: Vec<OsString>,
    /// Its folders, as they are called there.
    pub folders: Vec<PathBuf>,
    /// The number of the newest scan.
    pub newest: Arc<AtomicU64>,
    /// How often somebody asked for the newest question of each kind to stop.
    stops: Arc<Mutex<HashMap<Kind, Arc<AtomicUsize>>>>,
    questions: Sender<Question>,
}

impl HostLine {
    /// Has what is asked of this kind stop, be it while it waits for a host that hangs; the count for the next one.
    pub(crate) fn stop(&self, kind: Kind) -> Arc<AtomicUsize> {
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Arc::default();
        if let Some(last) = stops.insert(kind, Arc::clone(&next)) {
            last.fetch_add(1, Ordering::Relaxed);
        }
        next
    }

    /// Has all that is asked stop.
    pub(crate) fn stop_all(&self) {
        let mut stops = self.stops.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, last) in stops.drain() {
            last.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How it is reached.
    pub(crate) fn to(&self) -> &Destination {
        &self.to
    }

    pub(crate) fn new(host: &FarFolders, dials: Dials) -> Self {
        let to = host.to.clone();
        let (questions, asked) = unbounded();
        let name = to.name.clone();
        {
            let (to, dials) = (to.clone(), dials.clone());
            thread::spawn(move || serve(&to, &asked, &dials));
        }
        Self {
            name,
            to,
            dials,
            scan: host.scan.clone(),
            tell: host.tell.clone(),
            read: host.read.clone(),
            folders: host.folders.clone(),
            newest: Arc::default(),
            stops: Arc::default(),
            questions,
        }
    }

    /// Its files, read by a connection of their own, so that a scan waits for nobody who reads.
    pub(crate) fn files(&self) -> FarHost {
        let (to, dials) = (self.to.clone(), self.dials.clone());
        let opener =
            move |watcher: &mut dyn Watcher, stops: &AtomicUsize| dials.open(&to, watcher, stops);
        FarHost::new(self.name.clone(), self.read.clone(), Box::new(opener))
    }

    /// Opens a connection of its own.
    pub(crate) fn open(
        &self,
        watcher: &mut dyn Watcher,
        stops: &AtomicUsize,
    ) -> Result<Connection, Error> {
        self.dials.open(&self.to, watcher, stops)
    }

    /// Asks it, once all that was asked before is answered.
    pub(crate) fn ask(&self, question: Question) {
        // Its thread lives as long as this sender.
        let _ = self.questions.send(question);
    }
}

/// Answers questions until nobody can ask any more.
fn serve(to: &Destination, questions: &Receiver<Question>, dials: &Dials) {
    let mut held: Option<Connection> = None;
    for question in questions {
        let Question {
            words,
            mut asker,
            stops,
        } = question;
        let run = Run::new(words, &to.name);
        let mut heard = Heard {
            asker: asker.as_mut(),
            is_any: false,
        };
        let mut ended = None;
        if let Some(connection) = &mut held {
            let again = connection.run(run.clone(), &mut heard, &stops);
            // A connection that was cut while nobody used it is opened again.
            let is_stale = matches!(again, Err(Error::Cut { .. } | Error::Silent { .. }));
            ended = (!is_stale || heard.is_any).then_some(again);
        }
        let ended = ended.unwrap_or_else(|| {
            held = None;
            let mut connection = dials.open(to, &mut heard, &stops)?;
            if let Some(hello) = connection.hello() {
                heard.asker.greeted(hello);
            }
            let ended = connection.run(run, &mut heard, &stops);
            held = Some(connection);
            ended
        });
        // What was refused leaves the connection as it is.
        if !matches!(ended, Ok(_) | Err(Error::Denied { .. })) {
            held = None;
        }
        asker.ended(ended);
    }
}

/// Notes whether anything was told.
struct Heard<'a> {
    asker: &'a mut dyn Asker,
    is_any: bool,
}

impl Watcher for Heard<'_> {
    fn silent(&mut self, host: &str, seconds: u64) {
        self.asker.silent(host, seconds);
    }
}

impl Ends for Heard<'_> {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.is_any = true;
        self.asker.printed(stream, bytes)
    }

    fn asked(&mut self, question: &Asked) -> io::Result<String> {
        self.is_any = true;
        self.asker.asked(question)
    }

    fn moved(&mut self, moved: &Moved) {
        self.is_any = true;
        self.asker.moved(moved);
    }
}
