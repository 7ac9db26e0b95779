//! Other ways in which the same may be asked for while its plan is shown: a key each, which plans the variant in
//! its place.

use std::path::{Path, PathBuf};

use crate::forest::{Flags, Forest};
use crate::ops::{Commit, CommittedLayer, Direction, Request, Squash};
use crate::tui::forms::name_beside;

use super::action::Action;

/// Another way to ask for the same.
pub(super) struct Variant {
    /// What the key that plans it means.
    pub action: Action,
    /// What it is, in a few words.
    pub hint: &'static str,
    /// What is asked then.
    pub request: Request,
}

/// The variants of a request, in the order of their hints.
pub(super) fn variants(forest: &Forest, request: &Request) -> Vec<Variant> {
    let mut variants = of_kind(forest, request);
    variants.extend(by_machine(forest, request));
    variants
}

/// By the machine that has the image open, where one has.
fn by_machine(forest: &Forest, request: &Request) -> Option<Variant> {
    let request = request.live()?;
    let image = match &request {
        Request::LiveBranch(branch) => &branch.disks.first()?.leaf,
        Request::LiveCommit(commit) => &commit.overlay,
        Request::LiveFlatten(flatten) => &flatten.image,
        Request::LiveMove(one) => &one.image,
        _ => return None,
    };
    let node = forest.by_path(image)?;
    forest
        .flags(node.id)
        .contains(Flags::IN_USE)
        .then_some(Variant {
            action: Action::Live,
            hint: "by the machine",
            request,
        })
}

fn of_kind(forest: &Forest, request: &Request) -> Vec<Variant> {
    match request {
        Request::Commit(commit) => of_commit(forest, commit),
        Request::Squash(squash) => vec![of_squash(squash)],
        Request::Branch(_)
        | Request::BranchUnchecked(_)
        | Request::Create(_)
        | Request::CreateRaw(_)
        | Request::Convert(_)
        | Request::Relink(_)
        | Request::Unlink(_)
        | Request::PutBackLink(_)
        | Request::RelinkSeveral(_)
        | Request::Resize(_)
        | Request::Rebase(_)
        | Request::Flatten(_)
        | Request::Trim(_)
        | Request::Move(_)
        | Request::Amend(_)
        | Request::Protect(_)
        | Request::Permit(_)
        | Request::Annotate(_)
        | Request::AnnotateSeveral(_)
        | Request::KeySlot(_)
        | Request::Bitmap(_)
        | Request::Clone(_)
        | Request::Export(_)
        | Request::Import(_)
        | Request::Receive(_)
        | Request::Snapshot(_)
        | Request::Repair(_)
        | Request::Discard(_)
        | Request::LiveBranch(_)
        | Request::LiveCommit(_)
        | Request::ActiveCommit(_)
        | Request::LiveFlatten(_)
        | Request::LiveMove(_)
        | Request::Uncommit(_)
        | Request::Restore(_)
        | Request::Revert(_)
        | Request::Undo(_)
        | Request::Redo(_)
        | Request::Recover(_)
        | Request::RemoveLeftovers(_)
        | Request::EmptyTrash(_)
        | Request::Power(_)
        | Request::BranchMachine(_)
        | Request::RevertMachine(_)
        | Request::CloneMachine(_)
        | Request::TryImage(_)
        | Request::RemoveMachine(_)
        | Request::Redefine(_)
        | Request::Redefining(_)
        | Request::DespiteMachines(_) => Vec::new(),
    }
}

/// What happens to the committed layer, the image committed into, and whether what the base shows is put aside.
fn of_commit(forest: &Forest, commit: &Commit) -> Vec<Variant> {
    let (layer, hint) = match commit.layer {
        CommittedLayer::Trash => (CommittedLayer::Keep, "keep the layer"),
        CommittedLayer::Keep => (CommittedLayer::Trash, "layer to the trash"),
    };
    let mut variants = vec![Variant {
        action: Action::ToggleLayer,
        hint,
        request: Request::Commit(Commit {
            layer,
            ..commit.clone()
        }),
    }];
    variants.extend(into_next_below(forest, commit));
    let (keep_old, hint) = match commit.keep_old {
        Some(_) => (None, "no old base"),
        None => {
            let name = old_name(forest, &commit.overlay, commit.into.as_deref());
            (name, "keep the old base too")
        }
    };
    variants.push(Variant {
        action: Action::KeepOld,
        hint,
        request: Request::Commit(Commit {
            keep_old,
            ..commit.clone()
        }),
    });
    variants
}

/// Into the next image below; with one image below there is no other.
fn into_next_below(forest: &Forest, commit: &Commit) -> Option<Variant> {
    let Commit {
        overlay,
        into,
        keep_old,
        ..
    } = commit;
    let node = forest.by_path(overlay)?;
    if forest.chain(node.id).len() < 3 {
        return None;
    }
    let into = next_below(forest, overlay, into.as_deref());
    // It is named after the image whose content it keeps.
    let keep_old = keep_old
        .as_ref()
        .and_then(|_| old_name(forest, overlay, into.as_deref()));
    Some(Variant {
        action: Action::Into,
        hint: "into the next below",
        request: Request::Commit(Commit {
            into,
            keep_old,
            ..commit.clone()
        }),
    })
}

/// Where the layer goes.
fn of_squash(squash: &Squash) -> Variant {
    let (direction, hint) = match squash.direction {
        None => (Some(Direction::Down), "down"),
        Some(Direction::Down) => (Some(Direction::Up), "up"),
        Some(Direction::Up) => (None, "whichever is cheaper"),
    };
    Variant {
        action: Action::ToggleLayer,
        hint,
        request: Request::Squash(Squash {
            direction,
            ..squash.clone()
        }),
    }
}

/// The image below the one committed into; behind the root it begins again with what the overlay is
/// built on, which needs no name.
fn next_below(forest: &Forest, overlay: &Path, into: Option<&Path>) -> Option<PathBuf> {
    let chain = forest.chain(forest.by_path(overlay)?.id);
    let paths: Vec<&Path> = chain
        .iter()
        .filter_map(|id| Some(forest.get(*id)?.path.as_path()))
        .collect();
    let now = match into {
        Some(into) => paths.iter().position(|path| *path == into)?,
        None => 1,
    };
    paths.get(now + 1).map(|path| path.to_path_buf())
}

/// A free name for the overlay that keeps what the base shows now.
fn old_name(forest: &Forest, overlay: &Path, into: Option<&Path>) -> Option<PathBuf> {
    let base = match into {
        Some(into) => into,
        None => {
            let base = forest.by_path(overlay)?.parent?;
            forest.get(base)?.path.as_path()
        }
    };
    Some(base.with_file_name(name_beside(forest, base, "before")))
}
