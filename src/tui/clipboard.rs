//! The programs that put text on the clipboard where the terminal is not known to do so.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use crate::host::io_text;

/// A program that reads from standard input what goes on the clipboard, with its words.
type Program = &'static [&'static str];

const WAYLAND: Program = &["wl-copy"];
const X11: Program = &["xclip", "-selection", "clipboard"];
const MACOS: Program = &["pbcopy"];

/// Parts of the names of terminals that take text by OSC 52 without being asked to in their settings.
const TAKERS: [&str; 7] = [
    "kitty",
    "foot",
    "alacritty",
    "wezterm",
    "ghostty",
    "contour",
    "rio",
];

/// The programs that may help, the likeliest first; none where the terminal is known to take text itself, or
/// where no desktop is near.
#[must_use]
pub(super) fn programs(env: impl Fn(&str) -> Option<OsString>) -> Vec<Program> {
    let text = |name: &str| {
        let value = env(name).unwrap_or_default();
        value.to_string_lossy().to_lowercase()
    };
    let is_set = |name: &str| env(name).is_some_and(|value| !value.is_empty());
    let names = [text("TERM"), text("TERM_PROGRAM")];
    let takes = |name: &String| TAKERS.iter().any(|taker| name.contains(taker));
    if names.iter().any(takes) || is_set("WT_SESSION") {
        return Vec::new();
    }
    let mut programs = Vec::new();
    if is_set("WAYLAND_DISPLAY") {
        programs.push(WAYLAND);
    }
    if is_set("DISPLAY") {
        programs.push(X11);
    }
    if cfg!(target_os = "macos") && !is_set("SSH_CONNECTION") {
        programs.push(MACOS);
    }
    programs
}

/// Gives text to the first of the programs that is there.
///
/// # Errors
/// A sentence, if none of them is there or the first that is there fails.
pub(super) fn copy(programs: &[Program], text: &str) -> Result<(), String> {
    for words in programs {
        let Some((program, more)) = words.split_first() else {
            continue;
        };
        match give(program, more, text) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let why = io_text(&error);
                return Err(format!("{program} could not copy the text: {why}."));
            }
            Ok(()) => return Ok(()),
        }
    }
    let names: Vec<&str> = programs
        .iter()
        .filter_map(|words| words.first().copied())
        .collect();
    Err(format!(
        "Sent to the terminal, which may not take it: install {} to be sure.",
        names.join(" or ")
    ))
}

/// Runs a program with the text as its input. It may leave a process behind that holds the text, which is why
/// its other ends lead nowhere.
fn give(program: &str, words: &[&str], text: &str) -> io::Result<()> {
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that ends early says so below.
        let _ = input.write_all(text.as_bytes());
    }
    let status = child.wait()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("it ended with {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(set: &[(&str, &str)]) -> Vec<&'static str> {
        let env = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let programs = programs(env).into_iter();
        programs.map(|words| words[0]).collect()
    }

    #[test]
    fn programs_are_asked_where_a_desktop_is_near_and_the_terminal_is_not_known_to_copy() {
        let desktop = [("WAYLAND_DISPLAY", "wayland-0"), ("DISPLAY", ":0")];
        let with = |term| named(&[desktop[0], desktop[1], ("TERM", term)]);
        assert_eq!(with("xterm-256color"), ["wl-copy", "xclip"]);
        assert!(with("xterm-kitty").is_empty());
        assert!(named(&[("TERM", "xterm-256color"), ("DISPLAY", "")]).is_empty());
    }

    #[test]
    fn text_goes_to_the_first_program_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("copied");
        let script: &str = format!("cat > '{}'", file.display()).leak();
        let there: Program = vec!["sh", "-c", script].leak();
        copy(&[&["no-such-program-anywhere"], there], "two\nlines").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two\nlines");
        assert!(copy(&[&["no-such-program-anywhere"]], "x").is_err());
        assert!(copy(&[&["false"]], "x").is_err());
    }
}
