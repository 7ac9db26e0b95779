//! The register of all that is looked for, and the look itself.

use crate::forest::ProblemKind;
use crate::host::during_one_scan;
use crate::ops::Context;

use super::finder::{Finder, Sight};
use super::finding::Finding;
use super::{
    cut_off_base, deep_chain, far_names, half_made, machine_disk_gone, name_leads_astray, odd_size,
    old_trash, old_version, orphan, pinned_otherwise, problems, stale_bitmap, unfinished,
};

/// What looks for what the scan itself does not see, the gravest first: one line each.
static FINDERS: &[Finder] = &[
    machine_disk_gone::FINDER,
    pinned_otherwise::FINDER,
    name_leads_astray::FINDER,
    far_names::FINDER,
    unfinished::FINDER,
    cut_off_base::FINDER,
    odd_size::FINDER,
    stale_bitmap::FINDER,
    deep_chain::FINDER,
    old_version::FINDER,
    orphan::FINDER,
    half_made::FINDER,
    old_trash::FINDER,
];

/// All that is wrong with the images that the person asks about: what keeps images from being opened or changes what
/// they show comes first. Only metadata is read.
#[must_use]
pub fn examine(context: &Context) -> Vec<Finding> {
    during_one_scan(|| {
        let sight = Sight::of(context);
        let mut all = problems::look(&sight);
        all.extend(FINDERS.iter().flat_map(|finder| finder.findings(&sight)));
        all
    })
}

/// The names of all findings there can be.
pub fn names() -> impl Iterator<Item = &'static str> {
    let problems = ProblemKind::ALL.into_iter().map(ProblemKind::name);
    problems.chain(FINDERS.iter().map(|finder| finder.name))
}
