//! Files by their path inside a guest, symbolic links followed within it and never out of it.

use std::ops::ControlFlow;

use crate::error::{Error, Printable, Result};
use crate::filesystem::{Filesystem, Node, NodeId, NodeKind};

/// Symbolic links followed on the way, as Linux does (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// What becomes of a symbolic link that a path ends with. Those on the way are always followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// It is followed.
    Follow,
    /// It is what was asked for.
    Keep,
}

/// The node at a path, which is taken from the root, with or without a leading slash. `..` above the root is the root.
///
/// # Errors
/// When there is no such file, a part on the way is no directory, links run in a circle, or directories cannot be read.
pub fn lookup(filesystem: &dyn Filesystem, path: &[u8], last: LastLink) -> Result<Node> {
    lookup_below(filesystem, filesystem.root(), path, last)
}

/// As [`lookup`], where another directory is the root, as after `chroot`.
///
/// # Errors
/// As there.
pub fn lookup_below(
    filesystem: &dyn Filesystem,
    root: NodeId,
    path: &[u8],
    last: LastLink,
) -> Result<Node> {
    let mut above: Vec<NodeId> = Vec::new();
    let mut at = filesystem.node(root)?;
    let mut links = 0;
    let mut rest: Vec<Vec<u8>> = parts(path);
    while let Some(name) = rest.pop() {
        if !at.is_directory() {
            return Err(Error::NotADirectory(Printable::from(path)));
        }
        if name == b".." {
            if let Some(folder) = above.pop() {
                at = filesystem.node(folder)?;
            }
            continue;
        }
        let Some(id) = filesystem.lookup(at.id, &name)? else {
            return Err(Error::NotFound(Printable::from(path)));
        };
        let node = filesystem.node(id)?;
        if node.kind == NodeKind::Symlink && (last == LastLink::Follow || !rest.is_empty()) {
            links += 1;
            if links > MOST_LINKS {
                return Err(Error::TooManyLinks(Printable::from(path)));
            }
            let target = filesystem.link_target(id)?;
            if target.first() == Some(&b'/') {
                above.clear();
                at = filesystem.node(root)?;
            }
            rest.extend(parts(&target));
            continue;
        }
        above.push(at.id);
        at = node;
    }
    Ok(at)
}

/// The parts of a path, the last one first.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".");
    parts.rev().map(<[u8]>::to_vec).collect()
}

/// The names in a directory and where they lead, sorted by name.
///
/// # Errors
/// As [`Filesystem::entries`]; when there are more than `most`.
pub fn list(
    filesystem: &dyn Filesystem,
    directory: NodeId,
    most: usize,
) -> Result<Vec<(Vec<u8>, NodeId)>> {
    list_while(filesystem, directory, most, &mut || true)
}

/// The same, as long as `go_on` says so, which is asked before each name.
///
/// # Errors
/// As there, and when it was stopped.
pub fn list_while(
    filesystem: &dyn Filesystem,
    directory: NodeId,
    most: usize,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Vec<(Vec<u8>, NodeId)>> {
    let mut found = Vec::new();
    let mut is_stopped = false;
    filesystem.entries(directory, &mut |entry| {
        is_stopped = !go_on();
        found.push((entry.name.to_vec(), entry.id));
        if is_stopped || found.len() > most {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    if is_stopped {
        return Err(Error::Cancelled);
    }
    if found.len() > most {
        return Err(Error::TooMuch {
            what: "entries of a folder",
            most: most as u64,
        });
    }
    found.sort();
    Ok(found)
}

/// A file's content, of at most so many bytes, and whether it has more.
///
/// # Errors
/// As [`Filesystem::read`].
pub fn content(filesystem: &dyn Filesystem, file: &Node, most: usize) -> Result<(Vec<u8>, bool)> {
    if file.kind != NodeKind::File {
        return Err(Error::NotAFile(Printable::default()));
    }
    let len = usize::try_from(file.size).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len.min(most)];
    let read = filesystem.read(file.id, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok((bytes, len > most))
}
