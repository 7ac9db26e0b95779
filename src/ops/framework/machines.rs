//! What an operation does to machines: whether one that is defined would miss a disk, see other bytes, or no longer
//! fit what is kept of it. Asked here for every operation, by what its plan does to files: when it is planned, and
//! once more by [`look_again`] under its locks. Who runs now is known by the locks as well (`locks`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::forest::Node;
use crate::host::printable;
use crate::machines::{Disk, Machine, MachineState, Machines, Part, Places, Use};
use crate::units::count;

use super::absolute;
use super::backing_name::real_place;
use super::context::Context;
use super::definition_change::{Cure, DomainDisk, Redefines, Step, Successor, domain_disk, label};
use super::error::Error;
use super::format::{listed, name, shown};
use super::layer_below;
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
    /// Whether the machine depends on the file where nothing may, whatever was agreed to.
    depends: bool,
    /// The disk that the file is to it, where libvirt's service defines that.
    disk: Option<DomainDisk>,
    /// What its definition needs, so that it is none.
    cure: Option<Cure>,
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
    let (depending, harms): (Vec<Harm>, Vec<Harm>) = harms.into_iter().partition(|it| it.depends);
    for harm in depending {
        plan.refuse(RefusalKind::HasDependants, harm.text);
    }
    let harms = redefine(plan, &machines, harms);
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
        || plan.redefines != Redefines::Nothing
}

/// Plans the changes of definitions that were asked for; gives the harms that are left.
fn redefine(plan: &mut Plan, machines: &Machines, mut harms: Vec<Harm>) -> Vec<Harm> {
    match plan.redefines.clone() {
        Redefines::Nothing => {}
        Redefines::AsNeeded => {
            harms.extend(left_behind(plan, machines, &harms));
            let (cured, left): (Vec<Harm>, Vec<Harm>) =
                harms.into_iter().partition(|harm| harm.cure.is_some());
            harms = left;
            warn_of_content(plan, &cured);
            // A plan that is refused is no reason to ask for rights.
            if plan.refusals.is_empty()
                && (harms.is_empty() || plan.on_machines != OnMachines::Refuse)
            {
                plan.redefine_for(cures(&cured));
            }
        }
        Redefines::These(changes) => {
            let is_seen_to = |harm: &Harm| {
                let of_disk = changes.iter();
                let mut of_disk = of_disk.filter(|it| harm.disk.as_ref() == Some(&it.disk));
                of_disk.any(|change| match &change.step {
                    Step::Source { from, .. } if absolute::path(&harm.path) == *from => true,
                    _ => harm.cure.is_some(),
                })
            };
            let (cured, left): (Vec<Harm>, Vec<Harm>) = harms.into_iter().partition(is_seen_to);
            harms = left;
            warn_of_content(plan, &cured);
            if plan.refusals.is_empty() {
                plan.redefine_so(&changes);
            }
        }
    }
    harms
}

/// Says which machines have another content then, although nobody is in the way of that.
fn warn_of_content(plan: &mut Plan, cured: &[Harm]) {
    for cure in cures(cured) {
        if let Some(text) = layer_below::warning(plan, &cure) {
            plan.warn(NoteKind::Machine, text);
        }
    }
}

/// The machines whose disk gets a successor, and stays at its place all the same.
fn left_behind(plan: &Plan, machines: &Machines, known: &[Harm]) -> Vec<Harm> {
    let mut found = Vec::new();
    for successor in &plan.successors {
        for Use { machine, part } in uses(plan, machines, &successor.from) {
            let Part::Disk(disk) = part else { continue };
            if disk.read_only || is_at(plan, disk, &successor.to) {
                continue;
            }
            let cure = cure(machine, disk, || to_successor(successor));
            let harm = Harm {
                path: successor.from.clone(),
                depends: false,
                disk: domain_disk(machine, disk),
                text: format!(
                    "the definition of {} is only changed while it is off, and nothing of it is saved or marked by \
                     checkpoints",
                    called(machine)
                ),
                cure,
            };
            if known
                .iter()
                .all(|known| known.cure.is_none() || known.cure != harm.cure)
            {
                found.push(harm);
            }
        }
    }
    found
}

/// Each once, and of one disk first what takes its pin out.
fn cures(harms: &[Harm]) -> Vec<Cure> {
    let all = harms.iter().filter_map(|harm| harm.cure.clone());
    let mut cures: Vec<Cure> = Vec::new();
    for cure in all {
        if !cures.contains(&cure) {
            cures.push(cure);
        }
    }
    cures.sort_by_key(|cure| match cure.step {
        Step::Unpin => 0,
        Step::Source { .. } => 1,
        Step::Pin => 2,
    });
    cures
}

fn refuse(plan: &mut Plan, harms: Vec<Harm>) {
    let is_alone = plan.refusals.is_empty();
    let mut ways_out = ways_out(plan, &harms);
    for harm in harms {
        let ways_out = match is_alone {
            true => std::mem::take(&mut ways_out),
            false => Vec::new(),
        };
        plan.refuse_but(RefusalKind::Machine, harm.text, ways_out);
    }
}

/// Where each machine goes on with another definition, that is the first way out.
fn ways_out(plan: &Plan, harms: &[Harm]) -> Vec<WayOut> {
    let mut ways = Vec::new();
    if plan.redefines == Redefines::Nothing && harms.iter().all(|harm| harm.cure.is_some()) {
        let labels: Vec<String> = cures(harms).iter().map(label).collect();
        ways.push(WayOut {
            label: format!("change the definition too: {}", listed(&labels, 3)),
            request: Request::redefining(plan.asked.clone()),
        });
    }
    ways.push(WayOut {
        label: "go on all the same: it asks for a number".to_owned(),
        request: Request::despite_machines(plan.asked.clone()),
    });
    ways
}

/// What the definition of a disk needs, where it may be changed.
fn cure(
    machine: &Machine,
    disk: &Disk,
    step: impl FnOnce() -> (Step, Option<String>, bool),
) -> Option<Cure> {
    let domain = domain_disk(machine, disk).filter(|_| may_change(machine))?;
    let (step, format, keeps_pin) = step();
    Some(Cure {
        disk: domain,
        file: disk.file.path.clone(),
        step,
        format,
        keeps_pin,
        loses: None,
    })
}

/// Whether nothing but its definition says what its disks are.
fn may_change(machine: &Machine) -> bool {
    machine.state == MachineState::Off && machine.checkpoints.is_empty()
}

fn to_successor(successor: &Successor) -> (Step, Option<String>, bool) {
    let step = Step::Source {
        from: successor.from.clone(),
        to: successor.to.clone(),
    };
    (step, successor.format.clone(), successor.keeps_layers)
}

/// Taking the pin out, where the headers say the same.
fn without_pin(plan: &Plan, machine: &Machine, disk: &Disk) -> Option<Cure> {
    let agrees = plan.context().forest.pin_mismatch(disk).is_none();
    let step = || (Step::Unpin, None, false);
    agrees.then(|| cure(machine, disk, step)).flatten()
}

/// Whether the definition names that place.
fn is_at(plan: &Plan, disk: &Disk, place: &Path) -> bool {
    let real = |path: &Path| real_place(plan.host(), path).ok();
    disk.file.path == place || real(&disk.file.path).is_some_and(|it| Some(it) == real(place))
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
        Some(harm) if harm.depends || plan.on_machines != OnMachines::Warn => Err(Error::stale(
            format!("{}, which the plan did not know: plan again", harm.text),
        )),
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
            let disk = disk_of(used.part).and_then(|disk| domain_disk(used.machine, disk));
            let depends = depends(plan, effect, used);
            let is_harmed = || harm(plan, machines, effect, used);
            let Some((text, cure)) = depends.clone().map(|text| (text, None)).or_else(is_harmed)
            else {
                continue;
            };
            let harm = Harm {
                path: effect.path.clone(),
                text,
                depends: depends.is_some(),
                disk,
                cure,
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

/// How a machine depends on a file on which nothing may: that one of its layers is this file it says itself, whatever
/// headers say.
fn depends(plan: &Plan, effect: &Effect, Use { machine, part }: Use<'_>) -> Option<String> {
    let does_it = plan.through.as_ref().is_some_and(|it| it.is(machine));
    let is_so = plan.has_no_dependants && matches!(part, Part::Pinned(..)) && !does_it;
    is_so.then(|| {
        format!(
            "the definition of the machine {} says that {} is a layer below one of its disks (`<backingStore>`), so \
             that disk depends on it",
            printable(&machine.name),
            shown(&effect.path)
        )
    })
}

/// What happens to a machine by what is done to a file that it uses, if that is no good.
fn harm(
    plan: &Plan,
    machines: &Machines,
    effect: &Effect,
    Use { machine, part }: Use<'_>,
) -> Option<(String, Option<Cure>)> {
    let plain = |text: String| Some((text, None));
    let kind = effect.kind;
    let path = shown(&effect.path);
    let who = called(machine);
    let does_it = plan.through.as_ref().filter(|it| it.is(machine));
    if plan.undefines.is_some() && plan.undefines == machine.id {
        return None;
    }
    let is_told = |plan: &Plan| plan.refusals.iter().any(|it| it.kind == RefusalKind::InUse);
    if machine.state == MachineState::Running && is_told(plan) {
        return None;
    }
    if kind.leaves() && !plan.puts_another_at(&effect.path) {
        if does_it.is_some_and(|it| it.sees_to(part)) {
            return None;
        }
        return leaves(plan, machines, effect, Use { machine, part });
    }
    let (is_disk, is_pinned) = match part {
        Part::Disk(disk) => (!disk.read_only, disk.is_pinned()),
        // The last layer that is pinned is read by its own header, unless the pin ends there.
        Part::Pinned(disk, at) => (true, disk.pin_ends || at + 1 < disk.pinned.len()),
        Part::NeededBy(snapshot) if shows_other(kind) => {
            return plain(format!(
                "going back to the snapshot {} of {who} starts from {path}, which would show something else",
                printable(&snapshot.name)
            ));
        }
        Part::NeededBy(_) | Part::OwnedBy(_) => return None,
    };
    if !is_disk {
        return None;
    }
    if machine.state == MachineState::Running && does_it.is_none() {
        return plain(format!("{path} is used by {who}: shut it down first"));
    }
    if kind == EffectKind::Relinks && is_pinned && does_it.is_none() {
        let text = format!(
            "the definition of {who} says itself what {path} is built on (`<backingStore>`), whatever is recorded \
             in the image: it would go on with the old layers and see other bytes. Take that out of the \
             definition first"
        );
        let cure = disk_of(part).and_then(|disk| without_pin(plan, machine, disk));
        return Some((text, cure));
    }
    if machine.state == MachineState::Saved && kind.changes() {
        return plain(format!(
            "{who} is saved with its memory, which only fits {path} as it is now: start it and shut it down first"
        ));
    }
    if let Some(checkpoint) = machine
        .checkpoints
        .first()
        .filter(|_| kind != EffectKind::Updates)
    {
        return plain(format!(
            "{who} has the checkpoint {}, from which its backups go on, and which would no longer fit {path}: \
             delete its checkpoints first",
            printable(checkpoint)
        ));
    }
    (kind == EffectKind::Breaks).then(|| {
        let text = format!("{who} has {path} as its disk, and would see other bytes");
        (text, None)
    })
}

/// What happens to a machine where a file that it uses leaves its place.
fn leaves(
    plan: &Plan,
    machines: &Machines,
    effect: &Effect,
    Use { machine, part }: Use<'_>,
) -> Option<(String, Option<Cure>)> {
    let place = absolute::path(&effect.path);
    let successor = plan.successors.iter().find(|one| one.from == place);
    let mut why_not = String::new();
    let cure = match part {
        Part::Disk(disk) => {
            // It names the new place already, by which the same file goes.
            if successor.is_some_and(|one| is_at(plan, disk, &one.to)) {
                return None;
            }
            match successor {
                Some(one) => cure(machine, disk, || to_successor(one)),
                None if may_change(machine) && !disk.read_only => {
                    let below = layer_below::cure(plan, machines, machine, disk, &effect.path);
                    below.unwrap_or_else(|why| {
                        why_not = format!("; {why}");
                        None
                    })
                }
                None => None,
            }
        }
        Part::Pinned(disk, _) => without_pin(plan, machine, disk),
        Part::OwnedBy(_) | Part::NeededBy(_) => None,
    };
    let text = format!(
        "{} is {} of {}, which needs it at its place: take it out of the machine first{why_not}",
        shown(&effect.path),
        printable(part.to_string()),
        called(machine)
    );
    Some((text, cure))
}

fn disk_of(part: Part<'_>) -> Option<&Disk> {
    match part {
        Part::Disk(disk) | Part::Pinned(disk, _) => Some(disk),
        Part::OwnedBy(_) | Part::NeededBy(_) => None,
    }
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
