//! Checking an image's metadata: every reference counted and compared with the image's own counts.
//! Works without the image below, reads no guest data, and changes nothing.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use crate::host::HostFile;
use crate::qcow2::{
    EntryTable, Geometry, Header, L1Entry, L2Context, L2Entry, RefcountBlock, Version, l1, l2,
    refcount,
};

use super::error::{IoContext, Result};
use super::qcow2_layer::{read_entries, read_header, read_l2};
use super::refcounts::Refcounts;
use super::{Error, ErrorKind, Pace, TableMap};

/// Findings kept with their words; further ones are only counted.
const KEPT: usize = 100;

/// Clusters a file may have to be checked: two bytes are needed for each.
const MOST_CLUSTERS: u64 = 1 << 28;

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Check {
    /// References that cannot be right, or counts too low to protect what is in use.
    pub corruptions: u64,
    /// Clusters that are counted as used more often than they are: lost space, no danger.
    pub leaks: u64,
    /// Bytes of leaked clusters.
    pub leaked_bytes: u64,
    /// The first findings, in words.
    pub findings: Vec<Finding>,
    /// Guest clusters that hold data here.
    pub allocated_clusters: u64,
    /// Of these, compressed ones.
    pub compressed_clusters: u64,
    /// End of the last cluster in use, in bytes.
    pub image_end: u64,
    /// Where the image's own tables are.
    pub tables: TableMap,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is dangerous.
    pub kind: FindingKind,
    /// What was found where, without the file's name.
    pub text: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// Must be repaired before the image is written.
    Corruption,
    /// Lost space.
    Leak,
}

/// Checks the qcow2 image in `file`. `path` is for errors, `pace` hears of clusters looked at (in
/// bytes of the file) and can stop it.
///
/// # Errors
/// When the file cannot be read, its header is not valid, a snapshot or bitmap table cannot be
/// understood, or it was stopped.
pub fn check(path: &Path, file: &Arc<dyn HostFile>, pace: &dyn Pace) -> Result<Check> {
    let header = read_header(path, &**file)?;
    let unknown = header.unknown_incompatible();
    if !unknown.is_empty() {
        return Err(Error::new(
            path,
            ErrorKind::UnknownFeatures(unknown.iter().map(ToString::to_string).collect()),
        ));
    }
    let len = file.len().at(path, "ask the length")?;
    let clusters = len.div_ceil(header.geometry.cluster_size());
    if clusters > MOST_CLUSTERS {
        let text =
            format!("is too long to be checked: {clusters} clusters, {MOST_CLUSTERS} is the most");
        return Err(Error::new(path, ErrorKind::Limit(text)));
    }
    let mut survey = Survey {
        path,
        file: &**file,
        geometry: header.geometry,
        context: L2Context::of(&header),
        len,
        counts: vec![0; usize::try_from(clusters).unwrap_or(0)],
        tables: Vec::new(),
        result: Check::default(),
        pace,
    };
    survey.add_table(0, 1, "the header");
    let mut refs = Refcounts::open(path, Arc::clone(file), &header)?;
    let active = survey.l1_table(
        "the L1 table",
        header.l1_offset.get(),
        u64::from(header.l1_entries),
    )?;
    let (snapshots, table_len) = super::snapshots::read(path, &**file, &header)?;
    for snapshot in snapshots {
        let name = crate::host::printable_bytes(&snapshot.name);
        // Version 3 demands both 64-bit sizes; QEMU counts their absence as a corruption.
        if header.version == Version::V3 && snapshot.virtual_size().is_none() {
            survey.corrupt(format!("the entry of snapshot {name} is incomplete"));
        }
        let what = format!("snapshot {name}'s L1 table");
        let table = survey.l1_table(
            &what,
            snapshot.l1_offset.get(),
            u64::from(snapshot.l1_entries),
        )?;
        survey.tree(&table, "an L2 table of a snapshot", None)?;
    }
    survey.add_bytes(
        header.snapshots_offset.get(),
        table_len,
        "the snapshot table",
    );
    super::bitmaps::each_range(path, &**file, &header, &mut |offset, bytes, what| {
        survey.add_bytes(offset, bytes, what)
    })?;
    if let Some(crypto) = header.crypto_header() {
        survey.add_bytes(crypto.offset.get(), crypto.length, "the encryption header");
    }
    let (table_offset, table_len) = refs.table_range();
    survey.add_bytes(table_offset, table_len, "the refcount table");
    let blocks = survey.refcount_blocks(&header)?;
    // The copied flags of the active tables are judged by the image's own counts.
    survey.tree(&active, "an L2 table", Some(&mut refs))?;
    survey.compare(&blocks)?;
    survey.overlaps();
    let mut result = survey.result;
    result.tables = TableMap::new(survey.tables);
    Ok(result)
}

struct Survey<'a> {
    path: &'a Path,
    file: &'a dyn HostFile,
    geometry: Geometry,
    context: L2Context,
    len: u64,
    /// References found, one number a cluster, saturating.
    counts: Vec<u16>,
    tables: Vec<(u64, u64, &'static str)>,
    result: Check,
    pace: &'a dyn Pace,
}

impl Survey<'_> {
    fn find(&mut self, kind: FindingKind, text: String) {
        match kind {
            FindingKind::Corruption => self.result.corruptions += 1,
            FindingKind::Leak => self.result.leaks += 1,
        }
        if self.result.findings.len() < KEPT {
            self.result.findings.push(Finding { kind, text });
        }
    }

    fn corrupt(&mut self, text: String) {
        self.find(FindingKind::Corruption, text);
    }

    /// Counts one reference to every cluster that `offset..offset + bytes` touches. False if it lies
    /// outside the file.
    fn add(&mut self, offset: u64, bytes: u64, what: &str) -> bool {
        let size = self.geometry.cluster_size();
        let Some(end) = offset.checked_add(bytes).filter(|_| bytes > 0) else {
            return bytes == 0;
        };
        let (first, last) = (offset / size, (end - 1) / size);
        let mut inside = true;
        for cluster in first..=last {
            match usize::try_from(cluster)
                .ok()
                .and_then(|at| self.counts.get_mut(at))
            {
                Some(count) => *count = count.saturating_add(1),
                None => {
                    inside = false;
                    break;
                }
            }
        }
        if !inside {
            self.corrupt(format!(
                "{what} at {offset:#x} lies beyond the end of the file"
            ));
        }
        inside
    }

    fn add_bytes(&mut self, offset: u64, bytes: u64, what: &'static str) {
        let size = self.geometry.cluster_size();
        if self.add(offset, bytes, what) && bytes > 0 {
            self.tables
                .push((offset / size, (offset % size + bytes).div_ceil(size), what));
        }
    }

    fn add_table(&mut self, cluster: u64, clusters: u64, what: &'static str) {
        let size = self.geometry.cluster_size();
        self.add_bytes(cluster * size, clusters * size, what);
    }

    fn l1_table(&mut self, what: &str, offset: u64, entries: u64) -> Result<EntryTable> {
        if entries.saturating_mul(8) > crate::qcow2::limits::MAX_L1_BYTES {
            self.corrupt(format!("{what} is too long"));
            return Ok(EntryTable::default());
        }
        if self.add(offset, entries * 8, what) && entries > 0 {
            let size = self.geometry.cluster_size();
            self.tables.push((
                offset / size,
                (offset % size + entries * 8).div_ceil(size),
                "an L1 table",
            ));
        }
        read_entries(self.path, self.file, offset, entries, what)
    }

    /// Counts the refcount blocks; returns those that can be used, by number and offset, each once.
    fn refcount_blocks(&mut self, header: &Header) -> Result<Vec<(u64, u64)>> {
        let size = self.geometry.cluster_size();
        let entries = u64::from(header.refcount_table_clusters) * (size / 8);
        let offset = header.refcount_table_offset.get();
        let table = read_entries(self.path, self.file, offset, entries, "refcount table")?;
        let mut met = HashSet::new();
        let mut blocks = Vec::new();
        for (index, raw) in (0..).zip(table.iter()) {
            let reserved = refcount::reserved_bits(raw);
            if reserved != 0 {
                self.corrupt(format!(
                    "refcount table entry {index} has the reserved bits {reserved:#x} set"
                ));
            }
            match refcount::parse_table_entry(raw, self.geometry) {
                Ok(None) => {}
                Ok(Some(block)) if !met.insert(block) => {
                    self.corrupt(format!(
                        "refcount table entry {index} names a block that another entry names"
                    ));
                }
                Ok(Some(block)) => {
                    let before = self.result.corruptions;
                    self.add_bytes(block.get(), size, "a refcount block");
                    if before == self.result.corruptions {
                        blocks.push((index, block.get()));
                    }
                }
                Err(error) => self.corrupt(format!("refcount table entry {index}: {error}")),
            }
        }
        Ok(blocks)
    }

    /// Everything one L1 table leads to. With `refs`, copied flags are compared with the counts.
    fn tree(
        &mut self,
        table: &EntryTable,
        what: &'static str,
        mut refs: Option<&mut Refcounts>,
    ) -> Result<()> {
        let size = self.geometry.cluster_size();
        for (index, raw) in table.iter().enumerate() {
            let reserved = l1::reserved_bits(raw);
            if reserved != 0 {
                self.corrupt(format!(
                    "L1 entry {index} has the reserved bits {reserved:#x} set"
                ));
            }
            let entry = match L1Entry::parse(raw, self.geometry) {
                Ok(entry) => entry,
                Err(error) => {
                    self.corrupt(format!("L1 entry {index}: {error}"));
                    continue;
                }
            };
            let Some(offset) = entry.table.map(crate::qcow2::HostOffset::get) else {
                continue;
            };
            if !self.add(offset, size, what) {
                continue;
            }
            // An L2 table that several snapshots share is a table once.
            self.tables.push((offset / size, 1, "an L2 table"));
            if let Some(refs) = refs.as_deref_mut() {
                self.copied_flag(refs, offset, entry.copied, || format!("L1 entry {index}"))?;
            }
            self.l2_table(offset, index, refs.as_deref_mut())?;
            if !self.pace.advance(size) {
                return Err(Error::new(self.path, ErrorKind::Stopped));
            }
        }
        Ok(())
    }

    fn l2_table(
        &mut self,
        offset: u64,
        l1_index: usize,
        mut refs: Option<&mut Refcounts>,
    ) -> Result<()> {
        let table = read_l2(self.path, self.file, offset, self.context)?;
        let size = self.geometry.cluster_size();
        for at in 0..table.len() {
            let Some((raw, bitmap)) = table.raw(at) else {
                break;
            };
            if raw == 0 && bitmap == 0 {
                continue;
            }
            let place = || format!("L2 entry {at} of L1 entry {l1_index}");
            for fault in l2::faults(raw, bitmap, self.context) {
                self.corrupt(format!("{}: {fault}", place()));
            }
            let Ok(entry) = L2Entry::parse(raw, bitmap, self.context) else {
                continue;
            };
            match entry {
                L2Entry::Compressed(stream) => {
                    self.result.allocated_clusters += 1;
                    self.result.compressed_clusters += 1;
                    // The last sector may reach past the end of the file; the stream does not.
                    let len = stream
                        .max_len()
                        .min(self.len.saturating_sub(stream.host.get()).max(1));
                    self.add(stream.host.get(), len, "a compressed cluster");
                }
                other => {
                    let Some(host) = other.host().map(crate::qcow2::HostOffset::get) else {
                        continue;
                    };
                    self.result.allocated_clusters +=
                        u64::from(!matches!(other, L2Entry::Zero { .. }));
                    if self.context.data_file {
                        continue;
                    }
                    if self.add(host, size, "a data cluster")
                        && let Some(refs) = refs.as_deref_mut()
                    {
                        self.copied_flag(refs, host, other.copied(), place)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn copied_flag(
        &mut self,
        refs: &mut Refcounts,
        offset: u64,
        copied: bool,
        place: impl Fn() -> String,
    ) -> Result<()> {
        let count = refs.get(offset / self.geometry.cluster_size())?;
        if (count == 1) != copied {
            self.corrupt(format!(
                "{}: its copied flag is {copied}, and its cluster's refcount is {count}",
                place()
            ));
        }
        Ok(())
    }

    /// The image's counts, block by block, against the references found.
    fn compare(&mut self, blocks: &[(u64, u64)]) -> Result<()> {
        let per_block = self.geometry.refcounts_per_block();
        let counts = std::mem::take(&mut self.counts);
        let clusters = counts.len() as u64;
        let found_at = |cluster: u64| {
            usize::try_from(cluster)
                .ok()
                .and_then(|at| counts.get(at))
                .copied()
                .unwrap_or(0)
        };
        let mut covered = 0;
        for &(index, offset) in blocks {
            let first = index * per_block;
            for cluster in covered..first.min(clusters) {
                self.judge(cluster, found_at(cluster), 0);
            }
            let mut bytes = vec![0; self.geometry.cluster_len()];
            self.file.read_at(&mut bytes, offset).at(
                self.path,
                &format!("read the refcount block at {offset:#x}"),
            )?;
            let block = RefcountBlock::from_bytes(bytes, self.geometry)
                .map_err(|e| Error::new(self.path, e))?;
            for (cluster, counted) in (first..).zip(block.iter()) {
                self.judge(cluster, found_at(cluster), counted);
            }
            covered = first + per_block;
            if !self.pace.advance(self.geometry.cluster_size()) {
                return Err(Error::new(self.path, ErrorKind::Stopped));
            }
        }
        for cluster in covered..clusters {
            self.judge(cluster, found_at(cluster), 0);
        }
        self.counts = counts;
        Ok(())
    }

    fn judge(&mut self, cluster: u64, found: u16, counted: u64) {
        if found == 0 && counted == 0 {
            return;
        }
        let size = self.geometry.cluster_size();
        self.result.image_end = self
            .result
            .image_end
            .max(cluster.saturating_add(1).saturating_mul(size));
        let found_wide = u64::from(found);
        if found_wide == counted || (found == u16::MAX && counted > found_wide) {
            return;
        }
        let offset = cluster.saturating_mul(size);
        let text =
            format!("the cluster at {offset:#x} is used {found} times and counted {counted} times");
        if counted < found_wide {
            self.corrupt(text);
        } else {
            self.result.leaked_bytes += size;
            self.find(FindingKind::Leak, text);
        }
    }

    /// Tables that share a cluster with anything else, which counts alone do not show.
    fn overlaps(&mut self) {
        self.tables.sort_unstable();
        self.tables.dedup();
        let mut shared = Vec::new();
        let mut previous: Option<(u64, u64, &'static str)> = None;
        for &(first, clusters, what) in &self.tables {
            if let Some((start, len, other)) = previous
                && start + len > first
            {
                shared.push(format!(
                    "{what} and {other} share the cluster at {:#x}",
                    first * self.geometry.cluster_size()
                ));
            }
            previous = Some((first, clusters, what));
            // Snapshots may share L2 tables with each other; every other table is used once.
            let used_once = what != "an L2 table";
            for cluster in first..first + clusters {
                let count = usize::try_from(cluster)
                    .ok()
                    .and_then(|at| self.counts.get(at))
                    .copied()
                    .unwrap_or(0);
                if used_once && count > 1 {
                    shared.push(format!(
                        "{what} at {:#x} is used for something else as well",
                        cluster * self.geometry.cluster_size()
                    ));
                }
            }
        }
        for text in shared {
            self.corrupt(text);
        }
    }
}
