//! All nodes of a filesystem, and which of them differ between two states of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use qanopy_guest::Filesystem;
use qanopy_guest::filesystem::{Candidates, Node, NodeId};

/// Every node that the root leads to.
pub fn all(filesystem: &dyn Filesystem) -> BTreeMap<NodeId, Node> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![filesystem.root()];
    while let Some(id) = waiting.pop() {
        let node = filesystem.node(id).unwrap();
        if found.insert(id, node.clone()).is_none() && node.is_directory() {
            filesystem
                .entries(id, &mut |entry| {
                    waiting.push(entry.id);
                    ControlFlow::Continue(())
                })
                .unwrap();
        }
    }
    found
}

/// The node that a path from the root leads to.
pub fn find(filesystem: &dyn Filesystem, path: &str) -> NodeId {
    path.split('/').fold(filesystem.root(), |at, name| {
        let found = filesystem.lookup(at, name.as_bytes()).unwrap();
        found.unwrap_or_else(|| panic!("{name} of {path}"))
    })
}

/// Fails where a node that came, went or is recorded otherwise is no candidate of the state that has it.
pub fn assert_candidates(
    before: &dyn Filesystem,
    after: &dyn Filesystem,
    changed: &qanopy_guest::Ranges,
) {
    let (was, is) = (all(before), all(after));
    for (own, others, filesystem) in [(&was, &is, before), (&is, &was, after)] {
        let Candidates::Nodes(told) = filesystem.candidates(changed).unwrap() else {
            continue;
        };
        let told: BTreeSet<NodeId> = told.into_iter().collect();
        let mut differ = 0;
        for (id, node) in own {
            let same = others.get(id).is_some_and(|other| {
                (other.generation, other.digest) == (node.generation, node.digest)
            });
            differ += usize::from(!same);
            assert!(same || told.contains(id), "{node:?} is no candidate");
        }
        assert!(differ > 0 && differ < own.len(), "{differ} differ");
    }
}
