//! Going through the L2 tables: each is read once, in the file's order, many in one read where they
//! lie together; tables in holes of the file are not read at all.

use zerocopy::FromBytes;
use zerocopy::byteorder::big_endian::U64;

use crate::host::Segment;
use crate::qcow2::{FormatError, L2Entry, l2};

use super::super::error::{IoContext, Result};
use super::super::{Error, ErrorKind, Pace};
use super::finding::{FindingKind, Findings};
use super::layout::TableRef;
use super::window::{COMPRESSED, COPIED, DATA, NOT_COPIED, Window};
use super::{Image, Statistics};

/// Bytes read at once at most, unless one table is longer.
const CHUNK: u64 = 1 << 20;
/// Bytes between two tables that are read rather than skipped.
const GAP: u64 = 32 << 10;

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// What is known of the file's holes: from, to, and whether it is one.
#[derive(Debug, Default)]
pub(super) struct Holes {
    from: u64,
    to: u64,
    hole: bool,
}

impl Holes {
    /// Whether these bytes are in a hole as a whole, so that they read as zero.
    pub(super) fn covers(&mut self, image: &Image<'_>, offset: u64, len: u64) -> bool {
        if offset < self.from || offset >= self.to {
            // A file that cannot tell has none.
            let segment = image
                .file
                .segment_at(offset)
                .unwrap_or(Segment::Data(u64::MAX));
            let (to, hole) = match segment {
                Segment::Data(to) => (to, false),
                Segment::Hole(to) => (to, true),
            };
            *self = Self {
                from: offset,
                to,
                hole,
            };
        }
        self.hole && offset.saturating_add(len) <= self.to
    }
}

/// Hands every table's bytes to `visit`, in the file's order; those that hold nothing are left out.
pub(super) fn each_table(
    image: &Image<'_>,
    tables: &[TableRef],
    pace: &dyn Pace,
    visit: &mut dyn FnMut(&TableRef, &[u8]),
) -> Result<()> {
    let size = image.size();
    let place = |table: &TableRef| u64::from(table.cluster) * size;
    let mut holes = Holes::default();
    let mut buffer = Vec::new();
    let mut rest = tables;
    while let Some(first) = rest.first() {
        let start = place(first);
        let mut end = start + size;
        let mut count = 1;
        for next in rest.get(1..).unwrap_or_default() {
            let at = place(next);
            if at > end + GAP || at + size > start + CHUNK {
                break;
            }
            end = at + size;
            count += 1;
        }
        let (batch, later) = rest.split_at(count);
        rest = later;
        if !pace.advance(end - start) {
            return Err(Error::new(image.path, ErrorKind::Stopped));
        }
        if holes.covers(image, start, end - start) {
            continue;
        }
        buffer.resize(usize::try_from(end - start).unwrap_or(0), 0);
        let got = image
            .file
            .read_at(&mut buffer, start)
            .at(image.path, &format!("read the L2 tables at {start:#x}"))?;
        if let Some(missing) = buffer.get_mut(got..) {
            missing.fill(0);
        }
        for table in batch {
            let from = usize::try_from(place(table) - start).unwrap_or(usize::MAX);
            let bytes = buffer
                .get(from..)
                .and_then(|rest| rest.get(..image.geometry.cluster_len()));
            if let Some(bytes) = bytes {
                visit(table, bytes);
            }
        }
    }
    Ok(())
}

/// The raw entries of a table with their bitmaps, those that are all zero left out.
pub(super) fn raw_entries(
    bytes: &[u8],
    extended: bool,
) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
    let words = <[U64]>::ref_from_bytes(bytes).unwrap_or_default();
    let step = if extended { 2 } else { 1 };
    words
        .chunks_exact(step)
        .enumerate()
        .filter_map(move |(at, entry)| {
            let raw = entry.first().map_or(0, |word| word.get());
            let bitmap = entry.get(1).map_or(0, |word| word.get());
            (raw != 0 || bitmap != 0).then_some((at, raw, bitmap))
        })
}

/// Counts what the L2 tables refer to.
pub(super) struct Counting<'a, 'b> {
    pub(super) image: &'a Image<'b>,
    pub(super) window: &'a mut Window,
    /// Only in the first pass: later ones would tell the same again.
    pub(super) told: Option<(&'a mut Findings, &'a mut Statistics)>,
}

impl Counting<'_, '_> {
    /// Counts one table's entries.
    pub(super) fn table(&mut self, table: &TableRef, bytes: &[u8]) {
        let image = self.image;
        let active = table.active();
        let mut next = 0;
        if image.context.data_file || image.geometry.extended_l2() {
            for (at, raw, bitmap) in raw_entries(bytes, image.geometry.extended_l2()) {
                self.entry(table, active, at, (raw, bitmap), &mut next);
            }
            return;
        }
        let words = <[U64]>::ref_from_bytes(bytes).unwrap_or_default();
        let bits = image.geometry.cluster_bits();
        // Whatever is not a data cluster's aligned offset and its copied flag.
        let unusual = !(OFFSET & !(image.size() - 1) | 1 << 63);
        let most = image.last_start();
        let mut allocated = 0;
        let mut fragmented = 0;
        for (at, word) in words.iter().enumerate() {
            let raw = word.get();
            if raw == 0 {
                continue;
            }
            let offset = raw & OFFSET;
            if raw & unusual != 0 || offset == 0 || offset > most {
                self.entry(table, active, at, (raw, 0), &mut next);
                continue;
            }
            if active {
                allocated += 1;
                fragmented += u64::from(next != 0 && offset != next);
                next = offset + image.size();
                let copied = if raw >> 63 == 0 { NOT_COPIED } else { COPIED };
                self.window
                    .refer_active(offset >> bits, table.weight, DATA | copied);
            } else {
                self.window.refer(offset >> bits, table.weight, DATA);
            }
        }
        if let Some((_, statistics)) = &mut self.told {
            statistics.allocated += allocated;
            statistics.fragmented += fragmented;
        }
    }

    /// Counts any entry, and tells what is wrong with it.
    fn entry(
        &mut self,
        table: &TableRef,
        active: bool,
        at: usize,
        (raw, bitmap): (u64, u64),
        next: &mut u64,
    ) {
        let image = self.image;
        let size = image.size();
        let place = || {
            let whose = if active { "" } else { ", of a snapshot" };
            format!("L2 entry {at} of L1 entry {}{whose}", table.l1_index)
        };
        let guest = active.then(|| image.l2_guest(table.l1_index.into(), at));
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
                for cluster in offset / size..=(offset + len - 1) / size {
                    self.window.refer(cluster, table.weight, DATA | COMPRESSED);
                }
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
        if !offset.is_multiple_of(size) {
            for cluster in [offset / size, offset / size + 1] {
                self.window.refer(cluster, table.weight, DATA);
            }
        } else if active {
            let copied = if copied { COPIED } else { NOT_COPIED };
            self.window
                .refer_active(offset / size, table.weight, DATA | copied);
        } else {
            self.window.refer(offset / size, table.weight, DATA);
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
