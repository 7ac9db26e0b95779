//! Branching a machine: a new overlay for each disk, and the machine's definition leads to it, in one plan. What the
//! disks were stays as it is, and one undo leads back to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::overlay_name;
use crate::host::{Access, LockSet, printable};
use crate::image::Format;
use crate::machines::{Disk, Machine};

use crate::ops::branch::NewOverlay;
use crate::ops::framework::built_on::BuiltOn;
use crate::ops::framework::format::{listed, name, shown};
use crate::ops::framework::locks::{Locking, Locks};
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::refusal::Reason;
use crate::ops::framework::request::Name;
use crate::ops::framework::{absolute, resolve, resumed};
use crate::ops::live::branch::holds_nothing;
use crate::ops::power::{look_at, refuse_unformatted};
use crate::ops::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Request,
    Undo,
};

use super::target;

/// Have disks of a machine that is off be new overlays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchMachine {
    /// The machine's name, or its UUID.
    pub machine: String,
    /// The connection, where several have a machine of that name.
    pub connection: Option<String>,
    /// Which disks; none for every disk that it writes.
    pub disks: Vec<DiskBranch>,
    /// Whether it is started then.
    pub start: bool,
}

/// A disk and its new overlay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskBranch {
    /// The disk, by the name that the machine has for it; none for its only one.
    pub disk: Option<String>,
    /// What the overlay is built on; none for what the disk is now.
    pub on: Option<PathBuf>,
    /// The file to create; none for a name beside what it is built on.
    pub new: Option<PathBuf>,
}

impl Operation for BranchMachine {
    fn name(&self) -> &'static str {
        "machine"
    }

    fn verb(&self) -> &'static str {
        "Branch"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        let connection = self.connection.iter_mut();
        connection.for_each(|connection| visit(Name::Connection(connection)));
        for disk in &mut self.disks {
            for path in disk.on.iter_mut().chain(disk.new.iter_mut()) {
                visit(Name::Path(path));
            }
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line =
            CommandLine::new(&["machine", "branch"]).option("--connect", self.connection.as_ref());
        let (line, new) = match &self.disks[..] {
            [] => (line, None),
            [one] => {
                let line = line
                    .option("--disk", one.disk.as_ref())
                    .option_path("--on", one.on.as_ref());
                (line, one.new.as_ref())
            }
            // Several are named by what asks for them.
            _ => return None,
        };
        let line = line.flag("--start", self.start).word(&self.machine);
        Some(new.into_iter().fold(line, |line, new| line.path(new)))
    }

    fn plan(&self, plan: &mut Plan) {
        plan_branch(plan, self);
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        let made = half.there_of(&half.entry.creates);
        if let Some(way) = written_since(half, &made) {
            return way;
        }
        // The definition leads to them once all are there.
        let is_whole = made.len() == half.entry.creates.len();
        let back = half.planned_way_back().filter(|_| is_whole);
        back.unwrap_or_else(|| half.unmake())
    }
}

/// That a machine has run with one of these overlays since, and what it wrote would go with that.
pub(super) fn written_since(half: &Half<'_>, overlays: &[PathBuf]) -> Option<Way> {
    let host = half.context.host.as_ref();
    let mut there = overlays.iter().filter(|file| half.is_there(file));
    let written = there.find(|file| !holds_nothing(host, file))?;
    Some(Way::Impossible(format!(
        "{} was written since, by a machine that has run with it: finish it instead",
        shown(written)
    )))
}

/// Plans it.
pub(super) fn plan_branch(plan: &mut Plan, asked: &BranchMachine) {
    let title = format!("Branch the machine {}", printable(&asked.machine));
    plan.title.clone_from(&title);
    let planned = planned(plan, asked);
    plan.title = title;
    plan.is_done_by(planned.map(Some));
}

/// What is done to one disk.
struct Wanted {
    disk: Disk,
    on: PathBuf,
    /// The format of that, as far as anybody says it.
    format: Option<Format>,
    new: PathBuf,
}

fn planned(plan: &mut Plan, asked: &BranchMachine) -> Result<BranchMachineJob, Reason> {
    let forest = Arc::clone(&plan.context().forest);
    let machines = forest.machines();
    let machine = target::changeable(machines.list(), &asked.machine, asked.connection.as_deref())?;
    let wanted = wanted(plan, machine, asked)?;
    let found_out = found_out(machine, asked, &wanted);
    let request: Request = found_out.into();
    let made = resumed::made(plan.context(), &request);
    plan.request = request.clone();
    let (mut overlays, mut kept_bases, mut cures) = (Vec::new(), Vec::new(), Vec::new());
    for one in &wanted {
        if made.contains(&one.new) && is_there(plan, &request, one) {
            kept_bases.push(one.on.clone());
        } else {
            overlays.extend(new_overlay(plan, machine, one));
        }
        cures.extend(target::leads_to(machine, &one.disk, &one.new));
    }
    let new: Vec<PathBuf> = wanted.iter().map(|one| one.new.clone()).collect();
    let is_first = !cures.is_empty();
    if asked.start {
        refuse_start(plan, machine, &wanted);
    } else if overlays.is_empty() && cures.is_empty() {
        plan.refuse_as_done(format!(
            "{} has these disks already",
            printable(&machine.name)
        ));
    }
    if plan.refusals.is_empty() {
        plan.redefine_for(cures);
    }
    plan.undo = match is_first {
        true => Undo::Possible("discard the new overlays".to_owned()),
        false => Undo::Impossible("start it, or have it use its old disks".to_owned()),
    };
    plan.roll_back = Some(Request::discard(new.clone()));
    Ok(BranchMachineJob {
        name: printable(&machine.name),
        connection: machine.place.clone(),
        id: machine.id.clone().unwrap_or_default(),
        overlays,
        bases: wanted.iter().map(|one| one.on.clone()).collect(),
        kept_bases,
        new,
        is_first,
        start: asked.start,
    })
}

/// Each disk with what it becomes, nothing left open.
fn wanted(plan: &Plan, machine: &Machine, asked: &BranchMachine) -> Result<Vec<Wanted>, Reason> {
    let forest = &plan.context().forest;
    let every: Vec<DiskBranch> = target::written(machine)
        .map(|disk| DiskBranch {
            disk: Some(disk.target.clone()),
            ..DiskBranch::default()
        })
        .collect();
    let disks = if asked.disks.is_empty() {
        &every
    } else {
        &asked.disks
    };
    let mut all: Vec<Wanted> = Vec::new();
    for one in disks {
        let disk = target::disk(machine, one.disk.as_deref())?;
        let base = match &one.on {
            Some(on) => resolve::named(plan.context(), on)?,
            None => target::image(forest, machine, disk)?,
        };
        let format = target::format(forest, machine, disk, base)?;
        let is_another = |it: &Machine| !target::is_same(it, machine);
        if let Some(reason) = target::written_by_another(forest.machines(), base, is_another) {
            return Err(reason);
        }
        let on = absolute::path(&base.path);
        let taken: Vec<PathBuf> = all.iter().map(|it| it.new.clone()).collect();
        let new = match &one.new {
            Some(new) => absolute::path(new),
            None => overlay_name(&on, |path| target::is_free(plan, path, &taken)),
        };
        if all
            .iter()
            .any(|it| it.new == new || it.disk.target == disk.target)
        {
            let text = format!(
                "the disk {} or the file {} is named twice",
                printable(&disk.target),
                shown(&new)
            );
            return Err(Reason::new(RefusalKind::Invalid, text));
        }
        all.push(Wanted {
            disk: disk.clone(),
            on,
            format,
            new,
        });
    }
    if all.is_empty() {
        target::disk(machine, None)?;
    }
    Ok(all)
}

/// The same asked for in full: what is asked again after an interruption means the same files.
fn found_out(machine: &Machine, asked: &BranchMachine, wanted: &[Wanted]) -> BranchMachine {
    let disks = wanted.iter().map(|one| DiskBranch {
        disk: Some(one.disk.target.clone()),
        on: Some(one.on.clone()),
        new: Some(one.new.clone()),
    });
    BranchMachine {
        machine: machine.id.clone().unwrap_or_else(|| asked.machine.clone()),
        connection: Some(machine.place.clone()),
        disks: disks.collect(),
        start: asked.start,
    }
}

/// Whether the overlay is there, as an interruption has left it, on a base that is what it was; the plan rests on that
/// then.
fn is_there(plan: &mut Plan, request: &Request, one: &Wanted) -> bool {
    let context = plan.context().clone();
    let is_built = resolve::named(&context, &one.new).is_ok_and(|node| {
        let base = resolve::named(&context, &one.on);
        base.is_ok_and(|base| node.parent == Some(base.id))
            && resumed::is_as_begun(&context, request, &one.on)
    });
    if is_built {
        plan.effect(EffectKind::Reads, &one.new, None, "it is there already");
    }
    is_built
}

/// Plans a new overlay, and says what becomes of what the disk was.
fn new_overlay(plan: &mut Plan, machine: &Machine, one: &Wanted) -> Option<(NewOverlay, BuiltOn)> {
    let branch = target::overlay(one.on.clone(), one.new.clone(), one.format.clone());
    let planned = target::plan_on(plan, &branch)?;
    let forest = Arc::clone(&plan.context().forest);
    let (called, was) = (printable(&machine.name), &one.disk.file.path);
    match *was == one.on {
        true => plan.effect(
            EffectKind::Freezes,
            was,
            None,
            format!("{called} goes on in {}", name(&one.new)),
        ),
        false => plan.keeps.push(format!(
            "{}: the present state of the disk {} of {called}, a branch from then on",
            shown(was),
            printable(&one.disk.target)
        )),
    }
    if forest.pin_mismatch(&one.disk).is_some() {
        plan.warn(
            NoteKind::Machine,
            format!(
                "the definition of {called} says otherwise than the headers what {} is built on: its guest sees then \
                 what the headers say",
                shown(was)
            ),
        );
    }
    Some(planned)
}

/// Refuses a start that libvirt would refuse, or that would harm somebody.
fn refuse_start(plan: &mut Plan, machine: &Machine, wanted: &[Wanted]) {
    let forest = Arc::clone(&plan.context().forest);
    for disk in target::written(machine) {
        let Some(one) = wanted.iter().find(|one| one.disk.target == disk.target) else {
            look_at(plan, &forest, machine, disk);
            continue;
        };
        let mut unpinned = disk.clone();
        unpinned.pinned.clear();
        unpinned.pin_ends = false;
        if let Some(base) = forest.by_path(&one.on) {
            refuse_unformatted(plan, &forest, base, &unpinned);
        }
    }
}

/// What makes the overlays, and has the machine have them.
#[derive(Debug)]
struct BranchMachineJob {
    name: String,
    connection: String,
    id: String,
    overlays: Vec<(NewOverlay, BuiltOn)>,
    /// What they are built on.
    bases: Vec<PathBuf>,
    /// What overlays are built on that are there already.
    kept_bases: Vec<PathBuf>,
    new: Vec<PathBuf>,
    /// Whether the definition is changed by this, and not by what was interrupted.
    is_first: bool,
    start: bool,
}

impl Job for BranchMachineJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Collect, 0);
        // Until the definition leads to the overlays nobody begins to write what they are built on.
        let locks = self.make(plan, progress)?;
        plan.redefine_sources()?;
        drop(locks);
        let names: Vec<String> = self.new.iter().map(|new| shown(new)).collect();
        let mut summary = format!("{} has {} from now on", self.name, listed(&names, 5));
        if self.start {
            self.start(plan)?;
            summary.push_str(", and runs");
        }
        let old = plan.redefinitions.iter().map(|one| one.change.file.clone());
        Ok(Outcome {
            summary,
            touched: self.new.iter().cloned().chain(old).collect(),
            undo: self.is_first.then(|| Request::discard(self.new.clone())),
            remarks: Vec::new(),
        })
    }
}

impl BranchMachineJob {
    fn make(&self, plan: &Plan, progress: &Progress) -> Result<Locks, Error> {
        let host = plan.host();
        let mut locking = Locking::default();
        for (_, on) in &self.overlays {
            on.hold(host, &mut locking)?;
        }
        for base in &self.kept_bases {
            let _ = locking.take(host, base, Access::Read, LockSet::ReadOnly)?;
        }
        let locks = locking.settle(plan)?;
        target::look_again(plan, &self.bases, |it| !self.is_it(it))?;
        progress.enter(Phase::Switch, 0);
        for (overlay, on) in &self.overlays {
            overlay.create(host, &locks, progress)?;
            on.look_again(host, std::slice::from_ref(&overlay.new))?;
        }
        Ok(locks)
    }

    fn is_it(&self, machine: &Machine) -> bool {
        machine.place == self.connection && machine.id.as_ref() == Some(&self.id)
    }

    fn start(&self, plan: &Plan) -> Result<(), Error> {
        let machines = plan.context().forest.machines();
        let started = machines
            .domain(&self.connection, &self.id)
            .and_then(|mut domain| domain.start());
        started.map_err(|error| Error::failed(format!("{} does not start: {error}", self.name)))
    }
}
