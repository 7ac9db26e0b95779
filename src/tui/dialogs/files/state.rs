//! What is shown of the files of an image: pages, each over the one it came from.

use std::path::PathBuf;
use std::sync::Arc;

use crate::inside::{Contents, Step, View};
use crate::tui::app::App;
use crate::tui::browse::{
    Answer, Compared, ComparedWith, Comparison, FileRow, FileText, Found, Question, Shown, Spot,
    Trouble,
};
use crate::tui::dialogs::list_cursor::ListCursor;
use crate::tui::disabled_reason::two;
use crate::tui::msg::Effect;
use crate::tui::query::QueryId;

/// The files of an image.
#[derive(Debug)]
pub struct FilesDialog {
    /// The image.
    pub of: Shown,
    /// It, once it is opened.
    pub view: Option<Arc<View>>,
    /// Which of its files a process is writing, each as a sentence.
    pub live: Vec<String>,
    /// What is shown: the last one is seen.
    pub pages: Vec<Page>,
    /// The question's number.
    pub query_id: QueryId,
    /// The comparison that it was opened for, if it is not there to browse.
    compares: Option<Comparison>,
}

/// One thing that is shown.
#[derive(Debug)]
pub struct Page {
    /// What it is about: a folder, a file; none of all of it.
    pub spot: Option<Spot>,
    /// What there is.
    pub body: Body,
    /// The row under the cursor; of a file the first that is seen.
    pub cursor: ListCursor,
    /// Columns of a file that are left of what is seen.
    pub left: usize,
}

/// What a page shows.
#[derive(Debug)]
pub enum Body {
    /// Nothing yet: what is being done.
    Waits(&'static str),
    /// Nothing: why.
    Failed(String),
    /// The volumes.
    Volumes(Contents),
    /// A folder.
    Folder(Vec<FileRow>),
    /// A file.
    Text(FileText),
    /// Files that were found by name.
    Found(Found),
    /// What became of a file in each layer.
    History(Vec<Step>),
    /// How a file differs between two states.
    Compared(Box<Compared>),
}

impl Page {
    fn waiting(spot: Option<Spot>, what: &'static str) -> Self {
        Self {
            spot,
            body: Body::Waits(what),
            cursor: ListCursor::default(),
            left: 0,
        }
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.body {
            Body::Waits(_) | Body::Failed(_) => 0,
            Body::Volumes(contents) => contents.volumes.len(),
            Body::Folder(rows) => rows.len(),
            Body::Text(text) => text.lines.len(),
            Body::Found(found) => found.hits.len(),
            Body::History(steps) => steps.len(),
            Body::Compared(compared) => compared.lines.len(),
        }
    }

    /// What is under the cursor, or what the page is about.
    #[must_use]
    pub fn at_cursor(&self) -> Option<Spot> {
        let at = self.cursor.at;
        match &self.body {
            Body::Volumes(contents) => {
                let volume = contents.volumes.get(at)?;
                // One that is locked is asked for as well: that asks for its passphrase.
                (volume.is_read || volume.is_locked).then(|| Spot::root(&volume.name))
            }
            Body::Folder(rows) => {
                let row = rows.get(at)?;
                let node = row.node.as_ref().ok().map(|node| node.id);
                Some(self.spot.as_ref()?.below(&row.name, node))
            }
            Body::Found(found) => found.hits.get(at).map(|hit| Spot {
                volume: hit.volume.clone(),
                path: hit.path.clone(),
                node: Some(hit.id),
            }),
            Body::Compared(compared) => compared.newer.as_ref().map(|(_, spot)| spot.clone()),
            Body::Waits(_) | Body::Failed(_) | Body::Text(_) | Body::History(_) => {
                self.spot.clone()
            }
        }
    }

    /// Whether it is read line by line: the cursor is the first line that is seen.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(self.body, Body::Text(_) | Body::Compared(_))
    }

    /// Whether Enter leads on from its rows.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        matches!(
            self.body,
            Body::Volumes(_) | Body::Folder(_) | Body::Found(_)
        )
    }
}

impl FilesDialog {
    /// Opens the dialog and asks for the volumes.
    pub(in crate::tui) fn open(app: &mut App, of: Shown, effects: &mut Vec<Effect>) -> Self {
        let mut dialog = Self {
            of,
            view: None,
            live: Vec::new(),
            pages: Vec::new(),
            query_id: 0,
            compares: None,
        };
        dialog.open_anew(app, effects);
        dialog
    }

    /// Opens the dialog and asks how a file differs.
    pub(in crate::tui) fn compare(
        app: &mut App,
        what: Comparison,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut dialog = Self {
            of: what.newer.clone(),
            view: None,
            live: Vec::new(),
            pages: Vec::new(),
            query_id: 0,
            compares: Some(what),
        };
        dialog.open_anew(app, effects);
        dialog
    }

    /// Asks for what it was opened for once more, and forgets all else.
    pub(in crate::tui) fn open_anew(&mut self, app: &mut App, effects: &mut Vec<Effect>) {
        self.view = None;
        self.live.clear();
        self.pages.clear();
        if let Some(what) = self.compares.clone() {
            return self.ask_compared(what, app, effects);
        }
        let question = Question::Open(self.of.clone());
        self.ask(None, "Opening the disk.", question, app, effects);
    }

    /// The page that is seen.
    #[must_use]
    pub fn page(&self) -> Option<&Page> {
        self.pages.last()
    }

    /// Whether an answer is waited for.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.page()
            .is_some_and(|page| matches!(page.body, Body::Waits(_)))
    }

    /// Asks, and shows what is done meanwhile on a page of its own.
    fn ask(
        &mut self,
        spot: Option<Spot>,
        what: &'static str,
        question: Question,
        app: &mut App,
        effects: &mut Vec<Effect>,
    ) {
        self.query_id = app.query_id();
        self.pages.push(Page::waiting(spot, what));
        effects.push(Effect::Browse(self.query_id, question));
    }

    /// Opens what is under the cursor.
    pub(super) fn enter(&mut self, app: &mut App, effects: &mut Vec<Effect>) {
        let Some(page) = self.page().filter(|page| page.has_entries()) else {
            return;
        };
        let at = page.cursor.at;
        match (page.at_cursor(), &self.view, &page.body) {
            (Some(spot), Some(view), _) => {
                let question = Question::Look(Arc::clone(view), spot.clone());
                self.ask(Some(spot), "Reading it.", question, app, effects);
            }
            (None, _, Body::Volumes(contents)) => {
                if let Some(volume) = contents.volumes.get(at) {
                    app.warn(format!("{}: {}.", volume.name, volume.kind));
                }
            }
            _ => {}
        }
    }

    /// Finds files by name.
    pub(in crate::tui) fn find(&mut self, name: String, app: &mut App, effects: &mut Vec<Effect>) {
        let Some(view) = self.view.clone() else {
            return;
        };
        let question = Question::Find(view, name);
        self.ask(None, "Looking through all folders.", question, app, effects);
    }

    /// Tells in which layers the file under the cursor changed.
    pub(super) fn history(&mut self, app: &mut App, effects: &mut Vec<Effect>) {
        let spot = self.page().and_then(Page::at_cursor);
        if let (Some(spot), Some(view)) = (spot, self.view.clone())
            && !self.waits()
        {
            let question = Question::History(view, self.of.image.clone(), spot.clone());
            let what = "Comparing it in every layer.";
            self.ask(Some(spot), what, question, app, effects);
        }
    }

    /// Tells how the file under the cursor differs from what the image is built on, or from the image that is pointed
    /// at besides; a snapshot's from what it is now.
    pub(super) fn differ(&mut self, app: &mut App, effects: &mut Vec<Effect>) {
        let is_compared = self
            .page()
            .is_some_and(|page| matches!(page.body, Body::Compared(_)));
        let spot = self.page().and_then(Page::at_cursor);
        let (Some(spot), false, false) = (spot, self.waits(), is_compared) else {
            return;
        };
        let (newer, older) = self.states(app);
        let what = Comparison {
            newer,
            older,
            spot: Spot { node: None, ..spot },
            from: None,
        };
        self.ask_compared(what, app, effects);
    }

    /// The two states that a file of this image is compared in.
    fn states(&self, app: &App) -> (Shown, ComparedWith) {
        if self.of.snapshot.is_some() {
            let now = Shown {
                snapshot: None,
                ..self.of.clone()
            };
            return (now, ComparedWith::Other(self.of.clone()));
        }
        let own = app.forest.by_path(&self.of.image).map(|node| node.id);
        let two = match app.tree.marks.len() {
            1 => two(app),
            _ => Vec::new(),
        };
        let others = two.iter().filter(|id| Some(**id) != own);
        let other = others.filter_map(|id| app.forest.get(*id)).next();
        let Some(other) = other else {
            return (self.of.clone(), ComparedWith::Base);
        };
        let shown = Shown {
            image: other.path.clone(),
            format: other.format(),
            snapshot: None,
        };
        // What is built on the other is the newer one.
        let chain = app.forest.chain(other.id);
        match own.is_some_and(|own| chain.contains(&own)) {
            true => (shown, ComparedWith::Other(self.of.clone())),
            false => (self.of.clone(), ComparedWith::Other(shown)),
        }
    }

    fn ask_compared(&mut self, what: Comparison, app: &mut App, effects: &mut Vec<Effect>) {
        let spot = Some(what.spot.clone());
        let question = Question::Compare(what);
        self.ask(spot, "Comparing it.", question, app, effects);
    }

    /// To where one came from; says whether there is such a page.
    pub(super) fn back(&mut self, app: &mut App, effects: &mut Vec<Effect>) -> bool {
        if self.pages.len() <= 1 {
            return false;
        }
        if self.waits() {
            self.stop(app, effects);
        }
        self.pages.pop();
        true
    }

    /// Nobody waits for the answer any more.
    pub(super) fn stop(&mut self, app: &mut App, effects: &mut Vec<Effect>) {
        self.query_id = app.query_id();
        effects.push(Effect::StopBrowsing);
    }

    /// Takes in an answer; the image whose passphrase is missing, if that is what it says.
    pub(in crate::tui) fn take(
        &mut self,
        query_id: QueryId,
        answer: Result<Answer, Trouble>,
    ) -> Option<PathBuf> {
        if query_id != self.query_id || !self.waits() {
            return None;
        }
        let mut locked = None;
        let body = match answer {
            Ok(Answer::Opened(view, contents, live)) => {
                self.view = Some(view);
                self.live = live;
                Body::Volumes(contents)
            }
            Ok(Answer::Folder(rows)) => Body::Folder(rows),
            Ok(Answer::Text(text)) => Body::Text(text),
            Ok(Answer::Found(found)) => Body::Found(found),
            Ok(Answer::History(steps)) => Body::History(steps),
            Ok(Answer::Compared(compared)) => Body::Compared(compared),
            Err(Trouble::Told(why)) => Body::Failed(why),
            Err(Trouble::Locked(image, why)) => {
                locked = Some(image);
                Body::Failed(why)
            }
        };
        if let Some(page) = self.pages.last_mut() {
            // The first volume that can be looked into, which is what most have come for.
            if let Body::Volumes(contents) = &body {
                let read = contents.volumes.iter().position(|volume| volume.is_read);
                page.cursor.at = read.unwrap_or(0);
            }
            page.body = body;
        }
        locked
    }
}
