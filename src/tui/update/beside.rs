//! What hosts are asked beside their images, and what comes of it.

use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::detail_pane::Tab;
use crate::tui::dialogs::Dialog;
use crate::tui::dialogs::list::ContentKind;
use crate::tui::far_answers::{Asking, FarAnswer, Topic};
use crate::tui::hosts::HostState;
use crate::tui::log::Kind;
use crate::tui::msg::Effect;
use crate::tui::query::QueryId;
use crate::tui::ui::Ui;
use crate::units;

use super::menus;

/// Asks all of them.
pub(super) fn ask_all(app: &mut App, topic: Topic, effects: &mut Vec<Effect>) {
    for at in 0..app.hosts.list.len() {
        ask(app, at, topic, effects);
    }
}

/// Asks one of them.
pub(super) fn ask(app: &mut App, at: usize, topic: Topic, effects: &mut Vec<Effect>) {
    let query_id = app.query_id();
    if let Some(host) = app.hosts.list.get_mut(at) {
        host.beside.ask(topic, query_id);
        match host.untold() {
            None => effects.push(Effect::AskHost(query_id, at, Asking::about(topic))),
            Some(why) => host.beside.end(topic, query_id, Err(why)),
        }
    }
}

/// While somebody looks at what is wrong, each host is asked once it has told its images.
pub(super) fn ask_for_findings(app: &mut App, effects: &mut Vec<Effect>) {
    if app.detail.hidden || app.detail.tab != Tab::Health {
        return;
    }
    for at in 0..app.hosts.list.len() {
        let Some(host) = app.hosts.list.get_mut(at) else {
            return;
        };
        if host.state == HostState::Told && host.beside.findings_of != host.query_id {
            host.beside.findings_of = host.query_id;
            ask(app, at, Topic::Findings, effects);
        }
    }
}

/// A host says nothing.
pub(super) fn silent(app: &mut App, at: usize, query_id: QueryId, seconds: u64) {
    if let Some(host) = app.hosts.list.get_mut(at) {
        host.beside.silent(query_id, seconds);
    }
}

/// A host has answered.
pub(super) fn answered(
    ui: &mut Ui,
    (query_id, at): (QueryId, usize),
    topic: Topic,
    answer: Result<FarAnswer, String>,
) {
    let app = &mut ui.app;
    let Some(host) = app.hosts.list.get_mut(at) else {
        return;
    };
    host.beside.end(topic, query_id, answer);
    match topic {
        Topic::Space => app.space.is_outdated = true,
        Topic::Interrupted => interrupted(ui, query_id, at),
        Topic::Findings | Topic::Trash => {}
    }
}

/// What was interrupted on a host: into the list, if that is open, or told.
fn interrupted(ui: &mut Ui, query_id: QueryId, at: usize) {
    if let Some(Dialog::List(menu)) = ui.dialogs.top()
        && menu.inside == Some(ContentKind::Interrupted)
    {
        menus::refresh(ui);
        return;
    }
    let app = &mut ui.app;
    let Some(host) = app.hosts.list.get(at) else {
        return;
    };
    let pending = &host.beside.interrupted;
    let Some(found) = pending.told().filter(|_| pending.query_id == query_id) else {
        return;
    };
    let what = match &found.halted[..] {
        [] => return,
        [only] => format!("“{}” was interrupted", only.title),
        several => {
            let number = units::count(several.len(), "operation");
            format!("{number} were interrupted")
        }
    };
    let key = app.key(Action::Recover);
    let text = format!(
        "{}: {what}: {key} finishes that, or takes it back.",
        host.name
    );
    app.note(None, Kind::Bad, &text);
    app.warn(text);
}
