//! Structures as they are stored, each field named as in the kernel's `btrfs_tree.h`, and the numbers that tell them
//! apart. All are little-endian. Nothing is read here.

use std::fmt;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::Error;

/// What is wrong with a structure, and where it is, in bytes of the volume.
pub(super) fn damaged(
    structure: impl fmt::Display,
    offset: u64,
    problem: impl fmt::Display,
) -> Error {
    Error::Damaged {
        filesystem: "Btrfs",
        structure: structure.to_string(),
        offset,
        problem: problem.to_string(),
    }
}

/// A feature that is not read.
pub(super) fn unsupported(feature: impl Into<String>) -> Error {
    Error::Unsupported {
        filesystem: "Btrfs",
        feature: feature.into(),
    }
}

/// Levels that a tree can have (`BTRFS_MAX_LEVEL`).
pub(super) const MAX_LEVEL: u8 = 8;

/// Trees, by the object that names them in the root tree.
pub(super) mod tree_id {
    pub(in super::super) const EXTENT: u64 = 2;
    /// The top-level subvolume (`BTRFS_FS_TREE_OBJECTID`).
    pub(in super::super) const FS: u64 = 5;
    /// `BTRFS_TREE_LOG_OBJECTID`, which is -6.
    pub(in super::super) const LOG: u64 = u64::MAX - 5;
}

/// The first number that an inode or a subvolume can have (`BTRFS_FIRST_FREE_OBJECTID`). The root directory of every
/// subvolume has it.
pub(super) const FIRST_FREE: u64 = 256;
/// The last one (`BTRFS_LAST_FREE_OBJECTID`, which is -256).
pub(super) const LAST_FREE: u64 = u64::MAX - 255;

/// What items are, by the type in their keys.
pub(super) mod kind {
    pub(in super::super) const INODE_ITEM: u8 = 1;
    pub(in super::super) const INODE_REF: u8 = 12;
    pub(in super::super) const INODE_EXTREF: u8 = 13;
    pub(in super::super) const XATTR_ITEM: u8 = 24;
    pub(in super::super) const DIR_LOG_INDEX: u8 = 72;
    pub(in super::super) const DIR_ITEM: u8 = 84;
    pub(in super::super) const DIR_INDEX: u8 = 96;
    pub(in super::super) const EXTENT_DATA: u8 = 108;
    pub(in super::super) const ROOT_ITEM: u8 = 132;
    pub(in super::super) const ROOT_BACKREF: u8 = 144;
    pub(in super::super) const ROOT_REF: u8 = 156;
    pub(in super::super) const EXTENT_ITEM: u8 = 168;
    pub(in super::super) const METADATA_ITEM: u8 = 169;
    pub(in super::super) const CHUNK_ITEM: u8 = 228;
}

/// Features (`incompat_flags`) that are read, or that change nothing of what is read: from `MIXED_BACKREF` to
/// `RAID1C34`, and `SIMPLE_QUOTA`.
pub(super) const INCOMPAT_READ: u64 = 0xfff | 1 << 16;
/// Features that are known and not read.
pub(super) const INCOMPAT_NOT_READ: [(u64, &str); 3] = [
    (1 << 12, "ZONED"),
    (1 << 13, "EXTENT_TREE_V2"),
    (1 << 14, "RAID_STRIPE_TREE"),
];

/// Features (`compat_ro_flags`) that are known: free space tree, verity, block group tree.
pub(super) const COMPAT_RO_KNOWN: u64 = 0xf;
/// Flags of the superblock that mean nothing special (`BTRFS_HEADER_FLAG_WRITTEN`, `BTRFS_HEADER_FLAG_RELOC`).
pub(super) const SUPER_FLAGS_PLAIN: u64 = 3;

/// `METADATA_UUID`: tree blocks carry another UUID than users see.
pub(super) const INCOMPAT_METADATA_UUID: u64 = 1 << 10;

/// Bits of `btrfs_chunk.type` that say how a chunk is spread.
pub(super) mod profile {
    pub(in super::super) const RAID0: u64 = 1 << 3;
    pub(in super::super) const RAID1: u64 = 1 << 4;
    pub(in super::super) const DUP: u64 = 1 << 5;
    pub(in super::super) const RAID10: u64 = 1 << 6;
    pub(in super::super) const RAID5: u64 = 1 << 7;
    pub(in super::super) const RAID6: u64 = 1 << 8;
    pub(in super::super) const RAID1C3: u64 = 1 << 9;
    pub(in super::super) const RAID1C4: u64 = 1 << 10;
    /// All bits of profiles.
    pub(in super::super) const MASK: u64 =
        RAID0 | RAID1 | DUP | RAID10 | RAID5 | RAID6 | RAID1C3 | RAID1C4;
}

/// `BTRFS_EXTENT_FLAG_TREE_BLOCK` of `btrfs_extent_item.flags`.
pub(super) const EXTENT_FLAG_TREE_BLOCK: u64 = 1 << 1;

/// The key of an item: the order of a tree is the order of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) objectid: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    pub(super) const FIRST: Self = Self::new(0, 0, 0);
    pub(super) const LAST: Self = Self::new(u64::MAX, u8::MAX, u64::MAX);

    pub(super) const fn new(objectid: u64, kind: u8, offset: u64) -> Self {
        Self {
            objectid,
            kind,
            offset,
        }
    }

    /// The key right before this one; none before the first.
    pub(super) fn before(self) -> Option<Self> {
        if let Some(offset) = self.offset.checked_sub(1) {
            return Some(Self { offset, ..self });
        }
        if let Some(kind) = self.kind.checked_sub(1) {
            return Some(Self::new(self.objectid, kind, u64::MAX));
        }
        let objectid = self.objectid.checked_sub(1)?;
        Some(Self::new(objectid, u8::MAX, u64::MAX))
    }
}

impl fmt::Display for Key {
    /// As `btrfs inspect-internal dump-tree` prints it, with negative numbers of objects as such.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            kind::INODE_ITEM => "INODE_ITEM",
            kind::INODE_REF => "INODE_REF",
            kind::INODE_EXTREF => "INODE_EXTREF",
            kind::XATTR_ITEM => "XATTR_ITEM",
            kind::DIR_ITEM => "DIR_ITEM",
            kind::DIR_INDEX => "DIR_INDEX",
            kind::EXTENT_DATA => "EXTENT_DATA",
            kind::ROOT_ITEM => "ROOT_ITEM",
            kind::ROOT_BACKREF => "ROOT_BACKREF",
            kind::ROOT_REF => "ROOT_REF",
            kind::EXTENT_ITEM => "EXTENT_ITEM",
            kind::METADATA_ITEM => "METADATA_ITEM",
            kind::CHUNK_ITEM => "CHUNK_ITEM",
            other => return write!(f, "item ({} {other} {})", self.objectid, self.offset),
        };
        write!(f, "{name} ({} {})", self.objectid, self.offset)
    }
}

/// `btrfs_disk_key`
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DiskKey {
    pub(super) objectid: U64,
    pub(super) kind: u8,
    pub(super) offset: U64,
}

impl DiskKey {
    pub(super) fn get(&self) -> Key {
        Key::new(self.objectid.get(), self.kind, self.offset.get())
    }
}

/// `btrfs_dev_item`
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DevItem {
    pub(super) devid: U64,
    pub(super) total_bytes: U64,
    pub(super) bytes_used: U64,
    pub(super) io_align: U32,
    pub(super) io_width: U32,
    pub(super) sector_size: U32,
    pub(super) kind: U64,
    pub(super) generation: U64,
    pub(super) start_offset: U64,
    pub(super) dev_group: U32,
    pub(super) seek_speed: u8,
    pub(super) bandwidth: u8,
    pub(super) uuid: [u8; 16],
    pub(super) fsid: [u8; 16],
}

/// `btrfs_super_block`
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct SuperBlock {
    pub(super) csum: [u8; 32],
    pub(super) fsid: [u8; 16],
    pub(super) bytenr: U64,
    pub(super) flags: U64,
    pub(super) magic: [u8; 8],
    pub(super) generation: U64,
    pub(super) root: U64,
    pub(super) chunk_root: U64,
    pub(super) log_root: U64,
    pub(super) unused_log_root_transid: U64,
    pub(super) total_bytes: U64,
    pub(super) bytes_used: U64,
    pub(super) root_dir_objectid: U64,
    pub(super) num_devices: U64,
    pub(super) sectorsize: U32,
    pub(super) nodesize: U32,
    pub(super) unused_leafsize: U32,
    pub(super) stripesize: U32,
    pub(super) sys_chunk_array_size: U32,
    pub(super) chunk_root_generation: U64,
    pub(super) compat_flags: U64,
    pub(super) compat_ro_flags: U64,
    pub(super) incompat_flags: U64,
    pub(super) csum_type: U16,
    pub(super) root_level: u8,
    pub(super) chunk_root_level: u8,
    pub(super) log_root_level: u8,
    pub(super) dev_item: DevItem,
    pub(super) label: [u8; 256],
    pub(super) cache_generation: U64,
    pub(super) uuid_tree_generation: U64,
    pub(super) metadata_uuid: [u8; 16],
    pub(super) nr_global_roots: U64,
    pub(super) reserved: [u8; 216],
    pub(super) sys_chunk_array: [u8; 2048],
    pub(super) super_roots: [u8; 672],
    pub(super) padding: [u8; 565],
}

/// `btrfs_header`, at the start of every block of a tree.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Header {
    pub(super) csum: [u8; 32],
    pub(super) fsid: [u8; 16],
    pub(super) bytenr: U64,
    pub(super) flags: U64,
    pub(super) chunk_tree_uuid: [u8; 16],
    pub(super) generation: U64,
    pub(super) owner: U64,
    pub(super) nritems: U32,
    pub(super) level: u8,
}

/// `btrfs_item`, in leaves. Its data is at `offset` from the end of the header.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ItemHeader {
    pub(super) key: DiskKey,
    pub(super) offset: U32,
    pub(super) size: U32,
}

/// `btrfs_key_ptr`, in nodes above the leaves.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct KeyPtr {
    pub(super) key: DiskKey,
    pub(super) blockptr: U64,
    pub(super) generation: U64,
}

/// `btrfs_chunk` without its stripes.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ChunkItem {
    pub(super) length: U64,
    pub(super) owner: U64,
    pub(super) stripe_len: U64,
    pub(super) kind: U64,
    pub(super) io_align: U32,
    pub(super) io_width: U32,
    pub(super) sector_size: U32,
    pub(super) num_stripes: U16,
    pub(super) sub_stripes: U16,
}

/// `btrfs_stripe`
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Stripe {
    pub(super) devid: U64,
    pub(super) offset: U64,
    pub(super) dev_uuid: [u8; 16],
}

/// `btrfs_timespec`
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Timespec {
    pub(super) sec: U64,
    pub(super) nsec: U32,
}

/// `btrfs_inode_item`
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct InodeItem {
    pub(super) generation: U64,
    pub(super) transid: U64,
    pub(super) size: U64,
    pub(super) nbytes: U64,
    pub(super) block_group: U64,
    pub(super) nlink: U32,
    pub(super) uid: U32,
    pub(super) gid: U32,
    pub(super) mode: U32,
    pub(super) rdev: U64,
    pub(super) flags: U64,
    pub(super) sequence: U64,
    pub(super) reserved: [U64; 4],
    pub(super) atime: Timespec,
    pub(super) ctime: Timespec,
    pub(super) mtime: Timespec,
    pub(super) otime: Timespec,
}

/// `btrfs_root_item`, as far as every version of it has it.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RootItem {
    pub(super) inode: InodeItem,
    pub(super) generation: U64,
    pub(super) root_dirid: U64,
    pub(super) bytenr: U64,
    pub(super) byte_limit: U64,
    pub(super) bytes_used: U64,
    pub(super) last_snapshot: U64,
    pub(super) flags: U64,
    pub(super) refs: U32,
    pub(super) drop_progress: DiskKey,
    pub(super) drop_level: u8,
    pub(super) level: u8,
}

/// `btrfs_dir_item`; its name follows, and after that data of the length `data_len`.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DirItem {
    pub(super) location: DiskKey,
    pub(super) transid: U64,
    pub(super) data_len: U16,
    pub(super) name_len: U16,
    pub(super) kind: u8,
}

/// `btrfs_inode_ref`; its name follows.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct InodeRef {
    pub(super) index: U64,
    pub(super) name_len: U16,
}

/// `btrfs_inode_extref`; its name follows.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct InodeExtref {
    pub(super) parent_objectid: U64,
    pub(super) index: U64,
    pub(super) name_len: U16,
}

/// `btrfs_root_ref`; its name follows.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RootRef {
    pub(super) dirid: U64,
    pub(super) sequence: U64,
    pub(super) name_len: U16,
}

/// `btrfs_file_extent_item` up to where inline data begins.
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FileExtentItem {
    pub(super) generation: U64,
    pub(super) ram_bytes: U64,
    pub(super) compression: u8,
    pub(super) encryption: u8,
    pub(super) other_encoding: U16,
    pub(super) kind: u8,
}

/// What follows [`FileExtentItem`] where the data is not inline.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct FileExtentPlace {
    pub(super) disk_bytenr: U64,
    pub(super) disk_num_bytes: U64,
    pub(super) offset: U64,
    pub(super) num_bytes: U64,
}

/// `btrfs_dir_log_item`
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DirLogItem {
    pub(super) end: U64,
}

/// `btrfs_extent_item`
#[derive(Debug, Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ExtentItem {
    pub(super) refs: U64,
    pub(super) generation: U64,
    pub(super) flags: U64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        let sizes = [
            (size_of::<DiskKey>(), 17),
            (size_of::<DevItem>(), 98),
            (size_of::<SuperBlock>(), 4096),
            (size_of::<Header>(), 101),
            (size_of::<ItemHeader>(), 25),
            (size_of::<KeyPtr>(), 33),
            (size_of::<ChunkItem>(), 48),
            (size_of::<Stripe>(), 32),
            (size_of::<InodeItem>(), 160),
            (size_of::<RootItem>(), 239),
            (size_of::<DirItem>(), 30),
            (size_of::<InodeRef>(), 10),
            (size_of::<InodeExtref>(), 18),
            (size_of::<RootRef>(), 18),
            (
                size_of::<FileExtentItem>() + size_of::<FileExtentPlace>(),
                53,
            ),
            (size_of::<ExtentItem>(), 24),
        ];
        for (ours, theirs) in sizes {
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn the_key_before_another_is_the_next_smaller_one() {
        let key = Key::new(7, 3, 0);
        assert_eq!(key.before(), Some(Key::new(7, 2, u64::MAX)));
        let key = Key::new(7, 0, 0);
        assert_eq!(key.before(), Some(Key::new(6, u8::MAX, u64::MAX)));
        assert_eq!(Key::new(7, 3, 9).before(), Some(Key::new(7, 3, 8)));
        assert_eq!(Key::FIRST.before(), None);
    }
}
