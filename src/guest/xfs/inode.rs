//! Inodes: their records, checked, and what is told of them.

use zerocopy::byteorder::BE;
use zerocopy::{FromBytes, IntoBytes};

use super::checksummed::{Checksummed, damaged};
use super::dinode::{DIFLAG_REALTIME, DIFLAG2_BIGTIME, DIFLAG2_NREXT64, Dinode, MAGIC, Timestamp};
use super::superblock::Superblock;
use super::volume::Volume;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::field;
use crate::filesystem::{Node, NodeId, NodeKind};

/// The fields that every inode is checked by.
pub(super) const CHECKED: Checksummed = Checksummed {
    crc: 100,
    uuid: 160,
    blkno: None,
    lsn: 112,
};

/// How a fork of an inode is stored (`di_format`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A device's number.
    Device,
    /// Within the inode.
    Local,
    /// As a list of extents within the inode.
    Extents,
    /// As a tree of extents whose root is within the inode.
    Btree,
    /// As something else, which no file is.
    Other,
}

impl Format {
    const fn new(value: u8) -> Self {
        match value {
            0 => Self::Device,
            1 => Self::Local,
            2 => Self::Extents,
            3 => Self::Btree,
            _ => Self::Other,
        }
    }
}

/// An inode in use, its record checked.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) number: u64,
    /// Where its record is, in bytes of the volume.
    pub(super) offset: u64,
    core: Dinode<BE>,
    /// What follows the core: both forks.
    literal: Vec<u8>,
}

/// One of an inode's two forks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fork<'a> {
    pub(super) format: Format,
    /// Extents it says it has.
    pub(super) extents: u64,
    pub(super) bytes: &'a [u8],
}

impl Inode {
    /// Reads the record of an inode; none that is not in use by what it says itself.
    pub(super) fn read(volume: &Volume, number: u64) -> Result<Option<Self>> {
        let Some(offset) = volume.superblock.inode_offset(number) else {
            return Ok(None);
        };
        let size = usize::try_from(volume.superblock.inode_size).unwrap_or_default();
        let bytes = volume.metadata(offset, size)?;
        Self::parse(&volume.superblock, number, offset, &bytes)
    }

    /// An inode of these bytes, which are all of its record; none that is not in use.
    pub(super) fn parse(
        superblock: &Superblock,
        number: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Option<Self>> {
        let wrong = |problem: String| damaged(name(number), offset, problem);
        let Ok((core, literal)) = Dinode::<BE>::read_from_prefix(bytes) else {
            return Err(wrong("it is too short".to_owned()));
        };
        if core.magic != MAGIC {
            return Err(wrong("its magic number is wrong".to_owned()));
        }
        if core.version != 3 {
            return Err(wrong(format!("di_version is {}", core.version)));
        }
        CHECKED.verify(superblock, bytes, &name(number), offset)?;
        if core.ino != number {
            return Err(wrong(format!("di_ino is {}", core.ino)));
        }
        if core.mode == 0 {
            return Ok(None);
        }
        if usize::from(core.forkoff) * 8 >= literal.len() {
            return Err(wrong(format!("di_forkoff is {}", core.forkoff)));
        }
        if core.size.get() > i64::MAX.cast_unsigned() {
            return Err(wrong(format!("di_size is {}", core.size)));
        }
        let inode = Self {
            number,
            offset,
            core,
            literal: literal.to_vec(),
        };
        if inode.kind().is_none() {
            return Err(wrong(format!("di_mode is {:#o}", core.mode.get())));
        }
        Ok(Some(inode))
    }

    /// `inode 12`.
    pub(super) fn name(&self) -> String {
        name(self.number)
    }

    /// What is wrong with it, as an error.
    pub(super) fn damaged(&self, problem: impl Into<String>) -> Error {
        damaged(self.name(), self.offset, problem)
    }

    /// What `S_IFMT` of its mode says; none of what no file is.
    fn kind(&self) -> Option<NodeKind> {
        kind(self.core.mode.get())
    }

    /// Whether it is of that kind.
    pub(super) fn is(&self, kind: NodeKind) -> bool {
        self.kind() == Some(kind)
    }

    /// Bytes of its content.
    pub(super) fn size(&self) -> u64 {
        self.core.size.get()
    }

    /// Whether its content is on the real-time device.
    pub(super) fn is_realtime(&self) -> bool {
        self.is(NodeKind::File) && self.core.flags.get() & DIFLAG_REALTIME != 0
    }

    /// Where its content is.
    pub(super) fn data(&self) -> Fork<'_> {
        let end = match self.core.forkoff {
            0 => self.literal.len(),
            units => usize::from(units) * 8,
        };
        Fork {
            format: Format::new(self.core.format),
            extents: self.core.extents().0,
            bytes: self.literal.get(..end).unwrap_or_default(),
        }
    }

    /// Where its extended attributes are; none where it has none.
    pub(super) fn attributes(&self) -> Option<Fork<'_>> {
        let start = usize::from(self.core.forkoff) * 8;
        (start > 0).then(|| Fork {
            format: Format::new(self.core.aformat),
            extents: self.core.extents().1.into(),
            bytes: self.literal.get(start..).unwrap_or_default(),
        })
    }

    /// What is told of it.
    pub(super) fn node(&self, volume: &Volume) -> Node {
        let core = &self.core;
        Node {
            id: NodeId::new(self.number),
            kind: self.kind().unwrap_or(NodeKind::Special),
            size: core.size.get(),
            allocated: core.nblocks.get().saturating_mul(volume.block_size()),
            mode: core.mode.get().into(),
            uid: core.uid.get(),
            gid: core.gid.get(),
            links: core.nlink.get(),
            modified: core.time(core.mtime),
            changed: core.time(core.ctime),
            generation: core.gen_.get().into(),
            digest: self.digest(),
        }
    }

    /// Of all that is recorded: access time, checksum, counters of changes and place in the list of unlinked inodes
    /// left out, and times and counts the same in both of their encodings.
    fn digest(&self) -> u64 {
        let mut core = self.core;
        let none = Timestamp::<BE> {
            sec: 0.into(),
            nsec: 0.into(),
        };
        let mut digest = Digest::new();
        for stamp in [core.mtime, core.ctime, core.crtime] {
            let since =
                core.time(stamp)
                    .map(|time| match time.duration_since(std::time::UNIX_EPOCH) {
                        Ok(after) => after.as_nanos(),
                        Err(before) => !before.duration().as_nanos(),
                    });
            digest = digest.with(&since.unwrap_or(u128::MAX / 2).to_le_bytes());
        }
        let (extents, of_attributes) = core.extents();
        digest = digest
            .with(&extents.to_le_bytes())
            .with(&of_attributes.to_le_bytes());
        core.atime = none;
        core.mtime = none;
        core.ctime = none;
        core.crtime = none;
        core.big_nextents = 0.into();
        core.nextents = 0.into();
        core.anextents = 0.into();
        core.crc = 0.into();
        core.changecount = 0.into();
        core.lsn = 0.into();
        core.next_unlinked = 0.into();
        core.flags2 = (core.flags2.get() & !(DIFLAG2_BIGTIME | DIFLAG2_NREXT64)).into();
        digest = digest
            .with(core.as_bytes())
            .with(used(self.data(), self.size()));
        if let Some(fork) = self.attributes() {
            digest = digest.with(used(fork, u64::MAX));
        }
        digest.value()
    }
}

fn kind(mode: u16) -> Option<NodeKind> {
    Some(match mode & 0o170_000 {
        0o100_000 => NodeKind::File,
        0o040_000 => NodeKind::Directory,
        0o120_000 => NodeKind::Symlink,
        0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 => NodeKind::Special,
        _ => return None,
    })
}

/// The kind of an inode whose record is not checked yet; none of what is no inode.
pub(super) fn kind_of(record: &[u8]) -> Option<NodeKind> {
    let is_inode = u16::from_be_bytes(field(record, 0)) == MAGIC;
    kind(u16::from_be_bytes(field(record, 2))).filter(|_| is_inode)
}

/// The bytes of a fork that mean something: what it held before may follow them.
fn used(fork: Fork<'_>, size: u64) -> &[u8] {
    let len = match fork.format {
        Format::Device => 4,
        Format::Local => size,
        Format::Extents => fork.extents.saturating_mul(16),
        Format::Btree | Format::Other => u64::MAX,
    };
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    fork.bytes.get(..len).unwrap_or(fork.bytes)
}

/// What an inode is called where something is wrong with it.
pub(super) fn name(number: u64) -> String {
    format!("inode {number}")
}
