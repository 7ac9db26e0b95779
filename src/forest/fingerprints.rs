//! What images that others are built on looked like when they were seen first as such. An overlay fits only what its
//! base was when it was made: a base that is another one since then is told by its time and length, and by samples of
//! its bytes. What this program itself changes keeps the overlays as they are, and is noted anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::{Access, FileKind, Host, Stat};

use super::absolute_names::AbsoluteNames;
use super::index::Index;
use super::state_file::{Name, StateFile, write_line};
use super::{ChangedBase, Forest, Node, NodeId};

/// So many bases are remembered at most; the ones noted longest ago are forgotten first.
const MAX_ENTRIES: usize = 100_000;
/// So many bytes of the file are read at most.
const MAX_BYTES: u64 = 64 << 20;
/// So many pieces of a file are compared.
const SAMPLES: u64 = 8;
/// Bytes of each of them.
const SAMPLE: u64 = 4 << 10;

/// What is remembered of bases: a file of one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprints {
    file: StateFile,
    /// What is built on a base in folders that nobody looks into now.
    index: Index,
}

/// What a base looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    length: u64,
    /// Time of its last change, since 1970.
    modified: Duration,
    /// A digest of samples of its bytes; none where it could not be read.
    samples: Option<String>,
    /// When this was noted, in seconds since 1970.
    noted: u64,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    path: Name,
    length: u64,
    seconds: u64,
    nanoseconds: u32,
    samples: Option<String>,
    noted: u64,
}

type Entries = BTreeMap<PathBuf, Fingerprint>;

impl Fingerprints {
    /// Those kept in the directory `dir`, which need not exist yet.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            index: Index::at(&dir),
            file: StateFile::at(dir, "bases"),
        }
    }

    /// The file itself, for messages.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.file.path()
    }

    /// Notes the bases of a forest that are met for the first time, and forgets those that nothing is built on any
    /// more, as far as the index knows of other folders: they may be changed. What is noted stays where a base is another one now, as long as an overlay is there
    /// that was made before.
    ///
    /// # Errors
    /// The system's own; `WouldBlock` if another run holds the file for seconds.
    pub fn merge(&self, host: &dyn Host, forest: &Forest) -> io::Result<()> {
        let known = self.all()?;
        let mut names = AbsoluteNames::new(host);
        let (mut new, mut gone) = (Entries::new(), BTreeSet::new());
        for node in forest.nodes().filter(|node| node.location.is_met()) {
            let Some((stat, path)) =
                regular(node).and_then(|stat| Some((stat, place(host, &mut names, node)?)))
            else {
                continue;
            };
            let entry = known.get(&path);
            if !has_overlays(forest, node) {
                gone.extend(entry.map(|_| path));
                continue;
            }
            let stays = entry.is_some_and(|entry| {
                entry.is_of(stat) || !affected(host, forest, node, stat).is_empty()
            });
            // Whoever writes it now is told of as such.
            if !stays && node.holders.iter().all(|holder| !holder.writes) {
                new.insert(path, Fingerprint::of(host, &node.path, stat));
            }
        }
        if !gone.is_empty() {
            for overlay in self.index.known_overlays_of(&gone)? {
                gone.remove(&overlay.backing);
            }
        }
        self.change(new, &gone)
    }

    /// Those of these files, links followed, that are noted and are no longer what they were.
    ///
    /// # Errors
    /// The system's own, if what is noted is there and cannot be read.
    pub fn differing<'p>(
        &self,
        host: &dyn Host,
        files: impl IntoIterator<Item = &'p Path>,
    ) -> io::Result<BTreeSet<PathBuf>> {
        let known = self.all()?;
        if known.is_empty() {
            return Ok(BTreeSet::new());
        }
        let places = files
            .into_iter()
            .filter_map(|file| host.canonical(file).ok());
        let differs = |path: &PathBuf| {
            let noted = known.get(path);
            noted.is_some_and(|noted| host.stat(path).is_ok_and(|stat| !noted.is_of(&stat)))
        };
        Ok(places.filter(differs).collect())
    }

    /// Notes these files as they are now, those of them that are noted already: overlays fit them.
    ///
    /// # Errors
    /// As [`Fingerprints::merge`].
    pub fn renew<'p>(
        &self,
        host: &dyn Host,
        files: impl IntoIterator<Item = &'p Path>,
    ) -> io::Result<Vec<PathBuf>> {
        let known = self.all()?;
        let mut new = Entries::new();
        for file in files {
            let Some(path) = host
                .canonical(file)
                .ok()
                .filter(|it| known.contains_key(it))
            else {
                continue;
            };
            if let Ok(stat) = host.stat(&path) {
                let now = Fingerprint::of(host, &path, &stat);
                new.insert(path, now);
            }
        }
        let renewed = new.keys().cloned().collect();
        self.change(new, &BTreeSet::new())?;
        Ok(renewed)
    }

    /// The bases of a forest that were changed under what is built on them.
    ///
    /// # Errors
    /// The system's own, if the file is there and cannot be read.
    pub fn changed(&self, host: &dyn Host, forest: &Forest) -> io::Result<Vec<ChangedBase>> {
        let known = self.all()?;
        let mut changed = Vec::new();
        if known.is_empty() {
            return Ok(changed);
        }
        let mut names = AbsoluteNames::new(host);
        for node in forest.nodes().filter(|node| has_overlays(forest, node)) {
            let Some((stat, path)) =
                regular(node).and_then(|stat| Some((stat, place(host, &mut names, node)?)))
            else {
                continue;
            };
            let Some(then) = known.get(&path).filter(|then| !then.is_of(stat)) else {
                continue;
            };
            let affected = affected(host, forest, node, stat).into_iter();
            let affected: Vec<PathBuf> = affected
                .filter_map(|id| Some(forest.get(id)?.path.clone()))
                .collect();
            if affected.is_empty() {
                continue;
            }
            let now = Fingerprint::of(host, &node.path, stat);
            changed.push(ChangedBase {
                base: node.path.clone(),
                noted: UNIX_EPOCH + Duration::from_secs(then.noted),
                modified: stat.modified,
                bytes_differ: then.samples.is_some() && then.samples != now.samples,
                lengths: (then.length != now.length).then_some((then.length, now.length)),
                affected,
            });
        }
        Ok(changed)
    }

    fn all(&self) -> io::Result<Entries> {
        let file = match File::open(self.file.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
            Err(error) => return Err(error),
        };
        let mut lines = BufReader::new(file.take(MAX_BYTES)).split(b'\n');
        let mut entries = Entries::new();
        while let Some(line) = lines.next().transpose()? {
            // What cannot be right is passed over.
            entries.extend(entry(&line));
        }
        Ok(entries)
    }

    fn change(&self, new: Entries, gone: &BTreeSet<PathBuf>) -> io::Result<()> {
        if new.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let _lock = self.file.lock()?;
        let mut entries: Vec<(PathBuf, Fingerprint)> = self.all()?.into_iter().collect();
        entries.retain(|(path, _)| !gone.contains(path) && !new.contains_key(path));
        entries.extend(new);
        let surplus = entries.len().saturating_sub(MAX_ENTRIES);
        entries.sort_by_key(|(_, entry)| entry.noted);
        entries.drain(..surplus);
        self.file.replace(|out| {
            entries.iter().try_for_each(|(path, entry)| {
                let line = Line {
                    path: path.as_path().into(),
                    length: entry.length,
                    seconds: entry.modified.as_secs(),
                    nanoseconds: entry.modified.subsec_nanos(),
                    samples: entry.samples.clone(),
                    noted: entry.noted,
                };
                write_line(out, &line)
            })
        })
    }
}

fn entry(line: &[u8]) -> Option<(PathBuf, Fingerprint)> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let path = PathBuf::from(line.path);
    let entry = Fingerprint {
        length: line.length,
        modified: Duration::from_secs(line.seconds)
            .checked_add(Duration::from_nanos(u64::from(line.nanoseconds)))?,
        samples: line.samples,
        noted: line.noted,
    };
    // A time that no clock can show is none.
    UNIX_EPOCH.checked_add(Duration::from_secs(line.noted))?;
    path.is_absolute().then_some((path, entry))
}

fn regular(node: &Node) -> Option<&Stat> {
    node.stat
        .as_ref()
        .filter(|stat| stat.kind == FileKind::Regular)
}

fn has_overlays(forest: &Forest, node: &Node) -> bool {
    let mut above = node.children.iter().filter_map(|id| forest.get(*id));
    above.any(|overlay| !overlay.is_in_trash())
}

/// What is built on the base and was there when it was changed; where the filesystem does not tell when a file was
/// made, all.
fn affected(host: &dyn Host, forest: &Forest, base: &Node, now: &Stat) -> Vec<NodeId> {
    let mut above = forest.descendants(base.id);
    above.retain(|id| {
        let overlay = forest.get(*id).filter(|node| !node.is_in_trash());
        overlay.is_some_and(|overlay| {
            let born = host.born(&overlay.path).ok().flatten();
            born.is_none_or(|born| born <= now.modified)
        })
    });
    above
}

impl Fingerprint {
    fn of(host: &dyn Host, path: &Path, stat: &Stat) -> Self {
        Self {
            length: stat.len,
            modified: since_epoch(stat.modified),
            samples: sampled(host, path, stat.len).ok(),
            noted: since_epoch(host.now()).as_secs(),
        }
    }

    /// Whether a file is as it was, as far as its time and length tell.
    fn is_of(&self, stat: &Stat) -> bool {
        self.length == stat.len && self.modified == since_epoch(stat.modified)
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A digest of pieces that are spread over the file evenly, the first and the last among them: of equal files it is the
/// same, and of others most often another one.
///
/// # Errors
/// The system's own.
pub fn sampled(host: &dyn Host, path: &Path, length: u64) -> io::Result<String> {
    let file = host.open(path, Access::Read)?;
    let mut digest = Sha256::new();
    let mut buf = vec![0; usize::try_from(SAMPLE).unwrap_or_default()];
    let last = length.saturating_sub(SAMPLE);
    for i in 0..SAMPLES {
        let at = last / (SAMPLES - 1) * i;
        let at = if i + 1 == SAMPLES { last } else { at };
        let read = file.read_at(&mut buf, at)?;
        digest.update(buf.get(..read).unwrap_or_default());
    }
    let digest = digest.finalize();
    Ok(digest.iter().take(16).map(|b| format!("{b:02x}")).collect())
}

/// The name by which an image is remembered: it is the file itself that counts, links followed.
fn place(host: &dyn Host, names: &mut AbsoluteNames<'_>, node: &Node) -> Option<PathBuf> {
    match node.symlink {
        true => host.canonical(&node.path).ok(),
        false => names.of(&node.path),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes, OpenOptions};
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    use super::*;
    use crate::forest::scan::tests::image;
    use crate::forest::{ScanOptions, scan_all};
    use crate::host::RealHost;

    /// A base with one overlay, both noted.
    fn noted() -> (tempfile::TempDir, Fingerprints) {
        let dir = tempfile::tempdir().unwrap();
        image(&dir.path().join("vm/base"), None);
        image(&dir.path().join("vm/over"), Some(("base", Some("qcow2"))));
        let state = Fingerprints::at(dir.path().join("state"));
        merge(&state, dir.path());
        later();
        (dir, state)
    }

    fn scanned(dir: &Path) -> Forest {
        let options = ScanOptions {
            roots: vec![dir.join("vm")],
            ..ScanOptions::default()
        };
        scan_all(Arc::new(RealHost), options).0
    }

    fn merge(state: &Fingerprints, dir: &Path) {
        state.merge(&RealHost, &scanned(dir)).unwrap();
    }

    /// The names of what is told of, by base.
    fn changed(state: &Fingerprints, dir: &Path) -> Vec<(String, Vec<String>, bool)> {
        let forest = scanned(dir);
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let changed = state.changed(&RealHost, &forest).unwrap();
        changed
            .iter()
            .map(|one| {
                let affected = one.affected.iter().map(name).collect();
                (name(&one.base), affected, one.bytes_differ)
            })
            .collect()
    }

    fn write(path: &Path, byte: u8) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        // Beside the header, so that it is still an image.
        let end = file.metadata().unwrap().len();
        file.write_all_at(&[byte], end - 1).unwrap();
    }

    fn later() {
        // Times of files have the grain of the kernel's clock.
        std::thread::sleep(Duration::from_millis(20));
    }

    fn one(bytes_differ: bool) -> Vec<(String, Vec<String>, bool)> {
        vec![("base".to_owned(), vec!["over".to_owned()], bytes_differ)]
    }

    #[test]
    fn a_base_that_is_written_is_told_until_it_is_accepted() {
        let (dir, state) = noted();
        let base = dir.path().join("vm/base");
        assert_eq!(changed(&state, dir.path()), []);
        write(&base, 0x5a);
        assert_eq!(changed(&state, dir.path()), one(true));
        // Looking again takes nothing back.
        merge(&state, dir.path());
        assert_eq!(changed(&state, dir.path()), one(true));
        let accepted = state.renew(&RealHost, [&*base, Path::new("/no-such")]);
        assert_eq!(accepted.unwrap(), [base.canonicalize().unwrap()]);
        assert_eq!(changed(&state, dir.path()), []);
    }

    #[test]
    fn a_base_that_was_only_touched_is_told_with_less() {
        let (dir, state) = noted();
        let base = fs::File::open(dir.path().join("vm/base")).unwrap();
        let now = FileTimes::new().set_modified(SystemTime::now());
        base.set_times(now).unwrap();
        assert_eq!(changed(&state, dir.path()), one(false));
    }

    #[test]
    fn what_is_made_after_a_change_fits_its_base() {
        let (dir, state) = noted();
        write(&dir.path().join("vm/base"), 0x5a);
        later();
        image(&dir.path().join("vm/new"), Some(("base", Some("qcow2"))));
        image(&dir.path().join("vm/newer"), Some(("over", Some("qcow2"))));
        assert_eq!(changed(&state, dir.path()), one(true));
        fs::remove_file(dir.path().join("vm/over")).unwrap();
        fs::remove_file(dir.path().join("vm/newer")).unwrap();
        assert_eq!(changed(&state, dir.path()), []);
        // It is noted as it is now: another change is one under the new overlay.
        merge(&state, dir.path());
        later();
        write(&dir.path().join("vm/base"), 0x5b);
        let told = changed(&state, dir.path());
        assert_eq!(told[0].1, ["new"]);
    }

    #[test]
    fn a_base_that_nothing_is_built_on_may_be_changed() {
        let (dir, state) = noted();
        fs::remove_file(dir.path().join("vm/over")).unwrap();
        merge(&state, dir.path());
        write(&dir.path().join("vm/base"), 0x5a);
        image(&dir.path().join("vm/over"), Some(("base", Some("qcow2"))));
        assert_eq!(changed(&state, dir.path()), []);
    }

    #[test]
    fn lines_that_cannot_be_right_are_passed_over() {
        let (dir, state) = noted();
        let mut text = fs::read_to_string(state.file()).unwrap();
        let good = text.clone();
        text.push_str(
            "{\"path\": \"a\"}\nno json\n{\"path\":\"/a\",\"length\":1,\"seconds\":18446744073709551615,\
             \"nanoseconds\":4294967295,\"samples\":null,\"noted\":18446744073709551615}\n",
        );
        fs::write(state.file(), text).unwrap();
        assert_eq!(changed(&state, dir.path()), []);
        write(&dir.path().join("vm/base"), 0x5a);
        state
            .renew(&RealHost, [&*dir.path().join("vm/base")])
            .unwrap();
        let now = fs::read_to_string(state.file()).unwrap();
        assert_eq!(now.lines().count(), good.lines().count());
    }

    #[test]
    fn a_base_whose_overlays_lie_elsewhere_is_not_forgotten() {
        let (dir, state) = noted();
        let far = dir.path().join("far/over");
        image(&far, Some(("../vm/base", Some("qcow2"))));
        fs::remove_file(dir.path().join("vm/over")).unwrap();
        let both = ScanOptions {
            roots: vec![dir.path().join("vm"), dir.path().join("far")],
            ..ScanOptions::default()
        };
        let scan = || scan_all(Arc::new(RealHost), both.clone()).0;
        let index = Index::at(dir.path().join("state"));
        index.merge(&RealHost, &scan()).unwrap();
        merge(&state, dir.path());
        later();
        write(&dir.path().join("vm/base"), 0x5a);
        merge(&state, dir.path());
        let told = state.changed(&RealHost, &scan()).unwrap();
        assert_eq!(told[0].affected.len(), 1);
    }
}
