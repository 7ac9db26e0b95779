//! `qanopy convert`: what an image shows as a new image of another kind.

use std::path::PathBuf;

use clap::Args;

use crate::image::{CarriedBitmaps, CompressionLevel, SparseSize};
use crate::ops::{Convert, ConvertForm, ImageOptions, Request};
use crate::units;

use super::execute::execute;
use super::exit::Stop;
use super::new_image::{EncryptArgs, ImageArgs, preallocation_of_raw};
use super::options::{ConsentArgs, FormatArg, Globals, ScanArgs, ViewArgs, backing_style, number};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, passphrase};

#[derive(Debug, Args)]
pub(super) struct ConvertArgs {
    /// The images to copy: their whole chains are read; several become one disk, one after the other
    #[arg(required = true, value_name = "SRC")]
    sources: Vec<PathBuf>,
    /// The file to create; an existing one is overwritten only with --into-existing
    #[arg(value_name = "DST")]
    new: PathBuf,
    /// Write into DST, which exists and keeps its options: its old content is lost for good, so a number is asked for
    #[arg(long, conflicts_with_all = ["to", "compress", "bitmaps", "backing", "encrypt"])]
    into_existing: bool,
    /// Format of the new image
    #[arg(long, value_enum, default_value_t = FormatArg::Qcow2)]
    to: FormatArg,
    /// Format of the sources [default: by their content]
    #[arg(long, value_enum, value_name = "FORMAT")]
    source_format: Option<FormatArg>,
    /// Compress every cluster that becomes smaller by it
    #[arg(long, short = 'c')]
    compress: bool,
    /// How hard to compress: 1 to 9 for zlib, 1 to 22 for zstd [default: as qemu-img]
    #[arg(long, value_name = "N", requires = "compress", value_parser = number::<u8>)]
    compression_level: Option<u8>,
    /// Copy what can be read; what cannot be read becomes zeros and is listed, and the exit code is 3
    #[arg(long)]
    salvage: bool,
    /// Store nothing for runs of zeros of this length or more, a multiple of 512 up to 16M; 0 stores everything
    #[arg(long, short = 'S', value_name = "SIZE", value_parser = sparse_size, default_value = "4K")]
    sparse_size: SparseSize,
    #[command(flatten)]
    snapshot: ViewArgs,
    /// Copy the dirty bitmaps of the source as well; refused if one is marked as in use
    #[arg(long, conflicts_with = "snapshot")]
    bitmaps: bool,
    /// Leave out bitmaps that are marked as in use, and copy the others
    #[arg(long, requires = "bitmaps")]
    skip_broken_bitmaps: bool,
    /// Build the new image on this one, which must be in the chain of the source; only what is above it is copied
    #[arg(long, value_name = "BASE")]
    backing: Option<PathBuf>,
    /// Record the backing file by its absolute path, not as seen from the new image
    #[arg(long, requires = "backing")]
    absolute: bool,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    encryption: EncryptArgs,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl ConvertArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        Ok(Request::Convert(Convert {
            sources: self.sources.clone(),
            format: self.source_format.map(FormatArg::format),
            snapshot: self.snapshot.wanted(),
            bitmaps: match (self.bitmaps, self.skip_broken_bitmaps) {
                (false, _) => CarriedBitmaps::None,
                (true, false) => CarriedBitmaps::All,
                (true, true) => CarriedBitmaps::Sound,
            },
            salvage: self.salvage,
            sparse: self.sparse_size,
            new: self.new.clone(),
            form: self.form()?,
            backing: self.backing.clone(),
            style: backing_style(self.absolute),
        }))
    }

    /// What the copy is to be, if what was typed fits together.
    fn form(&self) -> Result<ConvertForm, Stop> {
        let image = self.image.options(&self.encryption);
        if self.into_existing {
            if image != ImageOptions::default() {
                let text = "an image that is there keeps its options: none for a new one goes with --into-existing";
                return Err(Stop::Usage(text.to_owned()));
            }
            return Ok(ConvertForm::Existing);
        }
        match self.to {
            FormatArg::Raw if self.compress => Err(Stop::Usage(
                "a raw image has no clusters that could be compressed".to_owned(),
            )),
            FormatArg::Raw => Ok(ConvertForm::Raw {
                preallocation: preallocation_of_raw(&image)?,
            }),
            FormatArg::Qcow2 => Ok(ConvertForm::Qcow2 {
                image,
                compress: self.compress.then(|| {
                    let level = self.compression_level;
                    level.map_or(CompressionLevel::Default, CompressionLevel::Level)
                }),
            }),
        }
    }
}

/// Reads from how many zeros on a copy stores nothing for them.
fn sparse_size(text: &str) -> Result<SparseSize, String> {
    let size = SparseSize::new(units::parse_size(text)?);
    size.ok_or_else(|| "that is a multiple of 512 up to 16M, or 0".to_owned())
}

/// Converts the images.
pub(super) fn run(out: &mut Out, globals: Globals, args: &ConvertArgs) -> anyhow::Result<()> {
    let request = args.request()?;
    let mut named = args.sources.clone();
    named.extend(args.backing.clone());
    named.extend(args.into_existing.then(|| args.new.clone()));
    let keys = passphrase::keys_with_new(&args.passphrases, std::slice::from_ref(&args.new))?;
    let mut context = context::around(&named, &args.scan.scan)?;
    context.keys = keys;
    execute(out, globals, args.consent, &context, &request)
}
