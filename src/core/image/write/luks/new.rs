//! How a new image is encrypted, and the room that takes.

use crate::image::Passphrase;
use crate::qcow2::luks::{KEY_ALIGNMENT, SLOTS, slot_len};

/// Bytes of the master key: two of aes-256, for XTS. QEMU's default as well.
pub(crate) const KEY_BYTES: usize = 64;

/// How a new image is encrypted: aes-256, XTS, plain64, SHA-256, which are QEMU's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEncryption {
    /// What opens it.
    pub passphrase: Passphrase,
    /// Milliseconds of this processor that trying one passphrase is to cost.
    pub iter_time_ms: u32,
}

/// Bytes that the header and the key material of all slots take.
#[must_use]
pub(crate) fn room() -> u64 {
    let slots = slot_len(KEY_BYTES).saturating_mul(SLOTS as u64);
    KEY_ALIGNMENT.saturating_add(slots)
}
