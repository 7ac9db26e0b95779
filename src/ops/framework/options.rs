//! Options that several operations share. Those of one operation stand in its file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::image::{Compression, CompressionLevel, Qcow2Options};

use super::backing_style::BackingStyle;
use super::command_line::CommandLine;
use super::request::Name;

/// What becomes of images that are built on one whose content changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Dependants {
    /// Refuse if there are any.
    #[default]
    Refuse,
    /// Let them change; their number has to be typed.
    Break,
}

/// How the clusters of a new image are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compress {
    /// By which algorithm.
    pub kind: Compression,
    /// How hard.
    pub level: CompressionLevel,
}

/// How a new qcow2 image is made, whatever its size and content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageOptions {
    /// What its header says.
    pub format: Qcow2Options,
    /// A file of its own for the guest's data.
    pub data_file: Option<DataFileOption>,
    /// Its content is encrypted, with the passphrase that the context's keys have for it.
    pub encryption: Option<EncryptionOption>,
}

/// The LUKS encryption of a new image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionOption {
    /// Milliseconds of this processor that trying one passphrase is to cost.
    pub iter_time_ms: u32,
}

impl Default for EncryptionOption {
    /// A second.
    fn default() -> Self {
        Self { iter_time_ms: 1000 }
    }
}

/// The external data file of a new image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFileOption {
    /// The file to create.
    pub path: PathBuf,
    /// It is to be a raw image of the disk at every time.
    pub raw: bool,
    /// How the header names it. QEMU takes a relative name from the directory it is started in, not from the
    /// image's.
    #[serde(default)]
    pub style: BackingStyle,
}

impl ImageOptions {
    /// Visits the files that it names.
    pub(in crate::ops) fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        if let Some(data) = &mut self.data_file {
            visit(Name::Path(&mut data.path));
        }
    }

    /// The command line with what differs from the defaults.
    pub(in crate::ops) fn add_to(&self, line: CommandLine) -> CommandLine {
        let is = &self.format;
        let default = Qcow2Options::default();
        let power = |bits: u32| 1_u64.checked_shl(bits);
        let line = line
            .number(
                "--cluster-size",
                power(is.cluster_bits).filter(|_| is.cluster_bits != default.cluster_bits),
            )
            .option("--compat", is.old_version.then_some("0.10"))
            .flag("--extended-l2", is.extended_l2)
            .number(
                "--refcount-bits",
                power(is.refcount_order).filter(|_| is.refcount_order != default.refcount_order),
            )
            .flag("--lazy-refcounts", is.lazy_refcounts)
            .option(
                "--compression-type",
                (is.compression != default.compression).then(|| is.compression.name()),
            )
            .option(
                "--preallocation",
                (is.preallocation != default.preallocation).then(|| is.preallocation.name()),
            );
        let line = match &self.data_file {
            None => line,
            Some(data) => line
                .option_path("--data-file", Some(&data.path))
                .flag("--data-file-raw", data.raw)
                .flag("--data-file-relative", data.style == BackingStyle::Relative),
        };
        match self.encryption {
            None => line,
            Some(EncryptionOption { iter_time_ms }) => line
                .option("--encrypt", Some("luks"))
                .number("--iter-time", Some(iter_time_ms)),
        }
    }
}
