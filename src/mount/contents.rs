//! What a mount shows, asked by place: attributes, names, bytes. It knows nothing of how the kernel asks.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::guest::filesystem::{Node, NodeId, NodeKind};
use crate::guest::readers::OpenFilesystem;
use crate::guest::{self, Ranges};
use crate::host::{effective_user, printable};

use super::tree::{Names, Place, Tree, ViewId, is_file_name};
use super::view::{View, line};
use super::views::Views;

/// Bytes at the start of a guest's file that are never told to be a hole: small files are stored within metadata, which
/// no extent tells of.
const NO_HOLE: u64 = 64 << 10;

/// Why something cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no such name, or what it stood for is there no more.
    #[error("it is not there")]
    NotFound,
    /// It is no folder.
    #[error("it is no folder")]
    NotAFolder,
    /// It is no file that can be read.
    #[error("it is no file")]
    NotAFile,
    /// It cannot be read, for the reason of this sentence.
    #[error("{0}")]
    Unreadable(String),
}

/// What looking gives.
type Result<T> = std::result::Result<T, Failure>;

/// Who owns what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user and group who mount.
    pub caller: (u32, u32),
    /// Whether files of a guest belong to whom the guest gave them, rather than to who mounts.
    pub as_stored: bool,
}

/// What a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
}

/// What is told of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub len: u64,
    /// Bytes that it takes.
    pub allocated: u64,
    /// Permission bits, without set-user-id and set-group-id.
    pub mode: u16,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Hard links.
    pub links: u32,
    /// When its content was changed.
    pub modified: SystemTime,
    /// When anything of it was changed.
    pub changed: SystemTime,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: Vec<u8>,
    /// What it stands for.
    pub place: Place,
    /// Where the list goes on behind it.
    pub next: u64,
}

/// How full what a place lies on is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fill {
    /// Its size.
    pub total: u64,
    /// What is left of it.
    pub free: u64,
    /// Bytes of a block; 0 where that is not known.
    pub block: u32,
}

/// What a mount shows.
#[derive(Debug)]
pub struct Contents {
    tree: Tree,
    views: Views,
    owner: Owner,
    since: SystemTime,
}

impl Contents {
    /// The images of a tree, by its numbers, shown to who runs this process.
    #[must_use]
    pub fn new(tree: Tree, views: Views) -> Self {
        let user = effective_user();
        Self {
            tree,
            views,
            owner: Owner {
                caller: (user, rustix::process::getegid().as_raw()),
                as_stored: user == 0,
            },
            since: SystemTime::now(),
        }
    }

    /// What the mount itself is.
    #[must_use]
    pub fn root(&self) -> Place {
        self.tree.root()
    }

    /// Who owns what is shown.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Closes images that nobody has looked at for a while.
    pub fn close_idle(&self) {
        self.views.close_idle();
    }

    fn view(&self, id: ViewId) -> Result<Arc<View>> {
        self.views
            .get(id)
            .map_err(|why| Failure::Unreadable(why.to_string()))
    }

    /// The filesystem that a place is on.
    fn filesystem(&self, id: ViewId, volume: u16) -> Result<OpenFilesystem> {
        let view = self.view(id)?;
        view.filesystem(volume).cloned().ok_or(Failure::NotFound)
    }

    /// What is told of a place.
    ///
    /// # Errors
    /// When it is not there or cannot be read.
    pub fn attributes(&self, place: Place) -> Result<Attributes> {
        let file = |len, allocated| Attributes {
            kind: Kind::File,
            len,
            allocated,
            mode: 0o444,
            owner: self.owner.caller,
            links: 1,
            modified: self.modified(place),
            changed: self.modified(place),
        };
        let text = |text: String| file(text.len() as u64, text.len() as u64);
        match place {
            Place::Folder(_) | Place::View(_) | Place::Snapshots(_) => Ok(Attributes {
                kind: Kind::Folder,
                mode: 0o555,
                ..file(0, 0)
            }),
            Place::Disk(id) => {
                let view = self.view(id)?;
                Ok(file(view.virtual_size(), view.stored()))
            }
            Place::Error(_) | Place::InUse(_) | Place::VolumeNote(..) => self.text(place).map(text),
            Place::Node(id, volume, node) => {
                let node = self.filesystem(id, volume)?.node(node).map_err(failure)?;
                Ok(self.of_node(&node))
            }
        }
    }

    fn of_node(&self, node: &Node) -> Attributes {
        let kind = match node.kind {
            NodeKind::Directory => Kind::Folder,
            NodeKind::Symlink => Kind::Link,
            NodeKind::File | NodeKind::Special => Kind::File,
        };
        let is_empty = node.kind == NodeKind::Special;
        let owner = match self.owner.as_stored {
            true => (node.uid, node.gid),
            false => self.owner.caller,
        };
        let modified = node.modified.unwrap_or(SystemTime::UNIX_EPOCH);
        Attributes {
            kind,
            len: if is_empty { 0 } else { node.size },
            allocated: if is_empty { 0 } else { node.allocated },
            mode: u16::try_from(node.mode & 0o1777).unwrap_or(0),
            owner,
            links: node.links,
            modified,
            changed: node.changed.unwrap_or(modified),
        }
    }

    fn modified(&self, place: Place) -> SystemTime {
        let image = place.image().and_then(|image| self.views.image(image));
        image.map_or(self.since, |image| image.modified)
    }

    /// What a file says that is ours.
    fn text(&self, place: Place) -> Result<String> {
        let text = match place {
            Place::Error(id) => match self.views.get(id) {
                Ok(view) => view.error_text(),
                Err(why) => Some(line(&why)),
            },
            Place::InUse(id) => self.view(id)?.in_use_text(),
            Place::VolumeNote(id, volume) => self.view(id)?.volume_text(volume),
            _ => None,
        };
        text.ok_or(Failure::NotFound)
    }

    /// Calls `see` with the names in a folder that is none of a guest's.
    fn with_names<T>(&self, folder: Place, see: impl FnOnce(&Names) -> T) -> Result<T> {
        match folder {
            Place::Folder(folder) => self.tree.names(folder).map(see).ok_or(Failure::NotFound),
            Place::View(id) => match self.views.get(id) {
                Ok(view) => Ok(see(view.names())),
                Err(_) => Ok(see(&Names::from([("ERROR.txt".into(), Place::Error(id))]))),
            },
            Place::Snapshots(image) => Ok(see(&self.view(ViewId::now(image))?.snapshot_names())),
            _ => Err(Failure::NotAFolder),
        }
    }

    /// What a name in a folder stands for.
    ///
    /// # Errors
    /// When it is not there, the folder is none, or cannot be read.
    pub fn lookup(&self, folder: Place, name: &OsStr) -> Result<Place> {
        if let Place::Node(id, volume, node) = folder {
            let filesystem = self.filesystem(id, volume)?;
            let found = filesystem.lookup(node, name.as_bytes()).map_err(failure)?;
            let found = found.ok_or(Failure::NotFound)?;
            return Ok(Place::Node(id, volume, found));
        }
        let found = self.with_names(folder, |names| names.get(name).copied())?;
        found.ok_or(Failure::NotFound)
    }

    /// At most `most` entries of a folder from the place `from` on, which is 0 or the `next` of an entry. Names that the
    /// kernel refuses are passed over.
    ///
    /// # Errors
    /// When the folder is none, or cannot be read.
    pub fn list(&self, folder: Place, from: u64, most: usize) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        let mut at = 0_u64;
        let mut add = |name: &[u8], place: &dyn Fn() -> Place| {
            at += 1;
            if at > from && is_file_name(name) {
                listed.push(Listed {
                    name: name.to_vec(),
                    place: place(),
                    next: at,
                });
            }
            match listed.len() < most {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        if let Place::Node(id, volume, node) = folder {
            let filesystem = self.filesystem(id, volume)?;
            let mut each = |entry: guest::filesystem::Entry<'_>| {
                add(entry.name, &|| Place::Node(id, volume, entry.id))
            };
            filesystem.entries(node, &mut each).map_err(failure)?;
        } else {
            self.with_names(folder, |names| {
                let mut names = names.iter();
                let _ = names.try_for_each(|(name, place)| add(name.as_bytes(), &|| *place));
            })?;
        }
        Ok(listed)
    }

    /// Where a symbolic link leads to.
    ///
    /// # Errors
    /// When it is none, or cannot be read.
    pub fn link_target(&self, link: Place) -> Result<Vec<u8>> {
        let Place::Node(id, volume, node) = link else {
            return Err(Failure::NotAFile);
        };
        let filesystem = self.filesystem(id, volume)?;
        filesystem.link_target(node).map_err(failure)
    }

    /// A file, opened: it shows the same until it is closed, whatever becomes of the image.
    ///
    /// # Errors
    /// When it is none, or cannot be read.
    pub fn open(&self, file: Place) -> Result<OpenFile> {
        match file {
            Place::Disk(id) => Ok(OpenFile::Disk(self.view(id)?)),
            Place::Node(id, volume, number) => {
                let view = self.view(id)?;
                let filesystem = view.filesystem(volume).ok_or(Failure::NotFound)?;
                let node = filesystem.node(number).map_err(failure)?;
                match node.kind {
                    NodeKind::Special => Ok(OpenFile::Text(String::new())),
                    NodeKind::Directory | NodeKind::Symlink => Err(Failure::NotAFile),
                    NodeKind::File => Ok(OpenFile::Guest {
                        filesystem: Arc::clone(filesystem),
                        view: Arc::clone(&view),
                        number,
                        len: node.size,
                        data: OnceLock::new(),
                    }),
                }
            }
            _ => self.text(file).map(OpenFile::Text),
        }
    }

    /// How full what a place lies on is.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn fill(&self, place: Place) -> Result<Fill> {
        match place {
            Place::Node(id, volume, _) => {
                let filesystem = self.filesystem(id, volume)?;
                let summary = filesystem.summary();
                let used = filesystem.used().map_err(failure)?;
                Ok(Fill {
                    total: summary.total,
                    free: summary.total.saturating_sub(used.unwrap_or(0)),
                    block: summary.block_size,
                })
            }
            _ => Ok(Fill::default()),
        }
    }

    /// A sentence for a failure, with the image that it is about.
    #[must_use]
    pub fn told(&self, place: Place, failure: &Failure) -> String {
        match place.image().and_then(|image| self.views.image(image)) {
            Some(image) => format!("{}: {failure}", printable(&image.path)),
            None => failure.to_string(),
        }
    }
}

fn failure(error: guest::Error) -> Failure {
    match error {
        guest::Error::NotFound(_) => Failure::NotFound,
        guest::Error::NotADirectory(_) => Failure::NotAFolder,
        guest::Error::NotAFile(_) => Failure::NotAFile,
        other => Failure::Unreadable(other.to_string()),
    }
}

/// A file that is open.
#[derive(Debug)]
pub enum OpenFile {
    /// A whole disk.
    Disk(Arc<View>),
    /// A file of a guest.
    Guest {
        /// The disk that it is on.
        view: Arc<View>,
        /// The filesystem that it is on.
        filesystem: OpenFilesystem,
        /// Which it is there.
        number: NodeId,
        /// Its length in bytes.
        len: u64,
        /// Which of its bytes are data, once that was asked.
        data: OnceLock<Ranges>,
    },
    /// A text of ours.
    Text(String),
}

impl OpenFile {
    /// Whether what the kernel keeps of its content still holds.
    #[must_use]
    pub fn keeps_cache(&self) -> bool {
        match self {
            Self::Disk(view) | Self::Guest { view, .. } => view.keeps_cache(),
            Self::Text(_) => false,
        }
    }

    /// Whether somebody writes it meanwhile, so that nothing of it is worth to be kept.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self {
            Self::Disk(view) | Self::Guest { view, .. } => !view.live().is_empty(),
            Self::Text(_) => true,
        }
    }

    /// Fills `buf` from `offset` on, and says how many bytes that were: fewer than asked for only at the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match self {
            Self::Disk(view) => {
                let buf = within(view.virtual_size(), offset, buf);
                let read = view.chain().read_at(buf, offset);
                read.map_err(|error| Failure::Unreadable(error.to_string()))?;
                Ok(buf.len())
            }
            Self::Guest {
                filesystem, number, ..
            } => filesystem.read(*number, offset, buf).map_err(failure),
            Self::Text(text) => {
                let buf = within(text.len() as u64, offset, buf);
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let found = text.as_bytes().get(from..).unwrap_or_default();
                for (into, byte) in buf.iter_mut().zip(found) {
                    *into = *byte;
                }
                Ok(buf.len())
            }
        }
    }

    /// The first byte of data at `offset` or behind it, or of a hole, which the end of the file is as well; none where
    /// there is no data any more, or `offset` is past the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn seek(&self, offset: u64, wants_data: bool) -> Result<Option<u64>> {
        match self {
            Self::Disk(view) if offset < view.virtual_size() => {
                let found = view.seek(offset, wants_data);
                found.map_err(|error| Failure::Unreadable(error.to_string()))
            }
            Self::Disk(_) => Ok(None),
            Self::Guest {
                filesystem,
                number,
                len,
                data,
                ..
            } => {
                let data = data.get_or_init(|| data_of(filesystem, *number, *len));
                Ok(seek(data, *len, offset, wants_data))
            }
            Self::Text(text) => {
                let len = text.len() as u64;
                Ok(seek(
                    &std::iter::once(0..len).collect(),
                    len,
                    offset,
                    wants_data,
                ))
            }
        }
    }
}

/// As much of `buf` as a file of this length fills from `offset` on.
fn within(len: u64, offset: u64, buf: &mut [u8]) -> &mut [u8] {
    let left = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
    let most = buf.len().min(left);
    buf.get_mut(..most).unwrap_or_default()
}

/// As [`OpenFile::seek`], in a file of which these bytes are data.
fn seek(data: &Ranges, len: u64, offset: u64, wants_data: bool) -> Option<u64> {
    if offset >= len {
        return None;
    }
    let runs = data.as_slice();
    let next = runs.partition_point(|run| run.end <= offset);
    let run = runs.get(next).filter(|run| run.start < len);
    match (wants_data, run) {
        (true, run) => run.map(|run| run.start.max(offset)),
        (false, Some(run)) if run.start <= offset => Some(run.end.min(len)),
        (false, _) => Some(offset),
    }
}

/// Which bytes of a guest's file are data; all of them where that is not told.
fn data_of(filesystem: &OpenFilesystem, file: NodeId, len: u64) -> Ranges {
    let mut data = Ranges::new();
    match filesystem.extents(file) {
        Ok(extents) if !extents.is_empty() => {
            data.insert(0..NO_HOLE);
            for extent in extents.iter().filter(|extent| !extent.unwritten) {
                data.insert(extent.file..extent.file.saturating_add(extent.len));
            }
        }
        _ => data.insert(0..len),
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_holes_are_found_from_anywhere() {
        let data: Ranges = [0..10, 20..30, 50..60].into_iter().collect();
        for (len, offset, next_data, next_hole) in [
            (70, 0, Some(0), Some(10)),
            (70, 9, Some(9), Some(10)),
            (70, 10, Some(20), Some(10)),
            (70, 25, Some(25), Some(30)),
            (70, 60, None, Some(60)),
            (70, 69, None, Some(69)),
            (70, 70, None, None),
            (55, 52, Some(52), Some(55)),
            (40, 35, None, Some(35)),
            (0, 0, None, None),
        ] {
            assert_eq!(seek(&data, len, offset, true), next_data, "{len} {offset}");
            assert_eq!(seek(&data, len, offset, false), next_hole, "{len} {offset}");
        }
    }
}
