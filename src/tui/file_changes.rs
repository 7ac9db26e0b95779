//! Which files differ between two images, and what is inside the selected one: what was asked, and what is known so
//! far. The disk is asked by a worker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::guest::diff::VolumeDiff;
use crate::guest::explain::Explained;
use crate::image::Format;
use crate::inside::Contents;
use crate::ops::SnapshotName;

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
    Changes {
        /// Bytes that are not kept in the same place.
        bytes: u64,
        /// Volume by volume, what changed most first.
        volumes: Arc<Vec<VolumeDiff>>,
    },
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
    }

    /// Whether nothing more is expected of what was asked.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        let is_open = |answer: &FilesAnswer| {
            matches!(answer, FilesAnswer::Bytes(_) | FilesAnswer::Nodes { .. })
        };
        self.asked.is_none() || self.answer.as_ref().is_some_and(|answer| !is_open(answer))
    }

    /// What was found out may be old.
    pub(super) fn forget(&mut self) {
        self.asked = None;
    }
}
