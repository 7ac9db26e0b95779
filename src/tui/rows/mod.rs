//! The forest as flat rows: which image is on which line, how deep, behind which lines. Built only
//! when the forest, the folds, the filter or the order change; drawing only reads it.

mod by_machine;

use std::collections::HashSet;

use crate::forest::{Forest, Node, NodeId};

use super::filter::{self, Hits};
use super::order::{Sort, View};
use super::plan_preview::PlanPreview;
use super::space::{Figure, Figures};

/// What is on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// An image.
    Image(NodeId),
    /// What is built on an image, folded away.
    Folded {
        /// The image.
        under: NodeId,
        /// What is hidden: its number among [`Rows::hidden`].
        hidden: u32,
    },
    /// A straight run of images, folded into one line.
    Run {
        /// The image above the run.
        after: NodeId,
        /// Likewise.
        hidden: u32,
    },
    /// Where a loop closes: the image is drawn further up.
    Again(NodeId),
    /// A file that a plan would create; its number in [`PlanPreview::new`].
    New(u32),
    /// An internal snapshot of an image.
    Snapshot {
        /// The image.
        of: NodeId,
        /// Its place among those that are known of the image.
        at: u32,
    },
    /// Internal snapshots of an image that are not shown one by one.
    MoreSnapshots {
        /// The image.
        of: NodeId,
        /// How many.
        hidden: u32,
    },
    /// An internal snapshot that a plan would take of an image.
    NewSnapshot(NodeId),
    /// Another machine of which there is more to say than its images do: its place among them.
    Host(u32),
    /// A machine, above its disks: its place in the list of machines.
    Machine(u32),
    /// A disk that is no image here.
    Disk {
        /// The machine, likewise.
        machine: u32,
        /// The disk's place among the machine's.
        at: u32,
    },
}

/// Images that one line stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hidden {
    /// How many.
    pub images: usize,
    /// Their bytes on disk.
    pub bytes: u64,
}

/// One line. There may be a hundred thousand of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What is on it.
    pub kind: RowKind,
    /// How many connectors stand before it.
    pub depth: u32,
    /// Whether no sibling follows.
    pub last: bool,
    /// Whether it continues its parent's lane without a connector of its own.
    pub lane: bool,
    /// The row of the image it is built on.
    pub parent: Option<u32>,
    /// The row whose lines run on left of this one.
    pub guide: Option<u32>,
    /// Whether it is only here because something below it is a hit.
    pub dim: bool,
}

/// What the rows are made from, apart from the forest.
#[derive(Debug, Clone, Copy)]
pub struct RowOptions<'a> {
    /// Images whose children are hidden.
    pub folds: &'a HashSet<NodeId>,
    /// Straight runs that are shown in full, by the image above them.
    pub open_runs: &'a HashSet<NodeId>,
    /// The order.
    pub sort: Sort,
    /// Which images at all.
    pub view: View,
    /// Those a filter asks for, if one is set.
    pub hits: Option<&'a Hits>,
    /// What a plan would do.
    pub preview: Option<&'a PlanPreview>,
    /// Whether only images that the plan concerns have rows, and what these are built on.
    pub narrowed: bool,
    /// Cells that connectors may take before straight chains share a lane.
    pub indent_room: usize,
    /// Whether internal snapshots have rows.
    pub snapshots: bool,
    /// What is known of the space that images take.
    pub space: &'a Figures,
    /// Other machines with something to say: those that failed, and those that have told nothing.
    pub hosts: (&'a [usize], &'a [usize]),
}

/// All lines, and where each image is.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// The lines in order.
    pub list: Vec<Row>,
    /// The row of each image by its number; `u32::MAX` where it has none.
    places: Vec<u32>,
    /// Images that the view and the filter are looking for, by row.
    pub hits: Vec<u32>,
    /// Whether anything is left out because of the filter or the view.
    pub filtered: bool,
    /// What the lines that stand for several images hide.
    hidden: Vec<Hidden>,
}

/// A straight run longer than this is folded into one line where chains share a lane.
const LONG_RUN: usize = 12;
/// Internal snapshots of one image that have rows of their own at most.
const MOST_SNAPSHOTS: usize = 16;

/// A place or a count as a row keeps it.
fn number(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// What is at a place that a row keeps.
#[must_use]
pub(crate) fn nth<T>(list: &[T], at: u32) -> Option<&T> {
    list.get(usize::try_from(at).ok()?)
}

/// Whether anything stands below an image that could be folded away.
#[must_use]
pub(crate) fn holds_rows(node: &Node) -> bool {
    !node.children.is_empty() || node.known_snapshots().1 > 0
}

impl Rows {
    /// Lays the forest out.
    #[must_use]
    pub fn build(forest: &Forest, options: &RowOptions<'_>) -> Self {
        let (keep, hit) = selection(forest, options);
        let mut builder = Builder {
            forest,
            options,
            keep,
            hit,
            compact: false,
            rows: Self::default(),
        };
        builder.all();
        let deepest = builder
            .rows
            .list
            .iter()
            .filter(|row| matches!(row.kind, RowKind::Image(_)))
            .map(|row| row.depth)
            .max()
            .unwrap_or(0);
        if usize::try_from(deepest)
            .unwrap_or(usize::MAX)
            .saturating_mul(2)
            > options.indent_room
        {
            builder.compact = true;
            builder.all();
        }
        let mut rows = builder.rows;
        rows.filtered = !options.narrowed && (options.view != View::All || options.hits.is_some());
        rows
    }

    /// The row of an image, if it has one.
    #[must_use]
    pub fn place(&self, id: NodeId) -> Option<usize> {
        let row = *self.places.get(usize::try_from(id.0).ok()?)?;
        (row != u32::MAX).then_some(())?;
        usize::try_from(row).ok()
    }

    /// What a line that stands for several images hides.
    #[must_use]
    pub fn hidden(&self, number: u32) -> Hidden {
        nth(&self.hidden, number).copied().unwrap_or_default()
    }

    /// The image on a row: for a folded line the image it belongs to.
    #[must_use]
    pub fn node(&self, row: usize) -> Option<NodeId> {
        match self.list.get(row)?.kind {
            RowKind::Image(id) | RowKind::Again(id) => Some(id),
            RowKind::Folded { under, .. } => Some(under),
            RowKind::Run { after, .. } => Some(after),
            RowKind::Snapshot { of, .. }
            | RowKind::MoreSnapshots { of, .. }
            | RowKind::NewSnapshot(of) => Some(of),
            RowKind::New(_) | RowKind::Host(_) | RowKind::Machine(_) | RowKind::Disk { .. } => None,
        }
    }

    /// The row of an image's internal snapshot of that ID, if it has one.
    #[must_use]
    pub fn snapshot_place(&self, node: &Node, id: &[u8]) -> Option<usize> {
        let below = self.place(node.id)? + 1;
        let (known, _) = node.known_snapshots();
        let rows = self.list.get(below..)?.iter();
        let own = rows
            .take_while(|row| matches!(row.kind, RowKind::Snapshot { of, .. } if of == node.id));
        let is_it = |row: &Row| match row.kind {
            RowKind::Snapshot { at, .. } => nth(known, at).is_some_and(|known| known.id == id),
            _ => false,
        };
        own.enumerate()
            .find_map(|(i, row)| is_it(row).then_some(below + i))
    }
}

/// Which images have a row, and which of them are what was asked for; none and none when all are.
fn selection(forest: &Forest, options: &RowOptions<'_>) -> (Option<Vec<bool>>, Vec<bool>) {
    if let Some(preview) = options.preview.filter(|_| options.narrowed) {
        let mut picked = Picked::none(forest);
        preview.images().for_each(|id| picked.pick(forest, id));
        return (Some(picked.keep), picked.hit);
    }
    if matches!(options.view, View::All | View::Machines) && options.hits.is_none() {
        return (None, Vec::new());
    }
    let mut picked = Picked::none(forest);
    for node in forest.nodes() {
        let in_view = match options.view {
            View::All | View::Machines => true,
            View::Leaves => forest.is_leaf(node) && !node.is_in_trash(),
            View::Problems => filter::is_problem(forest, node),
        };
        if !in_view || options.hits.is_some_and(|hits| !hits.contains(node.id)) {
            continue;
        }
        picked.pick(forest, node.id);
    }
    (Some(picked.keep), picked.hit)
}

/// Images that are looked for, and all that have a row for their sake.
struct Picked {
    keep: Vec<bool>,
    hit: Vec<bool>,
}

impl Picked {
    fn none(forest: &Forest) -> Self {
        let none = vec![false; forest.numbers()];
        Self {
            keep: none.clone(),
            hit: none,
        }
    }

    /// Picks an image, and what it is built on.
    fn pick(&mut self, forest: &Forest, id: NodeId) {
        set(&mut self.hit, id);
        let mut at = Some(id);
        while let Some(id) = at.filter(|id| !get(&self.keep, *id)) {
            set(&mut self.keep, id);
            at = forest.get(id).and_then(|node| node.parent);
        }
    }
}

fn get(list: &[bool], id: NodeId) -> bool {
    usize::try_from(id.0)
        .ok()
        .and_then(|i| list.get(i))
        .copied()
        .unwrap_or(false)
}

fn set(list: &mut [bool], id: NodeId) {
    if let Some(slot) = usize::try_from(id.0).ok().and_then(|i| list.get_mut(i)) {
        *slot = true;
    }
}

struct Builder<'a> {
    forest: &'a Forest,
    options: &'a RowOptions<'a>,
    keep: Option<Vec<bool>>,
    hit: Vec<bool>,
    compact: bool,
    rows: Rows,
}

/// A node that still has to be laid out.
struct Due {
    what: RowKind,
    depth: u32,
    last: bool,
    lane: bool,
    parent: Option<u32>,
    guide: Option<u32>,
}

impl Builder<'_> {
    fn all(&mut self) {
        self.rows.list.clear();
        self.rows.hits.clear();
        self.rows.places = vec![u32::MAX; self.forest.numbers()];
        let (failed, silent) = match self.options.narrowed || self.options.hits.is_some() {
            true => Default::default(),
            false => self.options.hosts,
        };
        self.hosts(failed);
        if self.options.view == View::Machines && !self.options.narrowed {
            self.by_machine();
        } else {
            self.trees();
        }
        self.hosts(silent);
        let new = self.options.preview.map_or(&[][..], |preview| &preview.new);
        for (i, (_, base)) in new.iter().enumerate() {
            if base.is_none() {
                self.push(RowKind::New(number(i)), 0, true, false, None, None);
            }
        }
    }

    fn hosts(&mut self, places: &[usize]) {
        for at in places {
            self.push(RowKind::Host(number(*at)), 0, true, false, None, None);
        }
    }

    fn trees(&mut self) {
        let mut roots = self.forest.shown_roots();
        roots.retain(|id| self.is_kept(*id));
        self.order(&mut roots);
        let mut stack: Vec<Due> = roots
            .into_iter()
            .rev()
            .map(|id| Due {
                what: RowKind::Image(id),
                depth: 0,
                last: true,
                lane: false,
                parent: None,
                guide: None,
            })
            .collect();
        while let Some(due) = stack.pop() {
            self.lay(due, &mut stack);
        }
    }

    fn is_kept(&self, id: NodeId) -> bool {
        self.keep.as_ref().is_none_or(|keep| get(keep, id))
    }

    fn lay(&mut self, due: Due, stack: &mut Vec<Due>) {
        let row = self.push(
            due.what, due.depth, due.last, due.lane, due.parent, due.guide,
        );
        let RowKind::Image(id) = due.what else { return };
        let Some(node) = self.forest.get(id) else {
            return;
        };
        let mut below = self.below(node);
        let has_inside = self.options.snapshots && node.known_snapshots().1 > 0;
        if below.is_empty() && !has_inside && !self.takes_snapshot(id) {
            return;
        }
        if self.options.folds.contains(&id) && self.keep.is_none() {
            let hidden = self.sum(&self.forest.descendants(id));
            let hidden = self.hide(hidden);
            let folded = RowKind::Folded { under: id, hidden };
            self.push(folded, due.depth + 1, true, false, Some(row), Some(row));
            return;
        }
        let lane = self.compact && below.len() == 1;
        self.lay_snapshots(node, row, due.depth + 1, lane || below.is_empty());
        if lane
            && !due.lane
            && self.keep.is_none()
            && !self.options.open_runs.contains(&id)
            && let Some((hidden, next)) = self.run(&below)
        {
            let hidden = self.hide(hidden);
            let run = RowKind::Run { after: id, hidden };
            let at = self.push(run, due.depth, due.last, true, Some(row), due.guide);
            stack.push(Due {
                what: next,
                depth: due.depth,
                last: due.last,
                lane: true,
                parent: Some(at),
                guide: due.guide,
            });
            return;
        }
        let count = below.len();
        below.reverse();
        for (i, what) in below.into_iter().enumerate() {
            stack.push(if lane {
                Due {
                    what,
                    depth: due.depth,
                    last: due.last,
                    lane: true,
                    parent: Some(row),
                    guide: due.guide,
                }
            } else {
                Due {
                    what,
                    depth: due.depth + 1,
                    last: i == 0 || count == 1,
                    lane: false,
                    parent: Some(row),
                    guide: Some(row),
                }
            });
        }
    }

    fn takes_snapshot(&self, id: NodeId) -> bool {
        let takes = self
            .options
            .preview
            .and_then(|preview| preview.takes.as_ref());
        takes.is_some_and(|(of, _)| *of == id)
    }

    /// What is inside an image stands right below it, before what is built on it.
    fn lay_snapshots(&mut self, node: &Node, row: u32, depth: u32, last: bool) {
        let of = node.id;
        let mut kinds = Vec::new();
        if self.options.snapshots {
            let (known, all) = node.known_snapshots();
            // A row that says that there is one more could show it as well.
            let shown = match known.len() {
                len if len <= MOST_SNAPSHOTS + 1 && len == all => len,
                len => len.min(MOST_SNAPSHOTS),
            };
            kinds.extend((0..number(shown)).map(|at| RowKind::Snapshot { of, at }));
            if all > shown {
                let hidden = number(all - shown);
                kinds.push(RowKind::MoreSnapshots { of, hidden });
            }
        }
        if self.takes_snapshot(of) {
            kinds.push(RowKind::NewSnapshot(of));
        }
        for kind in kinds {
            self.push(kind, depth, last, false, Some(row), Some(row));
        }
    }

    /// What stands below an image: its children in order, then what a plan would add.
    fn below(&self, node: &Node) -> Vec<RowKind> {
        let mut children: Vec<NodeId> = node
            .children
            .iter()
            .copied()
            .filter(|id| self.is_kept(*id))
            .collect();
        self.order(&mut children);
        let mut below: Vec<RowKind> = children
            .into_iter()
            .map(|id| {
                if self.rows.place(id).is_some() {
                    RowKind::Again(id)
                } else {
                    RowKind::Image(id)
                }
            })
            .collect();
        let new = self.options.preview.map_or(&[][..], |preview| &preview.new);
        for (i, (_, base)) in new.iter().enumerate() {
            if *base == Some(node.id) {
                below.push(RowKind::New(number(i)));
            }
        }
        below
    }

    /// A run of single children long enough to be folded: what it hides, and what follows.
    fn run(&self, below: &[RowKind]) -> Option<(Hidden, RowKind)> {
        let mut hidden = Vec::new();
        let mut next = *below.first()?;
        while let RowKind::Image(id) = next {
            let node = self.forest.get(id)?;
            let further = self.below(node);
            if further.len() != 1
                || self.options.folds.contains(&id)
                || hidden.len() > self.forest.numbers()
            {
                break;
            }
            hidden.push(id);
            next = *further.first()?;
        }
        (hidden.len() > LONG_RUN).then(|| (self.sum(&hidden), next))
    }

    fn hide(&mut self, hidden: Hidden) -> u32 {
        self.rows.hidden.push(hidden);
        number(self.rows.hidden.len() - 1)
    }

    fn sum(&self, ids: &[NodeId]) -> Hidden {
        let nodes = ids.iter().filter_map(|id| self.forest.get(*id));
        let bytes = nodes
            .filter_map(Node::size_on_disk)
            .fold(0, u64::saturating_add);
        Hidden {
            images: ids.len(),
            bytes,
        }
    }

    fn order(&self, ids: &mut [NodeId]) {
        let node = |id: &NodeId| self.forest.get(*id);
        let modified = |id: &NodeId| node(id).and_then(|n| Some(n.stat.as_ref()?.modified));
        match self.options.sort {
            Sort::Name => {}
            Sort::Size => {
                ids.sort_by_cached_key(|id| {
                    std::cmp::Reverse(node(id).and_then(Node::size_on_disk))
                });
            }
            Sort::Oldest => ids.sort_by_cached_key(|id| (modified(id).is_none(), modified(id))),
            Sort::Newest => ids.sort_by_cached_key(|id| std::cmp::Reverse(modified(id))),
            Sort::Problems => ids.sort_by_cached_key(|id| {
                !node(id).is_some_and(|n| filter::is_problem(self.forest, n))
            }),
            Sort::Own => self.order_by(Figure::Own, ids),
            Sort::Hidden => self.order_by(Figure::Hidden, ids),
            Sort::Frees => self.order_by(Figure::Frees, ids),
        }
    }

    /// The most first; what was not measured comes last.
    fn order_by(&self, figure: Figure, ids: &mut [NodeId]) {
        let bytes = |id: &NodeId| {
            let node = self.forest.get(*id)?;
            self.options.space.of(&node.path, figure)
        };
        ids.sort_by_cached_key(|id| std::cmp::Reverse(bytes(id)));
    }

    fn push(
        &mut self,
        kind: RowKind,
        depth: u32,
        last: bool,
        lane: bool,
        parent: Option<u32>,
        guide: Option<u32>,
    ) -> u32 {
        let at = number(self.rows.list.len());
        let mut dim = false;
        if let RowKind::Image(id) = kind {
            if let Some(slot) = usize::try_from(id.0)
                .ok()
                .and_then(|i| self.rows.places.get_mut(i))
                // A disk that two machines share has two rows.
                .filter(|slot| **slot == u32::MAX)
            {
                *slot = at;
            }
            dim = self.forest.get(id).is_some_and(Node::is_in_trash);
            if self.keep.is_some() {
                let is_hit = get(&self.hit, id);
                dim |= !is_hit;
                if is_hit {
                    self.rows.hits.push(at);
                }
            }
        } else if let RowKind::Snapshot { of, .. } | RowKind::MoreSnapshots { of, .. } = kind {
            dim = self.keep.is_some() && !get(&self.hit, of);
        }
        self.rows.list.push(Row {
            kind,
            depth,
            last,
            lane,
            parent,
            guide,
            dim,
        });
        at
    }
}
