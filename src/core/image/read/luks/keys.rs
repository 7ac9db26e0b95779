//! Passphrases, and the master keys that were opened with them. Asking a person is not done here.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::image::read::luks::SectorCipher;
use crate::qcow2::LuksHeader;

/// A passphrase. It is wiped from memory when it is dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// These bytes, as they are. From now on this process is kept out of core dumps.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        crate::host::keep_out_of_dumps();
        Self(Zeroizing::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// Somebody who knows passphrases.
pub trait Passphrases: fmt::Debug + Send + Sync {
    /// The passphrases that may open the image of this name, in the order in which they are to be
    /// tried. None: nobody has one.
    fn passphrases(&self, image: &Path) -> Vec<Passphrase>;

    /// The passphrases that may open a volume that the guest itself encrypted, on the disk that the image of this name
    /// shows. `id` is the same whenever it is asked for one header, whichever image shows it.
    #[must_use]
    fn for_volume(&self, image: &Path, _volume: &str, _id: &[u8]) -> Vec<Passphrase> {
        self.passphrases(image)
    }

    /// The passphrase that the image of this name, which is still to be made, is to have. None: nobody
    /// has one.
    #[must_use]
    fn for_new(&self, image: &Path) -> Option<Passphrase> {
        self.passphrases(image).into_iter().next()
    }
}

/// What opens encrypted images: whoever knows the passphrases, and the keys they have opened so far,
/// since deriving one takes seconds on purpose. Clones share both.
#[derive(Clone, Default)]
pub struct Keys {
    source: Option<Arc<dyn Passphrases>>,
    opened: Arc<Mutex<Vec<Opened>>>,
}

/// What was opened: salts and digest tell a header from every other.
type Opened = (Header, Arc<SectorCipher>);

/// Whose key it is.
#[derive(PartialEq, Eq)]
enum Header {
    /// An image's.
    Image(Box<LuksHeader>),
    /// That of a volume on the disk that an image shows, by what tells its header from others.
    Volume(Vec<u8>),
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Nobody knows any passphrase.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Passphrases from `source`.
    #[must_use]
    pub fn from(source: Arc<dyn Passphrases>) -> Self {
        Self {
            source: Some(source),
            opened: Arc::default(),
        }
    }

    /// The passphrase that a new image of this name is to have.
    #[must_use]
    pub fn for_new(&self, image: &Path) -> Option<Passphrase> {
        self.source.as_ref()?.for_new(image)
    }

    /// The passphrases to be tried on an image.
    pub(crate) fn passphrases(&self, image: &Path) -> Vec<Passphrase> {
        let source = self.source.as_ref();
        source.map_or_else(Vec::new, |source| source.passphrases(image))
    }

    /// The passphrases to be tried on a volume that the guest encrypted: see [`Passphrases::for_volume`].
    #[must_use]
    pub fn for_volume(&self, image: &Path, volume: &str, id: &[u8]) -> Vec<Passphrase> {
        let source = self.source.as_ref();
        source.map_or_else(Vec::new, |source| source.for_volume(image, volume, id))
    }

    /// What was opened before.
    pub(crate) fn opened(&self, header: &LuksHeader) -> Option<Arc<SectorCipher>> {
        self.find(|known| matches!(known, Header::Image(known) if **known == *header))
    }

    /// The cipher of a volume that was opened before; what tells its header from every other is the caller's choice.
    #[cfg(feature = "luks")]
    #[must_use]
    pub fn opened_volume(&self, id: &[u8]) -> Option<Arc<SectorCipher>> {
        self.find(|known| matches!(known, Header::Volume(known) if known == id))
    }

    fn find(&self, is: impl Fn(&Header) -> bool) -> Option<Arc<SectorCipher>> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let found = opened.iter().find(|(known, _)| is(known));
        found.map(|(_, cipher)| Arc::clone(cipher))
    }

    /// Remembers what was opened.
    pub(crate) fn remember(&self, header: LuksHeader, cipher: &Arc<SectorCipher>) {
        self.add(Header::Image(Box::new(header)), cipher);
    }

    /// Remembers the cipher of a volume.
    #[cfg(feature = "luks")]
    pub fn remember_volume(&self, id: &[u8], cipher: &Arc<SectorCipher>) {
        self.add(Header::Volume(id.to_vec()), cipher);
    }

    fn add(&self, header: Header, cipher: &Arc<SectorCipher>) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.push((header, Arc::clone(cipher)));
    }
}
