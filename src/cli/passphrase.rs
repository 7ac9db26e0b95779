//! Passphrases of encrypted images: read from the files named on the command line, or asked for at the
//! terminal without an echo. Which images need one is found out where they are opened.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use crossbeam_channel::bounded;
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::fleet::{PassphraseOf, is_far, person};
use crate::host::{FileId, Host, RealHost, keep_out_of_dumps, printable};
use crate::image::{Keys, Passphrase, Passphrases};

use super::execute::wait_for;
use super::exit::{FileError, Stop};
use super::output;

/// What opens encrypted images.
#[derive(Debug, Clone, Args)]
pub(super) struct PassphraseArgs {
    /// File with the passphrase of the LUKS-encrypted images, the new one as well, `-` for standard input;
    /// IMAGE=FILE for that image only. May be given several times [default: ask, at a terminal]
    #[arg(long, value_name = "[IMAGE=]FILE")]
    pub(super) passphrase_file: Vec<OsString>,
}

/// Longest passphrase read from a file, in bytes.
const MAX_LEN: u64 = 64 << 10;
/// A wish to stop is counted within this time.
const SOON: Duration = Duration::from_millis(100);

/// What the files named hold; a person at a terminal is asked for the rest.
///
/// # Errors
/// If a file cannot be read, or an image named with one is not there.
pub(super) fn keys(args: &PassphraseArgs) -> anyhow::Result<Keys> {
    gathered(args, &[])
}

/// The same where the images `new` are to be made, which may be named with a file although they are not
/// there.
///
/// # Errors
/// As [`keys`].
pub(super) fn keys_with_new(args: &PassphraseArgs, new: &[PathBuf]) -> anyhow::Result<Keys> {
    gathered(args, new)
}

/// The same for an image there is, which is to open to a new passphrase: that of the file, or asked for.
///
/// # Errors
/// As [`keys`].
pub(super) fn keys_with_replacement(
    args: &PassphraseArgs,
    file: Option<&OsStr>,
) -> anyhow::Result<Keys> {
    let mut given = all_given(args, &[])?;
    if let Some(file) = file {
        given.push(Given::read(Whose::New, file)?);
    }
    keys_from(Source {
        given,
        is_replacement: true,
        asks: true,
        told: Mutex::default(),
    })
}

/// What the files named hold, and nothing else: nobody is asked, whatever is opened later on.
///
/// # Errors
/// As [`keys`].
pub(super) fn keys_given(args: &PassphraseArgs) -> anyhow::Result<Keys> {
    keys_from(Source {
        given: all_given(args, &[])?,
        is_replacement: false,
        asks: false,
        told: Mutex::default(),
    })
}

fn gathered(args: &PassphraseArgs, new: &[PathBuf]) -> anyhow::Result<Keys> {
    keys_from(Source {
        given: all_given(args, new)?,
        is_replacement: false,
        asks: true,
        told: Mutex::default(),
    })
}

fn all_given(args: &PassphraseArgs, new: &[PathBuf]) -> anyhow::Result<Vec<Given>> {
    let arguments = args.passphrase_file.iter();
    arguments.map(|argument| Given::of(argument, new)).collect()
}

fn keys_from(source: Source) -> anyhow::Result<Keys> {
    if source.given.iter().filter(|given| given.is_stdin).count() > 1 {
        let text = "--passphrase-file -: standard input holds one passphrase only";
        return Err(Stop::Usage(text.to_owned()).into());
    }
    Ok(Keys::from(Arc::new(source)))
}

/// A passphrase, and what it is for.
#[derive(Debug)]
struct Given {
    whose: Whose,
    is_stdin: bool,
    passphrase: Passphrase,
}

/// What a passphrase is for.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    /// Every image that has none of its own.
    Any,
    /// This image.
    Image(FileId),
    /// The image that is to be made.
    New,
}

#[derive(Debug)]
struct Source {
    given: Vec<Given>,
    /// Whether the new passphrase is for an image that opens to another one now: that is never taken for the
    /// new one.
    is_replacement: bool,
    /// Whether a person is asked for what was not given.
    asks: bool,
    /// The volumes in images whose passphrases were told: those that did not open one do not open it later on.
    told: Mutex<HashSet<Vec<u8>>>,
}

impl Given {
    /// `FILE` or `IMAGE=FILE`.
    fn of(argument: &OsStr, new: &[PathBuf]) -> anyhow::Result<Self> {
        let (image, file) = split(argument);
        let whose = match image {
            None => Whose::Any,
            Some(image) => match RealHost.stat(&image) {
                Ok(stat) => Whose::Image(stat.id),
                Err(_) if new.iter().any(|new| is_same(new, &image)) => Whose::New,
                Err(error) => {
                    return Err(FileError::at("find", &image)(error).into());
                }
            },
        };
        Self::read(whose, &file)
    }

    /// What a file holds, or standard input if it is called `-`.
    fn read(whose: Whose, file: &OsStr) -> anyhow::Result<Self> {
        // Before the first byte of it is in memory.
        keep_out_of_dumps();
        let is_stdin = file == "-";
        if is_stdin && is_far() {
            let text = "--passphrase-file -: nothing comes from standard input at another machine; name a file there, or leave it out to be asked here";
            return Err(Stop::Usage(text.to_owned()).into());
        }
        let bytes = if is_stdin {
            read(io::stdin().lock())
        } else {
            File::open(file).and_then(read)
        };
        let bytes = bytes
            .with_context(|| format!("cannot read the passphrase from {}", printable(file)))?;
        if bytes.len() as u64 > MAX_LEN {
            let file = printable(file);
            return Err(anyhow!(
                "{file} is longer than a passphrase ({MAX_LEN} bytes)"
            ));
        }
        Ok(Self {
            whose,
            is_stdin,
            passphrase: Passphrase::new(bytes.to_vec()),
        })
    }
}

/// Whether both name the same place, from wherever.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| std::path::absolute(path).ok();
    one == other || place(one).is_some_and(|one| Some(one) == place(other))
}

fn split(argument: &OsStr) -> (Option<PathBuf>, OsString) {
    let bytes = argument.as_bytes();
    match bytes.iter().position(|b| *b == b'=') {
        Some(at) => {
            let (image, file) = bytes.split_at(at);
            let file = file.get(1..).unwrap_or_default();
            let image = PathBuf::from(OsStr::from_bytes(image));
            (Some(image), OsStr::from_bytes(file).to_owned())
        }
        None => (None, argument.to_owned()),
    }
}

fn read(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it, so that no part is left behind where a smaller buffer was.
    let room = usize::try_from(MAX_LEN + 1).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    from.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Passphrases for Source {
    fn passphrases(&self, image: &Path) -> Vec<Passphrase> {
        let question = format!("Passphrase of {}: ", printable(image));
        self.given_or_asked(image, PassphraseOf::Image, &question)
    }

    /// Once for each header, however many images show it.
    fn for_volume(&self, image: &Path, volume: &str, id: &[u8]) -> Vec<Passphrase> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.insert(id.to_vec()) {
            return Vec::new();
        }
        let image_name = printable(image);
        let question = format!("Passphrase of the encrypted volume {volume} in {image_name}: ");
        let of = PassphraseOf::Volume(volume.to_owned());
        let mut all = self.given_or_asked(image, of, &question);
        // Nothing was typed: it stays locked.
        all.retain(|one| !one.bytes().is_empty());
        all
    }

    /// All that the file holds, as QEMU takes it.
    fn for_new(&self, path: &Path) -> Option<Passphrase> {
        let image = printable(path);
        let (given, question) = if self.is_replacement {
            let mut all = self.given.iter();
            let new = all.find(|given| given.whose == Whose::New);
            (new, format!("New passphrase of {image}: "))
        } else {
            let new = self.given(&Whose::New).first().copied();
            (new, format!("Passphrase of the new image {image}: "))
        };
        if let Some(given) = given {
            return Some(given.passphrase.clone());
        }
        if let Some(person) = person() {
            let of = match self.is_replacement {
                true => PassphraseOf::Replacement,
                false => PassphraseOf::New,
            };
            return person.ask_passphrase(path, of);
        }
        typed_twice(&question, &mut ask)
    }
}

impl Source {
    /// The passphrases that were given for an image, or the answer to a question.
    fn given_or_asked(&self, image: &Path, of: PassphraseOf, question: &str) -> Vec<Passphrase> {
        let id = RealHost.stat(image).ok().map(|stat| stat.id);
        let given = self.given(&id.map_or(Whose::New, Whose::Image));
        if !given.is_empty() {
            let each = given.into_iter().map(|given| &given.passphrase);
            return each.flat_map(as_it_is_and_without_newline).collect();
        }
        let asked = self.asks.then(|| match person() {
            Some(person) => person.ask_passphrase(image, of),
            None => ask(question),
        });
        asked.flatten().into_iter().collect()
    }

    /// What was given for it, or else for any image.
    fn given(&self, whose: &Whose) -> Vec<&Given> {
        match self.given.iter().find(|given| given.whose == *whose) {
            Some(own) => vec![own],
            None => {
                let for_any = |given: &&Given| given.whose == Whose::Any;
                self.given.iter().filter(for_any).collect()
            }
        }
    }
}

/// Asks twice: what was mistyped once would be lost with all that is written under it. None where the two differ.
pub(super) fn typed_twice(
    question: &str,
    ask: &mut dyn FnMut(&str) -> Option<Passphrase>,
) -> Option<Passphrase> {
    let first = ask(question)?;
    let again = ask("The same once more: ")?;
    (first == again).then_some(first)
}

/// As [`ask`] where a wish to stop ends no process: none once there is one. What is typed after it is read by nobody,
/// and is seen again.
pub(super) fn hidden_until(question: &str, is_stopped: &dyn Fn() -> bool) -> Option<Passphrase> {
    if !io::stdin().is_terminal() {
        return None;
    }
    // Before the first byte of it is in memory.
    keep_out_of_dumps();
    let terminal = File::open("/dev/tty").ok()?;
    let as_it_was = tcgetattr(&terminal).ok()?;
    let (line_in, line) = bounded(1);
    let question = question.to_owned();
    thread::spawn(move || {
        // Who asked may have stopped waiting.
        let _ = line_in.send(ask(&question));
    });
    match wait_for(&line, is_stopped) {
        Ok(Some(None)) => {
            // A wish to stop may be what ended it: it is counted by another thread, a moment later.
            thread::sleep(SOON);
            None
        }
        Ok(Some(typed)) => typed,
        Ok(None) | Err(_) => {
            // Whoever reads still hides what is typed.
            let _ = tcsetattr(&terminal, OptionalActions::Now, &as_it_was);
            output::complain("");
            None
        }
    }
}

/// Asks at the terminal; none where there is no terminal.
fn ask(question: &str) -> Option<Passphrase> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let answer = rpassword::prompt_password(question).ok()?;
    Some(Passphrase::new(answer.into_bytes()))
}

/// A newline at the end may belong to the passphrase, as it does for QEMU; more often an editor or
/// `echo` has put it there.
fn as_it_is_and_without_newline(passphrase: &Passphrase) -> Vec<Passphrase> {
    let mut all = vec![passphrase.clone()];
    if let Some(shorter) = passphrase.bytes().strip_suffix(b"\n") {
        all.push(Passphrase::new(shorter.to_vec()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_stands_before_the_first_equals_sign() {
        let parts = |text: &str| {
            let (image, file) = split(OsStr::new(text));
            let image = image.map(|image| image.to_string_lossy().into_owned());
            (image, file.to_string_lossy().into_owned())
        };
        assert_eq!(parts("key"), (None, "key".to_owned()));
        assert_eq!(
            parts("a.qcow2=k=1"),
            (Some("a.qcow2".to_owned()), "k=1".to_owned())
        );
        assert_eq!(
            parts("a.qcow2=-"),
            (Some("a.qcow2".to_owned()), "-".to_owned())
        );
    }

    #[test]
    fn a_newline_is_tried_with_and_without() {
        let tried = |bytes: &[u8]| {
            let passphrase = Passphrase::new(bytes.to_vec());
            let all = as_it_is_and_without_newline(&passphrase);
            all.iter()
                .map(|one| one.bytes().to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(tried(b"a\n"), [b"a\n".to_vec(), b"a".to_vec()]);
        assert_eq!(tried(b"a"), [b"a".to_vec()]);
    }
}
