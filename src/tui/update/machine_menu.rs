//! The menu of machines: what can be done with those that use the image under the cursor or may come to use it, and on
//! the heading of a machine what can be done with that. Each entry is a plan, which the host of the machine makes: the
//! connection in it says whose it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::forest::Node;
use crate::forest::far::host_and_path;
use crate::machines::{Disk, Machine, MachineState};
use crate::ops::{
    BranchMachine, DiskBranch, Power, PowerAction, Redefine, Request, RevertMachine, Talks,
    TryImage, is_defined_by_service,
};
use crate::tui::app::App;
use crate::tui::dialogs::ListMenu;
use crate::tui::dialogs::list::{Choice, MenuItem};
use crate::tui::forms::{self, FormKind};
use crate::tui::panes::machine_under_cursor;
use crate::tui::text;
use crate::units;

/// The machines that are changed here or by their hosts, in the order of their names.
pub(crate) fn known(app: &App) -> Vec<&Machine> {
    let machines = app.forest.all_machines();
    let mut known: Vec<&Machine> = machines.filter(|it| is_defined_by_service(it)).collect();
    known.sort_by_key(|machine| (&machine.name, &machine.place));
    known
}

/// What can be done with machines where the cursor is.
pub(super) fn machines(app: &App) -> ListMenu {
    if let Some(machine) = machine_under_cursor(app) {
        let name = text::safe(&called(machine));
        let items = match machine.host.is_some() && !is_defined_by_service(machine) {
            // A request that cannot say whose it is would be one of this machine.
            true => vec![not_changed(machine)],
            false => as_a_whole(machine).collect(),
        };
        return ListMenu::new(format!("Machine {name}"), items);
    }
    let Some(node) = app.target() else {
        let items = known(app).into_iter().flat_map(as_a_whole);
        return ListMenu::new("Machines", items.collect());
    };
    let (mut own, mut before, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for machine in known(app) {
        let Some(image) = name_on(app, node, machine) else {
            continue;
        };
        let mut disks = written(machine);
        if let Some(disk) = disks.find(|disk| is_image(app, disk, node)) {
            own.extend(power(machine));
            own.extend(branch(machine, disk, None));
            own.extend(clone(machine));
            own.push(try_it(app, node, &image, Some(machine)));
            continue;
        }
        match written(machine).any(|disk| is_below(app, disk, node)) {
            true => before.extend(revert(machine, &image)),
            false => {
                let disks = written(machine);
                others.extend(disks.flat_map(|disk| point(app, machine, disk, node, &image)));
            }
        }
    }
    own.push(try_it(app, node, &node.path, None));
    own.extend(before);
    own.extend(others);
    ListMenu::new(format!("Machines and {}", app.label(node)), own)
}

/// What a machine is called among those of all hosts.
fn called(machine: &Machine) -> String {
    match &machine.host {
        Some(host) => format!("{} on {host}", machine.name),
        None => machine.name.clone(),
    }
}

/// A machine of a host that only its own product changes.
fn not_changed(machine: &Machine) -> MenuItem {
    let name = text::safe(&called(machine));
    let product = machine.product;
    let why = format!("{name} ({product}) is not changed from here: only libvirt's machines are");
    MenuItem::new("", why, Choice::Explains)
}

/// What the host of a machine sees an image as, by the name that it has here; none where it sees it not.
fn name_on(app: &App, node: &Node, machine: &Machine) -> Option<PathBuf> {
    let host = machine.host.as_deref();
    if app.forest.host_of(node) == host {
        return (host.is_some() || !app.forest.is_far(node)).then(|| node.path.clone());
    }
    let seen = node.sharing.iter().flat_map(|sharing| &sharing.seen_as);
    let mut seen = seen.filter(|path| host_and_path(path).map(|(of, _)| of) == host);
    seen.next().filter(|_| host.is_some()).cloned()
}

/// A machine on an overlay that is thrown away: as one is defined, or by the template of the configuration.
fn try_it(app: &App, node: &Node, image: &Path, like: Option<&Machine>) -> MenuItem {
    let host = match like {
        Some(machine) => machine.host.as_deref(),
        None => app.forest.host_of(node),
    };
    let request = Request::TryImage(TryImage {
        image: image.to_path_buf(),
        like: like.map(|machine| machine.name.clone()),
        connection: like.map(|machine| machine.place.clone()),
        // A host has a configuration of its own.
        template: match host {
            Some(_) => Vec::new(),
            None => app.settings.template.clone(),
        },
        talks: Talks::Nowhere,
    });
    let how = like.map_or_else(String::new, |machine| {
        format!(" as {} is defined", text::safe(&called(machine)))
    });
    MenuItem {
        group: "try",
        // As one of libvirt's it has a display that is found from here.
        why_not: host.filter(|_| like.is_none()).map(|host| {
            format!(
                "the program's window would be on {host}: do it there, or as a machine is defined"
            )
        }),
        ..MenuItem::new(
            "",
            format!("this image{how}: what its guest writes is thrown away"),
            Choice::Ask(request),
        )
    }
}

fn written(machine: &Machine) -> impl Iterator<Item = &Disk> {
    let disks = machine.disks.iter();
    disks.filter(|disk| !disk.read_only && disk.target != "nvram")
}

fn is_image(app: &App, disk: &Disk, node: &Node) -> bool {
    app.forest
        .meant(&disk.file)
        .is_some_and(|it| it.id == node.id)
}

fn is_below(app: &App, disk: &Disk, node: &Node) -> bool {
    let leaf = app.forest.meant(&disk.file);
    leaf.is_some_and(|leaf| app.forest.chain(leaf.id).contains(&node.id))
}

fn entry(
    machine: &Machine,
    group: &'static str,
    title: String,
    is_off: Option<bool>,
    choice: Choice,
) -> MenuItem {
    let runs = machine.state == MachineState::Running;
    let is_as_wanted = match is_off {
        Some(true) => machine.state == MachineState::Off,
        Some(false) => runs,
        None => true,
    };
    let why_not = (!is_as_wanted).then(|| {
        format!(
            "{} is {}",
            text::safe(&called(machine)),
            machine.state.name()
        )
    });
    MenuItem {
        group,
        name: group,
        why_not,
        ..MenuItem::new("", text::safe(&title), choice)
    }
}

/// Starting and ending it.
fn power(machine: &Machine) -> impl Iterator<Item = MenuItem> + '_ {
    let ask = |action| {
        Choice::Ask(Request::Power(Power {
            machine: machine.name.clone(),
            connection: Some(machine.place.clone()),
            action,
        }))
    };
    let name = called(machine);
    let start = entry(
        machine,
        "start",
        name.clone(),
        Some(true),
        ask(PowerAction::Start),
    );
    let stop = entry(
        machine,
        "stop",
        format!("{name}, as its power button does"),
        Some(false),
        ask(PowerAction::ShutDown),
    );
    let kill = entry(
        machine,
        "kill",
        format!("{name}, as a power cut does"),
        Some(false),
        ask(PowerAction::Kill),
    );
    match machine.state {
        MachineState::Running => vec![stop, kill],
        _ => vec![start],
    }
    .into_iter()
}

/// A new overlay that its disk is from then on: on this image, or on what the disk is.
fn branch<'m>(
    machine: &'m Machine,
    disk: &Disk,
    on: Option<&Path>,
) -> impl Iterator<Item = MenuItem> + 'm {
    let where_on = match on {
        Some(on) => format!(" on {}", units::file_name(on)),
        None => String::new(),
    };
    let disk = DiskBranch {
        disk: Some(disk.target.clone()),
        on: on.map(Path::to_path_buf),
        new: None,
    };
    let title = format!("{} goes on in a new overlay{where_on}", called(machine));
    branches(machine, vec![disk], title)
}

/// What is done with a machine whatever its disks are.
fn as_a_whole(machine: &Machine) -> impl Iterator<Item = MenuItem> + '_ {
    power(machine)
        .chain(branch_all(machine))
        .chain(clone(machine))
}

/// A new overlay for each of its disks.
fn branch_all(machine: &Machine) -> impl Iterator<Item = MenuItem> + '_ {
    let title = format!("{} goes on in new overlays, all its disks", called(machine));
    branches(machine, Vec::new(), title)
}

fn branches(
    machine: &Machine,
    disks: Vec<DiskBranch>,
    title: String,
) -> impl Iterator<Item = MenuItem> + '_ {
    let ask = move |start| {
        Choice::Ask(Request::BranchMachine(BranchMachine {
            machine: machine.name.clone(),
            connection: Some(machine.place.clone()),
            disks: disks.clone(),
            start,
        }))
    };
    [
        entry(machine, "branch", title.clone(), Some(true), ask(false)),
        entry(
            machine,
            "branch",
            format!("{title}, and is started"),
            Some(true),
            ask(true),
        ),
    ]
    .into_iter()
}

/// Another machine that has what it has.
fn clone(machine: &Machine) -> impl Iterator<Item = MenuItem> + '_ {
    let which = forms::which_machine(machine).map(OsString::from);
    let fill = which.map(|which| Choice::Fill(FormKind::CloneMachine, Some(which)));
    let title = format!("{}, linked or full, by a new name", called(machine));
    let item = fill.map(|fill| entry(machine, "clone", title, Some(true), fill));
    item.into_iter()
}

/// All its disks as they were when this layer was frozen.
fn revert<'m>(machine: &'m Machine, to: &Path) -> impl Iterator<Item = MenuItem> + 'm {
    let title = format!(
        "{} goes on from {}; what it is now is kept",
        called(machine),
        units::file_name(to)
    );
    let request = Request::RevertMachine(RevertMachine {
        machine: machine.name.clone(),
        connection: Some(machine.place.clone()),
        to: to.to_path_buf(),
        disks: Vec::new(),
        start: false,
    });
    std::iter::once(entry(
        machine,
        "revert",
        title,
        Some(true),
        Choice::Ask(request),
    ))
}

/// The image as a disk of a machine that has another one.
fn point(app: &App, machine: &Machine, disk: &Disk, node: &Node, image: &Path) -> Vec<MenuItem> {
    let mut items = Vec::new();
    let uses = Redefine::source(machine, disk, image).filter(|_| app.forest.is_leaf(node));
    if let Some(redefine) = uses {
        let title = format!(
            "the disk {} of {} is this image from then on",
            disk.target,
            called(machine)
        );
        let ask = Choice::Ask(redefine.into());
        items.push(entry(machine, "use", title, Some(true), ask));
    }
    items.extend(branch(machine, disk, Some(image)));
    items
}

#[cfg(test)]
mod tests;
