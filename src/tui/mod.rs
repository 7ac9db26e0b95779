//! The terminal interface: state (`ui`), messages (`msg`), a pure step (`update`), views
//! that only read, one table of keys (`keymap`), and a runner that owns the terminal and the
//! worker threads. No rule about what is safe lives here, and no knowledge of the format.

mod actions;
mod app;
mod bindings;
pub(crate) mod config;
mod copy;
mod crash;
mod detail_pane;
mod diagram;
mod dialogs;
mod disabled_reason;
mod filter;
mod forms;
mod health;
mod jobs;
mod key;
mod keymap;
mod labels;
mod layout;
mod log;
mod map;
mod msg;
mod options;
mod order;
mod panes;
mod plan_preview;
mod query;
mod refresh;
mod rows;
mod runner;
mod secret;
mod selected_chain;
mod selection;
mod session;
mod session_state;
mod settings;
mod summary;
mod terminal;
mod text;
mod theme;
mod ui;
mod update;
mod views;
mod watch;
mod workers;

pub use options::TuiOptions;
pub use runner::run;

/// What the tests and benches of the interface reach into. No promise is made about any of it.
#[doc(hidden)]
pub mod testing {
    pub use super::dialogs::Dialog;
    pub use super::dialogs::form::FieldName;
    pub use super::filter::Filter;
    pub use super::jobs::{JobState, Work};
    pub use super::key::{Code, Key};
    pub use super::keymap::markdown_table;
    pub use super::msg::{Effect, Interrupted, Msg, ScanEnd, Watching};
    pub use super::order::{Sort, View};
    pub use super::query::{Completions, Measured};
    pub use super::rows::{RowOptions, Rows};
    pub use super::settings::Settings;
    pub use super::theme::Theme;
    pub use super::ui::Ui;
    pub use super::update::{start, update};
    pub use super::views::draw;
}
