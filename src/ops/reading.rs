//! Opening an image, and all it is built on, for what only reads: no lock is taken, and what an image
//! names is opened only where the person looked.

use std::path::{Path, PathBuf};

use crate::host::{Access, Host, LockProbe, LockSet};
use crate::image::{self, Chain, Format, ImageFile, Layer, snapshot_view};

use super::framework::copy_file::folder;
use super::framework::format::shown;
use super::{Error, SnapshotName, snapshot};

/// How an image is to be read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Its format; none to go by its content.
    pub format: Option<Format>,
    /// Folders in which files may be opened that images name, besides the image's own.
    pub folders: Vec<PathBuf>,
    /// Whether such files may be opened wherever they are.
    pub follow: bool,
    /// The internal snapshot that is read instead of what the image shows now.
    pub snapshot: Option<SnapshotName>,
}

/// An image opened for reading.
#[derive(Debug)]
pub struct Reading {
    /// It, and what it is built on as far as that can be opened.
    pub chain: Chain,
    /// What stood in the way of the rest.
    pub missing: Option<image::Error>,
    /// Which of its files a process is writing, each as a sentence: what is read may be torn.
    pub live: Vec<String>,
}

impl Reading {
    /// The chain, if all of it could be opened.
    ///
    /// # Errors
    /// What stood in the way.
    pub fn whole(self) -> Result<Chain, image::Error> {
        match self.missing {
            None => Ok(self.chain),
            Some(error) => Err(error),
        }
    }
}

/// Opens an image for reading. Files it names are opened in its own folder, that of the file behind
/// a link, below both, and where the options allow it.
///
/// # Errors
/// [`Error::Failed`] when the image itself cannot be opened, or has not that one snapshot.
pub fn open_to_read(host: &dyn Host, path: &Path, options: &ReadOptions) -> Result<Reading, Error> {
    let format = match &options.format {
        Some(format) => format.clone(),
        None => by_content(host, path)?,
    };
    let mut folders: Vec<PathBuf> = vec![folder(path).to_path_buf()];
    folders.extend(
        host.canonical(path)
            .ok()
            .map(|file| folder(&file).to_path_buf()),
    );
    folders.extend(options.folders.iter().cloned());
    let folders: Vec<PathBuf> = folders
        .iter()
        .filter_map(|dir| host.canonical(dir).ok())
        .collect();
    let may_follow = |name: &Path| {
        // What is not there is found out by opening it.
        options.follow
            || host
                .canonical(name)
                .map_or(true, |file| folders.iter().any(|dir| file.starts_with(dir)))
    };
    let (chain, missing) = Chain::open_partly(host, path, Some(&format), &may_follow)?;
    let chain = match &options.snapshot {
        Some(wanted) => at_snapshot(path, &chain, wanted)?,
        None => chain,
    };
    let live = chain
        .layers()
        .iter()
        .filter_map(|layer| in_use(layer))
        .collect();
    Ok(Reading {
        chain,
        missing,
        live,
    })
}

/// The chain as it was when the snapshot was taken.
fn at_snapshot(path: &Path, chain: &Chain, wanted: &SnapshotName) -> Result<Chain, Error> {
    let Some(Layer::Qcow2(image)) = chain.layers().first().map(|layer| &**layer) else {
        return Err(Error::failed(format!(
            "{} is no qcow2 image: only those have internal snapshots",
            shown(path)
        )));
    };
    let all = image::snapshots(image.file(), image.header())?;
    let snapshot = snapshot::choose(path, &all, wanted).map_err(Error::failed)?;
    Ok(snapshot_view(chain, snapshot)?)
}

/// The format of a file that a person names without saying it.
fn by_content(host: &dyn Host, path: &Path) -> Result<Format, Error> {
    let file = ImageFile::open(host, path, Access::Read)?;
    match image::recognised(&file)? {
        Some(format) => Ok(format),
        None if image::named_like_qcow2(path) => Err(Error::failed(format!(
            "{} is called like a qcow2 image and is none: it does not begin like one (say that its \
             format is raw if that is what it is)",
            shown(path)
        ))),
        None => Ok(Format::Raw),
    }
}

/// Who writes one of the layer's files, as a sentence. Where that cannot be told nobody does.
fn in_use(layer: &Layer) -> Option<String> {
    let own = match layer {
        Layer::Qcow2(image) => image.file(),
        Layer::Raw(image) => image.file(),
    };
    [own, layer.stored_in()].into_iter().find_map(|file| {
        match file.host_file().probe_lock(LockSet::ReadOnly) {
            Ok(LockProbe::Busy(conflict)) => Some(format!(
                "{} {}: what is read of it may be torn",
                shown(file.path()),
                image::in_use(&conflict)
            )),
            Ok(LockProbe::Free | LockProbe::Unsupported) | Err(_) => None,
        }
    })
}
