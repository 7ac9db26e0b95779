//! Opening what is only read, for the commands that need the whole chain: says on standard error
//! what a process is writing at the time. What may be opened is decided below.

use std::path::{Path, PathBuf};

use crate::host::{Access, Host, RealHost};
use crate::image::{self, ErrorKind, Format, ImageFile};
use crate::ops::{self, ReadOptions, Reading, SnapshotName};
use crate::qcow2::Header;

use super::exit::FileError;
use super::mistakes;
use super::options::FollowArgs;
use super::output;

/// Opens an image; `beside` are other images given on the same line, whose folders were named with them.
pub(super) fn open(
    path: &Path,
    format: Option<&str>,
    follow: FollowArgs,
    snapshot: Option<SnapshotName>,
    beside: &[&Path],
) -> anyhow::Result<Reading> {
    mistakes::no_folder(path)?;
    let folders = beside.iter().filter_map(|path| path.parent());
    let options = ReadOptions {
        format: format.map(Format::from_name),
        folders: folders.map(in_words).collect(),
        follow: follow.follow,
        snapshot,
    };
    let reading = ops::open_to_read(&RealHost, path, &options)?;
    for note in &reading.live {
        output::complain(format_args!("qanopy: {note}"));
    }
    Ok(reading)
}

/// Opens one image, and nothing that it is built on, for what its header and tables say.
pub(super) fn header(path: &Path) -> anyhow::Result<(ImageFile, Header)> {
    mistakes::no_folder(path)?;
    let file = RealHost
        .open(path, Access::Read)
        .map_err(FileError::at("open", path))?;
    let file = ImageFile::new(path, file);
    let header = image::read_header(&file)?;
    Ok((file, header))
}

/// The folder of a name without one is the current one.
fn in_words(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        folder.to_path_buf()
    }
}

/// A chain that cannot be opened, told with the way out there is.
#[derive(Debug, thiserror::Error)]
#[error("{}", why(.0))]
pub(super) struct NotOpened(#[source] pub(super) image::Error);

/// An error of opening a chain, with the way out there is.
pub(super) fn why(error: &image::Error) -> String {
    match error.kind {
        ErrorKind::OutsideRoots(_) => format!("{error} (--follow opens it)"),
        _ => error.to_string(),
    }
}
