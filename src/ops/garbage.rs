//! Garbage: the images that nobody needs, as a collector finds them, by marking and sweeping. What somebody needs is
//! marked with all that it reads; what is left over is garbage, leaves and whole subtrees. Nothing is discarded here:
//! that is a discard, whose plan asks again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::forest::{
    Content, Flags, FolderNotes, GOLDEN, KEEP, Location, NOTES_FILE, Node, NodeId,
};
use crate::host::{FileId, Holder, during_one_scan, io_text, printable};
use crate::units::count;

use super::Context;
use super::framework::closed_processes::ClosedProcesses;
use super::framework::format::{name, processes, shown};
use super::framework::reflinks::shared_bytes;
use super::prune::{BROKEN, freed_by, is_locked};

/// What counts as needed besides what machines, processes and tags say.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    /// What changed since may be about to be used.
    pub older_than: Duration,
    /// Images that are needed because the person says so.
    pub roots: Vec<PathBuf>,
    /// Whether an image that is built on nothing, with all that is built on it, may be garbage.
    pub whole_trees: bool,
}

/// What nobody needs: an image, and all that is built on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// The image that the others are built on.
    pub node: NodeId,
    /// Its name.
    pub path: PathBuf,
    /// All of them, it first.
    pub images: Vec<PathBuf>,
    /// Time since the content of any of them last changed.
    pub age: Duration,
    /// Bytes that come free on disk once they are discarded and the trash is emptied. Blocks that other files have as
    /// well do not count.
    pub frees: u64,
    /// Bytes of these blocks; none where the filesystem of one of the images does not tell: fewer may come free.
    pub shared: Option<u64>,
    /// What speaks against it all the same, in sentences.
    pub doubts: Vec<String>,
}

/// Why somebody needs an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeedKind {
    /// A machine is defined with it.
    Machine,
    /// A process has it open.
    Process,
    /// A tag says so.
    Tag,
    /// The person says so.
    Named,
    /// An operation on it was interrupted.
    Interrupted,
    /// What is wrong with it should be known first.
    Unclear,
    /// It lies where nobody asks about.
    Elsewhere,
    /// It is built on nothing.
    Root,
    /// It changed a short time ago.
    Young,
}

impl NeedKind {
    /// Its name, for programs to match on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Process => "process",
            Self::Tag => "tag",
            Self::Named => "named",
            Self::Interrupted => "interrupted",
            Self::Unclear => "unclear",
            Self::Elsewhere => "elsewhere",
            Self::Root => "root",
            Self::Young => "young",
        }
    }
}

/// Somebody needs an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Why.
    pub kind: NeedKind,
    /// The image that is needed itself: others are because it is built on them.
    pub image: PathBuf,
    /// Who needs it, in a few words; safe to print.
    pub who: String,
}

/// An image that others are built on, and who still needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededBase {
    /// Its name.
    pub path: PathBuf,
    /// Who needs it, itself or what is built on it; nobody where it is garbage.
    pub needs: Vec<Need>,
}

/// What a sweep has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GarbageReport {
    /// What nobody needs; what frees most comes first.
    pub garbage: Vec<Garbage>,
    /// Who needs which base, by its name.
    pub bases: Vec<NeededBase>,
    /// Whom nobody could ask, in words.
    pub unasked: Vec<String>,
}

/// Looks for what nobody needs.
#[must_use]
pub fn garbage(context: &Context, sweep: &Sweep) -> GarbageReport {
    during_one_scan(|| Collector::new(context, sweep).report())
}

struct Collector<'c> {
    context: &'c Context,
    sweep: &'c Sweep,
    /// Why images are needed themselves.
    needs: BTreeMap<NodeId, Vec<Need>>,
    /// Processes that do not show what they have open.
    closed: ClosedProcesses,
}

impl<'c> Collector<'c> {
    fn new(context: &'c Context, sweep: &'c Sweep) -> Self {
        let mut collector = Self {
            context,
            sweep,
            needs: BTreeMap::new(),
            closed: ClosedProcesses::ask(&*context.host),
        };
        for node in collector.images() {
            let needs = collector.needs_of(node);
            if !needs.is_empty() {
                collector.needs.insert(node.id, needs);
            }
        }
        collector.ask_processes();
        collector
    }

    /// The images that may be needed or not: all that a scan met and that are not in the trash.
    fn images(&self) -> impl Iterator<Item = &'c Node> + use<'c> {
        let nodes = self.context.forest.nodes();
        nodes.filter(|node| node.location == Location::Scanned)
    }

    /// Why an image is needed, as far as that is known without asking for its locks.
    fn needs_of(&self, node: &Node) -> Vec<Need> {
        let forest = &self.context.forest;
        let mut needs = Vec::new();
        let mut add = |kind, who: String| {
            let need = Need {
                kind,
                image: node.path.clone(),
                who,
            };
            if !needs.contains(&need) {
                needs.push(need);
            }
        };
        for used in forest.uses(node) {
            let machine = used.machine;
            let (name, state) = (printable(&machine.name), machine.state.name());
            add(
                NeedKind::Machine,
                format!("the machine {name} ({}, {state})", machine.product),
            );
        }
        if !node.holders.is_empty() || forest.flags(node.id).contains(Flags::IN_USE) {
            add(NeedKind::Process, processes(&node.holders));
        }
        for tag in [KEEP, GOLDEN] {
            if node.is_tagged(tag) {
                add(NeedKind::Tag, format!("the tag {tag}"));
            }
        }
        for (kind, who) in self.other_needs(node) {
            add(kind, who.to_owned());
        }
        needs
    }

    fn other_needs(&self, node: &Node) -> Vec<(NeedKind, &'static str)> {
        let forest = &self.context.forest;
        let flags = forest.flags(node.id);
        let is_image = matches!(node.content, Content::Qcow2(_) | Content::Raw);
        let is_named = |root: &PathBuf| forest.by_path(root).is_some_and(|it| it.id == node.id);
        let rows = [
            (
                self.sweep.roots.iter().any(is_named),
                NeedKind::Named,
                "you, who named it",
            ),
            (
                flags.contains(Flags::INTERRUPTED),
                NeedKind::Interrupted,
                "an operation that was interrupted",
            ),
            (
                flags.intersects(BROKEN) || !is_image,
                NeedKind::Unclear,
                "nobody knows, until what is wrong with it is known",
            ),
            (
                node.symlink || !self.context.looked_in.covers(&node.path),
                NeedKind::Elsewhere,
                "nobody was asked about it: it lies elsewhere",
            ),
            (
                node.backing.is_none() && !self.sweep.whole_trees,
                NeedKind::Root,
                "itself: it is built on nothing",
            ),
            (
                self.age(node) < self.sweep.older_than,
                NeedKind::Young,
                "somebody, maybe: it changed a short time ago",
            ),
        ];
        let holds = rows.into_iter().filter(|(holds, ..)| *holds);
        holds.map(|(_, kind, who)| (kind, who)).collect()
    }

    /// Time since its content changed; what comes from the future is as young as can be.
    fn age(&self, node: &Node) -> Duration {
        let changed = node.stat.as_ref().map(|stat| stat.modified);
        let age = changed.and_then(|changed| self.context.host.now().duration_since(changed).ok());
        age.unwrap_or_default()
    }

    /// Asks who has open what is garbage otherwise: in one pass over all processes, and by the locks, which show
    /// users that cannot be seen.
    fn ask_processes(&mut self) {
        let marked = self.marked();
        let left: Vec<(&Node, FileId)> = self
            .images()
            .filter(|node| !marked.contains(&node.id))
            .filter_map(|node| Some((node, node.file_id()?)))
            .collect();
        let files: Vec<FileId> = left.iter().map(|(_, file)| *file).collect();
        let mut held = self.context.host.holders(&files);
        for (node, file) in left {
            let holders: Vec<Holder> = held.remove(&file).unwrap_or_default();
            let host = self.context.host.as_ref();
            let naming = self.closed.naming(host, &node.path);
            let who = match naming {
                _ if !holders.is_empty() || is_locked(self.context, node) => processes(&holders),
                Some(process) => format!("{process}, whose command line names it"),
                None => continue,
            };
            let need = Need {
                kind: NeedKind::Process,
                image: node.path.clone(),
                who,
            };
            self.needs.entry(node.id).or_default().push(need);
        }
    }

    /// What is needed, and all that it reads.
    fn marked(&self) -> BTreeSet<NodeId> {
        let forest = &self.context.forest;
        let mut open: Vec<NodeId> = self.needs.keys().copied().collect();
        let mut marked: BTreeSet<NodeId> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            let parent = forest.get(id).and_then(|node| node.parent);
            let others = forest.also_reads(id).iter();
            let others = others.filter_map(|edge| Some(forest.by_file(edge.file)?.id));
            open.extend(
                parent
                    .into_iter()
                    .chain(others)
                    .filter(|id| marked.insert(*id)),
            );
        }
        marked
    }

    fn report(&self) -> GarbageReport {
        let marked = self.marked();
        let forest = &self.context.forest;
        let is_garbage = |node: &&Node| !marked.contains(&node.id);
        let is_top = |node: &&Node| {
            let parent = node.parent.and_then(|id| forest.get(id));
            parent.is_none_or(|parent| {
                parent.location != Location::Scanned || marked.contains(&parent.id)
            })
        };
        let tops = self.images().filter(is_garbage).filter(is_top);
        let mut garbage: Vec<Garbage> = tops.map(|node| self.garbage(node)).collect();
        garbage.sort_by(|a, b| (Reverse(a.frees), &a.path).cmp(&(Reverse(b.frees), &b.path)));
        let bases = self.images().filter(|node| !forest.is_leaf(node));
        let bases = bases.filter(|node| self.context.looked_in.covers(&node.path));
        let mut bases: Vec<NeededBase> = bases.map(|node| self.needed(node)).collect();
        bases.sort_by(|a, b| a.path.cmp(&b.path));
        GarbageReport {
            garbage,
            bases,
            unasked: self.unasked(),
        }
    }

    /// An image with all that is built on it.
    fn with_descendants(&self, node: &'c Node) -> Vec<&'c Node> {
        let forest = &self.context.forest;
        let above = forest.descendants(node.id).into_iter();
        let above = above.filter_map(|id| forest.get(id));
        std::iter::once(node)
            .chain(above.filter(|above| !above.is_in_trash()))
            .collect()
    }

    fn garbage(&self, node: &'c Node) -> Garbage {
        let host = self.context.host.as_ref();
        let all = self.with_descendants(node);
        // What keeps another name is there afterwards with all its blocks.
        let goes = all.iter().filter(|node| freed_by(node) > 0);
        let goes: Vec<(u64, Option<u64>)> = goes
            .map(|node| (freed_by(node), shared_bytes(host, &node.path)))
            .collect();
        let freed = goes
            .iter()
            .map(|(bytes, shared)| bytes.saturating_sub(shared.unwrap_or_default()));
        let mut shared = goes.iter().map(|(_, shared)| *shared);
        let shared = shared.try_fold(0_u64, |sum, one| Some(sum.saturating_add(one?)));
        let ages = all.iter().map(|node| self.age(node));
        Garbage {
            node: node.id,
            path: node.path.clone(),
            frees: freed.fold(0, u64::saturating_add),
            shared,
            age: ages.min().unwrap_or_default(),
            doubts: all.iter().filter_map(|node| doubt(node)).collect(),
            images: all.iter().map(|node| node.path.clone()).collect(),
        }
    }

    fn needed(&self, node: &'c Node) -> NeededBase {
        let all = self.with_descendants(node).into_iter();
        let needs = all.filter_map(|node| self.needs.get(&node.id));
        NeededBase {
            path: node.path.clone(),
            needs: needs.flatten().cloned().collect(),
        }
    }

    fn unasked(&self) -> Vec<String> {
        let machines = self.context.forest.machines().unasked().iter();
        let mut unasked: Vec<String> = machines.map(ToString::to_string).collect();
        for folder in self.context.forest.folders() {
            if let Err(error) = FolderNotes::read(self.context.host.as_ref(), &folder) {
                let file = shown(&folder.join(NOTES_FILE));
                unasked.push(format!("{file}, which may tag images: {}", io_text(&error)));
            }
        }
        unasked.extend(self.closed.unasked().map(str::to_owned));
        unasked
    }
}

/// What goes with an image and may be somebody's.
fn doubt(node: &Node) -> Option<String> {
    let snapshots = node.info()?.snapshots;
    let snapshots = usize::try_from(snapshots).unwrap_or(usize::MAX);
    (snapshots > 0).then(|| {
        let snapshots = count(snapshots, "internal snapshot");
        format!("{} has {snapshots}, which go with it", name(&node.path))
    })
}
