//! A mount from its beginning to its end: where it may be, and how it goes away again.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::host::{effective_user, io_text, printable};

use super::contents::Contents;
use super::serve::{Report, serve};

/// The kernel's end of FUSE.
const DEVICE: &str = "/dev/fuse";

/// The programs that mount for whom the kernel does not let mount, the usual one first.
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];

/// Names another one.
const HELPER_NAMED: &str = "FUSERMOUNT_PATH";

/// How often images that nobody looks at are looked for.
const CLOSES_EVERY: Duration = Duration::from_secs(10);

/// Sentences that are told at most: a program that reads all files finds a fault in each.
const MOST_TOLD: usize = 100;

/// How long the kernel may take to let go of a mount.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why something is not mounted, or not unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// What to mount on is no folder, or not there.
    #[error("{}: {why}", printable(.at))]
    NoFolder {
        /// What to mount on.
        at: PathBuf,
        /// The system's reason.
        why: String,
    },
    /// The folder has something in it, which nobody could see meanwhile.
    #[error("{} is not empty: what is in it could not be seen while the mount lies over it", printable(.0))]
    NotEmpty(PathBuf),
    /// The folder lies below the one that is mounted.
    #[error(
        "{} lies in {}: whoever searches that folder would find what is in the images as well",
        printable(.at),
        printable(.below)
    )]
    Within {
        /// What to mount on.
        at: PathBuf,
        /// What is to be shown.
        below: PathBuf,
    },
    /// The kernel has no FUSE, or does not let us use it.
    #[error(
        "{DEVICE} cannot be opened: {0} (mounting needs the kernel's module `fuse`, in a container the device as well)"
    )]
    NoDevice(String),
    /// Only root mounts without it.
    #[error(
        "fusermount3 is missing, which mounts for who is not root (it is in the package `fuse3`)"
    )]
    NoHelper,
    /// The system did not do it.
    #[error("cannot {action} {}: {why}", printable(.at))]
    Failed {
        /// `mount on`, `unmount`.
        action: &'static str,
        /// The folder.
        at: PathBuf,
        /// The system's reason.
        why: String,
    },
}

/// Something that is mounted. It stays so until it is unmounted, or this process ends.
#[derive(Debug)]
pub struct Mounted {
    at: PathBuf,
    ended: Receiver<io::Result<()>>,
}

/// How a mount went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmounted {
    /// Nobody used it.
    Whole,
    /// Somebody has a file of it open, or works in it: no path leads to it any more, and they get errors once this
    /// process ends.
    InUse,
}

/// Mounts `contents` on an empty folder.
///
/// # Errors
/// See [`MountError`].
pub fn mount(contents: Arc<Contents>, at: &Path, report: Report) -> Result<Mounted, MountError> {
    let at = empty_folder(at)?;
    let device = fs::OpenOptions::new().read(true).write(true).open(DEVICE);
    device.map_err(|error| MountError::NoDevice(io_text(&error)))?;
    let needs_helper = effective_user() != 0 || std::env::var_os(HELPER_NAMED).is_some();
    if needs_helper && helper().is_none() {
        return Err(MountError::NoHelper);
    }
    let (tell, ended) = bounded(1);
    close_idle_now_and_then(&contents);
    let served = serve(contents, once(report), &at, move |how| {
        // Nobody listens any more where the program is about to end.
        drop(tell.send(how));
    });
    match served {
        Ok(()) => Ok(Mounted { at, ended }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && helper().is_none() => {
            Err(MountError::NoHelper)
        }
        Err(error) => Err(MountError::Failed {
            action: "mount on",
            at,
            why: io_text(&error),
        }),
    }
}

/// Tells each sentence once.
fn once(report: Report) -> Report {
    let told: Mutex<HashSet<String>> = Mutex::default();
    Box::new(move |sentence| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < MOST_TOLD && told.insert(sentence.to_owned()) {
            report(sentence);
            if told.len() == MOST_TOLD {
                report("what else cannot be read is not told");
            }
        }
    })
}

/// Closes what nobody looks at, for as long as it is mounted.
fn close_idle_now_and_then(contents: &Arc<Contents>) {
    let contents = Arc::downgrade(contents);
    // Where there is no thread for it, they stay open.
    let _ = thread::Builder::new()
        .name("mount-idle".to_owned())
        .spawn(move || {
            loop {
                thread::sleep(CLOSES_EVERY);
                match contents.upgrade() {
                    Some(contents) => contents.close_idle(),
                    None => break,
                }
            }
        });
}

/// The folder by its whole name, if it is one, and empty.
fn empty_folder(at: &Path) -> Result<PathBuf, MountError> {
    let no_folder = |error: io::Error| MountError::NoFolder {
        at: at.to_path_buf(),
        why: io_text(&error),
    };
    let whole = fs::canonicalize(at).map_err(no_folder)?;
    let mut entries = fs::read_dir(&whole).map_err(no_folder)?;
    match entries.next() {
        None => Ok(whole),
        Some(Ok(_)) => Err(MountError::NotEmpty(at.to_path_buf())),
        Some(Err(error)) => Err(no_folder(error)),
    }
}

/// Whether one can mount on `at` what lies below `below`.
///
/// # Errors
/// [`MountError::Within`] if it is the same folder, or lies in it.
pub fn lies_apart(at: &Path, below: &Path) -> Result<(), MountError> {
    let whole = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if whole(at).starts_with(whole(below)) {
        return Err(MountError::Within {
            at: at.to_path_buf(),
            below: below.to_path_buf(),
        });
    }
    Ok(())
}

impl Mounted {
    /// Where, by its whole name.
    #[must_use]
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// What tells that it is mounted no more, whoever unmounted it.
    #[must_use]
    pub fn ended(&self) -> &Receiver<io::Result<()>> {
        &self.ended
    }

    /// Unmounts it. Where it is in use, it is taken out of the tree of files all the same.
    ///
    /// # Errors
    /// When the system does not do it.
    pub fn unmount(self) -> Result<Unmounted, MountError> {
        let how = self.take_away()?;
        if how == Unmounted::Whole {
            match self.ended.recv_timeout(PATIENCE) {
                Ok(_) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => {}
            }
        }
        Ok(how)
    }

    fn take_away(&self) -> Result<Unmounted, MountError> {
        match unmount(&self.at, UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(Unmounted::Whole),
            // It is none any more.
            Err(Errno::INVAL) => return Ok(Unmounted::Whole),
            Err(Errno::BUSY) => {
                let lazily = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
                return match unmount(&self.at, lazily) {
                    Ok(()) => Ok(Unmounted::InUse),
                    Err(error) => Err(self.failed(error.to_string())),
                };
            }
            Err(Errno::PERM) => {}
            Err(error) => return Err(self.failed(error.to_string())),
        }
        let helper = helper().ok_or(MountError::NoHelper)?;
        match self.asked(&helper, &["-u", "-q"]) {
            Ok(()) => Ok(Unmounted::Whole),
            Err(_) => match self.asked(&helper, &["-u", "-z"]) {
                Ok(()) => Ok(Unmounted::InUse),
                Err(why) => Err(self.failed(why)),
            },
        }
    }

    /// Asks the helper; what it complains about is the error.
    fn asked(&self, helper: &Path, words: &[&str]) -> Result<(), String> {
        let mut command = Command::new(helper);
        let command = command.args(words).arg("--").arg(&self.at);
        let ended = command.stdin(Stdio::null()).output();
        let ended = ended.map_err(|error| io_text(&error))?;
        if ended.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&ended.stderr).trim().to_owned())
    }

    fn failed(&self, why: String) -> MountError {
        MountError::Failed {
            action: "unmount",
            at: self.at.clone(),
            why,
        }
    }
}

/// The program that mounts for others than root, where it is installed.
fn helper() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(HELPER_NAMED) {
        // What `serve` is built on takes it for text.
        let named = named.to_str().map(PathBuf::from);
        return named.filter(|named| named.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::split_paths(&path);
    let folders: Vec<PathBuf> = path
        .chain(["/usr/bin", "/bin", "/sbin"].map(PathBuf::from))
        .collect();
    let found = |name: &&str| {
        let mut places = folders.iter().map(|folder| folder.join(OsStr::new(name)));
        places.find(|place| place.is_file())
    };
    HELPERS.iter().find_map(found)
}
