//! Machines that run, asked and told what to do through the monitors of QEMU. Nothing here knows of a forest or a
//! plan: these are the words that are spoken with a process that has images open.
//!
//! | file | concept |
//! |---|---|
//! | `qmp` | a conversation with a monitor |
//! | `monitors` | where the monitor of a process is |
//! | `graph` | the nodes of a process, which file each is, who is built on whom |
//! | `job` | a job that goes on in a process |
//! | `snapshot`, `stream`, `commit`, `mirror` | what a process does with its images, each in the order that loses nothing |
//! | `flush` | what is in memory is written down |
//! | `socket` | connecting without a wait |
//! | `tuning` | how a node is open |
//! | `export` | a node for reading, for the time of a question |
//! | `agent` | the agent in the guest, which holds its filesystems still |
//! | `nbd` | reading a node as the process sees it |

mod agent;
pub mod commit;
mod export;
pub mod flush;
mod graph;
pub mod job;
pub mod mirror;
mod monitors;
mod nbd;
mod qmp;
pub mod snapshot;
mod socket;
pub mod stream;
mod tuning;

use std::time::Duration;

use serde_json::{Value, json};

pub use agent::{Agent, Frozen};
pub use export::{ExportError, with_node};
pub use graph::{BlockNode, Graph};
pub use monitors::{MonitorError, agent_socket, connect, is_libvirts};
pub use nbd::Nbd;
pub use qmp::{Qmp, QmpError};

/// What switches a disk waits for all requests of the guest that are on their way, and what flushes for the device.
const SWITCHING: Duration = Duration::from_secs(120);

/// Has the process close images that nothing reads any more: one that was opened by a name of its own stays open, and
/// locked, otherwise. What something reads still stays, as QEMU sees to.
pub fn close(qmp: &mut Qmp, nodes: &[BlockNode]) {
    for node in nodes {
        for name in [&node.name, &node.storage] {
            // Those without a name of their own are closed already.
            drop(qmp.execute("blockdev-del", json!({ "node-name": name })));
        }
    }
}

/// What the process tells of each of its nodes.
fn named_nodes(qmp: &mut Qmp) -> Result<Vec<Value>, QmpError> {
    job::dismiss_ended_streams(qmp)?;
    match qmp.execute("query-named-block-nodes", json!({ "flat": true }))? {
        Value::Array(nodes) => Ok(nodes),
        _ => Err(QmpError::lacks("the list of nodes")),
    }
}

/// What it told of one of them.
fn named_node<'n>(nodes: &'n [Value], name: &str) -> Result<&'n Value, QmpError> {
    let node = nodes.iter().find(|node| member(node, "node-name") == name);
    node.ok_or_else(|| QmpError::lacks("the node"))
}

/// A text in an answer; empty where there is none.
fn member<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
