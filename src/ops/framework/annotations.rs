//! Writing what people note of images, and having it follow them. Extended attributes of the file come first: whatever
//! copies or renames a file takes them along. Where they cannot be written the notes of the folder take it, and what
//! stands there follows by [`Carried`]: every operation that moves, copies or brings back an image goes by here.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::forest::{
    Annotation, FolderNotes, NOTES_FILE, NotesReader, annotation_of, attributes_of,
};
use crate::host::{Access, FileKind, Host, io_text, set_attributes};
use crate::image::{is_trashed, temporary_name};
use crate::system::FolderLock;

use super::absolute;
use super::copy_file::folder;
use super::error::Error;
use super::format::shown;
use super::note::{Note, NoteKind};
use super::plan::{Effect, EffectKind, Plan};
use super::trash;

/// Where something noted of an image is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) enum KeptIn {
    /// In extended attributes of its file.
    Attributes,
    /// In the notes of its folder; why not in attributes, in words.
    Folder(String),
}

impl KeptIn {
    /// Where it would be kept, as far as can be said without writing.
    pub(in crate::ops) fn of(host: &dyn Host, image: &Path) -> Self {
        let open = host.open(image, Access::Read);
        let asked = open.and_then(|file| attributes_of(&*file).map(|_| ()));
        match asked.and_then(|()| host.may_write(image)) {
            Ok(()) => Self::Attributes,
            Err(error) => Self::Folder(why(&error)),
        }
    }
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Unsupported => "its filesystem keeps no extended attributes".to_owned(),
        io::ErrorKind::PermissionDenied => "the file may not be written".to_owned(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the filesystem has no room for more extended attributes of it".to_owned()
        }
        _ => io_text(error),
    }
}

/// Notes this of an image, instead of whatever is noted of it.
///
/// # Errors
/// [`Error::Failed`] if it can be kept nowhere.
pub(in crate::ops) fn write(
    host: &dyn Host,
    image: &Path,
    annotation: &Annotation,
) -> Result<KeptIn, Error> {
    let failed = |error: &io::Error| Error::io("note something of", image, error);
    let file = host.open(image, Access::Read);
    let file = file.map_err(|error| failed(&error))?;
    let values = annotation.attributes();
    let values = values
        .each_ref()
        .map(|(name, value)| (*name, value.as_deref()));
    match set_attributes(&*file, &values) {
        Ok(()) => {
            in_folder(host, folder(image), &[(image, None)]).map_err(|error| failed(&error))?;
            Ok(KeptIn::Attributes)
        }
        Err(refused) => {
            // What stands in attributes that cannot be taken away is overruled.
            let rest = attributes_of(&*file).ok().flatten();
            let said = (rest.is_some() || !annotation.is_empty()).then_some(annotation);
            in_folder(host, folder(image), &[(image, said)]).map_err(|error| failed(&error))?;
            Ok(KeptIn::Folder(why(&refused)))
        }
    }
}

/// Has the notes of its folder say this of an image that is not there, or nothing of it.
///
/// # Errors
/// [`Error::Failed`] if they cannot be written.
pub(in crate::ops) fn write_of_missing(
    host: &dyn Host,
    image: &Path,
    says: Option<&Annotation>,
) -> Result<(), Error> {
    in_folder(host, folder(image), &[(image, says)])
        .map_err(|error| Error::io("change the notes in", folder(image), &error))
}

/// Has the notes of a folder say this of images in it, or nothing.
fn in_folder(host: &dyn Host, dir: &Path, says: &[(&Path, Option<&Annotation>)]) -> io::Result<()> {
    let path = dir.join(NOTES_FILE);
    if host.stat_link(&path).is_err() && says.iter().all(|(_, says)| says.is_none()) {
        return Ok(());
    }
    let _lock = FolderLock::take(dir)?;
    let mut notes = FolderNotes::read(host, dir)?;
    let before = notes.clone();
    for (image, says) in says {
        let name = image.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        match says {
            Some(says) => notes.insert(name, (*says).clone()),
            None => notes.remove(name),
        }
    }
    if notes == before {
        return Ok(());
    }
    if notes.is_empty() {
        host.remove_file(&path)?;
        return host.sync_dir(dir);
    }
    let temporary = temporary_name(&path);
    let written = host.create_new(&temporary).and_then(|file| {
        file.write_at(&notes.to_bytes()?, 0)?;
        file.flush()
    });
    let replaced = written.and_then(|()| host.rename_replace(&temporary, &path));
    if replaced.is_err() {
        // Ours; its name says what it is if it cannot be removed.
        let _ = host.remove_file(&temporary);
    }
    replaced.and_then(|()| host.sync_dir(dir))
}

/// What is noted of one image, and where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CarriedNote {
    from: PathBuf,
    to: PathBuf,
    annotation: Annotation,
}

impl CarriedNote {
    /// Where the image is: at its new place, or at its old one where it never got there or was taken back.
    fn place(&self, host: &dyn Host) -> Option<&Path> {
        let is_there = |path: &&Path| host.stat(path).is_ok();
        let new = Some(self.to.as_path()).filter(is_there);
        let old = || Some(self.from.as_path()).filter(|old| !is_trashed(old) && is_there(old));
        new.or_else(old)
    }
}

/// What is noted of images that a plan moves, copies or brings back, and where it goes with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ops) struct Carried {
    images: Vec<CarriedNote>,
    /// Names that the notes of folders may speak of no longer.
    left: Vec<PathBuf>,
}

impl Carried {
    /// Looks, before the plan is carried out.
    pub(in crate::ops) fn by(plan: &Plan) -> Self {
        let host = plan.host();
        let mut notes = NotesReader::new(host);
        let mut carried = Self::default();
        for effect in &plan.effects {
            carried.images.extend(goes_along(host, &mut notes, effect));
            let goes = matches!(effect.kind, EffectKind::Moves | EffectKind::Trashes);
            if goes
                && host
                    .stat_link(&folder(&effect.path).join(NOTES_FILE))
                    .is_ok()
            {
                carried.left.push(absolute::path(&effect.path));
            }
        }
        carried
    }

    /// Whether nothing is noted of what goes anywhere.
    pub(in crate::ops) fn is_empty(&self) -> bool {
        self.images.is_empty() && self.left.is_empty()
    }

    /// Takes in what an operation that was interrupted had to carry, as far as this one does not.
    pub(in crate::ops) fn join(&mut self, interrupted: Self) {
        for image in interrupted.images {
            let is_it = |known: &CarriedNote| known.to == image.to || known.to == image.from;
            if !self.images.iter().any(is_it) {
                self.images.push(image);
            }
        }
        self.left.extend(interrupted.left);
    }

    /// Puts it down, once the plan was carried out; tells what could not be.
    pub(in crate::ops) fn put(self, host: &dyn Host) -> Vec<Note> {
        let mut remarks = Vec::new();
        for carried in &self.images {
            let Some(image) = carried.place(host) else {
                continue;
            };
            let annotation = &carried.annotation;
            let now = annotation_of(host, image);
            let has_it = now.is_some_and(|now| now.says_the_same(annotation));
            if !has_it && let Err(error) = write(host, image, annotation) {
                let text = format!(
                    "what is noted of {} did not follow it: {error}",
                    shown(image)
                );
                remarks.push(Note::new(NoteKind::Attributes, text));
            }
        }
        let mut gone: BTreeMap<&Path, Vec<(&Path, Option<&Annotation>)>> = BTreeMap::new();
        for path in self
            .left
            .iter()
            .filter(|path| host.stat_link(path).is_err())
        {
            gone.entry(folder(path)).or_default().push((path, None));
        }
        for (dir, names) in gone {
            // What speaks of no file harms nobody.
            let _ = in_folder(host, dir, &names);
        }
        remarks
    }
}

/// Where what is noted of the image of an effect goes, and what that is.
fn goes_along(
    host: &dyn Host,
    notes: &mut NotesReader<'_>,
    effect: &Effect,
) -> Option<CarriedNote> {
    let other = effect.counterpart.as_ref()?;
    let (from, to) = match effect.kind {
        EffectKind::Moves => (&effect.path, other),
        EffectKind::Creates => (other, &effect.path),
        EffectKind::Restores => {
            return Some(CarriedNote {
                from: absolute::path(other),
                to: absolute::path(&effect.path),
                annotation: trash::annotation_of(host, other)?,
            });
        }
        _ => return None,
    };
    // A folder may be named where an image goes into it.
    let to = match host.stat(to) {
        Ok(stat) if stat.kind == FileKind::Directory => to.join(from.file_name()?),
        _ => to.clone(),
    };
    Some(CarriedNote {
        from: absolute::path(from),
        to: absolute::path(&to),
        annotation: notes.of(from)?,
    })
}
