//! Several relinks at once: one plan, all images locked before the first header changes, and one way back.

use std::path::Path;
use std::sync::Arc;

use crate::host::{Access, LockSet};
use crate::ops::framework::format::name;
use crate::ops::framework::locks::Locking;
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::request::Name;
use crate::ops::{
    CommandLine, Error, Link, Outcome, Phase, Plan, Progress, RefusalKind, RelinkSeveral, Request,
    Undo,
};
use crate::units::count;

use super::put_back::link_back;
use super::{RelinkJob, link};

impl Operation for RelinkSeveral {
    fn name(&self) -> &'static str {
        "relink"
    }

    fn verb(&self) -> &'static str {
        "Relink"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        for link in &mut self.links {
            match link {
                Link::To(relink) => relink.each_name(visit),
                Link::Back(back) => back.each_name(visit),
            }
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // The doctor finds which images go together.
        None
    }

    fn plan(&self, plan: &mut Plan) {
        plan_several(plan, &self.links)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        each(half, &self.links, "every header says so already")
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        match &half.entry.roll_back {
            Some(Request::RelinkSeveral(back)) => {
                each(half, &back.links, "every header is as it was")
            }
            _ => half.as_planned(),
        }
    }
}

/// Those of them that are not done.
fn each(half: &Half<'_>, links: &[Link], through: &str) -> Way {
    let left = links.iter().filter(|link| !link.is_done(half));
    let left: Vec<Request> = left.cloned().map(Link::into_request).collect();
    match left.is_empty() {
        true => Way::Nothing(through.to_owned()),
        false => Way::Each(left),
    }
}

fn plan_several(plan: &mut Plan, links: &[Link]) {
    let (mut jobs, mut back) = (Vec::new(), Vec::new());
    for one in links {
        let job = match one {
            Link::To(relink) => link(plan, relink),
            Link::Back(back) => link_back(plan, back),
        };
        let Some(job) = job else { break };
        if jobs
            .iter()
            .any(|other: &RelinkJob| other.image == job.image)
        {
            let text = format!("{} is named twice", name(&job.image));
            plan.refuse(RefusalKind::Invalid, text);
        }
        // One whose way back is not known keeps all from having one.
        back.push(plan.roll_back.take().and_then(Link::of));
        jobs.push(job);
    }
    plan.title = format!("Relink {}", count(links.len(), "image"));
    if jobs.len() < links.len() || jobs.is_empty() {
        if plan.refusals.is_empty() {
            plan.refuse(RefusalKind::Invalid, "no image is named");
        }
        return;
    }
    let back: Option<Vec<Link>> = back.into_iter().collect();
    plan.roll_back = back.map(|links| Request::RelinkSeveral(RelinkSeveral { links }));
    plan.undo = match plan.roll_back {
        Some(_) => Undo::Possible("relink each to what it named before".to_owned()),
        None => Undo::Impossible("nobody knows what the headers said before".to_owned()),
    };
    plan.job = Some(Arc::new(SeveralJob { jobs }));
}

#[derive(Debug)]
struct SeveralJob {
    jobs: Vec<RelinkJob>,
}

impl Job for SeveralJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let mut files = Vec::new();
        for job in &self.jobs {
            files.push(locking.take(host, &job.image, Access::ReadWrite, LockSet::ReadWrite)?);
        }
        let is_own = |base: &Option<std::path::PathBuf>| {
            let mut own = self.jobs.iter().map(|job| &job.image);
            base.as_ref()
                .is_some_and(|base| own.any(|image| image == base))
        };
        // A base that is relinked itself is held already.
        for job in self.jobs.iter().filter(|job| !is_own(&job.base)) {
            if let Some(on) = &job.on {
                on.hold(host, &mut locking)?;
            }
        }
        let locks = locking.settle(plan)?;
        progress.enter(Phase::Switch, 0);
        for (job, file) in self.jobs.iter().zip(files) {
            job.record(&file.file(&locks))?;
        }
        Ok(Outcome {
            summary: format!("relinked {}", count(self.jobs.len(), "image")),
            touched: self.jobs.iter().map(|job| job.image.clone()).collect(),
            undo: plan.roll_back.clone(),
            remarks: Vec::new(),
        })
    }
}
