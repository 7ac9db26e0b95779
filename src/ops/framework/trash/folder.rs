//! The folder of one batch in a trash, and its manifest beside it.

use std::io;
use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::image::temporary_name;

/// Where the manifest of a batch's folder is.
pub(super) fn manifest_path(folder: &Path) -> PathBuf {
    folder.with_extension("json")
}

/// Removes a batch's folder if it is empty, then its manifest, then the trash folder if that is
/// empty as well. Says whether the trash folder is gone. Best effort: what cannot go stays and
/// hurts nobody.
pub(super) fn remove_folder(host: &dyn Host, folder: &Path) -> bool {
    // Only where no link leads elsewhere by now.
    if host.canonical(folder).is_ok_and(|place| place != folder) {
        return false;
    }
    match host.remove_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => return false,
    }
    let manifest = manifest_path(folder);
    let _ = host.remove_file(&manifest);
    let _ = host.remove_file(&temporary_name(&manifest));
    let Some(trash) = folder.parent() else {
        return false;
    };
    host.remove_dir(trash).is_ok()
}
