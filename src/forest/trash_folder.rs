//! What a scan makes of trash folders: it looks only at the files that were put there, and only in one that
//! is believed.

use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::image::{TRASH_FOLDER, foreign_trash, is_trashed};

/// The trash folder that a path leads into, if it leads into one.
pub(super) fn trash_folder_of(path: &Path) -> Option<&Path> {
    path.ancestors()
        .find(|above| above.file_name().is_some_and(|name| name == TRASH_FOLDER))
}

/// Whether a scan looks at this file, which is in a trash folder.
pub(super) fn is_looked_at(host: &dyn Host, path: &Path) -> bool {
    let trash = trash_folder_of(path);
    is_trashed(path) && trash.is_some_and(|trash| foreign_trash(host, trash).is_none())
}

/// What is told of a trash folder that is not looked into.
pub(super) fn left_alone(trash: &Path, why: &str) -> (PathBuf, String) {
    let why =
        format!("this trash folder {why}, so what is in it is not looked at and not believed");
    (trash.to_path_buf(), why)
}
