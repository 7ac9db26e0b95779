//! Images whose bases lay in a folder that has moved: all of them relinked at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::forest::{BackingState, Forest, Node};
use crate::host::printable;
use crate::ops::{Link, Relink, RelinkSeveral, Remedy};
use crate::units::count;

use super::finder::{Finder, Found, Subject};
use super::finding::Sure;

pub(super) const FINDER: Finder = Finder {
    name: "moved-folder",
    why: "Several images name bases in one folder that are not there, and files of these names are in another one: the \
          folder was moved or renamed. Until the overlays name the new place none of them can be read.",
    look,
};

/// An image, and the file that it names and that is not there.
type Lost<'f> = (&'f Node, &'f Path);

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let forest = &subject.context.forest;
    let mut folders: BTreeMap<&Path, Vec<Lost<'_>>> = BTreeMap::new();
    for node in subject.images() {
        let link = node.backing.as_deref();
        let is_gone = link.is_some_and(|link| link.state == BackingState::Missing);
        let base = forest.leads_to(node).filter(|_| is_gone);
        if let Some((base, folder)) = base.and_then(|base| Some((base, base.parent()?))) {
            folders.entry(folder).or_default().push((node, base));
        }
    }
    let several = folders.into_iter().filter(|(_, lost)| lost.len() > 1);
    several
        .filter_map(|(folder, lost)| moved(forest, folder, &lost))
        .collect()
}

/// What speaks for a folder being the one that has moved.
struct Candidate<'f> {
    folder: &'f Path,
    /// Each image that misses its base, and the file of that name.
    links: Vec<(&'f Node, &'f Node)>,
    /// Of how many the format is as recorded, and the disk not longer than the overlay's.
    fitting: usize,
}

fn moved(forest: &Forest, old: &Path, lost: &[Lost<'_>]) -> Option<Found> {
    let mut candidates = candidates(forest, lost);
    candidates.retain(|one| one.links.len() > 1);
    let best = candidates.first()?;
    let files: BTreeSet<&Path> = lost.iter().map(|(_, base)| *base).collect();
    let told = candidates.iter().map(|one| {
        let found = count(one.links.len(), "image");
        let folder = printable(one.folder);
        format!(
            "{folder} has those of {found}, {} of them of the size and format",
            one.fitting
        )
    });
    let text = format!(
        "{} name {} in {}, which are not there: {}.",
        count(lost.len(), "image"),
        count(files.len(), "file"),
        printable(old),
        told.collect::<Vec<_>>().join("; ")
    );
    let fixes = candidates.iter().map(|one| {
        let links = one.links.iter();
        let links = links.map(|(node, base)| Link::To(Relink::onto(&node.path, &base.path)));
        Remedy::ask(RelinkSeveral {
            links: links.collect(),
        })
    });
    let (first, _) = best.links.first()?;
    Some(
        Found::of(first, text)
            .but(Sure::Likely)
            .helped_by(fixes.collect()),
    )
}

/// The folders that have files of these names, the one with the most that fit first.
fn candidates<'f>(forest: &'f Forest, lost: &[Lost<'f>]) -> Vec<Candidate<'f>> {
    let mut found: BTreeMap<&Path, Candidate<'_>> = BTreeMap::new();
    for (node, _) in lost {
        let namesakes = forest.namesakes(node);
        for base in namesakes.images {
            let Some(folder) = base.path.parent() else {
                continue;
            };
            let candidate = found.entry(folder).or_insert(Candidate {
                folder,
                links: Vec::new(),
                fitting: 0,
            });
            candidate.links.push((node, base));
            candidate.fitting += usize::from(fits(node, base));
        }
    }
    let mut found: Vec<Candidate<'_>> = found.into_values().collect();
    found.sort_by_key(|one| std::cmp::Reverse((one.fitting, one.links.len())));
    found
}

fn fits(node: &Node, base: &Node) -> bool {
    let format = node.backing_format();
    let is_format = format.is_none() || format == base.format().as_ref();
    let is_size = node.virtual_size() >= base.virtual_size();
    is_format && is_size && base.virtual_size().is_some()
}
