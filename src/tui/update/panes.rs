//! What keys do in the panes: choosing what to look at, marking, opening dialogs, leaving.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tui_input::Input;

use crate::forest::{Forest, NodeId};
use crate::ops::{BackingStyle, CommittedLayer, Request, Siblings};
use crate::tui::app::{App, JobState, Pane, Tab};
use crate::tui::dialog::{BranchForm, Field, Mode, PruneDialog, TrashDialog};
use crate::tui::keymap::{self, Action, Scope};
use crate::tui::msg::Effect;
use crate::tui::picture::Picture;
use crate::tui::reasons::why_not;
use crate::tui::rows::{RowKind, View};

use super::{dialogs, menus, moving};

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
        Action::Info => show(app, Tab::Info),
        Action::Chain => show(app, Tab::Chain),
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
        Action::Branch => branch(app, effects),
        Action::Commit => commit(app, effects),
        Action::Discard => {
            let images = paths(&app.forest, &app.targets());
            dialogs::ask(app, Request::Discard { images }, Mode::Main, effects);
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
            if let Some((_, request)) = app.undo.last().cloned() {
                dialogs::ask(app, request, Mode::Main, effects);
            }
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
    app.scan.unreadable.clear();
    app.scan.fresh = (!app.forest.is_empty()).then(Forest::new);
    effects.push(Effect::Scan(ticket));
}

/// Leaves, or asks first.
pub(super) fn quit(app: &mut App, effects: &mut Vec<Effect>) {
    if app.jobs.open().next().is_some() {
        app.mode = Mode::Leave;
    } else {
        effects.push(Effect::Quit);
    }
}

/// Keys of the jobs pane.
pub(super) fn run_in_jobs(app: &mut App, action: Action, effects: &mut Vec<Effect>) {
    let last = app.jobs.list.len().saturating_sub(1);
    match action {
        Action::Down => app.jobs.cursor = (app.jobs.cursor + 1).min(last),
        Action::Up => app.jobs.cursor = app.jobs.cursor.saturating_sub(1),
        Action::CancelJob => {
            let at = app.jobs.cursor;
            let Some(job) = app.jobs.list.get_mut(at) else {
                return;
            };
            let text = match job.state {
                JobState::Running if job.is_switching() => {
                    format!("{}: finishing, it cannot stop here.", job.title)
                }
                JobState::Running | JobState::Waiting => format!("{}: stopping.", job.title),
                _ => format!("{}: this job is over.", job.title),
            };
            job.cancel();
            app.tell(text);
        }
        Action::Close => app.mode = Mode::Main,
        Action::Quit => quit(app, effects),
        _ => {}
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

fn branch(app: &mut App, effects: &mut Vec<Effect>) {
    let Some(node) = app.selected() else { return };
    let base = node.path.clone();
    let dir = base.parent().map(Path::to_path_buf).unwrap_or_default();
    let name = free_name(&app.forest, &base);
    app.mode = Mode::Form(Box::new(BranchForm {
        base,
        dir,
        name: Input::new(name),
        style: BackingStyle::default(),
        field: Field::default(),
        ticket: 0,
        plan: None,
        submitted: false,
        reason: None,
    }));
    dialogs::replan_form(app, std::time::Duration::ZERO, effects);
}

/// A name for an overlay on `base` that no image has yet, in the manner of people who number and
/// letter their branches: `RootBase-1`, on that `RootBase-1A`, on that `RootBase-1A-1`.
fn free_name(forest: &Forest, base: &Path) -> String {
    let stem = base.file_stem().unwrap_or(base.as_os_str());
    let stem = stem.to_string_lossy();
    let dir = base.parent().unwrap_or(Path::new(""));
    let is_free = |name: &String| forest.by_path(&dir.join(name)).is_none();
    let letters = ('A'..='Z').map(|letter| format!("{stem}{letter}.qcow2"));
    let numbers = (1..u32::MAX).map(|number| format!("{stem}-{number}.qcow2"));
    let is_numbered = stem.ends_with(|c: char| c.is_ascii_digit()) && stem.contains('-');
    letters
        .take(if is_numbered { 26 } else { 0 })
        .chain(numbers)
        .find(is_free)
        .unwrap_or_default()
}

fn commit(app: &mut App, effects: &mut Vec<Effect>) {
    let Some(overlay) = paths(&app.forest, &app.targets()).into_iter().next() else {
        return;
    };
    let request = Request::Commit {
        overlay,
        layer: CommittedLayer::default(),
        siblings: Siblings::default(),
    };
    dialogs::ask(app, request, Mode::Main, effects);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposed_name_goes_on_as_people_number_their_branches() {
        let forest = Forest::new();
        let name = |base: &str| free_name(&forest, Path::new(base));
        assert_eq!(name("/vm/RootBase.qcow2"), "RootBase-1.qcow2");
        assert_eq!(name("/vm/Overlay-1.qcow2"), "Overlay-1A.qcow2");
        assert_eq!(name("/vm/Overlay-1A.qcow2"), "Overlay-1A-1.qcow2");
        assert_eq!(name("/vm/disk.img"), "disk-1.qcow2");
    }
}
