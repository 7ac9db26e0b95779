//! Sectors of 512 bytes, or of some more, encrypted and decrypted with one key. Which sector number a sector has, and
//! how the key was come by, is the caller's knowledge.

use aes::cipher::generic_array::GenericArray;
use aes::cipher::generic_array::typenum::U16;
use aes::cipher::{BlockDecrypt, BlockEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use serpent::Serpent;
use twofish::Twofish;
use zeroize::{Zeroize, Zeroizing};

use crate::image::read::luks::derive::digest;
use crate::qcow2::luks::{CIPHER_SECTOR as SECTOR, Cipher, IvGen, Mode, Suite};

/// Bytes of a block.
const BLOCK: usize = 16;

/// A block.
type Block = GenericArray<u8, U16>;

/// Some block cipher under some key. Taking all blocks of a sector at once lets it use the
/// processor's instructions on several of them at a time.
trait BlockCipher: Send + Sync {
    fn encrypt(&self, blocks: &mut [Block]);
    fn decrypt(&self, blocks: &mut [Block]);
}

impl<C> BlockCipher for C
where
    C: BlockEncrypt + BlockDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn encrypt(&self, blocks: &mut [Block]) {
        self.encrypt_blocks(blocks);
    }

    fn decrypt(&self, blocks: &mut [Block]) {
        self.decrypt_blocks(blocks);
    }
}

/// The cipher of that kind under `key`; none if it has no keys of that length.
fn block_cipher(cipher: Cipher, key: &[u8]) -> Option<Box<dyn BlockCipher>> {
    fn new<C: KeyInit + BlockCipher + 'static>(key: &[u8]) -> Option<Box<dyn BlockCipher>> {
        let cipher: Box<dyn BlockCipher> = Box::new(C::new_from_slice(key).ok()?);
        Some(cipher)
    }
    match (cipher, key.len()) {
        (Cipher::Aes, 16) => new::<Aes128>(key),
        (Cipher::Aes, 24) => new::<Aes192>(key),
        (Cipher::Aes, 32) => new::<Aes256>(key),
        (Cipher::Serpent, 16 | 24 | 32) => new::<Serpent>(key),
        (Cipher::Twofish, 16 | 24 | 32) => new::<Twofish>(key),
        _ => None,
    }
}

/// Encrypts and decrypts sectors under one key.
pub struct SectorCipher {
    data: Box<dyn BlockCipher>,
    chaining: Chaining,
    vectors: Vectors,
    /// Bytes that one vector serves.
    sector: usize,
}

/// How the blocks of a sector are chained.
enum Chaining {
    Xts { tweak: Box<dyn BlockCipher> },
    Cbc,
    Ecb,
}

/// Where a sector's vector comes from.
enum Vectors {
    Plain,
    Plain64,
    Essiv(Box<dyn BlockCipher>),
}

impl std::fmt::Debug for SectorCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SectorCipher")
    }
}

impl SectorCipher {
    /// The ciphers of `suite` under `key`; none if the key has not the length the suite asks for.
    #[must_use]
    pub fn new(suite: Suite, key: &[u8]) -> Option<Self> {
        if key.len() != suite.key_bytes {
            return None;
        }
        let (data, chaining) = match suite.mode {
            Mode::Xts => {
                let (data, tweak) = key.split_at_checked(key.len() / 2)?;
                let tweak = block_cipher(suite.cipher, tweak)?;
                (data, Chaining::Xts { tweak })
            }
            Mode::Cbc => (key, Chaining::Cbc),
            Mode::Ecb => (key, Chaining::Ecb),
        };
        let vectors = match suite.ivgen {
            IvGen::Plain => Vectors::Plain,
            IvGen::Plain64 => Vectors::Plain64,
            IvGen::Essiv(hash) => {
                let mut salt = Zeroizing::new([0; 64]);
                digest(hash, &[key], &mut *salt);
                Vectors::Essiv(block_cipher(suite.cipher, salt.get(..hash.digest_len())?)?)
            }
        };
        Some(Self {
            data: block_cipher(suite.cipher, data)?,
            chaining,
            vectors,
            sector: SECTOR,
        })
    }

    /// The same for sectors of this many bytes, as LUKS2 may have them; none if there are no such sectors. They are
    /// numbered in steps of 512 bytes all the same.
    #[must_use]
    pub fn with_sectors(self, bytes: u32) -> Option<Self> {
        let sector = usize::try_from(bytes).ok()?;
        matches!(sector, 512 | 1024 | 2048 | 4096).then_some(Self { sector, ..self })
    }

    /// Bytes of a sector.
    #[must_use]
    pub fn sector(&self) -> usize {
        self.sector
    }

    /// Decrypts whole sectors in place; `number` is that of the first. A shorter end stays as it is.
    pub fn decrypt(&self, number: u64, sectors: &mut [u8]) {
        match self.sector {
            1024 => self.each::<64>(number, sectors, Self::decrypt_blocks),
            2048 => self.each::<128>(number, sectors, Self::decrypt_blocks),
            4096 => self.each::<256>(number, sectors, Self::decrypt_blocks),
            _ => self.each::<32>(number, sectors, Self::decrypt_blocks),
        }
    }

    /// Encrypts whole sectors in place; `number` is that of the first. A shorter end stays as it is.
    pub fn encrypt(&self, number: u64, sectors: &mut [u8]) {
        match self.sector {
            1024 => self.each::<64>(number, sectors, Self::encrypt_blocks),
            2048 => self.each::<128>(number, sectors, Self::encrypt_blocks),
            4096 => self.each::<256>(number, sectors, Self::encrypt_blocks),
            _ => self.each::<32>(number, sectors, Self::encrypt_blocks),
        }
    }

    fn decrypt_blocks<const N: usize>(&self, blocks: &mut [Block; N], vector: Block) {
        match &self.chaining {
            Chaining::Xts { tweak } => {
                let tweaks = tweaks::<N>(&**tweak, vector);
                xor_all(blocks, &tweaks);
                self.data.decrypt(blocks);
                xor_all(blocks, &tweaks);
            }
            Chaining::Cbc => {
                let mut before = vector;
                let encrypted = *blocks;
                self.data.decrypt(blocks);
                for (block, encrypted) in blocks.iter_mut().zip(encrypted) {
                    xor(block, &before);
                    before = encrypted;
                }
            }
            Chaining::Ecb => self.data.decrypt(blocks),
        }
    }

    fn encrypt_blocks<const N: usize>(&self, blocks: &mut [Block; N], vector: Block) {
        match &self.chaining {
            Chaining::Xts { tweak } => {
                let tweaks = tweaks::<N>(&**tweak, vector);
                xor_all(blocks, &tweaks);
                self.data.encrypt(blocks);
                xor_all(blocks, &tweaks);
            }
            Chaining::Cbc => {
                let mut before = vector;
                for block in blocks.iter_mut() {
                    xor(block, &before);
                    self.data.encrypt(std::slice::from_mut(block));
                    before = *block;
                }
            }
            Chaining::Ecb => self.data.encrypt(blocks),
        }
    }

    /// Calls `work` for the blocks of each sector, of which there are `N`.
    fn each<const N: usize>(
        &self,
        number: u64,
        sectors: &mut [u8],
        work: impl Fn(&Self, &mut [Block; N], Block),
    ) {
        let mut blocks = [Block::default(); N];
        let step = N * BLOCK / SECTOR;
        let numbers = (number..).step_by(step);
        for (number, sector) in numbers.zip(sectors.chunks_exact_mut(N * BLOCK)) {
            for (block, bytes) in blocks.iter_mut().zip(sector.chunks_exact(BLOCK)) {
                block.copy_from_slice(bytes);
            }
            work(self, &mut blocks, self.vector(number));
            for (block, bytes) in blocks.iter().zip(sector.chunks_exact_mut(BLOCK)) {
                bytes.copy_from_slice(block);
            }
        }
        blocks
            .iter_mut()
            .for_each(|block| block.as_mut_slice().zeroize());
    }

    /// The vector of a sector: its number, little-endian, or that encrypted.
    fn vector(&self, number: u64) -> Block {
        let number = match self.vectors {
            Vectors::Plain => number & u64::from(u32::MAX),
            Vectors::Plain64 | Vectors::Essiv(_) => number,
        };
        let mut vector = Block::from(u128::from(number).to_le_bytes());
        if let Vectors::Essiv(cipher) = &self.vectors {
            cipher.encrypt(std::slice::from_mut(&mut vector));
        }
        vector
    }
}

/// The tweaks of a sector's blocks (IEEE 1619): the encrypted vector, multiplied by x in GF(2^128)
/// from one block to the next.
fn tweaks<const N: usize>(cipher: &dyn BlockCipher, mut vector: Block) -> [Block; N] {
    cipher.encrypt(std::slice::from_mut(&mut vector));
    let mut tweak = u128::from_le_bytes(vector.into());
    let mut all = [Block::default(); N];
    for to in &mut all {
        *to = Block::from(tweak.to_le_bytes());
        let carry = tweak >> 127;
        tweak = (tweak << 1) ^ (carry * 0x87);
    }
    all
}

fn xor(to: &mut Block, from: &Block) {
    let sum = u128::from_ne_bytes((*to).into()) ^ u128::from_ne_bytes((*from).into());
    *to = Block::from(sum.to_ne_bytes());
}

fn xor_all(to: &mut [Block], from: &[Block]) {
    for (to, from) in to.iter_mut().zip(from) {
        xor(to, from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qcow2::luks::Hash;

    fn suite(cipher: Cipher, mode: Mode, ivgen: IvGen, key_bytes: usize) -> Suite {
        Suite {
            cipher,
            mode,
            ivgen,
            hash: Hash::Sha256,
            key_bytes,
        }
    }

    #[test]
    fn a_vector_of_ieee_1619_comes_out() {
        // Vector 4: XTS-AES-128, sector 0, plain bytes 00 to ff twice.
        let mut key = Vec::new();
        for part in [
            0x2718281828459045235360287471352_u128 << 4 | 6,
            0x31415926535897932384626433832795,
        ] {
            key.extend_from_slice(&part.to_be_bytes());
        }
        let cipher =
            SectorCipher::new(suite(Cipher::Aes, Mode::Xts, IvGen::Plain64, 32), &key).unwrap();
        let plain: Vec<u8> = (0..512_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut bytes = plain.clone();
        cipher.encrypt(0, &mut bytes);
        let start: Vec<String> = bytes.iter().take(16).map(|b| format!("{b:02x}")).collect();
        assert_eq!(start.concat(), "27a7479befa1d476489f308cd4cfa6e2");
        cipher.decrypt(0, &mut bytes);
        assert_eq!(bytes, plain);
    }

    #[test]
    fn a_larger_sector_goes_on_with_the_tweaks_of_its_first_block() {
        let key: Vec<u8> = (1..=64).collect();
        let new =
            || SectorCipher::new(suite(Cipher::Aes, Mode::Xts, IvGen::Plain64, 64), &key).unwrap();
        for bytes in [512, 1024, 2048, 4096_u32] {
            let cipher = new().with_sectors(bytes).unwrap();
            let plain: Vec<u8> = (0..2 * 4096_u32)
                .map(|n| (n % 251).to_le_bytes()[0])
                .collect();
            let mut sectors = plain.clone();
            cipher.encrypt(8, &mut sectors);
            // The first 512 bytes of a sector are those of a sector of 512 bytes with its number.
            for at in (0..sectors.len()).step_by(cipher.sector()) {
                let mut first = plain[at..at + 512].to_vec();
                new().encrypt(8 + at as u64 / 512, &mut first);
                assert_eq!(sectors[at..at + 512], first);
            }
            if bytes > 512 {
                let mut second = plain[512..1024].to_vec();
                new().encrypt(9, &mut second);
                assert_ne!(sectors[512..1024], second);
            }
            cipher.decrypt(8, &mut sectors);
            assert_eq!(sectors, plain);
        }
        assert!(new().with_sectors(8192).is_none() && new().with_sectors(513).is_none());
    }

    #[test]
    fn every_combination_gives_back_what_it_took_and_no_two_sectors_look_alike() {
        for cipher in [Cipher::Aes, Cipher::Serpent, Cipher::Twofish] {
            for mode in [Mode::Xts, Mode::Cbc, Mode::Ecb] {
                for ivgen in [IvGen::Plain, IvGen::Plain64, IvGen::Essiv(Hash::Sha256)] {
                    let len = if mode == Mode::Xts { 64 } else { 32 };
                    let key: Vec<u8> = (1..).take(len).collect();
                    let cipher = SectorCipher::new(suite(cipher, mode, ivgen, len), &key).unwrap();
                    let mut bytes = vec![7; 3 * SECTOR];
                    cipher.encrypt(1 << 33, &mut bytes);
                    assert_eq!(
                        bytes[..SECTOR] == bytes[SECTOR..2 * SECTOR],
                        mode == Mode::Ecb
                    );
                    // Sector by sector is the same.
                    cipher.decrypt((1 << 33) + 1, &mut bytes[SECTOR..]);
                    cipher.decrypt(1 << 33, &mut bytes[..SECTOR]);
                    assert!(bytes.iter().all(|b| *b == 7));
                }
            }
        }
        assert!(
            SectorCipher::new(suite(Cipher::Aes, Mode::Xts, IvGen::Plain, 64), &[0; 32]).is_none()
        );
    }
}
