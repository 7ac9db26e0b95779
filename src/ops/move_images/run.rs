//! The moving itself: every file gets its new name, and what refers to it follows.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{Access, Host, LockSet};
use crate::image::{self, ImageFile};
use crate::ops::framework::backing_name;
use crate::ops::framework::copy_file::{Copy, folder};
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::locks::Locking;
use crate::ops::framework::plan::Job;
use crate::ops::framework::trash::{Batch, TrashItem};
use crate::ops::{BackingStyle, Error, Note, NoteKind, Outcome, Phase, Plan, Progress, Reflink};
use crate::units::count;

use super::step::{Step, is_one_place};

/// Which name each file has now: an interrupted move has given some their new one already.
#[derive(Debug)]
pub(super) struct Present<'s>(BTreeMap<&'s Path, &'s Path>);

impl<'s> Present<'s> {
    pub(super) fn of(host: &dyn Host, steps: &'s [Step]) -> Self {
        let gone = |step: &&Step| host.stat_link(&step.from).is_err();
        let moved = steps.iter().filter(gone);
        Self(moved.map(|step| (&*step.from, &*step.to)).collect())
    }

    pub(super) fn of_file<'p>(&self, path: &'p Path) -> &'p Path
    where
        's: 'p,
    {
        self.0.get(path).copied().unwrap_or(path)
    }
}

#[derive(Debug)]
pub(super) struct Move {
    pub(super) steps: Vec<Step>,
}

impl Job for Move {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        let copied = |step: &&Step| step.copied && !step.copy_is_there;
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let mut claimed = BTreeMap::new();
        let present = Present::of(host, &self.steps);
        for step in &self.steps {
            let paths = std::iter::once(&step.from).chain(step.children.iter().map(|c| &c.path));
            for path in paths {
                if !claimed.contains_key(path) {
                    let now = present.of_file(path);
                    let file = locking.take(host, now, Access::ReadWrite, LockSet::ReadWrite)?;
                    claimed.insert(path.clone(), file);
                }
            }
            if step.copy_is_there {
                let (all, to) = (LockSet::ReadWrite, step.to.clone());
                let file = locking.take(host, &to, Access::ReadWrite, all)?;
                claimed.insert(to, file);
            }
        }
        let locks = locking.settle(plan)?;
        let claimed = claimed.into_iter();
        let mut files: Files = claimed
            .map(|(path, file)| (path, file.file(&locks)))
            .collect();
        let total = self.steps.iter().filter(copied).map(|step| step.bytes);
        progress.enter(Phase::Copy, total.sum());
        let mut copies = BTreeMap::new();
        for step in self.steps.iter().filter(copied) {
            copies.insert(
                &step.from,
                Copy::make(host, &step.from, &step.to, Reflink::Auto, progress)?,
            );
        }
        // Somebody who knows no image locks may have written meanwhile.
        plan.verify_preconditions()?;
        // A folder that takes no trash is found out before anything has a new name.
        let batch = self.prepare_trash(plan)?;
        progress.enter(Phase::Switch, 0);
        let mut remarks = Vec::new();
        for step in &self.steps {
            let copy = copies.remove(&step.from);
            if let Err(error) = step.switch(plan, copy, &mut files, &mut remarks) {
                batch.into_iter().for_each(Batch::give_up);
                return Err(match error {
                    Error::Failed(_) => {
                        error.and_failed(". No image is lost; the same move again completes it")
                    }
                    other => other,
                });
            }
        }
        if let Some(batch) = batch {
            remarks.extend(batch.remarks().iter().cloned());
            let text = format!("the old files are in the trash as {}", batch.name());
            remarks.push(Note::new(NoteKind::Trash, text));
            batch.execute(&Progress::new())?;
        }
        let mut touched: Vec<PathBuf> = Vec::new();
        for step in &self.steps {
            touched.extend([step.from.clone(), step.to.clone()]);
            touched.extend(step.children.iter().map(|child| child.path.clone()));
        }
        touched.sort();
        touched.dedup();
        let summary = match self.steps.as_slice() {
            [one] => format!("moved {} to {}", shown(&one.from), shown(&one.to)),
            more => format!("moved {}", count(more.len(), "image")),
        };
        Ok(Outcome {
            summary,
            touched,
            undo: plan.roll_back.clone(),
            remarks,
        })
    }
}

impl Move {
    /// The old files of those that are copied, ready to go.
    fn prepare_trash<'h>(&self, plan: &'h Plan) -> Result<Option<Batch<'h>>, Error> {
        let items: Vec<TrashItem> = self
            .steps
            .iter()
            .filter(|step| step.copied)
            .map(|step| TrashItem {
                path: step.from.clone(),
                why: format!("moved to {}", shown(&step.to)),
                bytes: step.bytes,
                step: 0,
                file: None,
            })
            .collect();
        if items.is_empty() {
            return Ok(None);
        }
        let state_dir = plan.context().state_dir.as_deref();
        Batch::prepare(plan.host(), state_dir, &plan.title, items).map(Some)
    }
}

type Files = BTreeMap<PathBuf, ImageFile>;

impl Step {
    /// Gives the image its new name, lets all that refer to it follow, and takes the old name away.
    fn switch(
        &self,
        plan: &Plan,
        copy: Option<Copy<'_>>,
        files: &mut Files,
        remarks: &mut Vec<Note>,
    ) -> Result<(), Error> {
        let host = plan.host();
        let is_there = host.stat_link(&self.from).is_ok();
        if let Some(own) = self.own.as_ref().filter(|own| own.bridge && is_there) {
            link(
                host,
                files,
                &self.from,
                &self.from,
                &own.base,
                BackingStyle::Absolute,
            )?;
        }
        let sync = |path: &Path| {
            let dir = folder(path);
            host.sync_dir(dir)
                .map_err(|error| Error::io("flush", dir, &error))
        };
        match copy {
            Some(copy) => {
                remarks.extend(
                    copy.lost
                        .iter()
                        .map(|lost| Note::not_kept(lost, &name(&self.to))),
                );
                // The copy names its base as it is to, before anybody can find it.
                let file = ImageFile::open(host, copy.temporary(), Access::ReadWrite)?;
                files.insert(self.from.clone(), file);
                self.settle_own(host, files)?;
                copy.publish()?;
            }
            // The copy was there, and takes the place of the old file.
            None if self.copy_is_there => {
                if let Some(file) = files.remove(&self.to) {
                    files.insert(self.from.clone(), file);
                }
            }
            None if is_there => {
                match host.link_new(&self.from, &self.to) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        self.same_file(host)?;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                        return self.rename(host, files);
                    }
                    Err(error) => return Err(Error::io("move", &self.from, &error)),
                }
                sync(&self.to)?;
            }
            None => {}
        }
        for child in &self.children {
            link(host, files, &child.path, &child.path, &self.to, child.style)?;
        }
        plan.redefine_before_leaving(&self.from)?;
        if is_there && !self.copied {
            if is_one_place(host, &self.from, &self.to) {
                return Err(Error::stale(format!(
                    "{} and {} have become one name since the plan was made: plan again",
                    shown(&self.from),
                    shown(&self.to)
                )));
            }
            host.remove_file(&self.from)
                .map_err(|error| Error::io("take away the old name", &self.from, &error))?;
            sync(&self.from)?;
        }
        self.settle_own(host, files)
    }

    /// The link as it is to be from now on.
    fn settle_own(&self, host: &dyn Host, files: &Files) -> Result<(), Error> {
        match &self.own {
            Some(own) => link(host, files, &self.from, &self.to, &own.base, own.style),
            None => Ok(()),
        }
    }

    /// Where a file can have one name only: the children cannot be found for a moment.
    fn rename(&self, host: &dyn Host, files: &Files) -> Result<(), Error> {
        host.rename_new(&self.from, &self.to)
            .map_err(|error| Error::io("move", &self.from, &error))?;
        for dir in [folder(&self.to), folder(&self.from)] {
            host.sync_dir(dir)
                .map_err(|error| Error::io("flush", dir, &error))?;
        }
        for child in &self.children {
            link(host, files, &child.path, &child.path, &self.to, child.style)?;
        }
        self.settle_own(host, files)
    }

    fn same_file(&self, host: &dyn Host) -> Result<(), Error> {
        let id = |path: &Path| host.stat_link(path).map(|stat| stat.id).ok();
        if id(&self.from).is_some() && id(&self.from) == id(&self.to) {
            return Ok(());
        }
        Err(Error::stale(format!(
            "{} has come into being since the plan was made: plan again",
            shown(&self.to)
        )))
    }
}

/// Lets the header of the image (known as `known`, called `path` now) name `base`.
fn link(
    host: &dyn Host,
    files: &Files,
    known: &Path,
    path: &Path,
    base: &Path,
    style: BackingStyle,
) -> Result<(), Error> {
    let recorded = backing_name::leading(host, path, base, style).map_err(Error::failed)?;
    let Some(file) = files.get(known) else {
        return Err(Error::failed(format!("{} is not open", shown(known))));
    };
    // An error is to name it as it is called now, not as it was opened.
    let file = ImageFile::new(path, Arc::clone(file.host_file()));
    image::rename_backing(&file, &recorded)
        .map_err(|error| Error::of_image(format!("{error}. Its old header is in place"), error))
}
