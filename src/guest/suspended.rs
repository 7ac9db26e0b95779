//! Whether the guest is suspended to its disk: then what its memory holds of the filesystems is not on the disk, not of
//! any of them.

use std::ops::ControlFlow;

use crate::disk::{Content, Volume};
use crate::error::{Error, Result};
use crate::filesystem::{Filesystem, Node, NodeKind};
use crate::named::{SUSPENDED, SUSPENDED_AT, SUSPENDED_MAGIC};
use crate::walk;

/// A file that a suspended system fits into is not smaller.
const LEAST: u64 = 16 << 20;
/// The file that Windows suspends itself to, and bytes at its start that are zeros where it is not suspended.
const HIBERFIL: &[u8] = b"hiberfil.sys";
const HIBERFIL_HEAD: usize = 4096;

/// How the guest is suspended to a volume, as far as that is seen without looking through its files.
///
/// # Errors
/// When the volume cannot be read.
pub(crate) fn at_once(volume: &Volume) -> Result<Option<String>> {
    match &volume.content {
        Content::Named(name) if *name == SUSPENDED => Ok(Some(format!(
            "the guest is suspended to disk, on {}: start it and shut it down first",
            volume.name
        ))),
        Content::Filesystem(filesystem) if is_of_windows(&**filesystem) => {
            Ok(windows(&**filesystem)?.map(|why| format!("{}: {why}", volume.name)))
        }
        _ => Ok(None),
    }
}

fn is_of_windows(filesystem: &dyn Filesystem) -> bool {
    let kind = filesystem.summary().kind;
    kind == "NTFS" || kind.starts_with("FAT")
}

/// How Windows is suspended to a filesystem, or why that is not known.
fn windows(filesystem: &dyn Filesystem) -> Result<Option<String>> {
    let mut head = vec![0; HIBERFIL_HEAD];
    let read = match filesystem.lookup(filesystem.root(), HIBERFIL) {
        Ok(Some(id)) => filesystem.read(id, 0, &mut head),
        Ok(None) => return Ok(None),
        Err(error) => Err(error),
    };
    match read {
        Ok(len) if head.iter().take(len).all(|byte| *byte == 0) => Ok(None),
        Ok(_) => Ok(Some(
            "Windows may be suspended to it (hiberfil.sys, also by a fast startup): shut it down by \
             `shutdown /s /f /t 0`, or switch that off by `powercfg /h off`"
                .to_owned(),
        )),
        Err(error @ (Error::Image(_) | Error::Cancelled)) => Err(error),
        Err(error) => Ok(Some(format!(
            "whether Windows is suspended to it (hiberfil.sys) is not known: {error}"
        ))),
    }
}

/// Looks for a file on a volume that the guest is suspended to. What is damaged is not looked through to its end.
///
/// # Errors
/// When the volume cannot be read, or `go_on` says to stop.
pub(crate) fn to_file_on(
    volume: &Volume,
    filesystem: &dyn Filesystem,
    go_on: &dyn Fn() -> bool,
) -> Result<Option<String>> {
    let found = walk::each_node(filesystem, go_on, &mut |node| {
        Ok(match is_to(filesystem, node)? {
            true => ControlFlow::Break(to_file(volume)),
            false => ControlFlow::Continue(()),
        })
    });
    match found {
        Err(Error::Image(_) | Error::Cancelled) | Ok(_) => found,
        Err(_) => Ok(None),
    }
}

/// What is said where [`is_to`] is so of a file.
pub(crate) fn to_file(volume: &Volume) -> String {
    format!(
        "the guest is suspended to a file on {}: start it and shut it down first",
        volume.name
    )
}

/// Whether this is a swap file that holds a suspended system. Swap files are stored as they are: what is stored in a
/// way that is not read here is none.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn is_to(filesystem: &dyn Filesystem, file: &Node) -> Result<bool> {
    if file.kind != NodeKind::File || file.size < LEAST {
        return Ok(false);
    }
    let mut magic = [0; SUSPENDED_MAGIC.len()];
    match filesystem.read(file.id, SUSPENDED_AT, &mut magic) {
        Ok(_) => Ok(magic == *SUSPENDED_MAGIC),
        Err(Error::Unsupported { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
