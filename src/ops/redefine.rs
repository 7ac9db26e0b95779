//! Redefine: a disk of a machine is another file by its definition, or is built on what the headers say. No file
//! changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::Node;
use crate::host::printable;
use crate::machines::{Disk, Machine, MachineState};

use super::framework::definition_change::{
    Cure, DefinitionChange, Redefinition, Step, domain_disk, is_defined_by_service, reversed,
};
use super::framework::format::shown;
use super::framework::locks::Locking;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::refusal::Reason;
use super::framework::request::Name;
use super::framework::{absolute, resolve};
use super::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Undo,
};

/// Change what the definition of a machine says of one of its disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redefine {
    /// The machine's name, or its UUID.
    pub machine: String,
    /// The connection, where several have a machine of that name.
    pub connection: Option<String>,
    /// The disk, by the name that the machine has for it; none for its only one.
    pub disk: Option<String>,
    /// What becomes of it.
    pub action: RedefineAction,
}

/// What becomes of the definition of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RedefineAction {
    /// It no longer says what the disk is built on: the headers do.
    Unpin,
    /// The disk is this file.
    Source(PathBuf),
    /// Just these changes, of as many disks as they are about.
    So(Vec<DefinitionChange>),
}

impl Redefine {
    /// To make these changes.
    pub(super) fn so(changes: &[DefinitionChange]) -> Self {
        let first = changes.first();
        Self {
            machine: first.map_or_else(String::new, |one| one.disk.machine.clone()),
            connection: None,
            disk: None,
            action: RedefineAction::So(changes.to_vec()),
        }
    }

    /// To have the headers say what a disk is built on; none of a machine whose definition is not changed here.
    #[must_use]
    pub fn unpin(machine: &Machine, disk: &Disk) -> Option<Self> {
        is_defined_by_service(machine).then(|| Self {
            machine: machine.name.clone(),
            connection: Some(machine.place.clone()),
            disk: Some(disk.target.clone()),
            action: RedefineAction::Unpin,
        })
    }

    /// To have a disk be another file; none of a machine whose definition is not changed here.
    #[must_use]
    pub fn source(machine: &Machine, disk: &Disk, file: &Path) -> Option<Self> {
        Some(Self {
            action: RedefineAction::Source(file.to_path_buf()),
            ..Self::unpin(machine, disk)?
        })
    }
}

impl Operation for Redefine {
    fn name(&self) -> &'static str {
        "redefine"
    }

    fn verb(&self) -> &'static str {
        "Redefine"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        let connection = self.connection.iter_mut();
        connection.for_each(|connection| visit(Name::Connection(connection)));
        if let RedefineAction::Source(file) = &mut self.action {
            visit(Name::Path(file));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new(&["redefine"])
            .option("--connect", self.connection.as_ref())
            .option("--disk", self.disk.as_ref());
        let line = match &self.action {
            RedefineAction::Unpin => line.flag("--unpin", true),
            RedefineAction::Source(file) => line.option_path("--source", Some(file)),
            RedefineAction::So(_) => return None,
        };
        Some(line.word(&self.machine))
    }

    fn plan(&self, plan: &mut Plan) {
        plan.title = format!("Redefine {}", printable(&self.machine));
        if let RedefineAction::So(changes) = &self.action {
            plan.redefine_so(changes);
            if !plan.redefinitions.is_empty()
                && plan.redefinitions.iter().all(Redefinition::is_done)
            {
                plan.refuse_as_done("the definition says so already");
            }
        } else {
            match cure(plan, self) {
                Ok(cure) if plan.refusals.is_empty() => plan.redefine_for(vec![cure]),
                Ok(_) => {}
                Err(reason) => return plan.refuse_for(reason),
            }
        }
        let changes = plan.definition_changes();
        for one in &changes {
            let what = format!(
                "the disk {} of {}",
                printable(&one.disk.target),
                printable(&one.disk.machine)
            );
            plan.effect(EffectKind::Reads, &one.file, None, what);
        }
        plan.undo = Undo::Possible(String::new());
        plan.roll_back = Some(Self::so(&reversed(&changes)).into());
        plan.job = Some(Arc::new(RedefineJob));
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

/// What the definition needs for it.
fn cure(plan: &mut Plan, asked: &Redefine) -> Result<Cure, Reason> {
    let context = plan.context().clone();
    let machines = context.forest.machines();
    let (machine, disk) = find(machines.list(), asked)?;
    let Some(domain) = domain_disk(machine, disk) else {
        return Err(Reason::new(
            RefusalKind::Machine,
            format!(
                "the definition of {} ({}) is not changed here: only libvirt's service is asked to",
                printable(&machine.name),
                machine.product
            ),
        ));
    };
    if machine.state != MachineState::Off {
        return Err(Reason::new(
            RefusalKind::Machine,
            format!(
                "the machine {} is {}: its definition is only changed while it is off and nothing of it is saved",
                printable(&machine.name),
                machine.state.name()
            ),
        ));
    }
    let top = context.forest.meant(&disk.file);
    match &asked.action {
        RedefineAction::Source(file) => {
            let node = resolve::named(&context, file)?;
            let to = absolute::path(&node.path);
            if to == disk.file.path {
                plan.refuse_as_done(format!("the disk is {} already", shown(&to)));
            }
            tell_of_source(plan, machine, node);
            Ok(Cure {
                disk: domain,
                file: disk.file.path.clone(),
                step: Step::Source {
                    from: disk.file.path.clone(),
                    to,
                },
                format: node.format().map(|format| format.name().to_owned()),
                keeps_pin: false,
                loses: None,
            })
        }
        RedefineAction::Unpin | RedefineAction::So(_) => {
            if !disk.is_pinned() {
                let text = "the headers say already what the disk is built on";
                plan.refuse_as_done(text);
            }
            let mismatch = top.and_then(|_| context.forest.pin_mismatch(disk));
            if let Some(mismatch) = mismatch {
                plan.warn(NoteKind::Machine, format!(
                    "{} sees another disk then: by its definition {} is built on {}, by the header on {}",
                    printable(&machine.name),
                    shown(&mismatch.image),
                    mismatch.defined.as_deref().map_or_else(|| "nothing".to_owned(), shown),
                    mismatch.recorded.as_deref().map_or_else(|| "nothing".to_owned(), shown),
                ));
            }
            Ok(Cure {
                disk: domain,
                file: disk.file.path.clone(),
                step: Step::Unpin,
                format: None,
                keeps_pin: false,
                loses: None,
            })
        }
    }
}

/// Whoever is built on the file sees what the machine writes, and a machine that has it already would write it too.
fn tell_of_source(plan: &mut Plan, machine: &Machine, node: &Node) {
    let path = shown(&node.path);
    let forest = Arc::clone(&plan.context().forest);
    if !forest.is_leaf(node) {
        let text =
            format!("other images are built on {path}: the machine would write it under them");
        plan.refuse(RefusalKind::HasDependants, text);
    }
    for used in forest.uses(node) {
        if used.machine != machine {
            let text = format!(
                "{path} is used by another machine: {}",
                printable(used.to_string())
            );
            plan.refuse(RefusalKind::Machine, text);
        }
    }
    plan.require_unchanged(&node.path, Compare::Header);
}

/// The machine that is meant, by its name or its UUID.
pub(super) fn find_machine<'m>(
    machines: &'m [Machine],
    name: &str,
    connection: Option<&str>,
) -> Result<&'m Machine, Reason> {
    let called = printable(name);
    let is_it = |machine: &&Machine| {
        let is_named = machine.name == name || machine.id.as_deref() == Some(name);
        is_named && connection.is_none_or(|it| it == machine.place)
    };
    let of_service = |machine: &&Machine| is_defined_by_service(machine);
    let of_service: Vec<&Machine> = machines.iter().filter(is_it).filter(of_service).collect();
    // What runs, and what others define, only where no such machine is meant.
    let others: Vec<&Machine> = machines.iter().filter(is_it).collect();
    let mut found = if of_service.is_empty() {
        others
    } else {
        of_service
    }
    .into_iter();
    match (found.next(), found.next()) {
        (Some(machine), None) => Ok(machine),
        (None, _) => {
            let text = format!("no machine is called {called}");
            Err(Reason::new(RefusalKind::NotFound, text))
        }
        (Some(one), Some(other)) => Err(Reason::new(
            RefusalKind::Invalid,
            format!(
                "two machines are called {called}, by {} and by {}: say which",
                printable(&one.place),
                printable(&other.place)
            ),
        )),
    }
}

/// The machine and the disk that are meant.
fn find<'m>(machines: &'m [Machine], asked: &Redefine) -> Result<(&'m Machine, &'m Disk), Reason> {
    let called = printable(&asked.machine);
    let not_found = |text: String| Err(Reason::new(RefusalKind::NotFound, text));
    let machine = find_machine(machines, &asked.machine, asked.connection.as_deref())?;
    let mut disks = machine.disks.iter();
    let disk = match &asked.disk {
        Some(target) => disks.find(|disk| disk.target == *target),
        None => {
            let mut written = disks.filter(|disk| !disk.read_only && disk.target != "nvram");
            written.next().filter(|_| written.next().is_none())
        }
    };
    let Some(disk) = disk else {
        let known: Vec<String> = machine
            .disks
            .iter()
            .map(|disk| printable(&disk.target))
            .collect();
        return not_found(format!("say which disk of {called}: {}", known.join(", ")));
    };
    Ok((machine, disk))
}

/// Definitions are changed with every operation: this one has nothing else to do.
#[derive(Debug)]
struct RedefineJob;

impl Job for RedefineJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Switch, 0);
        let _locks = Locking::default().settle(plan)?;
        plan.redefine_last()?;
        let changes = plan.definition_changes();
        let texts: Vec<String> = changes
            .iter()
            .map(|one| {
                format!(
                    "{}: {}",
                    printable(one.disk.to_string()),
                    printable(one.step.to_string())
                )
            })
            .collect();
        Ok(Outcome {
            summary: texts.join("; "),
            touched: changes.iter().map(DefinitionChange::left_as).collect(),
            undo: Some(Redefine::so(&reversed(&changes)).into()),
            remarks: Vec::new(),
        })
    }
}
