//! What can be wrong with bytes that claim to be qcow2: one value per kind of fault, naming the field.
//!
//! No file names live here: this floor knows bytes only. Whoever read the bytes adds the path.

use thiserror::Error;

/// Why bytes are not what the qcow2 format allows, or cannot be written as asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The first four bytes are not `QFI\xfb`.
    #[error("this is not a qcow2 image: the magic number is missing")]
    NotQcow2,
    /// The version is neither 2 nor 3.
    #[error("qcow2 version {version} is not known; versions 2 and 3 are")]
    UnsupportedVersion {
        /// The version recorded in the header.
        version: u32,
    },
    /// Fewer bytes were given than the structure needs.
    #[error("{field} needs {needed} bytes, but only {have} are there")]
    Truncated {
        /// The structure or field.
        field: &'static str,
        /// Bytes needed, counted from the start of the structure.
        needed: u64,
        /// Bytes given.
        have: u64,
    },
    /// A number is beyond what the format or QEMU allows.
    #[error("{field} is {value}; it must be from {min} to {max}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
        /// Smallest allowed value.
        min: u64,
        /// Largest allowed value.
        max: u64,
    },
    /// A number is not among the known ones.
    #[error("{field} is {value}, which is not known")]
    Unknown {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u64,
    },
    /// An offset is not a multiple of what it must be aligned to.
    #[error("{field} is {offset:#x}, which is not a multiple of {alignment}")]
    Unaligned {
        /// The field.
        field: &'static str,
        /// The offset in bytes.
        offset: u64,
        /// What it must be a multiple of, in bytes.
        alignment: u64,
    },
    /// An offset plus a length reaches beyond the largest file.
    #[error("{field} at {offset:#x} with {length} bytes reaches beyond the largest possible file")]
    BeyondEnd {
        /// The field.
        field: &'static str,
        /// The offset in bytes.
        offset: u64,
        /// The length in bytes.
        length: u64,
    },
    /// The L1 table cannot map the virtual size.
    #[error(
        "the L1 table has {entries} entries; a virtual size of {virtual_size} bytes needs {needed}"
    )]
    L1TooSmall {
        /// Entries there are.
        entries: u64,
        /// Entries needed.
        needed: u64,
        /// The virtual size in bytes.
        virtual_size: u64,
    },
    /// Clusters too small for extended L2 entries.
    #[error(
        "extended L2 entries need clusters of at least 16 KiB; this image has {cluster_size} bytes"
    )]
    SubclusterTooSmall {
        /// The cluster size in bytes.
        cluster_size: u64,
    },
    /// The compression type and its incompatible feature bit contradict each other.
    #[error("compression type {compression} and the compression feature bit contradict each other")]
    CompressionBit {
        /// The compression type recorded.
        compression: u8,
    },
    /// The data file is promised to be raw, and there is none.
    #[error("the header promises a raw external data file, and there is no external data file")]
    RawWithoutDataFile,
    /// A cluster of an external data file at another offset than the guest's own.
    #[error(
        "its cluster in the data file is said to be at {offset:#x}, where only guest offset {offset:#x} can be"
    )]
    Misplaced {
        /// The offset in the data file in bytes.
        offset: u64,
    },
    /// A header extension is longer than the room for extensions.
    #[error(
        "the header extension {magic:#010x} at {offset:#x} is {length} bytes long and reaches past the end of the extensions at {end:#x}"
    )]
    ExtensionTooLong {
        /// Type of the extension.
        magic: u32,
        /// Where its header starts in the file.
        offset: u64,
        /// Its recorded length.
        length: u64,
        /// Where the extensions must end.
        end: u64,
    },
    /// A header extension of a known type has a content that type cannot have.
    #[error("the header extension {extension} is not valid: {reason}")]
    BadExtension {
        /// Name of the extension.
        extension: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A header value to be written contradicts another one.
    #[error("the header cannot be written: {reason}")]
    Inconsistent {
        /// What contradicts what.
        reason: &'static str,
    },
    /// The header, its extensions and the backing name do not fit where they must.
    #[error(
        "there is no room in the header for {what}: {needed} bytes are needed, {available} are there"
    )]
    NoSpaceInHeader {
        /// What does not fit.
        what: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes there are.
        available: u64,
    },
    /// Bits that must be zero are set.
    #[error("{field} {raw:#018x} has the reserved bits {bits:#x} set")]
    ReservedBits {
        /// Kind of entry.
        field: &'static str,
        /// The entry as it is on disk.
        raw: u64,
        /// The bits that must be zero.
        bits: u64,
    },
    /// A zero flag in an image of version 2.
    #[error("the L2 entry {raw:#018x} has the zero flag, which version 2 does not know")]
    ZeroFlagInV2 {
        /// The entry as it is on disk.
        raw: u64,
    },
    /// A subcluster bitmap that contradicts itself or its entry.
    #[error("the subcluster bitmap {bitmap:#018x} is not valid: {reason}")]
    BadSubclusterBitmap {
        /// The bitmap as it is on disk.
        bitmap: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A compressed cluster where there cannot be one.
    #[error("the compressed L2 entry {raw:#018x} is not valid: {reason}")]
    BadCompressedEntry {
        /// The entry as it is on disk.
        raw: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Compressed data that does not decompress to one cluster.
    #[error("a compressed cluster ({codec}) is damaged: {reason}")]
    BadCompressedData {
        /// Name of the codec.
        codec: &'static str,
        /// What is wrong with the data.
        reason: String,
    },
    /// An index beyond the end of a table.
    #[error("{table} has {len} entries; there is no entry {index}")]
    NoSuchEntry {
        /// Kind of table.
        table: &'static str,
        /// Index asked for.
        index: u64,
        /// Entries there are.
        len: u64,
    },
    /// A LUKS header with a value that it cannot have.
    #[error("the LUKS header is not valid: {field} {reason}")]
    BadLuks {
        /// The field; with the number of the key slot, if it is one of a slot.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An encryption that is not understood.
    #[error(
        "the encryption {what} is not supported here: aes, serpent and twofish in the modes xts, cbc and ecb, \
         with sha1, sha2 and ripemd160 hashes, are"
    )]
    UnsupportedCipher {
        /// The part that is not known, by the name in the header: `the cipher cast5`.
        what: String,
    },
    /// A value is too large for the field it is to be stored in.
    #[error("{value} does not fit {field}; the largest value is {max}")]
    DoesNotFit {
        /// The field.
        field: &'static str,
        /// The value.
        value: u64,
        /// The largest value that fits.
        max: u64,
    },
}

/// Refuses a value outside `min..=max`.
pub(crate) fn in_range(
    field: &'static str,
    value: u64,
    min: u64,
    max: u64,
) -> Result<(), FormatError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(FormatError::OutOfRange {
            field,
            value,
            min,
            max,
        })
    }
}
