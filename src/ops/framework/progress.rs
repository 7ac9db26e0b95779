//! How far a running operation is, shared between the thread that works and the face that shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::image::ProgressSink;

/// The steps every operation goes through, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Reading tables, taking locks.
    Collect,
    /// Moving bytes; cancelling is free.
    Copy,
    /// Switching over; short, and cannot be stopped half way.
    Switch,
    /// Removing what is no longer needed.
    CleanUp,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Collect, Self::Copy, Self::Switch, Self::CleanUp];

    /// The phase's name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Copy => "copy",
            Self::Switch => "switch",
            Self::CleanUp => "clean up",
        }
    }
}

/// What can be asked of an operation while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Controls {
    /// To stop.
    #[default]
    Stop,
    /// To go slower or faster as well.
    Speed,
    /// To stand still for a while as well.
    SpeedAndPause,
}

impl Controls {
    const ALL: [Self; 3] = [Self::Stop, Self::Speed, Self::SpeedAndPause];
}

/// The person asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

#[derive(Debug)]
struct Shared {
    started: Instant,
    phase: AtomicU8,
    done: AtomicU64,
    total: AtomicU64,
    /// Milliseconds after the start at which the phase was entered.
    entered: AtomicU64,
    cancelled: AtomicBool,
    controls: AtomicU8,
    paused: AtomicBool,
    /// Bytes per second at most; 0 for as fast as it goes.
    speed: AtomicU64,
}

/// A handle on a running operation; clones show the same.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Shared>);

/// What a face shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressView {
    /// The phase it is in.
    pub phase: Phase,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all; 0 while that is not known.
    pub total: u64,
    /// Time since the start.
    pub elapsed: Duration,
    /// Time since the phase was entered: what its rate is reckoned by.
    pub in_phase: Duration,
    /// What can be asked of it now.
    pub controls: Controls,
    /// Whether it is to stand still.
    pub is_paused: bool,
    /// Bytes per second at most; 0 for as fast as it goes.
    pub speed: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// A fresh handle, nothing done.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            started: Instant::now(),
            phase: AtomicU8::new(0),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            controls: AtomicU8::new(0),
            paused: AtomicBool::new(false),
            speed: AtomicU64::new(0),
        }))
    }

    /// Enters a phase of `total` bytes, in which nothing can be asked but to stop.
    pub fn enter(&self, phase: Phase, total: u64) {
        self.offer(Controls::Stop, 0);
        self.0.paused.store(false, Ordering::Relaxed);
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
        let since = u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.entered.store(since, Ordering::Relaxed);
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Learns that the phase has this many bytes: whoever copies them finds more while it does.
    pub fn expect(&self, total: u64) {
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// Reports `bytes` more as done, and learns whether to go on.
    ///
    /// # Errors
    /// [`Cancelled`] once somebody asked to stop and the phase still allows it.
    pub fn advance(&self, bytes: u64) -> Result<(), Cancelled> {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
        if self.is_cancelled() {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }

    /// Tells what can be asked of the phase, and how fast it goes by itself: `speed` bytes per second at most, 0 for
    /// as fast as it goes.
    pub fn offer(&self, controls: Controls, speed: u64) {
        self.0.speed.store(speed, Ordering::Relaxed);
        self.0.controls.store(controls as u8, Ordering::Relaxed);
    }

    /// Asks it to stand still, or to go on; says whether it can.
    pub fn pause(&self, pauses: bool) -> bool {
        let can = self.view().controls == Controls::SpeedAndPause;
        if can {
            self.0.paused.store(pauses, Ordering::Relaxed);
        }
        can
    }

    /// Asks it to move so many bytes per second at most, 0 for as many as it can; says whether it can.
    pub fn limit(&self, speed: u64) -> bool {
        let can = self.view().controls != Controls::Stop;
        if can {
            self.0.speed.store(speed, Ordering::Relaxed);
        }
        can
    }

    /// Asks the operation to stop. It stops within a second, or finishes a switch it is in.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// What there is to show now.
    #[must_use]
    pub fn view(&self) -> ProgressView {
        let index = usize::from(self.0.phase.load(Ordering::Relaxed));
        let elapsed = self.0.started.elapsed();
        let entered = Duration::from_millis(self.0.entered.load(Ordering::Relaxed));
        let controls = usize::from(self.0.controls.load(Ordering::Relaxed));
        ProgressView {
            phase: Phase::ALL.get(index).copied().unwrap_or(Phase::Collect),
            done: self.0.done.load(Ordering::Relaxed),
            total: self.0.total.load(Ordering::Relaxed),
            elapsed,
            in_phase: elapsed.saturating_sub(entered),
            controls: Controls::ALL.get(controls).copied().unwrap_or_default(),
            is_paused: self.0.paused.load(Ordering::Relaxed),
            speed: self.0.speed.load(Ordering::Relaxed),
        }
    }
}

impl ProgressSink for Progress {
    fn advance(&self, bytes: u64) -> bool {
        Self::advance(self, bytes).is_ok()
    }
}

impl ProgressView {
    /// Bytes a second in this phase so far; none before there is anything to say.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        let millis = u64::try_from(self.in_phase.as_millis())
            .ok()
            .filter(|&ms| ms > 0)?;
        (self.done > 0).then(|| self.done.saturating_mul(1000) / millis)
    }

    /// Time left at that rate; none in the first two seconds, where the total is not known and while it stands still.
    #[must_use]
    pub fn eta(&self) -> Option<Duration> {
        if self.in_phase < Duration::from_secs(2) || self.total < self.done || self.is_paused {
            return None;
        }
        let rate = self.rate().filter(|&rate| rate > 0)?;
        Some(Duration::from_secs((self.total - self.done).div_ceil(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_phase_offers_can_be_asked_of_it() {
        let progress = Progress::new();
        assert!(!progress.pause(true) && !progress.limit(5));
        progress.enter(Phase::Copy, 10);
        progress.offer(Controls::Speed, 7);
        assert!(!progress.pause(true) && progress.view().speed == 7);
        assert!(progress.limit(5) && progress.view().speed == 5);
        progress.offer(Controls::SpeedAndPause, 5);
        assert!(progress.pause(true) && progress.view().is_paused);
        // What is paused has no end that can be told.
        assert_eq!(progress.view().eta(), None);
        progress.enter(Phase::CleanUp, 0);
        let view = progress.view();
        assert_eq!(
            (view.controls, view.is_paused, view.speed),
            (Controls::Stop, false, 0)
        );
    }
}
