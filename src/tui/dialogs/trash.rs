//! The trash: what is in it, to be restored or deleted for good.

use std::collections::{BTreeMap, BTreeSet};

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::facts::TrashEntry;
use crate::ops::{EmptyTrash, Request, Restore};
use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};
use crate::tui::query::QueryId;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::there::Part;
use crate::tui::views::frame;
use crate::tui::views::words::push_wrapped;
use crate::units;

use super::list_cursor::ListCursor;
use super::next::Next;
use super::window::{Context, Window};

/// An entry of the trash of one machine: the place of its host, none for this machine, and its name.
type EntryId = (Option<usize>, String);

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
    /// What is in that of this machine, newest first; none while that is looked for.
    pub here: Option<Vec<TrashEntry>>,
    /// Marked entries.
    pub marked: BTreeSet<EntryId>,
    /// The entry under the cursor.
    pub cursor: ListCursor,
}

impl TrashDialog {
    /// What is in the trash of this machine, then what is in those of hosts, each with the place of its host.
    #[must_use]
    pub fn entries<'a>(&'a self, app: &'a App) -> Vec<(Option<usize>, &'a TrashEntry)> {
        let here = self.here.iter().flatten().map(|entry| (None, entry));
        let hosts = app.hosts.list.iter().enumerate();
        let far = hosts.flat_map(|(at, host)| {
            let entries = host.beside.trash.told().into_iter().flatten();
            entries.map(move |entry| (Some(at), entry))
        });
        here.chain(far).collect()
    }

    fn ids(&self, app: &App) -> Vec<EntryId> {
        let entries = self.entries(app).into_iter();
        entries
            .map(|(at, entry)| (at, entry.name.clone()))
            .collect()
    }

    /// The marked entries, or the one under the cursor.
    fn chosen(&self, app: &App) -> Vec<EntryId> {
        let ids = self.ids(app);
        let mut chosen = ids.clone();
        chosen.retain(|one| self.marked.contains(one));
        if chosen.is_empty() {
            chosen.extend(ids.get(self.cursor.at).cloned());
        }
        chosen
    }

    /// A plan for what is chosen in the trash of each machine.
    fn ask(&self, app: &App, request: impl Fn(Vec<String>) -> Request) -> Next {
        let mut chosen: BTreeMap<Option<usize>, Vec<String>> = BTreeMap::new();
        for (of, name) in self.chosen(app) {
            chosen.entry(of).or_default().push(name);
        }
        let mut parts: Vec<Part> = chosen
            .into_iter()
            .map(|(of, names)| (of, request(names)))
            .collect();
        match parts.pop() {
            None => Next::Stay,
            Some((None, only)) if parts.is_empty() => Next::Ask(Box::new(only)),
            Some((Some(at), only)) if parts.is_empty() => Next::AskThere(at, Box::new(only)),
            Some(last) => {
                parts.push(last);
                Next::AskEach(parts)
            }
        }
    }
}

impl Window for TrashDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        let entries = self.ids(context.app);
        let len = entries.len();
        match action {
            Action::Down => self.cursor.down(len),
            Action::Up => self.cursor.up(),
            Action::PageDown => self.cursor.page_down(len, context.page()),
            Action::PageUp => self.cursor.page_up(context.page()),
            Action::Tick => {
                if let Some(id) = entries.get(self.cursor.at)
                    && !self.marked.remove(id)
                {
                    self.marked.insert(id.clone());
                }
                self.cursor.down(len);
            }
            Action::TickAll => {
                let all: BTreeSet<EntryId> = entries.into_iter().collect();
                self.marked = if self.marked == all {
                    BTreeSet::new()
                } else {
                    all
                };
            }
            Action::Proceed => {
                return self.ask(context.app, |entries| Request::Restore(Restore { entries }));
            }
            Action::EmptyTrash => {
                let empty = |entries| Request::EmptyTrash(EmptyTrash { entries });
                return self.ask(context.app, empty);
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
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = dialog.edge(app, room);
    let inside = frame::dialog(screen, app, area, "Trash", bottom);
    let width = usize::from(inside.width);
    let entries = dialog.entries(app);
    let mut lines = Vec::new();
    let mut cursor_line = 0;
    for (i, (at, entry)) in entries.iter().enumerate() {
        let is_at = i == dialog.cursor.at;
        if is_at {
            cursor_line = lines.len() + entry.files.len().min(3);
        }
        let is_marked = dialog.marked.contains(&(*at, entry.name.clone()));
        let host = at.and_then(|at| app.hosts.list.get(at));
        let lead = host.map_or_else(String::new, |host| format!("{}: ", host.name));
        lines.extend(drawn(app, entry, &lead, (is_at, is_marked), width));
    }
    let mut said = app.hosts.said(|beside| &beside.trash);
    if dialog.here.is_none() {
        said.insert(0, "Looking into the trash.".to_owned());
    } else if entries.is_empty() && said.is_empty() {
        said.push("The trash is empty.".to_owned());
    }
    for text in said {
        push_wrapped(&mut lines, app, "", &text, Role::Plain, width);
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

/// An entry: what was done when, and its files.
fn drawn(
    app: &App,
    entry: &TrashEntry,
    lead: &str,
    (is_at, is_marked): (bool, bool),
    width: usize,
) -> Vec<Line<'static>> {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let age = entry.discarded.map_or_else(String::new, |when| {
        format!("{} ago", text::age(when, app.now()))
    });
    let head = format!(
        "{lead}{}  {}, {}  {age}",
        text::safe(if entry.reason.is_empty() {
            "?"
        } else {
            &entry.reason
        }),
        units::count(entry.files.len(), "file"),
        units::size(entry.bytes()),
    );
    let mut line = Line::from(vec![
        Span::raw(frame::bar(app, is_at)),
        Span::styled(
            if is_marked { "* " } else { "  " },
            theme.style(Role::Marked),
        ),
        Span::styled(
            text::pad(&head, width.saturating_sub(3), ascii),
            theme.style(Role::Title),
        ),
    ]);
    if is_at {
        line = line.patch_style(theme.style(Role::Cursor));
    }
    let mut lines = vec![line];
    let shown = if entry.files.len() > 4 { 3 } else { 4 };
    for (original, bytes) in entry.files.iter().take(shown) {
        let room = width.saturating_sub(18);
        let path = text::cut_middle(&app.shown(original), room, ascii);
        lines.push(Line::raw(format!(
            "     {}{}",
            text::pad(&path, room, ascii),
            text::pad_left(&units::size(*bytes), 11, ascii)
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
    lines
}
