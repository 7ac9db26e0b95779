//! Every bound the format or QEMU puts on a number found in an image, in one place.
//!
//! No checking happens here: the parsers of the other files refuse what is beyond these bounds, and
//! they do so before a number is multiplied or allocated by. The values are those of QEMU 10.0
//! (`block/qcow2.h`); where the specification is wider, QEMU's bound is the one that counts,
//! because an image beyond it cannot be opened there.

/// Smallest `cluster_bits`: clusters of 512 bytes.
pub const MIN_CLUSTER_BITS: u32 = 9;
/// Largest `cluster_bits`: clusters of 2 MiB.
pub const MAX_CLUSTER_BITS: u32 = 21;
/// Smallest `cluster_bits` with extended L2 entries: a subcluster is at least 512 bytes.
pub const MIN_EXTENDED_L2_CLUSTER_BITS: u32 = 14;
/// Largest `refcount_order`: refcounts of 64 bits.
pub const MAX_REFCOUNT_ORDER: u32 = 6;
/// Shortest header of version 3, in bytes.
pub const MIN_V3_HEADER_LENGTH: u32 = 104;
/// Length of a header of version 2, in bytes.
pub const V2_HEADER_LENGTH: u32 = 72;
/// Length of the header that new images get, as QEMU writes it.
pub const NEW_HEADER_LENGTH: u32 = 112;
/// Largest L1 table in bytes (32 MiB, 4 Mi entries).
pub const MAX_L1_BYTES: u64 = 32 << 20;
/// Largest refcount table in bytes.
pub const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
/// Most internal snapshots of one image.
pub const MAX_SNAPSHOTS: u32 = 65_536;
/// Largest snapshot table in bytes.
pub const MAX_SNAPSHOT_TABLE_BYTES: u64 = 64 << 20;
/// Most bytes of extra data in one snapshot table entry.
pub const MAX_SNAPSHOT_EXTRA_BYTES: u32 = 1024;
/// Longest backing file name in bytes.
pub const MAX_BACKING_NAME_BYTES: usize = 1023;
/// Longest backing format name in bytes.
pub const MAX_BACKING_FORMAT_BYTES: usize = 15;
/// Most bitmaps of one image.
pub const MAX_BITMAPS: u32 = 65_535;
/// Largest bitmap directory in bytes: as many entries as there may be bitmaps, 1 KiB each.
pub const MAX_BITMAP_DIRECTORY_BYTES: u64 = 65_535 * 1024;
/// Smallest bitmap granularity, as a power of two.
pub const MIN_BITMAP_GRANULARITY_BITS: u8 = 9;
/// Largest bitmap granularity, as a power of two.
pub const MAX_BITMAP_GRANULARITY_BITS: u8 = 31;
/// Longest bitmap name in bytes.
pub const MAX_BITMAP_NAME_BYTES: usize = 1023;
/// Most entries of one bitmap table (`BME_MAX_TABLE_SIZE`).
pub const MAX_BITMAP_TABLE_ENTRIES: u32 = 0x0800_0000;
/// Largest size in bytes of one bitmap's serialised data (`BME_MAX_PHYS_SIZE`).
pub const MAX_BITMAP_DATA_BYTES: u64 = 0x2000_0000;
/// Host offsets in L1 and L2 entries are below this (bits 9 to 55).
pub const MAX_HOST_OFFSET: u64 = 1 << 56;
/// Offsets and sizes are passed as signed 64-bit numbers in QEMU; nothing may reach beyond.
pub const MAX_OFFSET: u64 = i64::MAX as u64;
/// Longest file of QEMU's block layer in bytes (`BDRV_MAX_LENGTH`): reading beyond it is an I/O error
/// there, where reading past the end of a file gives zeros.
pub const MAX_FILE_LENGTH: u64 = MAX_OFFSET >> 30 << 30;
/// Bytes of extra data that a snapshot of a version 3 image must have: VM state and disk size.
pub const MIN_V3_SNAPSHOT_EXTRA_BYTES: usize = 16;
/// Bytes of L1 tables held at once. Not a bound of QEMU: snapshots may name one huge table again and again.
pub const MAX_HELD_L1_BYTES: u64 = 64 << 20;
/// L2 tables that an image may have to be checked or repaired. Not a bound of QEMU: each takes memory.
pub const MAX_HELD_L2_TABLES: usize = 1 << 22;
/// The unit of sizes, compressed lengths and atomic writes, in bytes.
pub const SECTOR: u64 = 512;
