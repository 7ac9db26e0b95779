//! What the side that has the images tells the other one, and is asked by it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::image::Format;
use crate::ops::{Error, Progress};

use super::pieces::{Digest, Span};

/// A file of the chain, as the side that has it describes it. It is believed in nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Its name there, without its folder.
    pub name: String,
    /// Its format.
    pub format: Format,
    /// Its length in bytes.
    pub bytes: u64,
    /// Bytes of it that are no holes.
    pub data: u64,
    /// Of a qcow2 image: the digest of all its header says but for its backing file.
    pub header: Option<Digest>,
    /// Of a qcow2 image: the digest of its first piece with the header as zeros.
    pub beside_header: Option<Digest>,
    /// The virtual size, in bytes.
    pub virtual_size: u64,
}

/// What is told of pieces in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// So many of zeros.
    Zeros(u64),
    /// One, by its digest.
    Piece(Digest),
}

/// What takes pieces as they come: the number, the bytes.
pub type PieceSink<'a> = dyn FnMut(u64, &[u8]) -> Result<(), Error> + 'a;

/// A chain of images that is given out. Every answer may be forged.
pub trait ChainSource: fmt::Debug + Send + Sync {
    /// The image first, then what it is built on, nearest first.
    ///
    /// # Errors
    /// As the other side tells them, or that it is gone; so for all.
    fn chain(&self) -> Result<Vec<Described>, Error>;

    /// Tells of all pieces of a file by their digests, and gives the file's.
    ///
    /// # Errors
    /// As [`ChainSource::chain`], and what `each` says.
    fn digests(
        &self,
        file: usize,
        each: &mut dyn FnMut(Told) -> Result<(), Error>,
    ) -> Result<Digest, Error>;

    /// Gives these pieces of a file but for those of zeros, in order, and the digest of the file where these are all
    /// of its pieces.
    ///
    /// # Errors
    /// As [`ChainSource::digests`].
    fn fetch(
        &self,
        file: usize,
        spans: &[Span],
        progress: &Progress,
        each: &mut PieceSink<'_>,
    ) -> Result<Option<Digest>, Error>;
}

/// Where an image comes from, as long as it is there: nothing of it can be written down.
#[derive(Clone, Default)]
pub struct Source(pub(super) Option<Arc<dyn ChainSource>>);

impl Source {
    /// One that is there.
    #[must_use]
    pub fn of(source: Arc<dyn ChainSource>) -> Self {
        Self(Some(source))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl PartialEq for Source {
    /// What is asked for is the same wherever it comes from.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Source {}
