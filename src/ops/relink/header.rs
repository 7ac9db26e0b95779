//! What every change of a header by itself asks first, and what takes it back.

use std::ffi::OsStr;
use std::path::Path;

use crate::forest::Node;
use crate::host::printable;
use crate::image::Format;
use crate::ops::framework::format::{command, name, shown};
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::{Plan, PutBackLink, RefusalKind, Request, Undo, Unlink};

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

/// The request that records what is recorded now, word for word.
pub(super) fn back(node: &Node, image: &Path) -> Request {
    let image = image.to_path_buf();
    match &node.backing {
        None => Request::Unlink(Unlink { image }),
        Some(backing) => Request::PutBackLink(PutBackLink {
            image,
            recorded: backing.name().to_os_string(),
            format: backing.format().cloned(),
        }),
    }
}

/// The same with qemu-img.
pub(super) fn push_command(plan: &mut Plan, node: &Node, recorded: &OsStr, format: &Format) {
    plan.commands.push(command(&[
        "qemu-img".as_ref(),
        "rebase".as_ref(),
        "-u".as_ref(),
        "-F".as_ref(),
        format.name().as_ref(),
        "-b".as_ref(),
        recorded,
        node.path.as_os_str(),
    ]));
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
