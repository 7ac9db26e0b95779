//! What is inside images: what was found in earlier runs, and looking where that is not known. An image is opened only
//! where it, or what it is built on, is not what was looked into.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::forest::{
    ChainIdentities, ChainIdentity, Forest, Found, Inside, InsideFilesystem, InsideSystem, Insides,
    KnownInsides, Location, Node, NodeId, is_settled,
};
use crate::guest;
use crate::image::{Format, Keys};
use crate::inside::{self, Contents, Until, View};

use super::Context;
use super::reading::{ReadOptions, open_to_read};

/// What is inside images, by their paths.
pub type InsidesByPath = HashMap<PathBuf, Arc<Inside>>;

/// So long one image is looked into.
const LOOK: Duration = Duration::from_secs(10);
/// After so many images what was found is written down.
const WRITTEN_AFTER: usize = 64;

/// How far looking into images is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InsideProgress {
    /// Images that are known, or were looked into.
    pub looked: usize,
    /// All that can be.
    pub all: usize,
}

/// What is known of images from earlier runs; none of them is opened.
#[must_use]
pub fn known_insides(forest: &Forest, known: &KnownInsides) -> InsidesByPath {
    if known.is_empty() {
        return HashMap::new();
    }
    let mut identities = ChainIdentities::default();
    let images = forest.nodes().filter_map(|node| {
        let found = known.get(&identities.of(forest, node)?)?;
        Some((node.path.clone(), Arc::clone(&found.inside)))
    });
    images.collect()
}

/// What earlier runs have kept in this folder; nothing where none is kept.
#[must_use]
pub fn kept_insides(state_dir: Option<&Path>) -> KnownInsides {
    let kept = state_dir.and_then(|dir| Insides::at(dir).all().ok());
    kept.unwrap_or_default()
}

/// Looks into every image that is not known, and keeps what it finds for later runs. `hears` is told of each, and how far
/// it is; `known` are those of earlier runs, and gets what is new. Stops where that is not wanted any more; what is
/// looked into then is told to nobody.
pub fn insides(
    context: &Context,
    known: &mut KnownInsides,
    until: &Until,
    hears: &mut dyn FnMut(&Path, &Arc<Inside>, InsideProgress),
) {
    let forest = &context.forest;
    let can_be = |node: &&Node| {
        node.location == Location::Scanned
            && matches!(node.format(), Some(Format::Qcow2 | Format::Raw))
    };
    let mut progress = InsideProgress {
        looked: 0,
        all: forest.nodes().filter(can_be).count(),
    };
    let mut unknown: Vec<(NodeId, Option<ChainIdentity>)> = Vec::new();
    let mut identities = ChainIdentities::default();
    for node in forest.nodes().filter(can_be) {
        let identity = identities.of(forest, node);
        match identity.as_ref().and_then(|identity| known.get(identity)) {
            Some(found) => {
                progress.looked += 1;
                hears(&node.path, &found.inside, progress);
            }
            None => unknown.push((node.id, identity)),
        }
    }
    let mut new = KnownInsides::new();
    for (id, identity) in unknown {
        if until.is_over() {
            break;
        }
        let Some(node) = forest.get(id) else { continue };
        let looked = look(context, node, &until.at_most(LOOK));
        if until.is_over() {
            break;
        }
        let is_read = looked.is_ok();
        let inside = Arc::new(looked.unwrap_or_default());
        progress.looked += 1;
        hears(&node.path, &inside, progress);
        let Some(identity) = identity else { continue };
        let now = context.host.now().duration_since(UNIX_EPOCH);
        let found = Found {
            path: node.path.clone(),
            inside,
            seen: now.unwrap_or_default().as_secs(),
        };
        known.insert(identity.clone(), found.clone());
        // What could not be read is tried again by the next run: a passphrase or a right may be there then.
        if is_read && is_settled(forest, node, context.host.now()) {
            new.insert(identity, found);
        }
        if new.len() >= WRITTEN_AFTER {
            keep(context, std::mem::take(&mut new));
        }
    }
    keep(context, new);
}

/// Nothing fails where it cannot be kept: it is looked at again by the next run.
fn keep(context: &Context, new: KnownInsides) {
    if let Some(dir) = &context.state_dir {
        drop(Insides::at(dir).add(new));
    }
}

/// Looks into one image; nobody is asked for a passphrase.
fn look(context: &Context, node: &Node, until: &Until) -> Result<Inside, guest::Error> {
    let forest = &context.forest;
    let chain = forest.chain(node.id).into_iter();
    let folders = chain.filter_map(|id| forest.get(id)?.path.parent().map(Path::to_path_buf));
    let options = ReadOptions {
        format: node.format(),
        folders: folders.collect(),
        follow: false,
        snapshot: None,
    };
    // Why it cannot be opened is told of the image elsewhere.
    let reading = open_to_read(&*context.host, &node.path, &options);
    let chain = reading.map_err(|_| guest::Error::Cancelled)?.whole()?;
    let keys = Keys::none();
    chain.unlock(&keys, until)?;
    let view = View::stoppable(chain, &keys, View::KEPT, until.stop())?;
    let contents = inside::contents(&view)?;
    match until.is_over() {
        true => Err(guest::Error::Cancelled),
        false => Ok(of_contents(&contents).bounded()),
    }
}

fn of_contents(contents: &Contents) -> Inside {
    let system = contents.system().map(|system| InsideSystem {
        id: system.id.clone(),
        name: system.name.clone(),
        version: system.version.clone(),
        hostname: system.hostname.clone(),
    });
    let read = contents.volumes.iter().filter(|volume| volume.is_read);
    let filesystems = read.map(|volume| InsideFilesystem {
        kind: volume.kind.clone(),
        label: volume.label.clone(),
        uuid: volume.uuid.clone(),
    });
    Inside {
        system,
        filesystems: filesystems.collect(),
    }
}
