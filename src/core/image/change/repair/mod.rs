//! Repairing an image's tables, without losing what can still be read and without guessing at what
//! cannot.
//!
//! As a change of snapshots, a repair never works in place: every table that is to differ is written
//! to clusters that nothing on disk refers to or counts; it is flushed; the image as it would be is
//! checked as a whole; and one write of one sector of the header switches over to it. A crash leaves
//! the image as it was or repaired. Whatever could be read reads the same afterwards. What cannot be
//! read (an offset that is no cluster's, a subcluster that is two things) is left and named; then
//! clusters that look leaked stay counted too, since they may be what the damaged entry led to.
//!
//! | file | concept |
//! |---|---|
//! | `entry_rules` | what becomes of one L2 entry |
//! | `analysis` | reading all tables, counting anew, finding places |
//! | `undo_file` | what a repair replaces, kept in a file, and putting it back |
//! | `header_overlay` | the image as it would be, to be checked before it is |

mod analysis;
mod entry_rules;
mod header_overlay;
mod undo_file;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::host::{FileKind, Segment};
use crate::image::error::{IoContext, Result};
use crate::image::read::table_reader::read_l2;
use crate::image::write::header_file::{HeaderFile, KEPT_AUTOCLEAR, table_in_header};
use crate::image::write::shadow_refcounts::Put;
use crate::image::{Check, Error, ErrorKind, Finding, FindingKind, ImageFile, ProgressSink, check};
use crate::qcow2::rewrite::HeaderEdit;
use crate::qcow2::{Autoclear, Header, HostCluster, HostClusters, Incompatible, Version};

use analysis::Analysis;
use header_overlay::HeaderOverlay;
use undo_file::{Digest, SavedRange, Written};

pub use analysis::{LostTable, Suspect};
pub use undo_file::UndoFile;

/// Bytes of new tables that are kept in memory at most, to check the image with them before a byte is
/// written. A repair that writes more is checked before it switches over to them.
const MOST_REHEARSED: u64 = 256 << 20;

/// How much is to be repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RepairExtent {
    /// Counts that are too high, in an image that has nothing worse.
    Leaks,
    /// Everything; and what lies past the image's end is cut off where nothing was corrupt.
    All,
}

/// A repair, worked out completely. Until [`Repair::commit`] nothing is written.
#[derive(Debug)]
pub struct Repair {
    file: ImageFile,
    header: HeaderFile,
    found: Check,
    analysis: Analysis,
    edit: HeaderEdit,
    /// The length the file is cut to, in bytes.
    cut: Option<u64>,
}

impl Repair {
    /// Checks the image and works out its repair.
    ///
    /// # Errors
    /// When it cannot be checked, it has corruptions and only leaks are to be repaired, its L1 table
    /// is not in the file, its counts would not fit the memory a repair may take, the image would not pass
    /// the check with its new tables, or it was stopped.
    pub fn work_out(
        file: &ImageFile,
        extent: RepairExtent,
        progress: &dyn ProgressSink,
    ) -> Result<Self> {
        let found = check(file, progress)?;
        if extent == RepairExtent::Leaks && found.corruptions > 0 {
            return Err(Error::new(file, ErrorKind::Corruptions(found.corruptions)));
        }
        let header = HeaderFile::read(file)?;
        let analysis = analysis(file, header.header(), (&found, extent), progress)?;
        let mut repair = Self {
            file: file.clone(),
            edit: HeaderEdit::default(),
            header,
            found,
            analysis,
            cut: None,
        };
        repair.edit = repair.header_edit()?;
        let regular = file.stat("ask the length")?.kind == FileKind::Regular;
        let end = repair.offset_of(repair.analysis.counts.end());
        if extent == RepairExtent::All && repair.was_sound() && regular {
            // The last cluster may end before its end.
            let moved = !repair.analysis.counts_stay;
            let end = if moved { end } else { repair.found.image_end };
            let cuts = repair.found.trailing_bytes() > 0 && end < repair.found.file_len;
            repair.cut = cuts.then_some(end);
        }
        if repair.is_needed() && repair.written() <= MOST_REHEARSED {
            repair.rehearse(progress)?;
        }
        Ok(repair)
    }

    /// Checks the image as the repair would leave it, with nothing written yet.
    fn rehearse(&mut self, progress: &dyn ProgressSink) -> Result<()> {
        let mut pieces = BTreeMap::from([(0, self.header.edited(&self.edit)?)]);
        self.each_table(progress, &mut |_, bytes, offset| {
            pieces.insert(offset, bytes.to_vec());
            Ok(())
        })?;
        let now = check(&HeaderOverlay::over(&self.file, pieces), progress)?;
        self.judge(&now)
    }

    fn offset_of(&self, cluster: HostCluster) -> u64 {
        let geometry = self.header.header().geometry;
        geometry.offset_of(cluster).get()
    }

    fn cluster_size(&self) -> u64 {
        self.header.header().geometry.cluster_size()
    }

    /// The version that the image gets, as its entries are of that one.
    #[must_use]
    pub fn new_version(&self) -> Option<Version> {
        let version = self.analysis.header.version;
        (version != self.header.header().version).then_some(version)
    }

    /// The bits that reference counts get, as those that they have cannot count what is there.
    #[must_use]
    pub fn new_refcount_bits(&self) -> Option<u32> {
        let bits = self.analysis.counts.refcount_bits();
        (bits != self.header.header().geometry.refcount_bits()).then_some(bits)
    }

    /// Whether nothing was corrupt: then what nothing refers to is really nobody's.
    fn was_sound(&self) -> bool {
        self.found.corruptions == 0
    }

    /// What was found before.
    #[must_use]
    pub const fn found(&self) -> &Check {
        &self.found
    }

    /// What will be mended: kinds of finding and how many of each.
    pub fn mends(&self) -> impl Iterator<Item = (FindingKind, u64)> + '_ {
        self.found.numbers.iter().filter_map(|(kind, found)| {
            let stays = match kind {
                FindingKind::Trailing if self.cut.is_none() => *found,
                FindingKind::Leak | FindingKind::MarkedCorrupt | FindingKind::MarkedDirty
                    if !self.analysis.report.left.is_empty() =>
                {
                    *found
                }
                FindingKind::SnapshotTable if self.analysis.list_stays => *found,
                // A cluster at two places of the guest's disk stays so, and is counted right.
                FindingKind::SharedCluster => *found,
                kind => self.analysis.report.left.get(kind).map_or(0, |left| *left),
            };
            let mended = found.saturating_sub(stays);
            (mended > 0).then_some((*kind, mended))
        })
    }

    /// What stays wrong since nobody can tell how it should be: the first of it.
    #[must_use]
    pub fn left(&self) -> &[Finding] {
        &self.analysis.report.left_kept
    }

    /// How much stays wrong.
    #[must_use]
    pub fn left_count(&self) -> u64 {
        self.analysis.report.left.values().sum()
    }

    /// Parts of the guest's disk that may not hold what they did: the first of them, and how many more
    /// there are.
    #[must_use]
    pub fn suspects(&self) -> (&[Suspect], u64) {
        let report = &self.analysis.report;
        (&report.suspects, report.more_suspects)
    }

    /// Leaked clusters that look like L2 tables which nothing leads to any more. The first of them.
    #[must_use]
    pub fn lost_tables(&self) -> &[LostTable] {
        &self.analysis.report.lost_tables
    }

    /// Whether the dirty bitmaps are given up, since their tables are damaged.
    #[must_use]
    pub const fn drops_bitmaps(&self) -> bool {
        self.analysis.report.drops_bitmaps
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.mends().next().is_some()
    }

    /// Bytes of tables that will be written, to places that are free now.
    #[must_use]
    pub fn written(&self) -> u64 {
        let size = self.cluster_size();
        let analysis = &self.analysis;
        let tables = analysis.tables.iter().filter(|table| table.to.is_some());
        let roots = analysis.roots.iter().filter(|root| root.to.is_some());
        let clusters = |bytes: u64| bytes.div_ceil(size).saturating_mul(size);
        let list = analysis.new_list.as_ref();
        tables.count() as u64 * size
            + roots
                .map(|root| clusters(root.entries.len() as u64 * 8))
                .sum::<u64>()
            + list.map_or(0, |(_, bytes)| clusters(bytes.len() as u64))
            + analysis.counts.written()
    }

    /// Bytes that will be replaced: what [`Repair::save`] keeps, tables above all.
    ///
    /// # Errors
    /// When it cannot be told where in the file there is data.
    pub fn replaced(&self) -> Result<u64> {
        let len = self.found.file_len;
        let free = |range: Range<u64>| range.end.min(len).saturating_sub(range.start);
        let tail: u64 = self.tail()?.iter().map(|range| range.len).sum();
        Ok(self.kept().iter().map(|range| range.len).sum::<u64>()
            + self.places()?.into_iter().map(free).sum::<u64>()
            + tail)
    }

    /// Where new tables are going to be, in bytes.
    fn places(&self) -> Result<Vec<Range<u64>>> {
        let size = self.cluster_size();
        let at = |cluster, len: u64| {
            let offset = self.offset_of(cluster);
            offset..offset.saturating_add(len)
        };
        let analysis = &self.analysis;
        let tables = analysis.tables.iter().filter_map(|table| table.to);
        let mut places: Vec<_> = tables.map(|to| at(to, size)).collect();
        let roots = analysis.roots.iter();
        places.extend(roots.filter_map(|root| Some(at(root.to?, root.entries.len() as u64 * 8))));
        places.extend(
            analysis
                .new_list
                .iter()
                .map(|(to, bytes)| at(*to, bytes.len() as u64)),
        );
        analysis.counts.each_written(&mut |_, bytes, offset| {
            places.push(offset..offset.saturating_add(bytes.len() as u64));
            Ok(())
        })?;
        Ok(places)
    }

    /// The data that is cut off with the file's tail.
    fn tail(&self) -> Result<Vec<SavedRange>> {
        let mut runs = Vec::new();
        let Some(mut at) = self.cut else {
            return Ok(runs);
        };
        let len = self.found.file_len;
        while at < len {
            let segment = self.file.host_file().segment_at(at);
            let (end, is_data) = match segment.at(self.file.path(), "look for data")? {
                Segment::Data(end) => (end, true),
                Segment::Hole(end) => (end, false),
            };
            let end = end.clamp(at + 1, len);
            if is_data {
                runs.push(SavedRange {
                    offset: at,
                    len: end - at,
                });
            }
            at = end;
        }
        Ok(runs)
    }

    /// Ranges of the file that hold tables which are replaced, the first cluster first.
    fn kept(&self) -> Vec<SavedRange> {
        let size = self.cluster_size();
        let analysis = &self.analysis;
        let header = self.header.header();
        let mut clusters = Vec::new();
        let moved = analysis.tables.iter().filter(|table| table.to.is_some());
        clusters.extend(moved.map(|table| HostClusters::one(table.cluster)));
        for root in analysis.roots.iter().filter(|root| root.to.is_some()) {
            clusters.push(analysis.run(root.offset, root.entries.len() as u64 * 8));
        }
        if analysis.new_list.is_some() {
            clusters.push(analysis.run(header.snapshots_offset.get(), analysis.old_list_len));
        }
        let (offset, bytes) = (
            header.refcount_table_offset.get(),
            analysis.old_refcounts.len() as u64 * 8,
        );
        if !analysis.counts_stay {
            if !analysis.is_past_end(offset, bytes) {
                clusters.push(analysis.run(offset, bytes));
            }
            let blocks = analysis.blocks_on_disk();
            clusters.extend(
                blocks
                    .into_iter()
                    .map(|block| HostClusters::one(block.cluster)),
            );
        }
        clusters.sort_unstable();
        let mut kept = vec![SavedRange {
            offset: 0,
            len: size,
        }];
        // Clusters named twice are kept once; the header is kept already.
        let mut next = HostCluster(1);
        for run in clusters {
            let (from, end) = (run.first.max(next), run.end());
            if from < end {
                let (start, stop) = (self.offset_of(from), self.offset_of(end));
                kept.push(SavedRange {
                    offset: start,
                    len: stop - start,
                });
                next = end;
            }
        }
        kept
    }

    /// Keeps what the repair replaces in a new file, on stable storage when this returns: see
    /// [`UndoFile`].
    ///
    /// # Errors
    /// When either file fails, or it was stopped.
    pub fn save(&mut self, out: &ImageFile, progress: &dyn ProgressSink) -> Result<()> {
        let mut kept = self.kept();
        let first = self.header.edited(&self.edit)?;
        let mut written = vec![Written {
            offset: 0,
            len: first.len() as u64,
            digest: Digest::of(&first),
        }];
        self.each_table(progress, &mut |_, bytes, offset| {
            written.push(Written {
                offset,
                len: bytes.len() as u64,
                digest: Digest::of(bytes),
            });
            Ok(())
        })?;
        let len = self.found.file_len;
        let over = written.iter().skip(1).filter(|range| range.offset < len);
        kept.extend(over.map(|range| SavedRange {
            offset: range.offset,
            len: range.len.min(len - range.offset),
        }));
        kept.extend(self.tail()?);
        undo_file::save(&self.file, out, len, &kept, &written)
    }

    /// Makes every new table and hands it over.
    fn each_table(&mut self, progress: &dyn ProgressSink, put: Put<'_>) -> Result<()> {
        let size = self.cluster_size();
        let tables = std::mem::take(&mut self.analysis.tables);
        for table in &tables {
            let Some(to) = table.to else { continue };
            if !progress.advance(size) {
                return Err(Error::new(&self.file, ErrorKind::Cancelled));
            }
            let offset = self.offset_of(table.cluster);
            let mut buf = read_l2(&self.file, offset, self.analysis.rules.context)?;
            self.analysis.mend(table, &mut buf)?;
            put("L2 table", buf.as_bytes(), self.offset_of(to))?;
        }
        self.analysis.tables = tables;
        for root in &self.analysis.roots {
            if let Some(to) = root.to {
                put("L1 table", root.entries.as_bytes(), self.offset_of(to))?;
            }
        }
        if let Some((to, bytes)) = &self.analysis.new_list {
            put("snapshot table", bytes, self.offset_of(*to))?;
        }
        self.analysis.counts.each_written(put)
    }

    /// The switch: everything in it lies in the header's first sector.
    fn header_edit(&self) -> Result<HeaderEdit> {
        let header = self.header.header();
        let geometry = header.geometry;
        let analysis = &self.analysis;
        let active = analysis.roots.first().and_then(|root| root.to);
        let mut edit = HeaderEdit {
            l1: active.map(|to| (geometry.offset_of(to), header.l1_entries)),
            ..HeaderEdit::default()
        };
        if let Some(table) = analysis.counts.table() {
            let table = (geometry.offset_of(table.first), table.count);
            let table = table_in_header(self.file.path(), "the refcount table", table)?;
            edit.refcount_table = Some(table);
        }
        if let Some((to, _)) = analysis.new_list {
            edit.snapshots = Some((geometry.offset_of(to), header.snapshot_count));
        }
        edit.version = self.new_version();
        edit.refcount_order = self.new_refcount_bits().map(u32::trailing_zeros);
        if analysis.header.version == Version::V3 {
            let mut kept = KEPT_AUTOCLEAR;
            if analysis.report.drops_bitmaps {
                kept.remove(Autoclear::BITMAPS);
            }
            edit.autoclear = Some(header.autoclear & kept);
            if analysis.report.left.is_empty() {
                let marks = Incompatible::DIRTY | Incompatible::CORRUPT;
                edit.incompatible = Some(header.incompatible.difference(marks));
            }
        }
        Ok(edit)
    }

    /// Makes the repair. It can be stopped until the switch. Gives what a check found in the image as
    /// the switch leaves it, before the file is cut. Clusters that come free keep their bytes: they may
    /// hold what somebody will look for, and the repair can be taken back.
    ///
    /// # Errors
    /// When the file cannot be written, what was written does not pass the check, or it was stopped:
    /// the image reads as it did, or is repaired if the failure came after the switch;
    /// [`UndoFile::roll_back`] makes the file what it was.
    pub fn commit(mut self, progress: &dyn ProgressSink) -> Result<Check> {
        let file = self.file.clone();
        self.each_table(progress, &mut |what, bytes, offset| {
            file.write_at(
                bytes,
                offset,
                format_args!("write the {what} at {offset:#x}"),
            )
        })?;
        file.flush()?;
        let first = self.header.edited(&self.edit)?;
        let pieces = BTreeMap::from([(0, first)]);
        let now = check(&HeaderOverlay::over(&file, pieces), progress)?;
        self.judge(&now)?;
        self.header.edit(&self.edit)?;
        if let Some(len) = self.cut {
            file.set_len(len, "cut off what lies past the end")?;
            file.flush()?;
        }
        Ok(now)
    }

    /// Whether what a check finds in the repaired image is what it may find.
    fn judge(&self, now: &Check) -> Result<()> {
        let worse = if self.analysis.report.left.is_empty() {
            now.corruptions > 0 || now.leaks > 0
        } else {
            now.corruptions > self.found.corruptions
        };
        if !worse {
            return Ok(());
        }
        let first = now.findings.first().map_or("", |finding| &*finding.text);
        let text = format!(
            "cannot be repaired: the tables as they would be do not pass the check ({first}). The image is as it was"
        );
        Err(Error::new(&self.file, ErrorKind::Damaged(text)))
    }
}

/// Analyses the image. One of version 2 that has zero clusters is read as version 3, which is what wrote
/// them; counts that are too narrow for what is there are made wider.
fn analysis(
    file: &ImageFile,
    header: &Header,
    (found, extent): (&Check, RepairExtent),
    progress: &dyn ProgressSink,
) -> Result<Analysis> {
    let mut header = header.clone();
    if extent == RepairExtent::All && found.numbers.contains_key(&FindingKind::ZeroFlagInV2) {
        header.version = Version::V3;
    }
    let mut order = header.geometry.refcount_order();
    loop {
        let analysed = Analysis::of(file, (&header, order), found, progress);
        match analysed
            .map_err(|error| (matches!(error.kind, ErrorKind::TooManyReferences(_)), error))
        {
            Err((true, _)) if header.version == Version::V3 && order < 6 => {
                order = if order < 4 { 4 } else { 6 };
            }
            other => return other.map_err(|(_, error)| error),
        }
    }
}
