//! What earlier scans have seen: every image that was built on another one, wherever it lay. A base
//! can thus be asked who is built on it beyond the directories scanned today. Only a memory: each
//! entry is looked at again before it counts.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use etcetera::BaseStrategy;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::host::{FileKind, Host};

use super::scan::{Looker, ScanOptions, Visit, Why};
use super::{Content, Forest, Found, Whereabouts};

/// The index of all images ever seen that are built on another one: a file of one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    dir: PathBuf,
}

/// One image that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Remembered {
    /// Where it lay: an absolute path, links in its directory resolved.
    pub path: PathBuf,
    /// What it was built on: likewise, as far as it was there.
    pub backing: PathBuf,
}

/// So many images are remembered at most; the ones seen longest ago are forgotten first.
const MAX_ENTRIES: usize = 100_000;
/// So many bytes of the file are read at most.
const MAX_BYTES: u64 = 64 << 20;
/// How long another run that holds the index is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    path: Name,
    backing: Name,
}

/// A path in JSON: text where it is text, otherwise its bytes.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&Path> for Name {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }
}

impl From<Name> for PathBuf {
    fn from(name: Name) -> Self {
        match name {
            Name::Text(text) => Self::from(text),
            Name::Bytes(bytes) => Self::from(OsString::from_vec(bytes)),
        }
    }
}

impl Index {
    /// The index kept in the directory `dir`, which need not exist yet.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where this user's index is kept: `qanopy` in `$XDG_STATE_HOME` (`~/.local/state`). None if
    /// there is no home directory.
    #[must_use]
    pub fn default_dir() -> Option<PathBuf> {
        let base = etcetera::base_strategy::Xdg::new().ok()?;
        Some(base.state_dir()?.join("qanopy"))
    }

    /// The file itself, for messages.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.join("index.jsonl")
    }

    /// Everything remembered, seen longest ago first. Lines that cannot be right are passed over.
    ///
    /// # Errors
    /// The system's own, if the file is there and cannot be read.
    pub fn all(&self) -> io::Result<Vec<Remembered>> {
        let file = match File::open(self.file()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for line in BufReader::new(file.take(MAX_BYTES)).split(b'\n') {
            let Ok(line) = serde_json::from_slice::<Line>(&line?) else {
                continue;
            };
            let entry = Remembered {
                path: line.path.into(),
                backing: line.backing.into(),
            };
            if entry.path.is_absolute() && entry.path.file_name().is_some() {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// The remembered images that were built on `base` (an absolute path, links resolved).
    ///
    /// # Errors
    /// As [`Index::all`].
    pub fn known_overlays_of(&self, base: &Path) -> io::Result<Vec<Remembered>> {
        let mut entries = self.all()?;
        entries.retain(|entry| entry.backing == base);
        Ok(entries)
    }

    /// Remembers the images of a forest that are built on others, and forgets those of its images
    /// that no longer are. The file is replaced in one step, and left alone if nothing changed.
    ///
    /// # Errors
    /// The system's own; `WouldBlock` if another run holds the index for seconds.
    pub fn merge(&self, host: &dyn Host, forest: &Forest) -> io::Result<()> {
        let mut directories = HashMap::new();
        let mut absolute = |path: &Path| {
            let (directory, name) = (path.parent()?, path.file_name()?);
            let directory = match directory.as_os_str().is_empty() {
                true => Path::new("."),
                false => directory,
            };
            let canonical = directories
                .entry(directory.to_path_buf())
                .or_insert_with(|| host.canonical(directory).ok());
            match canonical {
                Some(canonical) => Some(canonical.join(name)),
                None => std::path::absolute(path).ok(),
            }
        };
        let mut seen = Vec::new();
        let mut scanned = HashSet::new();
        for node in forest.nodes() {
            if node.whereabouts != Whereabouts::Scanned {
                continue;
            }
            let Some(path) = absolute(&node.path) else {
                continue;
            };
            if let Some(backing) = forest.leads_to(node).and_then(&mut absolute) {
                seen.push(Remembered {
                    path: path.clone(),
                    backing,
                });
            }
            scanned.insert(path);
        }
        self.change(|entries| {
            let known: HashSet<&Remembered> = entries.iter().collect();
            let news = seen.iter().any(|entry| !known.contains(entry));
            let seen_paths: HashSet<&Path> =
                seen.iter().map(|entry| entry.path.as_path()).collect();
            let olds = entries.iter().any(|entry| {
                scanned.contains(&entry.path) && !seen_paths.contains(entry.path.as_path())
            });
            if news || olds {
                entries.retain(|entry| !scanned.contains(&entry.path));
                entries.append(&mut seen);
                true
            } else {
                false
            }
        })
    }

    /// Looks again at every remembered image that is not below `scanned` (directories that were just
    /// scanned), so that it can be added to a forest. Images that went, or are built on nothing any
    /// more, are forgotten; where the whole directory is not there (a disk that is not mounted) the
    /// entry stays.
    ///
    /// # Errors
    /// As [`Index::all`]. That the shortened index could not be written is no error here.
    pub fn recheck(&self, host: &Arc<dyn Host>, scanned: &[PathBuf]) -> io::Result<Vec<Found>> {
        let scanned: Vec<PathBuf> = scanned
            .iter()
            .filter_map(|dir| host.canonical(dir).ok())
            .collect();
        let looker = Looker::new(host.clone(), &ScanOptions::default());
        let mut found = Vec::new();
        let mut gone = HashSet::new();
        for entry in self.all()? {
            if scanned.iter().any(|dir| entry.path.starts_with(dir)) {
                continue;
            }
            match look(&looker, &entry.path) {
                Seen::Image(find) => found.push(*find),
                Seen::Gone => {
                    gone.insert(entry.path);
                }
                Seen::Nothing => {}
            }
        }
        if !gone.is_empty() {
            // A memory that is too long does no harm: each entry is looked at again.
            let _ = self.change(|entries| {
                entries.retain(|entry| !gone.contains(&entry.path));
                true
            });
        }
        Ok(found)
    }

    /// The remembered images that are built on one of `bases` (absolute paths, links in the directory resolved),
    /// as they are now. Others are not looked at, and nothing is forgotten.
    ///
    /// # Errors
    /// As [`Index::all`].
    pub fn built_on(
        &self,
        host: &Arc<dyn Host>,
        bases: &BTreeSet<PathBuf>,
    ) -> io::Result<Vec<Found>> {
        let looker = Looker::new(host.clone(), &ScanOptions::default());
        let entries = self.all()?.into_iter();
        let built_on = entries.filter(|entry| bases.contains(&entry.backing));
        let seen = built_on.map(|entry| look(&looker, &entry.path));
        Ok(seen
            .filter_map(|seen| match seen {
                Seen::Image(find) => Some(*find),
                Seen::Gone | Seen::Nothing => None,
            })
            .collect())
    }

    /// Reads, changes and replaces the file while no other run does; `change` says whether there is
    /// anything to write.
    fn change(&self, change: impl FnOnce(&mut Vec<Remembered>) -> bool) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.dir.join("index.lock"))?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        while let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK || Instant::now() > deadline {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut entries = self.all()?;
        if !change(&mut entries) {
            return Ok(());
        }
        let surplus = entries.len().saturating_sub(MAX_ENTRIES);
        let new = self.dir.join("index.jsonl.new");
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)?;
        let mut out = BufWriter::new(file);
        for entry in entries.iter().skip(surplus) {
            let line = Line {
                path: entry.path.as_path().into(),
                backing: entry.backing.as_path().into(),
            };
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
        }
        out.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&new, self.file())?;
        File::open(&self.dir)?.sync_all()
    }
}

/// What became of a remembered image.
enum Seen {
    /// It is there, and built on another one, or cannot be read.
    Image(Box<Found>),
    /// It went, or is built on nothing any more.
    Gone,
    /// Nobody can tell: its folder is not there either.
    Nothing,
}

/// Looks at a remembered image.
fn look(looker: &Looker, path: &Path) -> Seen {
    let symlink = match looker.host().stat_link(path) {
        Ok(stat) => stat.kind == FileKind::Symlink,
        Err(error) => {
            let directory = path.parent();
            let is_there = directory.is_some_and(|dir| looker.host().stat(dir).is_ok());
            return match error.kind() == io::ErrorKind::NotFound && is_there {
                true => Seen::Gone,
                false => Seen::Nothing,
            };
        }
    };
    let visit = Visit::new(path.to_path_buf(), symlink, Why::Given);
    match looker.look(&visit) {
        Some(find) if find.backing.is_some() => Seen::Image(Box::new(find)),
        Some(find) if matches!(find.content, Content::Unreadable(_)) => Seen::Image(Box::new(find)),
        _ => Seen::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::scan::tests::image;
    use crate::forest::scan_all;
    use crate::host::RealHost;

    fn scanned(dir: &Path) -> Forest {
        let options = ScanOptions {
            roots: vec![dir.to_path_buf()],
            ..ScanOptions::default()
        };
        scan_all(Arc::new(RealHost), options).0
    }

    #[test]
    fn an_overlay_seen_once_is_found_again_from_its_base() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let index = Index::at(root.join("state/qanopy"));
        let host: Arc<dyn Host> = Arc::new(RealHost);
        image(&root.join("base/base"), None);
        image(
            &root.join("far/over"),
            Some(("../base/base", Some("qcow2"))),
        );
        image(&root.join("far/second"), Some(("over", Some("qcow2"))));
        assert_eq!(index.all().unwrap(), []);
        index
            .merge(host.as_ref(), &scanned(&root.join("far")))
            .unwrap();
        let known = index.known_overlays_of(&root.join("base/base")).unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].path, root.join("far/over"));

        let mut forest = scanned(&root.join("base"));
        forest.extend(index.recheck(&host, &[root.join("base")]).unwrap());
        let base = forest.by_path(&root.join("base/base")).unwrap().id;
        assert_eq!(forest.descendants(base).len(), 2);
        assert!(
            index
                .recheck(&host, std::slice::from_ref(&root))
                .unwrap()
                .is_empty()
        );

        fs::remove_file(root.join("far/second")).unwrap();
        image(&root.join("far/over"), None);
        assert!(
            index
                .recheck(&host, &[root.join("base")])
                .unwrap()
                .is_empty()
        );
        assert_eq!(index.all().unwrap(), []);
    }

    #[test]
    fn what_a_scan_sees_replaces_what_was_remembered_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let index = Index::at(root.join("state"));
        image(&root.join("vm/over"), Some(("base", Some("qcow2"))));
        index.merge(&RealHost, &scanned(&root.join("vm"))).unwrap();
        let before = fs::metadata(index.file()).unwrap().modified().unwrap();
        index.merge(&RealHost, &scanned(&root.join("vm"))).unwrap();
        assert_eq!(
            fs::metadata(index.file()).unwrap().modified().unwrap(),
            before
        );
        image(&root.join("vm/over"), Some(("other", Some("qcow2"))));
        index.merge(&RealHost, &scanned(&root.join("vm"))).unwrap();
        assert_eq!(index.all().unwrap()[0].backing, root.join("vm/other"));
        assert_eq!(index.all().unwrap().len(), 1);
    }

    #[test]
    fn lines_that_cannot_be_right_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::at(dir.path());
        let bytes = b"nonsense\n{\"path\":\"/a\",\"backing\":\"/b\"}\n\xff\xfe\n{\"path\":\"rel\",\
            \"backing\":\"/b\"}\n{\"path\":[47,255],\"backing\":\"/b\"}\n{\"path\":\"/c";
        fs::write(index.file(), bytes).unwrap();
        let all = index.all().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].path, Path::new("/a"));
        assert_eq!(all[1].path.as_os_str().as_bytes(), b"/\xff");
    }

    #[test]
    fn a_disk_that_is_not_mounted_is_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::at(dir.path());
        fs::write(
            index.file(),
            "{\"path\":\"/no/such/dir/x\",\"backing\":\"/b\"}\n",
        )
        .unwrap();
        let host: Arc<dyn Host> = Arc::new(RealHost);
        assert!(index.recheck(&host, &[]).unwrap().is_empty());
        assert_eq!(index.all().unwrap().len(), 1);
    }
}
