//! `qanopy flatten`: an image receives what the layers below it hold, in place or as a new file.

use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::image::{Compression, CompressionLevel};
use crate::ops::{Compress, Flatten, LiveFlatten, Request};
use crate::units;

use super::execute::execute;
use super::new_image::COMPRESSIONS;
use super::options::{ConsentArgs, Globals, ScanArgs, one_of};
use super::output::Out;
use super::passphrase::PassphraseArgs;
use super::{context, passphrase};

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("what").required(true).multiple(false),
    override_usage = "qanopy flatten [OPTIONS] <IMAGE> <NEW|--in-place>"
)]
pub(super) struct FlattenArgs {
    /// The image; it receives what the layers below it hold
    image: PathBuf,
    /// The file to create instead; an existing one is never overwritten
    #[arg(group = "what")]
    new: Option<PathBuf>,
    /// Change the image itself
    #[arg(long, group = "what")]
    in_place: bool,
    /// Stop at this image of its chain, and be built on it [default: be built on nothing]
    #[arg(long, value_name = "ANCESTOR")]
    onto: Option<PathBuf>,
    /// Compress every cluster of the new file that becomes smaller by it
    #[arg(long, short = 'c', requires = "new")]
    compress: bool,
    /// Compression algorithm
    #[arg(long, value_parser = one_of(COMPRESSIONS), value_name = "TYPE", default_value = "zlib", requires = "compress")]
    compression_type: Compression,
    /// How hard to compress: 1 to 9 for zlib, 1 to 22 for zstd [default: as qemu-img]
    #[arg(long, value_name = "N", requires = "compress")]
    compression_level: Option<u8>,
    /// Have the machine do it that has the image open now; its guest goes on meanwhile
    #[arg(long, requires = "in_place", conflicts_with = "new")]
    live: bool,
    /// Bytes per second at most, such as 50M
    #[arg(long, value_parser = units::parse_size, value_name = "SIZE", requires = "live")]
    speed: Option<u64>,
    #[command(flatten)]
    passphrases: PassphraseArgs,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    consent: ConsentArgs,
}

impl FlattenArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        if self.live {
            return Ok(Request::LiveFlatten(LiveFlatten {
                image: self.image.clone(),
                onto: self.onto.clone(),
                speed: self.speed,
                takes_up: false,
            }));
        }
        Ok(Request::Flatten(Flatten {
            image: self.image.clone(),
            onto: self.onto.clone(),
            new: self.new.clone(),
            compress: self.compress.then(|| Compress {
                kind: self.compression_type,
                level: self
                    .compression_level
                    .map_or(CompressionLevel::Default, CompressionLevel::Level),
            }),
        }))
    }
}

/// Flattens the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: &FlattenArgs) -> anyhow::Result<()> {
    let mut named = vec![args.image.clone()];
    named.extend(args.onto.clone());
    let keys = passphrase::keys(&args.passphrases)?;
    let mut context = context::around(&named, &args.scan.scan)?;
    context.keys = keys;
    execute(out, globals, args.consent, &context, &args.request()?)
}
