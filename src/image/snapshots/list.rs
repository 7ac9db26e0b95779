//! The internal snapshots of an image, read from its snapshot table.

use std::path::Path;

use crate::host::HostFile;
use crate::qcow2::limits::MAX_SNAPSHOT_TABLE_BYTES;
use crate::qcow2::snapshot::{Snapshot, parse_table};
use crate::qcow2::{FormatError, Header};

use super::super::error::{IoContext, Result};
use super::super::{Error, ErrorKind};

/// The image's internal snapshots, in the table's order.
///
/// # Errors
/// When the table cannot be read or breaks the format's rules.
pub fn snapshots(path: &Path, file: &dyn HostFile, header: &Header) -> Result<Vec<Snapshot>> {
    Ok(read(path, file, header)?.0)
}

/// The snapshots, and the table's length in bytes.
pub(crate) fn read(
    path: &Path,
    file: &dyn HostFile,
    header: &Header,
) -> Result<(Vec<Snapshot>, u64)> {
    let table = read_unchecked(path, file, header)?;
    for snapshot in &table.0 {
        snapshot
            .check_l1(header.geometry)
            .map_err(|e| Error::new(path, e))?;
    }
    Ok(table)
}

/// As [`read`], whatever the snapshots say of where their L1 tables are.
pub(crate) fn read_unchecked(
    path: &Path,
    file: &dyn HostFile,
    header: &Header,
) -> Result<(Vec<Snapshot>, u64)> {
    if header.snapshot_count == 0 {
        return Ok((Vec::new(), 0));
    }
    // The length is recorded nowhere: read more until it is enough.
    let mut len = 4096;
    loop {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(4096)];
        file.read_padded(&mut bytes, header.snapshots_offset.get())
            .at(path, "read the snapshot table")?;
        match parse_table(&bytes, header.snapshot_count) {
            Err(FormatError::Truncated { .. }) if len < MAX_SNAPSHOT_TABLE_BYTES => len *= 4,
            Err(error) => return Err(Error::new(path, ErrorKind::Format(error))),
            Ok(table) => return Ok(table),
        }
    }
}
