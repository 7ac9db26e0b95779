//! Which files differ and what is inside the selected image. Dropped as soon as something else is asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use crate::forest::ScanOptions;
use crate::guest::diff::{Options, VolumeDiff, Watch};
use crate::guest::{self, Error, explain};
use crate::host::Host;
use crate::image::{Chain, ErrorKind, Format, Keys, NoProgress};
use crate::inside::{self, Older, Sides, View};
use crate::ops::{self, ReadOptions, SnapshotName};
use crate::tui::crash;
use crate::tui::file_changes::{Before, Changes, FilesAnswer, FilesQuery};
use crate::tui::msg::Msg;

use super::selected::Newest;

/// Who reads the files.
pub(super) struct FileReader {
    pub(super) host: Arc<dyn Host>,
    pub(super) scan: ScanOptions,
    pub(super) keys: Keys,
    pub(super) answers: Sender<Msg>,
}

impl FileReader {
    /// Answers what is asked, the newest question only, as long as anybody can ask.
    pub(super) fn run(&self, questions: &Receiver<FilesQuery>) {
        let mut newest = Newest::default();
        while let Ok(query) = questions.recv() {
            let query = newest.of(query, questions, FilesQuery::image);
            // A reader that breaks must not take this thread along: the next image is asked all the same.
            let answered = catch_unwind(AssertUnwindSafe(|| self.files(&query, questions)));
            let answer = match answered {
                Ok(Ok(answer)) => answer,
                Ok(Err(NotTold::Superseded)) => continue,
                Ok(Err(NotTold::Why(why))) => FilesAnswer::Failed(why),
                Err(_) => {
                    FilesAnswer::Failed(format!("Reading it broke off{}.", crash::where_to_look()))
                }
            };
            self.answer(query, answer);
        }
    }

    /// Tells the interface. One that is gone needs no answer.
    fn answer(&self, query: FilesQuery, answer: FilesAnswer) {
        let _ = self.answers.send(Msg::Files(query, answer));
    }

    fn files(
        &self,
        query: &FilesQuery,
        questions: &Receiver<FilesQuery>,
    ) -> Result<FilesAnswer, NotTold> {
        match query {
            FilesQuery::Contents(path, format) => {
                let view = view(
                    self.opened(path, format.clone(), None)?,
                    &self.keys,
                    questions,
                )?;
                Ok(FilesAnswer::Contents(Arc::new(inside::contents(&view)?)))
            }
            FilesQuery::Explain(path, format) => {
                let chain = self.opened(path, format.clone(), None)?;
                self.explain(query, &chain, questions)
            }
            FilesQuery::Changes {
                after,
                format,
                before,
            } => {
                let now = self.opened(after, format.clone(), None)?;
                let sides = match before {
                    Before::Base => Sides::of(&now, Older::Base),
                    Before::Root => Sides::of(&now, Older::Root),
                    Before::Image(path) => Some(Sides {
                        before: self.opened(path, None, None)?,
                        after: now,
                    }),
                    Before::Snapshot(name) => {
                        let before = self.opened(after, format.clone(), Some(name.clone()))?;
                        Some(Sides { before, after: now })
                    }
                };
                match sides {
                    Some(sides) => self.changes(query, &sides, questions),
                    None => Ok(FilesAnswer::NoBase),
                }
            }
        }
    }

    /// A chain with its content unlocked by the passphrases that were given already; nobody is asked for one here.
    fn opened(
        &self,
        path: &std::path::Path,
        format: Option<Format>,
        snapshot: Option<SnapshotName>,
    ) -> Result<Chain, NotTold> {
        let folders = self.scan.roots.clone();
        let options = ReadOptions {
            format,
            folders,
            follow: self.scan.follow,
            snapshot,
        };
        let reading = ops::open_to_read(&*self.host, path, &options)
            .map_err(|error| NotTold::Why(error.to_string()))?;
        let chain = reading.whole().map_err(guest::Error::from)?;
        chain
            .unlock(&self.keys, &NoProgress)
            .map_err(guest::Error::from)?;
        Ok(chain)
    }

    /// The bytes are told at once, what they are for once all volumes were looked at.
    fn explain(
        &self,
        query: &FilesQuery,
        chain: &Chain,
        questions: &Receiver<FilesQuery>,
    ) -> Result<FilesAnswer, NotTold> {
        let stored = guest::stored(chain)?;
        self.answer(query.clone(), FilesAnswer::Bytes(stored.bytes()));
        let view = view(chain.clone(), &self.keys, questions)?;
        let sums = explain::explain(&view.disk, &stored)?;
        Ok(FilesAnswer::Explained(sums))
    }

    fn changes(
        &self,
        query: &FilesQuery,
        sides: &Sides,
        questions: &Receiver<FilesQuery>,
    ) -> Result<FilesAnswer, NotTold> {
        let changed = guest::changed(&sides.before, &sides.after)?;
        let bytes = changed.bytes();
        self.answer(query.clone(), FilesAnswer::Bytes(bytes));
        let mut told = Told {
            reader: self,
            query,
            questions,
            bytes,
        };
        let mut volumes =
            inside::compare_changed(sides, &changed, &self.keys, Options::default(), &mut told)?;
        // Those with changes come first.
        volumes.sort_by_key(VolumeDiff::is_same);
        Ok(FilesAnswer::Changes(Arc::new(Changes::new(bytes, volumes))))
    }
}

/// An image down to its files, read as long as nothing else is asked.
fn view(chain: Chain, keys: &Keys, questions: &Receiver<FilesQuery>) -> Result<View, NotTold> {
    let questions = questions.clone();
    let stop = Arc::new(move || !questions.is_empty());
    Ok(View::stoppable(chain, keys, View::KEPT, stop)?)
}

/// Why there is no answer.
enum NotTold {
    /// Something else is asked by now.
    Superseded,
    /// A sentence.
    Why(String),
}

impl From<guest::Error> for NotTold {
    fn from(error: guest::Error) -> Self {
        match error {
            Error::Cancelled => Self::Superseded,
            Error::Image(image) if matches!(image.kind, ErrorKind::Locked | ErrorKind::WrongPassphrase) => {
                Self::Why("It is encrypted: its files can be read once its passphrase was given for another action, \
                    such as compare."
                    .to_owned())
            }
            other => Self::Why(other.to_string()),
        }
    }
}

/// Tells how far it is, and stops where nobody waits.
struct Told<'a> {
    reader: &'a FileReader,
    query: &'a FilesQuery,
    questions: &'a Receiver<FilesQuery>,
    bytes: u64,
}

impl Watch for Told<'_> {
    fn candidates(&mut self, nodes: u64) {
        let answer = FilesAnswer::Nodes {
            bytes: self.bytes,
            nodes,
        };
        self.reader.answer(self.query.clone(), answer);
    }

    fn is_cancelled(&mut self) -> bool {
        !self.questions.is_empty()
    }
}
