//! The options of a new qcow2 image, as they are typed: read one by one here, held against each other
//! where the image is planned.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::image::{
    Compression, Keys, MAX_CLUSTER_BITS, MAX_REFCOUNT_ORDER, MIN_CLUSTER_BITS, Preallocation,
    Qcow2Options, Version,
};
use crate::ops::{BackingStyle, DataFileOption, EncryptionOption, ImageOptions};
use crate::units;

use super::exit::Stop;
use super::options::{Words, iter_time, one_of};
use super::passphrase::{self, PassphraseArgs};

/// How a new qcow2 image is made. The names and defaults are qemu-img's.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The new image")]
pub(super) struct ImageArgs {
    /// Bytes a cluster, a power of two from 512 to 2M
    #[arg(long, value_name = "SIZE", value_parser = cluster_bits, default_value = "64K")]
    cluster_size: u32,
    /// Version of the format: 1.1, or 0.10 for QEMU before 1.1
    #[arg(long, value_parser = one_of(VERSIONS), value_name = "VERSION", default_value = "1.1")]
    compat: Version,
    /// Divide clusters into 32 subclusters, which are allocated one by one
    #[arg(long)]
    extended_l2: bool,
    /// Width of a reference count, a power of two from 1 to 64
    #[arg(long, value_name = "BITS", value_parser = refcount_order, default_value = "16")]
    refcount_bits: u32,
    /// Let reference counts be written late: faster, with a repair after a crash
    #[arg(long)]
    lazy_refcounts: bool,
    /// Algorithm of compressed clusters
    #[arg(long, value_parser = one_of(COMPRESSIONS), value_name = "TYPE", default_value = "zlib")]
    compression_type: Compression,
    /// What to allocate in advance
    #[arg(long, value_parser = one_of(PREALLOCATIONS), value_name = "MODE", default_value = "off")]
    preallocation: Preallocation,
    /// Keep the guest's data in this file of its own; an existing one is never overwritten
    #[arg(long, value_name = "FILE")]
    data_file: Option<PathBuf>,
    /// Let the data file be a raw image of the disk at every time
    #[arg(long, requires = "data_file")]
    data_file_raw: bool,
    /// Record the data file's name as seen from the image; QEMU takes it from the folder it is started in
    #[arg(long, requires = "data_file")]
    data_file_relative: bool,
}

/// How a new image is encrypted.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "The new image")]
pub(super) struct EncryptArgs {
    /// Encrypt the content (aes-256, xts, plain64, sha256)
    #[arg(long, value_enum, value_name = "FORMAT")]
    encrypt: Option<EncryptArg>,
    /// Time that trying one passphrase takes on this processor, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = EncryptionOption::default().iter_time_ms, requires = "encrypt",
          value_parser = iter_time)]
    iter_time: u32,
}

/// Formats of encryption, by qemu-img's names.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum EncryptArg {
    /// LUKS version 1
    Luks,
}

/// Version of the format, by qemu-img's names.
pub(super) const VERSIONS: &Words<Version> = &[
    ("0.10", "Version 2", Version::V2),
    ("1.1", "Version 3", Version::V3),
];

/// Algorithm of compressed clusters.
pub(super) const COMPRESSIONS: &Words<Compression> = &[
    ("zlib", "Deflate, which every QEMU reads", Compression::Zlib),
    (
        "zstd",
        "Zstandard, which QEMU reads since 5.1",
        Compression::Zstd,
    ),
];

/// What of a new image is reserved in advance.
pub(super) const PREALLOCATIONS: &Words<Preallocation> = &[
    ("off", "Nothing", Preallocation::Off),
    (
        "metadata",
        "A place in the file for each cluster",
        Preallocation::Metadata,
    ),
    (
        "falloc",
        "Also blocks of the filesystem",
        Preallocation::Falloc,
    ),
    ("full", "Also zeros written into them", Preallocation::Full),
];

impl ImageArgs {
    /// The options as the operations take them.
    pub(super) fn options(&self, encryption: &EncryptArgs) -> ImageOptions {
        ImageOptions {
            encryption: encryption.option(),
            ..self.plain_options()
        }
    }

    /// The same of an image that is not encrypted.
    pub(super) fn plain_options(&self) -> ImageOptions {
        ImageOptions {
            format: Qcow2Options {
                cluster_bits: self.cluster_size,
                refcount_order: self.refcount_bits,
                extended_l2: self.extended_l2,
                old_version: self.compat == Version::V2,
                lazy_refcounts: self.lazy_refcounts,
                compression: self.compression_type,
                preallocation: self.preallocation,
            },
            data_file: self.data_file.clone().map(|path| DataFileOption {
                path,
                raw: self.data_file_raw,
                style: if self.data_file_relative {
                    BackingStyle::Relative
                } else {
                    BackingStyle::Absolute
                },
            }),
            encryption: None,
        }
    }
}

/// What a raw image reserves; nothing else of the options goes with one.
///
/// # Errors
/// Wrong usage, if something else is asked for.
pub(super) fn preallocation_of_raw(image: &ImageOptions) -> Result<Preallocation, Stop> {
    let preallocation = image.format.preallocation;
    let plain = ImageOptions {
        format: Qcow2Options {
            preallocation,
            ..Qcow2Options::default()
        },
        data_file: None,
        encryption: None,
    };
    if *image == plain {
        return Ok(preallocation);
    }
    Err(Stop::Usage(
        "a raw image has no clusters and no header: of the options for the new image only --preallocation \
         goes with it"
            .to_owned(),
    ))
}

impl EncryptArgs {
    fn option(&self) -> Option<EncryptionOption> {
        self.encrypt.map(|EncryptArg::Luks| EncryptionOption {
            iter_time_ms: self.iter_time,
        })
    }

    /// What opens the new image, where no other needs a passphrase.
    ///
    /// # Errors
    /// As [`passphrase::keys`], and if there is a passphrase without anything to encrypt.
    pub(super) fn keys(&self, passphrases: &PassphraseArgs, new: &Path) -> anyhow::Result<Keys> {
        if self.encrypt.is_none() && !passphrases.passphrase_file.is_empty() {
            let text = "--passphrase-file is for an image that is to be encrypted (--encrypt luks)";
            return Err(Stop::Usage(text.to_owned()).into());
        }
        passphrase::keys_with_new(passphrases, &[new.to_path_buf()])
    }
}

/// Reads a cluster size and gives its logarithm.
pub(super) fn cluster_bits(text: &str) -> Result<u32, String> {
    let bytes = units::parse_size(text)?;
    let bits = bytes.checked_ilog2().unwrap_or(0);
    if bytes.is_power_of_two() && (MIN_CLUSTER_BITS..=MAX_CLUSTER_BITS).contains(&bits) {
        Ok(bits)
    } else {
        Err("a cluster is a power of two from 512 to 2M bytes".to_owned())
    }
}

/// Reads the width of a reference count and gives its logarithm.
pub(super) fn refcount_order(text: &str) -> Result<u32, String> {
    let wrong = || "a reference count has 1, 2, 4, 8, 16, 32 or 64 bits".to_owned();
    let bits: u32 = text.parse().map_err(|_| wrong())?;
    let order = bits.checked_ilog2().unwrap_or(u32::MAX);
    if bits.is_power_of_two() && order <= MAX_REFCOUNT_ORDER {
        Ok(order)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_inside_the_bounds_are_taken_and_nothing_else() {
        assert_eq!(cluster_bits("512"), Ok(9));
        assert_eq!(cluster_bits("64K"), Ok(16));
        assert_eq!(cluster_bits("2M"), Ok(21));
        for wrong in ["256", "4M", "3000", "0", "x"] {
            assert!(cluster_bits(wrong).is_err(), "{wrong}");
        }
        assert_eq!(refcount_order("1"), Ok(0));
        assert_eq!(refcount_order("64"), Ok(6));
        for wrong in ["0", "12", "128", "-1", "x"] {
            assert!(refcount_order(wrong).is_err(), "{wrong}");
        }
    }
}
