//! Machines in the images pane: beside the names of their disks, and as headings of the view by machine.

use std::collections::BTreeSet;

use ratatui::text::Line;

use crate::forest::{Node, machine_words};
use crate::host::printable;
use crate::machines::{Disk, Machine, Part};
use crate::tui::app::App;
use crate::tui::order::View;
use crate::tui::rows::{Row, RowKind, nth};
use crate::tui::text;

/// Machines named at most where all are told.
const NAMED: usize = 20;

/// In fewer cells a machine's name says nothing.
const LEAST: usize = 9;

/// Which machines there are to be asked for.
pub(super) fn known(app: &App) -> String {
    let machines = app.forest.all_machines();
    let names: BTreeSet<&str> = machines.map(|it| it.name.as_str()).collect();
    if names.is_empty() {
        return "No machine is known here.".to_owned();
    }
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names: Vec<String> = names.into_iter().take(NAMED).map(text::safe).collect();
    format!("Machines: {}{more}.", names.join(", "))
}

/// The name, and behind it whose disk the image is, as far as there is room.
pub(super) fn beside_name(app: &App, node: Option<&Node>, name: String, room: usize) -> String {
    // Under its machine it needs not to be said again.
    let node = node.filter(|_| app.tree.view != View::Machines);
    let words = node.map(|node| machine_words(&app.forest, node));
    let words = words.unwrap_or_default().join(", ");
    let left = room.saturating_sub(text::width(&name));
    if words.is_empty() || left < LEAST {
        return name;
    }
    let words = text::cut_end(&text::safe(&words), left - 3, app.settings.ascii);
    format!("{name} ({words})")
}

/// `web (libvirt, running)`, of a host `web (libvirt on db, running)`.
pub(super) fn heading(app: &App, place: u32) -> String {
    let Some(machine) = machine(app, place) else {
        return String::new();
    };
    let none = match machine.disks.is_empty() {
        true => ": no disk",
        false => "",
    };
    text::safe(&format!("{machine}{none}"))
}

/// A disk that is not among the images.
pub(super) fn unknown_disk(app: &App, place: u32, at: u32) -> String {
    let disk = machine(app, place).and_then(|machine| nth(&machine.disks, at));
    disk.map_or_else(String::new, |disk| {
        let why = match disk.file.file {
            None => "is not there",
            Some(_) => "is not in these folders",
        };
        let path = printable(&disk.file.path);
        format!("{}: {path} {why}", text::safe(&disk.target))
    })
}

/// The machine's disk that an image on a row is, where the row stands below a machine.
pub(super) fn disk_of<'a>(app: &'a App, row: &Row, node: &Node) -> Option<&'a Disk> {
    let above = nth(&app.tree.rows.list, row.parent?)?;
    let RowKind::Machine(place) = above.kind else {
        return None;
    };
    let machine = machine(app, place)?;
    let uses = app.forest.uses(node).into_iter();
    let mut uses = uses.filter(|used| std::ptr::eq(used.machine, machine));
    uses.find_map(|used| match used.part {
        Part::Disk(disk) => Some(disk),
        _ => None,
    })
}

/// The place of the machine under the cursor, which is on it or on a disk of it that is no image here.
fn under_cursor(app: &App) -> Option<u32> {
    match app.tree.rows.list.get(app.tree.cursor)?.kind {
        RowKind::Machine(place) | RowKind::Disk { machine: place, .. } => Some(place),
        _ => None,
    }
}

/// The machine under the cursor.
pub(crate) fn machine_under_cursor(app: &App) -> Option<&Machine> {
    machine(app, under_cursor(app)?)
}

/// Its name.
pub(super) fn name_under_cursor(app: &App) -> Option<String> {
    let machine = machine_under_cursor(app)?;
    Some(text::safe(&machine.name))
}

/// What is known of it.
pub(super) fn lines(app: &App) -> Option<Vec<Line<'static>>> {
    let place = under_cursor(app)?;
    let machine = machine(app, place)?;
    let mut told = vec![heading(app, place)];
    told.push(format!("known from {}", machine.place));
    let manager = machine.managed_by.iter();
    told.extend(manager.map(|manager| format!("managed by {manager}")));
    told.extend(machine.id.as_ref().map(|id| format!("UUID {id}")));
    told.extend(machine.disks.iter().map(|disk| {
        let format = disk.format.as_deref().unwrap_or("no format recorded");
        let pinned = match disk.is_pinned() {
            true => ", its chain is pinned in the definition",
            false => "",
        };
        let (target, path) = (&disk.target, printable(&disk.file.path));
        format!("{target}: {path} ({format}{pinned})")
    }));
    let snapshots = machine.snapshots.iter();
    told.extend(snapshots.map(|snapshot| format!("snapshot {}", snapshot.name)));
    let checkpoints = machine.checkpoints.iter();
    told.extend(checkpoints.map(|checkpoint| format!("checkpoint {checkpoint}")));
    let line = |told: String| Line::raw(format!(" {}", text::safe(&told)));
    Some(told.into_iter().map(line).collect())
}

fn machine(app: &App, place: u32) -> Option<&Machine> {
    app.forest.machine_at(usize::try_from(place).ok()?)
}
