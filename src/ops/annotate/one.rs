//! The note and the tags of one image.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::{Annotation, FolderNotes, GOLDEN, KEEP, NOTES_FILE, annotation_of};
use crate::host::Host;
use crate::ops::framework::annotations::{self, KeptIn};
use crate::ops::framework::copy_file::folder;
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::locks::Locking;
use crate::ops::framework::may_write;
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::request::Name;
use crate::ops::framework::resolve;
use crate::ops::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Undo,
};

use super::missing::plan_of_missing;
use super::request::{Annotate, words};

impl Operation for Annotate {
    fn name(&self) -> &'static str {
        "note"
    }

    fn verb(&self) -> &'static str {
        "Note"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(self.line(CommandLine::new(&["note"]).path(&self.image)))
    }

    fn plan(&self, plan: &mut Plan) {
        plan_annotation(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Identity)
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

fn plan_annotation(plan: &mut Plan, request: &Annotate) {
    let host = Arc::clone(&plan.context().host);
    plan.title = format!("Note something of {}", name(&request.image));
    if host.stat_link(&request.image).is_err()
        && (request.only_clears() && FolderNotes::are_stale(&*host, &request.image)
            || request.of_missing)
    {
        return plan_of_missing(plan, request);
    }
    match annotation(plan, request) {
        Some(Found::Changes(job)) => {
            plan.undo = Undo::Possible(format!("note of it again: {}", words(&job.before)));
            plan.roll_back = Some(job.back().into());
            plan.job = Some(Arc::new(job));
        }
        Some(Found::IsSo(sentence)) => plan.refuse_as_done(sentence),
        // It is refused.
        None => {}
    }
}

/// What there is to do for an image.
pub(super) enum Found {
    /// This.
    Changes(AnnotateJob),
    /// Nothing: a sentence.
    IsSo(String),
}

/// Finds what there is to do, and tells it; none where it is refused.
pub(super) fn annotation(plan: &mut Plan, request: &Annotate) -> Option<Found> {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let of_device = "nothing can be noted of it";
    let path = match resolve::regular_file(&context, &request.image, of_device) {
        Ok((node, _)) => &node.path,
        Err(sentence) => {
            plan.refuse_for(sentence);
            return None;
        }
    };
    let now = annotation_of(host, path).unwrap_or_default();
    let after = match request.after(&now) {
        Ok(after) => after,
        Err(sentence) => {
            plan.refuse(RefusalKind::Invalid, sentence);
            return None;
        }
    };
    let is_other = |was: &Annotation| !was.says_the_same(&now);
    if request.instead_of.as_ref().is_some_and(is_other) {
        let text = format!(
            "what is noted of {} is another by now: {}",
            shown(path),
            words(&now)
        );
        plan.refuse(RefusalKind::Stale, text);
        return None;
    }
    if after.says_the_same(&now) {
        let text = format!("of {} that is noted already: {}", shown(path), words(&now));
        return Some(Found::IsSo(text));
    }
    let detail = format!("{} (was: {})", words(&after), words(&now));
    plan.effect(EffectKind::Annotates, path, None, detail);
    say_where(plan, path);
    warn_of_losses(plan, path, &now, &after);
    plan.keeps.push(format!("every byte of {}", name(path)));
    plan.require_unchanged(path, Compare::Identity);
    Some(Found::Changes(AnnotateJob {
        image: path.clone(),
        before: now,
        after,
    }))
}

/// Says where it is going to be kept.
fn say_where(plan: &mut Plan, path: &Path) {
    let host = Arc::clone(&plan.context().host);
    match KeptIn::of(host.as_ref(), path) {
        KeptIn::Attributes => note_once(
            plan,
            "it is kept in extended attributes of the file, and goes with it".to_owned(),
        ),
        KeptIn::Folder(why) => {
            let text = format!("it is kept in the file {NOTES_FILE} of its folder, since {why}");
            note_once(plan, text);
            may_write::refuse_folder(plan, host.as_ref(), folder(path));
        }
    }
}

/// Of several images the same is said once.
fn note_once(plan: &mut Plan, text: String) {
    if plan.notes.iter().all(|note| note.text != text) {
        plan.note(NoteKind::Manner, text);
    }
}

fn warn_of_losses(plan: &mut Plan, path: &Path, now: &Annotation, after: &Annotation) {
    if !now.text.is_empty() && now.text != after.text {
        plan.warn(
            NoteKind::Manner,
            format!("the note that {} has now goes", name(path)),
        );
    }
    for tag in [KEEP, GOLDEN] {
        if now.has(tag) && !after.has(tag) {
            let text = format!("{} is no longer protected by the tag {tag}", name(path));
            plan.warn(NoteKind::Tagged, text);
        }
    }
}

#[derive(Debug)]
pub(super) struct AnnotateJob {
    pub(super) image: PathBuf,
    pub(super) before: Annotation,
    pub(super) after: Annotation,
}

impl AnnotateJob {
    /// What takes it back.
    pub(super) fn back(&self) -> Annotate {
        Annotate {
            image: self.image.clone(),
            text: Some(self.before.text.clone()),
            tag: self.before.tags.clone(),
            untag: Vec::new(),
            clear: true,
            instead_of: Some(self.after.clone()),
            of_missing: false,
        }
    }

    /// The files that were written for it.
    pub(super) fn touched(&self, kept_in: &KeptIn) -> Vec<PathBuf> {
        let notes = match kept_in {
            KeptIn::Attributes => None,
            KeptIn::Folder(_) => Some(folder(&self.image).join(NOTES_FILE)),
        };
        std::iter::once(self.image.clone()).chain(notes).collect()
    }

    /// # Errors
    /// [`Error::Stale`] if something else is noted of the image by now.
    pub(super) fn verify(&self, host: &dyn Host) -> Result<(), Error> {
        let now = annotation_of(host, &self.image).unwrap_or_default();
        if now.says_the_same(&self.before) {
            return Ok(());
        }
        let text = format!("what is noted of {} is another by now", shown(&self.image));
        Err(Error::stale(text))
    }
}

impl Job for AnnotateJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Switch, 0);
        let host = plan.host();
        // Nobody who has it open is disturbed by it: there is nothing to lock.
        let locks = Locking::default().settle(plan)?;
        self.verify(host)?;
        let kept_in = annotations::write(host, &self.image, &self.after)?;
        drop(locks);
        let touched = self.touched(&kept_in);
        let place = match kept_in {
            KeptIn::Attributes => String::new(),
            KeptIn::Folder(_) => format!(", in the file {NOTES_FILE} of its folder"),
        };
        Ok(Outcome {
            summary: format!(
                "noted of {}{place}: {}",
                shown(&self.image),
                words(&self.after)
            ),
            touched,
            undo: plan.roll_back.clone(),
            remarks: Vec::new(),
        })
    }
}
