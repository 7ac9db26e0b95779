//! What would free space, the most first: each an operation, whose plan tells more.

use std::cmp::{Ordering, Reverse};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forest::Node;
use crate::host::Host;
use crate::units::{count, size};

use super::super::framework::format::name;
use super::super::framework::reflinks::shared_bytes;
use super::super::trash::Entry;
use super::super::trim::can_be_trimmed;
use super::super::{Context, Direction, EmptyTrash, Request, Squash, Trim, candidates};
use super::image_space::ImageSpace;

/// Less than this is not worth an operation.
const LEAST: u64 = 64 << 10;

/// Something that would free space.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Saving {
    /// What is done.
    pub kind: SavingKind,
    /// To which images; none for the trash.
    pub images: Vec<PathBuf>,
    /// Bytes that come free, the trash emptied behind it. Blocks that files elsewhere share do not count.
    pub frees: u64,
    /// Why that is: half a sentence.
    pub why: String,
    /// The operation.
    pub request: Request,
}

/// What can be done to free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavingKind {
    /// Deleting what is in the trash.
    EmptyTrash,
    /// Discarding a leaf that nobody uses.
    Discard,
    /// Taking a layer out of its chain, whose data is hidden by the one image that is built on it.
    Squash,
    /// Giving up what an image holds and what it is built on shows as well.
    Dedupe,
    /// Giving up what the filesystems inside call free.
    Trim,
    /// Cutting off what lies behind the last cluster in use.
    CutTail,
    /// Freeing clusters that nothing refers to.
    FreeLeaks,
}

impl SavingKind {
    /// Its name, for programs to match on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EmptyTrash => "empty-trash",
            Self::Discard => "discard",
            Self::Squash => "squash",
            Self::Dedupe => "dedupe",
            Self::Trim => "trim",
            Self::CutTail => "cut-tail",
            Self::FreeLeaks => "free-leaks",
        }
    }

    /// Whether the filesystem gets the room back. Freed clusters stay in the image's file: what is written to it next
    /// goes there.
    #[must_use]
    pub fn shrinks(self) -> bool {
        self != Self::FreeLeaks
    }
}

impl Saving {
    /// What gives back most comes first; what gives the filesystem nothing comes last.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let key = |one: &Self| (!one.kind.shrinks(), Reverse(one.frees));
        let by_images = || self.images.cmp(&other.images);
        key(self).cmp(&key(other)).then_with(by_images)
    }

    fn is_worth_it(&self) -> bool {
        self.frees >= LEAST
    }
}

/// What can be told before any image is measured.
pub(super) fn of_forest(
    context: &Context,
    trash: &[Entry],
    older_than: Duration,
    is_here: &dyn Fn(&Node) -> bool,
) -> Vec<Saving> {
    let mut savings: Vec<Saving> = emptying(context, trash).into_iter().collect();
    savings.extend(discarding(context, older_than, is_here));
    savings.retain(Saving::is_worth_it);
    savings
}

/// What would free space in these images.
pub(super) fn of_images(context: &Context, images: &[ImageSpace]) -> Vec<Saving> {
    let mut savings = all_of_images(context, images);
    savings.retain(Saving::is_worth_it);
    savings
}

/// The same however little it frees.
pub(super) fn all_of_images(context: &Context, images: &[ImageSpace]) -> Vec<Saving> {
    let mut savings = Vec::new();
    for image in images {
        savings.extend(squashing(context, image));
        savings.extend(deduping(context, image));
        savings.extend(trimming(context, image));
        savings.extend(cutting_tail(image));
        savings.extend(freeing_leaks(image));
    }
    savings
}

fn emptying(context: &Context, trash: &[Entry]) -> Option<Saving> {
    let host = &*context.host;
    let frees = trash.iter().fold(0_u64, |sum, entry| {
        sum.saturating_add(exclusive(host, entry))
    });
    let entries = trash.iter().map(|entry| entry.name.clone()).collect();
    let number = u64::try_from(trash.len()).unwrap_or(u64::MAX);
    (number > 0).then(|| Saving {
        kind: SavingKind::EmptyTrash,
        images: Vec::new(),
        frees,
        why: format!("{} can be deleted for good", count(number, "entry")),
        request: EmptyTrash { entries }.into(),
    })
}

/// Bytes on disk of an entry's files that no file elsewhere has as well.
fn exclusive(host: &dyn Host, entry: &Entry) -> u64 {
    let files = entry.files.iter().map(|file| {
        let shared = shared_bytes(host, &file.kept_at);
        file.bytes.saturating_sub(shared.unwrap_or_default())
    });
    files.fold(0, u64::saturating_add)
}

fn discarding(
    context: &Context,
    older_than: Duration,
    is_here: &dyn Fn(&Node) -> bool,
) -> Vec<Saving> {
    let mut spare = candidates(context, older_than);
    spare.retain(|one| context.forest.get(one.node).is_some_and(is_here));
    let savings = spare.into_iter().map(|one| Saving {
        kind: SavingKind::Discard,
        frees: one.frees,
        why: one.why,
        request: Request::discard(vec![one.path.clone()]),
        images: vec![one.path],
    });
    savings.collect()
}

/// Merged up, what the image above has itself is not copied.
fn squashing(context: &Context, image: &ImageSpace) -> Option<Saving> {
    let forest = &context.forest;
    let node = forest.get(image.node)?;
    let [reader] = forest.readers(node.id)[..] else {
        return None;
    };
    let above = forest
        .get(reader.node)
        .filter(|above| !above.is_in_trash())?;
    let space = &image.space;
    if space.hidden == 0 || node.backing.is_none() || node.info()?.snapshots > 0 {
        return None;
    }
    Some(Saving {
        kind: SavingKind::Squash,
        images: vec![image.path.clone()],
        // Holes and compression make a file smaller than what it holds.
        frees: space.hidden.min(space.exclusive()),
        why: format!(
            "{} of its {} of data are hidden by {}",
            size(space.hidden),
            size(space.data),
            name(&above.path)
        ),
        request: Squash {
            layer: image.path.clone(),
            direction: Some(Direction::Up),
        }
        .into(),
    })
}

/// What an internal snapshot holds as well stays where it is.
fn deduping(context: &Context, image: &ImageSpace) -> Option<Saving> {
    let forest = &context.forest;
    let node = forest.get(image.node)?;
    let below = forest.get(node.parent?)?;
    let equal = image.space.read.as_ref()?.as_ref().ok()?.equal;
    if equal.data == 0 || node.info()?.snapshots > 0 {
        return None;
    }
    Some(Saving {
        kind: SavingKind::Dedupe,
        images: vec![image.path.clone()],
        frees: equal.data.min(image.space.exclusive()),
        why: format!(
            "{} of its {} of data are what {} shows as well",
            size(equal.data),
            size(image.space.data),
            name(&below.path)
        ),
        request: Request::rebase_back(forest, node)?,
    })
}

/// Only of what nothing else reads.
fn trimming(context: &Context, image: &ImageSpace) -> Option<Saving> {
    let node = context.forest.get(image.node)?;
    let deleted = image.space.read.as_ref()?.as_ref().ok()?.deleted;
    let frees = deleted.min(image.space.exclusive());
    (frees > 0 && can_be_trimmed(context, node)).then(|| Saving {
        kind: SavingKind::Trim,
        images: vec![image.path.clone()],
        frees,
        why: format!(
            "{} are data that was deleted in its guest, and never given back",
            size(deleted)
        ),
        request: Trim {
            image: image.path.clone(),
        }
        .into(),
    })
}

fn cutting_tail(image: &ImageSpace) -> Option<Saving> {
    let space = &image.space;
    let frees = space.past_end_on_disk.min(space.exclusive());
    (frees > 0).then(|| Saving {
        kind: SavingKind::CutTail,
        images: vec![image.path.clone()],
        frees,
        why: format!("{} lie behind its last cluster", size(space.past_end)),
        request: Request::repair(&image.path),
    })
}

fn freeing_leaks(image: &ImageSpace) -> Option<Saving> {
    let space = &image.space;
    let frees = space.leaked.min(space.disk);
    (frees > 0).then(|| Saving {
        kind: SavingKind::FreeLeaks,
        images: vec![image.path.clone()],
        frees,
        why: format!(
            "{} are counted as used and are not: freed, they are written next, and the file stays as long",
            size(space.leaked)
        ),
        request: Request::free_leaks(&image.path),
    })
}
