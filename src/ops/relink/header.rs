//! What every change of a header by itself asks first, and what takes it back.

use std::path::Path;

use crate::forest::{BackingState, Forest, Node};
use crate::host::printable;
use crate::ops::framework::backing_name;
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::{Plan, PutBackLink, RefusalKind, Relink, Request, Undo, Unlink};

/// Whether the image's header can be changed.
pub(super) fn fit(plan: &mut Plan, node: &Node) -> bool {
    let path = shown(&node.path);
    let Some(info) = node.info() else {
        plan.refuse(
            RefusalKind::Unsupported,
            format!("{path} is no qcow2 image that can be read: only those name a backing file"),
        );
        return false;
    };
    if !info.unknown_features.is_empty() {
        let unknown = printable(info.unknown_features.join(", "));
        plan.refuse(RefusalKind::Unsupported, format!(
            "{path} needs features that are not known here ({unknown}): its header stays as it is"
        ));
        return false;
    }
    true
}

/// How the header gets back what it said.
pub(super) fn undo(plan: &Plan) -> Undo {
    match &plan.roll_back {
        Some(Request::Unlink(_)) => {
            Undo::Possible("make it one that is built on nothing again".to_owned())
        }
        Some(_) => Undo::Possible("relink it to what it named before".to_owned()),
        None => Undo::Impossible("nobody knows what the header said before".to_owned()),
    }
}

/// The request that records what is recorded now: a relink, where its base is there and has its format recorded,
/// so that the two are compared.
pub(super) fn back(forest: &Forest, node: &Node, image: &Path) -> Option<Request> {
    let Some(backing) = node.backing.as_ref() else {
        return Some(Request::Unlink(Unlink {
            image: image.to_path_buf(),
        }));
    };
    let is_there = matches!(backing.state, BackingState::Present(_));
    let base = forest.leads_to(node).filter(|_| is_there);
    Some(match (base, backing.format()) {
        (Some(base), Some(format)) => Request::Relink(Relink {
            image: image.to_path_buf(),
            base: Some(base.to_path_buf()),
            format: Some(format.clone()),
            style: Some(backing_name::style_of(backing.name())),
        }),
        _ => Request::PutBackLink(PutBackLink {
            image: image.to_path_buf(),
            recorded: backing.name().to_os_string(),
            format: backing.format().cloned(),
        }),
    })
}

/// What puts the header back, where a change of it was interrupted.
pub(super) fn roll_back(half: &Half<'_>) -> Way {
    match &half.entry.roll_back {
        Some(Request::Relink(relink)) if relink.is_done(half) => Way::Nothing(format!(
            "the header of {} is as it was",
            name(&relink.image)
        )),
        Some(Request::PutBackLink(back)) if back.is_done(half) => {
            Way::Nothing(format!("the header of {} is as it was", name(&back.image)))
        }
        _ => half.as_planned(),
    }
}
