//! What a command sees before it plans. Where is looked for what depends on an image is decided in
//! [`Context`]; here is only how the command line tells of it.

use std::io;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;

use anyhow::anyhow;

use crate::forest::{self, Forest, Index, NodeId, ScanOptions, ScanSummary, look_at, scan_all};
use crate::host::{Host, RealHost, io_text, printable};
use crate::machines::{Machine, Machines, Places};
use crate::ops::journal::Journal;
use crate::ops::{Context, Looked, LookedIn};

use super::exit::FileError;
use super::hosts::peers;
use super::mistakes;
use super::options::{LookArgs, OpenArgs};
use super::output;

/// A forest, and how the search for it went.
pub(super) struct Scanned {
    pub(super) context: Context,
    pub(super) summary: ScanSummary,
}

/// The machine, and no image known.
pub(super) fn nowhere() -> Context {
    Context {
        peers: peers::of_this_process(),
        ..Context::nowhere(Arc::new(RealHost), Index::default_dir())
    }
}

fn scan(roots: Vec<PathBuf>, look: LookArgs) -> (Forest, ScanSummary) {
    let options = ScanOptions {
        roots,
        follow: look.follow,
        raw: look.raw,
    };
    scan_all(Arc::new(RealHost), options)
}

/// The folders to search, absolute, so that what is told of them holds anywhere; the current one
/// where none is named.
pub(super) fn roots(open: &OpenArgs) -> io::Result<Vec<PathBuf>> {
    if open.dirs.is_empty() {
        return Ok(vec![absolute(".")?]);
    }
    open.dirs.iter().map(absolute).collect()
}

/// The forest below the folders named, as the search finds it.
///
/// # Errors
/// If one of those named cannot be read. What cannot be read below them is told on standard error.
pub(super) fn found(open: &OpenArgs) -> anyhow::Result<(Forest, ScanSummary)> {
    let roots = roots(open)?;
    let (forest, summary) = scan(roots.clone(), open.look);
    for (dir, why) in &summary.unreadable_dirs {
        if roots.contains(dir) {
            // Looked at once more for what programs can tell it by.
            RealHost.list_dir(dir).map_err(FileError::at("read", dir))?;
            return Err(anyhow!("cannot read {}: {}", printable(dir), why));
        }
        output::complain(format_args!(
            "qanopy: cannot read {}: {why}",
            printable(dir)
        ));
    }
    remember(&forest);
    Ok((forest, summary))
}

/// The forest below the folders named, and all that is known of it.
///
/// # Errors
/// As [`found`].
pub(super) fn below(open: &OpenArgs) -> anyhow::Result<Scanned> {
    let (mut forest, summary) = found(open)?;
    let roots = roots(open)?;
    if let Some(dir) = Index::default_dir() {
        forest.note_interrupted(&Journal::at(&dir).halves());
    }
    note_changed_bases(&mut forest);
    ask_machines(&mut forest);
    let context = Context {
        forest: Arc::new(forest),
        looked_in: LookedIn::within(roots),
        ..nowhere()
    };
    Ok(Scanned { context, summary })
}

/// The forest below the folders named, and what earlier runs saw elsewhere: it may be built on
/// what is below.
///
/// # Errors
/// As [`below`].
pub(super) fn below_and_remembered(open: &OpenArgs) -> anyhow::Result<Context> {
    let mut looked = Looked {
        context: below(open)?.context,
        complaints: Vec::new(),
    };
    looked.recall();
    Ok(told(looked))
}

/// The forest around these images: see [`Context::around`].
///
/// # Errors
/// If an image or one of `also` is not there.
pub(super) fn around(images: &[PathBuf], also: &[PathBuf]) -> anyhow::Result<Context> {
    images
        .iter()
        .try_for_each(|image| mistakes::no_folder(image))?;
    let looked = Context::around(Arc::new(RealHost), Index::default_dir(), images, also)
        .map_err(|(path, error)| FileError::at("find", &path)(error))?;
    let mut context = told(looked);
    context.peers = peers::of_this_process();
    Ok(context)
}

/// The forest around those of the files that are there, and the folders of the others.
///
/// # Errors
/// As [`around`].
pub(super) fn around_files(touched: &[PathBuf], also: &[PathBuf]) -> anyhow::Result<Context> {
    let mut images: Vec<PathBuf> = Vec::new();
    let mut folders: Vec<PathBuf> = also.to_vec();
    for path in touched {
        if path.is_file() {
            images.push(path.clone());
        } else if let Some(dir) = path.parent().filter(|dir| dir.is_dir()) {
            folders.push(dir.to_path_buf());
        }
    }
    folders.sort();
    folders.dedup();
    around(&images, &folders)
}

/// The context, once what could not be looked at is told.
fn told(mut looked: Looked) -> Context {
    looked.context.ask_machines();
    for complaint in looked.complaints {
        output::complain(format_args!("qanopy: {complaint}"));
    }
    looked.context
}

/// The files that a machine has as its disks.
pub(super) fn disks_of(name: &str) -> Vec<PathBuf> {
    let machines = Machines::ask(Places::here(Arc::new(RealHost), Vec::new()));
    let is_it = |machine: &&Machine| machine.name == name || machine.id.as_deref() == Some(name);
    let disks = machines
        .list()
        .iter()
        .filter(is_it)
        .flat_map(|machine| &machine.disks);
    let files = disks.map(|disk| disk.file.path.clone());
    // What lies beside a device is none of its layers.
    files.filter(|path| !path.starts_with("/dev")).collect()
}

/// Asks which machines use the images, and tells whom it could not ask.
pub(super) fn ask_machines(forest: &mut Forest) {
    let places = Places::here(Arc::new(RealHost), forest.folders());
    let machines = Machines::ask(places);
    tell_unasked(&machines);
    forest.note_machines(Arc::new(machines));
}

pub(super) fn tell_unasked(machines: &Machines) {
    for unasked in machines.unasked() {
        output::complain(format_args!(
            "qanopy: which machines use these images could not be asked: {unasked}"
        ));
    }
}

/// Notes down what was seen, for later runs. They are told what they miss: nothing fails for it here.
fn remember(forest: &Forest) {
    let Some(dir) = Index::default_dir() else {
        return;
    };
    if let Err(error) = forest::remember(&dir, &RealHost, forest) {
        let file = printable(Index::at(&dir).file());
        output::complain(format_args!(
            "qanopy: cannot remember images in {file}: {error}",
            error = io_text(&error)
        ));
    }
}

/// Notes which bases were changed under what is built on them.
fn note_changed_bases(forest: &mut Forest) {
    if let Some(dir) = Index::default_dir() {
        forest.note_changed_bases(&forest::changed_bases(&dir, &RealHost, forest));
    }
}

/// One image, by the name as given; with its chain only if that is asked.
///
/// # Errors
/// If there is no such file.
pub(super) fn image(path: &Path, look: LookArgs) -> anyhow::Result<(Forest, NodeId)> {
    mistakes::no_folder(path)?;
    let file = RealHost.stat(path).map_err(FileError::at("open", path))?;
    let mut forest = if look.follow {
        scan(vec![path.to_path_buf()], look).0
    } else {
        let mut forest = Forest::new();
        forest.extend(look_at(Arc::new(RealHost), path));
        forest
    };
    note_changed_bases(&mut forest);
    let id = forest
        .by_file(file.id)
        .map(|node| node.id)
        .ok_or_else(|| anyhow!("{} is no image", printable(path)))?;
    Ok((forest, id))
}
