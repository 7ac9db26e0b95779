//! The forms: which fields each operation asks for, and the request they come to.
//!
//! | file | forms |
//! |---|---|
//! | `chain` | what an image is built on: branch, rebase, relink, flatten |
//! | `copies` | new files made of what is there: clone, convert, export, import, a snapshot copied out |
//! | `image` | how a new image is made: encryption, and every option of its format |
//! | `kind` | which forms there are |
//! | `machine` | what is done to a machine as a whole: clone |
//! | `names` | names that are proposed for new files |
//! | `note` | what is noted of an image |
//! | `place` | new empty images; another place or size; a new internal snapshot |
//! | `tables` | what changes in an image's header and tables: amend, dirty bitmaps |

mod chain;
mod copies;
mod image;
mod kind;
mod machine;
mod names;
mod note;
mod place;
mod tables;

use std::ffi::OsStr;

use crate::forest::NodeId;
use crate::tui::app::App;
use crate::tui::dialogs::form::Form;

pub(crate) use kind::FormKind;
pub(crate) use machine::which_machine;
pub(crate) use names::name_beside;

/// The form of that kind about an image; `about` is the snapshot or the bitmap in it that it is for.
pub(super) fn form(
    app: &App,
    image: Option<NodeId>,
    kind: FormKind,
    about: Option<&OsStr>,
) -> Option<Form> {
    let node = || app.forest.get(image?);
    Some(match kind {
        FormKind::Branch => chain::branch(app, node()?),
        FormKind::Create => place::create(app),
        FormKind::Rebase => chain::rebase(app, node()?),
        FormKind::Relink => chain::relink(app, node()?),
        FormKind::Flatten => chain::flatten(app, node()?),
        FormKind::FlattenHere => chain::flatten_here(node()?),
        FormKind::Move => place::move_image(node()?),
        FormKind::Resize => place::resize(node()?),
        FormKind::TakeSnapshot => place::take_snapshot(node()?),
        FormKind::ExtractSnapshot => copies::snapshot(node()?, about?),
        FormKind::Clone => copies::clone(app, node()?),
        FormKind::CloneMachine => machine::clone(app, about?)?,
        FormKind::Convert => copies::convert(app, node()?),
        FormKind::Export => copies::export(node()?),
        FormKind::Import => copies::import(app),
        FormKind::ConvertEach => copies::convert_each(app),
        FormKind::Amend => tables::amend(node()?),
        FormKind::Note => note::note(node()?),
        FormKind::NoteEach => note::note_each(app),
        FormKind::KeySlots => tables::key_slots(node()?),
        FormKind::AddBitmap => tables::add_bitmap(node()?),
        FormKind::MergeBitmap => tables::merge_bitmap(node()?, about?),
    })
}
