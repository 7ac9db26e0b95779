//! A few words to choose from in a form, and the value that each stands for: what a form comes to is told in
//! values, and no place in a list of words means anything outside this file.

use super::field_name::FieldName;

/// A few words to choose from, by the name of their field, each with the value it stands for.
#[derive(Debug)]
pub struct Choice<T: 'static> {
    name: FieldName,
    first: (&'static str, T),
    others: &'static [(&'static str, T)],
}

impl<T: Clone + PartialEq> Choice<T> {
    /// The first is chosen to begin with, and counts where the field is not there.
    pub const fn new(
        name: FieldName,
        first: (&'static str, T),
        others: &'static [(&'static str, T)],
    ) -> Self {
        Self {
            name,
            first,
            others,
        }
    }

    /// The field that asks for it.
    #[must_use]
    pub fn name(&self) -> FieldName {
        self.name
    }

    fn all(&self) -> impl Iterator<Item = &(&'static str, T)> {
        std::iter::once(&self.first).chain(self.others)
    }

    /// The words, the first one first.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        self.all().map(|(word, _)| *word).collect()
    }

    /// The words that stand for one of these values.
    #[must_use]
    pub fn words_for(&self, values: &[T]) -> Vec<&'static str> {
        let all = self.all().filter(|(_, value)| values.contains(value));
        all.map(|(word, _)| *word).collect()
    }

    /// The value that a word stands for; that of the first one if no word is there.
    #[must_use]
    pub fn value(&self, word: Option<&str>) -> T {
        let is_it = |known: &&(&str, T)| Some(known.0) == word;
        let (_, value) = self.all().find(is_it).unwrap_or(&self.first);
        value.clone()
    }
}
