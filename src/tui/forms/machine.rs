//! The forms for machines as a whole.

use std::ffi::OsStr;
use std::path::Path;

use crate::forest::far::path_on;
use crate::machines::Machine;
use crate::ops::{CloneMachine, is_defined_by_service};
use crate::tui::app::App;
use crate::tui::dialogs::form::{Choice, Field, FieldName as F, Form};
use crate::tui::text;

/// Whether the disks of a clone are whole copies.
const DISKS: Choice<bool> = Choice::new(F::Way, ("linked", false), &[("full", true)]);

/// What a form is told to be about a machine: two hosts may have one of the same UUID. None of one without.
pub(crate) fn which_machine(machine: &Machine) -> Option<String> {
    let id = machine.id.as_ref()?;
    is_defined_by_service(machine).then(|| format!("{} {id}", machine.place))
}

/// Another machine that has what this one has.
pub(super) fn clone(app: &App, which: &OsStr) -> Option<Form> {
    let machines: Vec<&Machine> = app.forest.all_machines().collect();
    let is_it = |it: &&Machine| which_machine(it).is_some_and(|known| which == known.as_str());
    let machine = *machines.iter().find(|it| is_it(it))?;
    let on = machines.iter().filter(|it| it.host == machine.host);
    let is_free = |name: &String| on.clone().all(|it| it.name != *name);
    let mut names = (2..u32::MAX).map(|number| format!("{}-{number}", machine.name));
    let name = names.find(is_free).unwrap_or_default();
    let image = machine.disks.first().map(|disk| disk.file.path.clone());
    // What is typed into the form names files of the machine's host.
    let root = machine.host.as_deref();
    let root = root.map(|host| path_on(host, Path::new("/")));
    let on = machine.host.as_deref();
    let on = on.map_or_else(String::new, |host| format!(" on {host}"));
    let form = Form::new(
        format!("Clone the machine {}{on}", text::safe(&machine.name)),
        &image.or(root).unwrap_or_default(),
        vec![
            Field::text(F::Name, name, "the name of the new machine"),
            Field::choice(
                &DISKS,
                "linked: both go on in overlays on what the disks are now; full: copies that share nothing",
            ),
            Field::path(
                F::Folder,
                "",
                "a folder that is there, for the new disks; empty: those of the disks",
            ),
        ],
        false,
        |form| {
            let (machine, connection) = form.machine.clone().unwrap_or_default();
            let new = form.text(F::Name).trim().to_owned();
            if new.is_empty() {
                return Err("the new machine has no name".to_owned());
            }
            let folder = match form.text(F::Folder).is_empty() {
                true => None,
                false => Some(form.path(F::Folder, "the folder")?),
            };
            Ok(CloneMachine {
                machine,
                connection: Some(connection),
                new,
                full: form.chosen(&DISKS),
                folder,
                found: None,
            }
            .into())
        },
    );
    Some(form.about_machine(machine.name.clone(), machine.place.clone()))
}
