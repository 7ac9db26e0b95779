//! Work that takes long, as a plan that runs: a worker does it, a bar on standard error shows how far it is, Ctrl-C asks it
//! to stop and a second Ctrl-C ends the program at once.

use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::{RecvTimeoutError, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::fleet::{Moved, Person, person};
use crate::ops::{self, Outcome, Phase, Progress, ProgressView, Ready};

use super::exit::Stop;
use crate::units;

/// How often the bar is redrawn and a request to stop is looked for.
const TICK: Duration = Duration::from_millis(50);
/// Work that takes no longer shows no bar; so often one that is drawn elsewhere is told of.
const SHORT: Duration = Duration::from_millis(200);

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
    watch_until(wish_to_stop()?, progress, work)
}

/// Set once by the first Ctrl-C, for all that this process does after it as well.
pub(super) fn wish_to_stop() -> anyhow::Result<&'static AtomicBool> {
    static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(stop) = STOP.get() {
        return Ok(stop);
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag unset and sets it, the second finds it set.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))
            .context("cannot watch for Ctrl-C")?;
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("cannot watch for Ctrl-C")?;
    }
    Ok(STOP.get_or_init(|| stop))
}

fn watch_until<T: Send>(
    stop: &AtomicBool,
    progress: &Progress,
    work: impl FnOnce() -> T + Send,
) -> anyhow::Result<T> {
    // It may have come between two plans.
    if stop.load(Ordering::Relaxed) {
        return Err(Stop::Cancelled("stopped before it began".to_owned()).into());
    }
    let mut bar = Bar::new();
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
    drop(bar);
    match result {
        Ok(done) => Ok(done),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The bar; nothing where standard error is no terminal. Where the person is at another machine, it is drawn there.
pub(super) struct Bar {
    bar: ProgressBar,
    person: Option<&'static Person>,
    told: Option<Instant>,
}

impl Bar {
    pub(super) fn new() -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            bar: ProgressBar::with_draw_target(None, target),
            person: person(),
            told: None,
        }
    }

    fn show(&mut self, view: ProgressView, is_cancelled: bool) {
        // Short work shows no bar: it would only flash.
        if view.elapsed < SHORT {
            return;
        }
        let (phase, text) = (view.phase.name(), message(view, is_cancelled));
        let Some(person) = self.person else {
            self.draw(phase, view.done, view.total, text);
            return;
        };
        if self.told.is_none_or(|told| told.elapsed() >= SHORT) {
            self.told = Some(Instant::now());
            person.tell(Moved {
                phase: phase.to_owned(),
                done: view.done,
                total: view.total,
                text,
            });
        }
    }

    /// Draws it.
    pub(super) fn draw(&self, phase: &str, done: u64, total: u64, text: String) {
        let template = if total > 0 {
            "{prefix:9} {wide_bar} {percent:>3}%  {msg}"
        } else {
            "{prefix:9} {spinner} {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        if total > 0 {
            self.bar.set_length(total);
        }
        self.bar.set_prefix(phase.to_owned());
        self.bar.set_message(text);
        self.bar.set_position(done);
        self.bar.tick();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
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
    if view.is_paused {
        return "paused".to_owned();
    }
    let rate = view
        .rate()
        .map_or_else(String::new, |rate| format!("{}/s", units::size(rate)));
    let left = view.eta().map_or_else(String::new, |eta| {
        let seconds = eta.as_secs();
        format!("  {}:{:02} left", seconds / 60, seconds % 60)
    });
    let most = match view.speed {
        0 => String::new(),
        speed => format!("  at most {}/s", units::size(speed)),
    };
    format!("{rate}{most}{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_stop_between_two_plans_holds_for_the_second() {
        let stop = AtomicBool::new(false);
        let progress = Progress::new();
        assert_eq!(watch_until(&stop, &progress, || 1).unwrap(), 1);
        stop.store(true, Ordering::Relaxed);
        let mut is_begun = false;
        let ended = watch_until(&stop, &progress, || is_begun = true).unwrap_err();
        assert!(matches!(ended.downcast_ref(), Some(Stop::Cancelled(_))));
        assert!(!is_begun);
    }
}
