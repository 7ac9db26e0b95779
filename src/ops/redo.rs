//! Redo: what was taken back last, or an entry of the journal that was taken back, is done again. A plan like
//! any other, refused where a file has moved on since.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::printable;

use super::framework::format::shown;
use super::framework::journal::{Entry, Standing, origin};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::refusal::Reason;
use super::framework::request::Name;
use super::undo::{entries, line_of, numbered, taken_back_last, titled};
use super::{CommandLine, Plan, RefusalKind, Request, Restore, WayOut, trash};

/// Do again an operation of the journal that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedoEntry {
    /// Its number; none for the one that was taken back last.
    pub entry: Option<u64>,
    /// As for [`Request::Undo`].
    #[serde(default)]
    pub folders: Vec<PathBuf>,
}

impl Request {
    /// To do an entry of the journal again, whatever was done since.
    pub(super) fn redo(entry: u64) -> Self {
        let (entry, folders) = (Some(entry), Vec::new());
        RedoEntry { entry, folders }.into()
    }
}

impl Operation for RedoEntry {
    fn name(&self) -> &'static str {
        "redo"
    }

    fn verb(&self) -> &'static str {
        "Redo"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::DoesAgain(self.entry)
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        for path in &mut self.folders {
            visit(Name::Path(path));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(line_of("redo", self.entry, &self.folders))
    }

    fn plan(&self, plan: &mut Plan) {
        plan_redo(plan, self.entry, &self.folders)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

/// Plans to do again the entry of this number, which was taken back, or the one that was taken back last.
fn plan_redo(plan: &mut Plan, wanted: Option<u64>, folders: &[PathBuf]) {
    plan.title = "Redo".to_owned();
    let context = plan.context().clone();
    let entries = match entries(plan) {
        Ok(entries) => entries,
        Err(reason) => return plan.refuse_for(reason),
    };
    let entry = match choose_again(&entries, wanted, folders) {
        Ok(entry) => entry,
        Err(reason) => return plan.refuse_for(reason),
    };
    let title = titled(plan, "Redo", &entries, entry);
    plan.title.clone_from(&title);
    let by = entries
        .iter()
        .find(|one| Some(one.id) == entry.taken_back_by);
    if let Some(path) = by.and_then(|by| by.after.moved_on(context.host.as_ref())) {
        return plan.refuse(
            RefusalKind::Stale,
            format!(
                "{} has changed since “{}” was taken back: ask for it anew",
                shown(path),
                printable(&origin(&entries, entry).title)
            ),
        );
    }
    let first = origin(&entries, entry);
    // What was made is in the trash, and comes back from there.
    let is_there = |entries: &[String]| {
        let host = context.host.as_ref();
        let dirs = &context.looked_in.dirs();
        trash::find(host, context.state_dir.as_deref(), dirs, entries)
            .1
            .is_empty()
    };
    let kept = by.and_then(|by| by.undo.clone()).filter(|back| {
        first.request.only_adds()
            && matches!(back, Request::Restore(Restore { entries }) if is_there(entries))
    });
    let request = kept.unwrap_or_else(|| first.request.clone());
    if !request.is_of_images() {
        return plan.refuse(
            RefusalKind::Damaged,
            format!("the log is damaged: entry {} leads back into it", entry.id),
        );
    }
    let asked = Request::Redo(RedoEntry {
        entry: Some(entry.id),
        folders: Vec::new(),
    });
    plan.become_plan_of(&request, asked);
    plan.title = title;
}

fn choose_again<'e>(
    entries: &'e [Entry],
    wanted: Option<u64>,
    folders: &[PathBuf],
) -> Result<&'e Entry, Reason> {
    let lasting = |sentence: String| Reason::new(RefusalKind::NotReversible, sentence);
    let entry = match wanted {
        Some(id) => numbered(entries, id)?,
        None => taken_back_last(entries, folders)
            .ok_or_else(|| lasting("nothing was taken back that could be done again".to_owned()))?,
    };
    if entry.standing != Standing::Undone {
        return Err(lasting(format!("entry {} is not taken back", entry.id)));
    }
    let is_newer =
        |one: &&Entry| Some(one.id) > entry.taken_back_by && one.is_done() && one.concerns(folders);
    let since = entries
        .iter()
        .filter(is_newer)
        .find(|one| !matches!(one.request.operation().nature(), Nature::DoesAgain(_)));
    match since.filter(|_| wanted.is_none()) {
        Some(since) => {
            let text = format!(
                "“{}” was done since “{}” was taken back",
                printable(&since.title),
                printable(&entry.title)
            );
            Err(Reason::new(RefusalKind::Stale, text).but(vec![WayOut::redo(entry.id)]))
        }
        None => Ok(entry),
    }
}
