//! A passphrase tried on the key slots of an image, one after the other, until one of them gives the
//! master key.

use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::image::error::{OfFile, Result};
use crate::image::read::luks::cipher::SectorCipher;
use crate::image::read::luks::derive::{af_merge, pbkdf2};
use crate::image::read::luks::header::read;
use crate::image::read::luks::keys::{Keys, Passphrase};
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink};
use crate::qcow2::extension::CryptoHeader;
use crate::qcow2::luks::{DIGEST_LEN, KeySlot, Suite};
use crate::qcow2::{FormatError, Header, LuksHeader};

/// Rounds of PBKDF2 that are done for one key at most. QEMU and cryptsetup choose as many as take about
/// two seconds, a few millions; this many take about a minute, and can be stopped.
pub(crate) const MAX_ITERATIONS: u32 = 100_000_000;

/// The cipher of an image's content, by one of the passphrases that `keys` has for it.
///
/// # Errors
/// When there is no passphrase or none that opens a slot, the ciphers are not supported, the header is
/// not valid or asks for too many iterations, or `progress` stopped it.
pub(crate) fn unlock(
    file: &ImageFile,
    header: &Header,
    keys: &Keys,
    progress: &dyn ProgressSink,
) -> Result<Arc<SectorCipher>> {
    let (place, luks) = read(file, header)?;
    let suite = luks.suite().map_err(|e| Error::new(file, e))?;
    if let Some(cipher) = keys.opened(&luks) {
        return Ok(cipher);
    }
    bound(file.path(), &luks)?;
    let passphrases = keys.passphrases(file.path());
    if passphrases.is_empty() {
        return Err(Error::new(file, ErrorKind::Locked));
    }
    let slots = Slots {
        file,
        place,
        luks: &luks,
        suite,
        progress,
    };
    for slot in luks.slots.iter().filter(|slot| slot.active) {
        let material = slots.material(slot)?;
        for passphrase in &passphrases {
            let Some(key) = slots.open(slot, &material, passphrase)? else {
                continue;
            };
            let cipher = SectorCipher::new(suite, &key).map(Arc::new);
            let cipher = cipher.ok_or_else(|| slots.stopped())?;
            keys.remember(luks, &cipher);
            return Ok(cipher);
        }
    }
    Err(Error::new(file, ErrorKind::WrongPassphrase))
}

/// Refuses work without end.
pub(crate) fn bound(path: &Path, luks: &LuksHeader) -> Result<()> {
    let slots = luks.slots.iter().filter(|slot| slot.active);
    let most = slots
        .map(|slot| slot.iterations)
        .chain([luks.digest_iterations])
        .max()
        .unwrap_or(0);
    if most <= MAX_ITERATIONS {
        return Ok(());
    }
    let error = FormatError::OutOfRange {
        field: "the number of iterations in the LUKS header",
        value: most.into(),
        min: 1,
        max: MAX_ITERATIONS.into(),
    };
    Err(Error::new(path, error))
}

/// The key slots of one image.
pub(crate) struct Slots<'a> {
    pub(crate) file: &'a ImageFile,
    pub(crate) place: CryptoHeader,
    pub(crate) luks: &'a LuksHeader,
    pub(crate) suite: Suite,
    pub(crate) progress: &'a dyn ProgressSink,
}

impl Slots<'_> {
    fn stopped(&self) -> Error {
        Error::new(self.file, ErrorKind::Cancelled)
    }

    /// The slot's key material as it is on disk, encrypted.
    pub(crate) fn material(&self, slot: &KeySlot) -> Result<Vec<u8>> {
        // At most 64 bytes times the number of stripes.
        let mut bytes = vec![0; self.luks.material_len()];
        let offset = self.place.offset.get().saturating_add(slot.key_offset);
        self.file.read_padded(
            &mut bytes,
            offset,
            format_args!("read key material at {offset:#x}"),
        )?;
        Ok(bytes)
    }

    /// The master key, if the passphrase is the slot's.
    pub(crate) fn open(
        &self,
        slot: &KeySlot,
        material: &[u8],
        passphrase: &Passphrase,
    ) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let (luks, hash) = (self.luks, self.suite.hash);
        let derive = |secret: &[u8], salt: &[u8], iterations: u32, len: usize| {
            let mut key = Zeroizing::new(vec![0; len]);
            if pbkdf2(hash, secret, salt, iterations, &mut key, self.progress) {
                Ok(key)
            } else {
                Err(self.stopped())
            }
        };
        let key = derive(
            passphrase.bytes(),
            &slot.salt,
            slot.iterations,
            luks.key_bytes,
        )?;
        let Some(cipher) = SectorCipher::new(self.suite, &key) else {
            return Ok(None);
        };
        let mut split = Zeroizing::new(material.to_vec());
        cipher.decrypt(0, &mut split);
        let master = af_merge(hash, &split, luks.key_bytes).of(self.file)?;
        let digest = derive(
            &master,
            &luks.digest_salt,
            luks.digest_iterations,
            DIGEST_LEN,
        )?;
        // No secret depends on how long the comparison takes: whoever measures it has the image.
        Ok((digest.as_slice() == luks.digest).then_some(master))
    }
}
