//! What one image holds, from its tables alone.

use std::sync::Arc;

use crate::forest::{Forest, Node, Reads};
use crate::host::{FileKind, Host};
use crate::image::{self, Chain, Layer, MapState, NoProgress, snapshot_view};

use super::image_space::LayerSpace;
use super::ranges::Ranges;

/// What an image holds, and where on its disk.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) space: LayerSpace,
    /// Where its data is.
    pub(super) data: Ranges,
    /// Where what it is built on does not show through it, as it is now.
    pub(super) opaque: Ranges,
    /// Where it shows through in none of its internal snapshots; all of it where there are none.
    pub(super) opaque_to_snapshots: Ranges,
    /// What its internal snapshots hold.
    pub(super) in_snapshots: Ranges,
}

impl Measured {
    /// What is known of an image whose tables were not read: all that it is built on may show through.
    fn unread(space: LayerSpace, why: String) -> Self {
        let space = LayerSpace {
            unread: Some(why),
            ..space
        };
        Self {
            space,
            ..Self::default()
        }
    }
}

/// Measures an image. Nothing that it is built on is opened.
pub(super) fn measure(host: &dyn Host, forest: &Forest, node: &Node) -> Measured {
    let space = LayerSpace {
        disk: node.size_on_disk().unwrap_or_default(),
        ..LayerSpace::default()
    };
    let Some(format) = node.format() else {
        return Measured::unread(space, "it cannot be opened".to_owned());
    };
    let edges = forest.also_reads(node.id).iter();
    let data_files: Vec<_> = edges.filter(|edge| edge.how == Reads::DataFile).collect();
    let is_data_file = |path: &std::path::Path| data_files.iter().any(|edge| *edge.path == *path);
    let opened = Chain::open_partly(host, &node.path, Some(&format), &is_data_file);
    let read = opened.and_then(|(chain, _)| {
        let top = chain.layers().iter().take(1).cloned().collect();
        read(&Chain::new(top), space.clone())
    });
    read.unwrap_or_else(|error| Measured::unread(space, error.kind.to_string()))
}

fn read(chain: &Chain, space: LayerSpace) -> image::Result<Measured> {
    let mut found = Measured {
        space,
        ..Measured::default()
    };
    let space = &mut found.space;
    for run in chain.map(0, u64::MAX) {
        let run = run?;
        let range = run.start..run.end();
        match run.state {
            MapState::Data | MapState::Compressed => {
                space.data = space.data.saturating_add(run.len);
                found.data.push(range.clone());
            }
            MapState::Hole | MapState::Zero => space.zeros = space.zeros.saturating_add(run.len),
            MapState::Unallocated | MapState::Unknown => continue,
        }
        found.opaque.push(range);
    }
    // Past its end it shows nothing of what lies below.
    found.opaque.push(chain.virtual_size()..u64::MAX);
    found.opaque_to_snapshots.push(0..u64::MAX);
    let Some(Layer::Qcow2(qcow2)) = chain.layers().first().map(Arc::as_ref) else {
        return Ok(found);
    };
    let file = qcow2.file();
    for snapshot in image::snapshots(file, qcow2.header())? {
        let view = snapshot_view(chain, &snapshot)?;
        let mut opaque = Ranges::default();
        for run in view.map(0, u64::MAX) {
            let run = run?;
            if run.state.is_present() {
                opaque.push(run.start..run.end());
            }
        }
        found.in_snapshots = found.in_snapshots.union(&opaque);
        opaque.push(view.virtual_size()..u64::MAX);
        found.opaque_to_snapshots = found.opaque_to_snapshots.intersection(&opaque);
    }
    let checked = image::require_sound(file, &NoProgress)?;
    space.leaked = checked.leaked_bytes;
    let is_file = file.stat("ask the length")?.kind == FileKind::Regular;
    if is_file {
        space.past_end = checked.trailing_bytes();
    }
    Ok(found)
}
