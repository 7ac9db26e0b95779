//! The table of what is mounted, as `mountinfo` has it (`proc_pid_mountinfo(5)`).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Lines that are read at most.
const MOST_LINES: usize = 65_536;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Which folder of the filesystem is mounted.
    pub(super) root: PathBuf,
    /// Where.
    pub(super) point: PathBuf,
    /// The kind of filesystem: `nfs4`, `fuse.sshfs`.
    pub(super) kind: String,
    /// What is mounted: a device, or `SERVER:/FOLDER`.
    pub(super) source: OsString,
    /// The filesystem's own options, between commas.
    pub(super) options: String,
    /// Whether nothing may be written here.
    pub(super) is_read_only: bool,
}

/// What is mounted where this process runs, in the order in which it came.
#[must_use]
pub(super) fn mounts() -> Vec<Mount> {
    read(&fs::read("/proc/self/mountinfo").unwrap_or_default())
}

/// The mounts of a table; lines that are none are left out.
#[must_use]
pub(super) fn read(table: &[u8]) -> Vec<Mount> {
    let lines = table.split(|byte| *byte == b'\n').take(MOST_LINES);
    lines.filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ');
    let root = unescaped(words.nth(3)?);
    let point = unescaped(words.next()?);
    let has_ro = |options: &str| options.split(',').any(|one| one == "ro");
    let is_read_only = words
        .next()
        .and_then(|options| str::from_utf8(options).ok());
    let is_read_only = is_read_only.is_some_and(has_ro);
    words.find(|word| *word == b"-")?;
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    let kind = text(words.next()?);
    let source = unescaped(words.next()?);
    let options = words.next().map(text).unwrap_or_default();
    Some(Mount {
        root: root.into(),
        point: point.into(),
        kind,
        source,
        is_read_only: is_read_only || has_ro(&options),
        options,
    })
}

/// A word with spaces and the like in octal.
fn unescaped(word: &[u8]) -> OsString {
    let mut name = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((byte, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *byte == b'\\');
        let octal = octal.and_then(|digits| str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        name.push(octal.unwrap_or(*byte));
        rest = match octal {
            Some(_) => after.get(3..).unwrap_or_default(),
            None => after,
        };
    }
    OsString::from_vec(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_line_says_what_is_mounted_where() {
        let table = b"36 35 98:0 /sub /mnt/my\\040images\\134x rw shared:1 - nfs4 nas:/export rw,vers=4.2\n\
            1 2 0:1 / /a\\9 ro,nosuid - ext4 /dev/vda rw\nnonsense\n\n1 2 3:4 / /b rw shared:1 ext4 x\n";
        let found = read(table);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].root, PathBuf::from("/sub"));
        assert_eq!(found[0].point, PathBuf::from("/mnt/my images\\x"));
        assert_eq!(
            (&*found[0].kind, found[0].source.to_str()),
            ("nfs4", Some("nas:/export"))
        );
        assert_eq!(found[0].options, "rw,vers=4.2");
        assert_eq!(found[1].point, PathBuf::from("/a\\9"));
        assert!(!found[0].is_read_only && found[1].is_read_only);
        assert!(
            mounts()
                .iter()
                .any(|mount| mount.point == Path::new("/proc"))
        );
    }
}
