//! The shell that the terminal is lent to, and an image that is mounted for as long as it runs.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{io_text, printable};
use crate::image::Format;
use crate::mount::{self, Mounted, Unmounted};

use super::workers::Workers;

/// The person's shell.
pub(super) fn shell() -> OsString {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    shell.unwrap_or_else(|| "/bin/sh".into())
}

/// An image mounted in a folder of its own, below the one for what lives as long as the person is logged in.
#[derive(Debug)]
pub(super) struct MountedImage {
    mounted: Mounted,
    image: PathBuf,
    /// The private folder, and the one in it that is called like the image.
    folders: [PathBuf; 2],
}

impl MountedImage {
    /// Mounts an image; a sentence where that cannot be done.
    pub(super) fn new(
        workers: &Workers,
        image: PathBuf,
        format: Option<Format>,
    ) -> Result<Self, String> {
        let folders = folders(&image)?;
        let contents = Arc::new(workers.shown(&image, format));
        // What cannot be read is told by whoever reads it.
        match mount::mount(contents, &folders[1], Box::new(|_| {})) {
            Ok(mounted) => Ok(Self {
                mounted,
                image,
                folders,
            }),
            Err(error) => {
                remove(&folders);
                Err(format!("Not mounted: {error}."))
            }
        }
    }

    /// Where it is.
    pub(super) fn at(&self) -> &Path {
        self.mounted.at()
    }

    /// What a person in the shell is told first.
    pub(super) fn intro(&self) -> String {
        format!(
            "{} is mounted here, for reading only; `exit` unmounts it and goes back to qanopy.",
            printable(&self.image)
        )
    }

    /// Unmounts it; a sentence where there is something to say.
    pub(super) fn end(self) -> Option<String> {
        let told = match self.mounted.unmount() {
            Ok(Unmounted::Whole) => None,
            Ok(Unmounted::InUse) => Some(format!(
                "{} was still in use where it was mounted: it is unmounted when nobody uses it any more.",
                printable(&self.image)
            )),
            Err(error) => Some(format!("Not unmounted: {error}.")),
        };
        remove(&self.folders);
        told
    }
}

/// A private folder, and an empty one in it that is called like the image.
fn folders(image: &Path) -> Result<[PathBuf; 2], String> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|dir| dir.is_absolute() && dir.is_dir());
    let within = runtime.unwrap_or_else(std::env::temp_dir);
    let failed = |error: std::io::Error| {
        let (within, why) = (printable(&within), io_text(&error));
        format!("Not mounted: cannot make a folder in {within}: {why}.")
    };
    let private = tempfile::Builder::new()
        .prefix("qanopy-")
        .tempdir_in(&within);
    // Taken away by hand: never with what is mounted in it.
    let private = private.map_err(failed)?.keep();
    let name = image.file_name().unwrap_or_else(|| "image".as_ref());
    let folders = [private.clone(), private.join(name)];
    if let Err(error) = fs::create_dir(&folders[1]) {
        remove(&folders);
        return Err(failed(error));
    }
    Ok(folders)
}

/// Takes away the folders, if nothing is in them. One that stays does no harm.
fn remove(folders: &[PathBuf; 2]) {
    for folder in folders.iter().rev() {
        let _ = fs::remove_dir(folder);
    }
}
