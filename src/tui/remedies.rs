//! What gets a person further, as the keys that do it.

use std::path::Path;

use crate::host::shell_quoted;
use crate::ops::{Recovery, Remedy, RepairAction, Request};
use crate::units;

use super::actions::Action;
use super::app::App;
use super::text;

/// A text, and the keys that get further. An image that is not `about` is named.
#[must_use]
pub(crate) fn told(app: &App, text: &str, remedies: &[Remedy], about: Option<&Path>) -> String {
    let text = text::inside_of(text, &app.settings.roots);
    after(&text, &sentences(app, remedies, about))
}

/// ` R repairs it.`: a sentence for each key, with a space before it. An image that is not `about` is named.
fn sentences(app: &App, remedies: &[Remedy], about: Option<&Path>) -> String {
    let mut said: Vec<String> = Vec::new();
    for sentence in remedies.iter().filter_map(|one| sentence(app, one, about)) {
        if !said.contains(&sentence) {
            said.push(sentence);
        }
    }
    said.iter().map(|sentence| format!(" {sentence}")).collect()
}

/// Words, and the sentences after them.
fn after(words: &str, sentences: &str) -> String {
    if sentences.is_empty() || words.ends_with(['.', '!', '?', ')']) {
        return format!("{words}{sentences}");
    }
    format!("{words}.{sentences}")
}

fn sentence(app: &App, remedy: &Remedy, about: Option<&Path>) -> Option<String> {
    let (action, does) = match remedy {
        Remedy::Ask(request) => asks(request)?,
        Remedy::Relink(_) => (Action::Repair, "records what it is built on"),
        Remedy::Branch(_) | Remedy::LiveBranch(_) => (Action::Branch, "makes an overlay on it"),
        Remedy::DataFile(_) => (Action::Amend, "records where its data file is"),
        Remedy::Check(_) => (Action::Check, "tells all of it"),
        // Where is looked is said when the program is started.
        Remedy::LookIn(folder) => {
            let folder = shell_quoted(folder);
            return Some(format!("Start qanopy with {folder} as well to look there."));
        }
        Remedy::Accept(_) => (Action::Health, "lets you take the base as it is now"),
        // Forms and dialogs ask for them by themselves.
        Remedy::Passphrase(_) | Remedy::NewPassphrase(_) => return None,
    };
    let key = app.key(action);
    let on = match image(remedy) {
        Some(image) if about != Some(image) => format!(" on {}", units::file_name(image)),
        _ => String::new(),
    };
    Some(format!("{key}{on} {does}."))
}

fn asks(request: &Request) -> Option<(Action, &'static str)> {
    Some(match request {
        Request::Repair(repair) => match repair.action {
            RepairAction::Leaks | RepairAction::All => (Action::Repair, "repairs it"),
            RepairAction::PutBack { .. } => (Action::Undo, "takes it back"),
        },
        Request::Relink(relink) => match relink.base {
            Some(_) => (Action::Repair, "records what it is built on"),
            None => (Action::Repair, "records the format"),
        },
        Request::Amend(_) => (Action::Repair, "records where its data file is"),
        Request::Restore(_) => (Action::Trash, "restores it from the trash"),
        Request::Recover(recover) => match recover.way {
            Recovery::Finish | Recovery::Forget => (Action::Recover, "finishes it"),
            Recovery::RollBack => (Action::Recover, "takes it back"),
        },
        _ => return None,
    })
}

/// The image that a key has to be pressed on.
fn image(remedy: &Remedy) -> Option<&Path> {
    match remedy {
        Remedy::Ask(request) => match &**request {
            Request::Repair(repair) if !matches!(repair.action, RepairAction::PutBack { .. }) => {
                Some(&repair.image)
            }
            Request::Relink(relink) => Some(&relink.image),
            Request::Amend(amend) => Some(&amend.image),
            _ => None,
        },
        Remedy::Relink(image)
        | Remedy::Branch(image)
        | Remedy::LiveBranch(image)
        | Remedy::DataFile(image)
        | Remedy::Check(image) => Some(image),
        // Everything above the base tells of it.
        Remedy::Accept(_)
        | Remedy::Passphrase(_)
        | Remedy::NewPassphrase(_)
        | Remedy::LookIn(_) => None,
    }
}
