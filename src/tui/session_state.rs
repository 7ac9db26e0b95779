//! What is remembered from one run to the next on the same directories: the order, the folds, how the
//! panes share the screen. Losing it costs nothing, so nothing here ever stands in the way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::app::App;
use super::order::Sort;

const FILE: &str = "screen.json";
/// Sets of directories remembered at most; those seen longest ago are forgotten first.
const MOST: usize = 50;
/// Folds remembered of each at most.
const MOST_FOLDS: usize = 2000;
/// A longer file than this is none of ours.
const MOST_BYTES: u64 = 8 << 20;

/// Takes over what is remembered of the directories that are open, and what others there were.
pub(crate) fn recall(app: &mut App, state_dir: Option<&Path>) {
    let Some(dir) = state_dir else { return };
    let roots = app.settings.roots.clone();
    app.session.recent_folders = SessionState::recent(dir, &roots);
    if let Some(memory) = SessionState::load(dir, &roots) {
        memory.recall(app);
    }
    app.session.journal = Some(roots);
}

/// Keeps what is worth it for the next time the directories are opened.
pub(crate) fn remember(app: &App, state_dir: Option<&Path>) {
    if let Some(dir) = state_dir {
        // Nothing is lost but folds.
        let _ = SessionState::of(app).save(dir);
    }
}

/// What is remembered of one set of directories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct SessionState {
    /// The directories.
    pub roots: Vec<PathBuf>,
    /// The name of the order.
    sort: String,
    /// Images whose children are hidden.
    pub folds: Vec<PathBuf>,
    /// Per cent added to the images pane's share.
    pub split: i16,
    /// Whether the detail pane is hidden.
    hidden: bool,
}

impl SessionState {
    /// What is worth remembering of an interface.
    #[must_use]
    fn of(app: &App) -> Self {
        let folds = app.tree.folds.iter();
        let mut folds: Vec<PathBuf> = folds
            .filter_map(|id| Some(app.forest.get(*id)?.path.clone()))
            .filter(|path| path.to_str().is_some())
            .chain(app.tree.fold_paths.iter().cloned())
            .collect();
        folds.sort_unstable();
        folds.truncate(MOST_FOLDS);
        Self {
            roots: app.settings.roots.clone(),
            sort: app.tree.sort.name().to_owned(),
            folds,
            split: app.split,
            hidden: app.detail.hidden,
        }
    }

    /// Takes over what was remembered from an earlier run on the same directories.
    fn recall(self, app: &mut App) {
        app.tree.sort = self.sort();
        app.tree.fold_paths = self.folds.into_iter().collect();
        app.split = self.split.clamp(-40, 40);
        app.detail.hidden = self.hidden;
        app.changed();
    }

    /// The order.
    #[must_use]
    pub(crate) fn sort(&self) -> Sort {
        let known = Sort::ALL.into_iter().find(|sort| sort.name() == self.sort);
        known.unwrap_or_default()
    }

    /// What is remembered of these directories; nothing where the file is not there or makes no sense.
    #[must_use]
    fn load(dir: &Path, roots: &[PathBuf]) -> Option<Self> {
        all(dir).into_iter().find(|memory| memory.roots == roots)
    }

    /// The sets of directories that are remembered but for these, the newest first.
    #[must_use]
    fn recent(dir: &Path, roots: &[PathBuf]) -> Vec<Vec<PathBuf>> {
        let all = all(dir).into_iter().map(|memory| memory.roots);
        all.filter(|known| known != roots && !known.is_empty())
            .collect()
    }

    /// Remembers this beside what is known of other directories. The file is replaced in one step, and
    /// left alone if nothing changed.
    ///
    /// # Errors
    /// The system's own.
    fn save(self, dir: &Path) -> io::Result<()> {
        let mut all = all(dir);
        if all.first() == Some(&self) {
            return Ok(());
        }
        all.retain(|memory| memory.roots != self.roots);
        all.insert(0, self);
        all.truncate(MOST);
        fs::create_dir_all(dir)?;
        let file = tempfile::NamedTempFile::new_in(dir)?;
        serde_json::to_writer(&file, &all)?;
        file.persist(dir.join(FILE)).map_err(|error| error.error)?;
        Ok(())
    }
}

fn all(dir: &Path) -> Vec<SessionState> {
    let path = dir.join(FILE);
    if fs::metadata(&path).is_ok_and(|stat| stat.len() > MOST_BYTES) {
        return Vec::new();
    }
    let text = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(root: &str, split: i16) -> SessionState {
        SessionState {
            roots: vec![root.into()],
            sort: "size".to_owned(),
            folds: vec!["/vm/a.qcow2".into()],
            split,
            hidden: false,
        }
    }

    #[test]
    fn each_set_of_directories_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        memory("/vm", 5).save(&state).unwrap();
        memory("/srv", 10).save(&state).unwrap();
        memory("/vm", 15).save(&state).unwrap();
        let seen = SessionState::load(&state, &["/vm".into()]).unwrap();
        assert_eq!(seen, memory("/vm", 15));
        assert_eq!(seen.sort(), Sort::Size);
        assert_eq!(
            SessionState::load(&state, &["/srv".into()]).unwrap().split,
            10
        );
        assert_eq!(SessionState::load(&state, &["/other".into()]), None);
        let recent = |root: &str| SessionState::recent(&state, &[root.into()]);
        let sets = |roots: &[&str]| {
            roots
                .iter()
                .map(|root| vec![PathBuf::from(root)])
                .collect::<Vec<_>>()
        };
        assert_eq!(recent("/other"), sets(&["/vm", "/srv"]));
        assert_eq!(recent("/vm"), sets(&["/srv"]));
        memory("/srv", 10).save(&state).unwrap();
        assert_eq!(recent("/other"), sets(&["/srv", "/vm"]), "the newest first");
    }

    #[test]
    fn a_file_that_makes_no_sense_is_nothing_remembered() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "[{\"roots\":3}]").unwrap();
        assert_eq!(SessionState::load(dir.path(), &["/vm".into()]), None);
        memory("/vm", 5).save(dir.path()).unwrap();
        assert!(SessionState::load(dir.path(), &["/vm".into()]).is_some());
    }
}
