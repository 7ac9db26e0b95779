//! Which files differ between two images, and what is inside the selected one: what was asked, and what is known so
//! far. The disk is asked by a worker.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::{Location, Node};
use crate::guest::diff::VolumeDiff;
use crate::image::Format;
use crate::inside::Contents;
use crate::ops::SnapshotName;

use super::app::App;
use super::detail_pane::Tab;
use super::msg::Effect;

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
}

impl FilesQuery {
    /// The image it is about.
    #[must_use]
    pub fn image(&self) -> &Path {
        match self {
            Self::Contents(path, _) | Self::Changes { after: path, .. } => path,
        }
    }
}

/// What is known of the answer.
#[derive(Debug, Clone)]
pub enum FilesAnswer {
    /// So many bytes are not kept in the same place.
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

/// Asks what the detail pane shows of files, if that was not asked yet.
pub(super) fn ask(app: &mut App, effects: &mut Vec<Effect>) {
    if app.detail.hidden {
        return;
    }
    let query = match app.detail.tab {
        Tab::Changes => changes(app),
        Tab::Info => app
            .selected()
            .filter(|node| can_be_read(node))
            .map(|node| FilesQuery::Contents(node.path.clone(), node.format())),
        _ => None,
    };
    let files = &mut app.detail.files;
    if let Some(query) = query.filter(|query| files.asked.as_ref() != Some(query)) {
        if files
            .contents
            .as_ref()
            .is_some_and(|(path, _)| path != query.image())
        {
            files.contents = None;
        }
        files.answer = None;
        files.asked = Some(query.clone());
        effects.push(Effect::Files(query));
    }
}

/// Only what was found by looking may be opened.
fn can_be_read(node: &Node) -> bool {
    node.location == Location::Scanned
}

/// What is to be compared: two marked images, the snapshot under the cursor and its image, or the selected image and
/// what it is built on.
fn changes(app: &App) -> Option<FilesQuery> {
    let marked = match app.targets().as_slice() {
        [one, other] => app.forest.get(*one).zip(app.forest.get(*other)),
        _ => None,
    };
    if let Some((one, other)) = marked.filter(|(one, other)| can_be_read(one) && can_be_read(other))
    {
        // The base of the other is the older one.
        let targets = app.targets();
        let below = app.forest.chain(targets.first().copied()?);
        let is_below = targets.get(1).is_some_and(|other| below.contains(other));
        let (older, newer) = if is_below { (other, one) } else { (one, other) };
        return Some(FilesQuery::Changes {
            after: newer.path.clone(),
            format: newer.format(),
            before: Before::Image(older.path.clone()),
        });
    }
    let node = app.selected().filter(|node| can_be_read(node))?;
    let before = match app.snapshot() {
        Some(snapshot) => {
            Before::Snapshot(SnapshotName::Id(OsStr::from_bytes(&snapshot.id).to_owned()))
        }
        None if app.detail.files.from_root => Before::Root,
        None => Before::Base,
    };
    Some(FilesQuery::Changes {
        after: node.path.clone(),
        format: node.format(),
        before,
    })
}
