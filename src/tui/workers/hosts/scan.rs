//! What a host tells of its images.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Sender;

use crate::fleet::{Ends, Error, Hello, LastWords, Moved, Question, Stream, Watcher};
use crate::forest::ScanEvent;
use crate::forest::far::Intake;
use crate::host::printable;
use crate::tui::hosts::HostRules;
use crate::tui::msg::{Msg, ScanEnd};
use crate::tui::query::QueryId;

use super::files::number;
use super::line::Asker;

/// Takes in a scan of a host.
pub(crate) struct ScanAsker {
    host: String,
    query_id: QueryId,
    /// The host's place.
    at: usize,
    /// The number of the newest scan of it.
    newest: Arc<AtomicU64>,
    answers: Sender<Msg>,
    intake: Intake,
    nonsense: Option<&'static str>,
    said: LastWords,
    end: Option<ScanEnd>,
}

impl ScanAsker {
    pub(crate) fn new(
        host: &str,
        (at, query_id): (usize, QueryId),
        newest: Arc<AtomicU64>,
        answers: Sender<Msg>,
    ) -> Option<Self> {
        let number = number(at)?;
        Some(Self {
            host: host.to_owned(),
            query_id,
            at,
            newest,
            answers,
            intake: Intake::new(host, number),
            nonsense: None,
            said: LastWords::default(),
            end: None,
        })
    }

    /// Whether nobody wants it any more.
    fn is_old(&self) -> bool {
        self.newest.load(Ordering::SeqCst) != self.query_id
    }

    fn tell(&mut self, bytes: &[u8]) -> io::Result<()> {
        let events = self.intake.feed(bytes).map_err(|nonsense| {
            self.nonsense = Some(nonsense.0);
            io::Error::from(io::ErrorKind::InvalidData)
        })?;
        let (query_id, at) = (self.query_id, self.at);
        for event in events {
            let msg = match event {
                ScanEvent::Found(files) => Msg::FarFound(query_id, at, files),
                ScanEvent::Held(held) => Msg::FarHeld(query_id, at, held),
                ScanEvent::Progress { .. } => continue,
                ScanEvent::Done(summary) => {
                    let unreadable = summary.unreadable_dirs.iter();
                    self.end = Some(ScanEnd {
                        looked_at: summary.files_looked_at,
                        unreadable: unreadable
                            .map(|(dir, why)| format!("{}: {why}", printable(dir)))
                            .collect(),
                    });
                    continue;
                }
            };
            // An interface that is gone needs no answer.
            let _ = self.answers.send(msg);
        }
        Ok(())
    }

    /// What is said of a scan that did not tell all.
    fn why(&self, code: u8) -> String {
        let why = self.said.why(code);
        format!("{}: its images cannot be told: {why}", self.host)
    }
}

impl Watcher for ScanAsker {
    fn silent(&mut self, _: &str, seconds: u64) {
        let msg = Msg::FarSilent(self.query_id, self.at, seconds);
        let _ = self.answers.send(msg);
    }
}

impl Ends for ScanAsker {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if self.is_old() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match stream {
            Stream::Out => self.tell(bytes),
            Stream::Err => {
                self.said.hear(bytes);
                Ok(())
            }
        }
    }

    fn asked(&mut self, _: &Question) -> io::Result<String> {
        // A scan asks nothing.
        Err(io::ErrorKind::InvalidData.into())
    }

    fn moved(&mut self, _: &Moved) {}
}

impl Asker for ScanAsker {
    fn greeted(&mut self, hello: &Hello) {
        let _ = self
            .answers
            .send(Msg::FarGreeted(self.at, HostRules::from(hello)));
    }

    fn ended(self: Box<Self>, ended: Result<u8, Error>) {
        let told = match (ended, self.nonsense, &self.end) {
            (_, Some(what), _) => Err(Error::Garbled {
                host: self.host.clone(),
                what,
            }
            .to_string()),
            (Ok(0), _, Some(end)) => Ok(end.clone()),
            (Ok(code), ..) => Err(self.why(code)),
            (Err(error), ..) => Err(error.to_string()),
        };
        let msg = Msg::FarScanned(self.query_id, self.at, told);
        let _ = self.answers.send(msg);
    }
}
