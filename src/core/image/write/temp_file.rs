//! New files made under other names and given their own when they are complete, so that nobody ever
//! sees half of one. What is written into them is the caller's business.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::host::{FileId, Host, Maker};
use crate::image::ImageFile;
use crate::image::error::{IoContext, Result};

/// New files that are removed again unless they were published.
pub(crate) struct TempFiles<'h> {
    host: &'h dyn Host,
    /// Their own names, the names they have now, and which files they are.
    files: Vec<(PathBuf, PathBuf, FileId)>,
}

impl<'h> TempFiles<'h> {
    /// No files yet.
    pub(crate) fn new(host: &'h dyn Host) -> Self {
        Self {
            host,
            files: Vec::new(),
        }
    }

    /// An empty file that is to be called `path`, and is called so in errors.
    pub(crate) fn create(&mut self, path: &Path) -> Result<ImageFile> {
        let temporary = temporary_name(path);
        let file = self.host.create_new(&temporary).at(&temporary, "create")?;
        let id = match file.stat() {
            Ok(stat) => stat.id,
            Err(error) => {
                // It is ours and has no other name yet.
                drop(self.host.remove_file(&temporary));
                return Err(error).at(&temporary, "stat");
            }
        };
        self.files.push((path.to_path_buf(), temporary, id));
        Ok(ImageFile::new(path, file))
    }

    /// Gives each file its own name, in the order they were created, each on stable storage before
    /// the next. The caller has flushed them.
    pub(crate) fn persist(mut self) -> Result<()> {
        for (path, current, _) in &mut self.files {
            self.host.rename_new(current, path).at(path, "create")?;
            current.clone_from(path);
            flush_folder_of(self.host, path)?;
        }
        self.files.clear();
        Ok(())
    }
}

impl Drop for TempFiles<'_> {
    fn drop(&mut self) {
        for (_, current, id) in self.files.iter().rev() {
            // Made a moment ago and not whole: failing to remove it changes nothing.
            if self
                .host
                .stat_link(current)
                .is_ok_and(|stat| stat.id == *id)
            {
                drop(self.host.remove_file(current));
            }
        }
    }
}

fn flush_folder_of(host: &dyn Host, path: &Path) -> Result<()> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    host.sync_dir(dir).at(dir, "flush the folder")
}

/// Makes the new file `new` by `make`, which is given the name it has meanwhile. It gets its own when all of
/// it is on stable storage, which `make` has seen to; where anything fails it is removed.
pub(crate) fn made_aside(
    host: &dyn Host,
    new: &Path,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let temporary = temporary_name(new);
    let made = make(&temporary)
        .and_then(|()| host.rename_new(&temporary, new).at(new, "create"))
        .and_then(|()| flush_folder_of(host, new));
    if made.is_err() && host.stat_link(&temporary).is_ok() {
        // The file is ours and has no other name yet; failing to remove it changes nothing.
        drop(host.remove_file(&temporary));
    }
    made
}

/// The end of such a name.
const END: &str = ".qanopy-new";

/// Longest file name there is.
const NAME_MAX: usize = 255;

/// The process that was making a file of this name, if it is a name that [`temporary_name`] gives.
#[must_use]
pub fn maker_of(path: &Path) -> Option<Maker> {
    let name = path.file_name()?.as_encoded_bytes();
    let name = name.strip_prefix(b".")?.strip_suffix(END.as_bytes())?;
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    Maker::parse(name.get(dot + 1..)?)
}

/// A name beside `path` for the time it is being made; of a long name the beginning.
#[must_use]
pub fn temporary_name(path: &Path) -> PathBuf {
    named_by(path, &Maker::this())
}

/// Whether `temporary` is such a name for `path`, whichever process gave it.
#[must_use]
pub fn is_temporary_of(temporary: &Path, path: &Path) -> bool {
    maker_of(temporary).is_some_and(|maker| named_by(path, &maker) == temporary)
}

fn named_by(path: &Path, maker: &Maker) -> PathBuf {
    let end = format!(".{maker}{END}");
    let own = path.file_name().unwrap_or_default().as_bytes();
    let room = NAME_MAX.saturating_sub(end.len() + 1);
    let mut name = OsString::from(".");
    name.push(OsStr::from_bytes(own.get(..room).unwrap_or(own)));
    name.push(end);
    path.with_file_name(name)
}
