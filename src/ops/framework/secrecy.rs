//! What is copied out of an encrypted image into one that is not.

use crate::forest::Node;

use super::format::{listed, name};
use super::note::NoteKind;
use super::plan::Plan;

/// Says so where one of these images is encrypted, and what it holds is going to be copied `into` those, which are
/// not.
pub(in crate::ops) fn warn_of_plain_copies<'f>(
    plan: &mut Plan,
    from: impl IntoIterator<Item = &'f Node>,
    into: &[String],
) {
    let Some(from) = from.into_iter().find(|node| node.is_encrypted()) else {
        return;
    };
    if !into.is_empty() {
        plan.warn(NoteKind::Secrecy, format!(
            "{} is encrypted and {} {} not: what is copied there will lie there for everybody to read",
            name(&from.path),
            listed(into, 5),
            if into.len() == 1 { "is" } else { "are" }
        ));
    }
}
