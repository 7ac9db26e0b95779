//! The forms for what is noted of images.

use std::path::PathBuf;

use crate::forest::Node;
use crate::ops::{Annotate, AnnotateSeveral, Request};
use crate::tui::app::App;
use crate::tui::dialogs::form::{Field, FieldName as F, Form};
use crate::units;

/// Stands for the end of a line in the one line that a field has.
const NEW_LINE: &str = "\\n";

/// The note and the tags of an image.
pub(super) fn note(node: &Node) -> Form {
    let noted = node.annotation.as_deref().cloned().unwrap_or_default();
    Form::new(
        format!("Note: what is {}?", units::file_name(&node.path)),
        &node.path,
        vec![
            Field::text(
                F::Note,
                noted.text.replace('\n', NEW_LINE),
                "a few words; \\n begins another line; empty: no note",
            ),
            Field::text(
                F::Tags,
                noted.tags.join(" "),
                "keep: not discarded; golden: changed by number only; any other to find it",
            ),
        ],
        false,
        |form| {
            Ok(Request::Annotate(Annotate {
                image: form.image.clone(),
                text: Some(form.text(F::Note).replace(NEW_LINE, "\n")),
                tag: tags(form, F::Tags),
                clear: true,
                ..Annotate::default()
            }))
        },
    )
}

/// A note and tags for each of the marked images.
pub(super) fn note_each(app: &App) -> Form {
    let targets = app.targets();
    let nodes = targets.iter().filter_map(|id| app.forest.get(*id));
    let mut images: Vec<PathBuf> = nodes.map(|node| node.path.clone()).collect();
    images.sort_unstable();
    let fields = vec![
        Field::text(
            F::Note,
            String::new(),
            "a few words for all of them; empty: the notes stay as they are",
        ),
        Field::text(
            F::Tags,
            String::new(),
            "tags that each gets: keep: not discarded; golden: changed by number only",
        ),
        Field::text(F::Untag, String::new(), "tags that each loses"),
    ];
    Form::of_several(
        format!("Note: what are these {} images?", images.len()),
        images,
        fields,
        |form| {
            let text = form.text(F::Note);
            let text = (!text.is_empty()).then(|| text.replace(NEW_LINE, "\n"));
            let (tag, untag) = (tags(form, F::Tags), tags(form, F::Untag));
            if text.is_none() && tag.is_empty() && untag.is_empty() {
                return Err("nothing is to be noted".to_owned());
            }
            let of = |image: &PathBuf| Annotate {
                image: image.clone(),
                text: text.clone(),
                tag: tag.clone(),
                untag: untag.clone(),
                ..Annotate::default()
            };
            let images = form.images.iter().map(of).collect();
            Ok(AnnotateSeveral { images }.into())
        },
    )
}

fn tags(form: &Form, field: F) -> Vec<String> {
    let tags = form.text(field).split([' ', ',']);
    tags.filter(|tag| !tag.is_empty())
        .map(str::to_owned)
        .collect()
}
