//! What the person has set up: directories to open, defaults, keys, colours, commands of their own.
//! One TOML file, every line of which may be left out; a line that means nothing is told with its
//! number and the rest still holds. How the file is read is in `read`, how it is printed in `print`.

mod command;
mod host;
mod notices;
mod print;
mod read;
mod toml_text;

use std::io;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

pub(crate) use command::{CommandOutput, Fill, OwnCommand};
pub(crate) use notices::{NoticeBy, Notices};

use crate::fleet::HostEntry;

use super::bindings::Keymap;
use super::order::Sort;
use super::theme::Theme;

/// The name of the file in the program's configuration directory.
const FILE: &str = "config.toml";
/// A longer file than this is none of ours.
const MOST_BYTES: u64 = 1 << 20;

/// Everything that can be set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directories opened where none are named; empty for the current one.
    pub roots: Vec<PathBuf>,
    /// Whether backing files outside the directories are opened too.
    pub follow: bool,
    /// Whether raw images are listed by their names' extensions.
    pub raw: bool,
    /// Whether whatever changes files is refused.
    pub read_only: bool,
    /// Whether only ASCII characters are drawn; none to let the locale decide.
    pub ascii: Option<bool>,
    /// Whether the mouse is listened to from the start.
    pub mouse: bool,
    /// Whether directories are watched for changes.
    pub watch: bool,
    /// The order of rows where none is remembered.
    pub sort: Sort,
    /// Leaves untouched for so many days are ticked when pruning.
    pub prune_days: u64,
    /// What starts a throw-away machine: a program and its words; none for the usual one.
    pub template: Vec<String>,
    /// When the end of a job is told to somebody who looks elsewhere.
    pub notices: Notices,
    /// Whether the terminal is asked about itself at the start.
    pub ask_terminal: bool,
    /// The theme's name; none to go by the terminal's ground.
    pub theme: Option<&'static str>,
    /// What keys do.
    pub keymap: Keymap,
    /// The person's own commands.
    pub commands: Vec<OwnCommand>,
    /// Other machines.
    pub hosts: Vec<HostEntry>,
    /// The person's own lines of colours and keys, as they are in the file.
    own: Own,
}

#[derive(Debug, Clone, Default)]
struct Own {
    style: Vec<(String, String)>,
    keys: Vec<(String, Vec<String>)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            follow: false,
            raw: false,
            read_only: false,
            ascii: None,
            mouse: true,
            watch: true,
            sort: Sort::default(),
            prune_days: 30,
            template: Vec::new(),
            notices: Notices::default(),
            ask_terminal: true,
            theme: None,
            keymap: Keymap::default(),
            commands: Vec::new(),
            hosts: Vec::new(),
            own: Own::default(),
        }
    }
}

/// Something in the file that does not do what it seems to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it, and what happens instead.
    pub text: String,
}

/// What stands in the file for a theme that goes by the terminal's ground.
const BY_GROUND: &str = "auto";

impl Config {
    /// How roles look on a ground that is light or dark, or not known: the theme with the person's own lines
    /// over it.
    #[must_use]
    pub fn theme_on(&self, is_light: Option<bool>) -> Theme {
        let name = self.theme.unwrap_or(match is_light {
            Some(true) => "light",
            Some(false) => "dark",
            None => "ansi",
        });
        let mut theme = Theme::named(name).unwrap_or_default();
        for (role, look) in &self.own.style {
            // Lines that make no sense were told when the file was read, and left out.
            let _ = theme.set(role, look);
        }
        theme
    }

    /// Where the file is looked for: `qanopy/config.toml` in `$XDG_CONFIG_HOME` (`~/.config`). None if
    /// there is no home directory.
    #[must_use]
    pub fn default_path() -> Option<PathBuf> {
        let base = etcetera::base_strategy::Xdg::new().ok()?;
        Some(base.config_dir().join("qanopy").join(FILE))
    }

    /// Reads the file; one that is not there is an empty one.
    ///
    /// # Errors
    /// The system's own, and `InvalidData` for a file that is too long or no text.
    pub fn load(path: &Path) -> io::Result<(Self, Vec<Warning>)> {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::default(), Vec::new()));
            }
            Err(error) => return Err(error),
            Ok(stat) if stat.len() > MOST_BYTES => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "longer than 1 MiB: this is no configuration",
                ));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path)?;
        let home = std::env::var_os("HOME").map(PathBuf::from);
        Ok(Self::read(&text, home.as_deref()))
    }
}

#[cfg(test)]
mod tests;
