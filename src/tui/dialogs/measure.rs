//! How large copies of one image would be.

use std::path::PathBuf;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use crate::host::{printable_bytes, shell_quoted};
use crate::image::Measure;
use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};
use crate::tui::query::{Measured, QueryId};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::tui::views::words::push_wrapped;
use crate::units;

use super::next::Next;
use super::window::{Context, Window};

/// What a key can mean there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leaves a dialog.
    Close,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Close, "measure-close", &[Key::of(Code::Esc), Key::of(Code::Enter), Key::char('q'), Key::char('W'), Key::ctrl('c')], "close", "close"),
    ];

    fn leaves(self) -> bool {
        true
    }
}

/// How large a copy of an image would be.
#[derive(Debug)]
pub struct MeasureDialog {
    /// The question's number.
    pub query_id: QueryId,
    /// The image.
    pub image: PathBuf,
    /// The ID of its internal snapshot, where that is what is measured.
    pub snapshot: Option<Vec<u8>>,
    /// What was found, or why nothing; none while the tables are read.
    pub found: Option<Result<Measured, String>>,
}

impl Window for MeasureDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, _context: &mut Context<'_>) -> Next {
        match action {
            Action::Close => Next::Close,
        }
    }

    fn height(&self, app: &App, width: usize) -> Option<usize> {
        Some(lines(app, self, width).len())
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw(screen, app, self, area);
    }
}

/// Cells for the kinds of copies.
const KINDS: usize = 14;

/// Cells for a size that is told to the byte.
const EXACT: usize = 30;

fn draw(screen: &mut Frame<'_>, app: &App, dialog: &MeasureDialog, area: Rect) {
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = frame::hints::<Action>(app, room);
    let name = units::file_name(&dialog.image);
    let title = match &dialog.snapshot {
        Some(id) => format!(
            "Measure: how large a copy of snapshot {} of {name} would be",
            printable_bytes(id)
        ),
        None => format!("Measure: how large a copy of {name} would be"),
    };
    let inside = frame::dialog(screen, app, area, &title, bottom);
    frame::lines_in(
        screen,
        inside,
        lines(app, dialog, usize::from(inside.width)),
    );
}

/// What is in it.
fn lines(app: &App, dialog: &MeasureDialog, width: usize) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let mut lines = Vec::new();
    let found = match &dialog.found {
        None => {
            let text = " Reading its tables, and those of all it is built on.";
            return vec![Line::styled(text, theme.style(Role::Quiet))];
        }
        Some(Err(why)) => {
            push_wrapped(&mut lines, app, "", why, Role::Error, width);
            return lines;
        }
        Some(Ok(found)) => found,
    };
    // To the byte where there is room, as a script would have it.
    let column = if width > KINDS + 2 * EXACT {
        EXACT
    } else {
        20.min(width.saturating_sub(KINDS + 1) / 2)
    };
    let told = |bytes: u64| match column {
        EXACT => format!("{} ({})", units::size(bytes), units::grouped(bytes)),
        _ => units::size(bytes),
    };
    let row = |kind: &str, cells: [&str; 2], role: Role| {
        let cells = cells
            .map(|cell| text::pad_left(cell, column, ascii))
            .concat();
        Line::from(vec![
            Span::styled(
                format!(" {}", text::pad(kind, KINDS, ascii)),
                theme.style(Role::Quiet),
            ),
            Span::styled(cells, theme.style(role)),
        ])
    };
    let sizes = |kind: &str, copy: &Measure| {
        let [now, full] = [copy.required, copy.fully_allocated].map(told);
        row(kind, [&now, &full], Role::Plain)
    };
    lines.push(row("", ["at most now", "every byte written"], Role::Quiet));
    lines.push(sizes("qcow2", &found.qcow2));
    lines.push(sizes("qcow2, luks", &found.luks));
    lines.push(sizes("raw", &found.raw));
    if let Some(bitmaps) = found.qcow2.bitmaps.filter(|bytes| *bytes > 0) {
        let more = format!("+ {}", told(bitmaps));
        lines.push(row("its bitmaps", [&more, &more], Role::Plain));
    }
    for sentence in &found.live {
        push_wrapped(&mut lines, app, "", sentence, Role::Warning, width);
    }
    let note = "Compressing makes it less; by how much only doing it tells. Holes of a raw file take no room.";
    push_wrapped(&mut lines, app, "", note, Role::Quiet, width);
    let mut command = format!("qanopy measure {}", shell_quoted(&dialog.image));
    if let Some(id) = &dialog.snapshot {
        let id = shell_quoted(String::from_utf8_lossy(id).as_ref());
        command.push_str(&format!(" --id --snapshot {id}"));
    }
    push_wrapped(&mut lines, app, "$", &command, Role::Quiet, width);
    lines
}
