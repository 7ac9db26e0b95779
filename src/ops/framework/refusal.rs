//! Why something is not done: a kind that programs match on, a sentence for people, and what would get them
//! further instead.

use crate::image::ErrorKind;

use super::remedy::Remedy;
use super::request::Request;

/// What kind of reason there is against something. Its name stays whatever becomes of the sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// What is named is not there, or nothing of that name is known.
    NotFound,
    /// It lies outside the folders looked in, so not all that depends on it is known.
    OutsideRoots,
    /// It is in the trash.
    InTrash,
    /// The system does not let it be looked at, or it makes no sense.
    Unreadable,
    /// What is written down of it contradicts itself.
    Damaged,
    /// An image of this kind, or with these features, cannot do that, or is not understood.
    Unsupported,
    /// Something uses it.
    InUse,
    /// A passphrase is missing.
    PassphraseNeeded,
    /// The file or its folder may not be written.
    NotWritable,
    /// There is not enough room.
    NoSpace,
    /// Something of that name is there, and nothing is overwritten.
    AlreadyExists,
    /// What is asked for contradicts itself, or lies outside the bounds.
    Invalid,
    /// Other images would show other content.
    HasDependants,
    /// A machine that is defined would miss it, or no longer fit it.
    Machine,
    /// It is tagged as one to be kept.
    Tagged,
    /// Something would be lost, and nobody agreed to that.
    WouldLose,
    /// The format of a backing file is not recorded, or is not what it looks like.
    BackingFormat,
    /// No name that can be recorded leads to the backing file.
    BackingName,
    /// The backing links run in a circle, or would.
    Loop,
    /// It is not built on that image, or on nothing.
    NotInChain,
    /// A file changed since.
    Stale,
    /// Something that was interrupted has to be ended first, or cannot be.
    Interrupted,
    /// Nothing takes it back, or does it again.
    NotReversible,
    /// Everything is as it is asked for.
    AlreadySo,
    /// What an image's own error is called: see [`ErrorKind::kind_name`].
    Image(&'static str),
}

impl RefusalKind {
    /// The kind of an image's error.
    #[must_use]
    pub fn of(error: &ErrorKind) -> Self {
        match error {
            ErrorKind::Locked => Self::PassphraseNeeded,
            ErrorKind::Unsupported(_) => Self::Unsupported,
            ErrorKind::NoSuch(_) => Self::NotFound,
            ErrorKind::Taken(_) => Self::AlreadyExists,
            ErrorKind::Changed(_) => Self::Stale,
            other => Self::Image(other.kind_name()),
        }
    }

    /// Its name, for programs to match on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::OutsideRoots => "outside-roots",
            Self::InTrash => "in-trash",
            Self::Unreadable => "unreadable",
            Self::Damaged => "damaged",
            Self::Unsupported => "unsupported",
            Self::InUse => "in-use",
            Self::PassphraseNeeded => "passphrase-needed",
            Self::NotWritable => "permission-denied",
            Self::NoSpace => "no-space",
            Self::AlreadyExists => "already-exists",
            Self::Invalid => "invalid-request",
            Self::HasDependants => "dependants",
            Self::Machine => "used-by-machine",
            Self::Tagged => "tagged",
            Self::WouldLose => "would-lose",
            Self::BackingFormat => "backing-format",
            Self::BackingName => "backing-name",
            Self::Loop => "loop",
            Self::NotInChain => "not-in-chain",
            Self::Stale => "stale",
            Self::Interrupted => "interrupted",
            Self::NotReversible => "not-reversible",
            Self::AlreadySo => "already-so",
            Self::Image(name) => name,
        }
    }
}

/// A reason that was found where no plan is at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Reason {
    /// Of which kind it is.
    pub(in crate::ops) kind: RefusalKind,
    /// A sentence with the reason and the files.
    pub(in crate::ops) text: String,
    /// Other requests that would get the person further.
    pub(in crate::ops) ways_out: Vec<WayOut>,
    /// What else would.
    pub(in crate::ops) remedies: Vec<Remedy>,
}

impl Reason {
    /// A reason of this kind.
    pub(in crate::ops) fn new(kind: RefusalKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            ways_out: Vec::new(),
            remedies: Vec::new(),
        }
    }

    /// The same with what else helps.
    pub(in crate::ops) fn helped_by(self, remedies: Vec<Remedy>) -> Self {
        Self { remedies, ..self }
    }

    /// The same with what could be done instead.
    pub(in crate::ops) fn but(self, ways_out: Vec<WayOut>) -> Self {
        Self { ways_out, ..self }
    }
}

/// Why it will not be done, and what could be done instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs to match on; tests as well.
    pub kind: RefusalKind,
    /// A sentence with the reason and the files.
    pub text: String,
    /// Other requests that would get the person further.
    pub ways_out: Vec<WayOut>,
    /// What else would: asking for the same in another way.
    pub remedies: Vec<Remedy>,
}

/// Another request that gets the person further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayOut {
    /// What it does: `keep the others intact: copies 8.1 GiB first`.
    pub label: String,
    /// The request to plan instead.
    pub request: Request,
}
