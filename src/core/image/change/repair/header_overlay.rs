//! A file with other bytes in some places than it has on disk: the image as a repair leaves it, to be
//! checked before it is made. Nothing can be written through it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::host::{Cloned, HostFile, Lock, LockProbe, LockSet, Segment, Stat};
use crate::image::ImageFile;
use crate::image::internal::{Fault, at_most, distance, part, part_mut};

/// The file behind other bytes.
#[derive(Debug)]
pub(super) struct HeaderOverlay {
    inner: Arc<dyn HostFile>,
    /// Bytes by their offset; none overlap.
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl HeaderOverlay {
    pub(super) const fn new(inner: Arc<dyn HostFile>, pieces: BTreeMap<u64, Vec<u8>>) -> Self {
        Self { inner, pieces }
    }

    /// The same file, of the same name, behind `pieces`.
    pub(super) fn over(file: &ImageFile, pieces: BTreeMap<u64, Vec<u8>>) -> ImageFile {
        let overlay = Self::new(Arc::clone(file.host_file()), pieces);
        ImageFile::new(file.path(), Arc::new(overlay))
    }

    /// The pieces that lie in `len` bytes from `offset` on, or reach into them.
    fn pieces_in(&self, offset: u64, len: u64) -> impl Iterator<Item = (u64, &[u8])> {
        let end = offset.saturating_add(len);
        let first = self.pieces.range(..=offset).next_back();
        let start = first.map_or(offset, |(at, _)| *at);
        self.pieces
            .range(start..end)
            .map(|(at, bytes)| (*at, bytes.as_slice()))
            .filter(move |(at, bytes)| at.saturating_add(bytes.len() as u64) > offset)
    }

    /// Where the last piece ends.
    fn end(&self) -> u64 {
        let last = self.pieces.last_key_value();
        last.map_or(0, |(at, bytes)| at.saturating_add(bytes.len() as u64))
    }
}

/// Copies what two ranges, which overlap, have in common.
fn copy_common(
    (from_at, from): (u64, &[u8]),
    (to_at, to): (u64, &mut [u8]),
) -> std::result::Result<(), Fault> {
    let start = from_at.max(to_at);
    let (of_from, of_to) = (distance(from_at, start)?, distance(to_at, start)?);
    let (from_len, to_len) = (from.len(), to.len());
    let to = part_mut(to, of_to..to_len)?.iter_mut();
    for (to, from) in to.zip(part(from, of_from..from_len)?) {
        *to = *from;
    }
    Ok(())
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this view of a file is for reading only",
    ))
}

impl HostFile for HeaderOverlay {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let got = self.inner.read_at(buf, offset)?;
        let len = buf.len();
        // Between the file's end and a piece behind it there are zeros.
        let behind = part_mut(buf, got..len).map_err(io::Error::other)?;
        behind.fill(0);
        for piece in self.pieces_in(offset, len as u64) {
            copy_common(piece, (offset, buf)).map_err(io::Error::other)?;
        }
        Ok(got.max(at_most(self.end().saturating_sub(offset), len)))
    }
    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        refused()
    }
    fn zero(&self, _offset: u64, _len: u64) -> io::Result<()> {
        refused()
    }
    fn punch(&self, _offset: u64, _len: u64) -> io::Result<()> {
        refused()
    }
    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        refused()
    }
    fn clone_range(
        &self,
        _source: &dyn HostFile,
        _from: u64,
        _to: u64,
        _len: u64,
    ) -> io::Result<Cloned> {
        refused()
    }
    fn copy_range(
        &self,
        _source: &dyn HostFile,
        _from: u64,
        _to: u64,
        _len: u64,
    ) -> io::Result<Cloned> {
        refused()
    }
    fn set_len(&self, _len: u64) -> io::Result<()> {
        refused()
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner.len()?.max(self.end()))
    }
    fn flush(&self) -> io::Result<()> {
        refused()
    }
    fn segment_at(&self, offset: u64) -> io::Result<Segment> {
        // What is not on disk yet is data, too.
        let piece = self.pieces_in(offset, 1).next();
        if let Some((at, bytes)) = piece {
            return Ok(Segment::Data(at.saturating_add(bytes.len() as u64)));
        }
        let next = self.pieces.range(offset..).next().map(|(at, _)| *at);
        let before = |end: u64| next.map_or(end, |next| end.min(next));
        if offset >= self.inner.len()? {
            return Ok(Segment::Hole(before(u64::MAX)));
        }
        Ok(match self.inner.segment_at(offset)? {
            Segment::Data(end) => Segment::Data(before(end)),
            Segment::Hole(end) => Segment::Hole(before(end)),
        })
    }
    fn stat(&self) -> io::Result<Stat> {
        let stat = self.inner.stat()?;
        let len = stat.len.max(self.end());
        Ok(Stat { len, ..stat })
    }
    fn lock(&self, want: LockSet) -> io::Result<Lock> {
        self.inner.lock(want)
    }
    fn probe_lock(&self, want: LockSet) -> io::Result<LockProbe> {
        self.inner.probe_lock(want)
    }
}
