//! A file, and its attributes.

use super::error::damaged;
use super::record::{Attribute, Extents, Value, kind};
use super::runs;
use crate::error::Error;

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

/// A stream that is not resident.
pub(super) fn extents(attribute: &Attribute) -> Option<&Extents> {
    match &attribute.value {
        Value::NonResident(extents) => Some(extents),
        Value::Resident(_) => None,
    }
}
