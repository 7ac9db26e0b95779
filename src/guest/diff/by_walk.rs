//! The changes where the filesystem cannot say which nodes can differ: both states are walked and compared by path.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::filesystem::{Filesystem, Node, NodeKind};

use super::change::{Change, ChangeKind};
use super::content::{self, Content};
use super::pair::{MOST_CHANGES, Pair};
use super::paths::joined;

/// Folders in each other at the most.
const MOST_DEPTH: usize = 256;
/// Bytes of all paths at the most.
const MOST_PATHS: usize = 512 << 20;

/// A state by path.
type Tree = BTreeMap<Vec<u8>, Node>;

/// Compares all files of both states.
pub(super) fn changes(pair: &mut Pair<'_>) -> Result<Vec<Change>> {
    let (before, after) = (pair.before, pair.after);
    let was = walk(pair, before)?;
    let is = walk(pair, after)?;
    pair.watch.candidates(was.len().max(is.len()) as u64);
    let mut told = Vec::new();
    let (mut went, mut came) = (BTreeSet::new(), BTreeSet::new());
    for path in was
        .keys()
        .chain(is.keys().filter(|path| !was.contains_key(*path)))
    {
        pair.go_on()?;
        match (was.get(path), is.get(path)) {
            (Some(before), Some(after)) if before.kind != after.kind => {
                let whole = Content {
                    differs: true,
                    bytes: content::length(after),
                };
                told.push(change(
                    ChangeKind::Replaced,
                    path,
                    Some(before),
                    Some(after),
                    whole,
                ));
            }
            (Some(before), Some(after)) => told.extend(in_place(pair, path, before, after)?),
            (Some(_), None) => _ = went.insert(path),
            (None, Some(_)) => _ = came.insert(path),
            (None, None) => {}
        }
    }
    for (from, to) in renamed(pair, &was, &is, &went, &came)? {
        went.remove(from);
        came.remove(to);
        let (before, after) = (was.get(from), is.get(to));
        let same = Content {
            differs: false,
            bytes: 0,
        };
        let moved = change(ChangeKind::Renamed, to, before, after, same);
        told.push(Change {
            from: Some(from.clone()),
            ..moved
        });
    }
    for (kind, tree, paths) in [
        (ChangeKind::Deleted, &was, went),
        (ChangeKind::Added, &is, came),
    ] {
        for path in paths {
            let node = tree.get(path);
            let whole = Content {
                differs: true,
                bytes: node.map_or(0, content::length),
            };
            let is_new = kind == ChangeKind::Added;
            let (before, after) = if is_new { (None, node) } else { (node, None) };
            told.push(change(kind, path, before, after, whole));
        }
    }
    Ok(told)
}

fn change(
    kind: ChangeKind,
    path: &[u8],
    before: Option<&Node>,
    after: Option<&Node>,
    content: Content,
) -> Change {
    Change {
        kind,
        path: path.to_vec(),
        from: None,
        snapshot_of: None,
        content: content.differs,
        before: before.cloned(),
        after: after.cloned(),
        bytes: if content.differs { content.bytes } else { 0 },
    }
}

/// A path that both have.
fn in_place(
    pair: &mut Pair<'_>,
    path: &[u8],
    before: &Node,
    after: &Node,
) -> Result<Option<Change>> {
    if before.is_directory() {
        return Ok(None);
    }
    let same_place = before.digest == after.digest && before.id == after.id;
    let content = if same_place && !is_stored_where_changed(pair, after)? {
        Content {
            differs: false,
            bytes: 0,
        }
    } else {
        content::compare(pair, before, after)?
    };
    let kind = match (content.differs, before.digest == after.digest) {
        (true, _) => ChangeKind::Modified,
        (false, false) => ChangeKind::Metadata,
        (false, true) => return Ok(None),
    };
    Ok(Some(change(kind, path, Some(before), Some(after), content)))
}

fn is_stored_where_changed(pair: &mut Pair<'_>, node: &Node) -> Result<bool> {
    let extents = pair.after.extents(node.id);
    Ok(pair
        .noted(extents)?
        .is_none_or(|extents| content::touches(&extents, pair.changed)))
}

/// Files that went from one path and came to another: the content is stored in the same place, and did not change.
fn renamed<'a>(
    pair: &mut Pair<'_>,
    was: &'a Tree,
    is: &'a Tree,
    went: &BTreeSet<&'a Vec<u8>>,
    came: &BTreeSet<&'a Vec<u8>>,
) -> Result<Vec<(&'a Vec<u8>, &'a Vec<u8>)>> {
    let mut places = HashMap::new();
    for path in went {
        if let Some(node) = was.get(*path).filter(|node| node.kind == NodeKind::File) {
            let extents = pair.before.extents(node.id);
            if let Some(first) = pair.noted(extents)?.as_deref().and_then(<[_]>::first) {
                places.insert((first.volume, node.size), *path);
            }
        }
    }
    let mut found = Vec::new();
    for path in came {
        if let Some(node) = is.get(*path).filter(|node| node.kind == NodeKind::File) {
            let extents = pair.after.extents(node.id);
            let extents = pair.noted(extents)?.unwrap_or_default();
            let is_untouched = !content::touches(&extents, pair.changed);
            let from = extents
                .first()
                .and_then(|first| places.remove(&(first.volume, node.size)));
            if let Some(from) = from.filter(|_| is_untouched) {
                found.push((from, *path));
            }
        }
    }
    Ok(found)
}

/// All files of a state.
fn walk(pair: &mut Pair<'_>, filesystem: &dyn Filesystem) -> Result<Tree> {
    let mut found = Tree::new();
    let mut bytes = 0;
    let mut met = HashSet::new();
    let mut folders = vec![(filesystem.root(), Vec::new(), 0)];
    while let Some((folder, at, depth)) = folders.pop() {
        pair.go_on()?;
        if !met.insert(folder) {
            pair.problem(Error::SeveralNames(at.as_slice().into()))?;
            continue;
        }
        let mut entries = Vec::new();
        let listed = filesystem.entries(folder, &mut |entry| {
            let path = joined(&at, entry.name);
            bytes += path.len();
            entries.push((path, entry.id));
            if bytes > MOST_PATHS {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        pair.noted(listed)?;
        if bytes > MOST_PATHS {
            return Err(Error::TooMuch {
                what: "bytes of paths",
                most: MOST_PATHS as u64,
            });
        }
        for (path, id) in entries {
            let node = filesystem.node(id);
            let Some(node) = pair.noted(node)? else {
                continue;
            };
            if node.is_directory() && depth < MOST_DEPTH {
                folders.push((id, path.clone(), depth + 1));
            }
            found.insert(path, node);
        }
        if found.len() as u64 > MOST_CHANGES {
            return Err(Error::TooMuch {
                what: "files",
                most: MOST_CHANGES,
            });
        }
    }
    Ok(found)
}
