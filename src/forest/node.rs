//! One image of the forest and what is known of it. How nodes are joined is `graph`'s business.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thin_vec::ThinVec;

use crate::host::{FileId, FileKind, Holder, Stat, Volume, volume_of};
use crate::image::{Format, ImageInfo, Snapshot};

use super::{Annotation, Edge, GOLDEN, KEEP, NodeId, Problem, ProblemKind, Sharing};

/// Where a node stands in the lists by number.
pub(super) fn index(id: NodeId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}

/// One file as the scan met it: the forest is built from these, in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedFile {
    /// The name it was met by.
    pub path: PathBuf,
    /// Whether that name is a symbolic link: renaming it would not move the file.
    pub symlink: bool,
    /// What `stat` told, links followed; none if that failed.
    pub stat: Option<Stat>,
    /// What was in it.
    pub content: Content,
    /// Where its backing name leads, if it has a backing file.
    pub backing: Option<Box<Backing>>,
    /// What it reads besides that.
    pub also: Vec<Edge>,
    /// Processes that have the file open, as far as could be seen.
    pub holders: Vec<Holder>,
    /// What people have noted of it, if anything.
    pub annotation: Option<Box<Annotation>>,
    /// How it is seen where other machines see it as well.
    pub sharing: Option<Box<Sharing>>,
}

impl ScannedFile {
    /// The files that reading this one reads as well, as far as they are there.
    pub fn reads(&self) -> impl Iterator<Item = FileId> {
        let backing = self.backing.as_deref().and_then(|link| match link.state {
            BackingState::Present(file) => Some(file),
            BackingState::Missing | BackingState::Unreachable(_) | BackingState::Elsewhere(_) => {
                None
            }
        });
        backing
            .into_iter()
            .chain(self.also.iter().map(|edge| edge.file))
    }
}

/// What was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A qcow2 header that could be read.
    Qcow2(Arc<ImageInfo>),
    /// Bytes as the guest sees them.
    Raw,
    /// A format known by name only.
    Opaque(Format),
    /// The file could not be opened or read: why, as a sentence.
    Unreadable(String),
    /// It says it is qcow2, and its header cannot be one: why, as a sentence.
    Damaged(String),
    /// Never opened, since it lies outside the scanned directories, or is not there at all.
    Unopened,
}

/// What a header records of the backing file: many record the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recorded {
    /// The name, exactly as it stands there.
    pub name: Box<OsStr>,
    /// The format, if one is recorded.
    pub format: Option<Format>,
    /// Whether the header records it beside the name, not only within a name that is a description.
    pub beside: bool,
    /// Whether it is understood how the file is read. Where not (a part of it, through a filter, together
    /// with others), the link is known and nothing is read or written through it.
    pub understood: bool,
}

/// The link from an overlay to what it is built on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backing {
    /// What the header records.
    pub recorded: Arc<Recorded>,
    /// The path the name leads to; none if it does not lead to a local file, or, in a forest, if that is
    /// the path which the node there shows: [`super::Forest::leads_to`] tells in any case.
    pub path: Option<Box<Path>>,
    /// What is there.
    pub state: BackingState,
    /// What `stat` told of it, where it lies outside the scan: nobody else asks.
    pub outside: Option<Box<Stat>>,
}

impl Backing {
    /// A link by this recorded name and format.
    #[must_use]
    pub fn new(
        name: &OsStr,
        format: Option<Format>,
        path: Option<&Path>,
        state: BackingState,
    ) -> Self {
        Self {
            recorded: Arc::new(Recorded {
                name: name.into(),
                beside: format.is_some(),
                format,
                understood: true,
            }),
            path: path.map(Box::from),
            state,
            outside: None,
        }
    }

    /// The name exactly as recorded in the header.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.recorded.name
    }

    /// The recorded format, if one is.
    #[must_use]
    pub fn format(&self) -> Option<&Format> {
        self.recorded.format.as_ref()
    }

    /// Whether it is understood how the file at its end is read.
    #[must_use]
    pub fn is_understood(&self) -> bool {
        self.recorded.understood
    }

    /// Whether the name was followed to a path, whatever is there.
    pub(super) fn leads_to_a_path(&self) -> bool {
        matches!(self.state, BackingState::Present(_) | BackingState::Missing)
    }
}

/// What lies at the end of a backing link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BackingState {
    /// This file.
    Present(FileId),
    /// No such file.
    Missing,
    /// It could not be looked at: why, as a sentence.
    Unreachable(Box<str>),
    /// Not a local file: the protocol's name.
    Elsewhere(Box<str>),
}

/// How a node came to be in the forest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Location {
    /// Met by the scan, or named by the person.
    Scanned,
    /// Only named by a scanned image; there, but outside the scanned directories: never opened.
    OutsideScan,
    /// Only named by a scanned image, and not there.
    Missing,
    /// Only named by a scanned image, and not a local file.
    Elsewhere,
    /// Met by the scan in a trash folder: it may be put back to where it was taken from, and shows then what
    /// it shows now.
    InTrash,
}

impl Location {
    /// Whether the scan met it, be it in the trash.
    #[must_use]
    pub fn is_met(self) -> bool {
        matches!(self, Self::Scanned | Self::InTrash)
    }
}

/// One image.
///
/// There may be a hundred thousand of these: what is alike is kept once, and a list that is empty takes one
/// word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number in the forest.
    pub id: NodeId,
    /// The name shown: the first in order of its names that are no symbolic links, or of all its
    /// names if there are only links.
    pub path: PathBuf,
    /// Whether the name shown is a symbolic link: renaming it would not move the file.
    pub symlink: bool,
    /// Its other names (symbolic and hard links met by the scan), in order.
    pub other_names: ThinVec<PathBuf>,
    /// How it came to be here.
    pub location: Location,
    /// What `stat` told.
    pub stat: Option<Stat>,
    /// What is in it.
    pub content: Content,
    /// Its backing link, if it has one.
    pub backing: Option<Box<Backing>>,
    /// The node at the end of that link.
    pub parent: Option<NodeId>,
    /// The nodes built on this one, ordered by path.
    pub children: ThinVec<NodeId>,
    /// Whether following the backing links from here comes back to here.
    pub in_loop: bool,
    /// Processes that have the file open.
    pub holders: ThinVec<Holder>,
    /// What people have noted of it, if anything.
    pub annotation: Option<Box<Annotation>>,
    /// How it is seen where other machines see it as well.
    pub sharing: Option<Box<Sharing>>,
    /// What is wrong with it.
    pub problems: ThinVec<Problem>,
}

bitflags::bitflags! {
    /// What a row of the tree says of an image at a glance.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Flags: u32 {
        /// A leaf: the only layer of its chain that may be written.
        const ACTIVE = 1;
        /// Others are built on it: it is only read.
        const FROZEN = 1 << 1;
        /// A process holds it, or an image above it, the way QEMU does.
        const IN_USE = 1 << 2;
        /// The image it is built on is not there.
        const MISSING_BACKING = 1 << 3;
        /// Its backing links run in a circle.
        const LOOP = 1 << 4;
        /// It has a backing file and records no format for it.
        const NO_BACKING_FORMAT = 1 << 5;
        /// Damaged: the corrupt bit, or contents that cannot be.
        const CORRUPT = 1 << 6;
        /// The dirty bit.
        const DIRTY = 1 << 7;
        /// Encrypted.
        const ENCRYPTED = 1 << 8;
        /// Has internal snapshots.
        const SNAPSHOTS = 1 << 9;
        /// Cannot be opened or read.
        const UNREADABLE = 1 << 10;
        /// Needs features or a format we do not have.
        const UNSUPPORTED = 1 << 11;
        /// Named by a scanned image, lies outside the scan.
        const OUTSIDE_SCAN = 1 << 12;
        /// In the trash: not there for anybody, and to be kept as it is until the trash is emptied.
        const IN_TRASH = 1 << 13;
        /// A layer below it keeps it from being opened.
        const BROKEN_BELOW = 1 << 14;
        /// Somebody writes it though others are built on it, or writes an image it is built on.
        const WRITTEN_UNDER = 1 << 20;
        /// An operation on it was interrupted and not brought to its end.
        const INTERRUPTED = 1 << 21;
        /// It, or an image it is built on, was changed under what is built on it.
        const BASE_CHANGED = 1 << 22;
    }
}

impl Flags {
    /// Every flag with its name, in the order they are shown.
    pub const NAMES: [(Self, &'static str); 18] = [
        (Self::ACTIVE, "active"),
        (Self::FROZEN, "frozen"),
        (Self::IN_USE, "in-use"),
        (Self::MISSING_BACKING, "missing-backing"),
        (Self::LOOP, "loop"),
        (Self::NO_BACKING_FORMAT, "no-backing-format"),
        (Self::CORRUPT, "corrupt"),
        (Self::DIRTY, "dirty"),
        (Self::ENCRYPTED, "encrypted"),
        (Self::SNAPSHOTS, "snapshots"),
        (Self::UNREADABLE, "unreadable"),
        (Self::UNSUPPORTED, "unsupported"),
        (Self::OUTSIDE_SCAN, "outside-scan"),
        (Self::IN_TRASH, "in-trash"),
        (Self::BROKEN_BELOW, "broken-below"),
        (Self::WRITTEN_UNDER, "written-under"),
        (Self::INTERRUPTED, "interrupted"),
        (Self::BASE_CHANGED, "base-changed"),
    ];

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| name)
    }
}

impl Node {
    /// The header's facts, if this is a qcow2 image that could be read.
    #[must_use]
    pub fn info(&self) -> Option<&ImageInfo> {
        match &self.content {
            Content::Qcow2(info) => Some(info),
            _ => None,
        }
    }

    /// Whether its content is encrypted, as its header says.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.info().is_some_and(|info| info.encryption.is_some())
    }

    /// The internal snapshots that are known, and how many there are.
    #[must_use]
    pub fn known_snapshots(&self) -> (&[Snapshot], usize) {
        let Some(info) = self.info() else {
            return (&[], 0);
        };
        let all = usize::try_from(info.snapshots).unwrap_or(usize::MAX);
        (&info.first_snapshots, all)
    }

    /// Whether it lies in the scanned directories and was not looked at yet, the scan being under way.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        // Of what lies outside, the images built on it tell the `stat`, or why there is none.
        self.location == Location::OutsideScan
            && self.stat.is_none()
            && matches!(self.content, Content::Unopened)
    }

    /// Whether people have given it this tag.
    #[must_use]
    pub fn is_tagged(&self, tag: &str) -> bool {
        self.annotation.as_ref().is_some_and(|it| it.has(tag))
    }

    /// Whether people want it whoever uses it: nobody proposes to discard it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_tagged(KEEP) || self.is_tagged(GOLDEN)
    }

    /// Whether it is in the trash.
    #[must_use]
    pub fn is_in_trash(&self) -> bool {
        self.location == Location::InTrash
    }

    /// Device and inode, if the file is there.
    #[must_use]
    pub fn file_id(&self) -> Option<FileId> {
        self.stat.as_ref().map(|stat| stat.id)
    }

    /// The format it records for its backing file, if it does.
    #[must_use]
    pub fn backing_format(&self) -> Option<&Format> {
        self.backing.as_ref()?.format()
    }

    /// The format, as far as it is known.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        match &self.content {
            Content::Qcow2(_) | Content::Damaged(_) => Some(Format::Qcow2),
            Content::Raw => Some(Format::Raw),
            Content::Opaque(format) => Some(format.clone()),
            Content::Unreadable(_) | Content::Unopened => None,
        }
    }

    /// What the guest sees, in bytes: the header's word for qcow2, the length for raw.
    #[must_use]
    pub fn virtual_size(&self) -> Option<u64> {
        match &self.content {
            Content::Qcow2(info) => Some(info.virtual_size),
            Content::Raw => self.stat.as_ref().map(|stat| stat.len),
            _ => None,
        }
    }

    /// The logical volume that it lies on, as sysfs tells, which is read for it.
    #[must_use]
    pub fn volume(&self) -> Option<Volume> {
        let stat = self.stat.as_ref()?;
        (stat.kind == FileKind::BlockDevice).then(|| volume_of(stat.id))?
    }

    /// Bytes allocated on disk, if the file is there.
    #[must_use]
    pub fn size_on_disk(&self) -> Option<u64> {
        self.stat.as_ref().map(|stat| stat.allocated)
    }

    /// What a row of the tree says at a glance. `IN_USE` here speaks of this file's own holders;
    /// [`super::Forest::flags`] adds what follows from the images above it.
    #[must_use]
    pub fn own_flags(&self) -> Flags {
        let mut flags = Flags::empty();
        let is_there = matches!(self.location, Location::Scanned | Location::OutsideScan);
        for problem in &self.problems {
            match problem.kind {
                ProblemKind::Interrupted { .. } => flags.insert(Flags::INTERRUPTED),
                ProblemKind::BaseChanged { .. } => flags.insert(Flags::BASE_CHANGED),
                _ => {}
            }
        }
        flags.set(Flags::ACTIVE, self.children.is_empty() && is_there);
        flags.set(Flags::FROZEN, !self.children.is_empty());
        flags.set(
            Flags::IN_USE,
            self.holders.iter().any(|holder| holder.locks),
        );
        flags.set(Flags::LOOP, self.in_loop);
        flags.set(
            Flags::OUTSIDE_SCAN,
            self.location == Location::OutsideScan && !self.is_awaited(),
        );
        flags.set(Flags::IN_TRASH, self.is_in_trash());
        flags.set(
            Flags::UNREADABLE,
            matches!(self.content, Content::Unreadable(_)),
        );
        flags.set(
            Flags::UNSUPPORTED,
            matches!(self.content, Content::Opaque(_)),
        );
        flags.set(Flags::CORRUPT, matches!(self.content, Content::Damaged(_)));
        if let Some(backing) = &self.backing {
            flags.set(
                Flags::MISSING_BACKING,
                backing.state == BackingState::Missing,
            );
            flags.set(
                Flags::NO_BACKING_FORMAT,
                backing.format().is_none() && backing.is_understood(),
            );
        }
        if let Some(info) = self.info() {
            flags.set(Flags::DIRTY, info.dirty);
            flags.set(Flags::ENCRYPTED, info.encryption.is_some());
            flags.set(Flags::SNAPSHOTS, info.snapshots > 0);
            flags.insert(if info.corrupt || info.truncated.is_some() {
                Flags::CORRUPT
            } else {
                Flags::empty()
            });
            flags.set(Flags::UNSUPPORTED, !info.unknown_features.is_empty());
        }
        flags
    }
}
