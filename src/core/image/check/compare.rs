//! References found against the image's own counts, block by block; and roles of one cluster that
//! contradict each other.

use crate::image::error::{OfFile, Result};
use crate::image::read::l2_reader::Holes;
use crate::image::read::table_reader::{NO_BLOCK, read_block};
use crate::image::{Error, ErrorKind, ProgressSink, internal};
use crate::qcow2::{HostCluster, RefcountBlock, refcount};

use super::finding::{Finding, FindingKind, Findings};
use super::image::Image;
use super::layout::Layout;
use super::window::{COMPRESSED, L2, Slot, TABLE, TABLES, TWICE, Window};

/// Clusters in a row with one fault.
#[derive(Debug)]
struct FaultRun {
    kind: FindingKind,
    first: u64,
    clusters: u64,
    found: u64,
    counted: u64,
}

/// What the comparison of a whole file amounts to.
#[derive(Debug)]
pub(super) struct Comparing<'a, 'b> {
    pub(super) image: &'a Image<'b>,
    pub(super) layout: &'a Layout,
    pub(super) findings: &'a mut Findings,
    /// The cluster after the last one in use.
    pub(super) end: u64,
    pub(super) leaked: u64,
    /// Clusters of which it helps to know which guest data they hold; bounded.
    pub(super) curious: Vec<u64>,
    run: Option<FaultRun>,
}

/// Clusters compared at once with each other.
const ALIKE: usize = 64;

/// Clusters remembered for being looked up afterwards.
const MOST_CURIOUS: usize = 200;

impl<'a, 'b> Comparing<'a, 'b> {
    pub(super) fn new(
        image: &'a Image<'b>,
        layout: &'a Layout,
        findings: &'a mut Findings,
    ) -> Self {
        Self {
            image,
            layout,
            findings,
            end: 0,
            leaked: 0,
            curious: Vec::new(),
            run: None,
        }
    }

    /// Compares the clusters of one window.
    pub(super) fn window(&mut self, window: &Window, progress: &dyn ProgressSink) -> Result<()> {
        let image = self.image;
        let size = image.size();
        let per_block = image.geometry.refcounts_per_block();
        let end = window.first + window.len();
        let mut holes = Holes::default();
        let mut spare = None;
        let mut cluster = window.first;
        while cluster < end {
            let index = cluster / per_block;
            let upto = (index + 1).saturating_mul(per_block).min(end);
            let slots = window.slots(cluster, upto - cluster);
            let at = internal::index(index).of(image.file)?;
            let raw = self.layout.refcounts.get(at).unwrap_or(NO_BLOCK);
            // As QEMU, which reads through reserved bits.
            match refcount::parse_table_entry(raw, image.geometry) {
                // Nobody knows these counts; that was told.
                Err(_) => self.uncounted(slots, cluster),
                Ok(Some(block)) if !holes.covers(image.file, block.get(), size) => {
                    let file = image.file;
                    let read = read_block(file, image.geometry, raw, spare.take())?;
                    if let Some((_, block)) = read {
                        self.block(slots, cluster, &block, cluster % per_block)?;
                        spare = Some(block);
                    }
                }
                Ok(_) => self.counted(slots, cluster, std::iter::repeat(0)),
            }
            if !progress.advance(size) {
                return Err(Error::new(image.file, ErrorKind::Cancelled));
            }
            cluster = upto;
        }
        self.end_run();
        Ok(())
    }

    /// Compares clusters with the block that counts them, from its count number `skip` on.
    fn block(&mut self, slots: &[u32], first: u64, block: &RefcountBlock, skip: u64) -> Result<()> {
        let path = self.image.file;
        let skip = internal::index(skip).of(path)?;
        let Some(counts) = block.as_sixteen_bits() else {
            self.counted(slots, first, block.iter().skip(skip));
            return Ok(());
        };
        // The usual width: clusters that are all alike, and as they should be, are judged at once.
        let counts = internal::part(counts, skip..counts.len())
            .of(path)?
            .chunks(ALIKE);
        let mut at = first;
        for (slots, counts) in slots.chunks(ALIKE).zip(counts) {
            match (slots, counts) {
                ([slot, ..], [count, ..])
                    if slots.len() == counts.len()
                        && slots.iter().fold(0, |differs, s| differs | (s ^ slot)) == 0
                        && counts.iter().all(|c| c == count)
                        && Slot(*slot).agrees(count.get().into()) =>
                {
                    if *slot != 0 {
                        self.end = at + slots.len() as u64;
                    }
                }
                _ => self.counted(slots, at, counts.iter().map(|count| count.get().into())),
            }
            at += slots.len() as u64;
        }
        Ok(())
    }

    #[inline]
    fn counted(&mut self, slots: &[u32], first: u64, counts: impl Iterator<Item = u64>) {
        for ((cluster, slot), count) in (first..).zip(slots).zip(counts) {
            let slot = Slot(*slot);
            if slot.0 != 0 || (count != 0 && cluster < self.image.clusters) {
                self.end = cluster + 1;
                if !slot.agrees(count) {
                    self.judge(cluster, slot, count);
                }
            }
        }
    }

    /// Clusters whose refcounts cannot be had.
    fn uncounted(&mut self, slots: &[u32], first: u64) {
        for (cluster, slot) in (first..).zip(slots) {
            let slot = Slot(*slot);
            if slot.0 != 0 {
                self.end = cluster + 1;
                self.roles(cluster, slot);
            }
        }
    }

    fn judge(&mut self, cluster: u64, slot: Slot, counted: u64) {
        let found = slot.count();
        if found != counted && !(slot.overflows() && counted > found) {
            if found < counted {
                self.leaked += self.image.size();
                self.in_run(FindingKind::Leak, cluster, found, counted);
            } else {
                self.in_run(FindingKind::Undercount, cluster, found, counted);
                self.look_up(cluster);
            }
        }
        self.roles(cluster, slot);
        if slot.copied_lies(counted) {
            let offset = cluster * self.image.size();
            let what = if slot.has(L2) {
                "an L2 table"
            } else {
                "a data cluster"
            };
            let text = || {
                if counted == 1 {
                    format!(
                        "the entry that leads to {what} at {offset:#x} lacks the copied flag, and the \
                         cluster's refcount is 1"
                    )
                } else {
                    format!(
                        "the entry that leads to {what} at {offset:#x} has the copied flag, and the \
                         cluster's refcount is {counted}"
                    )
                }
            };
            self.findings
                .at(FindingKind::CopiedFlag, offset, self.image.size(), text);
            self.look_up(cluster);
        }
    }

    /// What is wrong with the uses of one cluster, whatever its refcount.
    fn roles(&mut self, cluster: u64, slot: Slot) {
        if !slot.clashes() {
            return;
        }
        let (offset, size) = (cluster * self.image.size(), self.image.size());
        let layout = self.layout;
        if slot.has(TABLES) || (slot.has(TABLE) && slot.has(L2)) {
            self.findings
                .at(FindingKind::TablesOverlap, offset, size, || {
                    format!(
                        "{} share the cluster at {offset:#x}",
                        tables_at(layout, cluster, slot)
                    )
                });
        }
        if slot.is_aliased() {
            self.findings
                .at(FindingKind::TableAliased, offset, size, || {
                    format!(
                        "guest data lies on {} at {offset:#x}: writing it would destroy the image",
                        tables_at(layout, cluster, slot)
                    )
                });
            self.look_up(cluster);
        } else if slot.has(TWICE) || slot.has(COMPRESSED) {
            let what = if slot.has(L2) {
                "the L2 table at"
            } else {
                "the data cluster at"
            };
            self.findings
                .at(FindingKind::SharedCluster, offset, size, || {
                    format!("{what} {offset:#x} appears at several places of the guest's disk")
                });
            self.look_up(cluster);
        }
    }

    fn look_up(&mut self, cluster: u64) {
        if self.curious.len() < MOST_CURIOUS {
            self.curious.push(cluster);
        }
    }

    /// Adds a cluster to the run of its kind.
    fn in_run(&mut self, kind: FindingKind, cluster: u64, found: u64, counted: u64) {
        if let Some(run) = &mut self.run
            && (run.kind, run.found, run.counted) == (kind, found, counted)
            && run.first + run.clusters == cluster
        {
            run.clusters += 1;
            return;
        }
        self.end_run();
        self.run = Some(FaultRun {
            kind,
            first: cluster,
            clusters: 1,
            found,
            counted,
        });
    }

    fn end_run(&mut self) {
        let Some(run) = self.run.take() else {
            return;
        };
        let size = self.image.size();
        let (offset, len) = (run.first * size, run.clusters * size);
        let finding = || {
            let what = match run.clusters {
                1 => format!("the cluster at {offset:#x} is"),
                n => format!("each of the {n} clusters from {offset:#x} is"),
            };
            Finding {
                kind: run.kind,
                offset: Some(offset),
                len,
                guest: None,
                text: format!(
                    "{what} used {} and counted {}",
                    times(run.found),
                    times(run.counted)
                ),
            }
        };
        self.findings.add(run.clusters, finding, run.kind);
    }
}

fn times(number: u64) -> String {
    match number {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}

/// The names of the tables in a cluster.
fn tables_at(layout: &Layout, cluster: u64, slot: Slot) -> String {
    let mut names: Vec<&str> = layout
        .ranges
        .iter()
        .filter(|range| range.clusters.contains(HostCluster(cluster)))
        .map(|range| range.what)
        .take(3)
        .collect();
    if slot.has(L2) {
        names.push("an L2 table");
    }
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "a table".to_owned(),
    }
}
