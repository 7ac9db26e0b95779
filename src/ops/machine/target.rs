//! The machine that is meant, and its disks: whether its definition may be changed now.

use crate::forest::{Forest, Node};
use crate::host::printable;
use crate::machines::{Disk, Machine, MachineState};

use crate::ops::framework::definition_change::is_defined_by_service;
use crate::ops::framework::format::{listed, shown};
use crate::ops::framework::refusal::{Reason, RefusalKind, WayOut};
use crate::ops::redefine::find_machine;
use crate::ops::{Power, PowerAction, Request};

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
