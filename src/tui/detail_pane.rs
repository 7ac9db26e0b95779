//! The detail pane: which part of what is known of the selected image it shows, and what the disk told of
//! that image.

use std::path::PathBuf;
use std::sync::Arc;

use super::actions::Action;
use super::file_changes::Files;
use super::map::MapSeen;
use super::msg::LiveInfo;
use super::selected_chain::SelectedChain;

/// What the detail pane shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tab {
    /// All facts.
    #[default]
    Info,
    /// The chain.
    Chain,
    /// The files it has changed, or the ranges where no filesystem is read.
    Changes,
    /// Where its bytes are.
    Map,
    /// What its bytes are used for in the guest.
    Explain,
    /// What is wrong, and what the last check found.
    Health,
    /// Its internal snapshots.
    Snapshots,
}

impl Tab {
    /// All of them in order, with the action that shows each and its title.
    pub const ALL: [(Self, Action, &'static str); 7] = [
        (Self::Info, Action::Info, "Info"),
        (Self::Chain, Action::Chain, "Chain"),
        (Self::Changes, Action::Changes, "Diff"),
        (Self::Map, Action::Map, "Map"),
        (Self::Health, Action::Health, "Health"),
        (Self::Snapshots, Action::SnapshotList, "Snapshots"),
        (Self::Explain, Action::Explain, "Explain"),
    ];

    /// The next one in order, or the one before.
    #[must_use]
    pub fn beside(self, forward: bool) -> Self {
        let count = Self::ALL.len();
        let at = Self::ALL.iter().position(|(tab, ..)| *tab == self);
        let at = at.unwrap_or(0) + if forward { 1 } else { count - 1 };
        Self::ALL.get(at % count).map_or(self, |(tab, ..)| *tab)
    }
}

/// The detail pane, and what is known for it.
#[derive(Debug, Default)]
pub struct DetailPane {
    /// Whether it is hidden, so that the images have the whole width.
    pub hidden: bool,
    /// What the detail pane shows.
    pub tab: Tab,
    /// Lines the detail pane is scrolled by.
    pub scroll: usize,
    /// Lines that what is shown beside the chosen tab, in a pane of its own, is scrolled by.
    pub beside_scroll: usize,
    /// Which line of the health pane is selected, counting those that something helps against.
    pub health_cursor: usize,
    /// The chain of the selected image.
    pub chain: SelectedChain,
    /// What the disk told of the selected image.
    pub info: Option<LiveInfo>,
    /// The image the disk was asked about last.
    pub asked: Option<PathBuf>,
    /// Where the bytes of an image are, or why that cannot be told.
    pub map: Option<(PathBuf, Result<Arc<MapSeen>, String>)>,
    /// What is known of the files inside images.
    pub files: Files,
    /// The image whose map was asked for last.
    pub map_asked: Option<PathBuf>,
}
