//! What machines propose, and what of it is ticked.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::facts::SpareLeaf;
use crate::ops::{Candidate, Per, Retention};
use crate::tui::app::App;
use crate::tui::dialogs::list_cursor::ListCursor;
use crate::tui::far_answers::SpareLeaves;
use crate::tui::query::QueryId;

use super::rows::{Proposal, PruneRow, Rows};

/// The prune checklist.
#[derive(Debug, Default)]
pub struct PruneDialog {
    /// The question's number.
    pub query_id: QueryId,
    /// What is kept by rule.
    pub rule: Retention,
    /// The entry under the cursor.
    pub cursor: ListCursor,
    /// What could go on this machine; none while that is looked for.
    here: Option<Vec<Candidate>>,
    /// Whether it is being found out what the rule keeps of that.
    waits: bool,
    /// The rule by which that was asked last.
    asked_here: Retention,
    /// The rule by which hosts were asked last.
    asked_hosts: Option<Retention>,
    /// What each machine proposes: this one, and hosts by their places.
    proposals: BTreeMap<Option<usize>, Proposal>,
    /// What the person has ticked or unticked.
    changed: HashMap<PathBuf, bool>,
    rows: Rows,
    /// The forest that the rows were made with; none where they are outdated.
    made_with: Option<(u64, u64)>,
}

impl PruneDialog {
    /// One that waits for what could go on this machine, by the question of that number.
    #[must_use]
    pub fn new(query_id: QueryId) -> Self {
        Self {
            query_id,
            ..Self::default()
        }
    }

    /// What could go, oldest first.
    #[must_use]
    pub fn rows(&self) -> &[PruneRow] {
        &self.rows.list
    }

    /// The ticked entries.
    pub fn chosen(&self) -> impl Iterator<Item = &PruneRow> {
        self.rows.list.iter().filter(|row| row.ticked)
    }

    /// Takes in what could go on this machine.
    pub(in crate::tui) fn take_here(&mut self, candidates: Vec<Candidate>, old: Duration) {
        let none = vec![None; candidates.len()];
        self.here = Some(candidates);
        self.take_kept(none, old);
        self.asked_here = Retention::default();
    }

    /// Takes in what the rule keeps of it.
    pub(in crate::tui) fn take_kept(&mut self, kept: Vec<Option<String>>, old: Duration) {
        let candidates = self.here.iter().flatten().cloned();
        let leaves = candidates.zip(kept);
        let leaves = leaves.map(|(one, kept)| Arc::new(SpareLeaf::new(one, kept)));
        let leaves = leaves.collect();
        self.waits = false;
        self.take(None, Some(leaves), old);
    }

    /// Takes in what a machine proposes; nothing where it does not say. What is older than `old` is ticked, or with a
    /// rule what that does not keep.
    pub(in crate::tui) fn take(
        &mut self,
        of: Option<usize>,
        leaves: Option<SpareLeaves>,
        old: Duration,
    ) {
        let known = self.proposals.remove(&of);
        let known = known.iter().flat_map(|known| known.leaves.iter());
        for leaf in known.chain(leaves.iter().flat_map(|leaves| leaves.iter())) {
            self.changed.remove(&leaf.path);
        }
        if let Some(leaves) = leaves {
            let proposal = Proposal::new(leaves, &self.rule, old);
            self.proposals.insert(of, proposal);
        }
        self.made_with = None;
    }

    /// The candidates of this machine, where it was not asked yet what the rule keeps of them; it is from now on.
    pub(in crate::tui) fn ask_here(&mut self, query_id: QueryId) -> Option<Vec<Candidate>> {
        let here = self
            .here
            .as_ref()
            .filter(|_| self.asked_here != self.rule)?;
        (self.asked_here, self.query_id, self.waits) = (self.rule, query_id, true);
        Some(here.clone())
    }

    /// Whether hosts were not asked by this rule yet; they are from now on.
    pub(in crate::tui) fn ask_hosts(&mut self) -> bool {
        self.asked_hosts.replace(self.rule) != Some(self.rule)
    }

    /// Makes the rows anew where what they are made of has changed; the cursor stays on its image.
    pub(in crate::tui) fn settle(&mut self, app: &App) {
        let now = Some((app.epoch, app.forest.generation()));
        if self.made_with == now {
            return;
        }
        self.made_with = now;
        let at = self.rows.list.get(self.cursor.at);
        let at = at.map(|row| row.leaf.path.clone());
        self.rows = Rows::of(app, &self.proposals, &self.changed);
        let place = |path: PathBuf| {
            let mut rows = self.rows.list.iter();
            rows.position(|row| row.leaf.path == path)
        };
        let last = self.rows.list.len().saturating_sub(1);
        self.cursor.at = at.and_then(place).unwrap_or(self.cursor.at).min(last);
    }

    /// Whether this machine has not said what it proposes, or what the rule keeps of that.
    fn waits_here(&self) -> bool {
        self.here.is_none() || self.waits
    }

    /// Whether the machine of this place has not said it.
    pub(super) fn waits_for(&self, app: &App, of: Option<usize>) -> bool {
        match of.and_then(|at| app.hosts.list.get(at)) {
            None => self.waits_here(),
            Some(host) => host.beside.prune.is_open(),
        }
    }

    /// Whether any machine has not said it.
    #[must_use]
    pub fn is_waiting(&self, app: &App) -> bool {
        let mut hosts = 0..app.hosts.list.len();
        self.waits_here() || hosts.any(|at| self.waits_for(app, Some(at)))
    }

    /// What is said in place of what machines propose, and of what is left out, each as a sentence.
    #[must_use]
    pub fn said(&self, app: &App) -> Vec<String> {
        let mut said = Vec::new();
        if self.here.is_none() {
            said.push("Looking for leaves that nothing uses.".to_owned());
        }
        said.extend(app.hosts.said(|beside| &beside.prune));
        let hosts = app.hosts.list.iter();
        said.extend(hosts.filter_map(|host| Some(format!("{}.", host.unchangeable()?))));
        said.extend(self.rows.left_out());
        if self.rows.list.is_empty() && !self.is_waiting(app) {
            let text = "Nothing to prune: every leaf is in use, is a root, or has problems that should be looked at first.";
            said.insert(0, text.to_owned());
        }
        said
    }

    /// The rule in words.
    #[must_use]
    pub fn rule_words(&self) -> String {
        let Retention {
            last,
            daily,
            weekly,
            monthly,
            per,
        } = &self.rule;
        let name = Per::ALL.iter().find(|(one, _)| one == per);
        format!(
            "keep: last {last}, daily {daily}, weekly {weekly}, monthly {monthly}, per {}",
            name.map_or("", |(_, name)| name)
        )
    }

    /// Ticks or unticks a row.
    pub(super) fn tick(&mut self, at: usize, ticked: bool) {
        if let Some(row) = self.rows.list.get_mut(at) {
            row.ticked = ticked;
            self.changed.insert(row.leaf.path.clone(), ticked);
        }
    }
}
