//! What the metadata of a volume group says: its physical volumes, and its logical volumes in segments.

use std::collections::HashMap;

use crate::error::Result;

use super::error::damaged;
use super::text::{self, Section, Value};

const SECTOR: u64 = 512;
/// Characters of a name, as LVM2 has it.
const MOST_NAME: usize = 127;

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its name, a plain word.
    pub(crate) name: String,
    /// What tells it from another of that name.
    pub(crate) id: String,
    /// Counts how often it was changed.
    pub(crate) sequence: u64,
    /// Bytes of an extent.
    pub(super) extent: u64,
    /// Its physical volumes by the names that segments call them by.
    pub(super) physical: HashMap<String, Physical>,
    /// Its logical volumes in the order they are written.
    pub(super) logical: Vec<Volume>,
}

/// A physical volume as its group knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Physical {
    /// Its identifier, without hyphens.
    pub(super) id: String,
    /// Where its extents begin, in bytes.
    pub(super) start: u64,
    /// How many there are.
    pub(super) count: u64,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Volume {
    /// Its name, a plain word.
    pub(super) name: String,
    /// Whether it is for people, and no part of another one.
    pub(super) is_visible: bool,
    /// Its segments.
    pub(super) segments: Vec<Segment>,
}

/// A part of a logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its first extent in the volume.
    pub(super) start: u64,
    /// How many there are.
    pub(super) count: u64,
    /// How they are stored: `striped`, `thin`.
    pub(super) kind: String,
    /// Where they are, and what else is said of them.
    pub(super) stripes: Vec<Stripe>,
    /// All texts of the segment with their keys: names of volumes are among them.
    pub(super) names: Vec<(String, String)>,
}

/// Where a segment's extents are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stripe {
    /// The physical volume, or a logical one.
    pub(super) on: String,
    /// The first extent there.
    pub(super) start: u64,
}

impl Group {
    /// Reads the metadata that was found at a place of a physical volume.
    ///
    /// # Errors
    /// When it is not what LVM2 writes.
    pub(crate) fn parse(text: &[u8], at: u64) -> Result<Self> {
        let bad = |problem: String| damaged("metadata", at, problem);
        let whole = text::parse(text).map_err(|wrong| bad(wrong.to_string()))?;
        let missing = |key: &str| bad(format!("{key} is missing or wrong"));
        let (name, group) = whole
            .sections()
            .next()
            .ok_or_else(|| missing("the group"))?;
        if !is_name(name) {
            return Err(missing("the name of the group"));
        }
        let number = |section: &Section, key| section.number(key).ok_or_else(|| missing(key));
        let extent = number(group, "extent_size")?
            .checked_mul(SECTOR)
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| missing("extent_size"))?;
        let mut physical = HashMap::new();
        let none = Section::default();
        for (name, one) in group
            .section("physical_volumes")
            .unwrap_or(&none)
            .sections()
        {
            let found = Physical {
                id: one
                    .text("id")
                    .ok_or_else(|| missing("id"))?
                    .replace('-', ""),
                start: number(one, "pe_start")?.saturating_mul(SECTOR),
                count: number(one, "pe_count")?,
            };
            physical.insert(name.to_owned(), found);
        }
        let mut logical = Vec::new();
        for (name, one) in group.section("logical_volumes").unwrap_or(&none).sections() {
            if !is_name(name) {
                return Err(missing("the name of a logical volume"));
            }
            let segments = one.sections().map(|(_, segment)| Segment::of(segment));
            let segments: Option<Vec<_>> = segments.collect();
            logical.push(Volume {
                name: name.to_owned(),
                is_visible: has(one.list("status"), "VISIBLE"),
                segments: segments.ok_or_else(|| missing(&format!("a segment of {name}")))?,
            });
        }
        Ok(Self {
            name: name.to_owned(),
            id: group.text("id").ok_or_else(|| missing("id"))?.to_owned(),
            sequence: number(group, "seqno")?,
            extent,
            physical,
            logical,
        })
    }

    /// Whether the physical volume with this identifier belongs to it.
    pub(crate) fn has(&self, physical: &str) -> bool {
        self.physical.values().any(|known| known.id == physical)
    }
}

impl Segment {
    fn of(section: &Section) -> Option<Self> {
        let pairs = section.list("stripes").unwrap_or_default().chunks_exact(2);
        let stripes = pairs.map(|pair| match pair {
            [Value::Text(on), Value::Number(start)] => Some(Stripe {
                on: on.clone(),
                start: *start,
            }),
            _ => None,
        });
        let names = section.texts();
        Some(Self {
            start: section.number("start_extent")?,
            count: section.number("extent_count")?,
            kind: section.text("type")?.to_owned(),
            stripes: stripes.collect::<Option<_>>()?,
            names: names
                .map(|(key, text)| (key.to_owned(), text.to_owned()))
                .collect(),
        })
    }
}

fn has(list: Option<&[Value]>, word: &str) -> bool {
    let mut all = list.unwrap_or_default().iter();
    all.any(|value| matches!(value, Value::Text(text) if text == word))
}

/// Whether LVM2 takes it for a name: a plain word, in no way a path or an option.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.+-".contains(c);
    (1..=MOST_NAME).contains(&name.len())
        && name.chars().all(is_plain)
        && !name.starts_with('-')
        && !matches!(name, "." | "..")
}
