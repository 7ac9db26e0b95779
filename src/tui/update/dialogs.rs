//! Does what dialogs ask for that concerns others than themselves.

use std::time::Duration;

use crate::ops::Request;
use crate::tui::dialogs::{Dialog, FilesLine, LogView, Next};
use crate::tui::msg::Effect;
use crate::tui::ui::Ui;

use super::settle::refresh_preview;
use super::{cursor, jobs, menus, open, panes, series, there};

/// Does what a dialog asks for.
pub(super) fn follow(ui: &mut Ui, next: Next, effects: &mut Vec<Effect>) {
    match next {
        Next::Stay => {}
        Next::Close => close(ui),
        Next::Cancel => match ui.dialogs.take_following() {
            Some(following) => series::cancel(ui, following, effects),
            None => {
                close(ui);
                if ui.dialogs.is_empty() {
                    ui.app.tell("Nothing was changed.");
                }
            }
        },
        Next::Ask(request) => open::ask(ui, *request, effects),
        Next::AskThere(at, request) => open::ask_there(ui, at, *request, effects),
        Next::AskEach(parts) => open::ask_each(ui, parts, effects),
        Next::AskInstead { request, proves } => ask_instead(ui, *request, proves, effects),
        Next::AskSecret(image) => open::ask_secret(ui, image, None),
        Next::Unlocked {
            image,
            passphrase,
            job,
        } => {
            close(ui);
            effects.push(Effect::Unlock(image, passphrase));
            match job {
                Some(id) => jobs::again(&mut ui.app.jobs, id, effects),
                None => ask_anew(ui, effects),
            }
        }
        Next::UnlockedThere(number, passphrase) => {
            close(ui);
            if let Some(dialog) = ui.dialogs.plan_mut() {
                dialog.give_there(number, passphrase);
            }
        }
        Next::Agreed(plans) => {
            let agreed = plans.into_iter();
            let following = agreed.filter_map(|ready| jobs::enqueue(ui, ready, effects));
            let following: Vec<_> = following.flatten().collect();
            open::ask_each(ui, following, effects);
        }
        Next::AgreedThere(typed) => {
            let following = there::agreed(ui, &typed).unwrap_or_default();
            open::ask_each(ui, following, effects);
        }
        Next::Run(action) => {
            ui.dialogs.close();
            panes::run(ui, action, effects);
        }
        Next::Go(motion) => cursor::go(ui, motion),
        Next::Terms => ui.dialogs.open(menus::terms()),
        Next::Fill(kind, about) => {
            let image = ui.app.target().map(|node| node.id);
            open::fill(ui, image, kind, about.as_deref(), effects);
        }
        Next::Command { title, task, reads } => {
            ui.dialogs.close();
            jobs::command(&mut ui.app, title, task, &reads, effects);
        }
        Next::FindFiles => ui.dialogs.open(FilesLine::find()),
        Next::FoundBy(name) => {
            ui.dialogs.close();
            if let Some(Dialog::Files(dialog)) = ui.dialogs.top_mut() {
                dialog.find(name, &mut ui.app, effects);
            }
        }
        Next::ExtractTo(of, spot) => {
            let line = FilesLine::extract(&ui.app, of, spot);
            ui.dialogs.open(line);
        }
        Next::Extract(what) => {
            ui.dialogs.close();
            jobs::extract(&mut ui.app, *what, effects);
        }
        Next::StartJobs => jobs::start_next(&mut ui.app.jobs, effects),
        Next::Retry { title, task } => jobs::retry(ui, title, task, effects),
        Next::Log(job) => ui.dialogs.open(LogView { job, up: 0 }),
        Next::Quit => open::quit(ui, effects),
    }
}

/// A plan takes the place of the one on top.
fn ask_instead(ui: &mut Ui, request: Request, proves: bool, effects: &mut Vec<Effect>) {
    let following = ui.dialogs.take_following();
    let there = ui.dialogs.top_plan().and_then(|plan| plan.there.as_ref());
    let at = there.map(|there| there.at);
    ui.dialogs.close();
    match at {
        // Also where it names no file that says whose it is.
        Some(at) => open::ask_there(ui, at, request, effects),
        None => open::ask(ui, request, effects),
    }
    match ui.dialogs.top_mut() {
        Some(Dialog::Plan(dialog)) => {
            dialog.proves = proves;
            if following.is_some() {
                dialog.following = following;
            }
        }
        _ => open::ask_each(ui, following.unwrap_or_default(), effects),
    }
}

/// Closes a dialog, to what it came from.
fn close(ui: &mut Ui) {
    ui.dialogs.close();
    refresh_preview(ui);
}

/// What waited for a passphrase is planned anew.
fn ask_anew(ui: &mut Ui, effects: &mut Vec<Effect>) {
    match ui.dialogs.top_mut() {
        Some(Dialog::Plan(dialog)) => {
            let next = Next::AskInstead {
                request: Box::new(dialog.request.clone()),
                proves: dialog.proves,
            };
            follow(ui, next, effects);
        }
        Some(Dialog::Form(form)) => form.replan(&mut ui.app, Duration::ZERO, effects),
        Some(Dialog::Files(dialog)) => dialog.open_anew(&mut ui.app, effects),
        _ => {}
    }
}
