//! Export: an image and everything it is built on as a folder that stands alone - every name inside
//! it relative to it, every format recorded, and a manifest with a checksum of each file. The folder
//! appears whole or not at all. Reading one in again is `import`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::{Access, Host, LockSet, io_text};
use crate::image::Format;
use crate::units::{count, size};

use super::framework::chain_files::ChainFile;
use super::framework::format::{name, shown};
use super::framework::locked_host::LockedHost;
use super::framework::locks::Locking;
use super::framework::nature::{Nature, RestsOn};
use super::framework::new_folder::NewFolder;
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::refusal::Reason;
use super::framework::request::Name;
use super::framework::{chain_files, new_file, resolve};
use super::{
    CommandLine, EffectKind, Error, Outcome, Phase, Plan, Progress, Reflink, RefusalKind, Undo,
};

/// Copy an image and all it is built on into a new folder that stands alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// The image.
    pub image: PathBuf,
    /// The folder to create.
    pub dir: PathBuf,
}

impl Operation for Export {
    fn name(&self) -> &'static str {
        "export"
    }

    fn verb(&self) -> &'static str {
        "Export"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::CreatesFiles
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        visit(Name::Path(&mut self.dir));
    }

    fn copies(&self) -> Vec<&Path> {
        vec![&self.image]
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(
            CommandLine::new(&["export"])
                .path(&self.image)
                .path(&self.dir),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_export(plan, &self.image, &self.dir)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        // The folder gets its name when all of it is there.
        match half.there_of(&half.entry.creates) {
            made if made.is_empty() => Way::Ask(self.clone().into()),
            made => Half::made(&made),
        }
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        match half.there_of(&half.entry.creates).is_empty() {
            true => half.unmake(),
            false => Way::Impossible(format!(
                "{} is there as a whole; nothing else was changed, and it can be removed like any folder",
                shown(&self.dir)
            )),
        }
    }
}

/// The manifest's name in the folder.
pub(super) const MANIFEST: &str = "qanopy-export.json";

/// More than a chain of four thousand images needs.
const MAX_MANIFEST: u64 = 4 << 20;

/// What is in an exported folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Manifest {
    /// The version of this description.
    pub(super) qanopy_export: u32,
    /// The files: the image first, then what it is built on, nearest first.
    pub(super) files: Vec<Exported>,
}

/// One file of an exported folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exported {
    /// Its name in the folder.
    pub(super) name: String,
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal digits.
    pub(super) sha256: String,
    /// Its format.
    pub(super) format: Format,
}

impl Manifest {
    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// A sentence: it is not there, or not one.
    pub(super) fn read(host: &dyn Host, dir: &Path) -> Result<Self, Reason> {
        let path = dir.join(MANIFEST);
        let why = |error: io::Error| {
            Reason::new(
                resolve::kind_of(&error),
                format!(
                    "{} holds no export that can be read: {}: {error}",
                    shown(dir),
                    MANIFEST,
                    error = io_text(&error)
                ),
            )
        };
        let is_none = |sentence: String| Reason::new(RefusalKind::Unreadable, sentence);
        let file = host.open(&path, Access::Read).map_err(why)?;
        let len = file.len().map_err(why)?;
        if len > MAX_MANIFEST {
            return Err(is_none(format!(
                "{} is too long to be a manifest",
                shown(&path)
            )));
        }
        let mut text = vec![0; usize::try_from(len).unwrap_or(0)];
        let read = file.read_at(&mut text, 0).map_err(why)?;
        text.truncate(read);
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| is_none(format!("{} cannot be understood: {error}", shown(&path))))?;
        if manifest.qanopy_export != 1 {
            return Err(Reason::new(
                RefusalKind::Unsupported,
                format!(
                    "{} is of version {}, which is not known here",
                    shown(&path),
                    manifest.qanopy_export
                ),
            ));
        }
        Ok(manifest)
    }
}

/// SHA-256 of a whole file, in hexadecimal digits.
///
/// # Errors
/// [`Error::Cancelled`] within a piece; [`Error::Failed`] if it cannot be read.
pub(super) fn digest(host: &dyn Host, path: &Path, progress: &Progress) -> Result<String, Error> {
    let reading = |error| Error::io("read", path, &error);
    let file = host.open(path, Access::Read).map_err(reading)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let got = file.read_at(&mut buffer, at).map_err(reading)?;
        if got == 0 {
            break;
        }
        hasher.update(buffer.get(..got).unwrap_or_default());
        at += got as u64;
        progress
            .advance(got as u64)
            .map_err(|_| Error::cancelled("cancelled: nothing was made".to_owned()))?;
    }
    let digits = hasher
        .finalize()
        .into_iter()
        .map(|byte| format!("{byte:02x}"));
    Ok(digits.collect())
}

/// Plans to write the chain of `image` into the new folder `dir`.
fn plan_export(plan: &mut Plan, image: &Path, dir: &Path) {
    let context = plan.context().clone();
    plan.title = format!("Export {} to {}", name(image), shown(dir));
    let node = match resolve::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    let taken = BTreeSet::from([OsString::from(MANIFEST)]);
    let Some(images) = chain_files::plan(plan, node, taken) else {
        return;
    };
    let mut needed = 0_u64;
    for image in &images {
        let to = dir.join(&image.name);
        let text = format!("{}, from {}", size(image.bytes), shown(&image.path));
        plan.effect(EffectKind::Creates, to, Some(image.bytes), text);
        plan.counterpart(&image.path);
        needed = needed.saturating_add(image.bytes);
    }
    plan.copies = needed;
    if new_file::check(plan, dir, needed).is_none() {
        return;
    }
    plan.undo = Undo::Possible("remove the folder: nothing else changes".to_owned());
    plan.job = Some(Arc::new(ExportJob {
        images,
        dir: dir.to_path_buf(),
    }));
}

#[derive(Debug)]
struct ExportJob {
    images: Vec<ChainFile>,
    dir: PathBuf,
}

impl Job for ExportJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        for image in &self.images {
            let _ = locking.take(host, &image.path, Access::Read, LockSet::ReadOnly)?;
        }
        let _locks = locking.settle(plan)?;
        let making = NewFolder::make(host, &self.dir)?;
        self.fill(plan, making.temporary(), progress)?;
        progress.enter(Phase::Switch, 0);
        making.publish()?;
        Ok(Outcome {
            summary: format!(
                "exported {} to {}",
                count(self.images.len(), "image"),
                shown(&self.dir)
            ),
            touched: vec![self.dir.clone()],
            undo: None,
            remarks: Vec::new(),
        })
    }
}

impl ExportJob {
    /// Copies the files, what is built on last, and writes the manifest.
    fn fill(&self, plan: &Plan, dir: &Path, progress: &Progress) -> Result<(), Error> {
        let host = plan.host();
        let total: u64 = self.images.iter().map(|image| image.bytes).sum();
        progress.enter(Phase::Copy, total.saturating_mul(2));
        let mut files: Vec<Exported> = Vec::new();
        let mut below: Option<&ChainFile> = None;
        for image in self.images.iter().rev() {
            let to = dir.join(&image.name);
            let copy = chain_files::copy(host, image, below, dir, Reflink::Auto, progress)?;
            copy.publish()?;
            let bytes = host
                .stat(&to)
                .map_err(|error| Error::io("look at", &to, &error))?
                .len;
            files.insert(
                0,
                Exported {
                    name: image.name.clone(),
                    bytes,
                    sha256: digest(host, &to, progress)?,
                    format: image.format.clone(),
                },
            );
            below = Some(image);
        }
        let manifest = Manifest {
            qanopy_export: 1,
            files,
        };
        // Somebody who knows no image locks may have written meanwhile.
        plan.verify_preconditions()?;
        let mut text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| Error::failed(error.to_string()))?;
        text.push(b'\n');
        let path = dir.join(MANIFEST);
        let write = || -> io::Result<()> {
            let images = self.images.iter().map(|image| image.path.clone());
            let file = LockedHost::unlocked(host)
                .for_copies(images, false)
                .create_new(&path)?;
            file.write_at(&text, 0)?;
            file.flush()?;
            host.sync_dir(dir)
        };
        write().map_err(|error| Error::io("write", &path, &error))
    }
}
