//! Rebase: an image is built on another one from then on, and its guest sees what it saw. Only what
//! would show otherwise is copied, and the header is switched last.

use std::path::Path;
use std::sync::Arc;

use crate::forest::{Content, Node, Whereabouts};
use crate::host::printable;
use crate::image::{self, ErrorKind, Format};

use super::held::Held;
use super::members::Members;
use super::reroot::{self, Move};
use super::words::{name, shown, size};
use super::{BackingStyle, Error, Job, Outcome, Phase, Plan, Progress, Request, Undo, find};

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) image: &'a Path,
    pub(super) to: &'a Path,
    pub(super) format: Option<&'a Format>,
    pub(super) style: Option<BackingStyle>,
    pub(super) dedupe: bool,
}

/// Plans to build the image on another one.
pub(super) fn plan(plan: &mut Plan, wish: Wish<'_>) {
    let context = plan.context().clone();
    plan.title = format!("Rebase {} to {}", name(wish.image), name(wish.to));
    let (node, base) = match find::named(&context, wish.image)
        .and_then(|node| Ok((node, find::named(&context, wish.to)?)))
    {
        Ok(found) => found,
        Err(sentence) => return plan.refuse(sentence),
    };
    let Some(format) = format_of(plan, base, wish.format) else {
        return;
    };
    let mut members = Members::default();
    let asked = reroot::Wish {
        node,
        base: Some((base, &format)),
        style: wish.style,
    };
    let Some(planned) = reroot::plan(plan, &mut members, asked) else {
        return;
    };
    let read = context.forest.chain(node.id).into_iter().skip(1);
    let read = read.chain(context.forest.chain(base.id));
    reroot::say_what_is_read(plan, read.filter_map(|id| context.forest.get(id)));
    if let (Some(own), Some(below)) = (node.virtual_size(), base.virtual_size())
        && below < own
    {
        plan.note(format!(
            "{} is shorter than {} ({} and {}): past its end the guest reads what is copied, or zeros",
            name(&base.path),
            name(&node.path),
            size(below),
            size(own)
        ));
    }
    if wish.dedupe {
        plan.note(format!(
            "what {} holds and {} shows as well is given up then, once the header is switched",
            name(&node.path),
            name(&base.path)
        ));
    }
    members.secure(plan);
    plan.undo = undo(node);
    plan.commands
        .push(reroot::rebase_command(&node.path, planned.base.as_ref()));
    plan.job = Some(Arc::new(Rebase {
        planned,
        members,
        dedupe: wish.dedupe,
        back: reroot::undo_request(node),
    }));
}

/// What an image on the base records as its format.
fn format_of(plan: &mut Plan, base: &Node, given: Option<&Format>) -> Option<Format> {
    let path = shown(&base.path);
    match base.whereabouts {
        Whereabouts::Scanned => {}
        Whereabouts::Missing => {
            plan.refuse(format!("{path} is not there"));
            return None;
        }
        Whereabouts::Elsewhere => {
            plan.refuse(format!(
                "{path} is no local file: nothing is known of it here"
            ));
            return None;
        }
        Whereabouts::OutsideScan => {
            plan.refuse(format!(
                "{path} lies outside the folders looked in: look in its folder too"
            ));
            return None;
        }
    }
    let seen = match &base.content {
        Content::Qcow2(_) => Format::Qcow2,
        Content::Raw => Format::Raw,
        Content::Opaque(format) => format.clone(),
        Content::Damaged(why) | Content::Unreadable(why) => {
            plan.refuse(format!("{path} cannot be built on: {}", printable(why)));
            return None;
        }
        Content::Unopened => {
            plan.refuse(format!(
                "{path} cannot be built on: it was never looked into"
            ));
            return None;
        }
    };
    match given {
        Some(given) if *given == seen => Some(seen),
        Some(given) if *given == Format::Raw => {
            plan.warn(format!(
                "{path} begins like {seen}: as raw, its header is what the guest would see first"
            ));
            Some(Format::Raw)
        }
        Some(given) => {
            plan.refuse(format!("{path} is {seen}, not {}", printable(given.name())));
            None
        }
        None => Some(seen),
    }
}

/// How it could be taken back.
pub(super) fn undo(node: &Node) -> Undo {
    match (reroot::undo_request(node), &node.backing) {
        (Some(_), Some(backing)) => Undo::Possible(format!(
            "rebase it to {} again, giving up what that shows as well",
            printable(&backing.recorded)
        )),
        (_, None) => Undo::Possible(format!("flatten {} in place", name(&node.path))),
        _ => Undo::Impossible(
            "what the header said before lacks the format, and would not be written again"
                .to_owned(),
        ),
    }
}

#[derive(Debug)]
struct Rebase {
    planned: Move,
    members: Members,
    dedupe: bool,
    back: Option<Request>,
}

impl Job for Rebase {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        let image = &self.planned.image;
        progress.enter(Phase::Collect, 0);
        let locks = self.members.lock(host)?;
        plan.verify_pins()?;
        let host = &Held::new(host, &locks);
        progress.enter(Phase::Copy, self.planned.bytes);
        self.planned
            .copy(host, progress)
            .and_then(|()| {
                progress.enter(Phase::Switch, 0);
                self.planned.switch(host)
            })
            .map_err(|error| before_the_switch(image, &error))?;
        let mut remarks = Vec::new();
        if self.dedupe {
            progress.enter(Phase::CleanUp, 0);
            remarks.push(match self.planned.give_up_equal(host, progress) {
                Ok(0) => "nothing it holds is shown by its new base as well".to_owned(),
                Ok(bytes) => format!(
                    "gave up {} that its new base shows as well",
                    size(bytes)
                ),
                // It is rebased all the same; giving up more is only a matter of room.
                Err(error) => format!(
                    "not all that its new base shows as well was given up: {error}. Rebase it with --dedupe \
                     once more for the rest"
                ),
            });
        }
        let on = self
            .planned
            .base
            .as_ref()
            .map_or_else(|| "nothing".to_owned(), |base| shown(&base.path));
        Ok(Outcome {
            summary: format!(
                "{} is built on {on} now, and shows what it showed",
                shown(image)
            ),
            touched: vec![image.clone()],
            undo: self.back.clone(),
            remarks,
        })
    }
}

/// What to say where the header was not switched.
pub(super) fn before_the_switch(image: &Path, error: &image::Error) -> Error {
    let shown = shown(image);
    if matches!(error.kind, ErrorKind::Stopped) {
        return Error::Cancelled(format!(
            "stopped: {shown} is built on what it was built on and shows what it showed; what was copied into it \
             stays, and the same command goes on from there"
        ));
    }
    Error::Failed(format!(
        "{error}. {shown} still shows what it showed; once that is mended, do it again"
    ))
}
