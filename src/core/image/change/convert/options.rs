//! What a conversion reads and what it makes of it.

use std::sync::Arc;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::image::write::carried_bitmaps::CarriedBitmaps;
use crate::image::{Chain, CreateOptions, Preallocation};

use super::lost::Lost;
use super::sparse::SparseSize;

/// What is read.
#[derive(Debug, Clone, Default)]
pub struct ConvertFrom {
    /// The chains, whose disks follow each other.
    pub sources: Vec<Chain>,
    /// How many layers of them are copied, from the top; what those below hold is left to the
    /// target's backing file. None for all.
    pub layers: Option<usize>,
    /// Where what cannot be read is told, which is zeros then; none if that is an error.
    pub salvage: Option<Arc<Lost>>,
    /// Which zeros among what is read are stored.
    pub sparse: SparseSize,
}

/// What is made of it.
#[derive(Debug, Clone)]
pub enum ConvertTo {
    /// A raw image.
    Raw {
        /// What is reserved in advance.
        preallocation: Preallocation,
    },
    /// A qcow2 image.
    Qcow2 {
        /// How it is made; the size is that of the sources.
        options: Box<CreateOptions>,
        /// Whether clusters are compressed, and how hard.
        compress: Option<CompressionLevel>,
        /// Which dirty bitmaps of the one source it gets. They tell of what the source shows now.
        bitmaps: CarriedBitmaps,
    },
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub enum CompressionLevel {
    /// So that the result is no larger than QEMU's.
    #[default]
    Default,
    /// The codec's own number: 1 to 9 for zlib, 1 to 22 for zstd.
    Level(u8),
}

impl CompressionLevel {
    /// The codec's own number, if one is meant.
    #[must_use]
    pub fn number(self) -> Option<u8> {
        match self {
            Self::Default => None,
            Self::Level(number) => Some(number),
        }
    }
}

impl ConvertFrom {
    /// Length of the new disk, in bytes.
    #[must_use]
    pub fn virtual_size(&self) -> u64 {
        self.sources.iter().fold(0, |sum: u64, chain| {
            sum.saturating_add(chain.virtual_size())
        })
    }

    /// Whether so many zeros in a row, which a table tells of, may be stored all the same.
    #[must_use]
    pub fn stores_zeros(&self, len: u64) -> bool {
        self.sparse.stores_all() || len < self.sparse.bytes()
    }
}
