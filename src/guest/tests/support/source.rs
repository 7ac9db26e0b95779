//! Raw images as sources, where two of them differ, and how much is read of them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use qanopy_guest::{BlockSource, Ranges, Result, Source};

/// A raw image that is read as it is at the time.
#[derive(Debug)]
struct Raw {
    file: File,
    len: u64,
}

impl BlockSource for Raw {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let rest = self.len.saturating_sub(offset);
        let len = usize::try_from(rest).unwrap().min(buf.len());
        let (part, zeros) = buf.split_at_mut(len);
        self.file.read_exact_at(part, offset).unwrap();
        zeros.fill(0);
        Ok(())
    }
}

/// The bytes of an image.
pub fn raw(image: &Path) -> Source {
    let file = File::open(image).unwrap();
    let len = file.metadata().unwrap().len();
    Arc::new(Raw { file, len })
}

/// The pieces of this many bytes, a cluster each, in which two sources differ.
pub fn differing(one: &Source, other: &Source, cluster: usize) -> Ranges {
    let mut found = Ranges::new();
    let (mut a, mut b) = (vec![0; cluster], vec![0; cluster]);
    let mut at = 0;
    while at < one.len().max(other.len()) {
        one.read_at(at, &mut a).unwrap();
        other.read_at(at, &mut b).unwrap();
        let end = at + cluster as u64;
        if a != b {
            found.insert(at..end);
        }
        at = end;
    }
    found
}

/// All bytes before this one.
pub fn until(end: u64) -> Ranges {
    let mut all = Ranges::new();
    all.insert(0..end);
    all
}

/// A source that counts what is read of it.
#[derive(Debug)]
pub struct Counted {
    below: Source,
    read: AtomicU64,
}

impl Counted {
    pub fn new(below: Source) -> Self {
        Self {
            below,
            read: AtomicU64::new(0),
        }
    }

    /// Bytes read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl BlockSource for Counted {
    fn len(&self) -> u64 {
        self.below.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.below.read_at(offset, buf)
    }
}
