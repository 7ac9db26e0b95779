//! Operations that were interrupted and concern files of which no image tells: those that are not there any more, or
//! not yet.

use std::collections::BTreeSet;

use crate::forest::ProblemKind;
use crate::host::printable;
use crate::ops::journal::Journal;
use crate::ops::{RecoverEntry, Recovery, Remedy};

use super::finder::{Finder, Found, Subject};

pub(super) const FINDER: Finder = Finder {
    name: "unfinished",
    why: "What was begun is half done, and what it left may stand in the way of what is done next. It should be finished \
          or taken back.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let Some(state) = &subject.context.state_dir else {
        return Vec::new();
    };
    let problems = subject.images().flat_map(|node| &node.problems);
    let told: BTreeSet<u64> = problems
        .filter_map(|problem| match problem.kind {
            ProblemKind::Interrupted { entry, .. } => Some(entry),
            _ => None,
        })
        .collect();
    let open = Journal::at(state).interrupted().unwrap_or_default();
    let mut all = Vec::new();
    for entry in open.iter().filter(|entry| !told.contains(&entry.id)) {
        let files = entry.files();
        let Some(file) = files.iter().find(|file| subject.covers(file)) else {
            continue;
        };
        let text = format!(
            "“{}” (entry {} of the log) was interrupted and concerns {}.",
            printable(&entry.title),
            entry.id,
            printable(file)
        );
        let mut ways = vec![Recovery::Finish];
        ways.extend(entry.may_be_rolled_back().then_some(Recovery::RollBack));
        let ways = ways.into_iter().map(|way| {
            Remedy::ask(RecoverEntry {
                entry: entry.id,
                way,
            })
        });
        all.push(Found::at(file, text).helped_by(ways.collect()));
    }
    all
}
