//! Annotate: the note and the tags of an image. None of its bytes is written for them, so an image in use may get
//! them as any other.

mod missing;
mod several;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{
    Annotation, FolderNotes, GOLDEN, KEEP, MOST_TAGS, NOTES_FILE, annotation_of, read_tag,
    read_text,
};
use crate::host::{Host, printable};

use super::framework::annotations::{self, KeptIn};
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
use super::framework::resolve;
use super::{
    CommandLine, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Request,
    Undo,
};
use missing::plan_of_missing;
pub use several::AnnotateSeveral;

/// Change what is noted of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotate {
    /// The image.
    pub image: PathBuf,
    /// The note it gets; an empty one takes its note away.
    pub text: Option<String>,
    /// The tags it gets.
    pub tag: Vec<String>,
    /// The tags it loses.
    pub untag: Vec<String>,
    /// Whether it first loses all that is noted of it.
    pub clear: bool,
    /// What has to be noted of it now, of what takes another one back.
    #[serde(default)]
    pub instead_of: Option<Annotation>,
    /// Whether the image is not there, and only the notes of its folder are to speak of it: of what takes back that they
    /// were made to forget it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_missing: bool,
}

impl Request {
    /// To have the notes of its folder speak no longer of an image that is not there.
    #[must_use]
    pub fn forget_note(image: &Path) -> Self {
        Annotate {
            image: image.to_path_buf(),
            clear: true,
            ..Annotate::default()
        }
        .into()
    }

    /// To take one tag off an image.
    pub(super) fn untag(image: &Path, tag: &str) -> Self {
        Annotate {
            image: image.to_path_buf(),
            untag: vec![tag.to_owned()],
            ..Annotate::default()
        }
        .into()
    }
}

impl Annotate {
    /// What a command line that names images says of them.
    fn line(&self, mut line: CommandLine) -> CommandLine {
        if let Some(text) = &self.text {
            line = line.option("--text", Some(text));
        }
        line = line.flag("--clear", self.clear);
        for tag in &self.tag {
            line = line.option("--tag", Some(tag));
        }
        for tag in &self.untag {
            line = line.option("--untag", Some(tag));
        }
        line
    }

    /// Whether all that is noted goes, and nothing comes.
    fn only_clears(&self) -> bool {
        self.clear && self.text.is_none() && self.tag.is_empty()
    }

    /// What is noted of the image afterwards.
    fn after(&self, now: &Annotation) -> Result<Annotation, String> {
        let mut after = match self.clear {
            true => Annotation::default(),
            false => now.clone(),
        };
        if let Some(text) = &self.text {
            after.text = read_text(text)?;
        }
        for tag in &self.untag {
            let tag = read_tag(tag)?;
            after.tags.retain(|own| *own != tag);
        }
        for tag in &self.tag {
            after.tags.push(read_tag(tag)?);
        }
        after.tags.sort();
        after.tags.dedup();
        if after.tags.len() > MOST_TAGS {
            return Err(format!("an image has at most {MOST_TAGS} tags"));
        }
        Ok(after)
    }
}

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
enum Found {
    /// This.
    Changes(AnnotateJob),
    /// Nothing: a sentence.
    IsSo(String),
}

/// Finds what there is to do, and tells it; none where it is refused.
fn annotation(plan: &mut Plan, request: &Annotate) -> Option<Found> {
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

/// `#golden #web “kernel 6.9”`, on one line.
fn words(of: &Annotation) -> String {
    let text = of.text.replace('\n', " ");
    let text = printable(text);
    match (of.tags.is_empty(), text.is_empty()) {
        (true, true) => "nothing".to_owned(),
        (false, true) => of.tag_words(),
        (true, false) => format!("“{text}”"),
        (false, false) => format!("{} “{text}”", of.tag_words()),
    }
}

#[derive(Debug)]
struct AnnotateJob {
    image: PathBuf,
    before: Annotation,
    after: Annotation,
}

impl AnnotateJob {
    /// What takes it back.
    fn back(&self) -> Annotate {
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
    fn touched(&self, kept_in: &KeptIn) -> Vec<PathBuf> {
        let notes = match kept_in {
            KeptIn::Attributes => None,
            KeptIn::Folder(_) => Some(folder(&self.image).join(NOTES_FILE)),
        };
        std::iter::once(self.image.clone()).chain(notes).collect()
    }

    /// # Errors
    /// [`Error::Stale`] if something else is noted of the image by now.
    fn verify(&self, host: &dyn Host) -> Result<(), Error> {
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
