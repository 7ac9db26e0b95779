//! The runs that  backing views may show differently, in whole units.

use crate::image::error::Result;
use crate::image::read::backing_view::{BackingDiff, Compared, ViewRun};

/// Whole units that  backing views may show differently.
#[derive(Debug)]
pub(super) struct UnitRuns<'a> {
    pub(super) difference: BackingDiff<'a>,
    pub(super) unit: u64,
}

/// Some whole units.
#[derive(Debug)]
pub(super) struct UnitRun {
    pub(super) start: u64,
    pub(super) len: u64,
    /// Old and new; none for one unit that is put together from several places.
    pub(super) places: Option<(ViewRun, ViewRun)>,
}

impl UnitRun {
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }
}

impl UnitRuns<'_> {
    /// The next one in `at..end`; `at` begins a unit.
    pub(super) fn next(&self, at: u64, end: u64) -> Result<Option<UnitRun>> {
        let mut at = at;
        while at < end {
            let (old, new) = match self.difference.at(at, end)? {
                Compared::Same(to) => {
                    at = to;
                    continue;
                }
                Compared::Differs { old, new } => (old, new),
            };
            let start = at - at % self.unit;
            let stop = old.extent.end();
            let whole = if start != at {
                0
            } else if stop == end {
                stop - at
            } else {
                (stop - at) - (stop - at) % self.unit
            };
            return Ok(Some(if whole == 0 {
                UnitRun {
                    start,
                    len: (start + self.unit).min(end) - start,
                    places: None,
                }
            } else {
                UnitRun {
                    start,
                    len: whole,
                    places: Some((old, new)),
                }
            }));
        }
        Ok(None)
    }
}
