//! What travels: one JSON document a line, none longer than a line of a scan may be.

use std::io;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::fact::{Fact, Halted, SpareLeaf, TrashEntry};
use super::machine::{SentMachine, SentUnasked};
use crate::doctor::{Finding, Sure};
use crate::forest::far::{MOST_LINE, Name};
use crate::ops::{ImageSpace, LayerSpace, Leftover, Remedy, Saving};

/// The last line.
pub const END: &[u8] = b"\"end\"\n";

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    Finding(Box<SentFinding>),
    Image(Box<SentImage>),
    Saving(Box<Saving>),
    TrashBytes(u64),
    Trashed(Box<SentTrash>),
    Spare(Box<SentLeaf>),
    Halted(Halted),
    Leftover { path: Name, bytes: u64 },
    Machine(Box<SentMachine>),
    Unasked(SentUnasked),
    End,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentFinding {
    pub(super) name: String,
    pub(super) path: Name,
    pub(super) what: String,
    pub(super) sure: Sure,
    pub(super) fixes: Vec<Remedy>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentImage {
    pub(super) node: u32,
    pub(super) root: u32,
    pub(super) path: Name,
    pub(super) space: LayerSpace,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentTrash {
    pub(super) name: String,
    /// Seconds since 1970.
    pub(super) discarded: Option<u64>,
    pub(super) reason: String,
    pub(super) files: Vec<(Name, u64)>,
    pub(super) problems: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SentLeaf {
    pub(super) path: Name,
    /// In seconds.
    pub(super) age: u64,
    pub(super) frees: u64,
    pub(super) why: String,
    pub(super) kept: Option<String>,
}

/// The line that tells of it, with its end; nothing of what is too long, or helps by a name that is no text.
///
/// # Errors
/// None that the values themselves do not cause.
pub fn line(fact: Fact) -> io::Result<Vec<u8>> {
    let line = match fact {
        Fact::Finding(finding) => Line::Finding(Box::new(SentFinding::of(finding))),
        Fact::Image(image) => Line::Image(Box::new(SentImage::of(image))),
        Fact::Saving(saving) => {
            if !is_text(&saving.images) || !is_text(&saving.request.paths()) {
                return Ok(Vec::new());
            }
            Line::Saving(Box::new(saving))
        }
        Fact::TrashBytes(bytes) => Line::TrashBytes(bytes),
        Fact::Trashed(entry) => Line::Trashed(Box::new(SentTrash::of(entry))),
        Fact::Spare(leaf) => Line::Spare(Box::new(SentLeaf::of(leaf))),
        Fact::Halted(halted) => Line::Halted(halted),
        Fact::Leftover(Leftover { path, bytes, .. }) => {
            let path = Name::of(path);
            Line::Leftover { path, bytes }
        }
        Fact::Machine(machine) => {
            let mut sent = SentMachine::of(*machine);
            // The files of its snapshots are all that can be so long.
            if serde_json::to_vec(&sent)?.len() > MOST_LINE / 2 {
                sent.snapshots.clear();
            }
            Line::Machine(Box::new(sent))
        }
        Fact::Unasked(unasked) => Line::Unasked(SentUnasked::of(unasked)),
    };
    let mut text = serde_json::to_vec(&line)?;
    text.push(b'\n');
    Ok(if text.len() > MOST_LINE {
        Vec::new()
    } else {
        text
    })
}

/// Whether they travel inside of requests.
fn is_text(paths: &[PathBuf]) -> bool {
    paths.iter().all(|path| path.to_str().is_some())
}

impl SentFinding {
    fn of(finding: Finding) -> Self {
        let Finding {
            name,
            path,
            what,
            sure,
            mut fixes,
            ..
        } = finding;
        // What is taken as it is stands in the notes of its own machine, which nobody else writes.
        fixes.retain(|fix| match fix {
            Remedy::Accept(_) => false,
            Remedy::Ask(request) => is_text(&request.paths()),
            _ => is_text(std::slice::from_ref(&path)),
        });
        Self {
            name: name.to_owned(),
            path: Name::of(path),
            what,
            sure,
            fixes,
        }
    }
}

impl SentImage {
    fn of(image: ImageSpace) -> Self {
        Self {
            node: image.node.0,
            root: image.root.0,
            path: Name::of(image.path),
            space: image.space,
        }
    }
}

impl SentTrash {
    fn of(entry: TrashEntry) -> Self {
        let discarded = entry.discarded;
        let since = discarded.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let files = entry.files.into_iter();
        Self {
            name: entry.name,
            discarded: since.map(|since| since.as_secs()),
            reason: entry.reason,
            files: files.map(|(path, bytes)| (Name::of(path), bytes)).collect(),
            problems: entry.problems,
        }
    }
}

impl SentLeaf {
    fn of(leaf: SpareLeaf) -> Self {
        Self {
            path: Name::of(leaf.path),
            age: leaf.age.as_secs(),
            frees: leaf.frees,
            why: leaf.why,
            kept: leaf.kept,
        }
    }
}
