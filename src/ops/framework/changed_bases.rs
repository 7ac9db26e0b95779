//! Bases that something else has changed under what is built on them: whoever works on an image above one is told
//! before. Which these are is noted in the forest.

use std::collections::BTreeMap;

use crate::forest::{Node, NodeId, ProblemKind};

use super::note::{Note, NoteKind};
use super::plan::Plan;
use super::remedy::Remedy;
use super::resolve;

/// Warns once of every changed base below what the plan reads or writes, by the first of these. Plans that are refused
/// warn of none.
pub(in crate::ops) fn warn(plan: &mut Plan) {
    if !plan.refusals.is_empty() {
        return;
    }
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    let effects = plan.effects.iter();
    let touched = effects.filter_map(|effect| forest.by_path(&effect.path));
    let copied = plan.request.operation().copies();
    let copied = copied
        .iter()
        .filter_map(|path| resolve::named(&context, path).ok());
    let mut bases: BTreeMap<NodeId, &str> = BTreeMap::new();
    for (base, sentence) in touched.chain(copied).flat_map(changed) {
        bases.entry(base).or_insert(sentence);
    }
    for (base, sentence) in bases {
        let base = forest.get(base).map(|base| base.path.clone());
        let note = Note::new(NoteKind::Base, sentence.trim_end_matches('.'));
        plan.warn_of(note.helped_by(base.map(Remedy::Accept).into_iter().collect()));
    }
}

/// The changed bases of an image, each with the sentence that tells of it.
fn changed(node: &Node) -> impl Iterator<Item = (NodeId, &str)> {
    let problems = node.problems.iter();
    problems.filter_map(|problem| match problem.kind {
        ProblemKind::BaseChanged { base, .. } => Some((base, problem.message.as_str())),
        _ => None,
    })
}
