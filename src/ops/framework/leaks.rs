//! What an operation that was interrupted has left in the images it wrote: clusters that are counted as used
//! and that nothing uses. Freed when it is brought to its end, one way or the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{Access, FileKind, Host, LockSet};
use crate::image::{self, Format, ImageFile, NoProgress, Repair, RepairExtent};
use crate::units::{count, size};

use super::error::Error;
use super::format::{name, shown};
use super::locks::Locking;
use super::note::{Note, NoteKind};
use super::plan::{EffectKind, Job, Outcome, Plan, Undo};
use super::progress::{Phase, Progress};
use super::remedy::Remedy;
use super::request::Request;

/// Has what is planned followed by freeing the leaked clusters of these images.
pub(in crate::ops) fn free_after(plan: &mut Plan, images: &[PathBuf]) {
    let host = Arc::clone(&plan.context().host);
    let mut leaking = Vec::new();
    for path in images {
        let Some(repair) = open(host.as_ref(), path).and_then(|file| needed(&file)) else {
            continue;
        };
        let (clusters, bytes) = (repair.found().leaks, repair.found().leaked_bytes);
        let clusters = count(usize::try_from(clusters).unwrap_or(usize::MAX), "cluster");
        plan.effect(
            EffectKind::Updates,
            path,
            Some(bytes),
            format!("{clusters} that nothing uses are freed ({})", size(bytes)),
        );
        leaking.push(path.clone());
    }
    let Some(first) = plan.job.take() else {
        return;
    };
    plan.job = Some(Arc::new(FreeAfter {
        first,
        images: images.to_vec(),
    }));
    if let Undo::Impossible(why) = &plan.undo
        && why == "nothing is changed"
        && !leaking.is_empty()
    {
        plan.undo = Undo::Impossible("only what nothing uses is freed".to_owned());
    }
}

/// The file, if it is a qcow2 image that is there.
fn open(host: &dyn Host, path: &Path) -> Option<ImageFile> {
    let stat = host.stat_link(path).ok()?;
    if stat.kind != FileKind::Regular {
        return None;
    }
    let file = ImageFile::open(host, path, Access::Read).ok()?;
    let format = image::recognised(&file).ok()?;
    (format == Some(Format::Qcow2)).then_some(file)
}

/// What frees its leaked clusters, if it has some and nothing worse: then they may be what is missed elsewhere.
fn needed(file: &ImageFile) -> Option<Repair> {
    let repair = Repair::work_out(file, RepairExtent::Leaks, &NoProgress).ok()?;
    (repair.found().corruptions == 0 && repair.found().leaks > 0).then_some(repair)
}

#[derive(Debug)]
struct FreeAfter {
    first: Arc<dyn Job>,
    images: Vec<PathBuf>,
}

impl Job for FreeAfter {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let mut done = self.first.run(plan, progress)?;
        progress.enter(Phase::CleanUp, 0);
        let mut images = self.images.clone();
        images.extend(done.touched.iter().cloned());
        images.sort();
        images.dedup();
        for path in &images {
            match free(plan.host(), path, &done) {
                Ok(false) => {}
                Ok(true) => {
                    if !done.touched.contains(path) {
                        done.touched.push(path.clone());
                    }
                }
                Err(error) => {
                    let text = format!(
                        "clusters that nothing uses stay in {}: {error}",
                        shown(path)
                    );
                    let repair = Remedy::ask(Request::free_leaks(path));
                    done.remarks
                        .push(Note::new(NoteKind::NotRepaired, text).helped_by(vec![repair]));
                }
            }
        }
        Ok(done)
    }
}

/// Frees what is leaked in the image; whether that was something.
fn free(host: &dyn Host, path: &Path, done: &Outcome) -> Result<bool, Error> {
    if open(host, path).and_then(|file| needed(&file)).is_none() {
        return Ok(false);
    }
    let mut locking = Locking::default();
    let file = locking.take(host, path, Access::ReadWrite, LockSet::ReadWrite)?;
    let locks = locking.after(done);
    let file = file.file(&locks);
    let Some(repair) = needed(&file) else {
        return Ok(false);
    };
    repair
        .commit(&NoProgress)
        .map(|_| true)
        .map_err(|error: image::Error| {
            Error::of_image(format!("{}: {}", name(path), error.kind), error)
        })
}
