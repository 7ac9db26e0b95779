//! Two images compared, as a job: what differs is counted, and the first ranges are listed.

use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::host::Host;
use crate::image::{self, Chain, ErrorKind, Keys};
use crate::ops::{self, Error, Note, NoteKind, Outcome, Phase, Progress, ReadOptions};
use crate::tui::msg::Msg;
use crate::units;

use super::Workers;

impl Workers {
    /// Compares what two images show; the first differences are listed.
    pub(super) fn compare(&self, job: u64, images: &[PathBuf; 2], progress: &Progress) {
        let options = self.reading(None, None);
        let result = compare(&*self.host, images, &options, &self.keys, progress);
        self.answer(match result {
            Ok(outcome) => Msg::Ended(job, Ok(outcome)),
            Err(Stopped::Ended(error)) => Msg::Ended(job, Err(error)),
            Err(Stopped::Locked(image, error)) => Msg::JobLocked(job, image, error),
        });
    }
}

/// Ranges listed at most.
const LISTED: usize = 100;

/// Why nothing came of it.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The passphrase of this image is missing, or wrong.
    Locked(PathBuf, Error),
    /// It was cancelled, or one of the images cannot be read to its end.
    Ended(Error),
}

impl From<image::Error> for Stopped {
    fn from(error: image::Error) -> Self {
        match error.kind {
            ErrorKind::Cancelled => Self::Ended(Error::cancelled("stopped")),
            ErrorKind::Locked | ErrorKind::WrongPassphrase => {
                Self::Locked(error.path.clone(), error.into())
            }
            _ => Self::Ended(error.into()),
        }
    }
}

/// Compares what two images show.
///
/// # Errors
/// See [`Stopped`].
fn compare(
    host: &dyn Host,
    images: &[PathBuf; 2],
    options: &ReadOptions,
    keys: &Keys,
    progress: &Progress,
) -> Result<Outcome, Stopped> {
    let mut live = Vec::new();
    let mut open = |path: &PathBuf| -> Result<Chain, Stopped> {
        let mut reading = ops::open_to_read(host, path, options).map_err(Stopped::Ended)?;
        live.append(&mut reading.live);
        let chain = reading.whole()?;
        chain.unlock(keys, progress)?;
        Ok(chain)
    };
    let [one, other] = images;
    let chains = (open(one)?, open(other)?);
    live.dedup();
    // How much has to be read is known at its end only.
    progress.enter(Phase::Copy, 0);
    let mut remarks = Vec::new();
    let found = image::compare(&chains.0, &chains.1, progress, &mut |range| {
        if remarks.len() < LISTED {
            remarks.push(format!(
                "at {}: {} differ",
                units::grouped(range.start),
                units::size(range.len)
            ));
        }
        ControlFlow::Continue(())
    })?;
    let names = (units::file_name(one), units::file_name(other));
    let sizes = (chains.0.virtual_size(), chains.1.virtual_size());
    let mut summary = match found.differences {
        0 => format!("{} and {} show the same.", names.0, names.1),
        ranges => format!(
            "{} and {} differ in {}, {}.",
            names.0,
            names.1,
            units::count(ranges, "range"),
            units::size(found.differing)
        ),
    };
    if sizes.0 != sizes.1 {
        summary.push_str(&format!(
            " Their disks are of {} and {}.",
            units::size(sizes.0),
            units::size(sizes.1)
        ));
    }
    for note in live {
        summary.push_str(&format!(" {note}."));
    }
    let listed = u64::try_from(remarks.len()).unwrap_or(u64::MAX);
    if found.differences > listed {
        let more = units::grouped(found.differences - listed);
        remarks.push(format!(
            "and {more} more: `qanopy compare --all` lists them"
        ));
    }
    Ok(Outcome {
        summary,
        touched: Vec::new(),
        undo: None,
        remarks: remarks
            .into_iter()
            .map(|text| Note::new(NoteKind::Manner, text))
            .collect(),
    })
}
