//! Where the space went: what each layer holds, what of it nobody sees any more, and what would free most. All of it
//! comes from the images' tables; no byte of a guest is read, and nothing is changed.

mod hidden;
mod image_space;
mod layer;
mod ranges;
mod report;
mod savings;

use std::time::Duration;

use crate::forest::Location;

use super::Context;

pub use image_space::{ImageSpace, LayerSpace};
pub use report::SpaceReport;
pub use savings::{Saving, SavingKind};

/// Measures every image that is known, and tells of those in the directories searched: images elsewhere count as
/// built on these. Of the leaves that nobody uses, those count as savings that were not changed for `older_than`.
/// `go_on` is asked between images; none where it says no.
#[must_use]
pub fn space(
    context: &Context,
    older_than: Duration,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Option<SpaceReport> {
    let forest = context.forest.as_ref();
    let is_here = |image: &ImageSpace| {
        let node = forest.get(image.node);
        node.is_some_and(|node| {
            node.location == Location::Scanned
                && node.stat.is_some()
                && context.looked_in.covers(&node.path)
        })
    };
    let measured = hidden::measure_all(&*context.host, forest, go_on)?;
    let images: Vec<ImageSpace> = measured.into_iter().filter(is_here).collect();
    let dirs = context.looked_in.dirs();
    let trash = super::trash::list(&*context.host, context.state_dir.as_deref(), &dirs);
    Some(SpaceReport {
        savings: savings::of(context, &images, &trash, older_than),
        trash: trash
            .iter()
            .fold(0, |sum, entry| sum.saturating_add(entry.bytes())),
        images,
    })
}
