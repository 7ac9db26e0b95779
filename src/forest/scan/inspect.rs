//! Looks at one file: opens it, recognises it, and finds out where its backing name leads. A backing
//! file outside the scanned directories is asked for its `stat` and never opened, unless the scan
//! was told to follow.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::hash::{BuildHasher, Hash};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::host::{
    Access, FileId, FileKind, Holder, Host, HostFile, LocksSeen, Stat, io_text, printable,
};
use crate::image::{
    BackingName, BackingRef, BackingTarget, Format, ImageFile, ImageInfo, Mention, Probe, beside,
    end_offset, named_like_qcow2, probe, read_header, where_it_is,
};

use super::options::{RAW_EXTENSIONS, ScanOptions};
use crate::forest::folder_notes::folder_of;
use crate::forest::{
    Annotation, Backing, BackingState, Content, Edge, FolderNotes, Reads, Recorded, ScannedFile,
    Sharing, attributes_of,
};
use crate::system::Shares;

/// A file to be looked at.
#[derive(Debug, Clone)]
pub(in crate::forest) struct Visit {
    path: PathBuf,
    symlink: bool,
    why: Why,
}

impl Visit {
    pub(in crate::forest) fn new(path: PathBuf, symlink: bool, why: Why) -> Self {
        Self { path, symlink, why }
    }
}

/// Why a file is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::forest) enum Why {
    /// The walk met it.
    Met,
    /// The person named it.
    Given,
    /// An image names it as its backing file, with this format.
    Named(Option<Format>),
}

/// Looks at files for all threads of one scan.
#[derive(Debug)]
pub(in crate::forest) struct Looker {
    host: Arc<dyn Host>,
    follow: bool,
    raw: bool,
    /// The directories that are scanned, with all links resolved, and as given.
    roots: Vec<(PathBuf, PathBuf)>,
    /// Where directories of backing names lead.
    places: Mutex<HashMap<PathBuf, Directory>>,
    /// What the files of notes say, by their folders.
    notes: Mutex<HashMap<PathBuf, Arc<FolderNotes>>>,
    /// What is mounted here of other machines, once it is asked for.
    shares: OnceLock<Shares>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Files found to be images.
    found: HashSet<FileId>,
    /// Files that others hold image locks on, and whether they write them.
    locked: HashMap<FileId, bool>,
    /// The names by which they were met, with the file that each led to, hashed: of all the names, only
    /// whether one is among them is asked, and kept here they would tear holes into the heap.
    met: HashSet<u64>,
    /// Names that images record for their backing files, with the format: the walk should meet them and
    /// recognise what they lead to. Those it does not are looked at after it, so that what belongs into
    /// the forest does not depend on which file is looked at first.
    left_over: BTreeMap<(FileId, PathBuf), Option<Format>>,
    /// All facts that were found: those of most images are alike.
    info: HashSet<Arc<ImageInfo>>,
    /// All that was found recorded of backing files: overlays on bases of the same name record the same.
    recorded: HashSet<Arc<Recorded>>,
}

impl State {
    fn hash(&self, file: FileId, path: &Path) -> u64 {
        self.met.hasher().hash_one((file, path))
    }

    /// Sees to it that a backing file is looked at, if the walk does not do it. Outside the scanned
    /// directories no name is better than the one by which it was found.
    fn take_up(&mut self, path: &Path, file: FileId, format: Option<&Format>, inside: bool) {
        let is_met = || !inside || self.met.contains(&self.hash(file, path));
        if self.found.contains(&file) && is_met() {
            return;
        }
        match self.left_over.entry((file, path.to_path_buf())) {
            Entry::Vacant(new) => {
                new.insert(format.cloned());
            }
            // Where they differ, the one to trust least: its content is to tell.
            Entry::Occupied(mut known) => {
                if known.get().as_ref() > format {
                    known.insert(format.cloned());
                }
            }
        }
    }
}

/// What was seen of a file that was opened.
struct Opened {
    stat: Stat,
    probed: Probe,
    annotation: Option<Box<Annotation>>,
}

/// Where a directory is.
#[derive(Debug, Clone)]
struct Directory {
    /// Its name: as the walk would have it if it is inside, otherwise with all links resolved.
    path: PathBuf,
    inside: bool,
}

/// The equal value that is known already, or else this one.
fn once<T: Eq + Hash>(known: &mut HashSet<Arc<T>>, value: T) -> Arc<T> {
    if let Some(known) = known.get(&value) {
        return Arc::clone(known);
    }
    let value = Arc::new(value);
    known.insert(Arc::clone(&value));
    value
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is consistent after every statement, so a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Looker {
    pub(in crate::forest) fn new(host: Arc<dyn Host>, options: &ScanOptions) -> Self {
        let roots = options
            .roots
            .iter()
            .filter(|root| {
                host.stat(root)
                    .is_ok_and(|stat| stat.kind == FileKind::Directory)
            })
            .filter_map(|root| Some((host.canonical(root).ok()?, root.clone())))
            .collect();
        Self {
            host,
            follow: options.follow,
            raw: options.raw,
            roots,
            places: Mutex::default(),
            notes: Mutex::default(),
            shares: OnceLock::new(),
            state: Mutex::default(),
        }
    }

    pub(in crate::forest) fn host(&self) -> &dyn Host {
        self.host.as_ref()
    }

    /// Whether a root is looked through anyway, being inside another one (or the same, given before).
    pub(in crate::forest) fn is_inside_another_root(&self, root: &Path) -> bool {
        let Some(at) = self.roots.iter().position(|(_, given)| given == root) else {
            return false;
        };
        let Some((canonical, _)) = self.roots.get(at) else {
            return false;
        };
        self.roots.iter().enumerate().any(|(i, (other, _))| {
            canonical.starts_with(other) && (canonical != other || i < at) && i != at
        })
    }

    /// Image files found, each counted once.
    pub(in crate::forest) fn images(&self) -> u64 {
        lock(&self.state).found.len() as u64
    }

    /// Names that images record and by which nothing was recognised so far, in order.
    pub(in crate::forest) fn left_over(&self) -> Vec<Visit> {
        let left_over = std::mem::take(&mut lock(&self.state).left_over);
        let visits = left_over.into_iter();
        visits
            .map(|((_, path), format)| self.named(path, format))
            .collect()
    }

    /// The images found that some process has open, with these processes.
    pub(in crate::forest) fn held(&self) -> HashMap<FileId, Vec<Holder>> {
        let (found, locked) = {
            let state = lock(&self.state);
            let found: Vec<FileId> = state.found.iter().copied().collect();
            let mut locked = state.locked.clone();
            locked.retain(|file, _| state.found.contains(file));
            (found, locked)
        };
        let mut held = self.host.holders(&found);
        // The locks decide; the processes only give them names.
        for (file, writes) in locked {
            let holders = held.entry(file).or_default();
            let explains = |holder: &Holder| holder.locks && (holder.writes || !writes);
            if !holders.iter().any(explains) {
                holders.push(Holder::unseen(writes));
            }
        }
        held
    }

    /// Asks again what others hold of a file's locks.
    pub(in crate::forest) fn ask_locks(&self, path: &Path) {
        if let Ok(file) = self.host.open(path, Access::Read) {
            self.note_locks(&*file);
        }
    }

    fn note_locks(&self, file: &dyn HostFile) {
        let writes = match file.locks_seen() {
            Ok(LocksSeen::Read) => false,
            Ok(LocksSeen::Written) => true,
            Ok(LocksSeen::Free | LocksSeen::Unknown) | Err(_) => return,
        };
        if let Ok(stat) = file.stat() {
            lock(&self.state).locked.insert(stat.id, writes);
        }
    }

    fn named(&self, path: PathBuf, format: Option<Format>) -> Visit {
        let symlink = self
            .host
            .stat_link(&path)
            .is_ok_and(|stat| stat.kind == FileKind::Symlink);
        Visit::new(path, symlink, Why::Named(format))
    }

    /// What the file is, if it belongs into the forest. A file it names that has to be looked at as
    /// well is among those left over.
    pub(in crate::forest) fn look(&self, visit: &Visit) -> Option<ScannedFile> {
        let path = &visit.path;
        let mut found = ScannedFile {
            path: path.clone(),
            symlink: visit.symlink,
            stat: None,
            content: Content::Unopened,
            backing: None,
            also: Vec::new(),
            holders: Vec::new(),
            annotation: None,
            sharing: None,
        };
        // A raw disk is what it is recorded as, whatever its guest wrote: no need to open it.
        if visit.why == Why::Named(Some(Format::Raw)) {
            found.stat = Some(self.host.stat(path).ok()?);
            found.content = Content::Raw;
            let file = self.host.open(path, Access::Read);
            found.annotation = self.annotation(path, file.ok().as_deref());
            self.remember_found(&mut found);
            return Some(found);
        }
        let (stat, probed) = match self.open(visit) {
            Ok(Some(opened)) => {
                found.annotation = opened.annotation;
                (Some(opened.stat), opened.probed)
            }
            Ok(None) => return None,
            Err(error) => {
                if visit.why == Why::Met && !named_like_qcow2(path) {
                    return None;
                }
                found.stat = self.host.stat(path).ok();
                found.content = Content::Unreadable(self.why_unreadable(visit, &error));
                found.annotation = self.annotation(path, None);
                self.remember_found(&mut found);
                return Some(found);
            }
        };
        let len = stat.as_ref().map_or(0, |stat| stat.len);
        found.stat = stat;
        found.content = match (probed, &visit.why) {
            (Probe::Qcow2(info, backing), _) => {
                if let Some(backing) = backing {
                    let (link, also) = self.backing(path, &backing);
                    found.backing = Some(Box::new(link));
                    found.also = also;
                }
                if let Some(name) = &info.data_file {
                    found.also.extend(self.data_files(path, name));
                }
                Content::Qcow2(once(&mut lock(&self.state).info, *info))
            }
            (Probe::Damaged(why), _) => Content::Damaged(why),
            (Probe::Other(_), Why::Met) => return None,
            (Probe::Other(format), _) => Content::Opaque(format),
            // Some formats have their magic number elsewhere (fixed VHD: at the end).
            (Probe::Nothing, Why::Named(Some(format @ Format::Other(_)))) => {
                Content::Opaque(format.clone())
            }
            (Probe::Nothing, Why::Named(Some(_))) => Content::Raw,
            (Probe::Nothing, _) if named_like_qcow2(path) => {
                Content::Damaged(not_what_it_is_called(path, len))
            }
            (Probe::Nothing, Why::Met) if !(self.raw && called_like_a_disk(path)) => return None,
            (Probe::Nothing, _) => Content::Raw,
        };
        self.remember_found(&mut found);
        Some(found)
    }

    /// Opens and recognises; nothing if it is not a file that the scan looks into.
    fn open(&self, visit: &Visit) -> io::Result<Option<Opened>> {
        if visit.symlink && visit.why == Why::Met {
            let stat = self.host.stat(&visit.path)?;
            if !matches!(stat.kind, FileKind::Regular | FileKind::BlockDevice) {
                return Ok(None);
            }
        }
        let file = self.host.open(&visit.path, Access::Read)?;
        let probed = probe(&ImageFile::new(&visit.path, Arc::clone(&file)))?;
        let mut annotation = None;
        if !matches!(probed, Probe::Nothing) || visit.why != Why::Met {
            self.note_locks(&*file);
            annotation = self.annotation(&visit.path, Some(&*file));
        }
        let mut stat = file.stat()?;
        if stat.kind == FileKind::BlockDevice {
            stat.allocated = used_of_device(&visit.path, file, &probed, stat.len);
        }
        Ok(Some(Opened {
            stat,
            probed,
            annotation,
        }))
    }

    /// What people have noted of a file, by what its folder says of that name and by its own attributes.
    fn annotation(&self, path: &Path, file: Option<&dyn HostFile>) -> Option<Box<Annotation>> {
        let by_folder = self.folder_notes(path);
        let by_folder = by_folder.as_deref().zip(path.file_name());
        let found = match by_folder.and_then(|(notes, name)| notes.of(name)) {
            Some(found) => found.clone(),
            None => attributes_of(file?).ok().flatten()?,
        };
        (!found.is_empty()).then(|| Box::new(found))
    }

    /// What the file of notes beside an image says; one that cannot be read says nothing.
    pub(in crate::forest) fn folder_notes(&self, path: &Path) -> Option<Arc<FolderNotes>> {
        let folder = folder_of(path)?;
        if let Some(known) = lock(&self.notes).get(folder) {
            return Some(Arc::clone(known));
        }
        let notes = FolderNotes::read(self.host.as_ref(), folder).unwrap_or_default();
        let notes = Arc::new(notes);
        lock(&self.notes).insert(folder.to_path_buf(), Arc::clone(&notes));
        Some(notes)
    }

    /// Nobody has noted anything in a folder, as its list of files says: to ask for the file of notes is a way through the
    /// network.
    pub(super) fn has_no_notes(&self, folder: &Path) {
        let mut known = lock(&self.notes);
        known.entry(folder.to_path_buf()).or_default();
    }

    fn why_unreadable(&self, visit: &Visit, error: &io::Error) -> String {
        let name = printable(&visit.path);
        if visit.symlink && error.kind() == io::ErrorKind::NotFound {
            return format!(
                "{name} is a symbolic link to a file that is not there. Remove the link or put the \
                 file back."
            );
        }
        match error.kind() {
            io::ErrorKind::PermissionDenied => format!(
                "{name} cannot be read: permission denied. Run as a user who may read it, or give \
                 yourself the right."
            ),
            _ => format!(
                "{name} cannot be read: {}. Check the file and its filesystem.",
                io_text(error)
            ),
        }
    }

    /// How a file is seen that other machines see as well.
    fn sharing(&self, path: &Path, symlink: bool) -> Option<Box<Sharing>> {
        let shares = self.shares.get_or_init(Shares::here);
        if shares.is_empty() {
            return None;
        }
        // What the walk met has no links in it but those above its root.
        let mut below = self.roots.iter().filter(|_| !symlink);
        let met = below.find_map(|(root, given)| Some(root.join(path.strip_prefix(given).ok()?)));
        let place = met.or_else(|| self.host.canonical(path).ok())?;
        let place = shares.place(&place)?;
        Some(Box::new(Sharing {
            name: place.name.into(),
            keeps_inodes: place.keeps_inodes,
            is_read_only: place.is_read_only,
            seen_as: Vec::new(),
        }))
    }

    /// Completes what was found.
    fn remember_found(&self, found: &mut ScannedFile) {
        found.sharing = self.sharing(&found.path, found.symlink);
        if let Some(stat) = &found.stat {
            self.remember(stat.id, &found.path);
        }
    }

    /// Takes a file for found by a name: it need not be looked at because somebody names it so.
    pub(in crate::forest) fn remember(&self, file: FileId, path: &Path) {
        let mut state = lock(&self.state);
        // Most are met soon after they were named: what is kept of them meanwhile is not to pile up.
        if !state.left_over.is_empty() {
            state.left_over.remove(&(file, path.to_path_buf()));
        }
        state.found.insert(file);
        let met = state.hash(file, path);
        state.met.insert(met);
    }

    /// Where a backing name leads, and what is there; and the other files that it makes QEMU read.
    fn backing(&self, overlay: &Path, backing: &BackingRef) -> (Backing, Vec<Edge>) {
        let name = BackingName::interpret(overlay, &backing.recorded);
        let depends_on_directory = name.depends_on_directory();
        let (target, mut rest) = match name.target {
            BackingTarget::NotUnderstood { files, what } => self.read_by(overlay, files, what),
            BackingTarget::File(path) if name.is_bare || depends_on_directory => {
                let rest = self.may_read(overlay, &path, name.is_bare);
                (BackingTarget::File(path), rest)
            }
            target => (target, Vec::new()),
        };
        let is_understood = !matches!(target, BackingTarget::NotUnderstood { .. });
        let recorded = Recorded {
            name: backing.recorded.as_os_str().into(),
            format: backing.format.clone().or(name.format),
            beside: backing.format.is_some(),
            understood: is_understood,
        };
        let mut link = Backing {
            recorded: once(&mut lock(&self.state).recorded, recorded),
            path: None,
            state: BackingState::Missing,
            outside: None,
        };
        if name.is_bare && backing.format.is_some() {
            link.state = BackingState::Unreachable(
                "it describes a file without a format, and QEMU opens no such description where a format is \
                 recorded beside it. The file has to be recorded by its plain name."
                    .into(),
            );
            return (link, rest);
        }
        let path = match target {
            BackingTarget::Elsewhere { protocol } => {
                link.state = BackingState::Elsewhere(protocol.into());
                return (link, rest);
            }
            BackingTarget::NotUnderstood { files, .. } => {
                files.into_iter().next().map(|mention| mention.path)
            }
            BackingTarget::File(path) => Some(path),
        };
        let Some(path) = path else {
            return (link, rest);
        };
        // What is not understood says nothing of the format of the file itself.
        let format = link.format().filter(|_| is_understood).cloned();
        let (path, state, outside) = self.follow(overlay, &path, format.as_ref());
        if let (true, BackingState::Present(file)) = (is_understood, &state) {
            rest.retain(|edge| edge.file != *file);
        }
        link.state = state;
        link.outside = outside;
        // A copy has no room to spare.
        link.path = Some(path.as_path().into());
        (link, rest)
    }

    /// What a described file may be: where its relative path leads from the image's directory, in which
    /// machines are often started; with `here`, also where it leads from the one we are started in.
    fn may_read(&self, overlay: &Path, path: &Path, here: bool) -> Vec<Edge> {
        let from_image = path.is_relative().then(|| beside(overlay, path));
        let from_here = here.then(|| path.to_path_buf());
        let mut edges: Vec<Edge> = Vec::new();
        for path in from_here.into_iter().chain(from_image) {
            if let (path, BackingState::Present(file), _) = self.follow(overlay, &path, None)
                && !edges.iter().any(|edge| edge.file == file)
            {
                edges.push(Edge {
                    how: Reads::NotUnderstood,
                    path: path.into(),
                    file,
                });
            }
        }
        edges
    }

    /// The file that a name not understood is shown to lead to, alone in its target, and the others that
    /// it makes QEMU read.
    fn read_by(
        &self,
        overlay: &Path,
        files: Vec<Mention>,
        what: String,
    ) -> (BackingTarget, Vec<Edge>) {
        let mut there = Vec::new();
        let mut first = None;
        for mention in files {
            let found = self.may_read(overlay, &mention.path, true);
            if !found.is_empty() || mention.surely {
                first.get_or_insert(mention);
            }
            there.extend(found);
        }
        match first {
            Some(mention) => {
                let files = vec![mention];
                (BackingTarget::NotUnderstood { files, what }, there)
            }
            None => (BackingTarget::Elsewhere { protocol: what }, there),
        }
    }

    /// The files that a data file's name may lead to: QEMU sees a relative one from the directory that it is
    /// started in, other programs from the image's.
    fn data_files(&self, image: &Path, name: &OsStr) -> Vec<Edge> {
        let name = BackingName::interpret(image, name);
        let as_recorded = PathBuf::from(&name.recorded);
        let mut paths = match name.target {
            BackingTarget::File(path) => vec![path],
            BackingTarget::NotUnderstood { files, .. } => {
                files.into_iter().map(|mention| mention.path).collect()
            }
            BackingTarget::Elsewhere { .. } => Vec::new(),
        };
        if as_recorded.is_relative() {
            paths.push(as_recorded);
        }
        let mut edges = Vec::new();
        for path in paths {
            if let Ok(stat) = self.host.stat(&path)
                && matches!(stat.kind, FileKind::Regular | FileKind::BlockDevice)
            {
                edges.push(Edge {
                    how: Reads::DataFile,
                    path: path.into(),
                    file: stat.id,
                });
            }
        }
        edges
    }

    /// Where a path leads that an image records, by the name that the walk has for it, and what is there.
    fn follow(
        &self,
        overlay: &Path,
        path: &Path,
        format: Option<&Format>,
    ) -> (PathBuf, BackingState, Option<Box<Stat>>) {
        let place = self.place_of(path);
        let path = match (&place, path.file_name()) {
            (Some(place), Some(name)) => place.path.join(name),
            _ => path.to_path_buf(),
        };
        let path = where_it_is(self.host.as_ref(), overlay, path);
        let mut outside = None;
        let state = match self.host.stat(&path) {
            Ok(stat) => match stat.kind {
                FileKind::Regular | FileKind::BlockDevice => {
                    let file = stat.id;
                    let inside = place.is_some_and(|place| place.inside);
                    if inside || self.follow {
                        lock(&self.state).take_up(&path, file, format, inside);
                    }
                    outside = (!inside).then(|| Box::new(stat));
                    BackingState::Present(file)
                }
                FileKind::Directory => BackingState::Unreachable(
                    format!(
                        "{} is a folder. Record the image it should name.",
                        printable(&path)
                    )
                    .into(),
                ),
                FileKind::Symlink | FileKind::Other => BackingState::Unreachable(
                    format!(
                        "{} is no file that can hold an image. Record the image it should name.",
                        printable(&path)
                    )
                    .into(),
                ),
            },
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BackingState::Missing,
                _ => BackingState::Unreachable(
                    format!(
                        "{} cannot be looked at: {}. Run as a user who may look there.",
                        printable(&path),
                        io_text(&error)
                    )
                    .into(),
                ),
            },
        };
        (path, state, outside)
    }

    /// The place of the directory a file is in.
    fn place_of(&self, path: &Path) -> Option<Directory> {
        let directory = match path.parent()? {
            empty if empty.as_os_str().is_empty() => Path::new("."),
            directory => directory,
        };
        if let Some(place) = lock(&self.places).get(directory) {
            return Some(place.clone());
        }
        let canonical = self.host.canonical(directory).ok()?;
        let place = self
            .roots
            .iter()
            // By the name that the walk has for it.
            .filter(|(_, given)| !self.is_inside_another_root(given))
            .find_map(|(root, given)| {
                let rest = canonical.strip_prefix(root).ok()?;
                Some(Directory {
                    path: if rest.as_os_str().is_empty() {
                        given.clone()
                    } else {
                        given.join(rest)
                    },
                    inside: true,
                })
            })
            .unwrap_or(Directory {
                path: canonical,
                inside: false,
            });
        lock(&self.places).insert(directory.to_path_buf(), place.clone());
        Some(place)
    }
}

/// What of a device belongs to the image on it. A device has no blocks of its own to be counted.
fn used_of_device(path: &Path, file: Arc<dyn HostFile>, probed: &Probe, len: u64) -> u64 {
    if !matches!(probed, Probe::Qcow2(..)) {
        return len;
    }
    let file = ImageFile::new(path, file);
    let end = read_header(&file).and_then(|header| end_offset(&file, &header));
    end.map_or(len, |end| end.min(len))
}

fn not_what_it_is_called(path: &Path, len: u64) -> String {
    let name = printable(path);
    if len == 0 {
        format!("{name} is called like a qcow2 image and is empty. Restore it from a copy.")
    } else {
        format!(
            "{name} is called like a qcow2 image, but does not begin like one: its header is gone or \
             it is something else. Restore it from a copy, or give it another name."
        )
    }
}

fn called_like_a_disk(path: &Path) -> bool {
    path.extension()
        .map(OsStr::to_ascii_lowercase)
        .is_some_and(|extension| RAW_EXTENSIONS.iter().any(|known| extension == *known))
}
