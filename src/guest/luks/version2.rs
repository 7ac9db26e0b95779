//! The header of version 2 (LUKS2 On-Disk Format Specification 1.1.2): a binary part, and behind it JSON that says the
//! rest. There are two copies; the second one counts where the first is damaged.

use base64ct::{Base64, Encoding};
use qanopy_core::qcow2::luks::{Hash, STRIPES, Suite};
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha512};

use crate::block::BlockSource;
use crate::error::{Error, Result};
use crate::field;

use super::error::{damaged, of_format, unsupported};
use super::header::MAGIC;
use super::header::{Content, Derivation, Digest, Header, Pbkdf2, Slot};

/// What the second copy begins with.
const SECOND_MAGIC: &[u8; 6] = b"SKUL\xba\xbe";
/// Bytes of the binary part.
const BINARY: usize = 4096;
/// Lengths that a header has, its JSON included: powers of two.
const LENGTHS: std::ops::RangeInclusive<u64> = 16 << 10..=4 << 20;
/// Where the checksum is in it, and for how many bytes there is room.
const SUM: std::ops::Range<usize> = 448..512;
/// Key slots that are tried, as many as LUKS2 has.
const MOST_SLOTS: usize = 32;
/// KiB of memory that deriving a key may take. `cryptsetup` asks for no more by itself.
const MOST_MEMORY: u64 = 1 << 20;
/// Passes over that memory.
const MOST_PASSES: u64 = 64;

pub(super) fn read(volume: &dyn BlockSource) -> Result<Header> {
    let first = copy(volume, 0, MAGIC);
    let damage = match first {
        Ok(bytes) => return parse(&bytes),
        Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
        Err(error) => error,
    };
    let mut at = *LENGTHS.start();
    while at <= *LENGTHS.end() {
        match copy(volume, at, SECOND_MAGIC) {
            Ok(bytes) => return parse(&bytes),
            Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
            Err(_) => at *= 2,
        }
    }
    Err(damage)
}

/// The bytes of one copy, which are what was written.
fn copy(volume: &dyn BlockSource, at: u64, magic: &[u8; 6]) -> Result<Vec<u8>> {
    let bad = |problem| damaged("header", at, problem);
    let mut bytes = vec![0; BINARY];
    volume.read_at(at, &mut bytes)?;
    let len = u64::from_be_bytes(field(&bytes, 8));
    let is_whole = field::<6>(&bytes, 0) == *magic
        && u16::from_be_bytes(field(&bytes, 6)) == 2
        && u64::from_be_bytes(field(&bytes, 256)) == at
        && LENGTHS.contains(&len)
        && len.is_power_of_two();
    if !is_whole {
        return Err(bad("it is none of version 2"));
    }
    bytes.resize(usize::try_from(len).unwrap_or(BINARY), 0);
    volume.read_at(at, &mut bytes)?;
    let written: [u8; 64] = field(&bytes, SUM.start);
    if let Some(sum) = bytes.get_mut(SUM) {
        sum.fill(0);
    }
    let name: [u8; 32] = field(&bytes, 72);
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let sum = match name {
        b"sha256" => Sha256::digest(&bytes).to_vec(),
        b"sha512" => Sha512::digest(&bytes).to_vec(),
        _ => return Err(unsupported("a header with another checksum than SHA-2")),
    };
    if !written.starts_with(&sum) {
        return Err(bad("it has another checksum than its bytes"));
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<Header> {
    let text = bytes.get(BINARY..).unwrap_or_default();
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let json: Value = serde_json::from_slice(text)
        .map_err(|error| damaged("header", BINARY as u64, error.to_string()))?;
    if let Some(feature) = list(&json["config"]["requirements"]["mandatory"]).next() {
        return Err(unsupported(format!("a volume with {feature}")));
    }
    let (name, segment) = only_segment(&json)?;
    let digests = entries(&json["digests"]);
    let of_segment = |digest: &&Value| list(&digest["segments"]).any(|one| one == name);
    let digest_of = |slot: &str| {
        let mut all = digests.iter().map(|(_, digest)| *digest).filter(of_segment);
        all.find(|digest| list(&digest["keyslots"]).any(|one| one == slot))
    };
    let mut found = Vec::new();
    for (name, slot) in entries(&json["keyslots"]).into_iter().take(MOST_SLOTS) {
        // One that belongs to no digest of the content opens something else.
        if let Some(digest) = digest_of(name).filter(|_| slot["type"] == "luks2") {
            found.push((priority(slot), self::slot(slot, digest)?));
        }
    }
    // Those that are preferred first.
    found.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    let slots: Vec<Slot> = found.into_iter().map(|(_, slot)| slot).collect();
    let key_bytes = slots.first().map_or(64, |slot| slot.key_bytes);
    Ok(Header {
        kind: "LUKS2",
        id: Sha256::digest(bytes).into(),
        slots,
        content: content(segment, key_bytes)?,
    })
}

fn missing(what: &str) -> Error {
    damaged(
        "header",
        BINARY as u64,
        format!("{what} is missing or wrong"),
    )
}

/// The entries of a JSON object.
fn entries(object: &Value) -> Vec<(&str, &Value)> {
    let all = object.as_object().into_iter().flatten();
    all.map(|(name, value)| (name.as_str(), value)).collect()
}

/// The texts of a JSON list.
fn list(values: &Value) -> impl Iterator<Item = &str> {
    let all = values.as_array().into_iter().flatten();
    all.filter_map(Value::as_str)
}

/// A number, which the format writes as text where it may have 64 bits.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    Base64::decode_vec(value.as_str()?).ok()
}

fn priority(slot: &Value) -> u64 {
    slot["priority"].as_u64().unwrap_or(1)
}

fn hash(value: &Value) -> Result<Hash> {
    let name = value.as_str().unwrap_or_default();
    Hash::from_name(name).ok_or_else(|| unsupported(format!("hash {name}")))
}

/// The segment with the content. While a volume is being encrypted anew there are more, which are not read.
fn only_segment(json: &Value) -> Result<(&str, &Value)> {
    match entries(&json["segments"])[..] {
        [(name, segment)] if segment["type"] == "crypt" => Ok((name, segment)),
        [] => Err(missing("the segment")),
        _ => Err(unsupported("a volume that is being encrypted anew")),
    }
}

fn content(segment: &Value, key_bytes: usize) -> Result<Content> {
    if !segment["integrity"].is_null() {
        return Err(unsupported("a volume with integrity"));
    }
    let len = match segment["size"].as_str() {
        Some("dynamic") => None,
        _ => Some(number(&segment["size"]).ok_or_else(|| missing("the length of the segment"))?),
    };
    let sector = number(&segment["sector_size"]).and_then(|bytes| u32::try_from(bytes).ok());
    let sector = sector.filter(|bytes| matches!(bytes, 512 | 1024 | 2048 | 4096));
    Ok(Content {
        at: number(&segment["offset"]).ok_or_else(|| missing("the place of the segment"))?,
        len,
        first: number(&segment["iv_tweak"]).ok_or_else(|| missing("iv_tweak"))?,
        // Only the key slots have use for a hash.
        suite: suite(&segment["encryption"], key_bytes, Hash::Sha256)?,
        sector: sector.ok_or_else(|| missing("the length of sectors"))?,
    })
}

fn suite(encryption: &Value, key_bytes: usize, hash: Hash) -> Result<Suite> {
    let name = encryption
        .as_str()
        .ok_or_else(|| missing("the encryption"))?;
    Suite::named(name, key_bytes, hash).map_err(|error| of_format(&error))
}

fn slot(slot: &Value, digest: &Value) -> Result<Slot> {
    let (area, splitter) = (&slot["area"], &slot["af"]);
    if splitter["type"] != "luks1" || number(&splitter["stripes"]) != Some(STRIPES.into()) {
        return Err(unsupported("a key that is split otherwise than LUKS1 does"));
    }
    let key_bytes = |value: &Value| {
        let bytes = number(value).and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.filter(|bytes| matches!(bytes, 16 | 24 | 32 | 48 | 64));
        bytes.ok_or_else(|| missing("the length of a key"))
    };
    if digest["type"] != "pbkdf2" {
        return Err(unsupported("a digest that is not PBKDF2"));
    }
    Ok(Slot {
        derivation: derivation(&slot["kdf"], key_bytes(&area["key_size"])?)?,
        at: number(&area["offset"]).ok_or_else(|| missing("the place of a key slot"))?,
        suite: suite(
            &area["encryption"],
            key_bytes(&area["key_size"])?,
            hash(&splitter["hash"])?,
        )?,
        key_bytes: key_bytes(&slot["key_size"])?,
        digest: Digest {
            by: pbkdf2(digest)?,
            value: bytes_of(&digest["digest"])
                .filter(|value| (1..=64).contains(&value.len()))
                .ok_or_else(|| missing("a digest"))?,
        },
    })
}

fn pbkdf2(value: &Value) -> Result<Pbkdf2> {
    let iterations = number(&value["iterations"]).and_then(|count| u32::try_from(count).ok());
    Ok(Pbkdf2 {
        hash: hash(&value["hash"])?,
        iterations: iterations.ok_or_else(|| missing("the iterations"))?,
        salt: bytes_of(&value["salt"]).ok_or_else(|| missing("a salt"))?,
    })
}

fn derivation(kdf: &Value, key_bytes: usize) -> Result<Derivation> {
    let algorithm = match kdf["type"].as_str() {
        Some("pbkdf2") => return Ok(Derivation::Pbkdf2(pbkdf2(kdf)?)),
        Some("argon2i") => argon2::Algorithm::Argon2i,
        Some("argon2id") => argon2::Algorithm::Argon2id,
        _ => return Err(unsupported("a key derivation other than PBKDF2 and Argon2")),
    };
    let of = |key: &str| number(&kdf[key]).ok_or_else(|| missing(key));
    let (memory, passes, lanes) = (of("memory")?, of("time")?, of("cpus")?);
    if memory > MOST_MEMORY {
        let mib = memory >> 10;
        return Err(unsupported(format!(
            "a key slot whose derivation takes {mib} MiB of memory (more than {} MiB)",
            MOST_MEMORY >> 10
        )));
    }
    if passes > MOST_PASSES {
        return Err(Error::TooMuch {
            what: "passes of Argon2",
            most: MOST_PASSES,
        });
    }
    let [memory, passes, lanes] = [memory, passes, lanes].map(|of| u32::try_from(of).unwrap_or(0));
    let params = argon2::Params::new(memory, passes, lanes, Some(key_bytes));
    Ok(Derivation::Argon2 {
        algorithm,
        params: params.map_err(|_| missing("a parameter of Argon2"))?,
        salt: bytes_of(&kdf["salt"]).ok_or_else(|| missing("a salt"))?,
    })
}
