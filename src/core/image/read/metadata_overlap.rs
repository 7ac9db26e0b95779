//! Where an image's own tables are, so that guest data is never written over them.

use std::collections::BTreeSet;

/// Host clusters that hold tables, each with the table's name.
#[derive(Debug, Clone, Default)]
pub struct TableMap {
    /// First cluster, number of clusters, name; sorted once built.
    ranges: Vec<(u64, u64, &'static str)>,
    /// Clusters of these ranges that hold a table no more.
    given_up: BTreeSet<u64>,
}

impl TableMap {
    /// A map of these ranges: first cluster, number of clusters, name. They do not overlap.
    #[must_use]
    pub fn new(mut ranges: Vec<(u64, u64, &'static str)>) -> Self {
        ranges.sort_unstable();
        Self {
            ranges,
            given_up: BTreeSet::new(),
        }
    }

    /// The table in that cluster is gone: anything may be there from now on.
    pub fn give_up(&mut self, cluster: u64) {
        if self.at(cluster).is_some() {
            self.given_up.insert(cluster);
        }
    }

    /// The table in that cluster, if one is.
    #[must_use]
    pub fn at(&self, cluster: u64) -> Option<&'static str> {
        let after = self.ranges.partition_point(|(first, ..)| *first <= cluster);
        let (first, count, what) = self.ranges.get(after.checked_sub(1)?)?;
        (cluster - first < *count && !self.given_up.contains(&cluster)).then_some(what)
    }
}

#[cfg(test)]
mod tests {
    use super::TableMap;

    #[test]
    fn a_cluster_inside_a_table_is_known_by_its_name() {
        let mut map = TableMap::new(vec![(5, 2, "an L2 table"), (0, 1, "the header")]);
        assert_eq!(map.at(0), Some("the header"));
        assert_eq!(map.at(1), None);
        assert_eq!(map.at(6), Some("an L2 table"));
        assert_eq!(map.at(7), None);
        map.give_up(6);
        map.give_up(7);
        assert_eq!((map.at(5), map.at(6)), (Some("an L2 table"), None));
        assert_eq!(TableMap::default().at(0), None);
    }
}
