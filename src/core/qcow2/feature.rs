//! Feature bits: incompatible, compatible, autoclear, and the names an image gives to its own bits.
//!
//! What a bit demands of a reader or writer is decided where the thing itself lives; here they only
//! have names.

use std::fmt;

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

bitflags! {
    /// Features that a reader must know to open the image. Unknown bits are kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Incompatible: u64 {
        /// Refcounts may be wrong; they must be rebuilt before the image is written.
        const DIRTY = 1 << 0;
        /// Metadata may be wrong; the image must not be written except to repair it.
        const CORRUPT = 1 << 1;
        /// Guest data lives in another file.
        const EXTERNAL_DATA_FILE = 1 << 2;
        /// The compression type is not zlib.
        const COMPRESSION_TYPE = 1 << 3;
        /// L2 entries are 16 bytes with subcluster bitmaps.
        const EXTENDED_L2 = 1 << 4;
    }

    /// Features that a reader may ignore. Unknown bits are kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Compatible: u64 {
        /// Refcounts may be written late, with the dirty bit set meanwhile.
        const LAZY_REFCOUNTS = 1 << 0;
    }

    /// Features that a writer who does not keep them up must clear. Unknown bits are kept by parsing.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Autoclear: u64 {
        /// The bitmaps extension is consistent with the image.
        const BITMAPS = 1 << 0;
        /// The external data file is what the guest sees, byte for byte.
        const RAW_EXTERNAL_DATA = 1 << 1;
    }
}

/// Which of the three sets a feature bit belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FeatureSet {
    /// A reader must know it.
    Incompatible,
    /// A reader may ignore it.
    Compatible,
    /// A writer must clear it if it does not keep it up.
    Autoclear,
}

impl FeatureSet {
    const fn code(self) -> u8 {
        match self {
            Self::Incompatible => 0,
            Self::Compatible => 1,
            Self::Autoclear => 2,
        }
    }
}

impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incompatible => "incompatible",
            Self::Compatible => "compatible",
            Self::Autoclear => "autoclear",
        })
    }
}

/// A feature bit this program does not know, with the name the image gives it, if it does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnknownFeature {
    /// The set it belongs to.
    pub set: FeatureSet,
    /// Its number, 0 to 63.
    pub bit: u8,
    /// The name from the image's own table. From the image: escape it before showing it.
    pub name: Option<String>,
}

impl fmt::Display for UnknownFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{}", name.escape_debug()),
            None => write!(f, "{} feature bit {}", self.set, self.bit),
        }
    }
}

/// One row of the feature name table, as it is on disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawFeatureName {
    set: u8,
    bit: u8,
    name: [u8; 46],
}

/// One row of the feature name table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FeatureName {
    /// The set, as the image records it (0 incompatible, 1 compatible, 2 autoclear).
    pub set: u8,
    /// The bit's number.
    pub bit: u8,
    /// The name, up to its first zero byte, anything that is not UTF-8 replaced.
    pub name: String,
}

/// Reads a feature name table; an incomplete last row is ignored, as QEMU does.
#[must_use]
pub fn parse_names(data: &[u8]) -> Vec<FeatureName> {
    data.chunks_exact(48)
        .filter_map(|row| RawFeatureName::ref_from_bytes(row).ok())
        .map(|raw| FeatureName {
            set: raw.set,
            bit: raw.bit,
            name: String::from_utf8_lossy(raw.name.split(|b| *b == 0).next().unwrap_or_default())
                .into_owned(),
        })
        .collect()
}

/// Writes a feature name table; a name beyond 46 bytes is cut.
#[must_use]
pub fn encode_names(names: &[FeatureName]) -> Vec<u8> {
    let mut out = Vec::with_capacity(names.len().saturating_mul(48));
    for row in names {
        let mut name = [0; 46];
        for (to, from) in name.iter_mut().zip(row.name.bytes()) {
            *to = from;
        }
        let raw = RawFeatureName {
            set: row.set,
            bit: row.bit,
            name,
        };
        out.extend_from_slice(raw.as_bytes());
    }
    out
}

/// The table QEMU 10.0 writes into new images.
#[must_use]
pub fn standard_names() -> Vec<FeatureName> {
    [
        (0, 0, "dirty bit"),
        (0, 1, "corrupt bit"),
        (0, 2, "external data file"),
        (0, 3, "compression type"),
        (0, 4, "extended L2 entries"),
        (1, 0, "lazy refcounts"),
        (2, 0, "bitmaps"),
        (2, 1, "raw external data"),
    ]
    .into_iter()
    .map(|(set, bit, name)| FeatureName {
        set,
        bit,
        name: name.to_owned(),
    })
    .collect()
}

/// The bits of `unknown` as values, named from the image's own table.
#[must_use]
pub fn name_bits(set: FeatureSet, unknown: u64, names: &[FeatureName]) -> Vec<UnknownFeature> {
    (0..64u8)
        .filter(|bit| unknown >> bit & 1 == 1)
        .map(|bit| UnknownFeature {
            set,
            bit,
            name: names
                .iter()
                .find(|row| row.set == set.code() && row.bit == bit && !row.name.is_empty())
                .map(|row| row.name.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_bits_take_their_name_from_the_images_own_table() {
        let mut table = vec![0u8; 48];
        table[0] = 0;
        table[1] = 61;
        table[2..7].copy_from_slice(b"mirth");
        let names = parse_names(&table);
        let found = name_bits(FeatureSet::Incompatible, 1 << 61 | 1 << 5, &names);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].to_string(), "incompatible feature bit 5");
        assert_eq!(found[1].to_string(), "mirth");
    }

    #[test]
    fn a_name_with_control_characters_is_shown_escaped() {
        let unknown = UnknownFeature {
            set: FeatureSet::Autoclear,
            bit: 9,
            name: Some("a\x1b[31m".into()),
        };
        assert!(!unknown.to_string().contains('\x1b'));
    }

    #[test]
    fn the_name_table_survives_a_round_trip() {
        let names = standard_names();
        let bytes = encode_names(&names);
        assert_eq!(bytes.len(), 384);
        assert_eq!(parse_names(&bytes), names);
    }
}
