//! Every file of a filesystem, within bounds.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::filesystem::{Filesystem, Node, NodeId};

/// Folders that are looked into.
const MOST_FOLDERS: usize = 1 << 20;
/// Entries of folders that are looked at.
const MOST_ENTRIES: u64 = 16 << 20;

/// Calls `look` for the root, and for what each entry of each folder leads to, until it breaks off: with what is told
/// then. A file with several names comes several times. `go_on` is asked before each.
///
/// # Errors
/// When folders or files are damaged or cannot be read, there are too many of them, or `go_on` says to stop; those of
/// `look`.
pub(crate) fn each_node<T>(
    filesystem: &dyn Filesystem,
    go_on: &dyn Fn() -> bool,
    look: &mut dyn FnMut(&Node) -> Result<ControlFlow<T>>,
) -> Result<Option<T>> {
    let root = filesystem.root();
    if let ControlFlow::Break(found) = look(&filesystem.node(root)?)? {
        return Ok(Some(found));
    }
    let mut known = HashSet::from([root]);
    let mut open = vec![root];
    let mut left = MOST_ENTRIES;
    while let Some(folder) = open.pop() {
        for id in entries(filesystem, folder, &mut left, go_on)? {
            if !go_on() {
                return Err(Error::Cancelled);
            }
            let node = filesystem.node(id)?;
            if node.is_directory() {
                if !known.insert(id) {
                    continue;
                }
                if known.len() > MOST_FOLDERS {
                    return Err(too_much("folders", MOST_FOLDERS as u64));
                }
                open.push(id);
            }
            if let ControlFlow::Break(found) = look(&node)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// What the entries of a folder lead to, of which there may be `left`: these are taken off.
fn entries(
    filesystem: &dyn Filesystem,
    folder: NodeId,
    left: &mut u64,
    go_on: &dyn Fn() -> bool,
) -> Result<Vec<NodeId>> {
    let mut inside = Vec::new();
    let mut broken_off = None;
    filesystem.entries(folder, &mut |entry| {
        broken_off = match left.checked_sub(1) {
            None => Some(too_much("files", MOST_ENTRIES)),
            Some(_) if !go_on() => Some(Error::Cancelled),
            Some(less) => {
                *left = less;
                inside.push(entry.id);
                return ControlFlow::Continue(());
            }
        };
        ControlFlow::Break(())
    })?;
    broken_off.map_or(Ok(inside), Err)
}

fn too_much(what: &'static str, most: u64) -> Error {
    Error::TooMuch { what, most }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::endless::Endless;

    #[test]
    fn a_folder_without_end_is_left() {
        let endless = Endless::new();
        let root = endless.root();
        let mut left = 10;
        let many = entries(&endless, root, &mut left, &|| true);
        assert!(matches!(many, Err(Error::TooMuch { .. })), "{many:?}");
        let asked = Cell::new(0);
        let go_on = || {
            asked.set(asked.get() + 1);
            asked.get() < 100
        };
        let stopped = each_node::<()>(&endless, &go_on, &mut |_| Ok(ControlFlow::Continue(())));
        assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
        assert_eq!(asked.get(), 100);
    }
}
