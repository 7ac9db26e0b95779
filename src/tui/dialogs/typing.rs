//! Keys that are typed into fields.

use tui_input::{Input, InputRequest};

use crate::tui::key::{Code, Key};
use crate::tui::secret::Secret;

/// One key in a field; says whether its text changed.
pub(super) fn edit(input: &mut Input, key: Key) -> bool {
    let request = match (key.code, key.ctrl) {
        (Code::Char('u'), true) => InputRequest::DeleteLine,
        (Code::Char('w'), true) => InputRequest::DeletePrevWord,
        (Code::Char('a'), true) | (Code::Home, _) => InputRequest::GoToStart,
        (Code::Char('e'), true) | (Code::End, _) => InputRequest::GoToEnd,
        (Code::Left, _) => InputRequest::GoToPrevChar,
        (Code::Right, _) => InputRequest::GoToNextChar,
        (Code::Backspace, _) => InputRequest::DeletePrevChar,
        (Code::Delete, _) => InputRequest::DeleteNextChar,
        _ => match key.typed() {
            Some(c) => InputRequest::InsertChar(c),
            None => return false,
        },
    };
    input.handle(request).is_some_and(|change| change.value)
}

/// One key in a passphrase.
pub(super) fn type_secret(secret: &mut Secret, key: Key) {
    match (key.code, key.ctrl) {
        (Code::Backspace, _) => secret.pop(),
        (Code::Char('u' | 'w'), true) => secret.clear(),
        _ => {
            if let Some(c) = key.typed() {
                secret.push(c);
            }
        }
    }
}
