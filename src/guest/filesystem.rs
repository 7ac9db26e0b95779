//! What every filesystem can be asked, whichever it is. A reader is a folder of its own with one type that implements
//! [`Filesystem`], and a line in [`crate::readers`].

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::Result;
use crate::ranges::Ranges;

/// Names a node (inode, MFT record, directory entry) within a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// The subvolume of a Btrfs; 0 elsewhere.
    pub tree: u64,
    /// The inode's number, or what stands for it.
    pub number: u64,
}

impl NodeId {
    /// A node of a filesystem without subvolumes.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self { tree: 0, number }
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a FIFO or a socket.
    Special,
}

/// What is recorded of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Which.
    pub id: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// Length in bytes; of a directory what the filesystem says.
    pub size: u64,
    /// Bytes of the volume that its content takes.
    pub allocated: u64,
    /// `st_mode` with the type: of Linux filesystems as stored, of others made up (0755, 0644, read-only 0444).
    pub mode: u32,
    /// Owner; 0 where there is none.
    pub uid: u32,
    /// Group; 0 where there is none.
    pub gid: u32,
    /// Hard links.
    pub links: u32,
    /// When its content changed last.
    pub modified: Option<SystemTime>,
    /// When its metadata changed last (ctime).
    pub changed: Option<SystemTime>,
    /// Tells two files apart that had the same number one after the other (inode generation, sequence number).
    pub generation: u64,
    /// A digest of all that is recorded of it (extended attributes and block map included where the record holds
    /// them), without what changes by reading it: access time, checksums, counters of writes. Nodes of two states of
    /// one filesystem with the same identity, generation and digest have the same metadata.
    pub digest: u64,
}

impl Node {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == NodeKind::Directory
    }
}

/// An entry of a directory; `.` and `..` are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name: bytes as stored; UTF-16 as UTF-8, with lone surrogates as WTF-8.
    pub name: &'a [u8],
    /// The node it leads to.
    pub id: NodeId,
    /// What that is, where the entry says so.
    pub kind: Option<NodeKind>,
}

/// Where a node's entry is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link {
    /// The directory that holds the entry.
    pub parent: NodeId,
    /// The entry's name.
    pub name: Vec<u8>,
}

/// Links to nodes, by node. A file with hard links has some.
pub type Links = HashMap<NodeId, Vec<Link>>;

/// A part of a file's content and where it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileExtent {
    /// Offset within the file, in bytes.
    pub file: u64,
    /// Offset within the volume, in bytes.
    pub volume: u64,
    /// Length in bytes: within the file, and of an extent that is stored as it is, on the volume as well.
    pub len: u64,
    /// Bytes on the volume; less than `len` where compressed.
    pub stored: u64,
    /// Allocated and not written: reads as zeros.
    pub unwritten: bool,
}

/// What bytes of a volume are used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Use {
    /// Content of files.
    FileData,
    /// Inodes, directories, bitmaps, trees, superblocks.
    Metadata,
    /// The journal or log.
    Journal,
    /// Free: what is stored there belongs to no file any more.
    Free,
    /// In use, and what would say for what is damaged.
    Unread,
}

/// Which nodes may differ where these bytes of the volume do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidates {
    /// These at the most, in no order, some perhaps twice.
    Nodes(Vec<NodeId>),
    /// This filesystem cannot tell: all of them.
    All,
}

/// Copies of whole parts of a filesystem, that share all that was not written since, and that only one of two states has.
#[derive(Debug)]
pub struct Snapshots<'a> {
    /// The older state, with every new snapshot as what it is a snapshot of: what differs from it in the newer state is
    /// what was written to the one or the other since.
    pub before: Box<dyn Filesystem + 'a>,
    /// Each of them, in no order.
    pub told: Vec<Snapshot>,
}

/// A snapshot that only one of two states has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Its root directory.
    pub root: NodeId,
    /// The root directory of what it is a snapshot of, in the older state or, where that has it not, in the newer one.
    pub of: NodeId,
    /// Whether the older state has it, and not the newer one. Nodes of it that are no candidates are told by it alone.
    pub is_gone: bool,
}

/// How much can be relied on what a filesystem shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It was unmounted cleanly, or has no journal to ask.
    Clean,
    /// It was not unmounted, and its journal was replayed in memory.
    Replayed,
    /// It was not unmounted, and what its journal holds could not be applied: the newest changes may be missing.
    NotReplayed(String),
}

/// What the superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// `ext4`, `XFS`, `Btrfs`, `NTFS`, `FAT32`.
    pub kind: &'static str,
    /// Its label as stored; empty where there is none.
    pub label: Vec<u8>,
    /// Its UUID or serial number as `blkid` prints it.
    pub uuid: String,
    /// Bytes of a block, cluster or sector, which all extents are multiples of.
    pub block_size: u32,
    /// Bytes it covers.
    pub total: u64,
    /// Bytes in use, where that is recorded; see [`Filesystem::used`].
    pub used: Option<u64>,
    /// When it was written last, where that is recorded.
    pub written: Option<SystemTime>,
    /// How much can be relied on it.
    pub condition: Condition,
}

/// A filesystem as callers hold it.
pub type OpenFilesystem = Arc<dyn Filesystem>;

/// A filesystem on a volume, opened for reading.
///
/// Everything on it is believed only as far as it was checked: lengths are bounded before memory is taken for them,
/// and nothing is followed in a circle.
pub trait Filesystem: Send + Sync + fmt::Debug {
    /// What the superblock says.
    fn summary(&self) -> &Summary;

    /// Bytes in use: as the summary says, or counted now where that takes reading.
    ///
    /// # Errors
    /// When what tells them is damaged or cannot be read.
    fn used(&self) -> Result<Option<u64>> {
        Ok(self.summary().used)
    }

    /// The root directory.
    fn root(&self) -> NodeId;

    /// The directory that is mounted where nothing else is asked for: the root, but of a Btrfs that has another default
    /// subvolume.
    ///
    /// # Errors
    /// When what says so is damaged or cannot be read.
    fn default_root(&self) -> Result<NodeId> {
        Ok(self.root())
    }

    /// What is recorded of a node.
    ///
    /// # Errors
    /// [`crate::Error::NotFound`] when no file has it; when it is damaged or cannot be read.
    fn node(&self, id: NodeId) -> Result<Node>;

    /// Calls `each` for the entries of a directory, in the order they are stored in, until it breaks off.
    ///
    /// # Errors
    /// When it is no directory, is damaged, or cannot be read.
    fn entries(
        &self,
        directory: NodeId,
        each: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>,
    ) -> Result<()>;

    /// The node that a name in a directory leads to. A filesystem that takes upper and lower case for the same does
    /// so here.
    ///
    /// # Errors
    /// As [`Filesystem::entries`].
    fn lookup(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>> {
        let mut found = None;
        self.entries(directory, &mut |entry| {
            if entry.name == name {
                found = Some(entry.id);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Fills `buf` with a file's content from `offset` on, and says how many bytes that were: fewer than asked for only
    /// at its end. Holes are zeros.
    ///
    /// # Errors
    /// When it is no regular file, is damaged, is stored in a way that is not read here, or cannot be read.
    fn read(&self, file: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Where a symbolic link leads to; 4,096 bytes at the most.
    ///
    /// # Errors
    /// When it is no symbolic link, is damaged, or cannot be read.
    fn link_target(&self, link: NodeId) -> Result<Vec<u8>>;

    /// Where the content of a node is stored, in order of the file. What is stored within metadata (inline data) is not
    /// among it; holes are what lies between.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    fn extents(&self, id: NodeId) -> Result<Vec<FileExtent>>;

    /// The nodes whose records are stored in these bytes of the volume, or in what the replayed journal put in
    /// their place.
    ///
    /// # Errors
    /// When metadata is damaged or cannot be read.
    fn candidates(&self, changed: &Ranges) -> Result<Candidates>;

    /// The nodes that may differ between this state and a later one of the same filesystem, where that takes more than
    /// [`Filesystem::candidates`] of each: a record that is written to a new place leaves the old one as it was. None
    /// where those are enough.
    ///
    /// # Errors
    /// When metadata is damaged or cannot be read.
    fn candidates_between(
        &self,
        _after: &dyn Filesystem,
        _changed: &Ranges,
    ) -> Result<Option<Vec<NodeId>>> {
        Ok(None)
    }

    /// The snapshots that only this state or a later one of the same filesystem has; none where there are none.
    ///
    /// # Errors
    /// When metadata is damaged or cannot be read.
    fn snapshots<'a>(&'a self, _after: &'a dyn Filesystem) -> Result<Option<Snapshots<'a>>> {
        Ok(None)
    }

    /// Itself, for [`Filesystem::candidates_between`] of its own kind.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }

    /// The links to the nodes of `wanted`, and to every directory above them up to the root; a node that is not linked
    /// is left out. Reads directories in the order of the disk where that is faster than walking.
    ///
    /// # Errors
    /// When directories are damaged or cannot be read.
    fn links(&self, wanted: &HashSet<NodeId>) -> Result<Links>;

    /// Bytes of the volume that the journal replaced in memory; these differ from what is stored.
    fn replayed(&self) -> Ranges {
        Ranges::new()
    }

    /// Calls `each` for runs of the volume and what they are used for, from the filesystem's own records of free space.
    /// A byte that is told of twice is what is told last; a byte that is not told of is file data.
    ///
    /// # Errors
    /// When these records are damaged or cannot be read; those of `each`, which end it.
    fn usage(&self, each: &mut dyn FnMut(Range<u64>, Use) -> Result<()>) -> Result<()>;

    /// Why what is free by these records should not be thrown away, although it was unmounted: it marks errors, they
    /// contradict each other, it has a feature that may keep something there. None where all is in order.
    ///
    /// # Errors
    /// When records are damaged or cannot be read.
    fn doubt(&self) -> Result<Option<String>>;
}
