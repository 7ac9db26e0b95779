//! Discard: images and everything built on them go to the trash, by rename, leaves first, so that
//! at no instant an image outside the trash misses its base.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Content, Flags, Forest, Location, Node, NodeId};
use crate::host::{Access, FileKind, Host, LockSet, io_text, printable};
use crate::image::is_trashed;
use crate::units::{count, size};

use super::framework::eligibility::refuse_as_data_file;
use super::framework::format::{listed, name, processes, shown};
use super::framework::locks::{Locking, Use, who_uses};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Left, Way};
use super::framework::reflinks::shared_bytes;
use super::framework::refusal::Reason;
use super::framework::request::Name;
use super::framework::trash::{Batch, TrashItem};
use super::framework::{closed_processes, device, resolve};
use super::{
    CommandLine, EffectKind, Error, GuestFate, NoteKind, Outcome, Phase, Plan, Progress,
    RefusalKind, Request, Undo, trash,
};

/// Move these images and everything built on them to the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discard {
    /// The images named; what is built on them follows by itself.
    pub images: Vec<PathBuf>,
    /// What is built on them and stays where it is all the same, with all above it: a restore that is taken
    /// back leaves what stood without its base before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spare: Vec<PathBuf>,
}

impl Request {
    /// To move these images and everything built on them to the trash.
    #[must_use]
    pub fn discard(images: Vec<PathBuf>) -> Self {
        Discard {
            images,
            spare: Vec::new(),
        }
        .into()
    }
}

impl Operation for Discard {
    fn name(&self) -> &'static str {
        "discard"
    }

    fn verb(&self) -> &'static str {
        "Discard"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        for path in &mut self.images {
            visit(Name::Path(path));
        }
        for path in &mut self.spare {
            visit(Name::Path(path));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // Who stays without its base is no choice that a person makes.
        self.spare
            .is_empty()
            .then(|| CommandLine::new(&["discard"]).paths(&self.images))
    }

    fn plan(&self, plan: &mut Plan) {
        plan_discard(plan, &self.images, &self.spare)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Made(&self.images)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        match half.left() {
            Left::All => Way::Ask(self.clone().into()),
            Left::Some(images) => Way::Ask(
                Self {
                    images,
                    spare: self.spare.clone(),
                }
                .into(),
            ),
            Left::None => Way::Nothing("every image is in the trash".to_owned()),
        }
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        if let Some(way) = half.planned_way_back() {
            return way;
        }
        let entries = half.batches(&half.entry.goes, None);
        match entries.is_empty() {
            true => Way::Nothing("every image is at its place".to_owned()),
            false => Way::Ask(Request::restore(entries)),
        }
    }
}

/// Plans to discard the images named and all that is built on them but what is spared.
pub(super) fn plan_discard(plan: &mut Plan, images: &[PathBuf], spare: &[PathBuf]) {
    let context = plan.context().clone();
    let (host, forest) = (context.host.as_ref(), context.forest.as_ref());
    let mut marked = Vec::new();
    for path in images {
        match look_up(host, forest, path) {
            Ok(node) => marked.push(node.id),
            Err(sentence) => plan.refuse_for(sentence),
        }
    }
    let stays = spared(forest, spare, &marked);
    let mut goes = with_descendants(forest, &marked);
    goes.retain(|id| !stays.contains(id));
    tell_what_is_left(plan, forest, &stays, spare);
    let marked: HashSet<NodeId> = marked.into_iter().collect();
    let set: HashSet<NodeId> = goes.iter().copied().collect();
    let depths: Vec<usize> = goes.iter().map(|id| depth(forest, &set, *id)).collect();
    let deepest = depths.iter().copied().max().unwrap_or(0);

    let mut items = Vec::new();
    let mut locked = Vec::new();
    for (id, depth) in goes.iter().zip(&depths) {
        let Some(node) = forest.get(*id) else {
            continue;
        };
        let why = if marked.contains(id) {
            "marked"
        } else {
            "built on a marked image"
        };
        let names = own_names(host, node);
        let Some(first) = names.first() else {
            refuse_without_name(plan, host, node);
            continue;
        };
        let step = deepest - depth;
        add_image(plan, node, &names, why, step, &mut items);
        check_use(plan, first);
        warn_of_losses(plan, forest, node, &names);
        refuse_as_data_file(plan, forest, node, "discarded");
        plan.concerns_files(node, GuestFate::Go);
        locked.push(first.clone());
    }
    closed_processes::tell(plan, &locked);
    plan.falls_back = true;
    say_what_waits(plan, forest, &goes);
    for sentence in kept(forest, &set, &goes) {
        plan.keeps.push(sentence);
    }
    plan.title = match goes.as_slice() {
        [one] => format!(
            "Discard {}",
            forest.get(*one).map_or_else(String::new, |n| name(&n.path))
        ),
        [] => match images {
            [one] => format!("Discard {}", name(one)),
            more => format!("Discard {}", count(more.len(), "image")),
        },
        more => format!("Discard {}", count(more.len(), "image")),
    };
    plan.undo = Undo::Possible(format!(
        "restore from the trash (a folder {} beside each image) until it is emptied",
        trash::DIR
    ));
    plan.job = Some(Arc::new(DiscardJob {
        items,
        locked,
        images: goes.len(),
    }));
}

/// The node a person named, if it can be discarded.
pub(super) fn look_up<'f>(
    host: &dyn Host,
    forest: &'f Forest,
    path: &Path,
) -> Result<&'f Node, Reason> {
    let stat = host.stat(path);
    let node = forest.by_path(path).or_else(|| {
        let id = stat.as_ref().ok()?.id;
        forest.by_file(id)
    });
    let Some(node) = node else {
        return Err(match stat {
            Ok(_) => Reason::new(
                RefusalKind::NotFound,
                format!(
                    "{} is no image that the scan met: what is built on it is not known",
                    shown(path)
                ),
            ),
            Err(error) => resolve::unseen(path, &error),
        });
    };
    match node.location {
        Location::Scanned => {}
        Location::InTrash => {
            return Err(resolve::in_trash(&node.path));
        }
        Location::OutsideScan => {
            return Err(resolve::dependants_unknown(path));
        }
        Location::Missing => {
            return Err(Reason::new(
                RefusalKind::NotFound,
                format!("{} is not there", shown(path)),
            ));
        }
        Location::Elsewhere => {
            return Err(Reason::new(
                RefusalKind::Unsupported,
                format!("{} is no local file", shown(path)),
            ));
        }
    }
    if let Content::Unreadable(why) = &node.content {
        return Err(Reason::new(
            RefusalKind::Unreadable,
            format!(
                "{} cannot be read ({}), so nobody can tell whether it is in use",
                shown(path),
                printable(why)
            ),
        ));
    }
    Ok(node)
}

/// The nodes and all that is built on them and not in the trash already, each once, parents before children.
fn with_descendants(forest: &Forest, marked: &[NodeId]) -> Vec<NodeId> {
    let all: BTreeSet<NodeId> = marked
        .iter()
        .flat_map(|id| std::iter::once(*id).chain(forest.descendants(*id)))
        .collect();
    // Start from those whose parent stays (or, in a loop, from those named), in the order named.
    let mut seen = HashSet::new();
    let mut order = Vec::new();
    let is_top = |id: &NodeId| {
        forest
            .get(*id)
            .and_then(|node| node.parent)
            .is_none_or(|parent| !all.contains(&parent))
    };
    let tops = marked.iter().filter(|id| is_top(id));
    for top in tops.chain(marked) {
        for id in std::iter::once(*top).chain(forest.descendants(*top)) {
            let in_trash = forest.get(id).is_some_and(Node::is_in_trash);
            if !in_trash && seen.insert(id) {
                order.push(id);
            }
        }
    }
    order
}

/// What stays although what it is built on goes: what is spared and all above it, as far as it is not named.
fn spared(forest: &Forest, spare: &[PathBuf], marked: &[NodeId]) -> BTreeSet<NodeId> {
    let spared = spare.iter().filter_map(|path| forest.by_path(path));
    spared
        .flat_map(|node| std::iter::once(node.id).chain(forest.descendants(node.id)))
        .filter(|id| !marked.contains(id))
        .collect()
}

/// Tells what stays without its base: what stood so before, and what was built since on that, which stood on all
/// of it and would lose that.
fn tell_what_is_left(
    plan: &mut Plan,
    forest: &Forest,
    stays: &BTreeSet<NodeId>,
    spare: &[PathBuf],
) {
    let live = stays.iter().filter_map(|id| forest.get(*id));
    let live = live.filter(|node| !node.is_in_trash());
    let (old, new): (Vec<&Node>, Vec<&Node>) = live.partition(|node| spare.contains(&node.path));
    if !new.is_empty() {
        let names: Vec<String> = new.iter().map(|node| shown(&node.path)).collect();
        plan.refuse(RefusalKind::HasDependants, format!(
            "{} {} built since on what would be without a base again: discard or rebase {} first",
            listed(&names, 5),
            if names.len() == 1 { "was" } else { "were" },
            if names.len() == 1 { "it" } else { "them" },
        ));
    }
    if !old.is_empty() {
        let names: Vec<String> = old.iter().map(|node| name(&node.path)).collect();
        plan.warn(
            NoteKind::Dependants,
            format!(
                "{} {} without a base again, as before, and cannot be read until it comes back",
                listed(&names, 5),
                if names.len() == 1 { "is" } else { "are" }
            ),
        );
    }
}

/// How many images below this one go as well; a loop is cut where it closes.
fn depth(forest: &Forest, set: &HashSet<NodeId>, id: NodeId) -> usize {
    forest
        .chain(id)
        .iter()
        .skip(1)
        .take_while(|below| set.contains(below))
        .count()
}

/// The names that are the file itself: a symbolic link is not, and renaming it would not move the
/// image.
pub(super) fn own_names(host: &dyn Host, node: &Node) -> Vec<PathBuf> {
    std::iter::once(&node.path)
        .chain(&node.other_names)
        .filter(|path| {
            !is_trashed(path)
                && host.stat_link(path).is_ok_and(|stat| {
                    stat.kind == FileKind::Regular && Some(stat.id) == node.file_id()
                })
        })
        .cloned()
        .collect()
}

pub(super) fn refuse_without_name(plan: &mut Plan, host: &dyn Host, node: &Node) {
    let path = shown(&node.path);
    if let Some(stat) = device::stat_of(host, &node.path) {
        return plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{path} is a block device, and a device cannot go to the trash: remove it {}",
                device::remove_line(&stat)
            ),
        );
    }
    let (kind, text) = match host.stat_link(&node.path) {
        Ok(stat) if stat.kind == FileKind::Symlink => {
            let target = host
                .canonical(&node.path)
                .map_or_else(|_| "a file elsewhere".to_owned(), |target| shown(&target));
            (
                RefusalKind::Invalid,
                format!("{path} is a symbolic link to {target}: discard that, or remove the link"),
            )
        }
        Ok(stat) if stat.kind == FileKind::Regular => (
            RefusalKind::Stale,
            format!("{path} is another file than when it was scanned: scan again"),
        ),
        Ok(_) => (
            RefusalKind::Unsupported,
            format!("{path} is no regular file, so it cannot go to the trash"),
        ),
        Err(error) => return plan.refuse_for(resolve::unseen(&node.path, &error)),
    };
    plan.refuse(kind, text);
}

pub(super) fn add_image(
    plan: &mut Plan,
    node: &Node,
    names: &[PathBuf],
    why: &str,
    step: usize,
    items: &mut Vec<TrashItem>,
) {
    let bytes = node.size_on_disk().unwrap_or(0);
    for (index, path) in names.iter().enumerate() {
        trash::refuse_foreign(plan, path);
        let (bytes, detail) = if index == 0 {
            (bytes, format!("{}, {why}", size(bytes)))
        } else {
            (0, format!("another name of {}", name(&node.path)))
        };
        plan.effect(EffectKind::Trashes, path, Some(bytes), detail);
        items.push(TrashItem {
            path: path.clone(),
            why: why.to_owned(),
            bytes,
            step,
            file: None,
        });
        plan.require_unchanged(path, Compare::Content);
    }
    let known = u64::try_from(names.len()).unwrap_or(u64::MAX);
    match node.stat.as_ref().map(|stat| stat.links) {
        Some(links) if links > known => plan.warn(NoteKind::OtherNames, format!(
            "{} has {} more by which it stays where it is (hard links that do not go with it): no space comes free",
            shown(&node.path),
            count(usize::try_from(links - known).unwrap_or(usize::MAX), "name")
        )),
        _ => {
            let shared = shared_bytes(&*plan.context().host, &node.path);
            let freed = bytes.saturating_sub(shared.unwrap_or_default());
            plan.frees = plan.frees.saturating_add(freed);
        }
    }
}

pub(super) fn check_use(plan: &mut Plan, path: &Path) {
    let host = Arc::clone(&plan.context().host);
    match who_uses(host.as_ref(), path, LockSet::ReadWrite) {
        Ok(Use::Free) => {}
        Ok(Use::Open(holders)) => plan.warn(
            NoteKind::InUse,
            format!(
                "{} is open for reading in {}, which goes on reading it in the trash",
                shown(path),
                processes(&holders)
            ),
        ),
        Ok(Use::Busy(sentence)) => plan.refuse(RefusalKind::InUse, sentence),
        Ok(Use::Unknown(sentence)) => plan.warn(NoteKind::InUse, sentence),
        Err(error) => plan.refuse(
            resolve::kind_of(&error),
            format!(
                "{} cannot be opened ({error}), so nobody can tell whether it is in use",
                shown(path),
                error = io_text(&error)
            ),
        ),
    }
}

pub(super) fn warn_of_losses(plan: &mut Plan, forest: &Forest, node: &Node, names: &[PathBuf]) {
    let path = name(&node.path);
    let links: Vec<String> = std::iter::once(&node.path)
        .chain(&node.other_names)
        .filter(|other| !names.contains(other))
        .map(|link| shown(link))
        .collect();
    if !links.is_empty() {
        plan.note(
            NoteKind::OtherNames,
            format!(
                "{path} is pointed at by {}, which will lead nowhere",
                listed(&links, 4)
            ),
        );
    }
    let Some(info) = node.info() else {
        return;
    };
    if info.snapshots > 0 {
        let snapshots = usize::try_from(info.snapshots).unwrap_or(usize::MAX);
        plan.warn(
            NoteKind::Snapshots,
            format!(
                "{path} has {}, which go with it",
                count(snapshots, "internal snapshot")
            ),
        );
    }
    if let Some(data_file) = &info.data_file {
        plan.keeps.push(format!(
            "{}, the data file of {path}: it stays where it is",
            printable(data_file)
        ));
    }
    if forest.flags(node.id).contains(Flags::LOOP) {
        plan.note(
            NoteKind::Dependants,
            format!("{path} is part of a circle of backing links; the whole circle goes"),
        );
    }
}

/// What is in the trash already and is built on what goes now.
fn say_what_waits(plan: &mut Plan, forest: &Forest, goes: &[NodeId]) {
    for node in goes.iter().filter_map(|id| forest.get(*id)) {
        let waits: Vec<String> = forest
            .trashed_children(node)
            .map(|child| name(&child.path))
            .collect();
        if !waits.is_empty() {
            let (is, it) = match waits.len() {
                1 => ("is", "it"),
                _ => ("are", "them"),
            };
            plan.note(
                NoteKind::Dependants,
                format!(
                    "{} {is} built on {}: to get {it} back, restore both",
                    listed(&waits, 5),
                    name(&node.path)
                ),
            );
        }
    }
}

/// What the images that go are built on, and what else is built on that.
fn kept(forest: &Forest, set: &HashSet<NodeId>, goes: &[NodeId]) -> Vec<String> {
    let mut seen = HashSet::new();
    goes.iter()
        .filter_map(|id| forest.get(*id)?.parent)
        .filter(|parent| !set.contains(parent) && seen.insert(*parent))
        .filter_map(|parent| forest.get(parent))
        .filter(|parent| parent.location != Location::Missing)
        .map(|parent| {
            let others: Vec<String> = parent
                .children
                .iter()
                .filter(|child| !set.contains(child))
                .filter_map(|child| forest.get(*child))
                .map(|child| name(&child.path))
                .collect();
            let parent = name(&parent.path);
            match others.as_slice() {
                [] => parent,
                [one] => format!("{parent} and its other child {one}"),
                more => format!("{parent} and its other children {}", listed(more, 5)),
            }
        })
        .collect()
}

#[derive(Debug)]
struct DiscardJob {
    items: Vec<TrashItem>,
    locked: Vec<PathBuf>,
    images: usize,
}

impl Job for DiscardJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        for path in &self.locked {
            let _ = locking.take(host, path, Access::Read, LockSet::ReadWrite)?;
        }
        let _locks = locking.settle(plan)?;
        let state_dir = plan.context().state_dir.as_deref();
        let batch = Batch::prepare(host, state_dir, plan.reason("discard"), self.items.clone())?;
        let (entry, remarks) = (batch.name().to_owned(), batch.remarks().to_vec());
        progress.enter(Phase::Switch, 0);
        if let Err(error) = plan.redefine_sources() {
            batch.give_up();
            return Err(error);
        }
        let touched = batch.execute(progress)?;
        let what = match self.items.as_slice() {
            [one] => shown(&one.path),
            _ => count(self.images, "image"),
        };
        Ok(Outcome {
            summary: format!("moved {what} to the trash as {entry}"),
            touched,
            undo: Some(Request::restore(vec![entry])),
            remarks,
        })
    }
}
