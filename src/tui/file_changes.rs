//! Which files differ between two images, and what is inside the selected one: what was asked, and what is known so
//! far. The disk is asked by a worker.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::guest::diff::VolumeDiff;
use crate::guest::explain::Explained;
use crate::image::Format;
use crate::inside::Contents;
use crate::ops::SnapshotName;

use super::change_tree::{ChangeRow, ChangeTree, FolderKey, RowKind};

/// What an image is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// What it is built on.
    Base,
    /// The lowest layer of its chain.
    Root,
    /// Another image.
    Image(PathBuf),
    /// One of its internal snapshots.
    Snapshot(SnapshotName),
}

/// A question about files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesQuery {
    /// What is in this image.
    Contents(PathBuf, Option<Format>),
    /// Which files differ between an older state and this image.
    Changes {
        /// The newer image.
        after: PathBuf,
        /// Its format.
        format: Option<Format>,
        /// The older state.
        before: Before,
    },
    /// What the bytes that this image stores are used for.
    Explain(PathBuf, Option<Format>),
}

impl FilesQuery {
    /// The image it is about.
    #[must_use]
    pub fn image(&self) -> &Path {
        match self {
            Self::Contents(path, _)
            | Self::Explain(path, _)
            | Self::Changes { after: path, .. } => path,
        }
    }
}

/// The files that differ.
#[derive(Debug)]
pub struct Changes {
    /// Bytes that are not kept in the same place.
    pub bytes: u64,
    /// Volume by volume.
    pub volumes: Vec<VolumeDiff>,
    /// The same as folders: without logs, caches and temporary files, and with them.
    trees: [ChangeTree; 2],
}

impl Changes {
    /// Takes some time where much differs: no thread that draws has it.
    #[must_use]
    pub fn new(bytes: u64, volumes: Vec<VolumeDiff>) -> Self {
        let trees = [false, true].map(|with_noise| ChangeTree::new(&volumes, with_noise));
        Self {
            bytes,
            volumes,
            trees,
        }
    }

    /// As folders, with logs, caches and temporary files or without them.
    #[must_use]
    pub fn tree(&self, with_noise: bool) -> &ChangeTree {
        let [quiet, all] = &self.trees;
        if with_noise { all } else { quiet }
    }
}

/// What is known of the answer.
#[derive(Debug, Clone)]
pub enum FilesAnswer {
    /// So many bytes are not kept in the same place; or so many the image stores.
    Bytes(u64),
    /// So many files can differ.
    Nodes {
        /// Bytes that are not kept in the same place.
        bytes: u64,
        /// Files of the volume that is looked at.
        nodes: u64,
    },
    /// The files that differ.
    Changes(Arc<Changes>),
    /// What is in it.
    Contents(Arc<Contents>),
    /// What the bytes it stores are used for.
    Explained(Explained),
    /// It is built on nothing, so that there is nothing to compare it with.
    NoBase,
    /// Why it cannot be told.
    Failed(String),
}

/// What the detail pane knows of files.
#[derive(Debug, Default)]
pub struct Files {
    /// The question that was asked last.
    pub asked: Option<FilesQuery>,
    /// What came of it so far.
    pub answer: Option<FilesAnswer>,
    /// What is in the selected image, if that was found out.
    pub contents: Option<(PathBuf, Arc<Contents>)>,
    /// Whether an overlay is compared with the lowest layer of its chain, not with the next one.
    pub from_root: bool,
    /// Whether logs, caches and temporary files are shown.
    pub shows_noise: bool,
    /// The rows of the files that differ, as far as folders are open.
    pub rows: Vec<ChangeRow>,
    /// The row under the cursor.
    pub cursor: usize,
    /// Folders that are not as they were at first: folded, or open where much differs.
    turned: HashSet<FolderKey>,
    /// What these and the cursor are about.
    laid_out: Option<FilesQuery>,
}

impl Files {
    /// Takes an answer, unless something else was asked since.
    pub(super) fn take(&mut self, query: &FilesQuery, answer: FilesAnswer) {
        if self.asked.as_ref() != Some(query) {
            return;
        }
        if let FilesAnswer::Contents(contents) = &answer {
            self.contents = Some((query.image().to_path_buf(), Arc::clone(contents)));
        }
        self.answer = Some(answer);
        if self.changes().is_some() && self.laid_out.as_ref() != Some(query) {
            self.laid_out = Some(query.clone());
            self.cursor = 0;
            self.turned.clear();
        }
        self.lay_out();
    }

    /// The files that differ, once they are known.
    #[must_use]
    pub fn changes(&self) -> Option<&Arc<Changes>> {
        match &self.answer {
            Some(FilesAnswer::Changes(changes)) => Some(changes),
            _ => None,
        }
    }

    /// The same as folders, as they are shown.
    #[must_use]
    pub fn tree(&self) -> Option<&ChangeTree> {
        self.changes().map(|changes| changes.tree(self.shows_noise))
    }

    /// The row under the cursor.
    #[must_use]
    pub fn row(&self) -> Option<&ChangeRow> {
        self.rows.get(self.cursor)
    }

    /// Makes the rows anew.
    fn lay_out(&mut self) {
        self.rows = self.rows_with(Some(&self.turned));
        if self.changes().is_some() {
            self.cursor = self.cursor.min(self.rows.len().saturating_sub(1));
        }
    }

    /// The rows there would be if no folder was folded.
    #[must_use]
    pub fn all_rows(&self) -> Vec<ChangeRow> {
        self.rows_with(None)
    }

    fn rows_with(&self, turned: Option<&HashSet<FolderKey>>) -> Vec<ChangeRow> {
        let (Some(changes), Some(tree)) = (self.changes(), self.tree()) else {
            return Vec::new();
        };
        let volumes = changes.volumes.iter().enumerate();
        volumes
            .flat_map(|(at, volume)| tree.rows(at, &volume.changes, turned))
            .collect()
    }

    /// Shows logs, caches and temporary files, or hides them.
    pub(super) fn toggle_noise(&mut self) {
        self.shows_noise ^= true;
        self.cursor = 0;
        self.lay_out();
    }

    /// Opens the folder under the cursor, or folds it; says whether it was not as it is to be.
    pub(super) fn fold(&mut self, is_to_be_open: bool) -> bool {
        let key = match self.row() {
            Some(row) if row.kind.is_open() == Some(!is_to_be_open) => self.key_of(row),
            _ => None,
        };
        let Some(key) = key else { return false };
        if !self.turned.remove(&key) {
            self.turned.insert(key);
        }
        self.lay_out();
        true
    }

    fn key_of(&self, row: &ChangeRow) -> Option<FolderKey> {
        let RowKind::Folder(place, _) = row.kind else {
            return None;
        };
        let volume = self.changes()?.volumes.get(row.volume)?;
        let folder = self.tree()?.folder(place)?;
        Some(folder.key(&volume.changes))
    }

    /// The row of the folder that the row under the cursor is in.
    #[must_use]
    pub fn above(&self) -> Option<usize> {
        let depth = self.row()?.depth;
        let before = self.rows.get(..self.cursor)?;
        before.iter().rposition(|row| row.depth < depth)
    }

    /// Whether nothing more is expected of what was asked.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        let is_open = |answer: &FilesAnswer| {
            matches!(answer, FilesAnswer::Bytes(_) | FilesAnswer::Nodes { .. })
        };
        self.asked.is_none() || self.answer.as_ref().is_some_and(|answer| !is_open(answer))
    }

    /// Something else is asked.
    pub(super) fn ask(&mut self, query: FilesQuery) {
        self.answer = None;
        self.rows.clear();
        self.asked = Some(query);
    }

    /// What was found out may be old.
    pub(super) fn forget(&mut self) {
        self.asked = None;
    }
}
