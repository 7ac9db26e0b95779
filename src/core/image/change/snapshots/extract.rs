//! A snapshot's content as an image of its own. The image it is taken from is only read.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use crate::host::Host;
use crate::image::error::{IoContext, Result};
use crate::image::write::temp_file::made_aside;
use crate::image::{
    Chain, CreateOptions, Error, ErrorKind, Extent, Format, ImageFile, Layer, ProgressSink, Qcow2,
    Root, State, Target, create,
};
use crate::qcow2::{Snapshot, Version};

/// Bytes moved between two looks at whether to go on.
const PIECE: u64 = 16 << 20;

/// What a snapshot is copied out as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotForm {
    /// A qcow2 image that is built on nothing.
    Qcow2,
    /// A raw image.
    Raw,
    /// A qcow2 image that is built on what the snapshot's image is built on, and holds only what the
    /// snapshot holds itself. The name is recorded as given.
    Overlay {
        /// Backing file name.
        name: OsString,
        /// Its format.
        format: Format,
    },
}

/// What the guest saw when the snapshot was taken: the snapshot over the layers that `chain`'s top
/// image is built on.
///
/// # Errors
/// When the top is no qcow2 image, or the snapshot's L1 table cannot be read.
pub fn snapshot_view(chain: &Chain, snapshot: &Snapshot) -> Result<Chain> {
    let Some(Layer::Qcow2(image)) = chain.layers().first().map(|layer| &**layer) else {
        return Err(Error::new(chain.path(), ErrorKind::NotQcow2));
    };
    let view = at_snapshot(image, snapshot)?;
    let layers = std::iter::once(Arc::new(Layer::Qcow2(Box::new(view))));
    Ok(Chain::new(
        layers
            .chain(chain.below().layers().iter().cloned())
            .collect(),
    ))
}

fn at_snapshot(image: &Qcow2, snapshot: &Snapshot) -> Result<Qcow2> {
    snapshot
        .check_size(image.header().geometry)
        .map_err(|error| Error::new(image.path(), error))?;
    image.at_snapshot(snapshot)
}

/// Copies what `view` (of [`snapshot_view`]) shows into a new image, which gets its name only when
/// all of it is on stable storage. A new qcow2 image has the cluster size, the kind of entries and the
/// version of the snapshot's image. A VM state is not copied.
///
/// # Errors
/// When something of that name exists, a file cannot be read or written, or it was stopped; nothing
/// is left behind then.
pub fn extract_snapshot(
    host: &dyn Host,
    view: &Chain,
    new: &Path,
    form: &SnapshotForm,
    progress: &dyn ProgressSink,
) -> Result<()> {
    made_aside(host, new, |temporary| {
        fill(host, view, temporary, form, progress)
    })
}

fn fill(
    host: &dyn Host,
    view: &Chain,
    path: &Path,
    form: &SnapshotForm,
    progress: &dyn ProgressSink,
) -> Result<()> {
    let size = view.virtual_size();
    let own = matches!(form, SnapshotForm::Overlay { .. });
    let format = match made_like(view, form) {
        None => {
            let file = host.create_new(path).at(path, "create")?;
            ImageFile::new(path, file).set_len(size, "set the length")?;
            Format::Raw
        }
        Some(options) => {
            create(host, path, &options, progress)?;
            Format::Qcow2
        }
    };
    let as_it_is = Chain::open(host, path, Some(&format), &|_| true)?;
    let mut target = Target::open(host, path, &format, as_it_is, Root::Active, progress)?;
    let mut at = 0;
    while at < size {
        let (layer, extent) = next_run(view, at, size, own)?;
        let extent = Extent {
            len: extent.len.min(PIECE),
            ..extent
        };
        match (layer, extent.state) {
            (Some(_), State::Unallocated) => {}
            // A new image reads as zero, unless something lies below it.
            (_, State::Zero) if !own => {}
            (Some(layer), _) => target.write_from(layer, extent)?,
            (None, _) => {}
        }
        at = extent.end();
        let moved = matches!(extent.state, State::Data { .. } | State::Compressed { .. });
        if !progress.advance(if moved { extent.len } else { 0 }) {
            return Err(Error::new(path, ErrorKind::Cancelled));
        }
    }
    target.finish()
}

/// The next run: of the snapshot's own layer, or of whatever layer decides.
fn next_run(view: &Chain, at: u64, end: u64, own: bool) -> Result<(Option<&Layer>, Extent)> {
    if own {
        let top = view.layers().first().map(|layer| &**layer);
        if let Some(top) = top {
            return Ok((Some(top), top.extent_at(at, end)?));
        }
    }
    let run = view.resolve(at, end)?;
    let layer = view.decider(&run)?;
    Ok((layer.map(|layer| &**layer), run.extent))
}

/// How the new image is made that receives what `view` shows; none of a raw one.
pub fn made_like(view: &Chain, form: &SnapshotForm) -> Option<CreateOptions> {
    let backing = match form {
        SnapshotForm::Raw => return None,
        SnapshotForm::Qcow2 => None,
        SnapshotForm::Overlay { name, format } => Some((name.clone(), format.clone())),
    };
    let mut options = CreateOptions {
        backing,
        ..CreateOptions::new(view.virtual_size())
    };
    if let Some(Layer::Qcow2(image)) = view.layers().first().map(|layer| &**layer) {
        let header = image.header();
        options.format.cluster_bits = header.geometry.cluster_bits();
        options.format.extended_l2 = header.geometry.extended_l2();
        options.format.old_version = header.version == Version::V2;
    }
    Some(options)
}
