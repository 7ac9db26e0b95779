//! What dialogs hold while they are open: the branch form, a plan waiting for its answer, the prune
//! checklist, the trash, searchable lists. What their keys do is `update`'s business.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use tui_input::Input;

use crate::ops::trash::Entry;
use crate::ops::{Candidate, Confirm, Plan, Request, WayOut};

use super::form::Form;
use super::key::Key;
use super::keymap::{Action, Scope};
use super::order::Sort;
use super::query::{Measured, Ticket};
use super::secret::Secret;

/// What has the keyboard.
#[derive(Debug, Default)]
pub enum Mode {
    /// The panes.
    #[default]
    Main,
    /// The jobs pane.
    Jobs,
    /// The filter line.
    Filter {
        /// What the filter was before, to go back to.
        before: String,
    },
    /// A searchable list.
    List(Box<ListMenu>),
    /// A small form.
    Form(Box<Form>),
    /// A plan waits for an answer.
    Plan(Box<PlanDialog>),
    /// The prune checklist.
    Prune(Box<PruneDialog>),
    /// The trash.
    Trash(Box<TrashDialog>),
    /// Jobs run, and the person wants to leave.
    Leave,
    /// The log.
    Log(LogView),
    /// A passphrase is asked for.
    Secret(Box<SecretDialog>),
    /// How large a copy would be.
    Measure(Box<MeasureDialog>),
}

impl Mode {
    /// Which part of the keymap counts.
    #[must_use]
    pub fn scope(&self) -> Scope {
        match self {
            Self::Main => Scope::Main,
            Self::Jobs => Scope::Jobs,
            Self::Filter { .. } => Scope::Filter,
            Self::List(_) => Scope::List,
            Self::Form(_) => Scope::Form,
            Self::Plan(_) => Scope::Plan,
            Self::Prune(_) => Scope::Prune,
            Self::Trash(_) => Scope::Trash,
            Self::Leave => Scope::Leave,
            Self::Log(_) => Scope::Log,
            Self::Secret(_) => Scope::Secret,
            Self::Measure(_) => Scope::Measure,
        }
    }

    /// The plan that is shown, or several that are agreed to together.
    #[must_use]
    pub fn plans(&self) -> &[Plan] {
        match self {
            Self::Form(form) => &form.plans,
            Self::Plan(dialog) => dialog.plan.as_deref().map_or(&[], std::slice::from_ref),
            Self::Secret(dialog) => dialog.back.plans(),
            _ => &[],
        }
    }
}

/// What fires on Enter in a plan's dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Button {
    /// Go back; nothing happens.
    #[default]
    Cancel,
    /// Do it.
    Confirm,
}

/// A plan waiting for an answer.
#[derive(Debug)]
pub struct PlanDialog {
    /// The question's number.
    pub ticket: Ticket,
    /// What is asked.
    pub request: Request,
    /// The plan; none while it is being made.
    pub plan: Option<Box<Plan>>,
    /// What comes before the plan: why it was made anew, why an answer did not do.
    pub reason: Option<String>,
    /// What fires on Enter.
    pub button: Button,
    /// The number typed so far.
    pub typed: String,
    /// Lines scrolled past.
    pub scroll: usize,
    /// Whether the same as commands is shown.
    pub commands: bool,
    /// Whether running it has to prove that no other image changes.
    pub proves: bool,
    /// The encrypted image whose passphrase is missing.
    pub locked: Option<PathBuf>,
    /// What this dialog came from, to go back to.
    pub back: Box<Mode>,
}

impl PlanDialog {
    /// A dialog that waits for its plan.
    #[must_use]
    pub fn new(ticket: Ticket, request: Request, back: Mode) -> Self {
        Self {
            ticket,
            request,
            plan: None,
            reason: None,
            button: Button::Cancel,
            typed: String::new(),
            scroll: 0,
            commands: false,
            proves: false,
            locked: None,
            back: Box::new(back),
        }
    }

    /// The ways out of a refusal, in the order of their keys.
    #[must_use]
    pub fn ways_out(&self) -> Vec<&WayOut> {
        let refusals = self.plan.iter().flat_map(|plan| &plan.refusals);
        refusals
            .flat_map(|refusal| &refusal.ways_out)
            .take(9)
            .collect()
    }

    /// The number that has to be typed, if one has to be.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match self.plan.as_ref()?.confirm {
            Confirm::Count(count) => Some(count),
            Confirm::Yes | Confirm::Impossible => None,
        }
    }

    /// Whether a yes is possible at all.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.plan
            .as_ref()
            .is_some_and(|plan| plan.confirm != Confirm::Impossible)
    }
}

/// The passphrase of an encrypted image, as it is typed.
#[derive(Debug)]
pub struct SecretDialog {
    /// The image.
    pub image: PathBuf,
    /// What is typed so far.
    pub secret: Secret,
    /// What asked for it, to go back to.
    pub back: Mode,
    /// The job that has ended for lack of it, and begins again with it.
    pub job: Option<u64>,
}

/// How large a copy of an image would be.
#[derive(Debug)]
pub struct MeasureDialog {
    /// The question's number.
    pub ticket: Ticket,
    /// The image.
    pub image: PathBuf,
    /// The ID of its internal snapshot, where that is what is measured.
    pub snapshot: Option<Vec<u8>>,
    /// What was found, or why nothing; none while the tables are read.
    pub found: Option<Result<Measured, String>>,
}

/// The log, or one job's part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogView {
    /// The job, if only one is shown.
    pub job: Option<u64>,
    /// Lines scrolled up from the end.
    pub up: usize,
}

/// The prune checklist.
#[derive(Debug, Default)]
pub struct PruneDialog {
    /// The question's number.
    pub ticket: Ticket,
    /// What could go, oldest first; none while that is looked for.
    pub candidates: Option<Vec<Candidate>>,
    /// Which of them are ticked.
    pub ticked: Vec<bool>,
    /// The entry under the cursor.
    pub cursor: usize,
}

impl PruneDialog {
    /// The ticked entries.
    pub fn chosen(&self) -> impl Iterator<Item = &Candidate> {
        let all = self.candidates.iter().flatten();
        all.zip(&self.ticked)
            .filter(|(_, ticked)| **ticked)
            .map(|(c, _)| c)
    }
}

/// The trash.
#[derive(Debug, Default)]
pub struct TrashDialog {
    /// The question's number.
    pub ticket: Ticket,
    /// What is in it, newest first; none while that is looked for.
    pub entries: Option<Vec<Entry>>,
    /// Marked entries by name.
    pub marked: BTreeSet<String>,
    /// The entry under the cursor.
    pub cursor: usize,
}

impl TrashDialog {
    /// The marked entries, or the one under the cursor.
    #[must_use]
    pub fn chosen(&self) -> Vec<String> {
        let entries = self.entries.as_deref().unwrap_or_default();
        let mut chosen: Vec<String> = entries
            .iter()
            .filter(|entry| self.marked.contains(&entry.name))
            .map(|entry| entry.name.clone())
            .collect();
        if chosen.is_empty() {
            chosen.extend(entries.get(self.cursor).map(|entry| entry.name.clone()));
        }
        chosen
    }
}

/// What an entry of a list does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// An action of the panes.
    Action(Action),
    /// An order.
    Sort(Sort),
    /// Text for the clipboard.
    Copy(String),
    /// A request to be planned.
    Ask(Request),
    /// A form to be filled in.
    Fill(FormKind, Option<OsString>),
    /// A command of the person's own, by its place; true once it was asked about.
    Run(usize, bool),
    /// Nothing: it only explains.
    Explains,
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its keys as text.
    pub keys: String,
    /// What it is or does.
    pub title: String,
    /// Its group.
    pub group: &'static str,
    /// Its name in the keymap.
    pub name: &'static str,
    /// Why it cannot be done now.
    pub why_not: Option<String>,
    /// What it does.
    pub choice: Choice,
}

/// Which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FormKind {
    /// A new overlay.
    Branch,
    /// A new empty image.
    Create,
    /// What an image is built on.
    Rebase,
    /// Where a missing base went.
    Relink,
    /// A new file that shows the same.
    Flatten,
    /// Layers taken out of a chain.
    FlattenHere,
    /// Another size of the disk.
    Resize,
    /// Another name or folder.
    Move,
    /// A new internal snapshot.
    TakeSnapshot,
    /// A snapshot copied out into a file.
    ExtractSnapshot,
    /// A copy, file for file.
    Clone,
    /// A new image of another kind.
    Convert,
    /// A new image of another kind for each of the marked ones.
    ConvertEach,
    /// A folder that holds the chain.
    Export,
    /// An exported folder brought in.
    Import,
    /// Another version, width or feature.
    Amend,
    /// Other passphrases of an encrypted image.
    KeySlots,
    /// A new dirty bitmap.
    AddBitmap,
    /// A dirty bitmap that takes up what another says.
    MergeBitmap,
}

/// A list to choose from: searched by typing, or, where each entry has a key, by that key.
#[derive(Debug)]
pub struct ListMenu {
    /// The title on its frame.
    pub title: String,
    /// What is searched for.
    pub query: Input,
    /// All entries.
    pub items: Vec<Item>,
    /// The entries that match, by number.
    pub shown: Vec<usize>,
    /// Which of those is under the cursor.
    pub cursor: usize,
    /// Whether a key runs its entry at once instead of being searched for.
    pub by_key: bool,
    /// What of the selected image it lists, to be made anew when the disk tells more.
    pub inside: Option<Inside>,
    /// The question whose answer fills it.
    pub ticket: Option<Ticket>,
}

/// What is inside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// Internal snapshots.
    Snapshots,
    /// Dirty bitmaps.
    Bitmaps,
}

impl ListMenu {
    /// A list whose entries are run by their keys, all of which are seen.
    #[must_use]
    pub fn by_key(title: impl Into<String>, items: Vec<Item>) -> Self {
        Self {
            by_key: true,
            ..Self::new(title, items)
        }
    }

    /// The same, made anew when the disk tells more of what is inside the image.
    #[must_use]
    pub fn of(self, inside: Inside) -> Self {
        Self {
            inside: Some(inside),
            ..self
        }
    }

    /// The entry that a key stands for.
    #[must_use]
    pub fn find_key(&self, key: Key) -> Option<usize> {
        let name = key.to_string();
        let is_it = |at: &&usize| {
            let item = self.items.get(**at);
            item.is_some_and(|item| item.keys.split(' ').any(|key| key == name))
        };
        self.shown.iter().find(is_it).copied()
    }

    /// A list of these entries.
    #[must_use]
    pub fn new(title: impl Into<String>, items: Vec<Item>) -> Self {
        let mut menu = Self {
            by_key: false,
            inside: None,
            ticket: None,
            title: title.into(),
            query: Input::default(),
            items,
            shown: Vec::new(),
            cursor: 0,
        };
        menu.search();
        menu
    }

    /// Finds the entries that hold every word of the query; a query that is a key comes first. If
    /// none holds them, those with the letters in that order, the likeliest first.
    pub fn search(&mut self) {
        let query = self.query.value().trim().to_owned();
        let lower = query.to_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        let text = |item: &Item| {
            format!("{} {} {} {}", item.title, item.group, item.name, item.keys).to_lowercase()
        };
        let mut shown: Vec<usize> = (0..self.items.len())
            .filter(|i| {
                self.items.get(*i).is_some_and(|item| {
                    let text = text(item);
                    words.iter().all(|word| text.contains(word))
                })
            })
            .collect();
        if shown.is_empty() {
            let fuzzy = super::filter::Fuzzy::new(&query);
            let mut scored: Vec<(u32, usize)> = (0..self.items.len())
                .filter_map(|i| Some((fuzzy.score(&text(self.items.get(i)?))?, i)))
                .collect();
            scored.sort_by_key(|(score, i)| (std::cmp::Reverse(*score), *i));
            shown = scored.into_iter().map(|(_, i)| i).collect();
        }
        if !query.is_empty() {
            // Stable: among equals the table's order stays.
            shown.sort_by_key(|i| {
                !self
                    .items
                    .get(*i)
                    .is_some_and(|item| item.keys.split(' ').any(|key| key == query))
            });
        }
        self.shown = shown;
        self.cursor = 0;
    }

    /// The entry under the cursor.
    #[must_use]
    pub fn current(&self) -> Option<&Item> {
        self.items.get(*self.shown.get(self.cursor)?)
    }
}
