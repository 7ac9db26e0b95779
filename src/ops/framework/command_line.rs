//! The command line that asks for an operation: what a plan offers instead of a refused one, what a person
//! copies out of the screen, what the README teaches. It is one string of words, which nobody takes apart.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::fleet::host_typed;
use crate::host::shell_quoted;

use super::backing_style::BackingStyle;

/// A command line, word by word, the program's name first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<OsString>,
    /// Of each word, behind how many bytes of it a path stands, if one does.
    paths: Vec<Option<usize>>,
    /// How many words name the command.
    name: usize,
}

impl CommandLine {
    /// `qanopy` and these words, each of which is plain.
    pub(in crate::ops) fn new(words: &[&str]) -> Self {
        let words: Vec<OsString> = std::iter::once(&"qanopy")
            .chain(words)
            .map(OsString::from)
            .collect();
        Self {
            paths: vec![None; words.len()],
            name: words.len(),
            words,
        }
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// The same as it is typed on another machine, where this one is called so: `HOST:` stands before its paths, and by
    /// itself where it names none.
    #[must_use]
    pub fn on(&self, host: &str) -> Self {
        let mut line = self.clone();
        for (word, path) in line.words.iter_mut().zip(&mut line.paths) {
            let Some((before, rest)) =
                path.and_then(|at| word.as_encoded_bytes().split_at_checked(at))
            else {
                continue;
            };
            *word = OsString::from_vec([before, host.as_bytes(), b":", rest].concat());
        }
        if line.paths.iter().all(Option::is_none) {
            line.words.insert(line.name, format!("{host}:").into());
            line.paths.insert(line.name, Some(0));
        }
        line
    }

    /// The same as the person types it: at another machine, where they are at one.
    #[must_use]
    pub fn typed(&self) -> Self {
        match host_typed() {
            Some(host) => self.on(host),
            None => self.clone(),
        }
    }

    fn push(&mut self, word: OsString, path: Option<usize>) {
        self.words.push(word);
        self.paths.push(path);
    }

    /// An argument that may be any bytes but is no path, as a name inside an image.
    pub(in crate::ops) fn word(mut self, word: impl AsRef<OsStr>) -> Self {
        let word = word.as_ref();
        if begins_like_an_option(word) && !self.words.iter().any(|one| one == "--") {
            self.push("--".into(), None);
        }
        self.push(word.to_owned(), None);
        self
    }

    /// An argument that is read as it stands, be it a number below zero.
    pub(in crate::ops) fn plain(mut self, value: impl fmt::Display) -> Self {
        self.push(value.to_string().into(), None);
        self
    }

    /// A path, which is written so that nobody takes it for an option.
    pub(in crate::ops) fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.push(plain_path(path.as_ref()), Some(0));
        self
    }

    /// All of these paths.
    pub(in crate::ops) fn paths<P: AsRef<Path>>(self, paths: &[P]) -> Self {
        paths.iter().fold(self, |line, path| line.path(path))
    }

    /// The flag, if it is set.
    pub(in crate::ops) fn flag(mut self, flag: &str, is_set: bool) -> Self {
        if is_set {
            self.push(flag.into(), None);
        }
        self
    }

    /// The same with one more flag, before what is no option whatever it begins with.
    pub(in crate::ops) fn and_flag(mut self, flag: &str) -> Self {
        let end = self.words.iter().position(|word| word == "--");
        let end = end.unwrap_or(self.words.len());
        self.words.insert(end, flag.into());
        self.paths.insert(end, None);
        self
    }

    /// The option with a value, if there is one. `--option=value`: a value may begin like an option.
    pub(in crate::ops) fn option<V: AsRef<OsStr>>(self, option: &str, value: Option<V>) -> Self {
        self.valued(option, value, false)
    }

    /// The option with a path, if there is one.
    pub(in crate::ops) fn option_path<P: AsRef<Path>>(self, option: &str, path: Option<P>) -> Self {
        let path = path.map(|path| plain_path(path.as_ref()));
        self.valued(option, path, true)
    }

    /// The option with a file's name just as it is recorded, if there is one.
    pub(in crate::ops) fn option_name<V: AsRef<OsStr>>(
        self,
        option: &str,
        name: Option<V>,
    ) -> Self {
        self.valued(option, name, true)
    }

    fn valued<V: AsRef<OsStr>>(mut self, option: &str, value: Option<V>, is_path: bool) -> Self {
        let Some(value) = value else {
            return self;
        };
        let value = value.as_ref();
        if begins_like_an_option(value) {
            let mut word = OsString::from(option);
            word.push("=");
            let path = is_path.then_some(word.len());
            word.push(value);
            self.push(word, path);
        } else {
            self.push(option.into(), None);
            self.push(value.to_owned(), is_path.then_some(0));
        }
        self
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
        let words: Vec<String> = self.words.iter().map(shell_quoted).collect();
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
    fn a_line_for_another_machine_names_it_before_each_path_or_once() {
        for (line, told) in [
            (
                CommandLine::new(&["commit"])
                    .path("/a b")
                    .option_path("--into", Some("/c"))
                    .option("--to", Some("-d"))
                    .and_flag("--yes"),
                "qanopy commit 'web:/a b' --into web:/c --to=-d --yes",
            ),
            (CommandLine::new(&["undo"]).plain(7), "qanopy undo web: 7"),
            (
                CommandLine::new(&["trash", "restore"]).word("-x"),
                "qanopy trash restore web: -- -x",
            ),
        ] {
            assert_eq!(line.on("web").to_string(), told);
        }
    }

    #[test]
    fn a_shell_reads_the_words_that_were_meant() {
        let line = CommandLine::new(&["discard"]).path("a b'c.qcow2");
        assert_eq!(line.to_string(), r"qanopy discard 'a b'\''c.qcow2'");
    }
}
