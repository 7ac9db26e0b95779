//! Putting something into the trash that was no file before: bytes that an operation is about to
//! replace. As for a file that was moved there, the manifest comes first.

use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::image::ImageFile;
use crate::ops::framework::error::Error;
use crate::ops::framework::note::Note;

use super::batch::{Batch, TrashItem};
use super::folder::remove_folder;

/// What is to be kept.
#[derive(Debug)]
pub(in crate::ops) struct Keep {
    /// What it would be called if it were restored; a name beside the image.
    pub(in crate::ops) file: PathBuf,
    /// What was done: `repair`.
    pub(in crate::ops) reason: &'static str,
    /// What it is, for the list.
    pub(in crate::ops) why: String,
    /// Bytes it takes on disk, nearly.
    pub(in crate::ops) bytes: u64,
}

/// What is kept, and where.
#[derive(Debug)]
pub(in crate::ops) struct KeptEntry {
    path: PathBuf,
    name: String,
    remarks: Vec<Note>,
}

impl Keep {
    /// Makes the entry and has its content written. When this returns it is on stable storage.
    ///
    /// # Errors
    /// [`Error::Failed`], or what `write` gives; nothing is left behind then.
    pub(in crate::ops) fn write(
        self,
        host: &dyn Host,
        state_dir: Option<&Path>,
        write: impl FnOnce(&ImageFile) -> Result<(), Error>,
    ) -> Result<KeptEntry, Error> {
        let item = TrashItem {
            path: self.file,
            why: self.why,
            bytes: self.bytes,
            step: 0,
            file: None,
        };
        let batch = Batch::prepare(host, state_dir, self.reason, vec![item])?;
        let kept = KeptEntry {
            path: batch
                .places()
                .next()
                .map(Path::to_path_buf)
                .unwrap_or_default(),
            name: batch.name().to_owned(),
            remarks: batch.remarks().to_vec(),
        };
        let folder = kept.path.parent().unwrap_or(&kept.path);
        let written = host
            .create_private(&kept.path)
            .map_err(|error| Error::io("create", &kept.path, &error))
            .and_then(|file| write(&ImageFile::new(&kept.path, file)))
            .and_then(|()| {
                host.sync_dir(folder)
                    .map_err(|error| Error::io("sync", folder, &error))
            });
        if let Err(error) = written {
            // It is ours and nobody knows of it; failing to remove it changes nothing.
            let _ = host.remove_file(&kept.path);
            batch.give_up();
            return Err(error);
        }
        Ok(kept)
    }
}

impl KeptEntry {
    /// The file.
    pub(in crate::ops) fn path(&self) -> &Path {
        &self.path
    }

    /// The entry's name.
    pub(in crate::ops) fn name(&self) -> &str {
        &self.name
    }

    /// What the person should know although all went well.
    pub(in crate::ops) fn remarks(&self) -> &[Note] {
        &self.remarks
    }

    /// Takes it away again: it is not needed after all.
    pub(in crate::ops) fn give_up(self, host: &dyn Host) {
        let _ = host.remove_file(&self.path);
        if let Some(folder) = self.path.parent() {
            remove_folder(host, folder);
        }
    }
}
