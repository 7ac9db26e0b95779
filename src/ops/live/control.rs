//! The jobs of machines that run now, for whoever governs them from another process: each has a socket in a folder that
//! is open to its user alone. A monitor serves one client, so that nobody else can ask the machine meanwhile.

use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde::{Deserialize, Serialize};

use crate::host::{FileId, printable};
use crate::ops::{Controls, Plan, Progress};

/// The folder of the sockets, below that for what is remembered.
const FOLDER: &str = "jobs";
/// What an answer may take, in bytes.
const MAX_ANSWER: u64 = 64 << 10;
/// How long either side waits for the other: both do nothing else meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a job looks whether somebody asks.
const EACH: Duration = Duration::from_millis(100);
/// Images that are told of, at most.
const MAX_IMAGES: usize = 64;

/// What can be asked of a job that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// To tell where it stands.
    Show,
    /// To stand still.
    Pause,
    /// To go on.
    Resume,
    /// To move so many bytes per second at most; 0 for as many as it can.
    Limit(u64),
    /// To stop.
    Cancel,
}

/// A job that runs, as it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunningJob {
    /// What names it: `4711-1`.
    #[serde(skip)]
    pub name: String,
    /// What it does, printable.
    pub title: String,
    /// The images that it is about, printable.
    pub images: Vec<String>,
    /// The same, as files.
    files: Vec<(u64, u64)>,
    /// In which phase it is.
    pub phase: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all; 0 while that is not known.
    pub total: u64,
    /// Bytes a second so far; none before there is anything to say.
    pub rate: Option<u64>,
    /// What can be asked of it.
    pub controls: Controls,
    /// Whether it stands still, since it was asked to.
    pub is_paused: bool,
    /// Bytes per second at most; 0 for as fast as it goes.
    pub speed: u64,
    /// Whether it was asked to stop.
    pub is_stopping: bool,
    /// Whether it did what was asked.
    pub is_done: bool,
}

impl RunningJob {
    /// Whether it is about this file.
    #[must_use]
    pub fn is_about(&self, file: FileId) -> bool {
        self.files.contains(&(file.device, file.inode))
    }
}

/// Lets others ask a job, until it is dropped.
#[derive(Debug)]
pub(in crate::ops) struct Control {
    _at_work: Sender<()>,
}

impl Control {
    /// For the job of this plan. None where nothing is remembered, or no socket can be made there: then it is governed
    /// by whoever began it, and nobody else.
    pub(in crate::ops) fn open(plan: &Plan, progress: &Progress) -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let folder = plan.context().state_dir.as_ref()?.join(FOLDER);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let listener = listen(&folder, &name).ok()?;
        let images = plan.request.operation().copies();
        let images = images.into_iter().take(MAX_IMAGES);
        let images: Vec<(String, Option<FileId>)> = images
            .map(|image| {
                let file = plan.host().stat(image).ok().map(|stat| stat.id);
                (printable(image), file)
            })
            .collect();
        let told = Told {
            title: printable(&plan.title),
            images,
            progress: progress.clone(),
        };
        let (at_work, ended) = bounded(0);
        let path = folder.join(&name);
        thread::spawn(move || {
            told.serve(&listener, &ended);
            // One that stays is found to be nobody's.
            drop(fs::remove_file(path));
        });
        Some(Self { _at_work: at_work })
    }
}

/// What a job tells of itself.
struct Told {
    title: String,
    images: Vec<(String, Option<FileId>)>,
    progress: Progress,
}

impl Told {
    fn serve(&self, listener: &UnixListener, ended: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(EACH) {
            while let Ok((client, _)) = listener.accept() {
                // Who asks nothing, or something else, gets no answer.
                drop(self.answer(&client));
            }
        }
    }

    fn answer(&self, mut client: &UnixStream) -> io::Result<()> {
        client.set_nonblocking(false)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        let is_done = match read::<Command>(client)? {
            Command::Show => true,
            Command::Pause => self.progress.pause(true),
            Command::Resume => self.progress.pause(false),
            Command::Limit(speed) => self.progress.limit(speed),
            Command::Cancel => {
                self.progress.cancel();
                true
            }
        };
        let view = self.progress.view();
        let files = self.images.iter().filter_map(|(_, file)| *file);
        let job = RunningJob {
            name: String::new(),
            title: self.title.clone(),
            images: self.images.iter().map(|(name, _)| name.clone()).collect(),
            files: files.map(|file| (file.device, file.inode)).collect(),
            phase: view.phase.name().to_owned(),
            done: view.done,
            total: view.total,
            rate: view.rate(),
            controls: view.controls,
            is_paused: view.is_paused,
            speed: view.speed,
            is_stopping: self.progress.is_cancelled(),
            is_done,
        };
        client.write_all(&line(&job)?)
    }
}

/// The jobs of machines that this user's processes have run now, by their names.
///
/// # Errors
/// Where the folder of the sockets cannot be read.
pub fn running_jobs(state_dir: &Path) -> io::Result<Vec<RunningJob>> {
    let folder = state_dir.join(FOLDER);
    let listed = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed?,
    };
    let mut jobs = Vec::new();
    for entry in listed {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        match ask(state_dir, name, Command::Show) {
            Ok(job) => jobs.push(job),
            // Its process was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                drop(fs::remove_file(folder.join(name)));
            }
            // It has just come to its end.
            Err(_) => {}
        }
    }
    jobs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(jobs)
}

/// Asks the job of this name; gives where it stands then.
///
/// # Errors
/// Where it runs no more, or does not answer.
pub fn ask(state_dir: &Path, name: &str, command: Command) -> io::Result<RunningJob> {
    let folder = fs::File::open(state_dir.join(FOLDER))?;
    let mut server = UnixStream::connect(within(&folder, name))?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.set_write_timeout(Some(PATIENCE))?;
    server.write_all(&line(&command)?)?;
    let job: RunningJob = read(&server)?;
    Ok(RunningJob {
        name: name.to_owned(),
        ..job
    })
}

fn listen(folder: &Path, name: &str) -> io::Result<UnixListener> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made?;
    let opened = fs::File::open(folder)?;
    // Left of a process that had this number before.
    match fs::remove_file(folder.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(within(&opened, name))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A name in a folder that is short, whatever the folder's is: that of a socket has 107 bytes at most.
fn within(folder: &fs::File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

fn line<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

fn read<T: for<'de> Deserialize<'de>>(from: &UnixStream) -> io::Result<T> {
    let mut line = Vec::new();
    BufReader::new(from.take(MAX_ANSWER)).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Phase;

    fn serve(state_dir: &Path, progress: &Progress) -> Sender<()> {
        let listener = listen(&state_dir.join(FOLDER), "7-1").unwrap();
        let told = Told {
            title: "Move a".to_owned(),
            images: vec![(
                "/vm/a".to_owned(),
                Some(FileId {
                    device: 1,
                    inode: 2,
                }),
            )],
            progress: progress.clone(),
        };
        let (at_work, ended) = bounded(0);
        thread::spawn(move || told.serve(&listener, &ended));
        at_work
    }

    #[test]
    fn a_job_is_found_and_governed_from_elsewhere_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        // Longer than the name of a socket may be.
        let state_dir = dir.path().join("long".repeat(40));
        let jobs = || running_jobs(&state_dir).unwrap();
        assert_eq!(jobs(), []);
        let progress = Progress::new();
        let at_work = serve(&state_dir, &progress);
        let [job] = &jobs()[..] else { panic!() };
        assert_eq!((job.name.as_str(), job.title.as_str()), ("7-1", "Move a"));
        assert!(job.is_about(FileId {
            device: 1,
            inode: 2
        }));
        let asked = |command| ask(&state_dir, "7-1", command).unwrap();
        assert!(!asked(Command::Pause).is_done, "nothing is offered");
        progress.enter(Phase::Copy, 10);
        progress.offer(Controls::SpeedAndPause, 0);
        assert!(asked(Command::Pause).is_paused && progress.view().is_paused);
        assert!(!asked(Command::Resume).is_paused);
        assert_eq!(asked(Command::Limit(1 << 20)).speed, 1 << 20);
        assert!(asked(Command::Cancel).is_stopping && progress.is_cancelled());
        drop(at_work);
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while !jobs().is_empty() {
            assert!(std::time::Instant::now() < until);
        }
    }

    #[test]
    fn whoever_says_nothing_that_is_known_gets_no_answer_and_harms_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let progress = Progress::new();
        let _at_work = serve(dir.path(), &progress);
        let path = dir.path().join(FOLDER).join("7-1");
        let mut odd = UnixStream::connect(&path).unwrap();
        odd.write_all(b"{\"delete\": \"all\"}\n").unwrap();
        assert_eq!(odd.read(&mut [0; 8]).unwrap(), 0);
        let mut long = UnixStream::connect(&path).unwrap();
        drop(long.write_all(&vec![b'x'; 1 << 20]));
        assert_eq!(running_jobs(dir.path()).unwrap().len(), 1);
    }
}
