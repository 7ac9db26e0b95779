//! `qanopy read`: files of this machine for another qanopy, which looks into images from there. It is started by the
//! agent of its machine, and changes nothing.

use std::sync::atomic::AtomicBool;

use crate::fleet::{frames_out, person, serve_files};
use crate::host::RealHost;

use super::exit::Stop;

/// Answers whoever is at the other end until they ask no more.
pub(super) fn run() -> anyhow::Result<()> {
    let person = person().ok_or_else(|| {
        let text = "it is what another qanopy starts, to look into images from there";
        Stop::Usage(text.to_owned())
    })?;
    // It holds nothing that a signal would leave half done.
    let stop = AtomicBool::new(false);
    serve_files(&RealHost, &mut person.input(&stop), &mut frames_out()?)?;
    Ok(())
}
