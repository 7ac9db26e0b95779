//! What a relink, and an unlink, is asked with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::image::Format;
use crate::ops::BackingStyle;
use crate::ops::framework::recovery::Half;
use crate::ops::framework::resolve;

/// Make an image one that is built on nothing, by its header alone: it receives nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlink {
    /// The overlay whose header changes.
    pub image: PathBuf,
}

/// Change what an image's header says about its backing file, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relink {
    /// The overlay whose header changes.
    pub image: PathBuf,
    /// The image it is built on; none for the one it names already.
    pub base: Option<PathBuf>,
    /// That image's format; none to find it out where that is safe.
    pub format: Option<Format>,
    /// How the name is recorded; none for as it was.
    pub style: Option<BackingStyle>,
}

impl Relink {
    /// Whether the header names that base and that format, as far as they are asked for.
    pub(in crate::ops) fn is_done(&self, half: &Half<'_>) -> bool {
        let Ok(node) = resolve::named(half.context, &self.image) else {
            return false;
        };
        let recorded = node.backing_format();
        let base = self.base.as_deref();
        let base_is_right = base.is_none_or(|base| half.is_built_on(&self.image, base));
        let format_is_right = match &self.format {
            Some(format) => recorded == Some(format),
            None => recorded.is_some(),
        };
        base_is_right && format_is_right
    }
}
