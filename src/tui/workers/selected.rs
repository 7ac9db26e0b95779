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

/// Picks the newest of the questions about images, for what is stopped as soon as something else is asked.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// Which image was asked about last, and when.
    last: Option<(PathBuf, Instant)>,
}

impl Newest {
    /// The question to be answered now. One that stands alone is answered at once, and so is another one about the
    /// same image, as when another pane is opened; one that follows a question about another image, as while the
    /// cursor runs over the tree, waits until it rests.
    pub(super) fn of<T>(
        &mut self,
        mut question: T,
        questions: &Receiver<T>,
        image: impl Fn(&T) -> &Path,
    ) -> T {
        if let Some((last, at)) = &self.last
            && at.elapsed() < REST
            && image(&question) != last
        {
            while let Ok(next) = questions.recv_timeout(REST) {
                let rests = image(&next) == image(&question);
                question = next;
                if rests {
                    break;
                }
            }
        }
        self.last = Some((image(&question).to_owned(), Instant::now()));
        question
    }
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
    let mut newest = Newest::default();
    while let Ok(selected) = selections.recv() {
        let (path, format) = newest.of(selected, selections, |(path, _)| path);
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

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    /// Which of `asked` is answered first once `before` was.
    fn answered(before: &str, asked: &[&str]) -> PathBuf {
        let (to, questions) = unbounded();
        let mut newest = Newest::default();
        newest.of(PathBuf::from(before), &questions, |path| path);
        for path in asked {
            to.send(PathBuf::from(path)).unwrap();
        }
        let first = questions.recv().unwrap();
        newest.of(first, &questions, |path| path)
    }

    #[test]
    fn a_cursor_that_runs_is_waited_for() {
        // A machine that stood still meanwhile makes it one that rested.
        assert!((0..10).any(|_| answered("a", &["b", "c"]) == Path::new("c")));
    }

    #[test]
    fn another_question_about_the_same_image_is_not() {
        assert_eq!(answered("a", &["a", "b"]), Path::new("a"));
        // Nor is one that comes while the first is waited for.
        assert!((0..10).any(|_| answered("a", &["b", "b", "c"]) == Path::new("b")));
    }
}
