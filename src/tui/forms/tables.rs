//! Forms for what changes in an image's header and tables while its guest sees the same.

use std::ffi::{OsStr, OsString};

use crate::forest::Node;
use crate::image::{Amendment, CompressionType, Version};
use crate::ops::{
    AmendImage, BitmapAction, ChangeBitmap, ChangeKeySlot, EncryptionOption, KeySlotAction, Request,
};
use crate::tui::dialogs::form::{Field, FieldName as F, Form};
use crate::units;

/// Another version, refcount width or feature.
pub(super) fn amend(node: &Node) -> Form {
    let name = units::file_name(&node.path);
    let now = node.facts().map_or_else(String::new, |facts| {
        format!(
            ", now version {} with {}-bit refcounts",
            facts.version, facts.refcount_bits
        )
    });
    Form::new(
        format!("Amend {name}{now}"),
        &node.path,
        vec![
            Field::choice(
                F::Compat,
                &["as it is", "1.1", "0.10"],
                "the version of the format: 1.1 (3), or 0.10 (2) for QEMU before 1.1",
            ),
            Field::choice(
                F::Refcounts,
                &["as it is", "1", "2", "4", "8", "16", "32", "64"],
                "bits of a reference count",
            ),
            Field::choice(
                F::Lazy,
                &["as it is", "on", "off"],
                "on lets reference counts be written late: faster, with a repair after a crash",
            ),
            Field::choice(
                F::Codec,
                &["as it is", "zlib", "zstd"],
                "algorithm of compressed clusters; only where nothing is compressed",
            ),
        ],
        false,
        |form| {
            let amendment = Amendment {
                version: match form.chosen(F::Compat) {
                    0 => None,
                    1 => Some(Version::V3),
                    _ => Some(Version::V2),
                },
                // The words go up by powers of two.
                refcount_order: form
                    .chosen(F::Refcounts)
                    .checked_sub(1)
                    .and_then(|order| u32::try_from(order).ok()),
                lazy_refcounts: match form.chosen(F::Lazy) {
                    0 => None,
                    on => Some(on == 1),
                },
                compression: match form.chosen(F::Codec) {
                    0 => None,
                    1 => Some(CompressionType::Zlib),
                    _ => Some(CompressionType::Zstd),
                },
                data_file: None,
                data_file_raw: None,
            };
            if amendment == Amendment::default() {
                return Err("nothing is to be another way: Space changes a line".to_owned());
            }
            Ok(Request::Amend(AmendImage {
                image: form.image.clone(),
                amendment,
            }))
        },
    )
}

/// Other passphrases of an encrypted image. The one it opens to now is asked for when that is planned.
pub(super) fn key_slots(node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    let secret = |name, help| Field::secret(name, help).only_where(F::What, &[0, 1]);
    Form::new(
        format!("Key slots of {name}"),
        image,
        vec![
            Field::choice(
                F::What,
                &["add", "change", "erase"],
                "add: a passphrase besides; change: instead of the one you give; erase: one less",
            ),
            Field::text(F::Slot, "", "its number, 0 to 7; empty: chosen for you")
                .only_where(F::What, &[0, 1]),
            Field::text(F::Erased, "", "the slot that is erased, 0 to 7").only_where(F::What, &[2]),
            secret(F::Passphrase, "the new one; it is kept nowhere"),
            secret(F::OnceMore, "the same again: mistyped, it opens nothing"),
        ],
        false,
        |form| {
            let slot = |text: &str| match text {
                "" => Ok(None),
                text => text
                    .parse::<usize>()
                    .map(Some)
                    .map_err(|_| "the slot is a number from 0 to 7".to_owned()),
            };
            let iter_time_ms = EncryptionOption::default().iter_time_ms;
            let action = match form.chosen(F::What) {
                0 => KeySlotAction::Add {
                    slot: slot(form.text(F::Slot))?,
                    iter_time_ms,
                },
                1 => KeySlotAction::Change {
                    slot: slot(form.text(F::Slot))?,
                    into: None,
                    iter_time_ms,
                },
                _ => KeySlotAction::Erase {
                    slot: slot(form.text(F::Erased))?
                        .ok_or_else(|| "say which slot is erased, 0 to 7".to_owned())?,
                },
            };
            Ok(Request::KeySlot(ChangeKeySlot {
                image: form.image.clone(),
                action,
            }))
        },
    )
}

/// A new dirty bitmap.
pub(super) fn add_bitmap(node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    Form::new(
        format!("Add a dirty bitmap to {name}"),
        image,
        vec![
            Field::text(F::Name, "", "what it is called, 1 to 1023 bytes"),
            Field::text(
                F::Granularity,
                "",
                "guest bytes per bit, such as 64K; empty for QEMU's choice",
            ),
            Field::choice(
                F::Records,
                &["yes", "no"],
                "yes: it records writes from the next start of a machine on",
            ),
        ],
        false,
        |form| {
            let granularity = match form.text(F::Granularity) {
                "" => None,
                text => Some(units::parse_size(text)?),
            };
            match form.text(F::Name) {
                "" => Err("the bitmap needs a name".to_owned()),
                name => Ok(Request::Bitmap(ChangeBitmap {
                    image: form.image.clone(),
                    bitmap: OsString::from(name),
                    action: BitmapAction::Add {
                        granularity,
                        enabled: form.chosen(F::Records) == 0,
                    },
                })),
            }
        },
    )
}

/// A dirty bitmap that takes up what another one says.
pub(super) fn merge_bitmap(node: &Node, bitmap: &OsStr) -> Form {
    let image = node.path.as_path();
    let name = bitmap.to_string_lossy().into_owned();
    Form::new(
        "Merge another dirty bitmap into this one".to_owned(),
        image,
        vec![
            Field::text(F::Bitmap, name, "the one that takes up what the other says"),
            Field::text(F::Source, "", "the other one's name"),
            Field::path(
                F::From,
                "",
                "the image that one is in; empty: the same image",
            ),
        ],
        false,
        |form| match form.text(F::Source) {
            "" => Err("the other bitmap needs a name".to_owned()),
            source => Ok(Request::Bitmap(ChangeBitmap {
                image: form.image.clone(),
                bitmap: OsString::from(form.text(F::Bitmap)),
                action: BitmapAction::Merge {
                    source: OsString::from(source),
                    from: form.path_if_any(F::From),
                },
            })),
        },
    )
}
