//! Which files inside images the plan that is shown changes or takes away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::inside::Until;
use crate::ops::{self, Context, GuestFiles};
use crate::tui::msg::Msg;
use crate::tui::query::QueryId;

use super::Workers;

/// So long is looked for one plan.
const LOOK: Duration = Duration::from_secs(30);

impl Workers {
    /// Looks into one image after the other, as long as the plan is shown.
    pub(super) fn look_inside(&self, query_id: QueryId, context: &Context, files: &[GuestFiles]) {
        let newest = Arc::clone(&self.newest);
        let is_wanted = move || newest.look.load(Ordering::SeqCst) == query_id;
        let until = Until::within(LOOK).while_wanted(is_wanted.clone());
        for (index, files) in files.iter().enumerate() {
            let found = ops::guest_files(context, files, &until);
            if !is_wanted() {
                return;
            }
            self.answer(Msg::GuestFiles(query_id, index, Box::new(found)));
        }
    }
}
