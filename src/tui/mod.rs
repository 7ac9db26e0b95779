//! The terminal interface: state ([`App`]), messages ([`Msg`]), a pure step ([`update`]), views
//! that only read, one table of keys ([`keymap`]), and a runner that owns the terminal and the
//! worker threads. No rule about what is safe lives here, and no knowledge of the format.

pub mod app;
pub mod dialog;
pub mod filter;
pub mod key;
pub mod keymap;
pub mod layout;
pub mod msg;
pub mod picture;
pub mod reasons;
pub mod rows;
mod runner;
pub mod svg;
mod terminal;
pub mod text;
pub mod theme;
mod update;
pub mod views;
mod work;

pub use app::{App, Settings};
pub use msg::{Effect, Msg};
pub use runner::run;
pub use update::{start, update};

use std::path::PathBuf;

use theme::Theme;

/// How the interface is to be opened.
#[derive(Debug, Clone, Default)]
pub struct TuiOptions {
    /// The directories to look at, with all below them.
    pub roots: Vec<PathBuf>,
    /// Whether backing files outside the directories are opened too.
    pub follow: bool,
    /// Whether raw images are listed by their names' extensions.
    pub raw: bool,
    /// Whether whatever changes files is hidden.
    pub read_only: bool,
    /// Whether only ASCII characters are drawn; also chosen by itself where the locale asks for it.
    pub ascii: bool,
    /// Whether no colours are used; also chosen by itself where `NO_COLOR` is set.
    pub no_color: bool,
    /// Where what is remembered from run to run is kept, if anything shall be.
    pub state_dir: Option<PathBuf>,
}

impl TuiOptions {
    /// The same with absolute directories, which is what is shown and what backing names are
    /// compared with. Links are not resolved.
    fn absolute(&self) -> Self {
        let roots = self.roots.iter();
        Self {
            roots: roots
                .map(|root| std::path::absolute(root).unwrap_or_else(|_| root.clone()))
                .collect(),
            ..self.clone()
        }
    }

    /// What the interface itself needs of it, with what the environment says.
    fn settings(&self) -> Settings {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let locale = locale.map(|locale| locale.to_string_lossy().to_lowercase());
        Settings {
            roots: self.roots.clone(),
            read_only: self.read_only,
            ascii: self.ascii || wants_ascii(locale.as_deref()),
            theme: if self.no_color || set("NO_COLOR").is_some() {
                Theme::Plain
            } else {
                Theme::Ansi
            },
            home: set("HOME").map(PathBuf::from),
        }
    }
}

/// Locales without UTF-8 cannot show more than ASCII; in those of Chinese, Japanese and Korean the
/// signs of the tree may be two cells wide.
fn wants_ascii(locale: Option<&str>) -> bool {
    let Some(locale) = locale else {
        return true;
    };
    let is_utf8 = locale.contains("utf-8") || locale.contains("utf8");
    !is_utf8
        || ["zh", "ja", "ko"]
            .iter()
            .any(|language| locale.starts_with(language))
}

#[cfg(test)]
mod tests {
    use super::wants_ascii;

    #[test]
    fn the_locale_decides_about_characters() {
        assert!(wants_ascii(None));
        assert!(wants_ascii(Some("c")));
        assert!(wants_ascii(Some("ja_jp.utf-8")));
        assert!(!wants_ascii(Some("en_us.utf-8")));
        assert!(!wants_ascii(Some("c.utf8")));
    }
}
