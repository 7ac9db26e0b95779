//! The files that differ between two states in a few figures, as plans tell them: how many, the newest, the largest.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use crate::guest::diff::{self, Change, ChangeKind, Options, VolumeDiff, VolumeState, is_noise};
use crate::guest::disk::{Content, VolumeName};
use crate::guest::filesystem::{Node, NodeId, NodeKind};
use crate::guest::{self, Error, Filesystem};
use crate::image::{Chain, Keys};
use crate::units;

use super::search::walk;
use super::{Sides, Until, View};

/// A file is new for so long.
pub const NEW: Duration = Duration::from_secs(7 * 86_400);

/// Sentences kept about volumes.
const MOST_REMARKS: usize = 8;

/// Files that differ, in figures. Folders are not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that the newer state has alone.
    pub added: usize,
    /// Files whose content, or what they are, differs.
    pub changed: usize,
    /// Files that only the older state has.
    pub deleted: usize,
    /// Files that were somewhere else.
    pub renamed: usize,
    /// Files of which only permissions, owner, times or links differ.
    pub metadata: usize,
    /// How many of those added, changed or renamed are logs, caches and temporary files.
    pub noise: usize,
    /// How many of the rest of them were written within [`NEW`].
    pub recent: usize,
    /// The one of the rest that was written last.
    pub newest: Option<SummaryFile>,
    /// The one of those added or changed of which the most bytes differ.
    pub largest: Option<SummaryFile>,
    /// What is to be said of volumes, each a sentence without its stop: those that came, went or could not be compared.
    pub remarks: Vec<String>,
    /// Whether more may differ than is told.
    pub is_partial: bool,
    /// Whether the disk has several volumes, so that a path alone does not say where a file is.
    pub has_volumes: bool,
}

impl Summary {
    /// How many files differ in any way.
    #[must_use]
    pub fn files(&self) -> usize {
        self.added + self.changed + self.deleted + self.renamed + self.metadata
    }
}

/// One file of a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryFile {
    /// The volume it is on.
    pub volume: VolumeName,
    /// Its path there, without a leading slash.
    pub path: Vec<u8>,
    /// How many bytes of it differ.
    pub bytes: u64,
    /// When its content was written, as the guest noted it.
    pub modified: Option<SystemTime>,
}

/// Sums up which files differ between two states.
///
/// # Errors
/// When one of them cannot be read, or the time was over. What is damaged inside is remarked.
pub fn summary(sides: &Sides, now: SystemTime, until: &Until) -> guest::Result<Summary> {
    let changed = guest::changed_while(&sides.before, &sides.after, until);
    // An error of what was stopped says only that.
    let changed = changed.map_err(|error| match until.is_over() {
        true => Error::Cancelled,
        false => error,
    })?;
    let before = opened(sides.before.clone(), until)?;
    let after = opened(sides.after.clone(), until)?;
    let mut watch = until.clone();
    let options = Options::default();
    let found = diff::disks(&before.disk, &after.disk, &changed, options, &mut watch)?;
    let mut sum = Sum::new(now, &after);
    for volume in &found {
        sum.take_volume(volume, &after, until)?;
    }
    sum.ended(until)
}

/// Sums up all files of an image, as they differ from a disk that is empty.
///
/// # Errors
/// As [`summary`].
pub fn summary_of_all(chain: Chain, now: SystemTime, until: &Until) -> guest::Result<Summary> {
    let view = opened(chain, until)?;
    let mut sum = Sum::new(now, &view);
    for volume in &view.disk.volumes {
        match &volume.content {
            Content::Filesystem(filesystem) => {
                sum.take_all(&volume.name, &**filesystem, until)?;
            }
            Content::Unknown { is_empty: true } | Content::Physical(_) => {}
            other => {
                let why = super::place::why(other);
                sum.unknown(format!("the files of {} are not known: {why}", volume.name));
            }
        }
    }
    sum.ended(until)
}

fn opened(chain: Chain, until: &Until) -> guest::Result<View> {
    // A plan asks for no passphrase of what is inside: that it is not known is said.
    View::stoppable(chain, &Keys::none(), View::KEPT, until.stop())
}

/// A summary that is being made.
struct Sum {
    now: SystemTime,
    summary: Summary,
}

impl Sum {
    fn new(now: SystemTime, view: &View) -> Self {
        Self {
            now,
            summary: Summary {
                has_volumes: view.disk.volumes.len() > 1,
                ..Summary::default()
            },
        }
    }

    /// What was read after the time was over is not all there is, whatever it looks like.
    fn ended(self, until: &Until) -> guest::Result<Summary> {
        match until.is_over() {
            true => Err(Error::Cancelled),
            false => Ok(self.summary),
        }
    }

    fn remark(&mut self, text: String) {
        if self.summary.remarks.len() < MOST_REMARKS {
            self.summary.remarks.push(text);
        }
    }

    fn unknown(&mut self, text: String) {
        self.summary.is_partial = true;
        self.remark(text);
    }

    fn take_volume(
        &mut self,
        volume: &VolumeDiff,
        after: &View,
        until: &Until,
    ) -> guest::Result<()> {
        for change in &volume.changes {
            self.take(&volume.name, change);
        }
        let name = &volume.name;
        match &volume.state {
            VolumeState::Same | VolumeState::Compared => return Ok(()),
            VolumeState::Partial(reasons) => {
                let why = reasons.first().map_or("", String::as_str);
                self.unknown(format!("{name} could not be read wholly: {why}"));
                return Ok(());
            }
            VolumeState::Deleted => {
                self.remark(format!("{name} ({}) is there no more", volume.kind));
                return Ok(());
            }
            VolumeState::NotRead(why) | VolumeState::Locked(why) => {
                let bytes = units::size(volume.changed_bytes);
                self.unknown(format!(
                    "{bytes} of {name} differ, and its files are not known: {why}"
                ));
            }
            VolumeState::Added => self.remark(format!("{name} ({}) is new", volume.kind)),
        }
        // All files of what came, or took the place of something else, are new.
        if let Some(Content::Filesystem(filesystem)) = after.volume(name).map(|it| &it.content) {
            self.take_all(name, &**filesystem, until)?;
        }
        Ok(())
    }

    fn take(&mut self, volume: &VolumeName, change: &Change) {
        if change.node_kind() == Some(NodeKind::Directory) {
            return;
        }
        let sum = &mut self.summary;
        match change.kind {
            ChangeKind::Deleted => return sum.deleted += 1,
            ChangeKind::Metadata => return sum.metadata += 1,
            ChangeKind::Added => sum.added += 1,
            ChangeKind::Modified | ChangeKind::Replaced => sum.changed += 1,
            ChangeKind::Renamed => sum.renamed += 1,
        }
        if let Some(node) = &change.after {
            self.take_file(volume, &change.path, node, change.bytes);
        }
    }

    /// Takes a file that was added, changed or renamed.
    fn take_file(&mut self, volume: &VolumeName, path: &[u8], node: &Node, bytes: u64) {
        if node.kind != NodeKind::File {
            return;
        }
        let sum = &mut self.summary;
        let file = || SummaryFile {
            volume: volume.clone(),
            path: path.to_vec(),
            bytes,
            modified: node.modified,
        };
        if bytes > sum.largest.as_ref().map_or(0, |file| file.bytes) {
            sum.largest = Some(file());
        }
        if is_noise(path) {
            sum.noise += 1;
            return;
        }
        let Some(modified) = node.modified else {
            return;
        };
        if self.now.duration_since(modified).unwrap_or_default() < NEW {
            sum.recent += 1;
        }
        if sum.newest.as_ref().and_then(|file| file.modified) < Some(modified) {
            sum.newest = Some(file());
        }
    }

    /// Takes all files of a filesystem for new ones.
    fn take_all(
        &mut self,
        volume: &VolumeName,
        filesystem: &dyn Filesystem,
        until: &Until,
    ) -> guest::Result<()> {
        // What a folder holds is looked at once its entries were read.
        let listed = RefCell::new(Vec::<(Vec<u8>, NodeId)>::new());
        let (mut failed, mut problems) = (None, Vec::new());
        let mut take_listed = |sum: &mut Self| {
            for (path, id) in listed.borrow_mut().drain(..) {
                match filesystem.node(id) {
                    Ok(node) => sum.take_new(volume, &path, &node),
                    Err(error) => _ = failed.get_or_insert(error),
                }
            }
            !until.is_over()
        };
        let mut each = |path: &[u8], id| {
            listed.borrow_mut().push((path.to_vec(), id));
            true
        };
        let walked = walk(filesystem, &mut problems, &mut each, &mut || {
            take_listed(self)
        });
        take_listed(self);
        for error in walked.err().into_iter().chain(failed) {
            match error {
                Error::Image(_) | Error::Cancelled => return Err(error),
                other => problems.push(other.to_string()),
            }
        }
        if let Some(problem) = problems.first() {
            self.unknown(format!("{volume} could not be read wholly: {problem}"));
        }
        Ok(())
    }

    fn take_new(&mut self, volume: &VolumeName, path: &[u8], node: &Node) {
        if !node.is_directory() {
            self.summary.added += 1;
            self.take_file(volume, path, node, node.size);
        }
    }
}
