//! Squash: one layer goes, and every other image shows what it showed. Its content is merged down into
//! what it is built on, with others there kept intact, or up into each image built on it; whichever
//! copies less, unless the person says which.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::Node;
use crate::image::Format;

use super::held::Held;
use super::members::Members;
use super::reroot::{self, Move, before_the_switch};
use super::trash::{Batch, Item, refuse_foreign};
use super::words::{count, name, shown, size};
use super::{
    Commit, CommittedLayer, Direction, EffectKind, Error, Job, Outcome, Phase, Plan, Progress,
    Request, Siblings, Squash, Undo, WayOut, backing_format, find,
};

/// Bytes a second for the time said in a plan: that of a plain disk, so that both ways can be compared.
const RATE: u64 = 500 << 20;

/// Plans to take the layer out of its chain.
pub(super) fn plan(plan: &mut Plan, layer: &Path, direction: Option<Direction>) {
    let context = plan.context().clone();
    plan.title = format!("Squash {}", name(layer));
    let node = match find::named(&context, layer) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse(sentence),
    };
    if context.forest.is_leaf(node) {
        let mut ways_out = vec![WayOut {
            label: format!(
                "discard {}: what it holds goes to the trash with it",
                name(layer)
            ),
            request: Request::discard(vec![node.path.clone()]),
        }];
        if node.backing.is_some() {
            ways_out.insert(
                0,
                WayOut {
                    label: format!("commit {} into what it is built on", name(layer)),
                    request: down(&node.path),
                },
            );
        }
        return plan.refuse_but(
            format!(
                "nothing is built on {}: no other image shows what it holds",
                shown(&node.path)
            ),
            ways_out,
        );
    }
    let mut downward = None;
    if direction != Some(Direction::Up) {
        downward = Some(super::plan(&context, &down(&node.path)));
    }
    let mut upward = None;
    if direction != Some(Direction::Down) {
        let mut up = Plan::empty(plan.request.clone(), &context);
        plan_up(&mut up, node);
        up.settle();
        upward = Some(up);
    }
    let (chosen, other) = match (downward, upward) {
        (Some(down), Some(up)) => {
            let up_is_better =
                up.refusals.is_empty() && (!down.refusals.is_empty() || up.copies < down.copies);
            if up_is_better {
                ((up, Direction::Up), Some(down))
            } else {
                ((down, Direction::Down), Some(up))
            }
        }
        (Some(down), None) => ((down, Direction::Down), None),
        (None, Some(up)) => ((up, Direction::Up), None),
        (None, None) => return,
    };
    let (chosen, direction) = chosen;
    plan.title = match direction {
        Direction::Down => format!("Squash {} down into what it is built on", name(layer)),
        Direction::Up => format!("Squash {} up into what is built on it", name(layer)),
    };
    adopt(plan, chosen);
    // What is asked again after an interruption means the same then.
    plan.request = Request::Squash(Squash {
        layer: node.path.clone(),
        direction: Some(direction),
    });
    plan.note(format!("{}: {}", direction.word(), cost(plan)));
    if let Some(other) = other {
        let word = direction.other().word();
        match other.refusals.first() {
            Some(refusal) => plan.note(format!("{word}: not possible, {}", refusal.text)),
            None => plan.note(format!("{word} instead: {}", cost(&other))),
        }
    }
    if let Some(facts) = node.facts().filter(|facts| facts.snapshots > 0) {
        let snapshots = usize::try_from(facts.snapshots).unwrap_or(usize::MAX);
        plan.warn(format!(
            "{} has {}, which go to the trash with it",
            name(layer),
            count(snapshots, "internal snapshot")
        ));
    }
}

fn down(layer: &Path) -> Request {
    Request::Commit(Commit {
        overlay: layer.to_path_buf(),
        into: None,
        layer: CommittedLayer::Trash,
        siblings: Siblings::Preserve,
        keep_old: None,
    })
}

/// `copies at most 1 GiB into 3 images, some 2 s at 500 MiB/s`.
fn cost(plan: &Plan) -> String {
    let written = plan
        .effects
        .iter()
        .filter(|effect| matches!(effect.kind, EffectKind::Writes | EffectKind::Preserves));
    let mut files: Vec<&PathBuf> = written.map(|effect| &effect.path).collect();
    files.sort();
    files.dedup();
    format!(
        "copies at most {} into {}, some {} s at {}/s",
        size(plan.copies),
        count(files.len(), "image"),
        plan.copies.div_ceil(RATE),
        size(RATE)
    )
}

/// Takes over what another plan would do.
fn adopt(plan: &mut Plan, other: Plan) {
    plan.effects = other.effects;
    plan.keeps = other.keeps;
    plan.notes = other.notes;
    plan.refusals = other.refusals;
    plan.copies = other.copies;
    plan.frees = other.frees;
    plan.space = other.space;
    plan.undo = other.undo;
    plan.commands = other.commands;
    plan.pins = other.pins;
    plan.job = other.job;
}

fn plan_up(plan: &mut Plan, node: &Node) {
    let context = plan.context().clone();
    let (host, forest) = (context.host.as_ref(), context.forest.as_ref());
    let base = match (&node.backing, node.parent.and_then(|id| forest.get(id))) {
        (None, _) => None,
        (Some(_), Some(base)) => match backing_format::recorded(plan, node, base) {
            Some(format) => Some((base, format)),
            None => return,
        },
        (Some(_), None) => {
            return plan.refuse(format!(
                "what {} is built on is not known",
                shown(&node.path)
            ));
        }
    };
    let mut members = Members::default();
    let (mut moves, mut children) = (Vec::new(), Vec::new());
    for child in node.children.iter().filter_map(|id| forest.get(*id)) {
        let wish = reroot::Wish {
            node: child,
            base: base.as_ref().map(|(base, format)| (*base, format)),
            style: None,
        };
        let Some(planned) = reroot::plan(plan, &mut members, wish) else {
            return;
        };
        children.push(child);
        moves.push(planned);
    }
    let planned: Vec<_> = children
        .into_iter()
        .zip(moves.iter().map(|planned| planned.base.as_ref()))
        .collect();
    reroot::say_commands(plan, &planned);
    let bytes = node.size_on_disk().unwrap_or(0);
    refuse_foreign(plan, &node.path);
    plan.effect(
        EffectKind::Trashes,
        &node.path,
        Some(bytes),
        format!("{}, nothing is built on it then", size(bytes)),
    );
    plan.frees = bytes;
    let below = forest.chain(node.id).into_iter().skip(1);
    reroot::say_what_is_read(plan, below.filter_map(|id| forest.get(id)));
    members.write(host, &node.path, &Format::Qcow2);
    members.secure(plan);
    plan.undo = Undo::Impossible(format!(
        "{} can be restored from the trash, but nothing is built on it any more",
        name(&node.path)
    ));
    plan.job = Some(Arc::new(Up {
        layer: node.path.clone(),
        layer_bytes: bytes,
        moves,
        members,
    }));
}

#[derive(Debug)]
struct Up {
    layer: PathBuf,
    layer_bytes: u64,
    moves: Vec<Move>,
    members: Members,
}

impl Job for Up {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let locks = self.members.lock(plan)?;
        let host = &Held::new(host, &locks);
        let item = Item {
            path: self.layer.clone(),
            why: "squashed into what was built on it".to_owned(),
            bytes: self.layer_bytes,
            step: 0,
        };
        // A folder that takes no trash is found out before anything is written.
        let state_dir = plan.context().state_dir.as_deref();
        let batch = Batch::prepare(plan.host(), state_dir, "squash", vec![item])?;
        progress.enter(Phase::Copy, self.moves.iter().map(|one| one.bytes).sum());
        for one in &self.moves {
            if let Err(error) = one.copy(host, progress) {
                batch.give_up();
                return Err(before_the_switch(&one.image, &error));
            }
        }
        progress.enter(Phase::Switch, 0);
        for one in &self.moves {
            if let Err(error) = one.switch(host) {
                batch.give_up();
                return Err(before_the_switch(&one.image, &error));
            }
        }
        progress.enter(Phase::CleanUp, 0);
        let (entry, remarks) = (batch.name().to_owned(), batch.remarks().to_vec());
        let mut touched: Vec<PathBuf> = self.moves.iter().map(|one| one.image.clone()).collect();
        // Nothing needs it any more: it goes whatever was asked meanwhile.
        touched.extend(batch.carry_out(&Progress::new())?);
        Ok(Outcome {
            summary: format!(
                "squashed {} up into {}; it is in the trash as {entry}",
                shown(&self.layer),
                count(self.moves.len(), "image")
            ),
            touched,
            undo: None,
            remarks,
        })
    }
}
