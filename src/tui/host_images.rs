//! The images of a host, as it told them.

use std::collections::HashMap;

use crate::forest::ScannedFile;
use crate::host::{FileId, Holder};

/// What a host has told.
#[derive(Debug, Clone, Default)]
pub struct Images {
    /// The host.
    pub host: String,
    /// Files as they were met.
    pub files: Vec<ScannedFile>,
    /// Which of them processes have open.
    pub held: HashMap<FileId, Vec<Holder>>,
    /// Whether other machines may see some of them.
    pub is_shared: bool,
}

impl Images {
    /// None so far, of this host.
    #[must_use]
    pub fn of(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            ..Self::default()
        }
    }

    /// Takes in files that it has met.
    pub fn extend(&mut self, files: Vec<ScannedFile>) {
        self.is_shared |= files.iter().any(|file| file.sharing.is_some());
        self.files.extend(files);
    }

    /// Orders files by their names: they are met in any order.
    pub fn sort(&mut self) {
        self.files
            .sort_unstable_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    }

    /// Where a file of this name is, once they are sorted.
    #[must_use]
    pub(super) fn place_of(&self, file: &ScannedFile) -> Option<usize> {
        let name = file.path.as_os_str();
        let found = self
            .files
            .binary_search_by(|one| one.path.as_os_str().cmp(name));
        found.ok()
    }
}
