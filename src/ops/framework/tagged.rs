//! What an operation does to images that people have tagged: one that is to be kept is not discarded, and a golden one
//! is neither changed nor taken away but by number. Asked here for every operation, by what its plan does to files:
//! when it is planned, and once more under its locks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::forest::{FolderNotes, GOLDEN, KEEP, NOTES_FILE, NotesReader};
use crate::host::io_text;

use super::copy_file::folder;
use super::error::Error;
use super::format::shown;
use super::note::{Note, NoteKind};
use super::on_machines::OnMachines;
use super::plan::{EffectKind, Plan};
use super::refusal::{RefusalKind, WayOut};
use super::request::Request;

/// Judges the plan.
pub(in crate::ops) fn judge(plan: &mut Plan) {
    let golden = golden(plan);
    for path in &golden {
        let text = format!(
            "{} is tagged {GOLDEN}: others may be made from it as it is now",
            shown(path)
        );
        let note = Note::new(NoteKind::Tagged, text).warning();
        if !plan.notes.contains(&note) {
            plan.notes.push(note);
        }
    }
    warn_of_unread(plan);
    // What was interrupted has to come to an end.
    if plan.on_machines == OnMachines::Warn {
        return;
    }
    plan.golden = u64::try_from(golden.len()).unwrap_or(u64::MAX);
    for path in kept(plan) {
        let text = format!("{} is tagged {KEEP}, so it is not discarded", shown(&path));
        if plan.refusals.iter().any(|refusal| refusal.text == text) {
            continue;
        }
        let ways_out = vec![WayOut {
            label: format!("take the tag {KEEP} off"),
            request: Request::untag(&path, KEEP),
        }];
        plan.refuse_but(RefusalKind::Tagged, text, ways_out);
    }
}

/// Says which notes of folders cannot be read: they may protect an image.
fn warn_of_unread(plan: &mut Plan) {
    let effects = plan.effects.iter().filter(|effect| is_done_to(effect.kind));
    let folders: BTreeSet<PathBuf> = effects
        .map(|effect| folder(&effect.path).to_path_buf())
        .collect();
    for dir in folders {
        if let Err(error) = FolderNotes::read(plan.host(), &dir) {
            let text = format!(
                "{} cannot be read ({}): whether it protects images there is not known",
                shown(&dir.join(NOTES_FILE)),
                io_text(&error)
            );
            let note = Note::new(NoteKind::Unseen, text).warning();
            if !plan.notes.contains(&note) {
                plan.notes.push(note);
            }
        }
    }
}

/// Judges it by the tags that its images have now, with all locks held.
///
/// # Errors
/// [`Error::Stale`] tells of an image that was tagged since.
pub(in crate::ops) fn look_again(plan: &Plan) -> Result<(), Error> {
    if plan.on_machines == OnMachines::Warn {
        return Ok(());
    }
    let known = usize::try_from(plan.golden).unwrap_or(usize::MAX);
    let golden = golden(plan);
    let is_more = golden.len() > known;
    let mut tagged = kept(plan);
    tagged.extend(golden.into_iter().filter(|_| is_more));
    tagged.first().map_or(Ok(()), |path| {
        Err(Error::stale(format!(
            "{} was tagged since the plan was made: plan again",
            shown(path)
        )))
    })
}

/// The images that would be discarded although they are to be kept.
fn kept(plan: &Plan) -> BTreeSet<PathBuf> {
    let mut kept = tagged(plan, KEEP, |kind| kind == EffectKind::Trashes);
    kept.retain(|path| !plan.puts_another_at(path));
    kept
}

/// The golden images that would be changed or taken away.
fn golden(plan: &Plan) -> BTreeSet<PathBuf> {
    tagged(plan, GOLDEN, is_done_to)
}

/// Whether an image is changed or taken away. What is deleted was in the trash, or is no image.
fn is_done_to(kind: EffectKind) -> bool {
    kind.changes() || kind.leaves() && kind != EffectKind::Deletes
}

fn tagged(plan: &Plan, tag: &str, is_meant: impl Fn(EffectKind) -> bool) -> BTreeSet<PathBuf> {
    let forest = &plan.context().forest;
    let effects = plan.effects.iter().filter(|effect| is_meant(effect.kind));
    let paths: BTreeSet<&Path> = effects.map(|effect| effect.path.as_path()).collect();
    let images = paths
        .into_iter()
        .filter(|path| forest.by_path(path).is_some());
    let mut notes = NotesReader::new(plan.host());
    let tagged = images.filter(|path| {
        let noted = notes.of(path);
        noted.is_some_and(|noted| noted.has(tag))
    });
    tagged.map(Path::to_path_buf).collect()
}
