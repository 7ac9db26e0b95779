//! The form for what is noted of an image.

use crate::forest::Node;
use crate::ops::{Annotate, Request};
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
            let tags = form.text(F::Tags).split([' ', ',']);
            let tags = tags.filter(|tag| !tag.is_empty()).map(str::to_owned);
            Ok(Request::Annotate(Annotate {
                image: form.image.clone(),
                text: Some(form.text(F::Note).replace(NEW_LINE, "\n")),
                tag: tags.collect(),
                clear: true,
                ..Annotate::default()
            }))
        },
    )
}
