//! Everything the interface knows. It changes only in `update`; the views only read it. No disk, no
//! terminal, no thread is touched here.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tui_input::Input;

use crate::forest::picture::Charset;
use crate::forest::{Flags, Forest, Node, NodeId};
use crate::host::{Stat, printable};
use crate::image::{Check, Snapshot};
use crate::ops::Request;
use crate::units;

use super::config::{Notices, OwnCommand};
use super::dialog::Mode;
use super::filter::{Filter, Hits};
use super::jobs::Jobs;
use super::keymap::{Action, Keymap, Scope};
use super::layers::Layers;
use super::layout::Layout;
use super::log::{Kind, Log};
use super::map::MapSeen;
use super::memory::Memory;
use super::msg::{LiveFacts, Ticket, Watching};
use super::picture::Picture;
use super::rows::{self, Future, Row, RowKind, Rows, Sort, Summary, View, Wish};
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
    summary_of: Option<(u64, u64)>,
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
    built: Option<(u64, u64, u64, usize)>,
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
    /// What has the keyboard.
    pub mode: Mode,
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
    pub future: Option<Future>,
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

    /// Takes over what was remembered from an earlier run on the same directories.
    pub fn recall(&mut self, memory: Memory) {
        self.tree.sort = memory.sort();
        self.tree.fold_paths = memory.folds.into_iter().collect();
        self.split = memory.split.clamp(-40, 40);
        self.changed();
    }

    /// The first key of an action of the panes, as text.
    #[must_use]
    pub fn key(&self, action: Action) -> String {
        let entry = self.settings.keymap.entry(Scope::Main, action);
        entry.map_or_else(String::new, |entry| entry.key())
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

    /// Where everything is on the screen.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::of(self)
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
            RowKind::Snapshot { of, at } => rows::nth(rows::snapshots(self.forest.get(of)?).0, at),
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

    /// Brings rows, cursor and scroll position in line with what they are made from. Costs nothing
    /// when nothing of that changed.
    pub(super) fn settle(&mut self) {
        let layout = self.layout();
        let room = usize::from(layout.images.width).saturating_sub(2) * 2 / 5;
        let built = (
            self.epoch,
            self.forest.generation(),
            self.tree.version,
            room,
        );
        let state = (self.epoch, self.forest.generation());
        if self.tree.summary_of != Some(state) {
            self.tree.summary = Summary::of(&self.forest);
            self.tree.summary_of = Some(state);
        }
        if self.tree.built != Some(built) {
            let filter = Filter::parse(self.tree.filter.value());
            if filter.is_empty() {
                self.tree.hits = None;
            } else if self.forest.len() <= LARGE {
                let hits = filter.hits(&self.forest, self.now());
                self.tree.hits = Some(Arc::new(hits));
            }
            self.tree.rows = Rows::build(
                &self.forest,
                &Wish {
                    folds: &self.tree.folds,
                    open_runs: &self.tree.open_runs,
                    sort: self.tree.sort,
                    view: self.tree.view,
                    hits: self.tree.hits.as_deref(),
                    future: self.future.as_ref(),
                    indent_room: room,
                    // The picture is of files.
                    snapshots: self.picture.is_none(),
                },
            );
            self.tree.builds += 1;
            self.tree.built = Some(built);
            self.find_cursor();
            if let Some(picture) = &mut self.picture {
                let charset = self.settings.charset();
                let future = self.future.as_ref();
                let ambiguous = &self.tree.summary.ambiguous;
                picture.rebuild(&self.forest, &self.tree.rows, ambiguous, future, charset);
            }
        }
        let last = self.tree.rows.list.len().saturating_sub(1);
        self.tree.cursor = self.tree.cursor.min(last);
        let height = usize::from(layout.rows()).max(1);
        let most = self.tree.rows.list.len().saturating_sub(height);
        if let Some((first, last)) = self.affected_rows() {
            // All that a plan changes, or as much of it as fits below and with the cursor.
            self.tree.top = if last - first < height {
                first.min(self.tree.top.max((last + 1).saturating_sub(height)))
            } else {
                first.max(self.tree.cursor.saturating_sub(height / 3))
            };
        }
        self.tree.top = self
            .tree
            .top
            .min(self.tree.cursor)
            .max((self.tree.cursor + 1).saturating_sub(height))
            .min(most);
        let at = self.tree.rows.node(self.tree.cursor);
        if self.tree.at != at && !self.is_on_new_row() {
            self.tree.at = at;
            self.detail_scroll = 0;
            self.health_cursor = 0;
        }
        self.layers.follow(&self.forest, self.epoch, self.tree.at);
        self.tree.inside = self.snapshot().map(|snapshot| snapshot.id.clone());
        if let Some(picture) = &mut self.picture {
            picture.follow(self.tree.cursor, layout.picture());
        }
    }

    /// The first and the last row that the shown plan changes.
    fn affected_rows(&self) -> Option<(usize, usize)> {
        let marks = &self.future.as_ref()?.marks;
        let rows = marks.keys().filter_map(|id| self.tree.rows.place(*id));
        rows.fold(None, |range, row| match range {
            None => Some((row, row)),
            Some((first, last)) => Some((row.min(first), row.max(last))),
        })
    }

    fn is_on_new_row(&self) -> bool {
        let row = self.tree.rows.list.get(self.tree.cursor);
        row.is_some_and(|row| matches!(row.kind, RowKind::New(_)))
    }

    /// Puts the cursor back on its image after rows changed: on the image itself, or the nearest
    /// image below it in its chain that has a row.
    fn find_cursor(&mut self) {
        if let Some(path) = &self.tree.wanted
            && let Some(node) = self.forest.by_path(path)
            && let Some(row) = self.tree.rows.place(node.id)
        {
            self.tree.cursor = row;
            self.tree.at = Some(node.id);
            self.tree.wanted = None;
            return;
        }
        let Some(at) = self.tree.at.filter(|_| self.tree.touched) else {
            return;
        };
        if let Some(id) = &self.tree.inside
            && let Some(node) = self.forest.get(at)
            && let Some(row) = self.tree.rows.snapshot_place(node, id)
        {
            self.tree.cursor = row;
            return;
        }
        if self.tree.inside.is_none() && self.tree.rows.node(self.tree.cursor) == Some(at) {
            return;
        }
        let place = self
            .forest
            .chain(at)
            .into_iter()
            .find_map(|id| self.tree.rows.place(id));
        if let Some(row) = place {
            self.tree.cursor = row;
        }
    }

    /// Replaces the forest; folds, marks and the cursor stay with the files they were on.
    pub(super) fn replace_forest(&mut self, forest: Arc<Forest>) {
        let old = Arc::clone(&self.forest);
        let same = |id: &NodeId| -> Option<NodeId> {
            let node = old.get(*id)?;
            let found = node
                .file_id()
                .and_then(|file| forest.by_file(file))
                .or_else(|| forest.by_path(&node.path));
            found.map(|node| node.id)
        };
        self.tree.folds = self.tree.folds.iter().filter_map(same).collect();
        self.tree.open_runs = self.tree.open_runs.iter().filter_map(same).collect();
        self.tree.marks = self.tree.marks.iter().filter_map(same).collect();
        self.tree.range = self.tree.range.as_ref().and_then(same);
        // The numbers in it are those of the old forest.
        self.tree.hits = None;
        self.tree.at = self.tree.at.as_ref().and_then(|at| {
            // What is gone leaves the cursor on what it was built on.
            old.chain(*at).iter().find_map(same)
        });
        self.forest = forest;
        self.epoch += 1;
        self.apply_checks();
        self.find_folds();
        self.refresh_future();
        self.changed();
    }

    /// Tells the forest what checks have found, as far as the files are still what they were.
    pub(super) fn apply_checks(&mut self) {
        if self.checks.is_empty() && self.halves.is_empty() && !self.had_halves {
            return;
        }
        let forest = Arc::make_mut(&mut self.forest);
        forest.note_interrupted(&self.halves);
        self.had_halves = !self.halves.is_empty();
        self.checks.retain(|path, checked| {
            let Some(node) = forest.by_path(path) else {
                return false;
            };
            if node.stat != checked.stat {
                return false;
            }
            let id = node.id;
            if let Ok(check) = &checked.found {
                forest.note_check(id, check);
            }
            true
        });
    }

    /// Folds what was folded in an earlier run, as it is found.
    pub(super) fn find_folds(&mut self) {
        if self.tree.fold_paths.is_empty() {
            return;
        }
        let (forest, folds) = (&self.forest, &mut self.tree.folds);
        self.tree.fold_paths.retain(|path| {
            let found = forest.by_path(path).filter(|node| rows::holds_rows(node));
            found.is_none_or(|node| !folds.insert(node.id))
        });
    }

    /// Works out anew what the shown plan does to the rows.
    pub(super) fn refresh_future(&mut self) {
        let plans = self.mode.plans().iter();
        let future = plans
            .map(|plan| Future::of(&self.forest, &plan.request, &plan.effects))
            .reduce(|mut all, one| {
                all.marks.extend(one.marks);
                all.new.extend(one.new);
                all
            })
            .filter(|future| *future != Future::default());
        if self.future != future {
            self.future = future;
            self.changed();
        }
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

    /// The image's flags as letters, explained by [`LEGEND`].
    #[must_use]
    pub fn letters(&self, node: &Node) -> String {
        letters(&self.forest, node)
    }
}

/// An image's flags as letters, explained by [`LEGEND`].
#[must_use]
pub fn letters(forest: &Forest, node: &Node) -> String {
    let flags = forest.flags(node.id);
    let held = node.holders.iter().any(|holder| holder.locks);
    let mut letters = String::new();
    for (letter, flag) in LETTERS {
        let is_set = match letter {
            'L' => held,
            'B' => flags.contains(Flags::IN_USE) && !held,
            _ => flags.contains(flag),
        };
        if is_set {
            letters.push(letter);
        }
    }
    letters
}

/// The letters of the flags column, in order.
const LETTERS: [(char, Flags); 12] = [
    ('L', Flags::IN_USE),
    ('B', Flags::IN_USE),
    ('M', Flags::MISSING_BACKING),
    ('O', Flags::LOOP),
    ('F', Flags::NO_BACKING_FORMAT),
    ('C', Flags::CORRUPT),
    ('D', Flags::DIRTY),
    ('U', Flags::UNREADABLE),
    ('E', Flags::ENCRYPTED),
    ('S', Flags::SNAPSHOTS),
    ('N', Flags::UNSUPPORTED),
    ('X', Flags::OUTSIDE_SCAN),
];

/// What the signs and letters in the tree mean.
pub const LEGEND: [(&str, &str); 21] = [
    (
        "○",
        "active: a leaf, the only layer of its chain that may be written",
    ),
    ("●", "frozen: others are built on it, it is only read"),
    ("?", "missing, or not a local file"),
    ("▸", "images folded away"),
    ("↺", "a loop closes: the image is drawn further up"),
    (
        "!",
        "something is wrong; the info pane says what and what to do",
    ),
    ("L", "locked: a process uses the image"),
    ("B", "a process uses an image built on this one"),
    ("M", "the image it is built on is missing"),
    ("O", "its backing links run in a circle"),
    ("F", "records no format for its backing file"),
    ("C", "corrupt"),
    ("D", "dirty: reference counts may be wrong"),
    ("U", "unreadable"),
    ("E", "encrypted"),
    ("S", "has internal snapshots"),
    ("N", "not supported: its content stays closed"),
    ("X", "outside the scanned directories: never opened"),
    ("◇", "an internal snapshot of the image above it"),
    (
        "✗ ! ~ ≈ +",
        "in a plan: goes, would break, header rewritten, data rewritten, new",
    ),
    ("*", "marked"),
];
