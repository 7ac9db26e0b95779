//! An image, or an internal snapshot of one, opened to be looked into: its chain, what lies on its disk, and the names
//! in its folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::guest::disk::{Content, Volume, locked};
use crate::guest::filesystem::Condition;
use crate::guest::readers::OpenFilesystem;
use crate::guest::{Disk, Source};
use crate::host::{Host, Stat, printable_lines};
use crate::image::{self, Chain, Keys, Layer, Snapshot};

use super::tree::{Names, Place, ViewId, file_names};

/// An image or a snapshot of one, opened.
pub struct View {
    id: ViewId,
    chain: Chain,
    /// Who writes it, in sentences; empty where nobody does.
    live: Vec<String>,
    /// The internal snapshots of the image; none of a snapshot.
    snapshots: Vec<Snapshot>,
    /// The names of its files, and what they were when it was opened.
    files: Vec<(PathBuf, Stat)>,
    /// Whether an earlier view of it showed something else.
    was_changed: bool,
    /// What opens volumes that the guest encrypted.
    keys: Keys,
    disk: OnceLock<Result<Disk, String>>,
    names: OnceLock<Names>,
    stored: OnceLock<u64>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("id", &self.id).finish()
    }
}

impl View {
    /// What a chain shows.
    ///
    /// # Errors
    /// When the snapshot table of its image cannot be read, or a file is not told of any more.
    pub fn new(
        id: ViewId,
        chain: Chain,
        live: Vec<String>,
        was_changed: bool,
        keys: Keys,
    ) -> image::Result<Self> {
        let top = chain.layers().first().map(|layer| &**layer);
        let snapshots = match top {
            Some(Layer::Qcow2(image)) if id.snapshot.is_none() => {
                image::snapshots(image.file(), image.header())?
            }
            _ => Vec::new(),
        };
        let mut files = Vec::new();
        for layer in chain.layers() {
            let own = match &**layer {
                Layer::Qcow2(image) => image.file(),
                Layer::Raw(image) => image.file(),
            };
            let stored = layer.stored_in();
            let is_apart = stored.path() != own.path();
            for file in std::iter::once(own).chain(is_apart.then_some(stored)) {
                files.push((file.path().to_path_buf(), file.stat("look at")?));
            }
        }
        Ok(Self {
            id,
            chain,
            live,
            snapshots,
            files,
            was_changed,
            keys,
            disk: OnceLock::new(),
            names: OnceLock::new(),
            stored: OnceLock::new(),
        })
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Who writes it, in sentences; empty where nobody does.
    #[must_use]
    pub fn live(&self) -> &[String] {
        &self.live
    }

    /// The internal snapshots of the image.
    #[must_use]
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.snapshots
    }

    /// Whether what the kernel keeps of its files still holds when one of them is opened again.
    #[must_use]
    pub fn keeps_cache(&self) -> bool {
        self.live.is_empty() && !self.was_changed
    }

    /// Whether the files of these names are still those that were opened, and were not written since.
    #[must_use]
    pub fn is_current(&self, host: &dyn Host) -> bool {
        self.files.iter().all(|(path, then)| {
            let now = host.stat(path);
            now.is_ok_and(|now| now.holds_the_same(then))
        })
    }

    /// Bytes of the disk.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.chain.virtual_size()
    }

    /// What lies on the disk, or why that is not known.
    ///
    /// # Errors
    /// As a sentence.
    pub fn disk(&self) -> Result<&Disk, &str> {
        let disk = self.disk.get_or_init(|| {
            let chain: Source = Arc::new(self.chain.clone());
            let image = self.files.first().map_or(Path::new(""), |(path, _)| path);
            Disk::unlock(&chain, &self.keys, image).map_err(|error| error.to_string())
        });
        disk.as_ref().map_err(String::as_str)
    }

    fn volume(&self, volume: u16) -> Option<&Volume> {
        self.disk().ok()?.volumes.get(usize::from(volume))
    }

    /// The filesystem on a volume, if it is read.
    #[must_use]
    pub fn filesystem(&self, volume: u16) -> Option<&OpenFilesystem> {
        match &self.volume(volume)?.content {
            Content::Filesystem(filesystem) => Some(filesystem),
            _ => None,
        }
    }

    /// What `ERROR.txt` says; none where there is nothing to say.
    #[must_use]
    pub fn error_text(&self) -> Option<String> {
        self.disk().err().map(line)
    }

    /// What `IN-USE.txt` says; none where nobody writes it.
    #[must_use]
    pub fn in_use_text(&self) -> Option<String> {
        let lines: String = self.live.iter().map(|sentence| line(sentence)).collect();
        (!lines.is_empty()).then_some(lines)
    }

    /// What there is to say of a volume; none where its files say all.
    #[must_use]
    pub fn volume_text(&self, volume: u16) -> Option<String> {
        volume_text(&self.volume(volume)?.content)
    }

    /// The names in its folder.
    #[must_use]
    pub(super) fn names(&self) -> &Names {
        self.names.get_or_init(|| {
            let mut names = Names::new();
            names.insert("disk.raw".into(), Place::Disk(self.id));
            if !self.live.is_empty() {
                names.insert("IN-USE.txt".into(), Place::InUse(self.id));
            }
            if !self.snapshots.is_empty() {
                names.insert("snapshots".into(), Place::Snapshots(self.id.image));
            }
            match self.disk() {
                Ok(disk) => self.add_volumes(disk, &mut names),
                Err(_) => {
                    names.insert("ERROR.txt".into(), Place::Error(self.id));
                }
            }
            names
        })
    }

    fn add_volumes(&self, disk: &Disk, names: &mut Names) {
        let words: Vec<String> = disk
            .volumes
            .iter()
            .map(|volume| volume.name.to_string())
            .collect();
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let own = file_names(&words, "volume");
        for ((number, volume), name) in (0..).zip(&disk.volumes).zip(own) {
            if volume_text(&volume.content).is_some() {
                let mut note = name.clone();
                note.push(".txt");
                names.insert(note, Place::VolumeNote(self.id, number));
            }
            if let Content::Filesystem(filesystem) = &volume.content {
                let root = Place::Node(self.id, number, filesystem.root());
                names.insert(name, root);
            }
        }
    }

    /// The names of its snapshots.
    #[must_use]
    pub(super) fn snapshot_names(&self) -> Names {
        let words: Vec<&[u8]> = self
            .snapshots
            .iter()
            .map(|snapshot| match snapshot.name.is_empty() {
                true => &*snapshot.id,
                false => &*snapshot.name,
            })
            .collect();
        let names = file_names(&words, "snapshot");
        let view = |snapshot| {
            Place::View(ViewId {
                image: self.id.image,
                snapshot: Some(snapshot),
            })
        };
        names.into_iter().zip((0..).map(view)).collect()
    }

    /// Bytes of the disk that are stored in some layer, compressed or not; where the map cannot be read to its end,
    /// what lies behind counts as stored.
    #[must_use]
    pub fn stored(&self) -> u64 {
        *self.stored.get_or_init(|| {
            let (mut stored, mut told) = (0_u64, 0);
            for run in self.chain.map(0, self.virtual_size()) {
                let Ok(run) = run else { break };
                told = run.end();
                if !run.state.is_zero() {
                    stored = stored.saturating_add(run.len);
                }
            }
            stored.saturating_add(self.virtual_size().saturating_sub(told))
        })
    }

    /// Where data begins at `offset` or behind it, or where a hole does, which the end of the disk is as well; none
    /// where there is no data any more.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn seek(&self, offset: u64, wants_data: bool) -> image::Result<Option<u64>> {
        for run in self.chain.map(offset, self.virtual_size()) {
            let run = run?;
            if run.state.is_zero() != wants_data {
                return Ok(Some(run.start));
            }
        }
        Ok((!wants_data).then(|| self.virtual_size()))
    }
}

/// What there is to say of a volume.
fn volume_text(content: &Content) -> Option<String> {
    let text = match content {
        Content::Filesystem(filesystem) => match &filesystem.summary().condition {
            Condition::Clean | Condition::Replayed => return None,
            Condition::NotReplayed(why) => {
                format!("It was not unmounted, and its newest changes may be missing here: {why}")
            }
        },
        Content::Locked { kind, is_wrong } => {
            format!(
                "{}: give --passphrase-file to mount",
                locked(kind, *is_wrong)
            )
        }
        Content::Physical(_) => return None,
        Content::Named(name) => format!("{name}: not read"),
        Content::Failed(error) => error.to_string(),
        Content::Unknown { is_empty: true } => {
            "Nothing is on it: where formats begin, it is all zeros".to_owned()
        }
        Content::Unknown { is_empty: false } => "Nothing is on it that is known".to_owned(),
    };
    Some(line(&text))
}

/// A sentence as a line of a file that is shown on a terminal.
pub(super) fn line(text: &str) -> String {
    let mut line = printable_lines(text).into_owned();
    line.push('\n');
    line
}
