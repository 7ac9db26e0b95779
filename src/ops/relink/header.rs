//! What every change of a header by itself asks first, and what takes it back.

use std::path::Path;

use crate::forest::{Forest, Node};
use crate::host::printable;
use crate::ops::framework::backing_name;
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::{Plan, RefusalKind, Relink, Request, Undo, Unlink};

/// Whether the image's header can be changed.
pub(super) fn fit(plan: &mut Plan, node: &Node) -> bool {
    let path = shown(&node.path);
    let Some(facts) = node.facts() else {
        plan.refuse(
            RefusalKind::Unsupported,
            format!("{path} is no qcow2 image that can be read: only those name a backing file"),
        );
        return false;
    };
    if !facts.unknown_features.is_empty() {
        let unknown = printable(facts.unknown_features.join(", "));
        plan.refuse(RefusalKind::Unsupported, format!(
            "{path} needs features that are not known here ({unknown}): its header stays as it is"
        ));
        return false;
    }
    true
}

/// A base that is not there would not be recorded again.
pub(super) fn undo(plan: &Plan) -> Undo {
    match &plan.roll_back {
        Some(Request::Relink(Relink {
            base: Some(base), ..
        })) if plan.host().stat(base).is_ok() => {
            Undo::Possible("relink it to what it named before".to_owned())
        }
        Some(Request::Unlink(_)) => {
            Undo::Possible("make it one that is built on nothing again".to_owned())
        }
        _ => Undo::Impossible("what the header said before would not be written again".to_owned()),
    }
}

/// The request that records what is recorded now.
pub(super) fn back(forest: &Forest, node: &Node, image: &Path) -> Option<Request> {
    let Some(backing) = node.backing.as_ref() else {
        return Some(Request::Unlink(Unlink {
            image: image.to_path_buf(),
        }));
    };
    Some(Request::Relink(Relink {
        image: image.to_path_buf(),
        base: Some(forest.leads_to(node)?.to_path_buf()),
        format: Some(backing.format().cloned()?),
        style: Some(backing_name::style_of(backing.name())),
    }))
}

/// What puts the header back, where a change of it was interrupted.
pub(super) fn roll_back(half: &Half<'_>) -> Way {
    match &half.entry.roll_back {
        Some(Request::Relink(relink)) if relink.is_done(half) => Way::Nothing(format!(
            "the header of {} is as it was",
            name(&relink.image)
        )),
        _ => half.as_planned(),
    }
}
