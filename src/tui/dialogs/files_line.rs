//! A line about the files inside an image: a name to find files by, or the folder to copy them to.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use tui_input::Input;

use crate::tui::app::App;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::browse::{Extraction, Shown, Spot};
use crate::tui::key::{Code, Key};
use crate::tui::msg::Effect;
use crate::tui::query::{Completions, QueryId};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::views::frame;
use crate::tui::views::words::push_wrapped;

use super::next::Next;
use super::typing::{begun, edit, go_on, whole};
use super::window::{Context, Window};

/// What a key can mean in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Goes on with what is typed.
    Fire,
    /// Goes on with a folder's name as far as there is one way.
    Complete,
    /// Leaves a dialog.
    Close,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Fire, "files-line-go", &[Key::of(Code::Enter)], "find the files, or copy them", "go"),
        dialog(Self::Complete, "files-line-complete", &[Key::of(Code::Tab)], "complete the folder's name", ""),
        dialog(Self::Close, "files-line-close", &[Key::of(Code::Esc), Key::ctrl('c')], "back to the files", "back"),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// What is typed.
#[derive(Debug)]
enum Purpose {
    /// A name to find files by.
    Find,
    /// The folder to copy this to.
    Extract(Shown, Spot),
}

/// A line about the files inside an image.
#[derive(Debug)]
pub struct FilesLine {
    purpose: Purpose,
    /// What is typed.
    pub input: Input,
    /// The question how a folder's name can go on.
    pub query_id: QueryId,
}

impl FilesLine {
    /// A name to find files by.
    #[must_use]
    pub fn find() -> Self {
        Self::new(Purpose::Find, "")
    }

    /// The folder to copy something to: at first the one that the program was started in.
    #[must_use]
    pub fn extract(app: &App, of: Shown, spot: Spot) -> Self {
        let settings = &app.settings;
        let here = settings.here.as_ref().or(settings.home.as_ref());
        let here = here.map_or_else(|| "/".into(), |here| here.to_string_lossy());
        Self::new(Purpose::Extract(of, spot), &here)
    }

    fn new(purpose: Purpose, text: &str) -> Self {
        Self {
            purpose,
            input: Input::new(text.to_owned()),
            query_id: 0,
        }
    }

    /// Takes in how the name can go on.
    pub fn completed(&mut self, ways: &Completions) {
        go_on(&mut self.input, ways);
    }

    /// What it asks for, for people.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.purpose {
            Purpose::Find => "Find files by name".to_owned(),
            Purpose::Extract(_, spot) => format!("Extract {}", spot.shown()),
        }
    }

    /// What may be typed.
    #[must_use]
    pub fn explained(&self) -> &'static str {
        match self.purpose {
            Purpose::Find => {
                "Part of a name; or a whole name with * and ?, or a whole path with them. All volumes are looked \
                 through."
            }
            Purpose::Extract(..) => {
                "The folder to copy it into, with all that is in it. Nothing that is there is replaced; devices and \
                 set-user-ID rights are left out."
            }
        }
    }

    fn fire(&self, app: &App) -> Next {
        let typed = self.input.value();
        match &self.purpose {
            _ if typed.trim().is_empty() => Next::Stay,
            Purpose::Find => Next::FoundBy(typed.to_owned()),
            Purpose::Extract(of, spot) => Next::Extract(Box::new(Extraction {
                of: of.clone(),
                spot: spot.clone(),
                to: whole(app, typed.trim()),
            })),
        }
    }

    fn lines(&self, app: &App, width: usize) -> Vec<Line<'static>> {
        let theme = app.settings.theme;
        let label = match self.purpose {
            Purpose::Find => "name    ",
            Purpose::Extract(..) => "folder  ",
        };
        let typed = text::safe(self.input.value());
        let room = width.saturating_sub(label.len() + 3);
        let skipped = text::width(&typed).saturating_sub(room);
        let typed: String = typed.chars().skip(skipped).collect();
        let mut lines = vec![Line::from(vec![
            Span::raw(frame::bar(app, true)),
            Span::styled(label, theme.style(Role::Title)),
            Span::raw(typed),
            Span::styled(" ", theme.style(Role::Cursor)),
        ])];
        push_wrapped(&mut lines, app, "", self.explained(), Role::Quiet, width);
        lines
    }
}

impl Window for FilesLine {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        match (action, &self.purpose) {
            (Action::Close, _) => return Next::Close,
            (Action::Fire, _) => return self.fire(context.app),
            (Action::Complete, Purpose::Extract(..)) => {
                self.query_id = context.app.query_id();
                let path = begun(context.app, self.input.value());
                context.effects.push(Effect::Complete(self.query_id, path));
            }
            (Action::Complete, Purpose::Find) => {}
        }
        Next::Stay
    }

    fn type_key(&mut self, key: Key, _context: &mut Context<'_>) -> Next {
        edit(&mut self.input, key);
        Next::Stay
    }

    fn paste(&mut self, text: &str, context: &mut Context<'_>) {
        for c in text.chars().filter(|c| !c.is_control()) {
            self.type_key(Key::char(c), context);
        }
    }

    fn height(&self, app: &App, width: usize) -> Option<usize> {
        Some(self.lines(app, width).len())
    }

    fn draw(&self, screen: &mut Frame<'_>, app: &App, area: Rect) {
        let room = usize::from(area.width).saturating_sub(2);
        let bottom = frame::hints::<Action>(app, room);
        let inside = frame::dialog(screen, app, area, &self.title(), bottom);
        let lines = self.lines(app, usize::from(inside.width));
        frame::lines_in(screen, inside, lines);
    }
}
