//! The names of one image: which of them it shows, and where a missing one of that name may have gone.

use std::path::{Path, PathBuf};

use crate::forest::growth::{Alike, Named};
use crate::forest::node::index;
use crate::forest::{Forest, Location, Node, NodeId, ScannedFile};
use crate::image::is_trashed;

/// Images of one file name, ordered by path.
#[derive(Debug, Clone, Default)]
pub struct Namesakes<'f> {
    /// Those that are remembered.
    pub images: Vec<&'f Node>,
    /// Whether there may be others, since no more are remembered.
    pub may_be_more: bool,
}

/// So many images of one name are remembered as candidates for a missing one.
const CANDIDATES: usize = 4;

impl Forest {
    /// Takes in what was found by one of several names of an image that is built on something.
    pub(super) fn take_name(&mut self, id: NodeId, found: ScannedFile) {
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
                node.location = location(&best.path);
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
                ScannedFile {
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

    /// Gives a node another name to show.
    pub(super) fn rename(&mut self, id: NodeId, path: PathBuf, symlink: bool) {
        self.leave_list(id);
        self.keep_name(id, &path);
        if let Some(node) = self.nodes.get_mut(index(id)) {
            node.other_names.retain(|name| *name != path);
            node.symlink = symlink;
            let parent = node.parent;
            let is_other = node.path != path;
            let old = std::mem::replace(&mut node.path, path);
            self.growth.unlisted.entry(parent).or_default().push(id);
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

    pub(super) fn other_name(&mut self, id: NodeId, name: PathBuf) {
        if let Some(node) = self.nodes.get_mut(index(id))
            && let Err(at) = node.other_names.binary_search(&name)
        {
            node.other_names.insert(at, name);
        }
    }

    /// Where the backing names of an image lead that goes by several names, by each of these.
    pub(in crate::forest) fn by_other_names(
        &self,
        id: NodeId,
    ) -> impl Iterator<Item = (&Path, &Path)> {
        let names = self.growth.names.get(&id).into_iter().flatten();
        names.filter_map(|name| Some((&*name.path, name.backing.as_ref()?.path.as_deref()?)))
    }

    /// Remembers a scanned image by its file name, for images that miss one of that name.
    pub(super) fn remember_name(&mut self, id: NodeId) {
        let node = self.nodes.get(index(id));
        let Some(node) = node.filter(|node| !node.is_in_trash()) else {
            return;
        };
        let Some(name) = node.path.file_name() else {
            return;
        };
        let known = self.growth.of_name(&self.nodes, name);
        let at = known.partition_point(|other| self.order(*other, id).is_lt());
        let is_new = known.len() >= CANDIDATES && self.growth.left_out.insert(name.to_owned());
        if at < CANDIDATES || is_new {
            self.growth.retell_missing(&self.nodes, name);
        }
        if at >= CANDIDATES {
            return;
        }
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

    pub(super) fn forget_name(&mut self, id: NodeId) {
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

    /// The scanned images of the file name that a node's backing file has: that one may have become one of them.
    #[must_use]
    pub fn namesakes(&self, node: &Node) -> Namesakes<'_> {
        let path = self.leads_to(node);
        path.map_or_else(Namesakes::default, |path| self.namesakes_of(path, node.id))
    }

    /// The scanned images of the same file name as `missing`, other than `child`.
    pub(in crate::forest) fn namesakes_of(&self, missing: &Path, child: NodeId) -> Namesakes<'_> {
        let Some(name) = missing.file_name() else {
            return Namesakes::default();
        };
        let known = self.growth.of_name(&self.nodes, name);
        let others = known.iter().filter(|id| **id != child);
        Namesakes {
            images: others.filter_map(|id| self.get(*id)).collect(),
            may_be_more: self.growth.left_out.contains(name),
        }
    }
}

/// What a file that was met is by its name.
pub(super) fn location(path: &Path) -> Location {
    if is_trashed(path) {
        Location::InTrash
    } else {
        Location::Scanned
    }
}
