//! A folder that is filled before it has its name, so that no half of it is ever seen and what is left of it after a
//! crash is known for what it is.

use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::image::temporary_name;

use super::copy_file::folder;
use super::error::Error;

/// A folder that has no name of its own yet. Dropped without [`NewFolder::publish`] it is removed with all files in
/// it.
#[derive(Debug)]
pub(in crate::ops) struct NewFolder<'h> {
    host: &'h dyn Host,
    temporary: PathBuf,
    /// Where it is going to be.
    to: PathBuf,
    published: bool,
}

impl<'h> NewFolder<'h> {
    /// Makes it beside `to`, as `mkdir` does.
    ///
    /// # Errors
    /// [`Error::Failed`] if it cannot be made.
    pub(in crate::ops) fn make(host: &'h dyn Host, to: &Path) -> Result<Self, Error> {
        let temporary = temporary_name(to);
        host.create_dir(&temporary, 0o777)
            .map_err(|error| Error::io("make the folder", &temporary, &error))?;
        Ok(Self {
            host,
            temporary,
            to: to.to_path_buf(),
            published: false,
        })
    }

    /// The name it has until it is published.
    pub(in crate::ops) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Gives it its name, which must be free, and makes that stable.
    ///
    /// # Errors
    /// [`Error::Failed`] if the name is taken or cannot be made.
    pub(in crate::ops) fn publish(mut self) -> Result<(), Error> {
        let failed = |error| Error::io("make the folder", &self.to, &error);
        self.host
            .rename_new(&self.temporary, &self.to)
            .map_err(failed)?;
        self.published = true;
        self.host.sync_dir(folder(&self.to)).map_err(failed)
    }
}

impl Drop for NewFolder<'_> {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        // Ours, and of no use to anybody; if it cannot be removed, its name says what it is.
        for name in self.host.list_dir(&self.temporary).unwrap_or_default() {
            drop(self.host.remove_file(&self.temporary.join(name)));
        }
        drop(self.host.remove_dir(&self.temporary));
    }
}
