//! What a scan tells another machine: one JSON document a line, none longer than [`MOST_LINE`]. Any bytes that a name
//! may have arrive as they are.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::forest::{
    Annotation, Backing, BackingState, Content, Edge, Reads, ScanEvent, ScanSummary, ScannedFile,
    Sharing,
};
use crate::host::{FileId, FileKind, Holder, Stat};
use crate::image::{Format, ImageInfo};

/// Bytes of a line at most.
pub const MOST_LINE: usize = 1 << 20;

/// A name: text where it is text, bytes where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Name {
    /// Text.
    Text(String),
    /// Bytes that are no text.
    Bytes(Vec<u8>),
}

impl Name {
    /// Of a file or anything else.
    #[must_use]
    pub fn of(name: impl AsRef<OsStr>) -> Self {
        match name.as_ref().to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(name.as_ref().as_bytes().to_vec()),
        }
    }

    /// The name as it was.
    #[must_use]
    pub fn name(self) -> OsString {
        match self {
            Self::Text(text) => text.into(),
            Self::Bytes(bytes) => OsString::from_vec(bytes),
        }
    }
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    Found(Box<SentFile>),
    Held {
        file: FileId,
        holders: Vec<Holder>,
    },
    Looked(u64),
    Unreadable {
        path: Name,
        why: String,
    },
    Done {
        looked_at: u64,
        images: u64,
        cancelled: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentFile {
    pub(super) path: Name,
    pub(super) symlink: bool,
    pub(super) stat: Option<SentStat>,
    pub(super) content: SentContent,
    pub(super) backing: Option<SentBacking>,
    pub(super) also: Vec<SentEdge>,
    pub(super) holders: Vec<Holder>,
    pub(super) annotation: Option<Annotation>,
    pub(super) sharing: Option<SentSharing>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentSharing {
    pub(super) name: Name,
    pub(super) keeps_inodes: bool,
    pub(super) read_only: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentStat {
    pub(super) id: FileId,
    pub(super) kind: FileKind,
    pub(super) len: u64,
    pub(super) allocated: u64,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    pub(super) changed: i64,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) links: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SentContent {
    Qcow2(Box<ImageInfo>),
    Raw,
    Opaque(Format),
    Unreadable(String),
    Damaged(String),
    Unopened,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentBacking {
    pub(super) name: Name,
    pub(super) format: Option<Format>,
    pub(super) beside: bool,
    pub(super) understood: bool,
    pub(super) path: Option<Name>,
    pub(super) state: SentState,
    pub(super) outside: Option<SentStat>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SentState {
    Present(FileId),
    Missing,
    Unreachable(String),
    Elsewhere(String),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentEdge {
    pub(super) how: SentReads,
    pub(super) path: Name,
    pub(super) file: FileId,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SentReads {
    Backing,
    NotUnderstood,
    OtherName,
    DataFile,
}

/// The lines that tell of an event, each with its end.
///
/// # Errors
/// None that the values themselves do not cause.
pub fn lines(event: &ScanEvent) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut line = |line: &Line| -> io::Result<usize> {
        let begin = text.len();
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        let len = text.len() - begin;
        if len > MOST_LINE {
            text.truncate(begin);
        }
        Ok(len)
    };
    match event {
        ScanEvent::Found(found) => {
            for file in found {
                let whole = Line::Found(Box::new(SentFile::of(file)));
                if line(&whole)? > MOST_LINE {
                    // The list of its snapshots is all that can be so long.
                    line(&without_snapshots(whole))?;
                }
            }
        }
        ScanEvent::Held(held) => {
            for (file, holders) in held {
                let (file, holders) = (*file, holders.clone());
                line(&Line::Held { file, holders })?;
            }
        }
        ScanEvent::Progress { files } => {
            line(&Line::Looked(*files))?;
        }
        ScanEvent::Done(summary) => done(summary, &mut line)?,
    }
    Ok(text)
}

fn done(
    summary: &ScanSummary,
    line: &mut impl FnMut(&Line) -> io::Result<usize>,
) -> io::Result<()> {
    for (path, why) in &summary.unreadable_dirs {
        let (path, why) = (Name::of(path), why.clone());
        line(&Line::Unreadable { path, why })?;
    }
    line(&Line::Done {
        looked_at: summary.files_looked_at,
        images: summary.images,
        cancelled: summary.cancelled,
    })?;
    Ok(())
}

fn without_snapshots(mut line: Line) -> Line {
    if let Line::Found(file) = &mut line
        && let SentContent::Qcow2(info) = &mut file.content
    {
        info.first_snapshots.clear();
    }
    line
}

impl SentFile {
    fn of(file: &ScannedFile) -> Self {
        Self {
            path: Name::of(&file.path),
            symlink: file.symlink,
            stat: file.stat.as_ref().map(SentStat::of),
            content: match &file.content {
                Content::Qcow2(info) => SentContent::Qcow2(Box::new(info.as_ref().clone())),
                Content::Raw => SentContent::Raw,
                Content::Opaque(format) => SentContent::Opaque(format.clone()),
                Content::Unreadable(why) => SentContent::Unreadable(why.clone()),
                Content::Damaged(why) => SentContent::Damaged(why.clone()),
                Content::Unopened => SentContent::Unopened,
            },
            backing: file.backing.as_deref().map(SentBacking::of),
            also: file.also.iter().map(SentEdge::of).collect(),
            holders: file.holders.clone(),
            annotation: file.annotation.as_deref().cloned(),
            sharing: file.sharing.as_deref().map(SentSharing::of),
        }
    }
}

impl SentSharing {
    fn of(sharing: &Sharing) -> Self {
        Self {
            name: Name::of(sharing.name.as_os_str()),
            keeps_inodes: sharing.keeps_inodes,
            read_only: sharing.is_read_only,
        }
    }
}

impl SentStat {
    fn of(stat: &Stat) -> Self {
        Self {
            id: stat.id,
            kind: stat.kind,
            len: stat.len,
            allocated: stat.allocated,
            modified: nanoseconds(stat.modified),
            changed: nanoseconds(stat.changed),
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            links: stat.links,
        }
    }
}

impl SentBacking {
    fn of(link: &Backing) -> Self {
        Self {
            name: Name::of(link.name()),
            format: link.format().cloned(),
            beside: link.recorded.beside,
            understood: link.recorded.understood,
            path: link.path.as_deref().map(Name::of),
            state: match &link.state {
                BackingState::Present(file) => SentState::Present(*file),
                BackingState::Missing => SentState::Missing,
                BackingState::Unreachable(why) => SentState::Unreachable(why.to_string()),
                BackingState::Elsewhere(what) => SentState::Elsewhere(what.to_string()),
            },
            outside: link.outside.as_deref().map(SentStat::of),
        }
    }
}

impl SentEdge {
    fn of(edge: &Edge) -> Self {
        Self {
            how: match edge.how {
                Reads::Backing => SentReads::Backing,
                Reads::NotUnderstood => SentReads::NotUnderstood,
                Reads::OtherName => SentReads::OtherName,
                Reads::DataFile => SentReads::DataFile,
            },
            path: Name::of(edge.path.as_os_str()),
            file: edge.file,
        }
    }
}

impl SentReads {
    pub(super) fn reads(self) -> Reads {
        match self {
            Self::Backing => Reads::Backing,
            Self::NotUnderstood => Reads::NotUnderstood,
            Self::OtherName => Reads::OtherName,
            Self::DataFile => Reads::DataFile,
        }
    }
}

/// Since 1970; what lies 292 years or more from then is that far.
fn nanoseconds(time: SystemTime) -> i64 {
    let number = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => number(since),
        Err(before) => -number(before.duration()),
    }
}

/// The time of [`nanoseconds`].
pub(super) fn time(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    let time = match nanoseconds < 0 {
        true => UNIX_EPOCH.checked_sub(distance),
        false => UNIX_EPOCH.checked_add(distance),
    };
    time.unwrap_or(UNIX_EPOCH)
}
