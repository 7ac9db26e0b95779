//! The pieces of a file: their digests, and reading them without reading holes.

use sha2::{Digest as _, Sha256};

use crate::host::{HostFile, Segment};

/// Bytes of a piece; the last of a file may be shorter.
pub(super) const PIECE: u64 = 64 << 10;
/// Pieces read at a time.
const AT_ONCE: u64 = 16;

/// SHA-256.
pub type Digest = [u8; 32];

/// SHA-256 of these bytes.
pub(super) fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// Pieces of a file that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first one's number.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Span {
    /// All pieces of a file of so many bytes.
    #[must_use]
    pub(super) fn whole(bytes: u64) -> Self {
        Self {
            first: 0,
            count: bytes.div_ceil(PIECE),
        }
    }

    /// The piece behind the last.
    #[must_use]
    pub(super) fn end(self) -> u64 {
        self.first.saturating_add(self.count)
    }
}

/// The digest of a file, made of its pieces in order.
#[derive(Debug, Clone, Default)]
pub(super) struct RootHasher {
    hasher: Sha256,
    /// Pieces of zeros that came last.
    zeros: u64,
}

impl RootHasher {
    /// So many pieces of zeros follow.
    pub(super) fn zeros(&mut self, count: u64) {
        self.zeros = self.zeros.saturating_add(count);
    }

    /// A piece of this digest follows.
    pub(super) fn piece(&mut self, digest: &Digest) {
        self.end_zeros();
        self.hasher.update([1]);
        self.hasher.update(digest);
    }

    /// The digest of all.
    #[must_use]
    pub(super) fn root(mut self) -> Digest {
        self.end_zeros();
        self.hasher.finalize().into()
    }

    fn end_zeros(&mut self) {
        if self.zeros > 0 {
            self.hasher.update([0]);
            self.hasher.update(self.zeros.to_le_bytes());
            self.zeros = 0;
        }
    }
}

/// What is at some place of a file.
pub(super) enum Found<'a> {
    /// So many pieces of zeros.
    Zeros(u64),
    /// The bytes of one piece, not all of them zero.
    Bytes(&'a [u8]),
}

/// What a look at pieces ends with: the file's own error, or that of whoever is shown them.
#[derive(Debug)]
pub(super) enum Stopped<E> {
    Reading(std::io::Error),
    Shown(E),
}

/// Shows the pieces of a span of a file of `len` bytes, each with its number, in order. Holes are not read.
pub(super) fn each_piece<E>(
    file: &dyn HostFile,
    len: u64,
    span: Span,
    mut show: impl FnMut(u64, Found<'_>) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let end = span.end().min(len.div_ceil(PIECE));
    let mut at = span.first;
    let mut buffer = Vec::new();
    while at < end {
        let offset = at * PIECE;
        let (whole, until) = match file.segment_at(offset).map_err(Stopped::Reading)? {
            // What lies in it as a whole; its last piece may reach into data.
            Segment::Hole(until) if until >= len => (end - at, end),
            Segment::Hole(until) => ((until / PIECE).saturating_sub(at), end),
            Segment::Data(until) => (0, until.div_ceil(PIECE).clamp(at + 1, end)),
        };
        if whole > 0 {
            let count = whole.min(end - at);
            show(at, Found::Zeros(count)).map_err(Stopped::Shown)?;
            at += count;
            continue;
        }
        let until = until.min(at + AT_ONCE).max(at + 1);
        let bytes = (until * PIECE).min(len) - offset;
        buffer.resize(usize::try_from(bytes).unwrap_or(0), 0);
        file.read_padded(&mut buffer, offset)
            .map_err(Stopped::Reading)?;
        let size = usize::try_from(PIECE).unwrap_or(usize::MAX);
        for (number, piece) in (at..).zip(buffer.chunks(size)) {
            let found = match is_zero(piece) {
                true => Found::Zeros(1),
                false => Found::Bytes(piece),
            };
            show(number, found).map_err(Stopped::Shown)?;
        }
        at = until;
    }
    Ok(())
}

/// Whether all bytes are zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<32>();
    words.iter().all(|word| *word == [0; 32]) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Access, Host, RealHost};

    /// Zeros by `0` and the first byte of others.
    fn seen(file: &dyn HostFile, len: u64, span: Span) -> Vec<(u64, u8, u64)> {
        let mut seen = Vec::new();
        let shown = each_piece(file, len, span, |at, found| {
            match found {
                Found::Zeros(count) => seen.extend((at..at + count).map(|at| (at, 0, 0))),
                Found::Bytes(bytes) => seen.push((at, bytes[0], bytes.len() as u64)),
            }
            Ok::<(), ()>(())
        });
        shown.unwrap();
        seen
    }

    #[test]
    fn every_piece_is_shown_once_and_holes_and_zeros_are_alike() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let file = RealHost.create_new(&path).unwrap();
        let len = 40 * PIECE + 100;
        file.set_len(len).unwrap();
        file.write_at(&[7; 10], 0).unwrap();
        file.write_at(&vec![0; 3 << 16], 2 * PIECE).unwrap();
        file.write_at(&[8; 100_000], 20 * PIECE).unwrap();
        file.write_at(&[9; 100], 40 * PIECE).unwrap();
        let file = RealHost.open(&path, Access::Read).unwrap();
        let expected: Vec<(u64, u8, u64)> = (0..41)
            .map(|at| match at {
                0 => (at, 7, PIECE),
                20 | 21 => (at, 8, PIECE),
                40 => (at, 9, 100),
                _ => (at, 0, 0),
            })
            .collect();
        assert_eq!(seen(&*file, len, Span::whole(len)), expected);
        for first in 0..41 {
            let span = Span { first, count: 3 };
            let end = usize::try_from(span.end().min(41)).unwrap();
            assert_eq!(
                seen(&*file, len, span),
                expected[usize::try_from(first).unwrap()..end]
            );
        }
        assert_eq!(
            seen(
                &*file,
                len,
                Span {
                    first: 50,
                    count: 9
                }
            ),
            []
        );
    }

    #[test]
    fn a_root_tells_order_and_zeros_however_they_were_counted() {
        let root = |parts: &[(u64, u8)]| {
            let mut root = RootHasher::default();
            for (zeros, byte) in parts {
                root.zeros(*zeros);
                if *byte > 0 {
                    root.piece(&digest(&[*byte]));
                }
            }
            root.root()
        };
        assert_eq!(root(&[(2, 0), (1, 5)]), root(&[(3, 5)]));
        assert_ne!(root(&[(2, 5)]), root(&[(3, 5)]));
        assert_ne!(root(&[(0, 5), (0, 6)]), root(&[(0, 6), (0, 5)]));
        assert_ne!(root(&[(0, 5), (1, 0)]), root(&[(0, 5)]));
    }
}
