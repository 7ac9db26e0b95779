//! From a passphrase to a key (PBKDF2, RFC 8018) and from split key material to the key that was split
//! (the anti-forensic splitter of LUKS). Knows no files and no headers.

use hmac::digest::{Digest, KeyInit};
use hmac::{Hmac, Mac};
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::image::ProgressSink;
use crate::image::internal::{Fault, part_mut};
use crate::qcow2::luks::Hash;

/// Rounds between two looks at whether to go on: a few milliseconds.
const LOOK_EVERY: u32 = 1 << 14;

/// Fills `out` with a key derived from `secret`; false if `progress` stopped it. Work grows with
/// `iterations` times the digests that fit into `out`: bounding it is the caller's business.
///
/// The crate `pbkdf2` does the same, but cannot be stopped, and the iterations come from an image.
#[must_use]
pub fn pbkdf2(
    hash: Hash,
    secret: &[u8],
    salt: &[u8],
    iterations: u32,
    out: &mut [u8],
    progress: &dyn ProgressSink,
) -> bool {
    match hash {
        Hash::Sha1 => derive::<Hmac<Sha1>>(secret, salt, iterations, out, progress),
        Hash::Sha224 => derive::<Hmac<Sha224>>(secret, salt, iterations, out, progress),
        Hash::Sha256 => derive::<Hmac<Sha256>>(secret, salt, iterations, out, progress),
        Hash::Sha384 => derive::<Hmac<Sha384>>(secret, salt, iterations, out, progress),
        Hash::Sha512 => derive::<Hmac<Sha512>>(secret, salt, iterations, out, progress),
        Hash::Ripemd160 => derive::<Hmac<Ripemd160>>(secret, salt, iterations, out, progress),
    }
}

fn derive<M: Mac + KeyInit + Clone>(
    secret: &[u8],
    salt: &[u8],
    iterations: u32,
    out: &mut [u8],
    progress: &dyn ProgressSink,
) -> bool {
    // HMAC takes keys of any length.
    let Ok(keyed) = <M as Mac>::new_from_slice(secret) else {
        return false;
    };
    for (block, out) in (1_u32..).zip(out.chunks_mut(M::output_size())) {
        let mut round = keyed.clone();
        round.update(salt);
        round.update(&block.to_be_bytes());
        let mut last = round.finalize().into_bytes();
        let mut sum = last.clone();
        for done in 1..iterations {
            let mut round = keyed.clone();
            round.update(&last);
            last = round.finalize().into_bytes();
            xor(&mut sum, &last);
            if done % LOOK_EVERY == 0 && !progress.advance(0) {
                return false;
            }
        }
        for (to, from) in out.iter_mut().zip(sum.iter()) {
            *to = *from;
        }
        last.as_mut_slice().zeroize();
        sum.as_mut_slice().zeroize();
    }
    true
}

fn xor(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to ^= from;
    }
}

/// A digest over `parts`, in `out`'s first bytes.
pub(crate) fn digest(hash: Hash, parts: &[&[u8]], out: &mut [u8]) {
    fn of<D: Digest>(parts: &[&[u8]], out: &mut [u8]) {
        let mut digest = D::new();
        for part in parts {
            digest.update(part);
        }
        let mut bytes = digest.finalize();
        for (to, from) in out.iter_mut().zip(bytes.iter()) {
            *to = *from;
        }
        bytes.as_mut_slice().zeroize();
    }
    match hash {
        Hash::Sha1 => of::<Sha1>(parts, out),
        Hash::Sha224 => of::<Sha224>(parts, out),
        Hash::Sha256 => of::<Sha256>(parts, out),
        Hash::Sha384 => of::<Sha384>(parts, out),
        Hash::Sha512 => of::<Sha512>(parts, out),
        Hash::Ripemd160 => of::<Ripemd160>(parts, out),
    }
}

/// The key that was split into these stripes, each `key_len` bytes.
///
/// # Errors
/// A fault of this program.
pub(crate) fn af_merge(
    hash: Hash,
    stripes: &[u8],
    key_len: usize,
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut key = Zeroizing::new(vec![0; key_len]);
    let mut rest = stripes.chunks_exact(key_len).peekable();
    while let Some(stripe) = rest.next() {
        xor(&mut key, stripe);
        if rest.peek().is_some() {
            diffuse(hash, &mut key)?;
        }
    }
    Ok(key)
}

/// The key that was split into these stripes; none if there is none of its length.
#[must_use]
pub fn merged(hash: Hash, stripes: &[u8], key_len: usize) -> Option<Zeroizing<Vec<u8>>> {
    let is_whole = key_len > 0 && !stripes.is_empty() && stripes.len().is_multiple_of(key_len);
    is_whole.then(|| af_merge(hash, stripes, key_len).ok())?
}

/// Splits `key` into stripes of its length: all but the last of `stripes` hold random bytes already,
/// the last is made to fit.
///
/// # Errors
/// The stripes have no room for the key, a fault of this program.
pub(crate) fn af_split(hash: Hash, key: &[u8], stripes: &mut [u8]) -> Result<(), Fault> {
    let Some(before) = stripes.len().checked_sub(key.len()) else {
        return Err(Fault::new("stripes that are shorter than their key"));
    };
    let (random, last) = stripes.split_at_mut(before);
    let mut sum = Zeroizing::new(vec![0; key.len()]);
    for stripe in random.chunks_exact(key.len().max(1)) {
        xor(&mut sum, stripe);
        diffuse(hash, &mut sum)?;
    }
    last.copy_from_slice(key);
    xor(last, &sum);
    Ok(())
}

/// Replaces each part of `key` that is as long as a digest by its digest, numbered.
fn diffuse(hash: Hash, key: &mut [u8]) -> Result<(), Fault> {
    for (number, part) in (0_u32..).zip(key.chunks_mut(hash.digest_len())) {
        let mut copy = Zeroizing::new([0; 64]);
        let copy = part_mut(copy.as_mut_slice(), 0..part.len())?;
        copy.copy_from_slice(part);
        digest(hash, &[&number.to_be_bytes(), copy], part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::NoProgress;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_vectors_of_the_rfcs_come_out() {
        let derived = |hash, secret: &str, salt: &str, iterations, len| {
            let mut out = vec![0; len];
            let (secret, salt) = (secret.as_bytes(), salt.as_bytes());
            assert!(pbkdf2(
                hash,
                secret,
                salt,
                iterations,
                &mut out,
                &NoProgress
            ));
            hex(&out)
        };
        // RFC 6070.
        assert_eq!(
            derived(Hash::Sha1, "password", "salt", 4096, 20),
            "4b007901b765489abead49d926f721d065a429c1"
        );
        assert_eq!(
            derived(
                Hash::Sha1,
                "passwordPASSWORDpassword",
                "saltSALTsaltSALTsaltSALTsaltSALTsalt",
                4096,
                25
            ),
            "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038"
        );
        // RFC 7914, section 11.
        assert_eq!(
            derived(Hash::Sha256, "passwd", "salt", 1, 64),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
             49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
        );
    }

    #[test]
    fn what_is_split_is_merged_again() {
        let key: Vec<u8> = (1..=64).collect();
        let mut stripes: Vec<u8> = (0_u8..=255).cycle().take(64 * 50).collect();
        af_split(Hash::Sha256, &key, &mut stripes).unwrap();
        assert_eq!(*af_merge(Hash::Sha256, &stripes, 64).unwrap(), key);
        stripes[7] ^= 1;
        assert_ne!(*af_merge(Hash::Sha256, &stripes, 64).unwrap(), key);
        assert!(af_split(Hash::Sha256, &key, &mut [0; 63]).is_err());
        stripes[7] ^= 1;
        assert_eq!(merged(Hash::Sha256, &stripes, 64).as_deref(), Some(&key));
        assert!(merged(Hash::Sha256, &stripes, 0).is_none());
        assert!(merged(Hash::Sha256, &stripes[1..], 64).is_none());
    }

    #[test]
    fn a_derivation_stops_when_asked() {
        struct Never;
        impl ProgressSink for Never {
            fn advance(&self, _: u64) -> bool {
                false
            }
        }
        let mut out = [0; 32];
        assert!(!pbkdf2(
            Hash::Sha512,
            b"x",
            b"y",
            u32::MAX,
            &mut out,
            &Never
        ));
    }
}
