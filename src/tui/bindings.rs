//! What binds keys to actions: rows of the table, typed by the place they count in, and the person's own
//! keys over them. Which rows there are is said where their actions are done: `actions` for the panes,
//! `dialogs` for all else; `keymap` gathers them.

use std::any::TypeId;
use std::collections::HashMap;

use super::key::Key;

/// How the table is grouped for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Moving about.
    Move,
    /// Panes and pictures.
    Panes,
    /// Finding.
    Find,
    /// Marking.
    Mark,
    /// Looking.
    Look,
    /// Creating.
    Create,
    /// Changing.
    Change,
    /// Everything else.
    Any,
    /// Inside a dialog.
    Dialog,
}

impl Group {
    /// The group's name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Panes => "panes",
            Self::Find => "find",
            Self::Mark => "mark",
            Self::Look => "look",
            Self::Create => "create",
            Self::Change => "change",
            Self::Any => "any time",
            Self::Dialog => "dialog",
        }
    }

    /// Whether what is in it changes, creates or removes files; hidden when the program is only to look.
    #[must_use]
    pub fn changes(self) -> bool {
        matches!(self, Self::Create | Self::Change)
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row<A> {
    /// What it does.
    pub action: A,
    /// Its group.
    pub group: Group,
    /// Its name: the same in the palette and, where there is one, on the command line.
    pub name: &'static str,
    /// Its keys, unless the person binds others; the first is the one shown where there is room for one.
    pub keys: &'static [Key],
    /// What it does, in a few words: the standard word for it first, where there is one.
    pub title: &'static str,
    /// The word in the footer or on a frame, where it is worth one.
    pub hint: Option<&'static str>,
    /// Other words that people search it by.
    pub also: &'static str,
}

/// What keys can mean in one place. What each of them does is one `match` there, so that none is forgotten.
pub trait Action: Copy + PartialEq + 'static {
    /// Its rows of the table: one for each action.
    const ROWS: &'static [Row<Self>];

    /// Whether it leads out of the place: understood even where the terminal is too small to show anything.
    fn leaves(self) -> bool;
}

/// A row of the table, whatever its action is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableRow {
    /// Where its keys are understood: the place that has these actions.
    pub place: TypeId,
    /// Its group.
    pub group: Group,
    /// Its name.
    pub name: &'static str,
    /// Its keys, unless the person binds others.
    pub keys: &'static [Key],
    /// What it does, in a few words.
    #[cfg(test)]
    pub title: &'static str,
}

/// The rows of one place.
pub(super) fn rows<A: Action>() -> impl Iterator<Item = TableRow> {
    A::ROWS.iter().map(|row| TableRow {
        place: TypeId::of::<A>(),
        group: row.group,
        name: row.name,
        keys: row.keys,
        #[cfg(test)]
        title: row.title,
    })
}

/// A row of the panes' part of the table.
pub(super) const fn row<A: Copy>(
    action: A,
    group: Group,
    name: &'static str,
    keys: &'static [Key],
    title: &'static str,
) -> Row<A> {
    Row {
        action,
        group,
        name,
        keys,
        title,
        hint: None,
        also: "",
    }
}

/// A row of a dialog's part of the table; an empty hint is none.
pub(super) const fn dialog<A: Copy>(
    action: A,
    name: &'static str,
    keys: &'static [Key],
    title: &'static str,
    hint: &'static str,
) -> Row<A> {
    Row {
        action,
        group: Group::Dialog,
        name,
        keys,
        title,
        hint: if hint.is_empty() { None } else { Some(hint) },
        also: "",
    }
}

impl<A: Copy> Row<A> {
    /// The same with other words that people search it by.
    pub(super) const fn also(self, also: &'static str) -> Self {
        Self { also, ..self }
    }

    /// The same with a word for the footer.
    pub(super) const fn hint(self, hint: &'static str) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }
}

/// A row with the keys that count now.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a, A> {
    /// What it does.
    pub action: A,
    /// Its group.
    pub group: Group,
    /// Its name.
    pub name: &'static str,
    /// Its keys; the first is the one shown where there is room for one.
    pub keys: &'a [Key],
    /// What it does, in a few words.
    pub title: &'static str,
    /// The word in the footer or on a frame, where it is worth one.
    pub hint: Option<&'static str>,
    /// Other words that people search it by.
    pub also: &'static str,
}

impl<A> Entry<'_, A> {
    /// The first key as text.
    #[must_use]
    pub fn key(&self) -> String {
        self.keys
            .first()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// The standard word for it, which its title begins with.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.title.split(" - ").next().unwrap_or(self.title)
    }

    /// All keys as text.
    #[must_use]
    pub fn all_keys(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(ToString::to_string).collect();
        keys.join(" ")
    }
}

/// The table with the person's own keys: what the interface goes by.
#[derive(Debug, Clone, Default)]
pub struct Keymap {
    /// Those whose keys are others than the table's, by their names.
    own: HashMap<&'static str, Vec<Key>>,
}

impl Keymap {
    /// The rows of one place, in the order of the table.
    pub fn entries<A: Action>(&self) -> impl Iterator<Item = Entry<'_, A>> {
        A::ROWS.iter().map(|row| Entry {
            action: row.action,
            group: row.group,
            name: row.name,
            keys: self.keys(row.name, row.keys),
            title: row.title,
            hint: row.hint,
            also: row.also,
        })
    }

    /// The keys of that name, which has these unless the person binds others.
    pub(super) fn keys<'a>(&'a self, name: &str, keys: &'a [Key]) -> &'a [Key] {
        self.own.get(name).map_or(keys, Vec::as_slice)
    }

    /// What the key means in the place of these actions.
    #[must_use]
    pub fn action<A: Action>(&self, key: Key) -> Option<A> {
        self.entries::<A>()
            .find(|entry| entry.keys.contains(&key))
            .map(|entry| entry.action)
    }

    /// The row of an action.
    #[must_use]
    pub fn entry<A: Action>(&self, action: A) -> Option<Entry<'_, A>> {
        self.entries::<A>().find(|entry| entry.action == action)
    }

    /// The first key of an action, as text.
    #[must_use]
    pub fn key<A: Action>(&self, action: A) -> String {
        self.entry(action)
            .map_or_else(String::new, |entry| entry.key())
    }

    /// The keys of a place that are worth a word, each with it.
    #[must_use]
    pub fn hints<A: Action>(&self) -> Vec<(String, String)> {
        self.entries::<A>()
            .filter_map(|entry| Some((entry.key(), entry.hint?.to_owned())))
            .collect()
    }

    /// Lets a name have these keys from now on, and nothing else; `keymap::bind` sees to the others.
    pub(super) fn set(&mut self, name: &'static str, keys: Vec<Key>) {
        self.own.insert(name, keys);
    }
}
