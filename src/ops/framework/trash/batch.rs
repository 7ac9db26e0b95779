//! Putting a batch of files into the trash, crash-safe: first the manifests, stable, then the
//! renames in the order given, each step stable before the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::forest::{FolderNotes, TRASH_FOLDER as DIR};
use crate::host::{FileKind, Host, io_text};
use crate::image::foreign_trash;
use crate::ops::framework::copy_file::folder;
use crate::ops::framework::error::Error;
use crate::ops::framework::format::shown;
use crate::ops::framework::note::{Note, NoteKind};
use crate::ops::framework::plan::Plan;
use crate::ops::framework::preconditions::FileVersion;
use crate::ops::framework::progress::Progress;
use crate::ops::framework::refusal::RefusalKind;
use crate::ops::framework::remedy::Remedy;
use crate::system::Utc;
use crate::units::count;

use super::base::Base;
use super::file_name::Name;
use super::folder::{manifest_path, remove_folder};
use super::manifest::{Manifest, ManifestFile};
use super::register;

/// One file to go.
#[derive(Debug, Clone)]
pub(in crate::ops) struct TrashItem {
    /// Its own name, no symbolic link, made absolute.
    pub(in crate::ops) path: PathBuf,
    /// Why it goes, for the manifest.
    pub(in crate::ops) why: String,
    /// Bytes it takes on disk.
    pub(in crate::ops) bytes: u64,
    /// When it goes: all files of step 0 are in the trash, stable, before one of step 1 moves.
    pub(in crate::ops) step: usize,
    /// Which file it is, where another one may come to lie in its place.
    pub(in crate::ops) file: Option<FileVersion>,
}

/// Files on their way to the trash. Until [`Batch::execute`] no image has moved.
#[derive(Debug)]
pub(in crate::ops) struct Batch<'a> {
    host: &'a dyn Host,
    name: String,
    moves: Vec<Move>,
    remarks: Vec<Note>,
}

#[derive(Debug)]
struct Move {
    from: PathBuf,
    to: PathBuf,
    /// The directory it is in.
    dir: PathBuf,
    /// The batch's folder in that directory's trash.
    folder: PathBuf,
    step: usize,
}

impl<'a> Batch<'a> {
    /// Makes the folders and writes the manifests. When this returns, everything but the renames
    /// is on stable storage.
    ///
    /// # Errors
    /// [`Error::Failed`]; what was made so far is taken away again.
    pub(in crate::ops) fn prepare(
        host: &'a dyn Host,
        state_dir: Option<&Path>,
        reason: &str,
        mut items: Vec<TrashItem>,
    ) -> Result<Self, Error> {
        items.sort_by_key(|item| item.step);
        for item in &items {
            // The name of a device, or a link to one, is the system's: in `/dev` it would be hidden from all.
            if host
                .stat_link(&item.path)
                .is_ok_and(|stat| stat.kind != FileKind::Regular)
            {
                return Err(Error::failed(format!(
                    "{} is no regular file, so it cannot go to the trash",
                    shown(&item.path)
                )));
            }
        }
        let now = host.now();
        let mut by_dir: BTreeMap<PathBuf, Vec<(OsString, u64, &TrashItem)>> = BTreeMap::new();
        for (turn, item) in (0_u64..).zip(&items) {
            let (Some(dir), Some(name)) = (item.path.parent(), item.path.file_name()) else {
                return Err(Error::failed(format!(
                    "{} is in no folder that could hold a trash folder",
                    shown(&item.path)
                )));
            };
            by_dir
                .entry(dir.to_path_buf())
                .or_default()
                .push((name.to_owned(), turn, item));
        }
        let mut batch = Self {
            host,
            name: free_name(host, now, by_dir.keys()),
            moves: Vec::new(),
            remarks: Vec::new(),
        };
        for (dir, files) in &by_dir {
            let notes = FolderNotes::read(host, dir).unwrap_or_default();
            let manifest = Manifest {
                discarded: seconds(now),
                reason: reason.to_owned(),
                files: files
                    .iter()
                    .map(|(name, turn, item)| ManifestFile {
                        name: Name::from(name.as_os_str()),
                        bytes: item.bytes,
                        why: item.why.clone(),
                        turn: *turn,
                        base: Base::of(host, &item.path),
                        file: item.file.clone(),
                        annotation: notes.of(name).cloned(),
                    })
                    .collect(),
            };
            let trash = dir.join(DIR);
            let folder = trash.join(&batch.name);
            if let Err(error) = batch.make_folder(dir, &trash, &folder, &manifest) {
                let error = Error::io("make a trash folder in", dir, &error);
                batch.abandon(by_dir.keys());
                return Err(error);
            }
            if let Some(state_dir) = state_dir
                && let Err(error) = register::add(host, state_dir, &trash)
            {
                let text = format!(
                    "{} could not be noted in {}: {error}; `trash list` finds it when it is given \
                     the folder",
                    shown(&trash),
                    shown(state_dir),
                    error = io_text(&error)
                );
                batch.remarks.push(Note::new(NoteKind::NotRecorded, text));
            }
            for (name, _, item) in files {
                batch.moves.push(Move {
                    from: item.path.clone(),
                    to: folder.join(name),
                    dir: dir.clone(),
                    folder: folder.clone(),
                    step: item.step,
                });
            }
        }
        batch.moves.sort_by_key(|one| one.step);
        Ok(batch)
    }

    fn make_folder(
        &self,
        dir: &Path,
        trash: &Path,
        folder: &Path,
        manifest: &Manifest,
    ) -> io::Result<()> {
        match self.host.create_dir(trash, 0o700) {
            Ok(()) => self.host.sync_dir(dir)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Whoever has it could take the images to who knows where.
                if let Some(why) = foreign_trash(self.host, trash) {
                    return Err(io::Error::other(not_used(trash, &why)));
                }
            }
            Err(error) => return Err(error),
        }
        self.host.create_dir(folder, 0o700)?;
        manifest.write(self.host, &manifest_path(folder))?;
        self.host.sync_dir(trash)
    }

    /// The batch's name: what restores it.
    pub(in crate::ops) fn name(&self) -> &str {
        &self.name
    }

    /// Where the files are going to be.
    pub(in crate::ops) fn places(&self) -> impl Iterator<Item = &Path> {
        self.moves.iter().map(|one| one.to.as_path())
    }

    /// What the person should know although all went well.
    pub(in crate::ops) fn remarks(&self) -> &[Note] {
        &self.remarks
    }

    /// Takes away what was prepared: nothing goes after all.
    pub(in crate::ops) fn give_up(self) {
        let dirs: BTreeSet<&PathBuf> = self.moves.iter().map(|one| &one.dir).collect();
        self.abandon(dirs.into_iter());
    }

    /// Moves the files, step by step.
    ///
    /// # Errors
    /// Whatever stops it half way, a cancel or the system: those already moved are put back first.
    /// Should that fail as well, the message says what is in the trash and how to get it back.
    pub(in crate::ops) fn execute(self, progress: &Progress) -> Result<Vec<PathBuf>, Error> {
        let mut done = 0;
        let result = self.move_all(progress, &mut done);
        match result {
            Ok(()) => Ok(self
                .moves
                .iter()
                .flat_map(|one| [one.from.clone(), one.to.clone()])
                .collect()),
            Err(error) => Err(self.take_back(done, error)),
        }
    }

    fn move_all(&self, progress: &Progress, done: &mut usize) -> Result<(), Error> {
        let mut rest = self.moves.as_slice();
        while let Some(first) = rest.first() {
            let len = rest.partition_point(|one| one.step == first.step);
            let (step, later) = rest.split_at(len);
            for one in step {
                progress.advance(0).map_err(|_| {
                    Error::cancelled("cancelled: every file is where it was".to_owned())
                })?;
                self.host
                    .rename_new(&one.from, &one.to)
                    .map_err(|error| Error::io("move to the trash:", &one.from, &error))?;
                *done += 1;
            }
            self.sync(step)?;
            rest = later;
        }
        Ok(())
    }

    fn sync(&self, moves: &[Move]) -> Result<(), Error> {
        // The new name first: at no instant may the file have lost both.
        for folder in moves.iter().map(|one| &one.folder).collect::<BTreeSet<_>>() {
            self.host
                .sync_dir(folder)
                .map_err(|error| Error::io("sync", folder, &error))?;
        }
        for dir in moves.iter().map(|one| &one.dir).collect::<BTreeSet<_>>() {
            self.host
                .sync_dir(dir)
                .map_err(|error| Error::io("sync", dir, &error))?;
        }
        Ok(())
    }

    /// Puts the first `done` files back, last one first, and says what came of it.
    fn take_back(&self, done: usize, why: Error) -> Error {
        for (index, one) in self.moves.iter().enumerate().take(done).rev() {
            let back = self
                .host
                .rename_new(&one.to, &one.from)
                .and_then(|()| self.host.sync_dir(&one.dir));
            if let Err(error) = back {
                let more = format!(
                    "; then {} could not be moved back: {}. {} in the trash",
                    shown(&one.from),
                    io_text(&error),
                    count(index + 1, "file")
                );
                return why
                    .and_failed(&more)
                    .helped_by([Remedy::restore(&self.name)]);
            }
        }
        let dirs: BTreeSet<&PathBuf> = self.moves.iter().map(|one| &one.dir).collect();
        self.abandon(dirs.into_iter());
        why
    }

    /// Removes manifests and folders of a batch of which nothing is in the trash.
    fn abandon<'b>(&self, dirs: impl Iterator<Item = &'b PathBuf>) {
        for dir in dirs {
            remove_folder(self.host, &dir.join(DIR).join(&self.name));
        }
    }
}

fn not_used(trash: &Path, why: &str) -> String {
    format!(
        "{} {why}: nothing is put there. Have it renamed or removed",
        shown(trash)
    )
}

/// Refuses to put this file into the trash where the folder for that is not ours.
pub(in crate::ops) fn refuse_foreign(plan: &mut Plan, file: &Path) {
    let trash = folder(file).join(DIR);
    let host = Arc::clone(&plan.context().host);
    if host.stat_link(&trash).is_ok()
        && let Some(why) = foreign_trash(host.as_ref(), &trash)
    {
        let text = not_used(&trash, &why);
        if !plan.refusals.iter().any(|refusal| refusal.text == text) {
            plan.refuse(RefusalKind::NotWritable, text);
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A name no trash of these directories has: the time to the second, and four digits that make two
/// batches of one second differ.
fn free_name<'b>(
    host: &dyn Host,
    now: SystemTime,
    dirs: impl Iterator<Item = &'b PathBuf> + Clone,
) -> String {
    let nanos = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.subsec_nanos());
    let mut digits = (nanos >> 10) & 0xffff;
    loop {
        let name = format!("{}-{digits:04x}", timestamp(seconds(now)));
        let taken = dirs.clone().any(|dir| {
            let folder = dir.join(DIR).join(&name);
            host.stat_link(&folder).is_ok() || host.stat_link(&manifest_path(&folder)).is_ok()
        });
        if !taken {
            return name;
        }
        digits = (digits + 1) & 0xffff;
    }
}

/// `20261123-115537`, UTC.
pub(super) fn timestamp(seconds: u64) -> String {
    let Utc {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = Utc::from_seconds(seconds);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use std::fs;

    #[test]
    fn times_are_written_as_dates() {
        assert_eq!(timestamp(0), "19700101-000000");
        assert_eq!(timestamp(951_782_399), "20000228-235959");
        assert_eq!(timestamp(951_782_400), "20000229-000000");
        assert_eq!(timestamp(1_795_435_200), "20261123-120000");
    }

    fn item(path: &Path, step: usize) -> TrashItem {
        TrashItem {
            path: path.to_path_buf(),
            why: "marked".to_owned(),
            bytes: 3,
            step,
            file: None,
        }
    }

    #[test]
    fn what_was_moved_is_put_back_when_a_later_move_fails() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, "one").unwrap();
        let batch =
            Batch::prepare(&RealHost, None, "discard", vec![item(&b, 1), item(&a, 0)]).unwrap();
        let error = batch.execute(&Progress::new()).unwrap_err();
        assert!(error.to_string().contains("/b"), "{error}");
        assert_eq!(fs::read(&a).unwrap(), b"one");
        assert!(!dir.path().join(DIR).exists());
    }

    #[test]
    fn a_cancelled_batch_leaves_every_file_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let a = dir.path().join("a");
        fs::write(&a, "one").unwrap();
        let progress = Progress::new();
        progress.cancel();
        let batch = Batch::prepare(&RealHost, None, "discard", vec![item(&a, 0)]).unwrap();
        assert!(matches!(batch.execute(&progress), Err(Error::Cancelled(_))));
        assert!(a.exists() && !dir.path().join(DIR).exists());
    }

    #[test]
    fn what_is_no_regular_file_never_goes_to_the_trash() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        // Any user may read where this leads, and nobody may lose it.
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for path in [link.as_path(), Path::new("/dev/null"), dir.path()] {
            let error = Batch::prepare(&RealHost, None, "commit", vec![item(path, 0)]).unwrap_err();
            assert!(error.to_string().contains("no regular file"), "{error}");
        }
        assert!(link.symlink_metadata().is_ok() && Path::new("/dev/null").exists());
        assert!(!dir.path().join(DIR).exists() && !Path::new("/dev").join(DIR).exists());
    }

    #[test]
    fn a_link_in_the_place_of_the_trash_folder_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let a = dir.path().join("a");
        fs::write(&a, "one").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join(DIR)).unwrap();
        let error = Batch::prepare(&RealHost, None, "discard", vec![item(&a, 0)]).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert!(a.exists());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
