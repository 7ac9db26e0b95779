//! Copying a whole file: under another name first, flushed, and only then given its own, so that no
//! half of a copy is ever seen. Holes stay holes; blocks are shared where the filesystem can.
//! Knows nothing of images.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::{Access, Cloned, Host, HostFile, Segment, copy_attributes};
use crate::image::{self, Format, ImageFile, temporary_name};

use super::error::Error;
use super::format::shown;
use super::progress::Progress;

/// Whether a copy shares the blocks of the original until either is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reflink {
    /// Where the filesystem can.
    #[default]
    Auto,
    /// Always: it fails where the filesystem cannot.
    Always,
    /// Never: every byte is written.
    Never,
}

/// Bytes moved between two looks at whether to go on.
const PIECE: u64 = 4 << 20;

/// A copy that has no name of its own yet. Dropped without [`Copy::publish`] it is removed.
#[derive(Debug)]
pub(in crate::ops) struct Copy<'h> {
    host: &'h dyn Host,
    temporary: PathBuf,
    /// Where it is going to be.
    to: PathBuf,
    published: bool,
    /// What of the original's attributes could not be kept, in words.
    pub(in crate::ops) lost: Vec<String>,
}

impl<'h> Copy<'h> {
    /// Copies `from` beside `to`, bytes and attributes, and flushes it.
    ///
    /// # Errors
    /// [`Error::Cancelled`] within a piece, [`Error::Failed`] with the file and the cause; nothing
    /// is left behind then.
    pub(in crate::ops) fn make(
        host: &'h dyn Host,
        from: &Path,
        to: &Path,
        reflink: Reflink,
        progress: &Progress,
    ) -> Result<Self, Error> {
        Self::make_part(host, from, to, None, reflink, progress)
    }

    /// The same of no more than `most` bytes: a device is longer than what is on it.
    ///
    /// # Errors
    /// As [`Copy::make`].
    pub(in crate::ops) fn make_part(
        host: &'h dyn Host,
        from: &Path,
        to: &Path,
        most: Option<u64>,
        reflink: Reflink,
        progress: &Progress,
    ) -> Result<Self, Error> {
        let source = host
            .open(from, Access::Read)
            .map_err(|error| Error::io("open", from, &error))?;
        let mut copy = Self {
            host,
            temporary: temporary_name(to),
            to: to.to_path_buf(),
            published: true,
            lost: Vec::new(),
        };
        let target = host
            .create_private(&copy.temporary)
            .map_err(|error| Error::io("create", &copy.temporary, &error))?;
        copy.published = false;
        copy.lost = copy_attributes(&*source, &*target).lost;
        let len = source
            .len()
            .map_err(|error| Error::io("read", from, &error))?;
        let len = most.map_or(len, |most| len.min(most));
        let (source, target_file) = ((from, &*source), (copy.temporary.as_path(), &*target));
        copy_bytes(source, target_file, len, reflink, progress)?;
        target
            .flush()
            .map_err(|error| Error::io("flush", &copy.temporary, &error))?;
        Ok(copy)
    }

    /// The name it has until it is published.
    pub(in crate::ops) fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// The name it is going to have.
    pub(in crate::ops) fn target(&self) -> &Path {
        &self.to
    }

    /// Gives it its name, which must be free, and makes that stable.
    ///
    /// # Errors
    /// [`Error::Failed`] if the name is taken or cannot be made.
    pub(in crate::ops) fn publish(mut self) -> Result<(), Error> {
        self.host
            .rename_new(&self.temporary, &self.to)
            .map_err(|error| Error::io("create", &self.to, &error))?;
        self.published = true;
        let dir = folder(&self.to);
        self.host
            .sync_dir(dir)
            .map_err(|error| Error::io("flush", dir, &error))
    }
}

impl Drop for Copy<'_> {
    fn drop(&mut self) {
        if !self.published {
            // Ours, and of no use to anybody; if it cannot be removed, its name says what it is.
            drop(self.host.remove_file(&self.temporary));
        }
    }
}

/// Whether two files hold the same bytes, but for the header of an image, which names its backing file from
/// where it is.
pub(in crate::ops) fn same_but_header(
    host: &dyn Host,
    from: &Path,
    to: &Path,
    format: &Format,
) -> bool {
    let skip = match format {
        Format::Qcow2 => ImageFile::open(host, from, Access::Read)
            .and_then(|file| image::read_header(&file))
            .map(|header| header.geometry.cluster_size())
            .ok(),
        _ => Some(0),
    };
    let open = |path: &Path| host.open(path, Access::Read).ok();
    let (Some(mut at), Some(one), Some(other)) = (skip, open(from), open(to)) else {
        return false;
    };
    let (Ok(len), Ok(same)) = (one.len(), other.len()) else {
        return false;
    };
    if len != same {
        return false;
    }
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        match (one.read_at(&mut a, at), other.read_at(&mut b, at)) {
            (Ok(0), Ok(0)) => return true,
            (Ok(got), Ok(same)) if got == same && a.get(..got) == b.get(..got) => {
                at = at.saturating_add(got as u64);
            }
            _ => return false,
        }
    }
}

/// The directory a name is in.
pub(in crate::ops) fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn copy_bytes(
    (from, source): (&Path, &dyn HostFile),
    (to, target): (&Path, &dyn HostFile),
    len: u64,
    reflink: Reflink,
    progress: &Progress,
) -> Result<(), Error> {
    let reading = |error| Error::io("read", from, &error);
    let writing = |error| Error::io("write", to, &error);
    target.set_len(len).map_err(writing)?;
    let shares = reflink != Reflink::Never && len > 0;
    if shares && target.clone_range(source, 0, 0, len).map_err(writing)? == Cloned::Done {
        return Ok(());
    }
    if reflink == Reflink::Always && len > 0 {
        return Err(Error::failed(format!(
            "{} cannot share the blocks of {}: the filesystem cannot do that, or they are on two",
            shown(to),
            shown(from)
        )));
    }
    // The kernel shares blocks by itself where it can.
    let mut in_kernel = reflink != Reflink::Never;
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < len {
        let end = match source.segment_at(at).map_err(reading)? {
            Segment::Hole(end) => {
                at = end.min(len);
                continue;
            }
            Segment::Data(end) => end.min(len),
        };
        while at < end {
            let piece = PIECE.min(end - at);
            if in_kernel {
                in_kernel =
                    target.copy_range(source, at, at, piece).map_err(writing)? == Cloned::Done;
            }
            if !in_kernel {
                buffer.resize(usize::try_from(piece).unwrap_or(0), 0);
                let got = source.read_at(&mut buffer, at).map_err(reading)?;
                if (got as u64) < piece {
                    return Err(Error::failed(format!(
                        "{} became shorter while it was copied",
                        shown(from)
                    )));
                }
                target.write_at(&buffer, at).map_err(writing)?;
            }
            target.write_out(at, piece);
            at += piece;
            progress.advance(piece).map_err(|_| {
                Error::cancelled(format!("cancelled: the copy of {} is removed", shown(from)))
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_has_the_bytes_the_holes_and_the_mode() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        let file = RealHost.create_new(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_at(&[7; 100_000], 32 << 20).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o640)).unwrap();
        let copy = Copy::make(&RealHost, &from, &to, Reflink::Auto, &Progress::new()).unwrap();
        assert!(!to.exists());
        copy.publish().unwrap();
        assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap());
        let stat = fs::metadata(&to).unwrap();
        assert_eq!(stat.mode() & 0o777, 0o640);
        assert!(stat.blocks() * 512 < 1 << 20, "{} blocks", stat.blocks());
    }

    #[test]
    fn blocks_are_shared_only_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&from, vec![1; 3 << 20]).unwrap();
        let made = |reflink| Copy::make(&RealHost, &from, &to, reflink, &Progress::new());
        let can = {
            let target = RealHost.create_new(&dir.path().join("probe")).unwrap();
            let source = RealHost.open(&from, Access::Read).unwrap();
            target.set_len(3 << 20).unwrap();
            target.clone_range(&*source, 0, 0, 3 << 20).unwrap() == Cloned::Done
        };
        match made(Reflink::Always) {
            Ok(copy) => {
                assert!(can);
                drop(copy);
            }
            Err(error) => assert!(!can && error.to_string().contains("share"), "{error}"),
        }
        made(Reflink::Never).unwrap().publish().unwrap();
        assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap());
    }

    #[test]
    fn what_is_not_published_leaves_nothing_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&from, vec![1; 10_000_000]).unwrap();
        let progress = Progress::new();
        progress.cancel();
        assert!(matches!(
            Copy::make(&RealHost, &from, &to, Reflink::Auto, &progress),
            Err(Error::Cancelled(_)) | Ok(_)
        ));
        fs::write(&to, b"mine").unwrap();
        let copy = Copy::make(&RealHost, &from, &to, Reflink::Auto, &Progress::new()).unwrap();
        assert!(copy.publish().is_err());
        assert_eq!(fs::read(&to).unwrap(), b"mine");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
