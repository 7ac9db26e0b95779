//! The lists made from the keymap and from the selected image: help, palette, actions, order, copy.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::facts::Halted;
use crate::forest::render::image_json;
use crate::forest::{Node, NodeId};
use crate::host::{printable, printable_bytes, shell_quoted};
use crate::image::{Bitmap, BitmapFlags, Snapshot};
use crate::json_text::json_text;
use crate::ops::{
    BitmapAction, ChangeBitmap, ChangeSnapshot, Dependants, Leftover, RecoverEntry, Recovery,
    RemoveLeftovers, Request, SnapshotAction, SnapshotName,
};
use crate::tui::actions::Action;
use crate::tui::app::App;
use crate::tui::bindings::{Entry, Group};
use crate::tui::config::CommandOutput;
use crate::tui::copy::{libvirt_disk, qemu_command};
use crate::tui::dialogs::Dialog;
use crate::tui::dialogs::list::{Choice, ContentKind, ListMenu, MenuItem};
use crate::tui::disabled_reason::why_not;
use crate::tui::filter;
use crate::tui::forms::FormKind;
use crate::tui::labels;
use crate::tui::order::Sort;
use crate::tui::text;
use crate::tui::ui::Ui;
use crate::units;

fn item(app: &App, entry: Entry<'_, Action>) -> MenuItem {
    MenuItem {
        keys: entry.all_keys(),
        title: entry.title.to_owned(),
        group: entry.group.name(),
        name: entry.name,
        also: entry.also,
        why_not: why_not(app, entry.action),
        choice: Choice::Action(entry.action),
    }
}

/// The actions of the panes. What a read-only session hides stays hidden.
fn all_actions(app: &App) -> Vec<MenuItem> {
    let entries = app
        .settings
        .keymap
        .entries::<Action>()
        .filter(|entry| !(app.settings.read_only && entry.group.changes()));
    entries.map(|entry| item(app, entry)).collect()
}

/// First what can be done with the selected image, then every other action, then what words and signs mean.
pub(super) fn help(app: &App) -> ListMenu {
    let mut items = all_actions(app);
    // Stable: the order inside the groups stays.
    items.sort_by_key(|item| match (item.group, &item.why_not) {
        ("create", None) => 0,
        ("change", None) => 1,
        ("look", None) => 2,
        ("find" | "mark", None) => 3,
        (_, None) => 4,
        (_, Some(_)) => 5,
    });
    let word = |(word, meaning): (&str, &str), group| MenuItem {
        group,
        ..MenuItem::new(word, meaning, Choice::Explains)
    };
    items.extend(labels::GLOSSARY.map(|entry| word(entry, "word")));
    items.extend(labels::signs(app.settings.ascii).map(|entry| word(entry, "sign")));
    let title = match (app.target(), app.tree.marks.len()) {
        (Some(node), _) => format!("Help for {}", app.label(node)),
        (None, 0) => "Help".to_owned(),
        (None, marked) => format!("Help for {marked} marked images"),
    };
    ListMenu::new(title, items)
}

/// Every action by name; what was chosen from here last comes first.
pub(super) fn palette(app: &App) -> ListMenu {
    let mut items = all_actions(app);
    items.sort_by_key(|item| {
        let recent = app.session.recent.iter();
        let at = match item.choice {
            Choice::Action(action) => recent.rev().position(|recent| *recent == action),
            _ => None,
        };
        at.unwrap_or(usize::MAX)
    });
    ListMenu::new("Actions", items)
}

/// What can be done with what is under the cursor, and why the rest cannot.
pub(super) fn actions(app: &App) -> ListMenu {
    if app.target_snapshot().is_some() && !app.settings.read_only {
        return snapshots(app);
    }
    let entries = app
        .settings
        .keymap
        .entries::<Action>()
        .filter(|entry| match entry.group {
            Group::Create | Group::Change => !app.settings.read_only,
            Group::Look => true,
            _ => false,
        });
    let mut items: Vec<MenuItem> = entries.map(|entry| item(app, entry)).collect();
    // What changes comes first here; the order inside the groups stays.
    items.sort_by_key(|item| match item.group {
        "create" => 0,
        "change" => 1,
        _ => 2,
    });
    let title = match (app.target(), app.tree.marks.len()) {
        (Some(node), _) => format!("Actions for {}", app.label(node)),
        (None, 0) => "Actions".to_owned(),
        (None, marked) => format!("Actions for {marked} marked images"),
    };
    ListMenu::by_key(title, items)
}

/// What can be asked for in the filter line; an entry goes into the line.
pub(super) fn terms() -> ListMenu {
    let items = filter::TERMS.iter().map(|(term, meaning)| MenuItem {
        group: "term",
        ..MenuItem::new(term, *meaning, Choice::Term(term))
    });
    ListMenu::new("What a filter can ask for", items.collect())
}

/// An entry of a menu that is run by its key.
fn entry(keys: &str, group: &'static str, title: impl Into<String>, choice: Choice) -> MenuItem {
    MenuItem {
        group,
        ..MenuItem::new(keys, title, choice)
    }
}

/// The orders.
pub(super) fn sort(app: &App) -> ListMenu {
    let items = Sort::ALL.into_iter().map(|sort| {
        let is_now = if sort == app.tree.sort {
            " (as now)"
        } else {
            ""
        };
        let title = format!("by {}{is_now}", sort.name());
        entry(&sort.key().to_string(), "sort", title, Choice::Sort(sort))
    });
    ListMenu::by_key("Sort", items.collect())
}

/// A name as it is; quoted for a shell where it would act on what it is pasted into, or is no text.
fn exact(path: &Path) -> String {
    match path.to_str() {
        Some(text) if printable(path) == text => text.to_owned(),
        _ => shell_quoted(path),
    }
}

/// What can be copied of the selected image.
pub(super) fn copy(app: &App) -> ListMenu {
    let mut items = Vec::new();
    if let Some(node) = app.selected() {
        let mut add = |key: &str, title: &str, text: String| {
            items.push(entry(key, "copy", title, Choice::Copy(text)));
        };
        let path = |id: &NodeId| {
            let node = app.forest.get(*id)?;
            Some(exact(&node.path))
        };
        let marked: Vec<String> = app.targets().iter().filter_map(path).collect();
        let chain: Vec<String> = app.forest.chain(node.id).iter().filter_map(path).collect();
        let quoted = shell_quoted(&node.path);
        add("p", "its path", exact(&node.path));
        if !app.tree.marks.is_empty() {
            add("m", "the paths of all marked images", marked.join("\n"));
        }
        add(
            "c",
            "the paths of its chain, down to the root",
            chain.join("\n"),
        );
        add("s", "its path, quoted for a shell", quoted.clone());
        let json = json_text(image_json(&app.forest, node, &crate::ops::problem_json));
        add("j", "what is known of it, as JSON", json);
        add(
            "i",
            "a command that lists the chain",
            format!("qemu-img info --backing-chain {quoted}"),
        );
        add("q", "a command that boots it", qemu_command(node, ""));
        add(
            "t",
            "a command that boots it and throws the changes away",
            qemu_command(node, "-snapshot "),
        );
        let title = "its <disk> for a libvirt domain";
        let mut item = entry("x", "copy", title, Choice::Explains);
        item.name = "libvirt disk";
        match libvirt_disk(node) {
            Ok(xml) => item.choice = Choice::Copy(xml),
            Err(why) => item.why_not = Some(why),
        }
        items.push(item);
    }
    ListMenu::by_key("Copy", items)
}

/// What can be done with one internal snapshot, by these keys.
fn with_one(node: &Node, snapshot: &Snapshot, keys: [&str; 3]) -> Vec<MenuItem> {
    let id = OsString::from_vec(snapshot.id.clone());
    let which = || SnapshotName::Id(id.clone());
    let request = |action| {
        Choice::Ask(Request::Snapshot(ChangeSnapshot {
            image: node.path.clone(),
            action,
        }))
    };
    let name = text::snapshot_name(snapshot);
    let apply = SnapshotAction::Apply {
        snapshot: which(),
        dependants: Dependants::default(),
    };
    let delete = SnapshotAction::Delete { snapshot: which() };
    let copy = Choice::Fill(FormKind::ExtractSnapshot, Some(id.clone()));
    let [by_apply, by_copy, by_delete] = keys;
    vec![
        entry(
            by_apply,
            "apply",
            format!("show again what {name} shows"),
            request(apply),
        ),
        entry(
            by_copy,
            "copy out",
            format!("{name} into a new image"),
            copy,
        ),
        entry(by_delete, "delete", name.clone(), request(delete)),
    ]
}

/// What can be done with internal snapshots: a new one, and for each there is, all that goes.
pub(super) fn snapshots(app: &App) -> ListMenu {
    let Some(node) = app.target() else {
        return ListMenu::new("Snapshots", Vec::new());
    };
    let new = |key| {
        let title = "keep what the image shows now as a new snapshot";
        entry(
            key,
            "new",
            title,
            Choice::Fill(FormKind::TakeSnapshot, None),
        )
    };
    if let Some(snapshot) = app.target_snapshot() {
        let name = text::snapshot_name(snapshot);
        let delete = app.key(Action::Discard);
        let copy = app.key(Action::Flatten);
        let mut items = with_one(node, snapshot, ["A", &copy, &delete]);
        items.push(new("n"));
        return ListMenu::by_key(format!("Snapshot {name} of {}", app.label(node)), items);
    }
    let mut items = vec![new("")];
    let info = app
        .detail
        .info
        .as_ref()
        .filter(|info| info.path == node.path);
    let list = info.and_then(|info| info.snapshots.as_ref());
    match list {
        Some(Ok(list)) => {
            for snapshot in list {
                items.extend(with_one(node, snapshot, [""; 3]));
            }
        }
        Some(Err(why)) => items.push(entry("", "", why.clone(), Choice::Explains)),
        None if node.info().is_some_and(|info| info.snapshots > 0) => {
            items.push(entry("", "", "the others are being read", Choice::Explains));
        }
        None => {}
    }
    ListMenu::new(format!("Snapshots of {}", app.label(node)), items).of(ContentKind::Snapshots)
}

/// More was told of what a list is made of: it is made anew, with what is searched for.
pub(super) fn refresh(ui: &mut Ui) {
    let app = &ui.app;
    let Some(Dialog::List(menu)) = ui.dialogs.top_mut() else {
        return;
    };
    let mut fresh = match menu.inside {
        Some(ContentKind::Snapshots) => snapshots(app),
        Some(ContentKind::Bitmaps) => bitmaps(app),
        Some(ContentKind::Interrupted) => interrupted(app),
        None => return,
    };
    fresh.query_id = menu.query_id;
    fresh.query = std::mem::take(&mut menu.query);
    fresh.search();
    fresh.cursor.page_down(fresh.shown.len(), menu.cursor.at);
    **menu = fresh;
}

/// What can be done with dirty bitmaps: a new one, and for each there is, all that goes.
pub(super) fn bitmaps(app: &App) -> ListMenu {
    let Some(node) = app.target() else {
        return ListMenu::new("Bitmaps", Vec::new());
    };
    let mut items = vec![entry(
        "",
        "new",
        "a bitmap that records what a machine writes from now on",
        Choice::Fill(FormKind::AddBitmap, None),
    )];
    let info = app
        .detail
        .info
        .as_ref()
        .filter(|info| info.path == node.path);
    match info.and_then(|info| info.bitmaps.as_ref()) {
        Some(Ok(list)) => items.extend(list.iter().flat_map(|bitmap| with_bitmap(node, bitmap))),
        Some(Err(why)) => items.push(entry("", "", why.clone(), Choice::Explains)),
        None if node.info().is_some_and(|info| info.bitmaps > 0) => {
            items.push(entry("", "", "the others are being read", Choice::Explains));
        }
        None => {}
    }
    ListMenu::new(format!("Bitmaps of {}", app.label(node)), items).of(ContentKind::Bitmaps)
}

fn with_bitmap(node: &Node, bitmap: &Bitmap) -> Vec<MenuItem> {
    let name = printable_bytes(&bitmap.name);
    let is_stale = bitmap.flags.contains(BitmapFlags::IN_USE);
    let is_on = bitmap.flags.contains(BitmapFlags::AUTO);
    let state = match (is_stale, is_on) {
        (true, _) => "stale: it missed changes, and can only be removed",
        (false, true) => "records writes",
        (false, false) => "off",
    };
    let about = format!(
        "{name} ({} a bit, {state})",
        units::size(bitmap.granularity())
    );
    let bitmap = OsString::from_vec(bitmap.name.clone());
    let ask = |action| {
        Choice::Ask(Request::Bitmap(ChangeBitmap {
            image: node.path.clone(),
            bitmap: bitmap.clone(),
            action,
        }))
    };
    let remove = entry("", "remove", about.clone(), ask(BitmapAction::Remove));
    if is_stale {
        return vec![remove];
    }
    let switch = match is_on {
        true => entry("", "disable", about.clone(), ask(BitmapAction::Disable)),
        false => entry("", "enable", about.clone(), ask(BitmapAction::Enable)),
    };
    let merge = Choice::Fill(FormKind::MergeBitmap, Some(bitmap.clone()));
    vec![
        switch,
        entry("", "clear", about.clone(), ask(BitmapAction::Clear)),
        entry("", "merge", format!("another one into {name}"), merge),
        remove,
    ]
}

/// What can be done about what was interrupted here and on hosts.
pub(super) fn interrupted(app: &App) -> ListMenu {
    let explains = |text: &str| entry("", "", text, Choice::Explains);
    let mut items = Vec::new();
    let mut is_all_told = true;
    match &app.session.interrupted {
        None => {
            is_all_told = false;
            items.push(explains("looking into the log and for what is half made"));
        }
        Some(Err(why)) => items.push(explains(why)),
        Some(Ok(found)) => {
            let halted: Vec<Halted> = found.entries.iter().map(Halted::from).collect();
            items.extend(with_interrupted(
                &halted,
                &found.leftovers,
                "",
                &Choice::Ask,
            ));
        }
    }
    for (at, host) in app.hosts.list.iter().enumerate() {
        if let Some(found) = host.beside.interrupted.told() {
            let lead = format!("{}: ", host.name);
            let ask = |request| Choice::AskThere(at, request);
            items.extend(with_interrupted(
                &found.halted,
                &found.leftovers,
                &lead,
                &ask,
            ));
        }
    }
    let said = app.hosts.said(|beside| &beside.interrupted);
    if items.is_empty() && is_all_told {
        items.push(explains(
            "nothing was interrupted, and nothing is half made",
        ));
    }
    items.extend(said.iter().map(|text| explains(text)));
    ListMenu::new("Recover what was interrupted", items).of(ContentKind::Interrupted)
}

/// What can be done about what was interrupted on one machine, with its name before each entry.
fn with_interrupted(
    halted: &[Halted],
    left: &[Leftover],
    lead: &str,
    ask: &dyn Fn(Request) -> Choice,
) -> Vec<MenuItem> {
    let mut items = Vec::new();
    for one in halted {
        let title = format!("{lead}{}", printable(&one.title));
        let way = |way| {
            let entry = one.entry;
            ask(Request::Recover(RecoverEntry { entry, way }))
        };
        items.push(entry("", "finish", title.clone(), way(Recovery::Finish)));
        if one.can_roll_back {
            items.push(entry("", "undo", title.clone(), way(Recovery::RollBack)));
        }
        items.push(entry("", "leave", title, way(Recovery::Forget)));
    }
    if !left.is_empty() {
        let bytes = left.iter().map(|one| one.bytes);
        let title = format!(
            "{lead}{}, {}",
            units::count(left.len(), "half-made file"),
            units::size(bytes.fold(0, u64::saturating_add))
        );
        let files = left.iter().map(|one| one.path.clone()).collect();
        let request = Request::RemoveLeftovers(RemoveLeftovers { files });
        items.push(entry("", "remove", title, ask(request)));
    }
    items
}

/// The person's own commands.
pub(super) fn own(app: &App) -> ListMenu {
    let commands = app.settings.commands.iter().enumerate();
    let items = commands.map(|(at, command)| {
        let key = command.key.map(|key| key.to_string()).unwrap_or_default();
        let place = match command.place {
            CommandOutput::Screen => "screen",
            CommandOutput::Job => "job",
        };
        entry(&key, place, command.title.clone(), Choice::Run(at, false))
    });
    ListMenu::by_key("Own commands", items.collect())
}
