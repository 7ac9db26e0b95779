//! Amending: another version, refcount width or feature of an image whose guest sees the same.

use std::collections::BTreeMap;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::host::printable_bytes;
use crate::image::error::Result;
use crate::image::read::snapshots::read;
use crate::image::read::table_reader::{read_active_l1, read_entries, read_l2, read_snapshot_l1};
use crate::image::read::table_walk::TableWalk;
use crate::image::write::shadow_refcounts::ShadowRefcounts;
use crate::image::write::transaction::MetadataTransaction;
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink, bitmaps};
use crate::qcow2::limits::{MAX_HELD_L1_BYTES, MIN_V3_SNAPSHOT_EXTRA_BYTES};
use crate::qcow2::snapshot::encode_table;
use crate::qcow2::{
    Autoclear, Compatible, CompressionType, CryptMethod, EntryTable, Geometry, Header, HostCluster,
    HostClusters, HostOffset, Incompatible, L1Entry, L2Buf, L2Entry, Snapshot, Version,
};

/// What is to be another way; whatever is none stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize))]
pub struct Amendment {
    /// The version of the format.
    pub version: Option<Version>,
    /// Whether refcounts may be written late.
    pub lazy_refcounts: Option<bool>,
    /// The refcount width, as a power of two.
    pub refcount_order: Option<u32>,
    /// The codec of compressed clusters, of which there must be none.
    pub compression: Option<CompressionType>,
    /// The recorded name of the external data file, which the image must have.
    pub data_file: Option<Vec<u8>>,
    /// Whether the data file is promised to be what the guest sees; can only be taken back.
    pub data_file_raw: Option<bool>,
}

impl Amendment {
    /// What of it differs from what a header says.
    #[must_use]
    pub fn differing(mut self, header: &Header) -> Self {
        let lazy = header.compatible.contains(Compatible::LAZY_REFCOUNTS);
        let raw = header.autoclear.contains(Autoclear::RAW_EXTERNAL_DATA);
        self.version = self.version.filter(|now| *now != header.version);
        self.lazy_refcounts = self.lazy_refcounts.filter(|now| *now != lazy);
        let order = header.geometry.refcount_order();
        self.refcount_order = self.refcount_order.filter(|now| *now != order);
        self.compression = self.compression.filter(|now| *now != header.compression);
        self.data_file = self
            .data_file
            .filter(|now| header.data_file() != Some(now.as_slice()));
        self.data_file_raw = self.data_file_raw.filter(|now| *now != raw);
        self
    }

    /// The amendment that takes this one back, given the header before; none if nothing can.
    #[must_use]
    pub fn inverse(&self, before: &Header) -> Option<Self> {
        if self.data_file_raw.is_some() {
            return None;
        }
        let lazy = before.compatible.contains(Compatible::LAZY_REFCOUNTS);
        let from_v3 = self.version.is_some() && before.version == Version::V3;
        Some(Self {
            version: self.version.map(|_| before.version),
            lazy_refcounts: (self.lazy_refcounts.is_some() || from_v3).then_some(lazy),
            refcount_order: self
                .refcount_order
                .map(|_| before.geometry.refcount_order()),
            compression: self.compression.map(|_| before.compression),
            data_file: match &self.data_file {
                Some(_) => Some(before.data_file()?.to_vec()),
                None => None,
            },
            data_file_raw: None,
        })
    }
}

/// An amendment, ready to be made. Until then nothing is written.
#[derive(Debug)]
pub struct Amend {
    transaction: MetadataTransaction,
    moved: Vec<Moved>,
    /// Clusters of zeros that zero entries refer to afterwards.
    zeros: Vec<HostCluster>,
}

/// An L2 table that is written anew, without zero flags.
#[derive(Debug)]
struct Moved {
    from: HostOffset,
    to: HostOffset,
    /// What its zero entries refer to afterwards, in order. Empty: they become unallocated.
    zeros: Vec<SharedZeros>,
}

/// A cluster of zeros that entries in a row refer to.
#[derive(Debug, Clone, Copy)]
struct SharedZeros {
    cluster: HostCluster,
    entries: u64,
}

/// What is to be known of an L2 table to take its zero flags away.
#[derive(Debug, Default)]
struct Zeroed {
    /// L1 entries that name it.
    names: u64,
    /// Zero entries.
    entries: u64,
}

impl Amend {
    /// Works out what amends an image.
    ///
    /// # Errors
    /// When the image cannot be read or may not be written, a check finds corruptions, or it holds
    /// something that it could not hold afterwards.
    pub fn plan(
        file: &ImageFile,
        amendment: &Amendment,
        progress: &dyn ProgressSink,
    ) -> Result<Self> {
        let mut transaction = MetadataTransaction::begin(file, progress)?;
        let wish = amendment.clone().differing(transaction.header());
        refuse(&transaction, amendment, &wish)?;
        if wish.compression.is_some() {
            refuse_compressed(&transaction, progress)?;
        }
        let header = transaction.header().clone();
        let lazy = |on: bool| {
            let mut bits = header.compatible;
            bits.set(Compatible::LAZY_REFCOUNTS, on);
            bits
        };
        transaction.edit.compatible = wish.lazy_refcounts.map(lazy);
        transaction.edit.compression = wish.compression;
        transaction.edit.data_file = wish.data_file;
        if wish.data_file_raw == Some(false) {
            transaction.edit.autoclear = Some(header.autoclear & Autoclear::BITMAPS);
        }
        if let Some(order) = wish.refcount_order {
            let old = header.geometry;
            let new = Geometry::new(old.cluster_bits(), order, old.extended_l2())
                .map_err(|e| transaction.format_error(e))?;
            let counts = ShadowRefcounts::open(file, &header)?;
            transaction.counts = counts.in_width_of(new)?;
            transaction.edit.refcount_order = Some(order);
        }
        let mut amend = Self {
            transaction,
            moved: Vec::new(),
            zeros: Vec::new(),
        };
        amend.transaction.edit.version = wish.version;
        match wish.version {
            Some(Version::V2) => amend.become_version_2(&header, progress)?,
            Some(Version::V3) => amend.become_version_3(&header)?,
            None => {}
        }
        amend.transaction = amend.transaction.settle()?;
        Ok(amend)
    }

    /// Version 3 wants every snapshot to say how long its disk is.
    fn become_version_3(&mut self, header: &Header) -> Result<()> {
        let (mut list, len) = read(&self.transaction.file, header)?;
        if list
            .iter()
            .all(|snapshot| snapshot.extra.len() >= MIN_V3_SNAPSHOT_EXTRA_BYTES)
        {
            return Ok(());
        }
        for snapshot in list
            .iter_mut()
            .filter(|s| s.extra.len() < MIN_V3_SNAPSHOT_EXTRA_BYTES)
        {
            let state = snapshot.vm_state_size();
            snapshot.set_extra(state, header.virtual_size(), None);
        }
        self.put_snapshots(header, &list, len)
    }

    fn put_snapshots(&mut self, header: &Header, list: &[Snapshot], old_len: u64) -> Result<()> {
        self.transaction.release(header.snapshots_offset, old_len)?;
        let bytes = encode_table(list).map_err(|e| self.transaction.format_error(e))?;
        let place = self.transaction.put(bytes)?;
        self.transaction.edit.snapshots = Some((place, header.snapshot_count));
        Ok(())
    }

    /// Version 2 has no zero flag and no feature bits. Zero entries become unallocated where nothing
    /// lies below, and refer to a few clusters of zeros that they share where something does.
    fn become_version_2(&mut self, header: &Header, progress: &dyn ProgressSink) -> Result<()> {
        self.transaction.edit.incompatible = Some(Incompatible::empty());
        self.transaction.edit.compatible = Some(Compatible::empty());
        self.transaction.edit.autoclear = Some(Autoclear::empty());
        // There are none but such as are out of date.
        self.transaction.edit.bitmaps = Some(None);
        let file = self.transaction.file.clone();
        let (context, size) = (self.transaction.context, self.transaction.cluster_size());
        let geometry = context.geometry;
        let (mut list, list_len) = read(&file, header)?;
        let entries = list
            .iter()
            .map(|snapshot| u64::from(snapshot.l1_entries))
            .fold(u64::from(header.l1_entries), u64::saturating_add);
        if entries.saturating_mul(8) > MAX_HELD_L1_BYTES {
            let text =
                format!("has {entries} entries in its L1 tables, too many to go through at once");
            return Err(self.transaction.limit(text));
        }
        let mut l1s = vec![read_active_l1(&file, header)?];
        for snapshot in &list {
            l1s.push(read_snapshot_l1(&file, snapshot)?);
        }
        let tables = TableWalk::new(&file, context, progress);
        // Every reference a zero entry has is given up, once for each way that leads to it.
        let mut found: BTreeMap<HostOffset, Zeroed> = BTreeMap::new();
        for l1 in &l1s {
            tables.each(l1, |named, bytes| {
                let table = parsed(&self.transaction, bytes)?;
                let mut entries = 0;
                for at in 0..table.len() {
                    let entry = table.get(at).map_err(|e| tables.damaged(&e))?;
                    if let L2Entry::Zero { host, .. } = entry {
                        entries += 1;
                        if let Some(host) = host {
                            self.transaction.release(host, size)?;
                        }
                    }
                }
                if entries > 0 {
                    let zeroed = found.entry(named.offset).or_default();
                    zeroed.entries = entries;
                    zeroed.names += 1;
                }
                Ok(())
            })?;
        }
        if found.is_empty() {
            return Ok(());
        }
        let shines_through = header.backing_file().is_some();
        let mut places: BTreeMap<HostOffset, HostOffset> = BTreeMap::new();
        for (offset, zeroed) in &found {
            let zeros = if shines_through {
                self.share_zeros(zeroed)?
            } else {
                Vec::new()
            };
            let to = self.transaction.counts.allocate(1)?;
            for _ in 1..zeroed.names {
                self.transaction.counts.raise(HostClusters::one(to))?;
            }
            for _ in 0..zeroed.names {
                self.transaction.release(*offset, size)?;
            }
            let to = geometry.offset_of(to);
            places.insert(*offset, to);
            self.moved.push(Moved {
                from: *offset,
                to,
                zeros,
            });
        }
        // A cluster that a snapshot's zero entry kept may be the active view's alone now.
        let mut alone = places.clone();
        let active = l1s.first().cloned().unwrap_or_default();
        tables.each(&active, |named, bytes| {
            let mut table = parsed(&self.transaction, bytes)?;
            if places.contains_key(&named.offset)
                || !settle_flags(&mut self.transaction, &mut table)?
            {
                return Ok(());
            }
            self.transaction.release(named.offset, size)?;
            // Two entries may name one table, and so they do afterwards.
            if let Some(to) = alone.get(&named.offset) {
                let cluster = geometry.cluster_of(*to);
                return self.transaction.counts.raise(HostClusters::one(cluster));
            }
            let to = geometry.offset_of(self.transaction.counts.allocate(1)?);
            alone.insert(named.offset, to);
            self.moved.push(Moved {
                from: named.offset,
                to,
                zeros: Vec::new(),
            });
            Ok(())
        })?;
        let (mut active, rest) = match l1s.split_first() {
            Some((active, rest)) => (active.clone(), rest.to_vec()),
            None => return Ok(()),
        };
        self.redirect(&mut active, &alone, true)?;
        self.transaction.put_active_l1(&active)?;
        let mut is_changed = false;
        for (snapshot, mut l1) in list.iter_mut().zip(rest) {
            if self.redirect(&mut l1, &places, false)? {
                self.transaction
                    .release(snapshot.l1_offset, snapshot.l1().bytes())?;
                snapshot.l1_offset = self.transaction.put(l1.as_bytes().to_vec())?;
                is_changed = true;
            }
        }
        if is_changed {
            self.put_snapshots(header, &list, list_len)?;
        }
        Ok(())
    }

    /// Clusters of zeros for the zero entries of a table, each referred to as often as its count holds.
    fn share_zeros(&mut self, zeroed: &Zeroed) -> Result<Vec<SharedZeros>> {
        let most = u64::from(u16::MAX);
        let mut runs: Vec<SharedZeros> = Vec::new();
        for _ in 0..zeroed.entries {
            let open = match self.zeros.last() {
                Some(last) if self.transaction.counts.get(*last)? + zeroed.names <= most => {
                    Some(*last)
                }
                _ => None,
            };
            let (cluster, more) = match open {
                Some(cluster) => (cluster, zeroed.names),
                None => {
                    let cluster = self.transaction.counts.allocate(1)?;
                    self.zeros.push(cluster);
                    (cluster, zeroed.names - 1)
                }
            };
            for _ in 0..more {
                self.transaction.counts.raise(HostClusters::one(cluster))?;
            }
            match runs.last_mut() {
                Some(last) if last.cluster == cluster => last.entries += 1,
                _ => runs.push(SharedZeros {
                    cluster,
                    entries: 1,
                }),
            }
        }
        Ok(runs)
    }

    /// Has an L1 table name the new places; whether that changes it.
    fn redirect(
        &mut self,
        l1: &mut EntryTable,
        places: &BTreeMap<HostOffset, HostOffset>,
        is_active: bool,
    ) -> Result<bool> {
        let geometry = self.transaction.geometry();
        let mut is_changed = false;
        for at in 0..l1.len() {
            let raw = l1.entry(at).map_err(|e| self.transaction.format_error(e))?;
            let entry =
                L1Entry::parse(raw, geometry).map_err(|e| self.transaction.format_error(e))?;
            let place = entry.table.and_then(|table| places.get(&table));
            let Some(place) = place else { continue };
            let copied = is_active && self.transaction.is_alone(*place)?;
            let entry = L1Entry {
                table: Some(*place),
                copied,
            };
            let raw = entry.encode(geometry);
            let raw = raw.map_err(|e| self.transaction.format_error(e))?;
            l1.set(at, raw)
                .map_err(|e| self.transaction.format_error(e))?;
            is_changed = true;
        }
        Ok(is_changed)
    }

    /// The header of the image as it is.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.transaction.header()
    }

    /// Bytes that are written, all of them to places that are free now but for the header.
    #[must_use]
    pub fn written(&self) -> u64 {
        let clusters = (self.moved.len() + self.zeros.len()) as u64;
        self.transaction.written() + clusters * self.transaction.cluster_size()
    }

    /// Makes the change. At every instant the image on disk is the old one or the new one, each
    /// complete. It can be stopped until the switch.
    ///
    /// # Errors
    /// When the file cannot be written, or it was stopped: the image is as it was.
    pub fn commit(self, progress: &dyn ProgressSink) -> Result<()> {
        let file = self.transaction.file.clone();
        let geometry = self.transaction.geometry();
        let size = geometry.cluster_size();
        let zeros = vec![0; geometry.cluster_len()];
        let go_on = || {
            if progress.advance(size) {
                Ok(())
            } else {
                Err(Error::new(&file, ErrorKind::Cancelled))
            }
        };
        let Self {
            transaction,
            moved,
            zeros: places,
        } = self;
        transaction.commit_with(progress, |transaction, batch| {
            for cluster in &places {
                batch.put(geometry.offset_of(*cluster).get(), &zeros)?;
                go_on()?;
            }
            for moved in moved {
                let table = without_zeros(transaction, &moved)?;
                batch.put(moved.to.get(), table.as_bytes())?;
                go_on()?;
            }
            Ok(())
        })
    }
}

/// The L2 table that is written anew, without its zero entries and with the flags that its clusters have.
fn without_zeros(transaction: &mut MetadataTransaction, moved: &Moved) -> Result<L2Buf> {
    let file = transaction.file.clone();
    let geometry = transaction.geometry();
    let mut table = read_l2(&file, moved.from.get(), transaction.context)?;
    let mut runs = moved.zeros.iter().copied();
    let mut run = runs.next();
    for at in 0..table.len() {
        let entry = table.get(at).map_err(|e| transaction.format_error(e))?;
        if !matches!(entry, L2Entry::Zero { .. }) {
            continue;
        }
        if run.is_some_and(|run| run.entries == 0) {
            run = runs.next();
        }
        let new = match &mut run {
            None => L2Entry::Unallocated,
            Some(run) => {
                run.entries = run.entries.saturating_sub(1);
                L2Entry::Data {
                    host: geometry.offset_of(run.cluster),
                    copied: false,
                }
            }
        };
        let set = table.set(at, new);
        set.map_err(|e| transaction.format_error(e))?;
    }
    settle_flags(transaction, &mut table)?;
    Ok(table)
}

/// Brings a table's copied flags in line with the counts; whether any was not.
fn settle_flags(transaction: &mut MetadataTransaction, table: &mut L2Buf) -> Result<bool> {
    let mut differs = false;
    for at in 0..table.len() {
        let entry = table.get(at).map_err(|e| transaction.format_error(e))?;
        let Some(host) = entry.host() else { continue };
        let copied = transaction.is_alone(host)?;
        if copied != entry.copied() {
            let set = table.set(at, entry.with_copied(copied));
            set.map_err(|e| transaction.format_error(e))?;
            differs = true;
        }
    }
    Ok(differs)
}

/// An L2 table as it was handed over: no bytes for one that maps nothing.
fn parsed(transaction: &MetadataTransaction, bytes: &[u8]) -> Result<L2Buf> {
    if bytes.is_empty() {
        return Ok(L2Buf::zeroed(transaction.context));
    }
    L2Buf::from_bytes(bytes.to_vec(), transaction.context).map_err(|e| transaction.format_error(e))
}

/// What the format or QEMU does not allow.
fn refuse(transaction: &MetadataTransaction, asked: &Amendment, wish: &Amendment) -> Result<()> {
    let header = transaction.header();
    let unsupported = |text: &str| Err(transaction.unsupported(text));
    let version = wish.version.unwrap_or(header.version);
    let order = wish
        .refcount_order
        .unwrap_or(header.geometry.refcount_order());
    if wish.data_file.is_some() && !header.has_data_file() {
        return unsupported("has no external data file: guest data is not moved into one");
    }
    if wish.data_file.as_ref().is_some_and(Vec::is_empty) {
        return unsupported("could not be opened without the name of its data file");
    }
    if wish.data_file_raw == Some(true) {
        return unsupported(
            "cannot be promised to have a raw data file: that can only be said when it is made",
        );
    }
    if version == Version::V3 {
        return Ok(());
    }
    if order != 4 {
        return unsupported(
            "has refcounts of another width than 16 bits, and version 2 knows no other: ask for 16 bits as well",
        );
    }
    if asked.lazy_refcounts == Some(true) {
        return unsupported("cannot write refcounts late in version 2");
    }
    let compression = wish.compression.unwrap_or(header.compression);
    if compression != CompressionType::Zlib {
        return unsupported("compresses with zstd, which version 2 does not know");
    }
    if wish.version.is_none() {
        return Ok(());
    }
    if header.has_data_file() {
        return unsupported("has an external data file, which version 2 does not know");
    }
    if header.crypt != CryptMethod::None {
        return unsupported("is encrypted: only version 3 is written for that here");
    }
    if header.geometry.extended_l2() {
        return unsupported("has extended L2 entries, which version 2 does not know");
    }
    if let Some(bitmap) = bitmaps(&transaction.file, header)?.first() {
        return Err(transaction.unsupported(format!(
            "has the dirty bitmap {}, and version 2 has none: remove its bitmaps first",
            printable_bytes(&bitmap.name)
        )));
    }
    if header.unknown_fields.iter().any(|byte| *byte != 0) {
        return unsupported(
            "has header fields that are not known here and that version 2 has no room for",
        );
    }
    for snapshot in &read(&transaction.file, header)?.0 {
        let size = snapshot.virtual_size();
        let fits = u32::try_from(snapshot.vm_state_size()).is_ok();
        if size.is_some_and(|size| size != header.virtual_size()) || !fits {
            return Err(transaction.unsupported(format!(
                "has the internal snapshot {}, whose disk is of another size or whose machine's state is too large \
                 for version 2",
                printable_bytes(&snapshot.name)
            )));
        }
    }
    Ok(())
}

/// Compressed clusters are read with the codec they were written with.
fn refuse_compressed(transaction: &MetadataTransaction, progress: &dyn ProgressSink) -> Result<()> {
    let (file, header) = (&transaction.file, transaction.header());
    let mut places = vec![header.l1()];
    places.extend(read(file, header)?.0.iter().map(Snapshot::l1));
    let tables = TableWalk::new(file, transaction.context, progress);
    for place in places {
        let l1 = read_entries(file, place, "L1 table")?;
        tables.each(&l1, |_, bytes| {
            let table = parsed(transaction, bytes)?;
            for at in 0..table.len() {
                let entry = table.get(at).map_err(|e| tables.damaged(&e))?;
                if matches!(entry, L2Entry::Compressed(_)) {
                    let text = format!(
                        "has clusters compressed with {}, which would be read with another codec: convert it instead",
                        header.compression
                    );
                    return Err(transaction.unsupported(text));
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}
