//! How paths are written for people: from the directory looked at where they lie in one, and with `~` for the
//! home directory.

use std::path::{Path, PathBuf};

use crate::host::printable;

/// What paths are seen from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Places<'a> {
    /// The directories looked at.
    pub roots: &'a [PathBuf],
    /// The person's home.
    pub home: Option<&'a Path>,
}

impl Places<'_> {
    /// A path for people: the home directory is `~`.
    #[must_use]
    pub fn shown(self, path: &Path) -> String {
        match self.home.and_then(|home| path.strip_prefix(home).ok()) {
            Some(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
            Some(rest) => format!("~/{}", printable(rest)),
            None => printable(path),
        }
    }

    /// A sentence with its paths written so.
    #[must_use]
    pub fn brief(self, text: &str) -> String {
        let roots = self.roots.iter().map(|root| (root.as_path(), ""));
        let home = self.home.map(|home| (home, "~/"));
        roots
            .chain(home)
            .fold(text.to_owned(), |text, (dir, short)| {
                let dir = format!("{}/", printable(dir).trim_end_matches('/'));
                match dir.len() {
                    1 => text,
                    _ => replaced_paths(&text, &dir, short),
                }
            })
    }

    /// A path for people, from the directory looked at that it lies in.
    #[must_use]
    pub fn inside(self, path: &Path) -> String {
        let mut roots = self.roots.iter();
        let inside = roots.find_map(|root| path.strip_prefix(root).ok());
        inside
            .filter(|inside| !inside.as_os_str().is_empty())
            .map_or_else(|| self.shown(path), printable)
    }
}

/// The text with what its paths begin with written otherwise; inside a longer path it stays.
fn replaced_paths(text: &str, begin: &str, by: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(begin) {
        out.push_str(before);
        let starts_here = !out.ends_with(|c: char| c.is_alphanumeric() || "/._-~".contains(c));
        let is_name = after.starts_with(|c: char| !c.is_whitespace());
        out.push_str(if starts_here && is_name { by } else { begin });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_a_sentence_are_those_that_are_shown() {
        let roots = [PathBuf::from("/vm"), PathBuf::from("/")];
        let places = Places {
            roots: &roots,
            home: Some(Path::new("/home/ann")),
        };
        for (text, brief) in [
            ("/vm/a.qcow2 is in use.", "a.qcow2 is in use."),
            ("read \"/vm/sub/a\" (/vm/b)", "read \"sub/a\" (b)"),
            ("/srv/vm/a stays", "/srv/vm/a stays"),
            ("/home/ann/x and /vm/ and /vm", "~/x and /vm/ and /vm"),
        ] {
            assert_eq!(places.brief(text), brief);
        }
    }
}
