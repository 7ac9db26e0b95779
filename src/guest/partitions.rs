//! Where the partition table on a guest's disk says that partitions are. Reads the table and nothing else.

use qanopy_core::image::{self, Chain};

use crate::block::BlockSource;
use crate::error::Result;
use crate::field;

const SECTOR: u64 = 512;
/// Entries of a GPT looked at; as many as there are in practice.
const MOST_ENTRIES: u32 = 1024;
/// Logical partitions of an MBR looked for: Linux knows no more of a disk.
const MOST_LOGICAL: u32 = 60;
/// Types of MBR entries that hold logical partitions: with addresses of old, LBA, and that of Linux.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// Where a partition is, in bytes of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number, counted from 1.
    pub number: u32,
    /// Where it begins.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// Whether it holds logical partitions, which are told as well, and nothing of its own.
    pub is_extended: bool,
}

/// Fills a buffer with the bytes of a disk from an offset on.
type ReadAt<'a, E> = &'a mut dyn FnMut(u64, &mut [u8]) -> std::result::Result<(), E>;

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
        Self::parse(&mut |at, buf| disk.read_at(buf, at))
    }

    /// As [`Partitions::read`], of any source.
    ///
    /// # Errors
    /// As there.
    pub fn of(disk: &dyn BlockSource) -> Result<Self> {
        Self::parse(&mut |at, buf| disk.read_at(at, buf))
    }

    fn parse<E>(read_at: ReadAt<'_, E>) -> std::result::Result<Self, E> {
        let mut first = [0; 512];
        read_at(0, &mut first)?;
        let Some(mut mbr) = mbr(&first) else {
            return Ok(Self::None);
        };
        let mut header = [0; 512];
        read_at(SECTOR, &mut header)?;
        let Some((at, count, len)) = gpt(&header) else {
            // A boot sector of a filesystem ends like an MBR, and has no entries that make sense.
            if mbr.is_empty() {
                return Ok(Self::None);
            }
            if let Some(extended) = mbr.iter().copied().find(|one| one.is_extended) {
                mbr.extend(logical(extended, read_at)?);
            }
            return Ok(Self::Mbr(mbr));
        };
        let mut found = Vec::new();
        let mut entry = [0; 128];
        for number in 0..count {
            let offset = at.saturating_add(u64::from(number) * len);
            read_at(offset, &mut entry)?;
            if entry.iter().take(16).all(|byte| *byte == 0) {
                continue;
            }
            let first = u64::from_le_bytes(field(&entry, 32));
            let last = u64::from_le_bytes(field(&entry, 40));
            found.push(Partition {
                number: number + 1,
                start: first.saturating_mul(SECTOR),
                end: last.saturating_add(1).saturating_mul(SECTOR),
                is_extended: false,
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
                is_extended: EXTENDED.contains(&kind),
            });
        }
    }
    Some(found)
}

/// The logical partitions: each has a sector of its own with an entry for it, and one for where the next such sector
/// is, counted from the extended partition. Numbered from 5 as Linux does.
fn logical<E>(
    extended: Partition,
    read_at: ReadAt<'_, E>,
) -> std::result::Result<Vec<Partition>, E> {
    let mut found = Vec::new();
    let mut at = extended.start;
    for number in 5..5 + MOST_LOGICAL {
        let mut sector = [0; 512];
        read_at(at, &mut sector)?;
        let entries = mbr(&sector).unwrap_or_default();
        found.extend(
            entries
                .iter()
                .find(|one| one.number == 1 && !one.is_extended)
                .map(|one| Partition {
                    number,
                    start: at.saturating_add(one.start),
                    end: at.saturating_add(one.end),
                    is_extended: false,
                }),
        );
        match entries
            .iter()
            .find(|one| one.number == 2 && one.is_extended)
        {
            Some(next) => at = extended.start.saturating_add(next.start),
            None => break,
        }
    }
    Ok(found)
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
            is_extended: false,
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
    fn logical_partitions_are_counted_from_five() {
        let mut disk = vec![0; 512 * 400];
        let mut put = |at: usize, entries: &[(u8, u32, u32)]| {
            for (index, (kind, start, sectors)) in entries.iter().enumerate() {
                let entry = at * 512 + 446 + index * 16;
                disk[entry + 4] = *kind;
                disk[entry + 8..entry + 12].copy_from_slice(&start.to_le_bytes());
                disk[entry + 12..entry + 16].copy_from_slice(&sectors.to_le_bytes());
            }
            disk[at * 512 + 510..at * 512 + 512].copy_from_slice(&[0x55, 0xaa]);
        };
        put(0, &[(0x83, 1, 9), (0x0f, 100, 200)]);
        put(100, &[(0x83, 2, 10), (0x05, 50, 60)]);
        put(150, &[(0x83, 2, 20), (0x05, 50, 60)]);
        let found = Partitions::of(&disk).unwrap();
        let logical = |number| found.all().iter().find(|one| one.number == number).copied();
        assert_eq!(logical(5), Some(at(5, 102, 112)));
        // The last one leads to itself: that ends.
        assert_eq!(logical(6), Some(at(6, 152, 172)));
        assert_eq!(logical(64).map(|one| one.start), Some(152 * 512));
        assert_eq!(logical(65), None);
        assert!(logical(2).unwrap().is_extended);
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
