//! Addresses: bytes of the guest's disk, bytes and clusters of the image's file.
//!
//! Only the arithmetic that makes sense exists: a guest offset cannot be added to a host offset, and a cluster
//! becomes an offset by the image's [`Geometry`](super::Geometry) alone.

use std::fmt;

use super::limits;

macro_rules! offset_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name(pub u64);

        impl $name {
            /// The offset in bytes.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// This offset moved up by `bytes`; `None` beyond the largest offset (2^63 - 1).
            #[must_use]
            pub fn checked_add(self, bytes: u64) -> Option<Self> {
                self.0.checked_add(bytes).filter(|sum| *sum <= limits::MAX_OFFSET).map(Self)
            }

            /// This offset moved up by `bytes`; the largest number where there is none, at which no file has a
            /// byte.
            #[must_use]
            pub const fn plus(self, bytes: u64) -> Self {
                Self(self.0.saturating_add(bytes))
            }

            /// Whether this offset is a multiple of `unit` (a power of two).
            #[must_use]
            pub const fn is_aligned(self, unit: u64) -> bool {
                self.0 & unit.wrapping_sub(1) == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

offset_type!(
    /// A byte offset on the virtual disk, as the guest sees it.
    GuestOffset
);
offset_type!(
    /// A byte offset in the image file (or in its external data file).
    HostOffset
);

/// The index of a cluster in the image file: its host offset divided by the cluster size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HostCluster(pub u64);

impl HostCluster {
    /// The index.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The cluster `count` further on; the largest number where there is none, in which no file has a byte.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl fmt::Display for HostCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Clusters in a row in the image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HostClusters {
    /// The first of them.
    pub first: HostCluster,
    /// How many they are.
    pub count: u64,
}

impl HostClusters {
    /// A single cluster.
    #[must_use]
    pub const fn one(cluster: HostCluster) -> Self {
        Self {
            first: cluster,
            count: 1,
        }
    }

    /// The last of them; the first where there are none.
    #[must_use]
    pub const fn last(self) -> HostCluster {
        self.first.plus(self.count.saturating_sub(1))
    }

    /// The cluster behind the last one.
    #[must_use]
    pub const fn end(self) -> HostCluster {
        self.first.plus(self.count)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Whether this cluster is one of them.
    #[must_use]
    pub const fn contains(self, cluster: HostCluster) -> bool {
        self.first.0 <= cluster.0 && cluster.0 < self.end().0
    }

    /// Those that are among the others as well.
    #[must_use]
    pub fn common(self, others: Self) -> Self {
        let first = self.first.max(others.first);
        let end = self.end().min(others.end());
        Self {
            first,
            count: end.get().saturating_sub(first.get()),
        }
    }

    /// Each of them, in order.
    pub fn iter(self) -> impl Iterator<Item = HostCluster> {
        (self.first.0..self.end().0).map(HostCluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_never_pass_the_largest_file() {
        assert_eq!(HostOffset(i64::MAX as u64).checked_add(1), None);
        assert_eq!(HostOffset(u64::MAX).checked_add(1), None);
        assert_eq!(HostOffset(0x30000).to_string(), "0x30000");
    }

    #[test]
    fn a_run_of_clusters_ends_where_numbers_end() {
        let run = HostClusters {
            first: HostCluster(7),
            count: 2,
        };
        assert!(run.contains(HostCluster(8)) && !run.contains(HostCluster(9)));
        assert_eq!(
            run.iter().collect::<Vec<_>>(),
            [HostCluster(7), HostCluster(8)]
        );
        let forged = HostClusters {
            first: HostCluster(u64::MAX - 1),
            count: 5,
        };
        assert_eq!(
            (forged.end(), forged.iter().count()),
            (HostCluster(u64::MAX), 1)
        );
    }
}
