//! Recover: an operation that was interrupted - by a crash, a kill, a power cut - is done to the end,
//! or what was done of it is taken back. Every operation leaves images that open; this is about not
//! leaving the rest of the way undone.

use crate::host::printable;

use super::journal::{Entry, Journal, Standing};
use super::words::shown;
use super::{Plan, Recovery, Request, WayOut};

/// Plans to bring the entry of this number to an end.
pub(super) fn plan(plan: &mut Plan, id: u64, way: Recovery) {
    plan.title = format!("Recover {id}");
    let context = plan.context().clone();
    let Some(state_dir) = context.state_dir.as_deref() else {
        return plan.refuse("nothing is remembered from run to run: there is no journal");
    };
    let journal = Journal::at(state_dir);
    let entry = match journal.entry(id) {
        Ok(Some(entry)) => entry,
        Ok(None) => return plan.refuse(format!("the journal has no entry {id}")),
        Err(error) => {
            let file = shown(journal.path());
            return plan.refuse(format!("the journal {file} cannot be read: {error}"));
        }
    };
    let what = printable(&entry.title);
    match entry.standing {
        Standing::Interrupted => {}
        Standing::Running => return plan.refuse(format!("“{what}” is still being carried out")),
        Standing::Done(_) | Standing::Failed(_) | Standing::Settled => {
            return plan.refuse(format!(
                "“{what}” was not interrupted: nothing is left to do"
            ));
        }
    }
    let (title, request) = match way {
        Recovery::Finish => (format!("Finish {id}: {what}"), entry.request),
        Recovery::RollBack => {
            let title = format!("Roll back {id}: {what}");
            let Some(request) = entry.roll_back else {
                plan.title = title;
                let finish = WayOut {
                    label: format!("finish it: {what}"),
                    request: Request::Recover {
                        entry: id,
                        way: Recovery::Finish,
                    },
                };
                return plan.refuse_but(
                    format!(
                        "“{what}” cannot be taken back half way: what it overwrote is not kept. \
                         Every image is readable; it can be finished"
                    ),
                    vec![finish],
                );
            };
            (title, request)
        }
    };
    // An undo or a recovery that was interrupted itself leads to an entry before it, or in a circle.
    if let Request::Undo { entry: Some(to) } | Request::Recover { entry: to, .. } = &request
        && *to >= id
    {
        return plan.refuse(format!("the journal is damaged: entry {id} leads to {to}"));
    }
    // The half of an undo has changed the files: what it asked for is asked again, without comparing
    // them with what they were before.
    let request = match request {
        Request::Undo { entry: Some(to) } => match journal.entry(to) {
            Ok(Some(Entry {
                undo: Some(undo), ..
            })) if undo.is_plain() => undo,
            _ => return plan.refuse(format!("the journal is damaged: entry {id} leads to {to}")),
        },
        other => other,
    };
    plan.become_plan_of(&request, Request::Recover { entry: id, way });
    plan.title = title;
}
