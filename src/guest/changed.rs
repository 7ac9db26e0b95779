//! Which bytes of a guest's disk can differ between two chains, from their maps alone.

use qanopy_core::image::{NoProgress, ProgressSink, State};
use qanopy_core::{Chain, image};

use crate::error::Result;
use crate::ranges::Ranges;

/// The bytes of the disk that two chains do not keep in the same place of the same file; all others are equal. An
/// overlay and its base, two siblings, an internal snapshot and the disk as it is now: it makes no difference.
///
/// # Errors
/// When a table cannot be read, or a layer could not be opened.
pub fn changed(one: &Chain, other: &Chain) -> Result<Ranges> {
    changed_while(one, other, &NoProgress)
}

/// As [`changed`], for as long as somebody waits.
///
/// # Errors
/// As there, and when it was stopped.
pub fn changed_while(one: &Chain, other: &Chain, progress: &dyn ProgressSink) -> Result<Ranges> {
    let mut found = Ranges::new();
    image::differing_places(one, other, progress, &mut |range| found.insert(range))?;
    Ok(found)
}

/// The bytes of the disk that the top layer of a chain stores itself; those it only says to be zero are not among them.
///
/// # Errors
/// When a table cannot be read.
pub fn stored(chain: &Chain) -> Result<Ranges> {
    let mut found = Ranges::new();
    if let Some(layer) = chain.layers().first() {
        for extent in layer.extents(0, layer.virtual_size()) {
            let extent = extent?;
            if matches!(extent.state, State::Data { .. } | State::Compressed { .. }) {
                found.insert(extent.start..extent.end());
            }
        }
    }
    Ok(found)
}
