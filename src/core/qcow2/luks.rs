//! The LUKS header (version 1) that an encrypted image carries: which ciphers are used, and where the
//! key slots are. Where it starts says [`super::extension::CryptoHeader`]; no key is derived here.
//!
//! The rules are those of the LUKS on-disk format 1.2.3 as QEMU 10.0 checks them when it opens an
//! image (`crypto/block-luks.c`).

use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::FormatError;
use super::limits::SECTOR;

/// Bytes of the content that one initialisation vector serves.
pub const CIPHER_SECTOR: usize = 512;
/// Bytes of the header, without key material.
pub const HEADER_LEN: usize = 592;
/// Key slots there are, used or not.
pub const SLOTS: usize = 8;
/// The only number of anti-forensic stripes there is.
pub const STRIPES: u32 = 4000;
/// Key material begins here at the earliest, in bytes; each slot's is a multiple of this.
pub const KEY_ALIGNMENT: u64 = 4096;
/// Bytes of the digest by which a master key is recognised.
pub const DIGEST_LEN: usize = 20;
/// Bytes of a salt.
pub const SALT_LEN: usize = 32;

const MAGIC: [u8; 6] = *b"LUKS\xba\xbe";
const VERSION: u16 = 1;
/// Where the entry of key slot 0 stands in the header.
const FIRST_SLOT: usize = HEADER_LEN - SLOTS * size_of::<RawSlot>();
const ENABLED: u32 = 0x00ac_71f3;
const DISABLED: u32 = 0x0000_dead;

/// A key slot, as it is on disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawSlot {
    active: U32,
    iterations: U32,
    salt: [u8; SALT_LEN],
    key_sector: U32,
    stripes: U32,
}

/// The header, as it is on disk.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 6],
    version: U16,
    cipher_name: [u8; 32],
    cipher_mode: [u8; 32],
    hash: [u8; 32],
    payload_sector: U32,
    key_bytes: U32,
    digest: [u8; DIGEST_LEN],
    digest_salt: [u8; SALT_LEN],
    digest_iterations: U32,
    uuid: [u8; 40],
    slots: [RawSlot; SLOTS],
}

/// A key slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlot {
    /// Whether it holds the master key; of one that does not, only the place means anything.
    pub active: bool,
    /// Rounds of PBKDF2 from the passphrase to the slot's key.
    pub iterations: u32,
    /// Salt of that derivation.
    pub salt: [u8; SALT_LEN],
    /// Where its key material starts, in bytes from the start of the LUKS header.
    pub key_offset: u64,
}

/// A validated LUKS header. The names may be ones that are not known here: see [`LuksHeader::suite`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LuksHeader {
    /// Name of the cipher: `aes`.
    pub cipher: String,
    /// Name of its mode: `xts`.
    pub mode: String,
    /// Name of the generator of initialisation vectors: `plain64`.
    pub ivgen: String,
    /// Name of the hash that the generator uses, where one is recorded.
    pub ivgen_hash: Option<String>,
    /// Name of the hash of PBKDF2 and of the anti-forensic splitter: `sha256`.
    pub hash: String,
    /// Where the payload of a LUKS volume would start, in bytes; qcow2 only bounds key material by it.
    pub payload_offset: u64,
    /// Bytes of the master key, 16 to 64.
    pub key_bytes: usize,
    /// Digest of the master key.
    pub digest: [u8; DIGEST_LEN],
    /// Salt of that digest.
    pub digest_salt: [u8; SALT_LEN],
    /// Rounds of PBKDF2 from the master key to its digest.
    pub digest_iterations: u32,
    /// The volume's UUID, as recorded up to the first NUL. From the image: escape it before showing it.
    pub uuid: Vec<u8>,
    /// The key slots.
    pub slots: [KeySlot; SLOTS],
}

/// A block cipher of 16-byte blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES.
    Aes,
    /// Serpent.
    Serpent,
    /// Twofish.
    Twofish,
}

/// How the blocks of one sector are chained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// XEX with a tweak for each sector; the key is two keys.
    Xts,
    /// Cipher block chaining.
    Cbc,
    /// Each block by itself.
    Ecb,
}

/// Hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-1.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// RIPEMD-160.
    Ripemd160,
}

/// What a sector's initialisation vector is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IvGen {
    /// The low 32 bits of the sector number.
    Plain,
    /// The sector number.
    Plain64,
    /// The sector number, encrypted with a hash of the key.
    Essiv(Hash),
}

/// A combination of ciphers that is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Suite {
    /// The cipher.
    pub cipher: Cipher,
    /// Its mode.
    pub mode: Mode,
    /// Where initialisation vectors come from.
    pub ivgen: IvGen,
    /// Hash of PBKDF2 and of the anti-forensic splitter.
    pub hash: Hash,
    /// Bytes of the master key: those of the cipher, twice as many with XTS.
    pub key_bytes: usize,
}

impl Hash {
    /// The hash of this name in a LUKS header.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "sha1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "ripemd160" => Self::Ripemd160,
            _ => return None,
        })
    }

    /// Bytes of its digest.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha1 | Self::Ripemd160 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

fn no(what: String) -> FormatError {
    FormatError::UnsupportedCipher { what }
}

/// Names of a cipher, its mode, and the generator of vectors with its hash.
type Names<'a> = (&'a str, &'a str, (&'a str, Option<&'a str>));

impl Suite {
    /// The combination that is called `aes-xts-plain64`, as LUKS2 writes it, with a key of that length.
    ///
    /// # Errors
    /// [`FormatError::UnsupportedCipher`] names the part that is not understood.
    pub fn named(encryption: &str, key_bytes: usize, hash: Hash) -> Result<Self, FormatError> {
        let mut parts = encryption.splitn(3, '-');
        let (Some(cipher), Some(mode), Some(ivgen)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(no(format!("cipher {encryption}")));
        };
        let ivgen = match ivgen.split_once(':') {
            Some((ivgen, hash)) => (ivgen, Some(hash)),
            None => (ivgen, None),
        };
        Self::of((cipher, mode, ivgen), key_bytes, Ok(hash))
    }

    fn of(
        (name, mode_name, ivgen): Names<'_>,
        key_bytes: usize,
        hash: Result<Hash, FormatError>,
    ) -> Result<Self, FormatError> {
        let cipher = match name {
            "aes" => Cipher::Aes,
            "serpent" => Cipher::Serpent,
            "twofish" => Cipher::Twofish,
            other => return Err(no(format!("cipher {other}"))),
        };
        let mode = match mode_name {
            "xts" => Mode::Xts,
            "cbc" => Mode::Cbc,
            "ecb" => Mode::Ecb,
            other => return Err(no(format!("mode {other}"))),
        };
        let keys = if mode == Mode::Xts { 2 } else { 1 };
        if !matches!(key_bytes / keys, 16 | 24 | 32) {
            return Err(no(format!(
                "cipher {name} in mode {mode_name} with a key of {key_bytes} bytes"
            )));
        }
        // Key material then ends inside a sector, where QEMU stops with a failed assertion.
        if !(key_bytes as u64 * u64::from(STRIPES)).is_multiple_of(SECTOR) {
            let bits = key_bytes * 8;
            return Err(no(format!("cipher {name}-{bits} in mode {mode_name}")));
        }
        let ivgen = match ivgen {
            // A hash that a plain generator does not need is ignored, as it is elsewhere.
            ("plain", _) => IvGen::Plain,
            ("plain64", _) => IvGen::Plain64,
            ("essiv", Some(name)) => {
                let hash = Hash::from_name(name).ok_or_else(|| no(format!("hash {name}")))?;
                // The hash of the key is a key of the same cipher.
                if !matches!(hash.digest_len(), 16 | 24 | 32) {
                    return Err(no(format!("vector generator essiv:{name}")));
                }
                IvGen::Essiv(hash)
            }
            ("essiv", None) => return Err(bad("the vector generator essiv", "names no hash")),
            (other, _) => return Err(no(format!("vector generator {other}"))),
        };
        Ok(Self {
            cipher,
            mode,
            ivgen,
            hash: hash?,
            key_bytes,
        })
    }
}

fn bad(field: impl Into<String>, reason: impl Into<String>) -> FormatError {
    FormatError::BadLuks {
        field: field.into(),
        reason: reason.into(),
    }
}

/// The text of a field that ends at its first NUL.
fn text(field: &'static str, bytes: &[u8]) -> Result<String, FormatError> {
    let name = bytes
        .iter()
        .position(|b| *b == 0)
        .and_then(|end| bytes.get(..end))
        .ok_or_else(|| bad(field, "does not end"))?;
    if name.iter().all(|b| b.is_ascii_graphic()) {
        Ok(String::from_utf8_lossy(name).into_owned())
    } else {
        Err(bad(field, "is no name"))
    }
}

/// Bytes that a slot's key material takes, rounded up as slots are laid out.
#[must_use]
pub fn slot_len(key_bytes: usize) -> u64 {
    (key_bytes as u64)
        .saturating_mul(STRIPES.into())
        .next_multiple_of(KEY_ALIGNMENT)
}

impl LuksHeader {
    /// Reads and checks a header from its first [`HEADER_LEN`] bytes.
    ///
    /// # Errors
    /// Whatever QEMU refuses: names that do not end, no iterations, key material that overlaps the
    /// header, the payload or other key material, another number of stripes; also a key whose length
    /// no cipher has.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let (raw, _) = RawHeader::ref_from_prefix(bytes).map_err(|_| FormatError::Truncated {
            field: "the LUKS header",
            needed: HEADER_LEN as u64,
            have: bytes.len() as u64,
        })?;
        if raw.magic != MAGIC {
            return Err(bad("the magic number", "is missing"));
        }
        if raw.version.get() != VERSION {
            return Err(bad(
                "the version",
                format!("is {}; only version 1 is known", raw.version),
            ));
        }
        let cipher = text("the cipher name", &raw.cipher_name)?;
        let modes = text("the cipher mode", &raw.cipher_mode)?;
        let hash = text("the hash name", &raw.hash)?;
        let Some((mode, ivgen)) = modes.split_once('-') else {
            return Err(bad("the cipher mode", "names no generator of vectors"));
        };
        let (ivgen, ivgen_hash) = match ivgen.split_once(':') {
            Some((ivgen, hash)) => (ivgen, Some(hash.to_owned())),
            None => (ivgen, None),
        };
        let key_bytes = usize::try_from(raw.key_bytes.get()).unwrap_or(usize::MAX);
        if !matches!(key_bytes, 16 | 24 | 32 | 48 | 64) {
            let reason = format!("is {key_bytes} bytes, which no cipher has");
            return Err(bad("the length of the key", reason));
        }
        let payload_offset = u64::from(raw.payload_sector.get()) * SECTOR;
        if payload_offset < KEY_ALIGNMENT {
            return Err(bad("the payload offset", "lies inside the header"));
        }
        if raw.digest_iterations.get() == 0 {
            return Err(bad("the iterations of the key digest", "are 0"));
        }
        let mut slots = Vec::with_capacity(SLOTS);
        for (index, slot) in raw.slots.iter().enumerate() {
            slots.push(parse_slot(index, slot, key_bytes, payload_offset, &slots)?);
        }
        let slots =
            <[KeySlot; SLOTS]>::try_from(slots).map_err(|_| bad("the key slots", "are not 8"))?;
        Ok(Self {
            mode: mode.to_owned(),
            ivgen: ivgen.to_owned(),
            ivgen_hash,
            cipher,
            hash,
            payload_offset,
            key_bytes,
            digest: raw.digest,
            digest_salt: raw.digest_salt,
            digest_iterations: raw.digest_iterations.get(),
            uuid: raw.uuid.iter().copied().take_while(|b| *b != 0).collect(),
            slots,
        })
    }

    /// Key bytes of the cipher itself: with XTS the key is two keys.
    #[must_use]
    pub fn cipher_key_bytes(&self) -> usize {
        if self.mode == "xts" {
            self.key_bytes / 2
        } else {
            self.key_bytes
        }
    }

    /// The combination of ciphers, if it is one that is understood.
    ///
    /// # Errors
    /// [`FormatError::UnsupportedCipher`] names the part that is not.
    pub fn suite(&self) -> Result<Suite, FormatError> {
        let hash = Hash::from_name(&self.hash).ok_or_else(|| no(format!("hash {}", self.hash)));
        let ivgen = (self.ivgen.as_str(), self.ivgen_hash.as_deref());
        Suite::of((&self.cipher, &self.mode, ivgen), self.key_bytes, hash)
    }

    /// Bytes of each slot's key material.
    #[must_use]
    pub fn material_len(&self) -> usize {
        self.key_bytes.saturating_mul(STRIPES as usize)
    }

    /// Where the entry of a key slot stands, in bytes from the start of the header, and the entry as it is on
    /// disk. Its first four bytes say whether it is active, and never cross a sector.
    ///
    /// # Errors
    /// When there is no such slot, or an offset does not fit its field.
    pub fn encode_slot(&self, index: usize) -> Result<(u64, Vec<u8>), FormatError> {
        let slot = self
            .slots
            .get(index)
            .ok_or_else(|| bad("the key slot", "is not one of the 8"))?;
        let raw = raw_slot(slot)?;
        let at = FIRST_SLOT.saturating_add(size_of::<RawSlot>().saturating_mul(index));
        Ok((at as u64, raw.as_bytes().to_vec()))
    }

    /// The header as it is on disk.
    ///
    /// # Errors
    /// When a name or an offset does not fit its field.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let modes = match &self.ivgen_hash {
            Some(hash) => format!("{}-{}:{hash}", self.mode, self.ivgen),
            None => format!("{}-{}", self.mode, self.ivgen),
        };
        let mut slots = Vec::with_capacity(SLOTS);
        for slot in &self.slots {
            slots.push(raw_slot(slot)?);
        }
        let raw = RawHeader {
            magic: MAGIC,
            version: VERSION.into(),
            cipher_name: padded("the cipher name", self.cipher.as_bytes())?,
            cipher_mode: padded("the cipher mode", modes.as_bytes())?,
            hash: padded("the hash name", self.hash.as_bytes())?,
            payload_sector: sectors("the payload offset", self.payload_offset)?,
            key_bytes: u32::try_from(self.key_bytes)
                .map_err(|_| bad("the length of the key", "is one that no cipher has"))?
                .into(),
            digest: self.digest,
            digest_salt: self.digest_salt,
            digest_iterations: self.digest_iterations.into(),
            uuid: uuid_field(&self.uuid)?,
            slots: <[RawSlot; SLOTS]>::try_from(slots)
                .map_err(|_| bad("the key slots", "are not 8"))?,
        };
        // What would not be read back is not written either.
        Self::parse(raw.as_bytes())?;
        Ok(raw.as_bytes().to_vec())
    }
}

fn raw_slot(slot: &KeySlot) -> Result<RawSlot, FormatError> {
    Ok(RawSlot {
        active: if slot.active { ENABLED } else { DISABLED }.into(),
        iterations: slot.iterations.into(),
        salt: slot.salt,
        key_sector: sectors("the key material offset", slot.key_offset)?,
        stripes: STRIPES.into(),
    })
}

fn parse_slot(
    index: usize,
    raw: &RawSlot,
    key_bytes: usize,
    payload_offset: u64,
    before: &[KeySlot],
) -> Result<KeySlot, FormatError> {
    let of = |field: &str| format!("{field} of key slot {index}");
    let active = match raw.active.get() {
        ENABLED => true,
        DISABLED => false,
        other => {
            return Err(bad(
                of("the state"),
                format!("is {other:#x}, neither enabled nor disabled"),
            ));
        }
    };
    if raw.stripes.get() != STRIPES {
        return Err(bad(
            of("the number of stripes"),
            format!("is {}; it must be {STRIPES}", raw.stripes),
        ));
    }
    if active && raw.iterations.get() == 0 {
        return Err(bad(of("the iterations"), "are 0"));
    }
    let key_offset = u64::from(raw.key_sector.get()) * SECTOR;
    let end = key_offset + slot_len(key_bytes);
    let field = of("the key material");
    if key_offset < KEY_ALIGNMENT {
        return Err(bad(field, "lies inside the header"));
    }
    if end > payload_offset {
        return Err(bad(field, "reaches into the payload"));
    }
    for (other, slot) in before.iter().enumerate() {
        if end > slot.key_offset && slot.key_offset + slot_len(key_bytes) > key_offset {
            return Err(bad(field, format!("overlaps that of key slot {other}")));
        }
    }
    Ok(KeySlot {
        active,
        iterations: raw.iterations.get(),
        salt: raw.salt,
        key_offset,
    })
}

fn padded<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], FormatError> {
    let mut out = [0; N];
    match out.get_mut(..bytes.len()) {
        // At least one NUL ends it.
        Some(start) if bytes.len() < N => start.copy_from_slice(bytes),
        _ => return Err(bad(field, "is too long")),
    }
    Ok(out)
}

/// The one text that may fill its field.
fn uuid_field(uuid: &[u8]) -> Result<[u8; 40], FormatError> {
    match <[u8; 40]>::try_from(uuid) {
        Ok(full) => Ok(full),
        Err(_) => padded("the UUID", uuid),
    }
}

fn sectors(field: &'static str, bytes: u64) -> Result<U32, FormatError> {
    if !bytes.is_multiple_of(SECTOR) {
        return Err(FormatError::Unaligned {
            field,
            offset: bytes,
            alignment: SECTOR,
        });
    }
    u32::try_from(bytes / SECTOR)
        .map(U32::from)
        .map_err(|_| FormatError::DoesNotFit {
            field,
            value: bytes,
            max: u64::from(u32::MAX) * SECTOR,
        })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)] // Tests index bytes whose number they know.
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `qemu-img create` writes for aes-256, xts-plain64, sha256, but for salts and digest.
    fn bytes() -> Vec<u8> {
        let mut b = vec![0; HEADER_LEN];
        b[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
        b[8..11].copy_from_slice(b"aes");
        b[40..51].copy_from_slice(b"xts-plain64");
        b[72..78].copy_from_slice(b"sha256");
        b[104..108].copy_from_slice(&4040u32.to_be_bytes());
        b[108..112].copy_from_slice(&64u32.to_be_bytes());
        b[164..168].copy_from_slice(&2958u32.to_be_bytes());
        b[168..172].copy_from_slice(b"uuid");
        for slot in 0..8_u16 {
            let at = 208 + 48 * usize::from(slot);
            let state: u32 = if slot == 0 { 0x00ac_71f3 } else { 0xdead };
            b[at..at + 4].copy_from_slice(&state.to_be_bytes());
            b[at + 4..at + 8]
                .copy_from_slice(&(if slot == 0 { 11486u32 } else { 0 }).to_be_bytes());
            b[at + 40..at + 44].copy_from_slice(&(8 + 504 * u32::from(slot)).to_be_bytes());
            b[at + 44..at + 48].copy_from_slice(&4000u32.to_be_bytes());
        }
        b
    }

    #[test]
    fn every_field_is_read_from_its_place() {
        let header = LuksHeader::parse(&bytes()).unwrap();
        assert_eq!(
            (header.cipher.as_str(), header.mode.as_str()),
            ("aes", "xts")
        );
        assert_eq!(
            (header.ivgen.as_str(), header.hash.as_str()),
            ("plain64", "sha256")
        );
        assert_eq!((header.payload_offset, header.key_bytes), (2_068_480, 64));
        assert_eq!(header.digest_iterations, 2958);
        assert_eq!(header.uuid, b"uuid");
        assert!(header.slots[0].active && !header.slots[1].active);
        assert_eq!(header.slots[0].iterations, 11486);
        assert_eq!(header.slots[7].key_offset, 1_810_432);
        assert_eq!(header.encode().unwrap(), bytes());
        let suite = header.suite().unwrap();
        assert_eq!((suite.cipher, suite.mode), (Cipher::Aes, Mode::Xts));
        assert_eq!((suite.ivgen, suite.hash), (IvGen::Plain64, Hash::Sha256));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let named = |at: usize, name: &str, key: u32| {
            let mut b = bytes();
            b[at..at + 32].fill(0);
            b[at..at + name.len()].copy_from_slice(name.as_bytes());
            b[108..112].copy_from_slice(&key.to_be_bytes());
            let header = LuksHeader::parse(&b).unwrap();
            header.suite().unwrap_err().to_string()
        };
        assert!(named(8, "cast5", 32).contains("cipher cast5"));
        assert!(named(40, "ctr-plain64", 32).contains("mode ctr"));
        assert!(named(40, "cbc-plain64", 64).contains("key of 64 bytes"));
        assert!(named(40, "cbc-plain64", 24).contains("aes-192 in mode cbc"));
        assert!(named(40, "cbc-essiv:sha1", 32).contains("essiv:sha1"));
        assert!(named(40, "cbc-essiv", 32).contains("names no hash"));
        assert!(named(40, "cbc-benbi", 32).contains("generator benbi"));
        assert!(named(72, "sm3", 64).contains("hash sm3"));
    }

    #[test]
    fn what_qemu_refuses_is_refused_by_the_name_of_the_field() {
        let with = |at: usize, value: &[u8]| {
            let mut b = bytes();
            b[at..at + value.len()].copy_from_slice(value);
            LuksHeader::parse(&b).unwrap_err().to_string()
        };
        let u32s = |n: u32| n.to_be_bytes();
        assert!(with(0, b"X").contains("magic"));
        assert!(with(6, &[0, 2]).contains("version is 2"));
        assert!(with(8, &[b'a'; 32]).contains("cipher name does not end"));
        assert!(with(8, b"a\x1b[").contains("cipher name is no name"));
        assert!(with(40, &[b'x'; 32]).contains("cipher mode does not end"));
        assert!(with(40, b"xts_").contains("names no generator"));
        assert!(with(72, &[b'x'; 32]).contains("hash name does not end"));
        assert!(with(104, &u32s(7)).contains("payload offset lies inside"));
        assert!(with(108, &u32s(0)).contains("length of the key is 0"));
        assert!(with(108, &u32s(u32::MAX)).contains("length of the key"));
        assert!(with(164, &u32s(0)).contains("key digest are 0"));
        assert!(with(208, &u32s(1)).contains("state of key slot 0 is 0x1"));
        assert!(with(212, &u32s(0)).contains("iterations of key slot 0 are 0"));
        assert!(with(256 + 44, &u32s(4001)).contains("stripes of key slot 1 is 4001"));
        assert!(with(248, &u32s(7)).contains("of key slot 0 lies inside"));
        assert!(with(256 + 40, &u32s(8)).contains("of key slot 1 overlaps that of key slot 0"));
        assert!(with(208 + 7 * 48 + 40, &u32s(u32::MAX)).contains("of key slot 7 reaches"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(
            at in 0..HEADER_LEN,
            noise in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut b = bytes();
            for (to, from) in b[at..].iter_mut().zip(&noise) {
                *to = *from;
            }
            if let Ok(header) = LuksHeader::parse(&b) {
                let _ = header.suite();
                // Bytes behind a name are not kept.
                let again = LuksHeader::parse(&header.encode().unwrap()).unwrap();
                prop_assert_eq!(again, header);
            }
        }
    }
}
