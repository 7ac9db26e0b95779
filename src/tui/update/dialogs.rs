//! What keys do while a list, a form, the prune checklist or the trash is open. Plans waiting for their
//! answer are in `plans`; from here only a form's plan becomes a job, and only one that merely creates.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use tui_input::{Input, InputRequest};

use crate::forest::NodeId;
use crate::host::shell_quoted;
use crate::ops::{Confirm, Consent, Danger, EmptyTrash, Plan, Ready, Request, Restore};
use crate::tui::app::App;
use crate::tui::config::{Fill, Place};
use crate::tui::dialog::{Choice, FormKind, Item, ListMenu, Mode};
use crate::tui::form::{Completing, FieldValue, Submit};
use crate::tui::key::{Code, Key};
use crate::tui::keymap::Action;
use crate::tui::msg::Effect;
use crate::tui::query::Completions;
use crate::tui::views;

use super::{TYPING, forms, jobs, moving, panes, plans};

/// Lines that a form is scrolled by.
const LINES: usize = 5;

/// Opens a form about an image, and what is in it.
pub(super) fn fill(
    app: &mut App,
    image: Option<NodeId>,
    kind: FormKind,
    about: Option<&OsStr>,
    effects: &mut Vec<Effect>,
) {
    if let Some(form) = forms::form(app, image, kind, about) {
        app.mode = Mode::Form(Box::new(form));
        replan_form(app, Duration::ZERO, effects);
    }
}

/// A key that means nothing by itself: typed into a field where there is one.
pub(super) fn type_key(app: &mut App, key: Key, effects: &mut Vec<Effect>) {
    match &mut app.mode {
        Mode::Filter { .. } if edit(&mut app.tree.filter, key) => app.changed(),
        Mode::List(menu) if menu.by_key => match menu.find_key(key) {
            Some(at) => {
                let item = menu.items.get(at).cloned();
                fire(app, item, effects);
            }
            None => app.warn(format!("{key} is none of these; Esc closes the menu.")),
        },
        Mode::List(menu) => {
            edit(&mut menu.query, key);
            menu.search();
        }
        Mode::Form(form) => {
            let field = form.fields.get_mut(form.at);
            let (changed, delay) = match field.map(|field| &mut field.holds) {
                Some(FieldValue::Text(input) | FieldValue::Path(input)) => {
                    (edit(input, key), TYPING)
                }
                Some(FieldValue::Choice { options, at }) => {
                    let count = options.len().max(1);
                    let step = match key.code {
                        Code::Char(' ') | Code::Right => 1,
                        Code::Left => count - 1,
                        _ => 0,
                    };
                    *at = (*at + step) % count;
                    (step > 0, Duration::ZERO)
                }
                Some(FieldValue::Secret(secret)) => {
                    plans::type_secret(secret, key);
                    (true, TYPING)
                }
                None => (false, TYPING),
            };
            if changed {
                if let Some(tidy) = form.tidy.filter(|_| delay.is_zero()) {
                    tidy(form);
                }
                replan_form(app, delay, effects);
            }
        }
        Mode::Secret(dialog) => plans::type_secret(&mut dialog.secret, key),
        Mode::Plan(dialog) => plans::type_count(dialog, key),
        _ => {}
    }
}

/// Pasted text goes where typed text would; line breaks are left out.
pub(super) fn paste(app: &mut App, text: &str, effects: &mut Vec<Effect>) {
    // Not into a plan: a number is asked for so that a person stops and thinks, and types it.
    let keys = text.chars().filter(|c| !c.is_control()).map(Key::char);
    if let Mode::Form(form) = &mut app.mode {
        match form.fields.get_mut(form.at).map(|field| &mut field.holds) {
            Some(FieldValue::Text(input) | FieldValue::Path(input)) => {
                for key in keys {
                    edit(input, key);
                }
            }
            Some(FieldValue::Secret(secret)) => {
                for key in keys {
                    plans::type_secret(secret, key);
                }
            }
            Some(FieldValue::Choice { .. }) | None => return,
        }
        replan_form(app, Duration::ZERO, effects);
    } else if let Mode::Secret(dialog) = &mut app.mode {
        for key in keys {
            plans::type_secret(&mut dialog.secret, key);
        }
    } else if matches!(&app.mode, Mode::List(menu) if menu.by_key) {
        // A menu runs its entries by their keys: pasted text is none.
    } else if matches!(app.mode, Mode::Filter { .. } | Mode::List(_)) {
        for key in keys {
            type_key(app, key, effects);
        }
    }
}

/// One key in a field; says whether its text changed.
fn edit(input: &mut Input, key: Key) -> bool {
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

pub(super) fn run_in_filter(app: &mut App, action: Action) {
    match action {
        Action::Fire => app.mode = Mode::Main,
        Action::Close => {
            if let Mode::Filter { before } = std::mem::take(&mut app.mode) {
                app.tree.filter = if app.tree.filter.value().is_empty() {
                    Input::default()
                } else {
                    Input::new(before)
                };
            }
            app.changed();
        }
        Action::Down | Action::Up => {
            moving::go(app, action);
        }
        _ => {}
    }
}

pub(super) fn run_in_list(app: &mut App, action: Action, effects: &mut Vec<Effect>) {
    let page = views::list_page(app);
    let Mode::List(menu) = &mut app.mode else {
        return;
    };
    let last = menu.shown.len().saturating_sub(1);
    match action {
        Action::Down => menu.cursor = (menu.cursor + 1).min(last),
        Action::Up => menu.cursor = menu.cursor.saturating_sub(1),
        Action::PageDown => menu.cursor = (menu.cursor + page).min(last),
        Action::PageUp => menu.cursor = menu.cursor.saturating_sub(page),
        Action::Close => app.mode = Mode::Main,
        Action::Fire => {
            let item = menu.current().cloned();
            fire(app, item, effects);
        }
        _ => {}
    }
}

/// Does what an entry of a list stands for, or says why not.
fn fire(app: &mut App, item: Option<Item>, effects: &mut Vec<Effect>) {
    let Some(item) = item else { return };
    if let Some(reason) = item.why_not {
        app.warn(format!("{}: {reason}.", item.name));
        return;
    }
    match item.choice {
        Choice::Explains => {}
        Choice::Action(action) => {
            app.mode = Mode::Main;
            app.recent.retain(|recent| *recent != action);
            app.recent.push(action);
            panes::run(app, action, effects);
        }
        Choice::Sort(sort) => {
            app.mode = Mode::Main;
            app.tree.sort = sort;
            app.changed();
        }
        Choice::Copy(text) => {
            app.mode = Mode::Main;
            app.tell(format!("Copied {}.", item.title));
            effects.push(Effect::Copy(text));
        }
        Choice::Ask(request) => plans::ask(app, request, Mode::Main, effects),
        Choice::Fill(kind, about) => {
            let image = app.target().map(|node| node.id);
            fill(app, image, kind, about.as_deref(), effects);
        }
        Choice::Run(at, is_asked) => run_own(app, at, is_asked, effects),
    }
}

fn choice(keys: &str, title: String, choice: Choice) -> Item {
    Item {
        keys: keys.to_owned(),
        title,
        group: "",
        name: "",
        why_not: None,
        choice,
    }
}

/// Runs a command of the person's own, after asking where it wants that.
fn run_own(app: &mut App, at: usize, is_asked: bool, effects: &mut Vec<Effect>) {
    let Some(command) = app.settings.commands.get(at).cloned() else {
        return;
    };
    let Some(node) = app.selected() else { return };
    let path = |id: &NodeId| app.forest.get(*id).map(|node| node.path.clone());
    let fill = Fill {
        path: node.path.clone(),
        chain: app.forest.chain(node.id).iter().filter_map(path).collect(),
        marked: app.targets().iter().filter_map(path).collect(),
    };
    let words = command.filled(&fill);
    if command.confirm && !is_asked {
        let line: Vec<String> = words.iter().map(shell_quoted).collect();
        app.mode = Mode::List(Box::new(ListMenu::by_key(
            command.title,
            vec![
                choice("", line.join(" "), Choice::Explains),
                choice("y", "run it".to_owned(), Choice::Run(at, true)),
            ],
        )));
        return;
    }
    app.mode = Mode::Main;
    match command.place {
        Place::Screen => effects.push(Effect::OnScreen(words)),
        Place::Job => {
            let mut reads = fill.chain;
            reads.extend(fill.marked);
            jobs::command(app, command.title, words, &reads, effects);
        }
    }
}

/// Plans anew what the form asks for.
pub(super) fn replan_form(app: &mut App, delay: Duration, effects: &mut Vec<Effect>) {
    let ticket = app.ticket();
    let Mode::Form(form) = &mut app.mode else {
        return;
    };
    form.ticket = ticket;
    form.plans.clear();
    form.scroll = 0;
    form.submitted = false;
    form.reason = None;
    form.locked = None;
    form.completing = Completing::default();
    if form.creates
        && let Ok(mut requests) = form.requests()
    {
        if let Ok(Some(passphrase)) = form.passphrase() {
            let new = requests.iter().filter_map(Request::creates);
            let new = new.map(Path::to_path_buf).collect();
            app.protects = true;
            effects.push(Effect::Protect(new, passphrase));
        }
        match form.make {
            Submit::Each(_) => plans::plan_each(app, ticket, requests, delay, effects),
            Submit::One(_) => {
                if let Some(request) = requests.pop() {
                    plans::plan(app, ticket, request, delay, effects);
                }
            }
        }
    }
}

/// Asks how the name in a path field can go on; says whether it did. Where that is known already there
/// is no more to be had.
fn complete(app: &mut App, effects: &mut Vec<Effect>) -> bool {
    let ticket = app.ticket();
    let Mode::Form(form) = &mut app.mode else {
        return false;
    };
    let Some(text) = form.unfinished().filter(|text| !text.is_empty()) else {
        return false;
    };
    let several = form.completing.several.as_ref();
    if several.is_some_and(|(known, _)| known == text) {
        return false;
    }
    // Not joined: that would swallow the slash behind a folder.
    let mut begun = form.dir.clone().into_os_string();
    if text.starts_with('/') {
        begun.clear();
    } else {
        begun.push("/");
    }
    begun.push(text);
    form.completing.ticket = Some(ticket);
    effects.push(Effect::Complete(ticket, begun.into()));
    true
}

/// How the name in a path field can go on.
pub(super) fn completed(app: &mut App, ticket: u64, ways: Completions, effects: &mut Vec<Effect>) {
    let Mode::Form(form) = &mut app.mode else {
        return;
    };
    if form.completing.ticket != Some(ticket) {
        return;
    }
    form.completing.ticket = None;
    let held = std::mem::take(&mut form.completing.held);
    if form.complete(ways) {
        replan_form(app, Duration::ZERO, effects);
    }
    for key in held {
        super::on_key(app, key, effects);
    }
}

/// Keeps a key for later while it is being found out how a name goes on; leaving the form is not kept
/// waiting. Says whether it was kept.
pub(super) fn hold(app: &mut App, action: Option<Action>, key: Key) -> bool {
    let Mode::Form(form) = &mut app.mode else {
        return false;
    };
    let is_held = form.completing.ticket.is_some() && action != Some(Action::Close);
    if is_held {
        form.completing.held.push(key);
    }
    is_held
}

pub(super) fn run_in_form(app: &mut App, action: Action, key: Key, effects: &mut Vec<Effect>) {
    if action == Action::NextField && key.code == Code::Tab && complete(app, effects) {
        return;
    }
    if let (Action::ScrollDown | Action::ScrollUp, Mode::Form(form)) = (action, &app.mode) {
        let most = views::form_scroll(app, form);
        let at = form.scroll.min(most);
        let to = match action {
            Action::ScrollDown => (at + LINES).min(most),
            _ => at.saturating_sub(LINES),
        };
        if let Mode::Form(form) = &mut app.mode {
            form.scroll = to;
        }
        return;
    }
    let Mode::Form(form) = &mut app.mode else {
        return;
    };
    form.scroll = 0;
    match action {
        Action::NextField => form.step(true),
        Action::PreviousField => form.step(false),
        Action::Close => close(app, Mode::Main),
        Action::Fire => match form.requests() {
            Err(reason) => form.reason = Some(reason),
            Ok(_) if form.creates => {
                form.submitted = true;
                submit(app, effects);
            }
            Ok(mut requests) => {
                if let Some(request) = requests.pop() {
                    if let Ok(Some(passphrase)) = form.passphrase() {
                        let image = vec![form.image.clone()];
                        app.protects = true;
                        effects.push(Effect::Protect(image, passphrase));
                    }
                    let before = std::mem::take(&mut app.mode);
                    plans::ask(app, request, before, effects);
                }
            }
        },
        _ => {}
    }
}

/// Creates what the form asks for, once its plans are there and nothing stands against any of them. A plan
/// that does more than create is shown first.
pub(super) fn submit(app: &mut App, effects: &mut Vec<Effect>) {
    let Mode::Form(form) = &mut app.mode else {
        return;
    };
    if !form.submitted || form.plans.is_empty() {
        return;
    }
    let does_more =
        |plan: &&Plan| plan.danger != Danger::Creates && plan.confirm != Confirm::Impossible;
    if let Some(plan) = form.plans.iter().find(does_more) {
        let request = plan.request.clone();
        form.submitted = false;
        let before = std::mem::take(&mut app.mode);
        plans::ask(app, request, before, effects);
        return;
    }
    let plans = form.plans.iter().cloned();
    let agreed: Result<Vec<Ready>, _> = plans.map(|plan| plan.agree(Consent::Yes)).collect();
    match agreed {
        Ok(all) => {
            for ready in all {
                jobs::enqueue(app, ready, effects);
            }
        }
        Err(denied) => {
            form.submitted = false;
            form.reason = Some(denied.to_string());
            if let Some(image) = form.locked.clone() {
                plans::ask_secret(app, image, None);
            }
        }
    }
}

/// Closes a dialog, to what it came from.
pub(super) fn close(app: &mut App, to: Mode) {
    app.mode = to;
    app.refresh_preview();
}

pub(super) fn run_in_prune(app: &mut App, action: Action, effects: &mut Vec<Effect>) {
    let page = views::list_page(app);
    let Mode::Prune(dialog) = &mut app.mode else {
        return;
    };
    let last = dialog.ticked.len().saturating_sub(1);
    match action {
        Action::Down => dialog.cursor = (dialog.cursor + 1).min(last),
        Action::Up => dialog.cursor = dialog.cursor.saturating_sub(1),
        Action::PageDown => dialog.cursor = (dialog.cursor + page).min(last),
        Action::PageUp => dialog.cursor = dialog.cursor.saturating_sub(page),
        Action::Tick => {
            if let Some(tick) = dialog.ticked.get_mut(dialog.cursor) {
                *tick = !*tick;
            }
            dialog.cursor = (dialog.cursor + 1).min(last);
        }
        Action::TickAll => {
            let all = dialog.ticked.iter().all(|tick| *tick);
            dialog.ticked.fill(!all);
        }
        Action::Proceed => {
            let images: Vec<_> = dialog.chosen().map(|c| c.path.clone()).collect();
            if images.is_empty() {
                app.warn("Nothing is ticked: Space ticks an image.");
                return;
            }
            let before = std::mem::take(&mut app.mode);
            plans::ask(app, Request::discard(images), before, effects);
        }
        Action::Close => app.mode = Mode::Main,
        _ => {}
    }
}

pub(super) fn run_in_trash(app: &mut App, action: Action, effects: &mut Vec<Effect>) {
    let page = views::list_page(app);
    let Mode::Trash(dialog) = &mut app.mode else {
        return;
    };
    let entries = dialog.entries.as_deref().unwrap_or_default();
    let last = entries.len().saturating_sub(1);
    match action {
        Action::Down => dialog.cursor = (dialog.cursor + 1).min(last),
        Action::Up => dialog.cursor = dialog.cursor.saturating_sub(1),
        Action::PageDown => dialog.cursor = (dialog.cursor + page).min(last),
        Action::PageUp => dialog.cursor = dialog.cursor.saturating_sub(page),
        Action::Tick => {
            if let Some(entry) = entries.get(dialog.cursor)
                && !dialog.marked.remove(&entry.name)
            {
                dialog.marked.insert(entry.name.clone());
            }
            dialog.cursor = (dialog.cursor + 1).min(last);
        }
        Action::TickAll => {
            let all: std::collections::BTreeSet<String> =
                entries.iter().map(|entry| entry.name.clone()).collect();
            dialog.marked = if dialog.marked == all {
                Default::default()
            } else {
                all
            };
        }
        Action::Proceed | Action::EmptyTrash => {
            let entries = dialog.chosen();
            if entries.is_empty() {
                return;
            }
            let request = if action == Action::Proceed {
                Request::Restore(Restore { entries })
            } else {
                Request::EmptyTrash(EmptyTrash { entries })
            };
            let before = std::mem::take(&mut app.mode);
            plans::ask(app, request, before, effects);
        }
        Action::Close => app.mode = Mode::Main,
        _ => {}
    }
}
