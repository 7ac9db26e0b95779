//! What keys do in the panes: choosing what to look at, marking, opening dialogs, leaving.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tui_input::Input;

use crate::fleet::Program;
use crate::forest::{Node, NodeId};
use crate::tui::actions::{Action, Motion};
use crate::tui::app::{App, Pane};
use crate::tui::browse::Shown;
use crate::tui::detail_pane::Tab;
use crate::tui::diagram::DiagramPane;
use crate::tui::dialogs::{
    FilesDialog, FilterLine, FoldersDialog, JobsPane, LogView, MeasureDialog, PruneDialog,
    SpaceDialog, TrashDialog,
};
use crate::tui::disabled_reason::{can_be_checked, two, why_not};
use crate::tui::far_answers::Topic;
use crate::tui::forms::FormKind;
use crate::tui::msg::Effect;
use crate::tui::order::View;
use crate::tui::rows::RowKind;
use crate::tui::text;
use crate::tui::tour::Tour;
use crate::tui::ui::Ui;

use super::operations::{self, paths};
use super::{beside, changes, cursor, hosts, jobs, machine_menu, menus, open, scan};

/// Runs an action of the panes, or says why not.
pub(super) fn run(ui: &mut Ui, action: Action, effects: &mut Vec<Effect>) {
    if let Some(reason) = why_not(&ui.app, action) {
        let entry = ui.app.settings.keymap.entry(action);
        let word = text::capitalized(entry.map_or("", |entry| entry.word()));
        ui.app.warn(format!("{word}: {reason}."));
        return;
    }
    match action {
        Action::Go(motion) => {
            if ui.app.pane == Pane::Images || !cursor::scroll_detail(ui, motion) {
                cursor::go(ui, motion);
            }
        }
        Action::NextPane | Action::PreviousPane => {
            match ui.app.pane {
                Pane::Images => cursor::into_detail(&mut ui.app),
                Pane::Detail => ui.app.pane = Pane::Images,
            };
        }
        Action::Images => ui.app.pane = Pane::Images,
        Action::Noise => {
            ui.app.detail.files.toggle_noise();
            cursor::show(&mut ui.app, Tab::Changes);
        }
        Action::Changes if ui.app.detail.tab == Tab::Changes && !ui.app.detail.hidden => {
            ui.app.detail.files.from_root ^= true;
            ui.app.detail.scroll = 0;
        }
        Action::Info
        | Action::Chain
        | Action::Changes
        | Action::Map
        | Action::Explain
        | Action::Health
        | Action::SnapshotList => {
            let tab = Tab::ALL.iter().find(|(_, shows, _)| *shows == action);
            cursor::show(&mut ui.app, tab.map_or(Tab::Info, |(tab, ..)| *tab));
        }
        Action::Log => ui.dialogs.open_alone(LogView::default()),
        Action::Space => ui.dialogs.open_alone(SpaceDialog::default()),
        Action::Enter if ui.app.pane == Pane::Detail && ui.app.detail.tab == Tab::Health => {
            operations::heal_selected(ui, effects);
        }
        Action::Enter if ui.app.pane == Pane::Detail && changes::are_shown(&ui.app) => {
            changes::enter(ui, effects);
        }
        Action::Enter => cursor::enter(&mut ui.app),
        Action::Back => back(ui),
        Action::Grow => ui.app.split = (ui.app.split + 5).min(40),
        Action::Shrink => ui.app.split = (ui.app.split - 5).max(-40),
        Action::Jobs => jobs_pane(ui),
        Action::HideDetail => hide_detail(&mut ui.app),
        Action::Diagram => diagram(&mut ui.app),
        Action::Quit => open::quit(ui, effects),
        Action::Filter => filter(ui),
        Action::View => {
            ui.app.tree.view = ui.app.tree.view.next();
            ui.app.changed();
            ui.app.tell(format!("Showing {}.", ui.app.tree.view.name()));
        }
        Action::Mark => {
            mark(&mut ui.app);
            cursor::go(ui, Motion::Down);
        }
        Action::MarkSubtree => mark_subtree(&mut ui.app),
        Action::MarkRange => mark_range(&mut ui.app),
        Action::ClearMarks => ui.app.tree.marks.clear(),
        Action::Sort => open::list(ui, menus::sort(&ui.app)),
        Action::Copy => open::list(ui, menus::copy(&ui.app)),
        Action::Actions => open::list(ui, menus::actions(&ui.app)),
        Action::Help => open::list(ui, menus::help(&ui.app)),
        Action::Palette => open::list(ui, menus::palette(&ui.app)),
        Action::Check => {
            let images = checkable(&ui.app, &ui.app.targets());
            jobs::check(&mut ui.app, images, effects);
        }
        Action::CheckAll => {
            let all: Vec<NodeId> = ui.app.forest.nodes().map(|node| node.id).collect();
            let images = checkable(&ui.app, &all);
            jobs::check(&mut ui.app, images, effects);
        }
        Action::Branch => fill(ui, FormKind::Branch, effects),
        Action::Compare => compare(&mut ui.app, effects),
        Action::Clone => fill(ui, FormKind::Clone, effects),
        Action::Convert if ui.app.tree.marks.len() > 1 => fill(ui, FormKind::ConvertEach, effects),
        Action::Convert => fill(ui, FormKind::Convert, effects),
        Action::Export => fill(ui, FormKind::Export, effects),
        Action::Import => fill(ui, FormKind::Import, effects),
        Action::Measure => measure(ui, effects),
        Action::Files => files(ui, effects),
        Action::Revert => operations::revert(ui, effects),
        Action::Squash => operations::squash(ui, effects),
        Action::Trim => operations::trim(ui, effects),
        Action::Protect => operations::protect(ui, effects),
        Action::Note if ui.app.tree.marks.len() > 1 => fill(ui, FormKind::NoteEach, effects),
        Action::Note => fill(ui, FormKind::Note, effects),
        Action::Machine => open::list(ui, machine_menu::machines(&ui.app)),
        Action::KeySlots => fill(ui, FormKind::KeySlots, effects),
        Action::Amend => fill(ui, FormKind::Amend, effects),
        Action::Bitmaps => open::list(ui, menus::bitmaps(&ui.app)),
        Action::NewImage => fill(ui, FormKind::Create, effects),
        Action::Rebase => fill(ui, FormKind::Rebase, effects),
        Action::Flatten => operations::flatten(ui, effects),
        Action::FlattenHere => fill(ui, FormKind::FlattenHere, effects),
        Action::Resize => fill(ui, FormKind::Resize, effects),
        Action::Move => fill(ui, FormKind::Move, effects),
        Action::Repair => operations::repair(ui, effects),
        Action::Snapshots => open::list(ui, menus::snapshots(&ui.app)),
        Action::Open => ui.dialogs.open_alone(FoldersDialog::default()),
        Action::Shell => shell(&ui.app, effects),
        Action::Mount => mount(&ui.app, effects),
        Action::Own => open::list(ui, menus::own(&ui.app)),
        Action::Mouse => mouse(&mut ui.app, effects),
        Action::Suspend => effects.push(Effect::Suspend),
        Action::Commit => operations::commit(ui, effects),
        Action::Discard => operations::discard(ui, effects),
        Action::Prune => prune(ui, effects),
        Action::Trash => trash(ui, effects),
        Action::Undo => operations::undo(ui, effects),
        Action::Redo => operations::redo(ui, effects),
        Action::Recover => operations::recover(ui, effects),
        Action::Tour => ui.app.tour = Some(Tour::default()),
        Action::Rescan => {
            scan::rescan(&mut ui.app, effects);
            hosts::ask_all(&mut ui.app, effects);
        }
        Action::Redraw => effects.push(Effect::Redraw),
    }
}

fn checkable(app: &App, ids: &[NodeId]) -> Vec<PathBuf> {
    let nodes = ids.iter().filter_map(|id| app.forest.get(*id));
    nodes
        .filter(|node| can_be_checked(node))
        .map(|node| node.path.clone())
        .collect()
}

/// Opens a form about the image that actions are about.
fn fill(ui: &mut Ui, kind: FormKind, effects: &mut Vec<Effect>) {
    let image = ui.app.target().map(|node| node.id);
    open::fill(ui, image, kind, None, effects);
}

/// Asks how large a copy would be.
fn measure(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let Some(node) = ui.app.target() else { return };
    let (image, format) = (node.path.clone(), node.format());
    let snapshot = ui.app.target_snapshot().map(|snapshot| snapshot.id.clone());
    let query_id = ui.app.query_id();
    ui.dialogs.open_alone(MeasureDialog {
        query_id,
        image: image.clone(),
        snapshot: snapshot.clone(),
        found: None,
    });
    effects.push(Effect::Measure {
        query_id,
        image,
        format,
        snapshot,
    });
}

/// Opens the image down to its files.
fn files(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let Some(node) = ui.app.target() else { return };
    let of = Shown {
        image: node.path.clone(),
        format: node.format(),
        snapshot: ui.app.target_snapshot().map(|snapshot| snapshot.id.clone()),
    };
    let dialog = FilesDialog::open(&mut ui.app, of, effects);
    ui.dialogs.open_alone(dialog);
}

/// One step back: out of the detail, a range, a filter, a view; never out of the program.
fn back(ui: &mut Ui) {
    if ui.app.leaving {
        ui.app.leaving = false;
        ui.app.tell("Staying.");
    } else if ui.app.pane == Pane::Detail {
        ui.app.pane = Pane::Images;
    } else if ui.app.tree.range.is_some() {
        ui.app.tree.range = None;
    } else if !ui.app.tree.filter.value().is_empty() {
        ui.app.tree.filter = Input::default();
        ui.app.changed();
    } else if ui.app.tree.view != View::All {
        ui.app.tree.view = View::All;
        ui.app.changed();
    } else if ui.app.tour.take().is_some() {
        let again = ui.app.key(Action::Tour);
        ui.app
            .tell(format!("The tour is left; {again} begins it again."));
    } else if !ui.app.tree.marks.is_empty() {
        ui.app.tell("U clears the marks.");
    }
}

fn mark(app: &mut App) {
    let Some(at) = app.tree.at else { return };
    if !app.tree.marks.remove(&at) {
        app.tree.marks.insert(at);
    }
}

fn mark_subtree(app: &mut App) {
    let Some(at) = app.tree.at else { return };
    let mut all = app.forest.descendants(at);
    all.retain(|id| !app.forest.get(*id).is_some_and(Node::is_in_trash));
    all.push(at);
    if all.iter().all(|id| app.tree.marks.contains(id)) {
        for id in all {
            app.tree.marks.remove(&id);
        }
    } else {
        app.tree.marks.extend(all);
    }
}

/// Begins a range, or marks what lies between where one began and here.
fn mark_range(app: &mut App) {
    let Some(at) = app.tree.at else { return };
    let Some(from) = app.tree.range.take() else {
        app.tree.range = Some(at);
        app.tell("A range begins here: move, then press v again; Esc forgets it.");
        return;
    };
    let from = app.tree.rows.place(from).unwrap_or(app.tree.cursor);
    let (low, high) = (from.min(app.tree.cursor), from.max(app.tree.cursor));
    let rows = app.tree.rows.list.get(low..=high).unwrap_or_default();
    let images = rows.iter().filter_map(|row| match row.kind {
        RowKind::Image(id) => Some(id),
        _ => None,
    });
    app.tree.marks.extend(images);
}

fn jobs_pane(ui: &mut Ui) {
    ui.app.jobs.cursor.at = ui.app.jobs.list.len().saturating_sub(1);
    ui.dialogs.open_alone(JobsPane);
}

/// Gives the images the whole width, or shows the detail again.
fn hide_detail(app: &mut App) {
    app.detail.hidden = !app.detail.hidden;
    app.pane = Pane::Images;
}

fn diagram(app: &mut App) {
    app.diagram = match app.diagram {
        Some(_) => None,
        None => Some(DiagramPane::default()),
    };
    app.pane = Pane::Images;
    app.changed();
}

fn filter(ui: &mut Ui) {
    ui.app.pane = Pane::Images;
    let before = ui.app.tree.filter.value().to_owned();
    let at = ui.app.selected().map(|node| node.path.clone());
    ui.dialogs.open_alone(FilterLine { before, at });
}

fn compare(app: &mut App, effects: &mut Vec<Effect>) {
    let images = paths(&app.forest, &two(app));
    if let [one, other] = &images[..] {
        jobs::compare(app, [one.clone(), other.clone()], effects);
    }
}

fn shell(app: &App, effects: &mut Vec<Effect>) {
    let dir = app.selected().and_then(|node| node.path.parent());
    let dir = dir.map(Path::to_path_buf);
    let dir = dir.or_else(|| app.settings.roots.first().cloned());
    effects.extend(dir.map(|dir| match app.hosts.place_there(&dir) {
        Some((at, dir)) => Effect::OnScreenThere(at, Program::Shell(dir)),
        None => Effect::Shell(dir),
    }));
}

fn mount(app: &App, effects: &mut Vec<Effect>) {
    let image = app.target().map(|node| (node.path.clone(), node.format()));
    effects.extend(image.map(|(path, format)| Effect::Mount(path, format)));
}

fn mouse(app: &mut App, effects: &mut Vec<Effect>) {
    app.mouse = !app.mouse;
    effects.push(Effect::Mouse(app.mouse));
    app.tell(if app.mouse {
        "The mouse moves the cursor and scrolls; with Shift it selects text."
    } else {
        "The mouse is the terminal's own again: it selects text."
    });
}

fn prune(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let query_id = ui.app.query_id();
    ui.dialogs.open_alone(PruneDialog::new(query_id));
    effects.push(Effect::Candidates(query_id, Arc::clone(&ui.app.forest)));
}

fn trash(ui: &mut Ui, effects: &mut Vec<Effect>) {
    let query_id = ui.app.query_id();
    ui.dialogs.open_alone(TrashDialog {
        query_id,
        ..TrashDialog::default()
    });
    effects.push(Effect::Trash(query_id));
    beside::ask_all(&mut ui.app, Topic::Trash, effects);
}
