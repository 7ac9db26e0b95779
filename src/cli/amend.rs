//! `qanopy amend`: another version, refcount width or feature of an image.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::image::{Amendment, CompressionType, Version, is_described};
use crate::ops::{AmendImage, Request};

use super::args::{AmendArgs, CompatArg, CompressionArg, Globals, Switch};
use super::context;
use super::execute::execute;
use super::output::Out;

/// Amends the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: AmendArgs) -> anyhow::Result<()> {
    let context = context::around(std::slice::from_ref(&args.image), &[])?;
    let is_on = |switch: Switch| matches!(switch, Switch::On);
    let request = Request::Amend(AmendImage {
        image: args.image,
        amendment: Amendment {
            version: args.compat.map(|compat| match compat {
                CompatArg::Old => Version::V2,
                CompatArg::New => Version::V3,
            }),
            lazy_refcounts: args.lazy_refcounts.map(is_on),
            refcount_order: args.refcount_bits,
            compression: args.compression_type.map(|compression| match compression {
                CompressionArg::Zlib => CompressionType::Zlib,
                CompressionArg::Zstd => CompressionType::Zstd,
            }),
            data_file: args
                .data_file
                .map(|name| recorded(name, args.data_file_relative)),
            data_file_raw: args.data_file_raw.map(is_on),
        },
    });
    execute(out, globals, args.consent, &context, &request)
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
