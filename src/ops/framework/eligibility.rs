//! The files an operation reads and writes: whether they are fit for it, who uses them, what room they
//! need. What is done with them is the operations' business.

use std::collections::BTreeSet;
use std::path::Path;

use crate::forest::{Content, Flags, Forest, Location, Node, NodeId};
use crate::host::{Access, Volume, printable};
use crate::image::{
    self, BackingName, Check, Encryption, ErrorKind, Format, ImageFile, NoProgress,
};

use super::data_files::data_file_users;
use super::format::{listed, name, shown};
use super::note::NoteKind;
use super::plan::Plan;
use super::readers;
use super::refusal::{Reason, RefusalKind, WayOut};
use super::remedy::Remedy;
use super::request::Request;

/// What a node is read as: what an image built on it records, which its content does not contradict.
pub(in crate::ops) fn format_of(node: &Node) -> Format {
    node.format().unwrap_or(Format::Raw)
}

/// Refuses a qcow2 image whose tables contradict each other: whoever writes into it would find that out
/// first thing.
pub(in crate::ops) fn refuse_corrupt(plan: &mut Plan, path: &Path) -> Option<Check> {
    let found = ImageFile::open(plan.host(), path, Access::Read)
        .and_then(|file| image::check(&file, &NoProgress));
    match found {
        Ok(found) if found.corruptions > 0 => {
            let kind = image::ErrorKind::Corruptions(found.corruptions);
            plan.refuse_but(
                RefusalKind::of(&kind),
                image::Error::new(path, kind).to_string(),
                vec![WayOut {
                    label: format!("repair {} first", shown(path)),
                    request: Request::repair(path),
                }],
            );
            None
        }
        Ok(found) => Some(found),
        Err(error) => {
            plan.refuse_error(&error);
            None
        }
    }
}

/// What of an image has to be there to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Need {
    /// All of it.
    Whole,
    /// Its header: of what cannot be read nothing is wanted.
    WhatIsThere,
}

impl Need {
    /// Whether it is, refused if not.
    pub(in crate::ops) fn is_met(self, plan: &mut Plan, node: &Node) -> bool {
        let info = node.info().filter(|info| info.lost_map);
        let lost = info.and_then(|info| info.truncated.as_ref());
        match (self, lost) {
            (Self::WhatIsThere, Some(why)) => {
                plan.warn(NoteKind::Damaged, printable(why));
                true
            }
            _ => is_readable(plan, node),
        }
    }
}

/// What `node` is built on, nearest first, if all of it is there and can be read.
pub(in crate::ops) fn chain_below<'f>(
    plan: &mut Plan,
    forest: &'f Forest,
    node: &Node,
) -> Option<Vec<&'f Node>> {
    chain_below_for(plan, forest, node, Need::Whole)
}

/// As [`chain_below`], where no more than this has to be there of each.
pub(in crate::ops) fn chain_below_for<'f>(
    plan: &mut Plan,
    forest: &'f Forest,
    node: &Node,
    need: Need,
) -> Option<Vec<&'f Node>> {
    let path = shown(&node.path);
    if forest.flags(node.id).contains(Flags::LOOP) {
        plan.refuse(
            RefusalKind::Loop,
            format!("the backing links of {path} run in a circle"),
        );
        return None;
    }
    let mut below = Vec::new();
    let mut above = node;
    if !readers::is_understood(plan, forest, node) {
        return None;
    }
    for id in forest.chain(node.id).into_iter().skip(1) {
        let base = forest.get(id)?;
        if !readers::is_understood(plan, forest, base) {
            return None;
        }
        let overlay = std::mem::replace(&mut above, base);
        let (kind, why) = match base.location {
            Location::Missing if Volume::of_node(&base.path).is_some() => (
                RefusalKind::NotFound,
                "a logical volume that is not activated (`lvchange -ay`)",
            ),
            Location::Missing => (RefusalKind::NotFound, "which is not there"),
            Location::Elsewhere => (RefusalKind::NotFound, "which is no local file"),
            Location::OutsideScan => {
                plan.refuse_for(names_outside(&overlay.path, "is built on", &base.path));
                return None;
            }
            Location::Scanned | Location::InTrash => {
                if refuse_unnamed(plan, node, base) || !need.is_met(plan, base) {
                    return None;
                }
                below.push(base);
                continue;
            }
        };
        let way = match overlay.id == node.id {
            true => String::new(),
            false => format!("{path} cannot be read: "),
        };
        let text = format!(
            "{way}{} is built on {}, {why}",
            shown(&overlay.path),
            shown(&base.path)
        );
        match base.location {
            Location::Missing if Volume::of_node(&base.path).is_none() => {
                refuse_missing_base(plan, forest, overlay, text);
            }
            _ => plan.refuse(kind, text),
        }
        return None;
    }
    Some(below)
}

/// Refuses what needs the base of an overlay, which is not there: what it may have become can be recorded first.
pub(in crate::ops) fn refuse_missing_base(
    plan: &mut Plan,
    forest: &Forest,
    overlay: &Node,
    text: String,
) {
    let ways_out = WayOut::relinks(forest, overlay);
    match ways_out.is_empty() {
        true => plan.refuse_unless(
            RefusalKind::NotFound,
            text,
            Remedy::Relink(overlay.path.clone()),
        ),
        false => plan.refuse_but(RefusalKind::NotFound, text, ways_out),
    }
}

/// Whether the guest's bytes can be read, refused if not. Marks of an unclean end forbid writing only.
pub(in crate::ops) fn is_readable(plan: &mut Plan, node: &Node) -> bool {
    let path = shown(&node.path);
    let (kind, why) = match &node.content {
        Content::Unreadable(why) | Content::Damaged(why) => {
            (RefusalKind::Unreadable, printable(why))
        }
        Content::Opaque(format) => (
            RefusalKind::Unsupported,
            format!("it is of format {}", printable(format.name())),
        ),
        Content::Unopened => (
            RefusalKind::OutsideRoots,
            "it was never looked into".to_owned(),
        ),
        Content::Raw => return true,
        Content::Qcow2(info) if info.encryption == Some(Encryption::Aes) => (
            RefusalKind::Unsupported,
            "its content is encrypted (legacy AES), which is not understood here".to_owned(),
        ),
        Content::Qcow2(info) if !info.unknown_features.is_empty() => (
            RefusalKind::Unsupported,
            format!(
                "it needs features that are not known here ({})",
                printable(info.unknown_features.join(", "))
            ),
        ),
        Content::Qcow2(info) => match (&info.unopenable, &info.truncated) {
            (Some(why), _) => (
                RefusalKind::Unreadable,
                format!("it {}", printable(&*why.why)),
            ),
            (None, Some(why)) if info.lost_map => (RefusalKind::Damaged, printable(why)),
            // Reading needs no reference counts, and a table that is cut off reads as if it were empty.
            (None, Some(why)) => {
                plan.warn(NoteKind::Damaged, printable(why));
                return true;
            }
            (None, None) => return true,
        },
    };
    plan.refuse(kind, format!("{path} cannot be read: {why}"));
    false
}

/// What stands against reading or writing an image at all, by its header.
pub(in crate::ops) fn refuse_unfit(plan: &mut Plan, node: &Node, how: &str) {
    let path = shown(&node.path);
    match &node.content {
        Content::Unreadable(why) => plan.refuse(
            RefusalKind::Unreadable,
            format!("{path} cannot be {how}: {}", printable(why)),
        ),
        Content::Damaged(why) => plan.refuse(
            RefusalKind::Unreadable,
            format!("{path} cannot be {how}: {}", printable(why)),
        ),
        Content::Opaque(format) => {
            plan.refuse(
                RefusalKind::Unsupported,
                format!(
                    "{path} cannot be {how}: it is of format {}",
                    printable(format.name())
                ),
            );
        }
        Content::Unopened => plan.refuse(
            RefusalKind::OutsideRoots,
            format!("{path} cannot be {how}: it was never looked into"),
        ),
        Content::Raw => {}
        Content::Qcow2(info) => {
            let mut against = Vec::new();
            if info.encryption == Some(Encryption::Aes) {
                let text = "its content is encrypted (legacy AES), which is not understood here";
                against.push((RefusalKind::Unsupported, text.to_owned()));
            }
            if !info.unknown_features.is_empty() {
                let unknown: Vec<String> = info.unknown_features.iter().map(printable).collect();
                let text = format!(
                    "it needs features that are not known here ({})",
                    listed(&unknown, 3)
                );
                against.push((RefusalKind::Unsupported, text));
            }
            if info.corrupt {
                let text = "it is marked corrupt, and has to be repaired first";
                against.push((RefusalKind::of(&ErrorKind::CorruptBit), text.to_owned()));
            }
            if info.dirty {
                let text =
                    "it is marked dirty (it was not closed properly), and has to be repaired first";
                against.push((RefusalKind::of(&ErrorKind::Dirty), text.to_owned()));
            }
            if let Some(why) = &info.truncated {
                against.push((RefusalKind::Damaged, printable(why)));
            }
            if let Some(why) = &info.unopenable {
                let text = format!("it {}", printable(&*why.why));
                against.push((RefusalKind::Unreadable, text));
            }
            let mends = info.unopenable.as_ref();
            let mends = mends.is_some_and(|it| it.is_mended_by_repair);
            let marks = usize::from(info.corrupt) + usize::from(info.dirty) + usize::from(mends);
            let ways_out = match against.len() == marks {
                true => vec![WayOut::repair(&node.path)],
                false => Vec::new(),
            };
            // All of it is said, and of the kind of what is worst.
            if let Some(kind) = against.first().map(|(kind, _)| *kind) {
                let against: Vec<String> = against.into_iter().map(|(_, text)| text).collect();
                let text = format!("{path} cannot be {how}: {}", listed(&against, 5));
                plan.refuse_but(kind, text, ways_out);
            }
        }
    }
}

/// Says which images around could not be read, and so may be built on `image`.
pub(in crate::ops) fn warn_of_unread(plan: &mut Plan, image: &Path) {
    let forest = plan.context().forest.clone();
    let closed: Vec<String> = forest
        .nodes()
        .filter(|node| matches!(node.content, Content::Unreadable(_)))
        .map(|node| shown(&node.path))
        .collect();
    if !closed.is_empty() {
        plan.warn(
            NoteKind::Unseen,
            format!(
                "{} cannot be read: whether {} built on {} is not known",
                listed(&closed, 5),
                if closed.len() == 1 {
                    "it is"
                } else {
                    "they are"
                },
                name(image)
            ),
        );
    }
}

/// An image may name any file of the machine as its external data file (CVE-2024-32498): one is
/// only opened where the person looked, or beside the image.
pub(in crate::ops) fn refuse_foreign_data(
    plan: &mut Plan,
    concerned: impl IntoIterator<Item = NodeId>,
) {
    let context = plan.context().clone();
    let (forest, host) = (context.forest.as_ref(), context.host.as_ref());
    let concerned: BTreeSet<NodeId> = concerned.into_iter().collect();
    for node in concerned.into_iter().filter_map(|id| forest.get(id)) {
        let Some(name) = node.info().and_then(|info| info.data_file.as_ref()) else {
            continue;
        };
        let file = BackingName::interpret(&node.path, name);
        // What is not there, or no local file, is found out when it is to be opened.
        let Some(place) = file.file().and_then(|file| host.canonical(file).ok()) else {
            continue;
        };
        if !lies_where_the_person_looked(plan, &node.path, &place) {
            plan.refuse_for(names_outside(&node.path, "keeps its data in", &place));
        }
    }
}

/// Refuses to read or write the content of `base`, to which a header leads from `image`, if that is nowhere in
/// the folders that the person named; tells whether it did. Whoever made an image would else have any file of
/// this machine copied out, or written, by who may.
pub(in crate::ops) fn refuse_unnamed(plan: &mut Plan, image: &Node, base: &Node) -> bool {
    // What is not there, or cannot be reached, is told by whoever opens it.
    let Ok(place) = plan.host().canonical(&base.path) else {
        return false;
    };
    if lies_where_the_person_looked(plan, &image.path, &place) {
        return false;
    }
    plan.refuse_for(names_outside(&image.path, "is built on", &place));
    true
}

/// That an image names a file that lies where nobody looked. `how` is the verb: `is built on`.
pub(in crate::ops) fn names_outside(image: &Path, how: &str, file: &Path) -> Reason {
    let text = format!(
        "{} {how} {}, outside the folders looked in. An image can name any file of this machine: look in that \
         folder too if this is right",
        shown(image),
        shown(file)
    );
    Reason::new(RefusalKind::OutsideRoots, text).helped_by(vec![Remedy::look_beside(file)])
}

/// Refuses to copy anything into an image that lies where the person did not look: whoever made it may be
/// somebody who is not to read that.
pub(in crate::ops) fn refuse_receiver_elsewhere(plan: &mut Plan, image: &Path) {
    let Ok(place) = plan.host().canonical(image) else {
        return;
    };
    if !lies_where_the_person_looked(plan, &place, &place) {
        let text = format!(
            "{} cannot be kept intact: it lies outside the folders looked in",
            shown(&place)
        );
        let remedies = vec![Remedy::look_beside(&place)];
        plan.refuse_for(Reason::new(RefusalKind::OutsideRoots, text).helped_by(remedies));
    }
}

/// The one answer to whether the content of a file that an image names may be read or written: whether it
/// stands in the folders that the person named, among them those of the images that the person named. Where
/// no folder was named, it is that of the image. A folder that only a header led to does not count. `place`
/// has no links left in it.
pub(in crate::ops) fn lies_where_the_person_looked(
    plan: &Plan,
    image: &Path,
    place: &Path,
) -> bool {
    let own = image.parent().filter(|dir| !dir.as_os_str().is_empty());
    let own = [own.unwrap_or(Path::new(".")).to_path_buf()];
    let dirs = match plan.looked_in.named.as_slice() {
        [] => own.as_slice(),
        named => named,
    };
    dirs.iter()
        .filter_map(|dir| plan.host().canonical(dir).ok())
        .any(|dir| place.starts_with(dir))
}

/// Refuses what would be done to a file that other images keep their data in.
pub(in crate::ops) fn refuse_as_data_file(
    plan: &mut Plan,
    forest: &Forest,
    node: &Node,
    how: &str,
) {
    let context = plan.context().clone();
    let Some(id) = node.file_id() else { return };
    for owner in data_file_users(context.host.as_ref(), forest, node, id) {
        plan.refuse(
            RefusalKind::HasDependants,
            format!(
                "{} keeps its data in {}, which therefore cannot be {how} alone",
                shown(&owner.path),
                shown(&node.path)
            ),
        );
    }
}
