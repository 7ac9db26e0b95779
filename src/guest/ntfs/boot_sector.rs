//! The boot sector: where the master file table is. Names of fields as in the kernel's `fs/ntfs3/ntfs.h`.

use super::error::damaged;
use crate::error::Result;
use crate::field;

/// What the boot sector says, checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct BootSector {
    /// Bytes of a cluster: a power of two.
    pub(super) cluster_size: u32,
    /// Clusters of the volume that are there.
    pub(super) clusters: u64,
    /// Bytes the filesystem covers.
    pub(super) total: u64,
    /// Where the first record of the master file table is, in bytes of the volume.
    pub(super) mft: u64,
    /// Bytes of a record of the master file table.
    pub(super) record_size: u32,
    /// `serial_num`.
    pub(super) serial: u64,
}

/// The largest cluster that Windows makes.
const MOST_CLUSTER: u64 = 2 << 20;

/// The largest record that is taken; Windows makes 1 and 4 KiB.
const MOST_RECORD: u32 = 16 << 10;

impl BootSector {
    /// Reads a boot sector; none where it is not one of NTFS. `volume` is the length of the volume in bytes.
    ///
    /// # Errors
    /// When it is one and its fields contradict each other.
    pub(super) fn parse(sector: &[u8; 512], volume: u64) -> Result<Option<Self>> {
        if field::<8>(sector, 3) != *b"NTFS    " {
            return Ok(None);
        }
        let wrong = |problem: String| damaged("boot sector", 0, problem);
        let bytes_per_sector = u64::from(u16::from_le_bytes(field(sector, 11)));
        let [sectors_per_cluster] = field(sector, 13);
        let sectors = u64::from_le_bytes(field(sector, 0x28));
        let mft = u64::from_le_bytes(field(sector, 0x30));
        if !matches!(bytes_per_sector, 512 | 1024 | 2048 | 4096) {
            return Err(wrong(format!("bytes_per_sector is {bytes_per_sector}")));
        }
        // Large clusters are told by the negative power of two.
        let sectors_per_cluster = match sectors_per_cluster {
            count @ ..=0x80 => u64::from(count),
            power => 1_u64.checked_shl(256 - u32::from(power)).unwrap_or(0),
        };
        let cluster_size = sectors_per_cluster.saturating_mul(bytes_per_sector);
        let cluster_size = match u32::try_from(cluster_size) {
            Ok(size) if size.is_power_of_two() && cluster_size <= MOST_CLUSTER => size,
            _ => return Err(wrong(format!("clusters of {cluster_size} bytes"))),
        };
        // What lies past the volume's end is not there, whatever is said of it.
        let there = volume / u64::from(cluster_size);
        let clusters = (sectors / sectors_per_cluster.max(1)).min(there);
        let Some(total) = sectors.checked_mul(bytes_per_sector) else {
            return Err(wrong(format!("sectors_per_volume is {sectors}")));
        };
        if mft >= clusters {
            return Err(wrong(format!("mft_clst is {mft} of {clusters}")));
        }
        // A negative number is the power of two of a size below that of a cluster.
        let [told] = field(sector, 0x40);
        let size = match i8::from_le_bytes([told]) {
            count @ 1.. => u32::from(count.unsigned_abs()).checked_mul(cluster_size),
            power => 1_u32.checked_shl(power.unsigned_abs().into()),
        };
        let is_size = |size: &u32| size.is_power_of_two() && (512..=MOST_RECORD).contains(size);
        let Some(record_size) = size.filter(is_size) else {
            return Err(wrong(format!("record_size is {told}")));
        };
        Ok(Some(Self {
            cluster_size,
            clusters,
            total,
            mft: mft * u64::from(cluster_size),
            record_size,
            serial: u64::from_le_bytes(field(sector, 0x48)),
        }))
    }
}
