//! Forms for what an image is built on.

use crate::forest::{BackingState, Forest, Location, Node, NodeId, overlay_name};
use crate::image::{CompressionLevel, Format};
use crate::ops::{BackingStyle, Branch, Compress, Flatten, Rebase, Relink, Request, Unlink};
use crate::tui::app::App;
use crate::tui::dialogs::form::{Choice, Field, FieldName as F, Form};
use crate::units;

use super::image::{self, size};
use super::names::name_beside;

const STYLE: Choice<BackingStyle> = Choice::new(
    F::Backing,
    ("relative", BackingStyle::Relative),
    &[("absolute", BackingStyle::Absolute)],
);
const HOW_STYLE: &str =
    "how the backing file is recorded: as seen from the overlay, or from the root";

/// A new overlay.
pub(super) fn branch(app: &App, node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    let new = overlay_name(image, |path| app.forest.by_path(path).is_none());
    Form::new(
        format!("Branch on {name}"),
        image,
        [
            Field::path(F::Name, units::file_name(&new), "the file to create"),
            Field::choice(&STYLE, HOW_STYLE),
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
                style: form.chosen(&STYLE),
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
                &image::COMPRESS,
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
                compress: form.chosen(&image::COMPRESS).map(compress),
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

/// The image that the missing base of this one most likely is: of its name or, where none is, the only one of its
/// size in its folder. Whether it is the same disk is judged by the plan.
fn likely_base<'f>(forest: &'f Forest, node: &Node) -> Option<&'f Node> {
    let missing = forest.leads_to(node)?;
    let is_possible = |other: &&Node| {
        other.location == Location::Scanned && !forest.chain(other.id).contains(&node.id)
    };
    let is_as_large = |other: &Node| other.virtual_size() == node.virtual_size();
    let namesakes = forest.namesakes(node).images.into_iter();
    let best = namesakes.filter(is_possible).max_by_key(|other| {
        let shared = other.path.iter().zip(missing).take_while(|(a, b)| a == b);
        (is_as_large(other), shared.count())
    });
    if best.is_some() {
        return best;
    }
    let beside = |other: &&Node| other.path.parent() == missing.parent();
    let mut others = forest
        .nodes()
        .filter(is_possible)
        .filter(beside)
        .filter(|other| is_as_large(other));
    others.next().filter(|_| others.next().is_none())
}

/// The image that another one is to be relinked to: the one under the cursor, the one that its base most likely
/// is, or what is recorded now.
fn proposed_for_relink(app: &App, node: &Node) -> String {
    let is_gone = |node: &Node| {
        let link = node.backing.as_ref();
        link.is_some_and(|link| !matches!(link.state, BackingState::Present(_)))
    };
    let is_pointed = app.selected().is_some_and(|at| at.id != node.id);
    let likely = likely_base(&app.forest, node).filter(|_| is_gone(node) && !is_pointed);
    let Some(likely) = likely else {
        return proposed_base(app, node.id);
    };
    let dir = node.path.parent();
    let inside = dir.and_then(|dir| likely.path.strip_prefix(dir).ok());
    let path = inside.unwrap_or(&likely.path);
    path.to_string_lossy().into_owned()
}

const FORMAT: Choice<Option<Format>> = Choice::new(
    F::Format,
    ("find out", None),
    &[("qcow2", Some(Format::Qcow2)), ("raw", Some(Format::Raw))],
);
const HOW_FORMAT: &str = "the base's format; it is always recorded";

const STYLE_KEPT: Choice<Option<BackingStyle>> = Choice::new(
    F::Backing,
    ("as it was", None),
    &[
        ("relative", Some(BackingStyle::Relative)),
        ("absolute", Some(BackingStyle::Absolute)),
    ],
);

/// What stays of an image that is built on another base.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Keeps {
    /// What it shows: it receives what would show otherwise.
    View,
    /// Its own data: only the header changes.
    Data,
}

const KEEPS: Choice<Keeps> = Choice::new(
    F::Keeps,
    ("what it shows", Keeps::View),
    &[("its own data only", Keeps::Data)],
);
const DEDUPE: Choice<bool> = Choice::new(F::Dedupe, ("no", false), &[("yes", true)]);
const COMPRESS_RECEIVED: Choice<bool> = Choice::new(F::Compress, ("no", false), &[("yes", true)]);

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
                &KEEPS,
                "what it shows: it receives what would show otherwise; or only the header is changed, without a base to \
                 be built on nothing",
            ),
            Field::choice(&FORMAT, HOW_FORMAT),
            Field::choice(&STYLE_KEPT, HOW_STYLE),
            Field::choice(
                &DEDUPE,
                "yes gives up afterwards what the new base shows as well",
            )
            .only_where(&KEEPS, &[Keeps::View]),
            Field::choice(
                &COMPRESS_RECEIVED,
                "yes compresses the whole clusters that it receives, where that makes them smaller",
            )
            .only_where(&KEEPS, &[Keeps::View]),
        ],
        false,
        |form| {
            let image = form.image.clone();
            let keeps = form.chosen(&KEEPS);
            if keeps == Keeps::Data && form.path_if_any(F::Base).is_none() {
                return Ok(Request::Unlink(Unlink { image }));
            }
            let base = form.path(F::Base, "the base")?;
            let (format, style) = (form.chosen(&FORMAT), form.chosen(&STYLE_KEPT));
            Ok(match keeps {
                Keeps::View => Request::Rebase(Rebase {
                    image,
                    to: base,
                    format,
                    style,
                    dedupe: form.chosen(&DEDUPE),
                    compress: form.chosen(&COMPRESS_RECEIVED),
                }),
                Keeps::Data => Request::Relink(Relink {
                    image,
                    base: Some(base),
                    format,
                    style,
                }),
            })
        },
    )
}

/// Where a base went that is missing.
pub(super) fn relink(app: &App, node: &Node) -> Form {
    let image = node.path.as_path();
    let name = units::file_name(&node.path);
    Form::new(
        format!("Relink {name}: what it is built on"),
        image,
        vec![
            Field::path(
                F::Base,
                proposed_for_relink(app, node),
                "where its base is now; only the header changes, so it has to show the same bytes; empty: it is built \
                 on nothing from then on",
            ),
            Field::choice(&FORMAT, HOW_FORMAT),
            Field::choice(&STYLE_KEPT, HOW_STYLE),
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
                format: form.chosen(&FORMAT),
                style: form.chosen(&STYLE_KEPT),
            }))
        },
    )
}
