//! How to change the header of an existing image so that a crash at any moment leaves the old header
//! or the new one.
//!
//! Everything here is a computation on the first cluster's bytes; whoever has the file writes the
//! steps, with a flush after each. Bytes that need not change are never changed: header fields and
//! extensions this program does not know stay as they are, in their order. Only the feature name
//! table, which is advice for error messages, is dropped when there is no room otherwise.

use super::address::HostOffset;
use super::error::FormatError;
use super::extension::{
    BACKING_FORMAT, BITMAPS, BitmapsExtension, DATA_FILE, Extension, FEATURE_NAMES,
};
use super::feature::{self, Autoclear, Compatible, Incompatible};
use super::geometry::Geometry;
use super::header::{BackingName, CompressionType, Header, Version};
use super::limits;

/// What a disk writes as a whole or not at all, in bytes.
const SECTOR: usize = 512;
/// Names stay within this many bytes from the start, in whatever cluster size.
const NAME_LIMIT: usize = 32 << 10;

/// Bytes to be written at an offset of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where, in bytes from the start of the file.
    pub offset: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// Writes that may reach the disk in any order; a flush belongs before and after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The writes. The last step of a rewrite has exactly one, inside one aligned 512-byte sector,
    /// unless only the place of bitmaps changes that are out of date anyway.
    pub writes: Vec<Write>,
}

/// What becomes of the backing file's name and format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackingEdit {
    /// Neither is recorded any more.
    Remove,
    /// Both are replaced.
    Set {
        /// The name's bytes, 1 to 1023.
        name: Vec<u8>,
        /// The format's name, at most 15 bytes; `None` records no format.
        format: Option<Vec<u8>>,
    },
}

/// What is to change in a header; whatever is `None` stays. All of it is switched over at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderEdit {
    /// Place and entries of the active L1 table.
    pub l1: Option<(HostOffset, u32)>,
    /// Place and clusters of the refcount table.
    pub refcount_table: Option<(HostOffset, u32)>,
    /// Place of the snapshot table and number of snapshots.
    pub snapshots: Option<(HostOffset, u32)>,
    /// The virtual size in bytes.
    pub virtual_size: Option<u64>,
    /// The version. Version 2 has no feature bits and refcounts of 16 bits; what else it cannot hold
    /// is the caller's business. The feature name table comes and goes with version 3.
    pub version: Option<Version>,
    /// The refcount width, as a power of two; the refcount table has to be another one then.
    pub refcount_order: Option<u32>,
    /// The codec of compressed clusters, with its incompatible bit.
    pub compression: Option<CompressionType>,
    /// The incompatible features. Bits that change how the rest is read belong to no edit.
    pub incompatible: Option<Incompatible>,
    /// The compatible features.
    pub compatible: Option<Compatible>,
    /// The autoclear features.
    pub autoclear: Option<Autoclear>,
    /// Name and format of the backing file.
    pub backing: Option<BackingEdit>,
    /// The recorded name of the external data file; an empty one is removed.
    pub data_file: Option<Vec<u8>>,
    /// Where the bitmap directory is; `Some(None)` for no bitmaps at all.
    pub bitmaps: Option<Option<BitmapsExtension>>,
}

impl HeaderEdit {
    /// Whether the extensions or where they start change, so that the header is laid out anew.
    fn lays_out_anew(&self, old: &Header) -> bool {
        let longer =
            self.compression.is_some() && old.header_length <= limits::MIN_V3_HEADER_LENGTH;
        self.version.is_some_and(|version| version != old.version)
            || longer
            || self.backing.is_some()
            || self.data_file.is_some()
            || self.bitmaps.is_some()
    }
}

/// The bytes of the new header, and where its parts that a reader needs are.
struct Layout {
    extensions: Vec<Extension>,
    /// Where the name goes; 0 for none.
    name_at: usize,
}

/// Computes the steps that change the header in `first_cluster`, which holds the whole first cluster
/// (bytes beyond the end of the file as zero). No steps: there is nothing to change.
///
/// # Errors
/// Whatever [`Header::parse`] refuses, before or after the edit; [`FormatError::NoSpaceInHeader`] if
/// the name or the format does not fit or cannot be placed without endangering the old header.
pub fn rewrite(first_cluster: &[u8], edit: &HeaderEdit) -> Result<Vec<Step>, FormatError> {
    let old = Header::parse(first_cluster)?;
    let cluster =
        first_cluster
            .get(..old.geometry.cluster_len())
            .ok_or(FormatError::Truncated {
                field: "the first cluster",
                needed: old.geometry.cluster_size(),
                have: first_cluster.len() as u64,
            })?;
    let mut wanted = apply_fields(&old, edit)?;
    let live = live_ranges(&old);

    if !edit.lays_out_anew(&old) {
        let mut bytes = cluster.to_vec();
        patch_fields(&mut bytes, &wanted)?;
        return steps(cluster, &bytes, &live, &wanted).ok_or_else(no_room);
    }
    let name = match &edit.backing {
        Some(BackingEdit::Remove) => None,
        Some(BackingEdit::Set { name, .. }) => Some(name.as_slice()),
        None => old.backing.as_ref().map(|backing| backing.name.as_slice()),
    };
    if let Some(backing) = &edit.backing {
        check_lengths(backing)?;
    }
    let mut has_room = false;
    for extensions in extension_candidates(&old, edit) {
        let end = extensions.iter().fold(
            usize::try_from(wanted.header_length).unwrap_or(usize::MAX),
            |sum, e| sum.saturating_add(e.encoded_len()),
        );
        if end > cluster.len() {
            continue;
        }
        for name_at in name_candidates(&old, name, end, cluster.len()) {
            let layout = Layout {
                extensions: extensions.clone(),
                name_at,
            };
            let name = name.unwrap_or_default();
            wanted.extensions.clone_from(&layout.extensions);
            wanted.backing = (name_at != 0).then(|| BackingName {
                offset: name_at as u64,
                name: name.to_vec(),
            });
            let Some(bytes) = render(cluster, &wanted, &layout, name) else {
                continue;
            };
            match steps(cluster, &bytes, &live, &wanted) {
                Some(steps) => return Ok(steps),
                None => has_room = true,
            }
        }
    }
    if edit.backing.is_none() && has_room {
        return Err(FormatError::Inconsistent {
            reason: "the header extensions cannot be switched over by writing one sector",
        });
    }
    Err(FormatError::NoSpaceInHeader {
        what: match (&edit.backing, has_room) {
            (Some(_), true) => "a new backing name beside the old one",
            (Some(_), false) => "the backing file name",
            (None, _) => "the header extensions",
        },
        needed: name.map_or(0, <[u8]>::len) as u64,
        available: (cluster.len() as u64)
            .saturating_sub(live.iter().map(|(from, to)| (to - from) as u64).sum()),
    })
}

fn no_room() -> FormatError {
    FormatError::Inconsistent {
        reason: "the edit and the rest of the header contradict each other",
    }
}

fn check_lengths(backing: &BackingEdit) -> Result<(), FormatError> {
    let BackingEdit::Set { name, format } = backing else {
        return Ok(());
    };
    if name.is_empty() {
        return Err(FormatError::Inconsistent {
            reason: "the new backing file name is empty",
        });
    }
    let no_space = |what, needed: usize, available: usize| FormatError::NoSpaceInHeader {
        what,
        needed: needed as u64,
        available: available as u64,
    };
    if name.len() > limits::MAX_BACKING_NAME_BYTES {
        return Err(no_space(
            "the backing file name",
            name.len(),
            limits::MAX_BACKING_NAME_BYTES,
        ));
    }
    match format {
        Some(format) if format.len() > limits::MAX_BACKING_FORMAT_BYTES => Err(no_space(
            "the backing format",
            format.len(),
            limits::MAX_BACKING_FORMAT_BYTES,
        )),
        _ => Ok(()),
    }
}

/// The header as it is to be, the backing name still as it was.
fn apply_fields(old: &Header, edit: &HeaderEdit) -> Result<Header, FormatError> {
    let mut new = old.clone();
    if let Some((offset, entries)) = edit.l1 {
        (new.l1_offset, new.l1_entries) = (offset, entries);
    }
    if let Some((offset, clusters)) = edit.refcount_table {
        (new.refcount_table_offset, new.refcount_table_clusters) = (offset, clusters);
    }
    if let Some((offset, count)) = edit.snapshots {
        (new.snapshots_offset, new.snapshot_count) = (offset, count);
    }
    if let Some(size) = edit.virtual_size {
        new.recorded_size = size;
    }
    if let Some(version) = edit.version.filter(|version| *version != old.version) {
        new.version = version;
        (new.header_length, new.unknown_fields) = match version {
            Version::V2 => (limits::V2_HEADER_LENGTH, Vec::new()),
            Version::V3 => (limits::NEW_HEADER_LENGTH, vec![0; 7]),
        };
    }
    if let Some(order) = edit.refcount_order {
        let geometry = old.geometry;
        new.geometry = Geometry::new(geometry.cluster_bits(), order, geometry.extended_l2())?;
    }
    new.incompatible = edit.incompatible.unwrap_or(new.incompatible);
    if let Some(compression) = edit.compression {
        new.compression = compression;
        let bit = compression != CompressionType::Zlib;
        new.incompatible.set(Incompatible::COMPRESSION_TYPE, bit);
        if new.version == Version::V3 && new.header_length == limits::MIN_V3_HEADER_LENGTH {
            (new.header_length, new.unknown_fields) = (limits::NEW_HEADER_LENGTH, vec![0; 7]);
        }
    }
    new.compatible = edit.compatible.unwrap_or(new.compatible);
    new.autoclear = edit.autoclear.unwrap_or(new.autoclear);
    let no_bits =
        new.incompatible.is_empty() && new.compatible.is_empty() && new.autoclear.is_empty();
    if new.version == Version::V2 && !no_bits {
        return Err(FormatError::Inconsistent {
            reason: "version 2 has no feature bits",
        });
    }
    if new.version == Version::V2 && new.geometry.refcount_bits() != 16 {
        return Err(FormatError::Inconsistent {
            reason: "version 2 has refcounts of 16 bits only",
        });
    }
    Ok(new)
}

/// What the old header is read from: nothing of it may change before the switch.
fn live_ranges(old: &Header) -> Vec<(usize, usize)> {
    let mut live = Vec::with_capacity(2);
    let mut from = 0;
    let mut area = usize::try_from(old.header_length).unwrap_or(usize::MAX);
    for extension in &old.extensions {
        // Where the directory of outdated bitmaps was is not looked at.
        if extension.magic == BITMAPS && !old.autoclear.contains(Autoclear::BITMAPS) {
            live.push((from, area.saturating_add(8)));
            from = area.saturating_add(extension.encoded_len());
        }
        area = area.saturating_add(extension.encoded_len());
    }
    let with_marker = area.saturating_add(8);
    match &old.backing {
        Some(backing) => {
            let at = usize::try_from(backing.offset).unwrap_or(usize::MAX);
            // A name that cuts off the end marker ends the extensions itself.
            live.push((from, if at < area { area } else { with_marker.min(at) }));
            live.push((at, at.saturating_add(backing.name.len())));
        }
        None => live.push((from, with_marker)),
    }
    live
}

/// Where the extensions of the old header end, their end marker included.
fn area_end(old: &Header) -> usize {
    let live = live_ranges(old);
    let name = usize::from(old.backing.is_some());
    let area = live.len().checked_sub(1 + name).and_then(|at| live.get(at));
    area.map_or(0, |range| range.1)
}

/// The lists of extensions worth trying, best first.
fn extension_candidates(old: &Header, edit: &HeaderEdit) -> Vec<Vec<Extension>> {
    let mut lists = vec![old.extensions.clone()];
    if let Some(backing) = &edit.backing {
        let format = match backing {
            BackingEdit::Remove => None,
            BackingEdit::Set { format, .. } => format.clone(),
        };
        lists = with_extension(lists, BACKING_FORMAT, format.as_deref());
    }
    if let Some(name) = &edit.data_file {
        let name = Some(name.as_slice()).filter(|name| !name.is_empty());
        lists = with_extension(lists, DATA_FILE, name);
    }
    if let Some(bitmaps) = &edit.bitmaps {
        let data = bitmaps.map(|bitmaps| bitmaps.encode().data);
        lists = with_extension(lists, BITMAPS, data.as_deref());
        // Last is where it moves nothing that is there.
        lists.reverse();
    }
    let is_names = |e: &Extension| e.magic == FEATURE_NAMES;
    match edit.version.filter(|version| *version != old.version) {
        Some(Version::V2) => {
            for list in &mut lists {
                list.retain(|e| !is_names(e));
            }
        }
        Some(Version::V3) if old.geometry.cluster_size() > 4096 => {
            let names = feature::encode_names(&feature::standard_names());
            let plain = lists.clone();
            lists = with_extension(lists, FEATURE_NAMES, Some(&names));
            lists.reverse();
            lists.extend(plain);
        }
        Some(Version::V3) | None => {}
    }
    let without_names: Vec<Vec<Extension>> = lists
        .iter()
        .filter(|list| list.iter().any(is_names))
        .map(|list| list.iter().filter(|e| !is_names(e)).cloned().collect())
        .collect();
    lists.extend(without_names);
    lists
}

/// Each list with this data in the extension of that kind, or without it. Where it is new: first,
/// which is where QEMU puts most, and last, which moves nothing that is there.
fn with_extension(
    lists: Vec<Vec<Extension>>,
    magic: u32,
    data: Option<&[u8]>,
) -> Vec<Vec<Extension>> {
    let mut all = Vec::new();
    for mut list in lists {
        let Some(data) = data else {
            list.retain(|e| e.magic != magic);
            all.push(list);
            continue;
        };
        let new = Extension {
            magic,
            data: data.to_vec(),
        };
        // Of several, the last one counts.
        if let Some(existing) = list.iter_mut().rev().find(|e| e.magic == magic) {
            *existing = new;
            all.push(list);
        } else {
            let mut last = list.clone();
            list.insert(0, new.clone());
            last.push(new);
            all.push(list);
            all.push(last);
        }
    }
    all
}

/// The places for the name worth trying, best first, for extensions that end at `end` (without their
/// end marker).
fn name_candidates(old: &Header, name: Option<&[u8]>, end: usize, cluster: usize) -> Vec<usize> {
    let Some(name) = name else {
        return vec![0];
    };
    let with_marker = end.saturating_add(8);
    let mut places = Vec::new();
    let (mut old_at, mut old_end) = (0, 0);
    if let Some(backing) = &old.backing {
        old_at = usize::try_from(backing.offset).unwrap_or(usize::MAX);
        old_end = old_at.saturating_add(backing.name.len());
        if backing.name == name {
            places.push(old_at);
        }
    }
    let old_area_end = area_end(old);
    places.push(with_marker);
    places.push(with_marker.max(SECTOR));
    places.push(
        with_marker
            .max(old_area_end)
            .max(SECTOR)
            .next_multiple_of(8),
    );
    places.push(
        with_marker
            .max(old_end)
            .max(old_area_end)
            .next_multiple_of(8),
    );
    // Where space is short: the old name's gap, and right behind the extensions without a marker.
    places.push(old_at.saturating_sub(name.len()));
    places.push(end);
    places.retain(|at| {
        let marker_fits = *at == end || *at >= with_marker;
        let name_end = at.saturating_add(name.len());
        *at != 0 && marker_fits && name_end <= cluster.min(NAME_LIMIT)
    });
    places
}

/// Puts the fixed fields of `header` into `bytes`, nothing else.
fn patch_fields(bytes: &mut [u8], header: &Header) -> Result<(), FormatError> {
    let mut patch = |at: usize, field: &[u8]| -> Result<(), FormatError> {
        bytes
            .get_mut(at..at.saturating_add(field.len()))
            .ok_or_else(no_room)?
            .copy_from_slice(field);
        Ok(())
    };
    let (name_at, name_len) = header
        .backing
        .as_ref()
        .map_or((0, 0), |b| (b.offset, b.name.len()));
    let name_len = u32::try_from(name_len).map_err(|_| no_room())?;
    patch(4, &header.version.number().to_be_bytes())?;
    patch(8, &name_at.to_be_bytes())?;
    patch(16, &name_len.to_be_bytes())?;
    patch(24, &header.recorded_size.to_be_bytes())?;
    patch(36, &header.l1_entries.to_be_bytes())?;
    patch(40, &header.l1_offset.get().to_be_bytes())?;
    patch(48, &header.refcount_table_offset.get().to_be_bytes())?;
    patch(56, &header.refcount_table_clusters.to_be_bytes())?;
    patch(60, &header.snapshot_count.to_be_bytes())?;
    patch(64, &header.snapshots_offset.get().to_be_bytes())?;
    if header.version == Version::V3 {
        patch(72, &header.incompatible.bits().to_be_bytes())?;
        patch(80, &header.compatible.bits().to_be_bytes())?;
        patch(88, &header.autoclear.bits().to_be_bytes())?;
        patch(96, &header.geometry.refcount_order().to_be_bytes())?;
        patch(100, &header.header_length.to_be_bytes())?;
        if header.header_length > limits::MIN_V3_HEADER_LENGTH {
            patch(104, &[header.compression.code()])?;
            patch(105, &header.unknown_fields)?;
        }
    }
    Ok(())
}

/// The first cluster with the new header in it; bytes that belong to neither stay.
fn render(cluster: &[u8], wanted: &Header, layout: &Layout, name: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = cluster.to_vec();
    patch_fields(&mut bytes, wanted).ok()?;
    let start = usize::try_from(wanted.header_length).ok()?;
    let mut area = Vec::new();
    for extension in &layout.extensions {
        extension.encode_into(&mut area).ok()?;
    }
    let end = start.checked_add(area.len())?;
    let limit = if layout.name_at == 0 {
        cluster.len()
    } else {
        layout.name_at
    };
    if end < limit {
        area.extend_from_slice(&[0; 8]);
    }
    let area_end = start.checked_add(area.len())?;
    if area_end > limit {
        return None;
    }
    bytes.get_mut(start..area_end)?.copy_from_slice(&area);
    if layout.name_at != 0 {
        bytes
            .get_mut(layout.name_at..layout.name_at.checked_add(name.len())?)?
            .copy_from_slice(name);
    }
    Some(bytes)
}

/// The steps from `old` to `new`, if what the old header is read from changes in one sector only.
fn steps(old: &[u8], new: &[u8], live: &[(usize, usize)], wanted: &Header) -> Option<Vec<Step>> {
    if Header::parse(new).ok()? != *wanted {
        return None;
    }
    let changed: Vec<usize> = old
        .iter()
        .zip(new)
        .enumerate()
        .filter_map(|(at, (before, after))| (before != after).then_some(at))
        .collect();
    let is_live = |at: &usize| live.iter().any(|(from, to)| (*from..*to).contains(at));
    let mut sectors: Vec<usize> = changed
        .iter()
        .filter(|at| is_live(at))
        .map(|at| at / SECTOR)
        .collect();
    sectors.dedup();
    let Some(switch) = sectors.first().copied() else {
        // Nothing a reader looks at changes.
        let is_same = Header::parse(old).ok()? == *wanted;
        let writes = if is_same {
            Vec::new()
        } else {
            runs(&changed, new)
        };
        let step = (!writes.is_empty()).then_some(Step { writes });
        return Some(step.into_iter().collect());
    };
    if sectors.iter().any(|sector| *sector != switch) {
        return None;
    }
    let (last, first): (Vec<usize>, Vec<usize>) =
        changed.iter().partition(|at| *at / SECTOR == switch);
    let mut steps = Vec::with_capacity(2);
    let before = runs(&first, new);
    if !before.is_empty() {
        steps.push(Step { writes: before });
    }
    let span = *last.first()?..last.last()?.checked_add(1)?;
    steps.push(Step {
        writes: vec![Write {
            offset: span.start as u64,
            bytes: new.get(span)?.to_vec(),
        }],
    });
    Some(steps)
}

/// Changed positions as writes; neighbours in one sector become one.
fn runs(changed: &[usize], new: &[u8]) -> Vec<Write> {
    changed
        .chunk_by(|a, b| a / SECTOR == b / SECTOR)
        .filter_map(|chunk| {
            let span = *chunk.first()?..chunk.last()?.checked_add(1)?;
            Some(Write {
                offset: span.start as u64,
                bytes: new.get(span)?.to_vec(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
