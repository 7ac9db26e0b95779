//! Everything that can be asked of a guest's disk, with any answer; within bounds that an honest reader needs a part of.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use qanopy_guest::diff::{self, NoWatch, Options};
use qanopy_guest::filesystem::{NodeId, NodeKind};
use qanopy_guest::path::{self, LastLink};
use qanopy_guest::{BlockSource, Filesystem, Ranges, Result, Source, explain, system};

use super::forge::{Forged, Seed};
use super::locks;

/// Bytes that all questions of one disk may read together. A disk of these has at the most 128 MiB, of which a few are
/// in use; a pointer that leads in a circle reads on until it meets this.
const MOST_BYTES: u64 = 4 << 30;

/// Nodes that are looked at.
const MOST_NODES: usize = 1_000;
/// Entries of a directory that are looked at.
const MOST_ENTRIES: usize = 5_000;

/// A source that counts what is read of it.
#[derive(Debug)]
struct Counting {
    below: Source,
    read: Arc<AtomicU64>,
}

impl BlockSource for Counting {
    fn len(&self) -> u64 {
        self.below.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        // A read is work, however short it is.
        let bytes = buf.len().max(512) as u64;
        let read = self.read.fetch_add(bytes, Ordering::Relaxed);
        assert!(read < MOST_BYTES, "it reads without an end");
        self.below.read_at(offset, buf)
    }
}

/// Asks everything of a forged disk, alone and beside what it was. Gives the bytes that were read.
pub(super) fn everything(seed: &Seed, forged: Forged) -> u64 {
    let read = Arc::new(AtomicU64::new(0));
    let source: Source = Arc::new(Counting {
        below: forged.source,
        read: Arc::clone(&read),
    });
    let Ok(disk) = locks::open(&source) else {
        return read.load(Ordering::Relaxed);
    };
    for (_, filesystem) in disk.filesystems() {
        of_filesystem(&**filesystem);
    }
    let explained = explain::explain(&disk, &forged.changed).unwrap();
    assert_eq!(explained.total(), forged.changed.bytes());
    let deep = Options { deep: true };
    for (before, after, options) in [
        (&seed.disk, &disk, Options::default()),
        (&disk, &seed.disk, deep),
    ] {
        let _ = diff::disks(before, after, &forged.changed, options, &mut NoWatch);
    }
    read.load(Ordering::Relaxed)
}

/// Asks everything of a filesystem.
pub(super) fn of_filesystem(filesystem: &dyn Filesystem) {
    let mut met = HashSet::from([filesystem.root()]);
    let mut waiting = vec![filesystem.root()];
    waiting.extend(filesystem.default_root().ok());
    let mut buf = vec![0; 60_000];
    while let Some(id) = waiting.pop() {
        let _ = filesystem.extents(id);
        let Ok(node) = filesystem.node(id) else {
            continue;
        };
        match node.kind {
            NodeKind::Directory => {
                let mut left = MOST_ENTRIES;
                let mut last = Vec::new();
                let _ = filesystem.entries(id, &mut |entry| {
                    assert!(
                        !entry.name.is_empty() && entry.name.len() <= 1024,
                        "{} bytes",
                        entry.name.len()
                    );
                    if met.len() < MOST_NODES && met.insert(entry.id) {
                        waiting.push(entry.id);
                    }
                    last = entry.name.to_vec();
                    left -= 1;
                    if left == 0 {
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                });
                let _ = filesystem.lookup(id, &last);
                let _ = filesystem.lookup(id, b"no such name");
            }
            NodeKind::File => {
                for at in [0, node.size / 2, node.size.saturating_sub(1), u64::MAX - 5] {
                    let read = filesystem.read(id, at, &mut buf);
                    assert!(!read.is_ok_and(|len| len > buf.len()));
                }
            }
            NodeKind::Symlink => {
                let target = filesystem.link_target(id);
                assert!(!target.is_ok_and(|target| target.len() > 4096));
            }
            NodeKind::Special => {}
        }
    }
    for odd in [0, 1, 1 << 40, u64::MAX] {
        let _ = filesystem.node(NodeId::new(odd));
    }
    for name in [
        &b"deep/er/os-release"[..],
        b"link/1",
        b"few/../../few/1",
        b"few/text-again",
    ] {
        if let Ok(node) = path::lookup(filesystem, name, LastLink::Follow) {
            let _ = path::content(filesystem, &node, 100_000);
        }
    }
    let _ = path::list(filesystem, filesystem.root(), MOST_ENTRIES);
    let _ = system::system(filesystem);
    let _ = filesystem.links(&met);
    let _ = filesystem.candidates(&Ranges::all());
    let _ = filesystem.usage(&mut |_, _| Ok(()));
    let _ = explain::free(filesystem);
}
