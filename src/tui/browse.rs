//! What is asked about the files inside an image, and what is answered: as the messages, the workers and the browser
//! know it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::guest::Printable;
use crate::guest::filesystem::{Node, NodeId};
use crate::image::Format;
use crate::inside::{Contents, Hit, LineKind, Place, Step, View};
use crate::units;

/// The image whose files are meant, or one of its internal snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The image.
    pub image: PathBuf,
    /// Its format, where that is known.
    pub format: Option<Format>,
    /// The ID of the internal snapshot, where that is what is shown.
    pub snapshot: Option<Vec<u8>>,
}

impl Shown {
    /// What it is called, for people.
    #[must_use]
    pub fn name(&self) -> String {
        let name = units::file_name(&self.image);
        match &self.snapshot {
            Some(id) => format!("snapshot {} of {name}", Printable(id.clone())),
            None => name,
        }
    }
}

/// A file or folder of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The volume, as a [`Place`] names it.
    pub volume: String,
    /// The path from its root, without a leading slash.
    pub path: Vec<u8>,
    /// Which node that is, where it was listed.
    pub node: Option<NodeId>,
}

impl Spot {
    /// The root of a volume.
    #[must_use]
    pub fn root(volume: &str) -> Self {
        Self {
            volume: volume.to_owned(),
            path: Vec::new(),
            node: None,
        }
    }

    /// What a folder lists.
    #[must_use]
    pub fn below(&self, name: &[u8], node: Option<NodeId>) -> Self {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self {
            volume: self.volume.clone(),
            path,
            node,
        }
    }

    /// The same as a person writes it.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            volume: Some(self.volume.clone()),
            path: self.path.clone(),
        }
    }

    /// What it is called on the command line, byte for byte.
    #[must_use]
    pub fn typed(&self) -> OsString {
        let mut text = format!("{}:/", self.volume).into_bytes();
        text.extend_from_slice(&self.path);
        OsString::from_vec(text)
    }

    /// For people: `p1:/etc/fstab`.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{}:/{}", self.volume, Printable(self.path.clone()))
    }
}

/// What is to be copied out, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extraction {
    /// The image.
    pub of: Shown,
    /// The file or folder.
    pub spot: Spot,
    /// The folder to put it into.
    pub to: PathBuf,
}

/// A file in two states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The newer one.
    pub newer: Shown,
    /// The older one.
    pub older: ComparedWith,
    /// The file there.
    pub spot: Spot,
    /// Where it was in the older one, if it had another path.
    pub from: Option<Vec<u8>>,
}

/// What an image is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComparedWith {
    /// What it is built on.
    Base,
    /// The lowest layer of its chain.
    Root,
    /// Another image, or one of its snapshots.
    Other(Shown),
}

/// A file of two states that was compared.
#[derive(Debug)]
pub struct Compared {
    /// The file in the older state; none where it is not there.
    pub older: Option<(Shown, Spot)>,
    /// The same in the newer state.
    pub newer: Option<(Shown, Spot)>,
    /// What the two states are called, the older first.
    pub names: [String; 2],
    /// What differs, line by line, made safe to print.
    pub lines: Vec<(LineKind, String)>,
}

/// What is asked.
#[derive(Debug)]
pub enum Question {
    /// Which volumes there are.
    Open(Shown),
    /// What is in a folder, or in a file; links are followed.
    Look(Arc<View>, Spot),
    /// Which files have such names.
    Find(Arc<View>, String),
    /// In which layers a file of this image changed.
    History(Arc<View>, PathBuf, Spot),
    /// How a file differs between two states.
    Compare(Comparison),
}

/// What is answered.
#[derive(Debug)]
pub enum Answer {
    /// The opened image, its volumes, and which of its files a process is writing, each as a sentence.
    Opened(Arc<View>, Contents, Vec<String>),
    /// A folder.
    Folder(Vec<FileRow>),
    /// A file.
    Text(FileText),
    /// Files that have a name.
    Found(Found),
    /// What became of a file in each layer, the uppermost first.
    History(Vec<Step>),
    /// How a file differs.
    Compared(Box<Compared>),
}

/// Why nothing is answered.
#[derive(Debug)]
pub enum Trouble {
    /// The passphrase of this image is missing, or wrong; a sentence that says so.
    Locked(PathBuf, String),
    /// A sentence.
    Told(String),
}

/// Files that were found by name.
#[derive(Debug)]
pub struct Found {
    /// What they were found by, as it was typed.
    pub name: String,
    /// The files.
    pub hits: Vec<Hit>,
    /// What could not be looked at, or is left out, each as a sentence.
    pub remarks: Vec<String>,
}

/// An entry of a folder.
#[derive(Debug)]
pub struct FileRow {
    /// Its name, as stored.
    pub name: Vec<u8>,
    /// What it is, or why that cannot be told.
    pub node: Result<Node, String>,
    /// Where a symbolic link leads, made safe to print.
    pub target: Option<String>,
}

/// A file to be read on the screen.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FileText {
    /// Its lines, made safe to print; of what is no text its bytes as numbers.
    pub lines: Vec<String>,
    /// What is left out, as a sentence.
    pub note: Option<String>,
}
