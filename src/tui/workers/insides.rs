//! What is inside images, told while it is found.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::forest::Forest;
use crate::inside::Until;
use crate::ops::{self, LookedIn};
use crate::tui::insides::InsidesFound;
use crate::tui::msg::Msg;
use crate::tui::query::QueryId;

use super::Workers;

/// Between two answers at least.
const BETWEEN: Duration = Duration::from_millis(150);

impl Workers {
    /// Looks into the images, as long as that is the newest question.
    pub(super) fn look_into(&self, query_id: QueryId, forest: Arc<Forest>) {
        let context = self.context(forest, LookedIn::within(self.scan.roots.clone()));
        let newest = Arc::clone(&self.newest);
        let until = Until::as_long_as(move || newest.insides.load(Ordering::SeqCst) == query_id);
        // One question at a time: an older one ends soon.
        let mut held = self.insides.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.get_or_insert_with(|| ops::kept_insides(self.state_dir.as_deref()));
        let mut so_far = InsidesFound::default();
        let mut next = Instant::now() + BETWEEN;
        ops::insides(&context, known, &until, &mut |path, inside, progress| {
            so_far.progress = progress;
            so_far.found.insert(path.to_path_buf(), Arc::clone(inside));
            if Instant::now() >= next {
                self.answer(Msg::Insides(query_id, Box::new(so_far.clone())));
                next = Instant::now() + BETWEEN;
            }
        });
        if !until.is_over() {
            so_far.is_whole = true;
            self.answer(Msg::Insides(query_id, Box::new(so_far)));
        }
    }

    /// Tells what earlier runs have found inside these images, without opening any.
    pub(super) fn tell_kept_insides(&self, forest: &Forest) {
        let mut held = match self.insides.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            // Somebody is told more just now.
            Err(TryLockError::WouldBlock) => return,
        };
        let known = held.get_or_insert_with(|| ops::kept_insides(self.state_dir.as_deref()));
        // Where nothing is kept nothing was told that is to be taken back.
        if !known.is_empty() {
            let found = ops::known_insides(forest, known);
            self.answer(Msg::KeptInsides(found));
        }
    }
}
