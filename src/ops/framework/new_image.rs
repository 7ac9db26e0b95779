//! What every operation that makes a qcow2 image asks of the options for it: that they can be had
//! together, that its files can be made where they are wanted, how much room they take, how qemu-img
//! would be told.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::host::printable;
use crate::image::{
    self, Compression, CompressionLevel, Format, NewDataFile, NewEncryption, NewLen, Preallocation,
};
use crate::units::size;

use super::format::name;
use super::note::NoteKind;
use super::options::{EncryptionOption, ImageOptions};
use super::plan::{EffectKind, Plan};
use super::refusal::RefusalKind;
use super::remedy::Remedy;
use super::{backing_name, new_file};

/// A new image that can be made.
pub(in crate::ops) struct NewImage {
    /// How to make it.
    pub(in crate::ops) options: image::CreateOptions,
    /// How large it is while it holds nothing.
    pub(in crate::ops) len: NewLen,
}

/// Refuses options that cannot be had together, or not for this file, whose name is not looked at.
pub(in crate::ops) fn options(
    plan: &mut Plan,
    new: &Path,
    disk: u64,
    backing: Option<(OsString, Format)>,
    asked: &ImageOptions,
) -> Option<NewImage> {
    let data_file = match &asked.data_file {
        Some(data) => match backing_name::of_new_file(plan.host(), new, &data.path, data.style) {
            Ok(recorded) => Some(NewDataFile {
                path: data.path.clone(),
                name: recorded,
                raw: data.raw,
            }),
            Err(sentence) => {
                plan.refuse(RefusalKind::BackingName, sentence);
                return None;
            }
        },
        None => None,
    };
    let encryption = match asked.encryption {
        Some(EncryptionOption { iter_time_ms }) => {
            let passphrase = plan.context().keys.for_new(new);
            let Some(passphrase) = passphrase.filter(|one| !one.bytes().is_empty()) else {
                let text = format!(
                    "{} is to be encrypted, but no passphrase was given for it, an empty one, or two that differ",
                    name(new)
                );
                let give = Remedy::Passphrase(new.to_path_buf());
                plan.refuse_unless(RefusalKind::PassphraseNeeded, text, give);
                return None;
            };
            if passphrase.bytes().ends_with(b"\n") {
                plan.warn(NoteKind::Passphrase,
                    "the passphrase ends with a line feed, which is a part of it, as it is for QEMU (printf \
                     writes a file without)",
                );
            }
            Some(NewEncryption {
                passphrase,
                iter_time_ms,
            })
        }
        None => None,
    };
    let options = image::CreateOptions {
        size: disk,
        backing,
        data_file,
        encryption,
        format: asked.format,
    };
    match image::new_len(new, &options) {
        Ok(len) => Some(NewImage { options, len }),
        Err(error) => {
            plan.refuse(
                RefusalKind::Invalid,
                format!("{} {}", name(new), error.kind),
            );
            None
        }
    }
}

/// The same; has the names stay free as well, and says what room the files take with `content` bytes of guest data in
/// them.
pub(in crate::ops) fn check(
    plan: &mut Plan,
    new: &Path,
    disk: u64,
    backing: Option<(OsString, Format)>,
    asked: &ImageOptions,
    content: u64,
) -> Option<NewImage> {
    let NewImage { options, len } = options(plan, new, disk, backing, asked)?;
    // What is reserved already is not needed twice.
    let reserves = matches!(
        asked.format.preallocation,
        Preallocation::Falloc | Preallocation::Full
    );
    let content = if reserves { 0 } else { content };
    let (in_image, in_data) = match &options.data_file {
        Some(_) => (0, content),
        None => (content, 0),
    };
    new_file::check(plan, new, len.image_blocks.saturating_add(in_image))?;
    if let Some(data) = &options.data_file {
        new_file::check(plan, &data.path, len.data_blocks.saturating_add(in_data))?;
    }
    Some(NewImage { options, len })
}

/// Says what encryption means, if the image is to be encrypted.
pub(in crate::ops) fn describe_encryption(plan: &mut Plan, made: &NewImage) {
    if made.options.encryption.is_some() {
        plan.note(NoteKind::Secrecy,
            "its content is encrypted (LUKS, aes-256-xts): without the passphrase nobody reads it again, \
             and nothing here recovers a lost one"
                .to_owned(),
        );
        if made.options.format.preallocation == Preallocation::Metadata
            && made.options.format.old_version
        {
            plan.note(NoteKind::Space,
                "with compat 0.10 zeros of an encrypted image have to be written: the whole disk takes room \
                 at once"
                    .to_owned(),
            );
        }
    }
}

/// What qemu-img needs for it before its options.
pub(in crate::ops) fn qemu_secret(options: &image::CreateOptions) -> Vec<OsString> {
    match options.encryption {
        Some(_) => vec![
            "--object".into(),
            "secret,id=passphrase,file=PASSPHRASE-FILE".into(),
        ],
        None => Vec::new(),
    }
}

/// Says that the data file appears, if there is to be one.
pub(in crate::ops) fn describe_data_file(plan: &mut Plan, made: &NewImage) {
    let Some(data) = &made.options.data_file else {
        return;
    };
    let kind = if data.raw {
        ", at every time a raw image of it"
    } else {
        ""
    };
    plan.effect(
        EffectKind::Creates,
        &data.path,
        Some(made.len.data_blocks),
        format!(
            "{}, to hold the data of the disk{kind}",
            size(made.len.data_blocks)
        ),
    );
    plan.note(
        NoteKind::DataFile,
        format!(
            "an image with a data file is moved and copied with it: its header names {}",
            printable(&data.name)
        ),
    );
    if Path::new(&data.name).is_relative() {
        plan.warn(NoteKind::DataFile,
            "QEMU takes a relative data-file name from the working directory of its process, not from the image's \
             folder: started elsewhere it does not find this one"
                .to_owned(),
        );
    }
}

/// The options as qemu-img's `-o` takes them, as far as they are not its defaults; none if all are.
pub(in crate::ops) fn qemu_options(options: &image::CreateOptions) -> Option<OsString> {
    let format = &options.format;
    let default = image::Qcow2Options::default();
    let mut words: Vec<String> = Vec::new();
    let mut say = |is: bool, text: String| {
        if is {
            words.push(text);
        }
    };
    say(format.old_version, "compat=0.10".to_owned());
    say(
        format.cluster_bits != default.cluster_bits,
        format!(
            "cluster_size={}",
            1u64.checked_shl(format.cluster_bits).unwrap_or(0)
        ),
    );
    say(format.extended_l2, "extended_l2=on".to_owned());
    say(
        format.refcount_order != default.refcount_order,
        format!(
            "refcount_bits={}",
            1u64.checked_shl(format.refcount_order).unwrap_or(0)
        ),
    );
    say(format.lazy_refcounts, "lazy_refcounts=on".to_owned());
    say(
        format.compression != Compression::Zlib,
        format!("compression_type={}", format.compression.name()),
    );
    say(
        format.preallocation != Preallocation::Off,
        format!("preallocation={}", format.preallocation.name()),
    );
    if let Some(encryption) = &options.encryption {
        words.push("encrypt.format=luks,encrypt.key-secret=passphrase".to_owned());
        words.push(format!("encrypt.iter-time={}", encryption.iter_time_ms));
    }
    let mut all = OsString::from(words.join(","));
    if let Some(data) = &options.data_file {
        if !all.is_empty() {
            all.push(",");
        }
        all.push("data_file=");
        // There a comma ends a value unless it is doubled.
        all.push(doubled_commas(data.path.as_os_str()));
        if data.raw {
            all.push(",data_file_raw=on");
        }
    }
    (!all.is_empty()).then_some(all)
}

/// Refuses for a raw image what only a qcow2 image has.
pub(in crate::ops) fn refuse_metadata_of_raw(plan: &mut Plan, preallocation: Preallocation) {
    if preallocation == Preallocation::Metadata {
        plan.refuse(
            RefusalKind::Invalid,
            "a raw image has no metadata to preallocate: off, falloc or full",
        );
    }
}

/// Refuses a compression level that the codec does not have.
pub(in crate::ops) fn refuse_level(plan: &mut Plan, kind: Compression, level: CompressionLevel) {
    let most = match kind {
        Compression::Zlib => 9,
        Compression::Zstd => 22,
    };
    if let CompressionLevel::Level(level) = level
        && !(1..=most).contains(&level)
    {
        plan.refuse(
            RefusalKind::Invalid,
            format!(
                "{} has compression levels from 1 to {most}, not {level}",
                kind.name()
            ),
        );
    }
}

/// Says what a compressed image becomes at most, and so where that is more than is free.
pub(in crate::ops) fn say_of_compression(plan: &mut Plan, new: &Path, at_most: u64) {
    let free = plan.space.first().map(|need| need.available);
    let text = format!(
        "{} becomes {} at most; how much less is found out by compressing",
        name(new),
        size(at_most)
    );
    match free {
        Some(free) if free < at_most => plan.warn(
            NoteKind::Space,
            format!(
                "{text}. {} are free: should that not do, nothing is left behind",
                size(free)
            ),
        ),
        _ => plan.note(NoteKind::Space, text),
    }
}

fn doubled_commas(name: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(name.len());
    for &byte in name.as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{CreateOptions, Qcow2Options};

    #[test]
    fn only_what_is_no_default_is_told_to_qemu_img() {
        let mut options = CreateOptions::new(0);
        assert_eq!(qemu_options(&options), None);
        options.format = Qcow2Options {
            cluster_bits: 21,
            refcount_order: 0,
            extended_l2: true,
            old_version: false,
            lazy_refcounts: true,
            compression: Compression::Zstd,
            preallocation: Preallocation::Falloc,
        };
        options.data_file = Some(NewDataFile {
            path: "a,b".into(),
            name: "a,b".into(),
            raw: true,
        });
        assert_eq!(
            qemu_options(&options).unwrap(),
            "cluster_size=2097152,extended_l2=on,refcount_bits=1,lazy_refcounts=on,\
             compression_type=zstd,preallocation=falloc,data_file=a,,b,data_file_raw=on"
        );
    }
}
