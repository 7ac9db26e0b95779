//! What a header says, whichever version it has.

use qanopy_core::qcow2::luks::{Hash, Suite};

/// What both versions begin with.
pub(super) const MAGIC: &[u8; 6] = b"LUKS\xba\xbe";

/// A header.
#[derive(Debug)]
pub(crate) struct Header {
    /// `LUKS1`, `LUKS2`.
    pub(crate) kind: &'static str,
    /// Tells it from every other: a digest over all of it.
    pub(super) id: [u8; 32],
    /// Its key slots in the order in which they are tried.
    pub(super) slots: Vec<Slot>,
    /// Where the encrypted content is.
    pub(super) content: Content,
}

impl Header {
    /// Tells its key from any other.
    pub(crate) fn key(&self) -> Vec<u8> {
        let first = self.slots.first().map(|slot| slot.digest.value.clone());
        first.unwrap_or_default()
    }
}

/// A key slot.
#[derive(Debug)]
pub(super) struct Slot {
    /// How a passphrase becomes the key of the slot.
    pub(super) derivation: Derivation,
    /// Where the split key is in the volume.
    pub(super) at: u64,
    /// How it is encrypted; its hash is that of the splitter.
    pub(super) suite: Suite,
    /// Bytes of the key.
    pub(super) key_bytes: usize,
    /// By what that key is recognised.
    pub(super) digest: Digest,
}

/// From a passphrase to a key.
#[derive(Debug)]
pub(super) enum Derivation {
    Pbkdf2(Pbkdf2),
    Argon2 {
        algorithm: argon2::Algorithm,
        params: argon2::Params,
        salt: Vec<u8>,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Pbkdf2 {
    pub(super) hash: Hash,
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
}

/// PBKDF2 of the key that opens the content, and what that gives.
#[derive(Debug, Clone)]
pub(super) struct Digest {
    pub(super) by: Pbkdf2,
    pub(super) value: Vec<u8>,
}

/// The encrypted content.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// Where it begins in the volume, in bytes.
    pub(super) at: u64,
    /// Its length in bytes; none where it goes to the end.
    pub(super) len: Option<u64>,
    /// The number of its first sector, in steps of 512 bytes.
    pub(super) first: u64,
    /// How it is encrypted.
    pub(super) suite: Suite,
    /// Bytes of a sector.
    pub(super) sector: u32,
}
