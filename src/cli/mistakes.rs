//! What was meant, where a command line makes no sense: a word that is almost a command, arguments in the other's
//! place, a folder where an image is named.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::error::ErrorKind;

use crate::host::{printable, shell_quoted};
use crate::ops::Request;
use crate::units;

use super::exit::Stop;
use super::output;
use super::remedies::typed_path;

/// Words that people look for, and the command that does it.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("delete", "discard"),
    ("remove", "discard"),
    ("merge", "commit"),
    ("pull", "flatten"),
    ("stream", "flatten"),
    ("collapse", "squash"),
    ("fstrim", "trim"),
    ("sparsify", "trim"),
    ("fix", "check --repair all"),
    ("repair", "check --repair all"),
    ("overlay", "branch"),
    ("new", "create"),
    ("encrypt", "create --encrypt luks"),
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

/// Why the first of the folders is none, where it looks like a command: nothing of that name is there.
pub(super) fn no_command(dirs: &[impl AsRef<Path>], commands: &[String]) -> Option<Stop> {
    let word = dirs.first()?.as_ref();
    if word.as_os_str().as_bytes().contains(&b'/') || word.symlink_metadata().is_ok() {
        return None;
    }
    let name = printable(word);
    let is_meant = word.to_str().filter(|word| meant(word, commands).is_some());
    let text = match is_meant {
        Some(word) => unknown(word, commands),
        None => format!("{name} is no command, and no folder or image of that name is here"),
    };
    Some(Stop::Usage(text))
}

/// What is to be said of a command that is not there: which one was meant.
pub(super) fn unknown(word: &str, commands: &[String]) -> String {
    let name = printable(word);
    match meant(word, commands) {
        Some(command) => format!("no such command: {name}. Did you mean `qanopy {command}`?"),
        None => format!("no such command: {name}. `qanopy help` lists them"),
    }
}

/// What is wrong with the arguments of a command that clap refuses, where it can be said better than by clap.
pub(super) fn told(arguments: &[OsString], kind: ErrorKind, commands: &[String]) -> Option<String> {
    let arguments = arguments.iter().skip(1).map(OsString::as_os_str);
    let (options, words): (Vec<&OsStr>, Vec<&OsStr>) =
        arguments.partition(|word| word.as_bytes().starts_with(b"-"));
    let command = words.first()?.to_str()?;
    match (kind, command, words.get(1..)?) {
        (ErrorKind::ValueValidation, "create" | "resize", [size, file])
            if is_size(size) && !is_size(file) =>
        {
            Some(format!(
                "{} is a size, and stands where the file is named. The file comes first: qanopy {command} {} {}",
                printable(size),
                shell_quoted(file),
                shell_quoted(size)
            ))
        }
        (ErrorKind::MissingRequiredArgument, "create" | "resize", [size]) if is_size(size) => {
            Some(format!(
                "no file is named: qanopy {command} FILE {}",
                shell_quoted(size)
            ))
        }
        (ErrorKind::UnknownArgument, "rebase" | "relink" | "commit", [image, base]) => {
            let option = if command == "commit" {
                "--into"
            } else {
                "--to"
            };
            let is_given = options.contains(&OsStr::new(option));
            (!is_given).then(|| {
                format!(
                    "the base is named behind {option}: qanopy {command} {} {option} {}",
                    shell_quoted(image),
                    shell_quoted(base)
                )
            })
        }
        (ErrorKind::InvalidSubcommand, "help", [word, ..]) => {
            Some(unknown(word.to_str()?, commands))
        }
        _ => None,
    }
}

fn is_size(word: &OsStr) -> bool {
    let number = word
        .to_str()
        .map(|text| text.trim_start_matches(['+', '-']));
    number.is_some_and(|text| units::parse_size(text).is_ok())
}

/// Why this makes no new file, where its name is a folder's.
///
/// # Errors
/// Then.
pub(super) fn no_folder_as_new(request: &Request) -> Result<(), Stop> {
    let Some(folder) = request.creates().filter(|new| new.is_dir()) else {
        return Ok(());
    };
    Err(Stop::Usage(format!(
        "{} is a folder: name the new file in it, as in {}",
        printable(folder),
        typed_path(folder.join("NAME"))
    )))
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
        typed_path(new),
        typed_path(base)
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
        typed_path(image)
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
