//! How the forest grows: each found file becomes a node, a further name of one, or the file behind a
//! node so far only named; links are made by file identity first, then by path.
//!
//! Nothing here recurses and nothing walks a chain more than once, so that a chain of a hundred
//! thousand layers, or as many layers on one base, cost no more a node than a short one.

mod claims;
mod forget;
mod links;
mod lists;
mod loops;
mod names;

use std::collections::HashMap;

use thin_vec::ThinVec;

use crate::host::{FileId, Holder};

use super::edges::by_other_name;
use super::growth::Claim;
use super::node::index;
use super::written::written_under;
use super::{Content, Edge, Forest, Location, Node, NodeId, ScannedFile, problem_text};
use names::location;

pub use names::Namesakes;

impl Forest {
    /// Takes in one found file: a new node, a further name of a known one, or the file behind a
    /// node that was so far only named by its children. Returns its node. A file that comes again
    /// under the same name replaces what was known of it.
    ///
    /// For many files [`Forest::extend`] is cheaper.
    pub fn add(&mut self, found: ScannedFile) -> NodeId {
        let id = self.take(found);
        self.settle();
        id
    }

    /// [`Forest::add`] for many files at once.
    pub fn extend(&mut self, found: impl IntoIterator<Item = ScannedFile>) {
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

    /// Brings everything that follows from the links up to date.
    fn settle(&mut self) {
        self.merge_lists();
        self.drop_deserted();
        if std::mem::take(&mut self.growth.relinked) {
            self.rejoin();
        }
        let dirty = std::mem::take(&mut self.growth.dirty);
        for id in &dirty {
            if self.get(*id).is_some() {
                let problems = problem_text::problems_of(self, *id);
                if let Some(node) = self.nodes.get_mut(index(*id)) {
                    node.problems = problems;
                }
            }
        }
        self.inherit(&dirty);
        self.generation += 1;
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

    fn take(&mut self, mut found: ScannedFile) -> NodeId {
        let file = found.stat.as_ref().map(|stat| stat.id);
        let by_file = file.and_then(|file| self.by_file(file)).map(|node| node.id);
        // What is only called so, and is no file, is not the one that was met.
        let is_file = |node: &&Node| node.location != Location::Elsewhere;
        let by_path = || self.by_path(&found.path).filter(is_file);
        let known = by_file.or_else(|| by_path().map(|node| node.id));
        let location = location(&found.path);
        let is_trashed = location == Location::InTrash;
        let Some(id) = known else {
            let id = self.push(Node {
                id: NodeId(0),
                path: std::mem::take(&mut found.path),
                symlink: found.symlink,
                other_names: ThinVec::new(),
                location,
                stat: None,
                content: Content::Unopened,
                backing: None,
                parent: None,
                children: ThinVec::new(),
                in_loop: false,
                holders: ThinVec::new(),
                annotation: None,
                sharing: None,
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
        if !node.location.is_met() {
            self.rename(id, std::mem::take(&mut found.path), found.symlink);
            self.note_shown_name(id);
            if let Some(node) = self.nodes.get_mut(at) {
                node.location = location;
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
                node.location = location;
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
        self.growth.unlisted.entry(None).or_default().push(id);
        id
    }

    /// Sets what is known of a scanned file, and links it.
    fn set(&mut self, id: NodeId, found: ScannedFile) {
        let at = index(id);
        let file = found.stat.as_ref().map(|stat| stat.id);
        let before = self.nodes.get(at).and_then(Node::file_id);
        let is_same_file = before == file;
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
        node.annotation = found.annotation;
        node.sharing = found.sharing;
        node.backing = found.backing;
        let (old, new) = (
            Claim::by(before, old.as_deref()),
            Claim::by(file, node.backing.as_deref()),
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
        if let Some(children) = growth.unlisted.get(&Some(id)) {
            growth.dirty.extend(children);
        }
        if let Some(name) = node.path.file_name()
            && growth.of_name(&self.nodes, name).contains(&id)
        {
            growth.retell_missing(&self.nodes, name);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
