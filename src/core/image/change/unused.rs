//! Clusters of a file that nothing in the image uses and that take room on disk all the same: QEMU counts down what it
//! frees and leaves the blocks where they are, unless it was told to discard; and what was cut off leaves clusters that
//! are counted and that nothing refers to.

use std::ops::Range;
use std::path::Path;

use crate::host::{Access, FileKind, Host, Segment};
use crate::image::change::repair::{Repair, RepairExtent};
use crate::image::error::{OfFile, Result};
use crate::image::internal::index;
use crate::image::read::qcow2_layer::read_header;
use crate::image::read::table_reader::{NO_BLOCK, read_block, read_refcount_table};
use crate::image::{Error, ErrorKind, ImageFile, ProgressSink};
use crate::qcow2::{Header, HostCluster, HostClusters};

/// What filesystems give back at a time: of less than that, nothing comes free.
const BLOCK: u64 = 4096;

/// Bytes on disk of clusters that the image counts as free. What is leaked is not among them.
///
/// # Errors
/// When the file or its refcounts cannot be read, or it was stopped.
pub fn unused(file: &ImageFile, progress: &dyn ProgressSink) -> Result<u64> {
    let mut bytes = 0_u64;
    each_unused(file, progress, &mut |data| {
        bytes = bytes.saturating_add(data.end - data.start);
        Ok(())
    })?;
    Ok(bytes)
}

/// Frees leaked clusters, and gives back to the filesystem what clusters that are free take on disk; gives the bytes of
/// that. Cut off anywhere the image is as sound as it was, and the same call again does the rest. Leaked clusters stay
/// where they may be what a damaged table led to.
///
/// # Errors
/// When the image is damaged, it cannot be read or written, or it was stopped.
pub fn give_back_unused(host: &dyn Host, path: &Path, progress: &dyn ProgressSink) -> Result<u64> {
    let file = ImageFile::open(host, path, Access::ReadWrite)?;
    let repair = Repair::work_out(&file, RepairExtent::Leaks, progress)?;
    if frees_leaks(&repair) {
        repair.commit(progress)?;
    }
    let mut bytes = 0_u64;
    each_unused(&file, progress, &mut |data| {
        let (at, len) = (data.start, data.end - data.start);
        bytes = bytes.saturating_add(len);
        file.punch(at, len, format_args!("free {len} bytes at {at:#x}"))
    })?;
    file.flush()?;
    Ok(bytes)
}

/// Whether leaked clusters are really nobody's, and there are some.
#[must_use]
pub fn frees_leaks(repair: &Repair) -> bool {
    let is_sure = repair.left_count() == 0
        && repair.lost_tables().is_empty()
        && repair.suspects().0.is_empty();
    repair.found().corruptions == 0 && repair.found().leaks > 0 && is_sure
}

/// Tells the data on disk of clusters that are counted as free, in order. Devices have no blocks to give back.
fn each_unused(
    file: &ImageFile,
    progress: &dyn ProgressSink,
    tell: &mut dyn FnMut(Range<u64>) -> Result<()>,
) -> Result<()> {
    let stat = file.stat("ask the length")?;
    if stat.kind != FileKind::Regular {
        return Ok(());
    }
    let header = read_header(file)?;
    let mut run: Option<Range<u64>> = None;
    each_free(file, &header, stat.len, progress, &mut |free| {
        match &mut run {
            Some(run) if run.end == free.start => run.end = free.end,
            _ => {
                if let Some(run) = run.replace(free) {
                    each_data(file, run, tell)?;
                }
            }
        }
        Ok(())
    })?;
    run.map_or(Ok(()), |run| each_data(file, run, tell))
}

/// Tells the runs of clusters whose refcount is 0, in bytes of the file, as far as the file goes.
fn each_free(
    file: &ImageFile,
    header: &Header,
    len: u64,
    progress: &dyn ProgressSink,
    tell: &mut dyn FnMut(Range<u64>) -> Result<()>,
) -> Result<()> {
    let geometry = header.geometry;
    let per_block = geometry.refcounts_per_block();
    let clusters = len.div_ceil(geometry.cluster_size());
    let table = read_refcount_table(file, header)?;
    let bytes = |from: u64, to: u64| {
        let run = HostClusters {
            first: HostCluster(from),
            count: to - from,
        };
        let bytes = geometry.bytes_of(run);
        bytes.start..bytes.end.min(len)
    };
    let mut spare = None;
    for number in 0..clusters.div_ceil(per_block) {
        if !progress.advance(0) {
            return Err(Error::new(file, ErrorKind::Cancelled));
        }
        let first = number * per_block;
        let end = clusters.min(first + per_block);
        let raw = table.get(index(number).of(file)?).unwrap_or(NO_BLOCK);
        let Some((_, block)) = read_block(file, geometry, raw, spare.take())? else {
            tell(bytes(first, end))?;
            continue;
        };
        let counted = index(end - first).of(file)?;
        let mut at = 0;
        while let Some(from) = block.first_free(at).filter(|from| *from < counted) {
            let free = (from..counted).take_while(|at| block.get(*at) == Some(0));
            at = from + free.count();
            tell(bytes(first + from as u64, first + at as u64))?;
        }
        spare = Some(block);
    }
    Ok(())
}

/// Tells the data within these bytes of the file, whole blocks of it.
fn each_data(
    file: &ImageFile,
    range: Range<u64>,
    tell: &mut dyn FnMut(Range<u64>) -> Result<()>,
) -> Result<()> {
    let end = range.end - range.end % BLOCK;
    let mut at = range.start.next_multiple_of(BLOCK);
    while at < end {
        at = match file.segment_at(at) {
            Ok(Segment::Data(to)) => {
                let to = to.clamp(at + 1, end);
                tell(at..to)?;
                to
            }
            Ok(Segment::Hole(to)) => to.max(at + 1),
            // Where holes are not told of, none can be made.
            Err(_) => end,
        };
    }
    Ok(())
}
