//! What would free space, the most first: each an operation, whose plan tells more.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::forest::NodeId;
use crate::units::{count, size};

use super::super::framework::format::name;
use super::super::trash::Entry;
use super::super::{Context, Direction, EmptyTrash, Request, Squash, candidates};
use super::image_space::ImageSpace;

/// Less than this is not worth an operation.
const LEAST: u64 = 64 << 10;

/// Something that would free space.
#[derive(Debug, Clone)]
pub struct Saving {
    /// What is done.
    pub kind: SavingKind,
    /// To which images; none for the trash.
    pub images: Vec<PathBuf>,
    /// Bytes that come free, the trash emptied behind it.
    pub frees: u64,
    /// Why that is: half a sentence.
    pub why: String,
    /// The operation.
    pub request: Request,
}

/// What can be done to free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavingKind {
    /// Deleting what is in the trash.
    EmptyTrash,
    /// Discarding a leaf that nobody uses.
    Discard,
    /// Taking a layer out of its chain, whose data is hidden by the one image that is built on it.
    Squash,
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
            Self::FreeLeaks => "free-leaks",
        }
    }
}

pub(super) fn of(
    context: &Context,
    images: &[ImageSpace],
    trash: &[Entry],
    older_than: Duration,
) -> Vec<Saving> {
    let mut savings = Vec::new();
    savings.extend(emptying(trash));
    savings.extend(discarding(context, images, older_than));
    for image in images {
        savings.extend(squashing(context, image));
        savings.extend(freeing_leaks(image));
    }
    savings.retain(|saving| saving.frees >= LEAST);
    savings.sort_by(|a, b| (Reverse(a.frees), &a.images).cmp(&(Reverse(b.frees), &b.images)));
    savings
}

fn emptying(trash: &[Entry]) -> Option<Saving> {
    let frees = trash
        .iter()
        .fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes()));
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

fn discarding<'a>(
    context: &'a Context,
    images: &'a [ImageSpace],
    older_than: Duration,
) -> impl Iterator<Item = Saving> + 'a {
    let here: HashSet<NodeId> = images.iter().map(|image| image.node).collect();
    let spare = candidates(context, older_than).into_iter();
    spare
        .filter(move |one| here.contains(&one.node))
        .map(|one| Saving {
            kind: SavingKind::Discard,
            frees: one.frees,
            why: one.why,
            request: Request::discard(vec![one.path.clone()]),
            images: vec![one.path],
        })
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
        frees: space.hidden.min(space.disk),
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

fn freeing_leaks(image: &ImageSpace) -> Option<Saving> {
    let space = &image.space;
    let frees = space.leaked.min(space.disk);
    (frees > 0).then(|| Saving {
        kind: SavingKind::FreeLeaks,
        images: vec![image.path.clone()],
        frees,
        why: format!("{} are counted as used and are not", size(space.leaked)),
        request: Request::free_leaks(&image.path),
    })
}
