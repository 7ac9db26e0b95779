//! Header extensions: the chain of typed byte strings between the header and the backing name.
//!
//! Each extension is kept as its raw bytes, known or not, so that nothing is lost when a header is
//! written again; the known ones can be read out of it. What they refer to is not followed here.

use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::address::HostOffset;
use super::error::{FormatError, in_range};
use super::geometry::Geometry;
use super::limits;

/// Ends the chain of extensions.
pub const END: u32 = 0;
/// Name of the backing file's format.
pub const BACKING_FORMAT: u32 = 0xe279_2aca;
/// Names of feature bits.
pub const FEATURE_NAMES: u32 = 0x6803_f857;
/// Where the bitmap directory is.
pub const BITMAPS: u32 = 0x2385_2875;
/// Where the LUKS header is.
pub const CRYPTO_HEADER: u32 = 0x0537_be77;
/// Name of the external data file.
pub const DATA_FILE: u32 = 0x4441_5441;

/// The eight bytes before each extension's data.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(crate) struct RawExtensionHeader {
    pub(crate) magic: U32,
    pub(crate) length: U32,
}

/// One header extension, its data as it is on disk without the padding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Extension {
    /// Type of the extension.
    pub magic: u32,
    /// Its data.
    pub data: Vec<u8>,
}

/// What an extension is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtensionKind {
    /// Name of the backing file's format.
    BackingFormat,
    /// Names of feature bits.
    FeatureNames,
    /// Where the bitmap directory is.
    Bitmaps,
    /// Where the LUKS header is.
    CryptoHeader,
    /// Name of the external data file.
    DataFile,
    /// A type this program does not know.
    Unknown(u32),
}

impl Extension {
    /// What the extension is for.
    #[must_use]
    pub const fn kind(&self) -> ExtensionKind {
        match self.magic {
            BACKING_FORMAT => ExtensionKind::BackingFormat,
            FEATURE_NAMES => ExtensionKind::FeatureNames,
            BITMAPS => ExtensionKind::Bitmaps,
            CRYPTO_HEADER => ExtensionKind::CryptoHeader,
            DATA_FILE => ExtensionKind::DataFile,
            other => ExtensionKind::Unknown(other),
        }
    }

    /// Bytes it takes in the header: its own header, the data, and the padding to 8 bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.data.len().next_multiple_of(8).saturating_add(8)
    }

    /// Appends the extension as it is on disk.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let length = u32::try_from(self.data.len()).map_err(|_| FormatError::DoesNotFit {
            field: "header extension length",
            value: self.data.len() as u64,
            max: u32::MAX.into(),
        })?;
        let header = RawExtensionHeader {
            magic: self.magic.into(),
            length: length.into(),
        };
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&self.data);
        out.resize(
            out.len()
                .saturating_add(self.encoded_len() - 8 - self.data.len()),
            0,
        );
        Ok(())
    }
}

/// How far a walk over the extensions got.
pub(crate) enum Walk {
    /// All of them.
    Done(Vec<Extension>),
    /// More bytes are needed: this many from the start of the file.
    Needs(u64),
}

/// Reads the extensions from `start` until the end marker or `end`, as QEMU does. `bytes` starts at
/// the start of the file and may stop early. Data is copied only where `bytes` holds it.
pub(crate) fn walk(bytes: &[u8], start: u64, end: u64) -> Result<Walk, FormatError> {
    let mut found = Vec::new();
    let mut at = start;
    while at < end {
        let Some(header) = slice(bytes, at, 8) else {
            // An extension header that itself reaches past the end is an error, not a shortage.
            if at + 8 > end {
                return Err(too_long(0, at, 0, end));
            }
            return Ok(Walk::Needs(at + 8));
        };
        let Ok(header) = RawExtensionHeader::ref_from_bytes(header) else {
            return Ok(Walk::Needs(at + 8));
        };
        let (magic, length) = (header.magic.get(), u64::from(header.length.get()));
        let data_at = at + 8;
        if data_at > end || length > end - data_at {
            return Err(too_long(magic, at, length, end));
        }
        if magic == END {
            break;
        }
        let Some(data) = slice(bytes, data_at, length) else {
            return Ok(Walk::Needs(data_at + length));
        };
        found.push(Extension {
            magic,
            data: data.to_vec(),
        });
        at = data_at + length.next_multiple_of(8);
    }
    Ok(Walk::Done(found))
}

fn too_long(magic: u32, offset: u64, length: u64, end: u64) -> FormatError {
    FormatError::ExtensionTooLong {
        magic,
        offset,
        length,
        end,
    }
}

/// `bytes[at..at + len]`, if it is there.
pub(crate) fn slice(bytes: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    let at = usize::try_from(at).ok()?;
    let len = usize::try_from(len).ok()?;
    bytes.get(at..at.checked_add(len)?)
}

/// Data of the bitmaps extension, as it is on disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawBitmapsExtension {
    count: U32,
    reserved: U32,
    directory_size: U64,
    directory_offset: U64,
}

/// Where the bitmap directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BitmapsExtension {
    /// Number of bitmaps, 1 to 65535.
    pub count: u32,
    /// Bytes of the directory.
    pub directory_size: u64,
    /// Where it starts, cluster-aligned.
    pub directory_offset: HostOffset,
}

impl BitmapsExtension {
    /// Reads and checks the extension's data.
    ///
    /// # Errors
    /// Whatever QEMU refuses: a wrong length, a set reserved field, no bitmaps or too many, a
    /// directory that is unaligned or too large.
    pub fn parse(data: &[u8], geometry: Geometry) -> Result<Self, FormatError> {
        let raw =
            RawBitmapsExtension::ref_from_bytes(data).map_err(|_| FormatError::BadExtension {
                extension: "bitmaps",
                reason: "it must be 24 bytes long",
            })?;
        if raw.reserved.get() != 0 {
            return Err(FormatError::BadExtension {
                extension: "bitmaps",
                reason: "its reserved field is not zero",
            });
        }
        in_range(
            "bitmap count",
            raw.count.get().into(),
            1,
            limits::MAX_BITMAPS.into(),
        )?;
        geometry.require_aligned("bitmap directory offset", raw.directory_offset.get())?;
        in_range(
            "bitmap directory size",
            raw.directory_size.get(),
            0,
            limits::MAX_BITMAP_DIRECTORY_BYTES,
        )?;
        if raw.directory_offset.get() > limits::MAX_OFFSET - raw.directory_size.get() {
            return Err(FormatError::BeyondEnd {
                field: "bitmap directory",
                offset: raw.directory_offset.get(),
                length: raw.directory_size.get(),
            });
        }
        Ok(Self {
            count: raw.count.get(),
            directory_size: raw.directory_size.get(),
            directory_offset: HostOffset(raw.directory_offset.get()),
        })
    }

    /// The extension, ready to be put into a header.
    #[must_use]
    pub fn encode(&self) -> Extension {
        let raw = RawBitmapsExtension {
            count: self.count.into(),
            reserved: 0.into(),
            directory_size: self.directory_size.into(),
            directory_offset: self.directory_offset.get().into(),
        };
        Extension {
            magic: BITMAPS,
            data: raw.as_bytes().to_vec(),
        }
    }
}

/// Data of the crypto header extension, as it is on disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawCryptoHeader {
    offset: U64,
    length: U64,
}

/// Where the LUKS header is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CryptoHeader {
    /// Where it starts, cluster-aligned.
    pub offset: HostOffset,
    /// Its bytes.
    pub length: u64,
}

impl CryptoHeader {
    /// Reads and checks the extension's data.
    ///
    /// # Errors
    /// A wrong length or an unaligned offset.
    pub fn parse(data: &[u8], geometry: Geometry) -> Result<Self, FormatError> {
        let raw = RawCryptoHeader::ref_from_bytes(data).map_err(|_| FormatError::BadExtension {
            extension: "crypto header",
            reason: "it must be 16 bytes long",
        })?;
        geometry.require_aligned("crypto header offset", raw.offset.get())?;
        if raw.offset.get() > limits::MAX_OFFSET
            || raw.length.get() > limits::MAX_OFFSET - raw.offset.get()
        {
            return Err(FormatError::BeyondEnd {
                field: "crypto header",
                offset: raw.offset.get(),
                length: raw.length.get(),
            });
        }
        Ok(Self {
            offset: HostOffset(raw.offset.get()),
            length: raw.length.get(),
        })
    }

    /// The extension, ready to be put into a header.
    #[must_use]
    pub fn encode(&self) -> Extension {
        let raw = RawCryptoHeader {
            offset: self.offset.get().into(),
            length: self.length.into(),
        };
        Extension {
            magic: CRYPTO_HEADER,
            data: raw.as_bytes().to_vec(),
        }
    }
}
