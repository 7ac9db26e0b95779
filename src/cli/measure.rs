//! `qanopy measure`: how large a copy of an image, or an empty image, would be; with the keys of
//! `qemu-img measure`.

use clap::{ArgGroup, Args};
use serde_json::{Map, Value};
use std::path::PathBuf;

use crate::image::{self, Measure, MeasureAs, Qcow2Options};
use crate::ops::ImageOptions;

use super::exit::Stop;
use super::new_image::{EncryptArg, ImageArgs};
use super::options::{FollowArgs, FormatArg, Globals, ViewArgs, Words, one_of};
use super::output::Out;
use super::reading;
use crate::units;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("measured").required(true).multiple(false))]
pub(super) struct MeasureArgs {
    /// The image that is to be copied
    #[arg(group = "measured")]
    image: Option<PathBuf>,
    /// Virtual size of an empty image
    #[arg(long, value_parser = units::parse_size, group = "measured")]
    size: Option<u64>,
    /// The image's format [default: by its content]
    #[arg(long, short = 'f', value_name = "FORMAT", requires = "image")]
    format: Option<String>,
    /// The new image's format
    #[arg(long, short = 'O', value_parser = one_of(TARGETS), default_value = "qcow2")]
    target: FormatArg,
    #[command(flatten)]
    image_options: ImageArgs,
    /// Count the header of an encrypted image, which is in this format
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        help_heading = "The new image"
    )]
    encrypt: Option<EncryptArg>,
    #[command(flatten)]
    snapshot: ViewArgs,
    #[command(flatten)]
    follow: FollowArgs,
}

/// Formats a copy can have.
const TARGETS: &Words<FormatArg> = &[
    ("qcow2", "QEMU's copy-on-write format", FormatArg::Qcow2),
    ("raw", "Bytes as the guest sees them", FormatArg::Raw),
];

/// Measures and prints.
pub(super) fn run(out: &mut Out, globals: Globals, args: &MeasureArgs) -> anyhow::Result<()> {
    let options = options(args)?;
    let source = match &args.image {
        Some(path) => {
            let snapshot = args.snapshot.wanted();
            let reading = reading::open(path, args.format.as_deref(), args.follow, snapshot, &[])?;
            let whole = reading.whole();
            Some(whole.map_err(reading::NotOpened)?)
        }
        None if args.snapshot.snapshot.is_some() => {
            let text =
                "an empty image has no snapshot: --snapshot goes with an image, not with --size";
            return Err(Stop::Usage(text.to_owned()).into());
        }
        None => None,
    };
    let target = match args.target {
        FormatArg::Raw => MeasureAs::Raw,
        FormatArg::Qcow2 => MeasureAs::Qcow2 {
            options: &options,
            backing: false,
            luks: args.encrypt.is_some(),
        },
    };
    let measured = image::measure(source.as_ref(), args.size.unwrap_or(0), target)?;
    let Measure {
        required,
        fully_allocated,
        bitmaps,
    } = measured;
    if globals.json {
        let mut map = Map::new();
        map.insert("required".to_owned(), required.into());
        map.insert("fully-allocated".to_owned(), fully_allocated.into());
        if let Some(bitmaps) = bitmaps {
            map.insert("bitmaps".to_owned(), bitmaps.into());
        }
        return Ok(out.json(Value::Object(map))?);
    }
    let mut line = |name: &str, bytes: u64| {
        out.line(format_args!(
            "{name:16}{} ({bytes} bytes)",
            units::size(bytes)
        ))
    };
    line("required", required)?;
    line("fully allocated", fully_allocated)?;
    if let Some(bitmaps) = bitmaps.filter(|bytes| *bytes > 0) {
        line("bitmaps", bitmaps)?;
    }
    Ok(())
}

/// How the new image is to be made, if what was typed fits together.
fn options(args: &MeasureArgs) -> Result<Qcow2Options, Stop> {
    let ImageOptions {
        format, data_file, ..
    } = args.image_options.plain_options();
    if data_file.is_some() {
        return Err(Stop::Usage(
            "the guest's data would be in the data file: -O raw measures that, and --size 0 the rest"
                .to_owned(),
        ));
    }
    let is_plain = format == Qcow2Options::default() && args.encrypt.is_none();
    if args.target == FormatArg::Raw && !is_plain {
        return Err(Stop::Usage(
            "a raw image is made without options: those given are for -O qcow2".to_owned(),
        ));
    }
    Ok(format)
}
