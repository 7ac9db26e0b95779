//! `qanopy holders`: who uses files of shared storage on this machine, for a plan that another one makes. Nobody types
//! it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::Arc;

use clap::Args;

use crate::fleet::PeerQuery;
use crate::forest::Index;
use crate::host::{Host, RealHost};
use crate::ops::holders_here;

use super::exit::Stop;
use super::options::Globals;

#[derive(Debug, Args)]
pub(super) struct HoldersArgs {
    /// Tells the machine that asks from others
    #[arg(long, default_value = "")]
    machine: String,
    /// The files, as the storage names them: nas:/export/a.qcow2
    #[arg(required = true)]
    names: Vec<OsString>,
}

/// Prints one line of JSON.
pub(super) fn run(globals: Globals, args: HoldersArgs) -> anyhow::Result<()> {
    if globals.json {
        let text = "holders prints a line for another qanopy: info has --json".to_owned();
        return Err(Stop::Usage(text).into());
    }
    let query = PeerQuery {
        machine: args.machine,
        files: args.names,
    };
    let host: Arc<dyn Host> = Arc::new(RealHost);
    let facts = holders_here(&host, Index::default_dir(), &query);
    let mut line = serde_json::to_vec(&facts)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}
