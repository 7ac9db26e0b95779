//! Where the space went: what each layer holds, what of it nobody sees any more, and what would free most. All of it
//! comes from the images' tables; a guest's bytes are read only where that is asked for, and nothing is changed.

mod cache;
mod hidden;
mod image_space;
mod layer;
mod measured;
mod query;
mod ranges;
mod report;
mod savings;

use std::path::Path;

use crate::forest::{Location, Node};

use super::Context;
use super::framework::resolve;

pub use cache::SpaceCache;
pub use image_space::{ImageSpace, LayerSpace, ReadSpace, SpacePart};
pub use query::SpaceQuery;
pub use report::SpaceReport;
pub use savings::{Saving, SavingKind};

/// Whether an image is one of those that are told.
fn is_told(context: &Context, node: &Node) -> bool {
    node.location == Location::Scanned
        && node.stat.is_some()
        && context.looked_in.covers(&node.path)
}

/// Bytes on disk of the images whose data would be read.
#[must_use]
pub fn bytes_to_read(context: &Context) -> u64 {
    let told = context.forest.nodes().filter(|node| is_told(context, node));
    told.filter_map(Node::size_on_disk)
        .fold(0, u64::saturating_add)
}

/// What one image holds, its data read, and what would free space of it; none where the query says to stop, or where
/// nothing of that name is known. Of all others only the tables are read.
#[must_use]
pub fn space_of(
    context: &Context,
    image: &Path,
    query: &SpaceQuery<'_>,
) -> Option<(ImageSpace, Vec<Saving>)> {
    let node = resolve::named(context, image).ok()?;
    let is_it = |other: &Node| other.id == node.id;
    let mut images = hidden::measure_all(context, query, &is_it, &mut |_| {})?;
    let savings = savings::all_of_images(context, &images);
    Some((images.pop()?, savings))
}

/// Measures every image that is known, and tells of those in the directories searched: images elsewhere count as
/// built on these. None where the query says to stop.
#[must_use]
pub fn space(context: &Context, query: &SpaceQuery<'_>) -> Option<SpaceReport> {
    let is_here = |node: &Node| is_told(context, node);
    let dirs = context.looked_in.dirs();
    let trash = super::trash::list(&*context.host, context.state_dir.as_deref(), &dirs);
    let mut savings = savings::of_forest(context, &trash, query.older_than, &is_here);
    (query.hears)(&[], &savings);
    let images = hidden::measure_all(context, query, &is_here, &mut |images| {
        let of_these = savings::of_images(context, images);
        (query.hears)(images, &of_these);
        savings.extend(of_these);
    })?;
    query.known.forget_others(&context.forest);
    savings.sort_by(Saving::order);
    Some(SpaceReport {
        savings,
        trash: trash
            .iter()
            .fold(0, |sum, entry| sum.saturating_add(entry.bytes())),
        images,
    })
}
