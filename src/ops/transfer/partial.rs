//! A file that is being received. It has a name that says so until it is whole; what an earlier try has left of it is
//! gone on with, and what this one leaves stays for the next.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{Access, FileKind, Host, HostFile, Stat, WriteOut};
use crate::image::{is_temporary_of, maker_of, temporary_name};
use crate::ops::Error;
use crate::ops::framework::copy_file::folder;

/// What an earlier try, whose process has ended, has left of the file `to`; of several the largest.
pub(super) fn left_of(host: &dyn Host, to: &Path) -> Option<PathBuf> {
    let dir = folder(to);
    let names = host.list_dir(dir).ok()?;
    let paths = names.iter().map(|name| dir.join(name));
    let left = paths.filter(|path| {
        let has_ended = maker_of(path).is_some_and(|maker| !maker.runs());
        has_ended && is_temporary_of(path, to)
    });
    let files = left.filter_map(|path| {
        let stat = host.stat_link(&path).ok()?;
        // One that somebody else made, or has by another name, is theirs.
        let is_ours = stat.kind == FileKind::Regular && stat.links == 1 && is_own(&stat);
        is_ours.then_some((stat.allocated, path))
    });
    files.max().map(|(_, path)| path)
}

fn is_own(stat: &Stat) -> bool {
    stat.uid == rustix::process::geteuid().as_raw()
}

/// The file while it is being made.
#[derive(Debug)]
pub(super) struct Partial<'h> {
    host: &'h dyn Host,
    temporary: PathBuf,
    to: PathBuf,
    file: Arc<dyn HostFile>,
    /// Whether there is anything in it that the next try can go on with.
    is_kept: bool,
    write_out: WriteOut,
}

impl<'h> Partial<'h> {
    /// Goes on with what is left, or begins.
    ///
    /// # Errors
    /// [`Error::Failed`] if it cannot be made.
    pub(super) fn open(
        host: &'h dyn Host,
        to: &Path,
        left: Option<&Path>,
        bytes: u64,
    ) -> Result<Self, Error> {
        let temporary = temporary_name(to);
        let making = |error| Error::io("create", &temporary, &error);
        let file = match left {
            Some(left) => {
                host.rename_new(left, &temporary).map_err(making)?;
                host.open(&temporary, Access::ReadWrite).map_err(making)?
            }
            None => host.create_new(&temporary).map_err(making)?,
        };
        let partial = Self {
            host,
            to: to.to_path_buf(),
            file,
            is_kept: left.is_some(),
            write_out: WriteOut::default(),
            temporary: temporary.clone(),
        };
        partial.file.set_len(bytes).map_err(making)?;
        Ok(partial)
    }

    pub(super) fn file(&self) -> &Arc<dyn HostFile> {
        &self.file
    }

    /// The name it has meanwhile.
    pub(super) fn path(&self) -> &Path {
        &self.temporary
    }

    /// The name it is going to have.
    pub(super) fn target(&self) -> &Path {
        &self.to
    }

    /// Writes bytes that came.
    ///
    /// # Errors
    /// [`Error::Failed`] with the system's reason.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.is_kept = true;
        let written = self.file.write_at(bytes, offset);
        written.map_err(|error| Error::io("write", &self.to, &error))?;
        self.write_out
            .wrote(&*self.file, offset, bytes.len() as u64);
        Ok(())
    }

    /// Gives it its name, which must be free, and makes that stable.
    ///
    /// # Errors
    /// [`Error::Failed`] if the name is taken or cannot be made.
    pub(super) fn publish(self) -> Result<(), Error> {
        let failed = |error| Error::io("create", &self.to, &error);
        self.host
            .rename_new(&self.temporary, &self.to)
            .map_err(failed)?;
        self.host.sync_dir(folder(&self.to)).map_err(failed)
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            // Ours and empty; once it has its own name, there is no such file.
            drop(self.host.remove_file(&self.temporary));
        }
    }
}
