//! What keys mean in a form.

use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};

/// What a key can mean in a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Fires what has the focus.
    Fire,
    /// To the next field or button.
    NextField,
    /// To the field or button before.
    PreviousField,
    /// Scrolls down.
    ScrollDown,
    /// Scrolls up.
    ScrollUp,
    /// Leaves a dialog.
    Close,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Fire, "form-create", &[Key::of(Code::Enter)], "create it", "create"),
        dialog(Self::NextField, "form-next", &[Key::of(Code::Tab), Key::of(Code::Down)], "complete a name, or to the next field", "next field"),
        dialog(Self::PreviousField, "form-previous", &[Key::of(Code::BackTab), Key::of(Code::Up)], "field before", ""),
        dialog(Self::ScrollDown, "form-down", &[Key::of(Code::PageDown)], "scroll down", ""),
        dialog(Self::ScrollUp, "form-up", &[Key::of(Code::PageUp)], "scroll up", ""),
        dialog(Self::Close, "form-cancel", &[Key::of(Code::Esc), Key::ctrl('c')], "nothing happens", "cancel"),
    ];

    fn leaves(self) -> bool {
        self == Self::Close
    }
}
