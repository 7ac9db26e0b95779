//! The boot sector: where tables, root directory and clusters are. Names of fields as in the specification
//! ("FAT: General Overview of On-Disk Format", version 1.03).

use std::ops::Range;

use super::error::damaged;
use crate::error::Result;
use crate::field;

/// Bits of an entry of the file allocation table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Fat12,
    Fat16,
    Fat32,
}

/// Where the root directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Root {
    /// Before the clusters, at these bytes of the volume.
    Fixed(Range<u64>),
    /// In a chain that begins with this cluster.
    Chain(u32),
}

/// What the boot sector says, checked.
#[derive(Debug, Clone)]
pub(super) struct BootSector {
    pub(super) width: Width,
    /// Bytes of a cluster: a power of two.
    pub(super) cluster_size: u32,
    /// The table that is used, in bytes of the volume.
    pub(super) table: Range<u64>,
    /// Where the other tables begin that are kept the same.
    pub(super) copies: Vec<u64>,
    /// Whether it is marked as mounted, or to be checked.
    pub(super) is_marked: bool,
    pub(super) root: Root,
    /// Where cluster 2, which is the first, begins in the volume.
    pub(super) data: u64,
    /// How many clusters there are; they have the numbers from 2 on.
    pub(super) clusters: u32,
    /// Bytes the filesystem covers.
    pub(super) total: u64,
    /// Where the sector with the count of free clusters is.
    pub(super) fs_info: Option<u64>,
    /// `BS_VolLab` without its padding.
    pub(super) label: Vec<u8>,
    /// `BS_VolID`.
    pub(super) serial: Option<u32>,
}

impl BootSector {
    /// Reads a boot sector; none where it is not one of FAT. `volume` is the length of the volume in bytes.
    ///
    /// # Errors
    /// When it says that it is FAT, and its fields contradict each other.
    pub(super) fn parse(sector: &[u8; 512], volume: u64) -> Result<Option<Self>> {
        let u16_at = |at| u16::from_le_bytes(field(sector, at));
        let u32_at = |at| u32::from_le_bytes(field(sector, at));
        let [jump] = field(sector, 0);
        let bytes_per_sector = u64::from(u16_at(11));
        let [sectors_per_cluster] = field(sector, 13);
        let reserved = u64::from(u16_at(14));
        let [tables] = field(sector, 16);
        let root_entries = u64::from(u16_at(17));
        let [media] = field(sector, 21);
        let is_fat = matches!(jump, 0xe9 | 0xeb)
            && field::<2>(sector, 510) == [0x55, 0xaa]
            && matches!(bytes_per_sector, 512 | 1024 | 2048 | 4096)
            && sectors_per_cluster.is_power_of_two()
            && reserved > 0
            && tables > 0
            && (media == 0xf0 || media >= 0xf8);
        if !is_fat {
            return Ok(None);
        }
        // Where both fields can hold a number, the one of 16 bits counts.
        let either = |short: usize, long: usize| match u16_at(short) {
            0 => u64::from(u32_at(long)),
            number => u64::from(number),
        };
        let sectors = either(19, 32);
        let table_sectors = either(22, 36);
        let is_fat32 = u16_at(22) == 0;
        let root_sectors = (root_entries * 32).div_ceil(bytes_per_sector);
        let meta = reserved + u64::from(tables) * table_sectors + root_sectors;
        // A number alone proves little: other boot sectors look much the same.
        let names_itself =
            field::<3>(sector, 0x36) == *b"FAT" || field::<3>(sector, 0x52) == *b"FAT";
        let wrong = |problem: String| match names_itself {
            true => Err(damaged("boot sector", 0, problem)),
            false => Ok(None),
        };
        if table_sectors == 0 {
            return wrong("BPB_FATSz is 0".to_owned());
        }
        if sectors <= meta {
            return wrong(format!("BPB_TotSec is {sectors}, of which {meta} are used"));
        }
        let cluster_sectors = u64::from(sectors_per_cluster);
        let cluster_size = bytes_per_sector * cluster_sectors;
        let (Ok(cluster_size), true) = (u32::try_from(cluster_size), cluster_size <= 256 << 10)
        else {
            return wrong(format!("clusters of {cluster_size} bytes"));
        };
        let count = (sectors - meta) / cluster_sectors;
        let width = match (is_fat32, count) {
            (true, _) => Width::Fat32,
            (false, ..4085) => Width::Fat12,
            (false, _) => Width::Fat16,
        };
        let bytes = table_sectors * bytes_per_sector;
        let (entries, most) = match width {
            Width::Fat12 => (bytes * 2 / 3, 0xff5),
            Width::Fat16 => (bytes / 2, 0xfff5),
            Width::Fat32 => (bytes / 4, 0x0fff_fff5),
        };
        let data = meta * bytes_per_sector;
        // What lies past the volume's end is not there, whatever is said of it.
        let there = volume.saturating_sub(data) / u64::from(cluster_size);
        let clusters = count.min(entries.saturating_sub(2)).min(most).min(there);
        let Ok(clusters) = u32::try_from(clusters) else {
            return wrong(format!("{clusters} clusters"));
        };
        if clusters == 0 {
            return wrong("there is no cluster".to_owned());
        }
        // Bit 7: one table is used, and the others are not kept the same.
        let flags = u16_at(40);
        let active = match is_fat32 && flags & 0x80 != 0 {
            true => u64::from(flags & 0xf),
            false => 0,
        };
        if active >= u64::from(tables) {
            return wrong(format!(
                "BPB_ExtFlags names table {active}, and there are {tables}"
            ));
        }
        let table = (reserved + active * table_sectors) * bytes_per_sector;
        let is_mirrored = !is_fat32 || flags & 0x80 == 0;
        let copies = (1..u64::from(tables)).filter(|_| is_mirrored);
        let copies = copies.map(|number| (reserved + number * table_sectors) * bytes_per_sector);
        let fixed = data - root_sectors * bytes_per_sector;
        let fs_info = u64::from(u16_at(48));
        let has_info = is_fat32 && (1..reserved).contains(&fs_info);
        let extended = if is_fat32 { 0x42 } else { 0x26 };
        // BS_Reserved1, where Linux and others mark it: mounted, to be checked.
        let [reserved1] = field(sector, extended - 1);
        let [signature] = field(sector, extended);
        let label = match signature {
            0x29 => field::<11>(sector, extended + 5).to_vec(),
            _ => Vec::new(),
        };
        Ok(Some(Self {
            width,
            cluster_size,
            table: table..table + bytes,
            copies: copies.collect(),
            is_marked: reserved1 & 3 != 0,
            root: match width {
                Width::Fat32 => Root::Chain(u32_at(44) & 0x0fff_ffff),
                _ => Root::Fixed(fixed..fixed + root_entries * 32),
            },
            data,
            clusters,
            total: sectors * bytes_per_sector,
            fs_info: has_info.then(|| fs_info * bytes_per_sector),
            label,
            serial: matches!(signature, 0x28 | 0x29).then(|| u32_at(extended + 1)),
        }))
    }

    /// The bytes of the volume that a cluster takes; none for a number that no cluster has.
    pub(super) fn cluster(&self, number: u32) -> Option<Range<u64>> {
        let index = number
            .checked_sub(2)
            .filter(|index| *index < self.clusters)?;
        let size = u64::from(self.cluster_size);
        let start = self.data + u64::from(index) * size;
        Some(start..start + size)
    }
}
