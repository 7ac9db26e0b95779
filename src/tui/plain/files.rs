//! The files inside an image, told as lines: entries by number, and words for what else can be done.

use std::io;

use crate::tui::dialogs::Dialog;
use crate::tui::dialogs::files::{Body, rows, title};
use crate::tui::key::{Code, Key};

use super::dialogs::{back_or_again, place, tell_rows};
use super::talk::Talk;

/// Rows that are told at most: the rest is counted.
const MOST: usize = 500;

/// Tells what is shown, and does what is typed about it.
pub(super) fn turn(talk: &mut Talk) -> io::Result<()> {
    let Some(Dialog::Files(dialog)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    let Some(page) = dialog.page() else {
        return talk.back();
    };
    talk.say(format_args!("{}:", title(dialog)))?;
    for sentence in &dialog.live {
        talk.say(sentence)?;
    }
    let (told, notes) = rows(page, MOST);
    let (len, has_entries) = (page.len(), page.has_entries());
    let is_about = page.spot.is_some() && !matches!(page.body, Body::Failed(_));
    let is_compared = matches!(page.body, Body::Compared(_));
    if has_entries {
        tell_rows(talk, &told)?;
    } else {
        told.iter().try_for_each(|line| talk.say(line))?;
    }
    if len > told.len() {
        talk.say(format_args!("and {} more.", len - told.len()))?;
    }
    notes.iter().try_for_each(|note| talk.say(note))?;
    let question = match (has_entries, is_about) {
        (true, _) => {
            "Number to open one, extract NUMBER, history NUMBER, diff NUMBER, find, or Enter to go back:"
        }
        (false, true) if is_compared => "extract, extract older, or Enter to go back:",
        (false, true) => "extract, history, diff, or Enter to go back:",
        (false, false) => "Enter to go back:",
    };
    let typed = talk.ask(question)?;
    let (word, which) = typed.split_once(' ').unwrap_or((&typed, ""));
    let key = match word {
        "find" if has_entries => return talk.press(Key::char('/')),
        "extract" if is_compared && which == "older" => return talk.press(Key::char('o')),
        "extract" => Key::char('e'),
        "diff" => Key::char('d'),
        "history" => Key::char('l'),
        _ if has_entries => Key::of(Code::Enter),
        _ => return back_or_again(talk, &typed),
    };
    let which = if word.starts_with(|c: char| c.is_ascii_digit()) {
        word
    } else {
        which.trim()
    };
    match (has_entries, place(which, len)) {
        (true, Some(at)) => {
            if let Some(Dialog::Files(dialog)) = talk.ui.dialogs.top_mut()
                && let Some(page) = dialog.pages.last_mut()
            {
                page.cursor.at = at;
            }
            talk.press(key)
        }
        (false, None) if is_about && which.is_empty() => talk.press(key),
        _ => back_or_again(talk, &typed),
    }
}

/// A line about them: what is there already, and what is to be there.
pub(super) fn line(talk: &mut Talk) -> io::Result<()> {
    let Some(Dialog::FilesLine(dialog)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    let (title, explained) = (dialog.title(), dialog.explained());
    let default = dialog.input.value().to_owned();
    talk.say(format_args!("{title}: {explained}"))?;
    let question = match default.is_empty() {
        true => "A name, or Enter to go back:".to_owned(),
        false => format!("A folder, yes for {default}, or Enter to go back:"),
    };
    let typed = talk.ask(&question)?;
    match typed.as_str() {
        "" => return talk.back(),
        "yes" if !default.is_empty() => {}
        other => {
            talk.press(Key::ctrl('u'))?;
            talk.type_in(other)?;
        }
    }
    talk.press(Key::of(Code::Enter))
}
