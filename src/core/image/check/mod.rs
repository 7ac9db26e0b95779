//! Checking an image's metadata: every reference counted and compared with the image's own counts.
//! Works without the image below, reads no guest data, and changes nothing.
//!
//! | file | what is in it |
//! |---|---|
//! | `image` | the image as all parts of the check see it |
//! | `finding` | what can be found, and how bad it is |
//! | `layout` | where the image's tables are |
//! | `walk` | going through the L2 tables |
//! | `window` | what is known of each cluster |
//! | `compare` | what is known against what the image counts |
//!
//! The verdict (clean, leaks, corrupt) is that of `qemu-img check` of QEMU 10.0 wherever it has one,
//! with these exceptions: guest data on a table and tables on one another are corruptions even where
//! the refcounts were raised to match, a zero flag in version 2 is one, and what makes qemu-img give
//! up (a damaged bitmap directory, an unaligned refcount block) is a finding here.

mod compare;
mod finding;
mod image;
mod layout;
mod walk;
mod window;

use std::collections::BTreeMap;

use crate::host::FileKind;
use crate::image::error::{OfFile, Result};
use crate::image::read::qcow2_layer::read_header;
use crate::image::{Error, ErrorKind, ImageFile, MetadataOverlap, ProgressSink};
use crate::qcow2::{
    ClusterRun, Header, HostCluster, HostClusters, Incompatible, L2Context, L2Entry, cluster_runs,
};

use compare::Comparing;
use finding::Findings;
use image::Image;
use layout::{Layout, TableRef, cluster_number};
use walk::{Counting, Statistics};
use window::{L2, Window};

pub(in crate::image) use image::past_end;
pub(in crate::image) use walk::kind_of;

pub use finding::{Finding, FindingKind, Severity};

/// Clusters a file may have to be checked, as for QEMU.
const MOST_CLUSTERS: u64 = (1 << 31) - 2;

/// What an L2 table is called in [`Check::tables`].
pub(in crate::image) const L2_TABLE: &str = "an L2 table";

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Check {
    /// References that cannot be right, or counts too low to protect what is in use.
    pub corruptions: u64,
    /// Clusters that are counted as used more often than they are: lost space, no danger.
    pub leaks: u64,
    /// Bytes of leaked clusters.
    pub leaked_bytes: u64,
    /// The first findings of each severity, the worst first.
    pub findings: Vec<Finding>,
    /// How many findings of each kind there are, those not kept included; leaks by the cluster.
    pub numbers: BTreeMap<FindingKind, u64>,
    /// Clusters that the guest's disk has.
    pub total_clusters: u64,
    /// Guest clusters that have a place here, whether they hold data or are kept for it.
    pub allocated_clusters: u64,
    /// Of these, compressed ones.
    pub compressed_clusters: u64,
    /// Of these, those that do not lie behind the one before, and all compressed ones.
    pub fragmented_clusters: u64,
    /// End of the last cluster in use, in bytes.
    pub image_end: u64,
    /// Length of the file in bytes.
    pub file_len: u64,
    /// Where the image's own tables are.
    pub tables: MetadataOverlap,
}

/// What a check amounts to, as `qemu-img check` tells it by its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Neither corruptions nor leaks.
    Clean,
    /// Leaked clusters, no corruptions.
    Leaks,
    /// Corruptions.
    Corrupt,
}

impl Check {
    /// What it amounts to; notices do not matter for it.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match (self.corruptions, self.leaks) {
            (0, 0) => Verdict::Clean,
            (0, _) => Verdict::Leaks,
            _ => Verdict::Corrupt,
        }
    }

    /// Bytes of the file past the last cluster in use.
    #[must_use]
    pub const fn trailing_bytes(&self) -> u64 {
        self.file_len.saturating_sub(self.image_end)
    }
}

/// Checks the qcow2 image in `file`. `progress` hears of tables looked at (in bytes of the file) and can
/// stop it.
///
/// Memory is bounded by 200 MiB whatever the image says, unless its snapshot table alone is tens of
/// MiB long; work by the bytes that the file has on disk.
///
/// # Errors
/// When the file cannot be read, its header is not valid, its snapshot table cannot be understood,
/// it has more clusters or tables than can be looked at, or it was stopped.
pub fn check(file: &ImageFile, progress: &dyn ProgressSink) -> Result<Check> {
    let header = read_header(file)?;
    let unknown = header.unknown_incompatible();
    if !unknown.is_empty() {
        return Err(Error::new(
            file,
            ErrorKind::UnknownFeatures(unknown.iter().map(ToString::to_string).collect()),
        ));
    }
    let stat = file.stat("ask the length")?;
    let clusters = stat.len.div_ceil(header.geometry.cluster_size());
    if clusters > MOST_CLUSTERS {
        let text =
            format!("is too long to be checked: {clusters} clusters, {MOST_CLUSTERS} is the most");
        return Err(Error::new(file, ErrorKind::Limit(text)));
    }
    let image = Image {
        file,
        header: &header,
        geometry: header.geometry,
        context: L2Context::of(&header),
        len: stat.len,
        clusters,
    };
    let mut findings = Findings::new();
    marks(&header, &mut findings);
    let layout = layout::collect(&image, &mut findings)?;
    let mut statistics = Statistics::default();
    let (end, leaked_bytes, curious) =
        count_and_compare(&image, &layout, &mut findings, &mut statistics, progress)?;
    let image_end = end.saturating_mul(image.size());
    // A device is as long as it is.
    if image.len > image_end && stat.kind == FileKind::Regular {
        let trailing = image.len - image_end;
        findings.at(FindingKind::Trailing, image_end, trailing, || {
            format!("the file goes on for {trailing} bytes past the last cluster in use")
        });
    }
    let mut result = Check {
        corruptions: findings.corruptions,
        leaks: findings.leaks,
        leaked_bytes,
        numbers: std::mem::take(&mut findings.numbers),
        findings: findings.into_kept(),
        total_clusters: image.geometry.clusters_for(header.virtual_size()),
        allocated_clusters: statistics.allocated,
        compressed_clusters: statistics.compressed,
        fragmented_clusters: statistics.fragmented,
        image_end,
        file_len: image.len,
        tables: MetadataOverlap::default(),
    };
    locate(
        &image,
        &layout.tables,
        &curious,
        &mut result.findings,
        progress,
    )?;
    result.tables = metadata(layout);
    Ok(result)
}

/// Checks an image that something is to be built on: on tables that contradict each other nothing is.
///
/// # Errors
/// As [`check`], and [`ErrorKind::Corruptions`] when there is any.
pub fn require_sound(file: &ImageFile, progress: &dyn ProgressSink) -> Result<Check> {
    let found = check(file, progress)?;
    if found.corruptions > 0 {
        return Err(Error::new(file, ErrorKind::Corruptions(found.corruptions)));
    }
    Ok(found)
}

/// The marks that say that somebody did not finish, or met a corruption.
fn marks(header: &Header, findings: &mut Findings) {
    if header.incompatible.contains(Incompatible::DIRTY) {
        findings.at(FindingKind::MarkedDirty, 0, 0, || {
            "the image is marked dirty: it was not closed properly".to_owned()
        });
    }
    if header.incompatible.contains(Incompatible::CORRUPT) {
        findings.at(FindingKind::MarkedCorrupt, 0, 0, || {
            "the image is marked corrupt: QEMU refuses to write it".to_owned()
        });
    }
}

/// The passes over the file: the cluster after the last one in use, leaked bytes, and clusters of
/// which it helps to know which guest data they hold.
fn count_and_compare(
    image: &Image<'_>,
    layout: &Layout,
    findings: &mut Findings,
    statistics: &mut Statistics,
    progress: &dyn ProgressSink,
) -> Result<(u64, u64, Vec<u64>)> {
    // One more: what is in the last cluster may reach a little past the end of the file.
    let total = image.clusters + 1;
    let (mut end, mut leaked, mut curious) = (0, 0, Vec::new());
    // For a file of several windows: which clusters each table refers to, from the first pass on.
    let mut spans: Vec<Option<(u32, u32)>> = Vec::new();
    let mut first = 0;
    while first < total {
        let mut window = Window::new(first, total - first);
        let upto = first + window.len();
        for range in &layout.ranges {
            let from = range.clusters.first.get().max(first);
            for cluster in from..range.clusters.end().get().min(upto) {
                window.refer_table(cluster, range.weight);
            }
        }
        for table in &layout.tables {
            window.refer(table.cluster.into(), 1, table.weight, L2 | table.roles);
        }
        let mut counting = Counting {
            image,
            window: &mut window,
            told: (first == 0).then_some((&mut *findings, &mut *statistics)),
            span: None,
        };
        if first == 0 {
            let several = upto < total;
            image
                .tables(progress)
                .each(placed(image, &layout.tables), &mut |table, bytes| {
                    let span = counting.table(table, bytes)?;
                    if several {
                        let number = |cluster| cluster_number(cluster).of(image.file);
                        let span = span.map(|(from, to)| Ok((number(from)?, number(to)?)));
                        spans.push(span.transpose()?);
                    }
                    Ok(())
                })?;
        } else {
            let tables = placed(image, &layout.tables).zip(&spans);
            let of_window = tables.filter_map(|(table, span)| {
                let (from, to) = (*span)?;
                (u64::from(from) < upto && u64::from(to) >= first).then_some(table)
            });
            image
                .tables(progress)
                .each(of_window, &mut |table, bytes| {
                    counting.table(table, bytes).map(drop)
                })?;
        }
        let mut comparing = Comparing::new(image, layout, findings);
        comparing.window(&window, progress)?;
        end = end.max(comparing.end);
        leaked += comparing.leaked;
        curious.append(&mut comparing.curious);
        first = upto;
    }
    Ok((end, leaked, curious))
}

/// The tables with their offsets in the file.
fn placed<'a>(
    image: &Image<'_>,
    tables: &'a [TableRef],
) -> impl Iterator<Item = (u64, &'a TableRef)> {
    let size = image.size();
    tables
        .iter()
        .map(move |table| (u64::from(table.cluster) * size, table))
}

/// Finds out which guest data the clusters of these findings hold.
fn locate(
    image: &Image<'_>,
    tables: &[TableRef],
    curious: &[u64],
    findings: &mut [Finding],
    progress: &dyn ProgressSink,
) -> Result<()> {
    if curious.is_empty() || image.context.data_file {
        return Ok(());
    }
    let mut guests: BTreeMap<u64, Option<(u64, u64)>> =
        curious.iter().map(|cluster| (*cluster, None)).collect();
    for table in tables.iter().filter(|table| table.active()) {
        if let Some(guest @ None) = guests.get_mut(&u64::from(table.cluster)) {
            *guest = Some(image.l1_guest(table.l1_index.into()));
        }
    }
    let bits = image.geometry.cluster_bits();
    let active = placed(image, tables).filter(|(_, table)| table.active());
    image.tables(progress).each(active, &mut |table, bytes| {
        for run in cluster_runs(bytes, image.context) {
            let (at, len, host) = match run {
                ClusterRun::Clusters { at, len, host, .. } => (at, len as u64, host),
                ClusterRun::Entry { at, raw, bitmap } => {
                    let entry = L2Entry::parse(raw, bitmap, image.context);
                    match entry.ok().and_then(|entry| entry.host()) {
                        Some(host) => (at, 1, host),
                        None => continue,
                    }
                }
            };
            let first = host.get() >> bits;
            for (cluster, guest) in guests.range_mut(first..first + len) {
                if guest.is_none() {
                    let at = at as u64 + (cluster - first);
                    *guest = Some(image.l2_guest(table.l1_index.into(), at));
                }
            }
        }
        Ok(())
    })?;
    for finding in findings.iter_mut().filter(|f| f.guest.is_none()) {
        let cluster = finding.offset.map(|offset| offset / image.size());
        finding.guest = cluster.and_then(|cluster| guests.get(&cluster).copied().flatten());
    }
    Ok(())
}

fn metadata(layout: Layout) -> MetadataOverlap {
    let ranges = layout
        .ranges
        .iter()
        .map(|range| (range.clusters, range.what));
    let tables = layout.tables.iter().map(|table| {
        let cluster = HostCluster(table.cluster.into());
        (HostClusters::one(cluster), L2_TABLE)
    });
    MetadataOverlap::new(ranges.chain(tables).collect())
}
