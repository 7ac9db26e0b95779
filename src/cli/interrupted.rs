//! What was interrupted before, told beside whatever is asked for.

use anyhow::Context as _;

use crate::forest::Index;
use crate::host::printable;
use crate::ops::journal::Journal;

use super::output::complain;
use super::remedies::typed_line;

/// The journal of what was done.
///
/// # Errors
/// If there is no place for one.
pub(super) fn journal() -> anyhow::Result<Journal> {
    let dir = Index::default_dir().context("there is no folder for what is remembered")?;
    Ok(Journal::at(&dir))
}

/// Says on standard error what was interrupted before, if anything was.
pub(super) fn tell_interrupted() {
    let Some(entries) = journal()
        .ok()
        .and_then(|journal| journal.interrupted().ok())
    else {
        return;
    };
    for entry in entries {
        let title = printable(&entry.title);
        let finish = typed_line("recover", &format!("{} --finish", entry.id));
        complain(format_args!(
            "note: “{title}” was interrupted: `{finish}` does it to the end{}",
            if entry.may_be_rolled_back() {
                ", `--roll-back` takes it back"
            } else {
                ""
            }
        ));
    }
}
