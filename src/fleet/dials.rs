//! Leave to open connections. A key exchange takes tens of milliseconds of a processor on both sides: all hosts at once
//! would be seen late, all at the same time. Few begin; whenever one is done, or a while has gone by, one more may
//! be on the way, so that neither a host that hangs nor a long way holds up the others.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Patience, Watcher};
use super::destination::Destination;
use super::error::Error;

/// So many may be on the way from the start.
const FIRST: usize = 4;
/// So many at most.
const MOST: usize = 48;
/// After each of these, one more.
const STEP: Duration = Duration::from_millis(50);

/// Who opens connections to many hosts shares one.
#[derive(Debug, Clone, Default)]
pub struct Dials(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    begun: Option<Instant>,
    on_the_way: usize,
    done: usize,
}

impl State {
    /// How many may be on the way by then.
    fn allowed(&self, since_begun: Duration) -> usize {
        let steps = since_begun.as_millis() / STEP.as_millis();
        let steps = usize::try_from(steps).unwrap_or(MOST);
        (FIRST + self.done).saturating_add(steps).min(MOST)
    }
}

impl Dials {
    /// Opens a connection once there is leave.
    ///
    /// # Errors
    /// Those of [`Connection::open`].
    pub fn open(
        &self,
        to: &Destination,
        watcher: &mut dyn Watcher,
        stops: &AtomicUsize,
    ) -> Result<Connection, Error> {
        self.begin();
        let opened = Connection::open(to, Patience::default(), watcher, stops);
        self.end();
        opened
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) {
        let mut state = self.state();
        loop {
            let begun = *state.begun.get_or_insert_with(Instant::now);
            if state.on_the_way < state.allowed(begun.elapsed()) {
                state.on_the_way += 1;
                return;
            }
            let waited = self.0.1.wait_timeout(state, STEP);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn end(&self) {
        let mut state = self.state();
        state.on_the_way = state.on_the_way.saturating_sub(1);
        state.done += 1;
        drop(state);
        self.0.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_are_on_the_way_the_more_are_done_and_the_longer_it_takes() {
        let state = |done| State {
            done,
            ..State::default()
        };
        assert_eq!(state(0).allowed(Duration::ZERO), FIRST);
        assert_eq!(state(7).allowed(Duration::ZERO), FIRST + 7);
        assert_eq!(state(0).allowed(STEP * 3), FIRST + 3);
        assert_eq!(state(100).allowed(Duration::ZERO), MOST);
        assert_eq!(state(usize::MAX / 2).allowed(Duration::MAX), MOST);
    }

    #[test]
    fn hosts_that_hang_hold_up_no_other() {
        let dials = Dials::default();
        // None of these ever ends.
        for _ in 0..FIRST {
            dials.begin();
        }
        let begun = Instant::now();
        dials.begin();
        assert!(begun.elapsed() < Duration::from_secs(20));
        dials.end();
        assert_eq!(dials.state().on_the_way, FIRST);
        assert_eq!(dials.state().done, 1);
    }
}
