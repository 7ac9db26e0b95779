//! The health pane: what `tui::health` tells, a sign before each line, the one under the cursor marked
//! where something helps against it.

use std::ops::Range;

use ratatui::text::{Line, Span};

use crate::forest::Node;
use crate::tui::actions::Action;
use crate::tui::app::{App, Pane};
use crate::tui::detail_pane::Tab;
use crate::tui::health::{self, Severity};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;

/// All lines.
pub(in crate::tui) fn lines(app: &App, node: &Node, width: usize) -> Vec<Line<'static>> {
    let told = health::lines(app, node);
    let at = cursor(app, &told);
    let told = told.iter().enumerate();
    told.flat_map(|(i, line)| drawn(app, line, at == Some(i), width))
        .collect()
}

/// The lines that what is under the cursor takes, to be scrolled to.
pub(in crate::tui) fn lines_at_cursor(
    app: &App,
    node: &Node,
    width: usize,
) -> Option<Range<usize>> {
    let told = health::lines(app, node);
    let at = cursor(app, &told)?;
    let height = |line: &health::Line, is_at| drawn(app, line, is_at, width).len();
    let lines = told.iter().take(at);
    let before: usize = lines.map(|line| height(line, false)).sum();
    Some(before..before + told.get(at).map_or(0, |line| height(line, true)))
}

/// Which line the cursor is on, while the pane has the focus.
fn cursor(app: &App, told: &[health::Line]) -> Option<usize> {
    let has_focus = app.pane == Pane::Detail && app.detail.tab == Tab::Health;
    health::at_cursor(app, told).filter(|_| has_focus)
}

fn drawn(app: &App, line: &health::Line, is_at: bool, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let (sign, sign_role, role) = match (line.severity, app.settings.ascii) {
        (Severity::Good, true) => ("*", Role::Good, Role::Good),
        (Severity::Good, false) => ("✓", Role::Good, Role::Good),
        // The sign is enough to be seen; the words have to be read.
        (Severity::Bad, _) => ("!", Role::Error, Role::Plain),
        (Severity::Warning, _) => ("~", Role::Warning, Role::Warning),
        (Severity::Quiet, _) => (" ", Role::Quiet, Role::Quiet),
        (Severity::Title, _) => (" ", Role::Title, Role::Title),
    };
    if line.text.is_empty() {
        return vec![Line::raw("")];
    }
    let style = match is_at {
        true => theme.style(role).patch(theme.style(Role::Cursor)),
        false => theme.style(role),
    };
    let mut words = text::inside_of(&text::safe(&line.text), &app.settings.roots);
    if let Some(fix) = line.fix.as_ref().filter(|_| is_at) {
        let key = app.key(Action::Enter);
        if !words.ends_with(['.', '!', '?']) {
            words.push('.');
        }
        words.push_str(&format!(" {key} {}.", fix.word()));
    }
    let parts = text::wrap(&words, width.saturating_sub(4), 0);
    let drawn = parts.into_iter().enumerate().map(|(i, part)| {
        let sign = if i == 0 { sign } else { " " };
        Line::from(vec![
            Span::raw(frame::bar(app, is_at)),
            Span::styled(format!("{sign} "), theme.style(sign_role)),
            Span::styled(part, style),
        ])
    });
    drawn.collect()
}
