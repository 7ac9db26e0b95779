//! Forms for new files made of what is there; what they are made of is only read.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::forest::Node;
use crate::image::{CarriedBitmaps, Compression, CompressionLevel, Format, SparseSize};
use crate::ops::{
    BackingStyle, Branch, ChangeSnapshot, CloneImage, Convert, ConvertForm, Export, ExtractAs,
    ImageOptions, Import, Reflink, Request, SnapshotAction, SnapshotName,
};
use crate::tui::app::App;
use crate::tui::dialogs::form::{Choice, Field, FieldName as F, Form};
use crate::units;

use super::image;
use super::names::name_beside;

/// Which kind of copy.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Copied {
    /// Built on the same.
    Alone,
    /// On copies of all below.
    Chain,
    /// An overlay on it.
    Linked,
}

const COPIED: Choice<Copied> = Choice::new(
    F::Way,
    ("alone", Copied::Alone),
    &[("chain", Copied::Chain), ("linked", Copied::Linked)],
);

const REFLINK: Choice<Reflink> = Choice::new(
    F::Reflink,
    ("auto", Reflink::Auto),
    &[("always", Reflink::Always), ("never", Reflink::Never)],
);

/// A copy, file for file; of all it is built on as well; or an overlay instead.
pub(super) fn clone(app: &App, node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    let new = name_beside(&app.forest, image, "copy");
    Form::new(
        format!("Clone {name}"),
        image,
        vec![
            Field::path(F::Name, new, "the file to create")
                .only_where(&COPIED, &[Copied::Alone, Copied::Linked]),
            Field::path(
                F::Folder,
                "",
                "a folder that is there: the copies keep their names in it",
            )
            .only_where(&COPIED, &[Copied::Chain]),
            Field::choice(
                &COPIED,
                "alone: built on the same; chain: on copies of all below; linked: an overlay on it, no copy",
            ),
            Field::choice(
                &REFLINK,
                "whether blocks are shared: where that can be; or nothing is created; or never",
            )
            .only_where(&COPIED, &[Copied::Alone, Copied::Chain]),
        ],
        true,
        |form| {
            let image = form.image.clone();
            let reflink = form.chosen(&REFLINK);
            Ok(match form.chosen(&COPIED) {
                Copied::Alone => Request::Clone(CloneImage {
                    image,
                    new: form.path(F::Name, "the copy")?,
                    chain: false,
                    reflink,
                }),
                Copied::Chain => Request::Clone(CloneImage {
                    image,
                    new: form.path(F::Folder, "the folder")?,
                    chain: true,
                    reflink,
                }),
                Copied::Linked => Request::Branch(Branch {
                    base: image,
                    new: form.path(F::Name, "the copy")?,
                    format: None,
                    size: None,
                    style: BackingStyle::Relative,
                    image: ImageOptions::default(),
                }),
            })
        },
    )
}

/// What an image is converted to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum To {
    Qcow2,
    Raw,
    /// Over an image that is there.
    Existing,
}

const TO: Choice<To> = Choice::new(
    F::To,
    ("qcow2", To::Qcow2),
    &[("raw", To::Raw), ("over it", To::Existing)],
);

/// What each of several images is converted to.
const TO_EACH: Choice<To> = Choice::new(F::To, ("qcow2", To::Qcow2), &[("raw", To::Raw)]);

const BITMAPS: Choice<CarriedBitmaps> = Choice::new(
    F::Bitmaps,
    ("none", CarriedBitmaps::None),
    &[
        ("all", CarriedBitmaps::All),
        ("sound ones", CarriedBitmaps::Sound),
    ],
);

/// Whether what cannot be read becomes zeros.
const SALVAGE: Choice<bool> = Choice::new(F::Unread, ("an error", false), &[("zeros", true)]);

/// Has the name end as what it is converted to is called.
fn name_by_kind(form: &mut Form) {
    match form.chosen(&TO) {
        To::Qcow2 => image::name_by_format(form, &Format::Qcow2),
        To::Raw => image::name_by_format(form, &Format::Raw),
        To::Existing => {}
    }
}

/// What an image, or the snapshot under the cursor, shows as an image of another kind.
pub(super) fn convert(app: &App, node: &Node) -> Form {
    let name = units::file_name(&node.path);
    let path = node.path.as_path();
    let snapshot = app.target_snapshot().map(|snapshot| snapshot.id.clone());
    let id = snapshot.map_or_else(String::new, |id| String::from_utf8_lossy(&id).into_owned());
    let inside = node
        .info()
        .map_or((0, 0), |info| (info.snapshots, info.bitmaps));
    let mut fields = vec![
        Field::path(
            F::Name,
            name_beside(&app.forest, path, "converted"),
            "the file to create",
        ),
        Field::choice(
            &TO,
            "what it is to be: qcow2, or the bytes as the guest sees them; or over an image that is there",
        ),
        Field::choice(
            &image::COMPRESS,
            "zlib, which every QEMU reads, or zstd, which QEMU reads since 5.1 and is faster",
        )
        .only_where(&TO, &[To::Qcow2]),
        Field::path(
            F::Onto,
            "",
            "an image of its chain to build the new one on; empty: it is built on nothing",
        )
        .only_where(&TO, &[To::Qcow2]),
        Field::text(
            F::Snapshot,
            id,
            "the ID of an internal snapshot to copy; empty: what the image shows now",
        )
        .only_if(inside.0 > 0),
        Field::choice(
            &BITMAPS,
            "the dirty bitmaps that come along; sound ones: those in use by nobody, so that they are right",
        )
        .only_where(&TO, &[To::Qcow2])
        .only_if(inside.1 > 0),
    ];
    fields.push(image::reserve_of_raw().only_where(&TO, &[To::Raw]));
    fields.push(Field::choice(
        &SALVAGE,
        "what becomes of what cannot be read: nothing is made; or it is zeros, and listed at the end",
    ));
    fields.push(Field::text(
        F::Sparse,
        "4K",
        "from how many zeros in a row on nothing is stored for them; 0 stores everything",
    ));
    fields.extend(image::only_for_qcow2(image::fields(), &TO, To::Qcow2));
    Form::new(format!("Convert {name}"), path, fields, true, converted).tidied_by(name_by_kind)
}

/// What an image is converted to.
///
/// # Errors
/// A sentence, if two of them contradict each other.
fn kind(form: &Form) -> Result<ConvertForm, String> {
    match form.chosen(&TO) {
        To::Qcow2 => {}
        To::Raw => {
            return Ok(ConvertForm::Raw {
                preallocation: form.chosen(&image::RESERVE_RAW),
            });
        }
        To::Existing => return Ok(ConvertForm::Existing),
    }
    let compression = form.chosen(&image::COMPRESS);
    let mut image = image::options(form);
    if let Some(compression) = compression {
        if image.format.compression == Compression::Zstd && compression == Compression::Zlib {
            return Err(
                "compress says zlib and codec says zstd: an image has one algorithm for all its clusters"
                    .to_owned(),
            );
        }
        image.format.compression = compression;
    }
    Ok(ConvertForm::Qcow2 {
        image,
        compress: compression.map(|_| CompressionLevel::Default),
    })
}

/// What each of the marked images shows as an image of another kind, beside it or in one folder.
pub(super) fn convert_each(app: &App) -> Form {
    let targets = app.targets();
    let nodes = targets.iter().filter_map(|id| app.forest.get(*id));
    let mut images: Vec<PathBuf> = nodes.map(|node| node.path.clone()).collect();
    images.sort_unstable();
    let is_free = |ending: &String| {
        images.iter().all(|image| {
            ["qcow2", "raw"].iter().all(|to| {
                app.forest
                    .by_path(&renamed(image, None, ending, to))
                    .is_none()
            })
        })
    };
    let more = (2..u32::MAX).map(|number| format!("converted-{number}"));
    let ending = std::iter::once("converted".to_owned())
        .chain(more)
        .find(is_free);
    let mut fields = vec![
        Field::text(
            F::Ending,
            ending.unwrap_or_default(),
            "what stands behind each name: disk.qcow2 becomes disk-ENDING.qcow2",
        ),
        Field::path(
            F::Folder,
            "",
            "a folder that is there, to hold all of them; empty: each is made beside its own",
        ),
        Field::choice(
            &TO_EACH,
            "what they are to be: qcow2, or the bytes as the guest sees them",
        ),
        Field::choice(
            &image::COMPRESS,
            "zlib, which every QEMU reads, or zstd, which QEMU reads since 5.1 and is faster",
        )
        .only_where(&TO, &[To::Qcow2]),
    ];
    fields.push(image::reserve_of_raw().only_where(&TO, &[To::Raw]));
    fields.extend(image::only_for_qcow2(
        image::fields_of_each(),
        &TO_EACH,
        To::Qcow2,
    ));
    let title = format!("Convert {} images", images.len());
    Form::for_each(title, images, fields, |form| {
        let ending = form.text(F::Ending);
        let folder = form.path_if_any(F::Folder);
        if ending.contains('/') {
            return Err("the ending is a part of names, not a path".to_owned());
        }
        if ending.is_empty() && folder.is_none() {
            return Err(
                "without an ending, and in no other folder, they had the names they have"
                    .to_owned(),
            );
        }
        let to = match form.chosen(&TO_EACH) {
            To::Raw => "raw",
            To::Qcow2 | To::Existing => "qcow2",
        };
        let made = kind(form)?;
        let requests = form.images.iter().map(|image| {
            Request::Convert(Convert {
                sources: vec![image.clone()],
                bitmaps: CarriedBitmaps::None,
                format: None,
                snapshot: None,
                salvage: false,
                sparse: SparseSize::default(),
                new: renamed(image, folder.as_deref(), ending, to),
                form: made.clone(),
                backing: None,
                style: BackingStyle::default(),
            })
        });
        Ok(requests.collect())
    })
}

/// The name of an image with an ending behind it, in a folder or where it is.
fn renamed(image: &Path, folder: Option<&Path>, ending: &str, to: &str) -> PathBuf {
    let mut name = image.file_stem().unwrap_or(image.as_os_str()).to_owned();
    if !ending.is_empty() {
        name.push("-");
        name.push(ending);
    }
    name.push(".");
    name.push(to);
    match folder {
        Some(folder) => folder.join(name),
        None => image.with_file_name(name),
    }
}

fn converted(form: &Form) -> Result<Request, String> {
    let snapshot = match form.text(F::Snapshot) {
        "" => None,
        id => Some(SnapshotName::Id(OsString::from(id))),
    };
    Ok(Request::Convert(Convert {
        sources: vec![form.image.clone()],
        bitmaps: form.chosen(&BITMAPS),
        format: None,
        snapshot,
        salvage: form.chosen(&SALVAGE),
        sparse: sparse(form.text(F::Sparse))?,
        new: form.path(F::Name, "the new file")?,
        form: kind(form)?,
        backing: form.path_if_any(F::Onto),
        style: BackingStyle::default(),
    }))
}

/// From how many zeros in a row on nothing is stored.
///
/// # Errors
/// A sentence, if it is no such number.
fn sparse(text: &str) -> Result<SparseSize, String> {
    let size = SparseSize::new(units::parse_size(text)?);
    size.ok_or_else(|| "sparse is a multiple of 512 up to 16M, or 0".to_owned())
}

/// A folder that holds the whole chain.
pub(super) fn export(node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    let stem = image.file_stem().unwrap_or(image.as_os_str());
    let folder = format!("{}-export", stem.to_string_lossy());
    Form::new(
        format!("Export {name} with all it is built on"),
        image,
        vec![Field::path(
            F::Folder,
            folder,
            "the folder to create: it stands alone and can be carried elsewhere",
        )],
        true,
        |form| {
            Ok(Request::Export(Export {
                image: form.image.clone(),
                dir: form.path(F::Folder, "the folder")?,
            }))
        },
    )
}

/// What an exported folder holds, copied to where it is to live.
pub(super) fn import(app: &App) -> Form {
    let beside = app.selected().map(|node| node.path.clone());
    let root = app.settings.roots.first();
    let image = beside.or_else(|| root.map(|root| root.join("image")));
    Form::new(
        "Import an exported folder".to_owned(),
        &image.unwrap_or_default(),
        vec![
            Field::path(F::From, "", "the folder that `export` made"),
            Field::path(F::To, ".", "the folder that is to hold the images"),
        ],
        true,
        |form| {
            Ok(Request::Import(Import {
                dir: form.path(F::From, "the exported folder")?,
                to: match form.text(F::To) {
                    "." => form.dir.clone(),
                    _ => form.path(F::To, "the folder")?,
                },
            }))
        },
    )
}

const EXTRACT_AS: Choice<ExtractAs> = Choice::new(
    F::As,
    ("qcow2", ExtractAs::Qcow2),
    &[("raw", ExtractAs::Raw), ("overlay", ExtractAs::Overlay)],
);

/// A snapshot copied out into a file.
pub(super) fn snapshot(node: &Node, id: &OsStr) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    let id = id.to_string_lossy().into_owned();
    let stem = image.file_stem().unwrap_or(image.as_os_str());
    let new = format!("{}-snapshot-{id}.qcow2", stem.to_string_lossy());
    Form::new(
        format!("Snapshot: copy one of {name} out"),
        image,
        vec![
            Field::path(F::Name, new, "the file to create"),
            Field::choice(
                &EXTRACT_AS,
                "qcow2 built on nothing, raw, or qcow2 built on what this image is built on",
            ),
            Field::text(F::Snapshot, id, "the snapshot's ID"),
        ],
        true,
        |form| {
            Ok(Request::Snapshot(ChangeSnapshot {
                image: form.image.clone(),
                action: SnapshotAction::Extract {
                    snapshot: SnapshotName::Id(OsString::from(form.text(F::Snapshot))),
                    new: form.path(F::Name, "the new file")?,
                    form: form.chosen(&EXTRACT_AS),
                },
            }))
        },
    )
}
