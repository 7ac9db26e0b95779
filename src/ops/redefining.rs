//! Another operation that changes the definitions of machines along with the files, so that each machine goes on with
//! what it had: what that one asks and does, with the changes in their places among its own.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::framework::definition_change::{DefinitionChange, Redefines, reversed};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::{CommandLine, DespiteMachines, Plan, Request};

/// An operation that changes definitions of machines along with the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redefining {
    /// The operation.
    pub request: Box<Request>,
    /// The changes; none for those that turn out to be needed.
    pub changes: Option<Vec<DefinitionChange>>,
}

impl Request {
    /// The same with what machines need of it changed in their definitions.
    #[must_use]
    pub fn redefining(request: Self) -> Self {
        request.with_definitions(None)
    }

    fn with_definitions(self, changes: Option<Vec<DefinitionChange>>) -> Self {
        match self {
            // It changes nothing else.
            Self::Redefine(_) => self,
            Self::Redefining(it) => it.request.with_definitions(changes),
            Self::DespiteMachines(it) => {
                Self::despite_machines(it.request.with_definitions(changes))
            }
            other => Redefining {
                request: Box::new(other),
                changes,
            }
            .into(),
        }
    }

    /// The same with just these changes of definitions.
    #[must_use]
    pub(in crate::ops) fn changing_definitions(self, changes: Vec<DefinitionChange>) -> Self {
        match changes.is_empty() {
            true => self,
            false => self.with_definitions(Some(changes)),
        }
    }

    /// The same, of which was found out which definitions it changes.
    #[must_use]
    pub(in crate::ops) fn noting_definitions(self, changes: &[DefinitionChange]) -> Self {
        match self {
            Self::Redefining(it) => Redefining {
                request: it.request,
                changes: Some(changes.to_vec()),
            }
            .into(),
            Self::DespiteMachines(it) => DespiteMachines {
                request: Box::new(it.request.noting_definitions(changes)),
            }
            .into(),
            other => other,
        }
    }
}

impl Redefining {
    fn inner(&self) -> &dyn Operation {
        self.request.operation()
    }

    fn changes(&self) -> &[DefinitionChange] {
        self.changes.as_deref().unwrap_or_default()
    }
}

impl Operation for Redefining {
    fn name(&self) -> &'static str {
        self.inner().name()
    }

    fn verb(&self) -> &'static str {
        self.inner().verb()
    }

    fn nature(&self) -> Nature<'_> {
        self.inner().nature()
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        self.request.each_name(visit);
    }

    fn copies(&self) -> Vec<&Path> {
        self.inner().copies()
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(self.inner().command_line()?.and_flag("--redefine"))
    }

    fn plan(&self, plan: &mut Plan) {
        plan.redefines = match &self.changes {
            None => Redefines::AsNeeded,
            Some(changes) => Redefines::These(changes.clone()),
        };
        plan.request = (*self.request).clone();
        self.inner().plan(plan);
        // What is asked again after an interruption means the same then: it says what was found out.
        plan.request = plan.request.clone().with_definitions(self.changes.clone());
    }

    fn rests_on(&self) -> RestsOn<'_> {
        self.inner().rests_on()
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let way = self.inner().finish(half);
        way.changing_definitions(self.changes())
    }

    fn can_roll_back(&self) -> bool {
        self.inner().can_roll_back()
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        // The way back that was planned says so itself.
        if let Some(way) = half.planned_way_back() {
            return way;
        }
        let way = self.inner().roll_back(half);
        way.changing_definitions(&reversed(self.changes()))
    }
}

impl Way {
    /// The same with these changes of definitions, unless they are done.
    fn changing_definitions(self, changes: &[DefinitionChange]) -> Self {
        if changes.is_empty() {
            return self;
        }
        let with = |request: Request| request.changing_definitions(changes.to_vec());
        match self {
            Self::Ask(request) => Self::Ask(with(request)),
            Self::But(request, note) => Self::But(with(request), note),
            Self::Each(mut requests) => match requests.pop() {
                // Definitions come right when all files are.
                Some(last) => {
                    requests.push(with(last));
                    Self::Each(requests)
                }
                None => Self::Each(requests),
            },
            Self::Nothing(_) => Self::Ask(super::Redefine::so(changes).into()),
            Self::Impossible(why) => Self::Impossible(why),
        }
    }
}
