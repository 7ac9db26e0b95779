//! Create: a new, empty image that is built on nothing.

use std::path::PathBuf;
use std::sync::Arc;

use crate::image;

use super::words::{command, name, size};
use super::{
    CreateOptions, EffectKind, Error, Job, Outcome, Plan, Progress, Undo, new_file, new_image,
    overlay,
};

/// Plans a new image.
pub(super) fn plan(plan: &mut Plan, options: &CreateOptions) {
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
    plan.job = Some(Arc::new(Create {
        new: new.to_path_buf(),
        options: made.options,
    }));
}

#[derive(Debug)]
struct Create {
    new: PathBuf,
    options: image::CreateOptions,
}

impl Job for Create {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        overlay::new_image(plan, progress, &self.new, &self.options, None, &[])
    }
}
