//! Creating a qcow2 image: what it can be like, what of that cannot go together, and making it,
//! empty. What to record as backing file is the caller's decision.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::host::Host;
use crate::image::error::Result;
use crate::image::write::carried_bitmaps::Carried;
use crate::image::write::luks;
use crate::image::write::options::{CreateOptions, Preallocation};
use crate::image::write::sequential::{Besides, SequentialWriter};
use crate::image::write::temp_file::TempFiles;
use crate::image::{Compression, Error, ErrorKind, ProgressSink};
use crate::qcow2::extension::{self, CryptoHeader, Extension};
use crate::qcow2::header::CompressionType;
use crate::qcow2::limits::{MAX_L1_BYTES, MAX_REFCOUNT_TABLE_BYTES, SECTOR};
use crate::qcow2::{
    Autoclear, Compatible, CryptMethod, FormatError, Header, HostOffset, Incompatible, Version,
    refcount,
};

/// Bytes of the disk that are preallocated between two looks at whether to go on.
const PIECE: u64 = 16 << 20;

/// Bytes of new files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewLen {
    /// Of the image.
    pub image: u64,
    /// Of these, what takes room on disk at once.
    pub image_blocks: u64,
    /// Of the external data file.
    pub data: u64,
    /// Of these, what takes room on disk at once.
    pub data_blocks: u64,
}

/// How large [`create`] would make the image `path`, which need not be there.
///
/// # Errors
/// What cannot be had, or not together: the same as QEMU refuses.
pub fn new_len(path: &Path, options: &CreateOptions) -> Result<NewLen> {
    let header = new_header(path, options)?;
    let geometry = header.geometry;
    let size = geometry.cluster_size();
    let disk = geometry.clusters_for(header.recorded_size);
    let raw = header.autoclear.contains(Autoclear::RAW_EXTERNAL_DATA);
    let maps = options.format.preallocation != Preallocation::Off || raw;
    let writes = match options.format.preallocation {
        Preallocation::Off => false,
        // Version 2 says zero by storing it, encrypted.
        Preallocation::Metadata => options.encryption.is_some() && options.format.old_version,
        Preallocation::Falloc | Preallocation::Full => true,
    };
    let l1 = geometry.l1_entries_for(header.recorded_size);
    let luks = header
        .crypto_header()
        .map_or(0, |place| geometry.clusters_for(place.length));
    let tables = 1 + geometry.clusters_for(l1 * 8) + luks + if maps { l1 } else { 0 };
    let data = if maps && options.data_file.is_none() {
        disk
    } else {
        0
    };
    let too_large = || {
        let text = "would be larger than its reference counts can count".to_owned();
        Error::new(path, ErrorKind::Limit(text))
    };
    let counts = refcount::size_for(tables + data, geometry).map_err(|_| too_large())?;
    if counts.table_clusters * size > MAX_REFCOUNT_TABLE_BYTES {
        return Err(too_large());
    }
    let rest = tables + counts.table_clusters + counts.blocks;
    let bytes = |clusters: u64| clusters.checked_mul(size).ok_or_else(too_large);
    let data_len = options
        .data_file
        .as_ref()
        .map_or(0, |_| header.recorded_size);
    Ok(NewLen {
        image: bytes(rest + data)?,
        image_blocks: bytes(rest + if writes { data } else { 0 })?,
        data: data_len,
        data_blocks: if writes { data_len } else { 0 },
    })
}

/// Creates the image `path` and its external data file, neither of which may exist. A crash leaves
/// the image whole or not there at all; at worst there is the data file without the image, or a file
/// whose name starts with a dot and ends in `.qanopy-new`.
///
/// # Errors
/// When something of that name exists, the options cannot be had together, or the files cannot be
/// written, or it was stopped; nothing is left behind then.
pub fn create(
    host: &dyn Host,
    path: &Path,
    options: &CreateOptions,
    progress: &dyn ProgressSink,
) -> Result<()> {
    let header = new_header(path, options)?;
    let mut temp = TempFiles::new(host);
    let mut sequential = stage(&mut temp, path, options, header, Vec::new(), progress)?;
    let size = sequential.header().recorded_size;
    // Whole clusters at a time, whatever their size.
    let mut at = 0;
    while at < size {
        let len = PIECE.min(size - at);
        if options.format.preallocation == Preallocation::Off && !is_raw(options) {
            break;
        }
        sequential.nothing(at, len)?;
        at += len;
        if !progress.advance(len) {
            return Err(Error::new(path, ErrorKind::Cancelled));
        }
    }
    sequential.finish()?;
    temp.persist()
}

fn is_raw(options: &CreateOptions) -> bool {
    options.data_file.as_ref().is_some_and(|data| data.raw)
}

/// An image to be written, under a temporary name, with its data file before it.
pub(crate) fn stage(
    temp: &mut TempFiles<'_>,
    path: &Path,
    options: &CreateOptions,
    header: Header,
    bitmaps: Vec<Carried>,
    progress: &dyn ProgressSink,
) -> Result<SequentialWriter> {
    // Before there is any file: it takes its time.
    let volume = match &options.encryption {
        Some(new) => Some(luks::format(path, new, progress)?),
        None => None,
    };
    let data = match &options.data_file {
        Some(data) => Some(temp.create(&data.path)?),
        None => None,
    };
    let file = temp.create(path)?;
    let preallocation = options.format.preallocation;
    let besides = Besides { volume, bitmaps };
    SequentialWriter::new(&file, data, header, preallocation, besides)
}

/// The header of such an image; its L1 table follows it, and the refcount table has no place yet.
pub(crate) fn new_header(path: &Path, options: &CreateOptions) -> Result<Header> {
    let fail = |error: FormatError| Error::new(path, error);
    let limit = |text: String| Error::new(path, ErrorKind::Limit(text));
    let format = &options.format;
    let geometry = format.geometry().map_err(fail)?;
    if let Some(why) = contradiction(options) {
        return Err(Error::new(path, ErrorKind::Unsupported(why.to_owned())));
    }
    let size = options
        .size
        .checked_next_multiple_of(SECTOR)
        .ok_or_else(|| limit("is too large".to_owned()))?;
    let l1_entries = geometry.l1_entries_for(size);
    if l1_entries.saturating_mul(8) > MAX_L1_BYTES {
        let most = geometry.max_virtual_size();
        return Err(limit(format!(
            "cannot be {size} bytes large: with this cluster size, {most} is the most"
        )));
    }
    let version = if format.old_version {
        Version::V2
    } else {
        Version::V3
    };
    let mut header = Header::new(version, geometry, size);
    header.l1_entries = u32::try_from(l1_entries).map_err(|e| limit(e.to_string()))?;
    if l1_entries > 0 {
        header.l1_offset = HostOffset(geometry.cluster_size());
    }
    header
        .compatible
        .set(Compatible::LAZY_REFCOUNTS, format.lazy_refcounts);
    if format.compression == Compression::Zstd {
        header.compression = CompressionType::Zstd;
        header.incompatible |= Incompatible::COMPRESSION_TYPE;
    }
    if options.encryption.is_some() {
        header.crypt = CryptMethod::Luks;
        // Where it lies is found out when it is written.
        header.set_crypto_header(CryptoHeader {
            offset: HostOffset(geometry.cluster_size()),
            length: luks::room(),
        });
    }
    if let Some(data) = &options.data_file {
        header.incompatible |= Incompatible::EXTERNAL_DATA_FILE;
        header.autoclear.set(Autoclear::RAW_EXTERNAL_DATA, data.raw);
        // Where QEMU has it.
        header.extensions.insert(
            0,
            Extension {
                magic: extension::DATA_FILE,
                data: data.name.as_bytes().to_vec(),
            },
        );
    }
    if let Some((name, backing)) = &options.backing {
        header
            .set_backing(name.as_bytes(), Some(backing.name().as_bytes()))
            .map_err(fail)?;
    }
    // What has no room in the first cluster is found now, not after the data was written.
    let somewhere = Header {
        refcount_table_offset: HostOffset(geometry.cluster_size()),
        refcount_table_clusters: 1,
        ..header.clone()
    };
    somewhere.encode().map_err(fail)?;
    Ok(header)
}

/// What QEMU refuses of options that are fine by themselves.
fn contradiction(options: &CreateOptions) -> Option<&'static str> {
    let format = &options.format;
    if format.old_version {
        let newer = [
            (
                format.extended_l2,
                "has no extended L2 entries with compat 0.10",
            ),
            (
                format.refcount_order != 4,
                "has refcounts of 16 bits with compat 0.10",
            ),
            (
                format.lazy_refcounts,
                "has no lazy refcounts with compat 0.10",
            ),
            (
                format.compression != Compression::Zlib,
                "compresses with zlib only with compat 0.10",
            ),
            (
                options.data_file.is_some(),
                "has no external data file with compat 0.10",
            ),
        ];
        if let Some((_, why)) = newer.iter().find(|(wanted, _)| *wanted) {
            return Some(why);
        }
    }
    // QEMU makes such an image, whose data file is not what it promises to be.
    if options.encryption.is_some() && is_raw(options) {
        return Some(
            "cannot be encrypted and keep its data in a file that is a raw image of the disk: that file would \
             be noise to everybody else",
        );
    }
    if options.backing.is_some() {
        if is_raw(options) {
            return Some(
                "cannot have a backing file and a data file that is a raw image of the whole disk",
            );
        }
        if format.preallocation != Preallocation::Off && !format.extended_l2 {
            return Some(
                "cannot be preallocated with a backing file, which the clusters would hide: only with \
                 extended L2 entries",
            );
        }
    }
    None
}
