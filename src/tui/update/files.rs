//! Which question about files the detail pane raises.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::forest::{Location, Node};
use crate::image::Format;
use crate::ops::SnapshotName;
use crate::tui::app::App;
use crate::tui::detail_pane::Tab;
use crate::tui::file_changes::{Before, FilesQuery};
use crate::tui::msg::Effect;

/// Asks what the detail pane shows of files, if that was not asked yet.
pub(super) fn ask(app: &mut App, effects: &mut Vec<Effect>) {
    if app.detail.hidden {
        return;
    }
    let query = match app.detail.tab {
        Tab::Changes => changes(app),
        Tab::Info => selected(app, FilesQuery::Contents),
        Tab::Explain => selected(app, FilesQuery::Explain),
        _ => None,
    };
    let files = &mut app.detail.files;
    if let Some(query) = query.filter(|query| files.asked.as_ref() != Some(query)) {
        if files
            .contents
            .as_ref()
            .is_some_and(|(path, _)| path != query.image())
        {
            files.contents = None;
        }
        files.ask(query.clone());
        effects.push(Effect::Files(query));
    }
}

/// A question about the image under the cursor.
fn selected(app: &App, question: fn(PathBuf, Option<Format>) -> FilesQuery) -> Option<FilesQuery> {
    let node = app.selected().filter(|node| can_be_read(node))?;
    Some(question(node.path.clone(), node.format()))
}

/// Only what was found by looking may be opened.
fn can_be_read(node: &Node) -> bool {
    node.location == Location::Scanned
}

/// What is to be compared: two marked images, the snapshot under the cursor and its image, or the selected image and
/// what it is built on.
fn changes(app: &App) -> Option<FilesQuery> {
    let marked = match app.targets().as_slice() {
        [one, other] => app.forest.get(*one).zip(app.forest.get(*other)),
        _ => None,
    };
    if let Some((one, other)) = marked.filter(|(one, other)| can_be_read(one) && can_be_read(other))
    {
        // The base of the other is the older one.
        let targets = app.targets();
        let below = app.forest.chain(targets.first().copied()?);
        let is_below = targets.get(1).is_some_and(|other| below.contains(other));
        let (older, newer) = if is_below { (other, one) } else { (one, other) };
        return Some(FilesQuery::Changes {
            after: newer.path.clone(),
            format: newer.format(),
            before: Before::Image(older.path.clone()),
        });
    }
    let node = app.selected().filter(|node| can_be_read(node))?;
    let before = match app.snapshot() {
        Some(snapshot) => {
            Before::Snapshot(SnapshotName::Id(OsStr::from_bytes(&snapshot.id).to_owned()))
        }
        None if app.detail.files.from_root => Before::Root,
        None => Before::Base,
    };
    Some(FilesQuery::Changes {
        after: node.path.clone(),
        format: node.format(),
        before,
    })
}
