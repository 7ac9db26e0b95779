//! What the person agreed to and what became of it: jobs, the order they run in, and which of them
//! have to wait for which. Running them is the workers' business.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::forest::{Forest, NodeId};
use crate::ops::{EffectKind, Phase, Plan, Progress, ProgressView, Ready, Request};

use super::browse::Extraction;
use super::dialogs::list_cursor::ListCursor;
use super::query::QueryId;

/// So many jobs run at once at most: disks gain nothing by more.
const AT_ONCE: usize = 3;

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Others come first.
    Waiting,
    /// It runs.
    Running,
    /// It ended well: what it did.
    Done(String),
    /// It ended badly: why.
    Failed(String),
    /// The person stopped it.
    Cancelled(String),
}

/// What a job is about, kept so that it can be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// A change.
    Change(Request),
    /// Looking through the tables of images.
    Check(Vec<PathBuf>),
    /// Comparing what two images show.
    Compare([PathBuf; 2]),
    /// Copying files out of an image.
    Extract(Extraction),
    /// A command of the person's own.
    Command(Vec<OsString>),
    /// The same, run on the host of this place.
    CommandThere(usize, Vec<OsString>),
    /// A change that a host makes.
    There {
        /// The host's place.
        at: usize,
        /// The change.
        request: Request,
        /// The question that it began as.
        query_id: QueryId,
    },
}

/// What a worker is given to do.
#[derive(Debug)]
pub enum Work {
    /// A plan that was agreed to.
    Plan(Box<Ready>),
    /// Images to look through.
    Check(Vec<PathBuf>),
    /// Two images to compare.
    Compare([PathBuf; 2]),
    /// Files to copy out of an image.
    Extract(Extraction),
    /// A program and its words.
    Command(Vec<OsString>),
    /// The same, run on the host of this place.
    CommandThere(usize, Vec<OsString>),
}

/// The files a job has to do with. Two jobs may run side by side unless one writes what the other
/// has to do with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Files it changes.
    pub writes: HashSet<PathBuf>,
    /// Files it reads or changes, with everything that reads through them or that they read through.
    pub touches: HashSet<PathBuf>,
}

impl Files {
    /// The files of a plan, and the chains they are in.
    #[must_use]
    pub fn of_plan(forest: &Forest, plan: &Plan) -> Self {
        let mut files = Self::default();
        for effect in &plan.effects {
            let path = known(forest, &effect.path);
            if effect.kind != EffectKind::Reads {
                files.writes.insert(path.clone());
            }
            files.touch(forest, path, effect.kind != EffectKind::Reads);
        }
        files
    }

    /// These files, only read.
    #[must_use]
    pub fn read(forest: &Forest, paths: &[PathBuf]) -> Self {
        let mut files = Self::default();
        for path in paths {
            files.touches.insert(known(forest, path));
        }
        files
    }

    /// What these show is read: they and all they are built on.
    #[must_use]
    pub fn shown(forest: &Forest, paths: &[PathBuf]) -> Self {
        let mut files = Self::default();
        for path in paths {
            files.touch(forest, known(forest, path), false);
        }
        files
    }

    fn touch(&mut self, forest: &Forest, path: PathBuf, with_overlays: bool) {
        let id = forest.by_path(&path).map(|node| node.id);
        self.touches.insert(path);
        let Some(id) = id else { return };
        let mut related: Vec<NodeId> = forest.chain(id);
        if with_overlays {
            related.extend(forest.descendants(id));
        }
        let nodes = related.into_iter().filter_map(|id| forest.get(id));
        self.touches.extend(nodes.map(|node| node.path.clone()));
    }

    /// Whether the two may not run at the same time.
    #[must_use]
    pub fn collide(&self, other: &Self) -> bool {
        !self.writes.is_disjoint(&other.touches) || !other.writes.is_disjoint(&self.touches)
    }
}

/// The name the forest shows a file by, so that two names of one file are the same.
fn known(forest: &Forest, path: &Path) -> PathBuf {
    forest
        .by_path(path)
        .map_or_else(|| path.to_path_buf(), |node| node.path.clone())
}

/// Something the person agreed to.
#[derive(Debug)]
pub struct Job {
    /// Its number, from 1.
    pub id: u64,
    /// What it does, in words.
    pub title: String,
    /// What was asked.
    pub task: Task,
    /// What became of it.
    pub state: JobState,
    /// The handle it is cancelled by.
    pub progress: Progress,
    /// How far it is.
    pub view: ProgressView,
    /// What to do, until it begins.
    pub work: Option<Work>,
    /// What it has to do with.
    pub files: Files,
}

impl Job {
    /// Whether it runs or waits.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, JobState::Running | JobState::Waiting)
    }

    /// Asks the job to stop: one that waits is over at once, one that runs is told.
    pub fn cancel(&mut self) {
        match self.state {
            JobState::Waiting => {
                self.state = JobState::Cancelled("stopped before it began".to_owned());
                self.work = None;
            }
            JobState::Running => self.progress.cancel(),
            JobState::Done(_) | JobState::Failed(_) | JobState::Cancelled(_) => {}
        }
    }

    /// Whether it is in the step that cannot be stopped half way.
    #[must_use]
    pub fn is_switching(&self) -> bool {
        self.view.phase >= Phase::Switch
    }
}

/// All jobs of this session, in order.
#[derive(Debug, Default)]
pub struct Jobs {
    /// The jobs.
    pub list: Vec<Job>,
    /// Which one is under the cursor.
    pub cursor: ListCursor,
}

impl Jobs {
    /// Jobs that run or wait.
    pub fn open(&self) -> impl Iterator<Item = &Job> {
        self.list.iter().filter(|job| job.is_open())
    }

    /// The first of those that run.
    #[must_use]
    pub fn running(&self) -> Option<&Job> {
        self.list.iter().find(|job| job.state == JobState::Running)
    }

    /// The job of that number.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Job> {
        self.list.iter().find(|job| job.id == id)
    }

    /// The job of that number, to be changed.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Job> {
        self.list.iter_mut().find(|job| job.id == id)
    }

    /// Adds a job that waits; returns its number.
    pub fn add(&mut self, title: String, task: Task, work: Work, files: Files) -> u64 {
        let id = u64::try_from(self.list.len()).unwrap_or(u64::MAX) + 1;
        let progress = Progress::new();
        self.list.push(Job {
            id,
            title,
            task,
            state: JobState::Waiting,
            view: progress.view(),
            progress,
            work: Some(work),
            files,
        });
        id
    }

    /// Adds a job that a host does, and that runs already; returns its number.
    pub fn begin_there(&mut self, title: String, task: Task, progress: Progress) -> u64 {
        let id = u64::try_from(self.list.len()).unwrap_or(u64::MAX) + 1;
        self.list.push(Job {
            id,
            title,
            task,
            state: JobState::Running,
            view: progress.view(),
            progress,
            work: None,
            // The host has locks of its own.
            files: Files::default(),
        });
        id
    }

    /// The job that this question became, and the place of its host.
    #[must_use]
    pub fn there(&self, question: QueryId) -> Option<(u64, usize)> {
        self.list.iter().find_map(|job| match job.task {
            Task::There { at, query_id, .. } if query_id == question => Some((job.id, at)),
            _ => None,
        })
    }

    /// Lets a job that is over wait once more, if it needs no plan.
    pub fn again(&mut self, id: u64) {
        let Some(job) = self.get_mut(id).filter(|job| !job.is_open()) else {
            return;
        };
        let work = match &job.task {
            // What it depends on may have changed: that is planned anew.
            Task::Change(_) | Task::There { .. } => return,
            Task::Check(images) => Work::Check(images.clone()),
            Task::Compare(images) => Work::Compare(images.clone()),
            Task::Extract(what) => Work::Extract(what.clone()),
            Task::Command(words) => Work::Command(words.clone()),
            Task::CommandThere(at, words) => Work::CommandThere(*at, words.clone()),
        };
        job.work = Some(work);
        job.state = JobState::Waiting;
    }

    /// The job that one has to wait for, if there is one: the first that is open before it or runs
    /// already (it may have been begun anew) and has to do with the same files, or else the oldest that
    /// runs where too many do.
    #[must_use]
    pub fn waits_for(&self, id: u64) -> Option<u64> {
        let at = self.list.iter().position(|job| job.id == id)?;
        let files = &self.list.get(at)?.files;
        let mut others = self.list.iter().enumerate().filter(|(other, job)| {
            *other != at && job.is_open() && (*other < at || job.state == JobState::Running)
        });
        let same = others.find(|(_, other)| other.files.collide(files));
        same.map(|(_, other)| other.id).or_else(|| {
            let oldest = self.running().map_or(0, |job| job.id);
            self.is_full().then_some(oldest)
        })
    }

    /// How far each is that runs, by its number.
    pub fn progress(&self) -> Vec<(u64, ProgressView)> {
        let running = self.list.iter();
        let running = running.filter(|job| job.state == JobState::Running);
        running.map(|job| (job.id, job.progress.view())).collect()
    }

    /// Whether as many run as may run at once.
    fn is_full(&self) -> bool {
        // What a host does takes nothing of this machine.
        let running =
            |job: &&Job| job.state == JobState::Running && !matches!(job.task, Task::There { .. });
        self.list.iter().filter(running).count() >= AT_ONCE
    }

    /// Takes the next job that may begin now, marked as running.
    pub fn begin_next(&mut self) -> Option<(u64, Work, Progress)> {
        if self.is_full() {
            return None;
        }
        let waiting = self
            .list
            .iter()
            .filter(|job| job.state == JobState::Waiting);
        let ids: Vec<u64> = waiting.map(|job| job.id).collect();
        let id = ids.into_iter().find(|id| self.waits_for(*id).is_none())?;
        let job = self.get_mut(id)?;
        let work = job.work.take()?;
        job.state = JobState::Running;
        // The time it waited is not part of how long it takes.
        job.progress = Progress::new();
        job.view = job.progress.view();
        Some((id, work, job.progress.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(writes: &[&str], reads: &[&str]) -> Files {
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<HashSet<_>>();
        let (writes, mut touches) = (paths(writes), paths(reads));
        touches.extend(writes.iter().cloned());
        Files { writes, touches }
    }

    fn add(jobs: &mut Jobs, files: Files) -> u64 {
        jobs.add(
            "a job".to_owned(),
            Task::Check(Vec::new()),
            Work::Check(Vec::new()),
            files,
        )
    }

    fn started(jobs: &mut Jobs) -> Vec<u64> {
        std::iter::from_fn(|| jobs.begin_next().map(|(id, ..)| id)).collect()
    }

    #[test]
    fn jobs_on_other_files_run_side_by_side_and_those_on_the_same_wait() {
        let mut jobs = Jobs::default();
        let a = add(&mut jobs, files(&["base"], &["overlay"]));
        let b = add(&mut jobs, files(&["other"], &[]));
        let c = add(&mut jobs, files(&["new"], &["base"]));
        assert_eq!(started(&mut jobs), [a, b]);
        assert_eq!(jobs.waits_for(c), Some(a));
        jobs.get_mut(a).unwrap().state = JobState::Done(String::new());
        assert_eq!(started(&mut jobs), [c]);
    }

    #[test]
    fn no_job_overtakes_one_it_collides_with() {
        let mut jobs = Jobs::default();
        let a = add(&mut jobs, files(&["x"], &[]));
        let b = add(&mut jobs, files(&["y"], &["x"]));
        let c = add(&mut jobs, files(&["z"], &["y"]));
        assert_eq!(started(&mut jobs), [a]);
        assert_eq!(jobs.waits_for(c), Some(b));
    }

    #[test]
    fn a_job_that_is_begun_anew_waits_for_those_that_went_past_it() {
        let mut jobs = Jobs::default();
        let a = add(&mut jobs, files(&[], &["x"]));
        let b = add(&mut jobs, files(&["x"], &[]));
        assert_eq!(started(&mut jobs), [a]);
        jobs.get_mut(a).unwrap().state = JobState::Failed(String::new());
        assert_eq!(started(&mut jobs), [b]);
        jobs.again(a);
        assert_eq!(started(&mut jobs), [0; 0]);
        assert_eq!(jobs.waits_for(a), Some(b));
        jobs.get_mut(b).unwrap().state = JobState::Done(String::new());
        assert_eq!(started(&mut jobs), [a]);
    }

    #[test]
    fn reading_the_same_file_is_no_collision() {
        let mut jobs = Jobs::default();
        add(&mut jobs, files(&[], &["base"]));
        add(&mut jobs, files(&["new"], &["base"]));
        assert_eq!(started(&mut jobs), [1, 2]);
    }

    #[test]
    fn only_so_many_run_at_once_and_a_cancelled_one_frees_its_place() {
        let mut jobs = Jobs::default();
        for i in 0..5 {
            add(&mut jobs, files(&[&format!("file-{i}")], &[]));
        }
        assert_eq!(started(&mut jobs), [1, 2, 3]);
        jobs.get_mut(4).unwrap().cancel();
        jobs.get_mut(1).unwrap().state = JobState::Failed(String::new());
        assert_eq!(started(&mut jobs), [5]);
    }
}
