//! `qanopy amend`: another version, refcount width or feature of an image.

use std::os::unix::ffi::OsStringExt;

use crate::image::{Amendment, CompressionType, Version};
use crate::ops::Request;

use super::args::{AmendArgs, CompatArg, CompressionArg, Globals, Switch};
use super::carry_out::carry_out;
use super::look;
use super::out::Out;

/// Amends the image.
pub(super) fn run(out: &mut Out, globals: Globals, args: AmendArgs) -> anyhow::Result<()> {
    let context = look::around(std::slice::from_ref(&args.image), &[])?;
    let is_on = |switch: Switch| matches!(switch, Switch::On);
    let request = Request::Amend {
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
            data_file: args.data_file.map(OsStringExt::into_vec),
            data_file_raw: args.data_file_raw.map(is_on),
        },
    };
    carry_out(out, globals, args.consent, &context, &request)
}
