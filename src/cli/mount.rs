//! `qanopy mount`: images shown as folders and files, until it is ended.

use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, anyhow};
use clap::Args;
use crossbeam_channel::{Receiver, bounded, select};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::forest::{Flags, Forest};
use crate::host::{Host, RealHost, effective_user, printable, shell_quoted};
use crate::image::{Format, NoProgress};
use crate::inside::View;
use crate::json_text::json_name;
use crate::mount::{self, Contents, Mounted, Unmounted};
use crate::ops::ReadOptions;
use crate::system::share_memory;

use super::exit::{FileError, Stop};
use super::options::{FollowArgs, Globals, LookArgs, OpenArgs};
use super::output::{self, Out};
use super::passphrase::PassphraseArgs;
use super::{context, passphrase, reading};

/// Show an image, or all images of a folder, as files: each layer and internal snapshot as `disk.raw`, and the files of
/// the guest in `p1`, `p2`, ... Nothing can be written. It stays mounted until Ctrl-C, or until it is unmounted.
///
/// Symbolic links of a guest lead where they lead: an absolute one out of the mount. Devices, FIFOs and sockets of a
/// guest are shown as empty files.
#[derive(Debug, Args)]
pub(super) struct MountArgs {
    /// An image, or a folder: then the images in it and below
    source: PathBuf,
    /// The empty folder to mount on
    #[arg(value_name = "MNT")]
    at: PathBuf,
    /// The image's format [default: by its content]
    #[arg(long, short = 'f', value_name = "FORMAT")]
    format: Option<String>,
    #[command(flatten)]
    look: LookArgs,
    #[command(flatten)]
    passphrases: PassphraseArgs,
}

/// Mounts, and stays until that has an end.
pub(super) fn run(out: &mut Out, globals: Globals, args: &MountArgs) -> anyhow::Result<()> {
    share_memory();
    let stop = signals()?;
    let stat = RealHost.stat(&args.source);
    stat.map_err(FileError::at("open", &args.source))?;
    let (contents, images) = if args.source.is_dir() {
        mount::lies_apart(&args.at, &args.source)?;
        folder(args)?
    } else {
        (image(args)?, 1)
    };
    let report = Box::new(|sentence: &str| output::complain(format_args!("qanopy: {sentence}")));
    let mounted = mount::mount(Arc::new(contents), &args.at, report)?;
    tell(out, globals, args, images, &mounted)?;
    stay(mounted, &stop)
}

/// Gets a word when the process is asked to end.
fn signals() -> anyhow::Result<Receiver<()>> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot watch for signals")?;
    let (tell, stop) = bounded(1);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                // One is enough.
                let _ = tell.try_send(());
            }
        })?;
    Ok(stop)
}

/// One image, which has to open.
fn image(args: &MountArgs) -> anyhow::Result<Contents> {
    let follow = FollowArgs {
        follow: args.look.follow,
    };
    let reading = reading::open(&args.source, args.format.as_deref(), follow, None, &[])?;
    let chain = reading.whole().map_err(reading::NotOpened)?;
    let keys = passphrase::keys(&args.passphrases)?;
    chain.unlock(&keys, &NoProgress)?;
    // Passphrases of volumes inside are asked for now, and not when somebody looks there.
    View::open(chain, &keys)?;
    let options = ReadOptions {
        follow: args.look.follow,
        ..ReadOptions::default()
    };
    let format = args.format.as_deref().map(Format::from_name);
    let path = absolute(&args.source)?;
    let host = Arc::new(RealHost);
    Ok(mount::one_image(host, &path, format, options, keys))
}

/// All images below a folder, and how many there are.
fn folder(args: &MountArgs) -> anyhow::Result<(Contents, usize)> {
    if args.format.is_some() {
        let text = "--format is for a single image, not for a folder";
        return Err(Stop::Usage(text.to_owned()).into());
    }
    let open = OpenArgs {
        dirs: vec![args.source.clone()],
        look: args.look,
    };
    let forest = context::found(&open)?.0;
    let root = absolute(&args.source)?;
    tell_in_use(&forest);
    let options = ReadOptions {
        folders: vec![root.clone()],
        follow: args.look.follow,
        ..ReadOptions::default()
    };
    let keys = passphrase::keys_given(&args.passphrases)?;
    let host = Arc::new(RealHost);
    let (contents, count) = mount::images_below(host, &forest, &root, options, keys);
    if count == 0 {
        return Err(anyhow!("no image is below {}", printable(&args.source)));
    }
    Ok((contents, count))
}

/// Says which images are written meanwhile.
fn tell_in_use(forest: &Forest) {
    let in_use = forest
        .nodes()
        .filter(|node| node.own_flags().contains(Flags::IN_USE));
    for node in in_use {
        output::complain(format_args!(
            "qanopy: {} is in use: what is read of it may be torn",
            printable(&node.path)
        ));
    }
}

/// Says where it is, and how it is ended.
fn tell(
    out: &mut Out,
    globals: Globals,
    args: &MountArgs,
    images: usize,
    mounted: &Mounted,
) -> anyhow::Result<()> {
    let at = mounted.at();
    if globals.json {
        out.json(json!({
            "source": json_name(&args.source),
            "mounted": json_name(at),
            "images": images,
        }))?;
        return Ok(out.end(None)?);
    }
    let what = match images {
        1 => "1 image".to_owned(),
        n => format!("{n} images"),
    };
    out.line(format_args!("{what} mounted on {}", printable(at)))?;
    out.line(format_args!(
        "Ctrl-C unmounts it, as `{}` does elsewhere",
        unmounts(at)
    ))?;
    Ok(out.flush()?)
}

/// The command line that unmounts.
fn unmounts(at: &Path) -> String {
    let program = match effective_user() {
        0 => "umount",
        _ => "fusermount3 -u",
    };
    format!("{program} {}", shell_quoted(at))
}

/// Stays until the process is asked to end, or somebody unmounts.
fn stay(mounted: Mounted, stop: &Receiver<()>) -> anyhow::Result<()> {
    let at = printable(mounted.at());
    select! {
        recv(stop) -> _ => {}
        recv(mounted.ended()) -> how => {
            output::complain(format_args!("qanopy: {at} was unmounted"));
            return how.unwrap_or(Ok(())).with_context(|| format!("{at} went away"));
        }
    }
    if mounted.unmount()? == Unmounted::InUse {
        output::complain(format_args!(
            "qanopy: {at} was in use and is unmounted all the same: who has a file of it open gets errors now"
        ));
    }
    Ok(())
}
