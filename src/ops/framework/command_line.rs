//! The command line that asks for an operation: what a plan offers instead of a refused one, what a person
//! copies out of the screen, what the README teaches. It is one string of words, which nobody takes apart.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

use crate::host::shell_quoted;

use super::backing_style::BackingStyle;

/// A command line, word by word, the program's name first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine(Vec<OsString>);

impl CommandLine {
    /// `qanopy` and these words, each of which is plain.
    pub(in crate::ops) fn new(words: &[&str]) -> Self {
        let words = std::iter::once(&"qanopy").chain(words);
        Self(words.map(OsString::from).collect())
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[OsString] {
        &self.0
    }

    /// An argument that may be any bytes but is no path, as a name inside an image.
    pub(in crate::ops) fn word(mut self, word: impl AsRef<OsStr>) -> Self {
        let word = word.as_ref();
        if begins_like_an_option(word) && !self.0.iter().any(|one| one == "--") {
            self.0.push("--".into());
        }
        self.0.push(word.to_owned());
        self
    }

    /// An argument that is read as it stands, be it a number below zero.
    pub(in crate::ops) fn plain(mut self, value: impl fmt::Display) -> Self {
        self.0.push(value.to_string().into());
        self
    }

    /// A path, which is written so that nobody takes it for an option.
    pub(in crate::ops) fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.0.push(plain_path(path.as_ref()));
        self
    }

    /// All of these paths.
    pub(in crate::ops) fn paths<P: AsRef<Path>>(self, paths: &[P]) -> Self {
        paths.iter().fold(self, |line, path| line.path(path))
    }

    /// The flag, if it is set.
    pub(in crate::ops) fn flag(mut self, flag: &str, is_set: bool) -> Self {
        if is_set {
            self.0.push(flag.into());
        }
        self
    }

    /// The same with one more flag, before what is no option whatever it begins with.
    pub(in crate::ops) fn and_flag(mut self, flag: &str) -> Self {
        let end = self.0.iter().position(|word| word == "--");
        self.0.insert(end.unwrap_or(self.0.len()), flag.into());
        self
    }

    /// The option with a value, if there is one. `--option=value`: a value may begin like an option.
    pub(in crate::ops) fn option<V: AsRef<OsStr>>(
        mut self,
        option: &str,
        value: Option<V>,
    ) -> Self {
        if let Some(value) = value {
            let value = value.as_ref();
            if begins_like_an_option(value) {
                let mut word = OsString::from(option);
                word.push("=");
                word.push(value);
                self.0.push(word);
            } else {
                self.0.extend([option.into(), value.to_owned()]);
            }
        }
        self
    }

    /// The option with a path, if there is one.
    pub(in crate::ops) fn option_path<P: AsRef<Path>>(self, option: &str, path: Option<P>) -> Self {
        self.option(option, path.map(|path| plain_path(path.as_ref())))
    }

    /// The option with a number, if there is one.
    pub(in crate::ops) fn number<N: fmt::Display>(self, option: &str, number: Option<N>) -> Self {
        self.option(option, number.map(|number| number.to_string()))
    }

    /// How a backing name is recorded, where that is said.
    pub(in crate::ops) fn style(self, style: Option<BackingStyle>) -> Self {
        self.flag("--relative", style == Some(BackingStyle::Relative))
            .flag("--absolute", style == Some(BackingStyle::Absolute))
    }
}

impl fmt::Display for CommandLine {
    /// As it may be pasted into a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(shell_quoted).collect();
        f.write_str(&words.join(" "))
    }
}

fn begins_like_an_option(word: &OsStr) -> bool {
    word.as_encoded_bytes().first() == Some(&b'-')
}

fn plain_path(path: &Path) -> OsString {
    match begins_like_an_option(path.as_os_str()) {
        true => Path::new(".").join(path).into_os_string(),
        false => path.as_os_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_begins_like_an_option_is_taken_for_one() {
        let line = CommandLine::new(&["snapshot", "apply"])
            .path("-a.qcow2")
            .option("--to", Some("-b"))
            .word("-c");
        assert_eq!(
            line.to_string(),
            "qanopy snapshot apply ./-a.qcow2 --to=-b -- -c"
        );
    }

    #[test]
    fn a_shell_reads_the_words_that_were_meant() {
        let line = CommandLine::new(&["discard"]).path("a b'c.qcow2");
        assert_eq!(line.to_string(), r"qanopy discard 'a b'\''c.qcow2'");
    }
}
