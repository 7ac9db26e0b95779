//! `qanopy keyslot`: the key slots of an image encrypted with LUKS, listed, added, changed and erased.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use crate::host::{Access, Host, RealHost, printable};
use crate::image;
use crate::ops::{ChangeKeySlot, KeySlotAction, Request};

use super::args::{Globals, KeySlotCommand};
use super::execute::execute;
use super::output::Out;
use super::{context, passphrase};

/// Carries out one of the commands on key slots.
pub(super) fn run(out: &mut Out, globals: Globals, command: KeySlotCommand) -> anyhow::Result<()> {
    let (image, action, keys, consent) = match command {
        KeySlotCommand::List { image } => return list(out, globals, &image),
        KeySlotCommand::Add {
            image,
            slot,
            new,
            passphrases,
            consent,
        } => {
            let file = new.new_passphrase_file.as_deref();
            let action = KeySlotAction::Add {
                slot,
                iter_time_ms: new.iter_time,
            };
            let keys = passphrase::keys_with_replacement(&passphrases, file)?;
            (image, action, keys, consent)
        }
        KeySlotCommand::Change {
            image,
            slot,
            new,
            passphrases,
            consent,
        } => {
            let file = new.new_passphrase_file.as_deref();
            let action = KeySlotAction::Change {
                slot,
                into: None,
                iter_time_ms: new.iter_time,
            };
            let keys = passphrase::keys_with_replacement(&passphrases, file)?;
            (image, action, keys, consent)
        }
        KeySlotCommand::Erase {
            image,
            slot,
            passphrases,
            consent,
        } => {
            let keys = passphrase::keys(&passphrases)?;
            (image, KeySlotAction::Erase { slot }, keys, consent)
        }
    };
    let mut context = context::around(std::slice::from_ref(&image), &[])?;
    context.keys = keys;
    let request = Request::KeySlot(ChangeKeySlot { image, action });
    execute(out, globals, consent, &context, &request)
}

fn list(out: &mut Out, globals: Globals, path: &Path) -> anyhow::Result<()> {
    let file = RealHost
        .open(path, Access::Read)
        .with_context(|| format!("cannot open {}", printable(path)))?;
    let header = image::read_header(path, file.as_ref())?;
    let luks = image::luks_header(path, file.as_ref(), &header)?.ok_or_else(|| {
        anyhow!(
            "{} is not encrypted with LUKS: it has no key slots",
            printable(path)
        )
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
        return Ok(out.json(&Value::Array(values.collect()))?);
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
