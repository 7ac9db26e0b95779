//! What the panes' keys ask of images: requests made of what is marked or under the cursor. Each is planned, and
//! nothing happens before the person agrees.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::far::path_on;
use crate::forest::{Forest, NodeId};
use crate::ops::{
    ChangeSnapshot, Commit, CommittedLayer, Protect, RedoEntry, Remedy, Request, Revert, Siblings,
    SnapshotAction, SnapshotName, Squash, Trim, UndoEntry,
};
use crate::tui::app::App;
use crate::tui::detail_pane::Tab;
use crate::tui::far_answers::Topic;
use crate::tui::forms::FormKind;
use crate::tui::health::{self, Fix};
use crate::tui::msg::Effect;
use crate::tui::ui::Ui;

use super::{beside, cursor, jobs, menus, open};

pub(super) fn commit(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let Some(overlay) = paths(&ui.app.forest, &ui.app.targets()).into_iter().next() else {
        return;
    };
    let request = Request::Commit(Commit {
        overlay,
        into: None,
        layer: CommittedLayer::default(),
        siblings: Siblings::default(),
        keep_old: None,
    });
    open::ask(ui, request, effects);
}

/// What a leaf holds is thrown away, and it begins anew.
pub(super) fn revert(ui: &mut Ui, effects: &mut Vec<Effect>) {
    ask_of_target(ui, effects, |leaf| Revert::anew(leaf).into());
}

pub(super) fn squash(ui: &mut Ui, effects: &mut Vec<Effect>) {
    ask_of_target(ui, effects, |layer| {
        let direction = None;
        Squash { layer, direction }.into()
    });
}

/// What is free inside an image is given up.
pub(super) fn trim(ui: &mut Ui, effects: &mut Vec<Effect>) {
    ask_of_target(ui, effects, |image| Trim { image }.into());
}

/// Nobody may write an image any more.
pub(super) fn protect(ui: &mut Ui, effects: &mut Vec<Effect>) {
    ask_of_target(ui, effects, |image| Protect { image, mode: None }.into());
}

/// A flat copy of an image, or of the snapshot under the cursor.
pub(super) fn flatten(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let image = ui.app.target().map(|node| node.id);
    let snapshot = ui.app.target_snapshot();
    match snapshot.map(|snapshot| OsStr::from_bytes(&snapshot.id).to_owned()) {
        Some(id) => open::fill(ui, image, FormKind::ExtractSnapshot, Some(&id), effects),
        None => open::fill(ui, image, FormKind::Flatten, None, effects),
    }
}

/// Images go to the trash; of a snapshot under the cursor the image forgets it.
pub(super) fn discard(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let app = &ui.app;
    let request = match (app.target_snapshot(), app.selected()) {
        (Some(snapshot), Some(node)) => Request::Snapshot(ChangeSnapshot {
            image: node.path.clone(),
            action: SnapshotAction::Delete {
                snapshot: SnapshotName::Id(OsStr::from_bytes(&snapshot.id).to_owned()),
            },
        }),
        _ => Request::discard(paths(&app.forest, &app.targets())),
    };
    open::ask(ui, request, effects);
}

pub(super) fn undo(ui: &mut Ui, effects: &mut Vec<Effect>) {
    if let Some(root) = root_there(&ui.app) {
        let request = Request::Undo(UndoEntry {
            entry: None,
            folders: vec![root],
        });
        return open::ask(ui, request, effects);
    }
    let session = &ui.app.session;
    let last = session.undo.last().map(|(_, request)| request.clone());
    // What earlier runs have done is in the journal as well.
    let request = match (&session.journal, last) {
        (None, Some(last)) => last,
        (folders, _) => Request::Undo(UndoEntry {
            entry: None,
            folders: folders.clone().unwrap_or_default(),
        }),
    };
    open::ask(ui, request, effects);
}

pub(super) fn redo(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let there = root_there(&ui.app).map(|root| vec![root]);
    let request = Request::Redo(RedoEntry {
        entry: None,
        folders: there
            .or_else(|| ui.app.session.journal.clone())
            .unwrap_or_default(),
    });
    open::ask(ui, request, effects);
}

/// What everything of the host is below that the image under the cursor is of; none on one of this machine.
fn root_there(app: &App) -> Option<PathBuf> {
    let host = app.forest.host_of(app.selected()?)?;
    Some(path_on(host, Path::new("/")))
}

/// Lists what was interrupted.
pub(super) fn recover(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let query_id = ui.app.query_id();
    ui.app.session.interrupted = None;
    beside::ask_all(&mut ui.app, Topic::Interrupted, effects);
    let mut menu = menus::interrupted(&ui.app);
    menu.query_id = Some(query_id);
    open::list(ui, menu);
    let forest = Arc::clone(&ui.app.forest);
    effects.push(Effect::Interrupted(query_id, Some(forest)));
}

/// Mends the first thing that is known to be wrong and can be mended.
pub(super) fn repair(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let Some(node) = ui.app.target() else { return };
    match (node.id, health::first_fix(&ui.app.forest, node)) {
        (_, Some(fix)) => heal(ui, fix, effects),
        (id, None) => {
            if let Some(row) = ui.app.tree.rows.place(id) {
                ui.app.tree.cursor = row;
            }
            cursor::show(&mut ui.app, Tab::Health);
            ui.app
                .tell("What is wrong, and what helps, is in the health pane.");
        }
    }
}

/// Does what helps an image.
fn heal(ui: &mut Ui, fix: Fix, effects: &mut Vec<Effect>) {
    let node = |ui: &Ui, image: &Path| ui.app.forest.by_path(image).map(|node| node.id);
    let fill = |ui: &mut Ui, image: &Path, form, effects: &mut Vec<Effect>| {
        let id = node(ui, image);
        open::fill(ui, id, form, None, effects);
    };
    match fix {
        Fix::Do(remedy) => match remedy {
            // What else can be done about it stands beside it there.
            Remedy::Ask(request) if matches!(*request, Request::Recover(_)) => recover(ui, effects),
            Remedy::Ask(request) => open::ask(ui, *request, effects),
            Remedy::Relink(image) => fill(ui, &image, FormKind::Relink, effects),
            Remedy::Branch(image) | Remedy::LiveBranch(image) => {
                fill(ui, &image, FormKind::Branch, effects)
            }
            Remedy::DataFile(image) => fill(ui, &image, FormKind::Amend, effects),
            Remedy::Check(image) => jobs::check(&mut ui.app, vec![image], effects),
            Remedy::Accept(base) => effects.push(Effect::Accept(base, Arc::clone(&ui.app.forest))),
            // No problem of an image has these.
            Remedy::Passphrase(_) | Remedy::NewPassphrase(_) | Remedy::LookIn(_) => {}
        },
        // What else can be done about it stands beside it there.
        Fix::AskThere(_, request) if matches!(*request, Request::Recover(_)) => {
            recover(ui, effects);
        }
        Fix::AskThere(at, request) => open::ask_there(ui, at, *request, effects),
        Fix::GoTo(id) => {
            if let Some(row) = ui.app.tree.rows.place(id) {
                ui.app.tree.cursor = row;
            }
        }
    }
}

/// Does what helps against the line of the health pane that is under the cursor.
pub(super) fn heal_selected(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let Some(node) = ui.app.selected() else {
        return;
    };
    let mut lines = health::lines(&ui.app, node);
    let at = health::at_cursor(&ui.app, &lines);
    let line = at.and_then(|at| lines.get_mut(at));
    if let Some(fix) = line.and_then(|line| line.fix.take()) {
        heal(ui, fix, effects);
    }
}

pub(super) fn paths(forest: &Forest, ids: &[NodeId]) -> Vec<PathBuf> {
    ids.iter()
        .filter_map(|id| forest.get(*id))
        .map(|node| node.path.clone())
        .collect()
}

/// Asks for an operation that is told by the image it is done to.
fn ask_of_target(ui: &mut Ui, effects: &mut Vec<Effect>, request: impl FnOnce(PathBuf) -> Request) {
    if let Some(image) = ui.app.target().map(|node| node.path.clone()) {
        open::ask(ui, request(image), effects);
    }
}
