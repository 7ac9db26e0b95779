//! Changes that hosts make are asked for.

use std::ffi::OsString;

use crossbeam_channel::bounded;

use crate::ops::{Progress, Request};
use crate::tui::dialogs::PlanDialog;
use crate::tui::hosts::HostSeen;
use crate::tui::msg::Effect;
use crate::tui::there::{Place, place, words_for};
use crate::tui::ui::Ui;

/// Opens a dialog for what this request would do where it is a host that does it; says whether it is, or nobody does.
pub(super) fn ask(ui: &mut Ui, request: &Request, effects: &mut Vec<Effect>) -> bool {
    match place(&ui.app.hosts, request) {
        Place::Here => return false,
        Place::Nowhere(why) => ui.app.warn(why),
        Place::There(at, words) => plan(ui, at, request, words, effects),
    }
    true
}

/// Opens a dialog for what this request would do on the host of this place, whatever it names.
pub(super) fn ask_of(ui: &mut Ui, at: usize, request: &Request, effects: &mut Vec<Effect>) {
    match words_for(&ui.app.hosts, at, request) {
        Ok(words) => plan(ui, at, request, words, effects),
        Err(why) => ui.app.warn(why),
    }
}

fn plan(
    ui: &mut Ui,
    at: usize,
    request: &Request,
    words: Vec<OsString>,
    effects: &mut Vec<Effect>,
) {
    let app = &mut ui.app;
    if let Some(why) = app.hosts.list.get(at).and_then(HostSeen::unchangeable) {
        app.warn(format!("{why}."));
        return;
    }
    let query_id = app.query_id();
    let (answers, typed) = bounded(1);
    let progress = Progress::new();
    let name = app.hosts.list.get(at).map(|host| host.name.clone());
    let dialog = PlanDialog::there(
        query_id,
        request.clone(),
        (at, name.unwrap_or_default()),
        (progress.clone(), answers),
    );
    effects.push(Effect::ChangeThere {
        query_id,
        at,
        words,
        progress,
        typed,
    });
    ui.dialogs.open(dialog);
}
