//! A filesystem for tests, whose root has names without end, and which tells of free runs without end.

use std::collections::HashSet;
use std::ops::{ControlFlow, Range};

use crate::error::{Error, Result};
use crate::filesystem::{
    Candidates, Condition, Entry, FileExtent, Filesystem, Links, Node, NodeId, NodeKind, Summary,
    Use,
};
use crate::ranges::Ranges;

/// It ends only where whoever asks it does.
#[derive(Debug)]
pub(crate) struct Endless(Summary);

impl Endless {
    pub(crate) fn new() -> Self {
        Self(Summary {
            kind: "endless",
            label: Vec::new(),
            uuid: String::new(),
            block_size: 1,
            total: u64::MAX,
            used: None,
            written: None,
            condition: Condition::Clean,
        })
    }
}

impl Filesystem for Endless {
    fn summary(&self) -> &Summary {
        &self.0
    }

    fn root(&self) -> NodeId {
        NodeId::new(0)
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        Ok(Node {
            id,
            kind: match id.number {
                0 => NodeKind::Directory,
                _ => NodeKind::File,
            },
            size: 0,
            allocated: 0,
            mode: 0,
            uid: 0,
            gid: 0,
            links: 1,
            modified: None,
            changed: None,
            generation: 0,
            digest: 0,
        })
    }

    fn entries(
        &self,
        _directory: NodeId,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        for number in 1.. {
            let entry = Entry {
                name: b"name",
                id: NodeId::new(number),
                kind: None,
            };
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, _file: NodeId, _offset: u64, _buf: &mut [u8]) -> Result<usize> {
        Ok(0)
    }

    fn link_target(&self, _link: NodeId) -> Result<Vec<u8>> {
        Err(Error::NotAFile(b"no link"[..].into()))
    }

    fn extents(&self, _id: NodeId) -> Result<Vec<FileExtent>> {
        Ok(Vec::new())
    }

    fn candidates(&self, _changed: &Ranges) -> Result<Candidates> {
        Ok(Candidates::All)
    }

    fn links(&self, _wanted: &HashSet<NodeId>) -> Result<Links> {
        Ok(Links::new())
    }

    fn usage(&self, each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>) -> Result<()> {
        (0..u64::MAX - 1)
            .step_by(2)
            .try_for_each(|at| each(at..at + 1, Use::Free))
    }

    fn doubt(&self) -> Result<Option<String>> {
        Ok(None)
    }
}
