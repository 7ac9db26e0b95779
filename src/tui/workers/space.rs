//! Where the space went: measured, and told piece by piece.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::forest::Forest;
use crate::ops::{self, ImageSpace, LookedIn, Saving, SpaceQuery};
use crate::tui::msg::Msg;
use crate::tui::query::QueryId;

use super::Workers;

/// Between two pieces: each has all rows of the pane laid out.
const BETWEEN: Duration = Duration::from_millis(150);

/// What was measured and not told yet.
#[derive(Debug, Default)]
struct Untold {
    images: Vec<ImageSpace>,
    savings: Vec<Saving>,
    told: Option<Instant>,
}

impl Workers {
    /// Measures, as long as that is the newest question.
    pub(super) fn space(
        &self,
        query_id: QueryId,
        forest: Arc<Forest>,
        reads: bool,
        older_than: Duration,
    ) {
        let context = self.context(forest, LookedIn::within(self.scan.roots.clone()));
        let untold = Mutex::new(Untold::default());
        let query = SpaceQuery {
            older_than,
            reads,
            known: &self.measured,
            go_on: &|| self.newest.space.load(Ordering::SeqCst) == query_id,
            hears: &|images, savings| {
                let mut untold = untold.lock().unwrap_or_else(PoisonError::into_inner);
                untold.images.extend_from_slice(images);
                untold.savings.extend_from_slice(savings);
                if untold.told.is_none_or(|told| told.elapsed() >= BETWEEN) {
                    let images = std::mem::take(&mut untold.images);
                    let savings = std::mem::take(&mut untold.savings);
                    untold.told = Some(Instant::now());
                    self.answer(Msg::SpaceSoFar(query_id, images, savings));
                }
            },
        };
        // Where it was stopped nobody waits for an answer.
        if let Some(report) = ops::space(&context, &query) {
            self.answer(Msg::Space(query_id, Box::new(report)));
        }
    }
}
