//! Waiting for a lock of a whole file (`flock`) that another process holds for a moment.

use std::fs::File;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Takes the lock for this process alone; it is held as long as the file is open.
///
/// # Errors
/// `WouldBlock` if another process holds it for longer than `patience`; the system's own.
pub fn wait_for_lock(file: &File, patience: Duration) -> io::Result<()> {
    let deadline = Instant::now() + patience;
    while let Err(error) = flock(file, FlockOperation::NonBlockingLockExclusive) {
        if error != Errno::WOULDBLOCK || Instant::now() > deadline {
            return Err(error.into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
