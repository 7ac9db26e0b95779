//! Annotate: the note and the tags of an image. None of its bytes is written for them, so an image in use may get
//! them as any other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{
    Annotation, GOLDEN, KEEP, MOST_TAGS, NOTES_FILE, annotation_of, read_tag, read_text,
};
use crate::host::printable;

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
}

impl Request {
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
        let mut line = CommandLine::new(&["note"]).path(&self.image);
        if let Some(text) = &self.text {
            line = line.word(text);
        }
        line = line.flag("--clear", self.clear);
        for tag in &self.tag {
            line = line.option("--tag", Some(tag));
        }
        for tag in &self.untag {
            line = line.option("--untag", Some(tag));
        }
        Some(line)
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
    let context = plan.context().clone();
    let host = context.host.as_ref();
    plan.title = format!("Note something of {}", name(&request.image));
    let of_device = "nothing can be noted of it";
    let path = match resolve::regular_file(&context, &request.image, of_device) {
        Ok((node, _)) => &node.path,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    let now = annotation_of(host, path).unwrap_or_default();
    let after = match request.after(&now) {
        Ok(after) => after,
        Err(sentence) => return plan.refuse(RefusalKind::Invalid, sentence),
    };
    let is_other = |was: &Annotation| !was.says_the_same(&now);
    if request.instead_of.as_ref().is_some_and(is_other) {
        let text = format!(
            "what is noted of {} is another by now: {}",
            shown(path),
            words(&now)
        );
        return plan.refuse(RefusalKind::Stale, text);
    }
    if after.says_the_same(&now) {
        let text = format!("of {} that is noted already: {}", shown(path), words(&now));
        return plan.refuse_as_done(text);
    }
    let detail = format!("{} (was: {})", words(&after), words(&now));
    plan.effect(EffectKind::Annotates, path, None, detail);
    say_where(plan, path);
    warn_of_losses(plan, path, &now, &after);
    plan.keeps.push(format!("every byte of {}", name(path)));
    plan.require_unchanged(path, Compare::Identity);
    plan.undo = Undo::Possible(format!("note of it again: {}", words(&now)));
    let back = Annotate {
        image: path.clone(),
        text: Some(now.text.clone()),
        tag: now.tags.clone(),
        untag: Vec::new(),
        clear: true,
        instead_of: Some(after.clone()),
    };
    plan.roll_back = Some(back.into());
    plan.job = Some(Arc::new(AnnotateJob {
        image: path.clone(),
        before: now,
        after,
    }));
}

/// Says where it is going to be kept.
fn say_where(plan: &mut Plan, path: &Path) {
    let host = Arc::clone(&plan.context().host);
    match KeptIn::of(host.as_ref(), path) {
        KeptIn::Attributes => plan.note(
            NoteKind::Manner,
            "it is kept in extended attributes of the file, and goes with it",
        ),
        KeptIn::Folder(why) => {
            let text = format!("it is kept in the file {NOTES_FILE} of its folder, since {why}");
            plan.note(NoteKind::Manner, text);
            may_write::refuse_folder(plan, host.as_ref(), folder(path));
        }
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

impl Job for AnnotateJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Switch, 0);
        let host = plan.host();
        // Nobody who has it open is disturbed by it: there is nothing to lock.
        let locks = Locking::default().settle(plan)?;
        let now = annotation_of(host, &self.image).unwrap_or_default();
        if !now.says_the_same(&self.before) {
            let text = format!("what is noted of {} is another by now", shown(&self.image));
            return Err(Error::stale(text));
        }
        let kept_in = annotations::write(host, &self.image, &self.after)?;
        drop(locks);
        let mut touched = vec![self.image.clone()];
        let place = match kept_in {
            KeptIn::Attributes => String::new(),
            KeptIn::Folder(_) => {
                touched.push(folder(&self.image).join(NOTES_FILE));
                format!(", in the file {NOTES_FILE} of its folder")
            }
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
