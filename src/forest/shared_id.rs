//! When what two machines tell of is the same file of storage that both see. What they make of it together is in
//! `far/gather`.
//!
//! The name that the storage has for it is not enough: two servers may be called alike, and whoever speaks for another
//! machine may say anything. So the name has to be joined by what only those know who see the file: its inode number
//! where the server gives it out, else its length and the second of its last change, and in both cases what its header
//! says. Who can tell all of this reads the file as well; and what it says of the file is never taken for what the
//! machine says that comes first.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::host::{FileId, Stat};
use crate::json_text::json_name;

use super::node::index;
use super::{Backing, Content, Forest, Node, ScannedFile, Sharing};

/// Which file of shared storage it is: whoever tells the same sees the same file.
pub type SharedId = [u8; 32];

/// What tells a file from all others; none of one that could not be read.
fn id(
    sharing: &Sharing,
    stat: Option<&Stat>,
    content: &Content,
    backing: Option<&Backing>,
) -> Option<SharedId> {
    let stat = stat?;
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(sharing.name.as_os_str().as_bytes());
    match sharing.keeps_inodes {
        true => add(&stat.id.inode.to_le_bytes()),
        false => {
            let modified = stat.modified.duration_since(UNIX_EPOCH);
            add(&stat.len.to_le_bytes());
            add(&modified.map_or(0, |since| since.as_secs()).to_le_bytes());
        }
    }
    match content {
        Content::Qcow2(info) => {
            add(b"qcow2");
            add(&info.version.to_le_bytes());
            add(&info.cluster_size.to_le_bytes());
            add(&info.virtual_size.to_le_bytes());
        }
        Content::Raw => add(b"raw"),
        Content::Opaque(format) => add(format.name().as_bytes()),
        Content::Damaged(_) => add(b"damaged"),
        Content::Unreadable(_) | Content::Unopened => return None,
    }
    if let Some(backing) = backing {
        add(backing.name().as_bytes());
    }
    Some(hash.finalize().into())
}

impl ScannedFile {
    /// Which file of shared storage it is; none of one that is of one machine alone, or could not be read.
    #[must_use]
    pub fn shared_id(&self) -> Option<SharedId> {
        let sharing = self.sharing.as_deref()?;
        id(
            sharing,
            self.stat.as_ref(),
            &self.content,
            self.backing.as_deref(),
        )
    }
}

impl Forest {
    /// The same of an image, by what was found in it.
    #[must_use]
    pub fn shared_id(&self, node: &Node) -> Option<SharedId> {
        let sharing = node.sharing.as_deref()?;
        let (content, backing) = match self.growth.overruled.get(&node.id) {
            Some((content, backing)) => (content, backing),
            None => (&node.content, &node.backing),
        };
        id(sharing, node.stat.as_ref(), content, backing.as_deref())
    }

    /// What programs are told of the storage that an image shares: its name there, and what is the same for all who see
    /// it; none of one that is of one machine alone, or could not be read.
    #[must_use]
    pub fn storage_json(&self, node: &Node) -> Option<Value> {
        let sharing = node.sharing.as_deref()?;
        let id = self.shared_id(node)?;
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(
            json!({ "name": json_name(&*sharing.name), "id": id, "read-only": sharing.is_read_only }),
        )
    }

    /// Notes by which names other machines see a file.
    pub(super) fn see(&mut self, file: FileId, names: Vec<PathBuf>) {
        let id = self.by_file(file).map(|node| node.id);
        let node = id.and_then(|id| self.nodes.get_mut(index(id)));
        if let Some(sharing) = node.and_then(|node| node.sharing.as_deref_mut()) {
            sharing.seen_as = names;
        }
    }

    /// Forgets what other machines see of the images that are left, have open there, and run.
    pub(super) fn forget_others(&mut self) {
        self.note_far_machines(Arc::default());
        let mut held = HashMap::new();
        for node in &mut self.nodes {
            let Some(sharing) = node.sharing.as_deref_mut() else {
                continue;
            };
            sharing.seen_as.clear();
            if let Some(stat) = &node.stat
                && node.holders.iter().any(|holder| holder.host.is_some())
            {
                let own = node.holders.iter().filter(|holder| holder.host.is_none());
                held.insert(stat.id, own.cloned().collect());
            }
        }
        if !held.is_empty() {
            self.hold(held);
        }
    }
}
