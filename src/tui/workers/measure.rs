//! How large copies of an image would be: what `qanopy measure` tells, for each kind of copy there is a form
//! for. Only tables are read.

use std::path::Path;

use crate::host::Host;
use crate::image::{self, Measure, MeasureAs, Qcow2Options};
use crate::ops::{self, ReadOptions};
use crate::tui::query::Measured;

/// Measures copies of what the image shows.
///
/// # Errors
/// A sentence, if it cannot be read.
pub(super) fn measure(
    host: &dyn Host,
    path: &Path,
    options: &ReadOptions,
) -> Result<Measured, String> {
    let told = |error: image::Error| error.to_string();
    let mut reading = ops::open_to_read(host, path, options).map_err(|error| error.to_string())?;
    let live = std::mem::take(&mut reading.live);
    let chain = reading.whole().map_err(told)?;
    let plain = Qcow2Options::default();
    let qcow2 = |luks| MeasureAs::Qcow2 {
        options: &plain,
        backing: false,
        luks,
    };
    let of = |target| -> Result<Measure, String> {
        image::measure(Some(&chain), 0, target).map_err(told)
    };
    Ok(Measured {
        qcow2: of(qcow2(false))?,
        luks: of(qcow2(true))?,
        raw: of(MeasureAs::Raw)?,
        live,
    })
}
