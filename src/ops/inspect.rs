//! What lies in the tables of one image besides the disk: for whoever lists it, before anything is asked for.

use std::path::Path;

use crate::host::{Access, Host};
use crate::image::{self, Bitmap, ImageFile, LuksHeader, Snapshot};

/// What an image holds besides its disk. None of these says anything of the others, so that each is there or not.
#[derive(Debug)]
pub struct Inspection {
    /// Its internal snapshots, in the order of their table.
    pub snapshots: image::Result<Vec<Snapshot>>,
    /// Its dirty bitmaps.
    pub bitmaps: image::Result<Vec<Bitmap>>,
    /// The header of its encryption, if it is encrypted with LUKS.
    pub luks: image::Result<Option<LuksHeader>>,
}

/// Reads what a qcow2 image holds besides its disk; nothing that it is built on is opened.
///
/// # Errors
/// When it cannot be opened, or its header cannot be read.
pub fn inspect(host: &dyn Host, path: &Path) -> image::Result<Inspection> {
    let file = ImageFile::open(host, path, Access::Read)?;
    let header = image::read_header(&file)?;
    Ok(Inspection {
        snapshots: image::snapshots(&file, &header),
        bitmaps: image::bitmaps(&file, &header),
        luks: image::luks_header(&file, &header),
    })
}
