//! Opens dialogs.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use crate::forest::NodeId;
use crate::ops::Request;
use crate::tui::dialogs::{LeaveDialog, ListMenu, PlanDialog, SecretDialog, SecretThere};
use crate::tui::forms::{self, FormKind};
use crate::tui::msg::Effect;
use crate::tui::secret::Secret;
use crate::tui::there::Part;
use crate::tui::ui::Ui;

use super::ask_there;
use super::settle::refresh_preview;

/// Opens a dialog for what this request would do, over what is open.
pub(super) fn ask(ui: &mut Ui, request: Request, effects: &mut Vec<Effect>) {
    let mut parts = ask_there::ask(ui, request, effects);
    match parts.pop() {
        None => {}
        Some((None, only)) if parts.is_empty() => ask_here(ui, only, effects),
        Some(last) => {
            parts.push(last);
            ask_each(ui, parts, effects);
        }
    }
}

/// Opens a dialog for the first of these that can be planned, over what is open; the others follow it.
pub(super) fn ask_each(ui: &mut Ui, parts: Vec<Part>, effects: &mut Vec<Effect>) {
    let mut parts = parts.into_iter();
    let mut refused: Vec<String> = Vec::new();
    while let Some((of, request)) = parts.next() {
        let asked = match of {
            None => {
                ask_here(ui, request, effects);
                Ok(())
            }
            Some(at) => ask_there::ask_of(ui, at, &request, effects),
        };
        match asked {
            Err(why) => refused.push(why),
            Ok(()) => {
                ui.dialogs.let_follow(parts.collect());
                break;
            }
        }
    }
    refresh_preview(ui);
    if !refused.is_empty() {
        ui.app.warn(refused.join(" "));
    }
}

/// Opens a dialog for what this request would do on this machine, whatever it names.
fn ask_here(ui: &mut Ui, request: Request, effects: &mut Vec<Effect>) {
    let dialog = PlanDialog::ask(&mut ui.app, request, effects);
    ui.dialogs.open(dialog);
    refresh_preview(ui);
}

/// Opens a dialog for what this request would do on the host of this place, over what is open.
pub(super) fn ask_there(ui: &mut Ui, at: usize, request: Request, effects: &mut Vec<Effect>) {
    if let Err(why) = ask_there::ask_of(ui, at, &request, effects) {
        ui.app.warn(why);
    }
    refresh_preview(ui);
}

/// Opens a form about an image, and what is in it, instead of what is open.
pub(super) fn fill(
    ui: &mut Ui,
    image: Option<NodeId>,
    kind: FormKind,
    about: Option<&OsStr>,
    effects: &mut Vec<Effect>,
) {
    if let Some(mut form) = forms::form(&ui.app, image, kind, about) {
        form.replan(&mut ui.app, Duration::ZERO, effects);
        ui.dialogs.open_alone(form);
    }
}

/// Opens a list.
pub(super) fn list(ui: &mut Ui, menu: ListMenu) {
    ui.dialogs.open_alone(menu);
}

/// Asks for the passphrase of an image; what asked for it comes back afterwards, or the job begins anew.
pub(super) fn ask_secret(ui: &mut Ui, image: PathBuf, job: Option<u64>) {
    ui.dialogs.open(SecretDialog {
        image,
        secret: Secret::default(),
        job,
        there: None,
    });
}

/// Asks for a passphrase that a host needs for the plan that waits below.
pub(super) fn ask_secret_there(ui: &mut Ui, image: PathBuf, there: SecretThere) {
    ui.dialogs.open(SecretDialog {
        image,
        secret: Secret::default(),
        job: None,
        there: Some(there),
    });
}

/// Leaves, or asks first.
pub(super) fn quit(ui: &mut Ui, effects: &mut Vec<Effect>) {
    if ui.app.jobs.open().next().is_some() {
        ui.dialogs.open_alone(LeaveDialog);
    } else {
        effects.push(Effect::Quit);
    }
}
