//! Making and opening the content of LUKS-encrypted images: from a passphrase to the master key, and from the
//! master key to plain sectors. What the LUKS header says is read by [`crate::qcow2::luks`]; where
//! passphrases come from is the caller's business.
//!
//! QEMU encrypts the guest's clusters where they lie: the sector number that goes into a sector's
//! initialisation vector is its host offset divided by 512, so the same guest bytes are other bytes in
//! every cluster and every image. Ciphertext therefore never moves from one place to another.
//! Tables are not encrypted, and compressed clusters are not either.
//!
//! | file | concept |
//! |---|---|
//! | `header` | the LUKS header found and read |
//! | `keys` | passphrases, and the master keys that were opened with them |
//! | `derive` | PBKDF2, the anti-forensic splitter |
//! | `cipher` | sectors encrypted and decrypted |
//! | `unlock` | a LUKS header's key slots tried with a passphrase |
//! | `without` | what stands for cipher and unlocking where the feature `luks` is off |
//!
//! # How secrets are wiped
//!
//! Passphrases, derived keys, split and merged key material and master keys live in
//! [`zeroize::Zeroizing`] buffers, which are overwritten when they are dropped, and the ciphers'
//! expanded keys are overwritten likewise (the `zeroize` feature of the cipher crates). The inner
//! state of the hash functions, which is derived from the passphrase while a key is being derived, lives
//! on the stack for that time and is not wiped: the hash crates offer nothing for it. Nothing is
//! kept from being swapped out.

#[cfg(feature = "luks")]
pub(crate) mod cipher;
#[cfg(feature = "luks")]
pub(crate) mod derive;
pub(crate) mod header;
// Without ciphers nothing asks for passphrases.
#[cfg_attr(not(feature = "luks"), allow(dead_code))]
pub(crate) mod keys;
#[cfg(feature = "luks")]
pub(crate) mod unlock;
#[cfg(not(feature = "luks"))]
mod without;

#[cfg(feature = "luks")]
pub use cipher::SectorCipher;
#[cfg(feature = "luks")]
pub use derive::{merged, pbkdf2};
pub use header::luks_header;
pub use keys::{Keys, Passphrase, Passphrases};
#[cfg(feature = "luks")]
pub(crate) use unlock::unlock;
#[cfg(not(feature = "luks"))]
pub(crate) use without::{SectorCipher, unlock};
