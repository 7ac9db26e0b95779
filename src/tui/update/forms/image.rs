//! The fields that ask how a new qcow2 image is made, wherever one is: encryption, and behind one choice
//! every option of its format, by qemu-img's names.

use crate::image::{Compression, Preallocation};
use crate::ops::{BackingStyle, DataFileOption, EncryptionOption, ImageOptions};
use crate::tui::form::{Field, Form, There};

/// Places behind the first field.
const PASSPHRASE: usize = 1;
const MORE: usize = 3;
const CLUSTER: usize = 4;
const SUBCLUSTERS: usize = 5;
const COMPAT: usize = 6;
const REFCOUNTS: usize = 7;
const LAZY: usize = 8;
const CODEC: usize = 9;
const RESERVE: usize = 10;
const DATA: usize = 11;
const DATA_RAW: usize = 12;

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

/// The fields, the first of which is at this place in the form.
pub(super) fn fields(first: usize) -> Vec<Field> {
    let more = first + MORE;
    let optional = |field: Field| field.only_where(more, &[1]);
    let secret = |label, help| Field::secret(label, help).only_where(first, &[1]);
    vec![
        Field::choice(
            "encrypt",
            &["no", "luks"],
            "luks: without its passphrase nobody reads it, and nothing recovers a lost one",
        ),
        secret("passphrase", "what opens the new image; it is kept nowhere"),
        secret(
            "once more",
            "the same again: mistyped, it would be lost with all that is written under it",
        ),
        Field::choice(
            "options",
            &["as usual", "all of them"],
            "all of them: cluster size, version, reserved room, a data file and more",
        ),
        optional(Field::choice(
            "cluster",
            CLUSTER_WORDS,
            "bytes a cluster: larger ones need less metadata and copy more",
        )),
        optional(Field::choice(
            "subcluster",
            &["no", "yes"],
            "yes: each cluster has 32 parts that are allocated by themselves (QEMU 5.2)",
        )),
        optional(Field::choice(
            "compat",
            &["1.1", "0.10"],
            "the version of the format: 1.1 (3), or 0.10 (2) for QEMU before 1.1",
        )),
        optional(Field::choice(
            "refcounts",
            &["16", "1", "2", "4", "8", "32", "64"],
            "bits of a reference count",
        )),
        optional(Field::choice(
            "lazy",
            &["off", "on"],
            "on lets reference counts be written late: faster, with a repair after a crash",
        )),
        optional(Field::choice(
            "codec",
            &["zlib", "zstd"],
            "algorithm of clusters that are compressed later; zstd needs QEMU 5.1 or newer",
        )),
        optional(reserve()),
        optional(Field::path(
            "data file",
            "",
            "a further file to create, which holds the guest's data; empty: the image does",
        )),
        optional(Field::choice(
            "data raw",
            &["no", "yes"],
            "yes: the data file is at every time a raw image of the disk",
        )),
    ]
}

/// What is reserved in advance for a qcow2 image.
pub(super) fn reserve() -> Field {
    Field::choice(
        "reserve",
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
        "reserve",
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
pub(super) fn name_by_format(form: &mut Form, name: usize, format: usize) {
    let (from, to) = match form.chosen(format) {
        0 => (".raw", ".qcow2"),
        1 => (".qcow2", ".raw"),
        _ => return,
    };
    if let Some(stem) = form.text(name).strip_suffix(from) {
        let text = format!("{stem}{to}");
        form.set(name, text);
    }
}

/// The [`fields`] for several images at once, which cannot share a data file.
pub(super) fn fields_of_each(first: usize) -> Vec<Field> {
    let mut fields = fields(first);
    fields.truncate(DATA);
    fields
}

/// What the fields say, the first of which is at this place in the form.
pub(super) fn options(form: &Form, first: usize) -> ImageOptions {
    let chosen = |place: usize| form.chosen(first + place);
    let mut image = ImageOptions {
        encryption: (chosen(0) == 1).then(EncryptionOption::default),
        data_file: form.path_if_any(first + DATA).map(|path| DataFileOption {
            path,
            raw: chosen(DATA_RAW) == 1,
            style: BackingStyle::Absolute,
        }),
        ..ImageOptions::default()
    };
    let format = &mut image.format;
    if let Some((_, bits)) = CLUSTERS.get(chosen(CLUSTER)) {
        format.cluster_bits = *bits;
    }
    format.extended_l2 = chosen(SUBCLUSTERS) == 1;
    format.old_version = chosen(COMPAT) == 1;
    format.refcount_order = match chosen(REFCOUNTS) {
        1 => 0,
        2 => 1,
        3 => 2,
        4 => 3,
        5 => 5,
        6 => 6,
        _ => 4,
    };
    format.lazy_refcounts = chosen(LAZY) == 1;
    format.compression = match chosen(CODEC) {
        1 => Compression::Zstd,
        _ => Compression::Zlib,
    };
    format.preallocation = reserved(chosen(RESERVE));
    image
}

/// The fields where they are for an image that may not be a qcow2 image: they are there only where the
/// choice at the other place is the first one.
pub(super) fn only_for_qcow2(mut fields: Vec<Field>, to: usize) -> Vec<Field> {
    for (at, field) in fields.iter_mut().enumerate() {
        if at < PASSPHRASE || at == MORE {
            // The others hang on these two.
            field.there = There::Where(to, &[0]);
        }
    }
    fields
}
