//! What was read lately, within a bound of memory.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

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
}
