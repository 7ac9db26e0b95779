//! Does what dialogs ask for that concerns others than themselves.

use std::time::Duration;

use crate::tui::dialogs::{Dialog, FilesLine, LogView, Next};
use crate::tui::msg::Effect;
use crate::tui::ui::Ui;

use super::settle::refresh_preview;
use super::{cursor, jobs, menus, open, panes, there};

/// Does what a dialog asks for.
pub(super) fn follow(ui: &mut Ui, next: Next, effects: &mut Vec<Effect>) {
    match next {
        Next::Stay => {}
        Next::Close => close(ui),
        Next::Cancel => {
            close(ui);
            if ui.dialogs.is_empty() {
                ui.app.tell("Nothing was changed.");
            }
        }
        Next::Ask(request) => open::ask(ui, *request, effects),
        Next::AskThere(at, request) => open::ask_there(ui, at, *request, effects),
        Next::AskInstead { request, proves } => {
            ui.dialogs.close();
            open::ask(ui, *request, effects);
            if let Some(Dialog::Plan(dialog)) = ui.dialogs.top_mut() {
                dialog.proves = proves;
            }
        }
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
            for ready in plans {
                jobs::enqueue(ui, ready, effects);
            }
        }
        Next::AgreedThere(typed) => there::agreed(ui, &typed),
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
        Next::Command {
            title,
            words,
            reads,
        } => {
            ui.dialogs.close();
            jobs::command(&mut ui.app, title, words, &reads, effects);
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
