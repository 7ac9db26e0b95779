//! Forms in the lower part of the screen, and the line in which a passphrase is typed.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::tui::app::App;
use crate::tui::dialog::SecretDialog;
use crate::tui::form::{Field, Form, Holds};
use crate::tui::keymap::{Action, Scope};
use crate::tui::text;
use crate::tui::theme::Role;

use super::dialogs::{push_words, push_wrapped};

/// Draws a form.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, form: &Form, area: Rect) {
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = super::frame::join(app, hints(app, form), room);
    let inside = super::frame::dialog(frame, app, area, &form.title, bottom);
    super::lines_in(frame, inside, lines(app, form, usize::from(inside.width)));
}

/// The keys of a form, as far as they mean something there.
pub(super) fn hints(app: &App, form: &Form) -> Vec<(String, String)> {
    let keymap = &app.settings.keymap;
    let hints = keymap.entries(Scope::Form).filter_map(|entry| {
        let what = match entry.action {
            Action::Fire if !form.creates => "plan",
            Action::NextField if form.fields.len() < 2 => return None,
            _ => entry.hint?,
        };
        Some((entry.key(), what.to_owned()))
    });
    hints.collect()
}

/// What is in a form.
pub(super) fn lines(app: &App, form: &Form, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let mut lines = Vec::new();
    if let Some(reason) = &form.reason {
        push_wrapped(&mut lines, app, "", reason, Role::Error, width);
    }
    for (i, field) in form.fields.iter().enumerate() {
        lines.push(field_line(app, form, field, i == form.at, width));
    }
    if let Some(field) = form.fields.get(form.at) {
        let switch = match field.holds {
            Holds::Text(_) | Holds::Path(_) => "",
            Holds::Choice { .. } => "Space changes it: ",
        };
        let help = format!("{switch}{}", field.help);
        push_wrapped(&mut lines, app, " ", &help, Role::Quiet, width);
        push_ways_on(&mut lines, app, form, width);
    }
    match &form.plan {
        Some(plan) => push_words(&mut lines, app, plan.lines(), width, true),
        None if form.creates && form.request().is_ok() => {
            lines.push(Line::styled(" looking", theme.style(Role::Quiet)));
        }
        None => {}
    }
    lines
}

fn field_line(app: &App, form: &Form, field: &Field, is_at: bool, width: usize) -> Line<'static> {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let label = Span::styled(
        format!(" {}", text::pad(field.label, 10, ascii)),
        theme.style(if is_at { Role::Focus } else { Role::Quiet }),
    );
    let input = match &field.holds {
        Holds::Text(input) | Holds::Path(input) => input,
        Holds::Choice { options, at } => {
            let mut spans = vec![label];
            for (i, option) in options.iter().enumerate() {
                let sign = match (i == *at, ascii) {
                    (false, _) => "( )",
                    (true, true) => "(*)",
                    (true, false) => "(•)",
                };
                let role = if i == *at { Role::Plain } else { Role::Quiet };
                spans.push(Span::styled(
                    format!("{sign} {option}  "),
                    theme.style(role),
                ));
            }
            return Line::from(spans);
        }
    };
    // Only file names are seen from a folder.
    let dir = if matches!(field.holds, Holds::Path(_)) {
        let dir = text::cut_middle(&app.shown(&form.dir), width / 3, ascii);
        format!(" in {dir}")
    } else {
        String::new()
    };
    let room = width.saturating_sub(14 + text::width(&dir)).max(8);
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
    let cursor_style = theme.style(if is_at { Role::Cursor } else { Role::Plain });
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
fn push_ways_on(lines: &mut Vec<Line<'static>>, app: &App, form: &Form, width: usize) {
    let Some((_, names)) = &form.completing.several else {
        return;
    };
    let mut words = String::new();
    for (i, name) in names.iter().enumerate() {
        let more = names.len() - i;
        if text::width(&words) + text::width(name) > width.saturating_mul(2) && more > 1 {
            words.push_str(&format!("and {more} more"));
            break;
        }
        words.push_str(&text::safe(name));
        words.push_str("  ");
    }
    push_wrapped(lines, app, " ", words.trim_end(), Role::Plain, width);
}

/// Draws the line in which a passphrase is typed.
pub(super) fn draw_secret(frame: &mut Frame<'_>, app: &App, dialog: &SecretDialog, area: Rect) {
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = super::frame::hints(app, Scope::Secret, room);
    let title = format!("Passphrase of {}", text::file_name(&dialog.image));
    let inside = super::frame::dialog(frame, app, area, &title, bottom);
    let lines = secret_lines(app, dialog, usize::from(inside.width));
    super::lines_in(frame, inside, lines);
}

/// What is said of a passphrase that is typed: never what it is.
pub(super) fn secret_lines(app: &App, dialog: &SecretDialog, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let sign = if app.settings.ascii { "*" } else { "•" };
    let room = width.saturating_sub(4).max(1);
    let shown = dialog.secret.len().min(room);
    let mut lines = vec![Line::from(vec![
        Span::raw(" "),
        Span::raw(sign.repeat(shown)),
        Span::styled(" ", theme.style(Role::Cursor)),
    ])];
    let text = "It is tried on the image, which takes a moment, and is kept nowhere; the key it \
                opens is remembered until you leave.";
    push_wrapped(&mut lines, app, "", text, Role::Quiet, width);
    lines
}
