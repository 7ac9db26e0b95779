//! The tables of images looked through, as a job.

use std::path::PathBuf;

use crate::image::ProgressSink;
use crate::ops::{self, Error, Progress};
use crate::tui::msg::Msg;
use crate::units;

use super::{Workers, done};

impl Workers {
    /// Looks through the images one after the other; each is told as it is done.
    pub(super) fn check(&self, job: u64, images: &[PathBuf], progress: &Progress) {
        let (mut clean, mut bad, mut failed) = (0_u64, 0_u64, 0_u64);
        for path in images {
            if progress.is_cancelled() {
                let text = format!(
                    "stopped; {} looked through",
                    units::count(clean + bad, "image")
                );
                self.answer(Msg::Ended(job, Err(Error::cancelled(text))));
                return;
            }
            let found = ops::check(&*self.host, path, &Paced(progress));
            if found.is_err() && progress.is_cancelled() {
                continue;
            }
            match &found {
                Ok(check) if check.corruptions == 0 && check.leaks == 0 => clean += 1,
                Ok(_) => bad += 1,
                Err(_) => failed += 1,
            }
            let stat = self.host.stat(path).ok();
            self.answer(Msg::Checked(job, path.clone(), stat, Box::new(found)));
        }
        let mut summary = match (images, bad, failed) {
            ([only], 0, 0) => format!("{} is clean.", units::file_name(only)),
            ([only], _, 0) => format!(
                "{} has problems: its health pane tells them.",
                units::file_name(only)
            ),
            (_, 0, 0) => format!(
                "{} looked through, all clean.",
                units::count(clean, "image")
            ),
            _ => format!("{clean} clean, {bad} with problems, {failed} could not be checked."),
        };
        if let ([only], 0, 1) = (images, bad, failed) {
            summary = format!(
                "{} could not be checked: its health pane tells why.",
                units::file_name(only)
            );
        }
        self.answer(Msg::Ended(job, Ok(done(summary))));
    }
}

/// Passes on how far a check is, and that it shall stop.
struct Paced<'a>(&'a Progress);

impl ProgressSink for Paced<'_> {
    fn advance(&self, bytes: u64) -> bool {
        self.0.advance(bytes).is_ok()
    }
}
