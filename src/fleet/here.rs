//! The files of this machine, for a process that also knows names of files on others: those are never absolute, and
//! nothing is done here by a name that is not, whatever a file here may be called.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::host::{Access, ClosedProcess, FileId, Holder, Host, HostFile, RealHost, Space, Stat};

/// This machine by absolute names alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Here;

/// Fails for a name that is not absolute.
fn ours(path: &Path) -> io::Result<&Path> {
    match path.is_absolute() {
        true => Ok(path),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no file of this machine",
        )),
    }
}

impl Host for Here {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn HostFile>> {
        RealHost.open(ours(path)?, access)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn HostFile>> {
        RealHost.create_new(ours(path)?)
    }

    fn create_private(&self, path: &Path) -> io::Result<Arc<dyn HostFile>> {
        RealHost.create_private(ours(path)?)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        RealHost.stat(ours(path)?)
    }

    fn born(&self, path: &Path) -> io::Result<Option<SystemTime>> {
        RealHost.born(ours(path)?)
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        RealHost.stat_link(ours(path)?)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealHost.rename_new(ours(from)?, ours(to)?)
    }

    fn rename_new_of(&self, file: FileId, from: &Path, to: &Path) -> io::Result<()> {
        RealHost.rename_new_of(file, ours(from)?, ours(to)?)
    }

    fn exchange(&self, file: FileId, from: &Path, to: &Path) -> io::Result<()> {
        RealHost.exchange(file, ours(from)?, ours(to)?)
    }

    fn remove_file_of(&self, file: FileId, path: &Path) -> io::Result<()> {
        RealHost.remove_file_of(file, ours(path)?)
    }

    fn link_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealHost.link_new(ours(from)?, ours(to)?)
    }

    fn rename_replace(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealHost.rename_replace(ours(from)?, ours(to)?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealHost.remove_file(ours(path)?)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        RealHost.create_dir(ours(path)?, mode)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealHost.remove_dir(ours(path)?)
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        RealHost.list_dir(ours(path)?)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealHost.sync_dir(ours(path)?)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        RealHost.space(ours(path)?)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        RealHost.canonical(ours(path)?)
    }

    fn may_write(&self, path: &Path) -> io::Result<()> {
        RealHost.may_write(ours(path)?)
    }

    fn holders(&self, files: &[FileId]) -> HashMap<FileId, Vec<Holder>> {
        RealHost.holders(files)
    }

    fn closed_processes(&self) -> Vec<ClosedProcess> {
        RealHost.closed_processes()
    }

    fn now(&self) -> SystemTime {
        RealHost.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn nothing_is_done_by_a_name_of_another_machine() {
        // The tests run in the folder of the crate: a name seen from there leads to a file that is there.
        let dir = tempfile::tempdir_in(".").unwrap();
        let folder = dir.path().join("web:");
        fs::create_dir(&folder).unwrap();
        let real = folder.join("a.qcow2");
        fs::write(&real, "kept").unwrap();
        let base = std::env::current_dir().unwrap();
        let far = real.strip_prefix(&base).unwrap_or(&real).to_path_buf();
        assert!(far.is_relative() && far.exists(), "{}", far.display());
        let new = far.with_extension("new");
        let id = RealHost.stat(&real).unwrap().id;
        let refused = [
            Here.open(&far, Access::Read).map(drop),
            Here.create_new(&new).map(drop),
            Here.create_private(&new).map(drop),
            Here.stat(&far).map(drop),
            Here.born(&far).map(drop),
            Here.stat_link(&far).map(drop),
            Here.rename_new(&far, &new),
            Here.rename_new_of(id, &far, &new),
            Here.exchange(id, &far, &new),
            Here.remove_file_of(id, &far),
            Here.link_new(&far, &new),
            Here.rename_replace(&far, &new),
            Here.remove_file(&far),
            Here.create_dir(&new, 0o700),
            Here.remove_dir(far.parent().unwrap()),
            Here.list_dir(far.parent().unwrap()).map(drop),
            Here.sync_dir(far.parent().unwrap()),
            Here.space(&far).map(drop),
            Here.canonical(&far).map(drop),
            Here.may_write(&far),
        ];
        for (at, refused) in refused.into_iter().enumerate() {
            let error = refused.expect_err(&at.to_string());
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{at}");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let whole = base.join(&far);
        assert!(Here.open(&whole, Access::Read).is_ok());
        assert_eq!(fs::read(&real).unwrap(), b"kept");
    }
}
