//! Create: a new, empty image that is built on nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::image::{self, Preallocation};

use super::held::Held;
use super::in_use::Locking;
use super::words::{command, name, size};
use super::{
    Create, EffectKind, Error, Job, Outcome, Phase, Plan, Progress, Undo, new_file, new_image,
    overlay,
};

/// Plans a new image.
pub(super) fn plan(plan: &mut Plan, options: &Create) {
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
        overlay::new_image(plan, progress, &self.new, &self.options, None, &[])
    }
}

/// Plans a new raw image.
pub(super) fn plan_raw(plan: &mut Plan, new: &Path, bytes: u64, preallocation: Preallocation) {
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
        let host = Held::new(plan.host(), &locks);
        image::create_raw(&host, &self.new, self.size, self.preallocation, progress)
            .map_err(|error| overlay::not_created(&self.new, &error))?;
        Ok(overlay::created(&self.new, vec![self.new.clone()]))
    }
}
