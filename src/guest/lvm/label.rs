//! A physical volume: its label in one of the first four sectors, its metadata areas, and the texts in them.

use crate::block::BlockSource;
use crate::error::{Error, Result};
use crate::field;

use super::checksum::checksum;
use super::error::damaged;
use super::group::Group;

const SECTOR: u64 = 512;
/// Sectors that the label may be in.
const SECTORS: u64 = 4;
/// The label's own CRC covers what follows it.
const LABEL_SUMMED: usize = 20;
/// Bytes of an identifier.
const ID: usize = 32;
/// Metadata areas looked at, as LVM2 makes two at the most.
const MOST_AREAS: usize = 8;
/// Bytes of a metadata area's header.
const AREA_HEADER: u64 = 512;
const AREA_MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
/// Bytes of a text that is read; LVM2 makes areas of 1 MiB.
const MOST_TEXT: u64 = 4 << 20;

/// What a physical volume says of itself.
#[derive(Debug)]
pub(crate) struct PhysicalVolume {
    /// Its identifier: 32 letters and digits.
    pub(crate) id: String,
    /// What its metadata says of the group; none where it belongs to none, or has no metadata of its own.
    pub(crate) group: Option<Group>,
}

/// A range of a physical volume.
#[derive(Debug, Clone, Copy)]
struct Area {
    at: u64,
    len: u64,
}

impl PhysicalVolume {
    /// The physical volume that begins here; none where there is no label.
    ///
    /// # Errors
    /// When it cannot be read, or what its label leads to is damaged.
    pub(crate) fn read(volume: &dyn BlockSource) -> Result<Option<Self>> {
        let Some((id, areas)) = label(volume)? else {
            return Ok(None);
        };
        let mut group: Option<Group> = None;
        let mut damage = None;
        for area in areas {
            match text(volume, area)
                .and_then(|text| text.map(|text| Group::parse(&text, area.at)).transpose())
            {
                // The newest counts: an area may have been left out when the others were written.
                Ok(Some(found))
                    if group
                        .as_ref()
                        .is_none_or(|known| known.sequence < found.sequence) =>
                {
                    group = Some(found);
                }
                Ok(_) => {}
                Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
                Err(error) => damage = Some(error),
            }
        }
        match (group, damage) {
            (None, Some(error)) => Err(error),
            (group, _) => Ok(Some(Self { id, group })),
        }
    }
}

/// The identifier in the label, and where the metadata areas are.
fn label(volume: &dyn BlockSource) -> Result<Option<(String, Vec<Area>)>> {
    for sector in 0..SECTORS {
        let mut bytes = [0; 512];
        volume.read_at(sector * SECTOR, &mut bytes)?;
        if field::<8>(&bytes, 0) != *b"LABELONE" || field::<8>(&bytes, 24) != *b"LVM2 001" {
            continue;
        }
        let number = u64::from_le_bytes(field(&bytes, 8));
        let sum = u32::from_le_bytes(field(&bytes, 16));
        let summed = bytes.get(LABEL_SUMMED..).unwrap_or_default();
        // One that was copied from elsewhere, or is half overwritten, is none: LVM2 takes it for none as well.
        if number != sector || sum != checksum(&[summed]) {
            continue;
        }
        let header = usize::try_from(u32::from_le_bytes(field(&bytes, 20))).unwrap_or(usize::MAX);
        let header = bytes.get(header..).unwrap_or_default();
        let id: [u8; ID] = field(header, 0);
        if !id.iter().all(u8::is_ascii_graphic) {
            return Err(damaged(
                "label",
                sector * SECTOR,
                "its identifier is no text",
            ));
        }
        let id = String::from_utf8_lossy(&id).into_owned();
        return Ok(Some((id, areas(header))));
    }
    Ok(None)
}

/// The metadata areas that a physical volume's header names, behind its data areas; a place of zeros ends each list.
fn areas(header: &[u8]) -> Vec<Area> {
    let rest = header.get(ID + 8..).unwrap_or_default();
    let all = rest.chunks_exact(16).map(|entry| Area {
        at: u64::from_le_bytes(field(entry, 0)),
        len: u64::from_le_bytes(field(entry, 8)),
    });
    all.skip_while(|area| area.at != 0)
        .skip(1)
        .take_while(|area| area.at != 0)
        .take(MOST_AREAS)
        .collect()
}

/// The text that is in force in a metadata area; none where there is none.
fn text(volume: &dyn BlockSource, area: Area) -> Result<Option<Vec<u8>>> {
    let bad = |problem: &str| damaged("metadata area", area.at, problem);
    let mut header = [0; 512];
    volume.read_at(area.at, &mut header)?;
    let summed = header.get(4..).unwrap_or_default();
    if u32::from_le_bytes(field(&header, 0)) != checksum(&[summed]) {
        return Err(bad("its header has another checksum than its bytes"));
    }
    if field::<16>(&header, 4) != *AREA_MAGIC || u32::from_le_bytes(field(&header, 20)) != 1 {
        return Err(bad("its header is of an unknown kind"));
    }
    let size = u64::from_le_bytes(field(&header, 32));
    let (at, len) = (
        u64::from_le_bytes(field(&header, 40)),
        u64::from_le_bytes(field(&header, 48)),
    );
    let sum = u32::from_le_bytes(field(&header, 56));
    let is_ignored = u32::from_le_bytes(field(&header, 60)) & 1 == 1;
    if at == 0 || len == 0 || is_ignored {
        return Ok(None);
    }
    if size > area.len || at < AREA_HEADER || at >= size || len > size - AREA_HEADER {
        return Err(bad("its text lies outside of it"));
    }
    if len > MOST_TEXT {
        return Err(Error::TooMuch {
            what: "bytes of LVM2 metadata",
            most: MOST_TEXT,
        });
    }
    let mut text = vec![0; usize::try_from(len).unwrap_or_default()];
    // What does not fit behind its beginning goes on behind the header.
    let first = usize::try_from(len.min(size - at)).unwrap_or_default();
    let first = first.min(text.len());
    let (before, after) = text.split_at_mut(first);
    volume.read_at(area.at.saturating_add(at), before)?;
    volume.read_at(area.at.saturating_add(AREA_HEADER), after)?;
    if checksum(&[&text]) != sum {
        return Err(bad("its text has another checksum than its bytes"));
    }
    Ok(Some(text))
}
