//! Clone: a second file that is what an image is now, built on the same base. Blocks are shared where
//! the filesystem can. An overlay instead of a copy is a branch.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{Access, LockSet, printable};
use crate::image;

use super::copy_file::Copy;
use super::in_use::{Locks, claim};
use super::words::{command, name, shown, size};
use super::{
    EffectKind, Error, Job, Outcome, Phase, Plan, Progress, Request, Undo, backing_name, find,
    new_file,
};

/// Plans a copy of the image.
pub(super) fn plan(plan: &mut Plan, image: &Path, new: &Path) {
    let context = plan.context().clone();
    let host = context.host.as_ref();
    plan.title = format!("Clone {} as {}", name(image), name(new));
    let node = match find::named(&context, image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse(sentence),
    };
    let Some(bytes) = node.size_on_disk() else {
        return plan.refuse(format!("{} is not there", shown(image)));
    };
    if node.facts().is_some_and(|facts| facts.data_file.is_some()) {
        plan.refuse(format!(
            "{} keeps its data in another file, which both would write: flatten it into a new file instead",
            shown(image)
        ));
    }
    if new_file::check(plan, new, bytes).is_none() {
        return;
    }
    claim(plan, &node.path, LockSet::ReadOnly);
    let mut recorded = None;
    if let Some(backing) = &node.backing
        && let Some(base) = &backing.path
    {
        let style = backing_name::style_of(&backing.recorded);
        let same_place = node.path.parent() == new.parent();
        if !same_place && !image::is_described(&backing.recorded) {
            match backing_name::leading(host, new, base, style) {
                Ok(name) => recorded = Some(name),
                Err(sentence) => plan.refuse(sentence),
            }
        }
    }
    let built_on = match (&recorded, &node.backing) {
        (Some(name), _) => format!(", built on {}", printable(name)),
        (None, Some(backing)) => format!(", built on {}", printable(&backing.recorded)),
        (None, None) => String::new(),
    };
    let text = format!("{}, a copy of {}{built_on}", size(bytes), name(image));
    plan.effect(EffectKind::Creates, new, Some(bytes), text);
    plan.copies = bytes;
    plan.undo = Undo::Possible(format!("discard {}", name(new)));
    plan.commands.push(command(&[
        "cp".as_ref(),
        "--reflink=auto".as_ref(),
        "--sparse=always".as_ref(),
        image.as_os_str(),
        new.as_os_str(),
    ]));
    plan.job = Some(Arc::new(Clone {
        image: node.path.clone(),
        new: new.to_path_buf(),
        bytes,
        recorded,
    }));
}

#[derive(Debug)]
struct Clone {
    image: PathBuf,
    new: PathBuf,
    bytes: u64,
    /// The name by which the copy knows the base, where it is another one.
    recorded: Option<OsString>,
}

impl Job for Clone {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locks = Locks::default();
        locks.take(host, &self.image, Access::Read, LockSet::ReadOnly)?;
        plan.verify_pins()?;
        progress.enter(Phase::Copy, self.bytes);
        let copy = Copy::make(host, &self.image, &self.new, progress)?;
        if let Some(recorded) = &self.recorded {
            let file = host
                .open(copy.temporary(), Access::ReadWrite)
                .map_err(|error| Error::io("open", copy.temporary(), &error))?;
            image::rename_backing(copy.temporary(), file, recorded)
                .map_err(|error| Error::Failed(error.to_string()))?;
        }
        // Somebody who knows no image locks may have written meanwhile.
        plan.verify_pins()?;
        progress.enter(Phase::Switch, 0);
        let remarks = copy
            .lost
            .iter()
            .map(|lost| format!("could not keep {lost} of {}", name(&self.image)))
            .collect();
        copy.publish()?;
        Ok(Outcome {
            summary: format!("cloned {} as {}", shown(&self.image), shown(&self.new)),
            touched: vec![self.new.clone()],
            undo: Some(Request::Discard {
                images: vec![self.new.clone()],
            }),
            remarks,
        })
    }
}
