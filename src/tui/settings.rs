//! How the program was started.

use std::path::PathBuf;
use std::time::Duration;

use crate::fleet::FarFolders;
use crate::forest::render::Charset;

use super::bindings::Keymap;
use super::config::{Notices, OwnCommand};
use super::theme::Theme;

/// How the program was started; nothing changes while it runs, but the directories when others are opened.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The directories looked at.
    pub roots: Vec<PathBuf>,
    /// Folders of other machines.
    pub hosts: Vec<FarFolders>,
    /// Whether whatever changes files is hidden.
    pub read_only: bool,
    /// Whether the sample forests are shown.
    pub is_demo: bool,
    /// Whether only ASCII characters are drawn.
    pub ascii: bool,
    /// How roles look.
    pub theme: Theme,
    /// The person's home, shown as `~`.
    pub home: Option<PathBuf>,
    /// The folder it was started in.
    pub here: Option<PathBuf>,
    /// What keys do.
    pub keymap: Keymap,
    /// The person's own commands.
    pub commands: Vec<OwnCommand>,
    /// Leaves untouched for so many days are ticked when pruning.
    pub prune_days: u64,
    /// What starts a throw-away machine; none for the usual one.
    pub template: Vec<String>,
    /// Whether the mouse is listened to from the start.
    pub mouse: bool,
    /// Whether raw images are listed by their names' extensions.
    pub raw: bool,
    /// Seconds that the person's clock is ahead of UTC.
    pub utc_offset: i64,
    /// When the end of a job is told to somebody who looks elsewhere.
    pub notices: Notices,
}

impl Settings {
    /// The hosts that are shown with these directories: those of before, where directories are only added.
    #[must_use]
    pub fn hosts_with(&self, roots: &[PathBuf]) -> Vec<FarFolders> {
        match self.roots.iter().all(|root| roots.contains(root)) {
            true => self.hosts.clone(),
            false => Vec::new(),
        }
    }

    /// Leaves untouched for so long are ticked when pruning.
    #[must_use]
    pub fn prune_age(&self) -> Duration {
        Duration::from_secs(self.prune_days.saturating_mul(86_400))
    }

    /// The characters that pictures are drawn with.
    #[must_use]
    pub fn charset(&self) -> Charset {
        if self.ascii {
            Charset::Ascii
        } else {
            Charset::Unicode
        }
    }
}
