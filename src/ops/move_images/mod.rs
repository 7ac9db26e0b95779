//! Move and rename: images get another name or place, and whatever refers to them follows - relative
//! where it was relative, absolute where it was absolute. Within a filesystem no byte of content
//! moves, and no link is broken at any instant: the new name comes before the old one goes, and every
//! header is switched in between. To another filesystem the file is copied, and the old one goes to
//! the trash.

mod run;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Forest, Location, Node, NodeId};
use crate::host::{Access, FileKind, Host, LockSet, Stat, printable};
use crate::image::{self, ImageFile};
use crate::units::{count, size};

use super::framework::copy_file::{folder, same_but_header};
use super::framework::definition_change::{Successor, successor};
use super::framework::eligibility::{refuse_as_data_file, refuse_missing_base};
use super::framework::format::{command, name, shown};
use super::framework::locks::claim;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::trash::refuse_foreign;
use super::framework::{absolute, backing_name, device, new_file, resolve, resumed};
use super::{
    BackingStyle, CommandLine, Context, EffectKind, NoteKind, Plan, RefusalKind, Relocation,
    Request, Undo,
};
use run::{Move, Present};
use step::{Child, Own, Step, is_one_place};

/// Give images another name or place; whatever refers to them follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveImages {
    /// Which, and where to.
    pub moves: Vec<Relocation>,
    /// Whether everything built on them moves along.
    pub subtree: bool,
}

impl Operation for MoveImages {
    fn name(&self) -> &'static str {
        "move"
    }

    fn verb(&self) -> &'static str {
        "Move"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Moves(&self.moves)
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        for one in &mut self.moves {
            visit(Name::Path(&mut one.from));
            visit(Name::Path(&mut one.to));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // One command line moves files to one place, and asks for no other style.
        let to = &self.moves.first()?.to;
        let is_alike = |one: &Relocation| one.to == *to && one.style.is_none();
        let from: Vec<&PathBuf> = self.moves.iter().map(|one| &one.from).collect();
        self.moves.iter().all(is_alike).then(|| {
            CommandLine::new(&["move"])
                .paths(&from)
                .path(to)
                .flag("--subtree", self.subtree)
        })
    }

    fn plan(&self, plan: &mut Plan) {
        plan_moves(plan, &self.moves, self.subtree)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

/// Plans to move the images.
fn plan_moves(plan: &mut Plan, moves: &[Relocation], subtree: bool) {
    let context = plan.context().clone();
    let forest = Arc::clone(&context.forest);
    plan.title = match moves {
        [one] => format!("Move {}", name(&one.from)),
        more => format!("Move {}", count(more.len(), "image")),
    };
    let begun = resumed::moves(&context, moves);
    let (moves, subtree) = match &begun {
        Some(all) => (all.as_slice(), false),
        None => (moves, subtree),
    };
    for one in begun.iter().flatten() {
        if context.host.stat_link(&one.from).is_err() {
            plan.note(
                NoteKind::Interrupted,
                format!(
                    "{} is there already, by a move that was interrupted; the rest follows",
                    shown(&one.to)
                ),
            );
        }
    }
    let Some(every_wanted) = resolve(plan, &context, &forest, moves, subtree) else {
        return;
    };
    let order = roots_first(&forest, &every_wanted);
    let mut steps = Vec::new();
    for id in order {
        let (Some(node), Some(wanted)) = (forest.get(id), every_wanted.get(&id)) else {
            continue;
        };
        if let Some(step) = plan_step(plan, &context, &forest, node, wanted, &every_wanted) {
            steps.push(step);
        }
    }
    if let [one] = steps.as_slice() {
        plan.title = format!("Move {} to {}", name(&one.from), shown(&one.to));
    }
    if steps.is_empty() && plan.refusals.is_empty() {
        plan.refuse_as_done("there is nothing to move: every image has that name already");
    }
    look_at_files(plan, &steps);
    let explicit: Vec<Relocation> = steps
        .iter()
        .map(|step| Relocation {
            from: step.from.clone(),
            to: step.to.clone(),
            style: Some(step.style),
        })
        .collect();
    for step in &steps {
        plan.succeeds(Successor {
            keeps_layers: true,
            ..successor(&step.from, &step.to, None)
        });
    }
    let back = explicit
        .iter()
        .map(|one| Relocation {
            from: one.to.clone(),
            to: one.from.clone(),
            style: one.style,
        })
        .collect();
    let back = Request::Move(MoveImages {
        moves: back,
        subtree: false,
    });
    plan.undo = Undo::Possible("move back".to_owned());
    plan.roll_back = Some(back);
    // What is asked again after an interruption means the same then.
    plan.request = Request::Move(MoveImages {
        moves: explicit,
        subtree: false,
    });
    plan.job = Some(Arc::new(Move { steps }));
}

/// Where an image goes, and how it is to name its backing file.
#[derive(Debug, Clone)]
struct Wanted {
    from: PathBuf,
    to: PathBuf,
    style: Option<BackingStyle>,
}

/// The nodes and their new names.
fn resolve(
    plan: &mut Plan,
    context: &Context,
    forest: &Forest,
    moves: &[Relocation],
    subtree: bool,
) -> Option<BTreeMap<NodeId, Wanted>> {
    let host = context.host.as_ref();
    let mut every_wanted: BTreeMap<NodeId, Wanted> = BTreeMap::new();
    for one in moves {
        // Moved already by an operation that was interrupted: what is left is its own link.
        let is_moved = one.style.is_some()
            && host.stat_link(&one.from).is_err()
            && host.stat_link(&one.to).is_ok();
        let asked = if is_moved { &one.to } else { &one.from };
        let node = match resolve::named(context, asked) {
            Ok(node) => node,
            Err(sentence) => {
                plan.refuse_for(sentence);
                return None;
            }
        };
        if node.location != Location::Scanned {
            plan.refuse(
                RefusalKind::NotFound,
                format!("{} is not there to be moved", shown(&node.path)),
            );
            return None;
        }
        let into = host
            .stat(&one.to)
            .is_ok_and(|stat| stat.kind == FileKind::Directory);
        let together = moves.iter().filter(|other| other.to == one.to).count() > 1;
        if !into && (together || subtree && !forest.is_leaf(node)) {
            plan.refuse(
                RefusalKind::Invalid,
                format!(
                    "{} is no folder: several images can only be moved into one",
                    shown(&one.to)
                ),
            );
            return None;
        }
        let from = absolute::path(&one.from);
        let to = absolute::path(&one.to);
        let mut group = vec![node.id];
        if subtree {
            // What is in the trash stays there, and follows by its name.
            let above = forest.descendants(node.id).into_iter();
            group.extend(above.filter(|id| !forest.get(*id).is_some_and(Node::is_in_trash)));
        }
        let top = folder(&node.path).to_path_buf();
        for id in group {
            let Some(member) = forest.get(id) else {
                continue;
            };
            let (from, to) = if id == node.id {
                let file = from.file_name().unwrap_or_default();
                (from.clone(), if into { to.join(file) } else { to.clone() })
            } else {
                // What lay below the image's folder lies below the new one in the same way.
                let inside = member.path.strip_prefix(&top).ok();
                let file = member.path.file_name().unwrap_or_default();
                let place = inside.map_or_else(|| to.join(file), |inside| to.join(inside));
                (member.path.clone(), place)
            };
            every_wanted.entry(id).or_insert(Wanted {
                from,
                to,
                style: one.style,
            });
        }
    }
    let mut taken = BTreeSet::new();
    for wanted in every_wanted.values() {
        if !taken.insert(&wanted.to) {
            plan.refuse(
                RefusalKind::Invalid,
                format!(
                    "two of the images would be called {}: move them one by one",
                    shown(&wanted.to)
                ),
            );
        }
    }
    Some(every_wanted)
}

/// An image after what it is built on.
fn roots_first(forest: &Forest, every_wanted: &BTreeMap<NodeId, Wanted>) -> Vec<NodeId> {
    let mut order: Vec<NodeId> = every_wanted.keys().copied().collect();
    order.sort_by_key(|id| forest.chain(*id).len());
    order
}

fn plan_step(
    plan: &mut Plan,
    context: &Context,
    forest: &Forest,
    node: &Node,
    wanted: &Wanted,
    every_wanted: &BTreeMap<NodeId, Wanted>,
) -> Option<Step> {
    let host = context.host.as_ref();
    let path = shown(&wanted.from);
    if let Some(stat) = device::stat_of(host, &wanted.from) {
        plan.refuse(RefusalKind::Unsupported, format!(
            "{path} is a block device, whose name is not ours to change: rename it with {}, then relink what is \
             built on it; or convert it into a file",
            device::rename_line(&stat, &wanted.to)
        ));
        return None;
    }
    if host
        .stat_link(&wanted.from)
        .is_ok_and(|stat| stat.kind == FileKind::Symlink)
    {
        plan.refuse(
            RefusalKind::Unsupported,
            format!("{path} is a symbolic link: name the file it leads to"),
        );
        return None;
    }
    if node.in_loop {
        plan.refuse(
            RefusalKind::Loop,
            format!("the backing links of {path} run in a circle: relink it first"),
        );
        return None;
    }
    let stat = node.stat.as_ref()?;
    let elsewhere = host
        .space(folder(&wanted.to))
        .is_ok_and(|space| space.device != stat.id.device);
    // The one name it has, perhaps by another way: taking the old one away would take the image.
    if is_one_place(host, &wanted.from, &wanted.to) {
        return None;
    }
    // Both names are there, or only the new one: an interrupted move goes on where it was.
    let there = |path: &Path| host.stat_link(path).ok();
    let (old, new) = (there(&wanted.from), there(&wanted.to));
    let same = matches!((&old, &new), (Some(old), Some(new)) if old.id == new.id);
    let is_file = |stat: &Stat| stat.kind == FileKind::Regular;
    let half_copied = elsewhere
        && wanted.style.is_some()
        && old.is_some()
        && !same
        && new.as_ref().is_some_and(is_file)
        && is_copy(host, node, wanted);
    let resumed = half_copied || new.is_some() && (same || old.is_none());
    if !resumed {
        let needed = if elsewhere { stat.allocated } else { 0 };
        new_file::check(plan, &wanted.to, needed)?;
    }
    let copied = elsewhere && (half_copied || !resumed);
    let text = match (copied, resumed) {
        (true, false) => format!(
            "to {}: copied, the old file goes to the trash",
            shown(&wanted.to)
        ),
        (_, true) => format!("to {}: begun before, finished now", shown(&wanted.to)),
        _ => format!("to {}", shown(&wanted.to)),
    };
    plan.effect(
        EffectKind::Moves,
        &wanted.from,
        copied.then_some(stat.allocated),
        text,
    );
    plan.counterpart(&wanted.to);
    if copied {
        if !half_copied {
            plan.copies = plan.copies.saturating_add(stat.allocated);
        }
        let text = format!("{}, once its copy is in place", size(stat.allocated));
        refuse_foreign(plan, &wanted.from);
        plan.effect(
            EffectKind::Trashes,
            &wanted.from,
            Some(stat.allocated),
            text,
        );
    }
    if stat.links > 1 && !resumed {
        plan.warn(
            NoteKind::OtherNames,
            format!("{path} has {} names: only this one moves", stat.links),
        );
    }
    let links: Vec<String> = node
        .other_names
        .iter()
        .filter(|other| {
            host.stat_link(other)
                .is_ok_and(|stat| stat.kind == FileKind::Symlink)
        })
        .map(|other| shown(other))
        .collect();
    if !links.is_empty() {
        plan.warn(
            NoteKind::OtherNames,
            format!(
                "{} will lead nowhere: a symbolic link to {path}",
                links.join(", ")
            ),
        );
    }
    refuse_relative_data_file(plan, host, node, wanted);
    refuse_as_data_file(plan, forest, node, "moved");
    let own = own_link(plan, forest, node, wanted, every_wanted);
    let children = plan_children(plan, context, forest, node, wanted, every_wanted);
    if let Some(own) = &own {
        let fits = backing_name::between(host, &wanted.to, &own.base, own.style)
            .and_then(|recorded| fits(host, &node.path, &recorded));
        if let Err(why) = fits {
            plan.refuse(
                RefusalKind::BackingName,
                format!("{path} cannot name its backing file from there: {why}"),
            );
        }
    }
    Some(Step {
        from: wanted.from.clone(),
        to: wanted.to.clone(),
        copied,
        copy_is_there: half_copied,
        bytes: stat.allocated,
        style: wanted
            .style
            .unwrap_or_else(|| backing_name::recorded_style(node)),
        own,
        children,
    })
}

/// Whether the image has a name besides the one that goes and the one that comes; of a move that was
/// interrupted both may be there.
fn keeps_a_name(host: &dyn Host, node: &Node, wanted: &Wanted) -> bool {
    let is_it = |path: &Path| {
        host.stat_link(path)
            .is_ok_and(|stat| Some(stat.id) == node.file_id())
    };
    let own = if is_it(&wanted.from) && is_it(&wanted.to) {
        2
    } else {
        1
    };
    node.stat.as_ref().is_some_and(|stat| stat.links > own)
}

/// Whether what is at the new place is the image's copy: the same bytes but for the header, which
/// names the backing file from there.
fn is_copy(host: &dyn Host, node: &Node, wanted: &Wanted) -> bool {
    node.format()
        .is_some_and(|format| same_but_header(host, &wanted.from, &wanted.to, &format))
}

/// The data file's name is in a place of the header that is not rewritten here.
fn refuse_relative_data_file(plan: &mut Plan, host: &dyn Host, node: &Node, wanted: &Wanted) {
    if folder(&wanted.from) == folder(&wanted.to) {
        return;
    }
    let file = ImageFile::open(host, &node.path, Access::Read);
    let header = file.and_then(|file| image::read_header(&file)).ok();
    let named = header
        .as_ref()
        .filter(|header| header.has_data_file())
        .and_then(|header| header.data_file());
    if named.is_some_and(|name| !name.starts_with(b"/")) {
        plan.refuse(RefusalKind::Unsupported, format!(
            "{} keeps its data in another file, which it names relative to its own folder: it can be \
             renamed there, not moved",
            shown(&wanted.from)
        ));
    }
}

/// How the moved image's own link has to be seen to.
fn own_link(
    plan: &mut Plan,
    forest: &Forest,
    node: &Node,
    wanted: &Wanted,
    every_wanted: &BTreeMap<NodeId, Wanted>,
) -> Option<Own> {
    let backing = node.backing.as_ref()?;
    let base = forest.leads_to(node)?;
    let base_moves = node.parent.and_then(|parent| every_wanted.get(&parent));
    let recorded = backing_name::style_of(backing.name());
    let style = wanted.style.unwrap_or(recorded);
    let dir_changes = folder(&wanted.from) != folder(&wanted.to);
    if base_moves.is_none() && !dir_changes && style == recorded {
        return None;
    }
    if base_moves.is_none() && recorded == BackingStyle::Absolute && style == recorded {
        return None;
    }
    if image::is_described(backing.name()) {
        plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{} names its backing file as {}: such a name is not rewritten",
                shown(&wanted.from),
                printable(backing.name())
            ),
        );
        return None;
    }
    let missing = node
        .parent
        .and_then(|parent| forest.get(parent))
        .is_none_or(|parent| parent.location == Location::Missing);
    if missing {
        let text = format!(
            "what {} is built on is not there: relink it first, so that its name can follow",
            shown(&wanted.from)
        );
        refuse_missing_base(plan, forest, node, text);
        return None;
    }
    Some(Own {
        base: base_moves.map_or_else(|| base.to_path_buf(), |wanted| wanted.to.clone()),
        // A hard link that stays in another folder reads the same header.
        style: match keeps_a_name(plan.host(), node, wanted) {
            true => BackingStyle::Absolute,
            false => style,
        },
        bridge: recorded == BackingStyle::Relative && dir_changes,
    })
}

fn plan_children(
    plan: &mut Plan,
    context: &Context,
    forest: &Forest,
    node: &Node,
    wanted: &Wanted,
    every_wanted: &BTreeMap<NodeId, Wanted>,
) -> Vec<Child> {
    let host = context.host.as_ref();
    let mut children = Vec::new();
    // Where a file cannot have two names, an interruption leaves children at the old one.
    let lost = forest
        .by_path(&wanted.from)
        .filter(|old| old.location == Location::Missing);
    let lost = lost.map_or(&[] as &[NodeId], |old| &old.children);
    for child in node
        .children
        .iter()
        .chain(lost)
        .filter_map(|id| forest.get(*id))
    {
        let Some(backing) = &child.backing else {
            continue;
        };
        let path = shown(&child.path);
        if image::is_described(backing.name()) {
            plan.refuse(
                RefusalKind::Unsupported,
                format!(
                    "{path} names {} as {}: such a name is not rewritten",
                    name(&wanted.from),
                    printable(backing.name())
                ),
            );
            continue;
        }
        let style = match every_wanted.get(&child.id) {
            // Its name has to hold from where it is and from where it goes.
            Some(_) => BackingStyle::Absolute,
            None => backing_name::style_for(context, child, backing_name::style_of(backing.name())),
        };
        let fits = backing_name::between(host, &child.path, &wanted.to, style)
            .and_then(|recorded| fits(host, &child.path, &recorded).map(|()| recorded));
        match fits {
            Ok(recorded) => {
                if !every_wanted.contains_key(&child.id) {
                    let text = format!("follows as {}: its header only", printable(&recorded));
                    plan.effect(EffectKind::Relinks, &child.path, None, text);
                }
                children.push(Child {
                    path: every_wanted
                        .get(&child.id)
                        .map_or_else(|| child.path.clone(), |wanted| wanted.from.clone()),
                    style,
                });
            }
            Err(why) => plan.refuse(
                RefusalKind::BackingName,
                format!("{path} cannot follow: {why}"),
            ),
        }
    }
    children
}

/// Whether the header has room for the name.
fn fits(host: &dyn Host, path: &Path, recorded: &OsString) -> Result<(), String> {
    ImageFile::open(host, path, Access::Read)
        .and_then(|file| image::may_rename_backing(&file, recorded))
        .map_err(|error| error.kind.to_string())
}

/// Asks who uses the files, and has them stay as they are.
fn look_at_files(plan: &mut Plan, steps: &[Step]) {
    let host = Arc::clone(&plan.context().host);
    let present = Present::of(host.as_ref(), steps);
    let mut files: BTreeSet<&Path> = BTreeSet::new();
    for step in steps {
        files.insert(present.of_file(&step.from));
        files.extend(step.copy_is_there.then_some(&*step.to));
        files.extend(
            step.children
                .iter()
                .map(|child| present.of_file(&child.path)),
        );
        plan.commands.push(command(&[
            "mv".as_ref(),
            step.from.as_os_str(),
            step.to.as_os_str(),
        ]));
    }
    for path in files {
        claim(plan, path, LockSet::ReadWrite);
    }
}
