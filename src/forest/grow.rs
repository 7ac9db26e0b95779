//! How the forest grows: each found file becomes a node, a further name of one, or the file behind a
//! node so far only named; links are made by file identity first, then by path.
//!
//! Nothing here recurses and nothing walks a chain more than once, so that a chain of a hundred
//! thousand layers, or as many layers on one base, cost no more a node than a short one.

mod links;
mod lists;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use thin_vec::ThinVec;

use crate::host::{FileId, Holder};
use crate::image::{Format, is_trashed, unresolvable};

use super::edge::by_other_name;
use super::graph::index;
use super::table::Table;
use super::written::written_under;
use super::{Backing, BackingState, Content, Edge, Forest, Found, Node, NodeId, Whereabouts};

/// What growing remembers between one found file and the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Growth {
    /// Joins the nodes of one tree (union-find): a link between two nodes that are joined already
    /// closes a loop.
    joined: Vec<u32>,
    /// How often each file that is named as a backing file of format raw is named so, and of any other
    /// format.
    claims: HashMap<FileId, Claims>,
    /// What was found in files that are shown as raw because every image built on them says so.
    overruled: HashMap<NodeId, (Content, Option<Box<Backing>>)>,
    /// Of images that are built on something and go by several names: what was found by each. A relative
    /// backing name leads elsewhere from another folder.
    names: HashMap<NodeId, Vec<Named>>,
    /// Scanned images by file name, the first few in order: where a missing one may have gone.
    by_name: Table<Alike>,
    /// Missing nodes by file name.
    missing: HashMap<OsString, Vec<NodeId>>,
    /// New members of each list of children (none: the nodes without parent), not yet in it.
    pending: HashMap<Option<NodeId>, Vec<NodeId>>,
    /// Nodes whose problems are to be told anew.
    dirty: HashSet<NodeId>,
    /// Nodes that lost a child and may now be named by nobody.
    deserted: Vec<NodeId>,
    /// Whether a link was changed, not only added.
    relinked: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Claims {
    raw: u32,
    other: u32,
}

/// What one link says of the format of the file at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Claim {
    file: FileId,
    is_raw: bool,
}

impl Claim {
    fn of(link: Option<&Backing>) -> Option<Self> {
        let link = link?;
        let BackingState::There(file) = link.state else {
            return None;
        };
        if !link.is_understood() {
            return None;
        }
        let is_raw = *link.format()? == Format::Raw;
        Some(Self { file, is_raw })
    }
}

/// What was found by one of the names of an image.
#[derive(Debug, Clone)]
struct Named {
    path: PathBuf,
    symlink: bool,
    backing: Option<Box<Backing>>,
    also: Vec<Edge>,
}

impl Named {
    fn of(found: &Found) -> Self {
        Self {
            path: found.path.clone(),
            symlink: found.symlink,
            backing: found.backing.clone(),
            also: found.also.clone(),
        }
    }

    /// The least is shown: a name by which the image can be opened, then one that is no link.
    fn rank(&self) -> (bool, bool, bool, &Path) {
        let is_broken = self.backing.as_ref().is_some_and(|link| {
            matches!(
                link.state,
                BackingState::Missing | BackingState::Unreachable(_)
            )
        });
        // What is not in the trash by any of its names is not in the trash.
        (is_trashed(&self.path), is_broken, self.symlink, &self.path)
    }
}

/// The name of the file that is looked for where nothing is at the end of a link.
fn sought(whereabouts: Whereabouts, path: &Path) -> Option<OsString> {
    let own = path.file_name();
    let recorded = match whereabouts {
        // Beside the overlay, and called as a whole path of Windows.
        Whereabouts::Missing => own?,
        _ => path.as_os_str(),
    };
    match unresolvable(recorded) {
        Some(found) => Some(found.file),
        None if whereabouts == Whereabouts::Missing => own.map(OsStr::to_owned),
        None => None,
    }
}

/// So many images of one name are remembered as candidates for a missing one.
const CANDIDATES: usize = 4;

/// Nodes of one file name: mostly it is only one.
#[derive(Debug, Clone)]
enum Alike {
    One(NodeId),
    More(ThinVec<NodeId>),
}

impl Alike {
    fn ids(&self) -> &[NodeId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::More(ids) => ids,
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut ThinVec<NodeId>)) {
        let mut ids = ThinVec::from(self.ids());
        change(&mut ids);
        *self = match *ids {
            [one] => Self::One(one),
            _ => Self::More(ids),
        };
    }

    /// The file name that all of these have.
    fn name<'a>(&self, nodes: &'a [Node]) -> Option<&'a OsStr> {
        nodes.get(index(*self.ids().first()?))?.path.file_name()
    }
}

impl Growth {
    /// Scanned images of that file name, the first few in order.
    fn of_name(&self, nodes: &[Node], name: &OsStr) -> &[NodeId] {
        let known = self
            .by_name
            .get(name, |known| known.name(nodes) == Some(name));
        known.map_or(&[], Alike::ids)
    }

    /// Images that miss one of this name may have another file to propose.
    fn retell_missing(&mut self, nodes: &[Node], name: &OsStr) {
        for missing in self.missing.get(name).map_or(&[][..], Vec::as_slice) {
            if let Some(node) = nodes.get(index(*missing)) {
                self.dirty.extend(node.children.iter().copied());
            }
        }
    }
}

impl Forest {
    /// Takes in one found file: a new node, a further name of a known one, or the file behind a
    /// node that was so far only named by its children. Returns its node. A file that comes again
    /// under the same name replaces what was known of it.
    ///
    /// For many files [`Forest::extend`] is cheaper.
    pub fn add(&mut self, found: Found) -> NodeId {
        let id = self.take(found);
        self.settle();
        id
    }

    /// [`Forest::add`] for many files at once.
    pub fn extend(&mut self, found: impl IntoIterator<Item = Found>) {
        let mut any = false;
        for found in found {
            any = true;
            self.take(found);
        }
        if any {
            self.settle();
        }
    }

    /// Takes in which files processes have open; of the others that stays as it is known.
    pub fn hold(&mut self, held: HashMap<FileId, Vec<Holder>>) {
        for (file, holders) in held {
            let Some(id) = self.of_file(file) else {
                continue;
            };
            self.set_holders(id, holders);
            self.growth.dirty.insert(id);
        }
        let written = written_under(self);
        let before = std::mem::replace(&mut self.written, written);
        let concerned = before.keys().chain(self.written.keys()).copied();
        self.growth.dirty.extend(concerned);
        self.settle();
    }

    /// Sets who holds a node, and what follows: what is in use.
    fn set_holders(&mut self, id: NodeId, holders: Vec<Holder>) {
        let Some(node) = self.nodes.get_mut(index(id)) else {
            return;
        };
        let is_held = |node: &Node| node.holders.iter().any(|holder| holder.locks);
        let was_held = is_held(node);
        node.holders = holders.into();
        if is_held(node) {
            self.spread_use(id);
        } else if was_held {
            self.growth.relinked = true;
        }
    }

    fn take(&mut self, mut found: Found) -> NodeId {
        let file = found.stat.as_ref().map(|stat| stat.id);
        let by_file = file.and_then(|file| self.by_file(file)).map(|node| node.id);
        let known = by_file.or_else(|| self.by_path(&found.path).map(|node| node.id));
        let whereabouts = whereabouts(&found.path);
        let is_trashed = whereabouts == Whereabouts::InTrash;
        let Some(id) = known else {
            let id = self.push(Node {
                id: NodeId(0),
                path: std::mem::take(&mut found.path),
                symlink: found.symlink,
                other_names: ThinVec::new(),
                whereabouts,
                stat: None,
                content: Content::Unopened,
                backing: None,
                parent: None,
                children: ThinVec::new(),
                in_loop: false,
                holders: ThinVec::new(),
                problems: ThinVec::new(),
            });
            self.note_shown_name(id);
            self.remember_name(id);
            self.set(id, found);
            return id;
        };
        let at = index(id);
        let Some(node) = self.nodes.get(at) else {
            return id;
        };
        let in_order = (is_trashed, found.symlink, &found.path)
            < (node.is_in_trash(), node.symlink, &node.path);
        if !node.whereabouts.is_met() {
            self.rename(id, std::mem::take(&mut found.path), found.symlink);
            self.note_shown_name(id);
            if let Some(node) = self.nodes.get_mut(at) {
                node.whereabouts = whereabouts;
            }
            self.remember_name(id);
            self.set(id, found);
        } else if self.growth.names.contains_key(&id)
            || node.path != found.path && (found.backing.is_some() || !found.also.is_empty())
        {
            self.take_name(id, found);
        } else if node.path == found.path {
            self.note_name(&found.path, id);
            self.set(id, found);
        } else if in_order {
            let old = node.path.clone();
            self.forget_name(id);
            self.rename(id, std::mem::take(&mut found.path), found.symlink);
            self.note_shown_name(id);
            if let Some(node) = self.nodes.get_mut(at) {
                node.whereabouts = whereabouts;
            }
            self.other_name(id, old);
            self.remember_name(id);
            self.set(id, found);
        } else {
            self.note_name(&found.path, id);
            self.other_name(id, found.path);
        }
        id
    }

    /// Takes in what was found by one of several names of an image that is built on something.
    fn take_name(&mut self, id: NodeId, found: Found) {
        let Some(node) = self.nodes.get(index(id)) else {
            return;
        };
        let shown = node.path.clone();
        let first = Named {
            path: shown.clone(),
            symlink: node.symlink,
            backing: self.true_link(node),
            also: self.edges.of(id).to_vec(),
        };
        let known = self.growth.names.remove(&id);
        let mut names = known.unwrap_or_else(|| vec![first]);
        names.retain(|name| name.path != found.path);
        names.push(Named::of(&found));
        names.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let best = names.first().cloned();
        self.growth.names.insert(id, names);
        let Some(best) = best else { return };
        let is_other = best.path != shown;
        if is_other {
            self.forget_name(id);
            self.rename(id, best.path.clone(), best.symlink);
            self.note_shown_name(id);
            if let Some(node) = self.nodes.get_mut(index(id)) {
                node.whereabouts = whereabouts(&best.path);
            }
            self.other_name(id, shown);
            self.remember_name(id);
        }
        let is_best = best.path == found.path;
        if !is_best {
            self.note_name(&found.path, id);
            self.other_name(id, found.path.clone());
        }
        if is_best || is_other {
            self.note_name(&best.path, id);
            self.set(
                id,
                Found {
                    path: best.path,
                    symlink: best.symlink,
                    backing: best.backing,
                    also: best.also,
                    ..found
                },
            );
        } else {
            self.set_edges(id, Vec::new());
        }
    }

    /// The backing link of a node, also of one that is shown as raw.
    fn true_link(&self, node: &Node) -> Option<Box<Backing>> {
        match self.growth.overruled.get(&node.id) {
            Some((_, link)) => link.clone(),
            None => self.whole_link(node),
        }
    }

    /// Where the backing names of an image lead that goes by several names, by each of these.
    pub(super) fn by_other_names(&self, id: NodeId) -> impl Iterator<Item = (&Path, &Path)> {
        let names = self.growth.names.get(&id).into_iter().flatten();
        names.filter_map(|name| Some((&*name.path, name.backing.as_ref()?.path.as_deref()?)))
    }

    /// Sets what a node reads besides its backing file: by its one name, or by any of several.
    fn set_edges(&mut self, id: NodeId, also: Vec<Edge>) {
        let mut edges = also;
        let names = self.growth.names.get(&id);
        if let Some((node, names)) = self.nodes.get(index(id)).zip(names) {
            let shown = self.true_link(node);
            for name in names {
                edges.extend(name.also.iter().cloned());
                let link = name.backing.as_deref();
                edges.extend(link.and_then(|link| by_other_name(shown.as_deref(), link)));
            }
        }
        self.edges.set(id, edges);
    }

    /// A new node, so far without parent.
    fn push(&mut self, mut node: Node) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        node.id = id;
        self.nodes.push(node);
        self.gone.push(false);
        self.in_use.push(false);
        self.growth.joined.push(id.0);
        self.growth.pending.entry(None).or_default().push(id);
        id
    }

    /// Gives a node another name to show.
    fn rename(&mut self, id: NodeId, path: PathBuf, symlink: bool) {
        self.leave_list(id);
        self.keep_name(id, &path);
        if let Some(node) = self.nodes.get_mut(index(id)) {
            node.other_names.retain(|name| *name != path);
            node.symlink = symlink;
            let parent = node.parent;
            let is_other = node.path != path;
            let old = std::mem::replace(&mut node.path, path);
            self.growth.pending.entry(parent).or_default().push(id);
            for child in self.members(id) {
                self.growth.dirty.insert(child);
                let child = self.nodes.get_mut(index(child));
                if let Some(link) = child.and_then(|child| child.backing.as_deref_mut())
                    && is_other
                    && link.leads_to_a_path()
                {
                    link.path.get_or_insert_with(|| old.as_path().into());
                }
            }
        }
    }

    /// The nodes built on one, also those that are not in its list yet, in no order.
    fn members(&self, id: NodeId) -> HashSet<NodeId> {
        let pending = self.growth.pending.get(&Some(id));
        let pending = pending.into_iter().flatten().copied();
        let members = self.list(Some(id)).iter().copied().chain(pending);
        members
            .filter(|member| {
                self.get(*member)
                    .is_some_and(|node| node.parent == Some(id))
            })
            .collect()
    }

    fn other_name(&mut self, id: NodeId, name: PathBuf) {
        if let Some(node) = self.nodes.get_mut(index(id))
            && let Err(at) = node.other_names.binary_search(&name)
        {
            node.other_names.insert(at, name);
        }
    }

    /// Sets what is known of a scanned file, and links it.
    fn set(&mut self, id: NodeId, found: Found) {
        let at = index(id);
        let file = found.stat.as_ref().map(|stat| stat.id);
        let is_same_file = self.nodes.get(at).and_then(Node::file_id) == file;
        if !is_same_file {
            self.forget_file(id);
        }
        let Some(node) = self.nodes.get_mut(at) else {
            return;
        };
        let overruled = self.growth.overruled.remove(&id);
        let old = match overruled {
            Some((_, backing)) => backing,
            None => node.backing.take(),
        };
        node.stat = found.stat;
        node.content = found.content;
        node.backing = found.backing;
        let (old, new) = (
            Claim::of(old.as_deref()),
            Claim::of(node.backing.as_deref()),
        );
        self.retell(id);
        if !is_same_file {
            self.note_file(id);
        }
        self.claim(old, |count| count.saturating_sub(1));
        self.claim(new, |count| count.saturating_add(1));
        self.set_edges(id, found.also);
        self.overrule(id);
        self.link(id);
        self.set_holders(id, found.holders);
    }

    /// The content of a node changed: its problems, those of its children, and those of images that
    /// miss one of its name are told anew.
    fn retell(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(index(id)) else {
            return;
        };
        let growth = &mut self.growth;
        growth.dirty.insert(id);
        growth.dirty.extend(node.children.iter().copied());
        if let Some(children) = growth.pending.get(&Some(id)) {
            growth.dirty.extend(children);
        }
        if let Some(name) = node.path.file_name()
            && growth.of_name(&self.nodes, name).contains(&id)
        {
            growth.retell_missing(&self.nodes, name);
        }
    }

    /// Counts what a link says.
    fn claim(&mut self, claim: Option<Claim>, change: impl Fn(u32) -> u32) {
        let Some(Claim { file, is_raw }) = claim else {
            return;
        };
        let claims = &mut self.growth.claims;
        match claims.get_mut(&file) {
            Some(known) if is_raw => {
                known.raw = change(known.raw);
                if known.raw == 0 {
                    claims.remove(&file);
                }
            }
            Some(known) => known.other = change(known.other),
            None if is_raw => {
                let raw = change(0);
                let other = self.other_claims(file);
                if raw > 0 {
                    self.growth.claims.insert(file, Claims { raw, other });
                }
            }
            // Of most files nobody ever says that they are raw.
            None => return,
        }
        if let Some(id) = self.of_file(file)
            && self.overrule(id)
        {
            self.link(id);
        }
    }

    /// How many name this file as a backing file of a format other than raw.
    fn other_claims(&self, file: FileId) -> u32 {
        let members = self.of_file(file).map(|id| self.members(id));
        let members = members.into_iter().flatten();
        let shown = members.filter_map(|id| self.get(id)?.backing.as_deref());
        let hidden = self.growth.overruled.values();
        let hidden = hidden.filter_map(|(_, backing)| backing.as_deref());
        let is_raw = false;
        let says_other = |link: &&Backing| Claim::of(Some(link)) == Some(Claim { file, is_raw });
        u32::try_from(shown.chain(hidden).filter(says_other).count()).unwrap_or(u32::MAX)
    }

    /// A file that is recorded as raw by all that are built on it is raw, whatever magic number its
    /// guest wrote into it. True if this changed the node.
    fn overrule(&mut self, id: NodeId) -> bool {
        let at = index(id);
        let Some(node) = self.nodes.get(at) else {
            return false;
        };
        let claims = node
            .file_id()
            .and_then(|file| self.growth.claims.get(&file))
            .copied()
            .unwrap_or_default();
        let is_raw = claims.raw > 0 && claims.other == 0;
        let overruled = self.growth.overruled.contains_key(&id);
        let looks_otherwise = matches!(
            node.content,
            Content::Qcow2(_) | Content::Opaque(_) | Content::Damaged(_)
        ) && node.whereabouts.is_met();
        if is_raw && !overruled && looks_otherwise {
            // A link that is hidden follows no change of the name that its end shows.
            let backing = self.whole_link(node);
            if let Some(node) = self.nodes.get_mut(at) {
                let content = std::mem::replace(&mut node.content, Content::Raw);
                node.backing = None;
                self.growth.overruled.insert(id, (content, backing));
            }
        } else if !is_raw && overruled {
            if let Some((content, backing)) = self.growth.overruled.remove(&id)
                && let Some(node) = self.nodes.get_mut(at)
            {
                node.content = content;
                node.backing = backing;
            }
        } else {
            return false;
        }
        self.retell(id);
        true
    }

    /// What was found in a file that is shown as raw because all that are built on it say so.
    pub(super) fn overruled(&self, id: NodeId) -> Option<&Content> {
        self.growth.overruled.get(&id).map(|(content, _)| content)
    }

    /// Remembers a scanned image by its file name, for images that miss one of that name.
    fn remember_name(&mut self, id: NodeId) {
        let node = self.nodes.get(index(id));
        let Some(node) = node.filter(|node| !node.is_in_trash()) else {
            return;
        };
        let Some(name) = node.path.file_name() else {
            return;
        };
        let known = self.growth.of_name(&self.nodes, name);
        let at = known.partition_point(|other| self.order(*other, id).is_lt());
        if at >= CANDIDATES {
            return;
        }
        self.growth.retell_missing(&self.nodes, name);
        let nodes = &self.nodes;
        let by_name = &mut self.growth.by_name;
        let is_it = |known: &Alike| known.name(nodes) == Some(name);
        match by_name.get_mut(name, is_it) {
            Some(known) => known.change(|ids| {
                ids.insert(at, id);
                ids.truncate(CANDIDATES);
            }),
            None => {
                let key_of = |known: &Alike| known.name(nodes).unwrap_or_default();
                by_name.insert(&name, Alike::One(id), key_of);
            }
        }
    }

    fn forget_name(&mut self, id: NodeId) {
        let Some(name) = self.nodes.get(index(id)).and_then(|n| n.path.file_name()) else {
            return;
        };
        let nodes = &self.nodes;
        let by_name = &mut self.growth.by_name;
        let is_it = |known: &Alike| known.name(nodes) == Some(name);
        match by_name.get_mut(name, is_it) {
            // An empty entry would have no name.
            Some(known) if known.ids() == [id] => by_name.remove(name, is_it),
            Some(known) => known.change(|ids| ids.retain(|other| *other != id)),
            None => {}
        }
        self.growth.retell_missing(nodes, name);
    }

    /// A scanned image of the file name that a node's backing file has, which that one may have become.
    #[must_use]
    pub fn namesake(&self, node: &Node) -> Option<&Node> {
        self.candidate(self.leads_to(node)?, node.id)
    }

    /// A scanned image of the same file name as `missing`, other than `child`.
    pub(super) fn candidate(&self, missing: &Path, child: NodeId) -> Option<&Node> {
        let known = self.growth.of_name(&self.nodes, missing.file_name()?);
        known
            .iter()
            .filter(|id| **id != child)
            .find_map(|id| self.get(*id))
    }
}

/// What a file that was met is by its name.
fn whereabouts(path: &Path) -> Whereabouts {
    if is_trashed(path) {
        Whereabouts::InTrash
    } else {
        Whereabouts::Scanned
    }
}

#[cfg(test)]
pub(super) mod tests;
