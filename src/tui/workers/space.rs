//! Where the space went: measured, and told piece by piece.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::forest::Forest;
use crate::inside::Until;
use crate::ops::{self, ImageSpace, LookedIn, Saving, SpaceQuery, SpaceReport};
use crate::tui::msg::Msg;
use crate::tui::query::QueryId;
use crate::tui::space::SpaceFound;

use super::Workers;

/// Between two pieces at least.
const BETWEEN: Duration = Duration::from_millis(150);
/// What is told anew each time is of all images so far: so many times as long as that took is measured in between.
const SHARE: u32 = 10;

/// What was measured so far.
#[derive(Debug, Default)]
struct SoFar {
    report: SpaceReport,
    /// When it is told next; at once where nothing was told yet.
    next: Option<Instant>,
}

impl SoFar {
    /// Takes in more of it; gives what is to be told, if it is time.
    fn take(&mut self, images: &[ImageSpace], savings: &[Saving]) -> Option<SpaceFound> {
        // They come from behind: what is built on an image comes before it.
        self.report.images.extend_from_slice(images);
        self.report.savings.extend_from_slice(savings);
        let began = Instant::now();
        if self.next.is_some_and(|next| began < next) {
            return None;
        }
        self.report.savings.sort_by(Saving::order);
        self.report.images.reverse();
        let found = SpaceFound::so_far(&self.report);
        self.report.images.reverse();
        self.next = Some(Instant::now() + BETWEEN.max(began.elapsed().saturating_mul(SHARE)));
        Some(found)
    }
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
        let so_far = Mutex::new(SoFar::default());
        let newest = Arc::clone(&self.newest);
        let query = SpaceQuery {
            older_than,
            reads,
            estimates_compressing: reads,
            known: &self.measured,
            until: Until::as_long_as(move || newest.space.load(Ordering::SeqCst) == query_id),
            advances: &|_| {},
            hears: &|images, savings| {
                let mut so_far = so_far.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(found) = so_far.take(images, savings) {
                    self.answer(Msg::SpaceSoFar(query_id, Box::new(found)));
                }
            },
        };
        // Where it was stopped nobody waits for an answer.
        if let Some(report) = ops::space(&context, &query) {
            let found = SpaceFound::whole(&report);
            self.answer(Msg::Space(query_id, Box::new(found)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::NodeId;
    use crate::ops::LayerSpace;

    fn image(number: u32, root: u32) -> ImageSpace {
        ImageSpace {
            node: NodeId(number),
            path: format!("/vm/{number}").into(),
            root: NodeId(root),
            space: LayerSpace::default(),
        }
    }

    #[test]
    fn what_is_told_is_all_so_far_in_its_order_and_not_told_too_often() {
        let mut so_far = SoFar::default();
        // What is built on an image comes before it.
        let first = so_far.take(&[image(2, 1)], &[]).unwrap();
        assert_eq!((first.images, first.is_whole), (1, false));
        assert!(so_far.take(&[image(1, 1)], &[]).is_none(), "too soon");
        so_far.next = Some(Instant::now());
        let all = so_far.take(&[image(0, 0)], &[]).unwrap();
        let layers = all.rows.iter().filter(|row| row.is_layer);
        let layers: Vec<_> = layers.map(|row| row.path.to_str().unwrap()).collect();
        assert_eq!(layers, ["/vm/1", "/vm/2"]);
        assert_eq!(all.images, 3);
    }
}
