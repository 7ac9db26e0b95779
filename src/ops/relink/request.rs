//! What a relink, and an unlink, is asked with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::image::Format;
use crate::ops::framework::recovery::Half;
use crate::ops::framework::resolve;
use crate::ops::{BackingStyle, Request};

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

/// Have an image's header name again what it named before a relink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBackLink {
    /// The overlay whose header changes.
    pub image: PathBuf,
    /// The name of its backing file, by the very words.
    pub recorded: OsString,
    /// The format that was recorded with it; none for none.
    pub format: Option<Format>,
}

/// Change what the headers of several images say about their backing files, all by one plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelinkSeveral {
    /// Each image once.
    pub links: Vec<Link>,
}

/// What the header of one of several images is to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// This.
    To(Relink),
    /// What it said before.
    Back(PutBackLink),
}

impl Link {
    /// What a request for one image asks for.
    pub(super) fn of(request: Request) -> Option<Self> {
        match request {
            Request::Relink(relink) => Some(Self::To(relink)),
            Request::PutBackLink(back) => Some(Self::Back(back)),
            _ => None,
        }
    }

    pub(super) fn into_request(self) -> Request {
        match self {
            Self::To(relink) => relink.into(),
            Self::Back(back) => back.into(),
        }
    }

    pub(super) fn is_done(&self, half: &Half<'_>) -> bool {
        match self {
            Self::To(relink) => relink.is_done(half),
            Self::Back(back) => back.is_done(half),
        }
    }
}

impl Relink {
    /// To build an overlay on this image; how its name is recorded stays.
    #[must_use]
    pub fn onto(overlay: &Path, base: &Path) -> Self {
        Self::format_left_open(overlay, Some(base.to_path_buf()))
    }

    fn format_left_open(overlay: &Path, base: Option<PathBuf>) -> Self {
        Self {
            image: overlay.to_path_buf(),
            base,
            format: None,
            style: None,
        }
    }

    /// Whether the header names that base and that format, as far as they are asked for.
    pub(super) fn is_done(&self, half: &Half<'_>) -> bool {
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

impl Request {
    /// To have an overlay record the format of what it is built on. Which that is the plan finds out where a
    /// guess cannot hurt.
    pub(in crate::ops) fn record_format(overlay: &Path) -> Self {
        Relink::format_left_open(overlay, None).into()
    }

    /// To build an overlay on this image. What its format looks like may be its guest's doing: that is the plan's
    /// to judge.
    pub(in crate::ops) fn relink_to(overlay: &Path, base: &Path) -> Self {
        Relink::format_left_open(overlay, Some(base.to_path_buf())).into()
    }
}
