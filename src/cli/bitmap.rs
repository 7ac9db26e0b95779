//! `qanopy bitmap`: the dirty bitmaps of an image, listed, added, removed, cleared, enabled, disabled
//! and merged.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::host::{Access, Host, RealHost, json_name_bytes, printable, printable_bytes};
use crate::image;
use crate::image::BitmapFlags;
use crate::ops::{BitmapAction, ChangeBitmap, Request};

use super::args::{BitmapCommand, Globals};
use super::context;
use super::execute::execute;
use super::output::Out;
use crate::units;

/// Carries out one of the commands on bitmaps.
pub(super) fn run(out: &mut Out, globals: Globals, command: BitmapCommand) -> anyhow::Result<()> {
    let (which, action, consent) = match command {
        BitmapCommand::List { image } => return list(out, globals, &image),
        BitmapCommand::Add {
            which,
            granularity,
            disabled,
            consent,
        } => {
            let action = BitmapAction::Add {
                granularity,
                enabled: !disabled,
            };
            (which, action, consent)
        }
        BitmapCommand::Remove { which, consent } => (which, BitmapAction::Remove, consent),
        BitmapCommand::Clear { which, consent } => (which, BitmapAction::Clear, consent),
        BitmapCommand::Enable { which, consent } => (which, BitmapAction::Enable, consent),
        BitmapCommand::Disable { which, consent } => (which, BitmapAction::Disable, consent),
        BitmapCommand::Merge {
            which,
            source,
            source_file,
            consent,
        } => {
            let action = BitmapAction::Merge {
                source,
                from: source_file,
            };
            (which, action, consent)
        }
    };
    let mut named = vec![which.image.clone()];
    if let BitmapAction::Merge {
        from: Some(from), ..
    } = &action
    {
        named.push(from.clone());
    }
    let context = context::around(&named, &[])?;
    let request = Request::Bitmap(ChangeBitmap {
        image: which.image,
        bitmap: which.bitmap,
        action,
    });
    execute(out, globals, consent, &context, &request)
}

fn list(out: &mut Out, globals: Globals, path: &Path) -> anyhow::Result<()> {
    let file = RealHost
        .open(path, Access::Read)
        .with_context(|| format!("cannot open {}", printable(path)))?;
    let header = image::read_header(path, file.as_ref())?;
    let bitmaps = image::bitmaps(path, file.as_ref(), &header)?;
    let mut rows = vec![["NAME", "GRANULARITY", "DIRTY", "STATE"].map(str::to_owned)];
    let mut values = Vec::new();
    for bitmap in &bitmaps {
        let is_stale = bitmap.flags.contains(BitmapFlags::IN_USE);
        let dirty = if is_stale {
            None
        } else {
            let bits = image::dirty_bits(path, file.as_ref(), &header, bitmap)?;
            Some(bits.dirty_bytes())
        };
        let is_enabled = bitmap.flags.contains(BitmapFlags::AUTO);
        let flags: Vec<&str> = [(is_stale, "in-use"), (is_enabled, "auto")]
            .into_iter()
            .filter_map(|(is_set, flag)| is_set.then_some(flag))
            .collect();
        values.push(json!({
            "name": json_name_bytes(&bitmap.name),
            "granularity": bitmap.granularity(),
            "flags": flags,
            "dirty-bytes": dirty,
        }));
        let state = match (is_stale, is_enabled) {
            (true, _) => "stale: in use when it was last written, can only be removed",
            (false, true) => "records writes",
            (false, false) => "off",
        };
        rows.push([
            printable_bytes(&bitmap.name),
            units::size(bitmap.granularity()),
            dirty.map_or_else(|| "-".to_owned(), units::size),
            state.to_owned(),
        ]);
    }
    if globals.json {
        return Ok(out.json(&Value::Array(values))?);
    }
    if bitmaps.is_empty() {
        out.line(format_args!("{} has no dirty bitmaps", printable(path)))?;
        return Ok(());
    }
    Ok(out.table(&rows)?)
}
