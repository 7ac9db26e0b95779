//! A finding: what is wrong with which file, why that matters, how sure it is, and what helps.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::forest::NodeId;
use crate::ops::{Remedy, Request};

/// How sure it is that something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sure {
    /// It was seen.
    Certain,
    /// What was seen may have another reason.
    Likely,
    /// Somebody else may know better.
    Possible,
}

impl Sure {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Possible => "possible",
        }
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing, by its name.
    pub name: &'static str,
    /// Why that matters, for somebody who never met it.
    pub why: &'static str,
    /// The file that it is about.
    pub path: PathBuf,
    /// Its node in the forest that was looked at, if it has one.
    pub node: Option<NodeId>,
    /// What is wrong: a sentence, safe to print.
    pub what: String,
    /// How sure it is.
    pub sure: Sure,
    /// What helps, the best first.
    pub fixes: Vec<Remedy>,
}

impl Finding {
    /// The first of what helps that can be planned as it stands.
    #[must_use]
    pub fn fix(&self) -> Option<&Request> {
        self.fixes.iter().find_map(|fix| match fix {
            Remedy::Ask(request) => Some(&**request),
            _ => None,
        })
    }
}
