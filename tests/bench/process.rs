//! What a process holds and has used, as `/proc` tells.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// The program rests when it has used no processor time for so long.
const REST: Duration = Duration::from_millis(1500);

/// A number of KiB from `/proc/PID/status`, in MiB; none of a process that ended.
pub(crate) fn memory(pid: i32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib = line.split_whitespace().nth(1)?;
    Some(kib.parse::<f64>().ok()? / 1024.0)
}

/// Processor time used so far, in ticks.
pub(crate) fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Fields 14 and 15, counted behind the name in brackets.
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields
        .skip(11)
        .take(2)
        .map(|n| n.parse::<u64>().unwrap())
        .sum()
}

/// Waits until it rests; gives the seconds until it did.
pub(crate) fn rest(pid: i32) -> f64 {
    let begun = Instant::now();
    let (mut before, mut since) = (ticks(pid), begun);
    while since.elapsed() < REST {
        thread::sleep(Duration::from_millis(50));
        let now = ticks(pid);
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    since.duration_since(begun).as_secs_f64()
}
