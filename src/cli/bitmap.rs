//! `qanopy bitmap`: the dirty bitmaps of an image, listed, added, removed, cleared, enabled, disabled
//! and merged.

use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::host::{printable, printable_bytes};
use crate::image::{self, BitmapFlags};
use crate::json_text::json_name_bytes;
use crate::ops::{BitmapAction, ChangeBitmap, Request};

use super::context;
use super::execute::execute;
use super::options::{ConsentArgs, Globals};
use super::output::Out;
use super::reading;
use crate::units;

/// Which dirty bitmap of which image.
#[derive(Debug, Args)]
pub(super) struct BitmapArgs {
    /// The image
    image: PathBuf,
    /// The bitmap's name
    #[arg(value_name = "NAME")]
    bitmap: OsString,
}

#[derive(Debug, Subcommand)]
pub(super) enum BitmapCommand {
    /// List the dirty bitmaps of an image, and how much each calls dirty
    List {
        /// The image
        image: PathBuf,
    },
    #[command(flatten)]
    Change(BitmapChange),
}

#[derive(Debug, Subcommand)]
pub(super) enum BitmapChange {
    /// Add a bitmap in which nothing is dirty
    Add {
        #[command(flatten)]
        which: BitmapArgs,
        /// Bytes of the disk per bit, a power of two from 512 to 2G [default: the cluster size, 4K to 64K]
        #[arg(long, short = 'g', value_name = "SIZE", value_parser = units::parse_size)]
        granularity: Option<u64>,
        /// Record nothing until it is enabled
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Remove a bitmap, be it stale or not
    Remove {
        #[command(flatten)]
        which: BitmapArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Mark nothing as dirty in a bitmap
    Clear {
        #[command(flatten)]
        which: BitmapArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Have a bitmap record what is written from then on
    Enable {
        #[command(flatten)]
        which: BitmapArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Have a bitmap record nothing from then on
    Disable {
        #[command(flatten)]
        which: BitmapArgs,
        #[command(flatten)]
        consent: ConsentArgs,
    },
    /// Mark as dirty in a bitmap also what is dirty in another one
    Merge {
        #[command(flatten)]
        which: BitmapArgs,
        /// The other one's name
        source: OsString,
        /// The image the other one is in [default: the same]
        #[arg(long, short = 'b', value_name = "IMAGE")]
        source_file: Option<PathBuf>,
        #[command(flatten)]
        consent: ConsentArgs,
    },
}

impl BitmapChange {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let (which, action, _) = self.parts();
        Ok(Request::Bitmap(ChangeBitmap {
            image: which.image.clone(),
            bitmap: which.bitmap.clone(),
            action,
        }))
    }

    fn parts(&self) -> (&BitmapArgs, BitmapAction, ConsentArgs) {
        match self {
            Self::Add {
                which,
                granularity,
                disabled,
                consent,
            } => {
                let action = BitmapAction::Add {
                    granularity: *granularity,
                    enabled: !disabled,
                };
                (which, action, *consent)
            }
            Self::Remove { which, consent } => (which, BitmapAction::Remove, *consent),
            Self::Clear { which, consent } => (which, BitmapAction::Clear, *consent),
            Self::Enable { which, consent } => (which, BitmapAction::Enable, *consent),
            Self::Disable { which, consent } => (which, BitmapAction::Disable, *consent),
            Self::Merge {
                which,
                source,
                source_file,
                consent,
            } => {
                let action = BitmapAction::Merge {
                    source: source.clone(),
                    from: source_file.clone(),
                };
                (which, action, *consent)
            }
        }
    }
}

/// Carries out one of the commands on bitmaps.
pub(super) fn run(out: &mut Out, globals: Globals, command: &BitmapCommand) -> anyhow::Result<()> {
    let change = match command {
        BitmapCommand::List { image } => return list(out, globals, image),
        BitmapCommand::Change(change) => change,
    };
    let (which, action, consent) = change.parts();
    let mut named = vec![which.image.clone()];
    if let BitmapAction::Merge {
        from: Some(from), ..
    } = action
    {
        named.push(from);
    }
    let context = context::around(&named, &[])?;
    execute(out, globals, consent, &context, &change.request()?)
}

fn list(out: &mut Out, globals: Globals, path: &Path) -> anyhow::Result<()> {
    let (file, header) = reading::header(path)?;
    let bitmaps = image::bitmaps(&file, &header)?;
    let mut rows = vec![["NAME", "GRANULARITY", "DIRTY", "STATE"].map(str::to_owned)];
    let mut values = Vec::new();
    for bitmap in &bitmaps {
        let is_stale = bitmap.flags.contains(BitmapFlags::IN_USE);
        let dirty = if is_stale {
            None
        } else {
            let bits = image::dirty_bits(&file, &header, bitmap)?;
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
        return Ok(out.json(Value::Array(values))?);
    }
    if bitmaps.is_empty() {
        out.line(format_args!("{} has no dirty bitmaps", printable(path)))?;
        return Ok(());
    }
    Ok(out.table(&rows)?)
}
