//! Create a raw image: a file of that length, which holds nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::image;
use crate::image::Preallocation;
use crate::units::size;

use super::framework::format::{command, name};
use super::framework::locked_host::LockedHost;
use super::framework::locks::Locking;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{new_file, new_image};
use super::{CommandLine, EffectKind, Error, Outcome, Phase, Plan, Progress, Undo, branch};

/// A new raw image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRaw {
    /// The file to create.
    pub new: PathBuf,
    /// Its size in bytes; rounded up to a multiple of 512, as QEMU does.
    pub size: u64,
    /// What is reserved in advance: not metadata, which it has not.
    pub preallocation: Preallocation,
}

impl Operation for CreateRaw {
    fn name(&self) -> &'static str {
        "create"
    }

    fn verb(&self) -> &'static str {
        "Create"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::CreatesImage(&self.new)
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.new));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let preallocation =
            (self.preallocation != Preallocation::Off).then(|| self.preallocation.name());
        Some(
            CommandLine::new(&["create"])
                .path(&self.new)
                .plain(self.size)
                .option("--format", Some("raw"))
                .option("--preallocation", preallocation),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_raw(plan, &self.new, self.size, self.preallocation)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        half.finish_making(self.clone())
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.unmake()
    }
}

/// Plans a new raw image.
fn plan_raw(plan: &mut Plan, new: &Path, bytes: u64, preallocation: Preallocation) {
    plan.title = format!("Create {}", name(new));
    new_image::refuse_metadata_of_raw(plan, preallocation);
    let whole = new_file::whole_sectors(plan, bytes);
    let blocks = match preallocation {
        Preallocation::Off | Preallocation::Metadata => 0,
        Preallocation::Falloc | Preallocation::Full => whole,
    };
    if new_file::check(plan, new, blocks).is_none() {
        return;
    }
    plan.effect(
        EffectKind::Creates,
        new,
        Some(blocks),
        format!("{}, an empty raw disk of {}", size(blocks), size(whole)),
    );
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    let mut words = vec!["qemu-img".into(), "create".into()];
    words.extend(["-f".into(), "raw".into()]);
    if preallocation != Preallocation::Off {
        let option = format!("preallocation={}", preallocation.name());
        words.extend(["-o".into(), option.into()]);
    }
    words.extend([new.as_os_str().to_owned(), whole.to_string().into()]);
    plan.commands.push(command(&words));
    plan.job = Some(Arc::new(CreateRawJob {
        new: new.to_path_buf(),
        size: whole,
        preallocation,
    }));
}

#[derive(Debug)]
struct CreateRawJob {
    new: PathBuf,
    size: u64,
    preallocation: Preallocation,
}

impl Job for CreateRawJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        match self.preallocation {
            Preallocation::Full => progress.enter(Phase::Copy, self.size),
            _ => progress.enter(Phase::Switch, 0),
        }
        let locks = Locking::default().settle(plan)?;
        let host = LockedHost::new(plan.host(), &locks);
        image::create_raw(&host, &self.new, self.size, self.preallocation, progress)
            .map_err(|error| branch::not_created(&self.new, error))?;
        Ok(branch::created(&self.new, vec![self.new.clone()]))
    }
}
