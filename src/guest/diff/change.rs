//! One file that differs.

use crate::filesystem::{Node, NodeKind};

/// How a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content differs.
    Modified,
    /// Its permissions, owner, times, links or attributes differ, its content does not.
    Metadata,
    /// It was somewhere else.
    Renamed,
    /// Another file has its name.
    Replaced,
    /// It is gone.
    Deleted,
}

impl ChangeKind {
    /// A word for people and for JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Modified => "modified",
            Self::Metadata => "metadata",
            Self::Renamed => "renamed",
            Self::Replaced => "replaced",
            Self::Deleted => "deleted",
        }
    }

    /// The letter that `git status` shows for it, where it has one.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Modified => 'M',
            Self::Metadata => 'm',
            Self::Renamed => 'R',
            Self::Replaced => 'X',
            Self::Deleted => 'D',
        }
    }
}

/// A path that differs between two states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Where it is; where it was, if it is gone. From the root, without a leading slash.
    pub path: Vec<u8>,
    /// Where it was before, if it was renamed.
    pub from: Option<Vec<u8>>,
    /// What it is a snapshot of, if it is a snapshot that came or went: the path of that. What both have is not told
    /// below it, only where they differ.
    pub snapshot_of: Option<Vec<u8>>,
    /// Whether the content of a renamed file differs as well.
    pub content: bool,
    /// What it was.
    pub before: Option<Node>,
    /// What it is.
    pub after: Option<Node>,
    /// How much changed: the length of what came, went or took its place; of a modified file the bytes stored anew, and
    /// at least by how much its length differs. In bytes.
    pub bytes: u64,
}

impl Change {
    /// Whether it is of a kind that nobody looks for: logs, caches, temporary files, lists of packages, and the times of
    /// folders.
    #[must_use]
    pub fn is_noise(&self) -> bool {
        is_noise(&self.path)
    }

    /// What kind of node it is, or was.
    #[must_use]
    pub fn node_kind(&self) -> Option<NodeKind> {
        self.after
            .as_ref()
            .or(self.before.as_ref())
            .map(|node| node.kind)
    }
}

/// Whether a file of that path, without a leading slash, is one that nobody looks for: see [`Change::is_noise`].
#[must_use]
pub fn is_noise(path: &[u8]) -> bool {
    const FOLDERS: [&[u8]; 9] = [
        b"var/log/",
        b"var/cache/",
        b"var/tmp/",
        b"tmp/",
        b"run/",
        b"var/lib/systemd/random-seed",
        b"var/lib/apt/lists/",
        b"var/lib/dnf/",
        b"Windows/Prefetch/",
    ];
    let in_cache = path
        .split(|byte| *byte == b'/')
        .any(|part| [&b".cache"[..], b"__pycache__"].contains(&part));
    in_cache || FOLDERS.iter().any(|folder| path.starts_with(folder))
}
