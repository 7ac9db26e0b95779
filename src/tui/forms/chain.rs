//! Forms for what an image is built on.

use crate::forest::{Node, NodeId};
use crate::image::{Compression, CompressionLevel, Format};
use crate::ops::{BackingStyle, Branch, Compress, Flatten, Rebase, Relink, Request, Unlink};
use crate::tui::app::App;
use crate::tui::dialogs::form::{Field, FieldName as F, Form};
use crate::units;

use super::image::{self, size};
use super::names::{free_name, name_beside};

const STYLES: &[&str] = &["relative", "absolute"];
const HOW_STYLE: &str =
    "how the backing file is recorded: as seen from the overlay, or from the root";

fn style(at: usize) -> BackingStyle {
    match at {
        0 => BackingStyle::Relative,
        _ => BackingStyle::Absolute,
    }
}

/// A new overlay.
pub(super) fn branch(app: &App, node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    Form::new(
        format!("Branch on {name}"),
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
                format: None,
                size: match form.text(F::Size) {
                    "" => None,
                    _ => Some(size(form, F::Size)?),
                },
                style: style(form.chosen(F::Backing)),
                image: image::options(form),
            }))
        },
    )
}

const HOW_ONTO: &str =
    "an image of its chain that it stays built on; empty: it is built on nothing";

/// A new file that shows the same.
pub(super) fn flatten(app: &App, node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    Form::new(
        format!("Flatten into a new file: {name}"),
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
    )
}

/// Layers taken out of a chain.
pub(super) fn flatten_here(node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    Form::new(
        format!("Flatten the chain of {name}"),
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
    )
}

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
pub(super) fn rebase(app: &App, node: &Node) -> Form {
    let id = node.id;
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    Form::new(
        format!("Rebase {name} on another image"),
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
pub(super) fn relink(app: &App, node: &Node) -> Form {
    let id = node.id;
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    Form::new(
        format!("Relink {name}: what it is built on"),
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
