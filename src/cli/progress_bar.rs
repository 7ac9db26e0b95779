//! Work that takes long, as a plan that runs: a worker does it, a bar on standard error shows how far it is, Ctrl-C asks it
//! to stop and a second Ctrl-C ends the program at once.

use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use crossbeam_channel::{RecvTimeoutError, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::ops::{self, Outcome, Phase, Progress, ProgressView, Ready};

use crate::units;

/// How often the bar is redrawn and a request to stop is looked for.
const TICK: Duration = Duration::from_millis(50);

/// Runs the plan to its end.
pub(super) fn run(ready: Ready) -> anyhow::Result<Outcome> {
    let progress = Progress::new();
    Ok(watch(&progress, || ops::run(ready, &progress))??)
}

/// Does work that tells how far it is, and stops when that says so.
pub(super) fn watch<T: Send>(
    progress: &Progress,
    work: impl FnOnce() -> T + Send,
) -> anyhow::Result<T> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag unset and sets it, the second finds it set.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .context("cannot watch for Ctrl-C")?;
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("cannot watch for Ctrl-C")?;
    }
    let bar = Bar::new();
    let result = thread::scope(|scope| {
        // Closed by the worker's end, whatever that is: short work waits for no tick.
        let (at_work, done) = bounded::<Infallible>(0);
        let worker = scope.spawn(move || {
            let _at_work = at_work;
            work()
        });
        while let Err(RecvTimeoutError::Timeout) = done.recv_timeout(TICK) {
            if stop.load(Ordering::Relaxed) {
                progress.cancel();
            }
            bar.show(progress.view(), progress.is_cancelled());
        }
        worker.join()
    });
    bar.clear();
    match result {
        Ok(done) => Ok(done),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The bar; nothing where standard error is no terminal.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new() -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            bar: ProgressBar::with_draw_target(None, target),
        }
    }

    fn show(&self, view: ProgressView, is_cancelled: bool) {
        // Short work shows no bar: it would only flash.
        if view.elapsed < Duration::from_millis(200) {
            return;
        }
        let template = if view.total > 0 {
            "{prefix:9} {wide_bar} {percent:>3}%  {msg}"
        } else {
            "{prefix:9} {spinner} {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        if view.total > 0 {
            self.bar.set_length(view.total);
        }
        self.bar.set_prefix(view.phase.name());
        self.bar.set_message(message(view, is_cancelled));
        self.bar.set_position(view.done);
        self.bar.tick();
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Rate and time left, or what became of the wish to stop.
fn message(view: ProgressView, is_cancelled: bool) -> String {
    if is_cancelled {
        return match view.phase {
            Phase::Switch => "finishing: it cannot stop here".to_owned(),
            Phase::Collect | Phase::Copy | Phase::CleanUp => "stopping".to_owned(),
        };
    }
    let rate = view
        .rate()
        .map_or_else(String::new, |rate| format!("{}/s", units::size(rate)));
    let left = view.eta().map_or_else(String::new, |eta| {
        let seconds = eta.as_secs();
        format!("  {}:{:02} left", seconds / 60, seconds % 60)
    });
    format!("{rate}{left}")
}
