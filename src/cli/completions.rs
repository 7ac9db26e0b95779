//! Completions: the shell asks the program itself what may stand where the cursor is, so that images, snapshots,
//! bitmaps, entries of the trash and of the log are known. `qanopy completions SHELL` prints what makes a shell ask.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{CompleteEnv, Shells};
use serde_json::json;

use crate::forest::{Index, NotesReader, annotation_of};
use crate::host::{Access, Host, RealHost, printable};
use crate::image::{self, ErrorKind, ImageFile};
use crate::ops::journal::Journal;
use crate::ops::trash;

use super::note;
use super::options::Globals;
use super::output::Out;
use super::with_each;

/// The variable by which a shell says that it asks.
const VARIABLE: &str = "QANOPY_COMPLETE";

/// What may stand there, and what is said of each.
type Values = Vec<(OsString, String)>;

/// What an argument names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Image,
    Snapshot,
    Bitmap,
    Trashed,
    Logged,
    Interrupted,
    /// One that an image may get.
    Tag,
    /// One that it has.
    OwnTag,
}

/// What the argument of that identifier names, of the command of these words.
fn named(words: &str, id: &str) -> Option<Named> {
    Some(match (words, id) {
        ("trash restore" | "trash empty", "entries") | ("revert", "to") | ("check", "put_back") => {
            Named::Trashed
        }
        ("undo" | "redo", "entry") => Named::Logged,
        ("recover", "entry") => Named::Interrupted,
        ("note", "tag") => Named::Tag,
        ("note", "untag") => Named::OwnTag,
        ("relink" | "rebase", "to") | ("mount", "source") => Named::Image,
        (_, "snapshot" | "other_snapshot") => Named::Snapshot,
        (_, "bitmap" | "source") => Named::Bitmap,
        (
            _,
            "image" | "images" | "one" | "other" | "base" | "sources" | "overlay" | "into"
            | "layer" | "root" | "onto" | "backing" | "paths" | "source_file",
        ) => Named::Image,
        _ => return None,
    })
}

/// Answers a shell that asks; false where none does.
///
/// # Errors
/// When the answer cannot be printed.
pub(super) fn answered(program: fn() -> Command) -> clap::error::Result<bool> {
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(|| with_each(program(), "", &completing))
        .var(VARIABLE)
        .try_complete(std::env::args_os(), here.as_deref())
}

/// Prints what makes a shell ask.
pub(super) fn print(out: &mut Out, globals: Globals, shell: Shell) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    if let Some(shell) = Shells::builtins().completer(&shell.to_string()) {
        shell.write_registration(VARIABLE, "qanopy", "qanopy", "qanopy", &mut bytes)?;
    }
    let script = String::from_utf8(bytes)?;
    if globals.json {
        return Ok(out.json(json!({ "script": script }))?);
    }
    Ok(out.text(&script)?)
}

/// A command where each argument knows what may stand for it.
fn completing(command: Command, words: &str) -> Command {
    command.mut_args(|argument| match named(words, argument.get_id().as_str()) {
        Some(Named::Image) => argument.add(ArgValueCompleter::new(images)),
        Some(Named::Snapshot) => argument.add(ArgValueCompleter::new(of_image(snapshots))),
        Some(Named::Bitmap) => argument.add(ArgValueCompleter::new(of_image(bitmaps))),
        Some(Named::Trashed) => argument.add(ArgValueCompleter::new(beginning(trashed))),
        Some(Named::Logged) => argument.add(ArgValueCompleter::new(beginning(|| logged(false)))),
        Some(Named::Interrupted) => {
            argument.add(ArgValueCompleter::new(beginning(|| logged(true))))
        }
        Some(Named::Tag) => argument.add(ArgValueCompleter::new(beginning(tags))),
        Some(Named::OwnTag) => argument.add(ArgValueCompleter::new(beginning(own_tags))),
        None => argument,
    })
}

/// Folders, and files that begin as a qcow2 image does or are called as a disk is.
fn images(current: &OsStr) -> Vec<CompletionCandidate> {
    let is_image = |path: &Path| {
        let extension = path.extension().and_then(OsStr::to_str);
        path.is_dir()
            || matches!(extension, Some("raw" | "img" | "iso"))
            || opened(path).is_some_and(|file| begins_as_qcow2(&file))
    };
    let mut found = PathCompleter::any().filter(is_image).complete(current);
    found.retain(|candidate| is_plain(candidate.get_value()));
    found
}

/// Also where the header cannot be right: that is what repairs are for.
fn begins_as_qcow2(file: &ImageFile) -> bool {
    let error = image::read_header(file).err();
    error.is_none_or(|error| !matches!(error.kind, ErrorKind::NotQcow2))
}

fn opened(path: &Path) -> Option<ImageFile> {
    let file = RealHost.open(path, Access::Read).ok()?;
    Some(ImageFile::new(path, file))
}

/// Whether a shell takes a value for what it is without quotes. Bash and PowerShell put what is offered into the
/// command line as it is: a name with a blank would become two, one with `$(` a command. Such names are not offered.
fn is_plain(value: &OsStr) -> bool {
    let may_stand = |c: char| c.is_alphanumeric() || "._/+,:=@-".contains(c);
    value
        .to_str()
        .is_some_and(|text| !text.starts_with('-') && text.chars().all(may_stand))
}

/// Those of the values that begin as what is typed.
fn beginning(
    values: impl Fn() -> Values + Send + Sync + 'static,
) -> impl Fn(&OsStr) -> Vec<CompletionCandidate> + Send + Sync + 'static {
    move |current| {
        let begins = |(value, _): &(OsString, String)| {
            value
                .as_encoded_bytes()
                .starts_with(current.as_encoded_bytes())
        };
        let found = values()
            .into_iter()
            .filter(|(value, _)| is_plain(value))
            .filter(begins);
        found
            .map(|(value, says)| CompletionCandidate::new(value).help(Some(printable(says).into())))
            .collect()
    }
}

/// The same of what the first image on the command line holds.
fn of_image(
    held: fn(&ImageFile) -> image::Result<Values>,
) -> impl Fn(&OsStr) -> Vec<CompletionCandidate> + Send + Sync + 'static {
    beginning(move || {
        // The words of the command line stand behind `--`, the program's name first.
        let words = std::env::args_os().skip_while(|word| word != "--").skip(2);
        let mut files = words.filter_map(|word| opened(Path::new(&word)));
        files.find_map(|file| held(&file).ok()).unwrap_or_default()
    })
}

fn snapshots(file: &ImageFile) -> image::Result<Values> {
    use std::os::unix::ffi::OsStringExt;
    let header = image::read_header(file)?;
    let snapshots = image::snapshots(file, &header)?.into_iter();
    Ok(snapshots
        .map(|snapshot| {
            let says = format!("snapshot {}", String::from_utf8_lossy(&snapshot.id));
            (OsString::from_vec(snapshot.name), says)
        })
        .collect())
}

fn bitmaps(file: &ImageFile) -> image::Result<Values> {
    use std::os::unix::ffi::OsStringExt;
    let header = image::read_header(file)?;
    let bitmaps = image::bitmaps(file, &header)?.into_iter();
    Ok(bitmaps
        .map(|bitmap| (OsString::from_vec(bitmap.name), "bitmap".to_owned()))
        .collect())
}

/// The tags that mean something, and those of other images in the folder.
fn tags() -> Values {
    let named = typed_words().next();
    let named = named.as_deref().map(Path::new);
    let folder = named.and_then(Path::parent);
    let folder = folder.filter(|dir| !dir.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let files = RealHost.list_dir(folder).unwrap_or_default();
    let mut notes = NotesReader::new(&RealHost);
    let mut used: BTreeSet<String> = BTreeSet::new();
    for file in files.iter().take(MOST_ASKED) {
        let noted = notes.of(&folder.join(file));
        used.extend(noted.into_iter().flat_map(|noted| noted.tags));
    }
    let meaning = note::MEANING.map(|(tag, says)| (OsString::from(tag), says.to_owned()));
    let others = used
        .into_iter()
        .filter(|tag| note::MEANING.iter().all(|(known, _)| known != tag));
    let others = others.map(|tag| (tag.into(), "used here".to_owned()));
    meaning.into_iter().chain(others).collect()
}

/// So many files of a folder are asked for their tags at most: a shell waits.
const MOST_ASKED: usize = 1000;

/// The tags of the image on the command line.
fn own_tags() -> Values {
    let noted = typed_words().find_map(|word| annotation_of(&RealHost, Path::new(&word)));
    let tags = noted.unwrap_or_default().tags.into_iter();
    tags.map(|tag| (tag.into(), "tag".to_owned())).collect()
}

/// The words of the command line that name files that are there.
fn typed_words() -> impl Iterator<Item = OsString> {
    // They stand behind `--`, the program's name and the command first.
    let words = std::env::args_os().skip_while(|word| word != "--").skip(3);
    words.filter(|word| Path::new(word).is_file())
}

fn trashed() -> Values {
    let entries = trash::list(&RealHost, Index::default_dir().as_deref(), &[]);
    entries
        .into_iter()
        .map(|entry| (entry.name.into(), entry.reason))
        .collect()
}

fn logged(interrupted: bool) -> Values {
    let Some(journal) = Index::default_dir().map(|dir| Journal::at(&dir)) else {
        return Vec::new();
    };
    let entries = if interrupted {
        journal.interrupted()
    } else {
        journal.entries()
    };
    let newest_first = entries.unwrap_or_default().into_iter().rev();
    newest_first
        .map(|entry| (entry.id.to_string().into(), entry.title))
        .collect()
}
