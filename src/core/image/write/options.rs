//! What a new image is to be like. Making it is the business of `create` and of conversions.

use std::ffi::OsString;
use std::path::PathBuf;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::image::write::luks::NewEncryption;
use crate::image::{Compression, Format};
use crate::qcow2::{FormatError, Geometry};

/// How a qcow2 image is made, whatever its size and content. The defaults are QEMU's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Qcow2Options {
    /// Log2 of the cluster size, 9 to 21.
    pub cluster_bits: u32,
    /// Log2 of the refcount width, 0 to 6.
    pub refcount_order: u32,
    /// Clusters divided into 32 subclusters; needs `cluster_bits` of at least 14.
    pub extended_l2: bool,
    /// Version 2 (`compat=0.10`) instead of 3.
    pub old_version: bool,
    /// Reference counts may be written late, with the dirty bit set meanwhile.
    pub lazy_refcounts: bool,
    /// Algorithm for clusters that are or may be compressed.
    pub compression: Compression,
    /// What is reserved for clusters that hold nothing yet.
    pub preallocation: Preallocation,
}

/// What of a new image is reserved in advance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum Preallocation {
    /// Nothing.
    #[default]
    Off,
    /// Every cluster has its place, which is a hole of the file.
    Metadata,
    /// Every cluster has its place, with blocks of the filesystem behind it.
    Falloc,
    /// Every cluster is written with zeros.
    Full,
}

impl Preallocation {
    /// QEMU's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Metadata => "metadata",
            Self::Falloc => "falloc",
            Self::Full => "full",
        }
    }
}

impl Default for Qcow2Options {
    fn default() -> Self {
        Self {
            cluster_bits: 16,
            refcount_order: 4,
            extended_l2: false,
            old_version: false,
            lazy_refcounts: false,
            compression: Compression::Zlib,
            preallocation: Preallocation::Off,
        }
    }
}

impl Qcow2Options {
    /// Where things lie in such an image.
    ///
    /// # Errors
    /// When a number is out of its bounds, or they cannot be had together.
    pub fn geometry(&self) -> std::result::Result<Geometry, FormatError> {
        Geometry::new(self.cluster_bits, self.refcount_order, self.extended_l2)
    }
}

/// What a new image is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOptions {
    /// What the guest sees, in bytes; rounded up to a multiple of 512.
    pub size: u64,
    /// Backing file name as it is to be recorded, and its format.
    pub backing: Option<(OsString, Format)>,
    /// The external file for the guest's data, if there is to be one.
    pub data_file: Option<NewDataFile>,
    /// How its content is encrypted, if it is to be.
    pub encryption: Option<NewEncryption>,
    /// Everything else.
    pub format: Qcow2Options,
}

/// A new external data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDataFile {
    /// The file to create.
    pub path: PathBuf,
    /// Its name as it is to be recorded.
    pub name: OsString,
    /// It is to be a raw image of the disk at every time (`data_file_raw`).
    pub raw: bool,
}

impl CreateOptions {
    /// An image of `size` bytes with QEMU's defaults: version 3, 64 KiB clusters, 16-bit refcounts,
    /// zlib, no backing file.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self {
            size,
            backing: None,
            data_file: None,
            encryption: None,
            format: Qcow2Options::default(),
        }
    }
}
