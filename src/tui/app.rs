//! Everything the interface knows. It changes only in `update`; the views only read it. No disk, no
//! terminal, no thread is touched here.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tui_input::Input;

use crate::forest::picture::Charset;
use crate::forest::{Forest, Node, NodeId};
use crate::host::{Stat, printable};
use crate::image::{Check, Snapshot};
use crate::ops::Request;
use crate::units;

use super::actions::Action;
use super::bindings::Keymap;
use super::config::{Notices, OwnCommand};
use super::filter::Hits;
use super::jobs::Jobs;
use super::layers::Layers;
use super::log::{Kind, Log};
use super::map::MapSeen;
use super::msg::{LiveFacts, Watching};
use super::order::{Sort, View};
use super::picture::Picture;
use super::plan_preview::PlanPreview;
use super::query::Ticket;
use super::rows::{self, Row, RowKind, Rows};
use super::summary::Summary;
use super::theme::Theme;

/// How the program was started; never changes while it runs.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The directories looked at.
    pub roots: Vec<PathBuf>,
    /// Whether whatever changes files is hidden.
    pub read_only: bool,
    /// Whether only ASCII characters are drawn.
    pub ascii: bool,
    /// How roles look.
    pub theme: Theme,
    /// The person's home, shown as `~`.
    pub home: Option<PathBuf>,
    /// What keys do.
    pub keymap: Keymap,
    /// The person's own commands.
    pub commands: Vec<OwnCommand>,
    /// Leaves untouched for so many days are ticked when pruning.
    pub prune_days: u64,
    /// Whether the mouse is listened to from the start.
    pub mouse: bool,
    /// Whether raw images are listed by their names' extensions.
    pub raw: bool,
    /// When the end of a job is told to somebody who looks elsewhere.
    pub notices: Notices,
}

impl Settings {
    /// The characters that pictures are drawn with.
    #[must_use]
    pub fn charset(&self) -> Charset {
        if self.ascii {
            Charset::Ascii
        } else {
            Charset::Unicode
        }
    }
}

/// Which pane has the focus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pane {
    /// The images.
    #[default]
    Images,
    /// What is known of the selected one.
    Detail,
}

/// What the detail pane shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tab {
    /// All facts.
    #[default]
    Info,
    /// The chain.
    Chain,
    /// The ranges it has changed.
    Changes,
    /// Where its bytes are.
    Map,
    /// What is wrong, and what the last check found.
    Health,
    /// Its internal snapshots.
    Snapshots,
}

impl Tab {
    /// All of them in order, with the action that shows each and its title.
    pub const ALL: [(Self, Action, &'static str); 6] = [
        (Self::Info, Action::Info, "Info"),
        (Self::Chain, Action::Chain, "Chain"),
        (Self::Changes, Action::Changes, "Diff"),
        (Self::Map, Action::Map, "Map"),
        (Self::Health, Action::Health, "Health"),
        (Self::Snapshots, Action::SnapshotList, "Snapshots"),
    ];

    /// The next one in order, or the one before.
    #[must_use]
    pub fn beside(self, forward: bool) -> Self {
        let count = Self::ALL.len();
        let at = Self::ALL.iter().position(|(tab, ..)| *tab == self);
        let at = at.unwrap_or(0) + if forward { 1 } else { count - 1 };
        Self::ALL.get(at % count).map_or(self, |(tab, ..)| *tab)
    }
}

/// What a check of an image has found, and of which state of the file.
#[derive(Debug, Clone)]
pub struct Checked {
    /// When it was done.
    pub at: SystemTime,
    /// The file as it was; another state is another image.
    pub stat: Option<Stat>,
    /// What was found, or why nothing could be.
    pub found: Result<Arc<Check>, String>,
}

/// A scan that runs, or the last one that did.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// The newest scan's number.
    pub ticket: Ticket,
    /// Whether it still runs.
    pub running: bool,
    /// Whether something changed meanwhile, so that another one has to follow.
    pub again: bool,
    /// Files looked at so far.
    pub looked_at: u64,
    /// Places that could not be looked at, each as a sentence.
    pub unreadable: Vec<String>,
    /// What a further scan has found so far; it replaces the forest when it is done.
    pub fresh: Option<Forest>,
}

/// The rows, the cursor in them, and what they are made from.
#[derive(Debug, Default)]
pub struct Tree {
    /// The rows as last built.
    pub rows: Rows,
    /// How often rows were built; for tests.
    pub builds: u64,
    /// What there is to say of the forest as a whole.
    pub summary: Summary,
    /// The forest's epoch and generation when that was found out.
    pub(super) summary_of: Option<(u64, u64)>,
    /// The row under the cursor.
    pub cursor: usize,
    /// The first row shown.
    pub top: usize,
    /// The image under the cursor, to find it again when rows change.
    pub at: Option<NodeId>,
    /// The ID of the image's internal snapshot, where that is what the cursor is on.
    pub inside: Option<Vec<u8>>,
    /// Whether a key was pressed: until then the cursor stays on top while rows come in.
    pub touched: bool,
    /// A file to go to as soon as it is there.
    pub wanted: Option<PathBuf>,
    /// Images whose children are hidden.
    pub folds: HashSet<NodeId>,
    /// Straight runs shown in full.
    pub open_runs: HashSet<NodeId>,
    /// Marked images.
    pub marks: HashSet<NodeId>,
    /// Where a range of marks begins.
    pub range: Option<NodeId>,
    /// The order.
    pub sort: Sort,
    /// Which images at all.
    pub view: View,
    /// Folds remembered from an earlier run whose images have not been found yet.
    pub fold_paths: HashSet<PathBuf>,
    /// The filter line.
    pub filter: Input,
    /// What the filter line asks for, where a worker has found that out.
    pub hits: Option<Arc<Hits>>,
    /// The filter line a worker was asked about last, and the forest's epoch and generation then.
    pub(super) hits_of: Option<(String, u64, u64)>,
    /// The number of that question.
    pub(super) hits_ticket: Ticket,
    /// Counts changes of whatever the rows are made from, apart from the forest.
    pub version: u64,
    pub(super) built: Option<(u64, u64, u64, usize)>,
}

/// In a forest larger than this the filter is worked out by a worker.
pub const LARGE: usize = 4000;

/// A line that tells what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toast {
    /// The sentence.
    pub text: String,
    /// Whether something went wrong.
    pub bad: bool,
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
    /// The scan.
    pub scan: Scan,
    /// The rows.
    pub tree: Tree,
    /// The diagram, while it is shown instead of the tree.
    pub picture: Option<Picture>,
    /// The pane with the focus.
    pub pane: Pane,
    /// What the detail pane shows.
    pub tab: Tab,
    /// Lines the detail pane is scrolled by.
    pub detail_scroll: usize,
    /// Which line of the health pane is selected, counting those that something helps against.
    pub health_cursor: usize,
    /// Per cent added to the images pane's share.
    pub split: i16,
    /// Whether the mouse is listened to.
    pub mouse: bool,
    /// Whether somebody looks at the terminal; none while it has not told.
    pub focused: Option<bool>,
    /// How changes on the disk are noticed.
    pub watching: Watching,
    /// What checks have found, by file.
    pub checks: HashMap<PathBuf, Checked>,
    /// What happened in this session.
    pub log: Log,
    /// The files that interrupted operations have left half done, each with a sentence.
    pub halves: Vec<(PathBuf, String)>,
    /// Whether rows are marked as half done.
    pub(super) had_halves: bool,
    /// The jobs.
    pub jobs: Jobs,
    /// What would take back the operations of this session, newest last: what was done, and the
    /// request.
    pub undo: Vec<(String, Request)>,
    /// The folders that are open, where there is a journal: it knows what can be taken back then.
    pub journal: Option<Vec<PathBuf>>,
    /// Why the newest operation cannot be taken back, if it cannot.
    pub no_undo: Option<String>,
    /// What happened last.
    pub toast: Option<Toast>,
    /// The chain of the selected image.
    pub layers: Layers,
    /// What the disk told of the selected image.
    pub facts: Option<LiveFacts>,
    /// The image the disk was asked about last.
    pub asked: Option<PathBuf>,
    /// Where the bytes of an image are, or why that cannot be told.
    pub map: Option<(PathBuf, Result<Arc<MapSeen>, String>)>,
    /// The image whose map was asked for last.
    pub map_asked: Option<PathBuf>,
    /// What the shown plan would do.
    pub preview: Option<PlanPreview>,
    /// Whether to leave when the last job is done.
    pub leaving: bool,
    /// Whether the workers hold the passphrase of what is still to be made.
    pub protects: bool,
    /// The last actions chosen from the palette, newest last.
    pub recent: Vec<Action>,
    /// Whether files were found since rows were last laid out.
    pub(super) unsettled: bool,
    /// Files that changed while they could not be looked at.
    pub(super) changed_files: HashSet<PathBuf>,
    /// The question whose answer will replace the forest by one that was looked at again.
    pub(super) refreshing: Option<Ticket>,
    pub(super) tickets: Ticket,
}

impl App {
    /// A fresh interface for a terminal of that size.
    #[must_use]
    pub fn new(settings: Settings, size: (u16, u16)) -> Self {
        Self {
            mouse: settings.mouse,
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

    /// Tells something that is wrong from the start, and keeps it in the log.
    pub(super) fn complain(&mut self, text: &str) {
        self.note(None, Kind::Bad, text);
        self.warn(text);
    }

    /// Tells something that went well, or only informs.
    pub(super) fn tell(&mut self, text: impl AsRef<str>) {
        self.toast = Some(Toast {
            text: printable(text.as_ref()),
            bad: false,
        });
    }

    /// Tells something that did not go well.
    pub(super) fn warn(&mut self, text: impl AsRef<str>) {
        self.toast = Some(Toast {
            text: printable(text.as_ref()),
            bad: true,
        });
    }

    /// Writes a line into the log.
    pub(super) fn note(&mut self, job: Option<u64>, kind: Kind, text: &str) {
        let now = self.now();
        self.log.add(now, job, kind, text);
    }

    /// The time of the last thing that happened.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.now.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// A new number for a question.
    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
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

    /// A path for people: the home directory is `~`.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        if let Some(home) = &self.settings.home
            && let Ok(rest) = path.strip_prefix(home)
        {
            return if rest.as_os_str().is_empty() {
                "~".to_owned()
            } else {
                format!("~/{}", printable(rest))
            };
        }
        printable(path)
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
        let mut roots = self.settings.roots.iter();
        let inside = roots.find_map(|root| path.strip_prefix(root).ok());
        inside
            .filter(|inside| !inside.as_os_str().is_empty())
            .map_or_else(|| self.shown(path), printable)
    }
}
