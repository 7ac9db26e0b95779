//! The names of image formats, as QEMU spells them. What is inside a format lives elsewhere.

use std::fmt;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// An image format, by QEMU's name for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "String", into = "String"))]
pub enum Format {
    /// QEMU's copy-on-write format, versions 2 and 3: the one this program reads and writes.
    Qcow2,
    /// Bytes as the guest sees them.
    Raw,
    /// Any other format: known by name and size only, its content stays closed to us.
    Other(String),
}

impl Format {
    /// The format a header or a person names. Case matters, as it does to QEMU.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "qcow2" => Self::Qcow2,
            "raw" => Self::Raw,
            other => Self::Other(other.to_owned()),
        }
    }

    /// QEMU's name for the format.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Other(name) => name,
        }
    }

    /// The format a file's first bytes show by their magic number, if any is known; never `Raw`,
    /// which has none. Feed it at least 512 bytes where the file has them.
    ///
    /// This recognises, it does not decide: the bytes of a raw image belong to its guest, who may
    /// write any magic number there (CVE-2008-2004).
    #[must_use]
    pub fn recognise(first: &[u8]) -> Option<Self> {
        let other = |name: &str| Some(Self::Other(name.to_owned()));
        let at = |offset: usize, magic: &[u8]| {
            first
                .get(offset..)
                .is_some_and(|rest| rest.starts_with(magic))
        };
        if at(0, b"QFI\xfb") {
            // Version 1 shares the magic number with 2 and 3 and is another format to QEMU.
            return if at(4, &[0, 0, 0, 1]) {
                other("qcow")
            } else {
                Some(Self::Qcow2)
            };
        }
        if at(0, b"QED\0") {
            return other("qed");
        }
        if at(0, b"KDMV") || at(0, b"COWD") || at(0, b"# Disk DescriptorFile") {
            return other("vmdk");
        }
        if at(0, b"vhdxfile") {
            return other("vhdx");
        }
        if at(0, b"conectix") {
            return other("vpc");
        }
        if at(64, &[0x7f, 0x10, 0xda, 0xbe]) {
            return other("vdi");
        }
        if at(0, b"WithoutFreeSpace") || at(0, b"WithouFreSpacExt") {
            return other("parallels");
        }
        if at(0, b"LUKS\xba\xbe") {
            return other("luks");
        }
        None
    }
}

impl From<String> for Format {
    fn from(name: String) -> Self {
        Self::from_name(&name)
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.name().to_owned()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
