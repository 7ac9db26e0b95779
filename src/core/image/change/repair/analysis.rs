//! The analysis of a damaged image: every table is read as far as it can be, what each entry is to be
//! is decided, and everything that stays in use is counted anew. Where a table cannot stay - because
//! it changes, or because somebody else's bytes lie there - it is given a free place. Nothing is
//! written here.

mod bitmaps;
mod placing;

use std::collections::BTreeMap;

use crate::host::printable_bytes;
use crate::image::change::repair::entry_rules::{EntryRules, Flag, Judged};
use crate::image::check::past_end;
use crate::image::error::Result;
use crate::image::read::snapshots::salvage;
use crate::image::read::table_reader::{read_entries, read_l2, read_refcount_table};
use crate::image::write::shadow_refcounts::ShadowRefcounts;
use crate::image::{Check, Error, ErrorKind, Finding, FindingKind, ImageFile, ProgressSink};
use crate::qcow2::limits::{MAX_HELD_L1_BYTES, MAX_HELD_L2_TABLES};
use crate::qcow2::{
    EntryTable, FormatError, Geometry, Header, HostCluster, HostClusters, HostOffset, L1Entry,
    L2Buf, L2Context, Snapshot, l1, l2, refcount,
};

/// Findings and guest ranges kept with their words.
const KEPT: usize = 100;
/// The cluster of the header.
const HEADER: HostClusters = HostClusters::one(HostCluster(0));
/// Leaked clusters that are looked at for what they hold.
const MOST_LOOKED_AT: usize = 1024;

/// A part of the guest's disk that may not hold what it did, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// Offset in the guest's disk in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// What is suspect about it, as the rest of a sentence.
    pub why: String,
}

/// A leaked cluster that looks like an L2 table which nothing leads to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostTable {
    /// Where it is, in bytes.
    pub offset: u64,
    /// How many clusters it maps.
    pub entries: u64,
}

/// An L2 table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    /// Where it is: which cluster.
    pub(super) cluster: HostCluster,
    /// How many L1 entries name it.
    weight: u64,
    /// How many of those stay as they are, so that it is read where it is.
    fixed: u64,
    /// The first entry of the active L1 table that does.
    active: Option<u64>,
    changed: bool,
    /// The cluster it gets, if it cannot stay.
    pub(super) to: Option<HostCluster>,
}

/// An L1 table.
#[derive(Debug)]
pub(super) struct Root {
    /// The snapshot it belongs to, by its place in the list; none for the active one.
    owner: Option<usize>,
    pub(super) offset: u64,
    pub(super) entries: EntryTable,
    /// It stays as it is: nothing could say that it is elsewhere.
    fixed: bool,
    /// The cluster it gets, if it cannot stay.
    pub(super) to: Option<HostCluster>,
}

/// A refcount block on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockOnDisk {
    /// Its number.
    pub(super) index: u64,
    /// Where it is.
    pub(super) cluster: HostCluster,
    /// The first cluster that it counts.
    pub(super) counts: HostCluster,
}

impl BlockOnDisk {
    /// The clusters that it counts, up to the end of the file.
    pub(super) fn counted(self, file_end: HostCluster) -> impl Iterator<Item = HostCluster> {
        let rest = HostClusters {
            first: self.counts,
            count: file_end.get().saturating_sub(self.counts.get()),
        };
        rest.iter()
    }
}

/// What an analysis comes to.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What stays wrong, by kind.
    pub(super) left: BTreeMap<FindingKind, u64>,
    /// The first of it, in words.
    pub(super) left_kept: Vec<Finding>,
    pub(super) suspects: Vec<Suspect>,
    /// Guest ranges that are suspect and not in the list.
    pub(super) more_suspects: u64,
    /// Leaked clusters that look like L2 tables nothing leads to any more. Not all
    /// leaked clusters of a large file are looked at.
    pub(super) lost_tables: Vec<LostTable>,
    /// Bitmaps that cannot be kept.
    pub(super) drops_bitmaps: bool,
}

impl Report {
    fn leave(&mut self, kind: FindingKind, offset: u64, text: impl FnOnce() -> String) {
        *self.left.entry(kind).or_default() += 1;
        if self.left_kept.len() < KEPT {
            self.left_kept.push(Finding {
                kind,
                offset: Some(offset),
                len: 0,
                guest: None,
                text: text(),
            });
        }
    }

    fn suspect(&mut self, offset: u64, len: u64, why: &str) {
        if let Some(last) = self.suspects.last_mut()
            && last.why == why
            && last.offset.checked_add(last.len) == Some(offset)
        {
            last.len = last.len.saturating_add(len);
        } else if self.suspects.len() < KEPT {
            self.suspects.push(Suspect {
                offset,
                len,
                why: why.to_owned(),
            });
        } else {
            self.more_suspects += 1;
        }
    }
}

/// The image as it is to be.
#[derive(Debug)]
pub(super) struct Analysis {
    pub(super) file: ImageFile,
    pub(super) header: Header,
    pub(super) rules: EntryRules,
    pub(super) counts: ShadowRefcounts,
    pub(super) tables: Vec<Table>,
    pub(super) roots: Vec<Root>,
    pub(super) snapshots: Vec<Snapshot>,
    /// Length in bytes of the snapshot table on disk, as far as it can be understood.
    pub(super) old_list_len: u64,
    /// Its entries have more extra data than QEMU opens an image with.
    list_is_overlong: bool,
    /// Part of it cannot be understood, so that it stays as it is.
    pub(super) list_stays: bool,
    /// The cluster and bytes of a new snapshot table.
    pub(super) new_list: Option<(HostCluster, Vec<u8>)>,
    /// The refcount table on disk.
    pub(super) old_refcounts: EntryTable,
    /// Whether all counts on disk are right as they are.
    pub(super) counts_stay: bool,
    pub(super) report: Report,
}

impl Analysis {
    /// Analyses the image that `found` was found in, as one of the header's version. `order` is the
    /// refcount width that it is to have, as a power of two.
    pub(super) fn of(
        file: &ImageFile,
        (header, order): (&Header, u32),
        found: &Check,
        progress: &dyn ProgressSink,
    ) -> Result<Self> {
        let context = L2Context::of(header);
        let list = salvage(file, header)?;
        let old = context.geometry;
        let wanted = Geometry::new(old.cluster_bits(), order, old.extended_l2())
            .map_err(|e| Error::new(file, e))?;
        let mut analysis = Self {
            counts: ShadowRefcounts::blank(file, wanted),
            old_refcounts: read_refcount_table(file, header)?,
            file: file.clone(),
            header: header.clone(),
            rules: EntryRules {
                context,
                len: found.file_len,
                has_backing: header.backing.is_some(),
            },
            tables: Vec::new(),
            roots: Vec::new(),
            snapshots: list.snapshots,
            old_list_len: list.len,
            list_is_overlong: list.overlong,
            list_stays: false,
            new_list: None,
            counts_stay: false,
            report: Report::default(),
        };
        analysis.keep_off_counted()?;
        analysis.counts.count(HEADER, 1)?;
        analysis.judge_list(list.rest);
        analysis.read_roots()?;
        analysis.collect_tables()?;
        analysis.count_data(found, progress)?;
        if !analysis.report.left.is_empty() {
            analysis.keep_counts(found)?;
        }
        analysis.look_for_lost_tables(found, progress)?;
        analysis.compare_flags(progress)?;
        analysis.fixed_tables()?;
        analysis.place_tables()?;
        analysis.place_roots()?;
        analysis.place_list()?;
        if !analysis.report.left.is_empty() {
            analysis.keep_leaks(found)?;
        }
        analysis.settle_counts()?;
        Ok(analysis)
    }

    fn size(&self) -> u64 {
        self.rules.context.geometry.cluster_size()
    }

    fn limit(&self, text: impl Into<String>) -> Error {
        Error::new(&self.file, ErrorKind::Limit(text.into()))
    }

    fn wrong(&self, error: FormatError) -> Error {
        Error::new(&self.file, error)
    }

    pub(super) fn is_past_end(&self, offset: u64, bytes: u64) -> bool {
        past_end(offset, bytes, self.rules.len, self.size())
    }

    /// The clusters of a range of bytes.
    pub(super) const fn run(&self, offset: u64, bytes: u64) -> HostClusters {
        let geometry = self.rules.context.geometry;
        geometry.clusters_of(HostOffset(offset), bytes)
    }

    /// The cluster behind the last one of the file.
    pub(super) const fn file_end(&self) -> HostCluster {
        HostCluster(self.rules.context.geometry.clusters_for(self.rules.len))
    }

    fn keep_off_bytes(&mut self, offset: u64, bytes: u64) -> Result<()> {
        self.counts.keep_off(self.run(offset, bytes))
    }

    /// The refcount blocks on disk that can be read.
    pub(super) fn blocks_on_disk(&self) -> Vec<BlockOnDisk> {
        let geometry = self.rules.context.geometry;
        (0_u64..)
            .zip(self.old_refcounts.iter())
            .filter_map(|(index, raw)| {
                let offset = refcount::parse_table_entry(raw, geometry).ok()??;
                let is_in_file = !self.is_past_end(offset.get(), self.size());
                is_in_file.then(|| BlockOnDisk {
                    index,
                    cluster: geometry.cluster_of(offset),
                    counts: geometry.first_counted_by(index),
                })
            })
            .collect()
    }

    /// What is counted now is not overwritten, referred to or not: a damaged entry may have led there.
    fn keep_off_counted(&mut self) -> Result<()> {
        let file_end = self.file_end();
        let (offset, bytes) = (
            self.header.refcount_table_offset.get(),
            self.old_refcounts.len() as u64 * 8,
        );
        self.keep_off_bytes(offset, bytes)?;
        // Whether anything counts it or it is in the file at all: until the switch it is what is read.
        self.keep_off_bytes(self.header.snapshots_offset.get(), self.old_list_len)?;
        for block in self.blocks_on_disk() {
            self.counts.keep_off(HostClusters::one(block.cluster))?;
            if block.counts >= file_end {
                continue;
            }
            let counts = self
                .counts
                .read_block(block.cluster, self.rules.context.geometry)?;
            let counted = block.counted(file_end).zip(counts.iter());
            for (cluster, _) in counted.filter(|(_, count)| *count > 0) {
                self.counts.keep_off(HostClusters::one(cluster))?;
            }
        }
        Ok(())
    }

    /// Whether the snapshot table can be written anew: only one that is wholly understood.
    fn judge_list(&mut self, rest: Option<FormatError>) {
        let offset = self.header.snapshots_offset.get();
        let (known, all) = (self.snapshots.len(), self.header.snapshot_count);
        if let Some(fault) = rest {
            let text = || format!("of {all} snapshots {known} can be read: {fault}");
            self.report.leave(FindingKind::SnapshotTable, offset, text);
        } else if known > 0 && self.is_past_end(offset, self.old_list_len) {
            // What it held cannot be told, so nothing is made of it.
            let text =
                || format!("the snapshot table at {offset:#x} lies beyond the end of the file");
            self.report.leave(FindingKind::PastEnd, offset, text);
        } else {
            return;
        }
        self.list_stays = true;
    }

    fn read_roots(&mut self) -> Result<()> {
        let active = self.header.l1();
        if self.is_past_end(active.offset.get(), active.bytes()) && active.entries > 0 {
            let offset = active.offset;
            return Err(self.limit(format!(
                "its L1 table at {offset} lies beyond the end of the file, so nothing of the guest's disk \
                 can be found: look for the rest of the file"
            )));
        }
        let mut roots = vec![(None, active)];
        for (at, snapshot) in self.snapshots.iter().enumerate() {
            let name = || printable_bytes(&snapshot.name);
            let place = snapshot.l1();
            let offset = place.offset.get();
            let table = self.header.snapshots_offset.get();
            if let Err(error) = snapshot.check_l1(self.rules.context.geometry) {
                let text = || format!("snapshot {}: {error}", name());
                self.report.leave(FindingKind::SnapshotTable, table, text);
            } else if place.entries > 0
                && past_end(
                    offset,
                    place.bytes(),
                    self.rules.len,
                    self.rules.context.geometry.cluster_size(),
                )
            {
                let text = || {
                    format!(
                        "the L1 table of snapshot {} at {offset:#x} lies beyond the end of the file",
                        name()
                    )
                };
                self.report.leave(FindingKind::PastEnd, offset, text);
            } else {
                roots.push((Some(at), place));
            }
        }
        let bytes: u64 = roots.iter().map(|(_, place)| place.bytes()).sum();
        if bytes > MAX_HELD_L1_BYTES {
            return Err(self.limit(format!(
                "has {bytes} bytes of L1 tables: {MAX_HELD_L1_BYTES} are the most that a repair takes"
            )));
        }
        for (owner, place) in roots {
            let offset = place.offset.get();
            self.keep_off_bytes(offset, place.bytes())?;
            let table = read_entries(&self.file, place, "L1 table")?;
            self.roots.push(Root {
                owner,
                offset,
                entries: table,
                fixed: owner.is_some() && self.list_stays,
                to: None,
            });
        }
        Ok(())
    }

    /// An L1 entry without what reading ignores: reserved bits, and tables that are not in the file.
    /// The error is for one that no reader can follow.
    fn clean_l1(&self, raw: u64) -> std::result::Result<u64, FormatError> {
        let clean = raw & !l1::reserved_bits(raw);
        let entry = L1Entry::parse(clean, self.rules.context.geometry)?;
        Ok(match entry.table {
            Some(table) if !self.is_past_end(table.get(), self.size()) => clean,
            _ => 0,
        })
    }

    /// Finds the L2 tables that all L1 tables name.
    fn collect_tables(&mut self) -> Result<()> {
        let size = self.size();
        let coverage = self.rules.context.geometry.l2_coverage();
        let mut tables: Vec<Table> = Vec::new();
        let roots = std::mem::take(&mut self.roots);
        for root in &roots {
            for (index, raw) in (0_u64..).zip(root.entries.iter()) {
                if raw == 0 {
                    continue;
                }
                let offset = raw & !l1::reserved_bits(raw) & !l1::COPIED;
                self.keep_off_bytes(offset, size)?;
                let guest = index.saturating_mul(coverage);
                let clean = match self.clean_l1(raw) {
                    Ok(clean) => clean,
                    Err(error) => {
                        let whose = self.whose(root.owner);
                        let text = || format!("L1 entry {index}{whose}: {error}");
                        self.report.leave(FindingKind::Unaligned, offset, text);
                        if root.owner.is_none() {
                            let why = "cannot be read: where its L2 table is cannot be told";
                            self.report.suspect(guest, coverage, why);
                        }
                        continue;
                    }
                };
                if clean == 0 {
                    if offset != 0 && root.owner.is_none() {
                        let why = "its L2 table is not in the file: it reads as if never written";
                        self.report.suspect(guest, coverage, why);
                    }
                    continue;
                }
                tables.push(Table {
                    cluster: self.rules.context.geometry.cluster_of(HostOffset(offset)),
                    weight: 1,
                    fixed: u64::from(root.fixed),
                    active: root.owner.is_none().then_some(index),
                    changed: false,
                    to: None,
                });
            }
            if tables.len() > MAX_HELD_L2_TABLES {
                compact(&mut tables);
            }
            if tables.len() > MAX_HELD_L2_TABLES {
                return Err(self.limit(format!(
                    "has too many L2 tables to be repaired: {MAX_HELD_L2_TABLES} is the most"
                )));
            }
        }
        self.roots = roots;
        compact(&mut tables);
        self.tables = tables;
        Ok(())
    }

    fn whose(&self, owner: Option<usize>) -> String {
        owner
            .and_then(|at| self.snapshots.get(at))
            .map_or_else(String::new, |snapshot| {
                format!(" of snapshot {}", printable_bytes(&snapshot.name))
            })
    }

    /// Counts what all L2 tables refer to.
    fn count_data(&mut self, found: &Check, progress: &dyn ProgressSink) -> Result<()> {
        let size = self.size();
        let mut tables = std::mem::take(&mut self.tables);
        for table in &mut tables {
            let buf = self.read_table(table.cluster, progress)?;
            self.tell_empty(table, &buf, found);
            // Runs of clusters in a row are counted at once.
            let mut run = HostClusters::default();
            for at in 0..buf.len() {
                let Some((raw, bitmap)) = buf.raw(at).filter(|entry| *entry != (0, 0)) else {
                    continue;
                };
                let judged = self.rules.judge(raw, bitmap);
                table.changed |= (judged.raw, judged.bitmap) != (raw, bitmap);
                self.tell(table, at, raw, judged)?;
                let Some(refers) = judged.refers else {
                    continue;
                };
                if !run.is_empty() && refers.first == run.end() {
                    run.count += refers.count;
                    continue;
                }
                self.counts.count(run, table.weight)?;
                run = refers;
            }
            self.counts.count(run, table.weight)?;
        }
        self.tables = tables;
        if self.counts.get(HEADER.first)? > 1 {
            let text = || format!("guest data lies in the first {size} bytes, where the header is");
            self.report.leave(FindingKind::TableAliased, 0, text);
        }
        Ok(())
    }

    /// Beside leaks, a table without any entry is suspect: they may be what it led to.
    fn tell_empty(&mut self, table: &Table, buf: &L2Buf, found: &Check) {
        let Some(index) = table.active.filter(|_| found.leaks > 0) else {
            return;
        };
        if (0..buf.len()).all(|at| buf.raw(at).is_none_or(|entry| entry == (0, 0))) {
            let coverage = self.rules.context.geometry.l2_coverage();
            let why = "its L2 table has no entry at all: the leaked clusters may be what it led to";
            self.report
                .suspect(index.saturating_mul(coverage), coverage, why);
        }
    }

    /// Looks at leaked clusters for L2 tables that lead to leaked clusters: what they map may have been
    /// the guest's, and nothing else leads there.
    fn look_for_lost_tables(&mut self, found: &Check, progress: &dyn ProgressSink) -> Result<()> {
        let geometry = self.rules.context.geometry;
        let is_leak = |finding: &&Finding| finding.kind == FindingKind::Leak;
        let runs = found.findings.iter().filter(is_leak);
        let runs: BTreeMap<u64, u64> = runs
            .filter_map(|finding| {
                let offset = finding.offset?;
                Some((offset, offset.saturating_add(finding.len)))
            })
            .collect();
        let leaked = |place: u64| {
            let run = runs.range(..=place).next_back();
            run.is_some_and(|(_, end)| place < *end)
        };
        let clusters = runs
            .iter()
            .flat_map(|(from, end)| (*from..*end).step_by(geometry.cluster_len()));
        for offset in clusters.take(MOST_LOOKED_AT) {
            let buf = self.read_table(geometry.cluster_of(HostOffset(offset)), progress)?;
            let mut entries = 0;
            let is_table = (0..buf.len()).all(|at| {
                let Some((raw, bitmap)) = buf.raw(at).filter(|entry| *entry != (0, 0)) else {
                    return true;
                };
                entries += 1;
                let judged = self.rules.judge(raw, bitmap);
                judged.left.is_none()
                    && matches!(judged.flag, Flag::Counts(cluster) if leaked(geometry.offset_of(cluster).get()))
            });
            if is_table && entries > 0 && self.report.lost_tables.len() < KEPT {
                self.report.lost_tables.push(LostTable { offset, entries });
            }
        }
        Ok(())
    }

    fn read_table(&self, cluster: HostCluster, progress: &dyn ProgressSink) -> Result<L2Buf> {
        if !progress.advance(self.size()) {
            return Err(Error::new(&self.file, ErrorKind::Cancelled));
        }
        let offset = self.rules.context.geometry.offset_of(cluster);
        read_l2(&self.file, offset.get(), self.rules.context)
    }

    /// Notes what is to be said of an entry.
    fn tell(&mut self, table: &Table, at: usize, raw: u64, judged: Judged) -> Result<()> {
        if judged.left.is_none() && !judged.emptied {
            return Ok(());
        }
        let size = self.size();
        let offset = l2::offset_bits(raw);
        // Whatever that place is one day: nothing new may come to lie there.
        self.keep_off_bytes(offset, size.saturating_mul(2))?;
        let guest = table.active.map(|index| {
            let start = index.saturating_mul(self.rules.context.geometry.l2_coverage());
            start.saturating_add((at as u64).saturating_mul(size))
        });
        let why = match judged.left {
            None => "its data is not in the file: it reads as zeros",
            Some(_) => "cannot be read: its L2 entry makes no sense",
        };
        if let Some(guest) = guest {
            self.report.suspect(guest, size, why);
        }
        if let Some(kind) = judged.left {
            let text = || match guest {
                Some(guest) => format!("the L2 entry {raw:#x} of guest offset {guest:#x}"),
                None => format!("the L2 entry {raw:#x} of a snapshot"),
            };
            self.report.leave(kind, offset, text);
        }
        Ok(())
    }

    /// Brings a table's entries to what they are to be; whether any was not.
    pub(super) fn mend(&mut self, table: &Table, buf: &mut L2Buf) -> Result<bool> {
        let mut changed = false;
        for at in 0..buf.len() {
            let Some((raw, bitmap)) = buf.raw(at).filter(|entry| *entry != (0, 0)) else {
                continue;
            };
            let judged = self.rules.judge(raw, bitmap);
            let new = match judged.flag {
                Flag::Counts(cluster) if table.active.is_some() => {
                    l2::with_copied_flag(judged.raw, self.counts.get(cluster)? == 1)
                }
                Flag::Set if table.active.is_some() => l2::with_copied_flag(judged.raw, true),
                _ => judged.raw,
            };
            if (new, judged.bitmap) != (raw, bitmap) {
                buf.set_raw(at, new, judged.bitmap)
                    .map_err(|e| self.wrong(e))?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// With all data counted: which tables have copied flags that say otherwise.
    fn compare_flags(&mut self, progress: &dyn ProgressSink) -> Result<()> {
        let mut tables = std::mem::take(&mut self.tables);
        for table in &mut tables {
            if table.changed || table.active.is_none() {
                continue;
            }
            let mut buf = self.read_table(table.cluster, progress)?;
            table.changed = self.mend(table, &mut buf)?;
        }
        self.tables = tables;
        Ok(())
    }

    /// Counts tables that cannot be moved from here: the encryption header, and the bitmaps, which are
    /// given up where they are in anybody's way.
    fn fixed_tables(&mut self) -> Result<()> {
        if let Some(crypto) = self.header.crypto_header() {
            let (offset, bytes) = (crypto.offset.get(), crypto.length);
            self.keep_off_bytes(offset, bytes)?;
            let clusters = self.run(offset, bytes);
            if self.is_past_end(offset, bytes) {
                let text = || {
                    format!("the encryption header at {offset:#x} lies beyond the end of the file")
                };
                self.report.leave(FindingKind::PastEnd, offset, text);
            } else if !self.counts.claim(clusters)? {
                let text = || format!("guest data lies on the encryption header at {offset:#x}");
                self.report.leave(FindingKind::TableAliased, offset, text);
                self.counts.count(clusters, 1)?;
            }
        }
        if !self.count_bitmaps()? {
            self.report.drops_bitmaps = true;
        }
        Ok(())
    }
}

/// Makes one of all references to the same L2 table.
fn compact(tables: &mut Vec<Table>) {
    // Those of the active tree first, so that it is its index that is kept.
    tables.sort_unstable_by_key(|table| (table.cluster, table.active.unwrap_or(u64::MAX)));
    tables.dedup_by(|next, kept| {
        let same = next.cluster == kept.cluster;
        if same {
            kept.weight = kept.weight.saturating_add(next.weight);
            kept.fixed = kept.fixed.saturating_add(next.fixed);
        }
        same
    });
}
