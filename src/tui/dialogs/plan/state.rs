//! A plan that waits, and how far its answer is.

use std::path::PathBuf;

use crate::ops::{Confirm, Plan, Request, WayOut};
use crate::tui::query::QueryId;

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
        }
    }

    /// The ways out of a refusal, in the order of their keys.
    #[must_use]
    pub fn ways_out(&self) -> Vec<&WayOut> {
        let refusals = self.plan.iter().flat_map(|plan| &plan.refusals);
        refusals
            .flat_map(|refusal| &refusal.ways_out)
            .take(9)
            .collect()
    }

    /// The number that has to be typed, if one has to be.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match self.plan.as_ref()?.confirm {
            Confirm::Count(count) => Some(count),
            Confirm::Nothing | Confirm::Yes | Confirm::Impossible => None,
        }
    }

    /// Whether a yes is possible at all.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.plan
            .as_ref()
            .is_some_and(|plan| plan.confirm != Confirm::Impossible)
    }
}
