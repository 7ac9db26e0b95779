//! Lists over the panes: help, palette and menus. What is in them is `update::menus`' business.

use std::ffi::OsString;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use tui_input::Input;

use crate::fleet::Program;
use crate::forest::NodeId;
use crate::host::shell_quoted;
use crate::ops::Request;
use crate::tui::actions;
use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::config::{CommandOutput, Fill};
use crate::tui::filter::Fuzzy;
use crate::tui::forms::FormKind;
use crate::tui::jobs::Task;
use crate::tui::key::{Code, Key};
use crate::tui::msg::Effect;
use crate::tui::order::Sort;
use crate::tui::query::QueryId;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;

use super::list_cursor::ListCursor;
use super::next::Next;
use super::typing::edit;
use super::window::{Context, Window};

/// What a key can mean in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fires what has the focus.
    Fire,
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
        dialog(Self::Fire, "list-run", &[Key::of(Code::Enter)], "run the entry", "run"),
        dialog(Self::Close, "list-close", &[Key::of(Code::Esc), Key::ctrl('c')], "close the list", "close"),
        dialog(Self::Down, "list-down", &[Key::of(Code::Down), Key::ctrl('n')], "next entry", ""),
        dialog(Self::Up, "list-up", &[Key::of(Code::Up), Key::ctrl('p')], "entry before", ""),
        dialog(Self::PageDown, "list-page-down", &[Key::of(Code::PageDown)], "one screen down", ""),
        dialog(Self::PageUp, "list-page-up", &[Key::of(Code::PageUp)], "one screen up", ""),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// What an entry of a list does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// An action of the panes.
    Action(actions::Action),
    /// An order.
    Sort(Sort),
    /// Text for the clipboard.
    Copy(String),
    /// A request to be planned.
    Ask(Request),
    /// A request to be planned by the host of this place.
    AskThere(usize, Request),
    /// A form to be filled in.
    Fill(FormKind, Option<OsString>),
    /// A command of the person's own, by its place; true once it was asked about.
    Run(usize, bool),
    /// A term for the filter line.
    Term(&'static str),
    /// Nothing: it only explains.
    Explains,
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MenuItem {
    /// Its keys as text.
    pub keys: String,
    /// What it is or does.
    pub title: String,
    /// Its group.
    pub group: &'static str,
    /// Its name in the keymap.
    pub name: &'static str,
    /// Other words that people search it by.
    pub also: &'static str,
    /// Why it cannot be done now.
    pub why_not: Option<String>,
    /// What it does.
    pub choice: Choice,
}

/// A list to choose from: searched by typing, or, where each entry has a key, by that key.
#[derive(Debug)]
pub struct ListMenu {
    /// The title on its frame.
    pub title: String,
    /// What is searched for.
    pub query: Input,
    /// All entries.
    pub items: Vec<MenuItem>,
    /// The entries that match, by number.
    pub shown: Vec<usize>,
    /// Which of those is under the cursor.
    pub cursor: ListCursor,
    /// Whether a key runs its entry at once instead of being searched for.
    pub by_key: bool,
    /// What it lists that is made anew when more is told of it.
    pub inside: Option<ContentKind>,
    /// The question whose answer fills it; none once it is filled.
    pub query_id: Option<QueryId>,
}

/// What a list is made of while it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentKind {
    /// Internal snapshots.
    Snapshots,
    /// Dirty bitmaps.
    Bitmaps,
    /// What was interrupted.
    Interrupted,
}

impl ListMenu {
    /// A list whose entries are run by their keys, all of which are seen.
    #[must_use]
    pub fn by_key(title: impl Into<String>, items: Vec<MenuItem>) -> Self {
        Self {
            by_key: true,
            ..Self::new(title, items)
        }
    }

    /// The same, made anew when more is told of this.
    #[must_use]
    pub fn of(self, inside: ContentKind) -> Self {
        Self {
            inside: Some(inside),
            ..self
        }
    }

    /// The entry that a key stands for.
    #[must_use]
    pub fn find_key(&self, key: Key) -> Option<usize> {
        let name = key.to_string();
        let is_it = |at: &&usize| {
            let item = self.items.get(**at);
            item.is_some_and(|item| item.keys.split(' ').any(|key| key == name))
        };
        self.shown.iter().find(is_it).copied()
    }

    /// A list of these entries.
    #[must_use]
    pub fn new(title: impl Into<String>, items: Vec<MenuItem>) -> Self {
        let mut menu = Self {
            by_key: false,
            inside: None,
            query_id: None,
            title: title.into(),
            query: Input::default(),
            items,
            shown: Vec::new(),
            cursor: ListCursor::default(),
        };
        menu.search();
        menu
    }

    /// Finds the entries that hold every word of the query; a query that is a key comes first. If
    /// none holds them, those with the letters in that order, the likeliest first.
    pub fn search(&mut self) {
        let query = self.query.value().trim().to_owned();
        let lower = query.to_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        let text = |item: &MenuItem| {
            let MenuItem {
                title,
                group,
                name,
                also,
                keys,
                ..
            } = item;
            format!("{title} {group} {name} {also} {keys}").to_lowercase()
        };
        let mut shown: Vec<usize> = (0..self.items.len())
            .filter(|i| {
                self.items.get(*i).is_some_and(|item| {
                    let text = text(item);
                    words.iter().all(|word| text.contains(word))
                })
            })
            .collect();
        if shown.is_empty() {
            let fuzzy = Fuzzy::new(&query);
            let mut scored: Vec<(u32, usize)> = (0..self.items.len())
                .filter_map(|i| Some((fuzzy.score(&text(self.items.get(i)?))?, i)))
                .collect();
            scored.sort_by_key(|(score, i)| (std::cmp::Reverse(*score), *i));
            shown = scored.into_iter().map(|(_, i)| i).collect();
        }
        if !query.is_empty() {
            // Stable: among equals the table's order stays.
            shown.sort_by_key(|i| {
                !self
                    .items
                    .get(*i)
                    .is_some_and(|item| item.keys.split(' ').any(|key| key == query))
            });
        }
        self.shown = shown;
        self.cursor = ListCursor::default();
    }

    /// The entry under the cursor.
    #[must_use]
    pub fn current(&self) -> Option<&MenuItem> {
        self.items.get(*self.shown.get(self.cursor.at)?)
    }
}

impl Window for ListMenu {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        let len = self.shown.len();
        match action {
            Action::Down => self.cursor.down(len),
            Action::Up => self.cursor.up(),
            Action::PageDown => self.cursor.page_down(len, context.page()),
            Action::PageUp => self.cursor.page_up(context.page()),
            Action::Close => return Next::Close,
            Action::Fire => {
                if let Some(item) = self.current().cloned() {
                    return self.fire(item, context);
                }
            }
        }
        Next::Stay
    }

    fn type_key(&mut self, key: Key, context: &mut Context<'_>) -> Next {
        if !self.by_key {
            edit(&mut self.query, key);
            self.search();
            return Next::Stay;
        }
        let Some(at) = self.find_key(key) else {
            context
                .app
                .warn(format!("{key} is none of these; Esc closes the menu."));
            return Next::Stay;
        };
        match self.items.get(at).cloned() {
            Some(item) => self.fire(item, context),
            None => Next::Stay,
        }
    }

    fn paste(&mut self, text: &str, context: &mut Context<'_>) {
        if self.by_key {
            // A menu runs its entries by their keys: pasted text is none.
            return;
        }
        for c in text.chars().filter(|c| !c.is_control()) {
            self.type_key(Key::char(c), context);
        }
    }

    fn turns(&self) -> bool {
        true
    }

    fn pressed(&mut self, spot: Position, context: &mut Context<'_>) -> Next {
        match self.entry_at(context.area, spot) {
            Some(at) => self.pressed_at(at, context),
            None => Next::Stay,
        }
    }

    fn most_lines(&self) -> Option<usize> {
        self.by_key.then_some(self.items.len())
    }

    fn edge(&self, app: &App, width: usize) -> Line<'static> {
        let by_key = self
            .by_key
            .then(|| ("key".to_owned(), "runs its entry".to_owned()));
        let hints = app.settings.keymap.hints::<Action>();
        frame::join(app, by_key.into_iter().chain(hints), width)
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw(screen, app, self, area);
    }
}

impl ListMenu {
    /// The entry that stands at this place of the screen.
    #[must_use]
    pub fn entry_at(&self, area: Rect, spot: Position) -> Option<usize> {
        let inner = frame::inside(area);
        if !inner.contains(spot) {
            return None;
        }
        let head = usize::from(!self.by_key);
        let height = usize::from(inner.height).saturating_sub(head);
        let at = usize::from(spot.y - inner.y).checked_sub(head)? + self.cursor.first_seen(height);
        (at < self.shown.len()).then_some(at)
    }

    /// A press goes to the entry it points at; one on the entry under the cursor runs it. No press says yes.
    fn pressed_at(&mut self, at: usize, context: &mut Context<'_>) -> Next {
        if self.cursor.at != at {
            self.cursor.at = at;
            return Next::Stay;
        }
        match self.current().cloned() {
            Some(item) if !matches!(item.choice, Choice::Run(_, true)) => self.fire(item, context),
            _ => Next::Stay,
        }
    }

    /// Does what an entry stands for, or says why not.
    fn fire(&mut self, item: MenuItem, context: &mut Context<'_>) -> Next {
        let app = &mut *context.app;
        if let Some(reason) = &item.why_not {
            app.warn(format!("{}: {reason}.", text::capitalized(item.word())));
            return Next::Stay;
        }
        match item.choice {
            Choice::Explains => Next::Stay,
            Choice::Action(action) => {
                app.session.recent.retain(|recent| *recent != action);
                app.session.recent.push(action);
                Next::Run(action)
            }
            Choice::Sort(sort) => {
                app.tree.sort = sort;
                app.changed();
                Next::Close
            }
            Choice::Copy(text) => {
                context.copy(text);
                Next::Close
            }
            Choice::Term(term) => {
                let line = format!("{} {term}", app.tree.filter.value());
                app.tree.filter = Input::new(line.trim_start().to_owned());
                app.filter_typed();
                Next::Close
            }
            Choice::Ask(request) => Next::AskInstead {
                request: Box::new(request),
                proves: false,
            },
            Choice::AskThere(at, request) => Next::AskThere(at, Box::new(request)),
            Choice::Fill(kind, about) => Next::Fill(kind, about),
            Choice::Run(at, is_asked) => self.run_own(at, is_asked, context),
        }
    }

    /// Runs a command of the person's own, after asking where it wants that.
    fn run_own(&mut self, at: usize, is_asked: bool, context: &mut Context<'_>) -> Next {
        let app = &*context.app;
        let Some(command) = app.settings.commands.get(at).cloned() else {
            return Next::Stay;
        };
        let Some(node) = app.selected() else {
            return Next::Stay;
        };
        let path = |id: &NodeId| app.forest.get(*id).map(|node| node.path.clone());
        let fill = Fill {
            path: node.path.clone(),
            chain: app.forest.chain(node.id).iter().filter_map(path).collect(),
            marked: app.targets().iter().filter_map(path).collect(),
        };
        let mut reads = fill.chain.clone();
        reads.extend(fill.marked.iter().cloned());
        let named = command.names(&fill);
        let mut of: Vec<Option<usize>> = named.iter().map(|path| app.hosts.of_path(path)).collect();
        of.sort_unstable();
        of.dedup();
        let (at_host, fill) = match of.as_slice() {
            [] | [None] => (None, fill),
            [Some(host)] => (Some(*host), fill.there()),
            _ => {
                let text = "It names files of several machines: a command is run on one.";
                context.app.warn(text);
                return Next::Stay;
            }
        };
        let host = at_host.and_then(|host| app.hosts.list.get(host));
        let words = command.filled(&fill);
        if command.confirm && !is_asked {
            let line: Vec<String> = words.iter().map(shell_quoted).collect();
            let line = match host {
                Some(host) => format!("{}: {}", host.name, line.join(" ")),
                None => line.join(" "),
            };
            *self = Self::by_key(
                command.title,
                vec![
                    MenuItem::new("", line, Choice::Explains),
                    MenuItem::new("y", "run it", Choice::Run(at, true)),
                ],
            );
            return Next::Stay;
        }
        match command.place {
            CommandOutput::Screen => {
                context.effects.push(match at_host {
                    Some(at) => Effect::OnScreenThere(at, Program::Command(words)),
                    None => Effect::OnScreen(words),
                });
                Next::Close
            }
            CommandOutput::Job => Next::Command {
                title: match host {
                    Some(host) => format!("{}: {}", host.name, command.title),
                    None => command.title,
                },
                task: match at_host {
                    Some(at) => Task::CommandThere(at, words),
                    None => Task::Command(words),
                },
                reads,
            },
        }
    }
}

impl MenuItem {
    /// The words it is called by: those its title begins with, or its name where that has none.
    fn word(&self) -> &str {
        self.title
            .split_once(" - ")
            .map_or(self.name, |(word, _)| word)
    }

    /// An entry without a group.
    #[must_use]
    pub fn new(keys: &str, title: impl Into<String>, choice: Choice) -> Self {
        Self {
            keys: keys.to_owned(),
            title: title.into(),
            group: "",
            name: "",
            also: "",
            why_not: None,
            choice,
        }
    }
}

fn draw(screen: &mut Frame<'_>, app: &App, menu: &ListMenu, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let room = usize::from(area.width).saturating_sub(2);
    let bottom = menu.edge(app, room);
    let head = usize::from(!menu.by_key);
    let height = usize::from(area.height.saturating_sub(2)).saturating_sub(head);
    let below = menu
        .shown
        .len()
        .saturating_sub(menu.cursor.first_seen(height) + height);
    let dot = if ascii { "-" } else { "·" };
    let title = match below {
        0 => menu.title.clone(),
        n => format!("{} {dot} {n} more below", menu.title),
    };
    let inside = frame::dialog(screen, app, area, &title, bottom);
    if inside.is_empty() {
        return;
    }
    let width = usize::from(inside.width);
    let query = text::safe(menu.query.value());
    let head = if query.is_empty() {
        Line::from(vec![
            Span::styled(" ", theme.style(Role::Cursor)),
            Span::styled(" type to search by name or key", theme.style(Role::Quiet)),
        ])
    } else {
        Line::from(vec![
            Span::raw(format!(" {query}")),
            Span::styled(" ", theme.style(Role::Cursor)),
            Span::styled(
                format!("  {} of {}", menu.shown.len(), menu.items.len()),
                theme.style(Role::Quiet),
            ),
        ])
    };
    let mut lines = if menu.by_key { Vec::new() } else { vec![head] };
    let height = usize::from(inside.height).saturating_sub(lines.len());
    let from = menu.cursor.first_seen(height);
    let keys_room = menu
        .items
        .iter()
        .map(|item| text::width(&item.keys))
        .max()
        .unwrap_or(0)
        .clamp(0, 16);
    for (i, item) in menu.shown.iter().enumerate().skip(from).take(height) {
        let Some(item) = menu.items.get(*item) else {
            continue;
        };
        let is_at = i == menu.cursor.at;
        let keys = text::pad(&item.keys, keys_room, ascii);
        let group = text::pad(item.group, 8, ascii);
        let title_room = width.saturating_sub(keys_room + 13);
        let title = match &item.why_not {
            // The reason first: it is what one looks for, and the end may be cut off.
            Some(reason) => format!("{}: {}", item.word(), text::safe(reason)),
            None => item.title.clone(),
        };
        let title = text::pad(&text::safe(&title), title_room, ascii);
        let off = item.why_not.is_some();
        let style = |role| theme.style(if off { Role::Dim } else { role });
        let mut line = Line::from(vec![
            Span::raw(frame::bar(app, is_at)),
            Span::styled(keys, style(Role::Key)),
            Span::raw("  "),
            Span::styled(group, style(Role::Quiet)),
            Span::raw(" "),
            Span::styled(title, style(Role::Plain)),
            Span::raw(" "),
        ]);
        if is_at {
            line = line.patch_style(theme.style(Role::Cursor));
        }
        lines.push(line);
    }
    if menu.shown.is_empty() {
        lines.push(Line::styled(
            " nothing is called that",
            theme.style(Role::Quiet),
        ));
    }
    frame::lines_in(screen, inside, lines);
}
