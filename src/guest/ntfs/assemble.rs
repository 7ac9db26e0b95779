//! A file put together: the attributes of its base record and of all records that its attribute list names, each stream
//! in one piece.

use std::collections::BTreeSet;

use super::error::not_found;
use super::file::File;
use super::record::{Attribute, Record, Reference, Value, kind};
use super::{Ntfs, runs};
use crate::error::Result;
use crate::field;

/// Bytes of an attribute list at the most, as Windows has it.
const MOST_LIST: u64 = 256 << 10;

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
