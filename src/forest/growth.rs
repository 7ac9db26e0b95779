//! What growing remembers between one found file and the next. How it is used is in `insert`.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use thin_vec::ThinVec;

use crate::host::FileId;
use crate::image::{Format, is_trashed};

use super::node::index;
use super::table::Table;
use super::{Backing, BackingState, Content, Edge, Node, NodeId, ScannedFile};

/// What growing remembers between one found file and the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Growth {
    /// Joins the nodes of one tree (union-find): a link between two nodes that are joined already
    /// closes a loop.
    pub(super) joined: Vec<u32>,
    /// How often each file that is named as a backing file of format raw is named so, and of any other
    /// format.
    pub(super) claims: HashMap<FileId, Claims>,
    /// What was found in files that are shown as raw because every image built on them says so.
    pub(super) overruled: HashMap<NodeId, (Content, Option<Box<Backing>>)>,
    /// Of images that are built on something and go by several names: what was found by each. A relative
    /// backing name leads elsewhere from another folder.
    pub(super) names: HashMap<NodeId, Vec<Named>>,
    /// Scanned images by file name, the first few in order: where a missing one may have gone.
    pub(super) by_name: Table<Alike>,
    /// File names of which more images were met than are remembered.
    pub(super) left_out: HashSet<OsString>,
    /// Missing nodes by file name.
    pub(super) missing: HashMap<OsString, Vec<NodeId>>,
    /// New members of each list of children (none: the nodes without parent), not yet in it.
    pub(super) unlisted: HashMap<Option<NodeId>, Vec<NodeId>>,
    /// Nodes whose problems are to be told anew.
    pub(super) dirty: HashSet<NodeId>,
    /// Nodes that lost a child and may now be named by nobody.
    pub(super) deserted: Vec<NodeId>,
    /// Whether a link was changed, not only added.
    pub(super) relinked: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Claims {
    pub(super) raw: u32,
    pub(super) other: u32,
}

/// What one link says of the format of the file at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) file: FileId,
    pub(super) is_raw: bool,
}

impl Claim {
    /// What the link of this file says; nothing where it leads to another machine's, of which that machine's own tell.
    pub(super) fn by(of: Option<FileId>, link: Option<&Backing>) -> Option<Self> {
        let machine = of?.machine();
        Self::of(link).filter(|claim| claim.file.machine() == machine)
    }

    fn of(link: Option<&Backing>) -> Option<Self> {
        let link = link?;
        let BackingState::Present(file) = link.state else {
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
pub(super) struct Named {
    pub(super) path: PathBuf,
    pub(super) symlink: bool,
    pub(super) backing: Option<Box<Backing>>,
    pub(super) also: Vec<Edge>,
}

impl Named {
    pub(super) fn of(found: &ScannedFile) -> Self {
        Self {
            path: found.path.clone(),
            symlink: found.symlink,
            backing: found.backing.clone(),
            also: found.also.clone(),
        }
    }

    /// The least is shown: a name by which the image can be opened, then one that is no link.
    pub(super) fn rank(&self) -> (bool, bool, bool, &Path) {
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

/// Nodes of one file name: mostly it is only one.
#[derive(Debug, Clone)]
pub(super) enum Alike {
    One(NodeId),
    More(ThinVec<NodeId>),
}

impl Alike {
    pub(super) fn ids(&self) -> &[NodeId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::More(ids) => ids,
        }
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut ThinVec<NodeId>)) {
        let mut ids = ThinVec::from(self.ids());
        change(&mut ids);
        *self = match *ids {
            [one] => Self::One(one),
            _ => Self::More(ids),
        };
    }

    /// The file name that all of these have.
    pub(super) fn name<'a>(&self, nodes: &'a [Node]) -> Option<&'a OsStr> {
        nodes.get(index(*self.ids().first()?))?.path.file_name()
    }
}

impl Growth {
    /// Scanned images of that file name, the first few in order.
    pub(super) fn of_name(&self, nodes: &[Node], name: &OsStr) -> &[NodeId] {
        let known = self
            .by_name
            .get(name, |known| known.name(nodes) == Some(name));
        known.map_or(&[], Alike::ids)
    }

    /// Images that miss one of this name may have another file to propose.
    pub(super) fn retell_missing(&mut self, nodes: &[Node], name: &OsStr) {
        for missing in self.missing.get(name).map_or(&[][..], Vec::as_slice) {
            if let Some(node) = nodes.get(index(*missing)) {
                self.dirty.extend(node.children.iter().copied());
            }
        }
    }
}
