//! The notes of a folder: what people have noted of images whose files can have no extended attributes, since the
//! filesystem keeps none or they may not be written, in one file beside them. What it says of an image holds, whatever
//! stands in the image's attributes: only where these could not be written anything came here. The file may be any
//! program's: its size is bounded, and what makes no sense in it is passed over.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::{Access, FileKind, Host};
use crate::image::is_trashed;

use super::annotation::{Annotation, attributes_of};
use super::state_file::Name;

/// What the file is called.
pub const NOTES_FILE: &str = ".qanopy-notes.json";
/// More than ten thousand images need.
const MOST_BYTES: u64 = 64 << 20;
/// The form of the file.
const VERSION: u32 = 1;

/// The notes in the file of one folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderNotes {
    images: BTreeMap<OsString, Annotation>,
}

/// The file.
#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    images: Vec<Entry>,
}

/// What it says of one image.
#[derive(Serialize, Deserialize)]
struct Entry {
    name: Name,
    #[serde(flatten)]
    annotation: Annotation,
}

impl FolderNotes {
    /// Reads the file of a folder; a folder without one has no notes.
    ///
    /// # Errors
    /// The system's; `InvalidData` where the file is not one of ours.
    pub fn read(host: &dyn Host, folder: &Path) -> io::Result<Self> {
        let path = folder.join(NOTES_FILE);
        match host.stat_link(&path) {
            Ok(stat) if stat.kind != FileKind::Regular => {
                return Err(invalid("it is no regular file"));
            }
            Ok(stat) if stat.len > MOST_BYTES => return Err(invalid("it is too long to be one")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        }
        let file = host.open(&path, Access::Read)?;
        let len = file.len()?.min(MOST_BYTES);
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        let document: Document = serde_json::from_slice(&bytes)?;
        if document.version != VERSION {
            return Err(invalid("another version of this program wrote it"));
        }
        let entries = document.images.into_iter();
        let images = entries.map(|Entry { name, annotation }| {
            let name = PathBuf::from(name).into_os_string();
            let annotation = annotation.tidied();
            (
                name,
                Annotation {
                    in_folder: true,
                    ..annotation
                },
            )
        });
        Ok(Self {
            images: images.collect(),
        })
    }

    /// What it says of the image of that name, which may be that nothing is noted of it.
    #[must_use]
    pub fn of(&self, name: &OsStr) -> Option<&Annotation> {
        self.images.get(name)
    }

    /// The names that it speaks of, in order.
    pub fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.images.keys().map(OsString::as_os_str)
    }

    /// Whether the notes of its folder speak of an image of this name and there is none: not even a link that leads
    /// nowhere. A folder that cannot be looked into says nothing.
    #[must_use]
    pub fn are_stale(host: &dyn Host, image: &Path) -> bool {
        let is_gone = host
            .stat_link(image)
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        is_gone && NotesReader::new(host).in_folder(image).is_some()
    }

    /// Says this of an image from now on.
    pub fn insert(&mut self, name: &OsStr, annotation: Annotation) {
        self.images.insert(name.to_owned(), annotation);
    }

    /// Says nothing of it from now on.
    pub fn remove(&mut self, name: &OsStr) {
        self.images.remove(name);
    }

    /// Whether it says nothing of any image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// What stands in the file then.
    ///
    /// # Errors
    /// None that is known of: all that is in it can be written as JSON.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let images = self.images.iter().map(|(name, annotation)| Entry {
            name: Name::from(Path::new(name)),
            annotation: annotation.clone(),
        });
        let document = Document {
            version: VERSION,
            images: images.collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&document)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Tells what people have noted of images, as it is now; the notes of a folder are read once.
#[derive(Debug)]
pub struct NotesReader<'h> {
    host: &'h dyn Host,
    folders: HashMap<PathBuf, FolderNotes>,
}

impl<'h> NotesReader<'h> {
    /// Images of this machine.
    #[must_use]
    pub fn new(host: &'h dyn Host) -> Self {
        Self {
            host,
            folders: HashMap::new(),
        }
    }

    /// What is noted of the image of this name. What cannot be read says nothing.
    pub fn of(&mut self, path: &Path) -> Option<Annotation> {
        if let Some(found) = self.in_folder(path) {
            return Some(found.clone()).filter(|found| !found.is_empty());
        }
        let file = self.host.open(path, Access::Read).ok()?;
        attributes_of(&*file).ok().flatten()
    }

    /// What the notes of its folder say of it, which may be that nothing is noted.
    pub(super) fn in_folder(&mut self, path: &Path) -> Option<&Annotation> {
        let (folder, name) = (folder_of(path)?, path.file_name()?);
        if !self.folders.contains_key(folder) {
            let notes = FolderNotes::read(self.host, folder).unwrap_or_default();
            self.folders.insert(folder.to_path_buf(), notes);
        }
        self.folders.get(folder)?.of(name)
    }
}

/// What people have noted of the image of this name, as it is now: of several, ask a [`NotesReader`].
#[must_use]
pub fn annotation_of(host: &dyn Host, path: &Path) -> Option<Annotation> {
    NotesReader::new(host).of(path)
}

/// The folder whose file speaks of an image; in the trash there is none.
pub(super) fn folder_of(path: &Path) -> Option<&Path> {
    let folder = path.parent().filter(|_| !is_trashed(path))?;
    Some(match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::RealHost;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    fn note(text: &str, tags: &[&str]) -> Annotation {
        Annotation {
            text: text.to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            in_folder: true,
        }
    }

    #[test]
    fn what_is_written_is_read_again_by_any_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(FolderNotes::read(&RealHost, dir.path()).unwrap().is_empty());
        let mut notes = FolderNotes::default();
        let odd = OsStr::from_bytes(b"a\xff");
        notes.insert(odd, note("odd", &["golden"]));
        notes.insert(OsStr::new("b"), note("", &[]));
        fs::write(dir.path().join(NOTES_FILE), notes.to_bytes().unwrap()).unwrap();
        let read = FolderNotes::read(&RealHost, dir.path()).unwrap();
        assert_eq!(read, notes);
        assert_eq!(
            annotation_of(&RealHost, &dir.path().join(odd)),
            Some(note("odd", &["golden"]))
        );
        assert_eq!(annotation_of(&RealHost, &dir.path().join("b")), None);
    }

    #[test]
    fn a_file_of_anybody_is_bounded_and_tidied_or_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NOTES_FILE);
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            FolderNotes::read(&RealHost, dir.path())
        };
        let long = "é".repeat(5000);
        let entry = format!(
            r#"{{"version":1,"more":1,"images":[{{"name":"a","note":"{long}","tags":["A","\u001b[0m",","],"x":[]}}]}}"#
        );
        let notes = read(entry.as_bytes()).unwrap();
        let found = notes.of(OsStr::new("a")).unwrap();
        assert_eq!(
            (found.text.len(), found.tags.clone()),
            (2048, vec!["a".to_owned()])
        );
        let deep = "[".repeat(100_000);
        for wrong in [
            "",
            "{}",
            "[]",
            "nonsense",
            r#"{"version":2,"images":[]}"#,
            &deep,
        ] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong:.20}");
        }
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        assert!(FolderNotes::read(&RealHost, dir.path()).is_err());
        assert_eq!(annotation_of(&RealHost, &dir.path().join("a")), None);
    }
}
