//! What is believed of what another machine tells: a wrong, huge or hostile line costs at most itself. Whoever speaks
//! there can lie about its own images and about nothing else.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::num::NonZeroU16;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::lines::{Lines, Nonsense};
use super::name::path_on;
use super::sent::{
    Line, Name, SentBacking, SentContent, SentEdge, SentFile, SentSharing, SentStat, SentState,
    time,
};
use crate::forest::{
    Annotation, Backing, BackingState, Content, Edge, MOST_TAGS, Recorded, ScanEvent, ScanSummary,
    ScannedFile, Sharing, read_tag, read_text,
};
use crate::host::{FileId, Holder, Stat, printable};
use crate::image::{Format, ImageInfo};

/// Files of one machine at most.
const MOST_FILES: u64 = 2_000_000;
/// Folders that cannot be read, of one machine.
const MOST_UNREADABLE: usize = 10_000;
/// Bytes of a path.
const MOST_PATH: usize = 4096;
/// Bytes of a sentence.
const MOST_SENTENCE: usize = 1000;
/// Bytes of a word: a format, a feature, a command.
const MOST_WORD: usize = 256;
/// Members of any list of one file.
const MOST_LISTED: usize = 1024;
/// No file and no disk has more bytes.
const MOST_BYTES: u64 = i64::MAX as u64;

/// Takes in what a scan on another machine tells.
#[derive(Debug)]
pub struct Intake {
    host: String,
    number: NonZeroU16,
    lines: Lines,
    files: u64,
    /// Files that cannot be as they are told.
    odd: u64,
    unreadable: Vec<(PathBuf, String)>,
    is_done: bool,
}

impl Intake {
    /// For the machine of that name and number.
    #[must_use]
    pub fn new(host: &str, number: NonZeroU16) -> Self {
        Self {
            host: host.to_owned(),
            number,
            lines: Lines::default(),
            files: 0,
            odd: 0,
            unreadable: Vec::new(),
            is_done: false,
        }
    }

    /// Whether all was told.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// What further bytes tell, which may end anywhere.
    ///
    /// # Errors
    /// What is no line of a scan; nothing that comes after it makes sense.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<ScanEvent>, Nonsense> {
        let mut found = Vec::new();
        let mut held = HashMap::new();
        let mut events = Vec::new();
        let whole = self.lines.whole(bytes)?;
        for line in Lines::of(&whole) {
            if self.is_done {
                return Err(Nonsense("it goes on after the end"));
            }
            let line: Line = serde_json::from_slice(line)
                .map_err(|_| Nonsense("what it tells of its images is of another version"))?;
            match line {
                Line::Found(file) => {
                    self.files += 1;
                    if self.files > MOST_FILES {
                        return Err(Nonsense("it tells of more files than are kept"));
                    }
                    match self.file(*file) {
                        Some(file) => found.push(file),
                        None => self.odd += 1,
                    }
                }
                Line::Held { file, holders } => {
                    if let (Some(file), Some(holders)) = (self.id(file), held_by(holders)) {
                        held.insert(file, holders);
                    }
                }
                Line::Looked(files) => events.push(ScanEvent::Progress { files }),
                Line::Unreadable { path, why } => {
                    if let Some(path) = self.path(path)
                        && self.unreadable.len() < MOST_UNREADABLE
                    {
                        self.unreadable.push((path, sentence(&why)));
                    }
                }
                Line::Done {
                    looked_at,
                    images,
                    cancelled,
                } => {
                    self.is_done = true;
                    events.push(ScanEvent::Done(self.summary(looked_at, images, cancelled)));
                }
            }
        }
        // The end comes last.
        if !held.is_empty() {
            events.insert(0, ScanEvent::Held(held));
        }
        if !found.is_empty() {
            events.insert(0, ScanEvent::Found(found));
        }
        Ok(events)
    }

    fn summary(&mut self, looked_at: u64, images: u64, cancelled: bool) -> ScanSummary {
        let mut unreadable_dirs = std::mem::take(&mut self.unreadable);
        if self.odd > 0 {
            let place = path_on(&self.host, Path::new("/"));
            let why = format!("{} files are told of as no file can be", self.odd);
            unreadable_dirs.push((place, why));
        }
        ScanSummary {
            files_looked_at: looked_at,
            images: images.min(self.files),
            unreadable_dirs,
            elapsed: Default::default(),
            cancelled,
        }
    }

    /// The file as it is taken in; none for one that cannot be.
    fn file(&self, file: SentFile) -> Option<ScannedFile> {
        Some(ScannedFile {
            path: self.path(file.path)?,
            symlink: file.symlink,
            stat: match file.stat {
                Some(stat) => Some(self.stat(stat)?),
                None => None,
            },
            content: content(file.content)?,
            backing: match file.backing {
                Some(link) => Some(Box::new(self.backing(link)?)),
                None => None,
            },
            also: self.edges(file.also)?,
            holders: held_by(file.holders)?,
            annotation: file.annotation.and_then(annotation).map(Box::new),
            sharing: file.sharing.and_then(sharing).map(Box::new),
        })
    }

    fn id(&self, id: FileId) -> Option<FileId> {
        id.on_machine(self.number)
    }

    fn stat(&self, stat: SentStat) -> Option<Stat> {
        let is_size = stat.len <= MOST_BYTES && stat.allocated <= MOST_BYTES;
        let stat = Stat {
            id: self.id(stat.id)?,
            kind: stat.kind,
            len: stat.len,
            allocated: stat.allocated,
            modified: time(stat.modified),
            changed: time(stat.changed),
            mode: stat.mode & 0o7777,
            uid: stat.uid,
            gid: stat.gid,
            links: stat.links,
        };
        is_size.then_some(stat)
    }

    fn path(&self, name: Name) -> Option<PathBuf> {
        believed_path(&self.host, Path::new(&name.name()))
    }

    fn backing(&self, link: SentBacking) -> Option<Backing> {
        let name = link.name.name();
        let is_name = name.len() <= MOST_PATH && !name.as_bytes().contains(&0);
        let state = match link.state {
            SentState::Present(file) => BackingState::Present(self.id(file)?),
            SentState::Missing => BackingState::Missing,
            SentState::Unreachable(why) => BackingState::Unreachable(sentence(&why).into()),
            SentState::Elsewhere(what) => BackingState::Elsewhere(word(&what)?.into()),
        };
        let outside = match link.outside {
            Some(stat) => Some(Box::new(self.stat(stat)?)),
            None => None,
        };
        let path = match link.path.map(Name::name) {
            // Itself.
            Some(path) if path.is_empty() => PathBuf::new(),
            Some(path) => self.path(Name::Bytes(path.as_bytes().to_vec()))?,
            // A name that leads to no file is one of that machine all the same: nothing here is at its end.
            None => path_on(&self.host, Path::new(&name)),
        };
        is_name.then_some(())?;
        Some(Backing {
            recorded: Arc::new(Recorded {
                name: name.into(),
                format: match link.format {
                    Some(format) => Some(named_format(format)?),
                    None => None,
                },
                beside: link.beside,
                understood: link.understood,
            }),
            path: Some(path.into()),
            state,
            outside,
        })
    }

    fn edges(&self, edges: Vec<SentEdge>) -> Option<Vec<Edge>> {
        let is_few = edges.len() <= MOST_LISTED;
        let edges = edges.into_iter().map(|edge| {
            Some(Edge {
                how: edge.how.reads(),
                path: self.path(edge.path)?.into(),
                file: self.id(edge.file)?,
            })
        });
        is_few.then(|| edges.collect()).flatten()
    }
}

/// A path on a machine as that one tells it, with the machine's name before it; none for what is no path.
#[must_use]
pub fn believed_path(host: &str, path: &Path) -> Option<PathBuf> {
    is_path(path).then(|| path_on(host, path))
}

/// Text of a machine that acts on no terminal, as much of it as a person reads.
#[must_use]
pub fn believed_sentence(text: &str) -> String {
    sentence(text)
}

/// Whether it is the name of a file: absolute, and nowhere above its root.
fn is_path(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let mut depth = 0_u32;
    let stays = path.components().all(|part| match part {
        Component::ParentDir => match depth.checked_sub(1) {
            Some(above) => {
                depth = above;
                true
            }
            None => false,
        },
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::RootDir | Component::CurDir | Component::Prefix(_) => true,
    });
    path.is_absolute() && bytes.len() <= MOST_PATH && !bytes.contains(&0) && stays
}

/// How it says that it sees the file; nothing where no storage has such a name.
fn sharing(sent: SentSharing) -> Option<Sharing> {
    let name = sent.name.name();
    let bytes = name.as_bytes();
    let has_server = bytes
        .windows(2)
        .position(|two| two == b":/")
        .is_some_and(|at| at > 0);
    let is_name = has_server && bytes.len() <= MOST_PATH && !bytes.contains(&0);
    is_name.then(|| Sharing {
        name: PathBuf::from(name).into(),
        keeps_inodes: sent.keeps_inodes,
        is_read_only: sent.read_only,
        seen_as: Vec::new(),
    })
}

fn content(content: SentContent) -> Option<Content> {
    Some(match content {
        SentContent::Qcow2(info) => Content::Qcow2(Arc::new(header(*info)?)),
        SentContent::Raw => Content::Raw,
        SentContent::Opaque(format) => Content::Opaque(named_format(format)?),
        SentContent::Unreadable(why) => Content::Unreadable(sentence(&why)),
        SentContent::Damaged(why) => Content::Damaged(sentence(&why)),
        SentContent::Unopened => Content::Unopened,
    })
}

/// What a header tells, if one can.
fn header(mut info: ImageInfo) -> Option<ImageInfo> {
    let known = u32::try_from(info.first_snapshots.len()).ok()?;
    let is_one = matches!(info.version, 2 | 3)
        && info.cluster_size.is_power_of_two()
        && (512..=2 << 20).contains(&info.cluster_size)
        && info.refcount_bits.is_power_of_two()
        && info.refcount_bits <= 64
        && info.virtual_size <= MOST_BYTES
        && known <= info.snapshots
        && info.unknown_features.len() <= 64
        && info
            .first_snapshots
            .iter()
            .all(|one| one.extra.len() <= MOST_LISTED);
    if let Some(name) = &info.data_file {
        (name.len() <= MOST_PATH).then_some(())?;
    }
    for feature in &mut info.unknown_features {
        *feature = word(feature)?;
    }
    info.truncated = info.truncated.map(|why| sentence(&why));
    if let Some(unopenable) = &mut info.unopenable {
        unopenable.why = sentence(&unopenable.why).into();
    }
    is_one.then_some(info)
}

fn named_format(format: Format) -> Option<Format> {
    Some(Format::from_name(&word(format.name())?))
}

fn held_by(holders: Vec<Holder>) -> Option<Vec<Holder>> {
    let is_few = holders.len() <= MOST_LISTED;
    let holders = holders.into_iter().map(|holder| {
        let machine = match holder.machine {
            Some(name) => Some(word(&name)?.into()),
            None => None,
        };
        Some(Holder {
            command: word(&holder.command)?,
            machine,
            // It tells of its own processes.
            host: None,
            ..holder
        })
    });
    is_few.then(|| holders.collect()).flatten()
}

/// What is noted of it, as far as anybody could have noted it.
fn annotation(noted: Annotation) -> Option<Annotation> {
    let mut tags: Vec<String> = noted
        .tags
        .iter()
        .take(MOST_TAGS)
        .filter_map(|tag| read_tag(tag).ok())
        .collect();
    tags.sort_unstable();
    tags.dedup();
    let noted = Annotation {
        text: read_text(&noted.text).unwrap_or_default(),
        tags,
        in_folder: false,
    };
    (!noted.is_empty()).then_some(noted)
}

/// Text that acts on no terminal, as much of it as a person reads.
fn sentence(text: &str) -> String {
    let mut end = text.len().min(MOST_SENTENCE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    printable(OsStr::new(text.get(..end).unwrap_or_default()))
}

/// The same of a word; none for one that is too long.
fn word(text: &str) -> Option<String> {
    (text.len() <= MOST_WORD).then(|| printable(OsStr::new(text)))
}

#[cfg(test)]
mod tests;
