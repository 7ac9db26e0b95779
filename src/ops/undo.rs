//! Undo and redo: the operation that takes back another one, as the journal remembers it, and the one that
//! does again what was taken back. Both are plans like any other, refused where a file has moved on since.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::host::io_text;
use crate::host::{Host, printable};
use crate::units::{ago, count};

use super::framework::format::{listed, shown};
use super::framework::journal::{Entry, Journal, Standing, origin};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::preconditions::{Compare, FileVersion};
use super::framework::recovery::{Half, Way};
use super::framework::refusal::Reason;
use super::framework::request::Name;
use super::{CommandLine, EffectKind, NoteKind, Plan, RefusalKind, Request, WayOut, trash};

/// Take back an operation of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoEntry {
    /// Its number; none for the newest that can be taken back.
    pub entry: Option<u64>,
    /// Without a number: it concerns a file at or below one of these, or any where there are none.
    #[serde(default)]
    pub folders: Vec<PathBuf>,
}

impl Operation for UndoEntry {
    fn name(&self) -> &'static str {
        "undo"
    }

    fn verb(&self) -> &'static str {
        "Undo"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::TakesBack(self.entry)
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
        Some(line_of("undo", self.entry, &self.folders))
    }

    fn plan(&self, plan: &mut Plan) {
        plan_undo(plan, self.entry, &self.folders)
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

/// `qanopy undo 3`, `qanopy redo --dir images`.
pub(super) fn line_of(command: &str, entry: Option<u64>, folders: &[PathBuf]) -> CommandLine {
    let line = CommandLine::new(&[command]);
    match entry {
        Some(entry) => line.plain(entry),
        None => folders
            .iter()
            .fold(line, |line, dir| line.option_path("--dir", Some(dir))),
    }
}

/// The newest entry that can be taken back and concerns one of these folders (of none: whatever it concerns),
/// and those newer than it that cannot.
#[must_use]
pub fn newest<'e>(
    entries: &'e [Entry],
    folders: &[PathBuf],
) -> (Option<&'e Entry>, Vec<&'e Entry>) {
    let mut skipped = Vec::new();
    let done = |entry: &&Entry| entry.is_done() && entry.concerns(folders);
    for entry in entries.iter().rev().filter(done) {
        if entry.can_be_undone() {
            return (Some(entry), skipped);
        }
        skipped.push(entry);
    }
    (None, skipped)
}

/// The entry that was taken back last, of those that concern one of these folders.
#[must_use]
pub fn taken_back_last<'e>(entries: &'e [Entry], folders: &[PathBuf]) -> Option<&'e Entry> {
    let undone = entries
        .iter()
        .filter(|entry| entry.standing == Standing::Undone && entry.concerns(folders));
    undone.max_by_key(|entry| entry.taken_back_by)
}

/// The journal's entries, or the reason why there is none.
pub(super) fn entries(plan: &Plan) -> Result<Vec<Entry>, Reason> {
    let Some(state_dir) = plan.context().state_dir.as_deref() else {
        return Err(Reason::new(
            RefusalKind::NotReversible,
            "nothing is remembered from run to run: there is no log",
        ));
    };
    let journal = Journal::at(state_dir);
    journal.entries().map_err(|error| {
        let file = shown(journal.path());
        Reason::new(
            RefusalKind::Unreadable,
            format!(
                "the log {file} cannot be read: {error}",
                error = io_text(&error)
            ),
        )
    })
}

pub(super) fn titled(plan: &Plan, verb: &str, entries: &[Entry], entry: &Entry) -> String {
    let what = printable(&origin(entries, entry).title);
    let age = age(plan.host().now(), entry);
    format!("{verb}: {what} ({age})")
}

fn age(now: SystemTime, entry: &Entry) -> String {
    now.duration_since(entry.begun)
        .map_or_else(|_| "just now".to_owned(), |age| format!("{} ago", ago(age)))
}

/// Plans to take back the entry of this number, or the newest that can be and concerns the folders.
fn plan_undo(plan: &mut Plan, wanted: Option<u64>, folders: &[PathBuf]) {
    plan.title = "Undo".to_owned();
    let context = plan.context().clone();
    let entries = match entries(plan) {
        Ok(entries) => entries,
        Err(reason) => return plan.refuse_for(reason),
    };
    let (entry, skipped) = match choose(&entries, wanted, folders) {
        Ok(found) => found,
        Err(reason) => return plan.refuse_for(reason),
    };
    let title = titled(plan, "Undo", &entries, entry);
    plan.title.clone_from(&title);
    let what = printable(&origin(&entries, entry).title);
    // One that leads back into the journal was not written by us, and might lead round in a circle.
    let Some(undo) = entry.undo.as_ref().filter(|undo| undo.is_of_images()) else {
        return plan.refuse(
            RefusalKind::NotReversible,
            format!("nothing takes back what was done: {what}"),
        );
    };
    if let Some(path) = entry.left.moved_on(context.host.as_ref()) {
        return plan.refuse(
            RefusalKind::Stale,
            format!(
                "{} has changed since: taking back “{what}” would lose that",
                shown(path),
            ),
        );
    }
    let rests_on = undo.operation().rests_on();
    if let RestsOn::Trashed {
        layers,
        entry: batch,
    } = rests_on
        && let Some(layer) = changed_layer(context.host.as_ref(), entry, layers, batch)
    {
        return plan.refuse(RefusalKind::Stale, format!(
            "{} was changed since it was merged: taking back “{what}” would change what is built on it",
            shown(&layer)
        ));
    }
    let asked = Request::Undo(UndoEntry {
        entry: Some(entry.id),
        folders: Vec::new(),
    });
    plan.become_plan_of(undo, asked);
    plan.title = title;
    if let RestsOn::Made(images) = rests_on {
        refuse_others(plan, images);
    }
    if !skipped.is_empty() {
        let now = context.host.now();
        let names = skipped.iter().map(|one| {
            let title = printable(&origin(&entries, one).title);
            format!("“{title}” ({}, {})", one.id, age(now, one))
        });
        let names: Vec<String> = names.collect();
        plan.warn_first(
            NoteKind::Order,
            format!(
                "{} cannot be taken back and stay{} as {}: {}. What is taken back was done before",
                count(names.len(), "newer operation"),
                if names.len() == 1 { "s" } else { "" },
                if names.len() == 1 {
                    "it is"
                } else {
                    "they are"
                },
                listed(&names, 5)
            ),
        );
    }
    if wanted.is_none() {
        plan.note(
            NoteKind::Order,
            match folders {
                [] => "it is the newest of all that was done, wherever that was".to_owned(),
                some => {
                    let dirs: Vec<String> = some.iter().map(|dir| shown(dir)).collect();
                    format!("it is the newest that was done in {}", listed(&dirs, 5))
                }
            },
        );
    }
}

/// A layer that a commit put into the trash and that is not what it left, wherever it is by now. What is not
/// there is told by the plan.
fn changed_layer(
    host: &dyn Host,
    commit: &Entry,
    layers: &[PathBuf],
    batch: &str,
) -> Option<PathBuf> {
    let mut places = layers.iter().filter_map(|layer| {
        let folder = layer.parent()?.join(trash::DIR).join(batch);
        let kept = folder.join(layer.file_name()?);
        [kept, layer.clone()]
            .into_iter()
            .find(|place| host.stat_link(place).is_ok())
    });
    places.find(|place| !FileVersion::now(host, place).is_ok_and(|now| commit.after.knows(&now)))
}

/// Taking back what made some images removes these, and nothing that came to be built on them.
fn refuse_others(plan: &mut Plan, made: &[PathBuf]) {
    let host = Arc::clone(&plan.context().host);
    let id = |path: &Path| host.stat_link(path).ok().map(|stat| stat.id);
    let made: Vec<_> = made.iter().map(|path| id(path)).collect();
    let goes = plan.effects.iter();
    let goes = goes.filter(|effect| effect.kind == EffectKind::Trashes);
    let others: Vec<String> = goes
        .filter(|effect| !made.contains(&id(&effect.path)))
        .map(|effect| shown(&effect.path))
        .collect();
    if !others.is_empty() {
        plan.refuse(
            RefusalKind::HasDependants,
            format!(
                "{} {} built on what this takes away: discard, rebase or take {} back first",
                listed(&others, 5),
                if others.len() == 1 { "is" } else { "are" },
                if others.len() == 1 { "it" } else { "them" },
            ),
        );
    }
}

/// The entry of this number.
///
/// # Errors
/// There is none.
pub(super) fn numbered(entries: &[Entry], id: u64) -> Result<&Entry, Reason> {
    let entry = entries.iter().find(|entry| entry.id == id);
    entry.ok_or_else(|| Reason::new(RefusalKind::NotFound, format!("the log has no entry {id}")))
}

/// Which entry is meant, and what is passed over to get to it.
fn choose<'e>(
    entries: &'e [Entry],
    wanted: Option<u64>,
    folders: &[PathBuf],
) -> Result<(&'e Entry, Vec<&'e Entry>), Reason> {
    let lasting = |sentence: String| Err(Reason::new(RefusalKind::NotReversible, sentence));
    if let Some(id) = wanted {
        let entry = numbered(entries, id)?;
        return match &entry.standing {
            Standing::Done(_) => Ok((entry, Vec::new())),
            Standing::Undone => Err(Reason::new(
                RefusalKind::NotReversible,
                format!("entry {id} is taken back already"),
            )
            .but(vec![WayOut::redo(id)])),
            Standing::Settled => lasting(format!("entry {id} is taken back or finished already")),
            Standing::Running => Err(Reason::new(
                RefusalKind::InUse,
                format!("entry {id} is still being carried out"),
            )),
            Standing::Failed(_) => {
                lasting(format!("entry {id} failed: there is nothing to take back"))
            }
            Standing::Interrupted => Err(Reason::new(
                RefusalKind::Interrupted,
                format!("entry {id} was interrupted"),
            )
            .but(WayOut::recover(id, entry.may_be_rolled_back()))),
        };
    }
    let (possible, skipped) = newest(entries, folders);
    match (possible, skipped.first()) {
        (Some(entry), _) => Ok((entry, skipped)),
        (None, Some(newest)) => lasting(format!(
            "nothing in the log can be taken back; the newest entry is “{}”",
            printable(&newest.title)
        )),
        (None, None) if folders.is_empty() => {
            lasting("nothing was done yet that could be taken back".to_owned())
        }
        (None, None) => {
            let dirs: Vec<String> = folders.iter().map(|dir| shown(dir)).collect();
            lasting(format!(
                "nothing was done yet in {} that could be taken back",
                listed(&dirs, 5)
            ))
        }
    }
}
