//! The machine as an operation sees it while it holds files: whoever opens one of them by its name gets
//! the very file that is locked and was verified, whatever the name stands for by then.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::host::{Access, FileId, Holder, Host, HostFile, Space, Stat, limit_readers};
use crate::image::{Chain, Layer};

use super::locks::Locks;

/// A machine, and files of it that are held.
#[derive(Debug)]
pub(in crate::ops) struct LockedHost<'a> {
    host: &'a dyn Host,
    locks: Option<&'a Locks>,
    /// What new files hold a part of, and whether nobody else is to read them for that.
    origin: Option<(Vec<PathBuf>, bool)>,
}

impl<'a> LockedHost<'a> {
    /// The machine with these files held.
    pub(in crate::ops) fn new(host: &'a dyn Host, locks: &'a Locks) -> Self {
        Self {
            host,
            locks: Some(locks),
            origin: None,
        }
    }

    /// The machine with no file held.
    pub(in crate::ops) fn unlocked(host: &'a dyn Host) -> Self {
        Self {
            host,
            locks: None,
            origin: None,
        }
    }

    /// New files hold a part of these: nobody reads them who may not read each of these, and of a `secret`
    /// (what is encrypted there and plain in the new file) nobody but the owner.
    pub(in crate::ops) fn for_copies(
        self,
        of: impl IntoIterator<Item = PathBuf>,
        secret: bool,
    ) -> Self {
        Self {
            origin: Some((of.into_iter().collect(), secret)),
            ..self
        }
    }
}

/// Whether some of what a chain shows is encrypted in its file.
pub(in crate::ops) fn has_secrets(chain: &Chain) -> bool {
    let is_secret = |layer: &Arc<Layer>| match &**layer {
        Layer::Qcow2(image) => image.is_encrypted(),
        Layer::Raw(_) => false,
    };
    chain.layers().iter().any(is_secret)
}

/// The files that a chain is read from, external data files among them.
pub(in crate::ops) fn files_of(chain: &Chain) -> impl Iterator<Item = PathBuf> {
    chain.layers().iter().flat_map(|layer| {
        let data = layer.stored_in().path();
        let image = layer.path();
        std::iter::once(image.to_path_buf()).chain((data != image).then(|| data.to_path_buf()))
    })
}

impl Host for LockedHost<'_> {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn HostFile>> {
        let held = self
            .locks
            .and_then(|locks| locks.held(self.host, path, access));
        match held {
            Some(file) => Ok(file),
            None => self.host.open(path, access),
        }
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn HostFile>> {
        let Some((origin, secret)) = &self.origin else {
            return self.host.create_new(path);
        };
        let new = self.host.create_private(path)?;
        let from: io::Result<Vec<_>> = origin
            .iter()
            .map(|origin| self.open(origin, Access::Read))
            .collect();
        // Who may read what cannot be opened is not known.
        let secret = *secret || from.is_err();
        limit_readers(&*new, &from.unwrap_or_default(), secret);
        Ok(new)
    }

    fn create_private(&self, path: &Path) -> io::Result<Arc<dyn HostFile>> {
        self.host.create_private(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.host.stat(path)
    }

    fn born(&self, path: &Path) -> io::Result<Option<SystemTime>> {
        self.host.born(path)
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        self.host.stat_link(path)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.host.rename_new(from, to)
    }

    fn rename_new_of(&self, file: FileId, from: &Path, to: &Path) -> io::Result<()> {
        self.host.rename_new_of(file, from, to)
    }

    fn exchange(&self, file: FileId, from: &Path, to: &Path) -> io::Result<()> {
        self.host.exchange(file, from, to)
    }

    fn remove_file_of(&self, file: FileId, path: &Path) -> io::Result<()> {
        self.host.remove_file_of(file, path)
    }

    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.host.link_new(from, to)
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.host.rename_replace(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.host.remove_file(path)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.host.create_dir(path, mode)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.host.remove_dir(path)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.host.list_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.host.sync_dir(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.host.space(path)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.host.canonical(path)
    }

    fn may_write(&self, path: &Path) -> io::Result<()> {
        self.host.may_write(path)
    }

    fn holders(&self, files: &[FileId]) -> HashMap<FileId, Vec<Holder>> {
        self.host.holders(files)
    }

    fn now(&self) -> SystemTime {
        self.host.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{LockSet, RealHost};
    use crate::ops::framework::locks::Locking;

    #[test]
    fn a_name_leads_to_the_file_that_is_held_whatever_it_stands_for_by_now() {
        let dir = tempfile::tempdir().unwrap();
        let (image, other) = (dir.path().join("image"), dir.path().join("other"));
        std::fs::write(&image, "held").unwrap();
        std::fs::write(&other, "else").unwrap();
        let mut locks = Locking::default();
        let read = LockSet::ReadOnly;
        let _ = locks.take(&RealHost, &image, Access::Read, read).unwrap();
        let locks = locks.unsettled();
        std::fs::rename(&other, &image).unwrap();
        let host = LockedHost::new(&RealHost, &locks);
        let seen = |access| {
            let mut bytes = [0; 4];
            host.open(&image, access)
                .unwrap()
                .read_at(&mut bytes, 0)
                .unwrap();
            bytes
        };
        assert_eq!(&seen(Access::Read), b"held");
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        let detour = dir.path().join("sub/../image");
        let mut bytes = [0; 4];
        let file = host.open(&detour, Access::Read).unwrap();
        file.read_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"held");
        // What is held for reading is not for writing.
        assert_eq!(&seen(Access::ReadWrite), b"else");
    }
}
