//! `qanopy keyslot`: the key slots of an image encrypted with LUKS, listed, added, changed and erased.

use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::image::{self, ErrorKind, Keys};
use crate::ops::{ChangeKeySlot, EncryptionOption, KeySlotAction, Request};

use super::execute::execute;
use super::options::{ConsentArgs, Globals, iter_time, number};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, passphrase, reading};

/// The passphrase that a key slot is to open to.
#[derive(Debug, Args)]
pub(super) struct NewPassphraseArgs {
    /// The file that holds the new passphrase, - for standard input; asked for at the terminal otherwise
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<OsString>,
    /// Time that trying one passphrase takes on this processor, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = EncryptionOption::default().iter_time_ms,
        value_parser = iter_time)]
    iter_time: u32,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeySlotCommand {
    /// List the key slots of an image
    List {
        /// The image
        image: PathBuf,
    },
    #[command(flatten)]
    Change(KeySlotChange),
}

#[derive(Debug, Subcommand)]
pub(super) enum KeySlotChange {
    /// Let another passphrase open an image as well
    Add {
        /// The image
        image: PathBuf,
        /// The key slot, 0 to 7 [default: the first that is not active]
        #[arg(long, value_name = "N", value_parser = number::<usize>)]
        slot: Option<usize>,
        #[command(flatten)]
        new: NewPassphraseArgs,
        #[command(flatten)]
        passphrases: PassphraseArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Have another passphrase open an image instead of the one given
    Change {
        /// The image
        image: PathBuf,
        /// The key slot that is erased, 0 to 7; the one that the passphrase given opens otherwise
        #[arg(long, value_name = "N", value_parser = number::<usize>)]
        slot: Option<usize>,
        #[command(flatten)]
        new: NewPassphraseArgs,
        #[command(flatten)]
        passphrases: PassphraseArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Erase a key slot, so that its passphrase no longer opens the image; that of another slot is asked for
    Erase {
        /// The image
        image: PathBuf,
        /// The key slot, 0 to 7
        #[arg(long, value_name = "N", value_parser = number::<usize>)]
        slot: usize,
        #[command(flatten)]
        passphrases: PassphraseArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
}

impl KeySlotChange {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let (image, action) = match self {
            Self::Add {
                image, slot, new, ..
            } => {
                let action = KeySlotAction::Add {
                    slot: *slot,
                    iter_time_ms: new.iter_time,
                };
                (image, action)
            }
            Self::Change {
                image, slot, new, ..
            } => {
                let action = KeySlotAction::Change {
                    slot: *slot,
                    into: None,
                    iter_time_ms: new.iter_time,
                };
                (image, action)
            }
            Self::Erase { image, slot, .. } => (image, KeySlotAction::Erase { slot: *slot }),
        };
        Ok(Request::KeySlot(ChangeKeySlot {
            image: image.clone(),
            action,
        }))
    }

    /// The image, and how the change is agreed to.
    fn of(&self) -> (&PathBuf, ConsentArgs) {
        match self {
            Self::Add { image, consent, .. }
            | Self::Change { image, consent, .. }
            | Self::Erase { image, consent, .. } => (image, *consent),
        }
    }

    fn keys(&self) -> anyhow::Result<Keys> {
        match self {
            Self::Add {
                new, passphrases, ..
            }
            | Self::Change {
                new, passphrases, ..
            } => {
                let file = new.new_passphrase_file.as_deref();
                passphrase::keys_with_replacement(passphrases, file)
            }
            Self::Erase { passphrases, .. } => passphrase::keys(passphrases),
        }
    }
}

/// Carries out one of the commands on key slots.
pub(super) fn run(out: &mut Out, globals: Globals, command: &KeySlotCommand) -> anyhow::Result<()> {
    let change = match command {
        KeySlotCommand::List { image } => return list(out, globals, image),
        KeySlotCommand::Change(change) => change,
    };
    let (image, consent) = change.of();
    let keys = change.keys()?;
    let mut context = context::around(std::slice::from_ref(image), &[])?;
    context.keys = keys;
    execute(out, globals, consent, &context, &change.request()?)
}

fn list(out: &mut Out, globals: Globals, path: &Path) -> anyhow::Result<()> {
    let (file, header) = reading::header(path)?;
    let luks = image::luks_header(&file, &header)?.ok_or_else(|| {
        let text = "is not encrypted with LUKS: it has no key slots".to_owned();
        image::Error::new(path, ErrorKind::Unsupported(text))
    })?;
    let slots = luks.slots.iter().enumerate();
    if globals.json {
        let values = slots.map(|(number, slot)| {
            json!({
                "slot": number,
                "active": slot.active,
                "iters": slot.active.then_some(slot.iterations),
                "key-offset": slot.key_offset,
            })
        });
        return Ok(out.json(Value::Array(values.collect()))?);
    }
    let mut rows = vec![["SLOT", "STATE", "ITERATIONS"].map(str::to_owned)];
    rows.extend(slots.map(|(number, slot)| {
        let (state, iterations) = if slot.active {
            ("active", slot.iterations.to_string())
        } else {
            ("free", "-".to_owned())
        };
        [number.to_string(), state.to_owned(), iterations]
    }));
    Ok(out.table(&rows)?)
}
