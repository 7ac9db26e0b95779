//! Which images are shown, and where: one, or those of a forest.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::forest::{Content, Forest, Location, Node};
use crate::host::Host;
use crate::image::{Format, Keys};
use crate::ops::ReadOptions;

use super::contents::Contents;
use super::tree::Tree;
use super::views::{ShownImage, Views};

/// One image, by the format given or by its content. Files it names are opened as `read` allows it, encrypted ones with
/// `keys`.
#[must_use]
pub fn one_image(
    host: Arc<dyn Host>,
    path: &Path,
    format: Option<Format>,
    read: ReadOptions,
    keys: Keys,
) -> Contents {
    let stat = host.stat(path);
    let image = ShownImage {
        path: path.to_path_buf(),
        format,
        modified: stat.map_or(SystemTime::UNIX_EPOCH, |stat| stat.modified),
    };
    Contents::new(Tree::of_one(), Views::new(host, vec![image], read, keys))
}

/// The images that were found below a folder, each where it is below that, and how many there are; otherwise as
/// [`one_image`]. What was only named by them, and what is in the trash, is left out; what cannot be read is not, since
/// its folder says why.
#[must_use]
pub fn images_below(
    host: Arc<dyn Host>,
    forest: &Forest,
    folder: &Path,
    read: ReadOptions,
    keys: Keys,
) -> (Contents, usize) {
    let is_shown = |node: &&Node| {
        node.location == Location::Scanned && !matches!(node.content, Content::Unopened)
    };
    let mut nodes: Vec<&Node> = forest.nodes().filter(is_shown).collect();
    nodes.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    let place = |node: &&Node| {
        let path = node.path.strip_prefix(folder);
        path.unwrap_or(&node.path).to_path_buf()
    };
    let places: Vec<_> = nodes.iter().map(place).collect();
    let images = nodes.iter().map(|node| ShownImage {
        path: node.path.clone(),
        format: node.format(),
        modified: node
            .stat
            .as_ref()
            .map_or(SystemTime::UNIX_EPOCH, |stat| stat.modified),
    });
    let views = Views::new(host, images.collect(), read, keys);
    let tree = Tree::of_images(places.iter().map(|place| &**place));
    (Contents::new(tree, views), places.len())
}
