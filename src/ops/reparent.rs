//! What rebasing, flattening in place and squashing upwards have in common: an image is going to be
//! built on another one (or on nothing) and shows what it shows, since it receives first what it would
//! lose. Which image, and on what, is decided by those.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::forest::{Content, Forest, Node};
use crate::host::{Access, Host, printable};
use crate::image::{
    self, BackingChange, BackingSwitch, BackingView, Chain, CompareBy, ErrorKind, Format,
    ImageFile, Keys, Layer, Loss, NoProgress, ProgressSink, Stores, Views, dedupe, preserve_views,
    snapshot_views, view_loss,
};
use crate::units::{count, size};

use super::framework::backing_name::leading_to;
use super::framework::eligibility::{
    chain_below, format_of, is_readable, refuse_corrupt, refuse_foreign_data,
    refuse_receiver_elsewhere, refuse_unfit,
};
use super::framework::files_to_lock::FilesToLock;
use super::framework::format::{command, listed, name, shown};
use super::framework::locked_host::LockedHost;
use super::framework::locks::Locks;
use super::framework::secrecy::warn_of_plain_copies;
use super::framework::{space, unlock};
use super::{
    BackingStyle, EffectKind, Error, NoteKind, Phase, Plan, Progress, RefusalKind, Request, Undo,
};

/// What an image is going to be built on.
#[derive(Debug, Clone)]
pub(super) struct NewBase {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    /// The name by which the image will know it.
    pub(super) recorded: OsString,
}

/// One image that is going to be built on something else.
#[derive(Debug, Clone)]
pub(super) struct Move {
    pub(super) image: PathBuf,
    /// None: on nothing.
    pub(super) base: Option<NewBase>,
    /// Bytes copied at most, for the progress.
    pub(super) bytes: u64,
    /// How they are stored.
    pub(super) stores: Stores,
    keys: Keys,
}

/// What is asked of one image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reparenting<'f> {
    pub(super) node: &'f Node,
    /// None: on nothing.
    pub(super) base: Option<(&'f Node, &'f Format)>,
    pub(super) style: Option<BackingStyle>,
}

/// Plans one of them: says what happens to the image and to those that are read, and what is known of
/// the room it needs.
pub(super) fn plan(
    plan: &mut Plan,
    files_to_lock: &mut FilesToLock,
    asked: Reparenting<'_>,
) -> Option<Move> {
    let context = plan.context().clone();
    let (host, forest) = (context.host.as_ref(), context.forest.as_ref());
    let node = asked.node;
    let path = &node.path;
    refuse_unfit(plan, node, "built on another image");
    if plan.refusals.is_empty() && !matches!(node.content, Content::Qcow2(_)) {
        plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{} is a raw image: only qcow2 images are built on others",
                shown(path)
            ),
        );
    }
    let mut read = chain_below(plan, forest, node)?;
    if let Some((base, _)) = asked.base {
        if base.id == node.id || forest.descendants(node.id).contains(&base.id) {
            plan.refuse(
                RefusalKind::Loop,
                format!(
                    "{} is built on {} itself: the links would run in a circle",
                    shown(&base.path),
                    name(path)
                ),
            );
            return None;
        }
        if !is_readable(plan, base) {
            return None;
        }
        read.push(base);
        read.extend(chain_below(plan, forest, base)?);
    }
    refuse_foreign_data(
        plan,
        std::iter::once(node.id).chain(read.iter().map(|node| node.id)),
    );
    if !plan.refusals.is_empty() {
        return None;
    }
    // Everything that is read or written is opened before anything is planned on it.
    let base_id = asked.base.map(|(base, _)| base.id);
    for top in std::iter::once(node.id).chain(base_id) {
        if let Err(error) = unlock::unlock_chain(&context, top) {
            plan.refuse_error(&error);
            return None;
        }
    }
    let open: Vec<String> = (!node.is_encrypted())
        .then(|| name(path))
        .into_iter()
        .collect();
    warn_of_plain_copies(plan, read.iter().copied(), &open);
    let base = match asked.base {
        None => None,
        Some((base, format)) => {
            let recorded =
                leading_to(&context, node, &base.path, asked.style).and_then(|recorded| {
                    ImageFile::open(host, path, Access::Read)
                        .and_then(|file| image::may_relink(&file, &recorded, format))
                        .map_err(|error| error.kind.to_string())?;
                    Ok(recorded)
                });
            match recorded {
                Ok(recorded) => Some(NewBase {
                    path: base.path.clone(),
                    format: format.clone(),
                    recorded,
                }),
                Err(why) => {
                    plan.refuse(
                        RefusalKind::BackingName,
                        format!(
                            "{} cannot be built on {}: {why}",
                            shown(path),
                            shown(&base.path)
                        ),
                    );
                    return None;
                }
            }
        }
    };
    let mut planned = Move {
        image: path.clone(),
        base,
        bytes: 0,
        stores: Stores::Plain,
        keys: context.keys.clone(),
    };
    refuse_corrupt(plan, path);
    let analysis = match planned.analysis(host) {
        Ok(analysis) => analysis,
        Err(error) => {
            plan.refuse_unsaid(&error, "this");
            return None;
        }
    };
    planned.bytes = analysis.loss.certain.saturating_add(analysis.loss.possible);
    describe(plan, node, &planned, &analysis);
    files_to_lock.write(host, path, &Format::Qcow2);
    for below in read {
        files_to_lock.read(host, &below.path, &format_of(below));
    }
    Some(planned)
}

/// What an image receives, and how many internal snapshots it has.
struct Analysis {
    loss: Loss,
    snapshots: usize,
}

fn describe(plan: &mut Plan, node: &Node, planned: &Move, analysis: &Analysis) {
    let path = &node.path;
    let loss = analysis.loss;
    if loss.total() > 0 {
        refuse_receiver_elsewhere(plan, path);
        plan.effect(
            EffectKind::Preserves,
            path,
            Some(planned.bytes),
            format!("first receives {}", what_is_received(loss)),
        );
    }
    let text = match &planned.base {
        Some(base) => format!(
            "built on {}, format {}, then",
            printable(&base.recorded),
            base.format
        ),
        None => "built on nothing then".to_owned(),
    };
    plan.effect(EffectKind::Relinks, path, None, text);
    let mut kept = format!("what {} shows", name(path));
    if analysis.snapshots > 0 {
        kept.push_str(&format!(
            ", what its {} show{}",
            count(analysis.snapshots, "internal snapshot"),
            if analysis.snapshots == 1 { "s" } else { "" }
        ));
    }
    match node.children.len() {
        0 => {}
        _ => kept.push_str(", and what is built on it shows"),
    }
    plan.keeps.push(kept);
    plan.copies = plan.copies.saturating_add(planned.bytes);
    need_room(plan, path, loss);
}

/// Counts what has to be copied against the free space; what may turn out to be the same is only
/// warned about.
fn need_room(plan: &mut Plan, path: &Path, loss: Loss) {
    space::may_need_growth(plan, path, loss.growth, loss.possible_growth);
    let more = loss.possible_growth.total();
    let short = plan
        .space
        .iter()
        .any(|need| need.needed.saturating_add(need.possible) > need.available);
    if more > 0 && short && plan.refusals.is_empty() {
        plan.warn(NoteKind::Space, format!(
            "there may be too little room: up to {} more are needed if nothing is the same. Should it run out, \
             {} still shows what it shows, on what it is built on now",
            size(more),
            name(path)
        ));
    }
}

/// `1 GiB, and up to 2 GiB where the bytes differ`.
pub(super) fn what_is_received(loss: Loss) -> String {
    let mut parts = Vec::new();
    if loss.certain > 0 {
        parts.push(size(loss.certain));
    }
    if loss.possible > 0 {
        parts.push(format!(
            "up to {} where the bytes differ",
            size(loss.possible)
        ));
    }
    if loss.zeros > 0 {
        parts.push(format!("word that {} are zero", size(loss.zeros)));
    }
    parts.join(", and ")
}

/// Says how qemu-img does the same to these, or why it cannot.
pub(super) fn say_commands(plan: &mut Plan, moves: &[(&Node, Option<&NewBase>)]) {
    let holds = |node: &&Node| node.info().is_some_and(|info| info.snapshots > 0);
    let holders = moves.iter().map(|(node, _)| *node).filter(holds);
    let holders: Vec<String> = holders.map(|node| name(&node.path)).collect();
    if !holders.is_empty() {
        return plan.beyond_qemu_img(&format!(
            "`qemu-img rebase` would change what the internal snapshots of {} show",
            listed(&holders, 5)
        ));
    }
    let commands = moves
        .iter()
        .map(|(node, base)| rebase_command(&node.path, *base));
    plan.commands.extend(commands);
}

/// The same with qemu-img.
fn rebase_command(image: &Path, base: Option<&NewBase>) -> String {
    let mut words: Vec<OsString> = vec!["qemu-img".into(), "rebase".into()];
    match base {
        Some(base) => words.extend([
            "-F".into(),
            base.format.name().into(),
            "-b".into(),
            base.recorded.clone(),
        ]),
        None => words.extend(["-b".into(), "".into()]),
    }
    words.push(image.into());
    command(&words)
}

/// The request that takes it back: to what it is built on now, or to nothing where it is built on
/// nothing.
pub(super) fn undo_request(forest: &Forest, node: &Node) -> Option<Request> {
    if node.backing.is_some() {
        return Request::rebase_back(forest, node);
    }
    Some(Request::flatten(&node.path))
}

/// How it could be taken back, by that request.
fn undo(node: &Node, request: Option<&Request>) -> Undo {
    match (request, &node.backing) {
        (Some(_), Some(backing)) => Undo::Possible(format!(
            "rebase it to {} again, giving up what that shows as well",
            printable(backing.name())
        )),
        (_, None) => Undo::Possible(format!("flatten {} in place", name(&node.path))),
        _ => Undo::Impossible(
            "what the header said before lacks the format, and would not be written again"
                .to_owned(),
        ),
    }
}

/// What to say where the header was not switched.
pub(super) fn before_the_switch(image: &Path, error: image::Error) -> Error {
    let shown = shown(image);
    if matches!(error.kind, ErrorKind::Cancelled) {
        return Error::cancelled(format!(
            "stopped: {shown} is built on what it was built on and shows what it showed; what was copied into it \
             stays, and the same command goes on from there"
        ));
    }
    Error::of_image(
        format!("{error}. {shown} still shows what it showed; once that is mended, do it again"),
        error,
    )
}

impl Move {
    /// Everything: locks are taken, files compared with what they were, what would be lost is copied, and
    /// the header is switched. The locks are held until what is given back is dropped.
    pub(super) fn execute(
        &self,
        files_to_lock: &FilesToLock,
        plan: &Plan,
        progress: &Progress,
    ) -> Result<Locks, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let locks = files_to_lock.lock(plan)?;
        let host = &LockedHost::new(host, &locks);
        progress.enter(Phase::Copy, self.bytes);
        self.copy(host, progress)
            .and_then(|()| {
                progress.enter(Phase::Switch, 0);
                self.switch(host)
            })
            .map_err(|error| before_the_switch(&self.image, error))?;
        Ok(locks)
    }

    /// What the plan says of taking it back, and the same with qemu-img.
    pub(super) fn say_the_rest(&self, plan: &mut Plan, files_to_lock: &FilesToLock, node: &Node) {
        files_to_lock.secure(plan);
        plan.roll_back = undo_request(&plan.context().forest, node);
        plan.undo = undo(node, plan.roll_back.as_ref());
        say_commands(plan, &[(node, self.base.as_ref())]);
        if self.stores == Stores::Compressed {
            for line in &mut plan.commands {
                *line = line.replacen("rebase ", "rebase -c ", 1);
            }
        }
    }

    /// What was done, in a sentence: `a.qcow2 is built on b.qcow2 now, and shows what it showed`.
    pub(super) fn summary(&self) -> String {
        let image = shown(&self.image);
        let on = match &self.base {
            Some(base) => format!("is built on {} now", shown(&base.path)),
            None => "stands by itself now".to_owned(),
        };
        format!("{image} {on}, and shows what it showed")
    }

    /// The image over what it is built on now, and what it is going to be built on.
    fn backing_views(&self, host: &dyn Host) -> image::Result<(Chain, Chain)> {
        let chain = Chain::open(host, &self.image, Some(&Format::Qcow2), &|_| true)?;
        let new = match &self.base {
            Some(base) => Chain::open(host, &base.path, Some(&base.format), &|_| true)?,
            None => Chain::new(Vec::new()),
        };
        // Opened when the plan was made, so that nothing has to be derived now.
        chain.unlock(&self.keys, &NoProgress)?;
        new.unlock(&self.keys, &NoProgress)?;
        Ok((chain, new))
    }

    fn analysis(&self, host: &dyn Host) -> image::Result<Analysis> {
        let (chain, new) = self.backing_views(host)?;
        let (old, new) = (BackingView::of(chain.below()), BackingView::of(new));
        let change = BackingChange {
            old: &old,
            new: &new,
            judge: CompareBy::Bytes,
            keys: &self.keys,
        };
        let Some(top) = chain.layers().first() else {
            return Ok(Analysis {
                loss: Loss::default(),
                snapshots: 0,
            });
        };
        if let Layer::Qcow2(image) = &**top {
            image::require_sound(image.file(), &NoProgress)?;
        }
        let mut loss = view_loss(top, change)?;
        let snapshots = snapshot_views(top)?;
        for (_, _, view) in &snapshots {
            loss = loss.and(view_loss(view, change)?);
        }
        Ok(Analysis {
            loss,
            snapshots: snapshots.len(),
        })
    }

    /// Copies into the image what it would lose, all of it on stable storage.
    pub(super) fn copy(&self, host: &dyn Host, pace: &dyn ProgressSink) -> image::Result<()> {
        let below = BackingSwitch {
            backing_views: &|| {
                let (chain, new) = self.backing_views(host)?;
                Ok((BackingView::of(chain.below()), BackingView::of(new)))
            },
            judge: CompareBy::Bytes,
            keys: &self.keys,
            stores: self.stores,
        };
        preserve_views(host, &self.image, Views::All, below, pace)
    }

    /// The header names the new base: one write, after which nothing needs the old one.
    pub(super) fn switch(&self, host: &dyn Host) -> image::Result<()> {
        let file = ImageFile::open(host, &self.image, Access::ReadWrite)?;
        match &self.base {
            Some(base) => image::relink(&file, &base.recorded, &base.format),
            None => image::unlink(&file),
        }
    }

    /// Once the header names the new base: gives up what that shows as well.
    pub(super) fn dedupe(&self, host: &dyn Host, pace: &dyn ProgressSink) -> image::Result<u64> {
        let (chain, _) = self.backing_views(host)?;
        dedupe(host, &self.image, &chain.below(), &self.keys, pace)
    }
}

/// Where images are read from, for the plan.
pub(super) fn say_what_is_read<'f>(plan: &mut Plan, nodes: impl IntoIterator<Item = &'f Node>) {
    for node in nodes {
        if !plan.effects.iter().any(|effect| effect.path == node.path) {
            plan.effect(EffectKind::Reads, &node.path, None, "");
        }
    }
}
