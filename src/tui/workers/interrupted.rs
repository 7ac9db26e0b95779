//! What crashes and kills have left: operations of the journal that did not come to their end, and files that
//! were being made. What is done about them is planned like any other change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::forest::{Forest, Location};
use crate::host::{Host, io_text, printable};
use crate::ops;
use crate::ops::journal::{Entry, Journal, Standing};
use crate::tui::msg::Interrupted;

/// What the journal tells of operations that were interrupted; with a forest, also what is half made in
/// its folders and in those the journal speaks of.
///
/// # Errors
/// A sentence, where there is no journal or it cannot be read.
pub(super) fn find(
    host: &dyn Host,
    state_dir: Option<&Path>,
    forest: Option<&Forest>,
) -> Result<Interrupted, String> {
    let Some(dir) = state_dir else {
        return Err("nothing is remembered from run to run: there is no log".to_owned());
    };
    let journal = Journal::at(dir);
    let failed = |error| {
        let file = printable(journal.path());
        format!(
            "the log {file} cannot be read: {error}",
            error = io_text(&error)
        )
    };
    let all = journal.entries().map_err(failed)?;
    let touched = all.iter().flat_map(|entry| &entry.touched);
    let dirs: BTreeSet<&Path> = match forest {
        Some(forest) => forest
            .nodes()
            .filter(|node| node.location == Location::Scanned)
            .map(|node| &node.path)
            .chain(touched)
            .filter_map(|path| path.parent())
            .collect(),
        None => BTreeSet::new(),
    };
    let dirs: Vec<PathBuf> = dirs.into_iter().map(Path::to_path_buf).collect();
    let mut leftovers = ops::leftovers(host, &dirs);
    leftovers.retain(|one| !one.runs);
    let is_interrupted = |entry: &Entry| entry.standing == Standing::Interrupted;
    Ok(Interrupted {
        halves: journal.halves(),
        entries: all.into_iter().filter(is_interrupted).collect(),
        leftovers,
    })
}
