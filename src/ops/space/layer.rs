//! What one image holds, from its tables alone, or also from what it stores.

use std::path::Path;
use std::sync::Arc;

use crate::forest::{Forest, Node, Reads};
use crate::host::{FileKind, Host};
use crate::image::{
    self, Chain, Compressible, EqualBelow, Format, ImageFile, Layer, MapState, NoProgress,
    compressible, equal_below, on_disk, snapshot_view,
};

use super::super::{Context, trim};
use super::image_space::{LayerSpace, ReadSpace};
use super::measured::Measured;
use super::query::{ImageReading, SpaceQuery};
use super::ranges::Ranges;

/// Measures an image by its tables, unless its file is one that is known. Nothing that it is built on is opened.
pub(super) fn measure(context: &Context, node: &Node, query: &SpaceQuery<'_>) -> Arc<Measured> {
    if let Some(known) = query.known.tables(node) {
        return known;
    }
    let measured = Arc::new(measure_anew(&*context.host, &context.forest, node));
    let now = context.host.now();
    query.known.keep_tables(node, now, &measured);
    measured
}

fn measure_anew(host: &dyn Host, forest: &Forest, node: &Node) -> Measured {
    let space = LayerSpace {
        disk: node.size_on_disk().unwrap_or_default(),
        ..LayerSpace::default()
    };
    let Some(format) = node.format() else {
        return Measured::unread(space, "it cannot be opened".to_owned());
    };
    let opened = open_alone(host, forest, node, &format);
    let read = opened.and_then(|chain| read(&chain, space.clone()));
    read.unwrap_or_else(|error| Measured::unread(space, error.kind.to_string()))
}

/// The image without what it is built on.
fn open_alone(
    host: &dyn Host,
    forest: &Forest,
    node: &Node,
    format: &Format,
) -> image::Result<Chain> {
    let edges = forest.also_reads(node.id).iter();
    let data_files: Vec<_> = edges.filter(|edge| edge.how == Reads::DataFile).collect();
    let is_data_file = |path: &Path| data_files.iter().any(|edge| *edge.path == *path);
    let layer = Layer::open_within(host, &node.path, format, &is_data_file)?;
    Ok(Chain::new(vec![Arc::new(layer)]))
}

fn read(chain: &Chain, space: LayerSpace) -> image::Result<Measured> {
    let mut found = Measured {
        space,
        ..Measured::default()
    };
    let space = &mut found.space;
    for run in chain.map(0, u64::MAX) {
        let run = run?;
        let range = run.start..run.end();
        match run.state {
            MapState::Data | MapState::Compressed => {
                space.data = space.data.saturating_add(run.len);
                found.data.push(range.clone());
            }
            MapState::Hole | MapState::Zero => space.zeros = space.zeros.saturating_add(run.len),
            MapState::Unallocated | MapState::Unknown => continue,
        }
        found.opaque.push(range);
    }
    // Past its end it shows nothing of what lies below.
    found.opaque.push(chain.virtual_size()..u64::MAX);
    found.opaque_to_snapshots.push(0..u64::MAX);
    let file = match chain.layers().first().map(Arc::as_ref) {
        Some(Layer::Qcow2(qcow2)) => qcow2.file(),
        Some(Layer::Raw(raw)) => {
            found.space.shared = shared(raw.file(), found.space.disk);
            return Ok(found);
        }
        None => return Ok(found),
    };
    space.shared = shared(file, space.disk);
    look_at_snapshots(chain, &mut found)?;
    let checked = image::require_sound(file, &NoProgress)?;
    let space = &mut found.space;
    space.leaked = checked.leaked_bytes;
    if file.stat("ask the length")?.kind == FileKind::Regular {
        space.past_end = checked.trailing_bytes();
        let tail = checked.image_end..checked.file_len;
        space.past_end_on_disk = on_disk(file, std::iter::once(tail));
    }
    Ok(found)
}

/// What of its bytes on disk others have as well. A compressing filesystem tells of more bytes than it keeps.
fn shared(file: &ImageFile, disk: u64) -> Option<u64> {
    let bytes = file.host_file().shared_bytes(0..u64::MAX).ok().flatten();
    bytes.map(|bytes| bytes.min(disk))
}

/// What its internal snapshots hold, and hide of what it is built on.
fn look_at_snapshots(chain: &Chain, found: &mut Measured) -> image::Result<()> {
    let Some(Layer::Qcow2(qcow2)) = chain.layers().first().map(Arc::as_ref) else {
        return Ok(());
    };
    for snapshot in image::snapshots(qcow2.file(), qcow2.header())? {
        let view = snapshot_view(chain, &snapshot)?;
        let mut opaque = Ranges::default();
        for run in view.map(0, u64::MAX) {
            let run = run?;
            if run.state.is_present() {
                opaque.push(run.start..run.end());
            }
        }
        found.in_snapshots = found.in_snapshots.union(&opaque);
        opaque.push(view.virtual_size()..u64::MAX);
        found.opaque_to_snapshots = found.opaque_to_snapshots.intersection(&opaque);
    }
    Ok(())
}

/// Reads what an image holds, and what it is built on where it has something itself; what was told of the same files
/// before is told again. A sentence where that cannot be read.
pub(super) fn read_data(
    context: &Context,
    node: &Node,
    query: &SpaceQuery<'_>,
) -> Result<ReadSpace, String> {
    let forest = context.forest.as_ref();
    // Of others what is deleted inside is not looked for: nothing could be done about it.
    let can_be_trimmed = trim::can_be_trimmed(context, node);
    if let Some(known) = query.known.data(forest, node, can_be_trimmed) {
        ImageReading::of(query, node.size_on_disk().unwrap_or_default()).end();
        return Ok(known);
    }
    let reading = ImageReading::of(query, node.size_on_disk().unwrap_or_default());
    let found = read_anew(context, node, &reading).and_then(|(chain, mut found)| {
        if can_be_trimmed {
            found.deleted = trim::deleted(&chain, &query.until)?;
        }
        Ok(found)
    });
    reading.end();
    let found = found.map_err(|error| error.to_string())?;
    let now = context.host.now();
    // Without that estimate it is not all that may be asked for later.
    if query.estimates_compressing {
        query
            .known
            .keep_data(forest, node, now, can_be_trimmed, found);
    }
    Ok(found)
}

fn read_anew(
    context: &Context,
    node: &Node,
    reading: &ImageReading<'_>,
) -> image::Result<(Chain, ReadSpace)> {
    let forest = context.forest.as_ref();
    // What the scan met; a header that changed meanwhile leads nowhere else.
    let chain = forest.chain(node.id);
    let edges = chain.iter().flat_map(|id| forest.also_reads(*id));
    let data_files: Vec<_> = edges.filter(|edge| edge.how == Reads::DataFile).collect();
    let may_follow = |path: &Path| {
        let node = forest.by_path(path);
        node.is_some_and(|node| node.location.is_met())
            || data_files.iter().any(|edge| *edge.path == *path)
    };
    let format = node.format();
    let chain = Chain::open(&*context.host, &node.path, format.as_ref(), &may_follow)?;
    chain.unlock(&context.keys, reading)?;
    let equal = match node.backing {
        Some(_) => equal_below(&chain, reading)?,
        None => EqualBelow::default(),
    };
    // What is encrypted is noise, and is not stored compressed.
    let is_estimated = reading.query().estimates_compressing && !node.is_encrypted();
    let compressible = match is_estimated {
        false => Compressible::default(),
        true => compressible(&chain, reading)?,
    };
    let found = ReadSpace {
        equal,
        compressible,
        deleted: 0,
    };
    Ok((chain, found))
}
