//! A new LUKS volume: its header, and key slot 0 with a random master key in it. Where in an image it
//! goes is not known here.

use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use zeroize::Zeroizing;

use crate::image::error::{OfFile, Result};
use crate::image::read::luks::derive::{af_split, pbkdf2};
use crate::image::read::luks::unlock::MAX_ITERATIONS;
use crate::image::read::luks::{Passphrase, SectorCipher};
use crate::image::write::luks::new::{KEY_BYTES, NewEncryption, room};
use crate::image::{Error, ErrorKind, ProgressSink, internal};
use crate::qcow2::luks::{
    DIGEST_LEN, Hash, KEY_ALIGNMENT, KeySlot, SALT_LEN, STRIPES, Suite, slot_len,
};
use crate::qcow2::{FormatError, LuksHeader};

/// The hash of new volumes: QEMU's default.
const HASH: Hash = Hash::Sha256;
/// Fewer rounds are never recorded, however slow the processor is; the same as with QEMU.
const MIN_ITERATIONS: u64 = 1000;
/// The digest of the master key, which is random and not guessed, gets this part of a slot's rounds, as
/// it does with QEMU.
const DIGEST_PART: u64 = 8;
/// A measurement that takes less processor time says too little.
const MEASURED: Duration = Duration::from_millis(20);

/// A new volume, and the cipher under its master key.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Its first bytes, to the end of the key material of slot 0; the rest of its [`room`] is zeros.
    pub(crate) bytes: Vec<u8>,
    /// What encrypts its content.
    pub(crate) cipher: SectorCipher,
}

/// Makes a new volume. Takes about as long as trying three passphrases does.
///
/// # Errors
/// When the system has no randomness to give, or `progress` stopped it.
pub(crate) fn format(
    path: &Path,
    new: &NewEncryption,
    progress: &dyn ProgressSink,
) -> Result<Volume> {
    let stopped = || Error::new(path, ErrorKind::Cancelled);
    let mut master = Zeroizing::new(vec![0; KEY_BYTES]);
    let mut digest_salt = [0; SALT_LEN];
    let mut salt = [0; SALT_LEN];
    let mut uuid = [0; 16];
    random(path, &mut master)?;
    random(path, &mut digest_salt)?;
    random(path, &mut salt)?;
    random(path, &mut uuid)?;

    let rounds = rounds(HASH, KEY_BYTES, new.iter_time_ms, progress).ok_or_else(stopped)?;
    let iterations = bounded(rounds);
    let digest_iterations = bounded(rounds / DIGEST_PART);
    let mut digest = [0; DIGEST_LEN];
    if !pbkdf2(
        HASH,
        &master,
        &digest_salt,
        digest_iterations,
        &mut digest,
        progress,
    ) {
        return Err(stopped());
    }
    let slots = std::array::from_fn(|index| KeySlot {
        active: index == 0,
        iterations: if index == 0 { iterations } else { 0 },
        salt: if index == 0 { salt } else { [0; SALT_LEN] },
        key_offset: KEY_ALIGNMENT.saturating_add(slot_len(KEY_BYTES).saturating_mul(index as u64)),
    });
    let header = LuksHeader {
        cipher: "aes".to_owned(),
        mode: "xts".to_owned(),
        ivgen: "plain64".to_owned(),
        ivgen_hash: None,
        hash: "sha256".to_owned(),
        payload_offset: room(),
        key_bytes: KEY_BYTES,
        digest,
        digest_salt,
        digest_iterations,
        uuid: uuid_text(uuid).into_bytes(),
        slots,
    };
    let suite = header.suite().map_err(|e| Error::new(path, e))?;

    let [slot, ..] = &header.slots;
    let stripes = material(path, suite, slot, &master, &new.passphrase, progress)?;

    let mut bytes = header.encode().map_err(|e| Error::new(path, e))?;
    bytes.resize(internal::index(KEY_ALIGNMENT).of(path)?, 0);
    bytes.extend_from_slice(&stripes);
    let cipher = SectorCipher::new(suite, &master).ok_or_else(|| unsuited(path))?;
    Ok(Volume { bytes, cipher })
}

fn unsuited(path: &Path) -> Error {
    let reason = "the key is not as long as its cipher wants it";
    Error::new(path, FormatError::Inconsistent { reason })
}

/// The key material of a slot: the master key, split, under a key of `passphrase` by the slot's salt and
/// iterations.
///
/// # Errors
/// When the system has no randomness to give, or `progress` stopped it.
pub(crate) fn material(
    path: &Path,
    suite: Suite,
    slot: &KeySlot,
    master: &[u8],
    passphrase: &Passphrase,
    progress: &dyn ProgressSink,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(vec![0; master.len()]);
    if !pbkdf2(
        suite.hash,
        passphrase.bytes(),
        &slot.salt,
        slot.iterations,
        &mut key,
        progress,
    ) {
        return Err(Error::new(path, ErrorKind::Cancelled));
    }
    let mut stripes = Zeroizing::new(vec![0; master.len().saturating_mul(STRIPES as usize)]);
    random(path, &mut stripes)?;
    af_split(suite.hash, master, &mut stripes).of(path)?;
    let cipher = SectorCipher::new(suite, &key).ok_or_else(|| unsuited(path))?;
    cipher.encrypt(0, &mut stripes);
    Ok(stripes)
}

pub(crate) fn random(path: &Path, bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|error| {
        let text = format!("gets no random bytes for its key: {error}");
        Error::new(path, ErrorKind::Limit(text))
    })
}

/// A random UUID (version 4, RFC 9562) as text.
fn uuid_text(bytes: [u8; 16]) -> String {
    let random = u128::from_be_bytes(bytes);
    let bits = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        bits >> 80 & 0xffff,
        bits >> 64 & 0xffff,
        bits >> 48 & 0xffff,
        bits & 0xffff_ffff_ffff
    )
}

pub(crate) fn bounded(rounds: u64) -> u32 {
    let rounds = rounds.max(MIN_ITERATIONS);
    u32::try_from(rounds).map_or(MAX_ITERATIONS, |rounds| rounds.min(MAX_ITERATIONS))
}

/// Rounds that take this processor so many milliseconds; none if it was stopped. Measured in processor
/// time, so that a busy machine does not make a weak slot.
pub(crate) fn rounds(
    hash: Hash,
    key_bytes: usize,
    milliseconds: u32,
    progress: &dyn ProgressSink,
) -> Option<u64> {
    let mut tried = bounded(0);
    loop {
        let mut out = Zeroizing::new(vec![0; key_bytes]);
        let begun = processor_time();
        if !pbkdf2(hash, b"", b"", tried, &mut out, progress) {
            return None;
        }
        let took = processor_time().saturating_sub(begun);
        if took >= MEASURED || tried >= MAX_ITERATIONS {
            let wanted = u128::from(tried) * u128::from(milliseconds) * 1_000_000;
            let rounds = wanted / took.as_nanos().max(1);
            return Some(u64::try_from(rounds).unwrap_or(u64::MAX));
        }
        tried = tried.saturating_mul(2);
    }
}

/// What this thread has used of the processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::NoProgress;

    #[test]
    fn twice_the_time_is_about_twice_the_rounds() {
        let once = rounds(HASH, KEY_BYTES, 100, &NoProgress).unwrap();
        let twice = rounds(HASH, KEY_BYTES, 200, &NoProgress).unwrap();
        // Loose: the machine may change its speed meanwhile.
        assert!(twice > once && twice < once * 6, "{once} {twice}");
        assert_eq!(bounded(0), 1000);
        assert_eq!(bounded(u64::MAX), MAX_ITERATIONS);
    }

    #[test]
    fn no_two_volumes_have_anything_in_common_but_the_form() {
        let new = NewEncryption {
            passphrase: Passphrase::new(b"x".to_vec()),
            iter_time_ms: 1,
        };
        let make = || format(Path::new("x"), &new, &NoProgress).unwrap().bytes;
        let (one, two) = (make(), make());
        let [a, b] = [&one, &two].map(|bytes| LuksHeader::parse(bytes).unwrap());
        assert!(a.digest != b.digest && a.digest_salt != b.digest_salt && a.uuid != b.uuid);
        assert!(a.slots[0].salt != b.slots[0].salt && one[4096..] != two[4096..]);
        assert_eq!(
            (a.payload_offset, a.slots[7].key_offset),
            (2_068_480, 1_810_432)
        );
        assert_eq!(
            uuid_text([0xff; 16]),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }
}
