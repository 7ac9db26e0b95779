//! Where the space went, told as lines: what the bytes on disk are, tree by tree, and what would free most, by number.

use std::io;

use crate::tui::dialogs::Dialog;
use crate::tui::dialogs::space::{name_of, told};
use crate::tui::key::{Code, Key};
use crate::units;

use super::dialogs::{back_or_again, place, tell_rows};
use super::talk::Talk;

/// Trees that are told at most, and proposals: the rest is counted.
const MOST: usize = 20;

/// Tells it, and does what is typed about it.
pub(super) fn turn(talk: &mut Talk) -> io::Result<()> {
    let Some(Dialog::Space(pane)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    let reads = pane.reads;
    tell_images(talk)?;
    let found = &talk.ui.app.space.found;
    let savings = found.savings.iter().take(MOST).map(|saving| {
        let (kind, frees) = (saving.kind.name(), units::size(saving.frees));
        match saving.images.is_empty() {
            true => format!("{kind}, {frees}: {}", saving.why),
            false => format!(
                "{kind} {}, {frees}: {}",
                name_of(&talk.ui.app, saving),
                saving.why
            ),
        }
    });
    let savings: Vec<String> = savings.collect();
    let more = found.savings.len().saturating_sub(savings.len());
    match savings.is_empty() {
        true => talk.say("Nothing here would free space without losing what is in use.")?,
        false => talk.say("What frees most:")?,
    }
    tell_rows(talk, &savings)?;
    if more > 0 {
        talk.say(format_args!("and {more} more."))?;
    }
    let read = if reads {
        ""
    } else {
        ", read to read the images' data as well"
    };
    let typed = talk.ask(&format!("Number to plan one{read}, or Enter to go back:"))?;
    match (typed.as_str(), place(&typed, savings.len())) {
        ("read", _) if !reads => talk.press(Key::char('r')),
        (_, Some(at)) => {
            if let Some(Dialog::Space(pane)) = talk.ui.dialogs.top_mut() {
                pane.cursor.at = at;
            }
            talk.press(Key::of(Code::Enter))
        }
        (other, None) => back_or_again(talk, other),
    }
}

/// What the bytes on disk are: of all, and of each tree.
fn tell_images(talk: &Talk) -> io::Result<()> {
    let app = &talk.ui.app;
    let found = &app.space.found;
    talk.say(format_args!(
        "{}, {} on disk: {}.",
        units::count(found.images, "image"),
        units::size(found.total.disk),
        told(&found.total)
    ))?;
    if found.untold > 0 {
        talk.say("What is shared by reflinks is not told by every filesystem here.")?;
    }
    let trees = || found.rows.iter().filter(|row| !row.is_layer);
    for tree in trees().take(MOST) {
        let on = match tree.images.saturating_sub(1) {
            0 => String::new(),
            more => format!(" and {more} built on it"),
        };
        talk.say(format_args!(
            "{}{on}, {} on disk: {}.",
            app.shown(&tree.path),
            units::size(tree.space.disk),
            told(&tree.space)
        ))?;
    }
    let more = trees().count().saturating_sub(MOST);
    match more {
        0 => Ok(()),
        more => talk.say(format_args!("and {} more.", units::count(more, "tree"))),
    }
}
