//! Feature flags of the superblock, by the names that `mke2fs` and the kernel give them.

use bitflags::bitflags;

bitflags! {
    /// `s_feature_compat`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct Compatible: u32 {
        const HAS_JOURNAL = 0x4;
        const SPARSE_SUPER2 = 0x200;
    }

    /// `s_feature_incompat`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct Incompatible: u32 {
        const COMPRESSION = 0x1;
        const FILETYPE = 0x2;
        const RECOVER = 0x4;
        const JOURNAL_DEV = 0x8;
        const META_BG = 0x10;
        const EXTENTS = 0x40;
        const BIT64 = 0x80;
        const MMP = 0x100;
        const FLEX_BG = 0x200;
        const EA_INODE = 0x400;
        const DIRDATA = 0x1000;
        const CSUM_SEED = 0x2000;
        const LARGEDIR = 0x4000;
        const INLINE_DATA = 0x8000;
        const ENCRYPT = 0x1_0000;
        const CASEFOLD = 0x2_0000;
    }

    /// `s_feature_ro_compat`: those who only read need not know them all.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) struct ReadOnlyCompatible: u32 {
        const SPARSE_SUPER = 0x1;
        const LARGE_FILE = 0x2;
        const BTREE_DIR = 0x4;
        const HUGE_FILE = 0x8;
        const GDT_CSUM = 0x10;
        const DIR_NLINK = 0x20;
        const EXTRA_ISIZE = 0x40;
        const QUOTA = 0x100;
        const BIGALLOC = 0x200;
        const METADATA_CSUM = 0x400;
        const READONLY = 0x1000;
        const PROJECT = 0x2000;
        const VERITY = 0x8000;
        const ORPHAN_PRESENT = 0x1_0000;
    }
}

impl Incompatible {
    /// The name of one that is not read, if there is one.
    pub(super) fn not_read(self) -> Option<String> {
        let known = [
            (Self::COMPRESSION, "compression"),
            (Self::JOURNAL_DEV, "journal_dev"),
            (Self::DIRDATA, "dirdata"),
        ];
        let unknown = self.difference(Self::all()).bits();
        known
            .into_iter()
            .find(|(feature, _)| self.contains(*feature))
            .map(|(_, name)| name.to_owned())
            .or_else(|| (unknown != 0).then(|| format!("feature_incompat {unknown:#x}")))
    }
}

impl ReadOnlyCompatible {
    /// A feature with which what is free cannot be told here, if there is one: block bitmaps of such a filesystem may
    /// not say all that is in use.
    pub(super) fn hides_use(self) -> Option<String> {
        let unknown = self.difference(Self::all()).bits();
        (unknown != 0).then(|| format!("feature_ro_compat {unknown:#x}"))
    }

    /// Whether group descriptors have checksums, and so flags that can be relied on.
    pub(super) fn has_group_checksums(self) -> bool {
        self.intersects(Self::GDT_CSUM | Self::METADATA_CSUM)
    }
}

/// The name of what these features make: `ext2`, `ext3` or `ext4`.
pub(super) fn kind(
    compatible: Compatible,
    incompatible: Incompatible,
    read_only: ReadOnlyCompatible,
) -> &'static str {
    let old = Incompatible::FILETYPE | Incompatible::RECOVER | Incompatible::META_BG;
    let old_read_only = ReadOnlyCompatible::SPARSE_SUPER
        | ReadOnlyCompatible::LARGE_FILE
        | ReadOnlyCompatible::BTREE_DIR;
    if !old.contains(incompatible) || !old_read_only.contains(read_only) {
        "ext4"
    } else if compatible.contains(Compatible::HAS_JOURNAL) {
        "ext3"
    } else {
        "ext2"
    }
}
