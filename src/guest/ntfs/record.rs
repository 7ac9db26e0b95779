//! Records of the master file table and the attributes in them. Names of fields as in the kernel's `fs/ntfs3/ntfs.h`.

use super::error::Checked;
use super::fixup;
use super::runs::{self, Run};
use crate::field;

/// Kinds of attributes.
pub(super) mod kind {
    pub(in super::super) const STANDARD_INFORMATION: u32 = 0x10;
    pub(in super::super) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(in super::super) const FILE_NAME: u32 = 0x30;
    pub(in super::super) const VOLUME_NAME: u32 = 0x60;
    pub(in super::super) const VOLUME_INFORMATION: u32 = 0x70;
    pub(in super::super) const DATA: u32 = 0x80;
    pub(in super::super) const INDEX_ROOT: u32 = 0x90;
    pub(in super::super) const INDEX_ALLOCATION: u32 = 0xa0;
    pub(in super::super) const BITMAP: u32 = 0xb0;
    pub(in super::super) const REPARSE_POINT: u32 = 0xc0;
    pub(super) const END: u32 = 0xffff_ffff;
}

/// The number and the sequence number of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) number: u64,
    pub(super) sequence: u16,
}

impl Reference {
    pub(super) fn new(raw: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = raw.to_le_bytes();
        Self {
            number: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]),
            sequence: u16::from_le_bytes([g, h]),
        }
    }
}

/// An attribute as one record holds it.
#[derive(Debug, Clone)]
pub(super) struct Attribute {
    pub(super) kind: u32,
    pub(super) name: Vec<u16>,
    pub(super) flags: Flags,
    pub(super) value: Value,
}

/// How a stream is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags(pub(super) u16);

impl Flags {
    pub(super) fn is_compressed(self) -> bool {
        self.0 & 0x00ff != 0
    }

    pub(super) fn is_encrypted(self) -> bool {
        self.0 & 0x4000 != 0
    }
}

/// Where the value of an attribute is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// In the record.
    Resident(Vec<u8>),
    /// In clusters.
    NonResident(Extents),
}

/// A stream that is stored in clusters, or a part of one.
#[derive(Debug, Clone, Default)]
pub(super) struct Extents {
    pub(super) runs: Vec<Run>,
    /// The first cluster that is told of here.
    pub(super) first: u64,
    /// Bytes of it. This and what follows is told where `first` is 0.
    pub(super) size: u64,
    /// Bytes that were written; the rest is zeros.
    pub(super) initialized: u64,
    /// The power of two of clusters that are compressed together; 0 where none are.
    pub(super) compression_unit: u8,
}

/// A record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) sequence: u16,
    /// The record that this is a part of; none of a base record.
    pub(super) base: Option<Reference>,
    pub(super) is_directory: bool,
    pub(super) attributes: Vec<Attribute>,
}

/// What a record says before its attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) is_in_use: bool,
    pub(super) base: Option<Reference>,
}

impl Header {
    /// Of the bytes of a record; none where no record was written.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        (field::<4>(bytes, 0) == *b"FILE").then(|| Self {
            is_in_use: u16::from_le_bytes(field(bytes, 22)) & 1 != 0,
            base: base(bytes),
        })
    }
}

/// `parent_ref`. The first record of all has number 0 and parts as well, so a base record is one with nothing here.
fn base(record: &[u8]) -> Option<Reference> {
    match u64::from_le_bytes(field(record, 32)) {
        0 => None,
        raw => Some(Reference::new(raw)),
    }
}

impl Record {
    /// Reads a record; none where no record was written. `clusters` are those of the volume.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(mut bytes: Vec<u8>, clusters: u64) -> Checked<Option<Self>> {
        // What was never used is zeros, or has no more than a name.
        if field::<4>(&bytes, 0) == [0; 4] {
            return Ok(None);
        }
        let is_in_use = Header::of(&bytes).is_none_or(|header| header.is_in_use);
        if !is_in_use {
            return Ok(None);
        }
        fixup::apply(&mut bytes, *b"FILE")?;
        let flags = u16::from_le_bytes(field(&bytes, 22));
        let first = usize::from(u16::from_le_bytes(field(&bytes, 20)));
        let used = u32::from_le_bytes(field(&bytes, 24));
        let used = usize::try_from(used).unwrap_or(usize::MAX);
        let body = bytes.get(..used).ok_or_else(|| format!("used is {used}"))?;
        Ok(Some(Self {
            sequence: u16::from_le_bytes(field(body, 16)),
            base: base(body),
            is_directory: flags & 2 != 0,
            attributes: attributes(body, first, clusters)?,
        }))
    }
}

fn attributes(body: &[u8], first: usize, clusters: u64) -> Checked<Vec<Attribute>> {
    let mut found = Vec::new();
    let mut at = first;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        if rest.len() < 4 {
            return Err("its attributes have no end".to_owned());
        }
        let kind = u32::from_le_bytes(field(rest, 0));
        if kind == kind::END {
            return Ok(found);
        }
        let len = usize::try_from(u32::from_le_bytes(field(rest, 4))).unwrap_or(usize::MAX);
        let bytes = rest.get(..len).filter(|bytes| bytes.len() >= 24);
        let bytes = bytes.ok_or_else(|| format!("attribute {kind:#x} of {len} bytes"))?;
        let attribute = attribute(bytes, kind, clusters)
            .map_err(|problem| format!("attribute {kind:#x}: {problem}"))?;
        found.push(attribute);
        at += len;
    }
}

fn attribute(bytes: &[u8], kind: u32, clusters: u64) -> Checked<Attribute> {
    let [is_non_resident, name_len] = field(bytes, 8);
    let part = |at: usize, len: usize, what: &str| {
        bytes
            .get(at..at.saturating_add(len))
            .ok_or_else(|| format!("{what} of {len} bytes at byte {at}"))
    };
    let name_at = usize::from(u16::from_le_bytes(field(bytes, 10)));
    let name = part(name_at, usize::from(name_len) * 2, "a name")?;
    let value = if is_non_resident == 0 {
        let len = usize::try_from(u32::from_le_bytes(field(bytes, 16))).unwrap_or(usize::MAX);
        let at = usize::from(u16::from_le_bytes(field(bytes, 20)));
        Value::Resident(part(at, len, "a value")?.to_vec())
    } else {
        let long = |at| u64::from_le_bytes(field(bytes, at));
        let (first, last) = (long(16), long(24));
        let pairs_at = usize::from(u16::from_le_bytes(field(bytes, 32)));
        let pairs = bytes
            .get(pairs_at..)
            .filter(|_| pairs_at >= 64)
            .ok_or_else(|| format!("mapping pairs at byte {pairs_at}"))?;
        if first >= 1 << 56 {
            return Err(format!("svcn is {first}"));
        }
        let runs = runs::decode(pairs, first, clusters)?;
        let end = runs.last().map_or(first, |run| run.vcn + run.count);
        // An empty stream ends before its first cluster.
        if end != last.wrapping_add(1) {
            return Err(format!("evcn is {last}, and its runs end at {end}"));
        }
        let [compression_unit] = field(bytes, 34);
        Value::NonResident(Extents {
            runs,
            first,
            size: long(48),
            initialized: long(56),
            compression_unit,
        })
    };
    Ok(Attribute {
        kind,
        name: crate::utf16::units(name),
        flags: Flags(u16::from_le_bytes(field(bytes, 12))),
        value,
    })
}
