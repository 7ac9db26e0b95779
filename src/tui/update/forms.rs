//! The forms: which fields each operation asks for, and the request they come to.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::forest::{Forest, NodeId};
use crate::image::Format;
use crate::ops::{BackingStyle, ExtractAs, ImageOptions, Request, SnapshotAction, SnapshotName};
use crate::tui::app::App;
use crate::tui::dialog::FormKind;
use crate::tui::form::{Field, Form};
use crate::tui::text;

const STYLES: &[&str] = &["relative", "absolute"];
const HOW_STYLE: &str =
    "how the backing file is recorded: as seen from the overlay, or from the root";

fn style(at: usize) -> BackingStyle {
    match at {
        0 => BackingStyle::Relative,
        _ => BackingStyle::Absolute,
    }
}

/// The form of that kind for the selected image; `about` is the snapshot where it is one.
pub(super) fn form(app: &App, kind: FormKind, about: Option<&OsStr>) -> Option<Form> {
    let node = app.selected()?;
    let image = node.path.as_path();
    let name = text::file_name(image);
    let form = match kind {
        FormKind::Branch => Form::new(
            format!("New branch on {name}"),
            image,
            vec![
                Field::text("name", free_name(&app.forest, image), "the file to create"),
                Field::choice("backing", STYLES, HOW_STYLE),
            ],
            true,
            |form| {
                Ok(Request::Branch {
                    base: form.image.clone(),
                    new: form.path(0, "the new file")?,
                    size: None,
                    style: style(form.chosen(1)),
                    image: ImageOptions::default(),
                })
            },
        ),
        FormKind::Relink => relink(app, node.id, image, &name),
        FormKind::TakeSnapshot => Form::new(
            format!("New snapshot inside {name}"),
            image,
            vec![Field::text("name", "", "what it is called, 1 to 255 bytes")],
            false,
            |form| match form.text(0) {
                "" => Err("the snapshot needs a name".to_owned()),
                name => Ok(Request::Snapshot {
                    image: form.image.clone(),
                    action: SnapshotAction::Create {
                        name: OsString::from(name),
                    },
                }),
            },
        ),
        FormKind::ExtractSnapshot => {
            let id = about?.to_string_lossy().into_owned();
            let stem = image.file_stem().unwrap_or(image.as_os_str());
            let new = format!("{}-snapshot-{id}.qcow2", stem.to_string_lossy());
            Form::new(
                format!("Copy a snapshot out of {name}"),
                image,
                vec![
                    Field::text("name", new, "the file to create"),
                    Field::choice(
                        "as",
                        &["qcow2", "raw", "overlay"],
                        "qcow2 built on nothing, raw, or qcow2 built on what this image is built on",
                    ),
                    Field::text("snapshot", id, "the snapshot's ID"),
                ],
                true,
                |form| {
                    Ok(Request::Snapshot {
                        image: form.image.clone(),
                        action: SnapshotAction::Extract {
                            snapshot: SnapshotName::Id(OsString::from(form.text(2))),
                            new: form.path(0, "the new file")?,
                            form: match form.chosen(1) {
                                0 => ExtractAs::Qcow2,
                                1 => ExtractAs::Raw,
                                _ => ExtractAs::Overlay,
                            },
                        },
                    })
                },
            )
        }
    };
    Some(form)
}

/// What an image is built on: the other image that is marked, or the one that fits the missing name,
/// or what it records now.
fn relink(app: &App, id: NodeId, image: &Path, name: &str) -> Form {
    let marked = app.tree.marks.iter().filter(|mark| **mark != id);
    let marked: Vec<_> = marked.filter_map(|mark| app.forest.get(*mark)).collect();
    let node = app.forest.get(id);
    let recorded = node.and_then(|node| node.backing.as_ref());
    let base = match (&marked[..], recorded) {
        ([only], _) => only.path.to_string_lossy().into_owned(),
        (_, Some(backing)) => backing.recorded.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    Form::new(
        format!("What {name} is built on"),
        image,
        vec![
            Field::text(
                "base",
                base,
                "the image to build on; only the header changes, so it has to show the same bytes",
            ),
            Field::choice(
                "format",
                &["find out", "qcow2", "raw"],
                "the base's format; it is always recorded",
            ),
            Field::choice("backing", &["as it was", "relative", "absolute"], HOW_STYLE),
        ],
        false,
        |form| {
            Ok(Request::Relink {
                image: form.image.clone(),
                base: Some(form.path(0, "the base")?),
                format: match form.chosen(1) {
                    0 => None,
                    1 => Some(Format::Qcow2),
                    _ => Some(Format::Raw),
                },
                style: match form.chosen(2) {
                    0 => None,
                    at => Some(style(at - 1)),
                },
            })
        },
    )
}

/// A name for an overlay on `base` that no image has yet, in the manner of people who number and
/// letter their branches: `RootBase-1`, on that `RootBase-1A`, on that `RootBase-1A-1`.
fn free_name(forest: &Forest, base: &Path) -> String {
    let stem = base.file_stem().unwrap_or(base.as_os_str());
    let stem = stem.to_string_lossy();
    let dir = base.parent().unwrap_or(Path::new(""));
    let is_free = |name: &String| forest.by_path(&dir.join(name)).is_none();
    let letters = ('A'..='Z').map(|letter| format!("{stem}{letter}.qcow2"));
    let numbers = (1..u32::MAX).map(|number| format!("{stem}-{number}.qcow2"));
    let is_numbered = stem.ends_with(|c: char| c.is_ascii_digit()) && stem.contains('-');
    letters
        .take(if is_numbered { 26 } else { 0 })
        .chain(numbers)
        .find(is_free)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposed_name_goes_on_as_people_number_their_branches() {
        let forest = Forest::new();
        let name = |base: &str| free_name(&forest, Path::new(base));
        assert_eq!(name("/vm/RootBase.qcow2"), "RootBase-1.qcow2");
        assert_eq!(name("/vm/Overlay-1.qcow2"), "Overlay-1A.qcow2");
        assert_eq!(name("/vm/Overlay-1A.qcow2"), "Overlay-1A-1.qcow2");
        assert_eq!(name("/vm/disk.img"), "disk-1.qcow2");
    }
}
