//! What a folder of this host, or an open filesystem of a guest, holds: the same form for both.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use qanopy_guest::Filesystem;
use qanopy_guest::filesystem::{NodeId, NodeKind};
use sha2::{Digest, Sha256};

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: NodeKind,
    /// Permission bits.
    pub mode: u32,
    pub owner: (u32, u32),
    /// Length of a file; 0 of what is none.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
    /// Digest of a file's content, or where a link leads to.
    pub content: Vec<u8>,
}

/// By path from the root, without a leading slash.
pub type Tree = BTreeMap<Vec<u8>, Seen>;

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if folder.is_empty() { b"" } else { b"/" };
    [folder, separator, name].concat()
}

/// What the kernel shows below a folder.
pub fn of_folder(root: &Path) -> Tree {
    fn walk(folder: &Path, at: &[u8], found: &mut Tree) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = joined(at, path.file_name().unwrap().as_bytes());
            let meta = fs::symlink_metadata(&path).unwrap();
            let kind = meta.file_type();
            let (kind, size, content) = if kind.is_dir() {
                walk(&path, &name, found);
                (NodeKind::Directory, 0, Vec::new())
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                (NodeKind::Symlink, 0, target.as_os_str().as_bytes().to_vec())
            } else if kind.is_file() {
                let bytes = fs::read(&path).unwrap();
                (NodeKind::File, meta.len(), Sha256::digest(&bytes).to_vec())
            } else {
                assert!(
                    kind.is_fifo()
                        || kind.is_socket()
                        || kind.is_char_device()
                        || kind.is_block_device()
                );
                (NodeKind::Special, 0, Vec::new())
            };
            let seen = Seen {
                kind,
                mode: meta.permissions().mode() & 0o7777,
                owner: (meta.uid(), meta.gid()),
                size,
                modified: meta.mtime(),
                content,
            };
            found.insert(name, seen);
        }
    }
    let mut found = Tree::new();
    walk(root, b"", &mut found);
    found
}

/// What a reader shows of a filesystem.
pub fn of_filesystem(filesystem: &dyn Filesystem) -> Tree {
    fn walk(filesystem: &dyn Filesystem, folder: NodeId, at: &[u8], found: &mut Tree) {
        let mut entries = Vec::new();
        filesystem
            .entries(folder, &mut |entry| {
                entries.push((entry.name.to_vec(), entry.id, entry.kind));
                ControlFlow::Continue(())
            })
            .unwrap();
        for (name, id, kind) in entries {
            let name = joined(at, &name);
            let node = filesystem.node(id).unwrap();
            if let Some(kind) = kind {
                assert_eq!(kind, node.kind, "{}", name.escape_ascii());
            }
            let (size, content) = match node.kind {
                NodeKind::Directory => {
                    walk(filesystem, id, &name, found);
                    (0, Vec::new())
                }
                NodeKind::Symlink => (0, filesystem.link_target(id).unwrap()),
                NodeKind::File => (node.size, Sha256::digest(content(filesystem, id)).to_vec()),
                NodeKind::Special => (0, Vec::new()),
            };
            let since = node
                .modified
                .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let seen = Seen {
                kind: node.kind,
                mode: node.mode & 0o7777,
                owner: (node.uid, node.gid),
                size,
                modified: since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap()),
                content,
            };
            found.insert(name, seen);
        }
    }
    let mut found = Tree::new();
    walk(filesystem, filesystem.root(), b"", &mut found);
    found
}

/// A file's whole content, read in pieces of an odd length.
pub fn content(filesystem: &dyn Filesystem, id: NodeId) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 77_777];
    loop {
        let read = filesystem.read(id, bytes.len() as u64, &mut piece).unwrap();
        bytes.extend_from_slice(&piece[..read]);
        if read < piece.len() {
            return bytes;
        }
    }
}

/// Fails with the paths that differ, and how.
pub fn assert_same(ours: &Tree, theirs: &Tree) {
    let mut wrong = Vec::new();
    for (path, seen) in theirs {
        match ours.get(path) {
            None => wrong.push(format!("{}: not seen", path.escape_ascii())),
            Some(own) if own != seen => {
                wrong.push(format!("{}: {own:?}, not {seen:?}", path.escape_ascii()))
            }
            Some(_) => {}
        }
    }
    for path in ours.keys().filter(|path| !theirs.contains_key(*path)) {
        wrong.push(format!("{}: is not there", path.escape_ascii()));
    }
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// The node at a path, each part of which is looked up.
pub fn path(filesystem: &dyn Filesystem, path: &[u8]) -> NodeId {
    path.split(|byte| *byte == b'/')
        .fold(filesystem.root(), |at, name| {
            filesystem.lookup(at, name).unwrap().unwrap()
        })
}
