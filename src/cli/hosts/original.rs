//! What becomes of the original of a copy that moves: its machine plans to discard it before anything is copied, and
//! does that very plan once all is copied. Whatever changes meanwhile makes the plan stale, so that nothing goes that
//! was not copied.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::fleet::{
    Connection, Ends, Error, Moved, Patience, PeerAnswer, PeerQuery, Peers, Question, Stream,
    Watcher,
};

use super::filter::Filter;
use super::task::{Task, tell_silent};

/// What is kept of what it prints.
const MOST_PRINTED: usize = 1 << 20;

/// The plan to discard it, which waits for its answer.
pub(super) struct Original {
    asked: Receiver<Question>,
    answer: Sender<String>,
    runs: JoinHandle<Told>,
}

/// What became of it.
pub(super) struct Told {
    pub(super) ended: Result<u8, Error>,
    /// What it printed, and complained of.
    pub(super) out: String,
    pub(super) err: String,
}

struct Waiting {
    asked: Sender<Question>,
    answer: Receiver<String>,
    peers: Peers,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Watcher for Waiting {
    fn silent(&mut self, host: &str, seconds: u64) {
        tell_silent(host, seconds);
    }
}

impl Ends for Waiting {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let kept = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        let room = MOST_PRINTED.saturating_sub(kept.len());
        kept.extend(bytes.iter().take(room));
        Ok(())
    }

    fn asked(&mut self, question: &Question) -> io::Result<String> {
        let gone = |_| io::Error::from(io::ErrorKind::UnexpectedEof);
        self.asked.send(question.clone()).map_err(gone)?;
        // Whoever copies answers in every case, or is gone.
        self.answer
            .recv()
            .map_err(|_| io::ErrorKind::UnexpectedEof.into())
    }

    fn moved(&mut self, _: &Moved) {}

    fn peers_asked(&mut self, query: &PeerQuery) -> Vec<PeerAnswer> {
        self.peers.ask(query, &AtomicUsize::new(0))
    }
}

impl Original {
    /// Has its machine plan to discard it.
    pub(super) fn plan(task: Task, peers: Peers, stops: &Arc<AtomicUsize>) -> Self {
        let (asked_in, asked) = bounded(1);
        let (answer, answer_out) = bounded(1);
        let stops = Arc::clone(stops);
        let runs = thread::spawn(move || {
            let mut waiting = Waiting {
                asked: asked_in,
                answer: answer_out,
                peers,
                out: Vec::new(),
                err: Vec::new(),
            };
            let mut run = task.unwatched();
            run.asks = true;
            run.asks_always = true;
            let ended = Connection::open(&task.to, Patience::default(), &mut waiting, &stops)
                .and_then(|mut connection| connection.run(run, &mut waiting, &stops));
            let shown = |bytes: &[u8]| {
                let mut filter = Filter::default();
                filter.pass(bytes) + &filter.end()
            };
            Told {
                ended,
                out: shown(&waiting.out),
                err: shown(&waiting.err),
            }
        });
        Self {
            asked,
            answer,
            runs,
        }
    }

    /// What it asks; none where it came to its end without a question.
    pub(super) fn asked(&self) -> Option<Question> {
        self.asked.recv().ok()
    }

    /// Answers, and waits for what becomes of it.
    pub(super) fn answered(self, answer: String) -> Option<Told> {
        // Whoever asks nothing needs no answer.
        let _ = self.answer.send(answer);
        drop(self.answer);
        self.runs.join().ok()
    }
}
