//! `HOST:PATH` as scp and rsync write it. Whether a file of that very name is here is asked by whoever calls.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What stands before a colon in names that images have in QEMU, and is no host.
const PROTOCOLS: [&str; 18] = [
    "json",
    "file",
    "nbd",
    "nbd+tcp",
    "nbd+unix",
    "http",
    "https",
    "ftp",
    "ftps",
    "iscsi",
    "rbd",
    "ssh",
    "sftp",
    "nfs",
    "fat",
    "gluster",
    "blkdebug",
    "host_device",
];
/// A name of a host is not longer than this, with the user before it.
const LONGEST: usize = 300;

/// A place on another machine, or on each of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The host as it was typed, with the user if one was; `@GROUP` for a group.
    pub host: String,
    /// What stands behind the colon; empty for where the host begins.
    pub path: OsString,
}

impl Address {
    /// The group's name, if it is one.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.host.strip_prefix('@')
    }
}

/// Reads `HOST:PATH`, `USER@HOST:PATH`, `[ADDRESS]:PATH`, `@GROUP` and `@GROUP:PATH`; none for the name of a file
/// here: one with a slash before its colon, of a protocol of QEMU's, or that could be taken for an option of ssh.
#[must_use]
pub fn address(word: &OsStr) -> Option<Address> {
    let bytes = word.as_bytes();
    let colon = match bytes.iter().position(|byte| *byte == b']') {
        Some(end) => bytes.get(end..)?.iter().position(|byte| *byte == b':')? + end,
        None => match bytes.iter().position(|byte| *byte == b':') {
            Some(colon) => colon,
            None if bytes.starts_with(b"@") => bytes.len(),
            None => return None,
        },
    };
    let (host, rest) = bytes.split_at_checked(colon)?;
    let host = str::from_utf8(host).ok()?;
    let path = OsString::from_vec(rest.get(1..).unwrap_or_default().to_vec());
    let is_url = path.as_bytes().starts_with(b"//");
    (is_host(host) && !is_url).then(|| Address {
        host: host.to_owned(),
        path,
    })
}

/// Whether it may be given to ssh as the name of a host.
fn is_host(text: &str) -> bool {
    let name = match text.strip_prefix('@') {
        Some(group) => group,
        None => text,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-%@+".contains(c);
    let host = name.rsplit('@').next().unwrap_or(name);
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_plain = match inside {
        Some(inside) => {
            let user = name.strip_suffix(host).unwrap_or_default();
            let numbers = |c: char| c.is_ascii_alphanumeric() || ":.%".contains(c);
            !inside.is_empty() && inside.chars().all(numbers) && user.chars().all(plain)
        }
        None => !host.is_empty() && name.chars().all(plain),
    };
    let begins_well = !name.starts_with(['-', '@']) && !host.starts_with('-');
    let is_protocol = PROTOCOLS.contains(&name);
    is_plain && begins_well && !is_protocol && name.len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str) -> Option<(String, String)> {
        let found = address(OsStr::new(word))?;
        Some((found.host, found.path.into_string().unwrap()))
    }

    #[test]
    fn a_host_stands_before_the_first_colon() {
        for (word, host, path) in [
            ("web:/srv/a.qcow2", "web", "/srv/a.qcow2"),
            ("root@web.example:a:b", "root@web.example", "a:b"),
            ("web:", "web", ""),
            ("[fe80::1%eth0]:/a", "[fe80::1%eth0]", "/a"),
            ("me@[::1]:a", "me@[::1]", "a"),
            ("@lab", "@lab", ""),
            ("@lab:/srv", "@lab", "/srv"),
        ] {
            let expected = (host.to_owned(), path.to_owned());
            assert_eq!(read(word), Some(expected), "{word}");
        }
    }

    #[test]
    fn names_of_files_and_of_protocols_are_no_hosts() {
        for word in [
            "",
            "a",
            "./a:b",
            "/a:b",
            ":a",
            "a b:c",
            "json:{}",
            "nbd:host:10",
            "http://a/b",
            "ssh://a/b",
            "web://a",
            "-oProxyCommand=x:a",
            "me@-x:a",
            "@",
            "@:a",
            "[]:a",
            "[a b]:c",
            "a\u{1b}:b",
            "é:b",
            "a]:b",
        ] {
            assert_eq!(read(word), None, "{word}");
        }
        let odd = OsStr::from_bytes(b"\xff:a");
        assert_eq!(address(odd), None);
    }
}
