//! Compressed clusters: the descriptor in the L2 entry.
//!
//! Reading the bytes from the file is not done here.

use super::address::HostOffset;
use super::error::FormatError;
use super::geometry::Geometry;
use super::limits;

/// Where a compressed cluster's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CompressedCluster {
    /// Where the stream starts; not aligned to anything.
    pub host: HostOffset,
    /// 512-byte sectors the stream touches beyond the one it starts in.
    pub additional_sectors: u64,
}

impl CompressedCluster {
    /// Reads the descriptor from bits 0 to 61 of an L2 entry; every value is a valid one.
    #[must_use]
    pub const fn parse(raw: u64, geometry: Geometry) -> Self {
        let shift = offset_bits(geometry);
        Self {
            host: HostOffset(raw & ((1 << shift) - 1)),
            additional_sectors: (raw >> shift) & ((1 << (62 - shift)) - 1),
        }
    }

    /// The descriptor of a stream of `len` bytes at `host`.
    ///
    /// # Errors
    /// [`FormatError::DoesNotFit`] if the stream lies too far out in the file or is too long.
    pub fn for_stream(host: HostOffset, len: u64, geometry: Geometry) -> Result<Self, FormatError> {
        let last = host.get().saturating_add(len.max(1) - 1);
        let this = Self {
            host,
            additional_sectors: last / limits::SECTOR - host.get() / limits::SECTOR,
        };
        this.encode(geometry).map(|_| this)
    }

    /// Bits 0 to 61 of the L2 entry.
    ///
    /// # Errors
    /// [`FormatError::DoesNotFit`] for values the descriptor has no room for.
    pub fn encode(self, geometry: Geometry) -> Result<u64, FormatError> {
        let shift = offset_bits(geometry);
        let max = (1u64 << shift) - 1;
        if self.host.get() > max {
            return Err(FormatError::DoesNotFit {
                field: "compressed cluster offset",
                value: self.host.get(),
                max,
            });
        }
        let max = (1u64 << (62 - shift)) - 1;
        if self.additional_sectors > max {
            return Err(FormatError::DoesNotFit {
                field: "compressed cluster sectors",
                value: self.additional_sectors,
                max,
            });
        }
        Ok(self.host.get() | self.additional_sectors << shift)
    }

    /// The most bytes the stream can have: from its start to the end of its last sector. The stream
    /// may be shorter, and the file may end before.
    #[must_use]
    pub const fn max_len(self) -> u64 {
        (self.additional_sectors + 1) * limits::SECTOR - self.host.get() % limits::SECTOR
    }
}

/// Bits of the host offset in a descriptor: 61 at 512-byte clusters down to 49 at 2 MiB.
const fn offset_bits(geometry: Geometry) -> u32 {
    62 - (geometry.cluster_bits() - 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_descriptor_counts_the_sectors_after_the_first() {
        let g = Geometry::new(16, 4, false).unwrap();
        // 64 KiB clusters: 54 bits of offset, 8 bits of sectors.
        let stream = CompressedCluster::parse(0x4000_0000_0005_01f0 | 3 << 54, g);
        assert_eq!(stream.host, HostOffset(0x501f0));
        assert_eq!(stream.additional_sectors, 3);
        assert_eq!(stream.max_len(), 4 * 512 - 0x1f0);
        let one = CompressedCluster::for_stream(HostOffset(0x501ff), 1, g).unwrap();
        assert_eq!(one.additional_sectors, 0);
        let two = CompressedCluster::for_stream(HostOffset(0x501ff), 2, g).unwrap();
        assert_eq!(two.additional_sectors, 1);
    }

    #[test]
    fn at_two_mebibyte_clusters_the_offset_ends_at_512_tebibytes() {
        let g = Geometry::new(21, 4, false).unwrap();
        assert!(CompressedCluster::for_stream(HostOffset((1 << 49) - 1), 1, g).is_ok());
        assert!(CompressedCluster::for_stream(HostOffset(1 << 49), 1, g).is_err());
    }

    proptest! {
        #[test]
        fn every_descriptor_encodes_to_itself(raw in 0u64..1 << 62, bits in 9u32..=21) {
            let g = Geometry::new(bits, 4, false).unwrap();
            prop_assert_eq!(CompressedCluster::parse(raw, g).encode(g), Ok(raw));
        }
    }
}
