//! When an action makes sense, and if not, why: the sentences shown beside disabled entries. What
//! is safe is not decided here but by plans.
//!
//! What an action is about is one rule: the marked images, or where none is marked the one under the
//! cursor. Where an action takes two, the cursor points at the other. What only shows follows the cursor.

use crate::forest::{Location, Node, NodeId};
use crate::image::Encryption;
use crate::ops::is_defined_by_service;

use super::actions::{Action, Motion};
use super::app::App;
use super::hosts::{HostSeen, NOT_COMPARED};
use super::panes::machine_under_cursor;

/// Why the action cannot be done now; none if it can.
#[must_use]
pub(crate) fn why_not(app: &App, action: Action) -> Option<String> {
    let entry = app.settings.keymap.entry(action);
    if entry.is_some_and(|entry| entry.group.changes())
        && let Some(reason) = read_only(app)
    {
        return Some(reason);
    }
    if let Some(reason) = far(app, action) {
        return Some(reason);
    }
    let when = when(action);
    if app.snapshot().is_some()
        && let Some(reason) = (when.on_snapshot)(app)
    {
        return Some(reason);
    }
    (when.why_not)(app)
}

/// A reason against an action, if there is one.
type Reason = fn(&App) -> Option<String>;

/// When an action makes sense.
struct When {
    /// Why not while the cursor is on a snapshot inside an image.
    on_snapshot: Reason,
    /// Why not, wherever the cursor is.
    why_not: Reason,
}

/// Acts on the snapshot under the cursor, on what the cursor shows, or on no image.
const fn anywhere(why_not: Reason) -> When {
    When {
        on_snapshot: |_| None,
        why_not,
    }
}

/// Acts on images only.
const fn of_image(why_not: Reason) -> When {
    When {
        on_snapshot: cursor_on_snapshot,
        why_not,
    }
}

/// Marks images.
const fn marks(why_not: Reason) -> When {
    When {
        on_snapshot: |_| Some("only images are marked, not the snapshots inside them".to_owned()),
        why_not,
    }
}

/// The reasons against each action.
fn when(action: Action) -> When {
    match action {
        Action::Branch => When {
            on_snapshot: not_a_base,
            why_not: not_one_image,
        },
        Action::Clone | Action::Mount => of_image(not_one_image),
        Action::Convert => anywhere(convert),
        Action::Export => of_image(not_one_image),
        Action::Measure | Action::Files => anywhere(not_one_image),
        Action::Flatten => anywhere(flatten),
        Action::Commit => of_image(no_base),
        Action::FlattenHere => of_image(no_base),
        Action::Rebase => When {
            on_snapshot: rebase_on_snapshot,
            why_not: no_tables,
        },
        Action::Squash => of_image(squash),
        Action::Trim => of_image(trim),
        Action::Revert => of_image(revert),
        Action::Move => of_image(not_one_image),
        Action::Resize => of_image(not_one_image),
        Action::Protect => of_image(not_one_image),
        Action::Note => of_image(note),
        Action::Repair => of_image(repair),
        Action::Snapshots => anywhere(no_tables),
        Action::Amend => of_image(no_tables),
        Action::Bitmaps => of_image(no_tables),
        Action::KeySlots => of_image(key_slots),
        Action::Machine => anywhere(machine),
        Action::Discard => anywhere(discard),
        Action::Undo => anywhere(undo),
        Action::Check => anywhere(check),
        Action::CheckAll => anywhere(check_all),
        Action::Compare => When {
            on_snapshot: compare_on_snapshot,
            why_not: compare,
        },
        Action::Changes | Action::Map | Action::Explain => anywhere(no_file),
        Action::Noise => anywhere(nothing_selected),
        Action::Info
        | Action::Chain
        | Action::Health
        | Action::SnapshotList
        | Action::Enter
        | Action::Copy
        | Action::Go(Motion::Parent) => anywhere(nothing_selected),
        Action::Mark | Action::MarkRange | Action::MarkSubtree => marks(nothing_selected),
        Action::ClearMarks => anywhere(clear_marks),
        Action::Go(Motion::NextHit | Motion::PreviousHit) => anywhere(no_hits),
        Action::Own => anywhere(own),
        Action::Jobs => anywhere(no_jobs),
        Action::Open => anywhere(jobs_running),
        Action::Log => anywhere(empty_log),
        Action::Tour => anywhere(no_demo),
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
        | Action::Space
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
        | Action::Redraw => anywhere(|_| None),
    }
}

/// Whether an action is about all machines, whatever the cursor is on.
fn is_of_all(action: Action) -> bool {
    matches!(action, Action::Trash | Action::Recover | Action::Prune)
}

/// What is not done with images of other hosts.
fn far(app: &App, action: Action) -> Option<String> {
    let concerned = app.targets().into_iter().chain(app.tree.at);
    let mut concerned = concerned.filter_map(|id| app.forest.get(id));
    let host = concerned.find_map(|node| app.forest.host_of(node));
    let machine = machine_under_cursor(app).filter(|_| action == Action::Machine);
    let host = host.or_else(|| machine?.host.as_deref())?;
    let entry = app.settings.keymap.entry(action);
    let changes = entry.is_some_and(|entry| entry.group.changes());
    let seen = app.hosts.list.iter().find(|seen| seen.name == host);
    // What they do there nobody looks at.
    let may_change = matches!(action, Action::Shell | Action::Own);
    let is_held = (changes || may_change) && !is_of_all(action);
    seen.and_then(HostSeen::unchangeable).filter(|_| is_held)
}

fn read_only(app: &App) -> Option<String> {
    let is_so = app.settings.read_only;
    is_so.then(|| "started with --read-only, or so configured".to_owned())
}

/// It would be done to another thing than the one pointed at.
fn cursor_on_snapshot(app: &App) -> Option<String> {
    app.tree.marks.is_empty().then(|| goes_to_parent(app))
}

fn goes_to_parent(app: &App) -> String {
    format!(
        "the cursor is on a snapshot: {} goes to the image that holds it",
        app.key(Action::Go(Motion::Parent))
    )
}

fn not_a_base(app: &App) -> Option<String> {
    app.tree.marks.is_empty().then(|| {
        format!(
            "nothing can be built on a snapshot: {} copies it out into an image first",
            app.key(Action::Flatten)
        )
    })
}

/// The cursor tells what the marked image is to be built on.
fn rebase_on_snapshot(app: &App) -> Option<String> {
    (app.tree.marks.len() <= 1).then(|| goes_to_parent(app))
}

/// The cursor tells the second of the two.
fn compare_on_snapshot(app: &App) -> Option<String> {
    (app.tree.marks.len() == 1).then(|| goes_to_parent(app))
}

fn compare(app: &App) -> Option<String> {
    let two = two(app);
    let host = |id: &NodeId| {
        app.forest
            .get(*id)
            .and_then(|node| app.forest.host_of(node))
    };
    match two.as_slice() {
        [one, other] if host(one) == host(other) => None,
        [_, _] => Some(NOT_COMPARED.to_owned()),
        _ => {
            let mark = app.key(Action::Mark);
            Some(format!("mark two images ({mark}), or one of them"))
        }
    }
}

fn check(app: &App) -> Option<String> {
    let targets = app.targets();
    let mut nodes = targets.iter().filter_map(|id| app.forest.get(*id));
    if nodes.any(can_be_checked) {
        return None;
    }
    let why = match targets.len() {
        0 | 1 => file_of(app.target()).err(),
        _ => None,
    };
    Some(why.unwrap_or_else(|| "only qcow2 images have tables".to_owned()))
}

fn check_all(app: &App) -> Option<String> {
    let is_any = app.forest.nodes().any(can_be_checked);
    (!is_any).then(|| "there is no qcow2 image".to_owned())
}

fn convert(app: &App) -> Option<String> {
    match app.tree.marks.len() {
        0 | 1 => not_one_image(app),
        _ => not_all_there(app),
    }
}

fn flatten(app: &App) -> Option<String> {
    match app.target_snapshot() {
        Some(_) => not_one_image(app),
        None => no_base(app),
    }
}

fn no_base(app: &App) -> Option<String> {
    one_that(app, |node| {
        let is_root = node.backing.is_none();
        is_root.then(|| "it is built on nothing".to_owned())
    })
}

fn no_tables(app: &App) -> Option<String> {
    one_that(app, |node| {
        let is_other = node.info().is_none();
        is_other.then(|| "only qcow2 images can do that".to_owned())
    })
}

fn key_slots(app: &App) -> Option<String> {
    one_that(app, |node| {
        let is_luks = node
            .info()
            .is_some_and(|info| info.encryption == Some(Encryption::Luks));
        (!is_luks).then(|| "it is not encrypted with LUKS".to_owned())
    })
}

fn repair(app: &App) -> Option<String> {
    one_that(app, |node| {
        node.problems.is_empty().then(|| {
            let key = app.key(Action::Check);
            format!("nothing is known to be wrong: {key} looks")
        })
    })
}

fn revert(app: &App) -> Option<String> {
    one_that(app, |node| {
        (!app.forest.is_leaf(node)).then(|| "others are built on it".to_owned())
    })
}

fn squash(app: &App) -> Option<String> {
    one_that(app, |node| {
        app.forest.is_leaf(node).then(|| {
            let commit = app.key(Action::Commit);
            format!("nothing is built on it: {commit} merges it down")
        })
    })
}

fn trim(app: &App) -> Option<String> {
    one_that(app, |node| match node.info() {
        None => Some("only qcow2 images are trimmed".to_owned()),
        Some(_) if !app.forest.readers(node.id).is_empty() => {
            Some("others are built on it".to_owned())
        }
        Some(info) if info.snapshots > 0 => Some("it has internal snapshots".to_owned()),
        Some(_) => None,
    })
}

/// Any image can be tried; the other entries are about machines.
fn machine(app: &App) -> Option<String> {
    let mut machines = app.forest.all_machines();
    let is_any = app.target().is_some() || machines.any(is_defined_by_service);
    (!is_any).then(|| "no image is selected, and no machine of libvirt's is known here".to_owned())
}

fn discard(app: &App) -> Option<String> {
    if app.tree.at.is_none() && app.tree.marks.is_empty() {
        return Some("no image is selected".to_owned());
    }
    not_all_there(app)
}

/// Where a journal is kept, that says what is passed over.
fn undo(app: &App) -> Option<String> {
    let session = &app.session;
    // A host has a journal of its own.
    if app.selected().is_some_and(|node| app.forest.is_far(node)) {
        return None;
    }
    if session.journal.is_some() || !session.undo.is_empty() {
        return None;
    }
    session.no_undo.clone()
}

fn own(app: &App) -> Option<String> {
    if app.settings.commands.is_empty() {
        return Some("the configuration has no [[command]]".to_owned());
    }
    read_only(app).or_else(|| nothing_selected(app))
}

fn no_demo(app: &App) -> Option<String> {
    (!app.settings.is_demo).then(|| "only on sample forests: qanopy demo --tour".to_owned())
}

fn empty_log(app: &App) -> Option<String> {
    let is_empty = app.session.log.of(None).next().is_none();
    is_empty.then(|| "nothing happened yet".to_owned())
}

fn jobs_running(app: &App) -> Option<String> {
    let is_any = app.jobs.open().next().is_some();
    is_any.then(|| "jobs are running in these folders".to_owned())
}

fn no_jobs(app: &App) -> Option<String> {
    let is_empty = app.jobs.list.is_empty();
    is_empty.then(|| "there are no jobs".to_owned())
}

fn no_hits(app: &App) -> Option<String> {
    let is_empty = app.tree.rows.hits.is_empty();
    is_empty.then(|| "no filter is set, or nothing matches".to_owned())
}

fn clear_marks(app: &App) -> Option<String> {
    let is_empty = app.tree.marks.is_empty();
    is_empty.then(|| "nothing is marked".to_owned())
}

fn nothing_selected(app: &App) -> Option<String> {
    let is_none = app.selected().is_none();
    is_none.then(|| "no image is selected".to_owned())
}

fn no_file(app: &App) -> Option<String> {
    file_of(app.selected()).err()
}

fn not_one_image(app: &App) -> Option<String> {
    one(app).err()
}

fn note(app: &App) -> Option<String> {
    match app.tree.marks.len() {
        0 | 1 => not_one_image(app),
        _ => not_all_there(app),
    }
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
    node.location == Location::Scanned && node.info().is_some()
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
            "it lies outside the scanned folders: open its folder too".to_owned()
        }
        Location::Missing => "the file is not there".to_owned(),
        Location::Elsewhere => "it is not a local file".to_owned(),
        Location::InTrash => "it is in the trash: restore it first".to_owned(),
    })
}
