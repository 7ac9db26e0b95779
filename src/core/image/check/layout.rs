//! Where an image's tables are, as its header and the tables themselves say: everything but the L2
//! tables' content is read here, each table once however often it is named.

use std::collections::{BTreeMap, HashMap};

use crate::host::printable_bytes;
use crate::image::error::{OfFile, Result};
use crate::image::internal::{self, Fault};
use crate::image::read::snapshots::salvage;
use crate::image::read::table_reader::{each_entry, read_refcount_table};
use crate::image::{Error, ErrorKind};
use crate::qcow2::bitmap::{Bitmap, BitmapTableEntry, parse_directory};
use crate::qcow2::limits::{self, MAX_HELD_L2_TABLES, MIN_V3_SNAPSHOT_EXTRA_BYTES};
use crate::qcow2::{
    Autoclear, EntryTable, HostClusters, HostOffset, L1Entry, TablePlace, Version, l1, refcount,
};

use super::finding::{FindingKind, Findings};
use super::image::Image;
use super::window::{COPIED, NOT_COPIED, TWICE};

/// Ranges of tables, bitmaps' data included, that an image may have to be checked: a forged bitmap
/// table could name any number.
const MOST_RANGES: usize = 1 << 21;

/// A table that is nobody else's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) clusters: HostClusters,
    pub(super) what: &'static str,
    /// How often it is named.
    pub(super) weight: u32,
}

/// An L2 table.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableRef {
    /// Which cluster it is; an image that is checked has less than 2^31.
    pub(super) cluster: u32,
    /// How many L1 entries name it.
    pub(super) weight: u32,
    /// The first L1 entry that does; of the active L1 table where it is [`TableRef::active`].
    pub(super) l1_index: u32,
    /// Roles that its cluster has by the active L1 table.
    pub(super) roles: u32,
}

/// The number of a cluster of an image that is checked.
///
/// # Errors
/// The image has more than are checked.
#[track_caller]
pub(super) fn cluster_number(cluster: u64) -> std::result::Result<u32, Fault> {
    match u32::try_from(cluster) {
        Ok(cluster) => Ok(cluster),
        Err(_) => Err(Fault::new("a cluster beyond those that are checked")),
    }
}

impl TableRef {
    /// Whether the active L1 table names it.
    pub(super) const fn active(self) -> bool {
        self.roles & (COPIED | NOT_COPIED) != 0
    }
}

/// All tables of an image.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) ranges: Vec<Range>,
    /// Sorted by cluster.
    pub(super) tables: Vec<TableRef>,
    pub(super) refcounts: EntryTable,
}

/// Reads all tables but the L2 tables.
pub(super) fn collect(image: &Image<'_>, findings: &mut Findings) -> Result<Layout> {
    let mut collector = Collector {
        image,
        findings,
        layout: Layout::default(),
        looked_at: BTreeMap::new(),
        sorted: 0,
    };
    collector.range("the header", 0, image.size(), 1);
    collector.active_l1()?;
    collector.snapshots()?;
    collector.bitmaps()?;
    if let Some(crypto) = image.header.crypto_header() {
        collector.range(
            "the encryption header",
            crypto.offset.get(),
            crypto.length,
            1,
        );
    }
    collector.refcounts()?;
    collector.compact();
    collector.within_bounds()?;
    Ok(collector.layout)
}

struct Collector<'a> {
    image: &'a Image<'a>,
    findings: &'a mut Findings,
    layout: Layout,
    /// L1 and bitmap tables that were gone through, from where to where: none twice.
    looked_at: BTreeMap<u64, u64>,
    /// L2 tables after the last compaction.
    sorted: usize,
}

impl Collector<'_> {
    /// Notes a table. False if it lies outside the file.
    fn range(&mut self, what: &'static str, offset: u64, bytes: u64, weight: u32) -> bool {
        if bytes == 0 {
            return true;
        }
        if self.image.is_past_end(offset, bytes) {
            self.findings.at(FindingKind::PastEnd, offset, bytes, || {
                format!("{what} at {offset:#x} lies beyond the end of the file")
            });
            return false;
        }
        let clusters = self.image.geometry.clusters_of(HostOffset(offset), bytes);
        match self.layout.ranges.last_mut() {
            Some(last)
                if (last.what, last.weight) == (what, weight)
                    && last.clusters.end() == clusters.first =>
            {
                last.clusters.count += clusters.count;
            }
            _ => self.layout.ranges.push(Range {
                clusters,
                what,
                weight,
            }),
        }
        true
    }

    /// Notes a table whose entries are gone through. False if it lies outside the file or on another
    /// such table: each byte of the file is looked at once, however many tables claim it.
    fn table(
        &mut self,
        what: &'static str,
        (offset, bytes): (u64, u64),
        weight: u32,
        name: &str,
    ) -> bool {
        let end = offset.saturating_add(bytes);
        let below = self.looked_at.range(..end).next_back();
        if below.is_some_and(|(_, to)| *to > offset) {
            self.findings
                .at(FindingKind::TablesOverlap, offset, bytes, || {
                    format!("{name} at {offset:#x} lies on another table; it is not looked at")
                });
            return false;
        }
        if !self.range(what, offset, bytes, weight) {
            return false;
        }
        self.looked_at.insert(offset, end);
        true
    }

    fn active_l1(&mut self) -> Result<()> {
        let place = self.image.header.l1();
        if place.entries == 0 {
            return Ok(());
        }
        // Even where its end is missing.
        let range = (place.offset.get(), place.bytes());
        self.table("the L1 table", range, 1, "the L1 table");
        self.l2_tables(place, None, 1)
    }

    /// Notes the L2 tables that an L1 table names; `owner` is the snapshot it belongs to.
    fn l2_tables(&mut self, l1: TablePlace, owner: Option<&str>, weight: u32) -> Result<()> {
        let (image, size) = (self.image, self.image.size());
        let whose = || owner.map_or_else(String::new, |name| format!(" of snapshot {name}"));
        let what = format!("L1 table{}", whose());
        each_entry(image.file, l1, &what, &mut |index, raw| {
            let guest = owner.is_none().then(|| image.l1_guest(index.into()));
            let offset = raw & 0x00ff_ffff_ffff_fe00;
            let reserved = l1::reserved_bits(raw);
            if reserved != 0 || offset == 0 {
                self.findings
                    .seen(FindingKind::ReservedBits, offset, guest, || {
                        let what = if reserved == 0 {
                            "has the copied flag and names no L2 table".to_owned()
                        } else {
                            format!("has the reserved bits {reserved:#x} set")
                        };
                        format!("L1 entry {index}{} {what}", whose())
                    });
            }
            let entry = match L1Entry::parse(raw, image.geometry) {
                Ok(entry) => entry,
                Err(error) => {
                    self.findings
                        .seen(FindingKind::Unaligned, offset, guest, || {
                            format!("L1 entry {index}{}: {error}", whose())
                        });
                    return Ok(());
                }
            };
            if entry.table.is_none() {
                return Ok(());
            }
            if image.is_past_end(offset, size) {
                self.findings.seen(FindingKind::PastEnd, offset, guest, || {
                    format!(
                        "L1 entry {index}{} names an L2 table at {offset:#x}, beyond the end of \
                             the file",
                        whose()
                    )
                });
                return Ok(());
            }
            let roles = match (owner, entry.copied) {
                (Some(_), _) => 0,
                (None, true) => COPIED,
                (None, false) => NOT_COPIED,
            };
            self.layout.tables.push(TableRef {
                cluster: cluster_number(offset / size).of(image.file)?,
                weight,
                l1_index: index,
                roles,
            });
            Ok(())
        })?;
        if self.layout.tables.len() > self.sorted.saturating_mul(2).saturating_add(1 << 20) {
            self.compact();
            self.within_bounds()?;
        }
        Ok(())
    }

    /// Makes one of all references to the same L2 table.
    fn compact(&mut self) {
        let tables = &mut self.layout.tables;
        // Those of the active tree first, so that the index kept is that of the active L1 table.
        tables.sort_unstable_by_key(|table| (table.cluster, table.roles == 0, table.l1_index));
        tables.dedup_by(|next, kept| {
            if next.cluster != kept.cluster {
                return false;
            }
            kept.weight = kept.weight.saturating_add(next.weight);
            if next.roles != 0 && kept.roles != 0 {
                kept.roles |= TWICE;
            }
            kept.roles |= next.roles;
            true
        });
        self.sorted = tables.len();
    }

    fn within_bounds(&self) -> Result<()> {
        if self.layout.tables.len() <= MAX_HELD_L2_TABLES && self.layout.ranges.len() <= MOST_RANGES
        {
            return Ok(());
        }
        let text = format!(
            "has too many tables to be checked: {MAX_HELD_L2_TABLES} L2 tables are the most"
        );
        Err(Error::new(self.image.file, ErrorKind::Limit(text)))
    }

    fn snapshots(&mut self) -> Result<()> {
        let (image, header) = (self.image, self.image.header);
        let list = salvage(image.file, image.header)?;
        let (snapshots, len) = (list.snapshots, list.len);
        let table_offset = header.snapshots_offset.get();
        self.range("the snapshot table", table_offset, len, 1);
        if list.overlong {
            self.findings
                .at(FindingKind::SnapshotTable, table_offset, len, || {
                    format!(
                        "snapshots with more than {} bytes of extra data: QEMU does not open the image",
                        limits::MAX_SNAPSHOT_EXTRA_BYTES
                    )
                });
        }
        if let Some(fault) = list.rest {
            self.findings
                .at(FindingKind::SnapshotTable, table_offset, len, || {
                    format!(
                        "of {} snapshots {} can be read: {fault}",
                        header.snapshot_count,
                        snapshots.len()
                    )
                });
        }
        if !snapshots.is_empty() && header.has_data_file() {
            self.findings
                .at(FindingKind::SnapshotTable, table_offset, len, || {
                    format!(
                        "{} internal snapshots in an image with an external data file, which cannot \
                         have any",
                        snapshots.len()
                    )
                });
        }
        let mut distinct: HashMap<TablePlace, (u32, String)> = HashMap::new();
        let mut order = Vec::new();
        for snapshot in &snapshots {
            let name = || printable_bytes(&snapshot.name);
            if header.version == Version::V3 && snapshot.extra.len() < MIN_V3_SNAPSHOT_EXTRA_BYTES {
                self.findings
                    .at(FindingKind::SnapshotTable, table_offset, 0, || {
                        format!(
                            "snapshot {} does not record its disk size, as version 3 demands",
                            name()
                        )
                    });
            }
            if let Err(error) = snapshot.check_l1(image.geometry) {
                self.findings
                    .at(FindingKind::SnapshotTable, table_offset, 0, || {
                        format!("snapshot {}: {error}", name())
                    });
                continue;
            }
            if let Err(error) = snapshot.check_size(image.geometry) {
                self.findings
                    .at(FindingKind::SnapshotTable, table_offset, 0, || {
                        format!("snapshot {}: {error}", name())
                    });
            }
            if snapshot.l1_entries == 0 {
                continue;
            }
            let place = snapshot.l1();
            let entry = distinct.entry(place).or_insert_with(|| {
                order.push(place);
                (0, name())
            });
            entry.0 += 1;
        }
        for place in order {
            let Some((weight, name)) = distinct.remove(&place) else {
                continue;
            };
            let range = (place.offset.get(), place.bytes());
            let what = format!("the L1 table of snapshot {name}");
            if self.table("a snapshot's L1 table", range, weight, &what) {
                self.l2_tables(place, Some(&name), weight)?;
            }
        }
        Ok(())
    }

    fn bitmaps(&mut self) -> Result<()> {
        let (image, header) = (self.image, self.image.header);
        let Some(extension) = header
            .bitmaps()
            .filter(|_| header.autoclear.contains(Autoclear::BITMAPS))
        else {
            return Ok(());
        };
        let (offset, len) = (extension.directory_offset.get(), extension.directory_size);
        if !self.range("the bitmap directory", offset, len, 1) {
            return Ok(());
        }
        // The format's limits bound the directory to 64 MiB.
        let mut bytes = vec![0; internal::index(len).of(image.file)?];
        image
            .file
            .read_padded(&mut bytes, offset, "read the bitmap directory")?;
        let bitmaps = match parse_directory(&bytes, extension.count, image.geometry) {
            Ok(bitmaps) => bitmaps,
            Err(error) => {
                self.findings.at(FindingKind::BitmapTable, offset, len, || {
                    format!("the bitmap directory at {offset:#x}: {error}")
                });
                return Ok(());
            }
        };
        drop(bytes);
        for bitmap in &bitmaps {
            self.bitmap(bitmap)?;
        }
        Ok(())
    }

    fn bitmap(&mut self, bitmap: &Bitmap) -> Result<()> {
        let size = self.image.size();
        let place = bitmap.table();
        let (offset, bytes) = (place.offset.get(), place.bytes());
        let name = printable_bytes(&bitmap.name);
        let what = format!("the table of bitmap {name}");
        let disk = self.image.header.virtual_size();
        if !bitmap.fits(disk, self.image.geometry) {
            self.findings
                .at(FindingKind::BitmapTable, offset, bytes, || {
                    let entries = place.entries;
                    format!("{what} has {entries} entries, which does not fit the disk's size")
                });
        }
        if !self.table("a bitmap table", (offset, bytes), 1, &what) {
            return Ok(());
        }
        let image = self.image;
        let named = format!("table of bitmap {name}");
        each_entry(image.file, place, &named, &mut |_, raw| {
            match BitmapTableEntry::parse(raw, image.geometry) {
                Ok(BitmapTableEntry::Stored(place)) => {
                    self.range("a bitmap's data", place.get(), size, 1);
                }
                Ok(_) => {}
                Err(error) => {
                    self.findings
                        .at(FindingKind::BitmapTable, offset, bytes, || {
                            format!("{what}: {error}")
                        });
                }
            }
            self.within_bounds()
        })
    }

    fn refcounts(&mut self) -> Result<()> {
        let (image, header) = (self.image, self.image.header);
        let size = image.size();
        let len = u64::from(header.refcount_table_clusters) * size;
        let offset = header.refcount_table_offset.get();
        self.range("the refcount table", offset, len, 1);
        let table = read_refcount_table(image.file, header)?;
        for (index, raw) in table.iter().enumerate() {
            if raw == 0 {
                continue;
            }
            let reserved = refcount::reserved_bits(raw);
            let wrong = if reserved != 0 {
                format!("has the reserved bits {reserved:#x} set")
            } else {
                match refcount::parse_table_entry(raw, image.geometry) {
                    Ok(None) => continue,
                    Ok(Some(block)) if !image.is_past_end(block.get(), size) => {
                        self.range("a refcount block", block.get(), size, 1);
                        continue;
                    }
                    Ok(Some(block)) => {
                        format!("names a block at {block}, beyond the end of the file")
                    }
                    Err(error) => error.to_string(),
                }
            };
            self.findings
                .at(FindingKind::RefcountBlock, raw & !0x1ff, size, || {
                    format!("refcount table entry {index}: {wrong}")
                });
        }
        self.layout.refcounts = table;
        Ok(())
    }
}
