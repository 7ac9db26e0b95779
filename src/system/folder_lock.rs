//! A folder that one process at a time changes a small file of. It keeps out who asks for it, and nobody else.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::wait_lock::wait_for_lock;

/// How long another process may hold the folder.
const PATIENCE: Duration = Duration::from_secs(5);

/// Held until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _folder: Option<File>,
}

impl FolderLock {
    /// Waits for the folder. One that cannot be locked, on some filesystems of the network, is anybody's.
    ///
    /// # Errors
    /// `WouldBlock` if another process holds it for seconds.
    pub fn take(folder: &Path) -> io::Result<Self> {
        let Ok(folder) = File::open(folder) else {
            return Ok(Self { _folder: None });
        };
        match wait_for_lock(&folder, PATIENCE) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Ok(()) | Err(_) => {}
        }
        Ok(Self {
            _folder: Some(folder),
        })
    }
}
