//! The oracle: real qemu-img and qemu-io, with a time limit on every process.
//!
//! Where the tools are missing a test says so and passes; with `QANOPY_REQUIRE_QEMU=1` (set by the
//! project's CI) it fails instead.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Every tool the tests call.
const TOOLS: [&str; 4] = ["qemu-img", "qemu-io", "qemu-nbd", "qemu-storage-daemon"];

/// How long one process may take before it is killed and the test fails. Generous, since test
/// machines are busy; an image that makes QEMU spin is caught all the same.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// The tools, or `None` after a loud line on stderr.
pub fn qemu() -> Option<Qemu> {
    static MISSING: OnceLock<Vec<&str>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        let missing = |tool: &&str| {
            let version = Command::new(tool).arg("--version").output();
            !version.is_ok_and(|output| output.status.success())
        };
        TOOLS.into_iter().filter(missing).collect()
    });
    if missing.is_empty() {
        return Some(Qemu { dir: None });
    }
    let thread = thread::current();
    let test = thread.name().unwrap_or("(unnamed test)");
    let required = std::env::var_os("QANOPY_REQUIRE_QEMU").is_some_and(|value| value == "1");
    assert!(
        !required,
        "{test} needs {missing:?}; QANOPY_REQUIRE_QEMU=1 allows no skipping"
    );
    // Not `eprintln!`, whose output the test harness swallows when the test passes.
    let line = format!("SKIPPED (qemu-utils missing): {test}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    None
}

/// QEMU's tools, run in one directory (the current one, unless [`Qemu::within`] says otherwise).
#[derive(Debug, Clone)]
pub struct Qemu {
    dir: Option<PathBuf>,
}

/// How a process ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: String,
}

impl Outcome {
    /// Whether the exit code was 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// What it printed, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// What `qemu-img check` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing wrong (exit code 0).
    Clean,
    /// Leaked clusters only (exit code 3).
    Leaks,
    /// Corruption (exit code 2), with what was printed.
    Corrupt(String),
    /// The image cannot be checked (any other exit code), with what was printed.
    Unreadable(String),
}

impl Verdict {
    /// Whether no content is in danger: clean, or leaked clusters at worst. What every crash has to
    /// leave behind.
    pub fn is_sound(&self) -> bool {
        matches!(self, Verdict::Clean | Verdict::Leaks)
    }
}

impl Qemu {
    /// The same tools run in `dir`, so that relative names in arguments mean files there.
    pub fn within(&self, dir: impl Into<PathBuf>) -> Qemu {
        Qemu {
            dir: Some(dir.into()),
        }
    }

    /// `qemu-img ARGS`; fails the test if qemu-img fails. Returns what it printed.
    pub fn img(&self, args: &[impl AsRef<OsStr>]) -> String {
        let outcome = self.try_img(args);
        let shown: Vec<_> = args.iter().map(AsRef::as_ref).collect();
        assert!(outcome.success(), "qemu-img {shown:?}: {}", outcome.stderr);
        outcome.text()
    }

    /// `qemu-img ARGS`, whatever comes of it.
    pub fn try_img(&self, args: &[impl AsRef<OsStr>]) -> Outcome {
        self.run(Command::new("qemu-img").args(args))
    }

    /// `qemu-io` with these commands on `path`; fails the test if one of them fails. The format is
    /// qcow2 if the file starts with its magic, raw otherwise: nothing is probed.
    pub fn io(&self, path: impl AsRef<Path>, commands: &[impl AsRef<str>]) -> String {
        let path = path.as_ref();
        let outcome = self.try_io(path, commands);
        // qemu-io's exit code is 0 for many failures of single commands.
        let text = outcome.text();
        let failed = !outcome.success() || text.contains("failed:") || !outcome.stderr.is_empty();
        let shown: Vec<_> = commands.iter().map(AsRef::as_ref).collect();
        let complaint = &outcome.stderr;
        assert!(
            !failed,
            "qemu-io {shown:?} {}: {text}{complaint}",
            path.display()
        );
        text
    }

    /// `qemu-io`, whatever comes of it.
    pub fn try_io(&self, path: impl AsRef<Path>, commands: &[impl AsRef<str>]) -> Outcome {
        let path = path.as_ref();
        let mut command = Command::new("qemu-io");
        command.args(["-f", self.format(path)]);
        for one in commands {
            command.args(["-c", one.as_ref()]);
        }
        self.run(command.arg(path))
    }

    /// What `qemu-img check` says about a qcow2 file.
    pub fn check(&self, path: impl AsRef<Path>) -> Verdict {
        let mut command = Command::new("qemu-img");
        let outcome = self.run(command.args(["check", "-f", "qcow2"]).arg(path.as_ref()));
        let words = || format!("{}{}", outcome.text(), outcome.stderr);
        match outcome.code {
            0 => Verdict::Clean,
            3 => Verdict::Leaks,
            2 => Verdict::Corrupt(words()),
            _ => Verdict::Unreadable(words()),
        }
    }

    /// Fails the test unless `qemu-img check` finds nothing, not even leaks.
    pub fn check_clean(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        assert_eq!(self.check(path), Verdict::Clean, "{}", path.display());
    }

    /// The guest's view of an image through its whole chain, as QEMU reads it.
    pub fn raw_bytes(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let raw = self.converted(path.as_ref());
        std::fs::read(raw.path()).unwrap()
    }

    /// A digest of [`Qemu::raw_bytes`], length included, without holding them in memory. The same
    /// bytes give the same digest in every run of one build.
    pub fn digest(&self, path: impl AsRef<Path>) -> u64 {
        let mut raw = std::fs::File::open(self.converted(path.as_ref()).path()).unwrap();
        let mut hasher = DefaultHasher::new();
        raw.metadata().unwrap().len().hash(&mut hasher);
        let mut buf = vec![0; 1 << 20];
        loop {
            let n = raw.read(&mut buf).unwrap();
            if n == 0 {
                return hasher.finish();
            }
            hasher.write(buf.get(..n).unwrap());
        }
    }

    /// The guest's view as a raw file.
    fn converted(&self, path: &Path) -> tempfile::NamedTempFile {
        let raw = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", self.format(path), "-O", "raw"]);
        let outcome = self.run(command.arg(path).arg(raw.path()));
        assert!(
            outcome.success(),
            "convert {}: {}",
            path.display(),
            outcome.stderr
        );
        raw
    }

    /// qcow2 by its magic, else raw.
    fn format(&self, path: &Path) -> &'static str {
        let path = match &self.dir {
            Some(dir) => dir.join(path),
            None => path.to_owned(),
        };
        let mut magic = [0; 4];
        let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
        if read.is_ok() && &magic == b"QFI\xfb" {
            "qcow2"
        } else {
            "raw"
        }
    }

    /// Starts a command in this directory, its output piped, its input empty.
    pub(super) fn spawn(&self, command: &mut Command) -> Child {
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Runs a command to its end, or to [`TIME_LIMIT`].
    pub fn run(&self, command: &mut Command) -> Outcome {
        let mut child = self.spawn(command);
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let out = thread::spawn(move || {
            let mut all = Vec::new();
            stdout.read_to_end(&mut all).map(|_| all)
        });
        let err = thread::spawn(move || {
            let mut all = Vec::new();
            stderr.read_to_end(&mut all).map(|_| all)
        });
        let deadline = Instant::now() + TIME_LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{command:?} took longer than {TIME_LIMIT:?}");
            }
            thread::sleep(Duration::from_millis(1));
        };
        Outcome {
            code: status.code().unwrap_or(-1),
            stdout: out.join().unwrap().unwrap(),
            stderr: String::from_utf8_lossy(&err.join().unwrap().unwrap()).into_owned(),
        }
    }
}
