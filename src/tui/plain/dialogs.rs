//! Lists, plans and the small dialogs, told as lines and answered by numbers and words.

use std::io;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Rect;

use crate::ops::{Confirm, Plan};
use crate::tui::detail_pane::Tab;
use crate::tui::dialogs::Dialog;
use crate::tui::dialogs::list::{Choice, MenuItem};
use crate::tui::dialogs::list_cursor::ListCursor;
use crate::tui::key::{Code, Key};
use crate::tui::panes::detail;
use crate::tui::remedies;
use crate::tui::ui::Ui;
use crate::tui::views::words::gravest_first;
use crate::units;

use super::talk::Talk;

/// Columns of what is told as it is drawn.
const WIDTH: u16 = 78;
/// Lines of it.
const HEIGHT: u16 = 200;
/// How long it is waited for what the disk tells of an image.
const PATIENCE: Duration = Duration::from_secs(5);

const ENTER: Key = Key::of(Code::Enter);

/// Entries by number; what cannot be done says why not.
pub(super) fn list(talk: &mut Talk) -> io::Result<()> {
    let Some(Dialog::List(menu)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    if menu.inside.is_some() {
        wait_for_info(talk)?;
    }
    let Some(Dialog::List(menu)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    let title = menu.title.clone();
    let items = menu.shown.iter().filter_map(|at| menu.items.get(*at));
    let items: Vec<_> = items.cloned().collect();
    talk.say(format_args!("{title}:"))?;
    for (at, item) in items.iter().enumerate() {
        let text = match (&item.why_not, &item.choice, item.group) {
            (Some(why), ..) => format!("{}: not now: {why}", item.name),
            (None, Choice::Action(_), _) => item.title.clone(),
            (None, _, group) => format!("{group} {}", item.title),
        };
        talk.say(format_args!("{}  {}", at + 1, text.trim_start()))?;
    }
    let typed = talk.ask("Number, name or key, or Enter to go back:")?;
    let named =
        |item: &MenuItem| item.name == typed || item.keys.split(' ').any(|key| key == typed);
    let chosen = place(&typed, items.len()).or_else(|| items.iter().position(named));
    let item = chosen.and_then(|at| items.get(at));
    let (Some(at), Some(item), false) = (chosen, item, typed.is_empty()) else {
        return back_or_again(talk, &typed);
    };
    if let Some(Dialog::List(menu)) = talk.ui.dialogs.top_mut() {
        menu.cursor.at = at;
    }
    talk.press(ENTER)?;
    let shows = Tab::ALL
        .iter()
        .find(|(_, action, _)| item.choice == Choice::Action(*action));
    match shows.filter(|_| item.why_not.is_none()) {
        Some((tab, ..)) => show(talk, *tab),
        None => Ok(()),
    }
}

/// Goes back where nothing was typed, or says that this is no answer.
pub(super) fn back_or_again(talk: &mut Talk, typed: &str) -> io::Result<()> {
    match typed {
        "" | "no" | "n" | "0" => talk.back(),
        other => talk.say(format_args!("{other} is none of these.")),
    }
}

fn wait_for_info(talk: &mut Talk) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    talk.wait_for(|ui| {
        let detail = &ui.app.detail;
        let info = detail.info.as_ref().map(|info| &info.path);
        let is_map = matches!(detail.tab, Tab::Map | Tab::Changes);
        let map = detail.map.as_ref().map(|(path, _)| path);
        let misses = info != detail.asked.as_ref()
            || matches!(detail.tab, Tab::Changes | Tab::Explain) && !detail.files.is_answered()
            || is_map && detail.map_asked.is_some() && map != detail.map_asked.as_ref();
        misses && Instant::now() < until
    })
}

/// Waits for what the disk tells of files that the plan concerns: what is printed once is not printed anew.
fn wait_for_files(talk: &mut Talk) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    talk.wait_for(|ui| {
        let plan = ui.dialogs.plan().and_then(|dialog| dialog.plan.as_ref());
        let mut files = plan.iter().flat_map(|plan| &plan.guest_files);
        files.any(|files| files.found.is_none()) && Instant::now() < until
    })
}

/// Tells what a part of the detail shows.
fn show(talk: &mut Talk, tab: Tab) -> io::Result<()> {
    wait_for_info(talk)?;
    for line in detail::told(&talk.ui, tab, WIDTH) {
        talk.say(line)?;
    }
    talk.back()
}

/// A plan, and the answer to it: a yes, a number, another way.
pub(super) fn plan(talk: &mut Talk) -> io::Result<()> {
    wait_for_files(talk)?;
    let Some(Dialog::Plan(dialog)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    let Some(plan) = &dialog.plan else {
        return Ok(());
    };
    let (ways, confirm) = (dialog.ways_out().len(), plan.confirm);
    if let Some(reason) = &dialog.reason {
        talk.say(reason)?;
    }
    talk.say(format_args!("{}:", plan.title))?;
    if dialog.proves {
        talk.say(plan.proof_line().text)?;
    }
    tell_plan(talk, plan, dialog.commands)?;
    let keys = dialog.other_keys(&talk.ui.app);
    for (key, what) in &keys {
        talk.say(format_args!("{key}  {what}"))?;
    }
    let question = match confirm {
        Confirm::Count(count) => format!("Type {count} to do it, or Enter to go back:"),
        Confirm::Nothing | Confirm::Yes => "yes to do it, or Enter to go back:".to_owned(),
        Confirm::Impossible if ways > 0 => "Number of another way, or Enter to go back:".to_owned(),
        Confirm::Impossible => "It cannot be done. Enter goes back:".to_owned(),
    };
    let typed = talk.ask(&question)?;
    answer(talk, confirm, &keys, &typed)
}

fn answer(
    talk: &mut Talk,
    confirm: Confirm,
    keys: &[(String, String)],
    typed: &str,
) -> io::Result<()> {
    let is_number = !typed.is_empty() && typed.chars().all(|c| c.is_ascii_digit());
    match confirm {
        Confirm::Count(_) if is_number => {
            talk.type_in(typed)?;
            talk.press(ENTER)
        }
        Confirm::Nothing | Confirm::Yes if typed == "yes" => talk.press(Key::char('y')),
        Confirm::Impossible if is_number && typed.len() == 1 => talk.type_in(typed),
        _ if keys.iter().any(|(key, _)| key == typed) => talk.type_in(typed),
        _ => back_or_again(talk, typed),
    }
}

/// What a plan says, line by line, the gravest first.
pub(super) fn tell_plan(talk: &Talk, plan: &Plan, commands: bool) -> io::Result<()> {
    for line in gravest_first(plan.lines()) {
        if line.label == "$" && !commands {
            continue;
        }
        let text = remedies::told(&talk.ui.app, &line.text, &line.remedies, None);
        talk.say(format_args!("{}  {text}", line.label))?;
    }
    Ok(())
}

/// A passphrase.
pub(super) fn secret(talk: &mut Talk) -> io::Result<()> {
    let Some(Dialog::Secret(dialog)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    let image = units::file_name(&dialog.image);
    let typed = talk.ask_secret(&format!(
        "Passphrase of {image} (it is not shown), or Enter to go back:"
    ))?;
    if typed.is_empty() {
        return talk.back();
    }
    talk.type_in(&typed)?;
    talk.press(ENTER)
}

/// Leaves that could go: which of them are ticked.
pub(super) fn prune(talk: &mut Talk) -> io::Result<()> {
    let Some(Dialog::Prune(dialog)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    let app = &talk.ui.app;
    let rows = dialog.rows().iter().map(|row| {
        let goes = if row.ticked { "goes" } else { "stays" };
        let name = match row.of {
            Some(_) => row.label(app),
            None => units::file_name(&row.leaf.path),
        };
        let why = row.kept().unwrap_or(&row.leaf.why);
        format!(
            "{goes}: {name}, frees {}, {why}",
            units::size(row.leaf.frees)
        )
    });
    let rows: Vec<String> = rows.collect();
    let (rule, said) = (dialog.rule_words(), dialog.said(app));
    talk.say(format_args!("Leaves that nothing uses ({rule}):"))?;
    tell_rows(talk, &rows)?;
    let said = said.iter().filter(|_| !app.hosts.list.is_empty());
    said.into_iter().try_for_each(|text| talk.say(text))?;
    if rows.is_empty() {
        talk.say("There is none.")?;
        return talk.back();
    }
    let typed = talk.ask(
        "Number to change one, last, daily, weekly, monthly or per to change what is kept, yes to plan what goes, or \
         Enter to go back:",
    )?;
    match typed.as_str() {
        "yes" => return talk.press(ENTER),
        // What its first letter does on the screen.
        "last" | "daily" | "weekly" | "monthly" | "per" => {
            return typed
                .chars()
                .next()
                .map_or(Ok(()), |key| talk.press(Key::char(key)));
        }
        _ => {}
    }
    let Some(at) = place(&typed, rows.len()) else {
        return back_or_again(talk, &typed);
    };
    if let Some(Dialog::Prune(dialog)) = talk.ui.dialogs.top_mut() {
        dialog.cursor.at = at;
    }
    talk.press(Key::char(' '))
}

/// What is in the trash.
pub(super) fn trash(talk: &mut Talk) -> io::Result<()> {
    let Some(Dialog::Trash(dialog)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    let entries = dialog.entries(&talk.ui.app).into_iter();
    let rows: Vec<String> = entries
        .map(|(at, entry)| {
            let files = entry
                .files
                .iter()
                .map(|(original, _)| units::file_name(original));
            let files = files.collect::<Vec<_>>().join(", ");
            let marked = dialog.marked.contains(&(at, entry.name.clone()));
            let marked = if marked { "marked: " } else { "" };
            format!(
                "{marked}{files}, {}, {}",
                entry.reason,
                units::size(entry.bytes())
            )
        })
        .collect();
    talk.say("In the trash:")?;
    tell_rows(talk, &rows)?;
    if rows.is_empty() {
        talk.say("Nothing.")?;
        return talk.back();
    }
    let typed =
        talk.ask("Number to mark one, then restore or empty what is marked; Enter goes back:")?;
    let has_marked =
        matches!(talk.ui.dialogs.top(), Some(Dialog::Trash(dialog)) if !dialog.marked.is_empty());
    match (typed.as_str(), place(&typed, rows.len())) {
        ("restore" | "empty", _) if !has_marked => talk.say("Nothing is marked."),
        ("restore", _) => talk.press(Key::char('r')),
        ("empty", _) => talk.press(Key::char('E')),
        (_, Some(at)) => {
            if let Some(Dialog::Trash(dialog)) = talk.ui.dialogs.top_mut() {
                dialog.cursor.at = at;
            }
            talk.press(Key::char(' '))
        }
        (other, None) => back_or_again(talk, other),
    }
}

/// Another folder, or one more: one of earlier runs by its number, or any by its name.
pub(super) fn folders(talk: &mut Talk) -> io::Result<()> {
    let Some(Dialog::Folders(dialog)) = talk.ui.dialogs.top() else {
        return Ok(());
    };
    let rows = dialog.names(&talk.ui.app);
    if !rows.is_empty() {
        talk.say("Opened before:")?;
        tell_rows(talk, &rows)?;
    }
    let typed = talk
        .ask("Number or name of a folder (add NAME opens it beside these), or Enter to go back:")?;
    let (which, key) = match typed.strip_prefix("add ") {
        Some(which) => (which.trim(), Key::ctrl('o')),
        None => (typed.as_str(), ENTER),
    };
    if which.is_empty() {
        return talk.back();
    }
    match (place(which, rows.len()), talk.ui.dialogs.top_mut()) {
        (Some(at), Some(Dialog::Folders(dialog))) => dialog.chosen = Some(ListCursor { at }),
        _ => talk.type_in(which)?,
    }
    talk.press(key)
}

pub(super) fn tell_rows(talk: &Talk, rows: &[String]) -> io::Result<()> {
    let mut rows = rows.iter().enumerate();
    rows.try_for_each(|(at, row)| talk.say(format_args!("{}  {row}", at + 1)))
}

/// Which of so many a number means, from 0.
pub(super) fn place(typed: &str, of: usize) -> Option<usize> {
    let number: usize = typed.parse().ok()?;
    number.checked_sub(1).filter(|at| *at < of)
}

/// What is only to be read, as it is drawn but without its frame.
pub(super) fn read(talk: &mut Talk) -> io::Result<()> {
    for line in drawn(&talk.ui) {
        talk.say(line)?;
    }
    talk.back()
}

fn drawn(ui: &Ui) -> Vec<String> {
    let Some(dialog) = ui.dialogs.top() else {
        return Vec::new();
    };
    let area = Rect::new(0, 0, WIDTH, HEIGHT);
    // Nothing that is drawn into memory fails.
    let Ok(mut terminal) = Terminal::new(TestBackend::new(WIDTH, HEIGHT));
    let Ok(_) = terminal.draw(|frame| dialog.window().draw(frame, &ui.app, area));
    let cells = terminal.backend().buffer().content();
    let rows = cells.chunks(usize::from(WIDTH)).map(|row| {
        let text: String = row.iter().map(|cell| cell.symbol()).collect();
        text.trim_matches(['+', '-', '|', ' ']).to_owned()
    });
    rows.filter(|row| !row.is_empty()).collect()
}
