//! Which folders are looked at: another one instead of those that are open, or one more. Those of earlier runs
//! are listed. Whether a folder is there is found out by whoever opens it.

use std::path::PathBuf;

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::{Line, Span};
use tui_input::Input;

use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};
use crate::tui::msg::Effect;
use crate::tui::query::{Completions, QueryId};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;

use super::list_cursor::ListCursor;
use super::next::Next;
use super::typing::{begun, edit, go_on, whole};
use super::window::{Context, Window};

/// What a key can mean while a folder is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Opens it instead of what is open.
    Open,
    /// Opens it as well.
    Add,
    /// Goes on with the name as far as there is one way.
    Complete,
    /// Leaves a dialog.
    Close,
    /// One row down.
    Down,
    /// One row up.
    Up,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Open, "folders-open", &[Key::of(Code::Enter)], "open it instead of what is open", "open"),
        dialog(Self::Add, "folders-add", &[Key::ctrl('o')], "open it beside what is open", "add"),
        dialog(Self::Complete, "folders-complete", &[Key::of(Code::Tab)], "complete the name", "complete"),
        dialog(Self::Close, "folders-close", &[Key::of(Code::Esc), Key::ctrl('c')], "close the dialog", "close"),
        dialog(Self::Down, "folders-down", &[Key::of(Code::Down), Key::ctrl('n')], "next folder", ""),
        dialog(Self::Up, "folders-up", &[Key::of(Code::Up), Key::ctrl('p')], "folder before", ""),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// A folder is chosen.
#[derive(Debug, Default)]
pub struct FoldersDialog {
    /// What is typed.
    pub input: Input,
    /// The entry of the list under the cursor; what is typed counts while it is none.
    pub chosen: Option<ListCursor>,
    /// The question how the name can go on.
    pub query_id: QueryId,
}

impl FoldersDialog {
    /// The sets of folders of earlier runs that hold what is typed.
    fn listed<'a>(&self, app: &'a App) -> Vec<&'a Vec<PathBuf>> {
        let typed = self.input.value().to_lowercase();
        let all = app.session.recent_folders.iter();
        all.filter(|roots| shown(app, roots).to_lowercase().contains(&typed))
            .collect()
    }

    /// The same for people.
    pub(in crate::tui) fn names(&self, app: &App) -> Vec<String> {
        let listed = self.listed(app).into_iter();
        listed.map(|roots| shown(app, roots)).collect()
    }

    /// What is chosen or typed; a sentence if it is nothing.
    fn folders(&self, app: &App) -> Result<Vec<PathBuf>, &'static str> {
        if let Some(cursor) = self.chosen {
            let listed = self.listed(app);
            let roots = listed.get(cursor.at).ok_or("There is no such folder.")?;
            return Ok((*roots).clone());
        }
        match self.input.value().trim() {
            "" => Err("Type the name of a folder, or choose one with the arrow keys."),
            typed => Ok(vec![whole(app, typed)]),
        }
    }

    /// Takes in how the name can go on.
    pub fn completed(&mut self, ways: &Completions) {
        go_on(&mut self.input, ways);
    }

    fn move_to(&mut self, down: bool, len: usize) {
        self.chosen = match (self.chosen, down) {
            (None, true) if len > 0 => Some(ListCursor::default()),
            (None, _) => None,
            (Some(ListCursor { at: 0 }), false) => None,
            (Some(mut cursor), true) => {
                cursor.down(len);
                Some(cursor)
            }
            (Some(mut cursor), false) => {
                cursor.up();
                Some(cursor)
            }
        };
    }
}

/// Folders that are opened together, for people.
fn shown(app: &App, roots: &[PathBuf]) -> String {
    let names: Vec<String> = roots.iter().map(|root| app.shown(root)).collect();
    names.join(" ")
}

impl Window for FoldersDialog {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        let app = &mut *context.app;
        match action {
            Action::Close => return Next::Close,
            Action::Down => self.move_to(true, self.listed(app).len()),
            Action::Up => self.move_to(false, self.listed(app).len()),
            Action::Complete => {
                self.query_id = app.query_id();
                let path = begun(app, self.input.value());
                context.effects.push(Effect::Complete(self.query_id, path));
            }
            Action::Open | Action::Add => match self.folders(app) {
                Err(why) => app.warn(why),
                Ok(folders) => {
                    let mut roots = match action {
                        Action::Add => app.settings.roots.clone(),
                        _ => Vec::new(),
                    };
                    for folder in folders {
                        if !roots.contains(&folder) {
                            roots.push(folder);
                        }
                    }
                    context.effects.push(Effect::Open(roots));
                    return Next::Close;
                }
            },
        }
        Next::Stay
    }

    fn type_key(&mut self, key: Key, _context: &mut Context<'_>) -> Next {
        if edit(&mut self.input, key) {
            self.chosen = None;
        }
        Next::Stay
    }

    fn paste(&mut self, text: &str, context: &mut Context<'_>) {
        for c in text.chars().filter(|c| !c.is_control()) {
            self.type_key(Key::char(c), context);
        }
    }

    fn turns(&self) -> bool {
        true
    }

    fn pressed(&mut self, spot: Position, context: &mut Context<'_>) -> Next {
        let inside = frame::inside(context.area);
        let first = self.first_seen(usize::from(inside.height));
        let line = usize::from(spot.y).checked_sub(usize::from(inside.y) + LINES_ABOVE);
        let at = line
            .filter(|_| inside.contains(spot))
            .map(|line| first + line);
        let listed = self.listed(context.app).len();
        if let Some(at) = at.filter(|at| *at < listed) {
            self.chosen = Some(ListCursor { at });
        }
        Next::Stay
    }

    fn edge(&self, app: &App, width: usize) -> Line<'static> {
        frame::hints::<Action>(app, width)
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        draw(screen, app, self, area);
    }
}

/// Lines above the list.
const LINES_ABOVE: usize = 2;

impl FoldersDialog {
    /// The first entry of the list that is seen in so many lines.
    fn first_seen(&self, height: usize) -> usize {
        let room = height.saturating_sub(LINES_ABOVE);
        self.chosen.map_or(0, |cursor| cursor.first_seen(room))
    }
}

fn draw(screen: &mut Frame<'_>, app: &App, dialog: &FoldersDialog, area: Rect) {
    let theme = app.settings.theme;
    let ascii = app.settings.ascii;
    let width = usize::from(area.width).saturating_sub(2);
    let title = "Open another folder";
    let inside = frame::dialog(screen, app, area, title, dialog.edge(app, width));
    let typed = text::safe(dialog.input.value());
    let room = width.saturating_sub(12);
    let skipped = text::width(&typed).saturating_sub(room);
    let typed: String = typed.chars().skip(skipped).collect();
    let is_typing = dialog.chosen.is_none();
    let mut line = vec![
        Span::raw(frame::bar(app, is_typing)),
        Span::styled("folder  ", theme.style(Role::Title)),
        Span::raw(typed),
    ];
    if is_typing {
        line.push(Span::styled(" ", theme.style(Role::Cursor)));
    }
    let listed = dialog.listed(app);
    let heading = match (listed.is_empty(), dialog.input.value()) {
        (true, "") => " type the name of a folder",
        (true, _) => " no folder that was opened before has such a name",
        (false, _) => " opened before:",
    };
    let mut lines = vec![
        Line::from(line),
        Line::styled(heading, theme.style(Role::Quiet)),
    ];
    let first = dialog.first_seen(usize::from(inside.height));
    for (i, roots) in listed.into_iter().enumerate().skip(first) {
        let is_at = dialog.chosen == Some(ListCursor { at: i });
        let name = text::cut_middle(&shown(app, roots), width.saturating_sub(3), ascii);
        let name = text::pad(&name, width.saturating_sub(2), ascii);
        let mut line = Line::from(vec![
            Span::raw(frame::bar(app, is_at)),
            Span::raw(name),
            Span::raw(" "),
        ]);
        if is_at {
            line = line.patch_style(theme.style(Role::Cursor));
        }
        lines.push(line);
    }
    lines.truncate(usize::from(inside.height));
    frame::lines_in(screen, inside, lines);
}
