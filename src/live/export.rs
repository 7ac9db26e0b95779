//! A node for reading, on a socket of its own: for the time of a question the process is an NBD server.

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use serde_json::json;

use super::monitors::nbd_socket;
use super::nbd::Nbd;
use super::qmp::{Qmp, QmpError};

/// Why a node cannot be read through its process.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// QEMU does not export it.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// What is exported cannot be read.
    #[error("what it exports cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Has the process export the node for as long as `ask` takes.
///
/// # Errors
/// [`ExportError`]; also where the process became an NBD server by its monitor, so that nobody knows the address here.
pub fn with_node<T>(
    qmp: &mut Qmp,
    pid: u32,
    node: &str,
    ask: impl FnOnce(&mut Qmp, &mut Nbd) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    let (socket, own) = match nbd_socket(pid) {
        Some(socket) => (socket, None),
        None => {
            let dir = tempfile::Builder::new().prefix("qanopy-").tempdir()?;
            give_to(dir.path(), pid)?;
            let socket = dir.path().join("nbd");
            let path = socket
                .to_str()
                .ok_or_else(|| QmpError::lacks("a name for a socket"))?;
            let address = json!({ "type": "unix", "data": { "path": path } });
            qmp.execute(
                "nbd-server-start",
                json!({ "addr": address, "max-connections": 1 }),
            )?;
            (socket, Some(dir))
        }
    };
    // One that was left by another process of ours has another name.
    let name = format!("qanopy-export-{}", std::process::id());
    let export = json!({
        "type": "nbd", "id": name, "node-name": node, "name": name, "writable": false,
    });
    let added = qmp.execute("block-export-add", export);
    let asked = added.map_err(ExportError::from).and_then(|_| {
        let mut nbd = Nbd::open(&socket, &name)?;
        ask(qmp, &mut nbd)
    });
    // Whatever came of it, nothing of it stays.
    let stopped = match own {
        Some(_) => qmp.execute("nbd-server-stop", json!({})),
        None => qmp.execute("block-export-del", json!({ "id": name, "mode": "hard" })),
    };
    let value = asked?;
    stopped?;
    Ok(value)
}

/// The process makes its socket in the folder, and may be another user's.
fn give_to(dir: &Path, pid: u32) -> io::Result<()> {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let uid = status.lines().find_map(|line| {
        // Real, effective, saved, of the filesystem.
        line.strip_prefix("Uid:")?
            .split_whitespace()
            .nth(3)?
            .parse()
            .ok()
    });
    match uid {
        Some(uid) if uid != crate::host::effective_user() => chown(dir, Some(uid), None),
        _ => Ok(()),
    }
}
