//! The options of a new qcow2 image, as they are typed: read one by one here, held against each other
//! where the image is planned.

use std::path::Path;

use crate::image::{
    Compression, Keys, MAX_CLUSTER_BITS, MAX_REFCOUNT_ORDER, MIN_CLUSTER_BITS, Preallocation,
    Qcow2Options, SparseSize,
};
use crate::ops::{BackingStyle, DataFileOption, EncryptionOption, ImageOptions};
use crate::units;

use super::args::{CompatArg, CompressionArg, EncryptArg, EncryptArgs, ImageArgs, PassphraseArgs};
use super::exit::Stop;
use super::passphrase;

impl ImageArgs {
    /// The options as the operations take them.
    pub(super) fn options(self) -> ImageOptions {
        ImageOptions {
            format: Qcow2Options {
                cluster_bits: self.cluster_size,
                refcount_order: self.refcount_bits,
                extended_l2: self.extended_l2,
                old_version: self.compat == CompatArg::Old,
                lazy_refcounts: self.lazy_refcounts,
                compression: self.compression_type.into(),
                preallocation: self.preallocation.into(),
            },
            data_file: self.data_file.map(|path| DataFileOption {
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
    /// The encryption as the operations take it.
    pub(super) fn option(&self) -> Option<EncryptionOption> {
        self.encrypt.map(|EncryptArg::Luks| EncryptionOption {
            iter_time_ms: self.iter_time,
        })
    }

    /// The same where nothing but the new image needs a passphrase, and who knows that.
    ///
    /// # Errors
    /// As [`passphrase::keys`], and if there is a passphrase without anything to encrypt.
    pub(super) fn with_keys(
        &self,
        passphrases: &PassphraseArgs,
        new: &Path,
    ) -> anyhow::Result<(Option<EncryptionOption>, Keys)> {
        let encryption = self.option();
        if encryption.is_none() && !passphrases.passphrase_file.is_empty() {
            let text = "--passphrase-file is for an image that is to be encrypted (--encrypt luks)";
            return Err(Stop::Usage(text.to_owned()).into());
        }
        Ok((
            encryption,
            passphrase::keys_with_new(passphrases, &[new.to_path_buf()])?,
        ))
    }
}

impl From<CompressionArg> for Compression {
    fn from(arg: CompressionArg) -> Self {
        match arg {
            CompressionArg::Zlib => Self::Zlib,
            CompressionArg::Zstd => Self::Zstd,
        }
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

/// Reads from how many zeros on a copy stores nothing for them.
pub(super) fn sparse_size(text: &str) -> Result<SparseSize, String> {
    let size = SparseSize::new(units::parse_size(text)?);
    size.ok_or_else(|| "that is a multiple of 512 up to 16M, or 0".to_owned())
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
