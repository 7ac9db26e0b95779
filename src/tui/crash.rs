//! When the program breaks: a report is written where it can be found, and the terminal is given back
//! before anything is said. A worker that breaks leaves a report as well and the interface goes on.

use std::backtrace::Backtrace;
use std::fs;
use std::io::Write;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::host::printable;

use super::terminal;

/// The thread that draws, and where reports go.
static WATCHED: Mutex<Option<(ThreadId, PathBuf)>> = Mutex::new(None);
/// The newest report.
static REPORT: Mutex<Option<PathBuf>> = Mutex::new(None);

/// From now on this thread is the one that draws; reports go to `dir`, or to the directory for
/// temporary files.
pub(super) fn watch(dir: Option<&Path>) {
    static ONCE: Once = Once::new();
    let dir = dir.map_or_else(std::env::temp_dir, Path::to_path_buf);
    *WATCHED.lock().unwrap_or_else(PoisonError::into_inner) = Some((thread::current().id(), dir));
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let watched = WATCHED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let Some((drawing, dir)) = watched else {
                before(info);
                return;
            };
            let report = write(&dir, info);
            if thread::current().id() == drawing {
                // The message has to be seen on the person's own screen, not on the one that goes away.
                terminal::give_back();
                before(info);
                tell(report.as_deref());
            }
            *REPORT.lock().unwrap_or_else(PoisonError::into_inner) = report;
        }));
    });
}

/// The end of a sentence about a worker that broke: where the report is.
pub(super) fn where_to_look() -> String {
    let report = REPORT.lock().unwrap_or_else(PoisonError::into_inner);
    report.as_ref().map_or_else(String::new, |path| {
        format!("; the report is in {}", printable(path))
    })
}

fn tell(report: Option<&Path>) {
    let mut stderr = std::io::stderr().lock();
    // Nobody left to tell if this fails.
    let _ = writeln!(
        stderr,
        "qanopy broke off by a fault of its own. Every image is as its last completed step left it: \
         readable, with its old or its new content."
    );
    if let Some(report) = report {
        let _ = writeln!(stderr, "The report is in {}", printable(report));
    }
}

fn write(dir: &Path, info: &PanicHookInfo<'_>) -> Option<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let path = dir.join(format!(
        "crash-{}-{}.txt",
        now.as_secs(),
        std::process::id()
    ));
    fs::create_dir_all(dir).ok()?;
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .ok()?;
    let thread = thread::current();
    writeln!(
        file,
        "qanopy {} on {} {}\nthread {}\n{info}\n\n{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
        thread.name().unwrap_or("without a name"),
        Backtrace::force_capture()
    )
    .ok()?;
    Some(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc;
    use std::time::Duration;

    use portable_pty::{CommandBuilder, PtySize, native_pty_system};

    /// What the child below has to find in its environment to be one.
    const DIR: &str = "QANOPY_TEST_CRASH_DIR";

    /// Runs this test binary again in a pseudo-terminal, where the child below takes the terminal and
    /// breaks; gives what it sent.
    fn broken(dir: &std::path::Path) -> String {
        let pty = native_pty_system().openpty(PtySize::default()).unwrap();
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tui::crash::tests::child", "--nocapture"]);
        command.env(DIR, dir);
        command.env("TERM", "xterm-256color");
        let mut child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let mut output = pty.master.try_clone_reader().unwrap();
        let (done, result) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = output.read_to_end(&mut bytes);
            let _ = done.send(bytes);
        });
        child.wait().unwrap();
        let bytes = result.recv_timeout(Duration::from_secs(60)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn child() {
        let Some(dir) = std::env::var_os(DIR) else {
            return;
        };
        super::watch(Some(dir.as_ref()));
        let _screen = super::terminal::Screen::take(true).unwrap();
        panic!("as the test wants it");
    }

    #[test]
    fn a_fault_gives_the_terminal_back_and_leaves_a_report() {
        let dir = tempfile::tempdir().unwrap();
        let sent = broken(dir.path());
        let taken = sent.find("\u{1b}[?1049h").expect("the other screen taken");
        let left = sent.find("\u{1b}[?1049l").expect("the other screen left");
        let message = sent.find("as the test wants it").expect("the message");
        assert!(taken < left && left < message, "{sent:?}");
        assert!(sent[left..].contains("The report is in"), "{sent:?}");
        for undone in ["\u{1b}[?25h", "\u{1b}[?2004l", "\u{1b}[?1000l"] {
            assert!(sent.contains(undone), "{undone:?} in {sent:?}");
        }
        let reports: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(reports.len(), 1);
        let report = std::fs::read_to_string(reports[0].as_ref().unwrap().path()).unwrap();
        assert!(report.contains("as the test wants it"), "{report}");
        assert!(report.contains(env!("CARGO_PKG_VERSION")));
    }
}
