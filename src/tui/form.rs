//! Small forms: a few fields, and the request they come to. Every operation that needs to be told more
//! than an image has one here; the fields' keys are `update`'s business, their looks the views'.

use std::path::{Path, PathBuf};

use tui_input::Input;

use crate::ops::{Plan, Request};

use super::key::Key;
use super::msg::Ticket;

/// What a field holds.
#[derive(Debug, Clone)]
pub enum Holds {
    /// A line of text.
    Text(Input),
    /// The name of a file, from the form's directory.
    Path(Input),
    /// One of a few words.
    Choice {
        /// The words.
        options: &'static [&'static str],
        /// The one chosen.
        at: usize,
    },
}

/// A line of a form.
#[derive(Debug, Clone)]
pub struct Field {
    /// What it is called.
    pub label: &'static str,
    /// What it holds.
    pub holds: Holds,
    /// What to know about it, shown while it has the focus.
    pub help: &'static str,
}

impl Field {
    /// A line of text.
    #[must_use]
    pub fn text(label: &'static str, value: impl Into<String>, help: &'static str) -> Self {
        Self {
            label,
            holds: Holds::Text(Input::new(value.into())),
            help,
        }
    }

    /// The name of a file, from the form's directory.
    #[must_use]
    pub fn path(label: &'static str, value: impl Into<String>, help: &'static str) -> Self {
        Self {
            label,
            holds: Holds::Path(Input::new(value.into())),
            help,
        }
    }

    /// What is typed into it, if anything can be.
    pub fn input_mut(&mut self) -> Option<&mut Input> {
        match &mut self.holds {
            Holds::Text(input) | Holds::Path(input) => Some(input),
            Holds::Choice { .. } => None,
        }
    }

    /// One of a few words; the first to begin with.
    #[must_use]
    pub fn choice(
        label: &'static str,
        options: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            label,
            holds: Holds::Choice { options, at: 0 },
            help,
        }
    }
}

/// A form.
#[derive(Debug)]
pub struct Form {
    /// What it is for, in words.
    pub title: String,
    /// The image it is about.
    pub image: PathBuf,
    /// The directory relative names are in.
    pub dir: PathBuf,
    /// The fields.
    pub fields: Vec<Field>,
    /// Which of them has the focus.
    pub at: usize,
    /// What the fields come to, or a sentence why they do not come to anything yet.
    pub make: fn(&Form) -> Result<Request, String>,
    /// Whether it only creates: then the plan is made while one types, and Enter does it. Otherwise
    /// Enter opens the plan.
    pub creates: bool,
    /// The newest question asked of the planner.
    pub ticket: Ticket,
    /// The plan for what is in the fields; none while it is being made.
    pub plan: Option<Box<Plan>>,
    /// Whether Enter was pressed before the plan was there.
    pub submitted: bool,
    /// Why it cannot go on like this.
    pub reason: Option<String>,
    /// The encrypted image whose passphrase is missing.
    pub locked: Option<PathBuf>,
    /// Brings other fields in line after a choice.
    pub tidy: Option<fn(&mut Form)>,
    /// How the name in the field may go on.
    pub completing: Completing,
}

/// How the name in a path field may go on, found out when Tab is pressed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completing {
    /// The question that is open; answers to others are dropped.
    pub ticket: Option<Ticket>,
    /// Keys pressed since it was asked: they are meant for whatever field has the focus then.
    pub held: Vec<Key>,
    /// The text that can go on in several ways, and how: Tab goes to the next field then.
    pub several: Option<(String, Vec<String>)>,
}

impl Form {
    /// A form about an image.
    #[must_use]
    pub fn new(
        title: String,
        image: &Path,
        fields: Vec<Field>,
        creates: bool,
        make: fn(&Form) -> Result<Request, String>,
    ) -> Self {
        Self {
            title,
            image: image.to_path_buf(),
            dir: image.parent().map(Path::to_path_buf).unwrap_or_default(),
            fields,
            at: 0,
            make,
            creates,
            ticket: 0,
            plan: None,
            submitted: false,
            reason: None,
            locked: None,
            tidy: None,
            completing: Completing::default(),
        }
    }

    /// The same, with other fields brought in line after each choice.
    #[must_use]
    pub fn tidied_by(mut self, tidy: fn(&mut Form)) -> Self {
        self.tidy = Some(tidy);
        self
    }

    /// Puts text into a field.
    pub fn set(&mut self, field: usize, text: String) {
        if let Some(input) = self.fields.get_mut(field).and_then(Field::input_mut) {
            *input = Input::new(text);
        }
    }

    /// What a text field holds.
    #[must_use]
    pub fn text(&self, field: usize) -> &str {
        match self.fields.get(field).map(|field| &field.holds) {
            Some(Holds::Text(input) | Holds::Path(input)) => input.value(),
            _ => "",
        }
    }

    /// Which word of a choice is chosen.
    #[must_use]
    pub fn chosen(&self, field: usize) -> usize {
        match self.fields.get(field).map(|field| &field.holds) {
            Some(Holds::Choice { at, .. }) => *at,
            _ => 0,
        }
    }

    /// A text field as the path of a file, from the form's directory.
    ///
    /// # Errors
    /// A sentence, if it is empty.
    pub fn path(&self, field: usize, what: &str) -> Result<PathBuf, String> {
        let text = self.text(field);
        if text.is_empty() {
            return Err(format!("{what} needs a name"));
        }
        Ok(self.dir.join(text))
    }

    /// A path field, if anything is in it.
    #[must_use]
    pub fn path_if_any(&self, field: usize) -> Option<PathBuf> {
        let text = self.text(field);
        (!text.is_empty()).then(|| self.dir.join(text))
    }

    /// The text of the field with the focus, if it is a name that could be completed.
    #[must_use]
    pub fn unfinished(&self) -> Option<&str> {
        match &self.fields.get(self.at)?.holds {
            Holds::Path(input) if input.cursor() == input.value().chars().count() => {
                Some(input.value())
            }
            _ => None,
        }
    }

    /// Takes in the names that the one in the field could become, folders with a slash behind them: it
    /// goes on as far as all of them agree. Says whether its text changed.
    pub fn complete(&mut self, names: Vec<String>) -> bool {
        let Some(text) = self.unfinished().map(str::to_owned) else {
            return false;
        };
        let (folder, begun) = text
            .rsplit_once('/')
            .map_or(("", text.as_str()), |(folder, begun)| {
                (text.get(..=folder.len()).unwrap_or_default(), begun)
            });
        let common = common(&names);
        if common.len() > begun.len() {
            let whole = format!("{folder}{common}");
            self.set(self.at, whole);
            return true;
        }
        if names.len() > 1 {
            self.completing.several = Some((text, names));
        } else {
            self.at = (self.at + 1) % self.fields.len().max(1);
        }
        false
    }

    /// What the fields come to.
    ///
    /// # Errors
    /// A sentence, if they do not come to anything.
    pub fn request(&self) -> Result<Request, String> {
        (self.make)(self)
    }
}

/// How far all of the names are the same.
fn common(names: &[String]) -> String {
    let Some((first, others)) = names.split_first() else {
        return String::new();
    };
    let same = |i: usize, c: char| {
        others
            .iter()
            .all(|other| other.get(i..).is_some_and(|rest| rest.starts_with(c)))
    };
    first
        .char_indices()
        .take_while(|(i, c)| same(*i, *c))
        .map(|(_, c)| c)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        let fields = vec![Field::path("name", text, ""), Field::text("size", "", "")];
        Form::new(String::new(), Path::new("/vm/a"), fields, true, |_| {
            Err(String::new())
        })
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_name_goes_on_as_far_as_all_agree() {
        let mut form = form("../images/Ov");
        assert!(form.complete(names(&["Overlay-1.qcow2", "Overlay-2.qcow2"])));
        assert_eq!(form.text(0), "../images/Overlay-");
        assert!(!form.complete(names(&["Overlay-1.qcow2", "Overlay-2.qcow2"])));
        assert_eq!(form.at, 0, "the ways it could go on are shown");
        let several = form.completing.several.clone().unwrap();
        assert_eq!(several.0, "../images/Overlay-");
        assert_eq!(several.1.len(), 2);
    }

    #[test]
    fn a_name_that_is_whole_or_new_leads_to_the_next_field() {
        for found in [names(&["new.qcow2"]), Vec::new()] {
            let mut form = form("new.qcow2");
            assert!(!form.complete(found));
            assert_eq!(form.at, 1);
        }
        let mut form = form("ima");
        assert!(form.complete(names(&["images/"])));
        assert_eq!(form.text(0), "images/");
    }

    #[test]
    fn names_are_compared_by_characters() {
        assert_eq!(common(&names(&["fünf", "für"])), "fü");
        assert_eq!(common(&names(&["a", "äb"])), "");
        assert_eq!(common(&[]), "");
    }
}
