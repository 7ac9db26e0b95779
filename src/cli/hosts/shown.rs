//! One host's command line, shown as it goes on: what it prints, what it asks, how far it is.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fleet::{
    Connection, Ends, Error, Moved, PassphraseQuery, Patience, PeerAnswer, PeerQuery, Peers,
    Question, Stream, Watcher,
};
use crate::host::printable_lines;
use crate::image::Passphrase;

use super::super::execute::question_until;
use super::super::exit::Stop;
use super::super::output::{self, Out};
use super::super::progress_bar::Bar;
use super::filter::Filter;
use super::passphrase::Asked;
use super::task::{Task, tell_silent};

/// What is held of what is printed: more than a plan of a thousand files takes.
const MOST_HELD: usize = 16 << 20;
/// The exit code of what was cancelled.
const CANCELLED: u8 = 130;

/// What becomes of what it prints and asks.
pub(super) struct Shown<'a> {
    out: &'a mut Out,
    /// How often the person asked to stop.
    stops: &'a AtomicUsize,
    /// Standard output goes where no terminal is, byte for byte.
    is_raw: bool,
    to_stderr: bool,
    printed: Filter,
    complained: Filter,
    bar: Option<Bar>,
    /// What was printed, where somebody wants to read it first.
    pub(super) held: Option<Vec<u8>>,
    /// The machines that are asked for it.
    pub(super) peers: Peers,
    /// Who is asked for passphrases, where somebody is.
    passphrases: Option<Asked>,
}

impl<'a> Shown<'a> {
    pub(super) fn new(out: &'a mut Out, task: &Task, stops: &'a AtomicUsize) -> Self {
        Self {
            stops,
            out,
            is_raw: false,
            to_stderr: task.words.iter().any(|word| word == "--bare-json"),
            printed: Filter::default(),
            complained: Filter::default(),
            bar: None,
            held: None,
            peers: Peers::Nobody,
            passphrases: None,
        }
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        self.bar = None;
        let rest = self.printed.end();
        self.out.text(&rest)?;
        self.out.flush()?;
        complain(&self.complained.end());
        Ok(())
    }
}

/// A failure there has nowhere left to be told.
fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

impl Watcher for Shown<'_> {
    fn silent(&mut self, host: &str, seconds: u64) {
        tell_silent(host, seconds);
    }
}

impl Ends for Shown<'_> {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.bar = None;
        match stream {
            Stream::Out
                if self
                    .held
                    .as_ref()
                    .is_some_and(|held| held.len() > MOST_HELD) =>
            {
                Err(io::ErrorKind::OutOfMemory.into())
            }
            Stream::Out if self.held.is_some() => {
                self.held.get_or_insert_default().extend(bytes);
                Ok(())
            }
            Stream::Out if self.is_raw => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Stream::Out => {
                let text = self.printed.pass(bytes);
                self.out.text(&text)?;
                self.out.flush()
            }
            Stream::Err => {
                complain(&self.complained.pass(bytes));
                Ok(())
            }
        }
    }

    fn asked(&mut self, asked: &Question) -> io::Result<String> {
        self.bar = None;
        for line in &asked.lines {
            match self.to_stderr {
                true => output::complain(line),
                false => self.out.line(line)?,
            }
        }
        self.out.flush()?;
        let is_stopped = || self.stops.load(Ordering::Relaxed) > 0;
        let typed = question_until(&printable_lines(&asked.prompt), &is_stopped)?;
        // What nobody typed agrees to nothing, and a wish to stop is handed on.
        Ok(typed.unwrap_or_default())
    }

    fn passphrase_asked(&mut self, query: &PassphraseQuery) -> Option<Passphrase> {
        let asked = self.passphrases.as_ref()?;
        self.bar = None;
        // What stands before the question is seen first; where it cannot be, that is told with the rest.
        let _ = self.out.flush();
        asked.ask(query, &|| self.stops.load(Ordering::Relaxed) > 0)
    }

    fn peers_asked(&mut self, query: &PeerQuery) -> Vec<PeerAnswer> {
        self.peers.ask(query, self.stops)
    }

    fn moved(&mut self, moved: &Moved) {
        let bar = self.bar.get_or_insert_with(Bar::new);
        let text = |text: &str| printable_lines(text).into_owned();
        bar.draw(
            &text(&moved.phase),
            moved.done,
            moved.total,
            text(&moved.text),
        );
    }
}

/// Has it done there, and gives its exit code.
pub(super) fn run(
    out: &mut Out,
    task: &Task,
    peers: &Peers,
    is_raw: bool,
    stops: &AtomicUsize,
) -> anyhow::Result<u8> {
    let mut shown = Shown::new(out, task, stops);
    shown.peers = peers.beside(&task.to.name);
    shown.is_raw = is_raw && !io::stdout().is_terminal();
    let run = task.watched();
    shown.passphrases = run.asks.then(|| Asked::about(task));
    let ended = Connection::open(&task.to, Patience::default(), &mut shown, stops)
        .and_then(|mut connection| connection.run(run, &mut shown, stops));
    // What was printed before it failed is shown.
    let told = shown.end();
    judged(told, ended, task)
}

/// The exit code of a command line that ended so, of which all could be shown or not.
pub(super) fn judged(
    told: io::Result<()>,
    ended: Result<u8, Error>,
    task: &Task,
) -> anyhow::Result<u8> {
    match ended {
        // Who has read enough, as `head` does, is no failure of what was done there.
        Ok(code) => match told {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(code),
        },
        Err(Error::Left { .. }) => Ok(CANCELLED),
        Err(error @ Error::Denied { .. }) => {
            Err(Stop::refused(error.kind(), error.to_string()).into())
        }
        Err(Error::Cut { host, why }) if host == task.to.name => {
            let error = Error::Cut {
                host: host.clone(),
                why,
            };
            let text = format!("{error}. What was begun there: `qanopy recover {host}:` tells");
            Err(anyhow::Error::from(error).context(text))
        }
        Err(error) => Err(error.into()),
    }
}
