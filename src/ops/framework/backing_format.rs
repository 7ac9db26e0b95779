//! Which format is recorded for a backing file: what somebody records already, what the person says, or
//! what a look at it tells where a look cannot mislead. A raw disk's guest can write a header that names
//! any file of the machine, so a guess is never written down where it could open one.

use std::sync::Arc;

use crate::forest::{Content, Forest, FormatMismatch, Node};
use crate::host::printable;
use crate::image::Format;

use super::format::{name, shown};
use super::note::NoteKind;
use super::plan::Plan;
use super::refusal::{RefusalKind, WayOut};
use super::request::Request;

/// What the file looks like, or is recorded as; none where it could not be looked into.
pub(in crate::ops) fn seen(base: &Node) -> Option<Format> {
    match &base.content {
        Content::Qcow2(_) => Some(Format::Qcow2),
        Content::Raw => Some(Format::Raw),
        Content::Opaque(format) => Some(format.clone()),
        Content::Damaged(_) | Content::Unreadable(_) | Content::Unopened => None,
    }
}

/// The format of `base` as `above`, which is built on it, records it. Refused where it records none, or
/// another one than the file looks like.
pub(in crate::ops) fn recorded(plan: &mut Plan, above: &Node, base: &Node) -> Option<Format> {
    let (over, under) = (shown(&above.path), shown(&base.path));
    match (above.backing_format().cloned(), seen(base)) {
        (Some(recorded), Some(seen)) if recorded != seen => {
            plan.refuse(RefusalKind::BackingFormat, format!(
                "{over} records {} as the format of {under}, which looks like {}: relink it first",
                printable(recorded.name()),
                printable(seen.name())
            ));
            None
        }
        (Some(recorded), _) => Some(recorded),
        (None, _) => {
            plan.refuse_but(
                RefusalKind::BackingFormat,
                format!("{over} does not record the format of {under}: relink it first"),
                vec![WayOut::record_format(&above.path, &base.path)],
            );
            None
        }
    }
}

/// The format the person says `base` has. Refused where it looks like another one; as raw anything can
/// be taken.
pub(in crate::ops) fn said(plan: &mut Plan, base: &Node, said: &Format) -> Option<Format> {
    let path = shown(&base.path);
    match seen(base) {
        Some(seen) if seen == *said => {}
        Some(seen) if *said == Format::Raw => plan.warn(NoteKind::BackingFormat, format!(
            "{path} begins like {seen}: as raw, the guest sees that header as its first sector, and nothing of what \
             the file holds as {seen}",
            seen = printable(seen.name())
        )),
        Some(seen) => {
            plan.refuse(
                RefusalKind::BackingFormat,
                format!(
                    "{path} is {}, not {}",
                    printable(seen.name()),
                    printable(said.name())
                ),
            );
            return None;
        }
        None => plan.warn(NoteKind::BackingFormat, format!(
            "whether {path} is {} could not be seen",
            printable(said.name())
        )),
    }
    Some(said.clone())
}

/// Refuses an image that a machine opens as another format than it looks like: which of both it is, is not guessed.
/// Whether it is as it looks.
pub(in crate::ops) fn as_defined(plan: &mut Plan, image: &Node) -> bool {
    let forest = Arc::clone(&plan.context().forest);
    let Some((machine, FormatMismatch { said, seen })) = forest.format_mismatch(image) else {
        return true;
    };
    let text = format!(
        "{} opens {} as {}, and it looks like {}: its guest may have written that, so it is not guessed. Say which \
         format it is of",
        printable(&machine.name),
        shown(&image.path),
        printable(said.name()),
        printable(seen.name()),
    );
    plan.refuse(RefusalKind::BackingFormat, text);
    false
}

/// The format of `base` where nobody says it: as images built on it record it, or as it looks, unless it
/// is built on something itself. `saying` is the request that says it.
pub(in crate::ops) fn found(
    plan: &mut Plan,
    forest: &Forest,
    base: &Node,
    saying: impl FnOnce(Format) -> Request,
) -> Option<Format> {
    let path = shown(&base.path);
    if !as_defined(plan, base) {
        return None;
    }
    let Some(seen) = seen(base) else {
        plan.refuse(
            RefusalKind::BackingFormat,
            format!("the format of {path} could not be seen: say it"),
        );
        return None;
    };
    let children = base.children.iter().filter_map(|id| forest.get(*id));
    let records = children.filter_map(Node::backing_format);
    if records.clone().next().is_some() && records.clone().all(|format| *format == seen) {
        return Some(seen);
    }
    let names_another =
        base.backing.is_some() || base.info().is_some_and(|info| info.external_data);
    if names_another {
        let word = printable(seen.name());
        plan.refuse_but(RefusalKind::BackingFormat,
            format!(
                "{path} begins like a {word} image that names another file. The guest of a raw disk \
                 could have written such a header to reach other files, so this is not guessed: say that it is right"
            ),
            vec![WayOut {
                label: format!("{} was made as a {word} overlay: record that", name(&base.path)),
                request: saying(seen),
            }],
        );
        return None;
    }
    Some(seen)
}
