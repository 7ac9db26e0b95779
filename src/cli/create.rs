//! `qanopy create`: a new image, with or without a backing file.

use std::path::PathBuf;

use clap::Args;

use crate::image::Format;
use crate::ops::{Branch, BranchUnchecked, Create, CreateRaw, Request};
use crate::units;

use super::context;
use super::execute::execute;
use super::exit::Stop;
use super::mistakes;
use super::new_image::{EncryptArgs, ImageArgs, preallocation_of_raw};
use super::options::{ConsentArgs, FormatArg, Globals, ScanArgs, backing_style};
use super::output::Out;
use super::passphrase::PassphraseArgs;

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The file to create; an existing one is never overwritten
    new: PathBuf,
    /// Virtual size: a number of bytes, or with K, M, G, T, P or E (powers of 1024) [default: the
    /// backing file's]
    #[arg(value_parser = units::parse_size, required_unless_present = "backing")]
    size: Option<u64>,
    /// Format of the new image; of the options below raw takes only --preallocation
    #[arg(long, short = 'f', value_enum, default_value_t = FormatArg::Qcow2)]
    format: FormatArg,
    /// Build it on this image, as `qanopy branch` does
    #[arg(long, value_name = "BASE")]
    backing: Option<PathBuf>,
    /// BASE does not exist yet: record it all the same; needs a size and --backing-format, and asks for a number
    #[arg(long, requires_all = ["backing", "size", "backing_format"])]
    unchecked: bool,
    /// Format of BASE, or the one that it will have; refused if the content of BASE says another one
    #[arg(long, short = 'F', value_name = "FORMAT", requires = "backing")]
    backing_format: Option<String>,
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

impl CreateArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let image = self.image.options(&self.encryption);
        let style = backing_style(self.absolute);
        let new = self.new.clone();
        Ok(match (self.backing.clone(), self.size) {
            (Some(_), _) if self.format == FormatArg::Raw => {
                return Err(Stop::Usage("a raw image has no backing file".to_owned()).into());
            }
            (None, Some(size)) if self.format == FormatArg::Raw => Request::CreateRaw(CreateRaw {
                new,
                size,
                preallocation: preallocation_of_raw(&image)?,
            }),
            (Some(base), Some(size)) if self.unchecked => {
                let format = self.backing_format.as_deref().unwrap_or_default();
                Request::BranchUnchecked(BranchUnchecked {
                    base,
                    format: Format::from_name(format),
                    new,
                    size,
                    style,
                    image,
                })
            }
            (Some(base), size) => Request::Branch(Branch {
                base,
                new,
                format: self.backing_format.as_deref().map(Format::from_name),
                size,
                style,
                image,
            }),
            (None, Some(size)) => Request::Create(Create {
                path: new,
                size,
                image,
            }),
            (None, None) => return Err(Stop::Usage("a size is missing".to_owned()).into()),
        })
    }
}

/// Creates the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: &CreateArgs) -> anyhow::Result<()> {
    args.size.into_iter().for_each(mistakes::tell_small_size);
    let keys = args.encryption.keys(&args.passphrases, &args.new)?;
    let request = args.request()?;
    let mut context = match &args.backing {
        None => context::nowhere(),
        Some(_) if args.unchecked => context::around(&[], &args.scan.scan)?,
        Some(base) => context::around(std::slice::from_ref(base), &args.scan.scan)?,
    };
    context.keys = keys;
    execute(out, globals, args.consent, &context, &request)
}
