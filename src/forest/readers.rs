//! Who reads a file: its overlays, and all others that do so by another way than a plain backing name. What
//! that means for an operation is not decided here.

use std::path::Path;

use crate::host::FileId;

use super::{Backing, Edge, Forest, Node, NodeId, Reads};

/// An image that reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reader {
    /// The image.
    pub node: NodeId,
    /// How it reads the file.
    pub how: Reads,
}

impl Forest {
    /// What an image reads besides its backing file, each file by each way once.
    #[must_use]
    pub fn also_reads(&self, id: NodeId) -> &[Edge] {
        // Of a file that is raw as all say who read it, nothing that stands in it counts.
        match self.get(id).is_some() && self.overruled(id).is_none() {
            true => self.edges.of(id),
            false => &[],
        }
    }

    /// Every image that reads this one, and how: its children, and whoever reads it by another way.
    #[must_use]
    pub fn readers(&self, id: NodeId) -> Vec<Reader> {
        let Some(node) = self.get(id) else {
            return Vec::new();
        };
        let children = node.children.iter().map(|child| Reader {
            node: *child,
            how: self.how(*child),
        });
        let mut readers: Vec<Reader> = children.collect();
        if let Some(file) = node.file_id() {
            let others = self.readers_by_other_ways(file);
            readers.extend(others.filter(|reader| reader.node != id));
        }
        readers
    }

    /// Who reads this file, which need not be one of the forest, by another way than the plain link of a
    /// child to its parent.
    pub fn readers_by_other_ways(&self, file: FileId) -> impl Iterator<Item = Reader> {
        let ids = self.edges.by_file.get(&file);
        ids.into_iter().flatten().flat_map(move |id| {
            let edges = self.also_reads(*id).iter();
            let here = edges.filter(move |edge| edge.file == file);
            here.map(|edge| Reader {
                node: *id,
                how: edge.how,
            })
        })
    }

    /// Whether an image outside the trash is built on this one by another way than a child is.
    pub(super) fn is_read_otherwise(&self, node: &Node) -> bool {
        let counts = |reader: Reader| {
            reader.node != node.id
                && reader.how != Reads::DataFile
                && self.get(reader.node).is_some_and(|it| !it.is_in_trash())
        };
        node.file_id()
            .is_some_and(|file| self.readers_by_other_ways(file).any(counts))
    }

    /// Every file that an image reads as its backing file or in a way not understood, with the name of the
    /// image from which it does.
    pub(super) fn links<'f>(&'f self, node: &'f Node) -> Vec<(&'f Path, &'f Path)> {
        let mut links: Vec<(&Path, &Path)> = Vec::new();
        if let Some(end) = self.leads_to(node) {
            links.push((&node.path, end));
        }
        let by_others = self
            .by_other_names(node.id)
            .filter(|(name, _)| *name != node.path);
        links.extend(by_others);
        let edges = self.also_reads(node.id).iter();
        let edges = edges.filter(|edge| edge.how == Reads::NotUnderstood);
        links.extend(edges.map(|edge| (node.path.as_path(), &*edge.path)));
        links.sort_unstable();
        links.dedup();
        links
    }

    /// How a child reads its parent.
    fn how(&self, child: NodeId) -> Reads {
        let link = self.get(child).and_then(|node| node.backing.as_deref());
        match link.is_some_and(Backing::is_understood) {
            true => Reads::Backing,
            false => Reads::NotUnderstood,
        }
    }

    /// Whether it is not understood how an image reads its backing file.
    #[must_use]
    pub fn is_not_understood(&self, id: NodeId) -> bool {
        let link = self.get(id).and_then(|node| node.backing.as_deref());
        link.is_some_and(|link| !link.is_understood())
    }
}
