//! Small forms: a few fields, and the request they come to. Every operation that needs to be told more
//! than an image has one here; the fields' keys are `update`'s business, their looks the views'.

use std::path::{Path, PathBuf};

use tui_input::Input;

use crate::ops::{Plan, Request};

use super::msg::Ticket;

/// What a field holds.
#[derive(Debug, Clone)]
pub enum Holds {
    /// A line of text.
    Text(Input),
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
        }
    }

    /// What a text field holds.
    #[must_use]
    pub fn text(&self, field: usize) -> &str {
        match self.fields.get(field).map(|field| &field.holds) {
            Some(Holds::Text(input)) => input.value(),
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

    /// What the fields come to.
    ///
    /// # Errors
    /// A sentence, if they do not come to anything.
    pub fn request(&self) -> Result<Request, String> {
        (self.make)(self)
    }
}
