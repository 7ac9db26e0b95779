//! A digest of what is recorded of a node: the same for the same bytes, on every machine and in every version that
//! compares them. It finds changes, it does not prove that there is none against somebody who forges records.

/// 64-bit FNV-1a, taken eight bytes at a time with a fold after each, so that high bits reach low ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest(u64);

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

impl Digest {
    /// Of no bytes.
    pub(crate) const fn new() -> Self {
        Self(OFFSET_BASIS)
    }

    /// Of these bytes after those before. How many they are counts as well, so that two fields do not run together.
    #[must_use]
    pub(crate) fn with(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let mut digest = self;
        for word in words {
            digest = digest.fold(u64::from_le_bytes(*word));
        }
        digest
            .fold(u64::from_le_bytes(last))
            .fold(bytes.len() as u64)
    }

    /// The digest.
    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    const fn fold(self, word: u64) -> Self {
        let mixed = (self.0 ^ word).wrapping_mul(PRIME);
        Self(mixed ^ (mixed >> 32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_and_the_length_count() {
        let bytes: Vec<u8> = (0..21).collect();
        let of = |bytes: &[u8]| Digest::new().with(bytes).value();
        let mut seen = std::collections::HashSet::from([of(&bytes)]);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(of(&changed)), "bit {bit}");
        }
        assert!(seen.insert(of(&[bytes.clone(), vec![0]].concat())));
        let apart = Digest::new().with(&bytes[..3]).with(&bytes[3..]).value();
        assert!(seen.insert(apart));
    }
}
