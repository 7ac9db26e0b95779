//! What keys mean among the files of an image.

use crate::tui::bindings::{self, Row, dialog};
use crate::tui::key::{Code, Key};

/// What a key can mean among the files of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Opens a folder, or shows what is in a file.
    Open,
    /// To where one came from.
    Up,
    /// Finds files by name.
    Find,
    /// Copies the file or folder out.
    Extract,
    /// Copies the older one of a file that was compared out.
    ExtractOlder,
    /// Compares the file with the layer below.
    Differ,
    /// Shows the layers in which the file changed.
    History,
    /// Opens the image anew.
    Again,
    /// To where one came from; leaves the dialog where there is nothing.
    Back,
    /// Leaves the dialog.
    Close,
    /// One row down.
    RowDown,
    /// One row up.
    RowUp,
    /// One screen down.
    PageDown,
    /// One screen up.
    PageUp,
    /// To the first row.
    Top,
    /// To the last row.
    Bottom,
    /// To the right in long lines; opens a folder.
    Right,
    /// To the left in long lines; to where one came from.
    Left,
}

impl bindings::Action for Action {
    #[rustfmt::skip] // One row a line reads as the table it is.
    const ROWS: &'static [Row<Self>] = &[
        dialog(Self::Open, "files-open", &[Key::of(Code::Enter), Key::char('v')], "open a folder, or view a file", "open"),
        dialog(Self::Up, "files-up", &[Key::of(Code::Backspace), Key::char('h')], "to the folder before", "back"),
        dialog(Self::Find, "files-find", &[Key::char('/')], "find files by name", "find"),
        dialog(Self::Extract, "files-extract", &[Key::char('e')], "extract - copy it out, with all that is in it", "extract"),
        dialog(Self::ExtractOlder, "files-extract-older", &[Key::char('o')], "extract the older one of two that were compared", "extract older"),
        dialog(Self::Differ, "files-diff", &[Key::char('d')], "diff - how it differs from the layer below, or from the other image", "diff"),
        dialog(Self::History, "files-history", &[Key::char('l')], "history - in which layers it changed", "history"),
        dialog(Self::Back, "files-back", &[Key::of(Code::Esc)], "one step back, and out", ""),
        dialog(Self::Close, "files-close", &[Key::char('q'), Key::char('9'), Key::ctrl('c')], "close", "close"),
        dialog(Self::Again, "files-again", &[Key::char('r')], "open the image anew", "reopen"),
        dialog(Self::RowDown, "files-down", &[Key::of(Code::Down), Key::char('j')], "next row", ""),
        dialog(Self::RowUp, "files-row-up", &[Key::of(Code::Up), Key::char('k')], "row before", ""),
        dialog(Self::PageDown, "files-page-down", &[Key::of(Code::PageDown), Key::char(' ')], "one screen down", ""),
        dialog(Self::PageUp, "files-page-up", &[Key::of(Code::PageUp)], "one screen up", ""),
        dialog(Self::Top, "files-top", &[Key::char('g'), Key::of(Code::Home)], "to the first row", ""),
        dialog(Self::Bottom, "files-bottom", &[Key::char('G'), Key::of(Code::End)], "to the last row", ""),
        dialog(Self::Right, "files-right", &[Key::of(Code::Right)], "open a folder, or right in long lines", ""),
        dialog(Self::Left, "files-left", &[Key::of(Code::Left)], "to the folder before, or left in long lines", ""),
    ];

    fn leaves(self) -> bool {
        matches!(self, Self::Close | Self::Back)
    }
}
