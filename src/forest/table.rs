//! A hash table whose entries do not hold their keys: who asks knows the nodes, and these hold them. With
//! a hundred thousand images, every path kept a second time counts. What the entries mean is told by
//! those who keep them.

use std::hash::{BuildHasher, Hash, RandomState};

use hashbrown::HashTable;

/// Entries by keys that are kept elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Table<T> {
    entries: HashTable<T>,
    hasher: RandomState,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            entries: HashTable::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<T> Table<T> {
    /// The entry of a key; `is_it` tells whether an entry's key is that one.
    pub(super) fn get<K: Hash + ?Sized>(&self, key: &K, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        self.entries.find(self.hasher.hash_one(key), is_it)
    }

    /// Likewise, to be changed; its key stays as it is.
    pub(super) fn get_mut<K: Hash + ?Sized>(
        &mut self,
        key: &K,
        is_it: impl Fn(&T) -> bool,
    ) -> Option<&mut T> {
        self.entries.find_mut(self.hasher.hash_one(key), is_it)
    }

    /// Puts an entry where the key has none; `key_of` gives the keys of the others, should they have to move.
    pub(super) fn insert<K: Hash>(&mut self, key: &K, entry: T, key_of: impl Fn(&T) -> K) {
        let hasher = &self.hasher;
        let hash = |entry: &T| hasher.hash_one(key_of(entry));
        self.entries
            .insert_unique(hasher.hash_one(key), entry, hash);
    }

    /// Takes the entry of a key away, if there is one.
    pub(super) fn remove<K: Hash + ?Sized>(&mut self, key: &K, is_it: impl Fn(&T) -> bool) {
        if let Ok(entry) = self.entries.find_entry(self.hasher.hash_one(key), is_it) {
            entry.remove();
        }
    }
}
