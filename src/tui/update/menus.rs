//! The lists made from the keymap and from the selected image: help, palette, actions, order, copy.

use crate::forest::NodeId;
use crate::host::shell_quoted;
use crate::tui::app::{App, LEGEND};
use crate::tui::dialog::{Choice, Item, ListMenu};
use crate::tui::keymap::{self, Entry, Group, Scope};
use crate::tui::reasons::why_not;
use crate::tui::rows::Sort;

fn item(app: &App, entry: &Entry) -> Item {
    Item {
        keys: entry.all_keys(),
        title: entry.title.to_owned(),
        group: entry.group.name(),
        name: entry.name,
        why_not: why_not(app, entry.action),
        choice: Choice::Action(entry.action),
    }
}

/// Every action of the panes, then what the signs mean. What a read-only session hides stays hidden.
pub(super) fn help(app: &App, title: &str) -> ListMenu {
    let entries =
        keymap::entries(Scope::Main).filter(|entry| !(app.settings.read_only && entry.changes()));
    let mut items: Vec<Item> = entries.map(|entry| item(app, entry)).collect();
    items.extend(LEGEND.iter().map(|(sign, meaning)| Item {
        keys: (*sign).to_owned(),
        title: (*meaning).to_owned(),
        group: "sign",
        name: "",
        why_not: None,
        choice: Choice::Explains,
    }));
    ListMenu::new(title, items)
}

/// What can be done with the selected image, and why the rest cannot.
pub(super) fn actions(app: &App) -> ListMenu {
    let entries = keymap::entries(Scope::Main).filter(|entry| match entry.group {
        Group::Create | Group::Change => !app.settings.read_only,
        Group::Mark | Group::Look => true,
        _ => false,
    });
    let mut items: Vec<Item> = entries.map(|entry| item(app, entry)).collect();
    // What changes comes first here; the order inside the groups stays.
    items.sort_by_key(|item| match item.group {
        "create" => 0,
        "change" => 1,
        _ => 2,
    });
    let name = app.selected().map(|node| app.label(node));
    let title = name.map_or_else(
        || "Actions".to_owned(),
        |name| format!("Actions for {name}"),
    );
    ListMenu::new(title, items)
}

/// The orders.
pub(super) fn sort(app: &App) -> ListMenu {
    let items = Sort::ALL.into_iter().map(|sort| Item {
        keys: if sort == app.tree.sort { "*" } else { "" }.to_owned(),
        title: format!("by {}", sort.name()),
        group: "sort",
        name: sort.name(),
        why_not: None,
        choice: Choice::Sort(sort),
    });
    ListMenu::new("Sort", items.collect())
}

/// What can be copied of the selected image.
pub(super) fn copy(app: &App) -> ListMenu {
    let mut items = Vec::new();
    let mut add = |title: &str, text: String| {
        items.push(Item {
            keys: String::new(),
            title: title.to_owned(),
            group: "copy",
            name: "",
            why_not: None,
            choice: Choice::Copy(text),
        });
    };
    if let Some(node) = app.selected() {
        let path = |id: &NodeId| {
            let node = app.forest.get(*id)?;
            Some(node.path.to_string_lossy().into_owned())
        };
        let marked: Vec<String> = app.targets().iter().filter_map(path).collect();
        let chain: Vec<String> = app.forest.chain(node.id).iter().filter_map(path).collect();
        let quoted = shell_quoted(&node.path);
        add("its path", node.path.to_string_lossy().into_owned());
        if app.tree.marks.len() > 1 {
            add("the paths of all marked images", marked.join("\n"));
        }
        add("the paths of its chain, down to the root", chain.join("\n"));
        add("its path, quoted for a shell", quoted.clone());
        add(
            "a command that lists the chain",
            format!("qemu-img info --backing-chain {quoted}"),
        );
        add(
            "a command that boots it and throws the changes away",
            format!("qemu-system-x86_64 -snapshot -m 1G {quoted}"),
        );
    }
    ListMenu::new("Copy", items)
}
