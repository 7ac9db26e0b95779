//! Files of a guest found by name.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crate::guest::filesystem::{NodeId, NodeKind};
use crate::guest::{self, Error, Filesystem};

use super::View;

/// Files looked at in one filesystem at the most.
const MOST_FILES: usize = 2_000_000;
/// Bytes of paths kept at the most, of what was found and of folders that wait.
const MOST_PATHS: usize = 256 << 20;
/// Folders in each other at the most.
const MOST_DEPTH: usize = 256;

/// What names are matched with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Part of the name, upper and lower case the same.
    Part(Vec<u8>),
    /// The whole name with `*` for any text and `?` for any byte, or the whole path where it has a slash; case as
    /// written.
    Glob(Vec<u8>),
}

impl Pattern {
    /// A pattern as a person writes it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        if text.iter().any(|byte| b"*?/".contains(byte)) {
            Self::Glob(text.to_vec())
        } else {
            Self::Part(text.to_ascii_lowercase())
        }
    }

    /// Whether a path, without a leading slash, matches.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        match self {
            Self::Part(part) => {
                let name = name.to_ascii_lowercase();
                part.is_empty() || name.windows(part.len()).any(|window| window == part)
            }
            Self::Glob(glob) if glob.contains(&b'/') => {
                matches(glob.strip_prefix(b"/").unwrap_or(glob), path)
            }
            Self::Glob(glob) => matches(glob, name),
        }
    }
}

/// Whether a text matches a pattern with `*` and `?`; takes time in proportion to both lengths at the worst.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // Where to go on after the last star, which takes one byte more each time.
    let mut back: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                back = Some((at + 1, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || Some(byte) == text.get(from) => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star, taken)) = back else {
                    return false;
                };
                back = Some((star, taken + 1));
                (at, from) = (star, taken + 1);
            }
        }
    }
    pattern
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hit {
    /// The volume it is on.
    pub volume: String,
    /// Its path there, without a leading slash.
    pub path: Vec<u8>,
    /// Which node it is.
    pub id: NodeId,
}

/// The files of an image whose names match, sorted, and what could not be read. `go_on` is asked before each folder.
///
/// # Errors
/// When the image cannot be read, when there are more files than are looked at, or longer paths than are kept, or when
/// it was stopped.
pub fn search(
    view: &View,
    pattern: &Pattern,
    go_on: &mut dyn FnMut() -> bool,
) -> guest::Result<(Vec<Hit>, Vec<String>)> {
    let (mut hits, mut problems) = (Vec::new(), Vec::new());
    let mut kept = 0;
    for (volume, filesystem) in view.disk.filesystems() {
        let mut each = |path: &[u8], id| {
            if pattern.matches(path) {
                kept += path.len();
                hits.push(Hit {
                    volume: volume.name.to_string(),
                    path: path.to_vec(),
                    id,
                });
            }
            kept <= MOST_PATHS
        };
        walk(&**filesystem, &mut problems, &mut each, go_on)?;
    }
    hits.sort();
    Ok((hits, problems))
}

/// Calls `each` for every file of a filesystem with its path, as long as it has room for them.
pub(super) fn walk(
    filesystem: &dyn Filesystem,
    problems: &mut Vec<String>,
    each: &mut dyn FnMut(&[u8], NodeId) -> bool,
    go_on: &mut dyn FnMut() -> bool,
) -> guest::Result<()> {
    let mut folders: Vec<(NodeId, Vec<u8>, usize)> = vec![(filesystem.root(), Vec::new(), 0)];
    let mut met = HashSet::new();
    let mut count = 0;
    // Bytes of the paths of folders that wait.
    let mut waiting = 0;
    while let Some((folder, at, depth)) = folders.pop() {
        if !go_on() {
            return Err(Error::Cancelled);
        }
        waiting -= at.len();
        if !met.insert(folder) {
            note(problems, Error::SeveralNames(at.as_slice().into()))?;
            continue;
        }
        let mut has_room = true;
        let mut unknown = Vec::new();
        let listed = filesystem.entries(folder, &mut |entry| {
            let mut path: Vec<u8> = at.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.name);
            has_room = each(&path, entry.id) && waiting <= MOST_PATHS;
            count += 1;
            match entry.kind {
                Some(NodeKind::Directory) if depth < MOST_DEPTH => {
                    waiting += path.len();
                    folders.push((entry.id, path, depth + 1));
                }
                Some(_) => {}
                None => {
                    waiting += path.len();
                    unknown.push((entry.id, path));
                }
            }
            if count > MOST_FILES || !has_room {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        for (id, path) in unknown {
            let is_folder = match filesystem.node(id) {
                Ok(node) => node.is_directory(),
                Err(error) => {
                    note(problems, error)?;
                    false
                }
            };
            if is_folder && depth < MOST_DEPTH {
                folders.push((id, path, depth + 1));
            } else {
                waiting -= path.len();
            }
        }
        if let Err(error) = listed {
            note(problems, error)?;
        }
        if count > MOST_FILES {
            return Err(Error::TooMuch {
                what: "files",
                most: MOST_FILES as u64,
            });
        }
        if !has_room {
            return Err(Error::TooMuch {
                what: "bytes of paths",
                most: MOST_PATHS as u64,
            });
        }
    }
    Ok(())
}

/// Problems told at the most.
const MOST_PROBLEMS: usize = 20;

fn note(problems: &mut Vec<String>, error: Error) -> guest::Result<()> {
    match error {
        Error::Image(_) | Error::Cancelled => return Err(error),
        other if problems.len() < MOST_PROBLEMS => problems.push(other.to_string()),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_by_part_or_as_a_shell_has_it() {
        for (pattern, path, want) in [
            ("fstab", "etc/fstab", true),
            ("FST", "etc/fstab", true),
            ("etc", "etc/fstab", false),
            ("*.conf", "etc/a.conf", true),
            ("*.conf", "etc/a.conf.d", false),
            ("?.conf", "etc/a.conf", true),
            ("/etc/*", "etc/a/b", true),
            ("etc/f?tab", "etc/fstab", true),
            ("/etc", "usr/etc", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("", "anything", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern.as_bytes()).matches(path.as_bytes()),
                want,
                "{pattern} {path}"
            );
        }
        let long = [b'a'; 5_000];
        assert!(!matches(b"*a*a*a*a*a*a*a*b", &long));
    }
}
