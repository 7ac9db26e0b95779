//! Names by which files are remembered: absolute, with the links in their folder resolved, and not those at their end.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::host::Host;

/// Finds them; each folder is looked at once.
pub(super) struct AbsoluteNames<'h> {
    host: &'h dyn Host,
    folders: HashMap<PathBuf, Option<PathBuf>>,
}

impl<'h> AbsoluteNames<'h> {
    pub(super) fn new(host: &'h dyn Host) -> Self {
        let folders = HashMap::new();
        Self { host, folders }
    }

    /// Of this file; where its folder is not there, as it is written.
    pub(super) fn of(&mut self, path: &Path) -> Option<PathBuf> {
        let (folder, name) = (path.parent()?, path.file_name()?);
        let folder = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        let known = self.folders.entry(folder.to_path_buf());
        let canonical = known.or_insert_with(|| self.host.canonical(folder).ok());
        match canonical {
            Some(canonical) => Some(canonical.join(name)),
            None => std::path::absolute(path).ok(),
        }
    }
}
