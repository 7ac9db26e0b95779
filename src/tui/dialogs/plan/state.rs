//! A plan that waits, and how far its answer is.

use std::path::PathBuf;

use crossbeam_channel::Sender;

use crate::facts::PlanFacts;
use crate::image::Passphrase;
use crate::ops::{Confirm, Effect, Plan, Progress, Request, WayOut};
use crate::tui::msg::ThereReply;
use crate::tui::query::QueryId;
use crate::tui::there::Part;

/// What fires on Enter in a plan's dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Button {
    /// Go back; nothing happens.
    #[default]
    Cancel,
    /// Do it.
    Confirm,
}

/// A plan waiting for an answer.
#[derive(Debug)]
pub struct PlanDialog {
    /// The question's number.
    pub query_id: QueryId,
    /// What is asked.
    pub request: Request,
    /// The plan; none while it is being made.
    pub plan: Option<Box<Plan>>,
    /// What comes before the plan: why it was made anew, why an answer did not do.
    pub reason: Option<String>,
    /// What fires on Enter.
    pub button: Button,
    /// The number typed so far.
    pub typed: String,
    /// Lines scrolled past.
    pub scroll: usize,
    /// How many lines, from the first on, were on the screen at some time, and how wide they were.
    pub seen: (u16, usize),
    /// Whether the same as commands is shown.
    pub commands: bool,
    /// Whether running it has to prove that no other image changes.
    pub proves: bool,
    /// The encrypted image whose passphrase is missing.
    pub locked: Option<PathBuf>,
    /// The host that makes the plan and does it, where it is not this machine.
    pub there: Option<There>,
    /// Where it is one of several, each of another machine: what is planned after it.
    pub following: Option<Vec<Part>>,
}

/// A plan that a host makes.
#[derive(Debug)]
pub struct There {
    /// The host's place.
    pub at: usize,
    /// What it is called.
    pub host: String,
    progress: Progress,
    /// Where the answer goes, until it is given.
    answers: Option<Sender<ThereReply>>,
    /// What it says, once it does.
    pub told: Option<Told>,
    /// What it would do there.
    facts: PlanFacts,
}

/// What a host says of a plan.
#[derive(Debug)]
pub struct Told {
    /// Line by line, the title first; safe to print.
    pub lines: Vec<String>,
    /// Whether it waits for an answer.
    pub asks: bool,
    /// The number that has to be typed, if one has to be.
    pub count: Option<u64>,
}

impl Drop for There {
    fn drop(&mut self) {
        // Nobody will answer: it is not to wait there.
        if self.answers.is_some() {
            self.progress.cancel();
        }
    }
}

impl PlanDialog {
    /// A dialog that waits for its plan.
    #[must_use]
    pub fn new(query_id: QueryId, request: Request) -> Self {
        Self {
            query_id,
            request,
            plan: None,
            reason: None,
            button: Button::Cancel,
            typed: String::new(),
            scroll: 0,
            seen: (0, 0),
            commands: false,
            proves: false,
            locked: None,
            there: None,
            following: None,
        }
    }

    /// A dialog that waits for the plan of a host, of that place and name.
    #[must_use]
    pub fn there(
        query_id: QueryId,
        request: Request,
        (at, host): (usize, String),
        (progress, answers): (Progress, Sender<ThereReply>),
    ) -> Self {
        Self {
            there: Some(There {
                at,
                host,
                progress,
                answers: Some(answers),
                told: None,
                facts: PlanFacts::default(),
            }),
            ..Self::new(query_id, request)
        }
    }

    /// Takes in what the host says; without a question there is nothing to agree to.
    pub fn told_there(&mut self, lines: Vec<String>, asks: bool, count: Option<u64>) {
        if let Some(there) = &mut self.there {
            there.told = Some(Told { lines, asks, count });
        }
        if asks {
            // What was missing was given.
            self.locked = None;
        }
    }

    /// Takes in what it would do there.
    pub fn planned_there(&mut self, facts: PlanFacts) {
        if let Some(there) = &mut self.there {
            there.facts = facts;
        }
    }

    /// What it would do to files of its host, where a host makes the plan.
    #[must_use]
    pub fn effects_there(&self) -> Option<&[Effect]> {
        Some(&self.there.as_ref()?.facts.effects)
    }

    /// Gives the host the answer; its place, and the handle on what it does. None where it waits for none.
    pub fn agree_there(&mut self, typed: &str) -> Option<(usize, Progress)> {
        let there = self.there.as_mut()?;
        let answers = there.answers.take()?;
        answers.send(ThereReply::Typed(typed.to_owned())).ok()?;
        Some((there.at, there.progress.clone()))
    }

    /// Gives the host the passphrase that its question of this number asks for, or none.
    pub fn give_there(&self, number: u32, passphrase: Option<Passphrase>) {
        let answers = self.there.as_ref().and_then(|there| there.answers.as_ref());
        if let Some(answers) = answers {
            // Whoever asks nothing any more needs no answer.
            let _ = answers.send(ThereReply::Passphrase(number, passphrase));
        }
    }

    /// What the host says, if it says something.
    #[must_use]
    pub fn told(&self) -> Option<&Told> {
        self.there.as_ref()?.told.as_ref()
    }

    /// What the plan is called.
    #[must_use]
    pub fn title(&self) -> String {
        let there = self.told().and_then(|told| told.lines.first());
        let here = self.plan.as_ref().map(|plan| &plan.title);
        there.or(here).cloned().unwrap_or_default()
    }

    /// The ways out of a refusal, in the order of their keys.
    #[must_use]
    pub fn ways_out(&self) -> Vec<&WayOut> {
        let refusals = self.plan.iter().flat_map(|plan| &plan.refusals);
        let here = refusals.flat_map(|refusal| &refusal.ways_out);
        let there = self.there.iter().flat_map(|there| &there.facts.ways_out);
        here.chain(there).take(9).collect()
    }

    /// The number that has to be typed, if one has to be.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        if let Some(told) = self.told() {
            return told.count.filter(|_| told.asks);
        }
        match self.plan.as_ref()?.confirm {
            Confirm::Count(count) => Some(count),
            Confirm::Nothing | Confirm::Yes | Confirm::Impossible => None,
        }
    }

    /// Whether a yes is possible at all.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let is_asked = self.told().is_some_and(|told| told.asks);
        is_asked
            || self
                .plan
                .as_ref()
                .is_some_and(|plan| plan.confirm != Confirm::Impossible)
    }
}
