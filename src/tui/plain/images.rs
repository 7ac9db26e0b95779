//! The images by number, and what is done without one.

use std::io;

use crate::forest::Node;
use crate::tui::actions::Action;
use crate::tui::app::{App, Pane};
use crate::tui::bindings::Group;
use crate::tui::disabled_reason::why_not;
use crate::tui::key::{Code, Key};
use crate::tui::panes::tree;
use crate::tui::rows::{Row, RowKind};
use crate::units;

use super::talk::Talk;

/// What is done without an image, by its name or its key.
const WITHOUT_IMAGE: &[Action] = &[
    Action::NewImage,
    Action::Import,
    Action::CheckAll,
    Action::Space,
    Action::Prune,
    Action::Trash,
    Action::Undo,
    Action::Redo,
    Action::Recover,
    Action::Sort,
    Action::View,
    Action::ClearMarks,
    Action::Rescan,
    Action::Open,
    Action::Tour,
    Action::Back,
    Action::Log,
];

/// Lists the images where the list is not the one told last, and does what is typed.
pub(super) fn turn(talk: &mut Talk) -> io::Result<()> {
    if talk.listed != talk.ui.app.tree.built {
        talk.listed = talk.ui.app.tree.built;
        // What was open over the images may have left them as they are.
        if lines(&talk.ui.app) != talk.told {
            list(talk)?;
        }
    }
    tell_goal(talk)?;
    let typed = talk.ask("Number of an image, list, find WORDS, mark NUMBER, help or quit:")?;
    let (word, rest) = typed.split_once(' ').unwrap_or((&typed, ""));
    match word {
        "" => Ok(()),
        "list" => list(talk),
        "help" | "?" => help(talk),
        "quit" | "q" => talk.press(Key::char('q')),
        "find" => find(talk, rest.trim()),
        "mark" => mark(talk, rest.trim()),
        word => match word.parse() {
            Ok(number) => choose(talk, number),
            Err(_) => act(talk, word),
        },
    }
}

/// Tells what the tour asks for, where that is not what was told last.
fn tell_goal(talk: &mut Talk) -> io::Result<()> {
    let app = &talk.ui.app;
    let goal = app.tour.as_ref().and_then(|tour| tour.goal());
    let told = std::mem::replace(&mut talk.goal, goal.map(|goal| goal.text));
    let Some(goal) = goal.filter(|goal| told != Some(goal.text)) else {
        return Ok(());
    };
    let entry = app.settings.keymap.entry(goal.action);
    let word = entry.map_or("", |entry| entry.name);
    let first = match WITHOUT_IMAGE.contains(&goal.action) {
        true => "Type",
        false => "Type the number of the image, then",
    };
    talk.say(format_args!(
        "Tour {} of {}: {}",
        goal.task, goal.of, goal.text
    ))?;
    talk.say(format_args!(
        "{first} {word}. The word back leaves the tour."
    ))
}

fn list(talk: &mut Talk) -> io::Result<()> {
    talk.listed = talk.ui.app.tree.built;
    talk.told = lines(&talk.ui.app);
    talk.told.iter().try_for_each(|line| talk.say(line))
}

/// The list of the images, with what there is to say of it.
fn lines(app: &App) -> Vec<String> {
    let filter = app.tree.filter.value();
    let filter =
        (!filter.is_empty()).then(|| format!("Only what matches {filter}; find alone shows all."));
    let roots = app.settings.roots.iter().map(|root| app.shown(root));
    let roots = roots.collect::<Vec<_>>().join(", ");
    let rows = app.tree.rows.list.iter().enumerate();
    let rows = rows.map(|(at, row)| format!("{}  {}", at + 1, described(app, row)));
    let none = app.tree.rows.list.is_empty();
    let none = none.then(|| "There is none.".to_owned());
    let first = filter.into_iter().chain([format!("Images below {roots}:")]);
    let last = app.refresh.scan.unreadable.iter().cloned();
    first.chain(rows).chain(none).chain(last).collect()
}

/// A row, in words that need no column to be understood.
fn described(app: &App, row: &Row) -> String {
    let name = tree::name(app, row, usize::MAX);
    match row.kind {
        RowKind::Image(id) => {
            let about = app.forest.get(id).map(|node| about(app, node));
            format!("{name}{}", about.unwrap_or_default())
        }
        RowKind::Snapshot { of, .. } => {
            let image = app.forest.get(of).map(|node| app.label(node));
            format!("snapshot {name} of {}", image.unwrap_or_default())
        }
        _ => name,
    }
}

/// What there is to know of an image at a glance.
fn about(app: &App, node: &Node) -> String {
    let base = node.parent.and_then(|base| app.forest.get(base));
    let base = base.map(|base| format!("on {}", app.label(base)));
    let size = node.size_on_disk().map(units::size);
    let flags: Vec<String> = app
        .forest
        .flags(node.id)
        .names()
        .map(str::to_owned)
        .collect();
    // Only what it is: the rest is told with the image.
    let brief = |text: &str| {
        let text = app.places().brief(text);
        let first = text.split(". ").next().unwrap_or(&text);
        first.trim_end_matches('.').to_owned()
    };
    let problems = node.problems.iter();
    let problems = problems.map(|problem| format!("! {}", brief(&problem.message)));
    let noted = node.annotation.as_ref();
    let tags = noted.map(|noted| noted.tag_words());
    let tags = tags.filter(|tags| !tags.is_empty());
    let parts = base.into_iter().chain(size).chain(flags);
    let parts = parts.chain(tags).chain(problems);
    parts.map(|part| format!(", {part}")).collect()
}

fn find(talk: &mut Talk, words: &str) -> io::Result<()> {
    talk.press(Key::char('/'))?;
    talk.press(Key::ctrl('u'))?;
    talk.type_in(words)?;
    talk.press(Key::of(Code::Enter))?;
    (talk.listed, talk.told) = (None, Vec::new());
    Ok(())
}

/// Goes to what has that number in the list; says what it is, if it is there.
fn go_to(talk: &mut Talk, number: usize) -> io::Result<Option<RowKind>> {
    let app = &mut talk.ui.app;
    let row = number.checked_sub(1);
    let found = row.and_then(|row| Some((row, app.tree.rows.list.get(row)?.kind)));
    let Some((row, kind)) = found else {
        talk.say(format_args!("There is no {number} in the list."))?;
        return Ok(None);
    };
    app.tree.cursor = row;
    app.pane = Pane::Images;
    // What is under the cursor is settled by a step of its own.
    talk.settle()?;
    Ok(Some(kind))
}

/// Tells what can be done with what has that number in the list.
fn choose(talk: &mut Talk, number: usize) -> io::Result<()> {
    match go_to(talk, number)? {
        None => Ok(()),
        Some(RowKind::Folded { .. } | RowKind::Run { .. }) => talk.press(Key::of(Code::Enter)),
        Some(_) => talk.press(Key::char('x')),
    }
}

/// Marks an image, or takes its mark away: what is done next is about the marked ones.
fn mark(talk: &mut Talk, number: &str) -> io::Result<()> {
    let Ok(number) = number.parse() else {
        return talk.say(
            "Type mark and a number, as in mark 3: it marks that image, or takes its mark away.",
        );
    };
    if go_to(talk, number)?.is_some() {
        talk.press(Key::char(' '))?;
        let marks = talk.ui.app.tree.marks.iter();
        let names = marks.filter_map(|id| Some(talk.ui.app.label(talk.ui.app.forest.get(*id)?)));
        let names: Vec<String> = names.collect();
        let names = if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join(", ")
        };
        talk.say(format_args!("Marked: {names}."))?;
    }
    Ok(())
}

fn help(talk: &mut Talk) -> io::Result<()> {
    talk.say(
        "The number of an image tells what can be done with it, or with those marked. Besides:",
    )?;
    let app = &talk.ui.app;
    for entry in app.settings.keymap.entries::<Action>() {
        if !WITHOUT_IMAGE.contains(&entry.action) {
            continue;
        }
        let not = why_not(app, entry.action);
        let not = not.map(|why| format!(" (not now: {why})"));
        let title = entry
            .title
            .split_once(" - ")
            .map_or(entry.title, |(_, what)| what);
        let not = not.unwrap_or_default();
        talk.say(format_args!("{} - {title}{not}", entry.name))?;
    }
    talk.say("Ctrl-C stops what runs, and leaves while nothing does.")
}

/// Does what is called that, or has that key.
fn act(talk: &mut Talk, word: &str) -> io::Result<()> {
    let found = {
        let mut entries = talk.ui.app.settings.keymap.entries::<Action>();
        let named = entries.find(|entry| {
            entry.name == word || entry.keys.iter().any(|key| key.to_string() == word)
        });
        named.map(|entry| (entry.action, entry.keys.first().copied()))
    };
    match found {
        Some((action, Some(key))) if WITHOUT_IMAGE.contains(&action) => {
            talk.ui.app.pane = Pane::Images;
            talk.press(key)
        }
        Some((action, _)) if is_of_image(talk, action) => talk.say(format_args!(
            "{word} is about an image: type its number first."
        )),
        _ => talk.say(format_args!(
            "There is no {word}; help tells what there is."
        )),
    }
}

fn is_of_image(talk: &Talk, action: Action) -> bool {
    let entry = talk.ui.app.settings.keymap.entry(action);
    entry.is_some_and(|entry| matches!(entry.group, Group::Look | Group::Create | Group::Change))
}
