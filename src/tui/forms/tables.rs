//! Forms for what changes in an image's header and tables while its guest sees the same.

use std::ffi::{OsStr, OsString};

use crate::forest::Node;
use crate::image::{Amendment, CompressionType, Version};
use crate::ops::{
    AmendImage, BitmapAction, ChangeBitmap, ChangeKeySlot, EncryptionOption, KeySlotAction, Request,
};
use crate::tui::dialogs::form::{Choice, Field, FieldName as F, Form};
use crate::units;

const VERSION: Choice<Option<Version>> = Choice::new(
    F::Compat,
    ("as it is", None),
    &[("1.1", Some(Version::V3)), ("0.10", Some(Version::V2))],
);

/// Bits of a reference count, as powers of two.
const REFCOUNT_ORDER: Choice<Option<u32>> = Choice::new(
    F::Refcounts,
    ("as it is", None),
    &[
        ("1", Some(0)),
        ("2", Some(1)),
        ("4", Some(2)),
        ("8", Some(3)),
        ("16", Some(4)),
        ("32", Some(5)),
        ("64", Some(6)),
    ],
);

const LAZY: Choice<Option<bool>> = Choice::new(
    F::Lazy,
    ("as it is", None),
    &[("on", Some(true)), ("off", Some(false))],
);

const CODEC: Choice<Option<CompressionType>> = Choice::new(
    F::Codec,
    ("as it is", None),
    &[
        ("zlib", Some(CompressionType::Zlib)),
        ("zstd", Some(CompressionType::Zstd)),
    ],
);

/// Another version, refcount width or feature.
pub(super) fn amend(node: &Node) -> Form {
    let name = units::file_name(&node.path);
    let now = node.info().map_or_else(String::new, |info| {
        format!(
            ", now version {} with {}-bit refcounts",
            info.version, info.refcount_bits
        )
    });
    Form::new(
        format!("Amend {name}{now}"),
        &node.path,
        vec![
            Field::choice(
                &VERSION,
                "the version of the format: 1.1 (3), or 0.10 (2) for QEMU before 1.1",
            ),
            Field::choice(&REFCOUNT_ORDER, "bits of a reference count"),
            Field::choice(
                &LAZY,
                "on lets reference counts be written late: faster, with a repair after a crash",
            ),
            Field::choice(
                &CODEC,
                "algorithm of compressed clusters; only where nothing is compressed",
            ),
        ],
        false,
        |form| {
            let amendment = Amendment {
                version: form.chosen(&VERSION),
                refcount_order: form.chosen(&REFCOUNT_ORDER),
                lazy_refcounts: form.chosen(&LAZY),
                compression: form.chosen(&CODEC),
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

/// What becomes of the key slots.
#[derive(Debug, Clone, Copy, PartialEq)]
enum SlotChange {
    Add,
    Change,
    Erase,
}

const SLOT_CHANGE: Choice<SlotChange> = Choice::new(
    F::What,
    ("add", SlotChange::Add),
    &[("change", SlotChange::Change), ("erase", SlotChange::Erase)],
);

/// Those that take a new passphrase.
const GIVES: &[SlotChange] = &[SlotChange::Add, SlotChange::Change];

/// Other passphrases of an encrypted image. The one it opens to now is asked for when that is planned.
pub(super) fn key_slots(node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    let secret = |name, help| Field::secret(name, help).only_where(&SLOT_CHANGE, GIVES);
    Form::new(
        format!("Keyslot: add, change or erase a passphrase of {name}"),
        image,
        vec![
            Field::choice(
                &SLOT_CHANGE,
                "add: a passphrase besides; change: instead of the one you give; erase: one less",
            ),
            Field::text(F::Slot, "", "its number, 0 to 7; empty: chosen for you")
                .only_where(&SLOT_CHANGE, GIVES),
            Field::text(F::Erased, "", "the slot that is erased, 0 to 7")
                .only_where(&SLOT_CHANGE, &[SlotChange::Erase]),
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
            let action = match form.chosen(&SLOT_CHANGE) {
                SlotChange::Add => KeySlotAction::Add {
                    slot: slot(form.text(F::Slot))?,
                    iter_time_ms,
                },
                SlotChange::Change => KeySlotAction::Change {
                    slot: slot(form.text(F::Slot))?,
                    into: None,
                    iter_time_ms,
                },
                SlotChange::Erase => KeySlotAction::Erase {
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

const RECORDS: Choice<bool> = Choice::new(F::Records, ("yes", true), &[("no", false)]);

/// A new dirty bitmap.
pub(super) fn add_bitmap(node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    Form::new(
        format!("Bitmap: add one to {name}"),
        image,
        vec![
            Field::text(F::Name, "", "what it is called, 1 to 1023 bytes"),
            Field::text(
                F::Granularity,
                "",
                "guest bytes per bit, such as 64K; empty for QEMU's choice",
            ),
            Field::choice(
                &RECORDS,
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
                        enabled: form.chosen(&RECORDS),
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
        "Bitmap: merge another one into this".to_owned(),
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
