//! Writes what an overlay holds into the image it is built on. Both are locked as QEMU locks them; whatever else is
//! built on the base shows other content afterwards, and nobody is asked:
//!
//!     cargo run -p qanopy-core --example commit -- OVERLAY

#![allow(clippy::print_stdout)] // A program that prints what it found.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use qanopy_core::{
    Access, Chain, Error, ErrorKind, Format, Host as _, Layer, Lock, LockSet, NoProgress, RealHost,
    Result, Root, State, Target,
};

/// The bytes that the base received.
pub(crate) fn commit(overlay: &Path) -> Result<u64> {
    let host = &RealHost;
    let chain = Chain::open(host, overlay, None, &|_| true)?;
    let below = chain.below();
    let Some(base) = below.layers().first() else {
        let text = "it is built on nothing".to_owned();
        return Err(Error::new(overlay, ErrorKind::Backing(text)));
    };
    let format = match **base {
        Layer::Qcow2(_) => Format::Qcow2,
        Layer::Raw(_) => Format::Raw,
    };
    // The guards live until the end of this function.
    let mut guards = Vec::new();
    for path in [overlay, base.path()] {
        let open = |error| Error::io(path, "open for writing", error);
        let file = host.open(path, Access::ReadWrite).map_err(open)?;
        let lock = |error| Error::io(path, "lock", error);
        match file.lock(LockSet::ReadWrite).map_err(lock)? {
            Lock::Held(guard) => guards.push(guard),
            Lock::Unsupported => {}
            Lock::Busy(_) => {
                let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
                return Err(Error::io(path, "lock", busy));
            }
        }
    }
    let size = chain.virtual_size();
    let path = base.path();
    let mut target = Target::open(
        host,
        path,
        &format,
        below.clone(),
        Root::Active,
        &NoProgress,
    )?;
    target.begin()?;
    target.grow(size)?;
    let mut received = 0;
    // What the uppermost layer decides, and only that.
    for run in chain.runs(1, 0, size) {
        let run = run?;
        let layer = run.layer.and_then(|index| chain.layers().get(index));
        match layer {
            _ if run.extent.state == State::Unallocated => continue,
            Some(layer) => target.write_from(layer, run.extent)?,
            None => target.write_zeros(run.extent.start, run.extent.len)?,
        }
        received += run.extent.len;
    }
    // Until here a crash leaves every byte of the base old or new; now all of it is on stable storage.
    target.finish()?;
    Ok(received)
}

#[allow(dead_code)] // The tests call the function above.
fn main() -> ExitCode {
    let Some(overlay) = std::env::args_os().nth(1).map(PathBuf::from) else {
        println!("usage: commit OVERLAY");
        return ExitCode::from(2);
    };
    match commit(&overlay) {
        Ok(bytes) => {
            println!("{bytes} bytes were written into the base");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
