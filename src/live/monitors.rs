//! Where the monitor of a process is, and the way to it. A process says it on its command line; one whose sockets
//! were passed to it, as libvirt does, has them by number only, and the kernel says which file each is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machines::{MonitorSocket, monitor_sockets};

use super::qmp::{Qmp, QmpError};

/// A monitor greets at once, unless somebody else is connected.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no conversation with a process.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// Its command line names no socket for QMP.
    #[error(
        "process {0} has no monitor to speak with: start it with -qmp unix:PATH,server=on,wait=off \
         (qemu-storage-daemon: --chardev socket,id=m,path=PATH,server=on,wait=off --monitor m)"
    )]
    None(u32),
    /// The process has ended, or is of another user.
    #[error("process {0} cannot be looked at: {1}")]
    Unseen(u32, std::io::Error),
    /// It is there, and does not answer.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}

/// Connects to a monitor of a process: the first of its own that greets.
///
/// # Errors
/// [`MonitorError`] of the first, where none does.
pub fn connect(pid: u32) -> Result<Qmp, MonitorError> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let unseen = |error| MonitorError::Unseen(pid, error);
    let line = fs::read(process.join("cmdline")).map_err(unseen)?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let sockets = monitor_sockets(&words);
    let mut why = MonitorError::None(pid);
    for socket in sockets.iter().rev() {
        let Some(path) = path(&process, socket) else {
            continue;
        };
        match Qmp::connect(&path, PATIENCE) {
            Ok(qmp) => return Ok(qmp),
            Err(error) => why = error.into(),
        }
    }
    Err(why)
}

/// Whether libvirt has started the process: only libvirt is asked to do something with it then. What is done behind
/// its back it does not know of, and the next start is from the old file.
#[must_use]
pub fn is_libvirts(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    words.any(|word| {
        let is = |text: &[u8]| word.windows(text.len()).any(|part| part == text);
        is(b"id=charmonitor,") || is(b"/libvirt/qemu/")
    })
}

/// The socket of the agent in the guest, where the process has one.
#[must_use]
pub fn agent_socket(pid: u32) -> Option<PathBuf> {
    socket_of(pid, crate::machines::agent_socket)
}

/// Where the process serves exports over NBD since it was started.
pub(super) fn nbd_socket(pid: u32) -> Option<PathBuf> {
    socket_of(pid, crate::machines::nbd_socket)
}

fn socket_of(pid: u32, find: impl Fn(&[&[u8]]) -> Option<MonitorSocket>) -> Option<PathBuf> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let line = fs::read(process.join("cmdline")).ok()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    path(&process, &find(&words)?)
}

/// The name of a socket, seen from here.
fn path(process: &Path, socket: &MonitorSocket) -> Option<PathBuf> {
    match socket {
        MonitorSocket::Path(path) if path.is_absolute() => Some(path.clone()),
        MonitorSocket::Path(path) => {
            // The link to the folder may be shorter than its name, and names of sockets are short.
            let folder = fs::read_link(process.join("cwd")).ok()?;
            let whole = folder.join(path);
            let fits = whole.as_os_str().len() < 100;
            Some(if fits {
                whole
            } else {
                process.join("cwd").join(path)
            })
        }
        MonitorSocket::Descriptor(number) => {
            let link = fs::read_link(process.join(format!("fd/{number}"))).ok()?;
            let link = link.to_str()?;
            let inode = link.strip_prefix("socket:[")?.strip_suffix(']')?;
            let table = fs::read_to_string(process.join("net/unix")).ok()?;
            named_socket(&table, inode)
        }
    }
}

/// The name of a socket by its inode, from `/proc/net/unix`.
fn named_socket(table: &str, inode: &str) -> Option<PathBuf> {
    let of_it = |line: &&str| line.split_whitespace().nth(6) == Some(inode);
    let line = table.lines().find(of_it)?;
    let at = line.find('/')?;
    Some(PathBuf::from(line.get(at..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_socket_is_found_by_its_inode() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            00000000c5a4b1f0: 00000002 00000000 00010000 0001 01 17 /run/a\n\
            00000000c5a4b1f1: 00000003 00000000 00000000 0001 03 1742\n\
            00000000c5a4b1f2: 00000002 00000000 00010000 0001 01 1743 /run/li bvirt/monitor.sock\n";
        let path = named_socket(table, "1743");
        assert_eq!(path, Some("/run/li bvirt/monitor.sock".into()));
        assert_eq!(named_socket(table, "1742"), None);
        assert_eq!(named_socket(table, "99"), None);
    }

    #[test]
    fn a_process_without_a_monitor_is_told_how_it_gets_one() {
        let why = connect(std::process::id()).unwrap_err().to_string();
        assert!(why.contains("-qmp unix:PATH"), "{why}");
        assert!(matches!(connect(u32::MAX), Err(MonitorError::Unseen(..))));
    }
}
