//! The forms for machines as a whole.

use std::ffi::OsStr;

use crate::machines::Machine;
use crate::ops::{CloneMachine, is_defined_by_service};
use crate::tui::app::App;
use crate::tui::dialogs::form::{Choice, Field, FieldName as F, Form};
use crate::tui::text;

/// Whether the disks of a clone are whole copies.
const DISKS: Choice<bool> = Choice::new(F::Way, ("linked", false), &[("full", true)]);

/// Another machine that has what the one of this UUID has.
pub(super) fn clone(app: &App, id: &OsStr) -> Option<Form> {
    let machines = app.forest.machines().list();
    let is_it = |it: &&Machine| {
        is_defined_by_service(it) && it.id.as_deref().is_some_and(|known| id == known)
    };
    let machine = machines.iter().find(is_it)?;
    let is_free = |name: &String| machines.iter().all(|it| it.name != *name);
    let mut names = (2..u32::MAX).map(|number| format!("{}-{number}", machine.name));
    let name = names.find(is_free).unwrap_or_default();
    let image = machine.disks.first().map(|disk| disk.file.path.clone());
    let form = Form::new(
        format!("Clone the machine {}", text::safe(&machine.name)),
        &image.unwrap_or_default(),
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
