//! LUKS, version 1 and 2, as a guest uses it on its disk: opened by a passphrase, only read. The ciphers, PBKDF2 and the
//! splitter of keys are those of [`qanopy_core`], which reads images encrypted with LUKS.
//!
//! | file | concept |
//! |---|---|
//! | `error` | what is wrong with a header |
//! | `header` | what both versions say: key slots, digest, where the content is |
//! | `version1` | the header of version 1 |
//! | `version2` | the header of version 2: a binary part and JSON |
//! | `unlock` | passphrases tried on the key slots |
//! | `plain` | the content decrypted as it is read |

mod error;
mod header;
mod plain;
mod unlock;
mod version1;
mod version2;

use std::sync::Arc;

use qanopy_core::{Keys, Passphrase};

use crate::block::{BlockSource, Place, Source};
use crate::error::Result;
use crate::field;

use error::unsupported;
pub(crate) use header::Header;
use header::MAGIC;
use plain::Plain;

/// The header that a volume begins with; none where there is none.
///
/// # Errors
/// When it is damaged, asks for what is not supported, or the volume cannot be read.
pub(crate) fn header(volume: &dyn BlockSource) -> Result<Option<Header>> {
    let mut first = [0; 8];
    volume.read_at(0, &mut first)?;
    if field::<6>(&first, 0) != *MAGIC {
        return Ok(None);
    }
    match u16::from_be_bytes(field(&first, 6)) {
        1 => version1::read(volume).map(Some),
        2 => version2::read(volume).map(Some),
        other => Err(unsupported(format!("version {other}"))),
    }
}

/// Opens an encrypted volume: its content, and where that is in the volume. None where no passphrase does. Those in
/// `known` are tried first, then what `ask` gives for that header, which is known from then on.
///
/// # Errors
/// When the volume cannot be read, or what its header asks for is not supported.
pub(crate) fn open(
    header: &Header,
    volume: &Source,
    keys: &Keys,
    known: &mut Vec<Passphrase>,
    ask: &dyn Fn(&[u8]) -> Vec<Passphrase>,
) -> Result<Option<(Source, Place)>> {
    let Some(cipher) = unlock::cipher(header, &**volume, keys, known, ask)? else {
        return Ok(None);
    };
    let content = &header.content;
    let end = match content.len {
        Some(len) => content.at.saturating_add(len).min(volume.len()),
        None => volume.len(),
    };
    let start = content.at.min(end);
    // A sector that is cut off cannot be decrypted.
    let len = (end - start) / u64::from(content.sector) * u64::from(content.sector);
    let place = Place::range(start..start + len);
    let plain = Plain::new(volume.clone(), content, place.len(), cipher);
    Ok(Some((Arc::new(plain), place)))
}
