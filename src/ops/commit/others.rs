//! What a commit does to everybody who reads what it changes: refused, kept intact or broken, as was
//! asked; what is built on layers that go is re-parented.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;

use crate::forest::{Forest, Node};
use crate::host::{Access, printable};
use crate::image::{self, ImageFile};
use crate::ops::framework::backing_name::leading_to;
use crate::ops::framework::eligibility::{refuse_corrupt, refuse_receiver_elsewhere};
use crate::ops::framework::format::{listed, name, shown};
use crate::ops::framework::unlock;
use crate::ops::{
    Commit, Context, Direction, EffectKind, EmptyTrash, Flatten, NoteKind, Plan, RefusalKind,
    Request, Siblings, Squash, WayOut,
};
use crate::units::{count, size};

use super::analysis::{Analysis, Dependant};
use super::merge::Child;
use super::run::CommitRange;

/// Everybody else who reads the base: refused, kept intact or broken, as was asked. Returns those to
/// be kept intact.
pub(super) fn judge_dependants(
    plan: &mut Plan,
    run: &CommitRange<'_>,
    analysis: &Analysis,
    request: &Commit,
) -> Vec<Dependant> {
    let forest = Arc::clone(&plan.context().forest);
    let siblings = request.siblings;
    let mut kept = keep(
        plan,
        analysis
            .dependants
            .iter()
            .filter(|d| d.moves && d.loses > 0),
    );
    let staying = || analysis.dependants.iter().filter(|d| !d.moves);
    let losers: Vec<&Dependant> = staying().filter(|d| d.loses > 0).collect();
    let safe: Vec<String> = staying()
        .filter(|d| d.loses == 0)
        .map(|d| d.what.clone())
        .collect();
    if !safe.is_empty() {
        plan.keeps
            .push(format!("{}: nothing they read changes", listed(&safe, 5)));
    }
    if analysis.is_merged {
        plan.note(
            NoteKind::Interrupted,
            format!(
                "{} shows all that {} holds already: this finishes a commit that was interrupted",
                name(&run.base.path),
                name(&run.top().path)
            ),
        );
        return kept;
    }
    // A sibling that loses nothing is no reason against it.
    if losers.is_empty() {
        return kept;
    }
    let names: Vec<String> = losers.iter().map(|d| d.what.clone()).collect();
    let total: u64 = losers.iter().map(|dependant| dependant.loses).sum();
    let broken = |plan: &mut Plan| {
        for loser in &losers {
            plan.effect(
                EffectKind::Breaks,
                &loser.path,
                Some(loser.loses),
                broken_text(loser),
            );
            if loser.is_image() {
                for id in forest.descendants(loser.node) {
                    if let Some(node) = forest.get(id) {
                        let text = format!("built on {}, which changes", loser.what);
                        plan.effect(EffectKind::Breaks, &node.path, None, text);
                    }
                }
            }
        }
    };
    let closed: Vec<&&Dependant> = losers
        .iter()
        .filter(|dependant| dependant.closed.is_some())
        .collect();
    match siblings {
        Siblings::Refuse => {
            broken(plan);
            let breaks = plan
                .effects
                .iter()
                .filter(|effect| effect.kind == EffectKind::Breaks)
                .count();
            let commit = |siblings| {
                Request::Commit(Commit {
                    overlay: run.top().path.clone(),
                    into: request.into.clone(),
                    layer: request.layer,
                    siblings,
                    keep_old: request.keep_old.clone(),
                })
            };
            let mut ways_out = Vec::new();
            if closed.is_empty() {
                ways_out.push(WayOut {
                    label: format!(
                        "keep the others intact: first copies {} into them",
                        size(total)
                    ),
                    request: commit(Siblings::Preserve),
                });
            }
            ways_out.push(merge_upward(run, &forest));
            ways_out.extend(empty_trash(losers.iter().copied()));
            if breaks > 0 {
                ways_out.push(WayOut {
                    label: format!(
                        "break them: {} would show other content from then on",
                        count(breaks, "view")
                    ),
                    request: commit(Siblings::Break),
                });
            }
            let verb = if names.len() == 1 { "reads" } else { "read" };
            plan.refuse_but(
                RefusalKind::HasDependants,
                format!(
                    "{} {verb} {} as well, and would lose what this overwrites",
                    listed(&names, 5),
                    name(&run.base.path)
                ),
                ways_out,
            );
            kept
        }
        Siblings::Break => {
            broken(plan);
            kept
        }
        Siblings::Preserve => {
            kept.extend(keep(plan, losers.into_iter()));
            kept
        }
    }
}

/// The other direction, which leaves the base and whoever reads it alone: what is built on the layer takes in what
/// it holds, or the layer, where nothing is, what the base holds.
fn merge_upward(run: &CommitRange<'_>, forest: &Forest) -> WayOut {
    let (top, base) = (run.top(), run.base);
    if !forest.is_leaf(top) {
        return WayOut {
            label: format!(
                "merge upward instead: squash {} into what is built on it; {} stays as it is",
                name(&top.path),
                name(&base.path)
            ),
            request: Request::Squash(Squash {
                layer: top.path.clone(),
                direction: Some(Direction::Up),
            }),
        };
    }
    let below = base.parent.and_then(|id| forest.get(id));
    WayOut {
        label: format!(
            "merge upward instead: flatten, {} takes in what {} holds, which stays as it is",
            name(&top.path),
            name(&base.path)
        ),
        request: Request::Flatten(Flatten {
            image: top.path.clone(),
            onto: below.map(|node| node.path.clone()),
            new: None,
            compress: None,
        }),
    }
}

/// Those that receive what they would lose.
fn keep<'d>(plan: &mut Plan, losers: impl Iterator<Item = &'d Dependant>) -> Vec<Dependant> {
    let (mut kept, mut checked) = (Vec::new(), BTreeSet::new());
    for dependant in losers {
        let why = dependant.closed.clone();
        let why = why.map(|why| (RefusalKind::HasDependants, why));
        let closed = why.or_else(|| {
            let error = unlock::unlock(plan.context(), &dependant.path).err()?;
            Some((RefusalKind::of(&error.kind), error.kind.to_string()))
        });
        if let Some((kind, why)) = &closed {
            let text = format!("{} cannot be kept intact: {why}", dependant.what);
            plan.refuse_but(*kind, text, empty_trash(std::iter::once(dependant)));
        }
        refuse_receiver_elsewhere(plan, &dependant.path);
        if closed.is_none() && checked.insert(dependant.path.clone()) {
            refuse_corrupt(plan, &dependant.path);
        }
        let text = format!(
            "{}: first receives {} that it would lose",
            dependant.role,
            size(dependant.loses)
        );
        plan.effect(
            EffectKind::Preserves,
            &dependant.path,
            Some(dependant.loses),
            text,
        );
        kept.push(dependant.clone());
    }
    kept
}

/// What is in the trash stands in the way no longer when it is deleted.
fn empty_trash<'d>(losers: impl Iterator<Item = &'d Dependant>) -> Vec<WayOut> {
    let kept = losers.filter_map(|loser| {
        let entry = image::entry_of(&loser.path)?.to_str()?;
        Some((entry.to_owned(), loser))
    });
    let mut ways_out: Vec<WayOut> = Vec::new();
    for (entry, loser) in kept {
        let way = WayOut {
            label: format!(
                "delete what went to the trash with {} for good",
                name(&loser.path)
            ),
            request: Request::EmptyTrash(EmptyTrash {
                entries: vec![entry],
            }),
        };
        if !ways_out.iter().any(|known| known.request == way.request) {
            ways_out.push(way);
        }
    }
    ways_out
}

fn broken_text(dependant: &Dependant) -> String {
    match &dependant.closed {
        Some(why) => format!(
            "{}: reads the base, how much is not known ({why})",
            dependant.role
        ),
        None => format!(
            "{}: reads {} that this overwrites",
            dependant.role,
            size(dependant.loses)
        ),
    }
}

/// What is built on layers that go, and will be built on the base.
pub(super) fn plan_children(
    plan: &mut Plan,
    run: &CommitRange<'_>,
    analysis: &Analysis,
) -> Vec<Child> {
    let context = plan.context().clone();
    let moved = analysis
        .dependants
        .iter()
        .filter(|dependant| dependant.moves && dependant.is_image())
        .filter_map(|dependant| context.forest.get(dependant.node));
    let mut children = Vec::new();
    for child in moved {
        let path = shown(&child.path);
        if child
            .info()
            .is_some_and(|info| !info.unknown_features.is_empty())
        {
            plan.refuse(RefusalKind::Unsupported, format!("{path} is built on a layer that goes and needs features that are not known here: its header cannot be changed"));
            continue;
        }
        match new_name(&context, child, run) {
            Ok(recorded) => {
                let text = format!("now built on {}: its header only", printable(&recorded));
                plan.effect(EffectKind::Relinks, &child.path, None, text);
                children.push(Child {
                    path: child.path.clone(),
                    recorded,
                });
            }
            Err(why) => plan.refuse(
                RefusalKind::BackingName,
                format!("{path} cannot be built on {}: {why}", shown(&run.base.path)),
            ),
        }
    }
    children
}

/// The name by which an image will know the base, if its header has room for it.
fn new_name(context: &Context, child: &Node, run: &CommitRange<'_>) -> Result<OsString, String> {
    let recorded = leading_to(context, child, &run.base.path, None)?;
    ImageFile::open(context.host.as_ref(), &child.path, Access::Read)
        .and_then(|file| image::may_relink(&file, &recorded, &run.base_format))
        .map_err(|error| error.kind.to_string())?;
    Ok(recorded)
}
