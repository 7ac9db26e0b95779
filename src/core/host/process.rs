//! Which process this is, in a way that tells whether it still runs: a process id alone is given to
//! another process one day, and every boot starts anew.

use std::fs;

/// This process, as a text for [`is_running`].
#[must_use]
pub fn this_process() -> String {
    let pid = std::process::id();
    format!("{pid} {} {}", started(pid).unwrap_or(0), boot())
}

/// From now on no core dump shows what this process holds in memory, and nobody but root may look into it
/// (`PR_SET_DUMPABLE`, `prctl(2)`). For processes that hold keys.
pub fn keep_out_of_dumps() {
    // It fails on no kernel that runs this, and there is nobody to tell here.
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Whether the process that [`this_process`] named still runs. A text that names none does not.
#[must_use]
pub fn is_running(process: &str) -> bool {
    let mut words = process.split(' ');
    let pid = words.next().and_then(|word| word.parse().ok());
    let start = words.next().and_then(|word| word.parse().ok());
    let (Some(pid), Some(start), Some(booted)) = (pid, start, words.next()) else {
        return false;
    };
    booted == boot() && started(pid) == Some(start)
}

/// The process that makes a file, as it stands in the file's name until that is whole: `PID-START-BOOT`, or
/// only its number where an older version wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maker {
    /// The process's number.
    pub process: u32,
    /// When it started, in ticks since boot, and the first digits of that boot's name.
    since: Option<(u64, String)>,
}

impl Maker {
    /// This process.
    #[must_use]
    pub fn this() -> Self {
        let process = std::process::id();
        Self {
            process,
            since: started(process).map(|start| (start, boot_digits())),
        }
    }

    /// What such a text names; none if it is no such text.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        fn number(text: &str) -> Option<&str> {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then_some(text)
        }
        let mut words = text.split('-');
        let process = number(words.next()?)?.parse().ok()?;
        let since = match (words.next(), words.next(), words.next()) {
            (None, None, None) => None,
            (Some(start), Some(boot), None) if boot.len() == BOOT_DIGITS => {
                Some((number(start)?.parse().ok()?, boot.to_owned()))
            }
            _ => return None,
        };
        Some(Self { process, since })
    }

    /// Whether it still runs. Of one that is known by its number only: whether some process has that.
    #[must_use]
    pub fn runs(&self) -> bool {
        match (&self.since, started(self.process)) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some((start, boot)), Some(now)) => now == *start && *boot == boot_digits(),
        }
    }
}

impl std::fmt::Display for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.since {
            Some((start, boot)) => write!(f, "{}-{start}-{boot}", self.process),
            None => write!(f, "{}", self.process),
        }
    }
}

/// So many digits of a boot's name tell it from any other this machine had.
const BOOT_DIGITS: usize = 8;

fn boot_digits() -> String {
    let mut digits = boot();
    digits.retain(|c| c.is_ascii_hexdigit());
    digits.truncate(BOOT_DIGITS);
    format!("{digits:0<BOOT_DIGITS$}")
}

/// Whether a process was started by this one, or has ended.
pub(super) fn is_child(pid: u32) -> bool {
    let parent = stat(pid).and_then(|stat| number(&stat, 4));
    parent.is_none_or(|parent| parent == u64::from(std::process::id()))
}

/// Who runs this process: what it may do goes by that.
#[must_use]
pub fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// When a process started, in the kernel's ticks since boot (`proc(5)`, field 22 of `stat`); none where it has ended,
/// also as long as its parent does not ask how.
fn started(pid: u32) -> Option<u64> {
    let stat = stat(pid)?;
    // Where the first thread ended alone, the others may still write.
    let is_zombie = matches!(field(&stat, 3)?, "Z" | "X") && number(&stat, 20)? <= 1;
    if is_zombie {
        return None;
    }
    number(&stat, 22)
}

/// What `/proc/PID/stat` tells behind the command's name, which comes second, in parentheses, and may hold anything.
fn stat(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.to_owned())
}

/// A word of it by the place that `proc(5)` gives it, from the third on.
fn field(stat: &str, place: usize) -> Option<&str> {
    stat.split_whitespace().nth(place.checked_sub(3)?)
}

fn number(stat: &str, place: usize) -> Option<u64> {
    field(stat, place)?.parse().ok()
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_known_by_its_parent_and_one_that_ended_counts_as_one() {
        let mut child = std::process::Command::new("sleep")
            .arg("9")
            .spawn()
            .unwrap();
        assert!(is_child(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_child(child.id()));
        assert!(!is_child(std::process::id()));
    }

    #[test]
    fn a_process_that_nobody_waits_for_has_ended() {
        let mut child = std::process::Command::new("sleep")
            .arg("9")
            .spawn()
            .unwrap();
        let maker = Maker {
            process: child.id(),
            since: started(child.id()).map(|start| (start, boot_digits())),
        };
        assert!(maker.runs());
        child.kill().unwrap();
        let begun = std::time::Instant::now();
        while maker.runs() {
            assert!(begun.elapsed().as_secs() < 20, "it is taken for running");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        // It is still there.
        assert!(stat(child.id()).is_some());
        child.wait().unwrap();
    }

    #[test]
    fn this_process_runs_and_others_of_its_number_do_not() {
        let own = this_process();
        assert!(is_running(&own));
        let mut words: Vec<String> = own.split(' ').map(str::to_owned).collect();
        words[1] = "1".to_owned();
        assert!(!is_running(&words.join(" ")));
        words = own.split(' ').map(str::to_owned).collect();
        words[2] = "another-boot".to_owned();
        assert!(!is_running(&words.join(" ")));
        assert!(!is_running(""));
    }

    #[test]
    fn a_maker_is_known_by_its_start_and_boot_not_by_its_number_alone() {
        let own = Maker::this();
        let text = own.to_string();
        assert_eq!(Maker::parse(text.as_bytes()), Some(own.clone()));
        assert!(own.runs());
        let words: Vec<&str> = text.split('-').collect();
        let runs = |text: String| Maker::parse(text.as_bytes()).unwrap().runs();
        assert!(!runs(format!("{}-1-{}", words[0], words[2])));
        assert!(!runs(format!("{}-{}-00000000", words[0], words[1])));
        assert!(runs(words[0].to_owned()), "an older version's");
        for no in [
            "",
            "1-",
            "1-2",
            "x-2-01234567",
            "1-2-0123",
            "1-2-01234567-8",
            "-1",
        ] {
            assert_eq!(Maker::parse(no.as_bytes()), None, "{no}");
        }
    }
}
