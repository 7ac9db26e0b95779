//! The forest as boxes joined by arrows that point from an overlay to what it is built on. Only
//! what is seen is drawn.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Paragraph;

use crate::forest::Flags;
use crate::forest::render::PlacedBox;
use crate::tui::app::App;
use crate::tui::dialogs::Keyboard;
use crate::tui::rows::RowKind;
use crate::tui::text;
use crate::tui::theme::Role;

/// Draws the images pane as boxes.
pub(in crate::tui) fn draw(frame: &mut Frame<'_>, app: &App, keyboard: Keyboard, area: Rect) {
    if area.is_empty() {
        return;
    }
    let inside = super::tree::framed(frame, app, keyboard, area);
    let Some(picture) = &app.diagram else { return };
    let diagram = &picture.diagram;
    if diagram.boxes().is_empty() {
        let lines = super::tree::nothing(app, inside);
        frame.render_widget(Paragraph::new(lines), inside);
        return;
    }
    let mut canvas = Canvas {
        buffer: frame.buffer_mut(),
        area: inside,
        left: picture.left,
        top: picture.top,
    };
    let rows = picture.top..picture.top + usize::from(inside.height);
    let columns = picture.left..picture.left + usize::from(inside.width);
    let style = app.settings.theme.style(Role::Plain);
    for y in rows.clone() {
        for (x, text) in diagram.arrows(y, columns.clone()) {
            canvas.put(x, y, &signs(&text, app.settings.ascii), style);
        }
    }
    for (i, placed) in diagram.seen(rows, columns) {
        draw_box(&mut canvas, app, i, placed);
    }
}

/// The signs of the picture as this terminal can show them.
fn signs(text: &str, ascii: bool) -> String {
    if ascii {
        return text.to_owned();
    }
    let sign = |c| match c {
        '^' => '▲',
        '|' => '│',
        '-' => '─',
        '<' => '◄',
        '\'' => '└',
        '+' => '├',
        other => other,
    };
    text.chars().map(sign).collect()
}

/// The part of the picture that is seen.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    left: usize,
    top: usize,
}

impl Canvas<'_> {
    /// Puts text at a place of the picture; what is outside the pane is left out.
    fn put(&mut self, x: usize, y: usize, text: &str, style: Style) {
        let Some(row) = y
            .checked_sub(self.top)
            .and_then(|row| u16::try_from(row).ok())
            .filter(|row| *row < self.area.height)
        else {
            return;
        };
        let mut x = x;
        let mut part = [0; 4];
        for c in text.chars() {
            let symbol: &str = c.encode_utf8(&mut part);
            let cells = text::width(symbol);
            let column = x
                .checked_sub(self.left)
                .and_then(|column| u16::try_from(column).ok());
            if let Some(column) = column.filter(|column| {
                usize::from(*column) + cells <= usize::from(self.area.width) && cells > 0
            }) {
                let (x, y) = (self.area.x + column, self.area.y + row);
                self.buffer.set_stringn(x, y, symbol, cells, style);
            }
            x += cells;
        }
    }
}

fn draw_box(canvas: &mut Canvas<'_>, app: &App, i: usize, placed: &PlacedBox) {
    let ascii = app.settings.ascii;
    let theme = app.settings.theme;
    let Some(row) = app.tree.rows.list.get(i) else {
        return;
    };
    let is_at = i == app.tree.cursor;
    let node = match row.kind {
        RowKind::Image(id) => app.forest.get(id),
        _ => None,
    };
    let mark = node.and_then(|node| {
        let kind = app.preview.as_ref()?.marks.get(&node.id)?;
        kind.mark().map(|(sign, _)| sign)
    });
    let marked = node.is_some_and(|node| app.tree.marks.contains(&node.id));
    let mark = match (mark, row.kind) {
        (_, RowKind::New(_)) => Some('+'),
        (Some('✗'), _) if ascii => Some('x'),
        (Some('≈'), _) if ascii => Some('='),
        (Some(mark), _) => Some(mark),
        (None, _) if marked => Some('*'),
        (None, _) => None,
    };
    let flags = node
        .map(|node| app.forest.flags(node.id))
        .unwrap_or(Flags::empty());
    let role = match mark {
        Some('✗' | 'x' | '!') => Role::Error,
        Some('+') => Role::Good,
        Some('*') => Role::Marked,
        Some(_) => Role::Warning,
        None if row.dim => Role::Dim,
        None if flags.contains(Flags::IN_USE) => Role::InUse,
        None if flags.contains(Flags::FROZEN) => Role::Base,
        None => Role::Plain,
    };
    let style = theme.style(role);
    let frame = if is_at {
        theme.style(Role::Focus)
    } else {
        theme.style(Role::Plain)
    };
    let inner = placed.width.saturating_sub(2);
    let (side, flat, corners) = if ascii {
        ("|", "-", [".", ".", "'", "'"])
    } else if is_at {
        ("║", "═", ["╔", "╗", "╚", "╝"])
    } else {
        ("│", "─", ["┌", "┐", "└", "┘"])
    };
    let (x, y) = (placed.x, placed.y);
    let bottom = y + placed.height.saturating_sub(1);
    let flat = flat.repeat(inner);
    canvas.put(x, y, &format!("{}{flat}{}", corners[0], corners[1]), frame);
    canvas.put(
        x,
        bottom,
        &format!("{}{flat}{}", corners[2], corners[3]),
        frame,
    );
    let mark = mark.map_or(' ', |mark| mark);
    let bar = if is_at && ascii { ">" } else { " " };
    let room = inner.saturating_sub(2);
    let content = if is_at {
        style.patch(theme.style(Role::Cursor))
    } else {
        style
    };
    for line in y + 1..bottom {
        let text = match line {
            line if line == placed.name_row() => {
                format!("{mark}{}{bar}", text::pad(&placed.name, room, ascii))
            }
            line if line == placed.name_row() + 1 => {
                format!(" {} ", text::pad(&placed.note, room, ascii))
            }
            _ => " ".repeat(inner),
        };
        canvas.put(x, line, side, frame);
        canvas.put(x + 1, line, &text, content);
        canvas.put(x + placed.width.saturating_sub(1), line, side, frame);
    }
}
