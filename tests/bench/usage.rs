//! What a piece of work takes: time, and time of all processors.

use std::time::Instant;

/// Time, and time of all processors, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

/// Whose processor time.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    Own,
    Children,
}

/// Processor seconds of this process or of its children that ended, from `/proc/self/stat`.
fn seconds(who: Who) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Fields 14 to 17, counted behind the name in brackets, in hundredths of a second.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let number = |at: usize| fields[at].parse::<f64>().unwrap();
    let ticks = match who {
        Who::Own => number(11) + number(12),
        Who::Children => number(13) + number(14),
    };
    ticks / 100.0
}

/// What `work` takes, and what comes of it.
pub(crate) fn timed<T>(who: Who, work: impl FnOnce() -> T) -> (T, Spent) {
    let (started, before) = (Instant::now(), seconds(who));
    let done = work();
    let spent = Spent {
        wall: started.elapsed().as_secs_f64(),
        cpu: seconds(who) - before,
    };
    (done, spent)
}
