//! A folder that one process at a time changes a small file of. It keeps out who asks for it, and nobody else.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

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
        let deadline = Instant::now() + PATIENCE;
        loop {
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(error @ Errno::WOULDBLOCK) => return Err(error.into()),
                _ => break,
            }
        }
        Ok(Self {
            _folder: Some(folder),
        })
    }
}
