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

/// Whether some process has this number now.
#[must_use]
pub fn runs(pid: u32) -> bool {
    started(pid).is_some()
}

/// When a process started, in the kernel's ticks since boot (`proc(5)`, field 22 of `stat`).
/// Who runs this process: what it may do goes by that.
#[must_use]
pub fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name comes second, in parentheses, and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
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
}
