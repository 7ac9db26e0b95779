//! Blocks in place of those of the volume, while a log is replayed.

use std::collections::BTreeMap;

use super::trouble::{Tried, trouble};
use crate::block::Source;

/// Bytes that are replaced at the most.
const MAX_BYTES: u64 = 256 << 20;

/// Bytes of a volume, and what was written over them.
#[derive(Debug)]
pub(super) struct Overlay<'a> {
    source: &'a Source,
    block_size: u64,
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(source: &'a Source, block_size: u32) -> Self {
        Self {
            source,
            block_size: block_size.into(),
            blocks: BTreeMap::new(),
        }
    }

    /// Fails where bytes lie outside of the volume.
    fn check(&self, offset: u64, len: usize) -> Tried<()> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.source.len() => Ok(()),
            _ => trouble(format!("it changes byte {offset}, which lies outside")),
        }
    }

    /// Bytes as they are by now.
    pub(super) fn read(&self, offset: u64, len: usize) -> Tried<Vec<u8>> {
        self.check(offset, len)?;
        let mut bytes = Vec::with_capacity(len);
        let mut at = offset;
        let end = offset + len as u64;
        while at < end {
            let number = at / self.block_size;
            let until = end.min((number + 1) * self.block_size);
            let within = usize::try_from(at % self.block_size).unwrap_or_default();
            let count = usize::try_from(until - at).unwrap_or_default();
            match self.blocks.get(&number) {
                Some(block) => {
                    let part = block.get(within..within + count);
                    bytes.extend_from_slice(part.unwrap_or_default());
                }
                None => {
                    let mut part = vec![0; count];
                    self.source.read_at(at, &mut part)?;
                    bytes.append(&mut part);
                }
            }
            at = until;
        }
        Ok(bytes)
    }

    /// Writes over bytes.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Tried<()> {
        self.check(offset, bytes.len())?;
        let size = usize::try_from(self.block_size).unwrap_or_default();
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let number = at / self.block_size;
            let within = usize::try_from(at % self.block_size).unwrap_or_default();
            let (part, after) = rest.split_at(rest.len().min(size - within));
            if !self.blocks.contains_key(&number) {
                if (self.blocks.len() as u64 + 1) * self.block_size > MAX_BYTES {
                    return trouble(format!("it changes more than {MAX_BYTES} bytes"));
                }
                let mut block = vec![0; size].into_boxed_slice();
                if part.len() < size {
                    self.source.read_at(number * self.block_size, &mut block)?;
                }
                self.blocks.insert(number, block);
            }
            let block = self.blocks.get_mut(&number);
            if let Some(to) = block.and_then(|block| block.get_mut(within..within + part.len())) {
                to.copy_from_slice(part);
            }
            at += part.len() as u64;
            rest = after;
        }
        Ok(())
    }

    /// The blocks that were written to.
    pub(super) fn into_blocks(self) -> BTreeMap<u64, Box<[u8]>> {
        self.blocks
    }
}
