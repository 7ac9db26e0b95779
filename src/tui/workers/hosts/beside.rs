//! What a host tells beside its images.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::facts::{Fact, Intake, SpareLeaf};
use crate::fleet::{Ends, Error, Hello, LastWords, Moved, Question, Stream, Watcher};
use crate::machines::Machines;
use crate::ops::SpaceReport;
use crate::tui::far_answers::{FarAnswer, Interruptions, Topic};
use crate::tui::hosts::HostRules;
use crate::tui::msg::Msg;
use crate::tui::query::QueryId;
use crate::tui::space::SpaceFound;

use super::line::Asker;

/// Takes it in.
pub(crate) struct BesideAsker {
    host: String,
    topic: Topic,
    query_id: QueryId,
    /// The host's place.
    at: usize,
    answers: Sender<Msg>,
    intake: Intake,
    facts: Vec<Fact>,
    nonsense: Option<&'static str>,
    said: LastWords,
}

impl BesideAsker {
    pub(crate) fn new(
        host: &str,
        topic: Topic,
        number: NonZeroU16,
        (at, query_id): (usize, QueryId),
        answers: Sender<Msg>,
    ) -> Self {
        Self {
            host: host.to_owned(),
            topic,
            query_id,
            at,
            answers,
            intake: Intake::new(host, number),
            facts: Vec::new(),
            nonsense: None,
            said: LastWords::default(),
        }
    }

    fn garbled(&self, what: &'static str) -> String {
        let host = self.host.clone();
        Error::Garbled { host, what }.to_string()
    }
}

impl Watcher for BesideAsker {
    fn silent(&mut self, _: &str, seconds: u64) {
        let msg = Msg::FarSilent(self.query_id, self.at, seconds);
        let _ = self.answers.send(msg);
    }
}

impl Ends for BesideAsker {
    fn printed(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        match stream {
            Stream::Out => {
                let facts = self.intake.feed(bytes).map_err(|nonsense| {
                    self.nonsense = Some(nonsense.0);
                    io::Error::from(io::ErrorKind::InvalidData)
                })?;
                self.facts.extend(facts);
            }
            Stream::Err => self.said.hear(bytes),
        }
        Ok(())
    }

    fn asked(&mut self, _: &Question) -> io::Result<String> {
        // It only tells.
        Err(io::ErrorKind::InvalidData.into())
    }

    fn moved(&mut self, _: &Moved) {}
}

impl Asker for BesideAsker {
    fn greeted(&mut self, hello: &Hello) {
        let _ = self
            .answers
            .send(Msg::FarGreeted(self.at, HostRules::from(hello)));
    }

    fn ended(self: Box<Self>, ended: Result<u8, Error>) {
        let (query_id, at, topic) = (self.query_id, self.at, self.topic);
        let told = match (ended, self.nonsense) {
            (_, Some(what)) => Err(self.garbled(what)),
            (Ok(0), _) if !self.intake.is_done() => Err(self.garbled("it does not tell all")),
            (Ok(0), _) => Ok(answer(topic, self.facts)),
            (Ok(code), _) => Err(format!("{}: {}", self.host, self.said.why(code))),
            (Err(error), _) => Err(error.to_string()),
        };
        let msg = Msg::FarAnswered(query_id, at, topic, Box::new(told));
        // An interface that is gone needs no answer.
        let _ = self.answers.send(msg);
    }
}

/// What was asked for of what was told.
fn answer(topic: Topic, facts: Vec<Fact>) -> FarAnswer {
    let mut findings = Vec::new();
    let mut report = SpaceReport::default();
    let mut trash = Vec::new();
    let mut leaves: Vec<Arc<SpareLeaf>> = Vec::new();
    let mut interrupted = Interruptions::default();
    let (mut machines, mut unasked) = (Vec::new(), Vec::new());
    for fact in facts {
        match fact {
            Fact::Finding(finding) => findings.push(finding),
            Fact::Image(image) => report.images.push(image),
            Fact::Saving(saving) => report.savings.push(saving),
            Fact::TrashBytes(bytes) => report.trash = bytes,
            Fact::Trashed(entry) => trash.push(entry),
            Fact::Spare(leaf) => leaves.push(Arc::new(leaf)),
            Fact::Halted(halted) => interrupted.halted.push(halted),
            Fact::Leftover(left) => interrupted.leftovers.push(left),
            Fact::Machine(machine) => machines.push(*machine),
            Fact::Unasked(one) => unasked.push(one),
        }
    }
    match topic {
        Topic::Findings => FarAnswer::Findings(findings),
        Topic::Space => FarAnswer::Space(Arc::new(SpaceFound::whole(&report))),
        Topic::Trash => FarAnswer::Trash(trash),
        Topic::Prune => {
            let mut met = HashSet::new();
            leaves.retain(|leaf| met.insert(leaf.path.clone()));
            leaves.sort_by(|a, b| (Reverse(a.age), &a.path).cmp(&(Reverse(b.age), &b.path)));
            FarAnswer::Prune(leaves.into())
        }
        Topic::Interrupted => FarAnswer::Interrupted(interrupted),
        Topic::Machines => FarAnswer::Machines(Arc::new(Machines::of(machines, unasked))),
    }
}
