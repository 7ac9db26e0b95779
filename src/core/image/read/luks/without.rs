//! What stands for ciphers where none are compiled in: nothing unlocks an image, so nothing decrypts one.

use std::sync::Arc;

use crate::image::error::Result;
use crate::image::read::luks::Keys;
use crate::image::{Encryption, Error, ErrorKind, ImageFile, ProgressSink};
use crate::qcow2::Header;

/// A cipher of which there is none.
#[derive(Debug)]
pub(crate) enum SectorCipher {}

impl SectorCipher {
    pub(crate) fn decrypt(&self, _number: u64, _sectors: &mut [u8]) {
        match *self {}
    }

    pub(crate) fn encrypt(&self, _number: u64, _sectors: &mut [u8]) {
        match *self {}
    }
}

/// Refuses: an encrypted image is not read in this build.
pub(crate) fn unlock(
    file: &ImageFile,
    _header: &Header,
    _keys: &Keys,
    _progress: &dyn ProgressSink,
) -> Result<Arc<SectorCipher>> {
    Err(Error::new(file, ErrorKind::Encrypted(Encryption::Luks)))
}
