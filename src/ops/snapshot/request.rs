//! What is asked of the internal snapshots of an image.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ops::{CommandLine, Dependants};

/// Do something with the internal snapshots of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSnapshot {
    /// The image they are in.
    pub image: PathBuf,
    /// What to do.
    pub action: SnapshotAction,
}

/// What is done with the internal snapshots of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotAction {
    /// Keep what the image shows now as a new snapshot.
    Create {
        /// Its name, 1 to 255 bytes.
        name: OsString,
    },
    /// Show again what a snapshot shows, in place of what the image holds now.
    Apply {
        /// Which one.
        snapshot: SnapshotName,
        /// What becomes of images that are built on this one.
        dependants: Dependants,
    },
    /// Forget a snapshot.
    Delete {
        /// Which one.
        snapshot: SnapshotName,
    },
    /// Copy what a snapshot shows into a new image.
    Extract {
        /// Which one.
        snapshot: SnapshotName,
        /// The file to create.
        new: PathBuf,
        /// What it is to be.
        form: ExtractAs,
    },
}

/// Which internal snapshot is meant. An image may hold any bytes as either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotName {
    /// The one of this name; refused if there are several.
    Name(OsString),
    /// The one with this ID.
    Id(OsString),
}

/// What a snapshot is copied out as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ExtractAs {
    /// A qcow2 image that is built on nothing.
    #[default]
    Qcow2,
    /// A raw image.
    Raw,
    /// A qcow2 image that is built on what the snapshot's image is built on.
    Overlay,
}

impl ChangeSnapshot {
    pub(super) fn line(&self) -> CommandLine {
        let line = |command| CommandLine::new(&["snapshot", command]);
        // Options come before names, which may begin with a dash.
        let which = |line: CommandLine, snapshot: &SnapshotName| match snapshot {
            SnapshotName::Name(name) => line.path(&self.image).word(name),
            SnapshotName::Id(id) => line.flag("--id", true).path(&self.image).word(id),
        };
        match &self.action {
            SnapshotAction::Create { name } => line("create").path(&self.image).word(name),
            SnapshotAction::Apply {
                snapshot,
                dependants,
            } => {
                let breaks = (*dependants == Dependants::Break).then_some("break");
                which(line("apply").option("--dependants", breaks), snapshot)
            }
            SnapshotAction::Delete { snapshot } => which(line("delete"), snapshot),
            SnapshotAction::Extract {
                snapshot,
                new,
                form,
            } => {
                let form = match form {
                    ExtractAs::Qcow2 => None,
                    ExtractAs::Raw => Some("raw"),
                    ExtractAs::Overlay => Some("overlay"),
                };
                which(line("extract").option("--as", form), snapshot).path(new)
            }
        }
    }
}
