//! Which layer of a chain decides each run of the guest's bytes, as `qemu-img map` tells it:
//!
//!     cargo run -p qanopy-core --example map -- IMAGE

#![allow(clippy::print_stdout)] // A program that prints what it found.

use std::path::PathBuf;
use std::process::ExitCode;

use qanopy_core::{Chain, RealHost, Result};

/// One line for each run: guest offset and length in bytes, what is there, the layer's file.
pub(crate) fn map(image: &std::path::Path) -> Result<Vec<String>> {
    // Every file that a header names may be followed.
    let chain = Chain::open(&RealHost, image, None, &|_| true)?;
    let line = |run: qanopy_core::MapRun| {
        let layer = chain.layers().get(run.layer);
        let name = layer.map_or_else(String::new, |layer| layer.path().display().to_string());
        format!(
            "{:#x} {:#x} {} {name}",
            run.start,
            run.len,
            run.state.name()
        )
    };
    chain
        .map(0, chain.virtual_size())
        .map(|run| run.map(line))
        .collect()
}

#[allow(dead_code)] // The tests call the function above.
fn main() -> ExitCode {
    let Some(image) = std::env::args_os().nth(1).map(PathBuf::from) else {
        println!("usage: map IMAGE");
        return ExitCode::from(2);
    };
    match map(&image) {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
