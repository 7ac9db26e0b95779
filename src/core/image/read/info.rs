//! What an image's header tells, as plain values. Reading them from a file is `probe`'s work.

use std::ffi::OsString;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::image::Format;
use crate::qcow2::Snapshot;

/// The algorithm of compressed clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum Compression {
    /// Raw deflate; QEMU calls it zlib.
    Zlib,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// QEMU's name for the algorithm.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        }
    }
}

/// How the guest's bytes are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum Encryption {
    /// The legacy AES-CBC scheme.
    Aes,
    /// LUKS inside qcow2.
    Luks,
}

/// What an overlay's header says about the image it is built on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackingRef {
    /// The name exactly as recorded; any bytes at all.
    pub recorded: OsString,
    /// The recorded backing format, if there is one.
    pub format: Option<Format>,
}

/// Everything a qcow2 header tells without following anything it names, but for what the image is built on
/// ([`BackingRef`]): that differs between images that have all else in common, and may be kept once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct ImageInfo {
    /// 2 (`compat=0.10`) or 3 (`compat=1.1`).
    pub version: u32,
    /// What the guest sees, in bytes.
    pub virtual_size: u64,
    /// Bytes a cluster; 512 to 2 MiB.
    pub cluster_size: u64,
    /// Bits a reference count; 1 to 64.
    pub refcount_bits: u32,
    /// Whether clusters are divided into 32 subclusters.
    pub extended_l2: bool,
    /// Whether reference counts may be written late.
    pub lazy_refcounts: bool,
    /// Algorithm of compressed clusters, should there be any.
    pub compression: Compression,
    /// Encryption, if any.
    pub encryption: Option<Encryption>,
    /// The dirty bit: reference counts may be wrong.
    pub dirty: bool,
    /// The corrupt bit: QEMU refuses to write this image.
    pub corrupt: bool,
    /// Number of internal snapshots.
    pub snapshots: u32,
    /// The first of them, as far as they were read: the header itself only counts them.
    pub first_snapshots: Vec<Snapshot>,
    /// Number of persistent dirty bitmaps.
    pub bitmaps: u32,
    /// Whether the guest's bytes are in an external data file.
    pub external_data: bool,
    /// The external data file's name as recorded, if one is.
    pub data_file: Option<OsString>,
    /// Whether that data file is promised to be a plain raw image of the guest's view.
    pub data_file_raw: bool,
    /// Whether the name of its backing file ends behind the part of an image that libvirt reads.
    pub backing_name_is_far: bool,
    /// Incompatible features we do not know, by name where the image gives one: content stays closed.
    pub unknown_features: Vec<String>,
    /// Why the file cannot hold what its header claims, if it cannot: a sentence.
    pub truncated: Option<String>,
    /// Whether all of what maps the guest's disk is cut off, so that nothing of it can be read.
    pub lost_map: bool,
    /// Why neither QEMU nor we open it, although its header can be read: the rest of a sentence.
    pub unopenable: Option<Box<Unopenable>>,
}

/// Why nobody opens an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Unopenable {
    /// The rest of a sentence about it.
    pub why: Box<str>,
    /// Whether a repair makes it right.
    pub is_mended_by_repair: bool,
}

impl Unopenable {
    /// What no repair helps against.
    pub(crate) fn for_good(why: impl Into<Box<str>>) -> Box<Self> {
        Box::new(Self {
            why: why.into(),
            is_mended_by_repair: false,
        })
    }
}
