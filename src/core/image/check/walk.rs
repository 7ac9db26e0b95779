//! Going through the L2 tables: what each refers to is counted, and what is wrong with an entry is told.

use crate::image::error::{OfFile, Result};
use crate::image::internal;
use crate::qcow2::{ClusterRun, FormatError, L2Entry, cluster_runs, l2};

use super::finding::{FindingKind, Findings};
use super::image::Image;
use super::layout::TableRef;
use super::window::{COMPRESSED, COPIED, DATA, NOT_COPIED, Window};

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Counts of guest clusters, for the active disk.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    pub(super) allocated: u64,
    pub(super) compressed: u64,
    pub(super) fragmented: u64,
}

/// Counts what the L2 tables refer to.
pub(super) struct Counting<'a, 'b> {
    pub(super) image: &'a Image<'b>,
    pub(super) window: &'a mut Window,
    /// Only in the first pass: later ones would tell the same again.
    pub(super) told: Option<(&'a mut Findings, &'a mut Statistics)>,
    /// First and last cluster referred to by the table at hand.
    pub(super) span: Option<(u64, u64)>,
}

impl Counting<'_, '_> {
    /// Counts one table's entries; tells the first and the last cluster they refer to, if any.
    ///
    /// # Errors
    /// A fault of this program.
    pub(super) fn table(&mut self, table: &TableRef, bytes: &[u8]) -> Result<Option<(u64, u64)>> {
        let image = self.image;
        let (size, bits) = (image.size(), image.geometry.cluster_bits());
        self.span = None;
        let mut next = 0;
        for run in cluster_runs(bytes, image.context) {
            let (at, len, host, copied) = match run {
                ClusterRun::Entry { at, raw, bitmap } => {
                    self.entry(table, at, (raw, bitmap), &mut next);
                    continue;
                }
                ClusterRun::Clusters {
                    at,
                    len,
                    host,
                    copied,
                } => (at, len as u64, host.get(), copied),
            };
            let inside = match image.last_start().checked_sub(host) {
                Some(room) => len.min((room >> bits) + 1),
                None => 0,
            };
            if inside > 0 {
                if table.active()
                    && let Some((_, statistics)) = &mut self.told
                {
                    statistics.allocated += inside;
                    statistics.fragmented += u64::from(next != 0 && host != next);
                }
                next = host + inside * size;
                self.refer_clusters(table, host >> bits, inside, copied);
            }
            // Beyond the end of the file each is told.
            for index in inside..len {
                let at = at + internal::index(index).of(image.file)?;
                let raw = (host + index * size) | (u64::from(copied) << 63);
                self.entry(table, at, (raw, 0), &mut next);
            }
        }
        Ok(self.span)
    }

    /// References of plain entries to clusters in a row.
    fn refer_clusters(&mut self, table: &TableRef, first: u64, count: u64, copied: bool) {
        self.widen(first, count);
        if table.active() {
            let copied = if copied { COPIED } else { NOT_COPIED };
            self.window
                .refer_active(first, count, table.weight, DATA | copied);
        } else {
            self.window.refer(first, count, table.weight, DATA);
        }
    }

    fn widen(&mut self, first: u64, count: u64) {
        let last = first + count - 1;
        self.span = Some(match self.span {
            Some((from, to)) => (from.min(first), to.max(last)),
            None => (first, last),
        });
    }

    /// Counts any entry, and tells what is wrong with it.
    fn entry(&mut self, table: &TableRef, at: usize, (raw, bitmap): (u64, u64), next: &mut u64) {
        let image = self.image;
        let active = table.active();
        let size = image.size();
        let place = || {
            let whose = if active { "" } else { ", of a snapshot" };
            format!("L2 entry {at} of L1 entry {}{whose}", table.l1_index)
        };
        let guest = active.then(|| image.l2_guest(table.l1_index.into(), at as u64));
        let offset = raw & OFFSET;
        let faults = l2::faults(raw, bitmap, image.context);
        let hopeless = faults
            .iter()
            .any(|fault| matches!(fault, FormatError::BadCompressedEntry { .. }));
        for fault in &faults {
            self.tell(kind_of(fault), offset, guest, || {
                format!("{}: {fault}", place())
            });
        }
        let parsed = L2Entry::parse(raw, bitmap, image.context);
        if let Ok(L2Entry::Compressed(stream)) = parsed {
            let (offset, len) = (stream.host.get(), stream.max_len());
            if self.inside(offset, len, guest, place) {
                let first = offset / size;
                let count = (offset + len - 1) / size - first + 1;
                self.widen(first, count);
                self.window
                    .refer(first, count, table.weight, DATA | COMPRESSED);
            }
            if active && let Some((_, statistics)) = &mut self.told {
                statistics.allocated += 1;
                statistics.compressed += 1;
                statistics.fragmented += 1;
            }
            return;
        }
        if hopeless {
            return;
        }
        // An entry that cannot be parsed may still keep somebody's data alive: its cluster counts.
        let zero_plain = parsed.as_ref().is_ok_and(|entry| entry.host().is_none());
        if zero_plain || (offset == 0 && !image.context.data_file) {
            return;
        }
        let copied = raw >> 63 != 0;
        if active {
            if let Some((_, statistics)) = &mut self.told {
                statistics.allocated += 1;
                statistics.fragmented += u64::from(*next != 0 && offset != *next);
            }
            *next = offset.saturating_add(size);
        }
        if image.context.data_file {
            if active && !copied && faults.is_empty() {
                self.tell(FindingKind::CopiedFlag, offset, guest, || {
                    format!(
                        "{}: its copied flag is not set, as it must be with an external data file",
                        place()
                    )
                });
            }
            return;
        }
        if !self.inside(offset, size, guest, place) {
            return;
        }
        if offset.is_multiple_of(size) {
            self.refer_clusters(table, offset / size, 1, copied);
        } else {
            self.widen(offset / size, 2);
            self.window.refer(offset / size, 2, table.weight, DATA);
        }
    }

    fn tell(
        &mut self,
        kind: FindingKind,
        offset: u64,
        guest: Option<(u64, u64)>,
        text: impl FnOnce() -> String,
    ) {
        if let Some((findings, _)) = &mut self.told {
            findings.seen(kind, offset, guest, text);
        }
    }

    /// Whether the bytes are in the file; if not, that is told.
    fn inside(
        &mut self,
        offset: u64,
        len: u64,
        guest: Option<(u64, u64)>,
        place: impl Fn() -> String,
    ) -> bool {
        let past = self.image.is_past_end(offset, len);
        if past {
            self.tell(FindingKind::PastEnd, offset, guest, || {
                format!(
                    "{} points to {offset:#x}, beyond the end of the file",
                    place()
                )
            });
        }
        !past
    }
}

/// What a fault in an L2 entry's bits is.
pub(in crate::image) fn kind_of(fault: &FormatError) -> FindingKind {
    match fault {
        FormatError::Unaligned { .. } => FindingKind::Unaligned,
        FormatError::ZeroFlagInV2 { .. } => FindingKind::ZeroFlagInV2,
        FormatError::BadSubclusterBitmap { .. } => FindingKind::SubclusterBitmap,
        FormatError::BadCompressedEntry { .. } => FindingKind::CompressedEntry,
        _ => FindingKind::ReservedBits,
    }
}
