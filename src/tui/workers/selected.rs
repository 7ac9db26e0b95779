//! What the disk tells of the selected image, asked once the cursor rests on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::forest::ScanOptions;
use crate::host::Host;
use crate::image::{Bitmap, Format, Snapshot};
use crate::ops::{ReadOptions, inspect};
use crate::tui::map::MapSeen;
use crate::tui::msg::{LiveInfo, Msg};

/// How long an image has to be selected before the disk is asked about it.
const REST: Duration = Duration::from_millis(60);

/// The newest of the questions. One that stands alone is answered at once; one that follows another, as while the
/// cursor runs over the tree, waits until it rests. For what is stopped as soon as something else is asked.
pub(super) fn newest<T>(
    mut question: T,
    questions: &Receiver<T>,
    asked_last: &mut Option<Instant>,
) -> T {
    if asked_last.is_some_and(|last| last.elapsed() < REST) {
        while let Ok(next) = questions.recv_timeout(REST) {
            question = next;
        }
    }
    *asked_last = Some(Instant::now());
    question
}

/// Asks the disk about the selected image once the cursor rests on it: passing over thousands of
/// images asks nothing.
pub(super) fn look_at_selected(
    host: &dyn Host,
    selections: &Receiver<PathBuf>,
    answers: &Sender<Msg>,
) {
    while let Ok(mut path) = selections.recv() {
        while let Ok(next) = selections.recv_timeout(REST) {
            path = next;
        }
        let dir = path.parent().unwrap_or(&path);
        let id = host.stat(&path).ok().map(|stat| stat.id);
        let holders = id.and_then(|id| host.holders(&[id]).remove(&id));
        let (snapshots, bitmaps) = inside(host, &path);
        let info = LiveInfo {
            snapshots,
            bitmaps,
            space: host.space(dir).ok(),
            holders: holders.unwrap_or_default(),
            path,
        };
        if answers.send(Msg::Info(Box::new(info))).is_err() {
            return;
        }
    }
}

/// Reads the tables of the selected image, and stops as soon as another one
/// is asked for.
pub(super) fn map_selected(
    host: &dyn Host,
    scan: &ScanOptions,
    selections: &Receiver<(PathBuf, Option<Format>)>,
    answers: &Sender<Msg>,
) {
    let mut asked_last = None;
    while let Ok(selected) = selections.recv() {
        let (path, format) = newest(selected, selections, &mut asked_last);
        let options = ReadOptions {
            format,
            folders: scan.roots.clone(),
            follow: scan.follow,
            snapshot: None,
        };
        let seen = MapSeen::look(host, &path, &options, &|| selections.is_empty());
        let seen = match seen {
            Ok(None) => continue,
            Ok(Some(seen)) => Ok(Arc::new(seen)),
            Err(why) => Err(why),
        };
        if answers.send(Msg::Mapped(path, seen)).is_err() {
            return;
        }
    }
}

/// What there is of one kind in an image, or why that cannot be told.
type Listed<T> = Option<Result<Vec<T>, String>>;

/// The image's internal snapshots and dirty bitmaps; none where it is no qcow2 image.
fn inside(host: &dyn Host, path: &Path) -> (Listed<Snapshot>, Listed<Bitmap>) {
    let Ok(found) = inspect(host, path) else {
        return (None, None);
    };
    (
        Some(found.snapshots.map_err(|error| error.to_string())),
        Some(found.bitmaps.map_err(|error| error.to_string())),
    )
}
