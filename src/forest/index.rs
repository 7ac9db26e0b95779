//! What earlier scans have seen: every image that was built on another one, wherever it lay. A base
//! can thus be asked who is built on it beyond the directories scanned today. Only a memory: each
//! entry is looked at again before it counts.
//!
//! The file is ordered by base, so that what is built on a few images is found among many thousands without
//! reading them; where something in it is not as it should be, all of it is read.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};

use crate::host::{FileKind, Host, confined_to};
use crate::image::{TRASH_FOLDER, foreign_trash, is_trashed};

use super::absolute_names::AbsoluteNames;
use super::scan::{Looker, ScanOptions, Visit, Why};
use super::state_file::{Name, StateFile, write_line};
use super::trash_folder::trash_folder_of;
use super::{Content, Forest, Node, ScannedFile};

/// The index of all images ever seen that are built on another one: a file of one JSON object a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    file: StateFile,
}

/// One image that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Remembered {
    /// Where it lay: an absolute path, links in its directory resolved.
    pub path: PathBuf,
    /// What it was built on: likewise, as far as it was there.
    pub backing: PathBuf,
    /// When it was seen last, in seconds since 1970.
    pub seen: u64,
}

impl Remembered {
    /// Where it lay, and what it was built on.
    fn names(&self) -> (&Path, &Path) {
        (&self.path, &self.backing)
    }
}

/// So many images are remembered at most; the ones seen longest ago are forgotten first.
const MAX_ENTRIES: usize = 100_000;
/// So many bytes of the file are read at most.
const MAX_BYTES: u64 = 64 << 20;
/// With so many bases asked about at most the index is searched rather than read.
const FEW: usize = 256;
/// A line is no longer than this: two paths, each byte of which takes four.
const MAX_LINE: usize = 64 << 10;
/// So much is read at a time where the index is searched.
const PIECE: usize = 4 << 10;
/// The first line of an index that is ordered by base.
const ORDERED: &[u8] = b"{\"ordered-by\":\"backing\"}\n";

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    path: Name,
    backing: Name,
    #[serde(default)]
    seen: u64,
}

impl Index {
    /// The index kept in the directory `dir`, which need not exist yet.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            file: StateFile::at(dir, "index"),
        }
    }

    /// Where this user's index is kept: `qanopy` in `$XDG_STATE_HOME` (`~/.local/state`). None if
    /// there is no home directory, or if this process may look at one folder only.
    #[must_use]
    pub fn default_dir() -> Option<PathBuf> {
        if confined_to().is_some() {
            return None;
        }
        let base = etcetera::base_strategy::Xdg::new().ok()?;
        Some(base.state_dir()?.join("qanopy"))
    }

    /// The file itself, for messages.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.file.path()
    }

    /// Everything remembered, ordered by base. Lines that cannot be right are passed over.
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
            entries.extend(entry(&line?));
        }
        entries.sort_by(|a, b| (&a.backing, &a.path).cmp(&(&b.backing, &b.path)));
        Ok(entries)
    }

    /// The remembered images that were built on one of `bases` (absolute paths, links in the directory
    /// resolved).
    ///
    /// # Errors
    /// As [`Index::all`].
    pub(super) fn known_overlays_of(
        &self,
        bases: &BTreeSet<PathBuf>,
    ) -> io::Result<Vec<Remembered>> {
        if bases.len() <= FEW
            && let Some(found) = self.search(bases)?
        {
            return Ok(found);
        }
        let mut entries = self.all()?;
        entries.retain(|entry| bases.contains(&entry.backing));
        Ok(entries)
    }

    /// The same without reading everything; none where the file is not ordered.
    fn search(&self, bases: &BTreeSet<PathBuf>) -> io::Result<Option<Vec<Remembered>>> {
        let file = match File::open(self.file()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Vec::new())),
            Err(error) => return Err(error),
        };
        let end = file.metadata()?.len();
        let mut first = [0; ORDERED.len()];
        let whole = file.read_at(&mut first, 0)? == ORDERED.len() && first == *ORDERED;
        if !whole || end > MAX_BYTES {
            return Ok(None);
        }
        let mut found = Vec::new();
        for base in bases {
            let Some(at) = first_on(&file, base, end)? else {
                return Ok(None);
            };
            let mut reader = BufReader::new(&file);
            reader.seek(io::SeekFrom::Start(at))?;
            for line in reader.take(MAX_BYTES).split(b'\n') {
                let Some(entry) = entry(&line?) else { continue };
                match entry.backing.as_path().cmp(base) {
                    Ordering::Less => {}
                    Ordering::Equal => found.push(entry),
                    Ordering::Greater => break,
                }
            }
        }
        Ok(Some(found))
    }

    /// Remembers the images of a forest that are built on others, and forgets those of its images
    /// that no longer are. The file is replaced in one step, and left alone if nothing changed.
    ///
    /// # Errors
    /// The system's own; `WouldBlock` if another run holds the index for seconds.
    pub fn merge(&self, host: &dyn Host, forest: &Forest) -> io::Result<()> {
        let mut names = AbsoluteNames::new(host);
        let mut absolute = |path: &Path| names.of(path);
        let now = host.now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let mut seen = Vec::new();
        let mut scanned = HashSet::new();
        let mut targets: HashMap<PathBuf, Option<PathBuf>> = HashMap::new();
        for node in forest.nodes() {
            if !node.location.is_met() {
                continue;
            }
            let Some(path) = absolute(&node.path) else {
                continue;
            };
            for (own, named) in forest.links(node) {
                let Some(own) = absolute(own) else { continue };
                // By the name it records, and by what that leads to: a link may stand between.
                let target = targets.entry(named.to_path_buf());
                let target = target.or_insert_with(|| host.canonical(named).ok()).clone();
                let names: BTreeSet<PathBuf> = absolute(named).into_iter().chain(target).collect();
                scanned.insert(own.clone());
                seen.extend(names.into_iter().map(|backing| Remembered {
                    path: own.clone(),
                    backing,
                    seen: now,
                }));
            }
            scanned.insert(path);
        }
        let bases: BTreeSet<PathBuf> = seen.iter().map(|entry| entry.backing.clone()).collect();
        if bases.len() <= FEW {
            // What is no longer so is forgotten when its base is asked about.
            let known = self.known_overlays_of(&bases)?;
            let known: HashSet<(&Path, &Path)> = known.iter().map(Remembered::names).collect();
            if seen.iter().all(|entry| known.contains(&entry.names())) {
                return Ok(());
            }
        }
        self.change(|entries| {
            let of_scanned = |entry: &&Remembered| scanned.contains(&entry.path);
            let of_scanned = entries.iter().filter(of_scanned);
            let known: HashSet<(&Path, &Path)> = of_scanned.map(Remembered::names).collect();
            let is_known = |entry: &Remembered| known.contains(&entry.names());
            if known.len() == seen.len() && seen.iter().all(is_known) {
                return false;
            }
            entries.retain(|entry| !scanned.contains(&entry.path));
            entries.append(&mut seen);
            true
        })
    }

    /// Looks again at the remembered images that are built on those of a forest, and on these in turn, as far
    /// as they are not below `scanned` (directories that were just scanned), so that they can be added to it.
    /// Images that went, or are built on nothing any more, are forgotten; where the whole directory is not
    /// there (a disk that is not mounted) the entry stays.
    ///
    /// # Errors
    /// As [`Index::all`]. That the shortened index could not be written is no error here.
    pub fn recheck(
        &self,
        host: &Arc<dyn Host>,
        forest: &Forest,
        scanned: &[PathBuf],
    ) -> io::Result<Vec<ScannedFile>> {
        let scanned: Vec<PathBuf> = scanned
            .iter()
            .filter_map(|dir| host.canonical(dir).ok())
            .collect();
        let looker = Looker::new(host.clone(), &ScanOptions::default());
        let mut found = Vec::new();
        let mut gone = HashSet::new();
        let mut moved = Vec::new();
        let mut asked = BTreeSet::new();
        let mut open = self.entries_on(host.as_ref(), forest)?;
        while !open.is_empty() {
            let mut above = BTreeSet::new();
            for entry in open {
                if scanned.iter().any(|dir| entry.path.starts_with(dir))
                    || !asked.insert(entry.path.clone())
                {
                    continue;
                }
                match look(&looker, &entry.path) {
                    Rechecked::Image(find) => {
                        found.push(*find);
                        above.insert(entry.path);
                    }
                    Rechecked::Gone => {
                        // Discarded since, it is built on what it was built on.
                        for (path, find) in discarded(&looker, &entry.path) {
                            found.push(find);
                            above.insert(path.clone());
                            moved.push(Remembered {
                                path,
                                backing: entry.backing.clone(),
                                seen: entry.seen,
                            });
                        }
                        gone.insert(entry.path);
                    }
                    Rechecked::Nothing => {}
                }
            }
            open = self.known_overlays_of(&above)?;
        }
        if !gone.is_empty() {
            // A memory that is too long does no harm: each entry is looked at again.
            let _ = self.change(|entries| {
                entries.retain(|entry| !gone.contains(&entry.path));
                let known: HashSet<(&Path, &Path)> =
                    entries.iter().map(Remembered::names).collect();
                moved.retain(|new| !known.contains(&new.names()));
                entries.append(&mut moved);
                true
            });
        }
        Ok(found)
    }

    /// What is remembered of images built on those of a forest, by whatever name they know them.
    fn entries_on(&self, host: &dyn Host, forest: &Forest) -> io::Result<Vec<Remembered>> {
        let names_of = |node: &Node| node.other_names.len() + 1;
        let has_unknown_names = |node: &Node| {
            let links = node.stat.as_ref().map_or(1, |stat| stat.links);
            links > u64::try_from(names_of(node)).unwrap_or(u64::MAX)
        };
        let names: usize = forest.nodes().map(names_of).sum();
        if names <= FEW && !forest.nodes().any(has_unknown_names) {
            let mut places = HashMap::new();
            let mut bases = BTreeSet::new();
            for node in forest.nodes() {
                let names = std::iter::once(&node.path).chain(&node.other_names);
                for name in names {
                    bases.extend(place_of(host, &mut places, name));
                }
            }
            return self.known_overlays_of(&bases);
        }
        // Ordered by base: each of those is looked up once.
        let mut last: Option<(PathBuf, bool)> = None;
        let mut entries = self.all()?;
        entries.retain(|entry| {
            if let Some((base, is_known)) = &last
                && *base == entry.backing
            {
                return *is_known;
            }
            let is_known = forest.by_path(&entry.backing).is_some() || {
                let file = host.stat(&entry.backing);
                file.is_ok_and(|stat| forest.by_file(stat.id).is_some())
            };
            last = Some((entry.backing.clone(), is_known));
            is_known
        });
        Ok(entries)
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
    ) -> io::Result<Vec<ScannedFile>> {
        let looker = Looker::new(host.clone(), &ScanOptions::default());
        let entries = self.known_overlays_of(bases)?.into_iter();
        let seen = entries.flat_map(|entry| match look(&looker, &entry.path) {
            Rechecked::Image(find) => vec![*find],
            Rechecked::Gone => {
                let trashed = discarded(&looker, &entry.path).into_iter();
                trashed.map(|(_, find)| find).collect()
            }
            Rechecked::Nothing => Vec::new(),
        });
        Ok(seen.collect())
    }

    /// Forgets the entries of which `which` says so, and gives them back.
    ///
    /// # Errors
    /// The system's own; `WouldBlock` if another run holds the index for seconds.
    pub fn forget(&self, which: impl Fn(&Remembered) -> bool) -> io::Result<Vec<Remembered>> {
        let mut forgotten = Vec::new();
        self.change(|entries| {
            let (goes, stays) = std::mem::take(entries).into_iter().partition(&which);
            forgotten = goes;
            *entries = stays;
            !forgotten.is_empty()
        })?;
        Ok(forgotten)
    }

    /// Reads, changes and replaces the file while no other run does; `change` says whether there is
    /// anything to write.
    fn change(&self, change: impl FnOnce(&mut Vec<Remembered>) -> bool) -> io::Result<()> {
        let _lock = self.file.lock()?;
        let mut entries = self.all()?;
        if !change(&mut entries) {
            return Ok(());
        }
        let surplus = entries.len().saturating_sub(MAX_ENTRIES);
        if surplus > 0 {
            entries.sort_by_key(|entry| entry.seen);
            entries.drain(..surplus);
        }
        entries.sort_by(|a, b| (&a.backing, &a.path).cmp(&(&b.backing, &b.path)));
        self.file.replace(|out| {
            out.write_all(ORDERED)?;
            entries.iter().try_for_each(|entry| {
                let line = Line {
                    path: entry.path.as_path().into(),
                    backing: entry.backing.as_path().into(),
                    seen: entry.seen,
                };
                write_line(out, &line)
            })
        })
    }
}

/// What a line says, if it can be right.
fn entry(line: &[u8]) -> Option<Remembered> {
    let line: Line = serde_json::from_slice(line).ok()?;
    let entry = Remembered {
        path: line.path.into(),
        backing: line.backing.into(),
        seen: line.seen,
    };
    (entry.path.is_absolute() && entry.path.file_name().is_some()).then_some(entry)
}

/// A place in an ordered index from which on entries of `base` come, if there are any; none if a line is not
/// as it should be.
fn first_on(file: &File, base: &Path, end: u64) -> io::Result<Option<u64>> {
    // Lines that begin before `low` are of bases before this one; those from `high` on are not.
    let (mut low, mut high) = (ORDERED.len() as u64, end);
    let mut bytes = vec![0; 2 * MAX_LINE];
    while high.saturating_sub(low) > PIECE as u64 {
        let middle = low.midpoint(high);
        // Mostly a line is short.
        let mut met = None;
        for most in [PIECE, 2 * MAX_LINE] {
            let read = read_full(file, bytes.get_mut(..most).unwrap_or_default(), middle)?;
            let mut lines = bytes
                .get(..read)
                .unwrap_or_default()
                .splitn(3, |byte| *byte == b'\n');
            let (part, line, rest) = (lines.next(), lines.next(), lines.next());
            if let (Some(part), Some(line), Some(_)) = (part, line, rest) {
                met = Some((part.len(), entry(line)));
                break;
            }
            if read < most {
                // The last line of the file is in it.
                met = part.map(|part| (part.len(), line.and_then(entry)));
                break;
            }
        }
        let Some((part, line)) = met else {
            return Ok(None);
        };
        let start = middle.saturating_add(part as u64).saturating_add(1);
        if start >= high {
            high = middle;
            continue;
        }
        let Some(line) = line else { return Ok(None) };
        if line.backing.as_path() < base {
            low = start;
        } else {
            high = middle;
        }
    }
    Ok(Some(low))
}

fn read_full(file: &File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buf.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.saturating_add(read as u64))? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// A name with the links in its folder resolved.
fn place_of(
    host: &dyn Host,
    places: &mut HashMap<PathBuf, Option<PathBuf>>,
    name: &Path,
) -> Option<PathBuf> {
    let folder = match name.parent()? {
        empty if empty.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    let place = places.entry(folder.to_path_buf());
    let place = place.or_insert_with(|| host.canonical(folder).ok());
    Some(place.as_ref()?.join(name.file_name()?))
}

/// What became of a remembered image.
enum Rechecked {
    /// It is there, and built on another one, or cannot be read.
    Image(Box<ScannedFile>),
    /// It went, or is built on nothing any more.
    Gone,
    /// Nobody can tell: its folder is not there either.
    Nothing,
}

/// Looks at a remembered image.
fn look(looker: &Looker, path: &Path) -> Rechecked {
    let is_foreign = |trash: &Path| {
        let host = looker.host();
        host.stat_link(trash).is_ok() && foreign_trash(host, trash).is_some()
    };
    if trash_folder_of(path).is_some_and(is_foreign) {
        return Rechecked::Nothing;
    }
    let symlink = match looker.host().stat_link(path) {
        Ok(stat) => stat.kind == FileKind::Symlink,
        Err(error) => {
            let directory = path.parent();
            let is_there = directory.is_some_and(|dir| looker.host().stat(dir).is_ok());
            // The folders of a trash go with what is in them.
            let is_there = is_there || is_trashed(path);
            return match error.kind() == io::ErrorKind::NotFound && is_there {
                true => Rechecked::Gone,
                false => Rechecked::Nothing,
            };
        }
    };
    let visit = Visit::new(path.to_path_buf(), symlink, Why::Given);
    match looker.look(&visit) {
        Some(find) if find.backing.is_some() => Rechecked::Image(Box::new(find)),
        Some(find) if matches!(find.content, Content::Unreadable(_)) => {
            Rechecked::Image(Box::new(find))
        }
        _ => Rechecked::Gone,
    }
}

/// The images that were taken from this place into a trash folder that is ours.
fn discarded(looker: &Looker, path: &Path) -> Vec<(PathBuf, ScannedFile)> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let (trash, host) = (dir.join(TRASH_FOLDER), looker.host());
    if foreign_trash(host, &trash).is_some() {
        return Vec::new();
    }
    let batches = host.list_dir(&trash).unwrap_or_default();
    let files = batches.iter().map(|batch| trash.join(batch).join(name));
    files
        .filter_map(|path| {
            let stat = host.stat_link(&path).ok()?;
            (stat.kind == FileKind::Regular).then_some(())?;
            match look(looker, &path) {
                Rechecked::Image(find) => Some((path, *find)),
                Rechecked::Gone | Rechecked::Nothing => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::DirBuilderExt;

    use super::*;
    use crate::forest::insert::tests::{assert_no_square, image as found};
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
        let bases = BTreeSet::from([root.join("base/base")]);
        let known = index.known_overlays_of(&bases).unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].path, root.join("far/over"));

        let mut forest = scanned(&root.join("base"));
        let found = index.recheck(&host, &forest, &[root.join("base")]);
        forest.extend(found.unwrap());
        let base = forest.by_path(&root.join("base/base")).unwrap().id;
        assert_eq!(forest.descendants(base).len(), 2);
        assert!(
            index
                .recheck(&host, &forest, std::slice::from_ref(&root))
                .unwrap()
                .is_empty()
        );

        fs::remove_file(root.join("far/second")).unwrap();
        image(&root.join("far/over"), None);
        assert!(
            index
                .recheck(&host, &forest, &[root.join("base")])
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
    fn many_overlays_on_one_base_are_remembered_again_in_no_square_of_time() {
        let dir = tempfile::tempdir().unwrap();
        assert_no_square(1_000, |count| {
            let index = Index::at(dir.path().join(count.to_string()));
            let mut forest = Forest::new();
            forest
                .extend((2..count + 2).map(|i| found(&i.to_string(), i, Some(("base", Some(1))))));
            index.merge(&RealHost, &forest).unwrap();
            index.merge(&RealHost, &forest).unwrap();
            assert_eq!(index.all().unwrap().len() as u64, count);
        });
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
        let base = dir.path().canonicalize().unwrap().join("base");
        image(&base, None);
        let index = Index::at(dir.path());
        fs::write(
            index.file(),
            format!(
                "{{\"path\":\"/no/such/dir/x\",\"backing\":{:?}}}\n",
                base.to_str().unwrap()
            ),
        )
        .unwrap();
        let host: Arc<dyn Host> = Arc::new(RealHost);
        let mut forest = Forest::new();
        forest.extend(crate::forest::look_at(host.clone(), &base));
        assert!(index.recheck(&host, &forest, &[]).unwrap().is_empty());
        assert_eq!(index.all().unwrap().len(), 1);
    }

    /// An index as it is written, of `of` images on each of some bases.
    fn filled(index: &Index, bases: usize, of: usize) -> Vec<Remembered> {
        let mut all = Vec::new();
        index
            .change(|entries| {
                for base in 0..bases {
                    for over in 0..of {
                        entries.push(Remembered {
                            path: format!("/far/{base}/{over}-{}", "x".repeat(base % 90)).into(),
                            backing: format!("/near/base-{base}").into(),
                            seen: 1,
                        });
                    }
                }
                entries.reverse();
                true
            })
            .unwrap();
        all.extend(index.all().unwrap());
        all
    }

    #[test]
    fn what_is_built_on_one_base_is_found_among_many_without_reading_them() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::at(dir.path());
        let all = filled(&index, 2000, 3);
        assert_eq!(all.len(), 6000);
        for base in (0..2000).step_by(37).chain([0, 1999]) {
            let bases = BTreeSet::from([PathBuf::from(format!("/near/base-{base}"))]);
            let found = index.search(&bases).unwrap().expect("it is ordered");
            let right: Vec<_> = all
                .iter()
                .filter(|one| bases.contains(&one.backing))
                .collect();
            assert_eq!(found.iter().collect::<Vec<_>>(), right, "{base}");
        }
        for none in ["/", "/near/base-", "/near/base-10000", "/zzz"] {
            let bases = BTreeSet::from([PathBuf::from(none)]);
            assert_eq!(index.search(&bases).unwrap(), Some(Vec::new()), "{none}");
        }
        // Lines that are damaged are passed over, or all is read: nothing else is missed.
        let mut bytes = fs::read(index.file()).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle - 3000..middle + 3000].fill(b'#');
        fs::write(index.file(), &bytes).unwrap();
        let base = BTreeSet::from([PathBuf::from("/near/base-0")]);
        assert_eq!(index.known_overlays_of(&base).unwrap().len(), 3);
    }

    #[test]
    fn the_index_of_an_earlier_version_is_read_and_put_in_order_by_the_next_change() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::at(dir.path());
        let lines = [("/z", "/b"), ("/a", "/c"), ("/y", "/a")]
            .map(|(path, backing)| format!("{{\"path\":\"{path}\",\"backing\":\"{backing}\"}}\n"));
        fs::write(index.file(), lines.concat()).unwrap();
        let base = BTreeSet::from([PathBuf::from("/b")]);
        assert_eq!(index.known_overlays_of(&base).unwrap().len(), 1);
        let gone = index.forget(|entry| entry.path == Path::new("/a")).unwrap();
        assert_eq!(gone.len(), 1);
        assert_eq!(
            index.search(&base).unwrap().map(|found| found.len()),
            Some(1)
        );
        assert_eq!(index.all().unwrap().len(), 2);
    }

    #[test]
    fn an_overlay_that_knows_its_base_by_a_link_elsewhere_is_found_from_the_base() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let host: Arc<dyn Host> = Arc::new(RealHost);
        for (name, hard) in [("soft", false), ("hard", true)] {
            let at = root.join(name);
            let index = Index::at(at.join("state"));
            image(&at.join("near/base"), None);
            fs::create_dir_all(at.join("links")).unwrap();
            let link = at.join("links/link");
            match hard {
                true => fs::hard_link(at.join("near/base"), &link).unwrap(),
                false => std::os::unix::fs::symlink("../near/base", &link).unwrap(),
            }
            image(&at.join("far/over"), Some(("../links/link", Some("qcow2"))));
            index
                .merge(host.as_ref(), &scanned(&at.join("far")))
                .unwrap();
            let near = scanned(&at.join("near"));
            let found = index.recheck(&host, &near, &[at.join("near")]).unwrap();
            assert_eq!(found.len(), 1, "{name}");
        }
    }

    #[test]
    fn an_overlay_that_was_discarded_elsewhere_is_still_found_from_its_base() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let index = Index::at(root.join("state/qanopy"));
        let host: Arc<dyn Host> = Arc::new(RealHost);
        image(&root.join("base/base"), None);
        image(&root.join("over/o"), Some(("../base/base", Some("qcow2"))));
        index.merge(&RealHost, &scanned(&root)).unwrap();
        let batch = root
            .join("over")
            .join(TRASH_FOLDER)
            .join("20261123-115537-3fa2");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&batch)
            .unwrap();
        fs::rename(root.join("over/o"), batch.join("o")).unwrap();
        // The second time it is remembered by where it is now.
        for _ in 0..2 {
            let mut forest = scanned(&root.join("base"));
            let found = index.recheck(&host, &forest, &[root.join("base")]).unwrap();
            forest.extend(found);
            let base = forest.by_path(&root.join("base/base")).unwrap();
            let trashed: Vec<_> = forest.trashed_children(base).collect();
            assert_eq!(trashed.len(), 1);
            assert_eq!(trashed[0].path, batch.join("o"));
            assert!(
                forest.is_leaf(base),
                "nothing is built on it for who looks at it"
            );
        }
    }
}
