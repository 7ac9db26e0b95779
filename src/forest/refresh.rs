//! The forest after some files changed: these are looked at again, with what hangs on them, and all
//! else is taken over as it is. What comes out is what a scan of everything would give, for the price
//! of a few files.

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{FileKind, Holder, Host};
use crate::image::{is_described, maker_of};

use super::folder_notes::folder_of;
use super::scan::{Looker, ScanOptions, Visit, Why, entries_below};
use super::trash_folder::{is_looked_at, trash_folder_of};
use super::{
    Backing, BackingState, Content, Forest, Location, NOTES_FILE, Node, NodeId, NotesReader,
    ScannedFile,
};

/// Up to so many images are asked for their locks again though their files did not change.
const MOST_ASKED: usize = 2000;

/// Looks again at the files (or whole folders) that changed, came or went below the scanned
/// directories. Folders that came are not looked into: scan again for those, and to find a link that led
/// nowhere, was called like no image, and leads to one now.
///
/// `forest` has to come from a scan with the same `options`.
#[must_use]
pub fn refreshed(
    forest: &Forest,
    host: &Arc<dyn Host>,
    options: &ScanOptions,
    changed: &[PathBuf],
) -> Forest {
    let in_scan = |path: &Path| options.roots.iter().any(|root| path.starts_with(root));
    let is_ours = |path: &&Path| {
        let is_unfinished = path.iter().any(|part| maker_of(Path::new(part)).is_some());
        let is_elsewhere = trash_folder_of(path).is_some() && !is_looked_at(host.as_ref(), path);
        !is_unfinished && !is_elsewhere && (in_scan(path) || forest.by_path(path).is_some())
    };
    let changed = changed.iter().map(PathBuf::as_path);
    let changed: HashSet<&Path> = changed.filter(is_ours).collect();
    let has_changed = |path: &Path| path.ancestors().any(|above| changed.contains(above));
    let mut again: BTreeSet<PathBuf> = changed.iter().map(|path| path.to_path_buf()).collect();
    let scanned = || {
        // The others are made anew by those that name them.
        let nodes = forest.nodes();
        nodes.filter(|node| node.location.is_met())
    };
    let mut looked_at: HashSet<NodeId> = HashSet::new();
    let has_notes = changed.iter().any(|path| path.ends_with(NOTES_FILE));
    for node in scanned() {
        let mut names = std::iter::once(&node.path).chain(&node.other_names);
        let link = forest.leads_to(node);
        // Which of several names is a link, where a link leads now, and what a file is that was taken for
        // raw because others say so, is not kept in a node; and why a file could not be read need not be
        // in the file.
        let is_simple = node.other_names.is_empty()
            && !node.symlink
            && forest.also_reads(node.id).is_empty()
            && !may_read_more(node)
            && forest.overruled(node.id).is_none()
            && !matches!(
                node.content,
                // The last two are images only as long as somebody is built on them.
                Content::Unreadable(_) | Content::Raw | Content::Opaque(_)
            );
        let notes = || folder_of(&node.path).map(|folder| folder.join(NOTES_FILE));
        if !is_simple
            || link.is_some_and(has_changed)
            || names.any(|name| has_changed(name))
            || has_notes && notes().is_some_and(|notes| changed.contains(notes.as_path()))
        {
            looked_at.insert(node.id);
        }
        if is_missing(node)
            && let Some(link) = link
            && is_symlink(host.as_ref(), link)
        {
            // Whatever it leads to may have come, by a name that nobody here knows.
            looked_at.insert(node.id);
            again.extend(in_scan(link).then(|| link.to_path_buf()));
        }
    }
    // What a file is depends on what those say that are built on it, and theirs on what it is.
    let mut kept: Vec<&Node> = Vec::new();
    for node in scanned() {
        let on_looked_at = node.parent.is_some_and(|base| looked_at.contains(&base));
        if on_looked_at || looked_at.contains(&node.id) {
            again.insert(node.path.clone());
            again.extend(node.other_names.iter().cloned());
        } else {
            kept.push(node);
        }
    }
    let looker = Looker::new(Arc::clone(host), options);
    for node in &kept {
        if let Some(file) = node.file_id() {
            looker.remember(file, &node.path);
            // Locks come and go without the file changing; asking is an open and one call.
            if kept.len() <= MOST_ASKED || node.holders.iter().any(Holder::is_unseen) {
                looker.ask_locks(&node.path);
            }
        }
    }
    let mut found: Vec<ScannedFile> = Vec::new();
    for path in again {
        let Ok(stat) = host.stat_link(&path) else {
            continue;
        };
        let symlink = stat.kind == FileKind::Symlink;
        if !symlink && !matches!(stat.kind, FileKind::Regular | FileKind::BlockDevice) {
            continue;
        }
        let why = if options.roots.contains(&path) {
            Why::Given
        } else {
            Why::Met
        };
        found.extend(looker.look(&Visit::new(path, symlink, why)));
    }
    loop {
        // As a scan does: what images name comes after all that was met.
        let open = looker.left_over();
        if open.is_empty() {
            break;
        }
        found.extend(open.iter().filter_map(|visit| looker.look(visit)));
    }
    let kept = kept.into_iter().map(|node| forest.found(node));
    let mut fresh = Forest::new();
    fresh.extend(kept.chain(found));
    // Who has files open changes without any file changing.
    fresh.hold(looker.held());
    fresh.note_machines(Arc::clone(forest.machines()));
    fresh
}

fn is_missing(node: &Node) -> bool {
    let link = node.backing.as_deref();
    link.is_some_and(|link| matches!(link.state, BackingState::Missing))
}

fn is_symlink(host: &dyn Host, path: &Path) -> bool {
    let stat = host.stat_link(path);
    stat.is_ok_and(|stat| stat.kind == FileKind::Symlink)
}

/// Whether a file that comes may be one that this image reads, though no link of its leads there yet.
fn may_read_more(node: &Node) -> bool {
    let is_vague = |link: &Backing| {
        !link.is_understood()
            || matches!(link.state, BackingState::Elsewhere(_)) && is_described(link.name())
    };
    node.backing.as_deref().is_some_and(is_vague)
        || node.info().is_some_and(|info| info.data_file.is_some())
}

/// The files that are not what they were when the forest was looked at: gone, replaced, written, or come
/// since. Names are listed and looked up, no file is opened; what is no image comes each time.
#[must_use]
pub fn changed_since(forest: &Forest, host: &dyn Host, options: &ScanOptions) -> Vec<PathBuf> {
    let mut changed = Vec::new();
    for root in &options.roots {
        // A place that cannot be read holds nothing that a scan would find.
        let entries = entries_below(host, root).filter_map(Result::ok);
        let files = entries.filter(|entry| {
            let kind = entry.file_type();
            kind.is_file() || kind.is_block_device() || entry.path_is_symlink()
        });
        let names = files.map(walkdir::DirEntry::into_path);
        changed.extend(names.filter(|path| {
            // A link that leads nowhere is met, but what is looked up through it stays missing.
            let known = forest.by_path(path);
            known.is_none_or(|node| node.location == Location::Missing)
        }));
    }
    let mut notes = NotesReader::new(host);
    for node in forest.nodes() {
        let says_the_same = node.location != Location::Scanned || says_the_same(node, &mut notes);
        let is_same = |path: &Path| match (&node.stat, host.stat(path)) {
            // What an image takes of a device is no part of what `stat` tells.
            (Some(known), Ok(now)) if now.kind == FileKind::BlockDevice => {
                (known.id, known.len, known.modified) == (now.id, now.len, now.modified)
            }
            (Some(known), Ok(now)) => *known == now && says_the_same,
            (None, Err(_)) => true,
            _ => false,
        };
        let names = std::iter::once(&node.path).chain(&node.other_names);
        changed.extend(names.filter(|path| !is_same(path)).cloned());
    }
    changed
}

/// Whether the notes of its folder say of an image what they said when it was looked at.
fn says_the_same(node: &Node, notes: &mut NotesReader<'_>) -> bool {
    let seen = node.annotation.as_deref();
    match notes.in_folder(&node.path) {
        Some(now) if now.is_empty() => seen.is_none(),
        Some(now) => seen == Some(now),
        None => seen.is_none_or(|seen| !seen.in_folder),
    }
}

/// The images that came, or are not what they were, since the forest was looked at, as they are now. Names are
/// listed and looked up; no other file is opened.
#[must_use]
pub fn news(forest: &Forest, host: &Arc<dyn Host>, options: &ScanOptions) -> Vec<ScannedFile> {
    let looker = Looker::new(Arc::clone(host), options);
    let is_scanned = |path: &PathBuf| {
        let known = forest.by_path(path);
        known.is_none_or(|node| node.location.is_met())
    };
    let changed: BTreeSet<PathBuf> = changed_since(forest, host.as_ref(), options)
        .into_iter()
        .filter(is_scanned)
        .collect();
    changed
        .into_iter()
        .filter_map(|path| {
            let kind = host.stat_link(&path).ok()?.kind;
            let symlink = kind == FileKind::Symlink;
            let is_file = symlink || kind == FileKind::Regular;
            let visit = Visit::new(path, symlink, Why::Met);
            is_file.then(|| looker.look(&visit)).flatten()
        })
        .collect()
}
