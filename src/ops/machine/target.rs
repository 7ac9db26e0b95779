//! The machine that is meant, and its disks: whether its definition may be changed now.

use std::path::{Path, PathBuf};

use crate::forest::{Forest, Node};
use crate::host::printable;
use crate::image::Format;
use crate::machines::{Disk, Machine, MachineState, Machines, Part, Use};

use crate::ops::branch::{NewOverlay, plan_overlay};
use crate::ops::framework::backing_format::seen;
use crate::ops::framework::built_on::BuiltOn;
use crate::ops::framework::definition_change::{Cure, Step, domain_disk, is_defined_by_service};
use crate::ops::framework::format::{listed, shown};
use crate::ops::framework::refusal::{Reason, RefusalKind, WayOut};
use crate::ops::redefine::find_machine;
use crate::ops::{BackingStyle, Branch, Error, ImageOptions, Plan, Power, PowerAction, Request};

/// The name by which a machine has the file that holds the variables of its firmware.
const NVRAM: &str = "nvram";

/// The machine of that name, which is off, so that its definition may be changed.
///
/// # Errors
/// Why it is not that, and what helps.
pub(super) fn changeable<'m>(
    machines: &'m [Machine],
    name: &str,
    connection: Option<&str>,
) -> Result<&'m Machine, Reason> {
    let machine = find_machine(machines, name, connection)?;
    let called = printable(&machine.name);
    let refused = |text: String| Err(Reason::new(RefusalKind::Machine, text));
    if !is_defined_by_service(machine) {
        return refused(format!(
            "the definition of {called} ({}) is not changed here: only libvirt's service is asked to",
            machine.product
        ));
    }
    match machine.state {
        MachineState::Off => {}
        MachineState::Running => {
            let shut_down = WayOut {
                label: format!("shut {called} down first"),
                request: Request::Power(Power {
                    machine: machine.name.clone(),
                    connection: Some(machine.place.clone()),
                    action: PowerAction::ShutDown,
                }),
            };
            let text =
                format!("{called} is running: its definition is only changed while it is off");
            return Err(Reason::new(RefusalKind::Machine, text).but(vec![shut_down]));
        }
        MachineState::Saved | MachineState::Unknown => {
            return refused(format!(
                "{called} is {}: its memory fits its disks as they are. Start it and shut it down first",
                machine.state.name()
            ));
        }
    }
    if let Some(checkpoint) = machine.checkpoints.first() {
        return refused(format!(
            "{called} has the checkpoint {}, from which its backups go on, and which only its disks as they are fit: \
             delete its checkpoints first",
            printable(checkpoint)
        ));
    }
    Ok(machine)
}

/// The disks that it writes.
pub(super) fn written(machine: &Machine) -> impl Iterator<Item = &Disk> {
    let disks = machine.disks.iter();
    disks.filter(|disk| !disk.read_only && disk.target != NVRAM)
}

/// The file with the variables of its firmware, if it has one.
pub(super) fn nvram(machine: &Machine) -> Option<&Disk> {
    machine.disks.iter().find(|disk| disk.target == NVRAM)
}

/// The disk of that name that it writes; without a name its only one.
///
/// # Errors
/// The names that there are.
pub(super) fn disk<'m>(machine: &'m Machine, target: Option<&str>) -> Result<&'m Disk, Reason> {
    let mut found = written(machine).filter(|disk| target.is_none_or(|it| it == disk.target));
    if let (Some(disk), None) = (found.next(), found.next()) {
        return Ok(disk);
    }
    let known: Vec<String> = written(machine)
        .map(|disk| printable(&disk.target))
        .collect();
    let text = match known.is_empty() {
        true => format!("{} has no disk that it writes", printable(&machine.name)),
        false => format!(
            "say which disk of {}: {}",
            printable(&machine.name),
            listed(&known, 9)
        ),
    };
    Err(Reason::new(RefusalKind::NotFound, text))
}

/// The image that a disk is.
///
/// # Errors
/// That it is not there, or was not looked at.
pub(super) fn image<'f>(
    forest: &'f Forest,
    machine: &Machine,
    disk: &Disk,
) -> Result<&'f Node, Reason> {
    forest.meant(&disk.file).ok_or_else(|| {
        let text = format!(
            "the disk {} of {} is not there, or is no image: {}",
            printable(&disk.target),
            printable(&machine.name),
            shown(&disk.file.path)
        );
        Reason::new(RefusalKind::NotFound, text)
    })
}

/// The format of what a disk of a machine is, or of a layer of it, as whoever opens it is told: the definition says
/// that of the disk itself, and the image above that of a layer. The guest of a raw disk can write a header that names
/// any file, so what the bytes look like is no answer. None where nobody says it.
///
/// # Errors
/// That it looks otherwise than it is said to be.
pub(super) fn format(
    forest: &Forest,
    machine: &Machine,
    disk: &Disk,
    base: &Node,
) -> Result<Option<Format>, Reason> {
    let leaf = image(forest, machine, disk)?;
    if base.id == leaf.id {
        let said = Format::from_name(machine.format_of(disk).unwrap_or("raw"));
        let who = format!("the definition of {}", printable(&machine.name));
        return agreed(&said, base, &who, "`virsh edit` changes the definition").map(Some);
    }
    let chain = forest.chain(leaf.id);
    let at = chain.iter().position(|id| *id == base.id);
    let above = at.and_then(|at| forest.get(*chain.get(at.checked_sub(1)?)?));
    let recorded = above.and_then(|above| Some((above, above.backing_format()?)));
    recorded
        .map(|(above, said)| {
            agreed(
                said,
                base,
                &shown(&above.path),
                "relink records another format",
            )
        })
        .transpose()
}

fn agreed(said: &Format, base: &Node, who: &str, mends: &str) -> Result<Format, Reason> {
    let looks_like = match seen(base) {
        // What its guest encrypts, or keeps in it, is raw to the machine all the same.
        Some(Format::Other(_)) if *said == Format::Raw => None,
        Some(seen) if seen != *said => Some(printable(seen.name())),
        _ => None,
    };
    let Some(looks_like) = looks_like else {
        return Ok(said.clone());
    };
    let text = format!(
        "{who} says that {} is {}, and it looks like {looks_like}: its guest may have written that, so nothing is built \
         on it by guess. Have both say the same first ({mends})",
        shown(&base.path),
        printable(said.name()),
    );
    Err(Reason::new(RefusalKind::BackingFormat, text))
}

/// That another machine than these writes an image, so that what is built on it is worthless once that runs.
pub(super) fn written_by_another(
    machines: &Machines,
    base: &Node,
    is_another: impl Fn(&Machine) -> bool,
) -> Option<Reason> {
    let is_it = |used: &Use<'_>| {
        matches!(used.part, Part::Disk(disk) if !disk.read_only) && is_another(used.machine)
    };
    let used = machines.uses_of(base).into_iter().find(is_it)?;
    let text = format!(
        "{} is written by {}: what is built on it would be worthless as soon as that runs. Branch that machine first",
        shown(&base.path),
        printable(used.to_string()),
    );
    Some(Reason::new(RefusalKind::Machine, text))
}

/// With all locks held: still no other machine than these writes what is built on.
///
/// # Errors
/// [`Error::Stale`] names the machine.
pub(super) fn look_again<'b>(
    plan: &Plan,
    bases: impl IntoIterator<Item = &'b PathBuf>,
    is_another: impl Fn(&Machine) -> bool,
) -> Result<(), Error> {
    let forest = &plan.context().forest;
    let Some(now) = forest.machines().again() else {
        return Ok(());
    };
    let mut nodes = bases.into_iter().filter_map(|base| forest.by_path(base));
    match nodes.find_map(|base| written_by_another(&now, base, &is_another)) {
        Some(reason) => Err(Error::stale(reason.text)),
        None => Ok(()),
    }
}

/// Has a machine have another file as its disk, a qcow2 image; none where that is so, or nobody changes its definition.
pub(super) fn leads_to(machine: &Machine, disk: &Disk, to: &Path) -> Option<Cure> {
    if disk.file.path == to {
        return None;
    }
    Some(Cure {
        disk: domain_disk(machine, disk)?,
        file: disk.file.path.clone(),
        step: Step::Source {
            from: disk.file.path.clone(),
            to: to.to_path_buf(),
        },
        format: Some("qcow2".to_owned()),
        keeps_pin: false,
        loses: None,
    })
}

/// Whether a file can be made there, as far as can be seen, besides these that are made too.
pub(super) fn is_free(plan: &Plan, path: &Path, taken: &[PathBuf]) -> bool {
    plan.host().stat_link(path).is_err()
        && plan.context().forest.by_path(path).is_none()
        && !taken.iter().any(|it| it == path)
}

/// What is asked of a new overlay for a machine.
pub(super) fn overlay(base: PathBuf, new: PathBuf, format: Option<Format>) -> Branch {
    Branch {
        base,
        new,
        format,
        size: None,
        style: BackingStyle::Relative,
        image: ImageOptions::default(),
    }
}

/// Plans it, with the question who uses its base.
pub(super) fn plan_on(plan: &mut Plan, branch: &Branch) -> Option<(NewOverlay, BuiltOn)> {
    let ask = |plan: &mut Plan, watch| BuiltOn::ask(plan, &branch.base, &branch.new, watch);
    plan_overlay(plan, branch, ask)
}

/// Whether it is that machine.
pub(super) fn is_same(one: &Machine, other: &Machine) -> bool {
    (&one.place, &one.id, &one.name) == (&other.place, &other.id, &other.name)
}
