//! What there is to say of the forest as a whole: how much there is, what is wrong, which names are
//! more than one image's.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::ffi::OsStrExt;

use crate::forest::{Forest, Node, NodeId};

/// What there is to say of the forest as a whole, whatever its rows.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Names that more than one image has.
    pub ambiguous: HashSet<OsString>,
    /// The forest in numbers.
    pub totals: Totals,
    /// Images something is wrong with, by path.
    pub problems: Vec<NodeId>,
}

impl Summary {
    /// Looks at every image once.
    #[must_use]
    pub fn of(forest: &Forest) -> Self {
        let has_problems = |node: &&Node| !node.problems.is_empty();
        let mut problems: Vec<&Node> = forest.nodes().filter(has_problems).collect();
        problems.sort_by(|a, b| a.path.cmp(&b.path));
        Self {
            ambiguous: ambiguous(forest),
            totals: Totals::of(forest),
            problems: problems.into_iter().map(|node| node.id).collect(),
        }
    }
}

/// The forest in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Images built on nothing.
    pub trees: usize,
    /// Files that are there.
    pub images: usize,
    /// Their bytes on disk.
    pub bytes: u64,
    /// Images something is wrong with.
    pub problems: usize,
}

impl Totals {
    fn of(forest: &Forest) -> Self {
        let mut totals = Self {
            trees: forest.shown_roots().len(),
            ..Self::default()
        };
        // The trash is looked at by itself.
        for node in forest.nodes().filter(|node| !node.is_in_trash()) {
            if node.stat.is_some() {
                totals.images += 1;
            }
            let bytes = node.size_on_disk().unwrap_or_default();
            totals.bytes = totals.bytes.saturating_add(bytes);
            totals.problems += usize::from(!node.problems.is_empty());
        }
        totals
    }
}

fn ambiguous(forest: &Forest) -> HashSet<OsString> {
    // Numbers are sorted rather than names: hardly any name is met twice, and the others are not kept.
    let hash = |node: &Node| {
        let mut hasher = DefaultHasher::new();
        hasher.write(name(node).as_bytes());
        hasher.finish()
    };
    // One in the trash says so beside its name.
    let nodes = || forest.nodes().filter(|node| !node.is_in_trash());
    let mut hashes: Vec<u64> = nodes().map(hash).collect();
    hashes.sort_unstable();
    let mut twice: Vec<u64> = hashes
        .windows(2)
        .filter(|pair| pair.first() == pair.last())
        .filter_map(|pair| pair.first().copied())
        .collect();
    twice.dedup();
    if twice.is_empty() {
        return HashSet::new();
    }
    let mut count: HashMap<&OsStr, u32> = HashMap::new();
    for node in nodes() {
        if twice.binary_search(&hash(node)).is_ok() {
            *count.entry(name(node)).or_default() += 1;
        }
    }
    let twice = count.into_iter().filter(|(_, count)| *count > 1);
    twice.map(|(name, _)| name.to_owned()).collect()
}

/// The last part of an image's path.
fn name(node: &Node) -> &OsStr {
    let path = node.path.as_os_str().as_bytes();
    let begin = path.iter().rposition(|byte| *byte == b'/');
    OsStr::from_bytes(path.get(begin.map_or(0, |at| at + 1)..).unwrap_or(path))
}
