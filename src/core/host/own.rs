//! Which files this process itself has locked, and for which piece of its work: several operations of one
//! screen meet each other here, since a lock tells only that somebody holds it.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lock::LockSet;
use super::stat::FileId;

/// What this process has locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnWork {
    /// What it is called: `job 1`. Empty where it has no name.
    pub name: Arc<str>,
    /// Whether it is there to write the file.
    pub writes: bool,
}

static LOCKED: Mutex<Vec<(FileId, OwnWork)>> = Mutex::new(Vec::new());

thread_local! {
    static NAME: RefCell<Arc<str>> = RefCell::new(Arc::from(""));
}

/// Does something whose locks are told by this name.
pub fn working_as<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let before = NAME.with(|known| known.replace(Arc::from(name)));
    let done = work();
    NAME.with(|known| known.replace(before));
    done
}

/// For which pieces of work this process has a file locked.
#[must_use]
pub fn own_work(file: FileId) -> Vec<OwnWork> {
    let locked = locked();
    let here = locked.iter().filter(|(known, _)| *known == file);
    here.map(|(_, work)| work.clone()).collect()
}

fn locked() -> MutexGuard<'static, Vec<(FileId, OwnWork)>> {
    LOCKED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes a lock until it is dropped.
#[derive(Debug)]
pub(super) struct OwnLock {
    file: FileId,
    work: OwnWork,
}

impl OwnLock {
    pub(super) fn note(file: FileId, want: LockSet) -> Self {
        let work = OwnWork {
            name: NAME.with(|name| Arc::clone(&name.borrow())),
            writes: want == LockSet::ReadWrite,
        };
        locked().push((file, work.clone()));
        Self { file, work }
    }
}

impl Drop for OwnLock {
    fn drop(&mut self) {
        let mut locked = locked();
        let is_it = |(file, work): &(FileId, OwnWork)| *file == self.file && *work == self.work;
        if let Some(at) = locked.iter().position(is_it) {
            locked.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Access, Host, RealHost};
    use super::*;

    #[test]
    fn a_lock_is_told_by_the_work_it_is_for_as_long_as_it_is_held() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let id = RealHost.stat(file.path()).unwrap().id;
        assert!(own_work(id).is_empty());
        let open = RealHost.open(file.path(), Access::ReadWrite).unwrap();
        let lock = working_as("job 7", || open.lock(LockSet::ReadWrite).unwrap());
        let [work] = own_work(id).try_into().unwrap();
        assert_eq!((&*work.name, work.writes), ("job 7", true));
        drop(lock);
        assert!(own_work(id).is_empty());
    }
}
