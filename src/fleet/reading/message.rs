//! What is asked about files, and what is answered. Both travel in frames inside the bytes of a command line: what it
//! is brought, and what it prints.

use std::ffi::{OsStr, OsString};
use std::io;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::host::{
    Conflict, FileId, Holder, LockProbe, LockSet, LocksSeen, Segment, Space, Stat, io_text,
    printable,
};

/// A frame that holds bytes of a file.
pub(super) const BYTES: u8 = 2;
/// What stands before bytes of a file: the question's number.
pub(super) const BYTES_HEAD: usize = 4;
/// Bytes of a file that are read at once.
pub(super) const MOST_READ: usize = 512 << 10;
/// Parts of a file that are told of at once.
pub(super) const MOST_SEGMENTS: usize = 1024;
/// Names of a folder that are told at the most.
pub(super) const MOST_NAMES: usize = 100_000;
/// Bytes of a frame at the most that this side takes.
pub(super) const MOST_FRAME: usize = 8 << 20;

/// Processes that are told of for one file.
const MOST_HOLDERS: usize = 1024;
/// Bytes of a process's name.
const MOST_WORD: usize = 256;
/// Characters of a sentence.
const MOST_SENTENCE: usize = 1000;
/// No file and no disk has more bytes.
const MOST_BYTES: u64 = i64::MAX as u64;

/// A question and its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) id: u32,
    pub(super) ask: Ask,
}

/// A question about files. An open one is named by the number that it was opened under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ask {
    Open(OsString),
    Close(u32),
    Read { file: u32, offset: u64, len: u32 },
    Segments { file: u32, offset: u64 },
    Len(u32),
    StatOpen(u32),
    Probe { file: u32, want: LockSet },
    LocksSeen(u32),
    Stat(OsString),
    StatLink(OsString),
    Born(OsString),
    List(OsString),
    Space(OsString),
    Canonical(OsString),
    Holders(Vec<FileId>),
}

/// An answer and the number of its question.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    pub(super) id: u32,
    pub(super) told: Result<Told, Failure>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Told {
    Opened {
        file: u32,
        stat: Stat,
    },
    Closed,
    /// Bytes of a file, which travel in a frame of their own.
    #[serde(skip)]
    Bytes(Vec<u8>),
    /// One after the other, from the offset that was asked about.
    Segments(Vec<Segment>),
    Len(u64),
    Stat(Stat),
    Probe(LockProbe),
    LocksSeen(LocksSeen),
    Born(Option<SystemTime>),
    Names(Vec<OsString>),
    Space(Space),
    Path(OsString),
    Holders(Vec<(FileId, Vec<Holder>)>),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// The system's number, where it is one of its failures.
    number: Option<i32>,
    /// Whether something is named that has no bytes.
    is_no_file: bool,
    text: String,
}

impl Failure {
    pub(super) fn of(error: &io::Error) -> Self {
        let kind = error.kind();
        Self {
            number: error.raw_os_error(),
            is_no_file: matches!(
                kind,
                io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory
            ),
            text: io_text(error),
        }
    }

    /// The same as a failure of this side.
    pub(super) fn error(&self) -> io::Error {
        match self.number {
            Some(number @ 1..=4095) => io::Error::from_raw_os_error(number),
            _ => {
                let kind = match self.is_no_file {
                    true => io::ErrorKind::InvalidInput,
                    false => io::ErrorKind::Other,
                };
                io::Error::new(kind, sentence(&self.text))
            }
        }
    }
}

impl Told {
    /// The answer as it is believed.
    ///
    /// # Errors
    /// `InvalidData` for what cannot be.
    pub(super) fn believed(self) -> io::Result<Self> {
        let is_possible = match &self {
            Self::Opened { stat, .. } | Self::Stat(stat) => is_stat(stat),
            Self::Bytes(bytes) => bytes.len() <= MOST_READ,
            Self::Segments(segments) => segments.len() <= MOST_SEGMENTS,
            Self::Len(len) => *len <= MOST_BYTES,
            Self::Names(names) => names.len() <= MOST_NAMES && names.iter().all(|it| is_name(it)),
            Self::Path(path) => !path.as_encoded_bytes().contains(&0),
            Self::Holders(files) => files.iter().all(|(_, holders)| are_few(holders)),
            Self::Probe(LockProbe::Busy(conflict)) => are_few(&conflict.holders),
            Self::Probe(_) | Self::Closed | Self::LocksSeen(_) | Self::Born(_) | Self::Space(_) => {
                true
            }
        };
        if !is_possible {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(match self {
            Self::Holders(files) => {
                let files = files.into_iter();
                Self::Holders(files.map(|(id, holders)| (id, told(holders))).collect())
            }
            Self::Probe(LockProbe::Busy(conflict)) => Self::Probe(LockProbe::Busy(Conflict {
                holders: told(conflict.holders),
                ..conflict
            })),
            other => other,
        })
    }
}

fn is_stat(stat: &Stat) -> bool {
    stat.id.machine() == 0 && stat.len <= MOST_BYTES && stat.allocated <= MOST_BYTES
}

/// Whether a folder can have an entry of that name.
fn is_name(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    let is_odd = bytes.iter().any(|byte| matches!(byte, 0 | b'/'));
    !is_odd && !bytes.is_empty() && bytes != b"." && bytes != b".."
}

fn are_few(holders: &[Holder]) -> bool {
    holders.len() <= MOST_HOLDERS
        && holders.iter().all(|holder| {
            let machine = holder.machine.as_deref().unwrap_or_default();
            holder.command.len().max(machine.len()) <= MOST_WORD
        })
}

/// Names that act on no terminal.
fn told(holders: Vec<Holder>) -> Vec<Holder> {
    let holders = holders.into_iter().map(|holder| Holder {
        command: printable(&holder.command),
        machine: holder.machine.map(|name| printable(&*name).into()),
        host: None,
        ..holder
    });
    holders.collect()
}

/// Text that acts on no terminal, as much of it as a person reads.
fn sentence(text: &str) -> String {
    let text: String = text.chars().take(MOST_SENTENCE).collect();
    printable(text)
}
