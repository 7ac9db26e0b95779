//! Relink: an image's header names what it is built on anew - another place, or the format that it
//! lacked. Nothing but the header changes; the guest's data stays where it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::{Content, Forest, Node, Whereabouts};
use crate::host::{Access, LockSet, printable};
use crate::image::{self, BackingName, Format};

use super::backing_name;
use super::in_use::{Locks, Use, who_uses};
use super::pin::Watch;
use super::words::{command, name, shown, size};
use super::{
    BackingStyle, EffectKind, Error, Job, Outcome, Phase, Plan, Progress, Request, Undo, WayOut,
    find,
};

/// What is asked: whatever is none stays as it is, or is found out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) image: &'a Path,
    pub(super) base: Option<&'a Path>,
    pub(super) format: Option<&'a Format>,
    pub(super) style: Option<BackingStyle>,
}

/// Plans to change what the image's header says about its backing file.
pub(super) fn plan(plan: &mut Plan, wish: Wish<'_>) {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    plan.title = format!("Relink {}", name(wish.image));
    let node = match find::named(&context, wish.image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse(sentence),
    };
    let Some(recorded) = fit(plan, node) else {
        return;
    };
    let Some(base) = target(plan, &context, forest, node, wish.base) else {
        return;
    };
    let Some(format) = format_of(plan, node, base, wish) else {
        return;
    };
    let moves = node.parent != Some(base.id);
    let Some(recorded) = new_name(plan, node, base, recorded, wish, moves) else {
        return;
    };

    plan.title = if moves {
        format!("Relink {} to {}", name(&node.path), name(&base.path))
    } else {
        format!("Record {format} as the format below {}", name(&node.path))
    };
    let text = format!(
        "header only: built on {}, format {format}",
        printable(&recorded)
    );
    plan.effect(EffectKind::Relinks, &node.path, None, text);
    if moves {
        judge_content(plan, forest, node, base);
    } else {
        plan.keeps.push(format!(
            "the content of {} and of all that is built on it",
            name(&node.path)
        ));
    }
    check_use(plan, node);
    plan.undo = undo(node, wish);
    plan.commands.push(command(&[
        "qemu-img".as_ref(),
        "rebase".as_ref(),
        "-u".as_ref(),
        "-F".as_ref(),
        format.name().as_ref(),
        "-b".as_ref(),
        recorded.as_os_str(),
        node.path.as_os_str(),
    ]));
    plan.job = Some(Arc::new(Relink {
        image: node.path.clone(),
        base: base.path.clone(),
        recorded,
        format,
    }));
}

/// The name the image records now, if its header can be changed.
fn fit(plan: &mut Plan, node: &Node) -> Option<OsString> {
    let path = shown(&node.path);
    let Some(facts) = node.facts() else {
        plan.refuse(format!(
            "{path} is no qcow2 image that can be read: only those name a backing file"
        ));
        return None;
    };
    if !facts.unknown_features.is_empty() {
        let unknown = printable(facts.unknown_features.join(", "));
        plan.refuse(format!(
            "{path} needs features that are not known here ({unknown}): its header stays as it is"
        ));
        return None;
    }
    let Some(backing) = &node.backing else {
        plan.refuse(format!(
            "{path} is built on nothing: with a backing file its guest would see another disk"
        ));
        return None;
    };
    Some(backing.recorded.clone())
}

/// The image it is going to be built on.
fn target<'f>(
    plan: &mut Plan,
    context: &'f super::Context,
    forest: &'f Forest,
    node: &Node,
    base: Option<&Path>,
) -> Option<&'f Node> {
    let path = shown(&node.path);
    let base = match base {
        Some(base) => match find::named(context, base) {
            Ok(base) => base,
            Err(sentence) => {
                plan.refuse(sentence);
                return None;
            }
        },
        None => forest.get(node.parent?)?,
    };
    match base.whereabouts {
        Whereabouts::Missing => {
            plan.refuse(format!(
                "{} is not there: say which image {path} is built on",
                shown(&base.path)
            ));
            return None;
        }
        Whereabouts::Elsewhere => {
            plan.refuse(format!(
                "{} is no local file: nothing is known of it here",
                shown(&base.path)
            ));
            return None;
        }
        Whereabouts::Scanned | Whereabouts::OutsideScan => {}
    }
    if base.id == node.id || forest.descendants(node.id).contains(&base.id) {
        plan.refuse(format!(
            "{} is built on {path} itself: the links would run in a circle",
            shown(&base.path)
        ));
        return None;
    }
    Some(base)
}

/// The format to be recorded. It is found out only where a guess cannot hurt: see the module's
/// callers; a raw disk's guest may write a qcow2 header that names any file of the machine.
fn format_of(plan: &mut Plan, node: &Node, base: &Node, wish: Wish<'_>) -> Option<Format> {
    let base_path = shown(&base.path);
    let seen = match &base.content {
        Content::Qcow2(_) => Some(Format::Qcow2),
        Content::Raw => Some(Format::Raw),
        Content::Opaque(format) => Some(format.clone()),
        Content::Damaged(_) | Content::Unreadable(_) | Content::Unopened => None,
    };
    if let Some(format) = wish.format {
        match &seen {
            Some(seen) if seen == format => {}
            Some(seen) if *format == Format::Raw => plan.warn(format!(
                "{base_path} begins like {seen}: as raw, the guest would see that header as its first sector"
            )),
            Some(seen) => {
                plan.refuse(format!("{base_path} is {seen}, not {}", printable(format.name())));
                return None;
            }
            None => plan.warn(format!("whether {base_path} is {} could not be seen", printable(format.name()))),
        }
        return Some(format.clone());
    }
    let recorded = node
        .backing
        .as_ref()
        .and_then(|backing| backing.format.clone());
    if let Some(recorded) = recorded.filter(|recorded| seen.as_ref() == Some(recorded)) {
        return Some(recorded);
    }
    let Some(seen) = seen else {
        plan.refuse(format!(
            "the format of {base_path} could not be seen: say it"
        ));
        return None;
    };
    if base.backing.is_some() {
        plan.refuse_but(
            format!(
                "{base_path} begins like a {seen} image that is itself built on another. The guest of a raw disk \
                 could have written such a header to reach other files, so this is not guessed: say that it is right"
            ),
            vec![WayOut {
                label: format!("{} was made as a {seen} overlay: record that", name(&base.path)),
                request: Request::Relink {
                    image: wish.image.to_path_buf(),
                    base: wish.base.map(Path::to_path_buf),
                    format: Some(seen),
                    style: wish.style,
                },
            }],
        );
        return None;
    }
    Some(seen)
}

/// The name to be recorded: as it is where only the format is new.
fn new_name(
    plan: &mut Plan,
    node: &Node,
    base: &Node,
    recorded: OsString,
    wish: Wish<'_>,
    moves: bool,
) -> Option<OsString> {
    // A name that leads here only from some directories is no answer to where the base is.
    let is_vague =
        wish.base.is_some() && BackingName::interpret(&node.path, &recorded).depends_on_directory();
    if !moves && wish.style.is_none() && !is_vague {
        return Some(recorded);
    }
    let style = wish
        .style
        .unwrap_or_else(|| backing_name::style_of(&recorded));
    match backing_name::leading(plan.host(), &node.path, &base.path, style) {
        Ok(name) => Some(name),
        Err(sentence) => {
            plan.refuse(sentence);
            None
        }
    }
}

/// Another base shows another disk through the overlay, unless it is a copy of the old one.
fn judge_content(plan: &mut Plan, forest: &Forest, node: &Node, base: &Node) {
    let path = name(&node.path);
    let old = node.parent.and_then(|id| forest.get(id));
    let was_there = old.is_some_and(|old| {
        matches!(
            old.whereabouts,
            Whereabouts::Scanned | Whereabouts::OutsideScan
        )
    });
    if was_there {
        let old = old.map_or_else(String::new, |old| name(&old.path));
        plan.effect(
            EffectKind::Breaks,
            &node.path,
            None,
            format!(
                "shows {} where it showed {old}, unless they are copies",
                name(&base.path)
            ),
        );
        for below in forest
            .descendants(node.id)
            .into_iter()
            .filter_map(|id| forest.get(id))
        {
            plan.effect(
                EffectKind::Breaks,
                &below.path,
                None,
                format!("built on {path}, which changes"),
            );
        }
    } else {
        plan.warn(format!(
            "that {} is the very disk {path} was made on cannot be seen from here: the wrong one makes a broken disk",
            name(&base.path)
        ));
    }
    if let (Some(own), Some(below)) = (node.virtual_size(), base.virtual_size())
        && own != below
    {
        plan.warn(format!(
            "{path} is {} large and {} is {}",
            size(own),
            name(&base.path),
            size(below)
        ));
    }
}

fn check_use(plan: &mut Plan, node: &Node) {
    let host = Arc::clone(&plan.context().host);
    match who_uses(host.as_ref(), &node.path, LockSet::ReadWrite) {
        Ok(Use::Busy(sentence)) => plan.refuse(sentence),
        Ok(Use::Unknown(sentence)) => plan.warn(sentence),
        Ok(Use::Free | Use::Open(_)) => {}
        Err(error) => plan.refuse(format!("{} cannot be opened: {error}", shown(&node.path))),
    }
    if let Err(error) = plan.pins.pin(host.as_ref(), &node.path, Watch::Content) {
        plan.refuse(format!(
            "{} cannot be looked at: {error}",
            shown(&node.path)
        ));
    }
}

fn undo(node: &Node, wish: Wish<'_>) -> Undo {
    match back(node, wish) {
        Some(_) => Undo::Possible("relink it to what it named before".to_owned()),
        None => {
            Undo::Impossible("what the header said before would not be written again".to_owned())
        }
    }
}

/// The request that records what is recorded now.
fn back(node: &Node, wish: Wish<'_>) -> Option<Request> {
    let backing = node.backing.as_ref()?;
    Some(Request::Relink {
        image: wish.image.to_path_buf(),
        base: Some(backing.path.clone()?),
        format: Some(backing.format.clone()?),
        style: Some(backing_name::style_of(&backing.recorded)),
    })
}

#[derive(Debug)]
struct Relink {
    image: PathBuf,
    base: PathBuf,
    recorded: OsString,
    format: Format,
}

impl Job for Relink {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locks = Locks::default();
        let file = locks.take(host, &self.image, Access::ReadWrite, LockSet::ReadWrite)?;
        plan.verify_pins()?;
        progress.enter(Phase::Switch, 0);
        image::relink(&self.image, file, &self.recorded, &self.format)
            .map_err(|error| Error::Failed(format!("{error}. Its old header is in place")))?;
        let undo = match &plan.request {
            Request::Relink { image, .. } => {
                find::named(plan.context(), image).ok().and_then(|node| {
                    let wish = Wish {
                        image,
                        base: None,
                        format: None,
                        style: None,
                    };
                    back(node, wish)
                })
            }
            _ => None,
        };
        Ok(Outcome {
            summary: format!(
                "{} records {} as the {} image it is built on",
                shown(&self.image),
                printable(&self.recorded),
                self.format
            ),
            touched: vec![self.image.clone(), self.base.clone()],
            undo,
            remarks: Vec::new(),
        })
    }
}
