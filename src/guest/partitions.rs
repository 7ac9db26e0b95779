//! Where the partition table on a guest's disk says that partitions are. Reads the table and nothing else;
//! logical partitions of an MBR are not looked for.

use qanopy_core::image::{self, Chain};

use super::field;

const SECTOR: u64 = 512;
/// Entries of a GPT looked at; as many as there are in practice.
const MOST_ENTRIES: u32 = 1024;

/// Where a partition is, in bytes of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number, counted from 1.
    pub number: u32,
    /// Where it begins.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
}

/// What the first sectors of a disk say about its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partitions {
    /// No partition table that is known here: the disk may hold a filesystem as a whole.
    None,
    /// An MBR.
    Mbr(Vec<Partition>),
    /// A GPT, whose second copy lies at the disk's end.
    Gpt(Vec<Partition>),
}

impl Partitions {
    /// Reads the partition table of a disk.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn read(disk: &Chain) -> image::Result<Self> {
        let mut first = [0; 512];
        disk.read_at(&mut first, 0)?;
        let Some(mbr) = mbr(&first) else {
            return Ok(Self::None);
        };
        let mut header = [0; 512];
        disk.read_at(&mut header, SECTOR)?;
        let Some((at, count, len)) = gpt(&header) else {
            // A boot sector of a filesystem ends like an MBR, and has no entries that make sense.
            return Ok(if mbr.is_empty() {
                Self::None
            } else {
                Self::Mbr(mbr)
            });
        };
        let mut found = Vec::new();
        let mut entry = [0; 128];
        for number in 0..count {
            let offset = at.saturating_add(u64::from(number) * len);
            disk.read_at(&mut entry, offset)?;
            if entry.iter().take(16).all(|byte| *byte == 0) {
                continue;
            }
            let first = u64::from_le_bytes(field(&entry, 32));
            let last = u64::from_le_bytes(field(&entry, 40));
            found.push(Partition {
                number: number + 1,
                start: first.saturating_mul(SECTOR),
                end: last.saturating_add(1).saturating_mul(SECTOR),
            });
        }
        Ok(Self::Gpt(found))
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Partition] {
        match self {
            Self::None => &[],
            Self::Mbr(found) | Self::Gpt(found) => found,
        }
    }

    /// The partition that reaches furthest.
    #[must_use]
    pub fn last(&self) -> Option<Partition> {
        self.all().iter().copied().max_by_key(|one| one.end)
    }
}

/// The entries in use of an MBR; none if it is no MBR.
fn mbr(sector: &[u8; 512]) -> Option<Vec<Partition>> {
    if field::<2>(sector, 510) != [0x55, 0xaa] {
        return None;
    }
    let mut found = Vec::new();
    for (number, at) in (1..).zip((446..510).step_by(16)) {
        let [status] = field(sector, at);
        let [kind] = field(sector, at + 4);
        let start = u64::from(u32::from_le_bytes(field(sector, at + 8)));
        let sectors = u64::from(u32::from_le_bytes(field(sector, at + 12)));
        if status & 0x7f != 0 {
            return Some(Vec::new());
        }
        if kind != 0 && sectors > 0 {
            found.push(Partition {
                number,
                start: start * SECTOR,
                end: (start + sectors) * SECTOR,
            });
        }
    }
    Some(found)
}

/// Where the entries of a GPT are: offset in bytes, how many, bytes each; none if it is no GPT.
fn gpt(sector: &[u8; 512]) -> Option<(u64, u32, u64)> {
    let len = u32::from_le_bytes(field(sector, 84));
    let is_gpt = field::<8>(sector, 0) == *b"EFI PART" && (128..=4096).contains(&len);
    let at = u64::from_le_bytes(field(sector, 72)).saturating_mul(SECTOR);
    let count = u32::from_le_bytes(field(sector, 80)).min(MOST_ENTRIES);
    is_gpt.then_some((at, count, len.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mbr_with(at: usize, start: u32, sectors: u32) -> [u8; 512] {
        let mut sector = [0; 512];
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector[at + 4] = 0x83;
        sector[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        sector[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
        sector
    }

    fn at(number: u32, first: u64, end: u64) -> Partition {
        Partition {
            number,
            start: first * 512,
            end: end * 512,
        }
    }

    #[test]
    fn an_mbr_tells_where_each_partition_is() {
        assert_eq!(mbr(&[0; 512]), None);
        assert_eq!(mbr(&mbr_with(446, 0, 0)), Some(vec![]));
        let second = mbr_with(462, 2048, 100);
        assert_eq!(mbr(&second), Some(vec![at(2, 2048, 2148)]));
        let far = mbr_with(446, u32::MAX, u32::MAX);
        assert_eq!(
            mbr(&far),
            Some(vec![at(1, u64::from(u32::MAX), 2 * u64::from(u32::MAX))])
        );
        let mut boot_sector = second;
        boot_sector[446] = 0x12;
        assert_eq!(mbr(&boot_sector), Some(vec![]), "code, no entries");
    }

    #[test]
    fn a_gpt_tells_where_its_entries_are() {
        let mut sector = [0; 512];
        assert_eq!(gpt(&sector), None);
        sector[..8].copy_from_slice(b"EFI PART");
        sector[72] = 2;
        sector[80..84].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(gpt(&sector), None, "entries of no bytes");
        sector[84] = 128;
        assert_eq!(gpt(&sector), Some((1024, MOST_ENTRIES, 128)));
    }
}
