//! Processes that do not show which files they have open: those of other users, where one has no privileges. What their
//! command lines name is all that can be known of them; who shows it is in `holders`.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::holders::{command_of, option_parts};

/// So many bytes of a command line are read at most.
const MOST_BYTES: u64 = 64 << 10;

/// A process that does not show which files it has open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedProcess {
    /// Its number.
    pub pid: u32,
    /// The command's name, control characters escaped.
    pub command: String,
    /// Whose it is, where that can be seen.
    pub user: Option<u32>,
    /// The absolute paths on its command line, by themselves or as values of options.
    pub names: Vec<PathBuf>,
}

/// `tail (process 12, of user 107)`.
impl fmt::Display for ClosedProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {}", self.command, self.pid)?;
        if let Some(user) = self.user {
            write!(f, ", of user {user}")?;
        }
        f.write_str(")")
    }
}

/// All of them, in order of their numbers. The kernel's own have no file of anybody's open and are left out.
pub(super) fn closed_processes() -> Vec<ClosedProcess> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    numbers.into_iter().filter_map(closed).collect()
}

fn closed(pid: u32) -> Option<ClosedProcess> {
    let process = Path::new("/proc").join(pid.to_string());
    let error = fs::read_dir(process.join("fd")).err()?;
    if error.kind() != io::ErrorKind::PermissionDenied {
        return None;
    }
    let mut line = Vec::new();
    let opened = File::open(process.join("cmdline")).ok()?;
    opened.take(MOST_BYTES).read_to_end(&mut line).ok()?;
    (!line.is_empty()).then(|| ClosedProcess {
        pid,
        command: command_of(&process),
        user: fs::metadata(&process).ok().map(|stat| stat.uid()),
        names: names_in(&line),
    })
}

/// The absolute paths in a command line, words ended by zero bytes: whole words, and parts of options such as
/// `file=/a,id=b`, in which commas are written twice.
fn names_in(line: &[u8]) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for word in line.split(|byte| *byte == 0) {
        let parts = option_parts(word).into_iter();
        let values = parts.map(|part| match part.iter().position(|byte| *byte == b'=') {
            Some(at) => part.into_iter().skip(at + 1).collect(),
            None => part,
        });
        for name in std::iter::once(word.to_vec()).chain(values) {
            let name = PathBuf::from(std::ffi::OsString::from_vec(name));
            if name.is_absolute() && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_names_paths_as_words_and_as_values() {
        let line =
            b"tail\0-f\0/vm/a,b\0if=/vm/c\0-drive\0id=x,file=/vm/d,,e,format=raw\0vm/f\0/vm/c\0";
        let names = ["/vm/a,b", "/vm/a", "/vm/c", "/vm/d,e"].map(PathBuf::from);
        assert_eq!(names_in(line), names);
    }

    #[test]
    fn who_shows_what_it_has_open_is_none_of_them() {
        let me = std::process::id();
        assert!(closed_processes().iter().all(|one| one.pid != me));
        let one = ClosedProcess {
            pid: 12,
            command: "tail".to_owned(),
            user: Some(107),
            names: Vec::new(),
        };
        assert_eq!(one.to_string(), "tail (process 12, of user 107)");
    }
}
