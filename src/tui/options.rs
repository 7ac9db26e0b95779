//! How the interface is to be opened, and what the environment adds to that.

use std::path::PathBuf;

use super::config::Config;
use super::settings::Settings;
use super::theme::Depth;

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
    /// Whether only ASCII characters are drawn; else the configuration or the locale decides.
    pub ascii: bool,
    /// What the person has set up.
    pub config: Config,
    /// What is wrong with the configuration, each as a sentence.
    pub warnings: Vec<String>,
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

    /// What the interface itself needs of it, with what the environment says.
    pub(super) fn settings(&self) -> Settings {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().to_lowercase());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(text);
        let depth = Depth::of(
            set("NO_COLOR").is_some(),
            text("COLORTERM").as_deref(),
            text("TERM").as_deref(),
        );
        let config = &self.config;
        let asks_ascii = || wants_ascii(locale.as_deref());
        Settings {
            roots: self.roots.clone(),
            read_only: self.read_only,
            ascii: self.ascii || config.ascii.unwrap_or_else(asks_ascii),
            theme: config.theme.at_depth(depth),
            home: set("HOME").map(PathBuf::from),
            keymap: config.keymap.clone(),
            commands: config.commands.clone(),
            prune_days: config.prune_days,
            mouse: config.mouse,
            raw: self.raw,
            notices: config.notices,
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
