//! Paths, names, processes and command lines as they stand in a sentence.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::host::{Holder, printable, shell_quoted};
use crate::image::is_trashed;
use crate::units;
use crate::units::count;

/// A path for people.
pub(in crate::ops) fn shown(path: &Path) -> String {
    printable(path)
}

/// The last part of a path for people, or the path if it has none. Of what is in the trash that is said.
pub(in crate::ops) fn name(path: &Path) -> String {
    let name = units::file_name(path);
    if is_trashed(path) {
        return format!("{name} (in the trash)");
    }
    name
}

/// The names of files, few of them.
pub(in crate::ops) fn listed_names(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| name(path)).collect();
    listed(&names, 5)
}

/// `a`, `a and b`, `a, b and 7 others`: at most `most` names.
pub(in crate::ops) fn listed(names: &[String], most: usize) -> String {
    let shown = if names.len() > most {
        most.saturating_sub(1).max(1)
    } else {
        names.len()
    };
    let hidden = names.len() - shown.min(names.len());
    let mut parts: Vec<String> = names.iter().take(shown).cloned().collect();
    if hidden > 0 {
        parts.push(count(hidden, "other"));
    }
    match parts.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// Processes for people: `qemu-system-x86 (process 4242)`; what to say if none can be seen.
pub(in crate::ops) fn processes(holders: &[Holder]) -> String {
    let names: Vec<String> = holders
        .iter()
        .filter(|holder| !holder.is_unseen())
        .map(|holder| printable(holder.to_string()))
        .collect();
    if names.is_empty() {
        "a process that cannot be seen from here (of another user, or on another machine)"
            .to_owned()
    } else {
        listed(&names, 4)
    }
}

/// A command line that may be copied into a shell.
pub(in crate::ops) fn command<S: AsRef<OsStr>>(words: &[S]) -> String {
    let words: Vec<String> = words.iter().map(shell_quoted).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_names_end_in_a_count() {
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        assert_eq!(listed(&[], 3), "");
        assert_eq!(listed(&names[..1], 3), "a");
        assert_eq!(listed(&names[..3], 3), "a, b and c");
        assert_eq!(listed(&names, 3), "a, b and 3 others");
    }
}
