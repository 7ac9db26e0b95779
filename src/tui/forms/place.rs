//! Forms for new empty images, and for where an image is, how large its disk is, and what it keeps inside.

use std::ffi::OsString;

use crate::forest::Node;
use crate::image::Format;
use crate::ops::{
    ChangeSnapshot, Create, CreateRaw, Dependants, MoveImages, NewSize, Relocation, Request,
    Resize, SnapshotAction,
};
use crate::tui::app::App;
use crate::tui::dialogs::form::{Choice, Field, FieldName as F, Form};
use crate::units;

use super::image::{self, size};

const FORMAT: Choice<Format> =
    Choice::new(F::Format, ("qcow2", Format::Qcow2), &[("raw", Format::Raw)]);

/// A new empty image beside the selected one, or in the first directory.
pub(super) fn create(app: &App) -> Form {
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
        "Create an image".to_owned(),
        &image,
        [
            Field::path(F::Name, name.unwrap_or_default(), "the file to create"),
            Field::text(F::Size, "20G", "with K, M, G or T (powers of 1,024)"),
            Field::choice(
                &FORMAT,
                "what it is to be: qcow2, or the bytes as the guest sees them",
            ),
            image::reserve_of_raw().only_where(&FORMAT, &[Format::Raw]),
        ]
        .into_iter()
        .chain(image::only_for_qcow2(
            image::fields(),
            &FORMAT,
            Format::Qcow2,
        ))
        .collect(),
        true,
        |form| {
            let (path, size) = (form.path(F::Name, "the new file")?, size(form, F::Size)?);
            if form.chosen(&FORMAT) == Format::Raw {
                return Ok(Request::CreateRaw(CreateRaw {
                    new: path,
                    size,
                    preallocation: form.chosen(&image::RESERVE_RAW),
                }));
            }
            Ok(Request::Create(Create {
                path,
                size,
                image: image::options(form),
            }))
        },
    )
    .tidied_by(|form| image::name_by_format(form, &form.chosen(&FORMAT)))
}

const SUBTREE: Choice<bool> = Choice::new(
    F::Subtree,
    ("it alone", false),
    &[("with all built on it", true)],
);

/// Another name or folder.
pub(super) fn move_image(node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    Form::new(
        format!("Move or rename {name}"),
        image,
        vec![
            Field::path(
                F::To,
                image.file_name().unwrap_or_default().to_string_lossy(),
                "another name, or a folder that is to hold it; what refers to it follows",
            ),
            Field::choice(&SUBTREE, "whether what is built on it moves along"),
        ],
        false,
        |form| {
            Ok(Request::Move(MoveImages {
                moves: vec![Relocation {
                    from: form.image.clone(),
                    to: form.path(F::To, "the new place")?,
                    style: None,
                }],
                subtree: form.chosen(&SUBTREE),
            }))
        },
    )
}

const SHRINK: Choice<bool> = Choice::new(F::Shrink, ("no", false), &[("yes", true)]);

/// Another size of the disk.
pub(super) fn resize(node: &Node) -> Form {
    let name = units::file_name(&node.path);
    let image = node.path.as_path();
    let now = node.virtual_size().map(units::size).unwrap_or_default();
    Form::new(
        format!("Resize {name}, now {now}"),
        image,
        vec![
            Field::text(
                F::Size,
                "+",
                "with K, M, G or T: 40G is the new size, +10G so much more, -10G so much less",
            ),
            Field::choice(
                &SHRINK,
                "yes lets the disk become shorter: what lies past its new end is lost",
            ),
            image::reserve(),
        ],
        false,
        |form| {
            Ok(Request::Resize(Resize {
                image: form.image.clone(),
                size: form.text(F::Size).parse::<NewSize>()?,
                shrink: form.chosen(&SHRINK),
                preallocation: form.chosen(&image::RESERVE),
                dependants: Dependants::default(),
            }))
        },
    )
}

/// A new internal snapshot.
pub(super) fn take_snapshot(node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    Form::new(
        format!("Snapshot {name} as it is now"),
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
    )
}
