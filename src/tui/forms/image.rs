//! The fields that ask how a new qcow2 image is made, wherever one is: encryption, and behind one choice
//! every option of its format, by qemu-img's names.

use crate::image::{Compression, Format, Preallocation};
use crate::ops::{BackingStyle, DataFileOption, EncryptionOption, ImageOptions};
use crate::tui::dialogs::form::{Choice, Field, FieldName as F, Form};
use crate::units;

const ENCRYPT: Choice<bool> = Choice::new(F::Encrypt, ("no", false), &[("luks", true)]);

/// Whether the options below are asked for.
const ALL_OPTIONS: Choice<bool> =
    Choice::new(F::Options, ("as usual", false), &[("all of them", true)]);

/// Cluster sizes, in bits: the usual one, then the others from the smallest on.
const CLUSTER_BITS: Choice<u32> = Choice::new(
    F::Cluster,
    ("64K", 16),
    &[
        ("512", 9),
        ("1K", 10),
        ("2K", 11),
        ("4K", 12),
        ("8K", 13),
        ("16K", 14),
        ("32K", 15),
        ("128K", 17),
        ("256K", 18),
        ("512K", 19),
        ("1M", 20),
        ("2M", 21),
    ],
);

const SUBCLUSTER: Choice<bool> = Choice::new(F::Subcluster, ("no", false), &[("yes", true)]);
const OLD_VERSION: Choice<bool> = Choice::new(F::Compat, ("1.1", false), &[("0.10", true)]);

/// Bits of a reference count, as powers of two.
const REFCOUNT_ORDER: Choice<u32> = Choice::new(
    F::Refcounts,
    ("16", 4),
    &[("1", 0), ("2", 1), ("4", 2), ("8", 3), ("32", 5), ("64", 6)],
);

const LAZY: Choice<bool> = Choice::new(F::Lazy, ("off", false), &[("on", true)]);
const CODEC: Choice<Compression> = Choice::new(
    F::Codec,
    ("zlib", Compression::Zlib),
    &[("zstd", Compression::Zstd)],
);
const DATA_RAW: Choice<bool> = Choice::new(F::DataRaw, ("no", false), &[("yes", true)]);

/// Whether, and how, what is copied is compressed.
pub(super) const COMPRESS: Choice<Option<Compression>> = Choice::new(
    F::Compress,
    ("no", None),
    &[
        ("zlib", Some(Compression::Zlib)),
        ("zstd", Some(Compression::Zstd)),
    ],
);

/// What is reserved in advance for a qcow2 image.
pub(super) const RESERVE: Choice<Preallocation> = Choice::new(
    F::Reserve,
    ("nothing", Preallocation::Off),
    &[
        ("metadata", Preallocation::Metadata),
        ("falloc", Preallocation::Falloc),
        ("full", Preallocation::Full),
    ],
);

/// What is reserved in advance for a raw image.
pub(super) const RESERVE_RAW: Choice<Preallocation> = Choice::new(
    F::ReserveRaw,
    ("nothing", Preallocation::Off),
    &[
        ("falloc", Preallocation::Falloc),
        ("full", Preallocation::Full),
    ],
);

/// The fields.
pub(super) fn fields() -> Vec<Field> {
    let optional = |field: Field| field.only_where(&ALL_OPTIONS, &[true]);
    let secret = |name, help| Field::secret(name, help).only_where(&ENCRYPT, &[true]);
    vec![
        Field::choice(
            &ENCRYPT,
            "luks: without its passphrase nobody reads it, and nothing recovers a lost one",
        ),
        secret(
            F::Passphrase,
            "what opens the new image; it is kept nowhere",
        ),
        secret(
            F::OnceMore,
            "the same again: mistyped, it would be lost with all that is written under it",
        ),
        Field::choice(
            &ALL_OPTIONS,
            "all of them: cluster size, version, reserved room, a data file and more",
        ),
        optional(Field::choice(
            &CLUSTER_BITS,
            "bytes a cluster: larger ones need less metadata and copy more",
        )),
        optional(Field::choice(
            &SUBCLUSTER,
            "yes: each cluster has 32 parts that are allocated by themselves (QEMU 5.2)",
        )),
        optional(Field::choice(
            &OLD_VERSION,
            "the version of the format: 1.1 (3), or 0.10 (2) for QEMU before 1.1",
        )),
        optional(Field::choice(&REFCOUNT_ORDER, "bits of a reference count")),
        optional(Field::choice(
            &LAZY,
            "on lets reference counts be written late: faster, with a repair after a crash",
        )),
        optional(Field::choice(
            &CODEC,
            "algorithm of clusters that are compressed later; zstd needs QEMU 5.1 or newer",
        )),
        optional(reserve()),
        optional(Field::path(
            F::DataFile,
            "",
            "a further file to create, which holds the guest's data; empty: the image does",
        )),
        optional(Field::choice(
            &DATA_RAW,
            "yes: the data file is at every time a raw image of the disk",
        )),
    ]
}

/// What is reserved in advance for a qcow2 image.
pub(super) fn reserve() -> Field {
    Field::choice(
        &RESERVE,
        "what is reserved in advance: places, blocks of the filesystem, blocks full of zeros",
    )
}

/// What is reserved in advance for a raw image.
pub(super) fn reserve_of_raw() -> Field {
    Field::choice(
        &RESERVE_RAW,
        "what is reserved in advance: blocks of the filesystem, or blocks full of zeros",
    )
}

/// Has the name end as the format is called: what is called like a qcow2 image is taken for one.
pub(super) fn name_by_format(form: &mut Form, format: &Format) {
    let (from, to) = match format {
        Format::Qcow2 => (".raw", ".qcow2"),
        Format::Raw => (".qcow2", ".raw"),
        Format::Other(_) => return,
    };
    if let Some(stem) = form.text(F::Name).strip_suffix(from) {
        let text = format!("{stem}{to}");
        form.set(F::Name, text);
    }
}

/// The [`fields`] for several images at once, which cannot share a data file.
pub(super) fn fields_of_each() -> Vec<Field> {
    let mut fields = fields();
    fields.retain(|field| !matches!(field.name, F::DataFile | F::DataRaw));
    fields
}

/// What the fields say.
pub(super) fn options(form: &Form) -> ImageOptions {
    let mut image = ImageOptions {
        encryption: form.chosen(&ENCRYPT).then(EncryptionOption::default),
        data_file: form.path_if_any(F::DataFile).map(|path| DataFileOption {
            path,
            raw: form.chosen(&DATA_RAW),
            style: BackingStyle::Absolute,
        }),
        ..ImageOptions::default()
    };
    let format = &mut image.format;
    format.cluster_bits = form.chosen(&CLUSTER_BITS);
    format.extended_l2 = form.chosen(&SUBCLUSTER);
    format.old_version = form.chosen(&OLD_VERSION);
    format.refcount_order = form.chosen(&REFCOUNT_ORDER);
    format.lazy_refcounts = form.chosen(&LAZY);
    format.compression = form.chosen(&CODEC);
    format.preallocation = form.chosen(&RESERVE);
    image
}

/// The fields where they are for an image that may not be a qcow2 image: they are there only where that is
/// chosen.
pub(super) fn only_for_qcow2<T: Clone + PartialEq>(
    fields: Vec<Field>,
    choice: &Choice<T>,
    qcow2: T,
) -> impl Iterator<Item = Field> {
    let qcow2 = [qcow2];
    fields.into_iter().map(move |field| match field.name {
        // The others hang on these two.
        F::Encrypt | F::Options => field.only_where(choice, &qcow2),
        _ => field,
    })
}

/// A size that is typed.
pub(super) fn size(form: &Form, field: F) -> Result<u64, String> {
    units::parse_size(form.text(field))
}
