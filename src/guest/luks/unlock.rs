//! Passphrases tried on the key slots of a header, until one of them gives the key of the content.

use std::sync::Arc;

use argon2::{Argon2, Block, Version};
use qanopy_core::Passphrase;
use qanopy_core::image::{Keys, NoProgress, SectorCipher, merged, pbkdf2};
use qanopy_core::qcow2::luks::STRIPES;
use zeroize::{Zeroize, Zeroizing};

use crate::block::BlockSource;
use crate::error::{Error, Result};

use super::error::unsupported;
use super::header::{Derivation, Header, Pbkdf2, Slot};

/// Rounds of PBKDF2 that are done for one key; `cryptsetup` chooses some millions.
const MOST_ITERATIONS: u32 = 100_000_000;

/// The cipher of the content: that of before, or by one of the passphrases.
pub(super) fn cipher(
    header: &Header,
    volume: &dyn BlockSource,
    keys: &Keys,
    known: &mut Vec<Passphrase>,
    ask: &dyn Fn(&[u8]) -> Vec<Passphrase>,
) -> Result<Option<Arc<SectorCipher>>> {
    if let Some(cipher) = keys.opened_volume(&header.id) {
        return Ok(Some(cipher));
    }
    let mut found = by(header, volume, known)?;
    if found.is_none() {
        let mut asked = ask(&header.id);
        asked.retain(|passphrase| !known.contains(passphrase));
        found = by(header, volume, &asked)?;
        known.extend(asked);
    }
    if let Some(cipher) = &found {
        keys.remember_volume(&header.id, cipher);
    }
    Ok(found)
}

/// The cipher of the content by one of these passphrases.
fn by(
    header: &Header,
    volume: &dyn BlockSource,
    passphrases: &[Passphrase],
) -> Result<Option<Arc<SectorCipher>>> {
    if passphrases.is_empty() {
        return Ok(None);
    }
    for slot in &header.slots {
        let mut split = vec![0; slot.key_bytes.saturating_mul(STRIPES as usize)];
        volume.read_at(slot.at, &mut split)?;
        for passphrase in passphrases {
            let Some(key) = open(slot, &split, passphrase)? else {
                continue;
            };
            let content = &header.content;
            let cipher = SectorCipher::new(content.suite, &key)
                .and_then(|cipher| cipher.with_sectors(content.sector));
            let cipher = cipher.ok_or_else(|| unsupported("a key of another length"))?;
            return Ok(Some(Arc::new(cipher)));
        }
    }
    Ok(None)
}

/// The key in a slot, if the passphrase is the slot's.
fn open(slot: &Slot, split: &[u8], passphrase: &Passphrase) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let own = match &slot.derivation {
        Derivation::Pbkdf2(by) => derived(by, passphrase.bytes(), slot.suite.key_bytes)?,
        Derivation::Argon2 {
            algorithm,
            params,
            salt,
        } => {
            let by = Argon2::new(*algorithm, Version::V0x13, params.clone());
            by_argon2(&by, passphrase.bytes(), salt, slot.suite.key_bytes)?
        }
    };
    let Some(cipher) = SectorCipher::new(slot.suite, &own) else {
        return Ok(None);
    };
    let mut plain = Zeroizing::new(split.to_vec());
    cipher.decrypt(0, &mut plain);
    let Some(key) = merged(slot.suite.hash, &plain, slot.key_bytes) else {
        return Ok(None);
    };
    let digest = derived(&slot.digest.by, &key, slot.digest.value.len())?;
    Ok((*digest == slot.digest.value).then_some(key))
}

fn derived(by: &Pbkdf2, secret: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>> {
    if by.iterations > MOST_ITERATIONS {
        return Err(Error::TooMuch {
            what: "iterations of PBKDF2",
            most: MOST_ITERATIONS.into(),
        });
    }
    let mut key = Zeroizing::new(vec![0; len]);
    match pbkdf2(
        by.hash,
        secret,
        &by.salt,
        by.iterations,
        &mut key,
        &NoProgress,
    ) {
        true => Ok(key),
        false => Err(Error::Cancelled),
    }
}

/// With memory that is not taken where there is none.
fn by_argon2(
    by: &Argon2<'_>,
    secret: &[u8],
    salt: &[u8],
    len: usize,
) -> Result<Zeroizing<Vec<u8>>> {
    let count = by.params().block_count();
    let mut memory: Vec<Block> = Vec::new();
    memory
        .try_reserve_exact(count)
        .map_err(|_| unsupported("a key slot whose derivation takes more memory than there is"))?;
    memory.resize(count, Block::default());
    let mut key = Zeroizing::new(vec![0; len]);
    let done = by.hash_password_into_with_memory(secret, salt, &mut key, &mut memory);
    memory.iter_mut().for_each(Zeroize::zeroize);
    done.map_err(|error| unsupported(format!("Argon2 ({error})")))?;
    Ok(key)
}
