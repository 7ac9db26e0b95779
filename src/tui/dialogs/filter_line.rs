//! The filter line while it is typed.

use std::path::PathBuf;

use tui_input::Input;

use crate::tui::actions::Motion;
use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};

use super::next::Next;
use super::typing::edit;
use super::window::{Context, Window};

/// What a key can mean in the filter line.
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
    /// Explains what can be asked for.
    Terms,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Fire, "filter-keep", &[Key::of(Code::Enter)], "keep the filter", "keep"),
        dialog(Self::Close, "filter-drop", &[Key::of(Code::Esc)], "drop the filter", "drop"),
        dialog(Self::Down, "filter-down", &[Key::of(Code::Down)], "next row", ""),
        dialog(Self::Up, "filter-up", &[Key::of(Code::Up)], "row before", ""),
        dialog(Self::Terms, "filter-terms", &[Key::char('?')], "what can be asked for", "what can be asked for"),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}

/// The filter line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterLine {
    /// What the filter was before, to go back to.
    pub before: String,
    /// The image that the cursor was on, to go back to.
    pub at: Option<PathBuf>,
}

impl Window for FilterLine {
    type Action = Action;

    fn update(&mut self, action: Action, _key: Key, context: &mut Context<'_>) -> Next {
        match action {
            Action::Fire => Next::Close,
            Action::Close => {
                let filter = &mut context.app.tree.filter;
                *filter = if filter.value().is_empty() {
                    Input::default()
                } else {
                    Input::new(std::mem::take(&mut self.before))
                };
                context.app.tree.wanted = self.at.take();
                context.app.changed();
                Next::Close
            }
            Action::Down => Next::Go(Motion::Down),
            Action::Up => Next::Go(Motion::Up),
            Action::Terms => Next::Terms,
        }
    }

    fn type_key(&mut self, key: Key, context: &mut Context<'_>) -> Next {
        if edit(&mut context.app.tree.filter, key) {
            context.app.filter_typed();
        }
        Next::Stay
    }

    fn paste(&mut self, text: &str, context: &mut Context<'_>) {
        for c in text.chars().filter(|c| !c.is_control()) {
            self.type_key(Key::char(c), context);
        }
    }
}
