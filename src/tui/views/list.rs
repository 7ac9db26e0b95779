//! Lists over the panes: help, palette and menus; the prune checklist; the trash.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::tui::app::App;
use crate::tui::dialog::{ListMenu, LogView, PruneDialog, TrashDialog};
use crate::tui::keymap::Scope;
use crate::tui::log::Kind;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::units;

/// How many entries are seen at once.
#[must_use]
pub fn page(app: &App) -> usize {
    usize::from(super::overlay(app).height)
        .saturating_sub(4)
        .max(1)
}

/// The first entry seen so that the cursor is.
fn first(cursor: usize, height: usize) -> usize {
    (cursor + 1).saturating_sub(height)
}

/// The entry of a list that stands at this place of the screen.
#[must_use]
pub fn entry_at(menu: &ListMenu, area: Rect, spot: Position) -> Option<usize> {
    let inner = Rect {
        x: area.x + 1,
        y: area.y + 1,
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(2),
    };
    if !inner.contains(spot) {
        return None;
    }
    let head = usize::from(!menu.by_key);
    let height = usize::from(inner.height).saturating_sub(head);
    let at = usize::from(spot.y - inner.y).checked_sub(head)? + first(menu.cursor, height);
    (at < menu.shown.len()).then_some(at)
}

/// The log, or one job's part of it.
pub(super) fn log(frame: &mut Frame<'_>, app: &App, view: LogView, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = super::frame::hints(app, Scope::Log, room);
    let title = match view.job {
        Some(job) => format!("Log of job {job}"),
        None => "Log".to_owned(),
    };
    let inside = super::frame::dialog(frame, app, area, &title, bottom);
    let height = usize::from(inside.height);
    let all: Vec<_> = app.log.of(view.job).collect();
    let end = all.len().saturating_sub(view.up).max(height.min(all.len()));
    let first = end.saturating_sub(height);
    let lines = all.get(first..end).unwrap_or_default().iter().map(|line| {
        let (sign, role) = match (line.kind, ascii) {
            (Kind::Step | Kind::Note, _) => (" ", Role::Plain),
            (Kind::Command, _) => ("$", Role::Quiet),
            (Kind::Good, true) => ("*", Role::Good),
            (Kind::Good, false) => ("✓", Role::Good),
            (Kind::Bad, _) => ("!", Role::Error),
        };
        let age = text::pad_left(&text::age(line.at, app.now()), 5, ascii);
        let job = line.job.map_or_else(String::new, |job| job.to_string());
        let room = usize::from(inside.width).saturating_sub(15);
        Line::from(vec![
            Span::styled(
                format!(" {age} {} ", text::pad_left(&job, 3, ascii)),
                theme.style(Role::Quiet),
            ),
            Span::styled(format!("{sign} "), theme.style(role)),
            Span::styled(text::cut_end(&line.text, room, ascii), theme.style(role)),
        ])
    });
    super::lines_in(frame, inside, lines.collect());
}

/// A list to choose from.
pub(super) fn menu(frame: &mut Frame<'_>, app: &App, menu: &ListMenu, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let room = usize::from(area.width).saturating_sub(2);
    let keymap = &app.settings.keymap;
    let hints = keymap
        .entries(Scope::List)
        .filter_map(|entry| Some((entry.key(), entry.hint?.to_owned())));
    let by_key = menu
        .by_key
        .then(|| ("key".to_owned(), "runs its entry".to_owned()));
    let bottom = super::frame::join(app, by_key.into_iter().chain(hints), room);
    let head = usize::from(!menu.by_key);
    let height = usize::from(area.height.saturating_sub(2)).saturating_sub(head);
    let below = menu
        .shown
        .len()
        .saturating_sub(first(menu.cursor, height) + height);
    let dot = if ascii { "-" } else { "·" };
    let title = match below {
        0 => menu.title.clone(),
        n => format!("{} {dot} {n} more below", menu.title),
    };
    let inside = super::frame::dialog(frame, app, area, &title, bottom);
    if inside.is_empty() {
        return;
    }
    let width = usize::from(inside.width);
    let query = text::safe(menu.query.value());
    let head = if query.is_empty() {
        Line::from(vec![
            Span::styled(" ", theme.style(Role::Cursor)),
            Span::styled(" type to search by name or key", theme.style(Role::Quiet)),
        ])
    } else {
        Line::from(vec![
            Span::raw(format!(" {query}")),
            Span::styled(" ", theme.style(Role::Cursor)),
            Span::styled(
                format!("  {} of {}", menu.shown.len(), menu.items.len()),
                theme.style(Role::Quiet),
            ),
        ])
    };
    let mut lines = if menu.by_key { Vec::new() } else { vec![head] };
    let height = usize::from(inside.height).saturating_sub(lines.len());
    let from = first(menu.cursor, height);
    let keys_room = menu
        .items
        .iter()
        .map(|item| text::width(&item.keys))
        .max()
        .unwrap_or(0)
        .clamp(0, 16);
    for (i, item) in menu.shown.iter().enumerate().skip(from).take(height) {
        let Some(item) = menu.items.get(*item) else {
            continue;
        };
        let is_at = i == menu.cursor;
        let keys = text::pad(&item.keys, keys_room, ascii);
        let group = text::pad(item.group, 8, ascii);
        let title_room = width.saturating_sub(keys_room + 13);
        let title = match &item.why_not {
            // The reason first: it is what one looks for, and the end may be cut off.
            Some(reason) => format!("{}: {}", item.name, text::safe(reason)),
            None => item.title.clone(),
        };
        let title = text::pad(&text::safe(&title), title_room, ascii);
        let off = item.why_not.is_some();
        let style = |role| theme.style(if off { Role::Dim } else { role });
        let mut line = Line::from(vec![
            Span::raw(" "),
            Span::styled(keys, style(Role::Key)),
            Span::raw("  "),
            Span::styled(group, style(Role::Quiet)),
            Span::raw(" "),
            Span::styled(title, style(Role::Plain)),
            Span::raw(" "),
        ]);
        if is_at {
            line = line.patch_style(theme.style(Role::Cursor));
        }
        lines.push(line);
    }
    if menu.shown.is_empty() {
        lines.push(Line::styled(
            " nothing is called that",
            theme.style(Role::Quiet),
        ));
    }
    super::lines_in(frame, inside, lines);
}

/// The prune checklist.
pub(super) fn prune(frame: &mut Frame<'_>, app: &App, dialog: &PruneDialog, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = super::frame::hints(app, Scope::Prune, room);
    let inside = super::frame::dialog(frame, app, area, "Prune", bottom);
    let width = usize::from(inside.width);
    let Some(candidates) = &dialog.candidates else {
        let text = Line::raw(" Looking for leaves that nothing uses.");
        super::lines_in(frame, inside, vec![text]);
        return;
    };
    if candidates.is_empty() {
        let text = "Nothing to prune: every leaf is in use, is a root, or has problems that should be looked at first.";
        let lines = text::wrap(text, width.saturating_sub(2), 0);
        let lines = lines.into_iter().map(|line| Line::raw(format!(" {line}")));
        super::lines_in(frame, inside, lines.collect());
        return;
    }
    let frees = dialog
        .chosen()
        .map(|c| c.frees)
        .fold(0, u64::saturating_add);
    let chosen = u64::try_from(dialog.chosen().count()).unwrap_or(0);
    let mut lines = vec![Line::raw(text::cut_end(
        &format!(
            " {} ticked, {} to be freed; ticked at first: unchanged for {}",
            units::count(chosen, "leaf"),
            units::size(frees),
            units::count(app.settings.prune_days, "day")
        ),
        width,
        ascii,
    ))];
    let height = usize::from(inside.height).saturating_sub(1);
    let from = first(dialog.cursor, height);
    let entries = candidates.iter().zip(&dialog.ticked).enumerate();
    for (i, (candidate, ticked)) in entries.skip(from).take(height) {
        let tick = match (ticked, ascii) {
            (false, _) => "[ ]",
            (true, true) => "[x]",
            (true, false) => "[✗]",
        };
        let label = app
            .forest
            .by_path(&candidate.path)
            .map_or_else(|| app.shown(&candidate.path), |node| app.label(node));
        let days = candidate.age.as_secs() / 86_400;
        let age = if days > 0 {
            units::count(days, "day")
        } else {
            format!("{} h", candidate.age.as_secs() / 3600)
        };
        let name_room = width.saturating_sub(32);
        let mut line = Line::from(vec![
            Span::styled(
                format!(" {tick} "),
                theme.style(if *ticked { Role::Error } else { Role::Quiet }),
            ),
            Span::raw(text::pad(
                &text::cut_middle(&label, name_room, ascii),
                name_room,
                ascii,
            )),
            Span::raw(text::pad_left(&units::size(candidate.frees), 11, ascii)),
            Span::styled(
                format!("  {}", text::pad_left(&age, 11, ascii)),
                theme.style(Role::Quiet),
            ),
            Span::raw(" "),
        ]);
        if i == dialog.cursor {
            line = line.patch_style(theme.style(Role::Cursor));
        }
        lines.push(line);
    }
    super::lines_in(frame, inside, lines);
}

/// The trash.
pub(super) fn trash(frame: &mut Frame<'_>, app: &App, dialog: &TrashDialog, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = super::frame::hints(app, Scope::Trash, room);
    let inside = super::frame::dialog(frame, app, area, "Trash", bottom);
    let width = usize::from(inside.width);
    let Some(entries) = &dialog.entries else {
        super::lines_in(frame, inside, vec![Line::raw(" Looking into the trash.")]);
        return;
    };
    if entries.is_empty() {
        super::lines_in(frame, inside, vec![Line::raw(" The trash is empty.")]);
        return;
    }
    let mut lines = Vec::new();
    let mut cursor_line = 0;
    for (i, entry) in entries.iter().enumerate() {
        if i == dialog.cursor {
            cursor_line = lines.len() + entry.files.len().min(3);
        }
        let marked = dialog.marked.contains(&entry.name);
        let age = entry.discarded.map_or_else(String::new, |when| {
            format!("{} ago", text::age(when, app.now()))
        });
        let files = u64::try_from(entry.files.len()).unwrap_or(0);
        let head = format!(
            "{}  {}, {}  {age}",
            text::safe(if entry.reason.is_empty() {
                "?"
            } else {
                &entry.reason
            }),
            units::count(files, "file"),
            units::size(entry.bytes()),
        );
        let mut line = Line::from(vec![
            Span::styled(
                if marked { " * " } else { "   " },
                theme.style(Role::Marked),
            ),
            Span::styled(
                text::pad(&head, width.saturating_sub(3), ascii),
                theme.style(Role::Title),
            ),
        ]);
        if i == dialog.cursor {
            line = line.patch_style(theme.style(Role::Cursor));
        }
        lines.push(line);
        let shown = if entry.files.len() > 4 { 3 } else { 4 };
        for file in entry.files.iter().take(shown) {
            let room = width.saturating_sub(18);
            let path = text::cut_middle(&app.shown(&file.original), room, ascii);
            lines.push(Line::raw(format!(
                "     {}{}",
                text::pad(&path, room, ascii),
                text::pad_left(&units::size(file.bytes), 11, ascii)
            )));
        }
        if entry.files.len() > shown {
            lines.push(Line::raw(format!(
                "     and {} more",
                entry.files.len() - shown
            )));
        }
        for problem in &entry.problems {
            let text = text::cut_end(&text::safe(problem), width.saturating_sub(7), ascii);
            lines.push(Line::styled(
                format!("     {text}"),
                theme.style(Role::Warning),
            ));
        }
    }
    let height = usize::from(inside.height);
    let from = first(cursor_line + 1, height).min(lines.len().saturating_sub(1));
    let from = if cursor_line < height.saturating_sub(1) {
        0
    } else {
        from
    };
    frame.render_widget(
        Paragraph::new(
            lines
                .into_iter()
                .skip(from)
                .take(height)
                .collect::<Vec<_>>(),
        ),
        inside,
    );
}
