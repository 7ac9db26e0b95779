//! The interface: what is known, and what is open over it.

use std::collections::HashMap;
use std::path::PathBuf;

use super::app::App;
use super::dialogs::Dialogs;
use super::session::Session;
use super::settings::Settings;

/// The interface.
#[derive(Debug, Default)]
pub struct Ui {
    /// What is known.
    pub app: App,
    /// What is open.
    pub dialogs: Dialogs,
}

impl Ui {
    /// A fresh interface for a terminal of that size.
    #[must_use]
    pub fn new(settings: Settings, size: (u16, u16)) -> Self {
        Self {
            app: App::new(settings, size),
            dialogs: Dialogs::default(),
        }
    }

    /// A fresh interface on other directories, which keeps what does not belong to those of before: how it looks,
    /// and what happened in this session.
    #[must_use]
    pub fn on(self, roots: Vec<PathBuf>) -> Self {
        let old = self.app;
        // The tour is about the sample forests: it stays where they stay open.
        let is_demo =
            old.settings.is_demo && old.settings.roots.iter().all(|root| roots.contains(root));
        let hosts = old.settings.hosts_with(&roots);
        let settings = Settings {
            roots,
            hosts,
            is_demo,
            ..old.settings
        };
        let mut ui = Self::new(settings, old.size);
        ui.app.now = old.now;
        ui.app.tree.sort = old.tree.sort;
        ui.app.split = old.split;
        ui.app.mouse = old.mouse;
        ui.app.focused = old.focused;
        ui.app.jobs = old.jobs;
        ui.app.last_query_id = old.last_query_id;
        ui.app.session = Session {
            checks: HashMap::new(),
            halves: Vec::new(),
            changed_bases: Vec::new(),
            had_marks: false,
            toast: None,
            ..old.session
        };
        ui
    }
}
