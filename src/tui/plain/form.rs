//! Forms, field by field.

use std::io;

use crate::ops::lines_of_each;
use crate::tui::dialogs::Dialog;
use crate::tui::dialogs::form::{Field, FieldValue, Form};
use crate::tui::key::{Code, Key};
use crate::tui::remedies;

use super::dialogs::tell_plan;
use super::talk::Talk;

/// Tells the fields and what they come to, and changes one or goes on.
pub(super) fn turn(talk: &mut Talk) -> io::Result<()> {
    let Some(Dialog::Form(form)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    talk.say(format_args!("{}:", form.title))?;
    let places: Vec<usize> = form.shown().map(|(at, _)| at).collect();
    for (number, (_, field)) in form.shown().enumerate() {
        talk.say(format_args!("{}  {}", number + 1, described(field)))?;
    }
    tell_plans(talk, form)?;
    let typed = talk.ask("Number of a field to change it, yes to go on, or Enter to go back:")?;
    let number: Option<usize> = typed.parse().ok();
    let at = number.and_then(|number| places.get(number.checked_sub(1)?));
    match (typed.as_str(), at) {
        ("", _) => talk.back(),
        ("yes", _) => go_on(talk),
        (_, Some(at)) => change(talk, *at),
        (other, None) => talk.say(format_args!("{other} is none of the fields.")),
    }
}

fn described(field: &Field) -> String {
    let label = field.name.label();
    let value = match &field.holds {
        FieldValue::Text(input) | FieldValue::Path(input) => match input.value() {
            "" => "nothing".to_owned(),
            text => text.to_owned(),
        },
        FieldValue::Choice { words, at } => {
            let chosen = words.get(*at).copied().unwrap_or_default();
            let others = words.iter().filter(|word| **word != chosen);
            let others = others.copied().collect::<Vec<_>>().join(", ");
            format!("{chosen} (or {others})")
        }
        FieldValue::Secret(secret) if secret.is_empty() => "nothing".to_owned(),
        FieldValue::Secret(_) => "typed".to_owned(),
    };
    format!("{label}: {value}")
}

/// What the fields come to, or why to nothing yet.
fn tell_plans(talk: &Talk, form: &Form) -> io::Result<()> {
    if let Some(reason) = &form.reason {
        talk.say(reason)?;
    }
    match &form.plans[..] {
        [] => match form.requests() {
            Err(why) => talk.say(format_args!("Not yet: {why}.")),
            Ok(_) => Ok(()),
        },
        [plan] => tell_plan(talk, plan, false),
        several => lines_of_each(several).iter().try_for_each(|line| {
            let text = remedies::told(&talk.ui.app, &line.text, &line.remedies, None);
            talk.say(format_args!("{}  {text}", line.label))
        }),
    }
}

fn go_on(talk: &mut Talk) -> io::Result<()> {
    let refusal = match talk.ui.dialogs.top() {
        Some(Dialog::Form(form)) => form.requests().err(),
        _ => None,
    };
    match refusal {
        Some(why) => talk.say(format_args!("Not yet: {why}.")),
        None => talk.press(Key::of(Code::Enter)),
    }
}

/// Asks for what a field is to hold, and types it into it.
fn change(talk: &mut Talk, at: usize) -> io::Result<()> {
    let Some(Dialog::Form(form)) = talk.ui.dialogs.top_mut() else {
        return Ok(());
    };
    form.at = at;
    let Some(field) = form.focused() else {
        return Ok(());
    };
    let (label, help) = (field.name.label(), field.help);
    match &field.holds {
        FieldValue::Choice { words, at } => {
            let (words, now) = (words.clone(), *at);
            choose(talk, label, &words, now)
        }
        FieldValue::Text(_) | FieldValue::Path(_) => {
            if !help.is_empty() {
                talk.say(help)?;
            }
            let typed = talk.ask(&format!("{label} (Enter keeps it, - empties it):"))?;
            match typed.as_str() {
                "" => Ok(()),
                text => fill(talk, if text == "-" { "" } else { text }),
            }
        }
        FieldValue::Secret(_) => {
            let typed = talk.ask_secret(&format!("{label} (it is not shown):"))?;
            fill(talk, &typed)
        }
    }
}

fn fill(talk: &mut Talk, text: &str) -> io::Result<()> {
    talk.press(Key::of(Code::End))?;
    talk.press(Key::ctrl('u'))?;
    talk.type_in(text)
}

fn choose(talk: &mut Talk, label: &str, words: &[&str], now: usize) -> io::Result<()> {
    for (at, word) in words.iter().enumerate() {
        talk.say(format_args!("{}  {word}", at + 1))?;
    }
    let typed = talk.ask(&format!("{label}, number or word (Enter keeps it):"))?;
    let by_number = typed
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_sub(1));
    let to = words.iter().position(|word| *word == typed).or(by_number);
    match to.filter(|to| *to < words.len()) {
        Some(to) => {
            let steps = (to + words.len() - now) % words.len();
            (0..steps).try_for_each(|_| talk.press(Key::char(' ')))
        }
        None if typed.is_empty() => Ok(()),
        None => talk.say(format_args!("{typed} is none of these.")),
    }
}
