//! Reparse points, and the files by which Interix and `ntfs-3g` show symbolic links.

use super::error::Checked;
use crate::{field, utf16};

/// What a reparse point makes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reparse {
    /// A symbolic link or a mount point, and where it leads to.
    Link(Vec<u8>),
    /// A FIFO, a socket or a device of the Windows Subsystem for Linux, with the bits of its type in `st_mode`.
    Special(u32),
    /// Something else; its content is not (only) in the stream.
    Other(&'static str),
    /// Something that is not known.
    Unknown(u32),
}

/// Bytes of a reparse point at the most, with its header.
pub(super) const MOST: u64 = (16 << 10) + 24;

/// The start of a symbolic link of Interix.
pub(super) const INTERIX_LINK: [u8; 8] = *b"IntxLNK\x01";

impl Reparse {
    /// Of the value of a `$REPARSE_POINT`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(value: &[u8]) -> Checked<Self> {
        let tag = u32::from_le_bytes(field(value, 0));
        let data = value.get(8..).unwrap_or_default();
        Ok(match tag {
            // IO_REPARSE_TAG_SYMLINK, IO_REPARSE_TAG_MOUNT_POINT
            0xa000_000c => Self::Link(link(data, 12)?),
            0xa000_0003 => Self::Link(link(data, 8)?),
            // IO_REPARSE_TAG_LX_SYMLINK: a version, then UTF-8.
            0xa000_001d => Self::Link(data.get(4..).unwrap_or_default().to_vec()),
            // IO_REPARSE_TAG_AF_UNIX, IO_REPARSE_TAG_LX_FIFO, _CHR, _BLK
            0x8000_0023 => Self::Special(0o140_000),
            0x8000_0024 => Self::Special(0o010_000),
            0x8000_0025 => Self::Special(0o020_000),
            0x8000_0026 => Self::Special(0o060_000),
            0x8000_0017 => Self::Other("compression by the Windows Overlay Filter (WOF)"),
            0x8000_0013 => Self::Other("deduplication (IO_REPARSE_TAG_DEDUP)"),
            // IO_REPARSE_TAG_CLOUD and its fifteen variants
            tag if tag & 0xffff_0fff == 0x9000_001a => {
                Self::Other("a file kept in a cloud (IO_REPARSE_TAG_CLOUD)")
            }
            tag => Self::Unknown(tag),
        })
    }
}

/// The target of a link of Windows: the name to show, or the one that is used where there is none. `names` is where the
/// names begin.
fn link(data: &[u8], names: usize) -> Checked<Vec<u8>> {
    let name = |at: usize| {
        let start = usize::from(u16::from_le_bytes(field(data, at)));
        let len = usize::from(u16::from_le_bytes(field(data, at + 2)));
        let name = data.get(names + start..names + start + len);
        name.map(utf16::units)
            .ok_or_else(|| format!("reparse point: a name of {len} bytes at byte {start}"))
    };
    let (used, shown) = (name(0)?, name(4)?);
    let is_relative = names == 12 && u32::from_le_bytes(field(data, 8)) & 1 != 0;
    let mut target = match shown.is_empty() {
        true => utf16::to_wtf8(&used),
        false => utf16::to_wtf8(&shown),
    };
    if let Some(rest) = target.strip_prefix(br"\??\") {
        target = rest.to_vec();
    }
    if is_relative {
        for byte in target.iter_mut().filter(|byte| **byte == b'\\') {
            *byte = b'/';
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(tag: u32, used: &str, shown: &str, flags: Option<u32>) -> Vec<u8> {
        let bytes =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let (used, shown) = (bytes(used), bytes(shown));
        let mut value = tag.to_le_bytes().to_vec();
        value.extend([0; 4]);
        for number in [0, used.len(), used.len(), shown.len()] {
            value.extend(u16::try_from(number).unwrap().to_le_bytes());
        }
        value.extend(flags.map(u32::to_le_bytes).into_iter().flatten());
        value.extend(used);
        value.extend(shown);
        value
    }

    #[test]
    fn links_lead_where_windows_shows_it() {
        let link = |value: Vec<u8>| match Reparse::parse(&value).unwrap() {
            Reparse::Link(target) => String::from_utf8(target).unwrap(),
            other => panic!("{other:?}"),
        };
        let (symlink, mount) = (0xa000_000c, 0xa000_0003);
        assert_eq!(
            link(windows(symlink, r"..\a\b", r"..\a\b", Some(1))),
            "../a/b"
        );
        assert_eq!(
            link(windows(symlink, r"\??\C:\x y", "", Some(0))),
            r"C:\x y"
        );
        assert_eq!(
            link(windows(mount, r"\??\C:\Users", r"C:\Users", None)),
            r"C:\Users"
        );
        let mut wsl = vec![0x1d, 0, 0, 0xa0, 9, 0, 0, 0, 2, 0, 0, 0];
        wsl.extend(b"../to");
        assert_eq!(link(wsl), "../to");
        let mut cut = windows(symlink, "abc", "abc", Some(1));
        cut.pop();
        assert!(Reparse::parse(&cut).is_err());
    }

    #[test]
    fn what_else_there_is_has_a_name() {
        let of = |tag: u32| Reparse::parse(&tag.to_le_bytes()).unwrap();
        assert_eq!(of(0x8000_0024), Reparse::Special(0o010_000));
        assert!(matches!(of(0x8000_0017), Reparse::Other(name) if name.contains("WOF")));
        assert!(matches!(of(0x9000_701a), Reparse::Other(name) if name.contains("CLOUD")));
        assert_eq!(of(0x1234), Reparse::Unknown(0x1234));
    }
}
