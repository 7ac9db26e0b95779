//! What keys do in the panes: choosing what to look at, marking, opening dialogs, leaving.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tui_input::Input;

use crate::forest::{Forest, Node, NodeId};
use crate::ops::{
    ChangeSnapshot, Commit, CommittedLayer, RedoEntry, Relink, RepairImage, Request, Siblings,
    SnapshotAction, SnapshotName, Squash, UndoEntry,
};
use crate::tui::app::{App, Pane, Tab};
use crate::tui::dialog::{FormKind, LogView, MeasureDialog, Mode, PruneDialog, TrashDialog};
use crate::tui::health::{self, Remedy};
use crate::tui::keymap::{self, Action, Scope};
use crate::tui::msg::Effect;
use crate::tui::order::View;
use crate::tui::picture::Picture;
use crate::tui::reasons::{can_be_checked, two, why_not};
use crate::tui::rows::RowKind;

use super::{dialogs, jobs, menus, moving, plans};

/// Runs an action of the panes, or says why not.
pub(super) fn run(app: &mut App, action: Action, effects: &mut Vec<Effect>) {
    if let Some(reason) = why_not(app, action) {
        let name = keymap::entry(Scope::Main, action).map_or("", |entry| entry.name);
        app.warn(format!("{name}: {reason}."));
        return;
    }
    if app.pane == Pane::Detail && moving::scroll_detail(app, action) {
        return;
    }
    if moving::go(app, action) {
        return;
    }
    match action {
        Action::NextPane | Action::PreviousPane => {
            app.pane = match app.pane {
                Pane::Images => Pane::Detail,
                Pane::Detail => Pane::Images,
            };
        }
        Action::Images => app.pane = Pane::Images,
        Action::Info
        | Action::Chain
        | Action::Changes
        | Action::Map
        | Action::Health
        | Action::SnapshotList => {
            let tab = Tab::ALL.iter().find(|(_, shows, _)| *shows == action);
            show(app, tab.map_or(Tab::Info, |(tab, ..)| *tab));
        }
        Action::Log => app.mode = Mode::Log(LogView::default()),
        Action::Enter if app.pane == Pane::Detail && app.tab == Tab::Health => {
            heal_selected(app, effects);
        }
        Action::Enter => moving::enter(app),
        Action::Back => back(app),
        Action::Grow => app.split = (app.split + 5).min(40),
        Action::Shrink => app.split = (app.split - 5).max(-40),
        Action::Jobs => {
            app.jobs.cursor = app.jobs.list.len().saturating_sub(1);
            app.mode = Mode::Jobs;
        }
        Action::Diagram => {
            app.picture = match app.picture {
                Some(_) => None,
                None => Some(Picture::default()),
            };
            app.pane = Pane::Images;
            app.changed();
        }
        Action::Quit => quit(app, effects),
        Action::Filter => {
            app.pane = Pane::Images;
            app.mode = Mode::Filter {
                before: app.tree.filter.value().to_owned(),
            };
        }
        Action::View => {
            app.tree.view = app.tree.view.next();
            app.changed();
            app.tell(format!("Showing {}.", app.tree.view.name()));
        }
        Action::Mark | Action::MarkRange | Action::MarkSubtree | Action::ClearMarks => {
            mark(app, action);
        }
        Action::Sort => app.mode = Mode::List(Box::new(menus::sort(app))),
        Action::Copy => app.mode = Mode::List(Box::new(menus::copy(app))),
        Action::Actions => app.mode = Mode::List(Box::new(menus::actions(app))),
        Action::Help => app.mode = Mode::List(Box::new(menus::help(app, "Help"))),
        Action::Palette => app.mode = Mode::List(Box::new(menus::help(app, "Actions"))),
        Action::Check => {
            let images = checkable(app, &app.targets());
            jobs::check(app, images, effects);
        }
        Action::CheckAll => {
            let all: Vec<NodeId> = app.forest.nodes().map(|node| node.id).collect();
            let images = checkable(app, &all);
            jobs::check(app, images, effects);
        }
        Action::Branch => fill(app, FormKind::Branch, effects),
        Action::Compare => {
            let images = paths(&app.forest, &two(app));
            if let [one, other] = &images[..] {
                jobs::compare(app, [one.clone(), other.clone()], effects);
            }
        }
        Action::Clone => fill(app, FormKind::Clone, effects),
        Action::Convert if app.tree.marks.len() > 1 => fill(app, FormKind::ConvertEach, effects),
        Action::Convert => fill(app, FormKind::Convert, effects),
        Action::Export => fill(app, FormKind::Export, effects),
        Action::Import => fill(app, FormKind::Import, effects),
        Action::Measure => measure(app, effects),
        Action::Squash => {
            if let Some(layer) = app.target().map(|node| node.path.clone()) {
                let request = Request::Squash(Squash {
                    layer,
                    direction: None,
                });
                plans::ask(app, request, Mode::Main, effects);
            }
        }
        Action::KeySlots => fill(app, FormKind::KeySlots, effects),
        Action::Amend => fill(app, FormKind::Amend, effects),
        Action::Bitmaps => app.mode = Mode::List(Box::new(menus::bitmaps(app))),
        Action::NewImage => fill(app, FormKind::Create, effects),
        Action::Rebase => fill(app, FormKind::Rebase, effects),
        Action::Flatten => match app.target_snapshot() {
            Some(snapshot) => {
                let id = OsStr::from_bytes(&snapshot.id).to_owned();
                let image = app.target().map(|node| node.id);
                dialogs::fill(app, image, FormKind::ExtractSnapshot, Some(&id), effects);
            }
            None => fill(app, FormKind::Flatten, effects),
        },
        Action::FlattenHere => fill(app, FormKind::FlattenHere, effects),
        Action::Resize => fill(app, FormKind::Resize, effects),
        Action::Move => fill(app, FormKind::Move, effects),
        Action::Repair => repair(app, effects),
        Action::Snapshots => app.mode = Mode::List(Box::new(menus::snapshots(app))),
        Action::Shell => {
            let dir = app.selected().and_then(|node| node.path.parent());
            let dir = dir.map(Path::to_path_buf);
            effects.extend(
                dir.or_else(|| app.settings.roots.first().cloned())
                    .map(Effect::Shell),
            );
        }
        Action::Own => app.mode = Mode::List(Box::new(menus::own(app))),
        Action::Mouse => {
            app.mouse = !app.mouse;
            effects.push(Effect::Mouse(app.mouse));
            app.tell(if app.mouse {
                "The mouse moves the cursor and scrolls; with Shift it selects text."
            } else {
                "The mouse is the terminal's own again: it selects text."
            });
        }
        Action::Suspend => effects.push(Effect::Suspend),
        Action::Commit => commit(app, effects),
        Action::Discard if app.target_snapshot().is_some() => {
            let request = app
                .selected()
                .zip(app.target_snapshot())
                .map(|(node, snapshot)| {
                    Request::Snapshot(ChangeSnapshot {
                        image: node.path.clone(),
                        action: SnapshotAction::Delete {
                            snapshot: SnapshotName::Id(OsStr::from_bytes(&snapshot.id).to_owned()),
                        },
                    })
                });
            if let Some(request) = request {
                plans::ask(app, request, Mode::Main, effects);
            }
        }
        Action::Discard => {
            let images = paths(&app.forest, &app.targets());
            plans::ask(app, Request::discard(images), Mode::Main, effects);
        }
        Action::Prune => {
            let ticket = app.ticket();
            app.mode = Mode::Prune(Box::new(PruneDialog {
                ticket,
                ..PruneDialog::default()
            }));
            effects.push(Effect::Candidates(ticket, Arc::clone(&app.forest)));
        }
        Action::Trash => {
            let ticket = app.ticket();
            app.mode = Mode::Trash(Box::new(TrashDialog {
                ticket,
                ..TrashDialog::default()
            }));
            effects.push(Effect::Trash(ticket));
        }
        Action::Undo => {
            let last = app.undo.last().map(|(_, request)| request.clone());
            // What earlier runs have done is in the journal as well.
            let request = match (&app.journal, last) {
                (None, Some(last)) => last,
                (folders, _) => Request::Undo(UndoEntry {
                    entry: None,
                    folders: folders.clone().unwrap_or_default(),
                }),
            };
            plans::ask(app, request, Mode::Main, effects);
        }
        Action::Redo => {
            let request = Request::Redo(RedoEntry {
                entry: None,
                folders: app.journal.clone().unwrap_or_default(),
            });
            plans::ask(app, request, Mode::Main, effects);
        }
        Action::Recover => {
            let ticket = app.ticket();
            let mut menu = menus::interrupted(None);
            menu.ticket = Some(ticket);
            app.mode = Mode::List(Box::new(menu));
            effects.push(Effect::Interrupted(ticket, Some(Arc::clone(&app.forest))));
        }
        Action::Rescan => rescan(app, effects),
        Action::Redraw => effects.push(Effect::Redraw),
        _ => {}
    }
}

/// Asks for a scan; what was found before stays on the screen until it is done.
pub(super) fn rescan(app: &mut App, effects: &mut Vec<Effect>) {
    let ticket = app.ticket();
    app.scan.ticket = ticket;
    app.scan.running = true;
    app.scan.looked_at = 0;
    app.scan.again = false;
    // All of them are looked at by this scan.
    app.changed_files.clear();
    app.refreshing = None;
    app.scan.unreadable.clear();
    app.scan.fresh = (!app.forest.is_empty()).then(Forest::new);
    effects.push(Effect::Scan(ticket));
}

/// Files have changed: they alone are looked at again, or everything where it is not known which.
pub(super) fn look_again(app: &mut App, files: Option<Vec<PathBuf>>, effects: &mut Vec<Effect>) {
    match files {
        None if app.scan.running => app.scan.again = true,
        None => rescan(app, effects),
        Some(files) => {
            app.changed_files.extend(files);
            look_at_changed(app, effects);
        }
    }
}

/// Looks again at the files that have changed, unless something is being looked at now: its end will
/// come back here.
pub(super) fn look_at_changed(app: &mut App, effects: &mut Vec<Effect>) {
    if app.scan.running || app.refreshing.is_some() {
        return;
    }
    if std::mem::take(&mut app.scan.again) {
        app.changed_files.clear();
        rescan(app, effects);
        return;
    }
    if app.changed_files.is_empty() {
        return;
    }
    let mut files: Vec<PathBuf> = app.changed_files.drain().collect();
    files.sort_unstable();
    let ticket = app.ticket();
    app.refreshing = Some(ticket);
    effects.push(Effect::Refresh(ticket, Arc::clone(&app.forest), files));
}

/// Leaves, or asks first.
pub(super) fn quit(app: &mut App, effects: &mut Vec<Effect>) {
    if app.jobs.open().next().is_some() {
        app.mode = Mode::Leave;
    } else {
        effects.push(Effect::Quit);
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
fn fill(app: &mut App, kind: FormKind, effects: &mut Vec<Effect>) {
    let image = app.target().map(|node| node.id);
    dialogs::fill(app, image, kind, None, effects);
}

/// Asks how large a copy would be.
fn measure(app: &mut App, effects: &mut Vec<Effect>) {
    let Some(node) = app.target() else { return };
    let (image, format) = (node.path.clone(), node.format());
    let snapshot = app.target_snapshot().map(|snapshot| snapshot.id.clone());
    let ticket = app.ticket();
    app.mode = Mode::Measure(Box::new(MeasureDialog {
        ticket,
        image: image.clone(),
        snapshot: snapshot.clone(),
        found: None,
    }));
    effects.push(Effect::Measure {
        ticket,
        image,
        format,
        snapshot,
    });
}

/// Mends the first thing that is known to be wrong and can be mended.
fn repair(app: &mut App, effects: &mut Vec<Effect>) {
    let Some(node) = app.target() else { return };
    match (node.id, health::first_remedy(node)) {
        (id, Some(remedy)) => heal(app, id, remedy, effects),
        (id, None) => {
            if let Some(row) = app.tree.rows.place(id) {
                app.tree.cursor = row;
            }
            show(app, Tab::Health);
            app.tell("What is wrong, and what helps, is in the health pane.");
        }
    }
}

/// Does what helps an image.
fn heal(app: &mut App, id: NodeId, remedy: Remedy, effects: &mut Vec<Effect>) {
    let Some(image) = app.forest.get(id).map(|node| node.path.clone()) else {
        return;
    };
    match remedy {
        Remedy::Relink => dialogs::fill(app, Some(id), FormKind::Relink, None, effects),
        Remedy::RecordFormat => {
            let request = Request::Relink(Relink {
                image,
                base: None,
                format: None,
                style: None,
            });
            plans::ask(app, request, Mode::Main, effects);
        }
        Remedy::Repair(action) => {
            plans::ask(
                app,
                Request::Repair(RepairImage { image, action }),
                Mode::Main,
                effects,
            );
        }
        Remedy::Check => jobs::check(app, vec![image], effects),
        Remedy::Recover => run(app, Action::Recover, effects),
        Remedy::GoTo(id) => {
            if let Some(row) = app.tree.rows.place(id) {
                app.tree.cursor = row;
            }
        }
    }
}

/// Does what helps against the line of the health pane that is under the cursor.
fn heal_selected(app: &mut App, effects: &mut Vec<Effect>) {
    let Some(node) = app.selected() else { return };
    let (id, mut lines) = (node.id, health::lines(app, node));
    let at = health::at_cursor(app, &lines);
    let line = at.and_then(|at| lines.get_mut(at));
    if let Some(remedy) = line.and_then(|line| line.remedy.take()) {
        heal(app, id, remedy, effects);
    }
}

fn show(app: &mut App, tab: Tab) {
    app.tab = tab;
    app.detail_scroll = 0;
    app.pane = Pane::Detail;
}

/// One step back: out of the detail, a range, a filter, a view; never out of the program.
fn back(app: &mut App) {
    if app.leaving {
        app.leaving = false;
        app.tell("Staying.");
    } else if app.pane == Pane::Detail {
        app.pane = Pane::Images;
    } else if app.tree.range.is_some() {
        app.tree.range = None;
    } else if !app.tree.filter.value().is_empty() {
        app.tree.filter = Input::default();
        app.changed();
    } else if app.tree.view != View::All {
        app.tree.view = View::All;
        app.changed();
    } else if !app.tree.marks.is_empty() {
        app.tell("U clears the marks.");
    }
}

fn mark(app: &mut App, action: Action) {
    let Some(at) = app.tree.at else { return };
    match action {
        Action::Mark => {
            if !app.tree.marks.remove(&at) {
                app.tree.marks.insert(at);
            }
            moving::go(app, Action::Down);
        }
        Action::MarkSubtree => {
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
        Action::MarkRange => match app.tree.range.take() {
            None => {
                app.tree.range = Some(at);
                app.tell("A range begins here: move, then press v again; Esc forgets it.");
            }
            Some(from) => {
                let from = app.tree.rows.place(from).unwrap_or(app.tree.cursor);
                let (low, high) = (from.min(app.tree.cursor), from.max(app.tree.cursor));
                let rows = app.tree.rows.list.get(low..=high).unwrap_or_default();
                let images = rows.iter().filter_map(|row| match row.kind {
                    RowKind::Image(id) => Some(id),
                    _ => None,
                });
                app.tree.marks.extend(images);
            }
        },
        Action::ClearMarks => app.tree.marks.clear(),
        _ => {}
    }
}

fn paths(forest: &Forest, ids: &[NodeId]) -> Vec<PathBuf> {
    ids.iter()
        .filter_map(|id| forest.get(*id))
        .map(|node| node.path.clone())
        .collect()
}

fn commit(app: &mut App, effects: &mut Vec<Effect>) {
    let Some(overlay) = paths(&app.forest, &app.targets()).into_iter().next() else {
        return;
    };
    let request = Request::Commit(Commit {
        overlay,
        into: None,
        layer: CommittedLayer::default(),
        siblings: Siblings::default(),
        keep_old: None,
    });
    plans::ask(app, request, Mode::Main, effects);
}
