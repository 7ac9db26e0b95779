//! Headers made, and written as bytes that parse as what was written.

use zerocopy::IntoBytes;

use super::super::address::HostOffset;
use super::super::error::{FormatError, in_range};
use super::super::extension::{self, BitmapsExtension, CryptoHeader, Extension, ExtensionKind};
use super::super::feature::{self, Autoclear, Compatible, Incompatible};
use super::super::geometry::Geometry;
use super::super::limits;
use super::{BackingName, CompressionType, CryptMethod, Header, MAGIC, RawCommon, RawV3, Version};

impl Header {
    /// A header for a new image as QEMU 10.0 writes it: 112 bytes, with the feature name table where
    /// clusters are larger than 4 KiB. The tables' places are still zero; fill them in before
    /// [`Header::encode`].
    #[must_use]
    pub fn new(version: Version, geometry: Geometry, virtual_size: u64) -> Self {
        let mut extensions = Vec::new();
        let mut incompatible = Incompatible::empty();
        incompatible.set(Incompatible::EXTENDED_L2, geometry.extended_l2());
        let (header_length, unknown_fields) = match version {
            Version::V2 => (limits::V2_HEADER_LENGTH, Vec::new()),
            Version::V3 => {
                if geometry.cluster_size() > 4096 {
                    extensions.push(Extension {
                        magic: extension::FEATURE_NAMES,
                        data: feature::encode_names(&feature::standard_names()),
                    });
                }
                (limits::NEW_HEADER_LENGTH, vec![0; 7])
            }
        };
        Self {
            version,
            geometry,
            recorded_size: virtual_size,
            l1_offset: HostOffset(0),
            l1_entries: 0,
            refcount_table_offset: HostOffset(0),
            refcount_table_clusters: 0,
            crypt: CryptMethod::None,
            snapshot_count: 0,
            snapshots_offset: HostOffset(0),
            incompatible,
            compatible: Compatible::empty(),
            autoclear: Autoclear::empty(),
            header_length,
            compression: CompressionType::Zlib,
            unknown_fields,
            extensions,
            backing: None,
        }
    }

    /// Records a backing file the way QEMU lays it out in a new image: the format as the first
    /// extension, the name right behind the end marker. `None` as format leaves no format recorded.
    ///
    /// # Errors
    /// [`FormatError::NoSpaceInHeader`] if the name or the format is too long for its field or the
    /// first cluster; the header is then unchanged.
    pub fn set_backing(&mut self, name: &[u8], format: Option<&[u8]>) -> Result<(), FormatError> {
        let mut extensions = self.extensions.clone();
        extensions.retain(|e| e.kind() != ExtensionKind::BackingFormat);
        if let Some(format) = format {
            if format.len() > limits::MAX_BACKING_FORMAT_BYTES {
                return Err(FormatError::NoSpaceInHeader {
                    what: "the backing format",
                    needed: format.len() as u64,
                    available: limits::MAX_BACKING_FORMAT_BYTES as u64,
                });
            }
            extensions.insert(
                0,
                Extension {
                    magic: extension::BACKING_FORMAT,
                    data: format.to_vec(),
                },
            );
        }
        let offset = extensions
            .iter()
            .fold(u64::from(self.header_length) + 8, |sum, e| {
                sum.saturating_add(e.encoded_len() as u64)
            });
        let available = self
            .geometry
            .cluster_size()
            .saturating_sub(offset)
            .min(limits::MAX_BACKING_NAME_BYTES as u64);
        if name.len() as u64 > available {
            return Err(FormatError::NoSpaceInHeader {
                what: "the backing file name",
                needed: name.len() as u64,
                available,
            });
        }
        self.extensions = extensions;
        self.backing = Some(BackingName {
            offset,
            name: name.to_vec(),
        });
        Ok(())
    }

    /// Records where the LUKS header is, as QEMU does in a new image without a backing file: before the
    /// names of the features. One that is recorded already is replaced.
    pub fn set_crypto_header(&mut self, place: CryptoHeader) {
        let new = place.encode();
        match self.extensions.iter_mut().find(|e| e.magic == new.magic) {
            Some(held) => *held = new,
            None => self.extensions.insert(0, new),
        }
    }

    /// Records where the bitmap directory is, as QEMU does: as the last extension. One that is recorded
    /// already is replaced.
    ///
    /// # Errors
    /// As [`Header::set_backing`], should the backing file's name have no room behind it.
    pub fn set_bitmaps(&mut self, place: BitmapsExtension) -> Result<(), FormatError> {
        let new = place.encode();
        self.autoclear |= Autoclear::BITMAPS;
        if let Some(held) = self.extensions.iter_mut().find(|e| e.magic == new.magic) {
            *held = new;
            return Ok(());
        }
        self.extensions.push(new);
        match self.backing.clone() {
            Some(backing) => {
                let format = self.backing_format().map(<[u8]>::to_vec);
                self.set_backing(&backing.name, format.as_deref())
            }
            None => Ok(()),
        }
    }

    /// The meaningful bytes of the first cluster: header, extensions, end marker, backing name. The
    /// exact inverse of [`Header::parse`]; whatever follows them in the cluster is zero.
    ///
    /// # Errors
    /// Whatever [`Header::parse`] would refuse, [`FormatError::NoSpaceInHeader`] where the parts
    /// overlap, [`FormatError::Inconsistent`] where two fields contradict each other.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let (backing_offset, name) = match &self.backing {
            Some(backing) => (backing.offset, backing.name.as_slice()),
            None => (0, &[][..]),
        };
        let backing_size = u32::try_from(name.len()).map_err(|_| FormatError::NoSpaceInHeader {
            what: "the backing file name",
            needed: name.len() as u64,
            available: limits::MAX_BACKING_NAME_BYTES as u64,
        })?;
        let common = RawCommon {
            magic: MAGIC.into(),
            version: self.version.number().into(),
            backing_offset: backing_offset.into(),
            backing_size: backing_size.into(),
            cluster_bits: self.geometry.cluster_bits().into(),
            size: self.recorded_size.into(),
            crypt_method: match self.crypt {
                CryptMethod::None => 0,
                CryptMethod::Aes => 1,
                CryptMethod::Luks => 2,
            }
            .into(),
            l1_size: self.l1_entries.into(),
            l1_table_offset: self.l1_offset.get().into(),
            refcount_table_offset: self.refcount_table_offset.get().into(),
            refcount_table_clusters: self.refcount_table_clusters.into(),
            snapshot_count: self.snapshot_count.into(),
            snapshots_offset: self.snapshots_offset.get().into(),
        };
        let mut out = common.as_bytes().to_vec();
        if self.version == Version::V3 {
            let v3 = RawV3 {
                incompatible: self.incompatible.bits().into(),
                compatible: self.compatible.bits().into(),
                autoclear: self.autoclear.bits().into(),
                refcount_order: self.geometry.refcount_order().into(),
                header_length: self.header_length.into(),
            };
            out.extend_from_slice(v3.as_bytes());
            if self.header_length > limits::MIN_V3_HEADER_LENGTH {
                out.push(self.compression.code());
                out.extend_from_slice(&self.unknown_fields);
            }
        }
        if out.len() as u64 != u64::from(self.header_length) {
            return Err(FormatError::Inconsistent {
                reason: "the header length and the header's fields differ",
            });
        }
        for extension in &self.extensions {
            if extension.magic == extension::END {
                return Err(FormatError::Inconsistent {
                    reason: "an end marker stands among the extensions",
                });
            }
            extension.encode_into(&mut out)?;
        }
        let end = match backing_offset {
            0 => self.geometry.cluster_size(),
            offset => offset,
        };
        let length = out.len() as u64;
        if length > end {
            return Err(FormatError::NoSpaceInHeader {
                what: "the header extensions",
                needed: length,
                available: end,
            });
        }
        if backing_offset == 0 {
            // The end marker; extensions that fill the cluster to its end need none.
            if length < end {
                out.resize(out.len().saturating_add(8), 0);
            }
        } else {
            let most = self.geometry.cluster_size();
            in_range("backing_file_offset", backing_offset, 0, most)?;
            let start = usize::try_from(backing_offset).map_err(|_| FormatError::DoesNotFit {
                field: "backing_file_offset",
                value: backing_offset,
                max: most,
            })?;
            out.resize(start, 0);
            out.extend_from_slice(name);
        }
        if Self::parse(&out)? != *self {
            return Err(FormatError::Inconsistent {
                reason: "some fields contradict each other",
            });
        }
        Ok(out)
    }
}
