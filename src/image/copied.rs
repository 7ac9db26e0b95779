//! The copied flags of the active tables, brought back in line with the reference counts: the flag
//! says that a cluster has exactly one reference, and a snapshot that let go of a shared cluster
//! leaves one without the flag.

use std::path::Path;
use std::sync::Arc;

use crate::host::HostFile;
use crate::qcow2::{HostOffset, L1Entry, L2Context};

use super::error::{IoContext, Result};
use super::qcow2_layer::{read_entries, read_header, read_l2};
use super::refcounts::Refcounts;
use super::{Error, ErrorKind};

/// Sets or clears the flag of every active L1 and L2 entry whose flag disagrees with the counts on
/// disk. Writes nothing where all agree. The counts must be safe on disk: a flag that comes before
/// its count would let a shared cluster be overwritten.
///
/// # Errors
/// When a table cannot be read or written, or holds an entry that cannot be.
pub(crate) fn settle_copied(path: &Path, file: &Arc<dyn HostFile>) -> Result<()> {
    let header = read_header(path, &**file)?;
    let (geometry, context) = (header.geometry, L2Context::of(&header));
    let size = geometry.cluster_size();
    let mut refs = Refcounts::open(path, Arc::clone(file), &header)?;
    let l1_offset = header.l1_offset.get();
    let l1 = read_entries(
        path,
        &**file,
        l1_offset,
        u64::from(header.l1_entries),
        "L1 table",
    )?;
    let damaged =
        |error: crate::qcow2::FormatError| Error::new(path, ErrorKind::Damaged(error.to_string()));
    let mut wrote = false;
    for (index, raw) in (0u64..).zip(l1.iter()) {
        let entry = L1Entry::parse(raw, geometry).map_err(damaged)?;
        let Some(offset) = entry.table.map(HostOffset::get) else {
            continue;
        };
        let copied = refs.get(offset / size)? == 1;
        if copied != entry.copied {
            let raw = L1Entry { copied, ..entry }
                .encode(geometry)
                .map_err(damaged)?;
            let at = l1_offset + index * 8;
            file.write_at(&raw.to_be_bytes(), at)
                .at(path, &format!("write the L1 table at {at:#x}"))?;
            wrote = true;
        }
        if context.data_file {
            continue;
        }
        let mut table = read_l2(path, &**file, offset, context)?;
        let mut changed = false;
        for at in 0..table.len() {
            let entry = table.get(at).map_err(damaged)?;
            let Some(host) = entry.host().map(HostOffset::get) else {
                continue;
            };
            let copied = refs.get(host / size)? == 1;
            if copied != entry.copied() {
                table.set(at, entry.with_copied(copied)).map_err(damaged)?;
                changed = true;
            }
        }
        if changed {
            // Entries differ in a flag only: whichever sectors arrive, each is valid.
            file.write_at(table.as_bytes(), offset)
                .at(path, &format!("write the L2 table at {offset:#x}"))?;
            wrote = true;
        }
    }
    if wrote {
        file.fence().at(path, "flush")?;
    }
    Ok(())
}
