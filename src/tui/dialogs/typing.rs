//! Keys that are typed into fields, and names of files in them.

use std::path::PathBuf;

use tui_input::{Input, InputRequest};

use crate::tui::app::App;
use crate::tui::key::{Code, Key};
use crate::tui::query::Completions;
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

/// A name as it is typed, as a path: from the first folder that is open, or from home.
pub(super) fn whole(app: &App, typed: &str) -> PathBuf {
    let home = app.settings.home.as_deref();
    let rest = typed.strip_prefix('~');
    match (home, rest) {
        (Some(home), Some("")) => home.to_path_buf(),
        (Some(home), Some(rest)) if rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => {
            let from = app.settings.roots.first();
            from.map_or_else(|| PathBuf::from(typed), |from| from.join(typed))
        }
    }
}

/// What is asked about how a name can go on: one that ends in a slash is a folder all of whose content is asked for.
pub(super) fn begun(app: &App, typed: &str) -> PathBuf {
    let path = whole(app, typed);
    match typed.ends_with('/') {
        true => path.join(""),
        false => path,
    }
}

/// Lets a name go on as far as there is one way.
pub(super) fn go_on(input: &mut Input, ways: &Completions) {
    let typed = input.value();
    let folder = typed
        .rfind('/')
        .map_or("", |at| typed.get(..=at).unwrap_or(""));
    if folder.len() + ways.common.len() > typed.len() {
        *input = Input::new(format!("{folder}{}", ways.common));
    }
}
