//! Emptying the trash: the one operation that unlinks images, and only those already in the trash.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::Location;
use crate::host::LockSet;
use crate::image::taken_from;
use crate::units::{count, size};

use super::framework::copy_file::folder;
use super::framework::format::{listed, name, shown};
use super::framework::locks::{Locking, Use, who_uses};
use super::framework::may_write;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::reflinks::shared_bytes;
use super::framework::request::Name;
use super::framework::trash::Entry;
use super::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Undo,
    restore, trash,
};

/// Unlink entries of the trash for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmptyTrash {
    /// The trash entries' names; all of them are listed in the plan.
    pub entries: Vec<String>,
}

impl Operation for EmptyTrash {
    fn name(&self) -> &'static str {
        "trash empty"
    }

    fn verb(&self) -> &'static str {
        "Delete for good"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::TrashEntries(&mut self.entries));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new(&["trash", "empty"]);
        // Without a name the command line means all.
        (!self.entries.is_empty()).then(|| {
            self.entries
                .iter()
                .fold(line, |line, entry| line.word(entry))
        })
    }

    fn plan(&self, plan: &mut Plan) {
        plan_emptying(plan, &self.entries)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let entries = half.in_trash(&self.entries);
        match entries.is_empty() {
            true => Way::Nothing("everything named is deleted".to_owned()),
            false => Way::Ask(Self { entries }.into()),
        }
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.planned_way_back()
            .unwrap_or_else(|| Way::Impossible("what is deleted from the trash is gone".to_owned()))
    }
}

/// Plans to delete these entries for good.
fn plan_emptying(plan: &mut Plan, names: &[String]) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let state_dir = context.state_dir.as_deref();
    let (entries, missing) = trash::find(host, state_dir, &context.looked_in.dirs(), names);
    plan.title = restore::title("Delete for good", names, &entries);
    for name in missing {
        plan.refuse(
            RefusalKind::NotFound,
            format!("there is no {name} in the trash"),
        );
    }
    for entry in &entries {
        for file in &entry.files {
            plan.effect(
                EffectKind::Deletes,
                &file.original,
                Some(file.bytes),
                format!("{}, from the trash", size(file.bytes)),
            );
            plan.counterpart(&file.kept_at);
            // The last name is the one whose removal gives the blocks back.
            if host
                .stat_link(&file.kept_at)
                .is_ok_and(|stat| stat.links == 1)
            {
                let shared = shared_bytes(host, &file.kept_at).unwrap_or_default();
                let freed = file.bytes.saturating_sub(shared);
                plan.frees = plan.frees.saturating_add(freed);
            }
            may_write::refuse_folder(plan, host, folder(&file.kept_at));
            // A file that cannot be opened cannot be probed either; its owner may still delete it.
            if let Ok(Use::Busy(sentence)) = who_uses(host, &file.kept_at, LockSet::ReadWrite) {
                plan.refuse(RefusalKind::InUse, sentence);
            }
            let dependants: Vec<String> = context
                .forest
                .by_path(&file.original)
                .filter(|node| node.location == Location::Missing)
                .map(|node| node.children.as_slice())
                .unwrap_or_default()
                .iter()
                .filter_map(|child| context.forest.get(*child))
                .map(|child| name(&child.path))
                .collect();
            if !dependants.is_empty() {
                plan.warn(
                    NoteKind::Dependants,
                    format!(
                        "{} is missed by {}: without it they cannot be read again",
                        shown(&file.original),
                        listed(&dependants, 5)
                    ),
                );
            }
        }
        for problem in &entry.problems {
            plan.warn(NoteKind::Trash, format!("{}: {problem}", entry.name));
        }
    }
    warn_of_trashed_overlays(plan, &entries);
    if !plan.refusals.is_empty() {
        let dirs = context.looked_in.dirs();
        for sentence in trash::foreign(host, state_dir, &dirs) {
            plan.note(NoteKind::Trash, sentence);
        }
    }
    if plan.effects.is_empty() && plan.refusals.is_empty() {
        plan.refuse(
            RefusalKind::NotFound,
            "there is nothing to delete".to_owned(),
        );
    }
    plan.undo = Undo::Impossible("the files are unlinked".to_owned());
    plan.job = Some(Arc::new(Empty { entries }));
}

/// Other images in the trash may be built on what is deleted.
fn warn_of_trashed_overlays(plan: &mut Plan, entries: &[Entry]) {
    let context = plan.context().clone();
    let (host, dirs) = (context.host.as_ref(), context.looked_in.dirs());
    let files = || entries.iter().flat_map(|entry| &entry.files);
    let goes: BTreeSet<&PathBuf> = files().map(|file| &file.kept_at).collect();
    let mut lost: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let all = trash::list(host, context.state_dir.as_deref(), &dirs);
    let others = all.iter().flat_map(|entry| &entry.files);
    for file in others.filter(|file| !goes.contains(&file.kept_at)) {
        let base = trash::base_of(host, &file.kept_at);
        if let Some(base) = base.filter(|base| goes.contains(base)) {
            let files = lost.entry(base).or_default();
            files.push(name(&file.original));
        }
    }
    for (base, images) in lost {
        plan.warn(NoteKind::Dependants, format!(
            "{} in the trash {} built on {}: without it they show nothing when they are restored",
            listed(&images, 5),
            if images.len() == 1 { "is" } else { "are" },
            name(&taken_from(&base).unwrap_or(base))
        ));
    }
}

#[derive(Debug)]
struct Empty {
    entries: Vec<Entry>,
}

impl Job for Empty {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        let _settled = Locking::default().settle(plan)?;
        for entry in &self.entries {
            entry.require_unchanged(host)?;
        }
        progress.enter(Phase::CleanUp, 0);
        let mut touched = Vec::new();
        for entry in &self.entries {
            for file in &entry.files {
                if progress.is_cancelled() {
                    return Err(Error::cancelled(format!(
                        "cancelled: {} deleted, the rest is still in the trash",
                        count(touched.len(), "file")
                    )));
                }
                host.remove_file_of(file.file, &file.kept_at)
                    .map_err(|error| Error::io("delete", &file.kept_at, &error))?;
                touched.push(file.kept_at.clone());
            }
            entry.clear(host, plan.context().state_dir.as_deref());
        }
        Ok(Outcome {
            summary: format!("deleted {} for good", count(touched.len(), "file")),
            touched,
            undo: None,
            remarks: Vec::new(),
        })
    }
}
