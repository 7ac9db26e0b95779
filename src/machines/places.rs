//! Where machines are looked for: the folders of this system, and those of people's homes. Another root than `/`
//! makes the same of a folder, so that a test has a system of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcetera::BaseStrategy;

use crate::host::{Host, effective_user};

use super::text_file;

/// A service that does not answer for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Homes of others that are looked into, at most.
const MAX_HOMES: usize = 64;

/// Where machines are looked for.
#[derive(Debug, Clone)]
pub struct Places {
    /// The machine.
    pub host: Arc<dyn Host>,
    /// What stands for `/`.
    pub root: PathBuf,
    /// The homes whose machines count: one's own first; for root, those of all who may log in.
    pub homes: Vec<Home>,
    /// Folders in which images lie: some products keep their definitions beside these.
    pub near: Vec<PathBuf>,
    /// Where programs are looked for, as in `$PATH`.
    pub programs: OsString,
    /// How long a service is waited for.
    pub patience: Duration,
    /// The connection that libvirt's own tools use where none is named (`LIBVIRT_DEFAULT_URI`).
    pub default_uri: Option<String>,
}

/// Somebody's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The home itself.
    pub dir: PathBuf,
    /// For settings (`~/.config`).
    pub config: PathBuf,
    /// For sockets, where it is one's own and there is one (`/run/user/1000`).
    pub runtime: Option<PathBuf>,
    /// Where Lima keeps its machines (`~/.lima`).
    pub lima: PathBuf,
}

impl Home {
    /// The folders of a home as they are where nothing else is said.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self {
            config: dir.join(".config"),
            runtime: None,
            lima: dir.join(".lima"),
            dir,
        }
    }

    fn own() -> Option<Self> {
        let base = etcetera::base_strategy::Xdg::new().ok()?;
        let dir = base.home_dir().to_path_buf();
        let lima = std::env::var_os("LIMA_HOME").filter(|dir| !dir.is_empty());
        Some(Self {
            config: base.config_dir(),
            runtime: base.runtime_dir(),
            lima: lima.map_or_else(|| dir.join(".lima"), PathBuf::from),
            dir,
        })
    }
}

impl Places {
    /// This system, for whoever runs this process.
    #[must_use]
    pub fn here(host: Arc<dyn Host>, near: Vec<PathBuf>) -> Self {
        let mut homes: Vec<Home> = Home::own().into_iter().collect();
        if effective_user() == 0 {
            let others = homes_of_people(host.as_ref());
            let is_new = |dir: &PathBuf| homes.iter().all(|home| home.dir != *dir);
            let others: Vec<Home> = others.into_iter().filter(is_new).map(Home::at).collect();
            homes.extend(others);
        }
        Self {
            host,
            root: PathBuf::from("/"),
            homes,
            near,
            programs: std::env::var_os("PATH").unwrap_or_default(),
            patience: PATIENCE,
            default_uri: std::env::var("LIBVIRT_DEFAULT_URI").ok(),
        }
    }

    /// A path of the system, given without its leading `/`.
    pub(super) fn system(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Where a program is.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.programs)
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join(name))
            .find(|path| self.host.stat(path).is_ok())
    }
}

/// The homes of all who may log in, by `/etc/passwd`.
fn homes_of_people(host: &dyn Host) -> Vec<PathBuf> {
    let Ok(list) = text_file::read(host, Path::new("/etc/passwd")) else {
        return Vec::new();
    };
    let home = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let user: u32 = fields.next()?.parse().ok()?;
        let dir = PathBuf::from(fields.nth(2)?);
        (1000..65534).contains(&user).then_some(dir)
    };
    list.lines()
        .filter_map(home)
        .filter(|dir| dir.is_absolute() && host.stat(dir).is_ok())
        .take(MAX_HOMES)
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::RealHost;

    /// A system in a folder, with one home and no programs.
    pub(in crate::machines) fn system() -> (tempfile::TempDir, Places) {
        let dir = tempfile::tempdir().unwrap();
        let places = Places {
            host: Arc::new(RealHost),
            root: dir.path().to_path_buf(),
            homes: vec![Home::at(dir.path().join("home"))],
            near: Vec::new(),
            programs: OsString::new(),
            patience: PATIENCE,
            default_uri: None,
        };
        (dir, places)
    }
}
