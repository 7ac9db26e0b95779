//! Which files an image has changed: as folders that open and fold, each with how many differ in it, what changed most
//! first. Of thousands of rows only those that are seen are made.

use std::ops::Range;

use ratatui::text::{Line, Span};

use crate::forest::Node;
use crate::guest::diff::{Change, ChangeKind, VolumeDiff, VolumeState};
use crate::guest::filesystem::NodeKind;
use crate::host::printable_bytes;
use crate::tui::actions::Action;
use crate::tui::app::{App, Pane};
use crate::tui::change_tree::{ChangeRow, RowKind, VolumeTree};
use crate::tui::file_changes::{Before, Changes, FilesAnswer, FilesQuery};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::units;

use super::map;

/// Folders in each other that are set in, each a little more.
const MOST_INDENT: usize = 12;

/// What the pane shows, from its first line to its last.
struct Content<'a> {
    app: &'a App,
    rows: &'a [ChangeRow],
    width: usize,
    parts: Vec<Part>,
}

/// Lines that are made, or rows that are made once they are seen.
enum Part {
    Lines(Vec<Line<'static>>),
    Rows(Range<usize>),
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.len(),
            Self::Rows(rows) => rows.len(),
        }
    }
}

/// How many lines there are.
pub(in crate::tui) fn count(app: &App, node: &Node, width: usize) -> usize {
    let content = content(app, node, width, &app.detail.files.rows);
    content.parts.iter().map(Part::len).sum()
}

/// The lines that are seen.
pub(in crate::tui) fn lines(
    app: &App,
    node: &Node,
    width: usize,
    seen: Range<usize>,
) -> Vec<Line<'static>> {
    content(app, node, width, &app.detail.files.rows).seen(seen)
}

/// All lines, with every folder open.
pub(in crate::tui) fn all(app: &App, node: &Node, width: usize) -> Vec<Line<'static>> {
    let rows = app.detail.files.all_rows();
    content(app, node, width, &rows).seen(0..usize::MAX)
}

/// The line on which the row under the cursor stands.
#[must_use]
pub(in crate::tui) fn line_at_cursor(app: &App, node: &Node, width: usize) -> Option<usize> {
    let at = app.detail.files.cursor;
    let mut line = 0;
    for part in content(app, node, width, &app.detail.files.rows).parts {
        match &part {
            Part::Rows(rows) if rows.contains(&at) => return Some(line + at - rows.start),
            _ => line += part.len(),
        }
    }
    None
}

fn content<'a>(app: &'a App, node: &Node, width: usize, rows: &'a [ChangeRow]) -> Content<'a> {
    let mut content = Content {
        app,
        rows,
        width,
        parts: Vec::new(),
    };
    let files = &app.detail.files;
    let asked = files
        .asked
        .as_ref()
        .filter(|query| query.image() == node.path || app.targets().len() == 2);
    let Some(FilesQuery::Changes { before, .. }) = asked else {
        content.ranges(node);
        return content;
    };
    content.say(&against(app, before), Role::Quiet);
    match &files.answer {
        None => content.say("Reading its tables.", Role::Quiet),
        Some(FilesAnswer::Bytes(bytes)) => {
            let bytes = units::size(*bytes);
            let words = format!("{bytes} are stored anew. Looking for the files.");
            content.say(&words, Role::Plain);
        }
        Some(FilesAnswer::Nodes { bytes, nodes }) => {
            let (bytes, nodes) = (units::size(*bytes), units::count(*nodes, "file"));
            content.say(
                &format!("{bytes} are stored anew. {nodes} differ. Looking for their names."),
                Role::Plain,
            );
        }
        Some(FilesAnswer::Changes(changes)) => content.changes(changes, node),
        Some(FilesAnswer::Failed(why)) => {
            content.say(why, Role::Warning);
            content.ranges(node);
        }
        Some(FilesAnswer::NoBase | FilesAnswer::Contents(_) | FilesAnswer::Explained(_)) => {
            content.parts.clear();
            content.say(
                "It is built on no other image: there is nothing to compare its files with.",
                Role::Quiet,
            );
            content.ranges(node);
        }
    }
    content
}

/// What is compared with what, and the key that changes that.
fn against(app: &App, before: &Before) -> String {
    let key = app.key(Action::Changes);
    match before {
        Before::Base => format!("Files that differ from its base ({key}: from its root)."),
        Before::Root => format!("Files that differ from its root ({key}: from its base)."),
        Before::Image(older) => format!("Files that differ from {}.", units::file_name(older)),
        Before::Snapshot(_) => "Files that differ between this snapshot and now.".to_owned(),
    }
}

impl Content<'_> {
    fn say(&mut self, words: &str, role: Role) {
        let lines = map::wrapped(self.app, words, role, self.width);
        self.parts.push(Part::Lines(lines));
    }

    /// The ranges it has changed, where no files are told.
    fn ranges(&mut self, node: &Node) {
        let lines = map::lines(self.app, node, self.width, map::Of::Own);
        self.parts.push(Part::Lines(lines));
    }

    fn changes(&mut self, changes: &Changes, node: &Node) {
        let bytes = units::size(changes.bytes);
        self.say(&format!("{bytes} are stored anew."), Role::Plain);
        let tree = changes.tree(self.app.detail.files.shows_noise);
        for (at, (volume, tree)) in changes.volumes.iter().zip(&tree.volumes).enumerate() {
            self.volume(volume, tree);
            let from = self.rows.partition_point(|row| row.volume < at);
            let until = self.rows.partition_point(|row| row.volume <= at);
            self.parts.push(Part::Rows(from..until));
        }
        let is_told = |volume: &VolumeDiff| {
            !matches!(
                volume.state,
                VolumeState::NotRead(_) | VolumeState::Locked(_) | VolumeState::Same
            )
        };
        if !changes.volumes.iter().any(is_told) {
            self.ranges(node);
        }
    }

    /// What there is to say of a volume before its files.
    fn volume(&mut self, volume: &VolumeDiff, tree: &VolumeTree) {
        let head = format!("{} ({})", volume.name, volume.kind);
        match &volume.state {
            VolumeState::Same => return self.say(&format!("{head}: the same."), Role::Quiet),
            VolumeState::Added => return self.say(&format!("{head}: new."), Role::Plain),
            VolumeState::Deleted => return self.say(&format!("{head}: gone."), Role::Plain),
            VolumeState::NotRead(why) | VolumeState::Locked(why) => {
                let bytes = units::size(volume.changed_bytes);
                return self.say(
                    &format!("{head}: {bytes} differ; its files are not compared: {why}."),
                    Role::Warning,
                );
            }
            VolumeState::Compared | VolumeState::Partial(_) => {}
        }
        self.say(&format!("{head}: {}.", counts(tree)), Role::Title);
        if let VolumeState::Partial(reasons) = &volume.state {
            for reason in reasons.iter().take(3) {
                self.say(&format!("Not complete: {reason}."), Role::Warning);
            }
        }
        if tree.noise > 0 {
            let key = self.app.key(Action::Noise);
            let words = match (tree.noise, self.app.detail.files.shows_noise) {
                (1, true) => "is among them",
                (1, false) => "is hidden",
                (_, true) => "are among them",
                (_, false) => "are hidden",
            };
            let noise = units::count(tree.noise, "log, cached or temporary file");
            self.say(&format!("{noise} {words} ({key})."), Role::Quiet);
        }
    }

    fn seen(self, seen: Range<usize>) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        let mut from = 0;
        for part in &self.parts {
            let until = from + part.len();
            let own = seen.start.clamp(from, until) - from..seen.end.clamp(from, until) - from;
            match part {
                Part::Lines(all) => {
                    lines.extend(all.get(own).unwrap_or_default().iter().cloned());
                }
                Part::Rows(rows) => {
                    let rows = rows.start + own.start..rows.start + own.end;
                    lines.extend(rows.filter_map(|at| self.row(at)));
                }
            }
            from = until;
        }
        lines
    }

    fn row(&self, at: usize) -> Option<Line<'static>> {
        let app = self.app;
        let row = self.rows.get(at)?;
        let volume = app.detail.files.changes()?.volumes.get(row.volume)?;
        let (letter, bytes, words, role) = match row.kind {
            RowKind::Folder(place, is_open) => {
                let folder = app.detail.files.tree()?.folder(place)?;
                let own = folder.own.and_then(|own| volume.changes.get(own));
                let sign = match (is_open, app.settings.ascii) {
                    (true, false) => "▾",
                    (false, false) => "▸",
                    (true, true) => "-",
                    (false, true) => "+",
                };
                let name = printable_bytes(folder.name(&volume.changes));
                let count = match folder.count {
                    1 if own.is_some() => String::new(),
                    count => format!(" ({})", units::grouped(count)),
                };
                let of = own.map_or_else(String::new, origin);
                let words = format!("{sign} {name}/{count}{of}");
                let letter = own.map_or(' ', |own| own.kind.letter());
                let role = own.map_or(Role::Plain, |own| role(own.kind));
                (letter, units::size(folder.bytes), words, role)
            }
            RowKind::File(change) => {
                let change = volume.changes.get(change)?;
                let words = format!("  {}", file_name(change, app.settings.ascii));
                (change.kind.letter(), size(change), words, role(change.kind))
            }
            RowKind::More(count) => {
                let more = units::grouped(u64::try_from(count).unwrap_or(u64::MAX));
                let words = format!("  and {more} more: `qanopy diff` lists all");
                (' ', String::new(), words, Role::Quiet)
            }
        };
        let is_at = app.pane == Pane::Detail && app.detail.files.cursor == at;
        let indent = " ".repeat(2 * row.depth.min(MOST_INDENT));
        let words = format!("{bytes:>9}  {indent}{words}");
        let room = self.width.saturating_sub(4);
        let words = text::cut_middle(&words, room, app.settings.ascii);
        let theme = app.settings.theme;
        let line = Line::from(vec![
            Span::styled(frame::bar(app, is_at), theme.style(Role::Key)),
            Span::styled(format!("{letter} "), theme.style(role)),
            Span::raw(match is_at {
                true => text::pad(&words, room, app.settings.ascii),
                false => words,
            }),
        ]);
        Some(match is_at {
            true => line.patch_style(theme.style(Role::Cursor)),
            false => line,
        })
    }
}

fn role(kind: ChangeKind) -> Role {
    match kind {
        ChangeKind::Added => Role::Good,
        ChangeKind::Deleted => Role::Error,
        ChangeKind::Replaced | ChangeKind::Modified => Role::Warning,
        ChangeKind::Metadata => Role::Quiet,
        ChangeKind::Renamed => Role::Plain,
    }
}

fn size(change: &Change) -> String {
    match change.node_kind() {
        Some(NodeKind::File) if change.content => units::size(change.bytes),
        _ => String::new(),
    }
}

/// A file's name in its folder, and the path it had before where it was renamed.
fn file_name(change: &Change, ascii: bool) -> String {
    let arrow = if ascii { " <- " } else { " ← " };
    let name = change.path.rsplit(|byte| *byte == b'/').next();
    let from = change.from.as_ref();
    let from = from.map(|from| format!("{arrow}/{}", printable_bytes(from)));
    let slash = match change.node_kind() {
        Some(NodeKind::Directory) => "/",
        _ => "",
    };
    format!(
        "{}{slash}{}{}",
        printable_bytes(name.unwrap_or_default()),
        from.unwrap_or_default(),
        origin(change)
    )
}

/// What it is a snapshot of, if it is one.
fn origin(change: &Change) -> String {
    let of = change.snapshot_of.as_ref();
    of.map_or_else(String::new, |of| {
        format!(" (snapshot of /{})", printable_bytes(of))
    })
}

/// `3 added, 1 modified`; how many of each kind.
fn counts(tree: &VolumeTree) -> String {
    if tree.kinds.is_empty() {
        return "no file differs".to_owned();
    }
    let words = |kind: &ChangeKind| match kind {
        ChangeKind::Metadata => "only metadata",
        kind => kind.name(),
    };
    let parts = tree
        .kinds
        .iter()
        .map(|(kind, count)| format!("{} {}", units::grouped(*count), words(kind)));
    parts.collect::<Vec<_>>().join(", ")
}
