//! Where an image's own tables are, so that guest data is never written over them.

use std::collections::BTreeSet;

use crate::qcow2::{HostCluster, HostClusters};

/// Host clusters that hold metadata, each with the table's name: what QEMU's overlap checks ask.
#[derive(Debug, Clone, Default)]
pub struct MetadataOverlap {
    /// In the file's order.
    tables: Vec<(HostClusters, &'static str)>,
    /// Clusters of these that hold a table no more.
    given_up: BTreeSet<HostCluster>,
}

impl MetadataOverlap {
    /// Tables with these places and names. They do not overlap.
    #[must_use]
    pub fn new(mut tables: Vec<(HostClusters, &'static str)>) -> Self {
        tables.sort_unstable();
        Self {
            tables,
            given_up: BTreeSet::new(),
        }
    }

    /// The table in that cluster is gone: anything may be there from now on.
    pub fn give_up(&mut self, cluster: HostCluster) {
        if self.at(cluster).is_some() {
            self.given_up.insert(cluster);
        }
    }

    /// The table in that cluster, if one is.
    #[must_use]
    pub fn at(&self, cluster: HostCluster) -> Option<&'static str> {
        let after = self
            .tables
            .partition_point(|(clusters, _)| clusters.first <= cluster);
        let (clusters, what) = self.tables.get(after.checked_sub(1)?)?;
        (clusters.contains(cluster) && !self.given_up.contains(&cluster)).then_some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_inside_a_table_is_known_by_its_name() {
        let run = |first, count| HostClusters {
            first: HostCluster(first),
            count,
        };
        let mut map =
            MetadataOverlap::new(vec![(run(5, 2), "an L2 table"), (run(0, 1), "the header")]);
        let at = |map: &MetadataOverlap, cluster| map.at(HostCluster(cluster));
        assert_eq!(at(&map, 0), Some("the header"));
        assert_eq!(at(&map, 1), None);
        assert_eq!(at(&map, 6), Some("an L2 table"));
        assert_eq!(at(&map, 7), None);
        map.give_up(HostCluster(6));
        map.give_up(HostCluster(7));
        assert_eq!((at(&map, 5), at(&map, 6)), (Some("an L2 table"), None));
        assert_eq!(at(&MetadataOverlap::default(), 0), None);
    }
}
