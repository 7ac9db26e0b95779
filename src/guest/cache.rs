//! What was read lately, within a bound of memory: any values by key, and the chunks of a source.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use crate::block::{BlockSource, Source};
use crate::error::Result;

/// Values by key. Each has a weight, and those that were used longest ago make room for new ones.
pub(crate) struct Cache<K, V> {
    most: usize,
    held: Mutex<Held<K, V>>,
}

struct Held<K, V> {
    values: HashMap<K, Value<V>>,
    weight: usize,
    clock: u64,
}

struct Value<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<K: Hash + Eq + Copy, V: Clone> Cache<K, V> {
    /// Room for values that weigh `most` together.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            held: Mutex::new(Held {
                values: HashMap::new(),
                weight: 0,
                clock: 0,
            }),
        }
    }

    /// The value of a key if it is held.
    pub(crate) fn get(&self, key: K) -> Option<V> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clock += 1;
        let now = held.clock;
        let found = held.values.get_mut(&key)?;
        found.used = now;
        Some(found.value.clone())
    }

    /// Holds a value; one that weighs more than all the room is not held.
    pub(crate) fn put(&self, key: K, value: V, weight: usize) {
        if weight > self.most {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clock += 1;
        let used = held.clock;
        let value = Value {
            value,
            weight,
            used,
        };
        if let Some(before) = held.values.insert(key, value) {
            held.weight -= before.weight;
        }
        held.weight += weight;
        if held.weight > self.most {
            held.shrink(self.most - self.most / 4);
        }
    }

    /// The value of a key: the one that is held, or what `make` gives with its weight.
    pub(crate) fn get_or(&self, key: K, make: impl FnOnce() -> Result<(V, usize)>) -> Result<V> {
        if let Some(found) = self.get(key) {
            return Ok(found);
        }
        let (value, weight) = make()?;
        self.put(key, value.clone(), weight);
        Ok(value)
    }
}

impl<K: Hash + Eq + Copy, V> Held<K, V> {
    /// Lets go of what was used longest ago until the rest weighs `most`, but never of what was used last.
    fn shrink(&mut self, most: usize) {
        let mut by_use: Vec<(u64, K)> = self
            .values
            .iter()
            .map(|(key, value)| (value.used, *key))
            .collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        by_use.pop();
        for (_, key) in by_use {
            if self.weight <= most {
                break;
            }
            if let Some(gone) = self.values.remove(&key) {
                self.weight -= gone.weight;
            }
        }
    }
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

/// Bytes that are read at once where small pieces near each other are asked for: a cluster of most images.
pub const CHUNK: usize = 64 << 10;
/// The smallest piece that is kept: a block of most filesystems.
pub const PAGE: usize = 4 << 10;

/// A source whose chunks are held for a while. For metadata, which is read in small pieces. What is missing of what is
/// asked for is read at once.
#[derive(Debug)]
pub struct Chunks {
    below: Source,
    size: usize,
    chunks: Cache<u64, Arc<[u8]>>,
}

impl Chunks {
    /// Holds `most` bytes at the most, in chunks of `size` bytes: [`CHUNK`] where pieces lie near each other, [`PAGE`]
    /// where they do not.
    #[must_use]
    pub fn new(below: Source, size: usize, most: usize) -> Self {
        Self {
            below,
            size: size.max(1),
            chunks: Cache::new(most),
        }
    }

    /// Reads chunks one after the other, the first of which is not held, and holds them.
    fn fetch(&self, first: u64, count: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; count.saturating_mul(self.size)];
        self.below
            .read_at(first.saturating_mul(self.size as u64), &mut bytes)?;
        for (number, chunk) in (first..).zip(bytes.chunks_exact(self.size)) {
            self.chunks.put(number, chunk.into(), self.size);
        }
        Ok(bytes)
    }
}

/// Copies what lies from `from` on to the front of `to`, and says how many bytes that were.
fn copy(bytes: &[u8], from: usize, to: &mut [u8]) -> usize {
    let found = bytes.get(from..).unwrap_or_default();
    let len = found.len().min(to.len());
    if let (Some(to), Some(found)) = (to.get_mut(..len), found.get(..len)) {
        to.copy_from_slice(found);
    }
    len
}

impl BlockSource for Chunks {
    fn len(&self) -> u64 {
        self.below.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if buf.len() >= CHUNK {
            return self.below.read_at(offset, buf);
        }
        let size = self.size as u64;
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let number = at / size;
            let within = usize::try_from(at % size).unwrap_or_default();
            let len = match self.chunks.get(number) {
                Some(chunk) => copy(&chunk, within, rest),
                None => {
                    let count = (within + rest.len()).div_ceil(self.size);
                    copy(&self.fetch(number, count)?, within, rest)
                }
            };
            at = at.saturating_add(len as u64);
            rest = std::mem::take(&mut rest).get_mut(len..).unwrap_or_default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let cache = Cache::new(8);
        for key in 0..8 {
            cache.put(key, key * 10, 1);
        }
        assert_eq!(cache.get(0), Some(0));
        cache.put(8, 80, 1);
        assert_eq!(cache.get(0), Some(0), "used just before");
        assert_eq!((cache.get(1), cache.get(8)), (None, Some(80)));
        cache.put(9, 90, 9);
        assert_eq!(cache.get(9), None, "heavier than all the room");
        cache.put(10, 100, 8);
        assert_eq!((cache.get(8), cache.get(10)), (None, Some(100)));
    }

    #[test]
    fn chunks_give_the_bytes_below() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|at| (at % 251) as u8).collect();
        for size in [CHUNK, PAGE] {
            let chunks = Chunks::new(Arc::new(bytes.clone()), size, 2 * CHUNK);
            for (at, len) in [
                (0, 10),
                (65_530, 20),
                (4_090, 5_000),
                (0, 150_000),
                (60_000, 65_535),
                (199_990, 10),
            ] {
                let mut buf = vec![0xee; len];
                chunks.read_at(at as u64, &mut buf).unwrap();
                assert_eq!(buf, bytes[at..at + len], "{at} {len}");
            }
            let mut past = [0xee; 4];
            chunks.read_at(199_998, &mut past).unwrap();
            assert_eq!(past, [bytes[199_998], bytes[199_999], 0, 0]);
        }
    }
}
