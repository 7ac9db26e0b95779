//! Words beside labels, wrapped: what plans say, and what stands before it.

use ratatui::text::{Line, Span};

use crate::ops::{self, Part, Tone};
use crate::tui::app::App;
use crate::tui::remedies;
use crate::tui::text;
use crate::tui::theme::Role;

/// The lines of a plan with the gravest first: why not and what instead, what is lost, whether it can be taken
/// back, what to look at twice, then the rest.
pub(in crate::tui) fn gravest_first(mut lines: Vec<ops::Line>) -> Vec<ops::Line> {
    lines.sort_by_key(|line| match line.part {
        // Each way out stands behind the refusal it leads out of.
        Part::WayOut => Part::Refusal,
        part => part,
    });
    lines
}

/// Whether a line has to be read before one agrees: the others tell nothing that happens.
pub(in crate::tui) fn is_to_be_read(line: &ops::Line) -> bool {
    !matches!(line.part, Part::Reads | Part::LookedIn | Part::Command)
}

/// Cells for the label before a line, and the space behind it.
pub(in crate::tui) const LABEL_ROOM: usize = 10;

/// The plan's own words, wrapped beside their labels; how much of the width is for these, and all of it.
pub(in crate::tui) fn push_words(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    said: impl IntoIterator<Item = ops::Line>,
    (labels, width): (usize, usize),
    commands: bool,
) {
    for line in said {
        if line.part == Part::Command && !commands {
            continue;
        }
        let role = match line.tone {
            Tone::Plain => Role::Plain,
            Tone::Good => Role::Good,
            Tone::Warning => Role::Warning,
            Tone::Danger => Role::Error,
            Tone::Quiet => Role::Quiet,
        };
        let text = remedies::told(app, &line.text, &line.remedies, None);
        push_labelled(lines, app, (&line.label, labels), &text, role, width);
    }
}

pub(in crate::tui) fn push_wrapped(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    label: &str,
    words: &str,
    role: Role,
    width: usize,
) {
    push_labelled(lines, app, (label, LABEL_ROOM), words, role, width);
}

/// Words beside a label that has so much room, wrapped.
pub(in crate::tui) fn push_labelled(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    (label, labels): (&str, usize),
    words: &str,
    role: Role,
    width: usize,
) {
    let theme = app.settings.theme;
    let label_room = if label.is_empty() { 0 } else { labels };
    let label = text::safe(label);
    let is_way_out = label.chars().all(|c| c.is_ascii_digit());
    let label_role = if is_way_out { Role::Key } else { role };
    let parts = text::wrap(&text::safe(words), width.saturating_sub(label_room + 2), 0);
    for (i, part) in parts.into_iter().enumerate() {
        let label = if i == 0 { label.as_str() } else { "" };
        let label = text::pad(label, label_room, app.settings.ascii);
        lines.push(Line::from(vec![
            Span::styled(format!(" {label}"), theme.style(label_role)),
            Span::styled(part, theme.style(role)),
        ]));
    }
}

/// So many characters of a passphrase.
pub(in crate::tui) fn hidden(app: &App, count: usize) -> String {
    if app.settings.ascii { "*" } else { "•" }.repeat(count)
}
