//! Undo: the operation that takes back another one, as the journal remembers it. It is a plan like
//! any other, refused where a file has moved on since.

use crate::host::printable;

use super::journal::{Entry, Journal, Standing};
use super::words::shown;
use super::{Plan, Request};

/// Plans to take back the entry of this number, or the newest that can be.
pub(super) fn plan(plan: &mut Plan, wanted: Option<u64>) {
    plan.title = "Undo".to_owned();
    let context = plan.context().clone();
    let Some(state_dir) = context.state_dir.as_deref() else {
        return plan.refuse("nothing is remembered from run to run: there is no journal");
    };
    let journal = Journal::at(state_dir);
    let entries = match journal.entries() {
        Ok(entries) => entries,
        Err(error) => {
            let file = shown(journal.path());
            return plan.refuse(format!("the journal {file} cannot be read: {error}"));
        }
    };
    let entry = match choose(&entries, wanted) {
        Ok(entry) => entry,
        Err(sentence) => return plan.refuse(sentence),
    };
    let title = format!("Undo {}: {}", entry.id, printable(&entry.title));
    plan.title.clone_from(&title);
    // One that leads back into the journal was not written by us, and might lead round in a circle.
    let Some(undo) = entry.undo.as_ref().filter(|undo| undo.is_plain()) else {
        return plan.refuse(format!(
            "nothing takes back what was done: {}",
            printable(&entry.title)
        ));
    };
    if let Some(path) = entry.left.moved_on(context.host.as_ref()) {
        return plan.refuse(format!(
            "{} has changed since: taking back “{}” would lose that",
            shown(path),
            printable(&entry.title)
        ));
    }
    plan.become_plan_of(
        undo,
        Request::Undo {
            entry: Some(entry.id),
        },
    );
    plan.title = title;
}

/// Which entry is meant.
fn choose(entries: &[Entry], wanted: Option<u64>) -> Result<&Entry, String> {
    if let Some(id) = wanted {
        let entry = entries.iter().find(|entry| entry.id == id);
        let entry = entry.ok_or_else(|| format!("the journal has no entry {id}"))?;
        return match &entry.standing {
            Standing::Done(_) => Ok(entry),
            Standing::Settled => Err(format!("entry {id} is taken back already")),
            Standing::Running => Err(format!("entry {id} is still being carried out")),
            Standing::Failed(_) => Err(format!("entry {id} failed: there is nothing to take back")),
            Standing::Interrupted => Err(format!(
                "entry {id} was interrupted: `qanopy recover {id}` says what can be done about it"
            )),
        };
    }
    let newest = entries.iter().rev().find(|entry| entry.is_done());
    let possible = entries.iter().rev().find(|entry| entry.can_be_undone());
    possible.ok_or_else(|| match newest {
        Some(newest) => format!(
            "nothing in the journal can be taken back; the newest entry is “{}”",
            printable(&newest.title)
        ),
        None => "nothing was done yet that could be taken back".to_owned(),
    })
}
