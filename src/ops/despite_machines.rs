//! Another operation, done although it harms machines that are defined: what that one asks and does, with a number
//! to be typed where it would be refused for a machine's sake.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::framework::nature::{Nature, RestsOn};
use super::framework::on_machines::OnMachines;
use super::framework::operation::Operation;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::{CommandLine, Plan, Request};

/// An operation that is done although it harms machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DespiteMachines {
    /// The operation.
    pub request: Box<Request>,
}

impl Request {
    /// The same although it harms machines.
    #[must_use]
    pub fn despite_machines(request: Self) -> Self {
        match request {
            Self::DespiteMachines(_) => request,
            other => DespiteMachines {
                request: Box::new(other),
            }
            .into(),
        }
    }

    /// What is asked for, be it despite machines, with their definitions changed, or neither.
    #[must_use]
    pub fn itself(&self) -> &Self {
        match self {
            Self::DespiteMachines(it) => it.request.itself(),
            Self::Redefining(it) => it.request.itself(),
            other => other,
        }
    }
}

impl DespiteMachines {
    fn inner(&self) -> &dyn Operation {
        self.request.operation()
    }
}

impl Operation for DespiteMachines {
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
        Some(self.inner().command_line()?.and_flag("--despite-machines"))
    }

    fn plan(&self, plan: &mut Plan) {
        plan.on_machines = OnMachines::Count;
        plan.request = (*self.request).clone();
        self.inner().plan(plan);
        // What is asked again after an interruption means the same then: it says what was found out.
        plan.request = Request::despite_machines(plan.request.clone());
    }

    fn rests_on(&self) -> RestsOn<'_> {
        self.inner().rests_on()
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        self.inner().finish(half)
    }

    fn can_roll_back(&self) -> bool {
        self.inner().can_roll_back()
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        self.inner().roll_back(half)
    }
}
