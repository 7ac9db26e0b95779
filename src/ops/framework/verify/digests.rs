//! What chains show, as SHA-256, with each stored block read and digested once however many chains show it,
//! and no second time while the file it is in stays as it was.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::host::FileId;
use crate::image::{self, Chain, Error, ErrorKind, State};
use crate::ops::framework::progress::Progress;

/// Bytes that are zero or are digested: how zeros are stored makes no difference. At least so many.
const BLOCK: u64 = 1 << 16;

/// Blocks remembered at most: what is stored in more of these is digested in larger ones.
const MOST_BLOCKS: u64 = 1 << 20;

/// Bytes read at a time.
const WINDOW: u64 = 1 << 20;

/// Threads that read and digest at most.
const MOST_THREADS: usize = 4;

/// A file whose time of change is this old when it is looked at gets another one by the next write.
const SETTLED: Duration = Duration::from_secs(2);

/// What a view shows up to some end.
pub(super) type Digest = [u8; 32];

/// Where a block's bytes are stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum BlockLocation {
    /// In a row in one file.
    Plain { file: u32, host: u64, len: u64 },
    /// In pieces: the digest of where these are.
    Pieces(Digest),
}

/// What blocks hold; none for zeros.
type BlockDigests = Vec<(BlockLocation, Option<Digest>)>;

/// A block that was met for the first time.
#[derive(Debug)]
struct Unread {
    place: BlockLocation,
    at: u64,
    len: u64,
}

/// What a file was when it was looked at last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileVersion {
    len: u64,
    modified: SystemTime,
}

#[derive(Debug)]
struct Known {
    number: u32,
    seen: FileVersion,
    /// Whether a write since would show.
    settled: bool,
    /// The round it was looked at last.
    round: u32,
}

/// What is known of stored blocks.
#[derive(Debug)]
pub(super) struct Digests {
    block: u64,
    round: u32,
    next: u32,
    files: HashMap<FileId, Known>,
    /// None for a block of zeros.
    blocks: HashMap<BlockLocation, Option<Digest>>,
    read: u64,
}

impl Digests {
    /// For files that take so many bytes on disk together.
    pub(super) fn new(stored: u64) -> Self {
        let mut block = BLOCK;
        while stored / block > MOST_BLOCKS {
            block = block.saturating_mul(2);
        }
        Self {
            block,
            round: 0,
            next: 0,
            files: HashMap::new(),
            blocks: HashMap::new(),
            read: 0,
        }
    }

    /// Begins a round: files may have changed since the one before.
    pub(super) fn enter(&mut self) {
        self.round = self.round.saturating_add(1);
    }

    /// Bytes read and digested so far.
    #[cfg(test)]
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// What the chain shows up to `upto`.
    ///
    /// # Errors
    /// When something cannot be read, or [`ErrorKind::Cancelled`].
    pub(super) fn of(
        &mut self,
        chain: &Chain,
        upto: u64,
        progress: &Progress,
    ) -> image::Result<Digest> {
        let numbers = self.numbers(chain)?;
        let mut blocks: Vec<(u64, BlockLocation)> = Vec::new();
        let mut pieces = BlockCutter::new(self.block, upto);
        for run in chain.runs(chain.layers().len(), 0, upto) {
            let run = run?;
            let file = run.layer.and_then(|layer| numbers.get(layer)).copied();
            pieces.add(run.extent, file.unwrap_or(0), &mut blocks);
        }
        pieces.end(&mut blocks);
        let mut unread = Vec::new();
        for (at, place) in &blocks {
            if !self.blocks.contains_key(place) {
                self.blocks.insert(place.clone(), None);
                unread.push(Unread {
                    place: place.clone(),
                    at: *at,
                    len: self.block.min(upto - at),
                });
            }
        }
        let found = match digest_all(chain, &unread, progress) {
            Ok(found) => found,
            Err(error) => {
                // What is not known is not taken for zeros later.
                for one in &unread {
                    self.blocks.remove(&one.place);
                }
                return Err(error);
            }
        };
        self.read = unread
            .iter()
            .map(|one| one.len)
            .fold(self.read, u64::saturating_add);
        self.blocks.extend(found);
        let mut hasher = Sha256::new();
        for (at, place) in &blocks {
            if let Some(digest) = self.blocks.get(place).copied().flatten() {
                hasher.update(at.to_le_bytes());
                hasher.update(digest);
            }
        }
        Ok(hasher.finalize().into())
    }

    /// A number for the file of each layer: another one once it has changed.
    fn numbers(&mut self, chain: &Chain) -> image::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for layer in chain.layers() {
            let file = layer.stored_in();
            let stat = file.stat("look at")?;
            let seen = FileVersion {
                len: stat.len,
                modified: stat.modified,
            };
            let known = self.files.get(&stat.id);
            let number = match known {
                Some(known)
                    if known.seen == seen && (known.settled || known.round == self.round) =>
                {
                    known.number
                }
                _ => {
                    self.next = self.next.saturating_add(1);
                    self.next
                }
            };
            let age = SystemTime::now().duration_since(stat.modified);
            self.files.insert(
                stat.id,
                Known {
                    number,
                    seen,
                    settled: age.is_ok_and(|age| age > SETTLED),
                    round: self.round,
                },
            );
            numbers.push(number);
        }
        Ok(numbers)
    }
}

/// Cuts runs into blocks.
struct BlockCutter {
    block: u64,
    upto: u64,
    /// Where the block begins that is being put together.
    start: u64,
    hasher: Option<Sha256>,
    /// The one piece of it, as long as there is but one that fills it from its start.
    plain: Option<BlockLocation>,
    filled: u64,
}

impl BlockCutter {
    fn new(block: u64, upto: u64) -> Self {
        Self {
            block,
            upto,
            start: 0,
            hasher: None,
            plain: None,
            filled: 0,
        }
    }

    fn add(&mut self, run: image::Extent, file: u32, blocks: &mut Vec<(u64, BlockLocation)>) {
        if matches!(run.state, State::Zero | State::Unallocated) {
            return;
        }
        let mut at = run.start;
        let end = run.end().min(self.upto);
        while at < end {
            let start = at - at % self.block;
            if start != self.start {
                self.end(blocks);
                self.start = start;
            }
            let until = end.min(start.saturating_add(self.block));
            self.piece(run, file, at..until);
            at = until;
        }
    }

    fn piece(&mut self, run: image::Extent, file: u32, range: Range<u64>) {
        // Inside a compressed cluster the offset from its start tells which bytes.
        let (kind, host, inside) = match run.state {
            State::Data { host } => (1_u8, host.saturating_add(range.start - run.start), 0),
            State::Compressed { cluster, host, .. } => (2, host, range.start.wrapping_sub(cluster)),
            State::Zero | State::Unallocated => return,
        };
        let len = range.end - range.start;
        let hasher = self.hasher.get_or_insert_with(Sha256::new);
        hasher.update([kind]);
        hasher.update(file.to_le_bytes());
        for number in [host, inside, range.start - self.start, len] {
            hasher.update(number.to_le_bytes());
        }
        let is_first = self.filled == 0 && range.start == self.start;
        self.plain = (is_first && kind == 1).then_some(BlockLocation::Plain { file, host, len });
        self.filled = self.filled.saturating_add(len);
    }

    /// The block is complete.
    fn end(&mut self, blocks: &mut Vec<(u64, BlockLocation)>) {
        let (hasher, plain) = (self.hasher.take(), self.plain.take());
        let whole = self.block.min(self.upto.saturating_sub(self.start));
        let filled = std::mem::take(&mut self.filled);
        let Some(mut hasher) = hasher else { return };
        // Blocks of the same pieces differ where one disk ends earlier.
        hasher.update(whole.to_le_bytes());
        let place = match plain {
            Some(BlockLocation::Plain { file, host, len }) if len == whole && filled == whole => {
                BlockLocation::Plain { file, host, len }
            }
            _ => BlockLocation::Pieces(hasher.finalize().into()),
        };
        blocks.push((self.start, place));
    }
}

/// Reads and digests blocks, by several threads.
fn digest_all(
    chain: &Chain,
    unread: &[Unread],
    progress: &Progress,
) -> image::Result<BlockDigests> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_THREADS)
        .min(unread.len().div_ceil(64))
        .max(1);
    let next = AtomicUsize::new(0);
    let batches = batches(unread);
    let done: Mutex<image::Result<BlockDigests>> = Mutex::new(Ok(Vec::new()));
    let work = || {
        let mut buffer = Vec::new();
        let mut own = Vec::new();
        let ended = loop {
            let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) else {
                break Ok(());
            };
            if let Err(error) = digest_batch(chain, batch, &mut buffer, &mut own, progress) {
                next.store(batches.len(), Ordering::Relaxed);
                break Err(error);
            }
        };
        let mut done = done
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match (&mut *done, ended) {
            (Ok(all), Ok(())) => all.append(&mut own),
            (done @ Ok(_), Err(error)) => *done = Err(error),
            (Err(_), _) => {}
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    done.into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is read at once: blocks in a row, as many as fit into a window.
fn batches(unread: &[Unread]) -> Vec<&[Unread]> {
    let mut batches = Vec::new();
    let mut rest = unread;
    while let Some(first) = rest.first() {
        let mut end = first.at.saturating_add(first.len);
        let mut taken = 1;
        for one in rest.iter().skip(1) {
            if one.at != end || end.saturating_add(one.len) - first.at > WINDOW {
                break;
            }
            end = end.saturating_add(one.len);
            taken += 1;
        }
        let (batch, after) = rest.split_at(taken);
        batches.push(batch);
        rest = after;
    }
    batches
}

fn digest_batch(
    chain: &Chain,
    batch: &[Unread],
    buffer: &mut Vec<u8>,
    own: &mut BlockDigests,
    progress: &Progress,
) -> image::Result<()> {
    let Some(first) = batch.first() else {
        return Ok(());
    };
    let len: u64 = batch.iter().map(|one| one.len).sum();
    let path = chain
        .layers()
        .first()
        .map_or(Path::new(""), |layer| layer.path());
    let whole = usize::try_from(len)
        .map_err(|_| Error::new(path, ErrorKind::Limit("is too large a piece".to_owned())))?;
    buffer.resize(whole, 0);
    chain.read_at(buffer, first.at)?;
    let mut rest = buffer.as_slice();
    for one in batch {
        let len = usize::try_from(one.len).unwrap_or(rest.len());
        let Some((bytes, after)) = rest.split_at_checked(len) else {
            let text = "is read in other pieces than were planned".to_owned();
            return Err(Error::new(path, ErrorKind::Limit(text)));
        };
        rest = after;
        let digest = bytes
            .iter()
            .any(|byte| *byte != 0)
            .then(|| Sha256::digest(bytes).into());
        own.push((one.place.clone(), digest));
    }
    if progress.advance(len).is_err() {
        return Err(Error::new(path, ErrorKind::Cancelled));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::host::{FileKind, Host, RealHost};
    use crate::image::Format;

    const BYTES: u64 = 5 * BLOCK + 512;

    fn chain(path: &Path) -> Chain {
        Chain::open(&RealHost, path, Some(&Format::Raw), &|_| true).unwrap()
    }

    #[test]
    fn a_file_is_read_once_and_again_only_when_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.raw");
        let mut bytes: Vec<u8> = (0..BYTES).map(|at| (at / 7 % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let old = SystemTime::now() - Duration::from_secs(60);
        let settle = |when| fs::File::open(&path).unwrap().set_modified(when).unwrap();
        settle(old);
        assert_eq!(RealHost.stat(&path).unwrap().kind, FileKind::Regular);
        let progress = Progress::new();
        let mut digests = Digests::new(BYTES);
        digests.enter();
        let before = digests.of(&chain(&path), BYTES, &progress).unwrap();
        assert_eq!(digests.of(&chain(&path), BYTES, &progress).unwrap(), before);
        digests.enter();
        assert_eq!(digests.of(&chain(&path), BYTES, &progress).unwrap(), before);
        assert_eq!(digests.read(), BYTES);
        // As far as it was.
        bytes.extend([9; 4096]);
        fs::write(&path, &bytes).unwrap();
        digests.enter();
        assert_eq!(digests.of(&chain(&path), BYTES, &progress).unwrap(), before);
        assert_eq!(digests.read(), 2 * BYTES);
        // The last byte tells.
        bytes[usize::try_from(BYTES).unwrap() - 1] ^= 1;
        fs::write(&path, &bytes).unwrap();
        digests.enter();
        assert_ne!(digests.of(&chain(&path), BYTES, &progress).unwrap(), before);
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.raw");
        fs::write(&path, vec![1; 4096]).unwrap();
        let when = SystemTime::now();
        let settle = || fs::File::open(&path).unwrap().set_modified(when).unwrap();
        settle();
        let progress = Progress::new();
        let mut digests = Digests::new(4096);
        digests.enter();
        let before = digests.of(&chain(&path), 4096, &progress).unwrap();
        fs::write(&path, vec![2; 4096]).unwrap();
        settle();
        digests.enter();
        assert_ne!(digests.of(&chain(&path), 4096, &progress).unwrap(), before);
    }

    #[test]
    fn zeros_count_as_zeros_however_they_are_stored() {
        let dir = tempfile::tempdir().unwrap();
        let (stored, hole) = (dir.path().join("a.raw"), dir.path().join("b.raw"));
        fs::write(&stored, vec![0; 3 << 16]).unwrap();
        fs::File::create(&hole).unwrap().set_len(3 << 16).unwrap();
        let progress = Progress::new();
        let mut digests = Digests::new(0);
        digests.enter();
        let of = |digests: &mut Digests, path: &Path| {
            digests.of(&chain(path), 3 << 16, &progress).unwrap()
        };
        assert_eq!(of(&mut digests, &stored), of(&mut digests, &hole));
    }
}
