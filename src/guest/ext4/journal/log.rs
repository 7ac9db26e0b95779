//! The blocks of a journal that is a file of the filesystem, read ahead as they follow each other.

use crate::error::Result;
use crate::ext4::error::damaged;
use crate::ext4::visit::Run;
use crate::ext4::volume::Volume;

/// Bytes read at once.
const AHEAD: u64 = 256 << 10;

/// The file, and what was read of it last.
pub(super) struct Log<'a> {
    volume: &'a Volume,
    runs: Vec<Run>,
    bytes: Vec<u8>,
    /// The first block that `bytes` holds.
    first: u64,
}

impl<'a> Log<'a> {
    /// The journal in the file with these blocks.
    pub(super) fn new(volume: &'a Volume, runs: Vec<Run>) -> Self {
        Self {
            volume,
            runs,
            bytes: Vec::new(),
            first: 0,
        }
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.logical + run.len)
    }

    /// Where a block is, in bytes of the volume, and how many follow it there.
    ///
    /// # Errors
    /// When the file has no such block.
    pub(super) fn place(&self, number: u32) -> Result<(u64, u64)> {
        let number = u64::from(number);
        let next = self.runs.partition_point(|run| run.logical <= number);
        let run = next.checked_sub(1).and_then(|at| self.runs.get(at));
        match run.filter(|run| number < run.logical + run.len) {
            Some(run) => {
                let within = number - run.logical;
                let offset = self
                    .volume
                    .block_offset(run.physical + within, run.len - within)?;
                Ok((offset, run.len - within))
            }
            None => Err(damaged("journal", 0, format!("it has no block {number}"))),
        }
    }

    /// A block.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub(super) fn block(&mut self, number: u32) -> Result<&[u8]> {
        let len = self.volume.superblock.block_len();
        let held = (self.bytes.len() / len.max(1)) as u64;
        let wanted = u64::from(number);
        if wanted < self.first || wanted >= self.first + held {
            let (offset, follow) = self.place(number)?;
            let size = self.volume.superblock.block_bytes();
            let count = follow.min((AHEAD / size).max(1));
            self.bytes
                .resize(usize::try_from(count * size).unwrap_or(usize::MAX), 0);
            self.volume.source.read_at(offset, &mut self.bytes)?;
            self.first = wanted;
        }
        let at = usize::try_from(wanted - self.first).unwrap_or(usize::MAX);
        let from = at.saturating_mul(len);
        let found = self.bytes.get(from..from.saturating_add(len));
        Ok(found.unwrap_or_default())
    }
}
