//! Taking a machine back that was made here: it is no longer defined, and its files go to the trash.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::printable;
use crate::machines::{Machine, MachineState};

use crate::ops::discard::plan_discard;
use crate::ops::framework::definition_change::digest;
use crate::ops::framework::format::shown;
use crate::ops::framework::locks::Locking;
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::recovery::{Half, Left, Way};
use crate::ops::framework::refusal::{Reason, RefusalKind};
use crate::ops::framework::request::Name;
use crate::ops::{CommandLine, Error, Outcome, Plan, Progress, Undo};

use super::target;

/// Undefine a machine that was made here, and discard the files that were made with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveMachine {
    /// Its name.
    pub machine: String,
    /// The connection.
    pub connection: String,
    /// Its UUID.
    pub id: String,
    /// The files, those of its disks among them.
    pub files: Vec<PathBuf>,
    /// A number for its definition as it was made; none where that was not reached.
    #[serde(default)]
    pub defined_as: Option<[u8; 32]>,
}

impl Operation for RemoveMachine {
    fn name(&self) -> &'static str {
        "machine"
    }

    fn verb(&self) -> &'static str {
        "Undefine"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Connection(&mut self.connection));
        self.files
            .iter_mut()
            .for_each(|path| visit(Name::Path(path)));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // It is only asked for as the way back of a clone.
        None
    }

    fn plan(&self, plan: &mut Plan) {
        let machine = match defined(plan, self) {
            Ok(machine) => machine,
            Err(reason) => return plan.refuse_for(reason),
        };
        plan.undefines = machine.then(|| self.id.clone());
        let there: Vec<PathBuf> = self
            .files
            .iter()
            .filter(|path| plan.host().stat_link(path).is_ok())
            .cloned()
            .collect();
        if there.is_empty() && !machine {
            return plan.refuse_as_done(format!(
                "{} is not defined, and its files are gone",
                printable(&self.machine)
            ));
        }
        if !there.is_empty() {
            plan_discard(plan, &there, &[]);
        }
        // What the old machine has instead is said by whoever asks.
        plan.falls_back = false;
        plan.title = format!("Undefine {}", printable(&self.machine));
        if machine {
            let command = format!(
                "virsh -c {} undefine --keep-nvram {}",
                self.connection, self.id
            );
            plan.commands.insert(0, command);
        }
        plan.undo = Undo::Impossible("clone it again".to_owned());
        let discard = plan.job.take();
        if plan.refusals.is_empty() {
            plan.job = Some(Arc::new(RemoveMachineJob {
                asked: self.clone(),
                is_defined: machine,
                discard,
            }));
        }
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Made(&self.files)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        match half.left() {
            Left::None if !self.is_known(half) => {
                Way::Nothing("every file is in the trash".to_owned())
            }
            Left::None | Left::All | Left::Some(_) => Way::Ask(self.clone().into()),
        }
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

impl RemoveMachine {
    fn is_it(&self, machine: &Machine) -> bool {
        machine.id.as_deref() == Some(&self.id) && machine.place == self.connection
    }

    fn is_known(&self, half: &Half<'_>) -> bool {
        let machines = half.context.forest.machines();
        machines.list().iter().any(|machine| self.is_it(machine))
    }

    /// It is off, and defined as it was made.
    fn look_again(&self, plan: &Plan) -> Result<(), Error> {
        let called = printable(&self.machine);
        let machines = plan.context().forest.machines();
        let now = machines.defined(&self.connection, &self.id);
        let now = now.map_err(|error| Error::failed(format!("{called}: {error}")))?;
        if !now.is_off {
            return Err(Error::in_use(format!(
                "{called} was started, or its memory saved: shut it down first"
            )));
        }
        if self.defined_as.is_some_and(|then| then != digest(&now)) {
            return Err(Error::stale(format!(
                "the definition of {called} was changed since it was cloned: undefine it yourself (`virsh undefine`)"
            )));
        }
        Ok(())
    }
}

/// Whether it is defined still: just as it was made, and off.
fn defined(plan: &Plan, asked: &RemoveMachine) -> Result<bool, Reason> {
    let forest = &plan.context().forest;
    let mut machines = forest.machines().list().iter();
    let Some(machine) = machines.find(|machine| asked.is_it(machine)) else {
        return Ok(false);
    };
    let called = printable(&machine.name);
    let refused = |text: String| Err(Reason::new(RefusalKind::Machine, text));
    if machine.state != MachineState::Off {
        return refused(format!(
            "{called} is {}: shut it down first",
            machine.state.name()
        ));
    }
    if let Some(other) =
        target::written(machine).find(|disk| !asked.files.contains(&disk.file.path))
    {
        return refused(format!(
            "{called} has {} as its disk, which was not made with it: undefine it yourself (`virsh undefine`)",
            shown(&other.file.path)
        ));
    }
    Ok(true)
}

/// What undefines it, and has its files go.
#[derive(Debug)]
struct RemoveMachineJob {
    asked: RemoveMachine,
    is_defined: bool,
    discard: Option<Arc<dyn Job>>,
}

impl Job for RemoveMachineJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        plan.verify_preconditions()?;
        let called = printable(&self.asked.machine);
        if self.is_defined {
            self.asked.look_again(plan)?;
        }
        // Its files are locked for that. The definition goes last: what fails before leaves it to be asked again.
        let mut outcome = match &self.discard {
            Some(discard) => discard.run(plan, progress)?,
            None => {
                let _ = Locking::default().settle(plan)?;
                Outcome {
                    summary: "its files were gone already".to_owned(),
                    touched: Vec::new(),
                    undo: None,
                    remarks: Vec::new(),
                }
            }
        };
        if self.is_defined {
            self.asked.look_again(plan)?;
            let machines = plan.context().forest.machines();
            let domain = machines.domain(&self.asked.connection, &self.asked.id);
            let undefined = domain.and_then(|mut domain| domain.undefine());
            undefined.map_err(|error| Error::failed(format!("{called}: {error}")))?;
        }
        outcome.summary = format!("{called} is no longer defined; {}", outcome.summary);
        outcome.undo = None;
        Ok(outcome)
    }
}
