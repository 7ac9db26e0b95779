//! What every operation says of itself. A request is a struct in its operation's file, and this trait is all
//! that the rest of the program asks it: planning, the journal, undo, recovery and the faces go by it and
//! match no request by its kind. No method has a default, so that a new operation answers each question.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Plan, Recovery, Relocation};

pub(super) use super::command_line::CommandLine;
pub(super) use super::pin::Watch;
pub(super) use super::recover::{Half, Left, Way};

/// One operation, as it was asked for.
pub(super) trait Operation: fmt::Debug {
    /// The word that asks for it at a command line, and by which people know it.
    fn name(&self) -> &'static str;

    /// The word for doing it, as it stands on the button that says yes.
    fn verb(&self) -> &'static str;

    /// What it does to files, as far as the request alone tells.
    fn nature(&self) -> Nature<'_>;

    /// Visits whatever it names that lies outside the request: all paths and all entries of the trash.
    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>));

    /// The images whose content, with all below it, it copies into other files.
    fn copies(&self) -> Vec<&Path>;

    /// The command line that asks for exactly this; none where no command line does.
    fn command_line(&self) -> Option<CommandLine>;

    /// Looks, and says in the plan what it would do. Changes nothing.
    fn plan(&self, plan: &mut Plan);

    /// Where this is what takes back another operation: what has to be as that one left it.
    fn rests_on(&self) -> RestsOn<'_>;

    /// What does it to the end, where it was interrupted.
    fn finish(&self, half: &Half<'_>) -> Way;

    /// Whether what was done of it may be taken back after an interruption although its plan named no way
    /// back, as far as can be said without a look at the files.
    fn can_roll_back(&self) -> bool;

    /// What takes back what was done of it, where it was interrupted.
    fn roll_back(&self, half: &Half<'_>) -> Way;
}

/// What an operation does to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature<'a> {
    /// It makes this one new image, which gets its name when it is whole, and changes no other file.
    CreatesImage(&'a Path),
    /// It makes new files, which get their names when they are whole, and changes no other.
    CreatesFiles,
    /// Files come back from the trash; whatever can be read stays as it is.
    Restores,
    /// Tables are brought in line with each other; whatever can be read stays as it is.
    Repairs,
    /// It gives files other names.
    Renames(&'a [Relocation]),
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
    pub(super) fn is_of_images(self) -> bool {
        match self {
            Self::CreatesImage(_)
            | Self::CreatesFiles
            | Self::Restores
            | Self::Repairs
            | Self::Renames(_)
            | Self::Changes => true,
            Self::TakesBack(_) | Self::DoesAgain(_) | Self::EndsInterrupted(..) => false,
        }
    }

    /// Whether it only makes new files, which get their names when they are whole.
    pub(super) fn makes_files(self) -> bool {
        match self {
            Self::CreatesImage(_) | Self::CreatesFiles => true,
            Self::Restores
            | Self::Repairs
            | Self::Renames(_)
            | Self::Changes
            | Self::TakesBack(_)
            | Self::DoesAgain(_)
            | Self::EndsInterrupted(..) => false,
        }
    }

    /// Whether it only adds files or changes nothing that can be read, so that no other image can be affected.
    pub(super) fn only_adds(self) -> bool {
        match self {
            Self::CreatesImage(_) | Self::CreatesFiles | Self::Restores | Self::Repairs => true,
            Self::Renames(_)
            | Self::Changes
            | Self::TakesBack(_)
            | Self::DoesAgain(_)
            | Self::EndsInterrupted(..) => false,
        }
    }

    /// The one new image that it makes, if it makes one.
    pub(super) fn image(self) -> Option<&'a Path> {
        match self {
            Self::CreatesImage(new) => Some(new),
            Self::CreatesFiles
            | Self::Restores
            | Self::Repairs
            | Self::Renames(_)
            | Self::Changes
            | Self::TakesBack(_)
            | Self::DoesAgain(_)
            | Self::EndsInterrupted(..) => None,
        }
    }
}

/// Something that a request names.
pub(super) enum Name<'a> {
    /// A file or a directory.
    Path(&'a mut PathBuf),
    /// An entry of the trash.
    TrashEntry(&'a mut String),
    /// Entries of the trash; another number of them may take their place.
    TrashEntries(&'a mut Vec<String>),
}

/// What has to be as an operation left it, so that what takes it back takes back that and nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestsOn<'a> {
    /// That of this image.
    Image(&'a Path, Watch),
    /// That of every file which the operation touched.
    Touched(Watch),
}
