//! What planning looks at, and where it looks: which folders are searched for the images that depend on those a
//! request names. Decided here once for every face; how searching works is the forest's business, and who
//! depends on whom is asked in `dependants`.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;

use crate::fleet::Peers;
use crate::forest::{
    Forest, Index, Location, ScanOptions, ScanSummary, changed_bases, changed_since, follow,
    refreshed, remember, scan_all,
};
use crate::host::{Host, io_text, printable};
use crate::image::Keys;

/// What planning looks at.
#[derive(Clone)]
pub struct Context {
    /// The machine.
    pub host: Arc<dyn Host>,
    /// What is known to exist.
    pub forest: Arc<Forest>,
    /// Where it was searched, so that a plan can say so.
    pub looked_in: LookedIn,
    /// Where what is remembered from run to run is kept (XDG state), if anything shall be: the
    /// trash folders in use are written down there.
    pub state_dir: Option<PathBuf>,
    /// What opens encrypted images.
    pub keys: Keys,
    /// The machines that may see the same storage.
    pub peers: Peers,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A forest of thousands of images is nothing to print with each plan.
        f.debug_struct("Context")
            .field("looked_in", &self.looked_in)
            .finish_non_exhaustive()
    }
}

/// Where images were searched for. Two lists, since an image's header can name any folder of the machine:
/// that it does is not asked by the person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookedIn {
    /// Folders that the person named, or in which a file lies that the person named; none inside another.
    pub named: Vec<PathBuf>,
    /// Folders searched only because a header led there, none of them inside one of `named`.
    pub reached: Vec<PathBuf>,
    /// Images known from earlier scans elsewhere that were looked at again.
    pub remembered: usize,
}

impl LookedIn {
    /// Only where the person said.
    #[must_use]
    pub fn within(named: Vec<PathBuf>) -> Self {
        Self {
            named,
            ..Self::default()
        }
    }

    /// Every folder searched, whatever led there; none inside another.
    #[must_use]
    pub fn dirs(&self) -> Vec<PathBuf> {
        if self.reached.is_empty() {
            return self.named.clone();
        }
        outermost(self.named.iter().chain(&self.reached).cloned().collect())
    }

    /// Whether that lies in one of the folders searched, by its name: what is only remembered does not.
    #[must_use]
    pub fn covers(&self, path: &Path) -> bool {
        let mut dirs = self.named.iter().chain(&self.reached);
        dirs.any(|dir| path.starts_with(dir))
    }
}

/// A context, and how the search for it went.
#[derive(Debug, Clone)]
pub struct Looked {
    /// What planning looks at.
    pub context: Context,
    /// What could not be looked at, each as a sentence.
    pub complaints: Vec<String>,
}

impl Context {
    /// The machine, and no image known.
    #[must_use]
    pub fn nowhere(host: Arc<dyn Host>, state_dir: Option<PathBuf>) -> Self {
        Self {
            host,
            forest: Arc::new(Forest::new()),
            looked_in: LookedIn::default(),
            state_dir,
            keys: Keys::none(),
            peers: Peers::Nobody,
        }
    }

    /// The images around those named: in the folders of every file of their chains, in the folders `also`, and
    /// those remembered from elsewhere. What was seen is remembered in turn.
    ///
    /// # Errors
    /// The first of the names by which nothing is there, with the system's reason.
    pub fn around(
        host: Arc<dyn Host>,
        state_dir: Option<PathBuf>,
        images: &[PathBuf],
        also: &[PathBuf],
    ) -> Result<Looked, (PathBuf, io::Error)> {
        let mut files = Vec::new();
        for path in images.iter().chain(also) {
            let found = host.stat_link(path).and_then(|_| absolute(path));
            files.push(found.map_err(|error| (path.clone(), error))?);
        }
        let also = files.split_off(images.len());
        // Behind a link lies another name of the image, from which its relative backing name may lead
        // elsewhere.
        let ends = files.iter().filter_map(|path| host.canonical(path).ok());
        let ends: Vec<PathBuf> = ends.filter(|end| !files.contains(end)).collect();
        let starts: Vec<PathBuf> = files.iter().chain(&ends).cloned().collect();
        let forest = follow(Arc::clone(&host), &starts);
        let folder = |path: &Path| path.parent().map(Path::to_path_buf);
        let named: BTreeSet<PathBuf> = files.iter().filter_map(|path| folder(path)).collect();
        let named = outermost(named.into_iter().chain(also).collect());
        let met = forest
            .nodes()
            .filter(|node| node.location == Location::Scanned);
        let reached: BTreeSet<PathBuf> = met
            .flat_map(|node| std::iter::once(&node.path).chain(&node.other_names))
            .filter_map(|path| folder(path))
            .filter(|dir| may_be_searched(&*host, dir))
            .filter(|dir| !named.iter().any(|known| dir.starts_with(known)))
            .collect();
        let looked_in = LookedIn {
            named,
            reached: outermost(reached),
            remembered: 0,
        };
        // The images themselves as well: a raw image nothing is built on is seen only when named.
        let below = ScanOptions {
            roots: looked_in.dirs().into_iter().chain(files).collect(),
            follow: false,
            raw: false,
        };
        let (forest, summary) = scan_all(Arc::clone(&host), below);
        let mut looked = Looked {
            complaints: unread(&summary).collect(),
            context: Self {
                forest: Arc::new(forest),
                looked_in,
                ..Self::nowhere(host, state_dir)
            },
        };
        looked.remember();
        looked.recall();
        Ok(looked)
    }

    /// Notes which bases were changed under what is built on them: see [`changed_bases`].
    pub fn note_changed_bases(&mut self) {
        let Some(dir) = self.state_dir.as_deref() else {
            return;
        };
        let changed = changed_bases(dir, &*self.host, &self.forest);
        if !changed.is_empty() {
            Arc::make_mut(&mut self.forest).note_changed_bases(&changed);
        }
    }

    /// What was seen before, as it is on the disk now, and the images remembered from elsewhere. Also gives
    /// the former alone.
    #[must_use]
    pub fn again(
        host: Arc<dyn Host>,
        state_dir: Option<PathBuf>,
        known: &Forest,
        scan: &ScanOptions,
    ) -> (Looked, Arc<Forest>) {
        // Only files that came or are not what they were are read: names, times and sizes tell.
        let changed = changed_since(known, &*host, scan);
        let forest = Arc::new(refreshed(known, &host, scan, &changed));
        let shown = Arc::clone(&forest);
        let mut looked = Looked {
            context: Self {
                forest,
                looked_in: LookedIn::within(scan.roots.clone()),
                ..Self::nowhere(host, state_dir)
            },
            complaints: Vec::new(),
        };
        looked.recall();
        (looked, shown)
    }
}

/// What a scan could not read, each as a sentence.
fn unread(summary: &ScanSummary) -> impl Iterator<Item = String> {
    let dirs = summary.unreadable_dirs.iter();
    dirs.map(|(dir, why)| format!("cannot read {}: {why}", printable(dir)))
}

impl Looked {
    fn index(&self) -> Option<Index> {
        self.context.state_dir.as_deref().map(Index::at)
    }

    /// Notes down what was seen, for later runs: nothing fails for it here.
    fn remember(&mut self) {
        let Some(dir) = self.context.state_dir.as_deref() else {
            return;
        };
        let (host, forest) = (&*self.context.host, &self.context.forest);
        if let Err(error) = remember(dir, host, forest) {
            let file = printable(Index::at(dir).file());
            self.complaints.push(format!(
                "cannot remember images in {file}: {error}",
                error = io_text(&error)
            ));
        }
    }

    /// Adds the images that earlier runs saw where nobody looked now, each looked at again, and notes which bases are no
    /// longer what they were.
    pub fn recall(&mut self) {
        self.add_remembered();
        self.context.note_changed_bases();
    }

    fn add_remembered(&mut self) {
        let Some(index) = self.index() else { return };
        let context = &mut self.context;
        let dirs = context.looked_in.dirs();
        match index.recheck(&context.host, &context.forest, &dirs) {
            Ok(found) => {
                context.looked_in.remembered = found.len();
                if !found.is_empty() {
                    Arc::make_mut(&mut context.forest).extend(found);
                }
            }
            Err(error) => {
                let file = printable(index.file());
                self.complaints.push(format!(
                    "cannot read the images remembered in {file}, so that only the folders named were searched: {error}", error = io_text(&error)));
            }
        }
    }
}

/// Whether a folder may be searched because a header leads there: an image could else have the whole machine
/// walked, or what the kernel makes up.
fn may_be_searched(host: &dyn Host, dir: &Path) -> bool {
    let Ok(dir) = host.canonical(dir) else {
        return false;
    };
    dir != Path::new("/")
        && !["/proc", "/sys"]
            .iter()
            .any(|made_up| dir.starts_with(made_up))
}

/// Leaves out what lies inside another. A directory sorts before what is inside it.
fn outermost(dirs: BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut outer: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        if !outer.iter().any(|known| dir.starts_with(known)) {
            outer.push(dir);
        }
    }
    outer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use std::process::Command;

    #[test]
    fn a_directory_inside_another_is_searched_once() {
        let dirs = ["/a/b", "/a", "/ab", "/c/d"].map(PathBuf::from);
        let outer = outermost(dirs.into());
        assert_eq!(outer, ["/a", "/ab", "/c/d"].map(PathBuf::from));
    }

    #[test]
    fn a_folder_that_only_a_header_names_is_not_one_that_the_person_named() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        for dir in ["lab/inner", "far", "also"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        let create = |args: &[&str]| {
            let status = Command::new("qemu-img")
                .args(["create", "-q", "-f", "qcow2"])
                .args(args)
                .current_dir(&root)
                .status();
            assert!(status.unwrap().success());
        };
        create(&["far/base", "1M"]);
        create(&["-F", "qcow2", "-b", "../../far/base", "lab/inner/mid"]);
        create(&["-F", "qcow2", "-b", "inner/mid", "lab/top"]);
        let around = |images: &[&str], also: &[&str]| {
            let paths = |names: &[&str]| names.iter().map(|name| root.join(name)).collect();
            let (images, also): (Vec<_>, Vec<_>) = (paths(images), paths(also));
            Context::around(Arc::new(RealHost), None, &images, &also)
                .unwrap()
                .context
        };
        let context = around(&["lab/top"], &["also"]);
        assert_eq!(
            context.looked_in.named,
            [root.join("also"), root.join("lab")]
        );
        assert_eq!(context.looked_in.reached, [root.join("far")]);
        assert_eq!(context.looked_in.dirs().len(), 3);
        assert_eq!(context.forest.len(), 3);
        // Named from further inside, what contains it is still only reached.
        create(&["-F", "qcow2", "-b", "../top", "lab/inner/leaf"]);
        let context = around(&["lab/inner/leaf"], &[]);
        assert_eq!(context.looked_in.named, [root.join("lab/inner")]);
        assert_eq!(
            context.looked_in.reached,
            [root.join("far"), root.join("lab")]
        );
        assert_eq!(
            context.looked_in.dirs(),
            [root.join("far"), root.join("lab")]
        );
        assert!(Context::around(Arc::new(RealHost), None, &[root.join("none")], &[]).is_err());
    }
}
