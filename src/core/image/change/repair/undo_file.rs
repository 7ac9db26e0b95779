//! The file that keeps what a repair replaces, and putting it back. A repair writes its tables where
//! nothing was in use, so what is to be put back is the header; the old tables' bytes are kept in case
//! their places are given to something else, and so is what lay in the free places that the repair
//! writes and past the end that it cuts the file to: put back, the file is what it was to the byte.
//!
//! All numbers are big-endian, 8 bytes each: magic, length of the image file, number of ranges kept,
//! number of ranges that the repair wrote; for each kept range its offset and length; for each
//! written one its offset, length and digest; the bytes of the kept ranges; the digest of all of
//! this. The first range of both kinds is the first cluster.

use std::collections::BTreeSet;
use std::path::Path;

use crate::host::FileKind;
use crate::image::error::{OfFile, Result};
use crate::image::internal::{self, Fault};
use crate::image::{Error, ErrorKind, ImageFile};

const MAGIC: u64 = u64::from_be_bytes(*b"qnptabl1");
/// Bytes moved at once.
const PIECE: u64 = 1 << 20;
/// Ranges of either kind that are read from a file.
const MOST_RANGES: u64 = 1 << 24;

/// FNV-1a, 64 bits: enough to tell that something was changed by chance, the same for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut digest = Self::new();
        digest.add(bytes);
        digest
    }
}

/// A range that the repair wrote.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) digest: Digest,
}

/// A range of the image whose bytes are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct SavedRange {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// What a repair replaces, as it is kept in a file.
#[derive(Debug)]
pub struct UndoFile {
    file: ImageFile,
    image_len: u64,
    kept: Vec<SavedRange>,
    written: Vec<Written>,
    /// Where the kept bytes begin in the file.
    bytes_at: u64,
}

/// Writes ranges of `image` and what will be written to it into `out`, and waits until they are on
/// stable storage.
pub(super) fn save(
    image: &ImageFile,
    out: &ImageFile,
    image_len: u64,
    kept: &[SavedRange],
    written: &[Written],
) -> Result<()> {
    let mut head = Vec::new();
    for number in [MAGIC, image_len, kept.len() as u64, written.len() as u64] {
        head.extend_from_slice(&number.to_be_bytes());
    }
    for range in kept {
        head.extend_from_slice(&range.offset.to_be_bytes());
        head.extend_from_slice(&range.len.to_be_bytes());
    }
    for range in written {
        for number in [range.offset, range.len, range.digest.0] {
            head.extend_from_slice(&number.to_be_bytes());
        }
    }
    let mut at = head.len() as u64;
    let mut digest = Digest::of(&head);
    out.write_at(&head, 0, "write")?;
    for range in kept {
        each_piece(image, range.offset, range.len, &mut |_, bytes| {
            digest.add(bytes);
            out.write_at(bytes, at, "write")?;
            at += bytes.len() as u64;
            Ok(())
        })?;
    }
    out.write_at(&digest.0.to_be_bytes(), at, "write")?;
    out.flush()
}

/// Reads a range piece by piece: offset and bytes. What lies past the end of the file is zero.
fn each_piece(
    file: &ImageFile,
    offset: u64,
    len: u64,
    tell: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = Vec::new();
    let mut done = 0;
    while done < len {
        let piece = (len - done).min(PIECE);
        buffer.resize(internal::index(piece).of(file)?, 0);
        let at = offset.saturating_add(done);
        file.read(&mut buffer, at)?;
        tell(at, &buffer)?;
        done += piece;
    }
    Ok(())
}

fn lost(image: &Path, place: u64) -> Error {
    let text = format!(
        "the place of its old tables at {place:#x} holds something else now: what was saved does not fit it any more"
    );
    Error::new(image, ErrorKind::Changed(text))
}

impl UndoFile {
    /// Reads what was saved, and that it is complete.
    ///
    /// # Errors
    /// When the file cannot be read, is no such file, or was cut short or changed.
    pub fn open(file: &ImageFile) -> Result<Self> {
        let damaged = |what: &str| {
            let text = format!("holds no saved tables of a repair: {what}");
            Error::new(file, ErrorKind::Damaged(text))
        };
        let len = file.len()?;
        let number = |at: u64| -> Result<u64> {
            let mut bytes = [0; 8];
            file.read_at(&mut bytes, at, "read")?;
            Ok(u64::from_be_bytes(bytes))
        };
        if number(0)? != MAGIC {
            return Err(damaged("its first bytes are others"));
        }
        let (image_len, kept_count, written_count) = (number(8)?, number(16)?, number(24)?);
        let head = kept_count
            .checked_mul(16)
            .and_then(|n| {
                n.checked_add(written_count.checked_mul(24)?)?
                    .checked_add(32)
            })
            .filter(|head| kept_count.max(written_count) <= MOST_RANGES && *head < len)
            .ok_or_else(|| damaged("its lists are longer than it is"))?;
        let mut bytes = vec![0; internal::index(head).of(file)?];
        file.read_at(&mut bytes, 0, "read")?;
        let (words, _) = bytes.as_chunks::<8>();
        let mut numbers = words.iter().skip(4).map(|word| u64::from_be_bytes(*word));
        let mut next = || {
            let number = numbers.next();
            number
                .ok_or(Fault::new("a list of saved tables that is too short"))
                .of(file)
        };
        let kept: Vec<SavedRange> = (0..kept_count)
            .map(|_| {
                Ok(SavedRange {
                    offset: next()?,
                    len: next()?,
                })
            })
            .collect::<Result<_>>()?;
        let written: Vec<Written> = (0..written_count)
            .map(|_| {
                Ok(Written {
                    offset: next()?,
                    len: next()?,
                    digest: Digest(next()?),
                })
            })
            .collect::<Result<_>>()?;
        if !kept
            .first()
            .is_some_and(|range| range.offset == 0 && range.len > 0)
        {
            return Err(damaged("it does not begin with the header"));
        }
        let bytes_len = kept
            .iter()
            .try_fold(0_u64, |sum, range| sum.checked_add(range.len));
        let end = bytes_len.and_then(|n| head.checked_add(n));
        let Some(end) = end.filter(|end| end.checked_add(8) == Some(len)) else {
            return Err(damaged("it is not as long as it says"));
        };
        let mut digest = Digest::new();
        each_piece(file, 0, end, &mut |_, bytes| {
            digest.add(bytes);
            Ok(())
        })?;
        if Digest(number(end)?) != digest {
            return Err(damaged("its bytes are not those that were saved"));
        }
        Ok(Self {
            file: file.clone(),
            image_len,
            kept,
            written,
            bytes_at: head,
        })
    }

    /// Bytes of tables that are kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.kept.iter().map(|range| range.len).sum()
    }

    /// Whether the image is as the repair left it, so that what was saved can be put back.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] says what was changed since; others when a file cannot be read.
    pub fn may_put_back(&self, image: &ImageFile) -> Result<()> {
        let free = self.free_places();
        if self.is_switched(image)? {
            // A putting back that was cut off: the old tables are in place, or it is somebody else's.
            let mut at = self.bytes_at;
            for SavedRange { offset, len } in self.kept.iter().skip(1) {
                at = if free.contains(offset) {
                    at + len
                } else {
                    self.compare(image, *offset, *len, at, &mut |place, _| {
                        Err(lost(image.path(), place))
                    })?
                };
            }
            return Ok(());
        }
        for range in &self.written {
            if self.digest_at(image, range)? != range.digest {
                let text = format!(
                    "its tables at {:#x} are not those that the repair wrote: it was changed since, and what was \
                     saved does not fit it any more",
                    range.offset
                );
                return Err(Error::new(image, ErrorKind::Changed(text)));
            }
        }
        let mut at = self.bytes_at;
        for SavedRange { offset, len } in self.kept.iter().skip(1) {
            // What the repair wrote there was looked at above.
            at = if free.contains(offset) {
                at + len
            } else {
                self.compare(image, *offset, *len, at, &mut |_, _| Ok(()))?
            };
        }
        Ok(())
    }

    /// Whether the header is the one that was saved: the old tables are back before it is.
    fn is_switched(&self, image: &ImageFile) -> Result<bool> {
        let len = self.header_len()?.min(512);
        let mut saved = vec![0; internal::index(len).of(&self.file)?];
        self.file.read_padded(&mut saved, self.bytes_at, "read")?;
        let mut now = vec![0; saved.len()];
        image.read(&mut now, 0)?;
        if now != saved {
            return Ok(false);
        }
        // A repair that left the header as it was is told by its tables only.
        match self.written.first() {
            Some(range) => Ok(self.digest_at(image, range)? != range.digest),
            None => Ok(true),
        }
    }

    /// Whether all is as it was before the repair, the end of the file and what was free too.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn is_put_back(&self, image: &ImageFile) -> Result<bool> {
        if !self.is_switched(image)? || self.may_put_back(image).is_err() {
            return Ok(false);
        }
        let len = image.len()?;
        let is_rest = self.may_be_cut(image, len)?;
        Ok(!is_rest && self.still_written(image)?.is_empty())
    }

    /// The free places that hold what the repair wrote.
    fn still_written(&self, image: &ImageFile) -> Result<BTreeSet<u64>> {
        let kept: BTreeSet<u64> = self.kept.iter().skip(1).map(|range| range.offset).collect();
        let mut places = BTreeSet::new();
        for range in self.written.iter().skip(1) {
            if kept.contains(&range.offset) && self.digest_at(image, range)? == range.digest {
                places.insert(range.offset);
            }
        }
        Ok(places)
    }

    /// Whether the file ends in what the repair wrote and in nothing else.
    fn may_be_cut(&self, image: &ImageFile, len: u64) -> Result<bool> {
        if len <= self.image_len {
            return Ok(false);
        }
        let past = |range: &&Written| range.offset >= self.image_len;
        for range in self.written.iter().skip(1).filter(past) {
            if self.digest_at(image, range)? != range.digest {
                return Ok(false);
            }
        }
        self.wrote_all_of(image, self.image_len, len)
    }

    /// Bytes of the first range that is kept, a cluster with the header.
    fn header_len(&self) -> Result<u64> {
        let first = internal::item(&self.kept, 0).of(&self.file)?;
        Ok(first.len)
    }

    fn digest_at(&self, image: &ImageFile, range: &Written) -> Result<Digest> {
        let mut digest = Digest::new();
        each_piece(image, range.offset, range.len, &mut |_, bytes| {
            digest.add(bytes);
            Ok(())
        })?;
        Ok(digest)
    }

    /// Where the kept ranges begin that the repair wrote over: nothing was in use there.
    fn free_places(&self) -> BTreeSet<u64> {
        self.written.iter().skip(1).map(|w| w.offset).collect()
    }

    /// Compares a kept range with the image and tells the pieces that are not there any more.
    /// Gives where the next range's bytes are.
    fn compare(
        &self,
        image: &ImageFile,
        offset: u64,
        len: u64,
        at: u64,
        tell: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
    ) -> Result<u64> {
        // The first cluster comes first and is put back by the switch.
        let first = self.header_len()?;
        let mut there = Vec::new();
        each_piece(&self.file, at + first, len, &mut |from, saved| {
            let place = offset.saturating_add(from - at - first);
            there.resize(saved.len(), 0);
            image.read(&mut there, place)?;
            if there == saved {
                return Ok(());
            }
            // A hole was punched there, and a putting back that was cut off has filled a part of it;
            // anything else is somebody's.
            let mut pairs = there.iter().zip(saved);
            if pairs.any(|(is, was)| *is != 0 && is != was) {
                return Err(lost(image.path(), place));
            }
            tell(place, saved)
        })?;
        Ok(at + len)
    }

    /// Makes the image what it was before the repair. A crash leaves it repaired or as it was.
    ///
    /// # Errors
    /// As [`UndoFile::may_put_back`], and when the image cannot be written.
    pub fn put_back(&self, image: &ImageFile) -> Result<()> {
        self.may_put_back(image)?;
        let free = if self.is_switched(image)? {
            // Somebody may have written since into what is free.
            self.still_written(image)?
        } else {
            self.restore(image)?;
            self.free_places()
        };
        let now = image.len()?;
        if self.may_be_cut(image, now)? {
            image.set_len(self.image_len, "set the length")?;
        }
        self.restore_free(image, &free)
    }

    /// Makes the image what it was, to the byte and the length, after a repair that failed anywhere:
    /// nobody else wrote it since it was begun.
    ///
    /// # Errors
    /// When the image cannot be written: it is as it was or repaired, and perhaps longer.
    pub fn roll_back(&self, image: &ImageFile) -> Result<()> {
        self.restore(image)?;
        let stat = image.stat("ask the length")?;
        if stat.kind == FileKind::Regular && stat.len != self.image_len {
            image.set_len(self.image_len, "set the length")?;
        }
        self.restore_free(image, &self.free_places())
    }

    /// Writes the old tables where they are gone, then switches back to them.
    fn restore(&self, image: &ImageFile) -> Result<()> {
        let len = image.len()?;
        if len < self.image_len {
            image.set_len(self.image_len, "set the length")?;
        }
        let free = self.free_places();
        let mut at = self.bytes_at;
        for SavedRange { offset, len } in self.kept.iter().skip(1) {
            at = if free.contains(offset) {
                at + len
            } else {
                self.compare(image, *offset, *len, at, &mut |place, bytes| {
                    image.write_at(
                        bytes,
                        place,
                        format_args!("write the old tables at {place:#x}"),
                    )
                })?
            };
        }
        image.flush()?;
        let mut first = vec![0; internal::index(self.header_len()?).of(&self.file)?];
        self.file.read_padded(&mut first, self.bytes_at, "read")?;
        let mut there = vec![0; first.len()];
        image.read_padded(&mut there, 0, "read")?;
        // The switch is one sector; what follows it was not in use in the repaired header.
        for part in [0..512.min(first.len()), 512.min(first.len())..first.len()] {
            let old = internal::part(&first, part.clone()).of(image)?;
            if old != internal::part(&there, part.clone()).of(image)? {
                image.write_at(old, part.start as u64, "write the header")?;
                image.flush()?;
            }
        }
        Ok(())
    }

    /// With nothing in use there any more: what lay in the places that the repair wrote.
    fn restore_free(&self, image: &ImageFile, free: &BTreeSet<u64>) -> Result<()> {
        let mut at = self.bytes_at;
        let mut there = Vec::new();
        for (nth, SavedRange { offset, len }) in self.kept.iter().enumerate() {
            if nth > 0 && free.contains(offset) {
                each_piece(&self.file, at, *len, &mut |from, saved| {
                    let place = offset.saturating_add(from - at);
                    there.resize(saved.len(), 0);
                    image.read(&mut there, place)?;
                    if there == saved {
                        return Ok(());
                    }
                    image.write_at(saved, place, format_args!("write what was at {place:#x}"))
                })?;
            }
            at += len;
        }
        image.flush()
    }

    /// Whether all that lies in this part of the file is what the repair wrote, and nothing between.
    fn wrote_all_of(&self, image: &ImageFile, from: u64, to: u64) -> Result<bool> {
        let cluster = self.header_len()?;
        let mut written: Vec<_> = self.written.iter().collect();
        written.sort_unstable_by_key(|range| range.offset);
        let (mut covered, mut empty) = (from, true);
        for range in written.into_iter().filter(|range| range.offset >= from) {
            if range.offset > covered {
                let gap = range.offset - covered;
                each_piece(image, covered, gap, &mut |_, bytes| {
                    empty &= bytes.iter().all(|byte| *byte == 0);
                    Ok(())
                })?;
            }
            let end = range.offset.saturating_add(range.len);
            covered = end.checked_next_multiple_of(cluster).unwrap_or(end);
        }
        Ok(empty && covered >= to)
    }
}
