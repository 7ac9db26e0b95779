//! A command of the person's own: a program and its words, with places for the images it is run on.
//! Running it is the runner's and the workers' business. No shell is involved unless the command
//! names one.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::tui::key::Key;

/// Where the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Place {
    /// On the terminal, which is given to it until it ends.
    #[default]
    Screen,
    /// Unseen, as a job; what it says is in the log.
    Job,
}

/// A command of the person's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCommand {
    /// The key behind `!`, if it has one.
    pub key: Option<Key>,
    /// What it is called.
    pub title: String,
    /// The program and its words, with their places.
    pub words: Vec<String>,
    /// The line as it was written.
    pub run: String,
    /// Where it runs.
    pub place: Place,
    /// Whether it is asked about first.
    pub confirm: bool,
}

/// The images a command is run on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fill {
    /// The image under the cursor.
    pub path: PathBuf,
    /// Its chain, from itself down to the root.
    pub chain: Vec<PathBuf>,
    /// The marked images, or the one under the cursor.
    pub marked: Vec<PathBuf>,
}

impl OwnCommand {
    /// Splits a line into words, as a shell would: at spaces, but for what stands in quotes.
    ///
    /// # Errors
    /// A sentence, if there is no program, a quote is not closed, or a list's place is only part of a
    /// word.
    pub(super) fn words(run: &str) -> Result<Vec<String>, String> {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut has_word = false;
        let mut quote = None;
        let mut chars = run.chars();
        while let Some(c) = chars.next() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some('"') | None, '\\') => word.extend(chars.next()),
                (Some(_), c) => word.push(c),
                (None, '\'' | '"') => {
                    quote = Some(c);
                    has_word = true;
                }
                (None, c) if c.is_whitespace() => {
                    if has_word || !word.is_empty() {
                        words.push(std::mem::take(&mut word));
                    }
                    has_word = false;
                }
                (None, c) => word.push(c),
            }
        }
        if quote.is_some() {
            return Err("a quote is not closed".to_owned());
        }
        if has_word || !word.is_empty() {
            words.push(word);
        }
        if words.is_empty() {
            return Err("there is no program to run".to_owned());
        }
        for word in &words {
            for list in ["{chain}", "{marked}"] {
                if word.contains(list) && word != list {
                    return Err(format!(
                        "{list} stands for several files: it has to be a word of its own"
                    ));
                }
            }
        }
        Ok(words)
    }

    /// The program and its words for these images. Each file is one word, whatever is in its name.
    #[must_use]
    pub fn filled(&self, fill: &Fill) -> Vec<OsString> {
        let mut out: Vec<OsString> = Vec::new();
        for word in &self.words {
            match word.as_str() {
                "{chain}" => out.extend(fill.chain.iter().map(OsString::from)),
                "{marked}" => out.extend(fill.marked.iter().map(OsString::from)),
                _ => {
                    let mut whole = OsString::new();
                    for (i, part) in word.split("{path}").enumerate() {
                        if i > 0 {
                            whole.push(&fill.path);
                        }
                        whole.push(part);
                    }
                    out.push(whole);
                }
            }
        }
        out
    }
}
