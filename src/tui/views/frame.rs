//! Frames around panes and dialogs, and the hints that stand on them.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::symbols::border;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use crate::tui::app::App;
use crate::tui::bindings::Action;
use crate::tui::key::Key;
use crate::tui::text;
use crate::tui::theme::Role;

const ASCII: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};

/// Draws a frame with a title and a line at the bottom; returns what is inside.
pub(in crate::tui) fn draw(
    frame: &mut Frame<'_>,
    app: &App,
    area: Rect,
    title: Line<'static>,
    bottom: Line<'static>,
    role: Role,
) -> Rect {
    // A title starts from plain text, not from the frame's own colour.
    let plain = |line: Line<'static>| {
        let style = Style::reset().patch(line.style);
        line.style(style)
    };
    let set = if app.settings.ascii {
        ASCII
    } else {
        border::PLAIN
    };
    let block = Block::bordered()
        .border_set(set)
        .border_style(app.settings.theme.style(role))
        .title_top(plain(title))
        .title_bottom(plain(bottom));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    inside
}

/// Draws a dialog's frame over whatever is there.
pub(in crate::tui) fn dialog(
    frame: &mut Frame<'_>,
    app: &App,
    area: Rect,
    title: &str,
    bottom: Line<'static>,
) -> Rect {
    frame.render_widget(Clear, area);
    let room = usize::from(area.width).saturating_sub(6);
    let title = format!("─ {} ", text::cut_middle(title, room, app.settings.ascii));
    let title = if app.settings.ascii {
        title.replace('─', "-")
    } else {
        title
    };
    let title = Line::styled(title, app.settings.theme.style(Role::Title));
    let mut bottom = bottom;
    if bottom.width() > 0 {
        let dash = if app.settings.ascii { "-" } else { "─" };
        let dash = Span::styled(dash, app.settings.theme.style(Role::Focus));
        bottom.spans.insert(0, dash);
    }
    draw(frame, app, area, title, bottom, Role::Focus)
}

/// Words in the upper right corner of a dialog's frame, where that is wide enough for any.
pub(in crate::tui) fn corner(frame: &mut Frame<'_>, app: &App, area: Rect, words: &str) {
    if area.width <= 24 {
        return;
    }
    let room = usize::from(area.width).saturating_sub(2);
    let text = text::cut_end(&format!(" {words} "), room, app.settings.ascii);
    let cells = u16::try_from(text::width(&text)).unwrap_or(0);
    let x = (area.x + area.width).saturating_sub(cells + 2);
    frame.render_widget(Paragraph::new(text), Rect::new(x, area.y, cells, 1));
}

/// A key and what it does, as it stands on frames and in the footer.
pub(in crate::tui) fn hint(app: &App, key: &str, what: &str) -> Vec<Span<'static>> {
    let theme = app.settings.theme;
    vec![
        Span::styled(key.to_owned(), theme.style(Role::Key)),
        Span::raw(format!(" {what}")),
    ]
}

/// The hints of a place, from the keymap, as many as fit.
pub(in crate::tui) fn hints<A: Action>(app: &App, room: usize) -> Line<'static> {
    join(app, app.settings.keymap.hints::<A>(), room)
}

/// Lines from the first on, as many as fit.
pub(in crate::tui) fn lines_in(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
    frame.render_widget(Paragraph::new(lines), area);
}

/// How many hints [`join`] would show.
pub(in crate::tui) fn fitting(app: &App, hints: &[(String, String)], room: usize) -> usize {
    let dot = if app.settings.ascii { " - " } else { " · " };
    let mut used = 1;
    let mut fits = |i: usize, key: &str, what: &str| {
        let before = if i == 0 { 0 } else { text::width(dot) };
        used += before + text::width(key) + 1 + text::width(what);
        used < room
    };
    let hints = hints.iter().enumerate();
    hints
        .take_while(|(i, (key, what))| fits(*i, key, what))
        .count()
}

/// Hints one after the other, as many as fit.
pub(in crate::tui) fn join(
    app: &App,
    hints: impl IntoIterator<Item = (String, String)>,
    room: usize,
) -> Line<'static> {
    let dot = if app.settings.ascii { " - " } else { " · " };
    let mut spans = vec![Span::raw(" ")];
    let mut used = 1;
    for (i, (key, what)) in hints.into_iter().enumerate() {
        let before = if i == 0 { "" } else { dot };
        let needed = text::width(before) + text::width(&key) + 1 + text::width(&what);
        if used + needed + 1 > room {
            break;
        }
        used += needed;
        spans.push(Span::raw(before.to_owned()));
        spans.extend(hint(app, &key, &what));
    }
    spans.push(Span::raw(" "));
    Line::from(spans)
}

/// What is inside the frame of an area.
#[must_use]
pub(in crate::tui) fn inside(area: Rect) -> Rect {
    Rect {
        x: area.x.saturating_add(1),
        y: area.y.saturating_add(1),
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(2),
    }
}

/// The piece of a line that stands at this cell.
#[must_use]
pub(in crate::tui) fn word_at<'a>(line: &'a Line<'_>, cell: usize) -> Option<&'a str> {
    let mut from = 0;
    line.spans.iter().find_map(|span| {
        let cells = from..from + span.width();
        from = cells.end;
        cells.contains(&cell).then_some(&*span.content)
    })
}

/// The key whose hint stands at this cell of a line of hints.
#[must_use]
pub(in crate::tui) fn key_at(line: &Line<'_>, cell: usize) -> Option<Key> {
    let mut from = 0;
    let mut before: Option<&str> = None;
    for span in &line.spans {
        let cells = from..from + span.width();
        from = cells.end;
        if cells.contains(&cell) {
            let own = Key::parse(&span.content).ok();
            // What a key does stands right behind it, after a space.
            let words = || before.filter(|_| span.content.starts_with(' '));
            return own.or_else(|| Key::parse(words()?).ok());
        }
        before = Some(&span.content);
    }
    None
}

/// The sign before what the cursor is on: reverse video and colour are not seen everywhere.
#[must_use]
pub(in crate::tui) fn bar(app: &App, is_at: bool) -> &'static str {
    match (is_at, app.settings.ascii) {
        (false, _) => " ",
        (true, false) => "▌",
        (true, true) => ">",
    }
}

/// How the title of a pane begins, by whether it has the focus.
#[must_use]
pub(in crate::tui) fn lead(app: &App, has_focus: bool) -> &'static str {
    match (has_focus, app.settings.ascii) {
        (true, false) => "»",
        (true, true) => ">",
        (false, false) => "─",
        (false, true) => "-",
    }
}

/// Hints side by side in the footer, as many as fit.
pub(in crate::tui) fn spread(
    app: &App,
    hints: impl IntoIterator<Item = (String, String)>,
    width: usize,
) -> Line<'static> {
    let mut spans = vec![Span::raw(" ")];
    let mut used = 1;
    for (key, what) in hints {
        let needed = text::width(&key) + 1 + text::width(&what) + 2;
        if used + needed > width {
            break;
        }
        used += needed;
        spans.extend(hint(app, &key, &what));
        spans.push(Span::raw("  "));
    }
    Line::from(spans)
}
