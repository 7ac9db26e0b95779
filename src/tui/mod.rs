//! The terminal interface: state ([`App`]), messages ([`Msg`]), a pure step ([`update`]), views
//! that only read, one table of keys ([`keymap`]), and a runner that owns the terminal and the
//! worker threads. No rule about what is safe lives here, and no knowledge of the format.

pub mod actions;
pub mod app;
pub mod bindings;
pub mod config;
mod copy;
mod crash;
pub mod detail_pane;
pub mod diagram;
pub mod dialogs;
pub mod disabled_reason;
pub mod filter;
pub mod forms;
pub mod health;
pub mod jobs;
pub mod key;
pub mod keymap;
pub mod labels;
pub mod layout;
pub mod log;
pub mod map;
pub mod msg;
mod options;
pub mod order;
mod panes;
pub mod plan_preview;
pub mod query;
pub mod refresh;
pub mod rows;
mod runner;
pub mod secret;
pub mod selected_chain;
pub mod selection;
pub mod session;
pub mod session_state;
pub mod settings;
pub mod summary;
mod terminal;
pub mod text;
pub mod theme;
pub mod ui;
mod update;
pub mod views;
mod watch;
mod workers;

pub use app::App;
pub use msg::{Effect, Msg};
pub use options::TuiOptions;
pub use runner::run;
pub use settings::Settings;
pub use ui::Ui;
pub use update::{start, update};
