//! What a recorded backing name means: where a plain name leads, and which names lead elsewhere.
//! Nothing is opened here; QEMU's rules of resolution (observed with 10.0.2) are stated, not files read.

mod json;
mod mention;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::image::Format;
use crate::image::read::trashed::taken_from;

pub use mention::Mention;

/// A backing name as recorded, and what QEMU would take it for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackingName {
    /// Exactly as in the header.
    pub recorded: OsString,
    /// What it means.
    pub target: BackingTarget,
    /// The format that the name itself states, as a `json:` name may. One that the header records
    /// beside the name comes first.
    pub format: Option<Format>,
    /// A `json:` name of a file and of no format over it. QEMU does not open such a one where the
    /// header records a format.
    pub is_bare: bool,
}

/// What a backing name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackingTarget {
    /// A local file, by the path QEMU would open. Links are not resolved, `..` is kept.
    File(PathBuf),
    /// Local files that are read in a way not understood here: a part of one, through a filter, several at
    /// once. Nothing is read through such a name, and it is never rewritten; but it is known who reads them.
    NotUnderstood {
        /// The files, what the guest sees most likely first. Never empty.
        files: Vec<Mention>,
        /// What the description is of, as for [`BackingTarget::Elsewhere`].
        what: String,
    },
    /// Not a plain local file: another protocol, or a `json:` description of something else. Shown,
    /// never followed.
    Elsewhere {
        /// The protocol's name (`nbd`, `https`), or what the description is of (`json: nbd`, `json: a
        /// part of a file`), for people. From the image: escape it before showing it.
        protocol: String,
    },
}

impl BackingName {
    /// Interprets `recorded` as found in the overlay opened by the name `overlay`.
    ///
    /// A relative name is joined to the directory part of the overlay's name as given, links not
    /// resolved; where the overlay is in the trash, to that of the place it was taken from. `a:b` is a protocol unless a slash stands before the colon. `file:` names and those
    /// inside a `json:` description are taken as they are, never joined: a relative one is seen from the
    /// directory in which a program runs.
    #[must_use]
    pub fn interpret(overlay: &Path, recorded: &OsStr) -> Self {
        let bytes = recorded.as_bytes();
        let (mut format, mut is_bare) = (None, false);
        let target = if let Some(json) = bytes.strip_prefix(b"json:") {
            match json::described(json) {
                Ok(described) => {
                    (format, is_bare) = (described.format, described.is_bare);
                    BackingTarget::File(described.file)
                }
                Err(why) => not_understood(bytes, format!("json: {why}")),
            }
        } else if let Some(path) = bytes.strip_prefix(b"file:") {
            BackingTarget::File(PathBuf::from(OsString::from_vec(path.to_vec())))
        } else if let Some(protocol) = protocol_of(bytes) {
            not_understood(bytes, protocol)
        } else {
            BackingTarget::File(beside(overlay, Path::new(recorded)))
        };
        Self {
            recorded: recorded.to_owned(),
            target,
            format,
            is_bare,
        }
    }

    /// Whether it is a description of a file by a relative name, which leads somewhere else from every
    /// directory in which a program runs.
    #[must_use]
    pub fn depends_on_directory(&self) -> bool {
        let is_relative = |mention: &Mention| mention.surely && mention.path.is_relative();
        match &self.target {
            BackingTarget::File(path) => is_described(&self.recorded) && path.is_relative(),
            BackingTarget::NotUnderstood { files, .. } => files.iter().any(is_relative),
            BackingTarget::Elsewhere { .. } => false,
        }
    }

    /// The local file it leads to, if it leads to one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.target {
            BackingTarget::File(path) => Some(path),
            BackingTarget::NotUnderstood { .. } | BackingTarget::Elsewhere { .. } => None,
        }
    }
}

/// What is more than a path to one file.
fn not_understood(recorded: &[u8], what: String) -> BackingTarget {
    let files = mention::mentioned(recorded);
    if files.is_empty() {
        BackingTarget::Elsewhere { protocol: what }
    } else {
        BackingTarget::NotUnderstood { files, what }
    }
}

/// Whether a recorded name is more than a path (`json:`, `file:`): one that is never rewritten.
#[must_use]
pub fn is_described(recorded: &OsStr) -> bool {
    let bytes = recorded.as_bytes();
    bytes.starts_with(b"json:") || bytes.starts_with(b"file:")
}

/// A name that no Linux can resolve, and what it may have meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolvable {
    /// Whether it is a path of Windows; else it has a colon that is not escaped.
    pub is_windows: bool,
    /// What QEMU takes for a protocol, if anything.
    pub protocol: Option<String>,
    /// The name of the file that was meant, without folders.
    pub file: OsString,
}

/// Protocols that some QEMU knows or knew.
const PROTOCOLS: [&str; 31] = [
    "archipelago",
    "blkdebug",
    "blkverify",
    "fat",
    "file",
    "ftp",
    "ftps",
    "gluster",
    "host_cdrom",
    "host_device",
    "host_floppy",
    "http",
    "https",
    "iscsi",
    "iser",
    "json",
    "nbd",
    "nfs",
    "null-aio",
    "null-co",
    "nvme",
    "rbd",
    "sheepdog",
    "ssh",
    "tftp",
    "vxhs",
    "zoned_host_device",
    "virtio-blk-vfio-pci",
    "nvme-io_uring",
    "io_uring",
    "virtio-blk-vhost-vdpa",
];

/// Whether a recorded name is one that no Linux can resolve. A path with backslashes alone may be a file
/// called so: it counts where that is not there.
#[must_use]
pub fn unresolvable(recorded: &OsStr) -> Option<Unresolvable> {
    let bytes = recorded.as_bytes();
    let protocol = protocol_of(bytes);
    let transport = |protocol: &str| protocol.split('+').next().map(str::to_ascii_lowercase);
    let is_known = |protocol: &String| {
        let protocol = transport(protocol).unwrap_or_default();
        PROTOCOLS.contains(&protocol.as_str())
    };
    if protocol.as_ref().is_some_and(is_known) {
        return None;
    }
    let has_drive = protocol.as_ref().is_some_and(|drive| drive.len() == 1);
    let is_windows = has_drive || bytes.contains(&b'\\');
    if protocol.is_none() && !is_windows {
        return None;
    }
    let ends = |byte: &u8| *byte == b'/' || is_windows && (*byte == b'\\' || *byte == b':');
    let file = bytes.rsplit(ends).next().unwrap_or_default();
    Some(Unresolvable {
        is_windows,
        protocol,
        file: OsString::from_vec(file.to_vec()),
    })
}

/// `name` as seen from the directory that `overlay`'s name has; from the one it was taken from where it is
/// in the trash.
#[must_use]
pub fn beside(overlay: &Path, name: &Path) -> PathBuf {
    let home = taken_from(overlay);
    let overlay = home.as_deref().unwrap_or(overlay);
    overlay
        .parent()
        .map_or_else(|| name.to_path_buf(), |dir| dir.join(name))
}

/// The protocol before the first colon, if no slash comes first (QEMU's `path_has_protocol`).
fn protocol_of(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|&b| b == b':' || b == b'/')?;
    let name = bytes.get(..end)?;
    (bytes.get(end) == Some(&b':')).then(|| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(overlay: &str, recorded: &str) -> Option<String> {
        BackingName::interpret(Path::new(overlay), OsStr::new(recorded))
            .file()
            .map(|p| p.to_string_lossy().into_owned())
    }

    #[test]
    fn relative_names_are_joined_to_the_directory_of_the_overlays_name() {
        assert_eq!(
            file("b/ov.qcow2", "../a/base").as_deref(),
            Some("b/../a/base")
        );
        assert_eq!(file("ov.qcow2", "base").as_deref(), Some("base"));
        assert_eq!(file("/x/ov.qcow2", "/y/base").as_deref(), Some("/y/base"));
    }

    #[test]
    fn a_colon_before_any_slash_is_a_protocol() {
        assert_eq!(file("ov", "nbd:localhost:10809"), None);
        assert_eq!(file("ov", "https://host/base"), None);
        assert_eq!(file("d/ov", "./a:b").as_deref(), Some("d/./a:b"));
    }

    #[test]
    fn names_that_no_linux_resolves_say_which_file_was_meant() {
        let found = |name: &str| {
            let found = unresolvable(OsStr::new(name))?;
            Some((found.is_windows, found.file.into_string().unwrap()))
        };
        let windows = Some((true, "base.qcow2".to_owned()));
        for name in [
            r"C:\VMs\images\base.qcow2",
            "c:/VMs/base.qcow2",
            "c:base.qcow2",
            r"..\images\base.qcow2",
            r"\\server\share\base.qcow2",
            r"images\base.qcow2",
        ] {
            assert_eq!(found(name), windows, "{name}");
        }
        assert_eq!(
            found("a-disk:2024.qcow2"),
            Some((false, "a-disk:2024.qcow2".to_owned()))
        );
        assert_eq!(found("vm:x/base"), Some((false, "base".to_owned())));
        for name in [
            "base.qcow2",
            "/a/b:c",
            "./a:b",
            "nbd:h:1",
            "nbd+unix:///x",
            "HTTPS://h/x",
            "json:{}",
        ] {
            assert_eq!(found(name), None, "{name}");
        }
    }

    #[test]
    fn json_that_describes_one_plain_file_is_that_file() {
        let nested = r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"/x/v2.qcow2"}}"#;
        let flat = r#"json:{"driver":"qcow2","file.driver":"file","file.filename":"/x/v2.qcow2"}"#;
        assert_eq!(file("d/ov", nested).as_deref(), Some("/x/v2.qcow2"));
        assert_eq!(file("d/ov", flat).as_deref(), Some("/x/v2.qcow2"));
        let relative = r#"json:{"driver":"raw","file":{"driver":"file","filename":"b"}}"#;
        assert_eq!(file("d/ov", relative).as_deref(), Some("b"));
        let name = BackingName::interpret(Path::new("d/ov"), OsStr::new(relative));
        assert!(name.depends_on_directory() && name.format == Some(Format::Raw));
        let name = BackingName::interpret(Path::new("d/ov"), OsStr::new(nested));
        assert!(!name.depends_on_directory() && name.format == Some(Format::Qcow2));
        let slice =
            r#"json:{"driver":"raw","offset":512,"file":{"driver":"file","filename":"/x"}}"#;
        assert_eq!(file("d/ov", slice), None);
        let remote = r#"json:{"driver":"qcow2","file":{"driver":"nbd","host":"h"}}"#;
        assert_eq!(file("d/ov", remote), None);
        assert_eq!(file("d/ov", "json:{broken"), None);
    }
}
