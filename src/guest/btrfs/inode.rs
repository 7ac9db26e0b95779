//! An inode: what is recorded of a file.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::format::{FIRST_FREE, InodeItem, Key, LAST_FREE, Timespec, kind};
use super::tree::Item;
use super::volume::Btrfs;
use crate::digest::Digest;
use crate::error::{Error, Printable, Result};
use crate::filesystem::{Node, NodeId, NodeKind};

/// In the number of a node that is only a place: an entry for a subvolume that is elsewhere. No inode has a number as
/// high; what is added to it is the number of the subvolume.
const EMPTY: u64 = 1 << 63;

/// The empty directory that a directory's entry for a subvolume leads to in a snapshot.
pub(super) const fn empty_directory(tree: u64, subvolume: u64) -> NodeId {
    NodeId {
        tree,
        number: EMPTY | subvolume,
    }
}

/// Whether a node is one of those empty directories.
pub(super) fn is_empty_directory(id: NodeId) -> bool {
    id.number & EMPTY != 0 && id.number <= LAST_FREE
}

/// As errors call it.
pub(super) fn name(id: NodeId) -> Printable {
    Printable(format!("inode {} of subvolume {}", id.number, id.tree).into_bytes())
}

/// The keys of an inode's items of one kind.
pub(super) const fn keys(id: NodeId, kind: u8) -> std::ops::RangeInclusive<Key> {
    Key::new(id.number, kind, 0)..=Key::new(id.number, kind, u64::MAX)
}

/// Whether an inode is a directory.
pub(super) fn is_directory(inode: &InodeItem) -> bool {
    inode.mode.get() >> 12 == 0o04
}

/// Whether an inode is a regular file.
pub(super) fn is_file(inode: &InodeItem) -> bool {
    inode.mode.get() >> 12 == 0o10
}

impl Btrfs {
    /// What is recorded of an inode; none where there is no such inode.
    pub(super) fn find_inode(&self, id: NodeId) -> Result<Option<Node>> {
        if is_empty_directory(id) {
            return Ok(Some(empty(id)));
        }
        if !(FIRST_FREE..=LAST_FREE).contains(&id.number) {
            return Ok(None);
        }
        let (mut node, mut digest) = (None, Digest::new());
        // Extended attributes lie behind the inode, with nothing but its names between.
        let (first, _) = keys(id, kind::INODE_ITEM).into_inner();
        let (_, last) = keys(id, kind::XATTR_ITEM).into_inner();
        self.tree(id.tree)?
            .scan(&self.blocks, first..=last, &mut |item| {
                match item.key.kind {
                    kind::INODE_ITEM if item.key.offset == 0 => {
                        node = Some(decode(&item, id)?);
                        digest = digest.with(&counted(&item)?);
                    }
                    kind::XATTR_ITEM => digest = digest.with(item.data),
                    _ => {}
                }
                Ok(ControlFlow::Continue(()))
            })?;
        Ok(node.map(|node| Node {
            digest: digest.value(),
            ..node
        }))
    }

    /// The same, which has to be there.
    pub(super) fn inode(&self, id: NodeId) -> Result<Node> {
        self.find_inode(id)?
            .ok_or_else(|| Error::NotFound(name(id)))
    }
}

/// An inode without its digest.
fn decode(item: &Item<'_>, id: NodeId) -> Result<Node> {
    let (inode, _) = item.read::<InodeItem>()?;
    let mode = inode.mode.get();
    let kind = match mode >> 12 {
        0o10 => NodeKind::File,
        0o04 => NodeKind::Directory,
        0o12 => NodeKind::Symlink,
        0o01 | 0o02 | 0o06 | 0o14 => NodeKind::Special,
        _ => return Err(item.damaged(format!("mode is {mode:#o}"))),
    };
    Ok(Node {
        id,
        kind,
        size: inode.size.get(),
        allocated: inode.nbytes.get(),
        mode,
        uid: inode.uid.get(),
        gid: inode.gid.get(),
        links: inode.nlink.get(),
        modified: time(&inode.mtime),
        changed: time(&inode.ctime),
        generation: inode.generation.get(),
        digest: 0,
    })
}

/// What of an inode counts for its digest: not the time of the last access, nor what counts writes of the record.
pub(super) fn counted(item: &Item<'_>) -> Result<Vec<u8>> {
    let (inode, _) = item.read::<InodeItem>()?;
    let fields = [
        inode.generation.get(),
        inode.size.get(),
        inode.nbytes.get(),
        u64::from(inode.nlink.get()),
        u64::from(inode.uid.get()),
        u64::from(inode.gid.get()),
        u64::from(inode.mode.get()),
        inode.rdev.get(),
        inode.flags.get(),
    ];
    let times = [&inode.ctime, &inode.mtime, &inode.otime];
    let times = times.map(|time| [time.sec.get(), u64::from(time.nsec.get())]);
    let words = fields.into_iter().chain(times.into_iter().flatten());
    Ok(words.flat_map(u64::to_le_bytes).collect())
}

/// What the kernel shows of a directory that stands for a subvolume elsewhere.
const fn empty(id: NodeId) -> Node {
    Node {
        id,
        kind: NodeKind::Directory,
        size: 0,
        allocated: 0,
        mode: 0o40755,
        uid: 0,
        gid: 0,
        links: 1,
        modified: None,
        changed: None,
        generation: 0,
        digest: 0,
    }
}

/// A time; none where it is outside of what can be said.
fn time(stored: &Timespec) -> Option<SystemTime> {
    let seconds = stored.sec.get().cast_signed();
    let since = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 {
        UNIX_EPOCH.checked_sub(since)
    } else {
        UNIX_EPOCH.checked_add(since)
    };
    let nanoseconds = Some(stored.nsec.get()).filter(|nsec| *nsec < 1_000_000_000);
    whole?.checked_add(Duration::from_nanos(nanoseconds?.into()))
}
