//! The node a person means by a path. What may be done with it is the operations' business.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::forest::Node;
use crate::host::{FileKind, Stat, io_text};
use crate::image::entry_of;

use super::context::Context;
use super::format::shown;
use super::refusal::{Reason, RefusalKind, WayOut};
use super::remedy::Remedy;

/// The node of this name, or of the file this name leads to.
///
/// # Errors
/// A sentence, if the scan met no such image, or only in the trash.
pub(in crate::ops) fn named<'c>(context: &'c Context, path: &Path) -> Result<&'c Node, Reason> {
    let forest = context.forest.as_ref();
    let stat = context.host.stat(path);
    let by_file = || stat.as_ref().ok().and_then(|stat| forest.by_file(stat.id));
    let node = forest.by_path(path).or_else(by_file);
    match (node, &stat) {
        (Some(node), _) if node.is_in_trash() => Err(in_trash(&node.path)),
        (Some(node), _) => Ok(node),
        (None, Ok(_)) => Err(Reason::new(
            RefusalKind::NotFound,
            format!("{} is no image that the scan met", shown(path)),
        )),
        (None, Err(error)) => Err(unseen(path, error)),
    }
}

/// That the system does not let a file be looked at.
pub(in crate::ops) fn unseen(path: &Path, error: &io::Error) -> Reason {
    let why = io_text(error);
    let text = format!("{} cannot be looked at: {why}", shown(path));
    Reason::new(kind_of(error), text)
}

/// The node of this name, which is a regular file; `of_device` says of a device why nothing is done with it.
///
/// # Errors
/// A sentence, as of [`named`], or if it is a device.
pub(in crate::ops) fn regular_file<'c>(
    context: &'c Context,
    path: &Path,
    of_device: &str,
) -> Result<(&'c Node, Stat), Reason> {
    let node = named(context, path)?;
    let stat = context.host.stat(&node.path);
    let stat = stat.map_err(|error| unseen(&node.path, &error))?;
    if stat.kind != FileKind::Regular {
        let text = format!("{} is a device: {of_device}", shown(&node.path));
        return Err(Reason::new(RefusalKind::Unsupported, text));
    }
    Ok((node, stat))
}

/// That an image lies where nobody looked.
pub(in crate::ops) fn outside(path: &Path) -> Reason {
    let text = format!("{} lies outside the folders looked in", shown(path));
    Reason::new(RefusalKind::OutsideRoots, text).helped_by(vec![Remedy::look_beside(path)])
}

/// The same of an image that is going to be changed.
pub(in crate::ops) fn dependants_unknown(path: &Path) -> Reason {
    let mut reason = outside(path);
    reason
        .text
        .push_str(", so not all that is built on it is known");
    reason
}

/// What kind of reason it is that the system does not let a file be looked at.
pub(in crate::ops) fn kind_of(error: &io::Error) -> RefusalKind {
    match error.kind() {
        io::ErrorKind::NotFound => RefusalKind::NotFound,
        _ => RefusalKind::Unreadable,
    }
}

/// Why nothing is done with an image that is in the trash.
pub(in crate::ops) fn in_trash(path: &Path) -> Reason {
    let text = format!("{} is in the trash", shown(path));
    let entry = entry_of(path).and_then(OsStr::to_str);
    let ways_out = entry.map(WayOut::restore).into_iter().collect();
    Reason::new(RefusalKind::InTrash, text).but(ways_out)
}
