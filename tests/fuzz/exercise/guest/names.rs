//! What a system says of itself in `/etc/os-release` and `/etc/hostname`, in a guest that has nothing but these.

use std::ops::{ControlFlow, Range};

use qanopy_guest::filesystem::{
    Candidates, Condition, Entry, FileExtent, Links, Node, NodeId, NodeKind, Summary, Use,
};
use qanopy_guest::{Error, Filesystem, Ranges, Result, system};

/// Looks which system there is where both files hold this.
pub(crate) fn system(data: &[u8]) {
    let guest = TwoFiles {
        content: data.to_vec(),
        summary: Summary {
            kind: "two files",
            label: Vec::new(),
            uuid: String::new(),
            block_size: 512,
            total: 1 << 20,
            used: None,
            written: None,
            condition: Condition::Clean,
        },
    };
    let Some(found) = system::system(&guest).unwrap() else {
        return;
    };
    for text in [
        Some(found.id),
        Some(found.name),
        found.version,
        found.hostname,
    ] {
        let text = text.unwrap_or_default();
        assert!(
            text.len() <= 4096 && !text.chars().any(char::is_control),
            "{text:?}"
        );
    }
}

/// A root with a folder `etc` with two files of the same content.
#[derive(Debug)]
struct TwoFiles {
    content: Vec<u8>,
    summary: Summary,
}

const ETC: u64 = 2;
const NAMES: [(&str, u64); 2] = [("os-release", 3), ("hostname", 4)];

impl Filesystem for TwoFiles {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn root(&self) -> NodeId {
        NodeId::new(1)
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        let is_folder = id.number <= ETC;
        Ok(Node {
            id,
            kind: if is_folder {
                NodeKind::Directory
            } else {
                NodeKind::File
            },
            size: if is_folder {
                0
            } else {
                self.content.len() as u64
            },
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
        directory: NodeId,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let entries: &[(&str, u64)] = if directory.number == ETC {
            &NAMES
        } else {
            &[("etc", ETC)]
        };
        for (name, number) in entries {
            let entry = Entry {
                name: name.as_bytes(),
                id: NodeId::new(*number),
                kind: None,
            };
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, _file: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let from = usize::try_from(offset).unwrap().min(self.content.len());
        let len = buf.len().min(self.content.len() - from);
        buf[..len].copy_from_slice(&self.content[from..from + len]);
        Ok(len)
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

    fn links(&self, _wanted: &std::collections::HashSet<NodeId>) -> Result<Links> {
        Ok(Links::new())
    }

    fn usage(&self, _each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>) -> Result<()> {
        Ok(())
    }

    fn doubt(&self) -> Result<Option<String>> {
        Ok(None)
    }
}
