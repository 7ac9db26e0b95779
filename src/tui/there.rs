//! Where what is asked of images is done: here, or by the host that they are of.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::forest::far::host_and_path;
use crate::ops::Request;

use super::hosts::Hosts;

/// Where a request is done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// By this machine.
    Here,
    /// By a host: its place, and the words of the command line that asks for it there.
    There(usize, Vec<OsString>),
    /// By none: why, as a sentence.
    Nowhere(String),
}

/// Where a request is done.
#[must_use]
pub(super) fn place(hosts: &Hosts, request: &Request) -> Place {
    let paths = request.paths();
    let mut of: Vec<Option<usize>> = paths.iter().map(|path| hosts.of_path(path)).collect();
    of.sort_unstable();
    of.dedup();
    let name = |at: &Option<usize>| match at.and_then(|at| hosts.list.get(at)) {
        Some(host) => host.name.clone(),
        None => "this machine".to_owned(),
    };
    match of.as_slice() {
        [] | [None] => Place::Here,
        [Some(at)] => match words(request, &name(&Some(*at))) {
            Ok(words) => Place::There(*at, words),
            Err(why) => Place::Nowhere(why),
        },
        several => {
            let names: Vec<String> = several.iter().map(name).collect();
            Place::Nowhere(format!(
                "It names files of {}: nothing is done on several machines at once.",
                names.join(" and ")
            ))
        }
    }
}

/// The command line that asks for the same there.
fn words(request: &Request, host: &str) -> Result<Vec<OsString>, String> {
    let there = |path: &Path| {
        let (of, path) = host_and_path(path)?;
        (of == host).then(|| path.to_path_buf())
    };
    let word = request.name();
    let request = request.clone().with_paths(&mut { there });
    let line = request.and_then(|request| request.command_line());
    let Some(line) = line else {
        return Err(format!(
            "No command line asks {host} for this {word}: do it there."
        ));
    };
    let words: Vec<OsString> = line.words().iter().skip(1).cloned().collect();
    let begin = format!("{host}:/");
    let is_left = |word: &OsString| {
        let mut parts = word.as_bytes().windows(begin.len());
        parts.any(|part| part == begin.as_bytes())
    };
    match words.iter().any(is_left) {
        false => Ok(words),
        true => Err(format!(
            "This {word} cannot be asked of {host} from here: do it there."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    use crate::fleet::{Destination, FarFolders};

    fn hosts() -> Hosts {
        let folders = |name: &str| FarFolders {
            to: Destination::of(name, &[], None),
            folders: vec!["/srv".into()],
            scan: Vec::new(),
            read: Vec::new(),
        };
        Hosts::of(&[folders("web"), folders("db")])
    }

    fn discard(images: &[&str]) -> Request {
        let images = images.iter().map(PathBuf::from).collect();
        Request::discard(images)
    }

    #[test]
    fn what_names_files_of_one_host_is_asked_of_it_by_its_own_names() {
        let request = discard(&["db:/srv/-a", "db:/srv/b:/c"]);
        let words = ["discard", "/srv/-a", "/srv/b:/c"].map(OsString::from);
        assert_eq!(place(&hosts(), &request), Place::There(1, words.to_vec()));
        assert_eq!(place(&hosts(), &discard(&["/srv/a"])), Place::Here);
        // Nobody of that name is asked.
        assert_eq!(place(&hosts(), &discard(&["other:/srv/a"])), Place::Here);
    }

    #[test]
    fn what_names_files_of_several_machines_is_refused() {
        for images in [["web:/a", "db:/a"], ["web:/a", "/a"]] {
            let Place::Nowhere(why) = place(&hosts(), &discard(&images)) else {
                panic!("{images:?}");
            };
            assert!(why.contains("several machines"), "{why}");
        }
    }
}
