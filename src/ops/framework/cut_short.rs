//! Layers that were cut short: what a copy of them would take for zeros is said before it is made.

use std::collections::BTreeSet;

use crate::forest::{Node, NodeId};
use crate::image::{self, Format, Layer};
use crate::units::size;

use super::format::shown;
use super::note::{Note, NoteKind};
use super::plan::Plan;
use super::remedy::Remedy;
use super::resolve;

/// Warns of every layer that the plan would copy from and whose tables place something past the end of its
/// file. Plans that copy nothing, and those that are refused, look at nothing.
pub(in crate::ops) fn warn(plan: &mut Plan) {
    if !plan.refusals.is_empty() {
        return;
    }
    let context = plan.context().clone();
    let (host, forest) = (context.host.as_ref(), context.forest.as_ref());
    let named = plan.request.operation().copies();

    let tops = named
        .iter()
        .filter_map(|path| resolve::named(&context, path).ok());
    let layers: BTreeSet<NodeId> = tops.flat_map(|top| forest.chain(top.id)).collect();
    let mut warnings = Vec::new();
    for node in layers.into_iter().filter_map(|id| forest.get(id)) {
        if node.format() != Some(Format::Qcow2) {
            continue;
        }
        // What cannot be looked through is told by whoever reads it.
        let lost = Layer::open(host, &node.path, &Format::Qcow2)
            .and_then(|layer| image::cut_short(&layer));
        if let Ok(lost @ 1..) = lost {
            let check = Remedy::Check(node.path.clone());
            warnings
                .push(Note::new(NoteKind::Damaged, sentence(node, lost)).helped_by(vec![check]));
        }
    }
    for warning in warnings {
        plan.warn_of(warning);
    }
}

fn sentence(node: &Node, lost: u64) -> String {
    format!(
        "{} is cut short: {} of its disk lie past the end of the file and are copied as zeros. Restore it from a \
         copy",
        shown(&node.path),
        size(lost)
    )
}
