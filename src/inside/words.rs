//! Files of a guest in words, as all faces tell of them.

use crate::guest::disk::Volume;
use crate::guest::explain::Explained;
use crate::guest::extract::Extracted;
use crate::guest::filesystem::{Node, NodeKind};
use crate::units;

/// `drwxr-xr-x`.
#[must_use]
pub fn mode_text(node: &Node) -> String {
    let kind = match (node.kind, node.mode & 0o170_000) {
        (NodeKind::File, _) => '-',
        (NodeKind::Directory, _) => 'd',
        (NodeKind::Symlink, _) => 'l',
        (NodeKind::Special, 0o020_000) => 'c',
        (NodeKind::Special, 0o060_000) => 'b',
        (NodeKind::Special, 0o010_000) => 'p',
        (NodeKind::Special, _) => 's',
    };
    let mut text = String::from(kind);
    for (shift, special, [set, unset]) in [
        (6, 0o4000, ['s', 'S']),
        (3, 0o2000, ['s', 'S']),
        (0, 0o1000, ['t', 'T']),
    ] {
        let bits = node.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (node.mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// What bytes are used for: the key that JSON has for it, words for people, and how many.
#[must_use]
pub fn uses(sums: &Explained) -> [(&'static str, &'static str, u64); 7] {
    [
        ("file-data", "files", sums.file_data),
        ("metadata", "metadata of filesystems", sums.metadata),
        ("journal", "journals", sums.journal),
        ("free", "deleted, not given back by the guest", sums.free),
        ("swap", "swap space", sums.swap),
        ("outside", "in no partition or filesystem", sums.outside),
        (
            "unread",
            "on volumes and in folders that are not read",
            sums.unread,
        ),
    ]
}

/// What was copied out: `3 files, 1 folder, 2.5 MiB`.
#[must_use]
pub fn extracted(done: &Extracted) -> String {
    let mut parts = vec![units::count(done.files, "file")];
    if done.folders > 0 {
        parts.push(units::count(done.folders, "folder"));
    }
    if done.links > 0 {
        parts.push(units::count(done.links, "link"));
    }
    format!("{}, {}", parts.join(", "), units::size(done.bytes))
}

/// The name that what is at this path of a volume gets where it is copied to: its own; the volume's for all of it.
#[must_use]
pub fn name_outside(volume: &Volume, path: &[u8]) -> Vec<u8> {
    let name = path
        .rsplit(|byte| *byte == b'/')
        .find(|part| !part.is_empty());
    name.map_or_else(|| volume.name.to_string().into_bytes(), <[u8]>::to_vec)
}

/// Whether people can read it: no NUL, and next to no bytes that are no text of any kind.
#[must_use]
pub fn is_text(bytes: &[u8]) -> bool {
    let is_odd = |byte: &&u8| byte.is_ascii_control() && !b"\t\n\r\x08\x0c\x1b".contains(*byte);
    let mut odd = bytes.iter().filter(is_odd).count();
    odd += bytes
        .utf8_chunks()
        .map(|chunk| chunk.invalid().len())
        .sum::<usize>();
    !bytes.contains(&0) && odd <= bytes.len() / 10
}
