//! How a form looks: its fields in lines, what they come to below them.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::ops::{Part, Request, lines_of_each};
use crate::tui::app::App;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::tui::views::words::{LABEL_ROOM, hidden, push_labelled, push_words, push_wrapped};

use super::action::Action;
use super::fields::{Field, FieldValue};
use super::state::Form;

/// Draws a form.
pub(super) fn draw(screen: &mut Frame<'_>, app: &App, form: &Form, area: Rect) {
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = frame::join(app, hints(app, form), room);
    let inside = frame::dialog(screen, app, area, &form.title, bottom);
    let written = written(app, form, usize::from(inside.width));
    let height = usize::from(inside.height).saturating_sub(written.reason.len());
    let most = written.lines.len().saturating_sub(height);
    let first = (written.first(height) + form.scroll).min(most);
    let below = most - first;
    let mut lines = written.reason;
    lines.extend(written.lines.into_iter().skip(first));
    frame::lines_in(screen, inside, lines);
    if below > 0 {
        let key = app.settings.keymap.key(Action::ScrollDown);
        frame::corner(screen, app, area, &format!("{below} more below, {key}"));
    }
}

/// How far a form can be scrolled beyond where its field with the focus is seen.
pub(super) fn scroll_limit(app: &App, form: &Form, area: Rect) -> usize {
    let inside = |cells: u16| usize::from(cells.saturating_sub(2));
    let written = written(app, form, inside(area.width));
    let height = inside(area.height).saturating_sub(written.reason.len());
    let lines = written.lines.len();
    lines.saturating_sub(height + written.first(height))
}

/// The keys of a form, as far as they mean something there.
pub(super) fn hints(app: &App, form: &Form) -> Vec<(String, String)> {
    let keymap = &app.settings.keymap;
    let requests = form.requests().unwrap_or_default();
    let name = requests.first().map(Request::name);
    let hints = keymap.entries::<Action>().filter_map(|entry| {
        let what = match (entry.action, name) {
            (Action::Fire, Some(name)) if form.creates => name.to_owned(),
            (Action::Fire, Some(name)) => format!("{name}: the plan"),
            (Action::Fire, None) if !form.creates => "plan".to_owned(),
            (Action::NextField, _) if form.shown().count() < 2 => return None,
            _ => entry.hint?.to_owned(),
        };
        Some((entry.key(), what))
    });
    hints.collect()
}

/// What is in a form.
struct Written {
    /// Why it cannot go on: always seen.
    reason: Vec<Line<'static>>,
    lines: Vec<Line<'static>>,
    /// The line of the field with the focus.
    focus: usize,
    /// The line behind what is told of that field.
    told: usize,
}

impl Written {
    /// The first line to be seen in so many, while nothing is scrolled: the field with the focus is seen,
    /// and what is told of it if both have room.
    fn first(&self, height: usize) -> usize {
        self.told.saturating_sub(height).min(self.focus)
    }
}

/// How many lines a form has.
pub(super) fn height(app: &App, form: &Form, width: usize) -> usize {
    let written = written(app, form, width);
    written.reason.len() + written.lines.len()
}

fn written(app: &App, form: &Form, width: usize) -> Written {
    let theme = app.settings.theme;
    let mut reason = Vec::new();
    if let Some(words) = &form.reason {
        push_wrapped(&mut reason, app, "", words, Role::Error, width);
    }
    let mut lines = Vec::new();
    let labels = form
        .shown()
        .map(|(_, field)| text::width(field.name.label()) + 1);
    let room = labels.max().unwrap_or(0).max(LABEL_ROOM);
    let (mut focus, mut told) = (0, 0);
    // Behind so many fields nobody would look for it.
    let tells_there = form.shown().count() > FEW;
    for (i, field) in form.shown() {
        let is_at = i == form.at;
        if is_at {
            focus = lines.len();
        }
        lines.push(field_line(app, form, field, is_at, (room, width)));
        if is_at && tells_there {
            push_help(&mut lines, app, form, (room, width));
            told = lines.len();
        }
    }
    if !tells_there {
        push_help(&mut lines, app, form, (room, width));
        told = lines.len();
    }
    match &form.plans[..] {
        [] if form.creates && form.requests().is_ok() => {
            lines.push(Line::styled(" looking", theme.style(Role::Quiet)));
        }
        [] => {}
        // What it comes to is first: a small screen may not show the rest.
        plans => {
            let mut said = match plans {
                [plan] => plan.lines(),
                several => lines_of_each(several),
            };
            said.sort_by_key(|line| match line.part {
                Part::Refusal | Part::WayOut => 0,
                Part::Reads | Part::Undo | Part::Command => 2,
                _ => 1,
            });
            push_words(&mut lines, app, said, (room, width), true);
        }
    }
    Written {
        reason,
        lines,
        focus,
        told,
    }
}

/// So many fields are told of behind the last of them.
const FEW: usize = 10;

/// What to know about the field with the focus.
fn push_help(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    form: &Form,
    (labels, width): (usize, usize),
) {
    if let Some(field) = form.fields.get(form.at) {
        let switch = match field.holds {
            FieldValue::Text(_) | FieldValue::Path(_) | FieldValue::Secret(_) => "",
            FieldValue::Choice { .. } => "Space changes it: ",
        };
        let help = format!("{switch}{}", field.help);
        push_labelled(lines, app, (" ", labels), &help, Role::Quiet, width);
        push_ways_on(lines, app, form, (labels, width));
    }
}

/// A field on its line; how much of that is for labels, and how long it is.
fn field_line(
    app: &App,
    form: &Form,
    field: &Field,
    is_at: bool,
    (labels, width): (usize, usize),
) -> Line<'static> {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let label = Span::styled(
        format!(
            "{}{}",
            frame::bar(app, is_at),
            text::pad(field.name.label(), labels, ascii)
        ),
        theme.style(if is_at { Role::Focus } else { Role::Quiet }),
    );
    let cursor_style = theme.style(if is_at { Role::Cursor } else { Role::Plain });
    let room = width.saturating_sub(labels + 4);
    let input = match &field.holds {
        FieldValue::Secret(secret) => {
            let room = room.max(8);
            let shown = secret.len().min(room - 1);
            return Line::from(vec![
                label,
                Span::raw("["),
                Span::raw(hidden(app, shown)),
                Span::styled(" ", cursor_style),
                Span::raw(" ".repeat(room - 1 - shown)),
                Span::raw("]"),
            ]);
        }
        FieldValue::Text(input) | FieldValue::Path(input) => input,
        FieldValue::Choice { words, at } => {
            let mut spans = vec![label];
            let option = |i: usize, word: &str| {
                let (sign, role) = match (i == *at, ascii) {
                    (false, _) => ("( )", Role::Quiet),
                    (true, true) => ("(*)", Role::Plain),
                    (true, false) => ("(•)", Role::Plain),
                };
                Span::styled(format!("{sign} {word}  "), theme.style(role))
            };
            let all = words.iter().enumerate();
            spans.extend(all.clone().map(|(i, word)| option(i, word)));
            let needed: usize = spans.iter().map(Span::width).sum();
            if needed > width {
                // The others come as they are asked for.
                let (at, of) = (at + 1, words.len());
                spans.truncate(1);
                let chosen = all.filter(|(i, _)| i + 1 == at);
                spans.extend(chosen.map(|(i, word)| option(i, word)));
                let text = format!("{at} of {of}: Left and Right go through them");
                spans.push(Span::styled(text, theme.style(Role::Quiet)));
            }
            return Line::from(spans);
        }
    };
    // Only file names are seen from a folder.
    let dir = if matches!(field.holds, FieldValue::Path(_)) {
        let dir = text::cut_middle(&app.shown(&form.dir), width / 3, ascii);
        format!(" in {dir}")
    } else {
        String::new()
    };
    let room = room.saturating_sub(text::width(&dir)).max(8);
    let scroll = input.visual_scroll(room.saturating_sub(1));
    let value = text::safe(input.value());
    let cursor = input.visual_cursor().saturating_sub(scroll);
    let visible: Vec<char> = value
        .chars()
        .skip(scroll)
        .chain(std::iter::repeat(' '))
        .take(room)
        .collect();
    let part = |range: &[char]| range.iter().collect::<String>();
    let split = cursor.min(visible.len().saturating_sub(1));
    Line::from(vec![
        label,
        Span::raw("["),
        Span::raw(part(visible.get(..split).unwrap_or_default())),
        Span::styled(
            part(visible.get(split..=split).unwrap_or_default()),
            cursor_style,
        ),
        Span::raw(part(visible.get(split + 1..).unwrap_or_default())),
        Span::raw("]"),
        Span::styled(dir, theme.style(Role::Quiet)),
    ])
}

/// How the name in the field could go on, where that is more than one way.
fn push_ways_on(
    lines: &mut Vec<Line<'static>>,
    app: &App,
    form: &Form,
    (labels, width): (usize, usize),
) {
    let Some((_, ways)) = &form.completing.several else {
        return;
    };
    let mut words = String::new();
    let mut more = ways.count;
    for name in &ways.names {
        if text::width(&words) + text::width(name) > width.saturating_mul(2) && more > 1 {
            break;
        }
        words.push_str(&text::safe(name));
        words.push_str("  ");
        more = more.saturating_sub(1);
    }
    if more > 0 {
        words.push_str(&format!("and {more} more"));
    }
    let words = words.trim_end();
    push_labelled(lines, app, (" ", labels), words, Role::Plain, width);
}
