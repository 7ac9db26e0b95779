//! The files of a host, by the names that they have there.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::file::{FarFile, nonsense, only_read};
use super::message::{Ask, Told};
use super::session::{Opener, Sessions};
use crate::host::{Access, FileId, Holder, Host, HostFile, Space, Stat};

/// Another machine, whose files are read and never changed by this way. Names are those of that machine, and no name
/// leads to a file of this one.
#[derive(Debug, Clone)]
pub struct FarHost(Arc<Sessions>);

impl FarHost {
    /// The host of that name, where these words have its files served. It is joined when a file is first asked for.
    #[must_use]
    pub fn new(name: String, words: Vec<OsString>, opener: Opener) -> Self {
        Self(Arc::new(Sessions::new(name, words, opener)))
    }

    fn ask(&self, ask: &Ask) -> io::Result<Told> {
        self.0.ask(ask).map(|(told, _)| told)
    }
}

impl Host for FarHost {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn HostFile>> {
        match access {
            Access::ReadWrite => Err(only_read()),
            Access::Read => {
                let file = FarFile::open(Arc::clone(&self.0), path.to_path_buf())?;
                Ok(Arc::new(file))
            }
        }
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        match self.ask(&Ask::Stat(path.into()))? {
            Told::Stat(stat) => Ok(stat),
            _ => Err(nonsense()),
        }
    }

    fn born(&self, path: &Path) -> io::Result<Option<SystemTime>> {
        match self.ask(&Ask::Born(path.into()))? {
            Told::Born(born) => Ok(born),
            _ => Err(nonsense()),
        }
    }

    fn stat_link(&self, path: &Path) -> io::Result<Stat> {
        match self.ask(&Ask::StatLink(path.into()))? {
            Told::Stat(stat) => Ok(stat),
            _ => Err(nonsense()),
        }
    }

    fn list_dir(&self, path: &Path) -> io::Result<Vec<OsString>> {
        match self.ask(&Ask::List(path.into()))? {
            Told::Names(names) => Ok(names),
            _ => Err(nonsense()),
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        match self.ask(&Ask::Space(path.into()))? {
            Told::Space(space) => Ok(space),
            _ => Err(nonsense()),
        }
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        match self.ask(&Ask::Canonical(path.into()))? {
            Told::Path(path) => Ok(path.into()),
            _ => Err(nonsense()),
        }
    }

    fn holders(&self, files: &[FileId]) -> HashMap<FileId, Vec<Holder>> {
        match self.ask(&Ask::Holders(files.to_vec())) {
            Ok(Told::Holders(found)) => {
                let found = found.into_iter();
                found.filter(|(id, _)| files.contains(id)).collect()
            }
            _ => HashMap::new(),
        }
    }

    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn create_new(&self, _: &Path) -> io::Result<Arc<dyn HostFile>> {
        Err(only_read())
    }

    fn rename_new(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(only_read())
    }

    fn exchange(&self, _: FileId, _: &Path, _: &Path) -> io::Result<()> {
        Err(only_read())
    }

    fn link_new(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(only_read())
    }

    fn rename_replace(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(only_read())
    }

    fn remove_file(&self, _: &Path) -> io::Result<()> {
        Err(only_read())
    }

    fn create_dir(&self, _: &Path, _: u32) -> io::Result<()> {
        Err(only_read())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Err(only_read())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(only_read())
    }

    fn may_write(&self, _: &Path) -> io::Result<()> {
        Err(only_read())
    }
}
