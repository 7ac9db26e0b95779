//! The files that an operation works on: who uses them is asked when it is planned, and their locks are taken
//! when it runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::host::{Access, Host, LockSet};
use crate::image::Format;

use super::error::Error;
use super::locks::{Locking, Locks, claim, data_file};
use super::plan::Plan;

/// Files an operation works on.
#[derive(Debug, Clone, Default)]
pub(in crate::ops) struct FilesToLock {
    /// Opened for writing. The sets of locks are those that QEMU takes.
    written: BTreeSet<PathBuf>,
    /// Only read.
    read: BTreeSet<PathBuf>,
}

impl FilesToLock {
    /// An image that is written, and its external data file: QEMU locks those as the images they
    /// belong to.
    pub(in crate::ops) fn write(&mut self, host: &dyn Host, path: &Path, format: &Format) {
        self.written.extend(with_data(host, path, format));
    }

    /// An image that is read.
    pub(in crate::ops) fn read(&mut self, host: &dyn Host, path: &Path, format: &Format) {
        self.read.extend(with_data(host, path, format));
    }

    /// Those that are only read.
    fn only_read(&self) -> impl Iterator<Item = &PathBuf> {
        self.read.difference(&self.written)
    }

    /// Asks who uses each file, and has them stay as they are.
    pub(in crate::ops) fn secure(&self, plan: &mut Plan) {
        for path in &self.written {
            claim(plan, path, LockSet::ReadWrite);
        }
        for path in self.only_read() {
            claim(plan, path, LockSet::ReadOnly);
        }
    }

    /// Takes the locks of all of them and settles them.
    pub(in crate::ops) fn lock(&self, plan: &Plan) -> Result<Locks, Error> {
        let mut locking = Locking::default();
        self.take(&mut locking, plan.host())?;
        locking.settle(plan)
    }

    /// Takes the locks of all of them beside others.
    pub(in crate::ops) fn take(&self, locking: &mut Locking, host: &dyn Host) -> Result<(), Error> {
        for path in &self.written {
            let _ = locking.take(host, path, Access::ReadWrite, LockSet::ReadWrite)?;
        }
        for path in self.only_read() {
            let _ = locking.take(host, path, Access::Read, LockSet::ReadOnly)?;
        }
        Ok(())
    }
}

fn with_data(host: &dyn Host, path: &Path, format: &Format) -> Vec<PathBuf> {
    let mut files = vec![path.to_path_buf()];
    if *format == Format::Qcow2 {
        files.extend(data_file(host, path));
    }
    files
}
