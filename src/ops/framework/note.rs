//! Something to know of a plan or an outcome that does not stand in the way: a kind that programs match on, a
//! sentence for people, and what gets them further.

use std::fmt;

use super::remedy::Remedy;

/// What a note is about. Its name stays whatever becomes of the sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoteKind {
    /// How it is done, or what comes of it.
    Manner,
    /// Something uses a file, or nobody can tell.
    InUse,
    /// A machine that is defined would miss a file, no longer fit it, or removes it.
    Machine,
    /// Something could not be looked at or compared, so whether all is well is not known.
    Unseen,
    /// What is read or built on is damaged, was cut short or was not closed properly.
    Damaged,
    /// The guest may have lost something at a place that a repair passes.
    Suspect,
    /// Something is not repaired.
    NotRepaired,
    /// What cannot be read becomes zeros.
    Lost,
    /// Dirty bitmaps come along, stay behind, or are of no use afterwards.
    Bitmaps,
    /// Internal snapshots, and states of machines in them, go or stay behind.
    Snapshots,
    /// Other names of a file stay, or lead nowhere.
    OtherNames,
    /// Images are built on it, or stay without what they are built on.
    Dependants,
    /// The format of a backing file is not recorded, could not be seen, or is not what it looks like.
    BackingFormat,
    /// What an image is built on is not there, is not what it was, or may be another disk.
    Base,
    /// An external data file.
    DataFile,
    /// A disk is shorter or longer than another one, or than was asked for.
    Size,
    /// There may be too little room.
    Space,
    /// What is encrypted may lie in the open, or is lost with its passphrase.
    Secrecy,
    /// A passphrase may not be the one that is meant.
    Passphrase,
    /// No command of qemu-img does the same.
    BeyondQemuImg,
    /// Something is left to do in the guest.
    Guest,
    /// An image lies on a block device.
    Device,
    /// It follows on something that was interrupted.
    Interrupted,
    /// What is done before or after it in the journal.
    Order,
    /// What is in the trash, or goes there.
    Trash,
    /// An image is tagged as one that is not to be changed or taken away by the way.
    Tagged,
    /// An attribute of a file could not be kept.
    Attributes,
    /// Nobody has the right to write a file that is written all the same.
    Protected,
    /// Somebody may do more with files than is asked for.
    Permissions,
    /// It could not be written down for later runs.
    NotRecorded,
    /// What other images show was compared.
    Proof,
}

impl NoteKind {
    /// Its name, for programs to match on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Manner => "manner",
            Self::InUse => "in-use",
            Self::Machine => "used-by-machine",
            Self::Unseen => "unseen",
            Self::Damaged => "damaged",
            Self::Suspect => "suspect",
            Self::NotRepaired => "not-repaired",
            Self::Lost => "lost",
            Self::Bitmaps => "bitmaps",
            Self::Snapshots => "snapshots",
            Self::OtherNames => "other-names",
            Self::Dependants => "dependants",
            Self::BackingFormat => "backing-format",
            Self::Base => "base",
            Self::DataFile => "data-file",
            Self::Size => "size",
            Self::Space => "space",
            Self::Secrecy => "secrecy",
            Self::Passphrase => "passphrase",
            Self::BeyondQemuImg => "beyond-qemu-img",
            Self::Guest => "guest",
            Self::Device => "device",
            Self::Interrupted => "interrupted",
            Self::Order => "order",
            Self::Trash => "trash",
            Self::Tagged => "tagged",
            Self::Attributes => "attributes",
            Self::Protected => "protected",
            Self::Permissions => "permissions",
            Self::NotRecorded => "not-recorded",
            Self::Proof => "proof",
        }
    }
}

/// Something the person should know, that does not stand in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it is about, for programs to match on; tests as well.
    pub kind: NoteKind,
    /// Whether it warns.
    pub warning: bool,
    /// A sentence.
    pub text: String,
    /// What gets a person further.
    pub remedies: Vec<Remedy>,
}

impl Note {
    /// Something to know.
    pub fn new(kind: NoteKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            warning: false,
            text: text.into(),
            remedies: Vec::new(),
        }
    }

    /// The same with what gets a person further.
    #[must_use]
    pub(in crate::ops) fn helped_by(self, remedies: Vec<Remedy>) -> Self {
        Self { remedies, ..self }
    }

    /// The same, to be looked at twice.
    #[must_use]
    pub(in crate::ops) fn warning(self) -> Self {
        Self {
            warning: true,
            ..self
        }
    }

    /// That an attribute of a file could not be kept; which one, in words.
    pub(in crate::ops) fn not_kept(lost: &str, file: &str) -> Self {
        let text = format!("could not keep {lost} of {file}");
        Self::new(NoteKind::Attributes, text)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
