//! The plans of what helps. Of several things that help against a finding it is the first that needs no word of the
//! person's.

use std::collections::BTreeSet;

use crate::ops::{Context, Danger, Plan, Request, Undo, plan_each};

use super::finding::{Finding, Sure};

/// The plan of what helps against each of these findings, each plan once. What helps against several is planned once,
/// and of those that are about the same file only the first: after it the others have to be planned anew.
#[must_use]
pub fn treat<'f>(context: &Context, findings: impl IntoIterator<Item = &'f Finding>) -> Vec<Plan> {
    let (mut requests, mut known): (Vec<Request>, BTreeSet<String>) = Default::default();
    for request in findings.into_iter().filter_map(Finding::fix) {
        if known.insert(format!("{request:?}")) {
            requests.push(request.clone());
        }
    }
    let mut plans = plan_each(context, &requests);
    let mut concerned = BTreeSet::new();
    plans.retain(|plan| {
        let files: Vec<_> = plan.effects.iter().map(|effect| &effect.path).collect();
        let is_apart = files.iter().all(|file| !concerned.contains(*file));
        concerned.extend(files.into_iter().cloned());
        is_apart && !plan.is_so()
    });
    plans
}

/// The same of what is certain, as far as it loses nothing: it can be taken back, asks for no number, and its plan warns
/// of nothing.
#[must_use]
pub fn treat_safely(context: &Context, findings: &[Finding]) -> Vec<Plan> {
    let certain = findings
        .iter()
        .filter(|finding| finding.sure == Sure::Certain);
    let mut plans = treat(context, certain);
    plans.retain(loses_nothing);
    plans
}

fn loses_nothing(plan: &Plan) -> bool {
    matches!(plan.danger, Danger::Creates | Danger::Reversible)
        && matches!(plan.undo, Undo::Possible(_))
        && plan.notes.iter().all(|note| !note.warning)
}
