//! The notes and tags of several images: one plan, and one way back.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::annotation_of;
use crate::host::Host;
use crate::ops::framework::annotations;
use crate::ops::framework::format::name;
use crate::ops::framework::locks::Locking;
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::request::Name;
use crate::ops::{CommandLine, Error, Outcome, Phase, Plan, Progress, RefusalKind, Request, Undo};
use crate::units::count;

use super::one::{AnnotateJob, Found, annotation};
use super::request::Annotate;

/// Change what is noted of several images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnotateSeveral {
    /// What of each; none is named twice.
    pub images: Vec<Annotate>,
}

impl Operation for AnnotateSeveral {
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
        for one in &mut self.images {
            one.each_name(visit);
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // One command line says the same of all.
        let first = self.images.first()?;
        let says_the_same = |one: &Annotate| {
            Annotate {
                image: first.image.clone(),
                ..one.clone()
            } == *first
        };
        let images: Vec<&Path> = self.images.iter().map(|one| one.image.as_path()).collect();
        let is_one = self.images.iter().all(says_the_same);
        is_one.then(|| first.line(CommandLine::new(&["note"]).paths(&images)))
    }

    fn plan(&self, plan: &mut Plan) {
        plan_several(plan, &self.images)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        rest(half, &self.images, "all of it is noted")
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        match &half.entry.roll_back {
            Some(Request::AnnotateSeveral(back)) => {
                rest(half, &back.images, "what is noted is what it was")
            }
            _ => half.as_planned(),
        }
    }
}

/// Those of them that are not done.
fn rest(half: &Half<'_>, images: &[Annotate], through: &str) -> Way {
    let host = half.context.host.as_ref();
    let left = images.iter().filter(|one| !is_so(host, one));
    let images: Vec<Annotate> = left.cloned().collect();
    match images.is_empty() {
        true => Way::Nothing(through.to_owned()),
        false => Way::Ask(AnnotateSeveral { images }.into()),
    }
}

fn is_so(host: &dyn Host, one: &Annotate) -> bool {
    let now = annotation_of(host, &one.image).unwrap_or_default();
    one.after(&now).is_ok_and(|after| after.says_the_same(&now))
}

fn plan_several(plan: &mut Plan, images: &[Annotate]) {
    let mut jobs: Vec<AnnotateJob> = Vec::new();
    let mut is_so = None;
    for one in images {
        match annotation(plan, one) {
            Some(Found::Changes(job)) if jobs.iter().any(|other| other.image == job.image) => {
                let text = format!("{} is named twice", name(&job.image));
                plan.refuse(RefusalKind::Invalid, text);
            }
            Some(Found::Changes(job)) => jobs.push(job),
            Some(Found::IsSo(sentence)) => is_so = Some(sentence),
            // It is refused.
            None => {}
        }
    }
    plan.title = format!("Note something of {}", count(images.len(), "image"));
    match (jobs.is_empty(), is_so) {
        _ if !plan.refusals.is_empty() => return,
        (true, Some(sentence)) => return plan.refuse_as_done(sentence),
        (true, None) => return plan.refuse(RefusalKind::Invalid, "no image is named"),
        (false, _) => {}
    }
    let back = jobs.iter().map(AnnotateJob::back).collect();
    plan.roll_back = Some(AnnotateSeveral { images: back }.into());
    plan.undo = Undo::Possible("note of each again what is noted of it now".to_owned());
    plan.job = Some(Arc::new(SeveralJob { jobs }));
}

#[derive(Debug)]
struct SeveralJob {
    jobs: Vec<AnnotateJob>,
}

impl Job for SeveralJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        // Nobody who has them open is disturbed by it: there is nothing to lock.
        let locks = Locking::default().settle(plan)?;
        self.jobs.iter().try_for_each(|job| job.verify(host))?;
        progress.enter(Phase::Switch, 0);
        let mut touched = Vec::new();
        for job in &self.jobs {
            let kept_in = annotations::write(host, &job.image, &job.after)?;
            touched.extend(job.touched(&kept_in));
        }
        drop(locks);
        touched.sort();
        touched.dedup();
        Ok(Outcome {
            summary: format!("noted of {}", count(self.jobs.len(), "image")),
            touched,
            undo: plan.roll_back.clone(),
            remarks: Vec::new(),
        })
    }
}
