//! Keeping what an image shows while what it is built on changes: each of its views (what the guest
//! sees now, and its internal snapshots) receives exactly what it would lose, and nothing else. Works
//! run by run, in the same small memory whatever the size. Headers are switched by the caller,
//! afterwards.
//!
//! | file | concept |
//! |---|---|
//! | `backing_change` | what changes below, and how that is decided and kept |
//! | `loss` | what a view would lose, in bytes |
//! | `count` | what a view would lose, told from tables |
//! | `pieces` | the runs that the old and the new backing view may show differently |
//! | `compare_queue` | those of which only the bytes tell, read by several threads |
//! | `preserver` | a view that receives what it would lose |
//! | `dedupe` | the reverse: what an image and what lies below it hold alike is given up |
//! | `units` | which units of a buffer are of one kind |

mod backing_change;
mod compare_queue;
mod count;
mod dedupe;
mod loss;
mod pieces;
mod preserver;
mod units;

use std::path::Path;

use crate::host::{Host, printable_bytes};
use crate::image::error::Result;
use crate::image::write::temp_file::made_aside;
use crate::image::{
    AllocationEstimate, CreateOptions, Format, Layer, ProgressSink, Root, create, snapshots,
};

use count::Count;
use preserver::preserve_view;
use units::{absent, unit_of};

pub use backing_change::{BackingChange, BackingSwitch, CompareBy, Stores, Views};
pub use dedupe::{EqualBelow, dedupe, dedupe_growth, equal_below};
pub use loss::Loss;

/// The internal snapshots of an opened image: printable name, root, and the view through it.
///
/// # Errors
/// When the snapshot table or an L1 table cannot be read.
pub fn snapshot_views(layer: &Layer) -> Result<Vec<(String, Root, Layer)>> {
    let Layer::Qcow2(image) = layer else {
        return Ok(Vec::new());
    };
    let mut views = Vec::new();
    for snapshot in snapshots(image.file(), image.header())? {
        let view = Layer::Qcow2(Box::new(image.at_snapshot(&snapshot)?));
        views.push((
            printable_bytes(&snapshot.name),
            Root::Snapshot(snapshot.l1()),
            view,
        ));
    }
    Ok(views)
}

/// What the view `top` would lose.
///
/// # Errors
/// When a table cannot be read.
pub fn view_loss(top: &Layer, change: BackingChange<'_>) -> Result<Loss> {
    if unit_of(top).is_none() {
        return Ok(Loss::default());
    }
    let mut count = Count::new(change, AllocationEstimate::of(top))?;
    for extent in absent(top) {
        let extent = extent?;
        count.add(extent.start, extent.end())?;
    }
    Ok(count.loss())
}

/// What a new image would have to receive, where it takes what `room` counts.
///
/// # Errors
/// When a table cannot be read.
pub fn backing_loss(change: BackingChange<'_>, room: AllocationEstimate) -> Result<Loss> {
    let mut count = Count::new(change, room)?;
    count.add(0, change.old.virtual_size())?;
    Ok(count.loss())
}

/// Copies into the views of the image `path` what they would lose. At every instant each of them shows
/// what it shows now, below the old backing view and, once this has returned, below the new one.
///
/// Where a snapshot and the active view part, what the latter holds moves inside the file: whoever opened
/// the image before must open it anew before it reads on. So are the backing views, which may have it in them.
///
/// # Errors
/// When a file cannot be read or written, or it was stopped: the views show the same all the same, and
/// doing it again goes on.
pub fn preserve_views(
    host: &dyn Host,
    path: &Path,
    views: Views,
    below: BackingSwitch<'_>,
    progress: &dyn ProgressSink,
) -> Result<()> {
    let layer = Layer::open(host, path, &Format::Qcow2)?;
    layer.unlock(below.keys, progress)?;
    let snapshots = snapshot_views(&layer)?;
    // First: a table that the active view shares with a snapshot is then the snapshot's alone, and
    // need not be copied twice.
    let active = (views == Views::All).then_some((Root::Active, layer));
    let snapshots = snapshots.into_iter().map(|(_, root, view)| (root, view));
    for (root, view) in active.into_iter().chain(snapshots) {
        let (old, new) = (below.backing_views)()?;
        let change = BackingChange {
            old: &old,
            new: &new,
            judge: below.judge,
            keys: below.keys,
        };
        preserve_view(host, path, view, (root, below.stores), change, progress)?;
    }
    Ok(())
}

/// Creates an image that is built on the new backing view, as `options` say, and holds what makes it show the
/// old one. It gets its name only when all of it is on stable storage.
///
/// # Errors
/// As [`preserve_views`], and when something of that name exists; nothing is left behind then.
pub fn new_overlay(
    host: &dyn Host,
    new: &Path,
    options: &CreateOptions,
    change: BackingChange<'_>,
    progress: &dyn ProgressSink,
) -> Result<()> {
    made_aside(host, new, |temporary| {
        create(host, temporary, options, progress)?;
        let layer = Layer::open(host, temporary, &Format::Qcow2)?;
        let kept = (Root::Active, Stores::Plain);
        preserve_view(host, temporary, layer, kept, change, progress)
    })
}
