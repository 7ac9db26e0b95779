//! A change that a host makes: its plan comes back as a question, and what is answered goes there. It has a connection
//! of its own, so that nothing else that is asked of the host waits for it.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::facts::PlanFacts;
use crate::fleet::{
    Ends, Error as Far, LastWords, Moved, PassphraseQuery, PeerAnswer, PeerQuery, Peers, Question,
    Run, Stream, Watcher,
};
use crate::forest::far::path_on;
use crate::host::printable_bytes;
use crate::image::{Passphrase, Passphrases};
use crate::ops::{Error, Phase, Progress};
use crate::tui::far_answers::silent;
use crate::tui::msg::{Msg, ThereEnd, ThereReply};
use crate::tui::query::QueryId;
use crate::tui::secret::{Secrets, Sent};

use super::line::HostLine;

/// How often a wish to stop is looked for.
const TICK: Duration = Duration::from_millis(50);
/// Bytes kept of what is printed.
const MOST_PRINTED: usize = 256 << 10;
/// The exit code of what was cancelled.
const CANCELLED: u8 = 130;

/// A change that a person may agree to.
pub(crate) struct Change {
    pub query_id: QueryId,
    pub words: Vec<OsString>,
    pub progress: Progress,
    /// What the person answers; closed where nobody answers any more.
    pub replies: Receiver<ThereReply>,
    /// The hosts that are asked who uses files of shared storage.
    pub peers: Peers,
    /// The passphrases that were given.
    pub secrets: Arc<Secrets>,
}

/// Has the host do it, and answers with what became of it.
pub(crate) fn change(host: &HostLine, change: Change, answers: &Sender<Msg>) {
    let Change {
        query_id,
        words,
        progress,
        replies,
        peers,
        secrets,
    } = change;
    let (stops, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut ends = ChangeEnds {
        host: host.name.clone(),
        query_id,
        answers,
        replies: &replies,
        progress: &progress,
        peers: peers.beside(&host.name),
        stops: &stops,
        done: 0,
        printed: Vec::new(),
        said: LastWords::default(),
        secrets: &secrets,
        tried: Vec::new(),
    };
    let run = Run {
        asks: true,
        asks_always: true,
        ..Run::new(words, &host.name)
    };
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if progress.is_cancelled() {
                    stops.store(1, Ordering::Relaxed);
                }
                thread::sleep(TICK);
            }
        });
        let ended = host
            .open(&mut ends, &stops)
            .and_then(|mut connection| connection.run(run, &mut ends, &stops));
        is_over.store(true, Ordering::Relaxed);
        ended
    });
    for (of, _) in ends.tried.drain(..) {
        // It came to no plan that could be agreed to: the person is asked next time.
        secrets.forget_sent(&of);
    }
    let ended = match ended {
        Ok(0) => Ok(()),
        Ok(CANCELLED) => {
            let said = ends.said.line();
            Err(Error::cancelled(said.unwrap_or("stopped".to_owned())))
        }
        Ok(code) => Err(Error::failed(ends.said.why(code))),
        Err(Far::Left { .. }) => Err(Error::cancelled("stopped".to_owned())),
        Err(error @ Far::Cut { .. }) => {
            let text = format!("{error}. What it left there is told once it is back");
            Err(Error::failed(text))
        }
        Err(error) => Err(Error::failed(error.to_string())),
    };
    let end = ThereEnd {
        printed: lines(&ends.printed),
        ended,
    };
    // An interface that is gone needs no answer.
    let _ = answers.send(Msg::ThereEnded(query_id, Box::new(end)));
}

struct ChangeEnds<'a> {
    host: String,
    query_id: QueryId,
    answers: &'a Sender<Msg>,
    replies: &'a Receiver<ThereReply>,
    progress: &'a Progress,
    /// Those that are asked for it.
    peers: Peers,
    stops: &'a AtomicUsize,
    /// Bytes that it has told of in this phase.
    done: u64,
    printed: Vec<u8>,
    said: LastWords,
    secrets: &'a Secrets,
    /// Passphrases that it was given for a plan that it has not made yet.
    tried: Vec<(Sent, Passphrase)>,
}

impl ChangeEnds<'_> {
    /// Waits for what the person answers, as far as it is for this question.
    ///
    /// # Errors
    /// `Interrupted` where nobody answers any more, or this is to stop.
    fn reply<T>(&self, is_it: impl Fn(ThereReply) -> Option<T>) -> io::Result<T> {
        loop {
            match self.replies.recv_timeout(TICK) {
                Ok(reply) => {
                    if let Some(it) = is_it(reply) {
                        return Ok(it);
                    }
                }
                Err(RecvTimeoutError::Timeout) if !self.progress.is_cancelled() => {}
                Err(_) => return Err(io::ErrorKind::Interrupted.into()),
            }
        }
    }

    /// The passphrase that opened it before, or the one that the person gives.
    fn opening(&self, of: &Sent, query: &PassphraseQuery) -> Option<Passphrase> {
        let is_tried = self.tried.iter().any(|(tried, _)| tried == of);
        if let Some(known) = self.secrets.sent(of).filter(|_| !is_tried) {
            return Some(known);
        }
        let asked = Msg::ThereLocked(self.query_id, Box::new(query.clone()));
        let _ = self.answers.send(asked);
        let given = self.reply(|reply| match reply {
            ThereReply::Passphrase(number, given) if number == query.number => Some(given),
            ThereReply::Passphrase(..) | ThereReply::Typed(_) => None,
        });
        given.ok().flatten()
    }
}

/// Lines that act on no terminal, without those that hold nothing.
fn lines(bytes: &[u8]) -> Vec<String> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| printable_bytes(line).trim_end().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// Keeps the first bytes of what is printed.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = MOST_PRINTED.saturating_sub(kept.len());
    kept.extend(bytes.iter().take(room));
}

impl Watcher for ChangeEnds<'_> {
    fn silent(&mut self, host: &str, seconds: u64) {
        let text = format!("{}.", silent(host, seconds));
        let _ = self.answers.send(Msg::Tell(text));
    }
}

impl Ends for ChangeEnds<'_> {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Out => keep(&mut self.printed, bytes),
            Stream::Err => self.said.hear(bytes),
        }
        Ok(())
    }

    fn asked(&mut self, question: &Question) -> io::Result<String> {
        // What follows is what came of it.
        self.printed.clear();
        self.said = LastWords::default();
        for (of, passphrase) in self.tried.drain(..) {
            // A plan that can be agreed to: they open what they were given for.
            self.secrets.remember_sent(of, passphrase);
        }
        let question = Box::new(question.clone());
        let _ = self.answers.send(Msg::ThereAsked(self.query_id, question));
        self.reply(|reply| match reply {
            ThereReply::Typed(typed) => Some(typed),
            ThereReply::Passphrase(..) => None,
        })
    }

    fn passphrase_asked(&mut self, query: &PassphraseQuery) -> Option<Passphrase> {
        let image = path_on(&self.host, Path::new(&query.image));
        if query.of.is_new() {
            // What was typed into the form that asks for this.
            return self.secrets.for_new(&image);
        }
        let of = (image, query.of.clone());
        let given = self.opening(&of, query)?;
        self.tried.push((of, given.clone()));
        Some(given)
    }

    fn peers_asked(&mut self, query: &PeerQuery) -> Vec<PeerAnswer> {
        self.peers.ask(query, self.stops)
    }

    fn planned(&mut self, plan: &str) {
        if let Some(facts) = PlanFacts::taken(&self.host, plan) {
            let msg = Msg::TherePlanned(self.query_id, Box::new(facts));
            let _ = self.answers.send(msg);
        }
    }

    fn moved(&mut self, moved: &Moved) {
        let view = self.progress.view();
        let phase = [Phase::Collect, Phase::Copy, Phase::Switch, Phase::CleanUp];
        let phase = phase.into_iter().find(|one| one.name() == moved.phase);
        let phase = phase.unwrap_or(view.phase);
        if phase != view.phase || moved.done < self.done {
            self.progress.enter(phase, moved.total);
            self.done = 0;
        }
        self.progress.expect(moved.total);
        // Whether to go on is asked elsewhere.
        let _ = self.progress.advance(moved.done.saturating_sub(self.done));
        self.done = moved.done;
    }
}
