//! The forest as boxes joined by arrows that point from an overlay to what it is built on. Only
//! what is seen is drawn.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Paragraph;

use crate::forest::Flags;
use crate::tui::app::App;
use crate::tui::picture::{Boxed, GAP, HEIGHT};
use crate::tui::rows::RowKind;
use crate::tui::text;
use crate::tui::theme::Role;

/// Draws the images pane as boxes.
pub(super) fn draw(frame: &mut Frame<'_>, app: &App, area: Rect) {
    if area.is_empty() {
        return;
    }
    let inside = super::tree::framed(frame, app, area);
    let Some(picture) = &app.picture else { return };
    if picture.boxes.is_empty() {
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
    for (i, boxed) in picture.boxes.iter().enumerate() {
        if let Some(parent) = boxed.parent.and_then(|parent| picture.boxes.get(parent)) {
            arrow(&mut canvas, app, boxed, parent);
        }
        if canvas.sees(boxed) {
            draw_box(&mut canvas, app, i, boxed);
        }
    }
}

/// The part of the picture that is seen.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    left: usize,
    top: usize,
}

impl Canvas<'_> {
    fn sees(&self, boxed: &Boxed) -> bool {
        boxed.y + HEIGHT > self.top
            && boxed.y < self.top + usize::from(self.area.height)
            && boxed.x + boxed.width > self.left
            && boxed.x < self.left + usize::from(self.area.width)
    }

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

/// From an overlay to what it is built on: straight where they stand side by side, else along a
/// line that comes down from the parent.
fn arrow(canvas: &mut Canvas<'_>, app: &App, from: &Boxed, to: &Boxed) {
    let ascii = app.settings.ascii;
    let style = app.settings.theme.style(Role::Plain);
    let row = from.y + 1;
    if from.y == to.y {
        let start = to.x + to.width;
        let line = if ascii { "-" } else { "─" };
        let head = if ascii { "<" } else { "◄" };
        canvas.put(start, row, head, style);
        canvas.put(
            start + 1,
            row,
            &line.repeat(from.x.saturating_sub(start + 1)),
            style,
        );
        return;
    }
    let trunk = to.x + GAP - 1;
    let (head, line, corner, flat) = if ascii {
        ("^", "|", "'", "-")
    } else {
        ("▲", "│", "└", "─")
    };
    // Each child draws from its parent down to itself; where a later one goes further down, its
    // line makes the corner of an earlier one a tee.
    let start = to.y + HEIGHT;
    let seen = canvas.top..canvas.top + usize::from(canvas.area.height);
    for y in start.max(seen.start)..row.min(seen.end) {
        let on_corner = y > start && at(canvas, trunk, y).is_some_and(|s| s == corner || s == "├");
        let sign = match (y == start, on_corner) {
            (true, _) => head,
            (false, true) if !ascii => "├",
            (false, true) => corner,
            (false, false) => line,
        };
        canvas.put(trunk, y, sign, style);
    }
    canvas.put(trunk, row, corner, style);
    canvas.put(
        trunk + 1,
        row,
        &flat.repeat(from.x.saturating_sub(trunk + 1)),
        style,
    );
}

fn at<'a>(canvas: &'a Canvas<'_>, x: usize, y: usize) -> Option<&'a str> {
    let column = u16::try_from(x.checked_sub(canvas.left)?).ok()?;
    let row = u16::try_from(y.checked_sub(canvas.top)?).ok()?;
    if column >= canvas.area.width || row >= canvas.area.height {
        return None;
    }
    let cell = canvas
        .buffer
        .cell((canvas.area.x + column, canvas.area.y + row))?;
    Some(cell.symbol())
}

fn draw_box(canvas: &mut Canvas<'_>, app: &App, i: usize, boxed: &Boxed) {
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
        let kind = app.future.as_ref()?.marks.get(&node.id)?;
        kind.mark()
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
        None if flags.contains(Flags::IN_USE) => Role::Locked,
        None if flags.contains(Flags::FROZEN) => Role::Base,
        None => Role::Plain,
    };
    let style = theme.style(role);
    let frame = if is_at {
        theme.style(Role::Focus)
    } else {
        theme.style(Role::Plain)
    };
    let inner = boxed.width.saturating_sub(2);
    let (side, flat, corners) = if ascii {
        ("|", "-", [".", ".", "'", "'"])
    } else if is_at {
        ("║", "═", ["╔", "╗", "╚", "╝"])
    } else {
        ("│", "─", ["┌", "┐", "└", "┘"])
    };
    let (x, y) = (boxed.x, boxed.y);
    let flat = flat.repeat(inner);
    canvas.put(x, y, &format!("{}{flat}{}", corners[0], corners[1]), frame);
    canvas.put(
        x,
        y + HEIGHT - 1,
        &format!("{}{flat}{}", corners[2], corners[3]),
        frame,
    );
    let status = status(app, row.kind, flags);
    let mark = mark.map_or(' ', |mark| mark);
    let bar = match (is_at, ascii) {
        (true, true) => ">",
        _ => " ",
    };
    let first = format!(
        "{mark}{}{bar}",
        text::pad(
            &text::cut_middle(&boxed.label, inner.saturating_sub(2), ascii),
            inner.saturating_sub(2),
            ascii
        )
    );
    let second = format!(" {} ", text::pad(&status, inner.saturating_sub(2), ascii));
    let content = if is_at {
        style.patch(theme.style(Role::Cursor))
    } else {
        style
    };
    for (line, text) in [(y + 1, &first), (y + 2, &second)] {
        canvas.put(x, line, side, frame);
        canvas.put(x + 1, line, text, content);
        canvas.put(x + boxed.width - 1, line, side, frame);
    }
}

/// The second line of a box: whether it may be written, and what else is to be known.
fn status(app: &App, kind: RowKind, flags: Flags) -> String {
    let RowKind::Image(id) = kind else {
        return match kind {
            RowKind::Again(_) => "a loop".to_owned(),
            _ => String::new(),
        };
    };
    let Some(node) = app.forest.get(id) else {
        return String::new();
    };
    let letters = app.letters(node);
    let word = if flags.contains(Flags::ACTIVE) {
        "(Active)"
    } else if node.stat.is_none() {
        "(missing)"
    } else {
        ""
    };
    let problem = if node.problems.is_empty() { "" } else { "!" };
    format!("{word} {problem}{letters}").trim().to_owned()
}
