//! Recognises an image by its first bytes and reads its header: one small read for most files, two
//! for a qcow2 image. Nothing the image names is followed, and its content stays untouched.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::host::{HostFile, io_text, printable};
use crate::image::error::{OfFile, Result};
use crate::image::internal;
use crate::image::read::qcow2_layer::require_openable;
use crate::image::{
    BackingRef, Compression, Encryption, ErrorKind, Format, ImageFile, ImageInfo, Unopenable,
};
use crate::qcow2::snapshot::parse_first;
use crate::qcow2::{
    Autoclear, Compatible, CompressionType, CryptMethod, FormatError, Header, Incompatible,
    is_qcow2,
};

/// What a file's first bytes show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A qcow2 header that could be read, and what it says the image is built on.
    Qcow2(Box<ImageInfo>, Option<BackingRef>),
    /// The magic number of another format.
    Other(Format),
    /// No magic number that is known: raw, or no image at all.
    Nothing,
    /// The magic number of qcow2 and a header that cannot be: why, as a sentence.
    Damaged(String),
}

/// Bytes read at first; enough for the header of nearly every image.
const FIRST_READ: usize = 4096;
/// The largest L1 table, in bytes, that is looked through for tables past the end of the file.
const MAX_L1_READ: u64 = 64 << 10;

/// Bytes of an image that libvirt reads to learn what it is built on.
const READ_BY_LIBVIRT: u64 = 0x8200;

/// Bytes of a snapshot table that are read, and snapshots that are kept of it.
const SNAPSHOT_READ: usize = 16 << 10;
const MOST_SNAPSHOTS: u32 = 64;

/// The format that the first bytes of a file tell; none if they tell none, as those of a raw image.
///
/// # Errors
/// When they cannot be read.
pub fn recognised(file: &ImageFile) -> Result<Option<Format>> {
    let mut first = [0; 512];
    let got = file.read_at(&mut first, 0, "read the first bytes")?;
    let first = internal::part(&first, 0..got).of(file)?;
    Ok(Format::recognise(first))
}

/// Reads what `image` is; its name is only for the sentences. Reads 4 KiB, up to one cluster (2 MiB at
/// most) if the header is longer, an L1 table of up to 64 KiB, and of an image with internal
/// snapshots the first 16 KiB of their table.
///
/// # Errors
/// The system's own, if a read fails.
pub fn probe(image: &ImageFile) -> io::Result<Probe> {
    let (file, path) = (&**image.host_file(), image.path());
    // Not from the heap: between all that a scan keeps of its files, each would leave a hole there.
    let mut first = [0; FIRST_READ];
    let read = file.read_at(&mut first, 0)?;
    let mut bytes = first.get(..read).unwrap_or(&first);
    let mut whole;
    if !is_qcow2(bytes) {
        return Ok(Format::recognise(bytes).map_or(Probe::Nothing, Probe::Other));
    }
    if let Some(format @ Format::Other(_)) = Format::recognise(bytes) {
        return Ok(Probe::Other(format));
    }
    let len = file.len()?;
    let header = loop {
        match Header::parse(bytes) {
            Ok(header) => break header,
            Err(FormatError::Truncated { needed, .. }) if needed > bytes.len() as u64 => {
                if bytes.len() as u64 >= len {
                    return Ok(Probe::Damaged(format!(
                        "{} ends inside its qcow2 header: the file has {len} bytes, the header needs \
                         {needed}. It was cut short; restore it from a copy.",
                        printable(path)
                    )));
                }
                // Bounded by one cluster, which the parser has checked.
                let needed = usize::try_from(needed).map_err(|_| io::ErrorKind::OutOfMemory)?;
                let mut more = vec![0; needed];
                let read = file.read_at(&mut more, 0)?;
                more.truncate(read);
                if more.len() <= bytes.len() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                whole = more;
                bytes = &whole;
            }
            Err(fault) => {
                return Ok(Probe::Damaged(format!(
                    "{} begins like a qcow2 image, but its header cannot be right: {fault}. QEMU \
                     refuses it as well; restore it from a copy.",
                    printable(path)
                )));
            }
        }
    };
    let mut info = header_info(&header);
    if let Some((why, lost_map)) = truncation(file, &header, len, path)? {
        (info.truncated, info.lost_map) = (Some(why), lost_map);
    }
    // What it is built on is known all the same: whoever depends on whom must not hang on this.
    info.unopenable = unopenable(image, &header).unwrap_or_else(|error| {
        let error = io_text(&error);
        let why = format!("{} cannot be read whole: {error}", printable(path));
        Some(Unopenable::for_good(why))
    });
    if header.snapshot_count > 0 {
        let mut table = vec![0; SNAPSHOT_READ];
        let read = file
            .read_at(&mut table, header.snapshots_offset.get())
            .unwrap_or(0);
        table.truncate(read);
        let most = header.snapshot_count.min(MOST_SNAPSHOTS);
        info.first_snapshots = parse_first(&table, most).0;
    }
    Ok(Probe::Qcow2(Box::new(info), built_on(&header)))
}

/// What a header tells, as plain values. Whether the file holds what the header claims is not looked
/// at: `truncated` is empty.
#[must_use]
pub fn header_info(header: &Header) -> ImageInfo {
    let name = |bytes: &[u8]| OsStr::from_bytes(bytes).to_os_string();
    let external = header
        .incompatible
        .contains(Incompatible::EXTERNAL_DATA_FILE);
    ImageInfo {
        version: header.version.number(),
        virtual_size: header.virtual_size(),
        cluster_size: header.geometry.cluster_size(),
        refcount_bits: header.geometry.refcount_bits(),
        extended_l2: header.geometry.extended_l2(),
        lazy_refcounts: header.compatible.contains(Compatible::LAZY_REFCOUNTS),
        compression: match header.compression {
            CompressionType::Zlib => Compression::Zlib,
            CompressionType::Zstd => Compression::Zstd,
        },
        encryption: match header.crypt {
            CryptMethod::None => None,
            CryptMethod::Aes => Some(Encryption::Aes),
            CryptMethod::Luks => Some(Encryption::Luks),
        },
        dirty: header.incompatible.contains(Incompatible::DIRTY),
        corrupt: header.incompatible.contains(Incompatible::CORRUPT),
        snapshots: header.snapshot_count,
        first_snapshots: Vec::new(),
        bitmaps: header.bitmaps().map_or(0, |bitmaps| bitmaps.count),
        external_data: external,
        data_file: header.data_file().filter(|_| external).map(name),
        data_file_raw: external && header.autoclear.contains(Autoclear::RAW_EXTERNAL_DATA),
        backing_name_is_far: header.backing.as_ref().is_some_and(|backing| {
            backing.offset.saturating_add(backing.name.len() as u64) > READ_BY_LIBVIRT
        }),
        unknown_features: header
            .unknown_incompatible()
            .iter()
            .map(ToString::to_string)
            .collect(),
        truncated: None,
        lost_map: false,
        unopenable: None,
    }
}

/// What a header says the image is built on.
#[must_use]
pub fn built_on(header: &Header) -> Option<BackingRef> {
    let recorded = header.backing_file()?;
    let format = header.backing_format().filter(|format| !format.is_empty());
    Some(BackingRef {
        recorded: OsStr::from_bytes(recorded).to_os_string(),
        format: format.map(|format| Format::from_name(&String::from_utf8_lossy(format))),
    })
}

/// Why an image with a header that can be read is opened by nobody: its snapshot table, what it records
/// of dirty bitmaps, or its encryption.
fn unopenable(image: &ImageFile, header: &Header) -> io::Result<Option<Box<Unopenable>>> {
    if !header.unknown_incompatible().is_empty() {
        return Ok(None);
    }
    let looked = require_openable(image, header);
    match looked.map_err(|error| error.kind) {
        Ok(()) if header.has_data_file() && header.data_file().is_none() => {
            let text = "does not name the file that holds its data, which no program can guess";
            Ok(Some(Unopenable::for_good(text)))
        }
        Ok(()) => Ok(None),
        Err(ErrorKind::Io { source, .. }) => Err(source),
        Err(kind) => Ok(Some(Box::new(Unopenable {
            why: kind.to_string().into(),
            is_mended_by_repair: kind.is_mended_by_repair(),
        }))),
    }
}

/// Why the file cannot hold what its header and L1 table point at, if it cannot: a sentence, and whether
/// nothing is left that maps the guest's disk.
fn truncation(
    file: &dyn HostFile,
    header: &Header,
    len: u64,
    path: &Path,
) -> io::Result<Option<(String, bool)>> {
    let sentence = |what: &str, end: u64| {
        format!(
            "{} was cut short: the file has {len} bytes, and {what} ends at byte {end}. Restore it \
             from a copy; what it held beyond its end is lost.",
            printable(path)
        )
    };
    let cluster = header.geometry.cluster_size();
    let l1_bytes = u64::from(header.l1_entries).saturating_mul(8);
    // 40 bytes is the fixed part of each entry of the snapshot table.
    let l1_end = header.l1_offset.get().saturating_add(l1_bytes);
    if l1_bytes > 0 && l1_end > len {
        let nothing_left = header.l1_offset.get() >= len;
        return Ok(Some((sentence("its L1 table", l1_end), nothing_left)));
    }
    let mut elsewhere = None;
    let tables = [
        (
            "its refcount table",
            header.refcount_table_offset.get(),
            u64::from(header.refcount_table_clusters).saturating_mul(cluster),
        ),
        (
            "its snapshot table",
            header.snapshots_offset.get(),
            u64::from(header.snapshot_count).saturating_mul(40),
        ),
    ];
    for (what, offset, bytes) in tables {
        let end = offset.saturating_add(bytes);
        if bytes > 0 && end > len {
            elsewhere = elsewhere.or(Some((sentence(what, end), false)));
        }
    }
    if l1_bytes == 0 || l1_bytes > MAX_L1_READ {
        return Ok(elsewhere);
    }
    let l1_len = usize::try_from(l1_bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut table = vec![0; l1_len];
    let read = match file.read_at(&mut table, header.l1_offset.get()) {
        Ok(read) => read,
        // The header is known, and that its image cannot be read is worth a row of its own kind.
        Err(error) => {
            let text = format!(
                "{} has an L1 table that cannot be read: {error}. Restore it from a copy.",
                printable(path),
                error = io_text(&error)
            );
            return Ok(Some((text, true)));
        }
    };
    table.truncate(read);
    let furthest = table
        .chunks_exact(8)
        .filter_map(|entry| entry.try_into().ok().map(u64::from_be_bytes))
        // Bits 9 to 55 are the offset of the L2 table.
        .map(|entry| entry & 0x00ff_ffff_ffff_fe00)
        .max()
        .unwrap_or(0);
    let end = furthest.saturating_add(cluster);
    let is_lost = furthest > 0 && end > len;
    Ok(is_lost
        .then(|| (sentence("one of its L2 tables", end), false))
        .or(elsewhere))
}

/// Whether a file's name is that of a qcow2 image, whatever is in it.
#[must_use]
pub fn named_like_qcow2(path: &Path) -> bool {
    path.extension()
        .map(OsStr::to_ascii_lowercase)
        .is_some_and(|extension: OsString| extension == "qcow2" || extension == "qcow")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Access, Host, RealHost};
    use crate::qcow2::{Geometry, HostOffset, Version};

    fn probed(bytes: &[u8]) -> Probe {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.qcow2");
        std::fs::write(&path, bytes).unwrap();
        let file = RealHost.open(&path, Access::Read).unwrap();
        probe(&ImageFile::new(Path::new("x\x1b.qcow2"), file)).unwrap()
    }

    /// A header over three clusters: itself, refcount table, L1 table.
    fn image(change: impl FnOnce(&mut Header)) -> Vec<u8> {
        let geometry = Geometry::new(16, 4, false).unwrap();
        let mut header = Header::new(Version::V3, geometry, 1 << 30);
        header.refcount_table_offset = HostOffset(0x10000);
        header.refcount_table_clusters = 1;
        header.l1_offset = HostOffset(0x20000);
        header.l1_entries = 2;
        change(&mut header);
        let mut bytes = header.encode().unwrap();
        bytes.resize(0x30000, 0);
        bytes
    }

    #[test]
    fn a_header_tells_its_facts() {
        let bytes = image(|header| {
            header.set_backing(b"base img", Some(b"raw")).unwrap();
            header.incompatible |= Incompatible::DIRTY;
        });
        let Probe::Qcow2(info, backing) = probed(&bytes) else {
            panic!("not recognised");
        };
        assert_eq!(info.virtual_size, 1 << 30);
        assert_eq!(info.version, 3);
        assert!(info.dirty && !info.corrupt);
        assert_eq!(info.truncated, None);
        let backing = backing.unwrap();
        assert_eq!(backing.recorded, "base img");
        assert_eq!(backing.format, Some(Format::Raw));
    }

    #[test]
    fn a_header_longer_than_the_first_read_is_read_whole() {
        let bytes = image(|header| {
            header.extensions.push(crate::qcow2::extension::Extension {
                magic: 0x1234_5678,
                data: vec![7; 20_000],
            });
            header.set_backing(b"far", Some(b"qcow2")).unwrap();
        });
        let Probe::Qcow2(_, backing) = probed(&bytes) else {
            panic!("not recognised");
        };
        assert_eq!(backing.unwrap().recorded, "far");
    }

    #[test]
    fn tables_past_the_end_of_the_file_are_told() {
        let whole = image(|_| {});
        let told = |bytes: &[u8]| match probed(bytes) {
            Probe::Qcow2(info, _) => info.truncated.unwrap_or_default(),
            other => format!("{other:?}"),
        };
        assert_eq!(told(&whole), "");
        assert!(told(&whole[..0x20008]).contains("its L1 table"));
        // What maps the guest's disk is told before what only counts its clusters.
        assert!(told(&whole[..0x18000]).contains("its L1 table"));
        let counts_last = image(|header| {
            header.refcount_table_offset = HostOffset(0x20000);
            header.l1_offset = HostOffset(0x10000);
        });
        assert!(told(&counts_last[..0x28000]).contains("its refcount table"));
        let mut pointing = whole.clone();
        pointing[0x20008..0x20010].copy_from_slice(&0x8000_0000_0003_0000u64.to_be_bytes());
        let text = told(&pointing);
        assert!(text.contains("one of its L2 tables"), "{text}");
        assert!(!text.contains('\x1b'));
        pointing.resize(0x40000, 0);
        assert_eq!(told(&pointing), "");
        let snapshots = image(|header| {
            header.snapshot_count = 3;
            header.snapshots_offset = HostOffset(0x30000);
        });
        assert!(told(&snapshots).contains("its snapshot table"));
    }

    #[test]
    fn what_cannot_be_a_header_is_damaged_and_what_is_none_is_nothing() {
        let whole = image(|_| {});
        let Probe::Damaged(why) = probed(&whole[..60]) else {
            panic!("a cut header was taken");
        };
        assert!(why.contains("ends inside its qcow2 header"), "{why}");
        let mut wrong = whole.clone();
        wrong[23] = 77;
        let Probe::Damaged(why) = probed(&wrong) else {
            panic!("a wrong cluster size was taken");
        };
        assert!(why.contains("cluster_bits is 77"), "{why}");
        assert_eq!(probed(&[]), Probe::Nothing);
        assert_eq!(probed(&[0; 4096]), Probe::Nothing);
        assert_eq!(
            probed(b"KDMV...."),
            Probe::Other(Format::Other("vmdk".into()))
        );
        assert_eq!(
            probed(b"QFI\xfb\0\0\0\x01"),
            Probe::Other(Format::Other("qcow".into()))
        );
    }

    #[test]
    fn a_header_cut_at_any_byte_never_panics() {
        let whole = image(|header| header.set_backing(b"base", Some(b"qcow2")).unwrap());
        for cut in 0..600 {
            let _ = probed(&whole[..cut]);
        }
    }
}
