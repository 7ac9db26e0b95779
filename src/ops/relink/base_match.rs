//! Whether an image is the one that another was made on: what can be compared is compared - the bytes,
//! where the old base is still there; sizes, partition tables and identifiers of filesystems, where not.
//! What speaks against it has to be agreed to like any other change of what an image shows.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::forest::{Location, Node};
use crate::guest::{self, Held, Partition, Partitions};
use crate::host::printable;
use crate::image::{
    self, BackingDiff, BackingView, Chain, Compared, Format, Layer, NoProgress, State,
};
use crate::ops::framework::eligibility::{chain_below, is_readable, refuse_foreign_data};
use crate::ops::framework::format::{listed, name};
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::unlock;
use crate::ops::{EffectKind, NoteKind, Plan};
use crate::units::size;

/// Bytes compared at a time.
const PIECE: u64 = 64 << 10;

/// Bytes compared in all: what is more than this is compared at so many bytes spread over it.
const MOST: u64 = 32 << 20;

/// Says in the plan what speaks for and against `base`, as `format`, being what `node` was made on.
pub(super) fn judge(plan: &mut Plan, node: &Node, base: &Node, format: &Format) {
    if shows_the_same(node, base, format) {
        return plan.keeps.push(format!(
            "the content of {} and of all that is built on it",
            name(&node.path)
        ));
    }
    if let (Some(own), Some(below)) = (node.virtual_size(), base.virtual_size())
        && own != below
    {
        plan.warn(
            NoteKind::Size,
            format!(
                "{} is {} large and {} is {}",
                name(&node.path),
                size(own),
                name(&base.path),
                size(below)
            ),
        );
    }
    let new = match open(plan, base, format) {
        Ok(new) => new,
        Err(why) => {
            plan.warn(
                NoteKind::Unseen,
                format!(
                    "what {} shows could not be compared: {why}",
                    name(&base.path)
                ),
            );
            return judge_unseen(plan, node, base);
        }
    };
    require_unchanged(plan, &new);
    match against_old(plan, node, &new) {
        Some(Ok(comparison)) => {
            let called = match node.parent == Some(base.id) {
                true => as_format(base, format),
                false => name(&base.path),
            };
            judge_bytes(plan, node, &called, &comparison);
        }
        Some(Err(why)) => {
            plan.warn(
                NoteKind::Unseen,
                format!("its old base could not be compared with: {why}"),
            );
            judge_unseen(plan, node, base);
        }
        None => judge_marks(plan, node, base, &new),
    }
}

/// Whether the overlay reads this image in this format now.
fn shows_the_same(node: &Node, base: &Node, format: &Format) -> bool {
    node.parent == Some(base.id) && format_now(node, base).as_ref() == Some(format)
}

/// The format that what an overlay is built on has to it: as it records, or as that looks.
fn format_now(node: &Node, base: &Node) -> Option<Format> {
    node.backing_format().cloned().or_else(|| base.format())
}

/// An image as it is read: `base as raw`.
fn as_format(base: &Node, format: &Format) -> String {
    format!("{} as {}", name(&base.path), printable(format.name()))
}

/// The chain of an image that is there and may be read.
fn open(plan: &Plan, top: &Node, format: &Format) -> Result<Chain, String> {
    let context = plan.context().clone();
    // Planned by itself, so that what stands against reading it does not stand against relinking.
    let mut scratch = Plan::empty(plan.request.clone(), &context);
    if !top.location.is_met() {
        return Err("it lies outside the folders looked in".to_owned());
    }
    is_readable(&mut scratch, top);
    if *format == Format::Qcow2 {
        chain_below(&mut scratch, &context.forest, top);
        refuse_foreign_data(&mut scratch, context.forest.chain(top.id));
    }
    if let Some(refusal) = scratch.refusals.first() {
        return Err(refusal.text.clone());
    }
    let closed = |error: image::Error| error.to_string();
    if *format == Format::Qcow2 {
        unlock::unlock_chain(&context, top.id).map_err(closed)?;
    }
    // Every image of it was just seen to be where the scan was allowed to look.
    let chain = Chain::open(context.host.as_ref(), &top.path, Some(format), &|_| true);
    let chain = chain.map_err(closed)?;
    chain.unlock(&context.keys, &NoProgress).map_err(closed)?;
    Ok(chain)
}

/// The overlay's own layer, without what it is built on.
fn own_layer(plan: &Plan, node: &Node) -> Result<Layer, String> {
    let closed = |error: image::Error| error.to_string();
    let context = plan.context();
    let mut scratch = Plan::empty(plan.request.clone(), context);
    is_readable(&mut scratch, node);
    refuse_foreign_data(&mut scratch, [node.id]);
    if let Some(refusal) = scratch.refusals.first() {
        return Err(refusal.text.clone());
    }
    Layer::open(context.host.as_ref(), &node.path, &Format::Qcow2).map_err(closed)
}

/// What comparing the bytes has shown.
struct Comparison {
    /// Bytes that are stored apart, and of these how many were compared.
    apart: u64,
    compared: u64,
    /// Where the first bytes are that differ.
    differs: Option<u64>,
    /// What the old base is called.
    old: String,
}

/// Compares what the overlay reads of its old base with the same bytes of the new one; none if the old
/// one is not there.
fn against_old(plan: &mut Plan, node: &Node, new: &Chain) -> Option<Result<Comparison, String>> {
    let forest = plan.context().forest.clone();
    let old = forest.get(node.parent?)?;
    if !old.location.is_met() || forest.is_not_understood(node.id) {
        return None;
    }
    node.backing.as_ref()?;
    let format = format_now(node, old)?;
    let called = match new.layers().first() {
        Some(layer) if layer.path() == old.path => as_format(old, &format),
        _ => name(&old.path),
    };
    let compare = || -> Result<(Comparison, Chain), String> {
        let top = own_layer(plan, node)?;
        let chain = open(plan, old, &format)?;
        let comparison = compare(&top, chain.clone(), new.clone(), called);
        Ok((comparison.map_err(|error| error.to_string())?, chain))
    };
    Some(compare().map(|(comparison, chain)| {
        require_unchanged(plan, &chain);
        comparison
    }))
}

/// What was found out of a chain holds as long as its files stay as they are.
fn require_unchanged(plan: &mut Plan, chain: &Chain) {
    for layer in chain.layers() {
        if let Err(unseen) = plan.remember(layer.path(), Compare::Content) {
            plan.warn(NoteKind::Unseen, unseen.text);
        }
    }
}

fn compare(top: &Layer, old: Chain, new: Chain, old_name: String) -> image::Result<Comparison> {
    let (old_sight, new_sight) = (BackingView::of(old.clone()), BackingView::of(new.clone()));
    let difference = BackingDiff::new(&old_sight, &new_sight)?;
    let mut comparison = Comparison {
        apart: 0,
        compared: 0,
        differs: None,
        old: old_name,
    };
    // What is stored at one place, or reads as zero by both tables, is the same.
    let walk = |visit: &mut dyn FnMut(u64, u64) -> image::Result<bool>| -> image::Result<()> {
        for extent in top.extents(0, top.virtual_size()) {
            let extent = extent?;
            if extent.state != State::Unallocated {
                continue;
            }
            let mut at = extent.start;
            while at < extent.end() {
                match difference.at(at, extent.end())? {
                    Compared::Same(to) => at = to,
                    Compared::Differs { old, .. } => {
                        let end = old.extent.end();
                        if !visit(at, end)? {
                            return Ok(());
                        }
                        at = end;
                    }
                }
            }
        }
        Ok(())
    };
    let mut apart = 0_u64;
    walk(&mut |start, end| {
        apart = apart.saturating_add(end - start);
        Ok(true)
    })?;
    comparison.apart = apart;
    // One piece of so many bytes that are apart.
    let stride = apart.div_ceil(MOST / PIECE).max(PIECE);
    let (mut passed, mut next) = (0_u64, 0_u64);
    let (mut one, mut other) = (Vec::new(), Vec::new());
    walk(&mut |start, end| {
        let len = end - start;
        while next < passed + len {
            let from = start + (next - passed);
            let to = from.saturating_add(PIECE).min(end);
            let bytes = usize::try_from(to - from).unwrap_or(0);
            one.resize(bytes, 0);
            other.resize(bytes, 0);
            old.read_at(&mut one, from)?;
            new.read_at(&mut other, from)?;
            comparison.compared += to - from;
            if let Some(at) = one.iter().zip(&other).position(|(a, b)| a != b) {
                comparison.differs = Some(from + at as u64);
                return Ok(false);
            }
            next = if stride == PIECE {
                passed + (to - start)
            } else {
                next + stride
            };
        }
        passed += len;
        Ok(true)
    })?;
    Ok(comparison)
}

fn judge_bytes(plan: &mut Plan, node: &Node, new: &str, comparison: &Comparison) {
    let (path, old) = (name(&node.path), &comparison.old);
    if let Some(at) = comparison.differs {
        return breaks(
            plan,
            node,
            &format!("shows {new} where it showed {old}, and they differ: first at byte {at:#x}"),
        );
    }
    if comparison.compared >= comparison.apart {
        plan.keeps.push(format!(
            "what {path} shows: all that it reads of {old} is the same in {new} ({} compared, the rest is \
             stored in one place or zero)",
            size(comparison.compared)
        ));
        return;
    }
    breaks(
        plan,
        node,
        &format!(
            "shows {new} where it showed {old}, unless they are copies: {} of {} were compared and are the same",
            size(comparison.compared),
            size(comparison.apart)
        ),
    );
}

/// Without the old base: what the overlay holds itself, beside what the new base shows there.
fn judge_marks(plan: &mut Plan, node: &Node, base: &Node, new: &Chain) {
    let path = name(&node.path);
    let judged = || -> Result<Evidence, String> {
        let own = own_layer(plan, node)?;
        own.unlock(&plan.context().keys, &NoProgress)
            .map_err(|error| error.to_string())?;
        held(own, new).map_err(|error| error.to_string())
    };
    let (same, other, past) = match judged() {
        Ok(judged) => judged,
        Err(why) => {
            plan.warn(
                NoteKind::Unseen,
                format!("what {path} holds could not be compared: {why}"),
            );
            return judge_unseen(plan, node, base);
        }
    };
    if let Some(past) = past {
        plan.warn(NoteKind::Base, format!(
            "partition {} of {} ends at {}, past its own end ({}): it is cut off, or another disk",
            past.number,
            name(&base.path),
            size(past.end),
            size(new.virtual_size())
        ));
    }
    if !other.is_empty() {
        breaks(plan, node, &listed(&other, 3));
    }
    if !same.is_empty() {
        plan.note(
            NoteKind::Base,
            format!(
                "{path} holds the same as {}: {}",
                name(&base.path),
                listed(&same, 3)
            ),
        );
    }
    judge_unseen(plan, node, base);
}

type Evidence = (Vec<String>, Vec<String>, Option<Partition>);

/// Signatures that both have, those that say otherwise, and a partition that reaches past the disk's end.
fn held(own: Layer, new: &Chain) -> image::Result<Evidence> {
    let signatures = guest::signatures(new)?;
    let own = Arc::new(own);
    let mut layers = vec![own.clone()];
    layers.extend(new.layers().iter().cloned());
    let over = Chain::new(layers);
    let (mut same, mut other) = (Vec::new(), Vec::new());
    let mut said = BTreeSet::new();
    for signature in &signatures {
        match guest::same_signature(&own, &over, signature)? {
            Held::Nothing => {}
            Held::Same => same.push(signature.words()),
            Held::Other(held) => {
                let held = held.map_or_else(|| "none".to_owned(), |held| held.id());
                let text = format!(
                    "holds {held} where it would be built on {}",
                    signature.words()
                );
                if said.insert(text.clone()) {
                    other.push(text);
                }
            }
        }
    }
    let past = Partitions::read(new)?.last();
    Ok((same, other, past.filter(|one| one.end > new.virtual_size())))
}

fn judge_unseen(plan: &mut Plan, node: &Node, base: &Node) {
    let path = name(&node.path);
    let forest = plan.context().forest.clone();
    let old = node.parent.and_then(|id| forest.get(id));
    let is_there = |old: &Node| matches!(old.location, Location::Scanned | Location::OutsideScan);
    if node.backing.is_none() {
        let text = format!(
            "shows {} where it holds nothing itself, and zeros so far",
            name(&base.path)
        );
        return breaks(plan, node, &text);
    }
    match old.filter(|old| is_there(old)) {
        Some(old) => breaks(
            plan,
            node,
            &format!(
                "shows {} where it showed {}, unless they are copies",
                name(&base.path),
                name(&old.path)
            ),
        ),
        None => plan.warn(NoteKind::Base, format!(
            "that {} is the very disk {path} was made on cannot be seen from here: the wrong one makes a \
             broken disk",
            name(&base.path)
        )),
    }
}

/// The image shows something else, and so does all that is built on it.
pub(super) fn breaks(plan: &mut Plan, node: &Node, how: &str) {
    let broken = |plan: &Plan, path: &Path| {
        let mut effects = plan.effects.iter();
        effects.any(|effect| effect.kind == EffectKind::Breaks && effect.path == path)
    };
    if !broken(plan, &node.path) {
        plan.effect(EffectKind::Breaks, &node.path, None, how);
    }
    let forest = plan.context().forest.clone();
    let above = forest.descendants(node.id);
    for one in above.into_iter().filter_map(|id| forest.get(id)) {
        if !broken(plan, &one.path) {
            let text = format!("built on {}, which changes", name(&node.path));
            plan.effect(EffectKind::Breaks, &one.path, None, text);
        }
    }
}
