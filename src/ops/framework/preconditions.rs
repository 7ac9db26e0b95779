//! What files were when a plan was made, so that nothing is done to a file that moved on since.
//! Locks keep others out while an operation runs; a precondition covers the time a person thinks.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::host::{Access, FileId, FileKind, Host, Stat, io_text};
use crate::units;

use super::absolute::path as absolute;
use super::error::Error;
use super::format::shown;

/// What of a file has to stay as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::ops) enum Compare {
    /// Everything: which file it is, its length, its time of change, its first sector.
    Content,
    /// Which file it is and its first sector: a process may be writing the rest.
    Header,
    /// Which file it is and its length: a raw image that a process may be writing.
    Length,
    /// Which file it is: whatever its content has become, what is done holds for it.
    Identity,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Precondition {
    path: PathBuf,
    #[serde(rename = "watch")]
    compare: Compare,
    /// None: there was no file of that name.
    was: Option<FileVersion>,
}

/// Which file it was, and as good as its generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ops) struct FileVersion {
    id: FileId,
    len: u64,
    modified: SystemTime,
    /// Of the first sector; none if it cannot be read.
    header: Option<u64>,
}

impl FileVersion {
    /// The file of this name as it is now.
    ///
    /// # Errors
    /// The system's, if it cannot be looked at.
    pub(in crate::ops) fn now(host: &dyn Host, path: &Path) -> io::Result<Self> {
        look(host, path, Compare::Content)
    }

    /// Whether it is the same file, whatever was written into it.
    pub(in crate::ops) fn is_same_file(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Whether it has the length and the first sector of the other: where a disk has another number since, no file
    /// is known by its own.
    pub(in crate::ops) fn is_alike(&self, other: &Self) -> bool {
        (self.len, self.header) == (other.len, other.header)
    }

    /// When it was last written.
    pub(in crate::ops) fn modified(&self) -> SystemTime {
        self.modified
    }
}

/// The files a plan rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ops) struct Preconditions(Vec<Precondition>);

impl Preconditions {
    /// Remembers what the file is now.
    ///
    /// # Errors
    /// The system's, if the file cannot be looked at.
    pub(in crate::ops) fn add(
        &mut self,
        host: &dyn Host,
        path: &Path,
        compare: Compare,
    ) -> io::Result<()> {
        let was = Some(look(host, path, compare)?);
        self.0.push(Precondition {
            path: path.to_path_buf(),
            compare,
            was,
        });
        Ok(())
    }

    /// Remembers that there is no file of this name.
    pub(in crate::ops) fn add_absent(&mut self, path: &Path) {
        self.0.push(Precondition {
            path: path.to_path_buf(),
            compare: Compare::Content,
            was: None,
        });
    }

    /// Remembers what others remembered as well.
    pub(in crate::ops) fn join(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    /// The files.
    pub(in crate::ops) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|one| one.path.as_path())
    }

    /// Remembers each file as it is now, and that those which are not there are not.
    pub(in crate::ops) fn of(host: &dyn Host, files: &[PathBuf]) -> Self {
        Self::comparing(host, files, Compare::Content)
    }

    /// The same where only this has to stay as it is.
    pub(in crate::ops) fn comparing(host: &dyn Host, files: &[PathBuf], compare: Compare) -> Self {
        let mut preconditions = Self::default();
        for path in files {
            if preconditions.add(host, path, compare).is_err() {
                preconditions.add_absent(path);
            }
        }
        preconditions
    }

    /// Where a file was as `before` remembers it, it is from now on to be as `after` does: what lies between
    /// was taken back.
    pub(in crate::ops) fn follow(&mut self, before: &Self, after: &Self) {
        let of = |preconditions: &Self, path: &Path| {
            let mut found = preconditions.0.iter().filter(|one| one.path == path);
            found.next().map(|one| one.was.clone())
        };
        for own in &mut self.0 {
            let (Some(before), Some(after)) = (of(before, &own.path), of(after, &own.path)) else {
                continue;
            };
            let is_same = match (&own.was, &before, own.compare) {
                (Some(was), Some(before), Compare::Identity) => was.id == before.id,
                (was, before, _) => was == before,
            };
            if is_same {
                own.was = after;
            }
        }
    }

    /// The same for files that have other names by now: those that are as `before` remembers them, by whatever
    /// name, are from now on to be as `after` does.
    pub(in crate::ops) fn follow_files(&mut self, before: &Self, after: &Self) {
        for own in &mut self.0 {
            let was_it = |one: &&Precondition| one.was.is_some() && one.was == own.was;
            let now = before.0.iter().find(was_it).and_then(|before| {
                let before = before.was.as_ref()?;
                let mut files = after.0.iter().filter_map(|one| one.was.as_ref());
                files.find(|after| before.is_same_file(after))
            });
            if let Some(now) = now {
                own.was = Some(now.clone());
            }
        }
    }

    /// What the file of this name was.
    pub(in crate::ops) fn version(&self, path: &Path) -> Option<&FileVersion> {
        let path = absolute(path);
        self.0.iter().find(|one| one.path == path)?.was.as_ref()
    }

    /// Whether one of the files, by whatever name, was just this.
    pub(in crate::ops) fn knows(&self, seen: &FileVersion) -> bool {
        self.0.iter().any(|one| one.was.as_ref() == Some(seen))
    }

    /// Whether a file of this name is there that was not.
    pub(in crate::ops) fn has_come(&self, host: &dyn Host, path: &Path) -> bool {
        let place = absolute(path);
        let was_absent = |one: &Precondition| one.path == place && one.was.is_none();
        self.0.iter().any(was_absent) && host.stat_link(path).is_ok()
    }

    /// The first file that is not what it was, if one is not.
    pub(in crate::ops) fn moved_on(&self, host: &dyn Host) -> Option<&Path> {
        self.0
            .iter()
            .find(|one| one.verify(host).is_err())
            .map(|one| one.path.as_path())
    }

    /// Compares with what is there now.
    pub(in crate::ops) fn verify(&self, host: &dyn Host) -> Result<(), Error> {
        self.0.iter().try_for_each(|one| one.verify(host))
    }
}

impl Precondition {
    fn verify(&self, host: &dyn Host) -> Result<(), Error> {
        let path = shown(&self.path);
        let Some(was) = &self.was else {
            return match host.stat_link(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Ok(_) => Err(Error::stale(format!(
                    "{path} has come into being since the plan was made: plan again"
                ))),
                Err(error) => Err(Error::stale(format!(
                    "{path} cannot be looked at any more: {error}",
                    error = io_text(&error)
                ))),
            };
        };
        let now = look(host, &self.path, self.compare).map_err(|error| {
            Error::stale(if error.kind() == io::ErrorKind::NotFound {
                format!("{path} is gone since the plan was made: plan again")
            } else {
                format!(
                    "{path} cannot be looked at any more: {error}",
                    error = io_text(&error)
                )
            })
        })?;
        let same = now.id == was.id
            && match self.compare {
                Compare::Content => now == *was,
                Compare::Header => now.header == was.header,
                Compare::Length => now.len == was.len,
                Compare::Identity => true,
            };
        if same {
            return Ok(());
        }
        Err(Error::stale(if now.id != was.id {
            format!("{path} is another file than when the plan was made: plan again")
        } else {
            let when = host
                .now()
                .duration_since(now.modified)
                .map_or_else(|_| String::new(), |ago| format!(" {} ago", units::ago(ago)));
            format!("{path} changed{when}, after the plan was made: plan again")
        }))
    }
}

fn look(host: &dyn Host, path: &Path, compare: Compare) -> io::Result<FileVersion> {
    let stat = host.stat(path)?;
    let header = match compare {
        Compare::Content | Compare::Header | Compare::Identity => first_sector(host, path, &stat),
        Compare::Length => None,
    };
    Ok(FileVersion {
        id: stat.id,
        len: stat.len,
        modified: stat.modified,
        header,
    })
}

/// A number that tells one first sector from another; no defence against somebody who forges one,
/// who could as well write the file after the comparison.
fn first_sector(host: &dyn Host, path: &Path, stat: &Stat) -> Option<u64> {
    if !matches!(stat.kind, FileKind::Regular | FileKind::BlockDevice) {
        return None;
    }
    let file = host.open(path, Access::Read).ok()?;
    let mut sector = [0; 512];
    let read = file.read_at(&mut sector, 0).ok()?;
    // FNV-1a: the number is kept from run to run, so it has to be the same in all of them.
    let hash = sector
        .get(..read)?
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use std::fs;

    fn stale(preconditions: &Preconditions) -> String {
        match preconditions.verify(&RealHost) {
            Err(Error::Stale(report)) => report.text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_file_that_is_followed_may_be_another_one_since() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["a", "b", "c"].map(|name| dir.path().join(name));
        let [a, b, moved] = &names;
        fs::write(a, b"one").unwrap();
        fs::write(b, b"two").unwrap();
        let of = |path: &PathBuf| Preconditions::of(&RealHost, std::slice::from_ref(path));
        let mut own = of(a);
        own.join(&of(b));
        let (before, unknown) = (of(a), own.clone());
        // Both are written, and only of the one that is followed it is known.
        fs::write(a, b"more than one").unwrap();
        fs::write(b, b"more than two").unwrap();
        let mut followed = own.clone();
        followed.follow_files(&before, &of(a));
        assert!(stale(&followed).contains("/b"), "{}", stale(&followed));
        fs::rename(a, moved).unwrap();
        own.follow_files(&before, &of(moved));
        assert_eq!(own.0[0].was, of(moved).0[0].was);
        assert_eq!(own.0[1], unknown.0[1]);
    }

    #[test]
    fn a_file_that_stays_as_it_is_passes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"one").unwrap();
        let mut preconditions = Preconditions::default();
        preconditions
            .add(&RealHost, &path, Compare::Content)
            .unwrap();
        preconditions.add_absent(&dir.path().join("b"));
        preconditions.verify(&RealHost).unwrap();
    }

    #[test]
    fn a_changed_a_replaced_and_a_vanished_file_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"one").unwrap();
        let mut preconditions = Preconditions::default();
        preconditions
            .add(&RealHost, &path, Compare::Content)
            .unwrap();
        fs::write(&path, b"two!").unwrap();
        assert!(
            stale(&preconditions).contains("changed"),
            "{}",
            stale(&preconditions)
        );
        let other = dir.path().join("b");
        fs::write(&other, b"one").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(stale(&preconditions).contains("another file"));
        fs::remove_file(&path).unwrap();
        assert!(stale(&preconditions).contains("is gone"));
    }

    #[test]
    fn a_name_that_was_free_and_is_taken_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let mut preconditions = Preconditions::default();
        preconditions.add_absent(&path);
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(stale(&preconditions).contains("come into being"));
    }

    #[test]
    fn a_base_that_a_guest_writes_may_change_behind_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, vec![7; 4096]).unwrap();
        let mut preconditions = Preconditions::default();
        preconditions
            .add(&RealHost, &path, Compare::Header)
            .unwrap();
        let mut bytes = vec![7; 8192];
        bytes[3000] = 1;
        fs::write(&path, &bytes).unwrap();
        preconditions.verify(&RealHost).unwrap();
        bytes[10] = 1;
        fs::write(&path, &bytes).unwrap();
        assert!(stale(&preconditions).contains("changed"));
    }
}
