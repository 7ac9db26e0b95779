//! The fields that ask how a new qcow2 image is made, wherever one is: encryption, and behind one choice
//! every option of its format, by qemu-img's names.

use crate::image::{Compression, Preallocation};
use crate::ops::{BackingStyle, DataFileOption, EncryptionOption, ImageOptions};
use crate::tui::dialogs::form::{Field, FieldName as F, Form, Visibility};
use crate::units;

/// Cluster sizes: the usual one, then the others from the smallest on.
const CLUSTERS: [(&str, u32); 13] = [
    ("64K", 16),
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
];

/// The words of [`CLUSTERS`], as a field has them.
const CLUSTER_WORDS: &[&str] = &{
    let mut words = [""; CLUSTERS.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = CLUSTERS[at].0;
        at += 1;
    }
    words
};

/// The fields.
pub(super) fn fields() -> Vec<Field> {
    let optional = |field: Field| field.only_where(F::Options, &[1]);
    let secret = |name, help| Field::secret(name, help).only_where(F::Encrypt, &[1]);
    vec![
        Field::choice(
            F::Encrypt,
            &["no", "luks"],
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
            F::Options,
            &["as usual", "all of them"],
            "all of them: cluster size, version, reserved room, a data file and more",
        ),
        optional(Field::choice(
            F::Cluster,
            CLUSTER_WORDS,
            "bytes a cluster: larger ones need less metadata and copy more",
        )),
        optional(Field::choice(
            F::Subcluster,
            &["no", "yes"],
            "yes: each cluster has 32 parts that are allocated by themselves (QEMU 5.2)",
        )),
        optional(Field::choice(
            F::Compat,
            &["1.1", "0.10"],
            "the version of the format: 1.1 (3), or 0.10 (2) for QEMU before 1.1",
        )),
        optional(Field::choice(
            F::Refcounts,
            &["16", "1", "2", "4", "8", "32", "64"],
            "bits of a reference count",
        )),
        optional(Field::choice(
            F::Lazy,
            &["off", "on"],
            "on lets reference counts be written late: faster, with a repair after a crash",
        )),
        optional(Field::choice(
            F::Codec,
            &["zlib", "zstd"],
            "algorithm of clusters that are compressed later; zstd needs QEMU 5.1 or newer",
        )),
        optional(reserve()),
        optional(Field::path(
            F::DataFile,
            "",
            "a further file to create, which holds the guest's data; empty: the image does",
        )),
        optional(Field::choice(
            F::DataRaw,
            &["no", "yes"],
            "yes: the data file is at every time a raw image of the disk",
        )),
    ]
}

/// What is reserved in advance for a qcow2 image.
pub(super) fn reserve() -> Field {
    Field::choice(
        F::Reserve,
        &["nothing", "metadata", "falloc", "full"],
        "what is reserved in advance: places, blocks of the filesystem, blocks full of zeros",
    )
}

/// What that field says.
pub(super) fn reserved(at: usize) -> Preallocation {
    match at {
        1 => Preallocation::Metadata,
        2 => Preallocation::Falloc,
        3 => Preallocation::Full,
        _ => Preallocation::Off,
    }
}

/// What is reserved in advance for a raw image.
pub(super) fn reserve_of_raw() -> Field {
    Field::choice(
        F::ReserveRaw,
        &["nothing", "falloc", "full"],
        "what is reserved in advance: blocks of the filesystem, or blocks full of zeros",
    )
}

/// What that field says.
pub(super) fn reserved_of_raw(at: usize) -> Preallocation {
    match at {
        1 => Preallocation::Falloc,
        2 => Preallocation::Full,
        _ => Preallocation::Off,
    }
}

/// Has the name end as the format is called: what is called like a qcow2 image is taken for one.
pub(super) fn name_by_format(form: &mut Form, format: F) {
    let (from, to) = match form.chosen(format) {
        0 => (".raw", ".qcow2"),
        1 => (".qcow2", ".raw"),
        _ => return,
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
    let chosen = |name| form.chosen(name);
    let mut image = ImageOptions {
        encryption: (chosen(F::Encrypt) == 1).then(EncryptionOption::default),
        data_file: form.path_if_any(F::DataFile).map(|path| DataFileOption {
            path,
            raw: chosen(F::DataRaw) == 1,
            style: BackingStyle::Absolute,
        }),
        ..ImageOptions::default()
    };
    let format = &mut image.format;
    if let Some((_, bits)) = CLUSTERS.get(chosen(F::Cluster)) {
        format.cluster_bits = *bits;
    }
    format.extended_l2 = chosen(F::Subcluster) == 1;
    format.old_version = chosen(F::Compat) == 1;
    format.refcount_order = match chosen(F::Refcounts) {
        1 => 0,
        2 => 1,
        3 => 2,
        4 => 3,
        5 => 5,
        6 => 6,
        _ => 4,
    };
    format.lazy_refcounts = chosen(F::Lazy) == 1;
    format.compression = match chosen(F::Codec) {
        1 => Compression::Zstd,
        _ => Compression::Zlib,
    };
    format.preallocation = reserved(chosen(F::Reserve));
    image
}

/// The fields where they are for an image that may not be a qcow2 image: they are there only where the
/// choice of that name is the first one.
pub(super) fn only_for_qcow2(mut fields: Vec<Field>, to: F) -> Vec<Field> {
    for field in &mut fields {
        if matches!(field.name, F::Encrypt | F::Options) {
            // The others hang on these two.
            field.there = Visibility::Where(to, &[0]);
        }
    }
    fields
}

/// A size that is typed.
pub(super) fn size(form: &Form, field: F) -> Result<u64, String> {
    units::parse_size(form.text(field))
}
