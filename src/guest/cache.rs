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

/// Bytes of a chunk: a cluster of most images below.
const CHUNK: usize = 64 << 10;

/// A source whose chunks of 64 KiB are held for a while. For metadata, which is read in small pieces that lie near
/// each other.
#[derive(Debug)]
pub struct Chunks {
    below: Source,
    chunks: Cache<u64, Arc<[u8]>>,
}

impl Chunks {
    /// Holds `most` bytes at the most.
    #[must_use]
    pub fn new(below: Source, most: usize) -> Self {
        Self {
            below,
            chunks: Cache::new(most),
        }
    }
}

impl BlockSource for Chunks {
    fn len(&self) -> u64 {
        self.below.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if buf.len() >= CHUNK {
            return self.below.read_at(offset, buf);
        }
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let number = at / CHUNK as u64;
            let chunk = self.chunks.get_or(number, || {
                let mut bytes = vec![0; CHUNK];
                self.below.read_at(number * CHUNK as u64, &mut bytes)?;
                Ok((bytes.into(), CHUNK))
            })?;
            let within = usize::try_from(at % CHUNK as u64).unwrap_or_default();
            let found = chunk.get(within..).unwrap_or_default();
            let len = found.len().min(rest.len());
            let (part, after) = rest.split_at_mut(len);
            part.copy_from_slice(found.get(..len).unwrap_or_default());
            at = at.saturating_add(len as u64);
            rest = after;
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
        let chunks = Chunks::new(Arc::new(bytes.clone()), 2 * CHUNK);
        for (at, len) in [
            (0, 10),
            (65_530, 20),
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
