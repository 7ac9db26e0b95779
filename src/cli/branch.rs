//! `qanopy branch`: a new overlay on an image.

use std::path::PathBuf;

use clap::Args;

use crate::image::Format;
use crate::ops::{Branch, LiveBranch, LiveOverlay, Request};
use crate::units;

use super::context;
use super::execute::execute;
use super::exit::Stop;
use super::mistakes;
use super::new_image::{EncryptArgs, ImageArgs};
use super::options::{ConsentArgs, Globals, ScanArgs, backing_style};
use super::output::Out;
use super::passphrase::PassphraseArgs;

#[derive(Debug, Args)]
pub(super) struct BranchArgs {
    /// The image to build on: qcow2 or raw, leaf or frozen
    base: PathBuf,
    /// The overlay to create; an existing file is never overwritten
    new: PathBuf,
    /// With --live: further disks of the same machine and their overlays, switched at the same instant
    #[arg(value_name = "BASE NEW", requires = "live", num_args = 2..)]
    more: Vec<PathBuf>,
    /// BASE is in use: the machine that writes it goes on in NEW, and BASE is frozen
    #[arg(long, conflicts_with_all = ["size", "backing_format"])]
    live: bool,
    /// With --live: do not have the guest's filesystems held still
    #[arg(long, requires = "live")]
    no_quiesce: bool,
    /// Format of BASE; refused if its content says another one
    #[arg(long, short = 'F', value_name = "FORMAT")]
    backing_format: Option<String>,
    /// Virtual size of the overlay; of a longer base it shows the beginning [default: the base's]
    #[arg(long, value_parser = units::parse_size)]
    size: Option<u64>,
    /// Record the backing file by its absolute path, not as seen from the overlay
    #[arg(long)]
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

impl BranchArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        if self.live {
            return self.live_request();
        }
        Ok(Request::Branch(Branch {
            base: self.base.clone(),
            new: self.new.clone(),
            format: self.backing_format.as_deref().map(Format::from_name),
            size: self.size,
            style: backing_style(self.absolute),
            image: self.image.options(&self.encryption),
        }))
    }
}

impl BranchArgs {
    fn live_request(&self) -> anyhow::Result<Request> {
        let disk = |leaf: &PathBuf, new: &PathBuf| LiveOverlay {
            leaf: leaf.clone(),
            new: new.clone(),
        };
        let mut disks = vec![disk(&self.base, &self.new)];
        for pair in self.more.chunks(2) {
            let [leaf, new] = pair else {
                let text = "each further disk needs a new overlay: BASE NEW".to_owned();
                return Err(Stop::Usage(text).into());
            };
            disks.push(disk(leaf, new));
        }
        Ok(Request::LiveBranch(LiveBranch {
            disks,
            style: backing_style(self.absolute),
            quiesce: !self.no_quiesce,
        }))
    }
}

/// Creates the overlay.
pub(super) fn run(out: &mut Out, globals: Globals, args: &BranchArgs) -> anyhow::Result<()> {
    mistakes::base_comes_first(&args.base, &args.new)?;
    let keys = args.encryption.keys(&args.passphrases, &args.new)?;
    let mut named = vec![args.base.clone()];
    named.extend(args.more.iter().step_by(2).cloned());
    let mut context = context::around(&named, &args.scan.scan)?;
    context.keys = keys;
    execute(out, globals, args.consent, &context, &args.request()?)
}
