//! Bytes at an offset: a disk as its image shows it, a volume on it, a volume with its journal replayed.
//! Every source is read by `&self`, from many threads.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use qanopy_core::Chain;

use crate::error::{Error, Result};
use crate::ranges::Ranges;

/// Something that can be read at any offset.
pub trait BlockSource: Send + Sync + fmt::Debug {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes from `offset` on; past the end they are zero.
    ///
    /// # Errors
    /// When what lies below cannot be read.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Whether it has no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A source that many readers share.
pub type Source = Arc<dyn BlockSource>;

impl BlockSource for Chain {
    fn len(&self) -> u64 {
        self.virtual_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        Ok(Self::read_at(self, buf, offset)?)
    }
}

/// A source that gives up as soon as nobody waits for what is read: whatever reads through it stops then.
pub struct Stoppable {
    source: Source,
    stop: Stop,
}

/// Whether nobody waits any more; once it says so it must not say otherwise.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

impl Stoppable {
    /// Reads through another source, as long as `stop` says nothing else.
    #[must_use]
    pub fn new(source: Source, stop: Stop) -> Self {
        Self { source, stop }
    }
}

impl fmt::Debug for Stoppable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl BlockSource for Stoppable {
    fn len(&self) -> u64 {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if (self.stop)() {
            return Err(Error::Cancelled);
        }
        self.source.read_at(offset, buf)
    }
}

impl BlockSource for Vec<u8> {
    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or_default();
        let len = rest.len().min(buf.len());
        let (part, zeros) = buf.split_at_mut(len);
        part.copy_from_slice(rest.get(..len).unwrap_or_default());
        zeros.fill(0);
        Ok(())
    }
}

/// Bytes of a volume that lie elsewhere on the disk below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where they are in the volume.
    pub volume: u64,
    /// Where they are on the disk.
    pub disk: u64,
    /// How many.
    pub len: u64,
}

/// Where the bytes of a volume are on the disk: a partition is one segment, a logical volume some. Bytes of the volume
/// in no segment are stored nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// Sorted by their place in the volume, without overlap there.
    segments: Vec<Segment>,
    len: u64,
}

/// Segments of a volume at the most: keeps forged tables of volumes within each other from taking all memory.
const MOST_SEGMENTS: usize = 1 << 16;

impl Place {
    /// One range of the disk.
    #[must_use]
    pub fn range(range: Range<u64>) -> Self {
        Self::new(vec![Segment {
            volume: 0,
            disk: range.start,
            len: range.end.saturating_sub(range.start),
        }])
    }

    /// These segments, which may come in any order. Of segments that overlap in the volume, the one that begins first
    /// counts.
    #[must_use]
    pub fn new(mut segments: Vec<Segment>) -> Self {
        segments.sort_by_key(|segment| segment.volume);
        let mut kept: Vec<Segment> = Vec::with_capacity(segments.len());
        for mut segment in segments {
            segment.len = segment
                .len
                .min(u64::MAX - segment.volume)
                .min(u64::MAX - segment.disk);
            let taken = kept.last().map_or(0, |last| last.volume + last.len);
            if segment.volume >= taken && segment.len > 0 {
                kept.push(segment);
            }
        }
        let len = kept.last().map_or(0, |last| last.volume + last.len);
        Self {
            segments: kept,
            len,
        }
    }

    /// Its segments in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Where the last segment ends in the volume.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which bytes of the volume these bytes of the disk are.
    #[must_use]
    pub fn from_disk(&self, disk: &Ranges) -> Ranges {
        let mut found = Ranges::new();
        for segment in &self.segments {
            for part in disk.within(segment.disk..segment.disk + segment.len) {
                let start = segment.volume + (part.start - segment.disk);
                found.insert(start..start + (part.end - part.start));
            }
        }
        found
    }

    /// Which bytes of the disk these bytes of the volume are.
    #[must_use]
    pub fn to_disk(&self, volume: &Ranges) -> Ranges {
        let mut found = Ranges::new();
        for segment in &self.segments {
            for part in volume.within(segment.volume..segment.volume + segment.len) {
                let start = segment.disk + (part.start - segment.volume);
                found.insert(start..start + (part.end - part.start));
            }
        }
        found
    }

    /// The segments in which a range of the volume lies, cut to it.
    fn within(&self, range: Range<u64>) -> impl Iterator<Item = Segment> + '_ {
        let first = self
            .segments
            .partition_point(|one| one.volume + one.len <= range.start);
        let rest = self.segments.iter().skip(first);
        rest.take_while(move |one| one.volume < range.end)
            .map(move |one| {
                let start = one.volume.max(range.start);
                let end = (one.volume + one.len).min(range.end);
                Segment {
                    volume: start,
                    disk: one.disk + (start - one.volume),
                    len: end - start,
                }
            })
    }

    /// The place on the disk of a volume that has this place in a volume that is itself at `outer`.
    ///
    /// # Errors
    /// When it has too many segments.
    pub fn inside(&self, outer: &Self) -> Result<Self> {
        let mut segments = Vec::new();
        for own in &self.segments {
            for part in outer.within(own.disk..own.disk + own.len) {
                segments.push(Segment {
                    volume: own.volume + (part.volume - own.disk),
                    ..part
                });
                if segments.len() > MOST_SEGMENTS {
                    return Err(Error::TooMuch {
                        what: "segments of a volume",
                        most: MOST_SEGMENTS as u64,
                    });
                }
            }
        }
        Ok(Self::new(segments))
    }

    /// The bytes of the volume that lie elsewhere than `other` has them, as far as both reach.
    #[must_use]
    pub fn moved_from(&self, other: &Self) -> Ranges {
        let mut moved = Ranges::new();
        for own in &self.segments {
            let mut at = own.volume;
            for part in other.within(own.volume..own.volume + own.len) {
                moved.insert(at..part.volume);
                at = part.volume + part.len;
                if part.disk != own.disk + (part.volume - own.volume) {
                    moved.insert(part.volume..at);
                }
            }
            moved.insert(at.min(other.len)..(own.volume + own.len).min(other.len));
        }
        moved
    }
}

/// A volume read where it is on what lies below. Bytes of the volume in no segment are zero.
#[derive(Debug, Clone)]
pub struct Mapped {
    below: Source,
    place: Place,
}

impl Mapped {
    /// The volume with this place on `below`.
    #[must_use]
    pub fn new(below: Source, place: Place) -> Self {
        Self { below, place }
    }
}

impl BlockSource for Mapped {
    fn len(&self) -> u64 {
        self.place.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        let (mut at, mut rest) = (offset, buf);
        for segment in self.place.within(offset..end) {
            let (gap, after) = cut(rest, segment.volume - at);
            gap.fill(0);
            let (part, after) = cut(after, segment.len);
            self.below.read_at(segment.disk, part)?;
            at = segment.volume + segment.len;
            rest = after;
        }
        rest.fill(0);
        Ok(())
    }
}

/// A buffer's first bytes, and the rest.
fn cut(buf: &mut [u8], len: u64) -> (&mut [u8], &mut [u8]) {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len());
    buf.split_at_mut(len)
}

/// Sources one after the other.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    parts: Vec<Source>,
    len: u64,
}

impl Joined {
    /// Adds a source at the end; where that is.
    pub fn push(&mut self, part: Source) -> u64 {
        let at = self.len;
        self.len = at.saturating_add(part.len());
        self.parts.push(part);
        at
    }
}

impl BlockSource for Joined {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let (mut at, mut rest) = (offset, buf);
        let mut start = 0_u64;
        for part in &self.parts {
            let end = start.saturating_add(part.len());
            if at < end && !rest.is_empty() {
                let (own, after) = cut(rest, end - at);
                part.read_at(at - start, own)?;
                at = end;
                rest = after;
            }
            start = end;
        }
        rest.fill(0);
        Ok(())
    }
}

/// A volume with some blocks replaced in memory, as replaying a journal would replace them on disk.
#[derive(Debug, Clone)]
pub struct Replayed {
    below: Source,
    block_size: usize,
    /// By their number.
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Replayed {
    /// `below` with these blocks in place of its own. A block of another length than `block_size` is left out; a
    /// `block_size` of 0 replaces nothing.
    #[must_use]
    pub fn new(below: Source, block_size: usize, mut blocks: BTreeMap<u64, Box<[u8]>>) -> Self {
        blocks.retain(|_, block| block_size > 0 && block.len() == block_size);
        Self {
            below,
            block_size: block_size.max(1),
            blocks,
        }
    }

    /// The bytes that were replaced.
    #[must_use]
    pub fn replaced(&self) -> Ranges {
        let size = self.block_size as u64;
        self.blocks
            .keys()
            .map(|block| block.saturating_mul(size)..block.saturating_add(1).saturating_mul(size))
            .collect()
    }
}

impl BlockSource for Replayed {
    fn len(&self) -> u64 {
        self.below.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.below.read_at(offset, buf)?;
        let size = self.block_size as u64;
        let end = offset.saturating_add(buf.len() as u64);
        for (number, block) in self.blocks.range(offset / size..end.div_ceil(size)) {
            let start = number.saturating_mul(size);
            let from = offset.max(start);
            let len = end.min(start.saturating_add(size)).saturating_sub(from);
            let (Ok(into), Ok(at), Ok(len)) = (
                usize::try_from(from - offset),
                usize::try_from(from - start),
                usize::try_from(len),
            ) else {
                continue;
            };
            if let (Some(part), Some(bytes)) =
                (buf.get_mut(into..into + len), block.get(at..at + len))
            {
                part.copy_from_slice(bytes);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &dyn BlockSource, at: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0xee; len];
        source.read_at(at, &mut buf).unwrap();
        buf
    }

    #[test]
    fn a_volume_is_read_where_its_segments_are() {
        let disk: Source = Arc::new((0..100).collect::<Vec<u8>>());
        let segments = vec![
            Segment {
                volume: 10,
                disk: 0,
                len: 5,
            },
            Segment {
                volume: 0,
                disk: 50,
                len: 4,
            },
            Segment {
                volume: 3,
                disk: 90,
                len: 4,
            },
        ];
        let place = Place::new(segments);
        let volume = Mapped::new(disk, place.clone());
        assert_eq!(volume.len(), 15);
        assert_eq!(read(&volume, 2, 12), [52, 53, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(read(&volume, 14, 3), [4, 0, 0]);
        let changed: Ranges = [2..4, 53..60].into_iter().collect();
        assert_eq!(place.from_disk(&changed).as_slice(), [3..4, 12..14]);
        assert_eq!(
            place.to_disk(&place.from_disk(&changed)).as_slice(),
            [2..4, 53..54]
        );
    }

    fn place(segments: &[(u64, u64, u64)]) -> Place {
        let one = |&(volume, disk, len): &(u64, u64, u64)| Segment { volume, disk, len };
        Place::new(segments.iter().map(one).collect())
    }

    #[test]
    fn a_volume_in_a_volume_is_where_both_say() {
        let outer = place(&[(0, 100, 10), (10, 50, 10)]);
        let inner = place(&[(0, 5, 10), (10, 18, 2)]);
        assert_eq!(
            inner.inside(&outer).unwrap(),
            place(&[(0, 105, 5), (5, 50, 5), (10, 58, 2)])
        );
        // What the outer one does not have is nowhere.
        let cut = place(&[(0, 15, 10)]).inside(&outer).unwrap();
        assert_eq!(cut, place(&[(0, 55, 5)]));
        let many = Place::new(
            (0..300)
                .map(|at| Segment {
                    volume: at * 300,
                    disk: 0,
                    len: 300,
                })
                .collect(),
        );
        let outer = Place::new(
            (0..300)
                .map(|at| Segment {
                    volume: at,
                    disk: at * 2,
                    len: 1,
                })
                .collect(),
        );
        assert!(matches!(many.inside(&outer), Err(Error::TooMuch { .. })));
    }

    fn one(range: Range<u64>) -> Ranges {
        let mut one = Ranges::new();
        one.insert(range);
        one
    }

    #[test]
    fn what_lies_elsewhere_was_moved() {
        let was = place(&[(0, 100, 10), (10, 200, 10)]);
        assert!(was.moved_from(&was).is_empty());
        let moved = place(&[(0, 100, 10), (10, 300, 10), (20, 400, 5)]);
        assert_eq!(moved.moved_from(&was), one(10..20));
        let before = place(&[(0, 90, 20)]);
        assert_eq!(before.moved_from(&was), one(0..20));
        let cut_otherwise = place(&[(0, 100, 4), (4, 104, 6), (10, 200, 5), (15, 205, 5)]);
        assert!(cut_otherwise.moved_from(&was).is_empty());
        let with_gap = place(&[(0, 100, 2), (8, 108, 2)]);
        assert_eq!(was.moved_from(&with_gap), one(2..8));
    }

    #[test]
    fn sources_one_after_the_other_are_one() {
        let mut joined = Joined::default();
        assert_eq!(joined.push(Arc::new(vec![1; 3])), 0);
        assert_eq!(joined.push(Arc::new(vec![2; 2])), 3);
        assert_eq!(read(&joined, 1, 6), [1, 1, 2, 2, 0, 0]);
        assert_eq!((joined.len(), read(&joined, 9, 1)), (5, vec![0]));
    }

    #[test]
    fn replaced_blocks_are_read_in_place_of_those_below() {
        let below: Source = Arc::new(vec![1; 16]);
        let block = |byte: u8, len: usize| vec![byte; len].into_boxed_slice();
        let blocks = [(1, block(7, 4)), (3, block(8, 4)), (2, block(9, 3))];
        let replayed = Replayed::new(below, 4, blocks.into());
        assert_eq!(read(&replayed, 3, 12), [1, 7, 7, 7, 7, 1, 1, 1, 1, 8, 8, 8]);
        assert_eq!(replayed.replaced().as_slice(), [4..8, 12..16]);
    }
}
