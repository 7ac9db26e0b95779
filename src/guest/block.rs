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

/// A volume put together of segments of a disk, as a partition is of one and a linear logical volume of some. Bytes
/// of the volume in no segment are zero.
#[derive(Debug, Clone)]
pub struct Mapped {
    disk: Source,
    /// Sorted by their place in the volume, without overlap.
    segments: Vec<Segment>,
    len: u64,
}

impl Mapped {
    /// The part of a disk that a partition covers; cut where the disk ends.
    #[must_use]
    pub fn partition(disk: Source, range: Range<u64>) -> Self {
        let start = range.start.min(disk.len());
        let len = range.end.min(disk.len()).saturating_sub(start);
        Self::new(
            disk,
            vec![Segment {
                volume: 0,
                disk: start,
                len,
            }],
        )
    }

    /// A volume of these segments, which may come in any order. Of segments that overlap in the volume, the one that
    /// begins first counts.
    #[must_use]
    pub fn new(disk: Source, mut segments: Vec<Segment>) -> Self {
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
            disk,
            segments: kept,
            len,
        }
    }

    /// Its segments in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
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
}

impl BlockSource for Mapped {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let next = self
                .segments
                .partition_point(|one| one.volume + one.len <= at);
            let (until, from) = match self.segments.get(next) {
                Some(one) if one.volume <= at => {
                    (one.volume + one.len, Some(one.disk + (at - one.volume)))
                }
                Some(one) => (one.volume, None),
                None => (u64::MAX, None),
            };
            let len = usize::try_from(until - at)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            if len == 0 {
                rest.fill(0);
                break;
            }
            let (part, after) = rest.split_at_mut(len);
            match from {
                Some(from) => self.disk.read_at(from, part)?,
                None => part.fill(0),
            }
            at = at.saturating_add(len as u64);
            rest = after;
        }
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
        let volume = Mapped::new(disk.clone(), segments);
        assert_eq!(volume.len(), 15);
        assert_eq!(read(&volume, 2, 12), [52, 53, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(read(&volume, 14, 3), [4, 0, 0]);
        let changed: Ranges = [2..4, 53..60].into_iter().collect();
        assert_eq!(volume.from_disk(&changed).as_slice(), [3..4, 12..14]);
        assert_eq!(
            volume.to_disk(&volume.from_disk(&changed)).as_slice(),
            [2..4, 53..54]
        );
        let cut = Mapped::partition(disk, 90..200);
        assert_eq!((cut.len(), read(&cut, 8, 4)), (10, vec![98, 99, 0, 0]));
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
