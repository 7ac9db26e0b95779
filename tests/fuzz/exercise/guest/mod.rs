//! What is done with hostile disks of guests: a disk of `disks/` that is forged as the input says ([`forge`]), with
//! checksums put right ([`seals`]), and then everything that can be asked of it ([`ask`]).
//!
//! The first byte of an input chooses one of the target's disks, and each eight bytes after it are an edit.

mod ask;
mod forge;
mod locks;
mod names;
mod seals;

use std::sync::LazyLock;

pub(crate) use names::system;

use forge::Seed;

/// A target: its name, and the disks it begins with.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    seeds: &'static [&'static LazyLock<Seed>],
}

macro_rules! seed {
    ($name:ident, $file:literal) => {
        static $name: LazyLock<Seed> =
            LazyLock::new(|| Seed::new(include_bytes!(concat!("../../disks/", $file, ".qcow2"))));
    };
}

seed!(EXT2, "ext2");
seed!(EXT4_1K, "ext4-1k");
seed!(EXT4_1K_DIRTY, "ext4-1k-dirty");
seed!(EXT4_4K, "ext4-4k");
seed!(EXT4_SUMS_DIRTY, "ext4-sums-dirty");
seed!(XFS, "xfs");
seed!(XFS_DIRTY, "xfs-dirty");
seed!(BTRFS_DIRTY, "btrfs-dirty");
seed!(NTFS, "ntfs");
seed!(FAT12, "fat12");
seed!(FAT16, "fat16");
seed!(FAT32, "fat32");
seed!(GPT, "gpt");
seed!(MBR, "mbr");
seed!(LVM, "lvm");
seed!(LUKS1, "luks1");
seed!(LUKS2, "luks2");

/// All of them.
pub(crate) static TARGETS: &[Target] = &[
    Target {
        name: "ext4",
        seeds: &[&EXT2, &EXT4_1K, &EXT4_1K_DIRTY, &EXT4_4K, &EXT4_SUMS_DIRTY],
    },
    Target {
        name: "xfs",
        seeds: &[&XFS, &XFS_DIRTY],
    },
    Target {
        name: "btrfs",
        seeds: &[&BTRFS_DIRTY],
    },
    Target {
        name: "ntfs",
        seeds: &[&NTFS],
    },
    Target {
        name: "fat",
        seeds: &[&FAT12, &FAT16, &FAT32],
    },
    Target {
        name: "disk",
        seeds: &[&GPT, &MBR],
    },
    Target {
        name: "lvm",
        seeds: &[&LVM],
    },
    Target {
        name: "luks",
        seeds: &[&LUKS1, &LUKS2],
    },
];

/// Forges one of the disks of a target and asks everything of it. Gives the bytes that were read for that.
pub(crate) fn run(target: &Target, data: &[u8]) -> u64 {
    let Some((which, edits)) = data.split_first() else {
        return 0;
    };
    let seed = target.seeds[usize::from(*which) % target.seeds.len()];
    let forged = seed.forged(edits);
    ask::everything(seed, forged)
}

/// The target of this name.
pub(crate) fn target(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap()
}
