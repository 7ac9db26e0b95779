//! Has a process write down what it keeps in memory of a node, tables included, so that its file alone shows all.

use serde_json::{Value, json};

use super::export::{self, ExportError};
use super::qmp::{Qmp, QmpError};

/// Flushes a node. An emulator is told to by its monitor for people; a storage daemon has none, and is asked as an
/// NBD server.
///
/// # Errors
/// [`ExportError`]; what is in memory may not be in the file then.
pub fn node(qmp: &mut Qmp, pid: u32, node: &str) -> Result<(), ExportError> {
    let line = format!("qemu-io {} flush", quoted(node));
    let asked = json!({ "command-line": line });
    match qmp.execute_within("human-monitor-command", asked, super::SWITCHING) {
        Ok(said) => match said.as_str().map(str::trim) {
            Some("") => Ok(()),
            _ => Err(refused(&said).into()),
        },
        Err(QmpError::NoCommand(_)) => export::with_node(qmp, pid, node, |_, nbd| {
            nbd.flush().map_err(ExportError::from)
        }),
        Err(error) => Err(error.into()),
    }
}

fn refused(said: &Value) -> QmpError {
    QmpError::Refused {
        command: "qemu-io flush".to_owned(),
        text: crate::host::printable(said.as_str().unwrap_or_default().trim()),
    }
}

/// A word of the monitor for people.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
}
