//! Which files an image has changed: counted, rolled up by folder, and one by one, what changed most first.

use std::collections::BTreeMap;

use ratatui::text::{Line, Span};

use crate::forest::Node;
use crate::guest::diff::{Change, ChangeKind, VolumeDiff, VolumeState};
use crate::guest::filesystem::NodeKind;
use crate::host::printable_bytes;
use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::file_changes::{Before, FilesAnswer, FilesQuery};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units;

use super::map;

/// Files listed at most; the others are counted.
const MOST_FILES: usize = 2000;
/// Folders listed at most.
const MOST_FOLDERS: usize = 12;
/// A layer with fewer changes is told file by file at once.
const FEW: usize = 12;

/// All lines.
pub(in crate::tui) fn lines(app: &App, node: &Node, width: usize) -> Vec<Line<'static>> {
    let files = &app.detail.files;
    let asked = files
        .asked
        .as_ref()
        .filter(|query| query.image() == node.path || app.targets().len() == 2);
    let Some(FilesQuery::Changes { before, .. }) = asked else {
        return map::lines(app, node, width, map::Of::Own);
    };
    let mut lines = Lines {
        app,
        width,
        lines: Vec::new(),
    };
    lines.say(&against(app, before), Role::Quiet);
    match &files.answer {
        None => lines.say("Reading its tables.", Role::Quiet),
        Some(FilesAnswer::Bytes(bytes)) => {
            lines.say(
                &format!(
                    "{} are stored anew. Looking for the files.",
                    units::size(*bytes)
                ),
                Role::Plain,
            );
        }
        Some(FilesAnswer::Nodes { bytes, nodes }) => {
            let (bytes, nodes) = (units::size(*bytes), units::count(*nodes, "file"));
            lines.say(
                &format!("{bytes} are stored anew. {nodes} differ. Looking for their names."),
                Role::Plain,
            );
        }
        Some(FilesAnswer::Changes { bytes, volumes }) => {
            lines.say(
                &format!("{} are stored anew.", units::size(*bytes)),
                Role::Plain,
            );
            for volume in volumes.iter() {
                lines.volume(volume);
            }
            if volumes
                .iter()
                .all(|volume| matches!(volume.state, VolumeState::NotRead(_) | VolumeState::Same))
            {
                lines
                    .lines
                    .extend(map::lines(app, node, width, map::Of::Own));
            }
        }
        Some(FilesAnswer::Failed(why)) => {
            lines.say(why, Role::Warning);
            lines
                .lines
                .extend(map::lines(app, node, width, map::Of::Own));
        }
        Some(FilesAnswer::NoBase | FilesAnswer::Contents(_) | FilesAnswer::Explained(_)) => {
            lines.lines.clear();
            lines.say(
                "It is built on no other image: there is nothing to compare its files with.",
                Role::Quiet,
            );
            lines
                .lines
                .extend(map::lines(app, node, width, map::Of::Own));
        }
    }
    lines.lines
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

struct Lines<'a> {
    app: &'a App,
    width: usize,
    lines: Vec<Line<'static>>,
}

impl Lines<'_> {
    fn say(&mut self, words: &str, role: Role) {
        self.lines
            .extend(map::wrapped(self.app, words, role, self.width));
    }

    fn volume(&mut self, volume: &VolumeDiff) {
        let head = format!("{} ({})", volume.name, volume.kind);
        match &volume.state {
            VolumeState::Same => return self.say(&format!("{head}: the same."), Role::Quiet),
            VolumeState::Added => return self.say(&format!("{head}: new."), Role::Plain),
            VolumeState::Deleted => return self.say(&format!("{head}: gone."), Role::Plain),
            VolumeState::NotRead(why) => {
                let bytes = units::size(volume.changed_bytes);
                return self.say(
                    &format!("{head}: {bytes} differ; its files are not compared: {why}."),
                    Role::Warning,
                );
            }
            VolumeState::Compared | VolumeState::Partial(_) => {}
        }
        let noise = volume
            .changes
            .iter()
            .filter(|change| change.is_noise())
            .count();
        let shows_noise = self.app.detail.files.shows_noise;
        let shown: Vec<&Change> = volume
            .changes
            .iter()
            .filter(|change| shows_noise || !change.is_noise())
            .collect();
        self.say(&format!("{head}: {}.", counts(&shown)), Role::Title);
        if let VolumeState::Partial(reasons) = &volume.state {
            for reason in reasons.iter().take(3) {
                self.say(&format!("Not complete: {reason}."), Role::Warning);
            }
        }
        if noise > 0 {
            let key = self.app.key(Action::Noise);
            let words = match (noise, shows_noise) {
                (1, true) => "is among them",
                (1, false) => "is hidden",
                (_, true) => "are among them",
                (_, false) => "are hidden",
            };
            let noise = units::count(noise, "log, cached or temporary file");
            self.say(&format!("{noise} {words} ({key})."), Role::Quiet);
        }
        if shown.len() > FEW {
            self.folders(&shown);
        }
        for change in shown.iter().take(MOST_FILES) {
            self.file(change);
        }
        if shown.len() > MOST_FILES {
            let more = units::count(shown.len() - MOST_FILES, "more file");
            self.say(
                &format!("and {more}: `qanopy diff` lists all."),
                Role::Quiet,
            );
        }
    }

    /// The folders in which most changed.
    fn folders(&mut self, changes: &[&Change]) {
        let mut sums: BTreeMap<&[u8], (u64, u64)> = BTreeMap::new();
        for change in changes {
            let parts: Vec<usize> = change
                .path
                .iter()
                .enumerate()
                .filter(|(_, byte)| **byte == b'/')
                .map(|(at, _)| at)
                .take(2)
                .collect();
            let cut = parts.last().copied().unwrap_or(0);
            let (count, bytes) = sums
                .entry(change.path.get(..cut).unwrap_or_default())
                .or_default();
            *count += 1;
            *bytes = bytes.saturating_add(change.bytes);
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_by_key(|(_, (count, bytes))| std::cmp::Reverse((*bytes, *count)));
        for (folder, (count, bytes)) in sums.iter().take(MOST_FOLDERS) {
            let text = format!(
                "   {:>9}  {:>7}  /{}",
                units::size(*bytes),
                units::grouped(*count),
                printable_bytes(folder)
            );
            self.row(&text, Role::Plain);
        }
        self.lines.push(Line::raw(""));
    }

    fn row(&mut self, line: &str, role: Role) {
        let line = text::cut_middle(line, self.width, self.app.settings.ascii);
        self.lines
            .push(Line::styled(line, self.app.settings.theme.style(role)));
    }

    fn file(&mut self, change: &Change) {
        let theme = self.app.settings.theme;
        let role = match change.kind {
            ChangeKind::Added => Role::Good,
            ChangeKind::Deleted => Role::Error,
            ChangeKind::Replaced | ChangeKind::Modified => Role::Warning,
            ChangeKind::Metadata => Role::Quiet,
            ChangeKind::Renamed => Role::Plain,
        };
        let is_file = change.node_kind() == Some(NodeKind::File);
        let bytes = if is_file && change.content {
            units::size(change.bytes)
        } else {
            String::new()
        };
        let slash = if change.node_kind() == Some(NodeKind::Directory) {
            "/"
        } else {
            ""
        };
        let arrow = if self.app.settings.ascii {
            " <- "
        } else {
            " ← "
        };
        let from = change
            .from
            .as_ref()
            .map(|from| format!("{arrow}/{}", printable_bytes(from)));
        let path = format!(
            "/{}{slash}{}",
            printable_bytes(&change.path),
            from.unwrap_or_default()
        );
        let path = text::cut_middle(
            &path,
            self.width.saturating_sub(14),
            self.app.settings.ascii,
        );
        self.lines.push(Line::from(vec![
            Span::styled(format!(" {} ", change.kind.letter()), theme.style(role)),
            Span::raw(format!("{bytes:>9}  {path}")),
        ]));
    }
}

/// `3 added, 1 modified`; how many of each kind.
fn counts(changes: &[&Change]) -> String {
    let mut sums: BTreeMap<ChangeKind, u64> = BTreeMap::new();
    for change in changes {
        *sums.entry(change.kind).or_default() += 1;
    }
    if sums.is_empty() {
        return "no file differs".to_owned();
    }
    let words = |kind: &ChangeKind| match kind {
        ChangeKind::Metadata => "only metadata",
        kind => kind.name(),
    };
    let parts = sums
        .iter()
        .map(|(kind, count)| format!("{} {}", units::grouped(*count), words(kind)));
    parts.collect::<Vec<_>>().join(", ")
}
