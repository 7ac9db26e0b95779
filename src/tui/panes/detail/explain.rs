//! Why the selected image is so large: what the bytes that it stores itself are used for, and what gives some back.

use std::cmp::Reverse;

use ratatui::text::{Line, Span};

use crate::forest::Node;
use crate::guest::explain::Explained;
use crate::inside;
use crate::ops::SavingKind;
use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::file_changes::{FilesAnswer, FilesQuery};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units;

use super::map;

/// Cells of a bar at the most.
const BAR: usize = 20;

/// All lines.
pub(in crate::tui) fn lines(app: &App, node: &Node, width: usize) -> Vec<Line<'static>> {
    let say = |words: &str, role| map::wrapped(app, words, role, width);
    let files = &app.detail.files;
    let is_of_this =
        |query: &FilesQuery| matches!(query, FilesQuery::Explain(path, _) if *path == node.path);
    if !files.asked.as_ref().is_some_and(is_of_this) {
        return say(
            "It was not found by the scan, and is not opened.",
            Role::Quiet,
        );
    }
    match &files.answer {
        Some(FilesAnswer::Bytes(bytes)) => {
            let bytes = units::size(*bytes);
            say(
                &format!("It stores {bytes} itself. Looking what for."),
                Role::Plain,
            )
        }
        Some(FilesAnswer::Explained(sums)) => explained(app, node, sums, width),
        Some(FilesAnswer::Failed(why)) => say(why, Role::Warning),
        _ => say("Reading its tables.", Role::Quiet),
    }
}

fn explained(app: &App, node: &Node, sums: &Explained, width: usize) -> Vec<Line<'static>> {
    let total = sums.total();
    let words = match total {
        0 => "It stores nothing itself: all it shows is from below.".to_owned(),
        _ => format!("It stores {} itself, for:", units::size(total)),
    };
    let mut lines = map::wrapped(app, &words, Role::Plain, width);
    let mut uses = inside::uses(sums);
    uses.sort_by_key(|(.., bytes)| Reverse(*bytes));
    for (_, words, bytes) in uses.into_iter().filter(|(.., bytes)| *bytes > 0) {
        lines.extend(part(app, words, (bytes, total), width));
    }
    lines.extend(gives_back(app, node, sums, width));
    lines
}

/// A part with its bar, its size and its share, and what it is.
fn part(app: &App, words: &str, (bytes, of): (u64, u64), width: usize) -> Vec<Line<'static>> {
    let full = if app.settings.ascii { "#" } else { "█" };
    let cells = BAR.min(width / 4);
    let filled = u128::from(bytes) * (cells as u128) / u128::from(of.max(1));
    // What is there is seen.
    let filled = usize::try_from(filled)
        .unwrap_or(cells)
        .clamp(1, cells.max(1));
    let bar = text::pad(&full.repeat(filled), cells, app.settings.ascii);
    let (size, share) = (units::size(bytes), text::percent(bytes, of));
    let figures = format!(" {size:>9} {share:>4}  ");
    let before = cells + 1 + figures.len();
    let mut parts = text::wrap(words, width.saturating_sub(before + 1), 0).into_iter();
    let first = Line::from(vec![
        Span::styled(format!(" {bar}"), app.settings.theme.style(Role::Fill)),
        Span::raw(figures),
        Span::raw(parts.next().unwrap_or_default()),
    ]);
    let rest = parts.map(|part| Line::raw(format!("{}{part}", " ".repeat(before))));
    std::iter::once(first).chain(rest).collect()
}

/// What gives some of it back: sentences with their keys.
fn gives_back(app: &App, node: &Node, sums: &Explained, width: usize) -> Vec<Line<'static>> {
    let mut told = Vec::new();
    if sums.free > 0 {
        told.push(deleted(sums.free));
    }
    let found = &app.space.found;
    for saving in &found.savings {
        let action = match saving.kind {
            SavingKind::Squash => Action::Squash,
            SavingKind::Dedupe => Action::Rebase,
            SavingKind::Trim => Action::Trim,
            SavingKind::CutTail | SavingKind::FreeLeaks => Action::Repair,
            SavingKind::Discard => Action::Discard,
            SavingKind::EmptyTrash => continue,
        };
        if saving.images == [node.path.clone()] {
            let (word, key) = (saving.kind.name(), app.key(action));
            let frees = units::size(saving.frees);
            told.push(format!(
                "{word} ({key}) gives back {frees}: {}.",
                saving.why
            ));
        }
    }
    if !found.is_whole {
        let key = app.key(Action::Space);
        told.push(format!(
            "{key} measures what squash and dedupe would give back."
        ));
    }
    let mut lines = vec![Line::raw("")];
    for words in told {
        lines.extend(map::wrapped(app, &words, Role::Quiet, width));
    }
    lines
}

/// What gives back what the guest has deleted.
fn deleted(bytes: u64) -> String {
    let bytes = units::size(bytes);
    format!(
        "fstrim in the guest gives back {bytes} of deleted data, where its disk has discard=unmap."
    )
}
