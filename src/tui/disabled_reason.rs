//! When an action makes sense, and if not, why: the sentences shown beside disabled entries. What
//! is safe is not decided here but by plans.
//!
//! What an action is about is one rule: the marked images, or where none is marked the one under the
//! cursor. Where an action takes two, the cursor points at the other. What only shows follows the cursor.

use crate::forest::{Location, Node, NodeId};
use crate::image::Encryption;

use super::actions::{Action, Motion};
use super::app::App;

/// Why the action cannot be done now; none if it can.
#[must_use]
pub(crate) fn why_not(app: &App, action: Action) -> Option<String> {
    let entry = app.settings.keymap.entry(action);
    if app.settings.read_only && entry.is_some_and(|entry| entry.group.changes()) {
        return Some("started with --read-only, or so configured".to_owned());
    }
    if let Some(reason) = is_of_images(app, action) {
        return Some(reason);
    }
    match action {
        Action::Check => {
            let targets = app.targets();
            let mut nodes = targets.iter().filter_map(|id| app.forest.get(*id));
            let is_any = nodes.any(can_be_checked);
            (!is_any).then(|| {
                let why = match targets.len() {
                    0 | 1 => file_of(app.target()).err(),
                    _ => None,
                };
                why.unwrap_or_else(|| "only qcow2 images have tables".to_owned())
            })
        }
        Action::CheckAll => {
            let is_any = app.forest.nodes().any(can_be_checked);
            (!is_any).then(|| "there is no qcow2 image".to_owned())
        }
        Action::Convert if app.tree.marks.len() > 1 => not_all_there(app),
        Action::Branch
        | Action::Resize
        | Action::Move
        | Action::Clone
        | Action::Convert
        | Action::Export
        | Action::Measure => one(app).err(),
        Action::Flatten if app.target_snapshot().is_some() => one(app).err(),
        Action::Flatten | Action::FlattenHere => one_that(app, |node| {
            node.backing
                .is_none()
                .then(|| "it is built on nothing".to_owned())
        }),
        Action::Rebase | Action::Snapshots | Action::Amend | Action::Bitmaps => {
            one_that(app, |node| {
                let is_other = node.facts().is_none();
                is_other.then(|| "only qcow2 images can do that".to_owned())
            })
        }
        Action::KeySlots => one_that(app, |node| {
            let is_luks = node
                .facts()
                .is_some_and(|facts| facts.encryption == Some(Encryption::Luks));
            (!is_luks).then(|| "it is not encrypted with LUKS".to_owned())
        }),
        Action::Repair => one_that(app, |node| {
            node.problems.is_empty().then(|| {
                let key = app.key(Action::Check);
                format!("nothing is known to be wrong: {key} looks")
            })
        }),
        Action::Revert => one_that(app, |node| {
            (!app.forest.is_leaf(node)).then(|| "others are built on it".to_owned())
        }),
        Action::Squash => one_that(app, |node| {
            app.forest.is_leaf(node).then(|| {
                let commit = app.key(Action::Commit);
                format!("nothing is built on it: {commit} merges it down")
            })
        }),
        Action::Compare => (two(app).len() != 2).then(|| {
            let mark = app.key(Action::Mark);
            format!("mark two images ({mark}), or one of them")
        }),
        Action::Own => {
            if app.settings.commands.is_empty() {
                return Some("the configuration has no [[command]]".to_owned());
            }
            if app.settings.read_only {
                return Some("started with --read-only, or so configured".to_owned());
            }
            app.selected()
                .is_none()
                .then(|| "no image is selected".to_owned())
        }
        Action::Log => app
            .session
            .log
            .of(None)
            .next()
            .is_none()
            .then(|| "nothing happened yet".to_owned()),
        Action::Changes | Action::Map => file_of(app.selected()).err(),
        Action::Health | Action::SnapshotList => app
            .selected()
            .is_none()
            .then(|| "no image is selected".to_owned()),
        Action::Commit => one_that(app, |node| {
            node.backing
                .is_none()
                .then(|| "it is built on nothing".to_owned())
        }),
        Action::Discard => {
            if app.tree.at.is_none() && app.tree.marks.is_empty() {
                return Some("no image is selected".to_owned());
            }
            not_all_there(app)
        }
        // The journal says what is passed over.
        Action::Undo if app.session.journal.is_some() => None,
        Action::Undo => app
            .session
            .undo
            .is_empty()
            .then(|| app.session.no_undo.clone())
            .flatten(),
        Action::Info
        | Action::Chain
        | Action::Enter
        | Action::Copy
        | Action::Go(Motion::Parent) => app
            .selected()
            .is_none()
            .then(|| "no image is selected".to_owned()),
        Action::Mark | Action::MarkRange | Action::MarkSubtree => app
            .selected()
            .is_none()
            .then(|| "no image is selected".to_owned()),
        Action::ClearMarks => app
            .tree
            .marks
            .is_empty()
            .then(|| "nothing is marked".to_owned()),
        Action::Go(Motion::NextHit) | Action::Go(Motion::PreviousHit) => app
            .tree
            .rows
            .hits
            .is_empty()
            .then(|| "no filter is set, or nothing matches".to_owned()),
        Action::Open => (app.jobs.open().next().is_some())
            .then(|| "jobs are running in these folders".to_owned()),
        Action::Jobs => app
            .jobs
            .list
            .is_empty()
            .then(|| "there are no jobs".to_owned()),
        // They need no image, or open what says itself that there is nothing.
        Action::Go(_)
        | Action::NextPane
        | Action::PreviousPane
        | Action::Images
        | Action::Back
        | Action::Grow
        | Action::Shrink
        | Action::HideDetail
        | Action::Diagram
        | Action::Quit
        | Action::Filter
        | Action::Sort
        | Action::View
        | Action::NewImage
        | Action::Import
        | Action::Prune
        | Action::Trash
        | Action::Redo
        | Action::Recover
        | Action::Actions
        | Action::Help
        | Action::Palette
        | Action::Rescan
        | Action::Shell
        | Action::Mouse
        | Action::Suspend
        | Action::Redraw => None,
    }
}

/// Why an action that is for images does nothing while the cursor is on a snapshot inside one: it would
/// be done to another thing than the one pointed at.
fn is_of_images(app: &App, action: Action) -> Option<String> {
    app.snapshot()?;
    let goes_by_marks = !app.tree.marks.is_empty();
    match action {
        Action::Mark | Action::MarkRange | Action::MarkSubtree => {
            return Some("only images are marked, not the snapshots inside them".to_owned());
        }
        // The cursor tells the second of the two.
        Action::Compare | Action::Rebase if app.tree.marks.len() == 1 => {}
        Action::Compare => return None,
        _ if goes_by_marks => return None,
        Action::Branch => {
            return Some(format!(
                "nothing can be built on a snapshot: {} copies it out into an image first",
                app.key(Action::Flatten)
            ));
        }
        Action::Commit
        | Action::Rebase
        | Action::FlattenHere
        | Action::Move
        | Action::Squash
        | Action::Revert
        | Action::Clone
        | Action::Export
        | Action::Amend
        | Action::KeySlots
        | Action::Bitmaps
        | Action::Resize
        | Action::Repair => {}
        // They act on the snapshot, on what the cursor shows, or on no image.
        Action::Flatten
        | Action::Convert
        | Action::Snapshots
        | Action::Discard
        | Action::Go(_)
        | Action::NextPane
        | Action::PreviousPane
        | Action::Images
        | Action::Info
        | Action::Chain
        | Action::Changes
        | Action::Map
        | Action::Health
        | Action::SnapshotList
        | Action::Enter
        | Action::Back
        | Action::Grow
        | Action::Shrink
        | Action::HideDetail
        | Action::Diagram
        | Action::Open
        | Action::Jobs
        | Action::Log
        | Action::Quit
        | Action::Filter
        | Action::Sort
        | Action::View
        | Action::ClearMarks
        | Action::Copy
        | Action::Check
        | Action::CheckAll
        | Action::Measure
        | Action::NewImage
        | Action::Import
        | Action::Prune
        | Action::Trash
        | Action::Undo
        | Action::Redo
        | Action::Recover
        | Action::Actions
        | Action::Help
        | Action::Palette
        | Action::Rescan
        | Action::Shell
        | Action::Own
        | Action::Mouse
        | Action::Suspend
        | Action::Redraw => return None,
    }
    Some(format!(
        "the cursor is on a snapshot: {} goes to the image that holds it",
        app.key(Action::Go(Motion::Parent))
    ))
}

/// Which of the images that an action is about is none of the scanned files.
fn not_all_there(app: &App) -> Option<String> {
    let targets = app.targets();
    let mut nodes = targets.iter().filter_map(|id| app.forest.get(*id));
    nodes
        .find(|node| node.location != Location::Scanned)
        .map(|node| format!("{} is not among the scanned files", app.label(node)))
}

/// Whether there are tables to look through.
pub(super) fn can_be_checked(node: &Node) -> bool {
    node.location == Location::Scanned && node.facts().is_some()
}

/// The two images to be compared: both marked, or the marked one and the one under the cursor.
pub(super) fn two(app: &App) -> Vec<NodeId> {
    let mut two = app.targets();
    two.extend(app.tree.at.filter(|at| two.len() == 1 && !two.contains(at)));
    let is_there = |id: &NodeId| {
        let node = app.forest.get(*id);
        node.is_some_and(|node| node.location == Location::Scanned)
    };
    two.retain(is_there);
    two
}

/// The file of the one image that an action is about: the marked one, or else the one under the cursor.
///
/// # Errors
/// Why there is none.
fn one(app: &App) -> Result<&Node, String> {
    if app.tree.marks.len() > 1 {
        return Err(format!(
            "one image at a time: {} clears the marks",
            app.key(Action::ClearMarks)
        ));
    }
    file_of(app.target())
}

/// Why an action that takes one image cannot be done with it; `why_not` says more of an image that is
/// there.
fn one_that(app: &App, why_not: impl FnOnce(&Node) -> Option<String>) -> Option<String> {
    match one(app) {
        Ok(node) => why_not(node),
        Err(why) => Some(why),
    }
}

fn file_of(node: Option<&Node>) -> Result<&Node, String> {
    let Some(node) = node else {
        return Err("no image is selected".to_owned());
    };
    Err(match node.location {
        Location::Scanned => return Ok(node),
        Location::OutsideScan if node.is_awaited() => {
            "it was not looked at yet: wait for the scan".to_owned()
        }
        Location::OutsideScan => {
            "it lies outside the scanned directories: open its directory too".to_owned()
        }
        Location::Missing => "the file is not there".to_owned(),
        Location::Elsewhere => "it is not a local file".to_owned(),
        Location::InTrash => "it is in the trash: restore it first".to_owned(),
    })
}
