//! What every dialog can do. The keymap says which of its actions a key means; a dialog that leaves one of
//! them without a handler does not compile.

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;

use crate::tui::app::App;
use crate::tui::bindings::Action;
use crate::tui::copy::copied;
use crate::tui::key::Key;
use crate::tui::msg::Effect;
use crate::tui::views::frame;

use super::next::Next;

/// What a dialog acts on.
#[derive(Debug)]
pub struct Context<'a> {
    /// What is known.
    pub app: &'a mut App,
    /// Where the dialog is drawn.
    pub area: Rect,
    /// What is to be done outside.
    pub effects: &'a mut Vec<Effect>,
}

impl Context<'_> {
    /// Puts text on the clipboard, and tells what.
    pub fn copy(&mut self, text: String) {
        self.app.tell_as_it_is(&copied(&text));
        self.effects.push(Effect::Copy(text));
    }

    /// How many entries of a list are seen at once.
    #[must_use]
    pub fn page(&self) -> usize {
        usize::from(self.area.height).saturating_sub(4).max(1)
    }
}

/// A dialog: its state is what implements this.
pub trait Window {
    /// What keys can mean in it.
    type Action: Action;

    /// Does what a key means.
    fn update(&mut self, action: Self::Action, key: Key, context: &mut Context<'_>) -> Next;

    /// A key that means nothing by itself: typed into a field where there is one.
    fn type_key(&mut self, _key: Key, _context: &mut Context<'_>) -> Next {
        Next::Stay
    }

    /// Pasted text goes where typed text would; signs that are no text are left out.
    fn paste(&mut self, _text: &str, _context: &mut Context<'_>) {}

    /// Keeps a key for later, if it cannot mean anything yet; says whether it did.
    fn hold(&mut self, _action: Option<Self::Action>, _key: Key) -> bool {
        false
    }

    /// Whether the wheel does what the arrows do.
    fn turns(&self) -> bool {
        false
    }

    /// The mouse was pressed at this place of the screen. It never says yes to anything.
    fn pressed(&mut self, _spot: Position, _context: &mut Context<'_>) -> Next {
        Next::Stay
    }

    /// Lines it would like to have inside its frame, so wide, in the lower part of the screen; none if it
    /// is shown over the panes.
    fn height(&self, _app: &App, _width: usize) -> Option<usize> {
        None
    }

    /// Over the panes: lines inside its frame beyond which it does not grow.
    fn most_lines(&self) -> Option<usize> {
        None
    }

    /// The footer while it is open, so wide; the area is the dialog's.
    fn footer(&self, app: &App, width: usize, _area: Rect) -> Line<'static> {
        frame::hints::<Self::Action>(app, width)
    }

    /// The hints on the lower edge of its frame, in so many cells: what can be pressed there with the mouse.
    fn edge(&self, _app: &App, _width: usize) -> Line<'static> {
        Line::default()
    }

    /// Draws it.
    fn draw(&self, _frame: &mut Frame<'_>, _app: &App, _area: Rect) {}
}

/// The same, whatever its actions are.
pub trait AnyWindow {
    /// A key was pressed.
    fn press(&mut self, key: Key, context: &mut Context<'_>) -> Next;
    /// A key was pressed while nothing can be shown: only what leads out is understood.
    fn press_unseen(&mut self, key: Key, context: &mut Context<'_>) -> Next;
    /// Keeps a key for later; says whether it did.
    fn hold_key(&mut self, key: Key, app: &App) -> bool;
    /// See [`Window::paste`].
    fn paste(&mut self, text: &str, context: &mut Context<'_>);
    /// See [`Window::turns`].
    fn turns(&self) -> bool;
    /// See [`Window::pressed`].
    fn pressed(&mut self, spot: Position, context: &mut Context<'_>) -> Next;
    /// See [`Window::height`].
    fn height(&self, app: &App, width: usize) -> Option<usize>;
    /// See [`Window::most_lines`].
    fn most_lines(&self) -> Option<usize>;
    /// See [`Window::footer`].
    fn footer(&self, app: &App, width: usize, area: Rect) -> Line<'static>;
    /// See [`Window::edge`].
    fn edge(&self, app: &App, width: usize) -> Line<'static>;
    /// See [`Window::draw`].
    fn draw(&self, frame: &mut Frame<'_>, app: &App, area: Rect);
}

impl<W: Window> AnyWindow for W {
    fn press(&mut self, key: Key, context: &mut Context<'_>) -> Next {
        match context.app.settings.keymap.action::<W::Action>(key) {
            Some(action) => self.update(action, key, context),
            None => self.type_key(key, context),
        }
    }

    fn press_unseen(&mut self, key: Key, context: &mut Context<'_>) -> Next {
        match context.app.settings.keymap.action::<W::Action>(key) {
            Some(action) if action.leaves() => self.update(action, key, context),
            _ => Next::Stay,
        }
    }

    fn hold_key(&mut self, key: Key, app: &App) -> bool {
        self.hold(app.settings.keymap.action(key), key)
    }

    fn paste(&mut self, text: &str, context: &mut Context<'_>) {
        Window::paste(self, text, context);
    }

    fn turns(&self) -> bool {
        Window::turns(self)
    }

    fn pressed(&mut self, spot: Position, context: &mut Context<'_>) -> Next {
        Window::pressed(self, spot, context)
    }

    fn height(&self, app: &App, width: usize) -> Option<usize> {
        Window::height(self, app, width)
    }

    fn most_lines(&self) -> Option<usize> {
        Window::most_lines(self)
    }

    fn footer(&self, app: &App, width: usize, area: Rect) -> Line<'static> {
        Window::footer(self, app, width, area)
    }

    fn edge(&self, app: &App, width: usize) -> Line<'static> {
        Window::edge(self, app, width)
    }

    fn draw(&self, frame: &mut Frame<'_>, app: &App, area: Rect) {
        Window::draw(self, frame, app, area);
    }
}
