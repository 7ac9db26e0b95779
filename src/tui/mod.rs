//! The terminal interface: state, messages, a pure step, what draws and only reads, one table of keys, and a
//! runner that owns the terminal and the worker threads. No rule about what is safe lives here, and no
//! knowledge of the format.
//!
//! | file | what |
//! |---|---|
//! | `ui`, `app` | the state: what is known, and what is open over it |
//! | `settings`, `selection`, `detail_pane`, `session`, `refresh`, `jobs` | its parts |
//! | `rows`, `order`, `filter`, `summary`, `plan_preview`, `diagram` | what the images pane shows |
//! | `health`, `map`, `selected_chain`, `file_changes`, `change_tree` | what the detail shows |
//! | `hosts`, `host_images`, `told_again`, `there`, `border` | other machines, what they tell, what is done by them, and what keeps their names from this one's files |
//! | `tour`, `tour_strip` | five small tasks on the sample forests |
//! | `actions`, `bindings`, `keymap`, `disabled_reason` | what keys mean, and when not |
//! | `msg`, `query`, `browse` | what happens, and what is asked for |
//! | `dialogs`, `forms` | what takes the keyboard from the panes |
//! | `update` | the step |
//! | `layout`, `views`, `panes`, `labels`, `places`, `status_line`, `text`, `theme` | how it looks |
//! | `runner`, `input`, `terminal`, `clipboard`, `workers`, `watch`, `crash` | the world around it |
//! | `terminal_query`, `answers`, `early_input`, `late_answers` | what the terminal is asked, and what it answers |
//! | `plain` | the same line by line: another runner, that draws nothing |
//! | `options`, `config`, `session_state`, `elsewhere` | how it is begun, and begun anew on other directories |
//!
//! No two of these files import each other, by any way; `tests/core/imports.rs` holds that.

mod actions;
mod answers;
mod app;
mod bindings;
mod border;
mod browse;
mod change_tree;
mod clipboard;
pub(crate) mod config;
mod copy;
mod crash;
mod detail_pane;
mod diagram;
mod dialogs;
mod disabled_reason;
mod early_input;
mod elsewhere;
mod far_answers;
mod file_changes;
pub(crate) mod filter;
mod forms;
mod health;
mod host_images;
mod hosts;
mod input;
mod insides;
mod jobs;
mod key;
mod keymap;
mod labels;
mod late_answers;
mod layout;
mod log;
mod map;
mod msg;
mod options;
mod order;
mod panes;
pub(crate) mod places;
mod plain;
mod plan_preview;
mod query;
mod refresh;
mod remedies;
mod rows;
mod runner;
mod secret;
mod selected_chain;
mod selection;
mod session;
mod session_state;
mod settings;
mod shell;
pub(crate) mod space;
mod status_line;
mod summary;
mod terminal;
mod terminal_query;
mod text;
mod theme;
mod there;
mod told_again;
mod tour;
mod tour_strip;
mod ui;
mod update;
mod views;
mod watch;
mod workers;

pub use options::TuiOptions;
pub use plain::run as run_plain;
pub use runner::run;

/// What the tests and benches of the interface reach into. No promise is made about any of it.
#[doc(hidden)]
pub mod testing {
    pub use super::browse::{
        Answer, Compared, ComparedWith, Comparison, FileRow, FileText, Found, Question, Shown,
        Trouble,
    };
    pub use super::dialogs::Dialog;
    pub use super::dialogs::form::FieldName;
    pub use super::file_changes::{Before, Changes, FilesAnswer, FilesQuery};
    pub use super::filter::Filter;
    pub use super::insides::InsidesFound;
    pub use super::jobs::{JobState, Work};
    pub use super::key::{Code, Key};
    pub use super::keymap::markdown_table;
    pub use super::msg::{Effect, Interrupted, MouseEvent, Msg, ScanEnd, Watching};
    pub use super::order::{Sort, View};
    pub use super::places::Places;
    pub use super::query::{Completions, Measured};
    pub use super::rows::{RowOptions, Rows};
    pub use super::settings::Settings;
    pub use super::space::{Figure, Figures, SpaceFound};
    pub use super::theme::Theme;
    pub use super::ui::Ui;
    pub use super::update::{start, update};
    pub use super::views::draw;
}
