//! The register of all that is looked for, and the look itself.

use crate::forest::ProblemKind;
use crate::host::{User, during_one_scan};
use crate::ops::Context;

use super::finder::{Finder, Subject};
use super::finding::Finding;
use super::{
    cluster_size, cut_off_base, deep_chain, far_names, format_differs, half_made, label_differs,
    machine_disk_gone, moved_folder, name_leads_astray, not_permitted, odd_size, old_trash,
    old_version, orphan, pinned, pinned_otherwise, problems, same_content, stale_bitmap,
    stale_note, tables, unfinished, unread_notes, writable_base,
};

/// What looks for what the scan itself does not see, the gravest first: one line each.
static FINDERS: &[Finder] = &[
    moved_folder::FINDER,
    machine_disk_gone::FINDER,
    pinned_otherwise::FINDER,
    format_differs::FINDER,
    not_permitted::FINDER,
    label_differs::FINDER,
    name_leads_astray::FINDER,
    far_names::FINDER,
    unfinished::FINDER,
    cut_off_base::FINDER,
    odd_size::FINDER,
    writable_base::FINDER,
    stale_bitmap::FINDER,
    deep_chain::FINDER,
    old_version::FINDER,
    cluster_size::FINDER,
    pinned::FINDER,
    same_content::FINDER,
    orphan::FINDER,
    half_made::FINDER,
    unread_notes::FINDER,
    stale_note::FINDER,
    old_trash::FINDER,
];

/// All that is wrong with the images that the person asks about: what keeps images from being opened or changes what
/// they show comes first. Only metadata is read. With a user also what that one may not do with them.
#[must_use]
pub fn examine(context: &Context, user: Option<&User>) -> Vec<Finding> {
    let subject = Subject::of(context);
    let mut all = problems::look(&subject);
    all.extend(examine_further(context));
    if let Some(user) = user {
        all.retain(|finding| finding.name != not_permitted::FINDER.name);
        all.extend(not_permitted::look_as(&subject, user));
    }
    all
}

/// The same without what the scan itself sees in each image.
#[must_use]
pub fn examine_further(context: &Context) -> Vec<Finding> {
    during_one_scan(|| {
        let subject = Subject::of(context);
        let finders = FINDERS.iter();
        finders
            .flat_map(|finder| finder.findings(&subject))
            .collect()
    })
}

/// The name of a finding that the scan itself does not see, and why it matters; none where there is no such finding.
#[must_use]
pub fn further(name: &str) -> Option<(&'static str, &'static str)> {
    let finder = FINDERS.iter().find(|finder| finder.name == name)?;
    Some((finder.name, finder.why))
}

/// The names of all findings there can be.
pub fn names() -> impl Iterator<Item = &'static str> {
    let problems = ProblemKind::ALL.into_iter().map(ProblemKind::name);
    let further = FINDERS.iter().map(|finder| finder.name);
    problems.chain(further).chain([tables::PAST_END])
}
