//! The forms: which fields each operation asks for, and the request they come to.
//!
//! | file | forms |
//! |---|---|
//! | `copies` | new files made of what is there: clone, convert, export, import, a snapshot copied out |
//! | `image` | how a new image is made: encryption, and every option of its format |
//! | `kind` | which forms there are |
//! | `names` | names that are proposed for new files |
//! | `tables` | what changes in an image's header and tables: amend, dirty bitmaps |

mod copies;
mod image;
mod kind;
mod names;
mod tables;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::forest::{Node, NodeId};
use crate::image::{Compression, CompressionLevel, Format};
use crate::ops::{
    BackingStyle, Branch, ChangeSnapshot, Compress, Create, CreateRaw, Dependants, Flatten,
    MoveImages, NewSize, Rebase, Relink, Relocation, Request, Resize, SnapshotAction, Unlink,
};
use crate::tui::app::App;
use crate::tui::dialogs::form::{Field, FieldName as F, Form};
use crate::units;

use names::free_name;

pub(crate) use kind::FormKind;
pub(crate) use names::name_beside;

const STYLES: &[&str] = &["relative", "absolute"];
const HOW_STYLE: &str =
    "how the backing file is recorded: as seen from the overlay, or from the root";

fn style(at: usize) -> BackingStyle {
    match at {
        0 => BackingStyle::Relative,
        _ => BackingStyle::Absolute,
    }
}

/// The form of that kind about an image; `about` is the snapshot or the bitmap in it that it is for.
pub(super) fn form(
    app: &App,
    image: Option<NodeId>,
    kind: FormKind,
    about: Option<&OsStr>,
) -> Option<Form> {
    match kind {
        FormKind::Create => return Some(create(app)),
        FormKind::Import => return Some(copies::import(app)),
        FormKind::ConvertEach => return Some(copies::convert_each(app)),
        _ => {}
    }
    let node = app.forest.get(image?)?;
    let image = node.path.as_path();
    let name = units::file_name(image);
    let form = match kind {
        FormKind::Branch => Form::new(
            format!("New branch on {name}"),
            image,
            [
                Field::path(F::Name, free_name(&app.forest, image), "the file to create"),
                Field::choice(F::Backing, STYLES, HOW_STYLE),
                Field::text(
                    F::Size,
                    "",
                    "of its disk, with K, M, G or T; empty: as large as that of its base",
                ),
            ]
            .into_iter()
            .chain(image::fields())
            .collect(),
            true,
            |form| {
                Ok(Request::Branch(Branch {
                    base: form.image.clone(),
                    new: form.path(F::Name, "the new file")?,
                    size: match form.text(F::Size) {
                        "" => None,
                        _ => Some(size(form, F::Size)?),
                    },
                    style: style(form.chosen(F::Backing)),
                    image: image::options(form),
                }))
            },
        ),
        FormKind::Create => create(app),
        FormKind::Rebase => rebase(app, node.id, image, &name),
        FormKind::Relink => relink(app, node.id, image, &name),
        FormKind::Flatten => Form::new(
            format!("A flat copy of {name}"),
            image,
            vec![
                Field::path(
                    F::Name,
                    name_beside(&app.forest, image, "flat"),
                    "the file to create: it shows the same",
                ),
                Field::path(F::Onto, "", HOW_ONTO),
                Field::choice(
                    F::Compress,
                    &["no", "zlib", "zstd"],
                    "what becomes smaller by it is stored compressed; zstd needs QEMU 5.1 or newer",
                ),
            ],
            true,
            |form| {
                let compress = |kind| Compress {
                    kind,
                    level: CompressionLevel::Default,
                };
                Ok(Request::Flatten(Flatten {
                    image: form.image.clone(),
                    onto: form.path_if_any(F::Onto),
                    new: Some(form.path(F::Name, "the new file")?),
                    compress: match form.chosen(F::Compress) {
                        0 => None,
                        1 => Some(compress(Compression::Zlib)),
                        _ => Some(compress(Compression::Zstd)),
                    },
                }))
            },
        ),
        FormKind::FlattenHere => Form::new(
            format!("Take layers out of the chain of {name}"),
            image,
            vec![Field::path(F::Onto, "", HOW_ONTO)],
            false,
            |form| {
                Ok(Request::Flatten(Flatten {
                    image: form.image.clone(),
                    onto: form.path_if_any(F::Onto),
                    new: None,
                    compress: None,
                }))
            },
        ),
        FormKind::Move => Form::new(
            format!("Move or rename {name}"),
            image,
            vec![
                Field::path(
                    F::To,
                    image.file_name().unwrap_or_default().to_string_lossy(),
                    "another name, or a folder that is to hold it; what refers to it follows",
                ),
                Field::choice(
                    F::Subtree,
                    &["it alone", "with all built on it"],
                    "whether what is built on it moves along",
                ),
            ],
            false,
            |form| {
                Ok(Request::Move(MoveImages {
                    moves: vec![Relocation {
                        from: form.image.clone(),
                        to: form.path(F::To, "the new place")?,
                        style: None,
                    }],
                    subtree: form.chosen(F::Subtree) == 1,
                }))
            },
        ),
        FormKind::Resize => {
            let now = node.virtual_size().map(units::size).unwrap_or_default();
            Form::new(
                format!("Another size for {name}, now {now}"),
                image,
                vec![
                    Field::text(
                        F::Size,
                        "+",
                        "with K, M, G or T: 40G is the new size, +10G so much more, -10G so much less",
                    ),
                    Field::choice(
                        F::Shrink,
                        &["no", "yes"],
                        "yes lets the disk become shorter: what lies past its new end is lost",
                    ),
                    image::reserve(),
                ],
                false,
                |form| {
                    Ok(Request::Resize(Resize {
                        image: form.image.clone(),
                        size: form.text(F::Size).parse::<NewSize>()?,
                        shrink: form.chosen(F::Shrink) == 1,
                        preallocation: image::reserved(form.chosen(F::Reserve)),
                        dependants: Dependants::default(),
                    }))
                },
            )
        }
        FormKind::TakeSnapshot => Form::new(
            format!("New snapshot inside {name}"),
            image,
            vec![Field::text(
                F::Name,
                "",
                "what it is called, 1 to 255 bytes",
            )],
            false,
            |form| match form.text(F::Name) {
                "" => Err("the snapshot needs a name".to_owned()),
                name => Ok(Request::Snapshot(ChangeSnapshot {
                    image: form.image.clone(),
                    action: SnapshotAction::Create {
                        name: OsString::from(name),
                    },
                })),
            },
        ),
        FormKind::ExtractSnapshot => copies::snapshot(image, &name, about?),
        FormKind::Clone => copies::clone(app, image, &name),
        FormKind::Convert => copies::convert(app, node, &name),
        FormKind::Export => copies::export(image, &name),
        FormKind::Import => copies::import(app),
        FormKind::ConvertEach => copies::convert_each(app),
        FormKind::Amend => tables::amend(node, &name),
        FormKind::KeySlots => tables::key_slots(image, &name),
        FormKind::AddBitmap => tables::add_bitmap(image, &name),
        FormKind::MergeBitmap => tables::merge_bitmap(image, about?),
    };
    Some(form)
}

/// A new empty image beside the selected one, or in the first directory.
fn create(app: &App) -> Form {
    let beside = app.selected().map(|node| node.path.clone());
    let root = || {
        app.settings
            .roots
            .first()
            .map(|root| root.join("new.qcow2"))
    };
    let image = beside.or_else(root).unwrap_or_default();
    let name = (1..u32::MAX)
        .map(|number| format!("disk-{number}.qcow2"))
        .find(|name| app.forest.by_path(&image.with_file_name(name)).is_none());
    Form::new(
        "New image".to_owned(),
        &image,
        [
            Field::path(F::Name, name.unwrap_or_default(), "the file to create"),
            Field::text(F::Size, "20G", "with K, M, G or T (powers of 1,024)"),
            Field::choice(
                F::Format,
                &["qcow2", "raw"],
                "what it is to be: qcow2, or the bytes as the guest sees them",
            ),
            image::reserve_of_raw().only_where(F::Format, &[1]),
        ]
        .into_iter()
        .chain(image::only_for_qcow2(image::fields(), F::Format))
        .collect(),
        true,
        |form| {
            let (path, size) = (form.path(F::Name, "the new file")?, size(form, F::Size)?);
            if form.chosen(F::Format) == 1 {
                return Ok(Request::CreateRaw(CreateRaw {
                    new: path,
                    size,
                    preallocation: image::reserved_of_raw(form.chosen(F::ReserveRaw)),
                }));
            }
            Ok(Request::Create(Create {
                path,
                size,
                image: image::options(form),
            }))
        },
    )
    .tidied_by(|form| image::name_by_format(form, F::Format))
}

/// A size that is typed.
fn size(form: &Form, field: F) -> Result<u64, String> {
    units::parse_size(form.text(field))
}

const HOW_ONTO: &str =
    "an image of its chain that it stays built on; empty: it is built on nothing";

/// The image under the cursor, if another image can be built on it; else what is recorded now.
fn proposed_base(app: &App, id: NodeId) -> String {
    let is_possible = |node: &&Node| !app.forest.chain(node.id).contains(&id);
    let pointed = app.selected().filter(is_possible);
    let recorded = app.forest.get(id).and_then(|node| node.backing.as_ref());
    match (pointed, recorded) {
        (Some(node), _) => node.path.to_string_lossy().into_owned(),
        (None, Some(backing)) => backing.name().to_string_lossy().into_owned(),
        (None, None) => String::new(),
    }
}

const FORMATS: &[&str] = &["find out", "qcow2", "raw"];
const HOW_FORMAT: &str = "the base's format; it is always recorded";

fn format(at: usize) -> Option<Format> {
    match at {
        0 => None,
        1 => Some(Format::Qcow2),
        _ => Some(Format::Raw),
    }
}

const STYLES_KEPT: &[&str] = &["as it was", "relative", "absolute"];

fn style_kept(at: usize) -> Option<BackingStyle> {
    at.checked_sub(1).map(style)
}

/// Another base, and what becomes of what the image shows.
fn rebase(app: &App, id: NodeId, image: &Path, name: &str) -> Form {
    Form::new(
        format!("Build {name} on another image"),
        image,
        vec![
            Field::path(
                F::Base,
                proposed_base(app, id),
                "the image to build on; mark this one and go to that one, and its path stands here",
            ),
            Field::choice(
                F::Keeps,
                &["what it shows", "its own data only"],
                "what it shows: it receives what would show otherwise; or only the header is changed, without a base to \
                 be built on nothing",
            ),
            Field::choice(F::Format, FORMATS, HOW_FORMAT),
            Field::choice(F::Backing, STYLES_KEPT, HOW_STYLE),
            Field::choice(
                F::Dedupe,
                &["no", "yes"],
                "yes gives up afterwards what the new base shows as well",
            )
            .only_where(F::Keeps, &[0]),
            Field::choice(
                F::Compress,
                &["no", "yes"],
                "yes compresses the whole clusters that it receives, where that makes them smaller",
            )
            .only_where(F::Keeps, &[0]),
        ],
        false,
        |form| {
            let image = form.image.clone();
            if form.chosen(F::Keeps) == 1 && form.path_if_any(F::Base).is_none() {
                return Ok(Request::Unlink(Unlink { image }));
            }
            let base = form.path(F::Base, "the base")?;
            let (format, style) = (
                format(form.chosen(F::Format)),
                style_kept(form.chosen(F::Backing)),
            );
            Ok(if form.chosen(F::Keeps) == 0 {
                Request::Rebase(Rebase {
                    image,
                    to: base,
                    format,
                    style,
                    dedupe: form.chosen(F::Dedupe) == 1,
                    compress: form.chosen(F::Compress) == 1,
                })
            } else {
                Request::Relink(Relink {
                    image,
                    base: Some(base),
                    format,
                    style,
                })
            })
        },
    )
}

/// Where a base went that is missing.
fn relink(app: &App, id: NodeId, image: &Path, name: &str) -> Form {
    Form::new(
        format!("What {name} is built on"),
        image,
        vec![
            Field::path(
                F::Base,
                proposed_base(app, id),
                "where its base is now; only the header changes, so it has to show the same bytes; empty: it is built \
                 on nothing from then on",
            ),
            Field::choice(F::Format, FORMATS, HOW_FORMAT),
            Field::choice(F::Backing, STYLES_KEPT, HOW_STYLE),
        ],
        false,
        |form| {
            let image = form.image.clone();
            let Some(base) = form.path_if_any(F::Base) else {
                return Ok(Request::Unlink(Unlink { image }));
            };
            Ok(Request::Relink(Relink {
                image,
                base: Some(base),
                format: format(form.chosen(F::Format)),
                style: style_kept(form.chosen(F::Backing)),
            }))
        },
    )
}
