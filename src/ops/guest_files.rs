//! Looking which files inside images a plan changes or takes away. Only reads, and for no longer than it is given: a plan
//! is there without it.

use std::path::PathBuf;

use crate::guest::{self, Error as GuestError};
use crate::image::{Chain, ErrorKind, Keys, NoProgress};
use crate::inside::{self, Sides, Summary, Until};

use super::framework::context::Context;
use super::framework::guest_files::{GuestFate, GuestFiles, NotLooked};
use super::reading::{ReadOptions, open_to_read};
use super::{Plan, SnapshotName};

/// Looks which files inside images a plan changes or takes away, as far as nobody has looked yet. Those that are not
/// known once it is over are told as too large.
pub fn look_inside(plan: &mut Plan, until: &Until) {
    let context = plan.context().clone();
    for files in &mut plan.guest_files {
        if files.found.is_none() {
            files.found = Some(guest_files(&context, files, until));
        }
    }
}

/// Which files inside one image these are.
///
/// # Errors
/// Why that is not known.
pub fn guest_files(
    context: &Context,
    files: &GuestFiles,
    until: &Until,
) -> Result<Summary, NotLooked> {
    if until.is_over() {
        return Err(NotLooked::TooLarge);
    }
    let now = context.host.now();
    let found = match sides(context, files)? {
        (None, all) => inside::summary_of_all(all, now, until),
        (Some(before), after) => inside::summary(&Sides { before, after }, now, until),
    };
    found.map_err(|error| match error {
        GuestError::Cancelled => NotLooked::TooLarge,
        other => not_read(other),
    })
}

/// The older state, if there is one, and the newer.
fn sides(context: &Context, files: &GuestFiles) -> Result<(Option<Chain>, Chain), NotLooked> {
    match &files.fate {
        GuestFate::Change { shown_by, layers } => {
            let after = opened(context, files, shown_by, None)?;
            let before = after.without(*layers);
            // Their passphrases were asked for where the plan was made.
            let unlocked = after.unlock(&context.keys, &NoProgress);
            unlocked.map_err(|error| not_read(error.into()))?;
            Ok((Some(before), after))
        }
        GuestFate::Go => {
            let after = opened(context, files, &files.image, None)?;
            let before = after.below();
            not_locked(&after)?;
            let has_base = !before.layers().is_empty();
            Ok((has_base.then_some(before), after))
        }
        GuestFate::GoBack { snapshot } => {
            let of = SnapshotName::Id(snapshot.clone());
            let before = opened(context, files, &files.image, Some(of))?;
            let after = opened(context, files, &files.image, None)?;
            not_locked(&before)?;
            not_locked(&after)?;
            Ok((Some(before), after))
        }
    }
}

/// A chain that is read as far as the scan was allowed to look.
fn opened(
    context: &Context,
    files: &GuestFiles,
    image: &std::path::Path,
    snapshot: Option<SnapshotName>,
) -> Result<Chain, NotLooked> {
    let forest = &context.forest;
    let chain = forest.by_path(image).map(|node| forest.chain(node.id));
    let met = chain.into_iter().flatten().filter_map(|id| forest.get(id));
    let folders = met.filter_map(|node| node.path.parent().map(PathBuf::from));
    let options = ReadOptions {
        format: files.format.clone(),
        folders: context
            .looked_in
            .dirs()
            .into_iter()
            .chain(folders)
            .collect(),
        follow: false,
        snapshot,
    };
    let reading = open_to_read(&*context.host, image, &options)
        .map_err(|error| NotLooked::Unreadable(error.to_string()))?;
    reading.whole().map_err(|error| not_read(error.into()))
}

/// Nobody is asked for a passphrase only to be told more.
fn not_locked(chain: &Chain) -> Result<(), NotLooked> {
    let unlocked = chain.unlock(&Keys::none(), &NoProgress);
    unlocked.map_err(|error| not_read(error.into()))
}

fn not_read(error: guest::Error) -> NotLooked {
    match &error {
        GuestError::Image(image)
            if matches!(image.kind, ErrorKind::Locked | ErrorKind::WrongPassphrase) =>
        {
            NotLooked::Encrypted
        }
        GuestError::Image(image) if matches!(image.kind, ErrorKind::Cancelled) => {
            NotLooked::TooLarge
        }
        _ => NotLooked::Unreadable(error.to_string()),
    }
}
