//! Proof that an operation changed nobody else's content: what every image around shows, and each of its
//! internal snapshots, is digested before and after, and compared. Reads all of it twice.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::forest::{Content, Flags, Node, NodeId};
use crate::host::printable_bytes;
use crate::image::{self, Chain, Format, Layer, State, Unhurried, snapshot_view, snapshots};

use super::members::{format_of, lies_where_the_person_looked};
use super::words::{count, listed, shown};
use super::{EffectKind, Error, Phase, Plan, Progress};

/// Bytes read at a time.
const WINDOW: u64 = 1 << 20;

/// Bytes that are zero or are digested: how zeros are stored makes no difference.
const BLOCK: usize = 1 << 16;

/// What the images around showed before.
#[derive(Debug)]
pub(super) struct Proof {
    views: Vec<Shown>,
    /// Images whose content could not be read, or is being changed by somebody else.
    left_out: Vec<String>,
}

/// What one view showed.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    path: PathBuf,
    format: Format,
    /// The ID of an internal snapshot; none for what the guest sees now.
    snapshot: Option<Vec<u8>>,
    digest: [u8; 32],
}

impl Proof {
    /// Digests every image that stands in one tree with one that the plan touches, and whose content is
    /// not what the plan is about.
    ///
    /// # Errors
    /// Only when it was stopped.
    pub(super) fn take(plan: &Plan, progress: &Progress) -> Result<Self, Error> {
        progress.enter(Phase::Collect, 0);
        let mut proof = Self {
            views: Vec::new(),
            left_out: Vec::new(),
        };
        let context = plan.context();
        for id in around(plan) {
            let Some(node) = context.forest.get(id) else {
                continue;
            };
            let in_use = context.forest.flags(id).contains(Flags::IN_USE);
            let only_active = plan
                .effects
                .iter()
                .any(|effect| effect.kind == EffectKind::Drops && effect.path == node.path);
            match views_of(plan, node, only_active, progress) {
                Ok(views) if !in_use => proof.views.extend(views),
                _ if progress.is_cancelled() => {
                    return Err(Error::Cancelled(
                        "cancelled: nothing was changed".to_owned(),
                    ));
                }
                _ => proof.left_out.push(shown(&node.path)),
            }
        }
        Ok(proof)
    }

    /// Compares with what they show now, and says so.
    ///
    /// # Errors
    /// [`Error::Failed`] names the images that show something else.
    pub(super) fn compare(&self, plan: &Plan, progress: &Progress) -> Result<String, Error> {
        progress.enter(Phase::CleanUp, 0);
        let mut wrong = BTreeSet::new();
        for was in &self.views {
            let now = open(plan, &was.path, &was.format, was.snapshot.as_deref())
                .and_then(|chain| digest(&chain, progress));
            if progress.is_cancelled() {
                return Ok(
                    "the proof was stopped: what other images show was not compared".to_owned(),
                );
            }
            let what = match &was.snapshot {
                Some(id) => format!(
                    "the internal snapshot {} of {}",
                    printable_bytes(id),
                    shown(&was.path)
                ),
                None => shown(&was.path),
            };
            match now {
                Ok(now) if now == was.digest => {}
                Ok(_) => {
                    wrong.insert(format!("{what} shows something else than before"));
                }
                Err(error) => {
                    wrong.insert(format!("{what} cannot be read any more ({error})"));
                }
            }
        }
        if !wrong.is_empty() {
            let wrong: Vec<String> = wrong.into_iter().collect();
            return Err(Error::Failed(format!(
                "it is done, and it went wrong: {}. Please report this",
                listed(&wrong, 5)
            )));
        }
        let files: BTreeSet<&PathBuf> = self.views.iter().map(|view| &view.path).collect();
        let mut said = format!(
            "proven: {} that it was not about ({}) show what they showed, by SHA-256 of all their bytes",
            count(files.len(), "image"),
            count(self.views.len(), "view"),
        );
        if !self.left_out.is_empty() {
            said.push_str(&format!(
                "; not compared, since they are in use or cannot be read: {}",
                listed(&self.left_out, 5)
            ));
        }
        Ok(said)
    }
}

/// The images of the trees that the plan touches, but for those whose content it is about.
fn around(plan: &Plan) -> Vec<NodeId> {
    let forest = &plan.context().forest;
    let mut all = BTreeSet::new();
    let mut changes = BTreeSet::new();
    for effect in &plan.effects {
        let Some(node) = forest.by_path(&effect.path) else {
            continue;
        };
        let root = forest.chain(node.id).last().copied().unwrap_or(node.id);
        all.insert(root);
        all.extend(forest.descendants(root));
        if matches!(
            effect.kind,
            EffectKind::Writes
                | EffectKind::Breaks
                | EffectKind::Trashes
                | EffectKind::Restores
                | EffectKind::Deletes
                | EffectKind::Creates
        ) {
            changes.insert(node.id);
        }
    }
    all.difference(&changes)
        .copied()
        .filter(|id| {
            forest.get(*id).is_some_and(|node| {
                node.whereabouts.is_met()
                    && matches!(node.content, Content::Qcow2(_) | Content::Raw)
            })
        })
        .collect()
}

fn views_of(
    plan: &Plan,
    node: &Node,
    only_active: bool,
    progress: &Progress,
) -> image::Result<Vec<Shown>> {
    let format = format_of(node);
    let mut ids = vec![None];
    let chain = open(plan, &node.path, &format, None)?;
    if let (Some(Layer::Qcow2(top)), false) =
        (chain.layers().first().map(|layer| &**layer), only_active)
    {
        let found = snapshots(&node.path, &**top.file(), top.header())?;
        ids.extend(found.into_iter().map(|snapshot| Some(snapshot.id)));
    }
    ids.into_iter()
        .map(|snapshot| {
            let view = open(plan, &node.path, &format, snapshot.as_deref())?;
            Ok(Shown {
                path: node.path.clone(),
                format: format.clone(),
                snapshot,
                digest: digest(&view, progress)?,
            })
        })
        .collect()
}

/// The image with all it is built on, or one of its internal snapshots. Only images that the scan has met are
/// followed, and data files where the person looked.
fn open(
    plan: &Plan,
    path: &Path,
    format: &Format,
    snapshot: Option<&[u8]>,
) -> image::Result<Chain> {
    let (host, forest) = (plan.host(), &plan.context().forest);
    let may_follow = |name: &Path| {
        let id = host.stat(name).map(|stat| stat.id);
        let node = id.ok().and_then(|id| forest.by_file(id));
        match node.map(|node| node.whereabouts) {
            Some(whereabouts) => whereabouts.is_met(),
            None => host
                .canonical(name)
                .is_ok_and(|place| lies_where_the_person_looked(plan, path, &place)),
        }
    };
    let chain = Chain::open(host, path, Some(format), &may_follow)?;
    chain.unlock(&plan.context().keys, &Unhurried)?;
    let (Some(id), Some(Layer::Qcow2(top))) =
        (snapshot, chain.layers().first().map(|layer| &**layer))
    else {
        return Ok(chain);
    };
    let found = snapshots(path, &**top.file(), top.header())?;
    match found.iter().find(|snapshot| snapshot.id == id) {
        Some(snapshot) => snapshot_view(&chain, snapshot),
        None => {
            let text = format!(
                "has no snapshot with the ID {} any more",
                printable_bytes(id)
            );
            Err(image::Error::new(path, image::ErrorKind::Limit(text)))
        }
    }
}

/// Of the disk's length and every block that is not zero.
fn digest(chain: &Chain, progress: &Progress) -> image::Result<[u8; 32]> {
    let size = chain.virtual_size();
    let mut hasher = Sha256::new();
    hasher.update(size.to_le_bytes());
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < size {
        let run = chain.resolve(at, size)?.extent;
        let whole = run.end() - run.end() % WINDOW;
        if run.state == State::Zero && whole > at {
            at = whole;
            continue;
        }
        let end = (at + WINDOW).min(size);
        buffer.resize(usize::try_from(end - at).unwrap_or(0), 0);
        chain.read_at(&mut buffer, at)?;
        let mut block_at = at;
        for block in buffer.chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                hasher.update(block_at.to_le_bytes());
                hasher.update(block);
            }
            block_at += block.len() as u64;
        }
        at = end;
        if progress.advance(0).is_err() {
            let path = chain.layers().first().map_or(Path::new(""), |l| l.path());
            return Err(image::Error::new(path, image::ErrorKind::Stopped));
        }
    }
    Ok(hasher.finalize().into())
}
