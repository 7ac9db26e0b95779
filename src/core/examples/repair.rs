//! Checks an image's tables and, with `--repair`, repairs them:
//!
//!     cargo run -p qanopy-core --example repair -- IMAGE [--repair]

#![allow(clippy::print_stdout)] // A program that prints what it found.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use qanopy_core::{
    Access, Check, Error, ImageFile, Lock, LockSet, NoProgress, RealHost, Repair, RepairExtent,
    Result, Verdict, check,
};

/// What a check finds, after the repair if there is to be one.
pub(crate) fn examine(image: &Path, mend: bool) -> Result<Check> {
    let access = if mend {
        Access::ReadWrite
    } else {
        Access::Read
    };
    let file = ImageFile::open(&RealHost, image, access)?;
    if !mend {
        return check(&file, &NoProgress);
    }
    let lock = file
        .host_file()
        .lock(LockSet::ReadWrite)
        .map_err(|error| Error::io(image, "lock", error))?;
    if let Lock::Busy(_) = lock {
        let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
        return Err(Error::io(image, "lock", busy));
    }
    // Nothing is written before all of it is worked out and checked; one write of the header switches over.
    let repair = Repair::work_out(&file, RepairExtent::All, &NoProgress)?;
    if repair.is_needed() {
        repair.commit(&NoProgress)?;
    }
    check(&file, &NoProgress)
}

#[allow(dead_code)] // The tests call the function above.
fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let Some(image) = arguments.first().map(PathBuf::from) else {
        println!("usage: repair IMAGE [--repair]");
        return ExitCode::from(2);
    };
    match examine(&image, arguments.iter().any(|word| word == "--repair")) {
        Ok(found) => {
            found
                .findings
                .iter()
                .for_each(|finding| println!("{}", finding.text));
            println!("{} corruptions, {} leaks", found.corruptions, found.leaks);
            if found.verdict() == Verdict::Clean {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
