//! `qanopy amend`: another version, refcount width or feature of an image.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::{ArgGroup, Args};

use crate::image::{Amendment, Compression, CompressionType, Version, is_described};
use crate::ops::{AmendImage, Request};

use super::context;
use super::execute::execute;
use super::new_image::{self, COMPRESSIONS, VERSIONS};
use super::options::{ConsentArgs, Globals, Words, one_of};
use super::output::Out;

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct AmendArgs {
    /// The image; its content stays the same
    image: PathBuf,
    /// Version of the format: 1.1, or 0.10 for QEMU before 1.1
    #[arg(long, value_parser = one_of(VERSIONS), value_name = "VERSION", group = "change")]
    compat: Option<Version>,
    /// Let reference counts be written late, or not
    #[arg(long, value_parser = one_of(SWITCH), value_name = "SWITCH", group = "change")]
    lazy_refcounts: Option<bool>,
    /// Width of a reference count, a power of two from 1 to 64
    #[arg(long, value_name = "BITS", value_parser = new_image::refcount_order, group = "change")]
    refcount_bits: Option<u32>,
    /// Algorithm of compressed clusters; only where nothing is compressed
    #[arg(long, value_parser = one_of(COMPRESSIONS), value_name = "TYPE", group = "change")]
    compression_type: Option<Compression>,
    /// The external data file, recorded with its whole path; the image must have one
    #[arg(long, value_name = "FILE", group = "change")]
    data_file: Option<OsString>,
    /// Record the data file's name as it is given; QEMU takes it from the folder it is started in
    #[arg(long, requires = "data_file")]
    data_file_relative: bool,
    /// Whether the data file is promised to be a raw image of the disk; can only be taken back
    #[arg(long, value_parser = one_of(SWITCH), value_name = "SWITCH", group = "change")]
    data_file_raw: Option<bool>,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// On or off.
const SWITCH: &Words<bool> = &[("on", "On", true), ("off", "Off", false)];

impl AmendArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> anyhow::Result<Request> {
        let compression = |wanted| match wanted {
            Compression::Zlib => CompressionType::Zlib,
            Compression::Zstd => CompressionType::Zstd,
        };
        let recorded = |name| recorded(name, self.data_file_relative);
        Ok(Request::Amend(AmendImage {
            image: self.image.clone(),
            amendment: Amendment {
                version: self.compat,
                lazy_refcounts: self.lazy_refcounts,
                refcount_order: self.refcount_bits,
                compression: self.compression_type.map(compression),
                data_file: self.data_file.clone().map(recorded),
                data_file_raw: self.data_file_raw,
            },
        }))
    }
}

/// Amends the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: &AmendArgs) -> anyhow::Result<()> {
    let context = context::around(std::slice::from_ref(&args.image), &[])?;
    execute(out, globals, args.consent, &context, &args.request()?)
}

/// A data file's name as it is recorded: where the file is as seen from here, unless the words themselves are
/// asked for.
fn recorded(name: OsString, as_given: bool) -> Vec<u8> {
    if as_given || is_described(&name) {
        return name.into_vec();
    }
    let place = std::path::absolute(&name).map(PathBuf::into_os_string);
    place.unwrap_or(name).into_vec()
}
