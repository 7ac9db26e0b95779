//! Check: what is wrong with an image's tables, changing nothing.

use std::path::Path;

use crate::host::{Access, Host, LockSet};
use crate::image::{self, Check, Pace};

use super::Error;
use super::in_use::{Use, who_uses};

/// Checks a qcow2 image. What is built on it or below it is not looked at.
///
/// # Errors
/// [`Error::InUse`] while a process writes it, whose tables would change while they are read;
/// [`Error::Failed`] where it cannot be read or understood.
pub fn check(host: &dyn Host, path: &Path, pace: &dyn Pace) -> Result<Check, Error> {
    let looked = who_uses(host, path, LockSet::ReadOnly);
    if let Use::Busy(sentence) = looked.map_err(|error| Error::io("open", path, &error))? {
        return Err(Error::InUse(sentence));
    }
    let file = host
        .open(path, Access::Read)
        .map_err(|error| Error::io("open", path, &error))?;
    image::check(path, &file, pace).map_err(|error| Error::Failed(error.to_string()))
}
