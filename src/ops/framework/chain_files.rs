//! An image and all it is built on, to be copied side by side into one folder: each under a name of its
//! own, naming the next one as seen from there. Where the folder is and what else is in it is decided
//! by those who copy.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::forest::Node;
use crate::host::{Access, Host, LockSet};
use crate::image::{self, Format, ImageFile};

use super::backing_style::BackingStyle;
use super::copy_file::{Copy, Reflink};
use super::eligibility::{chain_below, format_of, is_readable};
use super::error::Error;
use super::format::shown;
use super::locks::claim;
use super::plan::Plan;
use super::progress::Progress;
use super::refusal::RefusalKind;
use super::{backing_format, backing_name, device};

/// One file to be copied.
#[derive(Debug, Clone)]
pub(in crate::ops) struct ChainFile {
    pub(in crate::ops) path: PathBuf,
    /// Its name in the folder.
    pub(in crate::ops) name: String,
    pub(in crate::ops) format: Format,
    /// Bytes it takes on disk.
    pub(in crate::ops) bytes: u64,
}

/// The files of the chain of `node`, itself first; none if that was refused. `taken` are names in the
/// folder that none of them gets.
pub(in crate::ops) fn plan(
    plan: &mut Plan,
    node: &Node,
    mut taken: BTreeSet<OsString>,
) -> Option<Vec<ChainFile>> {
    let context = plan.context().clone();
    if !is_readable(plan, node) {
        return None;
    }
    let below = chain_below(plan, &context.forest, node)?;
    let mut files = Vec::new();
    let mut above: Option<&Node> = None;
    for one in std::iter::once(node).chain(below) {
        let format = match above {
            None => Some(format_of(one)),
            Some(above) => backing_format::recorded(plan, above, one),
        };
        above = Some(one);
        let (Some(format), Some(file)) = (format, file(plan, one, &mut taken)) else {
            continue;
        };
        claim(plan, &file.path, LockSet::ReadOnly);
        files.push(ChainFile { format, ..file });
    }
    plan.refusals.is_empty().then_some(files)
}

/// A node under a name of its own.
fn file(plan: &mut Plan, node: &Node, taken: &mut BTreeSet<OsString>) -> Option<ChainFile> {
    let path = shown(&node.path);
    if node.info().is_some_and(|info| info.data_file.is_some()) {
        plan.refuse(
            RefusalKind::Unsupported,
            format!("{path} keeps its data in another file: flatten it into a new file first"),
        );
        return None;
    }
    let own = node.path.file_name().and_then(|name| name.to_str());
    let Some(own) = own else {
        plan.refuse(
            RefusalKind::Unsupported,
            format!("the name of {path} is no text: rename it first"),
        );
        return None;
    };
    // Two different files of one name happen: the one further down gets a number.
    let mut name = own.to_owned();
    let mut number = 2;
    while !taken.insert(OsString::from(&name)) {
        name = format!("{number}-{own}");
        number += 1;
    }
    Some(ChainFile {
        path: node.path.clone(),
        name,
        format: format_of(node),
        bytes: node.size_on_disk()?,
    })
}

/// Copies one of them into the folder, which is there; built on `below`, which need not be there yet.
///
/// # Errors
/// As [`Copy::make`]; nothing is left behind then.
pub(in crate::ops) fn copy<'h>(
    host: &'h dyn Host,
    file: &ChainFile,
    below: Option<&ChainFile>,
    dir: &Path,
    reflink: Reflink,
    progress: &Progress,
) -> Result<Copy<'h>, Error> {
    let to = dir.join(&file.name);
    let most = device::copied_len(host, &file.path, &file.format);
    let copy = Copy::make_part(host, &file.path, &to, most, reflink, progress)?;
    if let Some(base) = below {
        let base_path = dir.join(&base.name);
        let recorded = backing_name::between(host, &to, &base_path, BackingStyle::Relative)
            .map_err(Error::failed)?;
        let file = ImageFile::open(host, copy.temporary(), Access::ReadWrite)?;
        image::relink(&file, &recorded, &base.format)?;
    }
    Ok(copy)
}
