//! Two images compared, as a job: what differs is counted, and the first ranges are listed.

use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::host::Host;
use crate::image::{self, Chain, ErrorKind, Keys};
use crate::ops::{self, Error, Outcome, Phase, Progress, ReadOptions};
use crate::tui::text;

/// Ranges listed at most.
const LISTED: usize = 100;

/// Compares what two images show.
///
/// # Errors
/// [`Error::Cancelled`], and [`Error::Failed`] where one of them cannot be read to its end.
pub(super) fn compare(
    host: &dyn Host,
    images: &[PathBuf; 2],
    options: &ReadOptions,
    keys: &Keys,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let failed = |error: image::Error| match error.kind {
        ErrorKind::Stopped => Error::Cancelled("stopped".to_owned()),
        _ => Error::Failed(error.to_string()),
    };
    let mut live = Vec::new();
    let mut open = |path: &PathBuf| -> Result<Chain, Error> {
        let mut reading = ops::open_to_read(host, path, options)?;
        live.append(&mut reading.live);
        let chain = reading.whole().map_err(failed)?;
        chain.unlock(keys, progress).map_err(failed)?;
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
                text::grouped(range.start),
                text::size(range.len)
            ));
        }
        ControlFlow::Continue(())
    })
    .map_err(failed)?;
    let names = (text::file_name(one), text::file_name(other));
    let sizes = (chains.0.virtual_size(), chains.1.virtual_size());
    let mut summary = match found.differences {
        0 => format!("{} and {} show the same.", names.0, names.1),
        ranges => format!(
            "{} and {} differ in {}, {}.",
            names.0,
            names.1,
            text::count(ranges, "range", "ranges"),
            text::size(found.differing)
        ),
    };
    if sizes.0 != sizes.1 {
        summary.push_str(&format!(
            " Their disks are of {} and {}.",
            text::size(sizes.0),
            text::size(sizes.1)
        ));
    }
    for note in live {
        summary.push_str(&format!(" {note}."));
    }
    let listed = u64::try_from(remarks.len()).unwrap_or(u64::MAX);
    if found.differences > listed {
        let more = text::grouped(found.differences - listed);
        remarks.push(format!(
            "and {more} more: `qanopy compare --all` lists them"
        ));
    }
    Ok(Outcome {
        summary,
        touched: Vec::new(),
        undo: None,
        remarks,
    })
}
