//! Notes of a folder that speak of an image that is not there.

use crate::forest::{FolderNotes, NOTES_FILE};
use crate::host::printable;
use crate::ops::{Remedy, Request};

use super::finder::{Finder, Found, Subject};

pub(super) const FINDER: Finder = Finder {
    name: "stale-note",
    why: "The image was moved or removed by another program, or by an operation that was cut off. The next image of that \
          name would have its note and its tags, with what these protect.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let host = subject.context.host.as_ref();
    let folders = subject.folders().into_iter();
    folders
        .flat_map(|folder| {
            // Of one that cannot be read another finding tells.
            let notes = FolderNotes::read(host, &folder).unwrap_or_default();
            let file = folder.join(NOTES_FILE);
            let images: Vec<_> = notes.names().map(|name| folder.join(name)).collect();
            let gone = images.into_iter();
            let gone = gone.filter(|image| FolderNotes::are_stale(host, image));
            gone.map(move |image| {
                let text = format!(
                    "{} speaks of {}, which is not there.",
                    printable(&file),
                    printable(&image)
                );
                let fix = Remedy::ask(Request::forget_note(&image));
                Found::at(&image, text).helped_by(vec![fix])
            })
        })
        .collect()
}
