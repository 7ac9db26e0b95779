//! Create: a new, empty image that is built on nothing.

use std::path::PathBuf;
use std::sync::Arc;

use crate::image;

use super::words::{command, name, size};
use super::{
    CreateOptions, EffectKind, Error, Job, Outcome, Plan, Progress, Undo, new_file, overlay,
};

/// Plans a new image.
pub(super) fn plan(plan: &mut Plan, options: &CreateOptions) {
    let new = options.path.as_path();
    plan.title = format!("Create {}", name(new));
    let whole = new_file::whole_sectors(plan, options.size);
    let needed = new_file::empty_len(whole);
    if new_file::check(plan, new, needed).is_none() {
        return;
    }
    plan.effect(
        EffectKind::Creates,
        new,
        Some(needed),
        format!("{}, an empty disk of {}", size(needed), size(whole)),
    );
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    plan.commands.push(command(&[
        "qemu-img".as_ref(),
        "create".as_ref(),
        "-f".as_ref(),
        "qcow2".as_ref(),
        new.as_os_str(),
        whole.to_string().as_ref(),
    ]));
    plan.job = Some(Arc::new(Create {
        new: new.to_path_buf(),
        options: image::CreateOptions::new(whole),
    }));
}

#[derive(Debug)]
struct Create {
    new: PathBuf,
    options: image::CreateOptions,
}

impl Job for Create {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        overlay::new_image(plan, progress, &self.new, &self.options)
    }
}
