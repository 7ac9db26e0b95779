//! What the notes of a folder say of an image that is not there: they are made to forget it, which is taken back as
//! everything is.

use std::path::PathBuf;
use std::sync::Arc;

use crate::forest::{Annotation, FolderNotes, NOTES_FILE};
use crate::ops::framework::copy_file::folder;
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::locks::Locking;
use crate::ops::framework::plan::Job;
use crate::ops::framework::{annotations, may_write, resolve};
use crate::ops::{EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Undo};

use super::request::{Annotate, words};

/// Plans to take out of the notes of a folder what they say of an image that is not there, or to put it back.
pub(super) fn plan_of_missing(plan: &mut Plan, request: &Annotate) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    let image = request.image.as_path();
    plan.title = format!("Forget the note of {}", name(image));
    let notes = match FolderNotes::read(host, folder(image)) {
        Ok(notes) => notes,
        Err(error) => {
            let file = folder(image).join(NOTES_FILE);
            return plan.refuse_for(resolve::unseen(&file, &error));
        }
    };
    let now = image.file_name().and_then(|name| notes.of(name).cloned());
    let back = request.of_missing;
    let after = match request.after(&Annotation::default()) {
        Ok(after) => back.then_some(after),
        Err(sentence) => return plan.refuse(RefusalKind::Invalid, sentence),
    };
    if back && now.is_some() {
        let text = format!("something is noted of {} again", shown(image));
        return plan.refuse(RefusalKind::Stale, text);
    }
    let said = |of: &Option<Annotation>| of.as_ref().map_or_else(|| "nothing".to_owned(), words);
    let detail = format!("{} (was: {})", said(&after), said(&now));
    plan.effect(EffectKind::Annotates, image, None, detail);
    let text = format!(
        "{} is not there: only the notes of its folder speak of it",
        shown(image)
    );
    plan.note(NoteKind::Manner, text);
    may_write::refuse_folder(plan, host, folder(image));
    plan.preconditions.add_absent(image);
    plan.undo = Undo::Possible(format!("note of it again: {}", said(&now)));
    let noted = now.clone().unwrap_or_default();
    let way_back = match back {
        true => Annotate {
            image: image.to_path_buf(),
            clear: true,
            ..Annotate::default()
        },
        false => Annotate {
            image: image.to_path_buf(),
            text: Some(noted.text),
            tag: noted.tags,
            untag: Vec::new(),
            clear: true,
            instead_of: None,
            of_missing: true,
        },
    };
    plan.roll_back = Some(way_back.into());
    plan.job = Some(Arc::new(MissingJob {
        image: image.to_path_buf(),
        after,
    }));
}

#[derive(Debug)]
struct MissingJob {
    image: PathBuf,
    after: Option<Annotation>,
}

impl Job for MissingJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Switch, 0);
        let _settled = Locking::default().settle(plan)?;
        annotations::write_of_missing(plan.host(), &self.image, self.after.as_ref())?;
        let does = match self.after {
            Some(_) => "speak again",
            None => "speak no longer",
        };
        Ok(Outcome {
            summary: format!("the notes of its folder {does} of {}", shown(&self.image)),
            touched: vec![folder(&self.image).join(NOTES_FILE)],
            undo: plan.roll_back.clone(),
            remarks: Vec::new(),
        })
    }
}
