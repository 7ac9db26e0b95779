//! A command of the person's own: a program and its words, with places for the images it is run on.
//! Running it is the runner's and the workers' business. No shell is involved unless the command
//! names one.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::forest::far::host_and_path;
use crate::tui::key::Key;

/// Where the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CommandOutput {
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
    pub place: CommandOutput,
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

impl Fill {
    /// The same by the names that images of a host have there.
    #[must_use]
    pub fn there(self) -> Self {
        let there = |path: PathBuf| match host_and_path(&path) {
            Some((_, there)) => there.to_path_buf(),
            None => path,
        };
        Self {
            path: there(self.path),
            chain: self.chain.into_iter().map(there).collect(),
            marked: self.marked.into_iter().map(there).collect(),
        }
    }
}

impl OwnCommand {
    /// Splits a line into words, as a shell would: at spaces, but for what stands in quotes.
    ///
    /// # Errors
    /// A sentence, if there is no program, a quote is not closed, or a file's name could become more than
    /// a word, or a list's place is only part of one.
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
        parts(&words)?;
        Ok(words)
    }

    /// The files that its words name for these images.
    #[must_use]
    pub fn names<'a>(&self, fill: &'a Fill) -> Vec<&'a Path> {
        let has = |place: &str| self.words.iter().any(|word| word.contains(place));
        let mut files: Vec<&Path> = Vec::new();
        if has(PATH) {
            files.push(&fill.path);
        }
        for (place, of) in [(CHAIN, &fill.chain), (MARKED, &fill.marked)] {
            if has(place) {
                files.extend(of.iter().map(PathBuf::as_path));
            }
        }
        files
    }

    /// The program and its words for these images. Whatever is in a file's name, it is a word or stays
    /// inside of one, also for a shell that reads it.
    #[must_use]
    pub fn filled(&self, fill: &Fill) -> Vec<OsString> {
        let mut out: Vec<OsString> = Vec::new();
        // A line that would inject was refused when it was read.
        let parts = parts(&self.words).unwrap_or_default();
        for (word, part) in self.words.iter().zip(parts) {
            let files = match word.as_str() {
                CHAIN => fill.chain.as_slice(),
                MARKED => fill.marked.as_slice(),
                _ => {
                    let mut whole = OsString::new();
                    for (i, text) in word.split(PATH).enumerate() {
                        if i > 0 {
                            whole.push(part.put(&fill.path));
                        }
                        whole.push(text);
                    }
                    out.push(whole);
                    continue;
                }
            };
            out.extend(files.iter().map(|file| part.put(file)));
        }
        out
    }
}

const PATH: &str = "{path}";
const CHAIN: &str = "{chain}";
const MARKED: &str = "{marked}";

/// Shells that read what stands in single quotes as it is.
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "busybox"];
/// Programs that hand all their words on to a shell, as one line.
const JOINING: [&str; 2] = ["ssh", "watch"];
/// Programs with a language of their own, in which a shell's quotes say nothing.
const LANGUAGES: [&str; 26] = [
    "awk",
    "csh",
    "emacs",
    "ex",
    "fish",
    "gawk",
    "gdb",
    "jq",
    "lua",
    "mawk",
    "nawk",
    "node",
    "nvim",
    "osascript",
    "perl",
    "php",
    "psql",
    "pwsh",
    "python",
    "ruby",
    "sed",
    "sqlite3",
    "tclsh",
    "tcsh",
    "vi",
    "vim",
];
/// Programs that run a line they are given by an option.
const RUNNERS: [&str; 8] = [
    "env", "flock", "parallel", "runuser", "script", "su", "tmux", "xargs",
];

/// How a place in a word is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// As it is: the program gets it as a word, or as the value of an option.
    Plain,
    /// As the value of one of QEMU's options, which a comma would end.
    Value,
    /// In quotes: a shell reads the word.
    Quoted,
}

impl Part {
    fn put(self, path: &Path) -> OsString {
        let bytes = path.as_os_str().as_bytes();
        let (around, odd, instead): (&[u8], u8, &[u8]) = match self {
            Self::Plain => return path.as_os_str().to_owned(),
            Self::Value => (b"", b',', b",,"),
            // Understood by every such shell, whatever the bytes.
            Self::Quoted => (b"'", b'\'', b"'\\''"),
        };
        let mut out = around.to_vec();
        for byte in bytes {
            if *byte == odd {
                out.extend_from_slice(instead);
            } else {
                out.push(*byte);
            }
        }
        out.extend_from_slice(around);
        OsString::from_vec(out)
    }
}

/// How the places in each word are filled in.
///
/// # Errors
/// A sentence, if a file's name could become more than a word there.
fn parts(words: &[String]) -> Result<Vec<Part>, String> {
    let mut known: Vec<&str> = Vec::new();
    let mut parts = Vec::new();
    for (at, word) in words.iter().enumerate() {
        parts.push(part(word, at, words, &known)?);
        known.push(program(word));
    }
    Ok(parts)
}

fn part(word: &str, at: usize, words: &[String], before: &[&str]) -> Result<Part, String> {
    let Some(place) = [PATH, CHAIN, MARKED]
        .into_iter()
        .find(|place| word.contains(place))
    else {
        return Ok(Part::Plain);
    };
    let is_among = |list: &[&str]| before.iter().any(|word| list.contains(word));
    let option = at.checked_sub(1).and_then(|at| words.get(at));
    let is_line = option.is_some_and(|option| takes_line(option));
    let joins = is_among(&JOINING);
    let instead = "give it to the program as a word of its own: sh -c '... \"$1\" ...' sh {path}";
    if at == 0 {
        return Err(format!("{place} is no program to run"));
    }
    if word == place {
        if is_line && (is_among(&SHELLS) || is_among(&LANGUAGES) || is_among(&RUNNERS)) {
            return Err(format!(
                "a file's name would be run as a command: {instead}"
            ));
        }
        return Ok(if joins { Part::Quoted } else { Part::Plain });
    }
    if place != PATH || word.contains(CHAIN) || word.contains(MARKED) {
        return Err(format!(
            "{place} stands for several files: it has to be a word of its own"
        ));
    }
    if is_among(&LANGUAGES) {
        return Err(format!(
            "a file's name would become part of a program: {instead}"
        ));
    }
    let of_option = |c: char| c.is_alphanumeric() || "_./:,=@%+-".contains(c);
    let is_plain = word.split(PATH).all(|text| text.chars().all(of_option));
    if is_plain && !joins && !(is_line && (is_among(&SHELLS) || is_among(&RUNNERS))) {
        let is_qemu = before.iter().any(|word| word.starts_with("qemu"));
        return Ok(if is_qemu { Part::Value } else { Part::Plain });
    }
    if let Some(why) = against_quoting(word) {
        return Err(format!("{why}: {instead}"));
    }
    Ok(Part::Quoted)
}

/// The program a word would name, without its folder and version.
fn program(word: &str) -> &str {
    let name = word.rsplit('/').next().unwrap_or(word);
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
}

/// Whether what follows this option is run: `-c`, also in a row of letters, `-e`, and in full.
fn takes_line(option: &str) -> bool {
    match option.strip_prefix("--") {
        Some(long) => ["command", "eval", "split-string", "expression"].contains(&long),
        None => option
            .strip_prefix('-')
            .is_some_and(|letters| letters.ends_with(['c', 'e', 'E', 'S', 'r'])),
    }
}

/// What stands against a quoted name in a line that a shell reads.
fn against_quoting(line: &str) -> Option<String> {
    if line.contains("<<") || line.contains("((") || line.contains('`') {
        return Some("{path} is not kept together between << or (( or backquotes".to_owned());
    }
    let words = line.split(|c: char| !(c.is_alphanumeric() || "_./-".contains(c)));
    let reads_again = |word: &&str| {
        let name = program(word);
        let lists = [SHELLS.as_slice(), &JOINING, &LANGUAGES, &RUNNERS];
        name == "eval" || lists.iter().any(|list| list.contains(&name))
    };
    if let Some(again) = words.into_iter().find(reads_again) {
        return Some(format!("{again} would read a file's name a second time"));
    }
    let mut quote = None;
    let mut before = ' ';
    let mut rest = line;
    loop {
        if let Some(after) = rest.strip_prefix(PATH) {
            if quote.is_some() {
                return Some(
                    "{path} brings its own quotes and must not stand in others".to_owned(),
                );
            }
            if before == '$' || before == '\\' {
                return Some(format!("{before} must not stand before {PATH}"));
            }
            (before, rest) = ('x', after);
            continue;
        }
        let mut chars = rest.chars();
        let c = chars.next()?;
        rest = chars.as_str();
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), _) => {}
            (Some(_) | None, '\\') if !rest.starts_with(PATH) => {
                let mut chars = rest.chars();
                chars.next();
                rest = chars.as_str();
            }
            (None, '\'' | '"') => quote = Some(c),
            (None, '#') if before.is_whitespace() || ";&|()".contains(before) => quote = Some('\n'),
            _ => {}
        }
        before = c;
    }
}
