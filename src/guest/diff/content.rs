//! Whether two states of a file hold the same bytes, looking only where they can differ.

use crate::error::Result;
use crate::filesystem::{FileExtent, Node, NodeKind};
use crate::ranges::Ranges;

use super::pair::Pair;

/// Bytes compared at a time.
const PIECE: usize = 256 << 10;

/// Bytes of one file compared at the most. What is equal so far is called different after them, which costs a wrong
/// word and never a missed change.
const MOST_COMPARED: u64 = 1 << 30;

/// What came of looking at one node that both states have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    /// Whether it differs.
    pub(super) differs: bool,
    /// Bytes stored anew.
    pub(super) bytes: u64,
}

/// Compares the content of a node in both states.
pub(super) fn compare(pair: &mut Pair<'_>, before: &Node, after: &Node) -> Result<Content> {
    let same = Content {
        differs: false,
        bytes: 0,
    };
    match (before.kind, after.kind) {
        (NodeKind::File, NodeKind::File) => {}
        (NodeKind::Symlink, NodeKind::Symlink) => {
            let before = pair.before.link_target(before.id);
            let after = pair.after.link_target(after.id);
            let (before, after) = (pair.noted(before)?, pair.noted(after)?);
            return Ok(Content {
                differs: before != after,
                bytes: 0,
            });
        }
        (before, after) if before == after => return Ok(same),
        _ => {
            return Ok(Content {
                differs: true,
                bytes: after.size,
            });
        }
    }
    let grown = before.size.abs_diff(after.size);
    let doubtful = doubtful(pair, before, after)?;
    let stored: u64 = doubtful.bytes();
    if grown > 0 {
        return Ok(Content {
            differs: true,
            bytes: stored.max(grown),
        });
    }
    let mut compared = 0;
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for range in doubtful.as_slice() {
        let mut at = range.start;
        while at < range.end {
            pair.go_on()?;
            let len = usize::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
            one.resize(len, 0);
            other.resize(len, 0);
            let before = pair.before.read(before.id, at, &mut one);
            let after = pair.after.read(after.id, at, &mut other);
            let (before, after) = (pair.noted(before)?, pair.noted(after)?);
            compared += len as u64;
            if before != after || one != other || compared > MOST_COMPARED {
                return Ok(Content {
                    differs: true,
                    bytes: stored,
                });
            }
            at += len as u64;
        }
    }
    Ok(Content {
        differs: false,
        bytes: stored,
    })
}

/// The bytes of a file that can differ: what is stored elsewhere, or where the volume changed. All of it where no
/// extents are known, as of content within the record.
fn doubtful(pair: &mut Pair<'_>, before: &Node, after: &Node) -> Result<Ranges> {
    let was = pair.before.extents(before.id);
    let is = pair.after.extents(after.id);
    let size = after.size.max(before.size);
    let (Some(was), Some(is)) = (pair.noted(was)?, pair.noted(is)?) else {
        let mut all = Ranges::new();
        all.insert(0..size);
        return Ok(all);
    };
    let mut found = Ranges::new();
    if was.is_empty() && is.is_empty() {
        found.insert(0..size);
        return Ok(found);
    }
    for (own, others) in [(&is, &was), (&was, &is)] {
        for extent in own {
            let at = others.partition_point(|other| other.file < extent.file);
            let stays = others.get(at) == Some(extent);
            let stored = extent.volume..extent.volume.saturating_add(extent.stored);
            let end = extent.file.saturating_add(extent.len).min(size);
            if !stays || extent.stored != extent.len {
                if !stays || pair.changed.intersects(&stored) {
                    found.insert(extent.file..end);
                }
                continue;
            }
            for part in pair.changed.within(stored) {
                let start = extent.file.saturating_add(part.start - extent.volume);
                let part = start..start.saturating_add(part.end - part.start).min(size);
                found.insert(part);
            }
        }
    }
    Ok(found)
}

/// Whether bytes of these extents lie where the volume changed.
pub(super) fn touches(extents: &[FileExtent], changed: &Ranges) -> bool {
    extents.iter().any(|extent| {
        changed.intersects(&(extent.volume..extent.volume.saturating_add(extent.stored)))
    })
}

/// The length of what a node holds, as far as it counts as a change.
pub(super) fn length(node: &Node) -> u64 {
    if node.kind == NodeKind::File {
        node.size
    } else {
        0
    }
}
