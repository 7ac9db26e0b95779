//! A dirty bitmap that missed writes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::forest::{Flags, Node};
use crate::host::{Access, printable, printable_bytes};
use crate::image::{BitmapFlags, ImageFile, bitmaps, read_header};
use crate::ops::{BitmapAction, ChangeBitmap, Remedy};

use super::finder::{Finder, Found, Subject};

pub(super) const FINDER: Finder = Finder {
    name: "stale-bitmap",
    why: "A dirty bitmap tells a backup what was changed since the last one. The program that kept this one was killed \
          before it saved it: nobody may trust it, and it can only be removed. The next backup has to be a full one.",
    look,
};

fn look(subject: &Subject<'_>) -> Vec<Found> {
    let forest = &subject.context.forest;
    // Who has the image open keeps its bitmaps in memory, and marks them so.
    let is_closed = |node: &&Node| !forest.flags(node.id).contains(Flags::IN_USE);
    let with_bitmaps = subject
        .images()
        .filter(|node| node.info().is_some_and(|info| info.bitmaps > 0));
    let mut all = Vec::new();
    for node in with_bitmaps.filter(is_closed) {
        for bitmap in stale(subject, node) {
            let text = format!(
                "The dirty bitmap {} of {} was not saved and missed changes.",
                printable_bytes(&bitmap),
                printable(&node.path)
            );
            let remove = ChangeBitmap {
                image: node.path.clone(),
                bitmap: OsStr::from_bytes(&bitmap).to_os_string(),
                action: BitmapAction::Remove,
            };
            all.push(Found::of(node, text).helped_by(vec![Remedy::ask(remove)]));
        }
    }
    all
}

/// The names of those that are marked as in use. What cannot be read is a problem that the scan tells.
fn stale(subject: &Subject<'_>, node: &Node) -> Vec<Vec<u8>> {
    let host = subject.context.host.as_ref();
    let list = ImageFile::open(host, &node.path, Access::Read).and_then(|file| {
        let header = read_header(&file)?;
        bitmaps(&file, &header)
    });
    let list = list.unwrap_or_default().into_iter();
    list.filter(|bitmap| bitmap.flags.contains(BitmapFlags::IN_USE))
        .map(|bitmap| bitmap.name)
        .collect()
}
