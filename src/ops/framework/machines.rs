//! What an operation does to machines: whether one that is defined would miss a disk, see other bytes, or no longer
//! fit what is kept of it. Asked here for every operation, by what its plan does to files: when it is planned, and
//! once more by [`look_again`] under its locks. Who runs now is known by the locks as well (`locks`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::forest::Node;
use crate::host::printable;
use crate::machines::{Machine, MachineState, Machines, Part, Places, Use};
use crate::units::count;

use super::context::Context;
use super::error::Error;
use super::format::{name, shown};
use super::note::NoteKind;
use super::on_machines::OnMachines;
use super::plan::{Effect, EffectKind, Plan};
use super::refusal::{RefusalKind, WayOut};
use super::request::Request;

/// What was asked for so long ago is asked again before a plan rests on it, where nothing stands in the way.
const FRESH: Duration = Duration::from_secs(1);
/// Products that could not be asked and are told one by one, at most.
const MOST_TOLD: usize = 3;

/// A machine that is harmed by what happens to a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Harm {
    path: PathBuf,
    /// A sentence.
    text: String,
}

impl Context {
    /// Asks which machines there are, around the images that are known, unless that was just done; and notes them.
    pub fn ask_machines(&mut self) {
        let known = Arc::clone(self.forest.machines());
        let now = if known.are_asked() {
            known.not_older_than(FRESH).map_or(known, Arc::new)
        } else {
            let places = Places::here(Arc::clone(&self.host), self.forest.folders());
            Arc::new(Machines::ask(places))
        };
        self.know_machines(now);
    }

    /// Notes these machines. Their disks count where somebody asks who is built on an image, wherever they lie.
    pub fn know_machines(&mut self, machines: Arc<Machines>) {
        let disks = self.forest.disks_elsewhere(&self.host, &machines);
        let forest = Arc::make_mut(&mut self.forest);
        if !disks.is_empty() {
            forest.extend(disks);
        }
        forest.note_machines(machines);
    }
}

/// The machines as they are now, with all locks held; none where nobody asked when it was planned, or where the plan
/// does nothing to them.
pub(in crate::ops) fn now(plan: &Plan) -> Option<Machines> {
    let known = plan.context().forest.machines();
    is_judged(plan).then(|| known.again()).flatten()
}

/// Judges what the plan does to machines. What only adds files, or changes nothing that can be read, does nothing
/// to them. What was judged before is not judged again.
pub(in crate::ops) fn judge(plan: &mut Plan) {
    if plan.machines.is_some() || !is_judged(plan) {
        return;
    }
    let mut machines = Arc::clone(plan.context().forest.machines());
    let mut harms = harms_by(plan, &machines);
    // What stands in the way has to stand there now; what does not is asked for again under locks.
    let age = if harms.is_empty() {
        FRESH
    } else {
        Duration::ZERO
    };
    if let Some(now) = machines.not_older_than(age) {
        harms = harms_by(plan, &now);
        machines = Arc::new(now);
    }
    let files: BTreeSet<&Path> = harms.iter().map(|harm| harm.path.as_path()).collect();
    let number = u64::try_from(files.len()).unwrap_or(u64::MAX);
    match plan.on_machines {
        OnMachines::Refuse => refuse(plan, harms),
        OnMachines::Count => {
            plan.machines_harmed = number;
            warn(plan, harms);
        }
        OnMachines::Warn => warn(plan, harms),
    }
    tell_unasked(plan, &machines);
    plan.machines = Some(machines);
}

fn is_judged(plan: &Plan) -> bool {
    !plan.request.only_adds() && plan.effects.iter().any(|effect| is_done_to(effect.kind))
}

fn refuse(plan: &mut Plan, harms: Vec<Harm>) {
    let is_alone = plan.refusals.is_empty();
    for (number, harm) in harms.into_iter().enumerate() {
        let ways_out = if is_alone && number == 0 {
            vec![WayOut {
                label: "go on all the same: it asks for a number".to_owned(),
                request: Request::despite_machines(plan.request.clone()),
            }]
        } else {
            Vec::new()
        };
        plan.refuse_but(RefusalKind::Machine, harm.text, ways_out);
    }
}

fn warn(plan: &mut Plan, harms: Vec<Harm>) {
    for harm in harms {
        plan.warn(NoteKind::Machine, harm.text);
    }
}

/// Says who could not be asked: that nobody names a file is no answer then.
fn tell_unasked(plan: &mut Plan, machines: &Machines) {
    let unasked = machines.unasked();
    for one in unasked.iter().take(MOST_TOLD) {
        plan.warn(
            NoteKind::Unseen,
            format!("which machines use these images could not be asked: {one}"),
        );
    }
    if let Some(more) = unasked
        .len()
        .checked_sub(MOST_TOLD)
        .filter(|more| *more > 0)
    {
        plan.warn(
            NoteKind::Unseen,
            format!(
                "nor could {} more be asked",
                count(more, "place where machines are defined")
            ),
        );
    }
}

/// Judges the plan by the machines as they are now, with all locks held.
///
/// # Errors
/// [`Error::Stale`] tells of a harm to a machine that the plan did not know.
pub(in crate::ops) fn look_again(plan: &Plan, now: &Machines) -> Result<(), Error> {
    let Some(known) = plan.machines.as_ref().filter(|_| is_judged(plan)) else {
        return Ok(());
    };
    let before: BTreeSet<Harm> = harms_by(plan, known).into_iter().collect();
    match harms_by(plan, now)
        .into_iter()
        .find(|harm| !before.contains(harm))
    {
        Some(harm) if plan.on_machines != OnMachines::Warn => Err(Error::stale(format!(
            "{}, which the plan did not know: plan again",
            harm.text
        ))),
        _ => Ok(()),
    }
}

/// Warns of a base that goes when a snapshot is deleted, of whatever is going to be built on it.
pub(in crate::ops) fn warn_of_owner(plan: &mut Plan, base: &Node, new: &Path) {
    let forest = Arc::clone(&plan.context().forest);
    for Use { machine, part } in forest.uses(base) {
        if let Part::OwnedBy(snapshot) = part {
            plan.warn(NoteKind::Machine, format!(
                "{} was made for the snapshot {} of the machine {}: when that is deleted, {} removes it, and {} \
                 cannot be read any more",
                shown(&base.path),
                printable(&snapshot.name),
                printable(&machine.name),
                machine.product,
                name(new)
            ));
        }
    }
}

fn is_done_to(kind: EffectKind) -> bool {
    kind.leaves() || kind.changes()
}

/// Whether the guest sees other bytes in it afterwards.
fn shows_other(kind: EffectKind) -> bool {
    matches!(
        kind,
        EffectKind::Writes | EffectKind::Grows | EffectKind::Breaks
    )
}

/// All machines that the plan harms, each sentence once.
fn harms_by(plan: &Plan, machines: &Machines) -> Vec<Harm> {
    if machines.use_nothing() {
        return Vec::new();
    }
    let mut found: Vec<Harm> = Vec::new();
    for effect in plan.effects.iter().filter(|effect| is_done_to(effect.kind)) {
        for used in uses(plan, machines, &effect.path) {
            let Some(text) = harm(plan, effect, used) else {
                continue;
            };
            let harm = Harm {
                path: effect.path.clone(),
                text,
            };
            if !found.contains(&harm) {
                found.push(harm);
            }
        }
    }
    found
}

fn uses<'m>(plan: &Plan, machines: &'m Machines, path: &Path) -> Vec<Use<'m>> {
    match plan.context().forest.by_path(path) {
        Some(node) => machines.uses_of(node),
        None => {
            let stat = plan.host().stat(path).ok();
            machines.uses([path], stat.map(|stat| stat.id))
        }
    }
}

/// What happens to a machine by what is done to a file that it uses, if that is no good.
fn harm(plan: &Plan, effect: &Effect, Use { machine, part }: Use<'_>) -> Option<String> {
    let kind = effect.kind;
    let path = shown(&effect.path);
    let who = called(machine);
    let is_told = |plan: &Plan| plan.refusals.iter().any(|it| it.kind == RefusalKind::InUse);
    if machine.state == MachineState::Running && is_told(plan) {
        return None;
    }
    if kind.leaves() && !plan.puts_another_at(&effect.path) {
        let what = printable(part.to_string());
        return Some(format!(
            "{path} is {what} of {who}, which needs it at its place: take it out of the machine first"
        ));
    }
    let (is_disk, is_pinned) = match part {
        Part::Disk(disk) => (!disk.read_only, disk.is_pinned()),
        // The last layer that is pinned is read by its own header, unless the pin ends there.
        Part::Pinned(disk, at) => (true, disk.pin_ends || at + 1 < disk.pinned.len()),
        Part::NeededBy(snapshot) if shows_other(kind) => {
            return Some(format!(
                "going back to the snapshot {} of {who} starts from {path}, which would show something else",
                printable(&snapshot.name)
            ));
        }
        Part::NeededBy(_) | Part::OwnedBy(_) => return None,
    };
    if !is_disk {
        return None;
    }
    if machine.state == MachineState::Running {
        return Some(format!("{path} is used by {who}: shut it down first"));
    }
    if kind == EffectKind::Relinks && is_pinned {
        return Some(format!(
            "the definition of {who} says itself what {path} is built on (`<backingStore>`), whatever is recorded \
             in the image: it would go on with the old layers and see other bytes. Take that out of the \
             definition first"
        ));
    }
    if machine.state == MachineState::Saved && kind.changes() {
        return Some(format!(
            "{who} is saved with its memory, which only fits {path} as it is now: start it and shut it down first"
        ));
    }
    if let Some(checkpoint) = machine
        .checkpoints
        .first()
        .filter(|_| kind != EffectKind::Updates)
    {
        return Some(format!(
            "{who} has the checkpoint {}, from which its backups go on, and which would no longer fit {path}: \
             delete its checkpoints first",
            printable(checkpoint)
        ));
    }
    (kind == EffectKind::Breaks)
        .then(|| format!("{who} has {path} as its disk, and would see other bytes"))
}

/// `the machine web (libvirt, off)`
fn called(machine: &Machine) -> String {
    format!(
        "the machine {} ({}, {})",
        printable(&machine.name),
        machine.product,
        machine.state.name()
    )
}
