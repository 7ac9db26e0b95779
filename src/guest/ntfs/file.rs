//! A file: the attributes of its base record and of all records that its attribute list names, each stream in one piece.

use std::collections::BTreeSet;

use super::record::{Attribute, Extents, Record, Reference, Value, kind};
use super::runs;
use super::{Ntfs, damaged, not_found};
use crate::error::{Error, Result};
use crate::field;

/// Bytes of an attribute list at the most, as Windows has it.
const MOST_LIST: u64 = 256 << 10;

/// The name of the attributes that make the index of a directory.
pub(super) const INDEX_NAME: &str = "$I30";

/// A file, a directory, or what else has a base record.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) number: u64,
    pub(super) sequence: u16,
    pub(super) is_directory: bool,
    /// Where its base record is in the volume.
    pub(super) at: u64,
    /// Sorted by kind and name.
    pub(super) attributes: Vec<Attribute>,
}

impl File {
    /// Those of a kind and name.
    pub(super) fn all(&self, kind: u32, name: &str) -> impl Iterator<Item = &Attribute> {
        self.attributes
            .iter()
            .filter(move |one| one.kind == kind && one.name.iter().copied().eq(name.encode_utf16()))
    }

    /// The first of a kind and name.
    pub(super) fn find(&self, kind: u32, name: &str) -> Option<&Attribute> {
        self.all(kind, name).next()
    }

    /// The values of a kind that are resident.
    pub(super) fn resident(&self, kind: u32) -> impl Iterator<Item = &[u8]> {
        self.all(kind, "").filter_map(|one| match &one.value {
            Value::Resident(value) => Some(&value[..]),
            Value::NonResident(_) => None,
        })
    }

    /// The content of a regular file: the stream without a name.
    pub(super) fn data(&self) -> Option<&Attribute> {
        self.find(kind::DATA, "")
    }

    /// What is wrong with it.
    pub(super) fn damaged(&self, problem: impl Into<String>) -> Error {
        damaged(
            format!("MFT record {}", self.number),
            self.at,
            problem.into(),
        )
    }

    /// Bytes it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        let of = |one: &Attribute| {
            let value = match &one.value {
                Value::Resident(value) => value.len(),
                Value::NonResident(extents) => extents.runs.len() * size_of::<runs::Run>(),
            };
            value + size_of::<Attribute>()
        };
        self.attributes.iter().map(of).sum::<usize>() + size_of::<Self>()
    }
}

impl Ntfs {
    /// Puts a file together. With `is_partial` it is as much as can be read, which is how the master file table itself
    /// is found.
    ///
    /// # Errors
    /// [`Error::NotFound`] where no file has this number; when its records are damaged or cannot be read.
    pub(super) fn assemble(&self, number: u64, is_partial: bool) -> Result<File> {
        let base = self.record(number)?.ok_or_else(|| not_found(number))?;
        if base.base.is_some() {
            return Err(not_found(number));
        }
        let mut file = File {
            number,
            sequence: base.sequence,
            is_directory: base.is_directory,
            at: self.record_place(number),
            attributes: base.attributes,
        };
        for other in self.listed(&file)? {
            let record = match self.record(other) {
                Err(_) if is_partial => continue,
                record => record?,
            };
            match record.filter(|record| is_part(record, &file)) {
                Some(record) => file.attributes.extend(record.attributes),
                None if is_partial => {}
                None => {
                    return Err(file.damaged(format!(
                        "its attribute list names record {other}, which is no part of it"
                    )));
                }
            }
        }
        file.attributes = joined(&mut file, is_partial)?;
        Ok(file)
    }

    /// The other records that the attribute list of a file names.
    fn listed(&self, file: &File) -> Result<BTreeSet<u64>> {
        let Some(list) = file.find(kind::ATTRIBUTE_LIST, "") else {
            return Ok(BTreeSet::new());
        };
        let list = self.value(file, list, MOST_LIST)?;
        let mut found = BTreeSet::new();
        let mut rest = &list[..];
        while rest.len() >= 26 {
            let len = usize::from(u16::from_le_bytes(field(rest, 4)));
            let reference = Reference::new(u64::from_le_bytes(field(rest, 16)));
            if len < 26 {
                return Err(file.damaged(format!("an entry of {len} bytes in its attribute list")));
            }
            if reference.number != file.number {
                found.insert(reference.number);
            }
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(found)
    }
}

fn is_part(record: &Record, of: &File) -> bool {
    let file = Reference {
        number: of.number,
        sequence: of.sequence,
    };
    record.base == Some(file)
}

/// The attributes of a file with the parts of each stream joined.
fn joined(file: &mut File, is_partial: bool) -> Result<Vec<Attribute>> {
    let mut parts = std::mem::take(&mut file.attributes);
    let first = |one: &Attribute| match &one.value {
        Value::Resident(_) => 0,
        Value::NonResident(extents) => extents.first,
    };
    parts.sort_by(|one, other| {
        (one.kind, &one.name, first(one)).cmp(&(other.kind, &other.name, first(other)))
    });
    let mut whole: Vec<Attribute> = Vec::with_capacity(parts.len());
    for part in parts {
        let at = first(&part);
        let before = whole
            .last_mut()
            .filter(|before| at > 0 && (before.kind, &before.name) == (part.kind, &part.name));
        match (before.map(|before| &mut before.value), part.value) {
            (Some(Value::NonResident(before)), Value::NonResident(more))
                if runs::end(&before.runs) == at =>
            {
                runs::append(&mut before.runs, more.runs)?;
            }
            (_, value) if at == 0 => whole.push(Attribute { value, ..part }),
            _ if is_partial => {}
            _ => {
                let kind = part.kind;
                return Err(file.damaged(format!(
                    "attribute {kind:#x} from cluster {at} on, and nothing before it"
                )));
            }
        }
    }
    Ok(whole)
}

/// A stream that is not resident.
pub(super) fn extents(attribute: &Attribute) -> Option<&Extents> {
    match &attribute.value {
        Value::NonResident(extents) => Some(extents),
        Value::Resident(_) => None,
    }
}
