//! The internal snapshots of an image, read from its snapshot table.

use crate::image::error::{OfFile, Result};
use crate::image::{Error, ErrorKind, ImageFile, internal};
use crate::qcow2::limits::MAX_SNAPSHOT_TABLE_BYTES;
use crate::qcow2::snapshot::{Snapshot, parse_first, parse_overlong_table, parse_table};
use crate::qcow2::{FormatError, Header};

/// The image's internal snapshots, in the table's order.
///
/// # Errors
/// When the table cannot be read or breaks the format's rules.
pub fn snapshots(file: &ImageFile, header: &Header) -> Result<Vec<Snapshot>> {
    Ok(read(file, header)?.0)
}

/// The snapshots, and the table's length in bytes.
pub(crate) fn read(file: &ImageFile, header: &Header) -> Result<(Vec<Snapshot>, u64)> {
    let table = read_unchecked(file, header)?;
    for snapshot in &table.0 {
        snapshot
            .check_l1(header.geometry)
            .map_err(|e| Error::new(file, e))?;
    }
    Ok(table)
}

/// As [`read`], whatever the snapshots say of where their L1 tables are.
pub(crate) fn read_unchecked(file: &ImageFile, header: &Header) -> Result<(Vec<Snapshot>, u64)> {
    if header.snapshot_count == 0 {
        return Ok((Vec::new(), 0));
    }
    read_as(file, header, parse_table)
}

/// A snapshot table as far as it can be understood, whatever QEMU says to it.
#[derive(Debug)]
pub(crate) struct Salvaged {
    /// The snapshots in the table's order, none with more extra data than the format allows.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Length in bytes of what is understood.
    pub(crate) len: u64,
    /// Entries have more extra data than QEMU opens an image with.
    pub(crate) overlong: bool,
    /// Why what follows is not understood, if anything does.
    pub(crate) rest: Option<FormatError>,
}

/// Reads a snapshot table as far as it can be understood. Entries with too much extra data are only
/// believed where the whole table makes sense with them: a wrong length makes rubbish of what follows.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn salvage(file: &ImageFile, header: &Header) -> Result<Salvaged> {
    let fault = match read_unchecked(file, header) {
        Ok((snapshots, len)) => {
            return Ok(Salvaged {
                snapshots,
                len,
                overlong: false,
                rest: None,
            });
        }
        Err(Error {
            kind: ErrorKind::Format(fault),
            ..
        }) => fault,
        Err(error) => return Err(error),
    };
    let offset = header.snapshots_offset.get();
    let have = file.len()?;
    let have = have.saturating_sub(offset);
    // With a wrong length of extra data the ID and the name are other bytes of the file. QEMU counts them.
    let makes_sense = |snapshot: &Snapshot| {
        let is_number = !snapshot.id.is_empty() && snapshot.id.iter().all(u8::is_ascii_digit);
        let is_text = std::str::from_utf8(&snapshot.name).is_ok_and(|name| !name.contains('\0'));
        is_number && is_text && snapshot.check_l1(header.geometry).is_ok()
    };
    match read_as(file, header, parse_overlong_table) {
        Ok((snapshots, len)) if len <= have && snapshots.iter().all(makes_sense) => {
            return Ok(Salvaged {
                snapshots,
                len,
                overlong: true,
                rest: None,
            });
        }
        Ok(_)
        | Err(Error {
            kind: ErrorKind::Format(_),
            ..
        }) => {}
        Err(error) => return Err(error),
    }
    let len = have.min(MAX_SNAPSHOT_TABLE_BYTES);
    let mut bytes = vec![0; internal::index(len).of(file)?];
    file.read_padded(&mut bytes, offset, "read the snapshot table")?;
    let (snapshots, len) = parse_first(&bytes, header.snapshot_count);
    Ok(Salvaged {
        snapshots,
        len,
        overlong: false,
        rest: Some(fault),
    })
}

/// Snapshots and their table's length in bytes.
type Parsed = std::result::Result<(Vec<Snapshot>, u64), FormatError>;

/// Reads the table with `parse`, which says how many bytes it needs.
fn read_as(
    file: &ImageFile,
    header: &Header,
    parse: fn(&[u8], u32) -> Parsed,
) -> Result<(Vec<Snapshot>, u64)> {
    // The length is recorded nowhere: read more until it is enough.
    let mut len = 4096;
    loop {
        let mut bytes = vec![0; internal::index(len).of(file)?];
        file.read_padded(
            &mut bytes,
            header.snapshots_offset.get(),
            "read the snapshot table",
        )?;
        match parse(&bytes, header.snapshot_count) {
            Err(FormatError::Truncated { needed, .. })
                if len < MAX_SNAPSHOT_TABLE_BYTES && needed <= MAX_SNAPSHOT_TABLE_BYTES =>
            {
                len *= 4;
            }
            Err(error) => return Err(Error::new(file, ErrorKind::Format(error))),
            Ok(table) => return Ok(table),
        }
    }
}
