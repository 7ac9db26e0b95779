//! The fields of forms: what they hold, and when they are there.

use tui_input::Input;

use crate::tui::secret::Secret;

use super::choice::Choice;
use super::field_name::FieldName;

/// What a field holds.
#[derive(Debug)]
pub enum FieldValue {
    /// A line of text.
    Text(Input),
    /// The name of a file, from the form's directory.
    Path(Input),
    /// One of a few words.
    Choice {
        /// The words.
        words: Vec<&'static str>,
        /// The place of the one chosen.
        at: usize,
    },
    /// A passphrase, which is never shown.
    Secret(Secret),
}

/// When a field is there. One that is not holds nothing, whatever was typed into it before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visibility {
    /// At all times.
    Always,
    /// Not for this image.
    Never,
    /// Where another field is there and has one of these words chosen.
    Where(FieldName, Vec<&'static str>),
}

/// A line of a form.
#[derive(Debug)]
pub struct Field {
    /// What it is called.
    pub name: FieldName,
    /// What it holds.
    pub holds: FieldValue,
    /// What to know about it, shown while it has the focus.
    pub help: &'static str,
    /// When it is there.
    pub there: Visibility,
}

impl Field {
    fn new(name: FieldName, holds: FieldValue, help: &'static str) -> Self {
        Self {
            name,
            holds,
            help,
            there: Visibility::Always,
        }
    }

    /// A line of text.
    #[must_use]
    pub fn text(name: FieldName, value: impl Into<String>, help: &'static str) -> Self {
        Self::new(name, FieldValue::Text(Input::new(value.into())), help)
    }

    /// The name of a file, from the form's directory.
    #[must_use]
    pub fn path(name: FieldName, value: impl Into<String>, help: &'static str) -> Self {
        Self::new(name, FieldValue::Path(Input::new(value.into())), help)
    }

    /// A passphrase that an image is to have. A form has none of them, or two.
    #[must_use]
    pub fn secret(name: FieldName, help: &'static str) -> Self {
        Self::new(name, FieldValue::Secret(Secret::default()), help)
    }

    /// The same, there only where the field of that choice is there and says one of these values.
    #[must_use]
    pub fn only_where<T: Clone + PartialEq>(mut self, choice: &Choice<T>, values: &[T]) -> Self {
        self.there = Visibility::Where(choice.name(), choice.words_for(values));
        self
    }

    /// The same, not there at all unless it means something.
    #[must_use]
    pub fn only_if(mut self, means_something: bool) -> Self {
        if !means_something {
            self.there = Visibility::Never;
        }
        self
    }

    /// What is typed into it, if anything can be.
    pub fn input_mut(&mut self) -> Option<&mut Input> {
        match &mut self.holds {
            FieldValue::Text(input) | FieldValue::Path(input) => Some(input),
            FieldValue::Choice { .. } | FieldValue::Secret(_) => None,
        }
    }

    /// One of a few words; the first to begin with.
    #[must_use]
    pub fn choice<T: Clone + PartialEq>(choice: &Choice<T>, help: &'static str) -> Self {
        let words = choice.words();
        Self::new(choice.name(), FieldValue::Choice { words, at: 0 }, help)
    }
}
