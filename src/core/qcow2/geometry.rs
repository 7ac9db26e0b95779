//! Sizes: of clusters, of tables, and what lies where by them. What an address leads to is not known here.

use std::ops::Range;

use super::address::{GuestOffset, HostCluster, HostClusters, HostOffset};
use super::error::{FormatError, in_range};
use super::limits;

/// The three numbers from which every size and index of an image follows. Validated on construction:
/// none of the methods can overflow or divide by zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    cluster_bits: u32,
    refcount_order: u32,
    extended_l2: bool,
}

impl Geometry {
    /// Checks the numbers against QEMU's bounds: clusters of 512 bytes to 2 MiB (16 KiB at least with
    /// extended L2 entries), refcounts of 1 to 64 bits.
    ///
    /// # Errors
    /// Names the number that is out of bounds.
    pub fn new(
        cluster_bits: u32,
        refcount_order: u32,
        extended_l2: bool,
    ) -> Result<Self, FormatError> {
        in_range(
            "cluster_bits",
            cluster_bits.into(),
            limits::MIN_CLUSTER_BITS.into(),
            limits::MAX_CLUSTER_BITS.into(),
        )?;
        if extended_l2 && cluster_bits < limits::MIN_EXTENDED_L2_CLUSTER_BITS {
            return Err(FormatError::SubclusterTooSmall {
                cluster_size: 1 << cluster_bits,
            });
        }
        in_range(
            "refcount_order",
            refcount_order.into(),
            0,
            limits::MAX_REFCOUNT_ORDER.into(),
        )?;
        Ok(Self {
            cluster_bits,
            refcount_order,
            extended_l2,
        })
    }

    /// Binary logarithm of the cluster size, 9 to 21.
    #[must_use]
    pub const fn cluster_bits(self) -> u32 {
        self.cluster_bits
    }

    /// Binary logarithm of the refcount width in bits, 0 to 6.
    #[must_use]
    pub const fn refcount_order(self) -> u32 {
        self.refcount_order
    }

    /// Whether L2 entries are 16 bytes long and clusters have 32 subclusters.
    #[must_use]
    pub const fn extended_l2(self) -> bool {
        self.extended_l2
    }

    /// Bytes in a cluster, 512 to 2 MiB.
    #[must_use]
    pub const fn cluster_size(self) -> u64 {
        1 << self.cluster_bits
    }

    /// [`Geometry::cluster_size`] for sizing buffers.
    #[must_use]
    pub const fn cluster_len(self) -> usize {
        1 << self.cluster_bits
    }

    /// Bytes in an L2 entry: 8, or 16 with extended L2 entries.
    #[must_use]
    pub const fn l2_entry_size(self) -> u64 {
        if self.extended_l2 { 16 } else { 8 }
    }

    /// Entries in an L2 table, which is one cluster.
    #[must_use]
    pub const fn l2_entries(self) -> u64 {
        self.cluster_size() / self.l2_entry_size()
    }

    /// Subclusters in a cluster: 1, or 32 with extended L2 entries.
    #[must_use]
    pub const fn subclusters(self) -> u32 {
        if self.extended_l2 { 32 } else { 1 }
    }

    /// Bytes in a subcluster; the cluster size without extended L2 entries.
    #[must_use]
    pub const fn subcluster_size(self) -> u64 {
        if self.extended_l2 {
            self.cluster_size() / 32
        } else {
            self.cluster_size()
        }
    }

    /// Guest bytes mapped by one L2 table, at most 2^39.
    #[must_use]
    pub const fn l2_coverage(self) -> u64 {
        self.l2_entries() * self.cluster_size()
    }

    /// Which L1 entry maps this guest offset.
    #[must_use]
    pub const fn l1_index(self, offset: GuestOffset) -> u64 {
        offset.0 / self.l2_coverage()
    }

    /// Which entry of its L2 table maps this guest offset.
    #[must_use]
    pub fn l2_index(self, offset: GuestOffset) -> usize {
        let index = (offset.0 >> self.cluster_bits) & (self.l2_entries() - 1);
        // Below 2^18, so the conversion cannot fail on any supported machine.
        usize::try_from(index).unwrap_or(usize::MAX)
    }

    /// Which subcluster of its cluster holds this guest offset; 0 without extended L2 entries.
    #[must_use]
    pub fn subcluster_index(self, offset: GuestOffset) -> u32 {
        let index = self.offset_in_cluster(offset) / self.subcluster_size();
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    /// Bytes between the start of the cluster and this guest offset.
    #[must_use]
    pub const fn offset_in_cluster(self, offset: GuestOffset) -> u64 {
        offset.0 & (self.cluster_size() - 1)
    }

    /// The cluster in which this byte of the file lies.
    #[must_use]
    pub const fn cluster_of(self, offset: HostOffset) -> HostCluster {
        HostCluster(offset.0 >> self.cluster_bits)
    }

    /// The first byte of a cluster. Where no offset is so large it is the largest number, at which no file has a
    /// byte.
    #[must_use]
    pub const fn offset_of(self, cluster: HostCluster) -> HostOffset {
        HostOffset(cluster.0.saturating_mul(self.cluster_size()))
    }

    /// The first cluster that the refcount block of this number counts.
    #[must_use]
    pub const fn first_counted_by(self, block: u64) -> HostCluster {
        HostCluster(block.saturating_mul(self.refcounts_per_block()))
    }

    /// The clusters in which these bytes of the file lie.
    #[must_use]
    pub const fn clusters_of(self, offset: HostOffset, bytes: u64) -> HostClusters {
        let within = offset.0 & (self.cluster_size() - 1);
        HostClusters {
            first: self.cluster_of(offset),
            count: self.clusters_for(within.saturating_add(bytes)),
        }
    }

    /// The bytes of these clusters.
    #[must_use]
    pub const fn bytes_of(self, clusters: HostClusters) -> Range<u64> {
        self.offset_of(clusters.first).0..self.offset_of(clusters.end()).0
    }

    /// L1 entries needed to map a virtual disk of this many bytes.
    #[must_use]
    pub const fn l1_entries_for(self, virtual_size: u64) -> u64 {
        virtual_size.div_ceil(self.l2_coverage())
    }

    /// The largest virtual size whose L1 table QEMU accepts, in bytes.
    #[must_use]
    pub fn max_virtual_size(self) -> u64 {
        (limits::MAX_L1_BYTES / 8)
            .saturating_mul(self.l2_coverage())
            .min(limits::MAX_OFFSET & !(limits::SECTOR - 1))
    }

    /// Bits in a refcount: 1, 2, 4, 8, 16, 32 or 64.
    #[must_use]
    pub const fn refcount_bits(self) -> u32 {
        1 << self.refcount_order
    }

    /// Refcounts in a refcount block, which is one cluster.
    #[must_use]
    pub const fn refcounts_per_block(self) -> u64 {
        (self.cluster_size() * 8) >> self.refcount_order
    }

    /// Clusters needed for this many bytes.
    #[must_use]
    pub const fn clusters_for(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster_size())
    }

    /// Refuses an offset that is not a multiple of the cluster size.
    pub(crate) fn require_aligned(
        self,
        field: &'static str,
        offset: u64,
    ) -> Result<(), FormatError> {
        if HostOffset(offset).is_aligned(self.cluster_size()) {
            Ok(())
        } else {
            Err(FormatError::Unaligned {
                field,
                offset,
                alignment: self.cluster_size(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_geometry_has_the_sizes_of_the_specification() {
        let g = Geometry::new(16, 4, false).unwrap();
        assert_eq!(g.cluster_size(), 65536);
        assert_eq!(g.l2_entries(), 8192);
        assert_eq!(g.l2_coverage(), 512 << 20);
        assert_eq!(g.refcounts_per_block(), 32768);
        assert_eq!(g.l1_entries_for(0), 0);
        assert_eq!(g.l1_entries_for(1), 1);
        assert_eq!(g.l1_entries_for((512 << 20) + 1), 2);
        let offset = GuestOffset((512 << 20) + 3 * 65536 + 7);
        assert_eq!(g.l1_index(offset), 1);
        assert_eq!(g.l2_index(offset), 3);
        assert_eq!(g.offset_in_cluster(offset), 7);
    }

    #[test]
    fn extended_entries_halve_the_table_and_split_the_cluster() {
        let g = Geometry::new(16, 4, true).unwrap();
        assert_eq!(g.l2_entry_size(), 16);
        assert_eq!(g.l2_entries(), 4096);
        assert_eq!(g.subcluster_size(), 2048);
        assert_eq!(g.subcluster_index(GuestOffset(65536 + 4096)), 2);
    }

    #[test]
    fn sizes_beyond_the_bounds_are_refused_by_name() {
        assert!(Geometry::new(8, 4, false).is_err());
        assert!(Geometry::new(22, 4, false).is_err());
        assert!(Geometry::new(16, 7, false).is_err());
        assert!(Geometry::new(13, 4, true).is_err());
        assert!(Geometry::new(14, 4, true).is_ok());
    }

    #[test]
    fn clusters_and_bytes_of_the_file_lead_to_each_other() {
        let geometry = Geometry::new(16, 4, false).unwrap();
        let clusters = geometry.clusters_of(HostOffset(0x1_8000), 0x1_8001);
        assert_eq!(clusters.first, HostCluster(1));
        assert_eq!(clusters.count, 3);
        assert_eq!(geometry.bytes_of(clusters), 0x1_0000..0x4_0000);
        assert_eq!(geometry.clusters_of(HostOffset(0x1_0000), 0).count, 0);
        // Forged numbers end at the largest one and never begin anew.
        assert_eq!(geometry.offset_of(HostCluster(1 << 60)).get(), u64::MAX);
        assert_eq!(
            geometry.clusters_of(HostOffset(u64::MAX), u64::MAX).count,
            1 << 48
        );
    }
}
