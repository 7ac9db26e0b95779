//! Unlink: an image becomes one that is built on nothing, by its header alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{Access, LockSet, printable};
use crate::image::{self};
use crate::ops::framework::format::{command, name, shown};
use crate::ops::framework::locks::{Locking, claim};
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::request::Name;
use crate::ops::framework::resolve;
use crate::ops::{CommandLine, EffectKind, Error, Outcome, Phase, Plan, Progress, Undo, Unlink};

use super::base_match;
use super::header::{self, back, fit, undo};

impl Operation for Unlink {
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
        visit(Name::Path(&mut self.image));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(
            CommandLine::new(&["relink"])
                .path(&self.image)
                .option_path("--to", Some("none")),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_unlink(plan, &self.image)
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
        header::roll_back(half)
    }
}

/// Plans to make the image one that is built on nothing.
fn plan_unlink(plan: &mut Plan, image: &Path) {
    let context = plan.context().clone();
    plan.title = format!("Relink {} to nothing", name(image));
    let node = match resolve::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    if !fit(plan, node) {
        return;
    }
    let Some(backing) = &node.backing else {
        return plan.refuse_as_done(format!("{} is built on nothing already", shown(&node.path)));
    };
    plan.effect(
        EffectKind::Relinks,
        &node.path,
        None,
        format!(
            "header only: built on nothing, not on {}",
            printable(backing.name())
        ),
    );
    base_match::breaks(
        plan,
        node,
        "reads as zeros wherever it holds nothing itself, and receives nothing of what lies below",
    );
    claim(plan, &node.path, LockSet::ReadWrite);
    plan.roll_back = Some(back(node, image));
    plan.undo = undo(plan);
    plan.commands.push(command(&[
        "qemu-img".as_ref(),
        "rebase".as_ref(),
        "-u".as_ref(),
        "-b".as_ref(),
        "".as_ref(),
        node.path.as_os_str(),
    ]));
    plan.job = Some(Arc::new(UnlinkJob {
        image: node.path.clone(),
    }));
}

#[derive(Debug)]
struct UnlinkJob {
    image: PathBuf,
}

impl Job for UnlinkJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let file = locking.take(host, &self.image, Access::ReadWrite, LockSet::ReadWrite)?;
        let locks = locking.settle(plan)?;
        let file = file.file(&locks);
        progress.enter(Phase::Switch, 0);
        image::unlink(&file).map_err(|error| {
            Error::of_image(format!("{error}. Its old header is in place"), error)
        })?;
        Ok(Outcome {
            summary: format!("{} is built on nothing", shown(&self.image)),
            touched: vec![self.image.clone()],
            undo: match plan.undo {
                Undo::Possible(_) => plan.roll_back.clone(),
                Undo::Impossible(_) => None,
            },
            remarks: Vec::new(),
        })
    }
}
