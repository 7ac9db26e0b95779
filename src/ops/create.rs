//! Create: a new, empty image that is built on nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::image;
use crate::units::size;

use super::framework::format::{command, name};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{new_file, new_image};
use super::{CommandLine, EffectKind, Error, ImageOptions, Outcome, Plan, Progress, Undo, branch};

/// A new image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// The file to create.
    pub path: PathBuf,
    /// Virtual size in bytes; rounded up to a multiple of 512, as QEMU does.
    pub size: u64,
    /// How it is made.
    pub image: ImageOptions,
}

impl Operation for Create {
    fn name(&self) -> &'static str {
        "create"
    }

    fn verb(&self) -> &'static str {
        "Create"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::CreatesImage(&self.path)
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.path));
        self.image.each_name(visit);
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(
            self.image.add_to(
                CommandLine::new(&["create"])
                    .path(&self.path)
                    .plain(self.size),
            ),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_create(plan, self)
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

/// Plans a new image.
fn plan_create(plan: &mut Plan, options: &Create) {
    let new = options.path.as_path();
    plan.title = format!("Create {}", name(new));
    let whole = new_file::whole_sectors(plan, options.size);
    let Some(made) = new_image::check(plan, new, whole, None, &options.image, 0) else {
        return;
    };
    plan.effect(
        EffectKind::Creates,
        new,
        Some(made.len.image_blocks),
        format!(
            "{}, an empty disk of {}",
            size(made.len.image_blocks),
            size(whole)
        ),
    );
    new_image::describe_data_file(plan, &made);
    new_image::describe_encryption(plan, &made);
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    let mut words = vec![
        "qemu-img".into(),
        "create".into(),
        "-f".into(),
        "qcow2".into(),
    ];
    words.extend(new_image::qemu_secret(&made.options));
    if let Some(options) = new_image::qemu_options(&made.options) {
        words.extend(["-o".into(), options]);
    }
    words.extend([new.as_os_str().to_owned(), whole.to_string().into()]);
    plan.commands.push(command(&words));
    plan.job = Some(Arc::new(CreateJob {
        new: new.to_path_buf(),
        options: made.options,
    }));
}

/// Makes an image of which nothing else has to be held.
#[derive(Debug)]
pub(super) struct CreateJob {
    pub(super) new: PathBuf,
    pub(super) options: image::CreateOptions,
}

impl Job for CreateJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        branch::new_image(plan, progress, &self.new, &self.options, None, &[])
    }
}
