//! Everything the interface knows. It changes only in `update`; the views only read it. No disk, no
//! terminal, no thread is touched here.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::forest::{Forest, Node, NodeId};
use crate::host::printable;
use crate::image::Snapshot;
use crate::units;

use super::actions::Action;
use super::detail_pane::DetailPane;
use super::diagram::DiagramPane;
use super::hosts::{HostSeen, Hosts};
use super::insides::Insides;
use super::jobs::Jobs;
use super::log::Kind;
use super::places::Places;
use super::plan_preview::PlanPreview;
use super::query::QueryId;
use super::refresh::Refresh;
use super::rows::{self, Row, RowKind};
use super::selection::{LARGE, Tree};
use super::session::{Session, Toast};
use super::settings::Settings;
use super::space::Space;
use super::tour::Tour;

/// Which pane has the focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pane {
    /// The images.
    #[default]
    Images,
    /// What is known of the selected one.
    Detail,
}

/// Everything the interface knows.
#[derive(Debug, Default)]
pub struct App {
    /// How it was started.
    pub settings: Settings,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// The time of the last thing that happened.
    pub now: Option<SystemTime>,
    /// What exists.
    pub forest: Arc<Forest>,
    /// Counts how often the forest was replaced by another.
    pub epoch: u64,
    /// The rows, the cursor in them, and the marks.
    pub tree: Tree,
    /// The detail pane, and what is known for it.
    pub detail: DetailPane,
    /// What happened in this session.
    pub session: Session,
    /// Where the space went.
    pub space: Space,
    /// What is known of the inside of images.
    pub insides: Insides,
    /// How what is shown is kept in line with the disk.
    pub refresh: Refresh,
    /// The other machines.
    pub hosts: Hosts,
    /// The diagram, while it is shown instead of the tree.
    pub diagram: Option<DiagramPane>,
    /// The pane with the focus.
    pub pane: Pane,
    /// Per cent added to the images pane's share.
    pub split: i16,
    /// Whether the mouse is listened to.
    pub mouse: bool,
    /// Whether somebody looks at the terminal; none while it has not told.
    pub focused: Option<bool>,
    /// The jobs.
    pub jobs: Jobs,
    /// What the shown plan would do.
    pub preview: Option<PlanPreview>,
    /// Whether to leave when the last job is done.
    pub leaving: bool,
    /// The tour, while it is taken.
    pub tour: Option<Tour>,
    /// Whether the workers hold the passphrase of what is still to be made.
    pub protects: bool,
    /// The shown plan for which it was asked which files inside images it concerns.
    pub looked_inside: Option<QueryId>,
    pub(super) last_query_id: QueryId,
}

impl App {
    /// A fresh interface for a terminal of that size.
    #[must_use]
    pub fn new(settings: Settings, size: (u16, u16)) -> Self {
        Self {
            mouse: settings.mouse,
            hosts: Hosts::of(&settings.hosts),
            settings,
            size,
            ..Self::default()
        }
    }

    /// The first key of an action of the panes, as text.
    #[must_use]
    pub fn key(&self, action: Action) -> String {
        self.settings.keymap.key(action)
    }

    /// Tells the first of what is wrong from the start, and keeps all of it in the log.
    pub(super) fn complain(&mut self, texts: &[String]) {
        for text in texts {
            self.note(None, Kind::Bad, text);
        }
        match texts {
            [] => {}
            [only] => self.warn(only),
            [first, more @ ..] => {
                let (more, log) = (more.len(), self.key(Action::Log));
                self.warn(format!("{log} tells this and {more} more: {first}"));
            }
        }
    }

    /// Tells something that went well, or only informs.
    pub(super) fn tell(&mut self, text: impl AsRef<str>) {
        self.toast(text.as_ref(), false);
    }

    /// Tells something that did not go well.
    pub(super) fn warn(&mut self, text: impl AsRef<str>) {
        self.toast(text.as_ref(), true);
    }

    /// Tells something in which paths are not to be shortened.
    pub(super) fn tell_as_it_is(&mut self, text: &str) {
        let text = printable(text);
        self.session.toast = Some(Toast { text, bad: false });
    }

    fn toast(&mut self, text: &str, bad: bool) {
        let text = self.places().brief(&printable(text));
        self.session.toast = Some(Toast { text, bad });
    }

    /// Writes a line into the log.
    pub(super) fn note(&mut self, job: Option<u64>, kind: Kind, text: &str) {
        let now = self.now();
        self.session.log.add(now, job, kind, text);
    }

    /// The time of the last thing that happened.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.now.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// A new number for a question.
    pub(super) fn query_id(&mut self) -> QueryId {
        self.last_query_id += 1;
        self.last_query_id
    }

    /// The image under the cursor.
    #[must_use]
    pub fn selected(&self) -> Option<&Node> {
        self.tree.at.and_then(|id| self.forest.get(id))
    }

    /// The internal snapshot under the cursor, which is one of the selected image's.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot_on(self.tree.rows.list.get(self.tree.cursor)?)
    }

    /// The internal snapshot that a row shows.
    #[must_use]
    pub fn snapshot_on(&self, row: &Row) -> Option<&Snapshot> {
        match row.kind {
            RowKind::Snapshot { of, at } => rows::nth(self.forest.get(of)?.known_snapshots().0, at),
            _ => None,
        }
    }

    /// The host on whose row the cursor is.
    #[must_use]
    pub fn host_under_cursor(&self) -> Option<&HostSeen> {
        match self.tree.rows.list.get(self.tree.cursor)?.kind {
            RowKind::Host(at) => rows::nth(&self.hosts.list, at),
            _ => None,
        }
    }

    /// The marked images in the order of the forest, or else the one under the cursor.
    #[must_use]
    pub fn targets(&self) -> Vec<NodeId> {
        if self.tree.marks.is_empty() {
            return self.tree.at.into_iter().collect();
        }
        let mut targets: Vec<NodeId> = self.tree.marks.iter().copied().collect();
        targets.sort_unstable();
        targets
    }

    /// The image that an action is about which takes one: the marked one, or else the one under the cursor.
    /// None where several are marked.
    #[must_use]
    pub fn target(&self) -> Option<&Node> {
        let mut marks = self.tree.marks.iter();
        match (marks.next(), marks.next()) {
            (None, _) => self.selected(),
            (Some(only), None) => self.forest.get(*only),
            (Some(_), Some(_)) => None,
        }
    }

    /// The internal snapshot that an action is about: the one under the cursor, unless images are marked.
    #[must_use]
    pub fn target_snapshot(&self) -> Option<&Snapshot> {
        self.snapshot().filter(|_| self.tree.marks.is_empty())
    }

    /// How many marked images have no row because of a filter, a view or a fold.
    #[must_use]
    pub fn hidden_marks(&self) -> usize {
        let marks = self.tree.marks.iter();
        marks
            .filter(|id| self.tree.rows.place(**id).is_none())
            .count()
    }

    /// The rows or the picture have to be made anew.
    pub(super) fn changed(&mut self) {
        self.tree.version += 1;
    }

    /// What paths are seen from.
    #[must_use]
    pub fn places(&self) -> Places<'_> {
        Places {
            roots: &self.settings.roots,
            home: self.settings.home.as_deref(),
        }
    }

    /// The filter line was typed on: the cursor goes to its first hit. Where a worker finds out what it asks for,
    /// the rows stay until that is known.
    pub(super) fn filter_typed(&mut self) {
        self.tree.seeks = true;
        self.tree.hits_known = false;
        if !self.asks_worker_for_hits() {
            self.changed();
        }
    }

    /// Whether a worker finds out what the filter line asks for.
    pub(super) fn asks_worker_for_hits(&self) -> bool {
        self.forest.len() > LARGE && !self.tree.filter.value().trim().is_empty()
    }

    /// Whether a worker is still finding out what the filter line asks for.
    pub(super) fn waits_for_hits(&self) -> bool {
        self.asks_worker_for_hits() && !self.tree.hits_known
    }

    /// A path for people: the home directory is `~`.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        self.places().shown(path)
    }

    /// An image's name: the file's, with the folder before it where two files have one name.
    #[must_use]
    pub fn label(&self, node: &Node) -> String {
        let name = node.path.file_name().unwrap_or(node.path.as_os_str());
        if !self.tree.summary.ambiguous.contains(name) {
            return units::file_name(&node.path);
        }
        self.inside(&node.path)
    }

    /// A path for people, from the scanned directory it lies in.
    #[must_use]
    pub fn inside(&self, path: &Path) -> String {
        self.places().inside(path)
    }
}
