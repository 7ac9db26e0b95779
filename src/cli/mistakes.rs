//! What was meant, where a command line makes no sense: a word that is almost a command, arguments in the other's
//! place, a folder where an image is named.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::error::ErrorKind;

use crate::host::{printable, shell_quoted};
use crate::units;

use super::exit::Stop;
use super::output;

/// Words that people look for, and the command that does it.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("delete", "discard"),
    ("remove", "discard"),
    ("merge", "commit"),
    ("pull", "flatten"),
    ("stream", "flatten"),
    ("collapse", "squash"),
    ("fix", "check --repair all"),
    ("repair", "check --repair all"),
    ("overlay", "branch"),
    ("new", "create"),
    ("copy", "clone"),
    ("diff", "compare"),
    ("encrypt", "create --encrypt luks"),
    ("history", "log"),
    ("reset", "revert"),
    ("list", "tree"),
    ("status", "tree --check"),
];

/// The command that a word stands for or is misspelt from.
fn meant(word: &str, commands: &[String]) -> Option<String> {
    let other = OTHER_WORDS.iter().find(|(known, _)| *known == word);
    if let Some((_, command)) = other {
        return Some((*command).to_owned());
    }
    let distance = |command: &String| strsim::damerau_levenshtein(word, command);
    let nearest = commands.iter().min_by_key(|command| distance(command))?;
    // One slip for every three letters.
    (distance(nearest) <= word.chars().count() / 3).then(|| nearest.clone())
}

/// Why the first of the directories is none, where it looks like a command: nothing of that name is there.
pub(super) fn no_command(dirs: &[impl AsRef<Path>], commands: &[String]) -> Option<Stop> {
    let word = dirs.first()?.as_ref();
    if word.as_os_str().as_bytes().contains(&b'/') || word.symlink_metadata().is_ok() {
        return None;
    }
    let name = printable(word);
    let text = match word.to_str().and_then(|word| meant(word, commands)) {
        Some(command) => format!("no such command: {name}. Did you mean `qanopy {command}`?"),
        None => format!("{name} is no command, and no directory or image of that name is here"),
    };
    Some(Stop::Usage(text))
}

/// What is wrong with the order of the arguments of a command that clap refuses: a size where the file is named.
pub(super) fn order(arguments: &[OsString], kind: ErrorKind) -> Option<String> {
    if kind != ErrorKind::ValueValidation {
        return None;
    }
    let words = arguments.iter().skip(1);
    let mut words = words.filter(|word| !word.as_bytes().starts_with(b"-"));
    let command = words.next()?.to_str()?;
    let [size, file] = [words.next()?, words.next()?];
    let is_size = |word: &OsStr| {
        let number = word
            .to_str()
            .map(|text| text.trim_start_matches(['+', '-']));
        number.is_some_and(|text| units::parse_size(text).is_ok())
    };
    let swapped = ["create", "resize"].contains(&command)
        && words.next().is_none()
        && is_size(size)
        && !is_size(file);
    swapped.then(|| {
        format!(
            "{} is a size, and stands where the file is named. The file comes first: qanopy {command} {} {}",
            printable(size),
            shell_quoted(file),
            shell_quoted(size)
        )
    })
}

/// Why these two are not a base and a new overlay, where they are the other way round.
///
/// # Errors
/// Then.
pub(super) fn base_comes_first(base: &Path, new: &Path) -> Result<(), Stop> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    if is_there(base) || !is_there(new) {
        return Ok(());
    }
    Err(Stop::Usage(format!(
        "{} is not there, and {} is. The base comes first: qanopy branch {} {}",
        printable(base),
        printable(new),
        shell_quoted(new),
        shell_quoted(base)
    )))
}

/// Says of a very small size what it means: somebody may have left the unit away.
pub(super) fn tell_small_size(bytes: u64) {
    if bytes > 0 && bytes < 1 << 20 {
        output::complain(format_args!(
            "qanopy: the size is {}: without a unit it is a number of bytes, as with qemu-img",
            units::size(bytes)
        ));
    }
}

/// Why this is no image, where it is a folder.
///
/// # Errors
/// Then.
pub(super) fn no_folder(image: &Path) -> Result<(), Stop> {
    if !image.is_dir() {
        return Ok(());
    }
    Err(Stop::Usage(format!(
        "{} is a folder: name an image in it. `qanopy tree {}` lists them",
        printable(image),
        shell_quoted(image)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_almost_a_command_finds_it() {
        let commands = ["commit", "compare", "tree", "log"].map(str::to_owned);
        for (word, command) in [
            ("comit", Some("commit")),
            ("tre", Some("tree")),
            ("comparre", Some("compare")),
            ("delete", Some("discard")),
            ("images", None),
            ("lo", None),
            ("vm", None),
        ] {
            assert_eq!(meant(word, &commands).as_deref(), command, "{word}");
        }
    }
}
