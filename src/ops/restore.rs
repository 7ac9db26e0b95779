//! Restore: files come back from the trash to where they were, bases before what is built on them.
//! Nothing is ever overwritten.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::Forest;
use crate::image::{entry_of, taken_from};
use crate::units::{self, count, size};

use super::framework::copy_file::folder;
use super::framework::format::{name, shown};
use super::framework::locks::Locking;
use super::framework::may_write;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::trash::{Entry, Since};
use super::{
    CommandLine, Discard, EffectKind, Error, Note, NoteKind, Outcome, Phase, Plan, Progress,
    RefusalKind, Remedy, Request, Undo, trash,
};

/// Bring entries back from the trash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The trash entries' names, as `trash list` shows them.
    pub entries: Vec<String>,
}

impl Request {
    /// To bring these entries back from the trash.
    pub(super) fn restore(entries: Vec<String>) -> Self {
        Restore { entries }.into()
    }
}

impl Operation for Restore {
    fn name(&self) -> &'static str {
        "trash restore"
    }

    fn verb(&self) -> &'static str {
        "Restore"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Restores
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::TrashEntries(&mut self.entries));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new(&["trash", "restore"]);
        Some(
            self.entries
                .iter()
                .fold(line, |line, entry| line.word(entry)),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_restore(plan, &self.entries)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let entries = half.in_trash(&self.entries);
        match entries.is_empty() {
            true => Way::Nothing("everything named is back at its place".to_owned()),
            false => Way::Ask(Self { entries }.into()),
        }
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        let spare = match &half.entry.roll_back {
            Some(Request::Discard(Discard { spare, .. })) => spare.clone(),
            _ => Vec::new(),
        };
        let images = half.there_of(&half.entry.creates);
        match images.is_empty() {
            true => Way::Nothing("everything is in the trash still".to_owned()),
            false => Way::Ask(Discard { images, spare }.into()),
        }
    }
}

/// Plans to bring these entries back.
fn plan_restore(plan: &mut Plan, names: &[String]) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let state_dir = context.state_dir.as_deref();
    let (entries, missing) = trash::find(host, state_dir, &context.looked_in.dirs(), names);
    plan.title = title("Restore", names, &entries);
    for name in missing {
        plan.refuse(
            RefusalKind::NotFound,
            format!("there is no {name} in the trash"),
        );
    }
    let mut targets = BTreeSet::new();
    for entry in &entries {
        // The opposite of the order in which they went.
        for file in entry.files.iter().rev() {
            let why = if file.why.is_empty() {
                size(file.bytes)
            } else {
                format!("{}, {}", size(file.bytes), file.why)
            };
            plan.effect(EffectKind::Restores, &file.original, Some(file.bytes), why);
            plan.counterpart(&file.kept_at);
            may_write::refuse_folder(plan, host, folder(&file.kept_at));
            if host.stat_link(&file.original).is_ok() {
                plan.refuse(
                    RefusalKind::AlreadyExists,
                    format!(
                        "{} is taken: move what is there away first",
                        shown(&file.original)
                    ),
                );
            } else if !targets.insert(file.original.clone()) {
                plan.refuse(
                    RefusalKind::Invalid,
                    format!(
                        "two of the entries named hold {}: restore one of them",
                        shown(&file.original)
                    ),
                );
            } else {
                plan.preconditions.add_absent(&file.original);
            }
        }
        for problem in &entry.problems {
            plan.warn(NoteKind::Trash, format!("{}: {problem}", entry.name));
        }
    }
    say_what_became_of_bases(plan, &entries);
    if !plan.refusals.is_empty() {
        let dirs = context.looked_in.dirs();
        for sentence in trash::foreign(host, state_dir, &dirs) {
            plan.note(NoteKind::Trash, sentence);
        }
    }
    if plan.effects.is_empty() && plan.refusals.is_empty() {
        plan.refuse(
            RefusalKind::NotFound,
            "there is nothing to restore".to_owned(),
        );
    }
    plan.undo = Undo::Possible("discard the images again".to_owned());
    let files = entries.iter().flat_map(|entry| &entry.files);
    let back = Request::Discard(Discard {
        images: files.map(|file| file.original.clone()).collect(),
        spare: orphans(&context.forest, &entries),
    });
    plan.roll_back = Some(back.clone());
    plan.job = Some(Arc::new(RestoreJob { entries, back }));
}

/// The images that are built on what comes back, directly or not, and stand without it now.
fn orphans(forest: &Forest, entries: &[Entry]) -> Vec<PathBuf> {
    let files = entries.iter().flat_map(|entry| &entry.files);
    let missing = files.filter_map(|file| forest.by_path(&file.original));
    let direct = missing.flat_map(|node| forest.live_children(node));
    let with_above = direct.flat_map(|child| {
        let above = forest.descendants(child.id).into_iter();
        std::iter::once(child).chain(above.filter_map(|id| forest.get(id)))
    });
    let live = with_above.filter(|node| !node.is_in_trash());
    live.map(|node| node.path.clone()).collect()
}

/// What the images that come back show, where that is not what they showed.
pub(super) fn say_what_became_of_bases(plan: &mut Plan, entries: &[Entry]) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let files = || entries.iter().flat_map(|entry| &entry.files);
    let comes_too: BTreeSet<&PathBuf> = files().map(|file| &file.kept_at).collect();
    for file in files() {
        let image = name(&file.original);
        match trash::since(host, &file.kept_at, file.base.as_ref()) {
            Since::Same => {}
            Since::Moved(base) => plan.note(NoteKind::Base, format!(
                "what {image} is built on was moved to {} since, and {image} knows it by that name: it shows \
                 what it showed",
                shown(&base)
            )),
            Since::Written(base, now) => {
                let ago = host.now().duration_since(now.modified());
                let ago = ago.map_or_else(|_| String::new(), |ago| format!(", {} ago", units::ago(ago)));
                plan.warn(NoteKind::Base, format!(
                    "{} was written after {image} went to the trash{ago}: where {image} reads it, it shows \
                     other content than it did",
                    shown(&base)
                ));
            }
            Since::Replaced(base) => plan.warn(NoteKind::Base, format!(
                "{} is another file than the one {image} was built on: {image} shows other content than it did, \
                 or none",
                shown(&base)
            )),
            Since::InTrash(base) if comes_too.contains(&base) => {}
            Since::InTrash(base) => {
                let text = format!(
                    "{image} is built on {}, which is in the trash too: it cannot be read until that is restored",
                    name(&taken_from(&base).unwrap_or_else(|| base.clone()))
                );
                let entry = entry_of(&base).and_then(OsStr::to_str);
                let remedies = entry.map(Remedy::restore).into_iter().collect();
                plan.warn_of(Note::new(NoteKind::Base, text).helped_by(remedies));
            }
            Since::Missing(base) => plan.warn(NoteKind::Base, format!(
                "{image} is built on {}, which is not there: it cannot be read until that is",
                shown(&base)
            )),
            Since::Unknown(base) => plan.note(NoteKind::Base, format!(
                "nothing was written down of {}, which {image} is built on: whether it changed since cannot be \
                 told",
                shown(&base)
            )),
        }
    }
}

/// `Restore a.qcow2`, `Restore 3 files`.
pub(super) fn title(verb: &str, names: &[String], entries: &[Entry]) -> String {
    let files: Vec<_> = entries.iter().flat_map(|entry| &entry.files).collect();
    match files.as_slice() {
        [] => format!("{verb} {}", names.join(", ")),
        [one] => format!("{verb} {}", name(&one.original)),
        more => format!("{verb} {}", count(more.len(), "file")),
    }
}

#[derive(Debug)]
struct RestoreJob {
    entries: Vec<Entry>,
    /// What takes it back.
    back: Request,
}

impl Job for RestoreJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        let _settled = Locking::default().settle(plan)?;
        for entry in &self.entries {
            entry.require_unchanged(host)?;
        }
        progress.enter(Phase::Switch, 0);
        let mut restored: Vec<PathBuf> = Vec::new();
        let mut touched = Vec::new();
        for entry in &self.entries {
            for file in entry.files.iter().rev() {
                let stopped = |error: Error| match restored.len() {
                    0 => error,
                    n => error.and_failed(&format!(
                        "; {} restored before that, the rest is still in the trash",
                        count(n, "file")
                    )),
                };
                if progress.is_cancelled() {
                    return Err(Error::cancelled(format!(
                        "cancelled: {} restored, the rest is still in the trash",
                        count(restored.len(), "file")
                    )));
                }
                host.rename_new_of(file.file, &file.kept_at, &file.original)
                    .map_err(|error| stopped(Error::io("restore", &file.original, &error)))?;
                // Stable before an image that is built on it comes back.
                for dir in [file.original.parent(), file.kept_at.parent()] {
                    let Some(dir) = dir else { continue };
                    host.sync_dir(dir)
                        .map_err(|error| stopped(Error::io("sync", dir, &error)))?;
                }
                restored.push(file.original.clone());
                touched.extend([file.kept_at.clone(), file.original.clone()]);
            }
            entry.clear(host, plan.context().state_dir.as_deref());
        }
        let summary = match restored.as_slice() {
            [one] => format!("restored {}", shown(one)),
            more => format!("restored {}", count(more.len(), "file")),
        };
        Ok(Outcome {
            summary,
            touched,
            undo: Some(self.back.clone()),
            remarks: Vec::new(),
        })
    }
}
