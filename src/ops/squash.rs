//! Squash: one layer goes, and every other image shows what it showed. Its content is merged down into
//! what it is built on, with others there kept intact, or up into each image built on it; whichever
//! copies less, unless the person says which.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::Node;
use crate::image::Format;
use crate::units::{count, size};

use super::framework::files_to_lock::FilesToLock;
use super::framework::format::{name, shown};
use super::framework::lifecycle::planned;
use super::framework::locked_host::LockedHost;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::trash::{Batch, TrashItem, refuse_foreign};
use super::framework::{backing_format, resolve};
use super::reparent::{Move, before_the_switch};
use super::{
    CommandLine, Commit, CommittedLayer, EffectKind, Error, Note, NoteKind, Outcome, Phase, Plan,
    Progress, Rebase, RefusalKind, Request, Siblings, Undo, WayOut, reparent,
};

/// Take one layer out of its chain; every other image shows what it showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Squash {
    /// The layer, which goes to the trash.
    pub layer: PathBuf,
    /// Where its content goes; none for whichever copies less.
    pub direction: Option<Direction>,
}

/// Where the content of a squashed layer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Into what it is built on; others there are kept intact.
    Down,
    /// Into each image that is built on it.
    Up,
}

impl Direction {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Down => Self::Up,
            Self::Up => Self::Down,
        }
    }
}

impl Operation for Squash {
    fn name(&self) -> &'static str {
        "squash"
    }

    fn verb(&self) -> &'static str {
        "Squash"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.layer));
    }

    fn copies(&self) -> Vec<&Path> {
        vec![&self.layer]
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(
            CommandLine::new(&["squash"])
                .path(&self.layer)
                .option("--direction", self.direction.map(Direction::word)),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_squash(plan, &self.layer, self.direction)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let layer = &self.layer;
        if half.is_in_trash(layer) {
            return Way::Nothing(format!("{} is in the trash", name(layer)));
        }
        if let Some(sentence) = half.unknown() {
            return Way::Impossible(sentence);
        }
        let node = resolve::named(half.context, layer);
        if node.is_ok_and(|node| node.children.is_empty()) {
            // Nobody reads it any more: only its way to the trash is left.
            return Way::Ask(Request::discard(vec![layer.clone()]));
        }
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        self.direction == Some(Direction::Up)
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        if let Some(way) = half.planned_way_back() {
            return way;
        }
        match self.direction {
            Some(Direction::Up) => unsquash(half, &self.layer),
            Some(Direction::Down) | None => Way::Impossible(format!(
                "what is merged down is not taken out of there again. Every image but {} shows what it showed, \
         and the rest can be finished",
                name(&self.layer)
            )),
        }
    }
}

/// Bytes a second for the time said in a plan: that of a plain disk, so that both ways can be compared.
const RATE: u64 = 500 << 20;

/// What was built on the layer is built on it again. What each received of it stays where it is, which
/// shows the same.
fn unsquash(half: &Half<'_>, layer: &Path) -> Way {
    if !half.is_there(layer) {
        let batches = half.batches(&[layer.to_path_buf()], Some("squash"));
        return match batches.is_empty() {
            true => Way::Impossible(format!(
                "{} is neither at its place nor in the trash",
                shown(layer)
            )),
            false => Way::But(
                Request::restore(batches),
                Note::new(
                    NoteKind::Interrupted,
                    format!(
                        "it was squashed as a whole: {} comes back from the trash, and nothing is built on it",
                        name(layer)
                    ),
                ),
            ),
        };
    }
    let node = match resolve::named(half.context, layer) {
        Ok(node) => node,
        Err(reason) => return Way::Impossible(reason.text),
    };
    if let Some(sentence) = half.unknown() {
        return Way::Impossible(sentence);
    }
    let has_moved = |path: &&PathBuf| {
        resolve::named(half.context, path).is_ok_and(|image| {
            image.id != node.id
                && image.info().is_some()
                && image.parent == node.parent
                && image.backing.is_some() == node.backing.is_some()
        })
    };
    // The plan spoke of those that were built on it, and of nobody beside it.
    let mut moved: Vec<&PathBuf> = half.entry.touched.iter().filter(has_moved).collect();
    moved.dedup();
    if moved.is_empty() {
        return Way::Nothing(format!(
            "what was built on {} is built on it still",
            name(layer)
        ));
    }
    // What was built on it recorded what it looks like: a squash wants that.
    let format = backing_format::seen(node);
    let back = moved.into_iter().map(|image| {
        Request::Rebase(Rebase {
            image: image.clone(),
            to: layer.to_path_buf(),
            format: format.clone(),
            style: None,
            dedupe: false,
            compress: false,
        })
    });
    Way::Each(back.collect())
}

/// Plans to take the layer out of its chain.
fn plan_squash(plan: &mut Plan, layer: &Path, direction: Option<Direction>) {
    let context = plan.context().clone();
    plan.title = format!("Squash {}", name(layer));
    let node = match resolve::named(&context, layer) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
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
            RefusalKind::NotInChain,
            format!(
                "nothing is built on {}: no other image shows what it holds",
                shown(&node.path)
            ),
            ways_out,
        );
    }
    // What is asked again after an interruption means the same then.
    let squash = |direction| {
        Request::Squash(Squash {
            layer: node.path.clone(),
            direction: Some(direction),
        })
    };
    let mut downward = None;
    if direction != Some(Direction::Up) {
        let mut down = planned(&context, &down(&node.path));
        down.request = squash(Direction::Down);
        down.asked = down.request.clone();
        downward = Some(down.judged_within(plan));
    }
    let mut upward = None;
    if direction != Some(Direction::Down) {
        let mut up = Plan::empty(squash(Direction::Up), &context);
        plan_up(&mut up, node);
        upward = Some(up.judged_within(plan));
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
    *plan = chosen;
    plan.title = match direction {
        Direction::Down => format!("Squash {} down into what it is built on", name(layer)),
        Direction::Up => format!("Squash {} up into what is built on it", name(layer)),
    };
    plan.note(
        NoteKind::Manner,
        format!("{}: {}", direction.word(), cost(plan)),
    );
    if let Some(other) = other {
        let word = direction.other().word();
        match other.refusals.first() {
            Some(refusal) => plan.note(
                NoteKind::Manner,
                format!("{word}: not possible, {}", refusal.text),
            ),
            None => plan.note(
                NoteKind::Manner,
                format!("{word} instead: {}", cost(&other)),
            ),
        }
    }
    if let Some(info) = node.info().filter(|info| info.snapshots > 0) {
        let snapshots = usize::try_from(info.snapshots).unwrap_or(usize::MAX);
        plan.warn(
            NoteKind::Snapshots,
            format!(
                "{} has {}, which go to the trash with it",
                name(layer),
                count(snapshots, "internal snapshot")
            ),
        );
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
            return plan.refuse(
                RefusalKind::Unreadable,
                format!("what {} is built on is not known", shown(&node.path)),
            );
        }
    };
    let mut files_to_lock = FilesToLock::default();
    let (mut moves, mut children) = (Vec::new(), Vec::new());
    for child in node.children.iter().filter_map(|id| forest.get(*id)) {
        let asked = reparent::Reparenting {
            node: child,
            base: base.as_ref().map(|(base, format)| (*base, format)),
            style: None,
        };
        let Some(planned) = reparent::plan(plan, &mut files_to_lock, asked) else {
            return;
        };
        children.push(child);
        moves.push(planned);
    }
    let planned: Vec<_> = children
        .into_iter()
        .zip(moves.iter().map(|planned| planned.base.as_ref()))
        .collect();
    reparent::say_commands(plan, &planned);
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
    reparent::say_what_is_read(plan, below.filter_map(|id| forest.get(id)));
    files_to_lock.write(host, &node.path, &Format::Qcow2);
    files_to_lock.secure(plan);
    plan.undo = Undo::Impossible(format!(
        "{} can be restored from the trash, but nothing is built on it any more",
        name(&node.path)
    ));
    plan.job = Some(Arc::new(Up {
        layer: node.path.clone(),
        layer_bytes: bytes,
        moves,
        files_to_lock,
    }));
}

#[derive(Debug)]
struct Up {
    layer: PathBuf,
    layer_bytes: u64,
    moves: Vec<Move>,
    files_to_lock: FilesToLock,
}

impl Job for Up {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let locks = self.files_to_lock.lock(plan)?;
        let host = &LockedHost::new(host, &locks);
        let item = TrashItem {
            path: self.layer.clone(),
            why: "squashed into what was built on it".to_owned(),
            bytes: self.layer_bytes,
            step: 0,
            file: None,
        };
        // A folder that takes no trash is found out before anything is written.
        let state_dir = plan.context().state_dir.as_deref();
        let batch = Batch::prepare(plan.host(), state_dir, "squash", vec![item])?;
        progress.enter(Phase::Copy, self.moves.iter().map(|one| one.bytes).sum());
        for one in &self.moves {
            if let Err(error) = one.copy(host, progress) {
                batch.give_up();
                return Err(before_the_switch(&one.image, error));
            }
        }
        progress.enter(Phase::Switch, 0);
        for one in &self.moves {
            if let Err(error) = one.switch(host) {
                batch.give_up();
                return Err(before_the_switch(&one.image, error));
            }
        }
        progress.enter(Phase::CleanUp, 0);
        let (entry, remarks) = (batch.name().to_owned(), batch.remarks().to_vec());
        let mut touched: Vec<PathBuf> = self.moves.iter().map(|one| one.image.clone()).collect();
        // Nothing needs it any more: it goes whatever was asked meanwhile.
        touched.extend(batch.execute(&Progress::new())?);
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
