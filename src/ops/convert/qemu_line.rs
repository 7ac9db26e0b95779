//! The same conversion with qemu-img, where qemu-img can do it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::image;
use crate::image::{CarriedBitmaps, Format, Preallocation, SparseSize};
use crate::ops::framework::format::command;
use crate::ops::framework::new_image;
use crate::ops::{Convert, ConvertForm};

use super::source::Source;

/// qemu-img's options for how the sources are read.
pub(super) fn qemu_manner(request: &Convert) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if request.salvage {
        words.push("--salvage".into());
    }
    if request.sparse != SparseSize::default() {
        words.extend(["-S".into(), request.sparse.bytes().to_string().into()]);
    }
    words
}

/// The same by qemu-img, where it can: what it does with a base further down loses the layers
/// between.
pub(super) fn qemu_line(
    request: &Convert,
    sources: &[Source],
    made: Option<&image::CreateOptions>,
    backing: Option<(usize, &OsString, &Format)>,
) -> Option<String> {
    let mut words: Vec<OsString> = vec!["qemu-img".into(), "convert".into()];
    let format = &sources.first()?.format;
    if sources.iter().any(|source| source.format != *format) {
        return None;
    }
    words.extend(["-f".into(), format.name().into()]);
    if let Some(id) = &sources.first()?.snapshot {
        let mut selector = OsString::from("snapshot.id=");
        selector.push(std::ffi::OsStr::from_bytes(id));
        words.extend(["-l".into(), selector]);
    }
    words.extend(qemu_manner(request));
    match request.bitmaps {
        CarriedBitmaps::None => {}
        CarriedBitmaps::All => words.push("--bitmaps".into()),
        CarriedBitmaps::Sound => {
            words.extend(["--bitmaps".into(), "--skip-broken-bitmaps".into()]);
        }
    }
    match &request.form {
        ConvertForm::Existing => return None,
        ConvertForm::Raw { preallocation } => {
            words.extend(["-O".into(), "raw".into()]);
            if *preallocation != Preallocation::Off {
                let option = format!("preallocation={}", preallocation.name());
                words.extend(["-o".into(), option.into()]);
            }
        }
        ConvertForm::Qcow2 { compress, .. } => {
            words.extend(["-O".into(), "qcow2".into()]);
            if compress.is_some() {
                words.push("-c".into());
            }
            words.extend(made.map(new_image::qemu_secret).unwrap_or_default());
            if let Some(options) = made.and_then(new_image::qemu_options) {
                words.extend(["-o".into(), options]);
            }
            match backing {
                Some((1, name, format)) => {
                    words.extend(["-F".into(), format.name().into(), "-B".into(), name.clone()])
                }
                Some(_) => return None,
                None => {}
            }
        }
    }
    words.extend(
        sources
            .iter()
            .map(|source| source.path.as_os_str().to_owned()),
    );
    words.push(request.new.as_os_str().to_owned());
    Some(command(&words))
}
