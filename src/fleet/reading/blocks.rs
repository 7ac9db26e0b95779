//! Bytes of a file that were read a moment ago, so that tables and folders, which are read in small pieces, do not
//! cost a way to the host for each.

use std::collections::VecDeque;
use std::io::Read;
use std::time::{Duration, Instant};

/// Bytes that are read at once of what is asked for in smaller pieces.
pub(super) const BLOCK: usize = 64 << 10;
/// Blocks that are kept of one file.
const KEPT: usize = 64;
/// How long they are believed: somebody may be writing the file.
const FRESH: Duration = Duration::from_secs(2);

/// The blocks, the one that was used last at the end.
#[derive(Debug, Default)]
pub(super) struct Blocks(VecDeque<Block>);

#[derive(Debug)]
struct Block {
    number: u64,
    read: Instant,
    bytes: Vec<u8>,
}

impl Blocks {
    /// Copies what is known of a block, from an offset in it on; none where it is not known. What it is short of is
    /// not in the file.
    pub(super) fn copy(&mut self, number: u64, at: usize, to: &mut [u8]) -> Option<usize> {
        let place = self.0.iter().position(|block| block.number == number)?;
        let block = self.0.remove(place)?;
        if block.read.elapsed() > FRESH {
            return None;
        }
        let copied = copy(&block.bytes, at, to);
        self.0.push_back(block);
        Some(copied)
    }

    /// Takes in a block.
    pub(super) fn keep(&mut self, number: u64, bytes: Vec<u8>) {
        self.0.retain(|block| block.number != number);
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Block {
            number,
            read: Instant::now(),
            bytes,
        });
    }
}

/// Copies bytes from an offset on, as many as there are.
pub(super) fn copy(bytes: &[u8], at: usize, to: &mut [u8]) -> usize {
    let mut rest = bytes.get(at..).unwrap_or_default();
    // Memory is read without fail.
    rest.read(to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_known_until_others_were_used_since() {
        let mut blocks = Blocks::default();
        let mut to = [0; 4];
        assert_eq!(blocks.copy(0, 0, &mut to), None);
        blocks.keep(0, vec![1, 2, 3]);
        assert_eq!(blocks.copy(0, 1, &mut to), Some(2));
        assert_eq!(to, [2, 3, 0, 0]);
        assert_eq!(blocks.copy(0, 9, &mut to), Some(0));
        for number in 1..KEPT as u64 {
            blocks.keep(number, Vec::new());
        }
        assert!(blocks.copy(0, 0, &mut to).is_some());
        blocks.keep(KEPT as u64, Vec::new());
        assert!(blocks.copy(0, 0, &mut to).is_some());
        assert!(blocks.copy(1, 0, &mut to).is_none());
    }
}
