//! Reading tables: of entries of eight bytes, whole or a window of it at a time, L2 tables, and blocks of
//! reference counts. What the entries mean is the caller's business.

use crate::host::Segment;
use crate::image::error::{OfFile, Result};
use crate::image::internal::{self, Fault};
use crate::image::{Error, ErrorKind, ImageFile};
use crate::qcow2::{
    EntryTable, FormatError, Geometry, Header, HostOffset, L2Buf, L2Context, RefcountBlock,
    Snapshot, TablePlace, refcount,
};

/// An entry of the refcount table that names no block: that of all clusters past its end, too.
pub(crate) const NO_BLOCK: u64 = 0;

/// Bytes of a table read at once.
const WINDOW: u64 = 1 << 20;

/// Tells the entries of a table that are not zero, by index. What is past the end of the file reads as zero.
///
/// # Errors
/// When the file cannot be read, and those of `tell`.
pub(crate) fn each_entry(
    file: &ImageFile,
    place: TablePlace,
    what: &str,
    tell: &mut dyn FnMut(u32, u64) -> Result<()>,
) -> Result<()> {
    let offset = place.offset.get();
    let end = offset.saturating_add(place.bytes());
    let mut at = offset;
    while at < end {
        // A file that cannot tell has no holes.
        let segment = file.segment_at(at).unwrap_or(Segment::Data(end));
        let to = match segment {
            Segment::Hole(to) if to.min(end) >= at + 8 => {
                let to = to.min(end);
                at = to - (to - at) % 8;
                continue;
            }
            Segment::Hole(to) | Segment::Data(to) => to,
        };
        let len = to.min(end).saturating_sub(at).clamp(1, WINDOW);
        let len = len.next_multiple_of(8);
        let piece = TablePlace {
            offset: HostOffset(at),
            entries: len / 8,
        };
        let table = read_entries(file, piece, what)?;
        let first = (at - offset) / 8;
        for (index, raw) in (first..).zip(table.iter()).filter(|(_, raw)| *raw != 0) {
            let index = u32::try_from(index)
                .map_err(|_| Fault::new("a table longer than any"))
                .of(file)?;
            tell(index, raw)?;
        }
        at += len;
    }
    Ok(())
}

/// Reads the refcount table that the header names.
pub(crate) fn read_refcount_table(file: &ImageFile, header: &Header) -> Result<EntryTable> {
    let clusters = u64::from(header.refcount_table_clusters);
    let place = TablePlace {
        offset: header.refcount_table_offset,
        entries: clusters.saturating_mul(header.geometry.cluster_size() / 8),
    };
    read_entries(file, place, "refcount table")
}

/// Reads the L1 table that the header names: that of what the guest sees now.
pub(crate) fn read_active_l1(file: &ImageFile, header: &Header) -> Result<EntryTable> {
    read_entries(file, header.l1(), "L1 table")
}

/// Reads the L1 table of an internal snapshot.
pub(crate) fn read_snapshot_l1(file: &ImageFile, snapshot: &Snapshot) -> Result<EntryTable> {
    read_entries(file, snapshot.l1(), "snapshot's L1 table")
}

/// Reads a table of 8-byte entries; what lies past the end of the file reads as zero.
pub(crate) fn read_entries(file: &ImageFile, place: TablePlace, what: &str) -> Result<EntryTable> {
    let offset = place.offset.get();
    // The header's limits bound the entries to what fits 32 MiB.
    let len = internal::index(place.bytes()).of(file)?;
    let mut bytes = vec![0; len];
    file.read_padded(
        &mut bytes,
        offset,
        format_args!("read the {what} at {offset:#x}"),
    )?;
    Ok(EntryTable::from_bytes(bytes))
}

/// Reads one L2 table; what lies past the end of the file reads as zero.
pub(crate) fn read_l2(file: &ImageFile, offset: u64, context: L2Context) -> Result<L2Buf> {
    let mut bytes = vec![0; context.geometry.cluster_len()];
    file.read_padded(
        &mut bytes,
        offset,
        format_args!("read the L2 table at {offset:#x}"),
    )?;
    L2Buf::from_bytes(bytes, context).map_err(|e| Error::new(file, e))
}

/// Reads the refcount block that a refcount table entry leads to: where it is and what it holds; none
/// where the entry leads nowhere. `spare` is a block whose bytes are not needed any more.
///
/// # Errors
/// When the entry cannot be one, or the file cannot be read.
pub(crate) fn read_block(
    file: &ImageFile,
    geometry: Geometry,
    entry: u64,
    spare: Option<RefcountBlock>,
) -> Result<Option<(HostOffset, RefcountBlock)>> {
    let damaged = |e: FormatError| Error::new(file, ErrorKind::Damaged(e.to_string()));
    let place = refcount::parse_table_entry(entry, geometry).map_err(damaged)?;
    let Some(offset) = place else {
        return Ok(None);
    };
    let mut bytes = spare.map_or_else(Vec::new, RefcountBlock::into_bytes);
    bytes.resize(geometry.cluster_len(), 0);
    file.read(&mut bytes, offset.get())?;
    let block = RefcountBlock::from_bytes(bytes, geometry).map_err(damaged)?;
    Ok(Some((offset, block)))
}
