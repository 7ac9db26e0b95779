//! Where the space went, as far as it was measured: what the space pane tells, and what rows are ordered and chosen by.
//! Measuring is the workers' business, asking for it `update`'s, how it looks the pane's.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::NodeId;
use crate::ops::{ImageSpace, LayerSpace, Saving, SpaceReport};

use super::query::QueryId;

/// What rows can be ordered and chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Figure {
    /// Bytes of the guest's disk that the image holds data for.
    Own,
    /// Of these, what no image shows any more.
    Hidden,
    /// What the best of the proposals for this image frees.
    Frees,
}

impl Figure {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Own, "own"),
        (Self::Hidden, "hidden"),
        (Self::Frees, "frees"),
    ];
}

/// Those of each image, by its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures(HashMap<PathBuf, [u64; 3]>);

impl Figures {
    /// That of an image; none where it was not measured.
    #[must_use]
    pub fn of(&self, path: &Path, figure: Figure) -> Option<u64> {
        let at = match figure {
            Figure::Own => 0,
            Figure::Hidden => 1,
            Figure::Frees => 2,
        };
        self.0.get(path)?.get(at).copied()
    }

    /// Those of several machines.
    fn joined<'a>(parts: impl Iterator<Item = &'a Self>) -> Self {
        Self(parts.flat_map(|part| part.0.clone()).collect())
    }

    fn from(images: &[ImageSpace], savings: &[Saving]) -> Self {
        let measured = images.iter().map(|image| {
            let space = &image.space;
            (image.path.clone(), [space.data, space.hidden, 0])
        });
        let mut figures: HashMap<PathBuf, [u64; 3]> = measured.collect();
        for saving in savings.iter().filter(|saving| saving.kind.shrinks()) {
            if let [path] = saving.images.as_slice()
                && let Some([_, _, frees]) = figures.get_mut(path)
            {
                *frees = saving.frees.max(*frees);
            }
        }
        Self(figures)
    }
}

/// A line of the pane's picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceRow {
    /// The image; of a tree its root.
    pub path: PathBuf,
    /// How many images are summed up; one where it is just this one.
    pub images: usize,
    /// Whether it is one of those of the tree above it.
    pub is_layer: bool,
    /// What it holds.
    pub space: LayerSpace,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct SpaceFound {
    /// All images together.
    pub total: LayerSpace,
    /// How many there are.
    pub images: usize,
    /// Images whose filesystem does not tell what they share.
    pub untold: usize,
    /// Bytes on disk in the trash.
    pub trash: u64,
    /// The trees, the largest first, each with its layers.
    pub rows: Vec<SpaceRow>,
    /// Bytes on disk of the largest tree.
    pub largest: u64,
    /// What would free space, the most first.
    pub savings: Vec<Saving>,
    /// What rows are ordered and chosen by.
    pub figures: Arc<Figures>,
    /// Whether nothing is missing.
    pub is_whole: bool,
}

impl SpaceFound {
    /// Of all that there is.
    #[must_use]
    pub fn whole(report: &SpaceReport) -> Self {
        Self::of(report, true)
    }

    /// Of what was measured so far.
    #[must_use]
    pub fn so_far(report: &SpaceReport) -> Self {
        Self::of(report, false)
    }

    /// Of several machines. Looks at every image.
    #[must_use]
    pub fn joined(parts: &[Arc<Self>]) -> Self {
        let sum = |of: fn(&Self) -> u64| {
            parts
                .iter()
                .map(|part| of(part))
                .fold(0, u64::saturating_add)
        };
        let totals = parts.iter().map(|part| &part.total);
        let mut trees: Vec<&[SpaceRow]> = parts
            .iter()
            .flat_map(|part| part.rows.chunk_by(|_, next| next.is_layer))
            .collect();
        trees.sort_by_key(|tree| Reverse(tree.first().map_or(0, |root| root.space.disk)));
        let mut savings: Vec<Saving> = parts
            .iter()
            .flat_map(|part| part.savings.iter().cloned())
            .collect();
        savings.sort_by(Saving::order);
        Self {
            total: totals.fold(LayerSpace::default(), |all, one| all.plus(one)),
            images: parts.iter().map(|part| part.images).sum(),
            untold: parts.iter().map(|part| part.untold).sum(),
            trash: sum(|part| part.trash),
            rows: trees.concat(),
            largest: parts.iter().map(|part| part.largest).max().unwrap_or(0),
            savings,
            figures: Arc::new(Figures::joined(
                parts.iter().map(|part| part.figures.as_ref()),
            )),
            is_whole: parts.iter().all(|part| part.is_whole),
        }
    }

    /// Looks at every image: no thread that draws has the time for it.
    fn of(report: &SpaceReport, is_whole: bool) -> Self {
        let images = &report.images;
        let mut trees: Vec<(NodeId, LayerSpace)> = report.trees();
        trees.sort_by_key(|(_, space)| Reverse(space.disk));
        let mut members: HashMap<NodeId, Vec<&ImageSpace>> = HashMap::new();
        for image in images {
            members.entry(image.root).or_default().push(image);
        }
        let mut rows = Vec::with_capacity(images.len() + trees.len());
        for (root, space) in &trees {
            let layers = members.remove(root).unwrap_or_default();
            if let Some(first) = layers.first() {
                rows.push(SpaceRow {
                    path: first.path.clone(),
                    images: layers.len(),
                    is_layer: false,
                    space: space.clone(),
                });
            }
            if layers.len() > 1 {
                rows.extend(layers.iter().map(|image| SpaceRow {
                    path: image.path.clone(),
                    images: 1,
                    is_layer: true,
                    space: image.space.clone(),
                }));
            }
        }
        let is_untold =
            |image: &&ImageSpace| image.space.shared.is_none() && image.space.unread.is_none();
        Self {
            total: report.total(),
            images: images.len(),
            untold: images.iter().filter(is_untold).count(),
            trash: report.trash,
            rows,
            largest: trees.first().map_or(0, |(_, space)| space.disk),
            savings: report.savings.clone(),
            figures: Arc::new(Figures::from(images, &report.savings)),
            is_whole,
        }
    }
}

/// Of which forest, and whether data was read: its epoch and generation.
pub(super) type SpaceOf = (u64, u64, bool);

/// Where the space went.
#[derive(Debug, Default)]
pub struct Space {
    /// What was measured, of all machines.
    pub found: SpaceFound,
    /// That of this machine, where there are others.
    pub(super) here: Option<Arc<SpaceFound>>,
    /// The question for that of all machines, where it is not answered yet.
    pub(super) joining: Option<QueryId>,
    /// Whether more is known than is put together, or being put together.
    pub(super) is_outdated: bool,
    /// Of what it was measured last, or is.
    pub(super) of: Option<SpaceOf>,
    /// The question that is not answered yet.
    pub(super) asked: Option<QueryId>,
    /// Counts what was found, for what is made from it.
    pub(super) version: u64,
}

impl Space {
    /// Whether it is being measured.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// It is asked for anew.
    pub(super) fn ask(&mut self, query_id: QueryId, of: SpaceOf) {
        (self.asked, self.of) = (Some(query_id), Some(of));
    }

    /// Nobody waits for it any more; says whether somebody did.
    pub(super) fn stop(&mut self) -> bool {
        let was_asked = self.asked.take().is_some();
        if was_asked {
            self.of = None;
        }
        was_asked
    }

    /// Takes in what was measured of this machine, to be put together with that of the others; where all is known of
    /// before, that stays until this is whole.
    pub(super) fn take_here(&mut self, found: SpaceFound) {
        if found.is_whole {
            self.asked = None;
        }
        let is_news = found.is_whole || !self.here.as_ref().is_some_and(|here| here.is_whole);
        if is_news {
            self.here = Some(Arc::new(found));
            self.is_outdated = true;
        }
    }

    /// Takes in that of all machines.
    pub(super) fn take_joined(&mut self, found: SpaceFound) {
        self.joining = None;
        self.found = found;
        self.version += 1;
    }

    /// Takes in what was measured so far; where all is known of before, that stays until this is whole.
    pub(super) fn take_some(&mut self, found: SpaceFound) {
        if !self.found.is_whole {
            self.found = found;
            self.version += 1;
        }
    }

    /// Takes in all of it.
    pub(super) fn take_all(&mut self, found: SpaceFound) {
        self.found = found;
        self.asked = None;
        self.version += 1;
    }
}
