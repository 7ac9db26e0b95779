//! Images that read a file by a way that no operation can follow: through a description that is not
//! understood, or by another name of theirs. What they read is left as it is. Plain overlays and data files
//! are each operation's own business.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::forest::{Forest, Node, NodeId, Reads};
use crate::host::{FileKind, printable};
use crate::units::count;

use super::format::shown;
use super::note::NoteKind;
use super::plan::{EffectKind, Plan};
use super::refusal::RefusalKind;

/// What is done to a file that others may be reading, as the word for a refusal.
fn done_by(kind: EffectKind) -> Option<&'static str> {
    match kind {
        EffectKind::Reads
        | EffectKind::Chmods
        | EffectKind::Annotates
        | EffectKind::Freezes
        | EffectKind::Creates
        | EffectKind::Restores => None,
        EffectKind::Writes
        | EffectKind::Preserves
        | EffectKind::Relinks
        | EffectKind::Updates
        | EffectKind::Grows
        | EffectKind::Drops
        | EffectKind::Empties
        | EffectKind::Breaks => Some("changed"),
        EffectKind::Moves => Some("moved"),
        EffectKind::Trashes | EffectKind::Deletes => Some("removed"),
    }
}

/// Refuses what the plan would do to any file that an image reads which stays, in a way not understood or
/// by another of its names; every plan comes by here.
pub(in crate::ops) fn refuse_all(plan: &mut Plan) {
    let forest = plan.context().forest.clone();
    let goes: BTreeSet<NodeId> = plan
        .effects
        .iter()
        .filter(|effect| matches!(effect.kind, EffectKind::Trashes | EffectKind::Deletes))
        .filter_map(|effect| Some(forest.by_path(&effect.path)?.id))
        .collect();
    let touched: Vec<(NodeId, &'static str)> = plan
        .effects
        .iter()
        .filter_map(|effect| Some((forest.by_path(&effect.path)?.id, done_by(effect.kind)?)))
        .collect();
    for (id, how) in touched {
        if let Some(node) = forest.get(id) {
            refuse(plan, &forest, node, how, &goes);
        }
    }
    warn_of_unseen_names(plan, &forest);
}

/// A file whose content changes may have hard links where nobody has looked: who is built on it by one of
/// those cannot be told.
fn warn_of_unseen_names(plan: &mut Plan, forest: &Forest) {
    let written: BTreeSet<NodeId> = plan
        .effects
        .iter()
        .filter(|effect| effect.kind == EffectKind::Writes)
        .filter_map(|effect| Some(forest.by_path(&effect.path)?.id))
        .collect();
    for node in written.into_iter().filter_map(|id| forest.get(id)) {
        let Some(stat) = node.stat.as_ref().filter(|stat| stat.links > 1) else {
            continue;
        };
        let host = &plan.context().host;
        let is_hard = |name: &&PathBuf| {
            let stat = host.stat_link(name);
            stat.is_ok_and(|stat| stat.kind != FileKind::Symlink)
        };
        let names = std::iter::once(&node.path).chain(&node.other_names);
        let known = names.filter(is_hard).count() as u64;
        if stat.links > known {
            plan.warn(NoteKind::OtherNames, format!(
                "{} has {} in folders that were not looked in (hard links): what is built on it by those is not \
                 known. Look there too",
                shown(&node.path),
                count(stat.links - known, "more name")
            ));
        }
    }
}

/// Refuses what would be done to `node` for every image that reads it by a way that cannot be followed, but
/// for those that go themselves. `how` is what would be done: `changed`.
pub(in crate::ops) fn refuse(
    plan: &mut Plan,
    forest: &Forest,
    node: &Node,
    how: &str,
    goes: &BTreeSet<NodeId>,
) {
    for reader in forest.readers(node.id) {
        let Some(image) = forest.get(reader.node).filter(|it| !goes.contains(&it.id)) else {
            continue;
        };
        let recorded = image.backing.as_deref().map(|link| printable(link.name()));
        let (kind, why) = match (reader.how, recorded) {
            (Reads::NotUnderstood, Some(recorded)) => (
                RefusalKind::Unsupported,
                format!(
                    "{} reads it in a way that is not understood here ({recorded})",
                    shown(&image.path)
                ),
            ),
            (Reads::OtherName, Some(recorded)) => (
                RefusalKind::HasDependants,
                format!(
                    "{} reads it when it is opened by another of its names: its backing name {recorded} leads there",
                    shown(&image.path)
                ),
            ),
            _ => continue,
        };
        let text = format!("{} cannot be {how}: {why}", shown(&node.path));
        if !plan.refusals.iter().any(|known| known.text == text) {
            plan.refuse(kind, text);
        }
    }
}

/// Whether it is understood how `node` reads what it is built on, refused if not: nothing is read through
/// such a name, and it is not rewritten on the way.
pub(in crate::ops) fn is_understood(plan: &mut Plan, forest: &Forest, node: &Node) -> bool {
    if !forest.is_not_understood(node.id) {
        return true;
    }
    let recorded = node.backing.as_deref().map(|link| printable(link.name()));
    plan.refuse(RefusalKind::Unsupported, format!(
        "how {} reads what it is built on is not understood here ({}), so nothing is read through it",
        shown(&node.path),
        recorded.unwrap_or_default()
    ));
    false
}

/// Says which names of the files that go or move stay behind: symbolic links that will lead nowhere, and
/// further names of a file that only loses one.
pub(in crate::ops) fn tell_names_left(plan: &mut Plan) {
    let context = plan.context().clone();
    let (host, forest) = (context.host.as_ref(), context.forest.as_ref());
    let gone: Vec<&Path> = plan
        .effects
        .iter()
        .filter(|effect| effect.kind.leaves())
        .map(|effect| effect.path.as_path())
        .collect();
    let mut warnings = Vec::new();
    for path in &gone {
        let Some(node) = forest.by_path(path) else {
            continue;
        };
        let names = std::iter::once(&node.path).chain(&node.other_names);
        for other in names.filter(|other| !gone.contains(&other.as_path())) {
            let kind = host.stat_link(other).map(|stat| stat.kind);
            let text = match kind {
                Ok(FileKind::Symlink) => format!(
                    "{} is a symbolic link to {} and will lead nowhere",
                    shown(other),
                    shown(path)
                ),
                Ok(_) => format!(
                    "{} is another name of {} and stays",
                    shown(other),
                    shown(path)
                ),
                Err(_) => continue,
            };
            // Some operations say so in their own words.
            let is_told = |known: &str| known.contains(&shown(other));
            if !plan.notes.iter().any(|note| is_told(&note.text)) && !warnings.contains(&text) {
                warnings.push(text);
            }
        }
    }
    for text in warnings {
        plan.warn(NoteKind::OtherNames, text);
    }
}
