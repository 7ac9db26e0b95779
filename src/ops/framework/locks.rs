//! Whether a process uses an image, and the locks an operation holds while it works.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host::{
    Access, FileId, Holder, Host, HostFile, Lock, LockGuard, LockProbe, LockSet, io_text, own_work,
};
use crate::image::{self, ImageFile};

use super::backing_name::real_place;
use super::error::Error;
use super::format::{processes, shown};
use super::note::NoteKind;
use super::plan::{Outcome, Plan};
use super::preconditions::Compare;
use super::refusal::RefusalKind;
use super::{dependants, machines, peers, resolve, tagged};

/// What is known of a file's use by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) enum Use {
    /// Nobody stands in the way.
    Free,
    /// Nobody holds image locks, and these have it open for reading.
    Open(Vec<Holder>),
    /// It may not be touched: a sentence that says who holds it and what to do.
    Busy(String),
    /// Nobody can tell, since the filesystem has no locks: a sentence.
    Unknown(String),
}

/// Asks who uses the file, for an operation that wants `want`. Takes nothing.
///
/// # Errors
/// The system's, if the file cannot be opened for reading.
pub(in crate::ops) fn who_uses(host: &dyn Host, path: &Path, want: LockSet) -> io::Result<Use> {
    let file = host.open(path, Access::Read)?;
    let id = file.stat()?.id;
    Ok(match file.probe_lock(want)? {
        LockProbe::Busy(conflict) => Use::Busy(busy(path, Some(id), &conflict.holders)),
        LockProbe::Free => open_by(host, path, id).unwrap_or(Use::Free),
        LockProbe::Unsupported => open_by(host, path, id).unwrap_or_else(|| {
            Use::Unknown(format!(
                "whether a machine uses {} cannot be told: its filesystem has no image locks",
                shown(path)
            ))
        }),
    })
}

/// The external data file of a qcow2 image that has one. An image that cannot be read has none here:
/// whoever works on it says so.
pub(in crate::ops) fn data_file(host: &dyn Host, path: &Path) -> Option<PathBuf> {
    let file = ImageFile::open(host, path, Access::Read).ok()?;
    let header = image::read_header(&file).ok()?;
    image::data_file_path(path, &header).ok()?
}

/// Has the plan rest on this file: refuses it if somebody uses it in a way that stands against `want`,
/// and remembers what it is now.
pub(in crate::ops) fn claim(plan: &mut Plan, path: &Path, want: LockSet) {
    let host = Arc::clone(&plan.context().host);
    match who_uses(host.as_ref(), path, want) {
        Ok(Use::Open(holders)) if want == LockSet::ReadWrite => plan.warn(
            NoteKind::InUse,
            format!("{} is open in {}", shown(path), processes(&holders)),
        ),
        // Several may read.
        Ok(Use::Free | Use::Open(_)) => {}
        Ok(Use::Busy(sentence)) => plan.refuse(RefusalKind::InUse, sentence),
        Ok(Use::Unknown(sentence)) => plan.warn(NoteKind::InUse, sentence),
        Err(error) => plan.refuse(
            resolve::kind_of(&error),
            format!(
                "{} cannot be opened: {error}",
                shown(path),
                error = io_text(&error)
            ),
        ),
    }
    plan.require_unchanged(path, Compare::Content);
}

fn open_by(host: &dyn Host, path: &Path, id: FileId) -> Option<Use> {
    let holders = host.holders(&[id]).remove(&id)?;
    if holders.is_empty() {
        None
    } else if holders.iter().any(|holder| holder.writes) {
        Some(Use::Busy(busy(path, Some(id), &holders)))
    } else {
        Some(Use::Open(holders))
    }
}

fn busy(path: &Path, id: Option<FileId>, holders: &[Holder]) -> String {
    // Another operation of the same screen, which ends by itself.
    if let Some(work) = id.and_then(|id| own_work(id).into_iter().next()) {
        let who = match &*work.name {
            "" => "another operation of this program",
            name => name,
        };
        let does = if work.writes { "writes" } else { "reads" };
        return format!(
            "{who} {does} {}: do this again when that has ended",
            shown(path)
        );
    }
    format!(
        "{} is in use by {}: shut that down first",
        shown(path),
        processes(holders)
    )
}

/// Files being locked for an operation. What is locked can be worked on once [`Locking::settle`] has made
/// [`Locks`] of it.
#[derive(Debug, Default)]
#[must_use]
pub(in crate::ops) struct Locking {
    held: Vec<Taken>,
}

/// Files locked for an operation, until this is dropped: they are what the plan looked at, and nothing depends
/// on them that it did not know. An operation without files to lock has it all the same.
#[derive(Debug)]
#[must_use]
pub(in crate::ops) struct Locks {
    held: Vec<Taken>,
}

/// A file that is locked.
#[derive(Debug)]
#[must_use]
pub(in crate::ops) struct Claimed(ImageFile);

impl Claimed {
    /// The file, for whoever has settled all locks.
    pub(in crate::ops) fn file(self, _settled: &Locks) -> ImageFile {
        self.0
    }
}

#[derive(Debug)]
struct Taken {
    path: PathBuf,
    /// The same name without links and detours in its directory, where that can be told.
    place: Option<PathBuf>,
    access: Access,
    file: Arc<dyn HostFile>,
    _guard: Option<LockGuard>,
}

impl Locking {
    /// Opens the file and takes the locks. A filesystem without locks grants them all: that was
    /// said in the plan.
    ///
    /// # Errors
    /// [`Error::InUse`] names the process that stands in the way.
    pub(in crate::ops) fn take(
        &mut self,
        host: &dyn Host,
        path: &Path,
        access: Access,
        want: LockSet,
    ) -> Result<Claimed, Error> {
        let file = host
            .open(path, access)
            .map_err(|error| Error::io("open", path, &error))?;
        let guard = match file
            .lock(want)
            .map_err(|error| Error::io("lock", path, &error))?
        {
            Lock::Held(guard) => Some(guard),
            Lock::Busy(conflict) => {
                let id = file.stat().ok().map(|stat| stat.id);
                return Err(Error::in_use(busy(path, id, &conflict.holders)));
            }
            Lock::Unsupported => None,
        };
        self.held.push(Taken {
            path: path.to_path_buf(),
            place: real_place(host, path).ok(),
            access,
            file: Arc::clone(&file),
            _guard: guard,
        });
        Ok(Claimed(ImageFile::new(path, file)))
    }

    /// With all locks held: the plan's files are what they were, and nothing depends on those it touches that
    /// it did not know, be it an image or a machine; what has to change first in definitions does. Whatever has changed nothing yet gets its [`Locks`] here, so
    /// that no operation begins without asking.
    ///
    /// # Errors
    /// [`Error::Stale`] names the file that is not as the plan knew it.
    pub(in crate::ops) fn settle(self, plan: &Plan) -> Result<Locks, Error> {
        plan.verify_preconditions()?;
        look_again(plan)?;
        tagged::look_again(plan)?;
        plan.redefine_first()?;
        Ok(Locks { held: self.held })
    }
}

/// Nothing depends on the files that the plan touches that it did not know, be it an image or a machine. Asked once
/// more where much time has passed without locks on them.
///
/// # Errors
/// [`Error::Stale`] names the dependant.
pub(in crate::ops) fn look_again(plan: &Plan) -> Result<(), Error> {
    let now = machines::now(plan);
    dependants::look_again(plan, now.as_ref())?;
    now.map_or(Ok(()), |now| machines::look_again(plan, &now))?;
    peers::look_again(plan)
}

impl Locking {
    /// For what follows an operation that is through and had settled its own, and that changes nothing anybody
    /// reads.
    pub(in crate::ops) fn after(self, _done: &Outcome) -> Locks {
        Locks { held: self.held }
    }
}

#[cfg(test)]
impl Locking {
    /// Without a plan.
    pub(in crate::ops) fn unsettled(self) -> Locks {
        Locks { held: self.held }
    }
}

impl Locks {
    /// The file of that name, if it was taken for what it is wanted for now. An image may name it by another
    /// way: `/vm/lab/../base.qcow2`.
    pub(in crate::ops) fn held(
        &self,
        host: &dyn Host,
        path: &Path,
        access: Access,
    ) -> Option<Arc<dyn HostFile>> {
        let find = |is_it: &dyn Fn(&Taken) -> bool| {
            let fits =
                |taken: &&Taken| is_it(taken) && (access == Access::Read || taken.access == access);
            self.held
                .iter()
                .find(fits)
                .map(|taken| Arc::clone(&taken.file))
        };
        find(&|taken| taken.path == path).or_else(|| {
            let place = real_place(host, path).ok();
            find(&|taken| taken.place.is_some() && taken.place == place)
        })
    }
}
