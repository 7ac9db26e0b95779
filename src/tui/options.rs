//! How the interface is to be opened, and what the environment adds to that.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::fleet::{FarFolders, Peers};
use crate::system::local_offset;

use super::config::Config;
use super::settings::Settings;
use super::terminal_query::{Heard, Questions};
use super::theme::Depth;

/// How the interface is to be opened.
#[derive(Debug, Clone, Default)]
pub struct TuiOptions {
    /// The directories to look at, with all below them.
    pub roots: Vec<PathBuf>,
    /// Folders of other machines, shown beside these.
    pub hosts: Vec<FarFolders>,
    /// Whether backing files outside the directories are opened too.
    pub follow: bool,
    /// Whether raw images are listed by their names' extensions.
    pub raw: bool,
    /// Whether whatever changes files is hidden.
    pub read_only: bool,
    /// Whether only ASCII characters are drawn; where none is said, the configuration or the locale decides.
    pub ascii: Option<bool>,
    /// Whether the terminal is asked for its ground and the width of signs, if the configuration lets it.
    pub asks_terminal: bool,
    /// Whether these are the sample forests, which the tour is about.
    pub is_demo: bool,
    /// Whether it begins at once.
    pub tour: bool,
    /// What the person has set up.
    pub config: Config,
    /// What is wrong with the configuration, each as a sentence.
    pub warnings: Vec<String>,
    /// The hosts that are asked who uses files of shared storage.
    pub peers: Peers,
    /// Where what is remembered from run to run is kept, if anything shall be.
    pub state_dir: Option<PathBuf>,
}

impl TuiOptions {
    /// The same with absolute directories, which is what is shown and what backing names are
    /// compared with. Links are not resolved.
    pub(super) fn absolute(&self) -> Self {
        let roots = self.roots.iter();
        Self {
            roots: roots
                .map(|root| std::path::absolute(root).unwrap_or_else(|_| root.clone()))
                .collect(),
            ..self.clone()
        }
    }

    /// What the terminal is to be asked: only what makes a difference.
    pub(super) fn questions(&self) -> Questions {
        if !self.asks_terminal || !self.config.ask_terminal {
            return Questions::default();
        }
        let has_colours = !matches!(depth(), Depth::None | Depth::Sixteen);
        Questions {
            ground: has_colours && self.config.theme.is_none(),
            width: self.ascii.or(self.config.ascii).is_none()
                && charset_of(locale().as_deref()) == Signs::InDoubt,
        }
    }

    /// What the interface itself needs of it, with what the environment says and the terminal has told.
    pub(super) fn settings(&self, heard: &Heard) -> Settings {
        let config = &self.config;
        let asks_ascii = || match charset_of(locale().as_deref()) {
            Signs::Ascii => true,
            Signs::All => false,
            Signs::InDoubt => heard.is_narrow != Some(true),
        };
        Settings {
            roots: self.roots.clone(),
            hosts: self.hosts.clone(),
            read_only: self.read_only,
            ascii: self.ascii.or(config.ascii).unwrap_or_else(asks_ascii),
            theme: config.theme_on(heard.is_light).at_depth(depth()),
            is_demo: self.is_demo,
            home: set("HOME").map(PathBuf::from),
            here: std::env::current_dir().ok(),
            keymap: config.keymap.clone(),
            commands: config.commands.clone(),
            prune_days: config.prune_days,
            template: config.template.clone(),
            mouse: config.mouse,
            raw: self.raw,
            utc_offset: local_offset(),
            notices: config.notices,
        }
    }
}

fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn text(name: &str) -> Option<String> {
    set(name).map(|value| value.to_string_lossy().to_lowercase())
}

fn locale() -> Option<String> {
    ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(text)
}

fn depth() -> Depth {
    Depth::of(
        set("NO_COLOR").is_some(),
        text("COLORTERM").as_deref(),
        text("TERM").as_deref(),
    )
}

/// The signs that a locale's terminals can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signs {
    /// No more than ASCII.
    Ascii,
    /// All, but they may be two cells wide.
    InDoubt,
    /// All.
    All,
}

/// Locales without UTF-8 cannot show more than ASCII; in those of Chinese, Japanese and Korean the
/// signs of the tree may be two cells wide.
fn charset_of(locale: Option<&str>) -> Signs {
    let is_utf8 = |locale: &str| locale.contains("utf-8") || locale.contains("utf8");
    let languages = ["zh", "ja", "ko"];
    match locale {
        Some(locale) if !is_utf8(locale) => Signs::Ascii,
        Some(locale) if languages.iter().any(|name| locale.starts_with(name)) => Signs::InDoubt,
        Some(_) => Signs::All,
        None => Signs::Ascii,
    }
}

#[cfg(test)]
mod tests {
    use super::{Signs, charset_of};

    #[test]
    fn the_locale_decides_about_characters() {
        assert_eq!(charset_of(None), Signs::Ascii);
        assert_eq!(charset_of(Some("c")), Signs::Ascii);
        assert_eq!(charset_of(Some("ja_jp.eucjp")), Signs::Ascii);
        assert_eq!(charset_of(Some("ja_jp.utf-8")), Signs::InDoubt);
        assert_eq!(charset_of(Some("en_us.utf-8")), Signs::All);
        assert_eq!(charset_of(Some("c.utf8")), Signs::All);
    }
}
