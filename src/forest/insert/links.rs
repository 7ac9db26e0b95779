//! From an overlay to what it is built on: the node at the end of its link.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use thin_vec::ThinVec;

use crate::forest::node::index;
use crate::forest::{Backing, BackingState, Content, Forest, Location, Node, NodeId};
use crate::host::FileId;
use crate::image::unresolvable;

impl Forest {
    /// Joins a node to the node its backing link leads to.
    pub(super) fn link(&mut self, id: NodeId) {
        let at = index(id);
        let Some(node) = self.nodes.get(at) else {
            return;
        };
        let old = node.parent;
        let overlay = node.path.clone();
        let backing = self.whole_link(node);
        let machine = node.file_id().map_or(0, FileId::machine);
        let new = backing.map(|backing| self.end_of(&overlay, machine, &backing));
        self.name_shared(id, new);
        self.growth.dirty.insert(id);
        if old == new {
            return;
        }
        self.leave_list(id);
        if let Some(node) = self.nodes.get_mut(at) {
            node.parent = new;
        }
        self.growth.unlisted.entry(new).or_default().push(id);
        if let Some(old) = old {
            self.growth.relinked = true;
            self.growth.deserted.push(old);
        }
        if let Some(new) = new
            && !self.growth.relinked
        {
            self.join(id, new);
            if self.in_use.get(at) == Some(&true) {
                self.spread_use(new);
            }
        }
    }

    /// The node at the end of a backing link; made if nothing is known of it yet.
    pub(super) fn end_of(&mut self, overlay: &Path, machine: u64, backing: &Backing) -> NodeId {
        let path = match &backing.path {
            None => PathBuf::from(backing.name()),
            Some(path) if path.as_os_str().is_empty() => overlay.to_path_buf(),
            Some(path) => path.to_path_buf(),
        };
        let file: Option<FileId> = match &backing.state {
            BackingState::Present(file) => Some(*file),
            _ => None,
        };
        let stat = backing.outside.as_deref();
        if let Some(file) = file
            && let Some(id) = self.by_file(file).map(|node| node.id)
        {
            self.also_named(id, path);
            return id;
        }
        // A name that is no file's stands for none, whatever it looks like, and the other way round.
        let is_elsewhere = matches!(backing.state, BackingState::Elsewhere(_));
        let is_alike = |node: &&Node| match (node.location, is_elsewhere) {
            (Location::Elsewhere, true) => self.is_named_on(node.id, machine),
            (Location::Elsewhere, false) => false,
            (_, is_elsewhere) => !is_elsewhere,
        };
        let by_path = self.by_path(&path).filter(is_alike).map(|node| node.id);
        match (by_path, file) {
            (Some(id), None) => return id,
            (Some(id), Some(file)) => {
                if let Some(node) = self.nodes.get_mut(index(id))
                    && node.stat.is_none()
                {
                    node.stat = stat.cloned();
                    if node.location == Location::Missing {
                        node.location = Location::OutsideScan;
                    }
                    self.await_file(id, file);
                    return id;
                }
            }
            (None, _) => {}
        }
        let location = match &backing.state {
            BackingState::Present(_) | BackingState::Unreachable(_) => Location::OutsideScan,
            BackingState::Missing => Location::Missing,
            BackingState::Elsewhere(_) => Location::Elsewhere,
        };
        let id = self.push(Node {
            id: NodeId(0),
            path: path.clone(),
            symlink: false,
            other_names: ThinVec::new(),
            location,
            stat: stat.cloned(),
            content: match &backing.state {
                BackingState::Unreachable(why) => Content::Unreadable(why.to_string()),
                _ => Content::Unopened,
            },
            backing: None,
            parent: None,
            children: ThinVec::new(),
            in_loop: false,
            holders: ThinVec::new(),
            annotation: None,
            sharing: None,
            problems: ThinVec::new(),
        });
        if let Some(file) = file {
            self.await_file(id, file);
        }
        if matches!(location, Location::Missing | Location::Elsewhere)
            && let Some(name) = sought(location, &path)
        {
            let missing = &mut self.growth.missing;
            missing.entry(name).or_default().push(id);
        }
        if self.by_path(&path).is_none() {
            self.note_name(&path, id);
        }
        id
    }

    /// Whether what is only named is named by images of that machine; those of others mean something else by it.
    fn is_named_on(&self, id: NodeId, machine: u64) -> bool {
        let unlisted = self.growth.unlisted.get(&Some(id)).into_iter().flatten();
        let mut members = self.list(Some(id)).iter().chain(unlisted);
        let first = members.find_map(|id| self.get(*id)?.file_id());
        first.is_none_or(|file| file.machine() == machine)
    }

    /// A link to what is shown by the path that it leads to needs no path of its own.
    pub(super) fn name_shared(&mut self, id: NodeId, end: Option<NodeId>) {
        let shown = end.and_then(|end| self.nodes.get(index(end)));
        let node = self.nodes.get(index(id));
        let link = node.and_then(|node| node.backing.as_deref());
        let (Some(shown), Some(link)) = (shown, link) else {
            return;
        };
        if link.leads_to_a_path()
            && link.path.as_deref() == Some(&shown.path)
            && let Some(node) = self.nodes.get_mut(index(id))
            && let Some(link) = &mut node.backing
        {
            link.path = None;
        }
    }

    /// A node that is only named shows the first of the names it is given.
    pub(super) fn also_named(&mut self, id: NodeId, path: PathBuf) {
        if let Some(node) = self.nodes.get(index(id))
            && node.location == Location::OutsideScan
            && node.path != path
        {
            if path < node.path {
                self.rename(id, path.clone(), false);
            }
            if self.by_path(&path).is_none() {
                self.note_name(&path, id);
            }
        }
    }
}

/// The name of the file that is looked for where nothing is at the end of a link.
fn sought(location: Location, path: &Path) -> Option<OsString> {
    let own = path.file_name();
    let recorded = match location {
        // Beside the overlay, and called as a whole path of Windows.
        Location::Missing => own?,
        _ => path.as_os_str(),
    };
    match unresolvable(recorded) {
        Some(found) => Some(found.file),
        None if location == Location::Missing => own.map(OsStr::to_owned),
        None => None,
    }
}
