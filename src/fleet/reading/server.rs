//! The side that has the files: answers one question after the other until nobody asks any more.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::io::Errno;

use super::super::frame::{MOST_BYTES, read_frame, write_frame};
use super::super::message::{decoded, write_message};
use super::message::{
    Answered, Ask, Asked, BYTES, Failure, MOST_NAMES, MOST_READ, MOST_SEGMENTS, Told,
};
use crate::host::{Access, FileId, Host, HostFile, Segment, Stat, confined_to};

/// Files that are open at the same time.
const MOST_OPEN: usize = 1024;
/// Files that are remembered to have been told of.
const MOST_SEEN: usize = 100_000;

/// Answers what is asked about the files of a host. Opens for reading only, and where the process may look at one
/// folder only, nothing outside it.
///
/// # Errors
/// When what is asked is no question, or nobody takes the answers.
pub fn serve_files(
    host: &dyn Host,
    input: &mut impl Read,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut server = Server {
        host,
        open: HashMap::new(),
        seen: HashSet::new(),
        next: 0,
    };
    while let Some((kind, body)) = read_frame(input, MOST_BYTES)? {
        let Asked { id, ask } = decoded(kind, &body)?;
        match server.answer(ask) {
            Ok(Told::Bytes(bytes)) => {
                let mut body = id.to_le_bytes().to_vec();
                body.extend(bytes);
                write_frame(output, BYTES, &body)?;
            }
            told => {
                let told = told.map_err(|error| Failure::of(&error));
                write_message(output, &Answered { id, told })?;
            }
        }
    }
    Ok(())
}

struct Server<'a> {
    host: &'a dyn Host,
    open: HashMap<u32, Arc<dyn HostFile>>,
    /// Files that were told of: who uses any other is nobody's business.
    seen: HashSet<FileId>,
    next: u32,
}

impl Server<'_> {
    fn answer(&mut self, ask: Ask) -> io::Result<Told> {
        Ok(match ask {
            Ask::Open(path) => self.open(&path)?,
            Ask::Close(file) => {
                self.open.remove(&file);
                Told::Closed
            }
            Ask::Read { file, offset, len } => {
                let len = usize::try_from(len).unwrap_or(usize::MAX).min(MOST_READ);
                let mut bytes = vec![0; len];
                let read = self.file(file)?.read_at(&mut bytes, offset)?;
                bytes.truncate(read);
                Told::Bytes(bytes)
            }
            Ask::Segments { file, offset } => {
                Told::Segments(segments(&**self.file(file)?, offset)?)
            }
            Ask::Len(file) => Told::Len(self.file(file)?.len()?),
            Ask::StatOpen(file) => Told::Stat(sendable(self.file(file)?.stat()?)),
            Ask::Probe { file, want } => Told::Probe(self.file(file)?.probe_lock(want)?),
            Ask::LocksSeen(file) => Told::LocksSeen(self.file(file)?.locks_seen()?),
            Ask::Stat(path) => Told::Stat(self.seen(self.host.stat(allowed(&path)?)?)),
            Ask::StatLink(path) => Told::Stat(sendable(self.host.stat_link(allowed(&path)?)?)),
            Ask::Born(path) => Told::Born(self.host.born(allowed(&path)?)?.map(after_1970)),
            Ask::List(path) => {
                let mut names = self.host.list_dir(allowed(&path)?)?;
                names.truncate(MOST_NAMES);
                Told::Names(names)
            }
            Ask::Space(path) => Told::Space(self.host.space(allowed(&path)?)?),
            Ask::Canonical(path) => {
                let whole = self.host.canonical(allowed(&path)?)?;
                Told::Path(whole.into_os_string())
            }
            Ask::Holders(mut files) => {
                files.retain(|file| self.seen.contains(file));
                Told::Holders(self.host.holders(&files).into_iter().collect())
            }
        })
    }

    fn open(&mut self, path: &OsString) -> io::Result<Told> {
        if self.open.len() >= MOST_OPEN {
            let text = format!("{MOST_OPEN} files are open already");
            return Err(io::Error::other(text));
        }
        let file = self.host.open(allowed(path)?, Access::Read)?;
        let stat = self.seen(file.stat()?);
        self.next = self.next.wrapping_add(1);
        self.open.insert(self.next, file);
        Ok(Told::Opened {
            file: self.next,
            stat,
        })
    }

    fn seen(&mut self, stat: Stat) -> Stat {
        if self.seen.len() < MOST_SEEN {
            self.seen.insert(stat.id);
        }
        sendable(stat)
    }

    fn file(&self, file: u32) -> io::Result<&Arc<dyn HostFile>> {
        let none = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "no file of that number is open",
            )
        };
        self.open.get(&file).ok_or_else(none)
    }
}

/// The path, if it may be looked at.
fn allowed(path: &OsStr) -> io::Result<&Path> {
    let path = Path::new(path);
    let Some(dir) = confined_to() else {
        return Ok(path);
    };
    // The last part may be a link that leads elsewhere, or nothing yet; what follows it asks again.
    let whole = path.canonicalize().or_else(|_| whole_of_parent(path))?;
    match whole.starts_with(dir) {
        true => Ok(path),
        false => Err(Errno::ACCESS.into()),
    }
}

fn whole_of_parent(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => Err(Errno::ACCESS.into()),
    }
}

fn segments(file: &dyn HostFile, from: u64) -> io::Result<Vec<Segment>> {
    let (mut found, mut at) = (Vec::new(), from);
    while found.len() < MOST_SEGMENTS {
        let segment = file.segment_at(at)?;
        let (Segment::Data(end) | Segment::Hole(end)) = segment;
        found.push(segment);
        if end <= at || end == u64::MAX {
            break;
        }
        at = end;
    }
    Ok(found)
}

/// With no time before 1970, which travels in no message.
fn sendable(stat: Stat) -> Stat {
    Stat {
        modified: after_1970(stat.modified),
        changed: after_1970(stat.changed),
        ..stat
    }
}

fn after_1970(time: SystemTime) -> SystemTime {
    time.max(SystemTime::UNIX_EPOCH)
}
