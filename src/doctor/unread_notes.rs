//! Notes of a folder that cannot be read.

use crate::forest::{FolderNotes, NOTES_FILE};
use crate::host::{io_text, printable};

use super::finder::{Finder, Found, Subject};

pub(super) const FINDER: Finder = Finder {
    name: "unread-notes",
    why: "The notes and tags of images whose files can have no extended attributes stand in this file. Where it cannot be \
          read, an image that is tagged keep or golden is not protected.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let host = subject.context.host.as_ref();
    let folders = subject.folders().into_iter();
    folders
        .filter_map(|folder| {
            let error = FolderNotes::read(host, &folder).err()?;
            let file = folder.join(NOTES_FILE);
            let text = format!(
                "{} cannot be read: {}. Put it right, or take it away.",
                printable(&file),
                io_text(&error)
            );
            Some(Found::at(&file, text))
        })
        .collect()
}
