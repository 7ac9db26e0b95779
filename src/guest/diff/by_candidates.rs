//! The changes where the filesystem names the nodes that can differ.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::filesystem::{Filesystem, Link, Links, Node, NodeId, NodeKind};

use super::change::{Change, ChangeKind};
use super::content::{self, Content};
use super::pair::{MOST_CHANGES, Pair, at_once};
use super::paths::Paths;

/// Both states of a node; none where it is not in use.
#[derive(Debug, Clone, Default)]
struct States {
    before: Option<Node>,
    after: Option<Node>,
}

impl States {
    /// Whether it is one file in both states.
    fn is_one(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                (before.generation, before.kind) == (after.generation, after.kind)
            }
            _ => false,
        }
    }

    fn differs(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                before.generation != after.generation || before.digest != after.digest
            }
            (None, None) => false,
            _ => true,
        }
    }

    /// A change of it, with both states.
    fn change(&self, kind: ChangeKind, path: Vec<u8>, content: Content) -> Change {
        Change {
            kind,
            path,
            from: None,
            snapshot_of: None,
            content: content.differs,
            before: self.before.clone(),
            after: self.after.clone(),
            bytes: if content.differs { content.bytes } else { 0 },
        }
    }

    fn is_directory(&self) -> bool {
        [&self.before, &self.after]
            .into_iter()
            .flatten()
            .any(Node::is_directory)
    }
}

/// Names that came to a node, and that it lost.
#[derive(Debug, Default)]
struct Names {
    came: BTreeSet<Link>,
    went: BTreeSet<Link>,
}

/// Compares the nodes that can differ.
pub(super) fn changes(pair: &mut Pair<'_>, nodes: Vec<NodeId>) -> Result<Vec<Change>> {
    let mut states = differing(pair, nodes)?;
    if pair.options.deep {
        written_past_records(pair, &mut states)?;
    }
    pair.watch.candidates(states.len() as u64);
    let names = names(pair, &mut states)?;
    let mut paths = paths(pair, &states, &names)?;
    tell(pair, &states, &names, &mut paths)
}

fn states_of(pair: &mut Pair<'_>, id: NodeId) -> Result<States> {
    let (before, after) = (pair.before.node(id), pair.after.node(id));
    Ok(States {
        before: pair.noted(before)?,
        after: pair.noted(after)?,
    })
}

/// Whether the entries of a directory lie where the volume changed, though its record is as it was: tools that edit a
/// filesystem without mounting it leave its times alone.
fn is_written_past(pair: &mut Pair<'_>, states: &States) -> Result<bool> {
    let Some(after) = states.after.as_ref().filter(|after| after.is_directory()) else {
        return Ok(false);
    };
    let extents = pair.after.extents(after.id);
    let extents = pair.noted(extents)?.unwrap_or_default();
    Ok(content::touches(&extents, pair.changed))
}

/// The candidates whose records differ, and the directories whose entries may.
fn differing(pair: &mut Pair<'_>, mut ids: Vec<NodeId>) -> Result<BTreeMap<NodeId, States>> {
    ids.sort_unstable();
    ids.dedup();
    let mut found = BTreeMap::new();
    for (index, id) in ids.into_iter().enumerate() {
        if index % 1024 == 0 {
            pair.go_on()?;
        }
        let states = states_of(pair, id)?;
        if states.differs() || is_written_past(pair, &states)? {
            found.insert(id, states);
        }
        if found.len() as u64 > MOST_CHANGES {
            return Err(Error::TooMuch {
                what: "changed files",
                most: MOST_CHANGES,
            });
        }
    }
    Ok(found)
}

/// Adds the files whose content lies where the volume changed, though their records are as they were.
fn written_past_records(pair: &mut Pair<'_>, states: &mut BTreeMap<NodeId, States>) -> Result<()> {
    let mut met = HashSet::new();
    let mut folders = vec![pair.after.root()];
    while let Some(folder) = folders.pop() {
        pair.go_on()?;
        let mut children = Vec::new();
        let listed = pair.after.entries(folder, &mut |entry| {
            children.push(entry.id);
            ControlFlow::Continue(())
        });
        pair.noted(listed)?;
        for id in children {
            if met.len() as u64 > MOST_CHANGES {
                return Err(Error::TooMuch {
                    what: "files",
                    most: MOST_CHANGES,
                });
            }
            if !met.insert(id) || states.contains_key(&id) {
                continue;
            }
            let node = pair.after.node(id);
            let Some(node) = pair.noted(node)? else {
                continue;
            };
            if node.is_directory() {
                folders.push(id);
            }
            if node.kind != NodeKind::File {
                continue;
            }
            let extents = pair.after.extents(id);
            let touched = pair
                .noted(extents)?
                .is_some_and(|extents| content::touches(&extents, pair.changed));
            if touched {
                let known = states_of(pair, id)?;
                states.insert(id, known);
            }
        }
    }
    Ok(())
}

/// A directory's entries by name.
fn listed(
    pair: &mut Pair<'_>,
    filesystem: &dyn Filesystem,
    node: Option<&Node>,
) -> Result<HashMap<Vec<u8>, NodeId>> {
    let mut found = HashMap::new();
    let Some(node) = node.filter(|node| node.is_directory()) else {
        return Ok(found);
    };
    let read = filesystem.entries(node.id, &mut |entry| {
        found.insert(entry.name.to_vec(), entry.id);
        if found.len() as u64 > MOST_CHANGES {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    pair.noted(read)?;
    Ok(found)
}

/// Which names came and went in the directories that differ. Adds the states of all they lead to.
fn names(
    pair: &mut Pair<'_>,
    states: &mut BTreeMap<NodeId, States>,
) -> Result<BTreeMap<NodeId, Names>> {
    let mut found = BTreeMap::new();
    for (parent, states) in states.iter() {
        compare_entries(pair, *parent, states, &mut found)?;
    }
    // A directory can go without a trace in its own record, when the records of many nodes are given up at once: only
    // the directory above tells of it, and it tells of what it held.
    loop {
        let unknown: Vec<NodeId> = found
            .keys()
            .filter(|id| !states.contains_key(id) && !pair.is_shared(**id))
            .copied()
            .collect();
        if unknown.is_empty() {
            return Ok(found);
        }
        for id in unknown {
            let known = states_of(pair, id)?;
            if known.differs() {
                compare_entries(pair, id, &known, &mut found)?;
            }
            states.insert(id, known);
            if states.len() as u64 > MOST_CHANGES {
                return Err(Error::TooMuch {
                    what: "changed files",
                    most: MOST_CHANGES,
                });
            }
        }
    }
}

/// Adds the names that came and went in a node; none where it is no directory in either state.
fn compare_entries(
    pair: &mut Pair<'_>,
    parent: NodeId,
    states: &States,
    found: &mut BTreeMap<NodeId, Names>,
) -> Result<()> {
    if !states.is_directory() {
        return Ok(());
    }
    pair.go_on()?;
    let before = listed(pair, pair.before, states.before.as_ref())?;
    let after = listed(pair, pair.after, states.after.as_ref())?;
    for (name, id) in &before {
        if after.get(name) != Some(id) || !states.is_one() {
            let link = Link {
                parent,
                name: name.clone(),
            };
            found.entry(*id).or_default().went.insert(link);
        }
    }
    for (name, id) in after {
        if before.get(&name) != Some(&id) || !states.is_one() {
            let link = Link { parent, name };
            found.entry(id).or_default().came.insert(link);
        }
    }
    Ok(())
}

/// The paths of everything that will be told, before and after.
fn paths(
    pair: &mut Pair<'_>,
    states: &BTreeMap<NodeId, States>,
    names: &BTreeMap<NodeId, Names>,
) -> Result<[Paths; 2]> {
    let (mut was, mut is) = (HashSet::new(), HashSet::new());
    for (id, states) in states {
        // Of what stays, no old name is told but those that went.
        if states.before.is_some() && !states.is_one() {
            was.insert(*id);
        }
        if states.after.is_some() {
            is.insert(*id);
        }
    }
    for names in names.values() {
        was.extend(names.went.iter().map(|link| link.parent));
        is.extend(names.came.iter().map(|link| link.parent));
    }
    let new = pair.snapshots.iter().filter(|snapshot| !snapshot.is_gone);
    let new: Vec<NodeId> = new.map(|snapshot| snapshot.root).collect();
    is.extend(&new);
    let (before, after) = (pair.before, pair.after);
    let (was, is) = at_once(|| links(before, &was), || links(after, &is));
    let (was, is) = (
        pair.noted(was)?.unwrap_or_default(),
        pair.noted(is)?.unwrap_or_default(),
    );
    let (mut was, mut is) = (Paths::new(pair.before, was), Paths::new(pair.after, is));
    // What a new snapshot lost since it was taken is told where it is now.
    for root in new {
        if let Some(path) = is.directory(root) {
            was.put(root, path);
        }
    }
    Ok([was, is])
}

/// The links to these nodes. Where there are none, no directory is read.
fn links(filesystem: &dyn Filesystem, wanted: &HashSet<NodeId>) -> Result<Links> {
    match wanted.is_empty() {
        true => Ok(Links::new()),
        false => filesystem.links(wanted),
    }
}

/// A path that came or went, and whose.
type Moves = BTreeMap<Vec<u8>, NodeId>;

/// Puts changes into words.
fn tell(
    pair: &mut Pair<'_>,
    states: &BTreeMap<NodeId, States>,
    names: &BTreeMap<NodeId, Names>,
    [was, is]: &mut [Paths; 2],
) -> Result<Vec<Change>> {
    let (mut went, mut came) = (Moves::new(), Moves::new());
    for (id, states) in states {
        let own = names.get(id);
        let (gone, new): (Vec<Link>, Vec<Link>) = if states.is_one() {
            (
                own.iter()
                    .flat_map(|own| own.went.iter().cloned())
                    .collect(),
                own.iter()
                    .flat_map(|own| own.came.iter().cloned())
                    .collect(),
            )
        } else {
            (was.links(*id).to_vec(), is.links(*id).to_vec())
        };
        went.extend(gone.iter().filter_map(|link| Some((was.of(link)?, *id))));
        came.extend(new.iter().filter_map(|link| Some((is.of(link)?, *id))));
    }
    let mut told = Vec::new();
    let came_to: HashSet<Vec<u8>> = came.keys().cloned().collect();
    let both: Vec<Vec<u8>> = came
        .keys()
        .filter(|path| went.contains_key(*path))
        .cloned()
        .collect();
    for path in both {
        let (Some(old), Some(new)) = (went.remove(&path), came.remove(&path)) else {
            continue;
        };
        let (old_states, new_states) = (states.get(&old), states.get(&new));
        // Its folder is another one, and it has its old name in there.
        if old == new && new_states.is_some_and(States::is_one) {
            continue;
        }
        let states = States {
            before: old_states.and_then(|states| states.before.clone()),
            after: new_states.and_then(|states| states.after.clone()),
        };
        told.push(states.change(ChangeKind::Replaced, path, whole(&states.after)));
    }
    let (mut went, mut came) = (by_node(went), by_node(came));
    for (id, states) in states {
        pair.go_on()?;
        let mut gone = went.remove(id).unwrap_or_default();
        let mut new = came.remove(id).unwrap_or_default();
        if let (Some(before), Some(after), true) = (&states.before, &states.after, states.is_one())
        {
            let content = content::compare(pair, before, after)?;
            let stays = is.links(*id).to_vec();
            let stays = stays
                .iter()
                .filter_map(|link| is.of(link))
                .filter(|path| !came_to.contains(path));
            told.extend(in_place(states, content, stays));
            let renamed = gone.len().min(new.len());
            for (from, path) in gone.drain(..renamed).zip(new.drain(..renamed)) {
                told.push(Change {
                    from: Some(from),
                    ..states.change(ChangeKind::Renamed, path, content)
                });
            }
        }
        for path in gone {
            let states = States {
                after: None,
                ..states.clone()
            };
            told.push(states.change(ChangeKind::Deleted, path, whole(&states.before)));
        }
        for path in new {
            let states = States {
                before: None,
                ..states.clone()
            };
            told.push(states.change(ChangeKind::Added, path, whole(&states.after)));
        }
    }
    Ok(told)
}

/// The content of what came or went as a whole.
fn whole(node: &Option<Node>) -> Content {
    Content {
        differs: true,
        bytes: node.as_ref().map_or(0, content::length),
    }
}

fn by_node(moves: Moves) -> BTreeMap<NodeId, Vec<Vec<u8>>> {
    let mut found: BTreeMap<NodeId, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, id) in moves {
        found.entry(id).or_default().push(path);
    }
    found
}

/// The changes of a file that kept these paths.
fn in_place<'a>(
    states: &'a States,
    content: Content,
    paths: impl Iterator<Item = Vec<u8>> + 'a,
) -> impl Iterator<Item = Change> + 'a {
    let is_listed = match (&states.before, &states.after) {
        // What a directory holds is told by its entries.
        (Some(before), Some(after)) if before.is_directory() => {
            (before.mode, before.uid, before.gid) != (after.mode, after.uid, after.gid)
        }
        (Some(before), Some(after)) => content.differs || before.digest != after.digest,
        _ => false,
    };
    let kind = if content.differs {
        ChangeKind::Modified
    } else {
        ChangeKind::Metadata
    };
    paths
        .filter(move |_| is_listed)
        .map(move |path| states.change(kind, path, content))
}
