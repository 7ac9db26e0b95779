//! How long something inside an image is looked at: up to a time, and only while somebody waits for it. What reads the
//! image stops by itself, wherever it is.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::guest::block::Stop;
use crate::guest::diff::Watch;
use crate::image::ProgressSink;

/// Until when something is looked at.
#[derive(Clone)]
pub struct Until {
    deadline: Option<Instant>,
    is_wanted: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Until {
    /// For so long.
    #[must_use]
    pub fn within(time: Duration) -> Self {
        Self::as_long_as(|| true).at_most(time)
    }

    /// As long as that is so, however long it takes.
    #[must_use]
    pub fn as_long_as(is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            deadline: None,
            is_wanted: Arc::new(is_wanted),
        }
    }

    /// The same, for no longer than that from now on.
    #[must_use]
    pub fn at_most(&self, time: Duration) -> Self {
        // A time that cannot be counted is none.
        let deadline = Instant::now().checked_add(time);
        Self {
            deadline: deadline.into_iter().chain(self.deadline).min(),
            is_wanted: Arc::clone(&self.is_wanted),
        }
    }

    /// The same, as long as that is so.
    #[must_use]
    pub fn while_wanted(self, is_wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            is_wanted: Arc::new(is_wanted),
            ..self
        }
    }

    /// Whether it is time to stop.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !(self.is_wanted)()
            || self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// For what reads an image as long as it is not over.
    #[must_use]
    pub fn stop(&self) -> Stop {
        let until = self.clone();
        Arc::new(move || until.is_over())
    }
}

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Until")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Watch for Until {
    fn is_cancelled(&mut self) -> bool {
        self.is_over()
    }
}

impl ProgressSink for Until {
    fn advance(&self, _bytes: u64) -> bool {
        !self.is_over()
    }
}
