//! What an operation does to files, as far as what is asked tells: the rest of the program goes by it, and matches
//! no request by its kind.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::backing_style::BackingStyle;
use super::preconditions::Compare;

/// What an operation does to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Nature<'a> {
    /// It makes this one new image, which gets its name when it is whole, and changes no other file.
    CreatesImage(&'a Path),
    /// It makes new files, which get their names when they are whole, and changes no other.
    CreatesFiles,
    /// Files come back from the trash; whatever can be read stays as it is.
    Restores,
    /// Tables are brought in line with each other; whatever can be read stays as it is.
    Repairs,
    /// It gives files other names or places.
    Moves(&'a [Relocation]),
    /// It changes or removes files.
    Changes,
    /// It takes back the entry of the journal of this number; none: the newest that can be.
    TakesBack(Option<u64>),
    /// It does again the entry of the journal of this number; none: the one that was taken back last.
    DoesAgain(Option<u64>),
    /// It brings the interrupted entry of the journal of this number to an end.
    EndsInterrupted(u64, Recovery),
}

impl<'a> Nature<'a> {
    /// Whether it speaks of images, not of what the journal remembers.
    pub(in crate::ops) fn is_of_images(self) -> bool {
        match self {
            Self::CreatesImage(_)
            | Self::CreatesFiles
            | Self::Restores
            | Self::Repairs
            | Self::Moves(_)
            | Self::Changes => true,
            Self::TakesBack(_) | Self::DoesAgain(_) | Self::EndsInterrupted(..) => false,
        }
    }

    /// Whether it only makes new files, which get their names when they are whole.
    pub(in crate::ops) fn makes_files(self) -> bool {
        match self {
            Self::CreatesImage(_) | Self::CreatesFiles => true,
            Self::Restores
            | Self::Repairs
            | Self::Moves(_)
            | Self::Changes
            | Self::TakesBack(_)
            | Self::DoesAgain(_)
            | Self::EndsInterrupted(..) => false,
        }
    }

    /// Whether it only adds files or changes nothing that can be read, so that no other image can be affected.
    pub(in crate::ops) fn only_adds(self) -> bool {
        match self {
            Self::CreatesImage(_) | Self::CreatesFiles | Self::Restores | Self::Repairs => true,
            Self::Moves(_)
            | Self::Changes
            | Self::TakesBack(_)
            | Self::DoesAgain(_)
            | Self::EndsInterrupted(..) => false,
        }
    }

    /// The one new image that it makes, if it makes one.
    pub(in crate::ops) fn image(self) -> Option<&'a Path> {
        match self {
            Self::CreatesImage(new) => Some(new),
            Self::CreatesFiles
            | Self::Restores
            | Self::Repairs
            | Self::Moves(_)
            | Self::Changes
            | Self::TakesBack(_)
            | Self::DoesAgain(_)
            | Self::EndsInterrupted(..) => None,
        }
    }
}

/// What has to be as an operation left it, so that what takes it back takes back that and nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum RestsOn<'a> {
    /// That of this image.
    Image(&'a Path, Compare),
    /// That of every file which the operation touched.
    Touched(Compare),
    /// The same of images that it made, on which moreover nothing has come to be built.
    Made(&'a [PathBuf]),
    /// The same of layers that lie in this entry of the trash, or were brought back from there.
    Trashed {
        /// By the places they had.
        layers: &'a [PathBuf],
        /// The entry.
        entry: &'a str,
    },
}

/// One image's way to another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relocation {
    /// Its name now.
    pub from: PathBuf,
    /// The new name, or a directory that is to hold it under the name it has.
    pub to: PathBuf,
    /// How it names its own backing file afterwards; none for as it does now.
    pub style: Option<BackingStyle>,
}

/// How an interrupted operation is brought to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recovery {
    /// It is done to the end.
    Finish,
    /// What was done of it is taken back.
    RollBack,
    /// It stays half done, and is not told of again.
    Forget,
}
