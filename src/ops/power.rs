//! Power: a machine that libvirt defines is started, or ended. No file changes by that; what the machine would do to
//! images when it runs is looked at first.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::forest::{Forest, Node};
use crate::host::{LockSet, printable};
use crate::machines::{Disk, Domain, Machine, MachineState};

use super::framework::definition_change::is_defined_by_service;
use super::framework::format::{listed, name as name_of, shown};
use super::framework::locks::{Locking, Use, who_uses};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::refusal::Reason;
use super::framework::request::Name;
use super::redefine::find_machine;
use super::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Relink,
    Request, Undo, WayOut,
};

/// How long a guest gets to shut down.
const SHUTTING_DOWN: Duration = Duration::from_secs(90);
/// Nothing tells of the end: it is asked for as often as this.
const EACH: Duration = Duration::from_millis(250);

/// Start a machine, or end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Power {
    /// The machine's name, or its UUID.
    pub machine: String,
    /// The connection, where several have a machine of that name.
    pub connection: Option<String>,
    /// What happens to it.
    pub action: PowerAction,
}

/// What happens to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PowerAction {
    /// It is started.
    Start,
    /// Its guest is asked to shut down.
    ShutDown,
    /// It ends at once, as by a power cut.
    Kill,
}

impl Operation for Power {
    fn name(&self) -> &'static str {
        "machine"
    }

    fn verb(&self) -> &'static str {
        match self.action {
            PowerAction::Start => "Start",
            PowerAction::ShutDown => "Shut down",
            PowerAction::Kill => "Kill",
        }
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        let connection = self.connection.iter_mut();
        connection.for_each(|connection| visit(Name::Connection(connection)));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let word = match self.action {
            PowerAction::Start => "start",
            PowerAction::ShutDown | PowerAction::Kill => "stop",
        };
        Some(
            CommandLine::new(&["machine", word])
                .flag("--kill", self.action == PowerAction::Kill)
                .option("--connect", self.connection.as_ref())
                .word(&self.machine),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan.title = format!("{} {}", self.verb(), printable(&self.machine));
        let planned = planned(plan, self);
        plan.is_done_by(planned.map(Some));
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

fn planned(plan: &mut Plan, asked: &Power) -> Result<PowerJob, Reason> {
    let forest = Arc::clone(&plan.context().forest);
    let machines = forest.machines();
    let machine = find_machine(machines.list(), &asked.machine, asked.connection.as_deref())?;
    let name = printable(&machine.name);
    if !is_defined_by_service(machine) {
        let text = format!(
            "{name} ({}) is not started or ended here: only libvirt's machines are",
            machine.product
        );
        return Err(Reason::new(RefusalKind::Machine, text));
    }
    let Some(id) = machine.id.clone() else {
        return Err(Reason::new(
            RefusalKind::Machine,
            format!("{name} has no UUID"),
        ));
    };
    let runs = machine.state == MachineState::Running;
    match (asked.action, runs) {
        (PowerAction::Start, true) => plan.refuse_as_done(format!("{name} runs already")),
        (PowerAction::ShutDown | PowerAction::Kill, false) => {
            plan.refuse_as_done(format!("{name} does not run"));
        }
        (PowerAction::Start, false) => {
            for disk in machine.disks.iter().filter(|disk| !disk.read_only) {
                look_at(plan, &forest, machine, disk);
            }
        }
        (PowerAction::Kill, true) => plan.warn(
            NoteKind::Guest,
            "what the guest has not written yet is lost, as by a power cut",
        ),
        (PowerAction::ShutDown, true) => {
            plan.warn(NoteKind::Guest, "what runs in the guest is told to end");
        }
    }
    plan.undo = match asked.action {
        PowerAction::Start => Undo::Impossible("what its guest does is its own".to_owned()),
        PowerAction::ShutDown | PowerAction::Kill => Undo::Impossible("start it again".to_owned()),
    };
    Ok(PowerJob {
        name,
        connection: machine.place.clone(),
        id,
        action: asked.action,
    })
}

/// What would become of an image when the machine writes it.
pub(super) fn look_at(plan: &mut Plan, forest: &Forest, machine: &Machine, disk: &Disk) {
    let name = printable(&machine.name);
    let Some(node) = forest.meant(&disk.file) else {
        if plan.host().stat(&disk.file.path).is_err() {
            let text = format!(
                "the disk {} of {name} is not there: {}",
                printable(&disk.target),
                shown(&disk.file.path)
            );
            plan.refuse(RefusalKind::NotFound, text);
        }
        return;
    };
    let path = shown(&node.path);
    if !forest.is_leaf(node) {
        let text = format!(
            "other images are built on {path}: {name} would write it under them. Make it a branch of its own first"
        );
        plan.refuse(RefusalKind::HasDependants, text);
    }
    let readers = forest
        .readers(node.id)
        .into_iter()
        .filter_map(|reader| forest.get(reader.node));
    let kept: Vec<String> = readers
        .filter(|it| it.is_in_trash())
        .map(|it| name_of(&it.path))
        .collect();
    if !kept.is_empty() {
        let text = format!(
            "what would be brought back from the trash changes when {name} writes {path}: {} is built on it",
            listed(&kept, 5)
        );
        plan.warn(NoteKind::Trash, text);
    }
    plan.written_by_machine.push(node.path.clone());
    if let Ok(Use::Busy(sentence)) = who_uses(plan.host(), &node.path, LockSet::ReadWrite) {
        plan.refuse(RefusalKind::InUse, sentence);
    }
    refuse_unformatted(plan, forest, node, disk);
    if forest.pin_mismatch(disk).is_some() {
        let text = format!(
            "the definition of {name} says otherwise than the headers what {path} is built on: its guest sees another \
             disk than is shown here"
        );
        plan.warn(NoteKind::Machine, text);
    }
    plan.effect(
        EffectKind::Reads,
        &node.path,
        None,
        format!("{name} writes it from then on"),
    );
}

/// libvirt starts no machine on a chain in which a layer does not say of which format the one below is.
pub(super) fn refuse_unformatted(plan: &mut Plan, forest: &Forest, node: &Node, disk: &Disk) {
    if disk.is_pinned() {
        return;
    }
    let chain = forest.chain(node.id);
    for layer in chain.into_iter().filter_map(|id| forest.get(id)) {
        let lacks = layer
            .backing
            .as_ref()
            .is_some_and(|backing| backing.format().is_none());
        if lacks {
            plan.refuse_but(
                RefusalKind::BackingFormat,
                format!(
                    "{} does not record the format of what it is built on: libvirt does not start a machine on it",
                    shown(&layer.path)
                ),
                vec![WayOut {
                    label: "record the format first".to_owned(),
                    request: Request::Relink(Relink {
                        image: layer.path.clone(),
                        base: None,
                        format: None,
                        style: None,
                    }),
                }],
            );
        }
    }
}

/// What tells libvirt.
#[derive(Debug)]
struct PowerJob {
    name: String,
    connection: String,
    id: String,
    action: PowerAction,
}

impl Job for PowerJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Collect, 0);
        let _locks = Locking::default().settle(plan)?;
        let failed =
            |error: &dyn std::fmt::Display| Error::failed(format!("{}: {error}", self.name));
        let machines = Arc::clone(plan.context().forest.machines());
        let domain = machines.domain(&self.connection, &self.id);
        let mut domain = domain.map_err(|error| failed(&error))?;
        let summary = match self.action {
            PowerAction::Start => {
                domain.start().map_err(|error| failed(&error))?;
                format!("{} runs", self.name)
            }
            PowerAction::Kill => {
                domain.destroy().map_err(|error| failed(&error))?;
                format!("{} is off", self.name)
            }
            PowerAction::ShutDown => {
                domain.shut_down().map_err(|error| failed(&error))?;
                self.wait(&mut domain, progress)?;
                format!("{} is off", self.name)
            }
        };
        let touched = plan.effects.iter().map(|effect| effect.path.clone());
        Ok(Outcome {
            summary,
            touched: touched.collect(),
            undo: None,
            remarks: Vec::new(),
        })
    }
}

impl PowerJob {
    fn wait(&self, domain: &mut Domain, progress: &Progress) -> Result<(), Error> {
        let until = Instant::now() + SHUTTING_DOWN;
        loop {
            let state = domain.state();
            let state = state.map_err(|error| Error::failed(format!("{}: {error}", self.name)))?;
            if state == "shut off" {
                return Ok(());
            }
            if progress.is_cancelled() || Instant::now() > until {
                return Err(Error::failed(format!(
                    "{} was asked to shut down and is {} still: its guest may not listen to its power button",
                    self.name,
                    printable(&state)
                )));
            }
            thread::sleep(EACH);
        }
    }
}
