//! Files and folders of a guest copied out to this host: nothing is written outside the folder that was named, nothing
//! is replaced, no device is made and no right is given that a file should not bring along.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::error::{Error, Printable, Result};
use crate::filesystem::{Filesystem, Node, NodeId, NodeKind};
use crate::path;

/// Folders in each other at the most.
const MOST_DEPTH: usize = 256;
/// Entries of one folder at the most.
const MOST_ENTRIES: usize = 1_000_000;
/// Bytes copied at a time; as many zeros in a row are left out as a hole.
const PIECE: usize = 64 << 10;
/// What was left out and is told one by one.
const MOST_TOLD: usize = 100;

/// What was copied.
#[derive(Debug, Default)]
pub struct Extracted {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links, which lead where they led inside the guest.
    pub links: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// What was left out, and why; the first 100.
    pub left_out: Vec<(Printable, String)>,
    /// How much was left out.
    pub left_out_count: u64,
}

/// Told of every piece that was copied, and of no bytes before each file; whether to go on.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> bool;

/// Copies a node, and all below it if it is a directory, to `to`, which must not be there yet.
///
/// # Errors
/// When something of that name is there, a file cannot be written, the image cannot be read, or it was stopped. What
/// was copied by then stays. What is damaged inside the guest is left out and told.
pub fn extract(
    filesystem: &dyn Filesystem,
    node: &Node,
    to: &Path,
    progress: Progress<'_>,
) -> Result<Extracted> {
    let mut copier = Copier {
        filesystem,
        progress,
        done: Extracted::default(),
        met: HashSet::new(),
    };
    copier.node(node, to, 0)?;
    Ok(copier.done)
}

struct Copier<'a> {
    filesystem: &'a dyn Filesystem,
    progress: Progress<'a>,
    done: Extracted,
    /// Folders met so far: one that another name leads to as well may hold itself.
    met: HashSet<NodeId>,
}

/// An error of this host.
fn host(path: &Path, error: &std::io::Error) -> Error {
    let problem = match error.kind() {
        std::io::ErrorKind::AlreadyExists => "there is a file of that name already".to_owned(),
        std::io::ErrorKind::StorageFull => "the disk is full".to_owned(),
        kind => kind.to_string(),
    };
    Error::Host {
        path: Printable(path.as_os_str().as_bytes().to_vec()),
        problem,
    }
}

impl Copier<'_> {
    fn leave_out(&mut self, to: &Path, why: &str) {
        self.done.left_out_count += 1;
        if self.done.left_out.len() < MOST_TOLD {
            self.done.left_out.push((
                Printable(to.as_os_str().as_bytes().to_vec()),
                why.to_owned(),
            ));
        }
    }

    /// Goes on after what is damaged inside the guest, which is told.
    fn damaged(&mut self, to: &Path, error: Error) -> Result<()> {
        match error {
            Error::Image(_) | Error::Cancelled | Error::Host { .. } => Err(error),
            _ => {
                self.leave_out(to, &error.to_string());
                Ok(())
            }
        }
    }

    fn node(&mut self, node: &Node, to: &Path, depth: usize) -> Result<()> {
        // Empty files and folders copy no piece.
        if !(self.progress)(0) {
            return Err(Error::Cancelled);
        }
        let result = match node.kind {
            NodeKind::Directory if !self.met.insert(node.id) => {
                self.leave_out(to, "another name leads to the same folder");
                Ok(())
            }
            NodeKind::Directory if depth < MOST_DEPTH => return self.folder(node, to, depth),
            NodeKind::Directory => Err(Error::TooMuch {
                what: "folders in each other",
                most: MOST_DEPTH as u64,
            }),
            NodeKind::File => self.file(node, to),
            NodeKind::Symlink => self.link(node, to),
            NodeKind::Special => {
                self.leave_out(to, "it is a device, FIFO or socket");
                Ok(())
            }
        };
        result.or_else(|error| self.damaged(to, error))
    }

    fn folder(&mut self, node: &Node, to: &Path, depth: usize) -> Result<()> {
        fs::create_dir(to).map_err(|error| host(to, &error))?;
        self.done.folders += 1;
        let entries = match path::list(self.filesystem, node.id, MOST_ENTRIES) {
            Ok(entries) => entries,
            Err(error) => return self.damaged(to, error),
        };
        for (name, id) in entries {
            let Some(below) = below(to, &name) else {
                self.leave_out(
                    to,
                    &format!("no file can have the name {}", Printable(name)),
                );
                continue;
            };
            match self.filesystem.node(id) {
                Ok(child) => self.node(&child, &below, depth + 1)?,
                Err(error) => self.damaged(&below, error)?,
            }
        }
        // After its files, which a folder without the right to write could not take.
        self.finish(node, to)
    }

    fn file(&mut self, node: &Node, to: &Path) -> Result<()> {
        let mut options = File::options();
        let made = options.write(true).create_new(true).mode(0o600).open(to);
        let mut file = made.map_err(|error| host(to, &error))?;
        let copied = self.bytes(node, &mut file, to);
        drop(file);
        if copied.is_err() {
            // Half a file looks like a whole one.
            fs::remove_file(to).map_err(|error| host(to, &error))?;
        }
        copied?;
        self.done.files += 1;
        self.finish(node, to)
    }

    fn bytes(&mut self, node: &Node, file: &mut File, to: &Path) -> Result<()> {
        let failed = |error: std::io::Error| host(to, &error);
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        while at < node.size {
            let read = self.filesystem.read(node.id, at, &mut piece)?;
            let bytes = piece.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            if bytes.iter().any(|byte| *byte != 0) {
                file.seek(SeekFrom::Start(at)).map_err(failed)?;
                file.write_all(bytes).map_err(failed)?;
            }
            at += read as u64;
            self.done.bytes += read as u64;
            if !(self.progress)(read as u64) {
                return Err(Error::Cancelled);
            }
        }
        file.set_len(at).map_err(failed)
    }

    fn link(&mut self, node: &Node, to: &Path) -> Result<()> {
        let target = self.filesystem.link_target(node.id)?;
        symlink(std::ffi::OsStr::from_bytes(&target), to).map_err(|error| host(to, &error))?;
        self.done.links += 1;
        Ok(())
    }

    /// Gives a file the rights and the time it has inside the guest; set-user-ID and its like are no rights to bring.
    fn finish(&mut self, node: &Node, to: &Path) -> Result<()> {
        let failed = |error: std::io::Error| host(to, &error);
        if let Some(time) = node.modified {
            let file = File::open(to).map_err(failed)?;
            file.set_modified(time).map_err(failed)?;
        }
        let own = if node.is_directory() { 0o700 } else { 0o400 };
        fs::set_permissions(to, fs::Permissions::from_mode((node.mode & 0o777) | own))
            .map_err(failed)
    }
}

/// A name of a guest below a folder of this host; none if it would lead elsewhere.
#[must_use]
pub fn below(folder: &Path, name: &[u8]) -> Option<PathBuf> {
    let is_plain = !name.is_empty()
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0);
    is_plain.then(|| folder.join(std::ffi::OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = Path::new("/tmp/out");
        for name in [&b""[..], b".", b"..", b"a/b", b"/etc/passwd", b"a\0b"] {
            assert_eq!(below(folder, name), None);
        }
        assert_eq!(below(folder, b"..."), Some(PathBuf::from("/tmp/out/...")));
    }
}
