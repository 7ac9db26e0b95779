//! What a host tells again. Mostly that is what is known already: of that nothing is kept twice.

use std::collections::HashMap;

use crate::forest::ScannedFile;
use crate::host::{FileId, Holder};

use super::host_images::Images;

/// What a host has told again so far, beside what is known of it, which is [sorted](Images::sort).
#[derive(Debug, Clone)]
pub struct ToldAgain {
    /// Of each file that is known, whether it was told of as it is known.
    is_same: Vec<bool>,
    /// Files that are other than what is known.
    others: Vec<ScannedFile>,
    /// Which files processes have open.
    held: HashMap<FileId, Vec<Holder>>,
}

impl ToldAgain {
    /// Nothing so far, of a host of which so much is known.
    #[must_use]
    pub fn beside(known: &Images) -> Self {
        Self {
            is_same: vec![false; known.files.len()],
            others: Vec::new(),
            held: HashMap::new(),
        }
    }

    /// Takes in files that it has met.
    pub fn found(&mut self, known: &Images, files: Vec<ScannedFile>) {
        for file in files {
            let at = known.place_of(&file);
            let same = at.filter(|at| known.files.get(*at) == Some(&file));
            match same.and_then(|at| self.is_same.get_mut(at)) {
                Some(is_same) => *is_same = true,
                None => self.others.push(file),
            }
        }
    }

    /// Takes in which files processes have open.
    pub fn held(&mut self, held: HashMap<FileId, Vec<Holder>>) {
        self.held.extend(held);
    }

    /// All that it has told; none where that is what is known.
    #[must_use]
    pub fn end(self, known: &Images) -> Option<Images> {
        let is_all = self.is_same.iter().all(|is_same| *is_same);
        if is_all && self.others.is_empty() && self.held == known.held {
            return None;
        }
        let same = known.files.iter().zip(&self.is_same);
        let same = same.filter(|(_, is_same)| **is_same);
        let mut told = Images::of(&known.host);
        told.extend(same.map(|(file, _)| file.clone()).collect());
        told.extend(self.others);
        told.held = self.held;
        told.sort();
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::forest::Content;

    fn file(path: &str) -> ScannedFile {
        ScannedFile {
            path: PathBuf::from(path),
            symlink: false,
            stat: None,
            content: Content::Raw,
            backing: None,
            also: Vec::new(),
            holders: Vec::new(),
            annotation: None,
            sharing: None,
        }
    }

    fn known(paths: &[&str]) -> Images {
        let mut known = Images::of("web");
        known.extend(paths.iter().map(|path| file(path)).collect());
        known.sort();
        known
    }

    fn again(known: &Images, files: Vec<ScannedFile>) -> Option<Vec<PathBuf>> {
        let mut again = ToldAgain::beside(known);
        for file in files {
            again.found(known, vec![file]);
        }
        let told = again.end(known)?;
        Some(told.files.into_iter().map(|file| file.path).collect())
    }

    #[test]
    fn the_order_in_which_files_are_met_is_no_difference_and_what_they_hold_is() {
        let known = known(&["b", "a"]);
        assert_eq!(again(&known, vec![file("b"), file("a")]), None);
        for others in [&["a"][..], &["a", "c"], &["a", "b", "c"], &[]] {
            let told = again(&known, others.iter().map(|path| file(path)).collect());
            let expected: Vec<PathBuf> = others.iter().map(PathBuf::from).collect();
            assert_eq!(told, Some(expected));
        }
        let mut link = file("b");
        link.symlink = true;
        let told = again(&known, vec![link, file("a")]);
        assert_eq!(told, Some(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn who_has_a_file_open_is_a_difference() {
        let known = known(&["a"]);
        let mut again = ToldAgain::beside(&known);
        again.found(&known, vec![file("a")]);
        let id = FileId {
            device: 1,
            inode: 2,
        };
        again.held(HashMap::from([(id, Vec::new())]));
        let told = again.end(&known).unwrap();
        assert_eq!((told.files.len(), told.held.len()), (1, 1));
    }

    #[test]
    fn nothing_of_what_is_known_is_kept_twice() {
        let known = known(&["a", "b", "c"]);
        let mut again = ToldAgain::beside(&known);
        again.found(&known, ["a", "b", "c"].map(file).to_vec());
        assert!(again.others.is_empty());
    }
}
