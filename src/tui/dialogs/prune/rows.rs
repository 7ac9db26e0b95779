//! What each machine proposes, put together. A leaf that several machines see is proposed once, and only where each of
//! them says that nothing uses it there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::facts::SpareLeaf;
use crate::forest::{Forest, Node, NodeId};
use crate::ops::Retention;
use crate::tui::app::App;
use crate::tui::far_answers::SpareLeaves;
use crate::units;

/// What one machine proposes.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) leaves: SpareLeaves,
    /// Which of them are ticked at first.
    ticked: Vec<bool>,
}

impl Proposal {
    /// Without a rule what is older than `old` is ticked, with one what it does not keep.
    pub(super) fn new(leaves: SpareLeaves, rule: &Retention, old: Duration) -> Self {
        let has_rule = !rule.keeps_nothing();
        let ticked = leaves.iter().map(|leaf| match has_rule {
            true => leaf.kept.is_none(),
            false => leaf.age >= old,
        });
        let ticked = ticked.collect();
        Self { leaves, ticked }
    }
}

/// A leaf that could go.
#[derive(Debug)]
pub struct PruneRow {
    /// The leaf, as its machine tells of it.
    pub leaf: Arc<SpareLeaf>,
    /// The place of the host that it is of; none for this machine.
    pub of: Option<usize>,
    /// Whether it is to go.
    pub ticked: bool,
    /// The same leaf, as the machine tells of it whose rule keeps it.
    keeper: Option<Arc<SpareLeaf>>,
}

impl PruneRow {
    /// Why a rule keeps it, if one does.
    #[must_use]
    pub fn kept(&self) -> Option<&str> {
        self.keeper.as_ref()?.kept.as_deref()
    }

    /// Its name for people.
    #[must_use]
    pub fn label(&self, app: &App) -> String {
        let path = &self.leaf.path;
        let node = app.forest.by_path(path).filter(|_| self.of.is_none());
        node.map_or_else(|| app.shown(path), |node| app.label(node))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Oldest first.
    pub(super) list: Vec<PruneRow>,
    /// How many are left out, since not each machine that sees them proposes them.
    left_out: usize,
}

/// A leaf that a machine proposes.
struct Vote<'a> {
    of: Option<usize>,
    leaf: &'a Arc<SpareLeaf>,
    ticked: bool,
}

impl Rows {
    pub(super) fn of(
        app: &App,
        proposals: &BTreeMap<Option<usize>, Proposal>,
        changed: &HashMap<PathBuf, bool>,
    ) -> Self {
        let shared = names_of_shared(&app.forest);
        let mut votes: HashMap<NodeId, Vec<Vote<'_>>> = HashMap::new();
        let mut rows = Self::default();
        for (of, proposal) in proposals {
            for (leaf, ticked) in proposal.leaves.iter().zip(&proposal.ticked) {
                let (of, ticked) = (*of, *ticked);
                match shared.get(leaf.path.as_path()) {
                    Some(id) => votes
                        .entry(*id)
                        .or_default()
                        .push(Vote { of, leaf, ticked }),
                    None => rows.list.push(PruneRow {
                        leaf: Arc::clone(leaf),
                        of,
                        ticked,
                        keeper: leaf.kept.is_some().then(|| Arc::clone(leaf)),
                    }),
                }
            }
        }
        for (id, votes) in votes {
            match app.forest.get(id).and_then(|node| agreed(node, &votes)) {
                Some(row) => rows.list.push(row),
                None => rows.left_out += 1,
            }
        }
        // Nothing is discarded on a host that lets nothing be changed.
        let is_fixed: Vec<bool> = app
            .hosts
            .list
            .iter()
            .map(|host| host.unchangeable().is_some())
            .collect();
        rows.list
            .retain(|row| row.of.is_none_or(|at| is_fixed.get(at) != Some(&true)));
        for row in &mut rows.list {
            row.ticked = *changed.get(&row.leaf.path).unwrap_or(&row.ticked);
        }
        rows.list.sort_by(|a, b| {
            let order = |row: &PruneRow| (Reverse(row.leaf.age), row.of);
            (order(a), &a.leaf.path).cmp(&(order(b), &b.leaf.path))
        });
        rows
    }

    /// What is said of those that are left out.
    pub(super) fn left_out(&self) -> Option<String> {
        let are = match self.left_out {
            0 => return None,
            1 => "is",
            _ => "are",
        };
        let leaves = units::count(self.left_out, "leaf");
        Some(format!(
            "{leaves} on storage that several machines see {are} left out: not each of them says that nothing uses it."
        ))
    }
}

/// All names of images that several machines see.
fn names_of_shared(forest: &Forest) -> HashMap<&Path, NodeId> {
    let mut names = HashMap::new();
    for node in forest.nodes() {
        for name in names_of(node) {
            names.insert(name, node.id);
        }
    }
    names
}

/// The names of an image on all machines that see it; none of one that one machine alone sees.
fn names_of(node: &Node) -> impl Iterator<Item = &Path> {
    let seen = node.sharing.as_deref().map(|sharing| &sharing.seen_as);
    let seen = seen.filter(|seen| !seen.is_empty());
    seen.into_iter().flat_map(|seen| {
        let others = seen.iter().map(PathBuf::as_path);
        std::iter::once(node.path.as_path()).chain(others)
    })
}

/// The row of an image that each machine proposes which sees it: that of the machine whose image it is here.
fn agreed(node: &Node, votes: &[Vote<'_>]) -> Option<PruneRow> {
    let proposed: HashSet<&Path> = votes.iter().map(|vote| vote.leaf.path.as_path()).collect();
    if !names_of(node).all(|name| proposed.contains(name)) {
        return None;
    }
    let own = votes.iter().find(|vote| vote.leaf.path == node.path)?;
    let keeper = votes.iter().find(|vote| vote.leaf.kept.is_some());
    Some(PruneRow {
        leaf: Arc::clone(own.leaf),
        of: own.of,
        ticked: votes.iter().all(|vote| vote.ticked),
        keeper: keeper.map(|vote| Arc::clone(vote.leaf)),
    })
}
