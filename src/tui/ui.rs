//! The interface: what is known, and what is open over it.

use super::app::App;
use super::dialogs::Dialogs;
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
}
