//! Creating a qcow2 image: written under another name, flushed, and only then given its own, so
//! that no half-made image is ever seen. What to record as backing file is the caller's decision.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::host::{Host, HostFile};
use crate::qcow2::header::CompressionType;
use crate::qcow2::limits::MAX_L1_BYTES;
use crate::qcow2::{Geometry, Header, HostOffset, Incompatible, RefcountBlock, Version, refcount};

use super::error::{IoContext, Result};
use super::{Compression, Error, ErrorKind, Format};

/// What a new image is to be like. The defaults are QEMU's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOptions {
    /// What the guest sees, in bytes; rounded up to a multiple of 512.
    pub size: u64,
    /// Backing file name as it is to be recorded, and its format.
    pub backing: Option<(OsString, Format)>,
    /// Log2 of the cluster size, 9 to 21.
    pub cluster_bits: u32,
    /// Log2 of the refcount width, 0 to 6.
    pub refcount_order: u32,
    /// Clusters divided into 32 subclusters; needs `cluster_bits` of at least 14.
    pub extended_l2: bool,
    /// Version 2 (`compat=0.10`) instead of 3.
    pub old_version: bool,
    /// Algorithm for clusters that may be compressed later.
    pub compression: Compression,
}

impl CreateOptions {
    /// An image of `size` bytes with QEMU's defaults: version 3, 64 KiB clusters, 16-bit refcounts,
    /// zlib, no backing file.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self {
            size,
            backing: None,
            cluster_bits: 16,
            refcount_order: 4,
            extended_l2: false,
            old_version: false,
            compression: Compression::Zlib,
        }
    }
}

/// Creates the image `path`, which must not exist. A crash leaves the image whole or not there at
/// all (at worst a file whose name starts with a dot and ends in `.qanopy-new`).
///
/// # Errors
/// When something of that name exists, the size or a name is beyond the format's limits, or the
/// files cannot be written; nothing is left behind then.
pub fn create(host: &dyn Host, path: &Path, options: &CreateOptions) -> Result<()> {
    let clusters = lay_out(path, options)?;
    let temporary = temporary_name(path);
    let file = host.create_new(&temporary).at(&temporary, "create")?;
    let made = write_out(path, &*file, &clusters)
        .and_then(|()| host.rename_new(&temporary, path).at(path, "create"))
        .and_then(|()| {
            let dir = path
                .parent()
                .filter(|dir| !dir.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            host.sync_dir(dir).at(dir, "flush the folder")
        });
    if made.is_err() && host.stat_link(&temporary).is_ok() {
        // The file is ours and has no other name yet; failing to remove it changes nothing.
        drop(host.remove_file(&temporary));
    }
    made
}

/// A name beside `path` for the time it is being made.
pub(super) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.qanopy-new", std::process::id()));
    path.with_file_name(name)
}

/// The file's first bytes and its whole length.
struct Layout {
    parts: Vec<(u64, Vec<u8>)>,
    len: u64,
}

fn write_out(path: &Path, file: &dyn HostFile, layout: &Layout) -> Result<()> {
    for (offset, bytes) in &layout.parts {
        file.write_at(bytes, *offset)
            .at(path, &format!("write at {offset:#x}"))?;
    }
    file.set_len(layout.len).at(path, "set the length")?;
    file.fence().at(path, "flush")
}

/// Header, refcount table, refcount blocks, L1 table, in this order, as QEMU lays them out.
fn lay_out(path: &Path, options: &CreateOptions) -> Result<Layout> {
    let fail = |error: crate::qcow2::FormatError| Error::new(path, error);
    let limit = |text: String| Error::new(path, ErrorKind::Limit(text));
    let geometry = Geometry::new(
        options.cluster_bits,
        options.refcount_order,
        options.extended_l2,
    )
    .map_err(fail)?;
    let size = options
        .size
        .checked_next_multiple_of(512)
        .ok_or_else(|| limit("is too large".to_owned()))?;
    let l1_entries = geometry.l1_entries_for(size);
    if l1_entries.saturating_mul(8) > MAX_L1_BYTES {
        let most = geometry.max_virtual_size();
        return Err(limit(format!(
            "cannot be {size} bytes large: with this cluster size, {most} is the most"
        )));
    }
    let cluster = geometry.cluster_size();
    let l1_clusters = (l1_entries * 8).div_ceil(cluster);
    let counts = refcount::size_for(1 + l1_clusters, geometry).map_err(fail)?;
    let blocks_at = 1 + counts.table_clusters;
    let l1_at = blocks_at + counts.blocks;
    let total = l1_at + l1_clusters;

    let version = if options.old_version {
        Version::V2
    } else {
        Version::V3
    };
    let mut header = Header::new(version, geometry, size);
    header.l1_offset = HostOffset(if l1_clusters > 0 { l1_at * cluster } else { 0 });
    header.l1_entries = u32::try_from(l1_entries).map_err(|e| limit(e.to_string()))?;
    header.refcount_table_offset = HostOffset(cluster);
    header.refcount_table_clusters =
        u32::try_from(counts.table_clusters).map_err(|e| limit(e.to_string()))?;
    if options.compression == Compression::Zstd {
        header.compression = CompressionType::Zstd;
        header.incompatible |= Incompatible::COMPRESSION_TYPE;
    }
    if let Some((name, format)) = &options.backing {
        use std::os::unix::ffi::OsStrExt;
        header
            .set_backing(name.as_bytes(), Some(format.name().as_bytes()))
            .map_err(fail)?;
    }
    let mut parts = vec![(0, header.encode().map_err(fail)?)];
    let mut table = Vec::new();
    for index in 0..counts.blocks {
        let offset = (blocks_at + index) * cluster;
        let entry =
            refcount::encode_table_entry(Some(HostOffset(offset)), geometry).map_err(fail)?;
        table.extend_from_slice(&entry.to_be_bytes());
        let mut block = RefcountBlock::zeroed(geometry);
        let first = index * geometry.refcounts_per_block();
        for at in 0..block.len() {
            if first + (at as u64) < total {
                block.set(at, 1).map_err(fail)?;
            }
        }
        parts.push((offset, block.as_bytes().to_vec()));
    }
    parts.push((cluster, table));
    Ok(Layout {
        parts,
        len: total * cluster,
    })
}
