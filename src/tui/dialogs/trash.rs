//! The trash: what is in it, to be restored or deleted for good.

use std::collections::BTreeSet;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::ops::trash::Entry;
use crate::ops::{EmptyTrash, Request, Restore};
use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};
use crate::tui::query::QueryId;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::units;

use super::list_cursor::ListCursor;
use super::next::Next;
use super::window::{Context, Window};

/// What a key can mean in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ticks or unticks an entry.
    Tick,
    /// Ticks all or none.
    TickAll,
    /// Goes on with what is ticked.
    Proceed,
    /// Unlinks trash entries for good.
    EmptyTrash,
    /// Leaves a dialog.
    Close,
    /// One row down.
    Down,
    /// One row up.
    Up,
    /// One screen down.
    PageDown,
    /// One screen up.
    PageUp,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Tick, "trash-tick", &[Key::char(' ')], "mark an entry", "mark"),
        dialog(Self::TickAll, "trash-all", &[Key::char('a')], "mark all or none", "all/none"),
        dialog(Self::Proceed, "trash-restore", &[Key::of(Code::Enter), Key::char('r')], "plan to restore it", "restore"),
        dialog(Self::EmptyTrash, "trash-empty", &[Key::char('E')], "plan to delete it for good", "delete for good"),
        dialog(Self::Close, "trash-close", &[Key::of(Code::Esc), Key::char('q'), Key::ctrl('c')], "close", "close"),
        dialog(Self::Down, "trash-down", &[Key::of(Code::Down), Key::char('j')], "next entry", ""),
        dialog(Self::Up, "trash-up", &[Key::of(Code::Up), Key::char('k')], "entry before", ""),
        dialog(Self::PageDown, "trash-page-down", &[Key::of(Code::PageDown)], "one screen down", ""),
        dialog(Self::PageUp, "trash-page-up", &[Key::of(Code::PageUp)], "one screen up", ""),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// The trash.
#[derive(Debug, Default)]
pub struct TrashDialog {
    /// The question's number.
    pub query_id: QueryId,
    /// What is in it, newest first; none while that is looked for.
    pub entries: Option<Vec<Entry>>,
    /// Marked entries by name.
    pub marked: BTreeSet<String>,
    /// The entry under the cursor.
    pub cursor: ListCursor,
}

impl TrashDialog {
    /// The marked entries, or the one under the cursor.
    #[must_use]
    pub fn chosen(&self) -> Vec<String> {
        let entries = self.entries.as_deref().unwrap_or_default();
        let mut chosen: Vec<String> = entries
            .iter()
            .filter(|entry| self.marked.contains(&entry.name))
            .map(|entry| entry.name.clone())
            .collect();
        if chosen.is_empty() {
            chosen.extend(entries.get(self.cursor.at).map(|entry| entry.name.clone()));
        }
        chosen
    }
}

impl TrashDialog {
    /// A plan for what is chosen, if anything is.
    fn ask(&self, request: impl FnOnce(Vec<String>) -> Request) -> Next {
        let entries = self.chosen();
        if entries.is_empty() {
            return Next::Stay;
        }
        Next::Ask(Box::new(request(entries)))
    }
}

impl Window for TrashDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        let entries = self.entries.as_deref().unwrap_or_default();
        let len = entries.len();
        match action {
            Action::Down => self.cursor.down(len),
            Action::Up => self.cursor.up(),
            Action::PageDown => self.cursor.page_down(len, context.page()),
            Action::PageUp => self.cursor.page_up(context.page()),
            Action::Tick => {
                if let Some(entry) = entries.get(self.cursor.at)
                    && !self.marked.remove(&entry.name)
                {
                    self.marked.insert(entry.name.clone());
                }
                self.cursor.down(len);
            }
            Action::TickAll => {
                let all: BTreeSet<String> =
                    entries.iter().map(|entry| entry.name.clone()).collect();
                self.marked = if self.marked == all {
                    BTreeSet::new()
                } else {
                    all
                };
            }
            Action::Proceed => {
                return self.ask(|entries| Request::Restore(Restore { entries }));
            }
            Action::EmptyTrash => {
                return self.ask(|entries| Request::EmptyTrash(EmptyTrash { entries }));
            }
            Action::Close => return Next::Close,
        }
        Next::Stay
    }

    fn turns(&self) -> bool {
        true
    }

    fn edge(&self, app: &App, width: usize) -> Line<'static> {
        frame::hints::<Action>(app, width)
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw(screen, app, self, area);
    }
}

fn draw(screen: &mut Frame<'_>, app: &App, dialog: &TrashDialog, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = dialog.edge(app, room);
    let inside = frame::dialog(screen, app, area, "Trash", bottom);
    let width = usize::from(inside.width);
    let Some(entries) = &dialog.entries else {
        frame::lines_in(screen, inside, vec![Line::raw(" Looking into the trash.")]);
        return;
    };
    if entries.is_empty() {
        frame::lines_in(screen, inside, vec![Line::raw(" The trash is empty.")]);
        return;
    }
    let mut lines = Vec::new();
    let mut cursor_line = 0;
    for (i, entry) in entries.iter().enumerate() {
        if i == dialog.cursor.at {
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
            Span::raw(frame::bar(app, i == dialog.cursor.at)),
            Span::styled(if marked { "* " } else { "  " }, theme.style(Role::Marked)),
            Span::styled(
                text::pad(&head, width.saturating_sub(3), ascii),
                theme.style(Role::Title),
            ),
        ]);
        if i == dialog.cursor.at {
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
    let from = (cursor_line + 2)
        .saturating_sub(height)
        .min(lines.len().saturating_sub(1));
    let from = if cursor_line < height.saturating_sub(1) {
        0
    } else {
        from
    };
    screen.render_widget(
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
