//! A plan that was agreed to, as a job.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::host::working_as;
use crate::ops::{self, Error, Progress, Ready};
use crate::tui::crash;
use crate::tui::msg::Msg;

use super::Workers;

impl Workers {
    pub(super) fn run(&self, job: u64, ready: Ready, progress: &Progress) {
        let title = ready.plan().title.clone();
        let result = catch_unwind(AssertUnwindSafe(|| {
            working_as(&format!("job {job}"), || ops::run(ready, progress))
        }));
        let result = result.unwrap_or_else(|_| {
            Err(Error::failed(format!(
                "{title} ended by a fault of this program; the images are as its last completed step left them{}",
                crash::where_to_look()
            )))
        });
        self.answer(Msg::Ended(job, result));
    }
}
