//! Which operating system a filesystem holds, from the files in which it says so itself.

use std::collections::HashSet;
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::filesystem::{Filesystem, NodeId};
use crate::path::{self, LastLink};

/// Bytes of such a file that are read; theirs have some hundred.
const MOST_BYTES: usize = 64 << 10;

/// Characters kept of what a guest says.
const MOST_CHARS: usize = 200;

/// Folders that are the root of a system, where that is neither what is mounted by default nor the filesystem's root:
/// subvolumes as distributions name them.
const ROOTS: [&str; 3] = ["@", "@rootfs", "root"];

/// An operating system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct System {
    /// `ID` of os-release: `debian`; `windows`.
    pub id: String,
    /// `PRETTY_NAME` of os-release, else `NAME`: `Debian GNU/Linux 12 (bookworm)`.
    pub name: String,
    /// `VERSION_ID` of os-release, if it says one.
    pub version: Option<String>,
    /// The first line of `/etc/hostname`.
    pub hostname: Option<String>,
    /// When the filesystem was written last.
    pub written: Option<SystemTime>,
}

/// The system on a filesystem; none where it is no system's root.
///
/// # Errors
/// When the image cannot be read. What is damaged inside the guest counts as not there.
pub fn system(filesystem: &dyn Filesystem) -> Result<Option<System>> {
    for root in roots(filesystem)? {
        for place in ["etc/os-release", "usr/lib/os-release"] {
            let Some(text) = text(filesystem, root, place)? else {
                continue;
            };
            let of = |key: &str| value(&text, key);
            let Some(id) = of("ID").or_else(|| of("NAME").map(|name| name.to_lowercase())) else {
                continue;
            };
            let name = of("PRETTY_NAME")
                .or_else(|| of("NAME"))
                .unwrap_or_else(|| id.clone());
            let hostname = self::text(filesystem, root, "etc/hostname")?;
            let hostname =
                hostname.and_then(|text| text.lines().next().map(|line| clean(line.trim())));
            return Ok(Some(System {
                id,
                name,
                version: of("VERSION_ID"),
                hostname: hostname.filter(|name| !name.is_empty()),
                written: filesystem.summary().written,
            }));
        }
    }
    let kernel = path::lookup(
        filesystem,
        b"Windows/System32/ntoskrnl.exe",
        LastLink::Follow,
    );
    Ok(found(kernel)?.map(|_| System {
        id: "windows".to_owned(),
        name: "Windows".to_owned(),
        written: filesystem.summary().written,
        ..System::default()
    }))
}

/// Where a system's root may be, each once.
fn roots(filesystem: &dyn Filesystem) -> Result<Vec<NodeId>> {
    let default = found(filesystem.default_root())?;
    let mut all: Vec<NodeId> = default.into_iter().collect();
    all.push(filesystem.root());
    for name in ROOTS {
        let node = found(path::lookup(filesystem, name.as_bytes(), LastLink::Follow))?;
        all.extend(node.map(|node| node.id));
    }
    let mut met = HashSet::new();
    all.retain(|id| met.insert(*id));
    Ok(all)
}

/// What a look-up found; what the guest lacks, or has damaged, is not there.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ (Error::Image(_) | Error::Cancelled)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// The text of a file.
fn text(filesystem: &dyn Filesystem, root: NodeId, path: &str) -> Result<Option<String>> {
    let node = path::lookup_below(filesystem, root, path.as_bytes(), LastLink::Follow);
    let node = found(node)?;
    let Some(node) = node else { return Ok(None) };
    let content = found(path::content(filesystem, &node, MOST_BYTES))?;
    Ok(content.map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The value of a key in a file of shell assignments, as os-release is one.
fn value(text: &str, key: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))?;
    let line = line.trim();
    let quoted = ['"', '\'']
        .iter()
        .find_map(|quote| line.strip_prefix(*quote)?.strip_suffix(*quote));
    let mut plain = String::new();
    let mut chars = quoted.unwrap_or(line).chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    let plain = clean(&plain);
    (!plain.is_empty()).then_some(plain)
}

/// Without what must not reach a terminal, and not too long.
fn clean(text: &str) -> String {
    let short: String = text.chars().take(MOST_CHARS).collect();
    qanopy_core::host::printable_bytes(short.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_a_shell_would() {
        let text = "# comment\nNAME=Alpine\nPRETTY_NAME=\"Al\\\"pine\\$ v3\"\nVERSION_ID='3.20'\nEMPTY=\"\"\nID=al\u{1b}[31mx\n";
        assert_eq!(value(text, "NAME").as_deref(), Some("Alpine"));
        assert_eq!(value(text, "PRETTY_NAME").as_deref(), Some("Al\"pine$ v3"));
        assert_eq!(value(text, "VERSION_ID").as_deref(), Some("3.20"));
        assert_eq!(value(text, "EMPTY"), None);
        assert_eq!(value(text, "MISSING"), None);
        assert!(!value(text, "ID").unwrap().contains('\u{1b}'));
    }
}
