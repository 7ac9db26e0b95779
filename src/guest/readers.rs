//! The filesystems that are read here: one line for each, one folder behind it.

use crate::block::Source;
use crate::btrfs;
use crate::error::{Error, Result};
use crate::ext4;
use crate::fat;
use crate::ntfs;
use crate::xfs;

pub use crate::filesystem::OpenFilesystem;

/// Opens a filesystem; none where its superblock is not there.
type Open = fn(&Source) -> Result<Option<OpenFilesystem>>;

/// A reader of one kind.
struct Reader {
    open: Open,
}

/// In the order they are asked: those with a magic number that nothing else has first.
static READERS: &[Reader] = &[
    Reader { open: btrfs::open },
    Reader { open: xfs::open },
    Reader { open: ntfs::open },
    Reader { open: ext4::open },
    Reader { open: fat::open },
];

/// How many readers say that the volume is theirs, whether they can read it or not.
///
/// # Errors
/// When the volume cannot be read.
pub(crate) fn claims(volume: &Source) -> Result<usize> {
    let mut claims = 0;
    for reader in READERS {
        match (reader.open)(volume) {
            Ok(None) => {}
            Err(error @ (Error::Image(_) | Error::Cancelled)) => return Err(error),
            Ok(Some(_)) | Err(_) => claims += 1,
        }
    }
    Ok(claims)
}

/// The filesystem on a volume; none where no reader knows it.
///
/// # Errors
/// When a reader knows it and cannot read it: it is damaged, or has a feature that is not read.
pub fn open(volume: &Source) -> Result<Option<OpenFilesystem>> {
    for reader in READERS {
        if let Some(found) = (reader.open)(volume)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
