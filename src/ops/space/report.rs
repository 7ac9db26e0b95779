//! What is told of the space of all images.

use crate::forest::NodeId;

use super::image_space::{ImageSpace, LayerSpace};
use super::savings::Saving;

/// Where the space went.
#[derive(Debug, Clone, Default)]
pub struct SpaceReport {
    /// The images in the directories searched, tree by tree, each behind what it is built on.
    pub images: Vec<ImageSpace>,
    /// Bytes on disk of what is in the trash folders.
    pub trash: u64,
    /// What would free space, the most first.
    pub savings: Vec<Saving>,
}

impl SpaceReport {
    /// All images together.
    #[must_use]
    pub fn total(&self) -> LayerSpace {
        let spaces = self.images.iter().map(|image| &image.space);
        spaces.fold(LayerSpace::default(), |sum, one| sum.plus(one))
    }

    /// The images of each tree together, in the order of the trees.
    #[must_use]
    pub fn trees(&self) -> Vec<(NodeId, LayerSpace)> {
        let mut trees: Vec<(NodeId, LayerSpace)> = Vec::new();
        for image in &self.images {
            match trees.last_mut().filter(|(root, _)| *root == image.root) {
                Some((_, sum)) => *sum = sum.plus(&image.space),
                None => trees.push((image.root, LayerSpace::default().plus(&image.space))),
            }
        }
        trees
    }
}
