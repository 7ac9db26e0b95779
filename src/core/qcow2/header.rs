//! The image header: what the first cluster says about the whole image, checked as QEMU checks it on
//! open, and back into bytes.
//!
//! The tables the header points at are not read here; changing the header of an existing image in a
//! crash-safe way is the business of [`mod@super::rewrite`].

mod encode;

use std::fmt;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::address::HostOffset;
use super::error::{FormatError, in_range};
use super::extension::{self, BitmapsExtension, CryptoHeader, Extension, ExtensionKind, slice};
use super::feature::{
    self, Autoclear, Compatible, FeatureName, FeatureSet, Incompatible, UnknownFeature,
};
use super::geometry::Geometry;
use super::limits;
use super::table::TablePlace;

/// The first four bytes of every qcow2 image: `QFI\xfb`.
pub const MAGIC: u32 = 0x5146_49fb;

/// Bytes 0 to 71: what versions 2 and 3 have in common.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawCommon {
    magic: U32,
    version: U32,
    backing_offset: U64,
    backing_size: U32,
    cluster_bits: U32,
    size: U64,
    crypt_method: U32,
    l1_size: U32,
    l1_table_offset: U64,
    refcount_table_offset: U64,
    refcount_table_clusters: U32,
    snapshot_count: U32,
    snapshots_offset: U64,
}

/// Bytes 72 to 103: what version 3 adds at least.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawV3 {
    incompatible: U64,
    compatible: U64,
    autoclear: U64,
    refcount_order: U32,
    header_length: U32,
}

/// The version of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum Version {
    /// Version 2, `compat=0.10`: no feature bits, no zero flag, 16-bit refcounts.
    V2,
    /// Version 3, `compat=1.1`.
    V3,
}

impl Version {
    /// The number recorded in the header.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }

    /// What qemu-img calls it in `compat=`.
    #[must_use]
    pub const fn compat(self) -> &'static str {
        match self {
            Self::V2 => "0.10",
            Self::V3 => "1.1",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// How guest data is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CryptMethod {
    /// Not at all.
    None,
    /// The legacy AES-CBC method.
    Aes,
    /// LUKS, with a header inside the image.
    Luks,
}

impl fmt::Display for CryptMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Aes => "aes",
            Self::Luks => "luks",
        })
    }
}

/// The codec of compressed clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum CompressionType {
    /// Raw deflate.
    #[default]
    Zlib,
    /// Zstandard.
    Zstd,
}

impl CompressionType {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Zlib => 0,
            Self::Zstd => 1,
        }
    }
}

impl fmt::Display for CompressionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
        })
    }
}

/// The backing file name and where in the file it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackingName {
    /// Where the name starts in the file, in bytes. Inside the first cluster, never 0.
    pub offset: u64,
    /// The name's bytes as recorded, at most 1023.
    pub name: Vec<u8>,
}

/// Something in a header that keeps this program from reading the image's content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Unsupported {
    /// An incompatible feature this program does not know.
    Feature(UnknownFeature),
    /// Encrypted content.
    Encryption(CryptMethod),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feature(feature) => write!(f, "unknown feature: {feature}"),
            Self::Encryption(method) => write!(f, "encrypted with {method}"),
        }
    }
}

/// A validated image header with all its extensions.
///
/// The fields may be changed freely; [`Header::encode`] refuses what [`Header::parse`] would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Version of the format.
    pub version: Version,
    /// Cluster size, refcount width, kind of L2 entries.
    pub geometry: Geometry,
    /// The virtual size as recorded, in bytes; [`Header::virtual_size`] is what QEMU makes of it.
    pub recorded_size: u64,
    /// Where the active L1 table is.
    pub l1_offset: HostOffset,
    /// Entries of the active L1 table.
    pub l1_entries: u32,
    /// Where the refcount table is.
    pub refcount_table_offset: HostOffset,
    /// Clusters of the refcount table, at least 1.
    pub refcount_table_clusters: u32,
    /// Encryption of the guest data.
    pub crypt: CryptMethod,
    /// Number of internal snapshots.
    pub snapshot_count: u32,
    /// Where the snapshot table is.
    pub snapshots_offset: HostOffset,
    /// Features a reader must know, unknown bits included.
    pub incompatible: Incompatible,
    /// Features a reader may ignore, unknown bits included.
    pub compatible: Compatible,
    /// Features a writer must clear unless it keeps them up, unknown bits included.
    pub autoclear: Autoclear,
    /// Bytes of the header proper; the extensions start behind it.
    pub header_length: u32,
    /// Codec of compressed clusters.
    pub compression: CompressionType,
    /// The header's bytes from 105 up to its length: padding and fields of the future.
    pub unknown_fields: Vec<u8>,
    /// The header extensions, in the image's order.
    pub extensions: Vec<Extension>,
    /// The backing file name; see [`Header::backing_file`].
    pub backing: Option<BackingName>,
}

/// Whether these are the first bytes of a qcow2 image of any version.
#[must_use]
pub fn is_qcow2(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(&MAGIC.to_be_bytes())
}

fn truncated(needed: u64, bytes: &[u8]) -> FormatError {
    FormatError::Truncated {
        field: "the image header",
        needed,
        have: bytes.len() as u64,
    }
}

/// `qcow2_validate_table`: not too many entries, cluster-aligned, not beyond the largest file.
fn validate_table(
    geometry: Geometry,
    (size_field, offset_field): (&'static str, &'static str),
    offset: u64,
    entries: u32,
    entry_size: u64,
    max_bytes: u64,
) -> Result<(), FormatError> {
    in_range(size_field, entries.into(), 0, max_bytes / entry_size)?;
    geometry.require_aligned(offset_field, offset)?;
    let length = u64::from(entries) * entry_size;
    // A table without entries is not read, so its offset may be anything that is a number to QEMU.
    let end = if entries == 0 {
        limits::MAX_OFFSET
    } else {
        limits::MAX_FILE_LENGTH
    };
    if offset > end - length {
        return Err(FormatError::BeyondEnd {
            field: offset_field,
            offset,
            length,
        });
    }
    Ok(())
}

impl Header {
    /// How many bytes from the start of the file [`Header::parse`] needs, as far as `first_bytes`
    /// tells: at most one cluster. Not more than `first_bytes.len()` once they are enough, or once
    /// they show a fault that more bytes cannot mend. Bytes beyond the end of the file count as zero.
    ///
    /// Read a few KiB, ask, read up to the answer if it is more, and ask again until it is not.
    #[must_use]
    pub fn needed(first_bytes: &[u8]) -> usize {
        match Self::parse(first_bytes) {
            Err(FormatError::Truncated { needed, .. }) => {
                usize::try_from(needed).unwrap_or(usize::MAX)
            }
            _ => first_bytes.len(),
        }
    }

    /// Reads a header from the first bytes of a file and checks it as QEMU does on open.
    ///
    /// Images with unknown incompatible features or encryption are read as well: see
    /// [`Header::unsupported`].
    ///
    /// # Errors
    /// [`FormatError::Truncated`] if more bytes are needed (see [`Header::needed`]), otherwise
    /// whatever field QEMU would refuse the image for.
    pub fn parse(first_bytes: &[u8]) -> Result<Self, FormatError> {
        if first_bytes.len() >= 4 && !is_qcow2(first_bytes) {
            return Err(FormatError::NotQcow2);
        }
        let (raw, rest) = RawCommon::ref_from_prefix(first_bytes)
            .map_err(|_| truncated(limits::V2_HEADER_LENGTH.into(), first_bytes))?;
        let version = match raw.version.get() {
            2 => Version::V2,
            3 => Version::V3,
            version => return Err(FormatError::UnsupportedVersion { version }),
        };
        let cluster_bits = raw.cluster_bits.get();
        // Refused here already, so that the sizes below mean something.
        let cluster_size = Geometry::new(cluster_bits, 4, false)?.cluster_size();

        let v3 = match version {
            Version::V2 => RawV3 {
                incompatible: 0.into(),
                compatible: 0.into(),
                autoclear: 0.into(),
                refcount_order: 4.into(),
                header_length: limits::V2_HEADER_LENGTH.into(),
            },
            Version::V3 => {
                let (v3, _) = RawV3::read_from_prefix(rest)
                    .map_err(|_| truncated(limits::MIN_V3_HEADER_LENGTH.into(), first_bytes))?;
                in_range(
                    "header_length",
                    v3.header_length.get().into(),
                    limits::MIN_V3_HEADER_LENGTH.into(),
                    cluster_size,
                )?;
                v3
            }
        };
        let header_length = v3.header_length.get();
        let backing_offset = raw.backing_offset.get();
        in_range("backing_file_offset", backing_offset, 0, cluster_size)?;

        let tail_length = u64::from(header_length.saturating_sub(limits::MIN_V3_HEADER_LENGTH));
        let tail = match version {
            Version::V2 => &[],
            Version::V3 => slice(
                first_bytes,
                limits::MIN_V3_HEADER_LENGTH.into(),
                tail_length,
            )
            .ok_or_else(|| truncated(header_length.into(), first_bytes))?,
        };
        let (compression, unknown_fields) = tail.split_first().unwrap_or((&0, &[]));
        let incompatible = Incompatible::from_bits_retain(v3.incompatible.get());
        let compression = match compression {
            0 => CompressionType::Zlib,
            1 => CompressionType::Zstd,
            other => {
                return Err(FormatError::Unknown {
                    field: "compression_type",
                    value: (*other).into(),
                });
            }
        };
        if incompatible.contains(Incompatible::COMPRESSION_TYPE)
            != (compression != CompressionType::Zlib)
        {
            return Err(FormatError::CompressionBit {
                compression: compression.code(),
            });
        }
        // QEMU refuses it as well. With a feature bit that nobody knows, who can tell.
        if Autoclear::from_bits_retain(v3.autoclear.get()).contains(Autoclear::RAW_EXTERNAL_DATA)
            && Incompatible::from_bits(v3.incompatible.get())
                .is_some_and(|known| !known.contains(Incompatible::EXTERNAL_DATA_FILE))
        {
            return Err(FormatError::RawWithoutDataFile);
        }
        let geometry = Geometry::new(
            cluster_bits,
            v3.refcount_order.get(),
            incompatible.contains(Incompatible::EXTENDED_L2),
        )?;

        let crypt = match raw.crypt_method.get() {
            0 => CryptMethod::None,
            1 => CryptMethod::Aes,
            2 => CryptMethod::Luks,
            other => {
                return Err(FormatError::Unknown {
                    field: "crypt_method",
                    value: other.into(),
                });
            }
        };
        in_range(
            "refcount_table_clusters",
            raw.refcount_table_clusters.get().into(),
            1,
            limits::MAX_REFCOUNT_TABLE_BYTES / cluster_size,
        )?;
        validate_table(
            geometry,
            ("refcount_table_clusters", "refcount_table_offset"),
            raw.refcount_table_offset.get(),
            raw.refcount_table_clusters.get(),
            cluster_size,
            limits::MAX_REFCOUNT_TABLE_BYTES,
        )?;
        // 40 bytes is the fixed part of a snapshot table entry; the whole is bounded when it is read.
        validate_table(
            geometry,
            ("nb_snapshots", "snapshots_offset"),
            raw.snapshots_offset.get(),
            raw.snapshot_count.get(),
            40,
            40 * u64::from(limits::MAX_SNAPSHOTS),
        )?;
        validate_table(
            geometry,
            ("l1_size", "l1_table_offset"),
            raw.l1_table_offset.get(),
            raw.l1_size.get(),
            8,
            limits::MAX_L1_BYTES,
        )?;
        let size = raw.size.get();
        in_range("size", size, 0, limits::MAX_OFFSET)?;
        let l1_needed = geometry.l1_entries_for(size);
        if u64::from(raw.l1_size.get()) < l1_needed {
            return Err(FormatError::L1TooSmall {
                entries: raw.l1_size.get().into(),
                needed: l1_needed,
                virtual_size: size,
            });
        }

        let extensions_end = if backing_offset == 0 {
            cluster_size
        } else {
            backing_offset
        };
        let extensions = match extension::walk(first_bytes, header_length.into(), extensions_end)? {
            extension::Walk::Done(extensions) => extensions,
            extension::Walk::Needs(needed) => return Err(truncated(needed, first_bytes)),
        };
        let autoclear = Autoclear::from_bits_retain(v3.autoclear.get());
        for extension in &extensions {
            check_extension(extension, geometry, crypt, autoclear)?;
        }

        let backing = if backing_offset == 0 {
            None
        } else {
            let length = u64::from(raw.backing_size.get());
            let room = cluster_size - backing_offset;
            in_range(
                "backing_file_size",
                length,
                0,
                room.min(limits::MAX_BACKING_NAME_BYTES as u64),
            )?;
            let name = slice(first_bytes, backing_offset, length)
                .ok_or_else(|| truncated(backing_offset + length, first_bytes))?;
            Some(BackingName {
                offset: backing_offset,
                name: name.to_vec(),
            })
        };

        Ok(Self {
            version,
            geometry,
            recorded_size: size,
            l1_offset: HostOffset(raw.l1_table_offset.get()),
            l1_entries: raw.l1_size.get(),
            refcount_table_offset: HostOffset(raw.refcount_table_offset.get()),
            refcount_table_clusters: raw.refcount_table_clusters.get(),
            crypt,
            snapshot_count: raw.snapshot_count.get(),
            snapshots_offset: HostOffset(raw.snapshots_offset.get()),
            incompatible,
            compatible: Compatible::from_bits_retain(v3.compatible.get()),
            autoclear,
            header_length,
            compression,
            unknown_fields: unknown_fields.to_vec(),
            extensions,
            backing,
        })
    }

    /// The virtual size in bytes: as recorded, rounded down to whole sectors as QEMU does on open.
    #[must_use]
    pub const fn virtual_size(&self) -> u64 {
        self.recorded_size & !(limits::SECTOR - 1)
    }

    /// Where the L1 table is of what the guest sees now.
    #[must_use]
    pub fn l1(&self) -> TablePlace {
        TablePlace {
            offset: self.l1_offset,
            entries: self.l1_entries.into(),
        }
    }

    /// The backing file name as QEMU takes it: up to its first zero byte; `None` if there is none or
    /// it is empty. From the image: not to be trusted.
    #[must_use]
    pub fn backing_file(&self) -> Option<&[u8]> {
        let name = &self.backing.as_ref()?.name;
        name.split(|byte| *byte == 0)
            .next()
            .filter(|name| !name.is_empty())
    }

    /// The recorded format of the backing file, up to its first zero byte; `None` if there is none.
    #[must_use]
    pub fn backing_format(&self) -> Option<&[u8]> {
        self.extension(ExtensionKind::BackingFormat)?
            .split(|byte| *byte == 0)
            .next()
            .filter(|name| !name.is_empty())
    }

    /// The recorded name of the external data file, up to its first zero byte.
    #[must_use]
    pub fn data_file(&self) -> Option<&[u8]> {
        self.extension(ExtensionKind::DataFile)?
            .split(|byte| *byte == 0)
            .next()
            .filter(|name| !name.is_empty())
    }

    /// Whether guest data lives in another file.
    #[must_use]
    pub const fn has_data_file(&self) -> bool {
        self.incompatible.contains(Incompatible::EXTERNAL_DATA_FILE)
    }

    /// The names the image gives to feature bits.
    #[must_use]
    pub fn feature_names(&self) -> Vec<FeatureName> {
        self.extension(ExtensionKind::FeatureNames)
            .map(feature::parse_names)
            .unwrap_or_default()
    }

    /// Where the bitmap directory is; `None` if there is none or the autoclear bit says that it is
    /// out of date.
    #[must_use]
    pub fn bitmaps(&self) -> Option<BitmapsExtension> {
        if !self.autoclear.contains(Autoclear::BITMAPS) {
            return None;
        }
        BitmapsExtension::parse(self.extension(ExtensionKind::Bitmaps)?, self.geometry).ok()
    }

    /// Where the LUKS header is.
    #[must_use]
    pub fn crypto_header(&self) -> Option<CryptoHeader> {
        CryptoHeader::parse(self.extension(ExtensionKind::CryptoHeader)?, self.geometry).ok()
    }

    /// The incompatible features this program does not know, named as the image names them.
    #[must_use]
    pub fn unknown_incompatible(&self) -> Vec<UnknownFeature> {
        let unknown = self.incompatible.difference(Incompatible::all()).bits();
        if unknown == 0 {
            return Vec::new();
        }
        feature::name_bits(FeatureSet::Incompatible, unknown, &self.feature_names())
    }

    /// Everything that keeps this program from reading the content. Empty: it can be read, with LUKS by
    /// whoever has a passphrase.
    #[must_use]
    pub fn unsupported(&self) -> Vec<Unsupported> {
        let mut all: Vec<_> = self
            .unknown_incompatible()
            .into_iter()
            .map(Unsupported::Feature)
            .collect();
        let is_open = match self.crypt {
            CryptMethod::None => true,
            CryptMethod::Aes => false,
            CryptMethod::Luks => self.crypto_header().is_some(),
        };
        if !is_open {
            all.push(Unsupported::Encryption(self.crypt));
        }
        all
    }

    /// Data of the last extension of this kind: of several, QEMU uses the last.
    fn extension(&self, kind: ExtensionKind) -> Option<&[u8]> {
        self.extensions
            .iter()
            .rev()
            .find(|extension| extension.kind() == kind)
            .map(|extension| extension.data.as_slice())
    }
}

/// Refuses what QEMU refuses in the content of a known extension.
fn check_extension(
    extension: &Extension,
    geometry: Geometry,
    crypt: CryptMethod,
    autoclear: Autoclear,
) -> Result<(), FormatError> {
    match extension.kind() {
        ExtensionKind::BackingFormat => in_range(
            "backing format length",
            extension.data.len() as u64,
            0,
            limits::MAX_BACKING_FORMAT_BYTES as u64,
        ),
        ExtensionKind::CryptoHeader if crypt != CryptMethod::Luks => {
            Err(FormatError::BadExtension {
                extension: "crypto header",
                reason: "it is only expected in images encrypted with LUKS",
            })
        }
        ExtensionKind::CryptoHeader => CryptoHeader::parse(&extension.data, geometry).map(|_| ()),
        // QEMU does not look into a bitmaps extension that the autoclear bit calls out of date, but
        // its length must be right all the same.
        ExtensionKind::Bitmaps if !autoclear.contains(Autoclear::BITMAPS) => {
            if extension.data.len() == 24 {
                Ok(())
            } else {
                Err(FormatError::BadExtension {
                    extension: "bitmaps",
                    reason: "it must be 24 bytes long",
                })
            }
        }
        ExtensionKind::Bitmaps => BitmapsExtension::parse(&extension.data, geometry).map(|_| ()),
        ExtensionKind::FeatureNames | ExtensionKind::DataFile | ExtensionKind::Unknown(_) => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
