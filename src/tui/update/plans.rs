//! What keys do while a plan waits for its answer, or the passphrase that one needs is typed. Only
//! [`confirm`] turns a plan into a job that does more than create.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::forest::Forest;
use crate::ops::{Commit, CommittedLayer, Consent, Direction, Request, Squash};
use crate::tui::app::App;
use crate::tui::dialog::{Button, Mode, PlanDialog, SecretDialog};
use crate::tui::key::{Code, Key};
use crate::tui::keymap::Action;
use crate::tui::msg::Effect;
use crate::tui::secret::Secret;
use crate::tui::views;

use super::forms::name_beside;
use super::{dialogs, jobs};

/// Opens a dialog for what this request would do.
pub(super) fn ask(app: &mut App, request: Request, back: Mode, effects: &mut Vec<Effect>) {
    let ticket = app.ticket();
    app.mode = Mode::Plan(Box::new(PlanDialog::new(ticket, request.clone(), back)));
    app.refresh_preview();
    plan(app, ticket, request, Duration::ZERO, effects);
}

pub(super) fn plan(
    app: &App,
    ticket: u64,
    request: Request,
    delay: Duration,
    effects: &mut Vec<Effect>,
) {
    effects.push(Effect::Plan {
        ticket,
        request,
        forest: Arc::clone(&app.forest),
        delay,
    });
}

/// Asks for several plans that are agreed to together.
pub(super) fn plan_each(
    app: &App,
    ticket: u64,
    requests: Vec<Request>,
    delay: Duration,
    effects: &mut Vec<Effect>,
) {
    effects.push(Effect::PlanEach {
        ticket,
        requests,
        forest: Arc::clone(&app.forest),
        delay,
    });
}

pub(super) fn type_count(dialog: &mut PlanDialog, key: Key) {
    if dialog.count().is_none() {
        return;
    }
    match key.code {
        Code::Backspace => {
            dialog.typed.pop();
        }
        Code::Char(c) if c.is_ascii_digit() && dialog.typed.len() < 12 => dialog.typed.push(c),
        _ => {}
    }
}

/// The same asked for in another way, where the request has one.
fn otherwise(forest: &Forest, request: &Request, action: Action) -> Option<Request> {
    let mut request = request.clone();
    match &mut request {
        Request::Commit(Commit {
            overlay,
            into,
            layer,
            keep_old,
            ..
        }) => match action {
            Action::Into => {
                *into = next_below(forest, overlay, into.as_deref());
                if keep_old.is_some() {
                    // It is named after the image whose content it keeps.
                    *keep_old = old_name(forest, overlay, into.as_deref());
                }
            }
            Action::KeepOld => {
                *keep_old = match keep_old {
                    Some(_) => None,
                    None => old_name(forest, overlay, into.as_deref()),
                }
            }
            _ => {
                *layer = match layer {
                    CommittedLayer::Trash => CommittedLayer::Keep,
                    CommittedLayer::Keep => CommittedLayer::Trash,
                }
            }
        },
        Request::Squash(Squash { direction, .. }) if action == Action::ToggleLayer => {
            *direction = match direction {
                None => Some(Direction::Down),
                Some(Direction::Down) => Some(Direction::Up),
                Some(Direction::Up) => None,
            }
        }
        _ => return None,
    }
    Some(request)
}

/// The image below the one committed into; behind the root it begins again with what the overlay is
/// built on, which needs no name.
fn next_below(forest: &Forest, overlay: &Path, into: Option<&Path>) -> Option<PathBuf> {
    let chain = forest.chain(forest.by_path(overlay)?.id);
    let paths: Vec<&Path> = chain
        .iter()
        .filter_map(|id| Some(forest.get(*id)?.path.as_path()))
        .collect();
    let now = match into {
        Some(into) => paths.iter().position(|path| *path == into)?,
        None => 1,
    };
    paths.get(now + 1).map(|path| path.to_path_buf())
}

/// A free name for the overlay that keeps what the base shows now.
fn old_name(forest: &Forest, overlay: &Path, into: Option<&Path>) -> Option<PathBuf> {
    let base = match into {
        Some(into) => into,
        None => {
            let base = forest.by_path(overlay)?.parent?;
            forest.get(base)?.path.as_path()
        }
    };
    Some(base.with_file_name(name_beside(forest, base, "before")))
}

/// Asks for the passphrase of an image; what asked for it comes back afterwards, or the job begins anew.
pub(super) fn ask_secret(app: &mut App, image: PathBuf, job: Option<u64>) {
    let back = std::mem::take(&mut app.mode);
    app.mode = Mode::Secret(Box::new(SecretDialog {
        image,
        secret: Secret::default(),
        back,
        job,
    }));
}

pub(super) fn type_secret(secret: &mut Secret, key: Key) {
    match (key.code, key.ctrl) {
        (Code::Backspace, _) => secret.pop(),
        (Code::Char('u' | 'w'), true) => secret.clear(),
        _ => {
            if let Some(c) = key.typed() {
                secret.push(c);
            }
        }
    }
}

/// The passphrase is there, or is not to be had: on with what asked for it.
pub(super) fn run_in_secret(app: &mut App, action: Action, effects: &mut Vec<Effect>) {
    let Mode::Secret(dialog) = std::mem::take(&mut app.mode) else {
        return;
    };
    let SecretDialog {
        image,
        secret,
        back,
        job,
    } = *dialog;
    dialogs::close(app, back);
    if action != Action::Fire || secret.is_empty() {
        return;
    }
    effects.push(Effect::Unlock(image, secret.passphrase()));
    if let Some(id) = job {
        return jobs::again(app, id, effects);
    }
    match std::mem::take(&mut app.mode) {
        Mode::Plan(before) => {
            let PlanDialog {
                request,
                back,
                proves,
                ..
            } = *before;
            ask(app, request, *back, effects);
            if let Mode::Plan(dialog) = &mut app.mode {
                dialog.proves = proves;
            }
        }
        other => {
            app.mode = other;
            dialogs::replan_form(app, Duration::ZERO, effects);
        }
    }
}

pub(super) fn run_in_plan(app: &mut App, action: Action, key: Key, effects: &mut Vec<Effect>) {
    let most = views::plan_scroll(app);
    let Mode::Plan(dialog) = &mut app.mode else {
        return;
    };
    match action {
        Action::Close => go_back(app),
        Action::Confirm => confirm(app, effects),
        Action::Fire => {
            if dialog.count().is_some() && !dialog.typed.is_empty() {
                confirm(app, effects);
            } else {
                match dialog.button {
                    Button::Cancel => go_back(app),
                    Button::Confirm => confirm(app, effects),
                }
            }
        }
        Action::NextField | Action::PreviousField => {
            dialog.button = match dialog.button {
                Button::Cancel if dialog.is_possible() => Button::Confirm,
                Button::Cancel | Button::Confirm => Button::Cancel,
            };
        }
        Action::ScrollDown => dialog.scroll = (dialog.scroll + 1).min(most),
        Action::ScrollUp => dialog.scroll = dialog.scroll.min(most).saturating_sub(1),
        Action::Commands => dialog.commands = !dialog.commands,
        Action::WayOut => {
            let Code::Char(c) = key.code else { return };
            if dialog.count().is_some() {
                type_count(dialog, key);
                return;
            }
            let number = c.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
            let chosen = number
                .and_then(|number| dialog.ways_out().get(number.checked_sub(1)?).copied())
                .map(|way| way.request.clone());
            if let Some(request) = chosen {
                let before = std::mem::take(&mut app.mode);
                ask(app, request, before, effects);
            }
        }
        Action::ToggleLayer | Action::Into | Action::KeepOld => {
            if let Some(request) = otherwise(&app.forest, &dialog.request, action) {
                let back = std::mem::take(&mut *dialog.back);
                let proves = dialog.proves;
                ask(app, request, back, effects);
                if let Mode::Plan(dialog) = &mut app.mode {
                    dialog.proves = proves;
                }
            }
        }
        Action::Verify => dialog.proves = !dialog.proves,
        Action::Unlock => match dialog.locked.clone() {
            Some(image) => ask_secret(app, image, None),
            None => app.tell(
                "No passphrase of an image that is there is missing. That of a new one is typed in its form.",
            ),
        },
        _ => {}
    }
}

/// Out of a plan, to what it came from.
fn go_back(app: &mut App) {
    let Mode::Plan(dialog) = std::mem::take(&mut app.mode) else {
        return;
    };
    dialogs::close(app, *dialog.back);
    if matches!(app.mode, Mode::Main) {
        app.tell("Nothing was changed.");
    }
}

/// The person says yes: with the number typed where one is asked for.
fn confirm(app: &mut App, effects: &mut Vec<Effect>) {
    let Mode::Plan(dialog) = &mut app.mode else {
        return;
    };
    let Some(plan) = &dialog.plan else {
        dialog.reason = Some("the plan is not there yet".to_owned());
        return;
    };
    let consent = match dialog.typed.parse() {
        Ok(count) if dialog.count().is_some() => Consent::Count(count),
        _ => Consent::Yes,
    };
    let proves = dialog.proves;
    match plan.as_ref().clone().agree(consent) {
        Ok(ready) if proves => jobs::enqueue(app, ready.proving(), effects),
        Ok(ready) => jobs::enqueue(app, ready, effects),
        Err(denied) => {
            dialog.typed.clear();
            dialog.reason = Some(denied.to_string());
        }
    }
}
