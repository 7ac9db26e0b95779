//! An image that goes by several names, from one of which its backing name leads elsewhere.

use std::path::Path;

use crate::forest::{BackingState, Node};
use crate::host::printable;
use crate::image::BackingName;
use crate::machines::Part;
use crate::ops::{BackingStyle, Relink, Remedy};

use super::finder::{Finder, Found, Subject};

pub(super) const FINDER: Finder = Finder {
    name: "name-leads-astray",
    why: "A relative backing name is looked for beside the name by which the overlay is opened. Opened by its other name, \
          through a link, it has another base or none. The whole path leads to the same file from everywhere.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    subject
        .images()
        .filter_map(|node| astray(subject, node))
        .collect()
}

fn astray(subject: &Subject<'_>, node: &Node) -> Option<Found> {
    let forest = &subject.context.forest;
    let link = node.backing.as_deref()?;
    let BackingState::Present(file) = link.state else {
        return None;
    };
    if !link.is_understood() || Path::new(link.name()).is_absolute() {
        return None;
    }
    let uses = forest.uses(node);
    let of_machines = uses.iter().filter_map(|one| match one.part {
        Part::Disk(disk) => Some(disk.file.path.as_path()),
        _ => None,
    });
    let names = node.other_names.iter().map(std::path::PathBuf::as_path);
    for name in names.chain(of_machines) {
        let named = BackingName::interpret(name, link.name());
        let Some(base) = named.file() else {
            continue;
        };
        let there = match subject.context.host.stat(base) {
            Ok(stat) if stat.id == file => continue,
            Ok(_) => "which is another file",
            Err(_) => "which cannot be found",
        };
        let text = format!(
            "{} is also called {}, and by that name its base {} is looked for at {}, {there}.",
            printable(&node.path),
            printable(name),
            printable(link.name()),
            printable(base)
        );
        let relink = Relink {
            image: node.path.clone(),
            base: None,
            format: None,
            style: Some(BackingStyle::Absolute),
        };
        return Some(Found::of(node, text).helped_by(vec![Remedy::ask(relink)]));
    }
    None
}
