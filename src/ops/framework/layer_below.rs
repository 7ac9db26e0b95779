//! What a machine can go on with where its disk goes to the trash: the layer below, which it writes from then on. Only
//! where nobody else needs that layer as it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::forest::{Flags, GOLDEN, Location, Node, NodeId};
use crate::host::{Access, FileKind, LockProbe, LockSet, printable};
use crate::machines::{Disk, Machine, Machines, Part};
use crate::units::{count, size};

use super::absolute;
use super::definition_change::{Cure, Step, domain_disk};
use super::format::{listed, name, shown};
use super::plan::{EffectKind, Plan};

/// The permission bits that let somebody write.
const WRITE: u32 = 0o222;
/// What cannot be read to the end of its chain is nobody's disk.
const BROKEN: Flags = Flags::MISSING_BACKING
    .union(Flags::LOOP)
    .union(Flags::UNREADABLE)
    .union(Flags::UNSUPPORTED)
    .union(Flags::CORRUPT)
    .union(Flags::BROKEN_BELOW);

/// What the definition of a disk needs where its file goes, so that the machine goes on with the layer below; none where
/// there is no such layer, or where the definition is not changed here.
///
/// # Errors
/// Why the machine cannot have that layer: a sentence without its end.
pub(in crate::ops) fn cure(
    plan: &Plan,
    machines: &Machines,
    machine: &Machine,
    disk: &Disk,
    goes: &Path,
) -> Result<Option<Cure>, String> {
    let forest = &plan.context().forest;
    let Some(domain) = domain_disk(machine, disk).filter(|_| plan.falls_back) else {
        return Ok(None);
    };
    let Some(top) = forest.by_path(goes) else {
        return Ok(None);
    };
    let gone = gone(plan);
    let chain = forest.chain(top.id).into_iter();
    let mut below = chain.skip(1).filter(|id| !gone.contains(id));
    let Some(base) = below.next().and_then(|id| forest.get(id)) else {
        return Ok(None);
    };
    if let Some(why) = unfit(plan, machines, (machine, disk), top, base, &gone) {
        return Err(format!(
            "{} cannot go on with {} instead, {why}",
            printable(&machine.name),
            shown(&base.path)
        ));
    }
    Ok(Some(Cure {
        disk: domain,
        file: disk.file.path.clone(),
        step: Step::Source {
            from: disk.file.path.clone(),
            to: absolute::path(&base.path),
        },
        format: base.format().map(|format| format.name().to_owned()),
        keeps_pin: false,
        loses: Some(goes.to_path_buf()),
    }))
}

/// What a machine that goes on with the layer below no longer sees, and what becomes of what is in the trash then; none
/// of one that goes on with what it had.
pub(in crate::ops) fn warning(plan: &Plan, cure: &Cure) -> Option<String> {
    let (Some(goes), Step::Source { to, .. }) = (&cure.loses, &cure.step) else {
        return None;
    };
    let forest = &plan.context().forest;
    let (machine, base) = (printable(&cure.disk.machine), shown(to));
    let mut text = format!(
        "{machine} goes on with {base} and no longer sees what was written into {}. Once it has written {base}, ",
        shown(goes)
    );
    let trashed = forest.by_path(to).into_iter();
    let trashed = trashed.flat_map(|base| forest.trashed_children(base));
    let mut others: Vec<String> = trashed.map(|node| name(&node.path)).collect();
    others.insert(0, name(goes));
    text.push_str(&listed(&others, 5));
    text.push_str(match others.len() {
        1 => " shows other content than it did when it is restored",
        _ => " show other content than they did when they are restored",
    });
    let length = |path: &Path| forest.by_path(path).and_then(Node::virtual_size);
    if let (Some(had), Some(has)) = (length(goes), length(to))
        && had != has
    {
        text.push_str(&format!(
            ". Its disk has {} then, and had {}",
            size(has),
            size(had)
        ));
    }
    Some(text)
}

/// The images that the plan takes away.
fn gone(plan: &Plan) -> BTreeSet<NodeId> {
    let forest = &plan.context().forest;
    let goes = |kind: EffectKind| matches!(kind, EffectKind::Trashes | EffectKind::Deletes);
    let effects = plan.effects.iter().filter(|effect| goes(effect.kind));
    effects
        .filter_map(|effect| Some(forest.by_path(&effect.path)?.id))
        .collect()
}

/// Why a machine cannot have this image as its disk: it would write it.
fn unfit(
    plan: &Plan,
    machines: &Machines,
    (machine, disk): (&Machine, &Disk),
    top: &Node,
    base: &Node,
    gone: &BTreeSet<NodeId>,
) -> Option<String> {
    let forest = &plan.context().forest;
    let says = |text: &str| Some(text.to_owned());
    match base.location {
        Location::Scanned => {}
        Location::Missing => return says("which is not there"),
        Location::Elsewhere => return says("which is no local file"),
        Location::InTrash => return says("which is in the trash"),
        Location::OutsideScan => {
            return says(
                "which lies in a folder that was not looked in: who else is built on it is not known",
            );
        }
    }
    let Some(stat) = base
        .stat
        .as_ref()
        .filter(|stat| stat.kind == FileKind::Regular)
    else {
        return says("which is no regular file");
    };
    if base.format().is_none() || forest.flags(base.id).intersects(BROKEN) {
        return says("which cannot be read to the end of its chain");
    }
    if base.is_encrypted() {
        return says("which is encrypted: its definition would need the secret");
    }
    if forest.pin_mismatch(disk).is_some() {
        return says("since its definition names other layers than the headers do");
    }
    let stays =
        |id: &NodeId| !gone.contains(id) && forest.get(*id).is_some_and(|node| !node.is_in_trash());
    let readers = forest.readers(base.id).into_iter();
    let readers: BTreeSet<NodeId> = readers.map(|it| it.node).filter(stays).collect();
    let readers: Vec<String> = readers
        .iter()
        .filter_map(|id| Some(name(&forest.get(*id)?.path)))
        .collect();
    if !readers.is_empty() {
        return Some(format!(
            "on which {} {} built: it would be written under {}",
            listed(&readers, 3),
            if readers.len() == 1 { "is" } else { "are" },
            if readers.len() == 1 { "it" } else { "them" },
        ));
    }
    let names = std::iter::once(&base.path).chain(&base.other_names);
    let host = plan.host();
    let is_hard = |path: &&PathBuf| {
        host.stat_link(path)
            .is_ok_and(|stat| stat.kind == FileKind::Regular)
    };
    let known = names.filter(is_hard).count() as u64;
    if let Some(more) = stat.links.checked_sub(known).filter(|more| *more > 0) {
        return Some(format!(
            "which has {} in folders that were not looked in: who is built on it by those is not known",
            count(more, "more name")
        ));
    }
    // Its own pin goes, or names other layers then.
    let is_own = |part: Part<'_>| matches!(part, Part::Pinned(own, _) if own == disk);
    let mut uses = machines.uses_of(base).into_iter();
    if let Some(used) = uses.find(|used| used.machine != machine || !is_own(used.part)) {
        return Some(format!("which is used by {}", printable(used.to_string())));
    }
    let is_disk = |node: &Node| {
        let mut uses = machines.uses_of(node).into_iter();
        uses.any(|used| matches!(used.part, Part::Disk(disk) if !disk.read_only))
    };
    let above = forest.descendants(base.id).into_iter();
    let mut above = above.filter(|id| *id != top.id && gone.contains(id));
    if let Some(other) = above.find_map(|id| forest.get(id).filter(|node| is_disk(node))) {
        return Some(format!(
            "with which the machine of {} would have to go on as well",
            name(&other.path)
        ));
    }
    if base.is_tagged(GOLDEN) {
        return Some(format!("which is tagged {GOLDEN}"));
    }
    if stat.mode & WRITE == 0 {
        return Some(format!(
            "which nobody may write: its mode is {:04o}",
            stat.mode
        ));
    }
    let file = host.open(&base.path, Access::Read);
    let probe = file.and_then(|file| file.probe_lock(LockSet::ReadWrite));
    let is_locked = matches!(probe, Ok(LockProbe::Busy(_)));
    (is_locked || base.holders.iter().any(|holder| holder.writes))
        .then(|| "which is in use".to_owned())
}
