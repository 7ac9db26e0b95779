//! A plan: everything a person needs to know before they say yes, as data and as words. How each
//! operation makes its plan lives in the operation's own file.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Node, Reads};
use crate::host::Host;
use crate::image;
use crate::machines::Machines;

use super::context::{Context, LookedIn};
use super::definition_change::{Redefines, Redefinition, Successor};
use super::error::Error;
use super::guest_files::{GuestFate, GuestFiles};
use super::nature::Nature;
use super::note::{Note, NoteKind};
use super::on_machines::OnMachines;
use super::preconditions::{Compare, Preconditions};
use super::progress::Progress;
use super::refusal::{Reason, Refusal, RefusalKind, WayOut};
use super::remedy::Remedy;
use super::request::Request;
use super::resolve;
use super::through::Through;

/// Images of which a plan tells the files.
const MOST_LOOKED_INSIDE: usize = 16;

/// What an operation that ran has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// One sentence: what happened to which file.
    pub summary: String,
    /// Files created, written, renamed or removed, for the log and for rescanning.
    pub touched: Vec<PathBuf>,
    /// What would take it back, if anything can.
    pub undo: Option<Request>,
    /// Things the person should know although all went well.
    pub remarks: Vec<Note>,
}

/// What carries out one plan. Made by the operation's own planning, so that nothing but an accepted
/// plan can be run.
pub(in crate::ops) trait Job: fmt::Debug + Send + Sync {
    /// Takes locks, settles them (see `locks::Locking`), does it.
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error>;
}

/// What happens to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What kind of thing.
    pub kind: EffectKind,
    /// To which file.
    pub path: PathBuf,
    /// How many bytes, where that means something.
    pub bytes: Option<u64>,
    /// In words, without the path: `1.2 GiB over existing data`.
    pub detail: String,
    /// Of what moves, its place afterwards; of what is created as a copy, the image whose content it shows.
    pub counterpart: Option<PathBuf>,
}

/// The kinds of things that happen to files; the tree marks rows by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EffectKind {
    /// Only read.
    Reads,
    /// A new file appears.
    Creates,
    /// Its guest content is rewritten: it is the target.
    Writes,
    /// Receives what it would lose, so that its guest content stays.
    Preserves,
    /// Only its header changes: it is built on another file now, with the same guest content.
    Relinks,
    /// It gets another name or place: its guest content stays.
    Moves,
    /// Only its tables change: its guest content stays.
    Updates,
    /// Only its permissions change: its guest content stays.
    Chmods,
    /// Only what people have noted of it changes: none of its bytes does.
    Annotates,
    /// Its disk becomes longer: its guest content stays up to the old end.
    Grows,
    /// Loses an internal snapshot or what a dirty bitmap says, its guest content stays.
    Drops,
    /// Its data is dropped, its guest content stays, since it reads through.
    Empties,
    /// Its guest content changes although nobody named it.
    Breaks,
    /// Goes to the trash.
    Trashes,
    /// Comes back from the trash.
    Restores,
    /// Stays as it is from then on: the machine that writes it goes on in another file.
    Freezes,
    /// Unlinked for good.
    Deletes,
}

impl EffectKind {
    /// Whether the file is not at its place afterwards.
    pub(in crate::ops) fn leaves(self) -> bool {
        matches!(self, Self::Trashes | Self::Deletes | Self::Moves)
    }

    /// Whether what the file shows, holds or is built on is another afterwards.
    pub(in crate::ops) fn changes(self) -> bool {
        match self {
            Self::Writes
            | Self::Preserves
            | Self::Relinks
            | Self::Updates
            | Self::Grows
            | Self::Drops
            | Self::Empties
            | Self::Breaks => true,
            Self::Reads
            | Self::Chmods
            | Self::Annotates
            | Self::Freezes
            | Self::Creates
            | Self::Restores
            | Self::Moves
            | Self::Trashes
            | Self::Deletes => false,
        }
    }

    /// The word that starts its line in a plan.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Creates => "creates",
            Self::Writes => "writes",
            Self::Preserves => "preserves",
            Self::Relinks => "relinks",
            Self::Moves => "moves",
            Self::Updates => "updates",
            Self::Chmods => "chmods",
            Self::Annotates => "notes",
            Self::Grows => "grows",
            Self::Drops => "drops",
            Self::Empties => "empties",
            Self::Breaks => "breaks",
            Self::Trashes => "trashes",
            Self::Restores => "restores",
            Self::Freezes => "freezes",
            Self::Deletes => "deletes",
        }
    }

    /// The sign that marks its row in the tree while the plan is shown, and what it means there.
    #[must_use]
    pub fn mark(self) -> Option<(char, &'static str)> {
        match self {
            Self::Reads => None,
            Self::Creates | Self::Restores => Some(('+', "new")),
            Self::Writes | Self::Preserves | Self::Empties => Some(('≈', "data rewritten")),
            Self::Relinks | Self::Updates | Self::Grows | Self::Drops => {
                Some(('~', "header rewritten"))
            }
            Self::Moves => Some(('~', "moved")),
            Self::Chmods => Some(('~', "permissions changed")),
            Self::Freezes => Some(('~', "frozen from then on")),
            Self::Annotates => Some(('~', "noted")),
            Self::Breaks => Some(('!', "would break")),
            Self::Trashes | Self::Deletes => Some(('✗', "goes")),
        }
    }
}

/// Room needed on one filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceNeed {
    /// A directory on it.
    pub dir: PathBuf,
    /// Bytes needed at most.
    pub needed: u64,
    /// Bytes needed besides if nothing that may turn out to be the same is.
    pub possible: u64,
    /// Bytes free now.
    pub available: u64,
}

/// How dangerous it is; computed from the effects, never from the key pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Danger {
    /// Creates only.
    Creates,
    /// Changes files, and can be taken back or loses nothing.
    Reversible,
    /// Loses or overwrites something for good.
    Loses,
    /// Refused.
    Refused,
}

/// What the person has to do to let it happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirm {
    /// Nothing: it only adds, as it was asked to, and there is nothing to warn of.
    Nothing,
    /// Say yes.
    Yes,
    /// Type this number (of images that would break, of files that are deleted, or of images that lose what
    /// they hold).
    Count(u64),
    /// It is refused.
    Impossible,
}

/// What the person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Said yes.
    Yes,
    /// Typed a number.
    Count(u64),
}

/// Why a consent does not suffice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The plan is refused.
    #[error("refused: {0}")]
    Refused(String),
    /// A number has to be typed, and it was another one or none.
    #[error("type {needed} to confirm")]
    Count {
        /// The number that would do.
        needed: u64,
    },
    /// A number was typed where none is asked for: it was meant for another plan.
    #[error("nothing is lost for good by this, so no number is asked for: a yes is")]
    NoNumber,
}

/// Whether it can be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undo {
    /// Yes; how, in words.
    Possible(String),
    /// No; why, in words.
    Impossible(String),
}

/// Everything a person needs to know before they say yes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What was asked; of some also what was found out.
    pub request: Request,
    /// What was asked, word for word.
    pub(in crate::ops) asked: Request,
    /// `Commit Overlay-1 into RootBase`.
    pub title: String,
    /// What happens to which file, in the order shown.
    pub effects: Vec<Effect>,
    /// What stays although one might fear for it, each as the rest of a line that starts `keeps`.
    pub keeps: Vec<String>,
    /// The files inside images that it changes or takes away.
    pub guest_files: Vec<GuestFiles>,
    /// Of how many more images that is not looked at.
    pub guest_files_more: usize,
    /// What else to know.
    pub notes: Vec<Note>,
    /// Why it will not be done; empty if it can be.
    pub refusals: Vec<Refusal>,
    /// Bytes that will be copied.
    pub copies: u64,
    /// Bytes that come free on disk (for a discard: once the trash is emptied).
    pub frees: u64,
    /// Room needed, one entry a filesystem.
    pub space: Vec<SpaceNeed>,
    /// How dangerous it is.
    pub danger: Danger,
    /// What the person has to do.
    pub confirm: Confirm,
    /// Whether it can be taken back.
    pub undo: Undo,
    /// The same as qemu-img commands, for the log and for learning.
    pub commands: Vec<String>,
    /// Where other images were searched.
    pub looked_in: LookedIn,
    /// Files as they were when this plan was made.
    pub(in crate::ops) preconditions: Preconditions,
    /// What carries it out; none in a plan that was refused.
    pub(in crate::ops) job: Option<Arc<dyn Job>>,
    /// Whether the one reason against it is that everything is as it is asked for already.
    pub(in crate::ops) is_done: bool,
    /// Files that what was done just before has made or changed, of a plan that follows on others.
    pub(in crate::ops) made_before: BTreeSet<PathBuf>,
    /// The same, where that is no failure to whoever asks.
    is_so: bool,
    /// Where it tells what could not be read, of one that takes what there is.
    pub(in crate::ops) unread: Option<Arc<image::Lost>>,
    /// What takes back a half of it after an interruption, if anything does.
    pub(in crate::ops) roll_back: Option<Request>,
    /// What is made of harm to machines.
    pub(in crate::ops) on_machines: OnMachines,
    /// Whether nothing may depend on what it changes, not even where a machine says so itself.
    pub(in crate::ops) has_no_dependants: bool,
    /// Whether somebody says yes to it although it only adds files.
    pub(in crate::ops) is_asked: bool,
    /// How many images that are tagged as golden it changes or takes away.
    pub(in crate::ops) golden: u64,
    /// How many files it harms machines by, where that was agreed to.
    pub(in crate::ops) machines_harmed: u64,
    /// Which definitions of machines it may change.
    pub(in crate::ops) redefines: Redefines,
    /// Which files take the place of which.
    pub(in crate::ops) successors: Vec<Successor>,
    /// Whether a machine whose disk goes to the trash may go on with the layer below.
    pub(in crate::ops) falls_back: bool,
    /// The UUID of the machine that is no longer defined then: what its files need is nobody's need.
    pub(in crate::ops) undefines: Option<String>,
    /// What changes in the definitions of machines, in this order.
    pub redefinitions: Vec<Redefinition>,
    /// Files that a machine is going to write from then on.
    pub(in crate::ops) written_by_machine: Vec<PathBuf>,
    /// The machine that does it while it runs, where one does.
    pub(in crate::ops) through: Option<Through>,
    /// The machines it knows of, where it may harm any.
    pub(in crate::ops) machines: Option<Arc<Machines>>,
    /// What the person is told of other machines that see the same storage, where these were asked.
    pub(in crate::ops) told_of_peers: Option<BTreeSet<String>>,
    context: Context,
}

/// A plan the person agreed to: the only thing [`crate::ops::run`] takes.
#[derive(Debug, Clone)]
pub struct Ready {
    plan: Plan,
    proves: bool,
}

impl Plan {
    /// A plan that does nothing yet.
    pub(in crate::ops) fn empty(request: Request, context: &Context) -> Self {
        Self {
            asked: request.clone(),
            request,
            title: String::new(),
            effects: Vec::new(),
            keeps: Vec::new(),
            guest_files: Vec::new(),
            guest_files_more: 0,
            notes: Vec::new(),
            refusals: Vec::new(),
            copies: 0,
            frees: 0,
            space: Vec::new(),
            danger: Danger::Creates,
            confirm: Confirm::Yes,
            undo: Undo::Impossible(String::new()),
            commands: Vec::new(),
            looked_in: context.looked_in.clone(),
            preconditions: Preconditions::default(),
            job: None,
            is_done: false,
            made_before: BTreeSet::new(),
            is_so: false,
            unread: None,
            roll_back: None,
            on_machines: OnMachines::default(),
            has_no_dependants: false,
            is_asked: false,
            golden: 0,
            machines_harmed: 0,
            redefines: Redefines::default(),
            successors: Vec::new(),
            falls_back: false,
            undefines: None,
            redefinitions: Vec::new(),
            written_by_machine: Vec::new(),
            through: None,
            machines: None,
            told_of_peers: None,
            context: context.clone(),
        }
    }

    /// Why something goes to the trash by it: the word for what was done, for the trash's list.
    pub(in crate::ops) fn reason(&self, word: &'static str) -> &'static str {
        match self.request.operation().nature() {
            Nature::TakesBack(_) => "undo",
            Nature::CreatesImage(_)
            | Nature::CreatesFiles
            | Nature::Restores
            | Nature::Repairs
            | Nature::Moves(_)
            | Nature::Changes
            | Nature::DoesAgain(_)
            | Nature::EndsInterrupted(..) => word,
        }
    }

    /// Whether a half of it may be taken back, as far as can be said without a look at the files.
    pub(in crate::ops) fn can_roll_back(&self) -> bool {
        self.roll_back.is_some() || self.request.operation().can_roll_back()
    }

    /// What it was planned with.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The machine it was planned for.
    pub(in crate::ops) fn host(&self) -> &dyn Host {
        self.context.host.as_ref()
    }

    /// Adds what happens to one file.
    pub(in crate::ops) fn effect(
        &mut self,
        kind: EffectKind,
        path: impl Into<PathBuf>,
        bytes: Option<u64>,
        detail: impl Into<String>,
    ) {
        self.effects.push(Effect {
            kind,
            path: path.into(),
            bytes,
            detail: detail.into(),
            counterpart: None,
        });
    }

    /// Says of the effect added last where it moves, or what it is a copy of.
    pub(in crate::ops) fn counterpart(&mut self, path: &Path) {
        if let Some(effect) = self.effects.last_mut() {
            effect.counterpart = Some(path.to_path_buf());
        }
    }

    /// Says that it is to be told which files inside an image it changes or takes away.
    pub(in crate::ops) fn concerns_files(&mut self, node: &Node, fate: GuestFate) {
        let format = match &fate {
            GuestFate::Change { .. } => Some(image::Format::Qcow2),
            GuestFate::Go | GuestFate::GoBack { .. } => node.format(),
        };
        match self.guest_files.len() < MOST_LOOKED_INSIDE {
            true => {
                let files = GuestFiles::of(node.path.clone(), format, fate);
                self.guest_files.push(files);
            }
            false => self.guest_files_more += 1,
        }
    }

    /// Adds something to know.
    pub(in crate::ops) fn note(&mut self, kind: NoteKind, text: impl Into<String>) {
        self.notes.push(Note::new(kind, text));
    }

    /// Adds something to look at twice.
    pub(in crate::ops) fn warn(&mut self, kind: NoteKind, text: impl Into<String>) {
        self.warn_of(Note::new(kind, text));
    }

    /// The same of what was put together elsewhere.
    pub(in crate::ops) fn warn_of(&mut self, note: Note) {
        self.notes.push(note.warning());
    }

    /// Says that no command of qemu-img does the same, and what it would do instead.
    pub(in crate::ops) fn beyond_qemu_img(&mut self, instead: &str) {
        let text = format!("qemu-img cannot do this: {instead}");
        self.note(NoteKind::BeyondQemuImg, text);
    }

    /// Adds something to look at twice before anything else.
    pub(in crate::ops) fn warn_first(&mut self, kind: NoteKind, text: impl Into<String>) {
        self.notes.insert(0, Note::new(kind, text).warning());
    }

    /// Takes what does it, unless something was refused meanwhile; none where the plan says already why not.
    pub(in crate::ops) fn is_done_by<J: Job + 'static>(
        &mut self,
        planned: Result<Option<J>, Reason>,
    ) {
        match planned {
            Ok(Some(job)) if self.refusals.is_empty() => self.job = Some(Arc::new(job)),
            Ok(_) => {}
            Err(reason) => self.refuse_for(reason),
        }
    }

    /// Adds a reason not to do it, without a way out.
    pub(in crate::ops) fn refuse(&mut self, kind: RefusalKind, text: impl Into<String>) {
        self.refuse_but(kind, text, Vec::new());
    }

    /// The same of a reason that was found elsewhere.
    pub(in crate::ops) fn refuse_for(&mut self, reason: Reason) {
        self.refusals.push(Refusal {
            kind: reason.kind,
            text: reason.text,
            ways_out: reason.ways_out,
            remedies: reason.remedies,
        });
    }

    /// Says that everything is as it is asked for already, so that nothing is done.
    pub(in crate::ops) fn refuse_as_done(&mut self, text: impl Into<String>) {
        self.refuse(RefusalKind::AlreadySo, text);
        self.is_done = true;
        self.is_so = true;
    }

    /// A refusal that tells a recovery that the operation has gone through.
    pub(in crate::ops) fn refuse_as_through(&mut self, kind: RefusalKind, text: impl Into<String>) {
        self.refuse(kind, text);
        self.is_done = true;
    }

    /// Whether everything is as it is asked for already: nothing is done, and that is no failure.
    #[must_use]
    pub fn is_so(&self) -> bool {
        self.is_so && self.refusals.len() == 1
    }

    /// Adds a reason not to do it, and what could be done instead.
    pub(in crate::ops) fn refuse_but(
        &mut self,
        kind: RefusalKind,
        text: impl Into<String>,
        ways_out: Vec<WayOut>,
    ) {
        self.refusals.push(Refusal {
            kind,
            text: text.into(),
            ways_out,
            remedies: Vec::new(),
        });
    }

    /// Adds a reason not to do it that falls away where the same is asked for in another way.
    pub(in crate::ops) fn refuse_unless(
        &mut self,
        kind: RefusalKind,
        text: impl Into<String>,
        remedy: Remedy,
    ) {
        self.refusals.push(Refusal {
            kind,
            text: text.into(),
            ways_out: Vec::new(),
            remedies: vec![remedy],
        });
    }

    /// Adds why an image cannot be dealt with, and its repair where that helps.
    pub(in crate::ops) fn refuse_error(&mut self, error: &image::Error) {
        self.refuse_error_as(error, error.to_string());
    }

    /// The same for an error without which the rest of the plan cannot be made.
    pub(in crate::ops) fn refuse_unsaid(&mut self, error: &image::Error, what: &str) {
        self.refuse_error_as(error, format!("{error}: nothing can be said about {what}"));
    }

    fn refuse_error_as(&mut self, error: &image::Error, text: String) {
        let mut remedies = Remedy::of(error);
        remedies.retain(|remedy| !matches!(remedy, Remedy::Ask(_)));
        self.refusals.push(Refusal {
            kind: RefusalKind::of(&error.kind),
            text,
            ways_out: WayOut::of(error),
            remedies,
        });
    }

    /// What could not be read, known once it has run; none of one for which that is an error.
    #[must_use]
    pub fn unread(&self) -> Option<Arc<image::Lost>> {
        self.unread.clone()
    }

    /// Whether it puts another file in the place of this one.
    pub(in crate::ops) fn puts_another_at(&self, path: &Path) -> bool {
        self.effects.iter().any(|effect| {
            matches!(effect.kind, EffectKind::Creates | EffectKind::Restores) && effect.path == path
        })
    }

    /// How many files one kind of thing happens to.
    fn count(&self, kind: EffectKind) -> u64 {
        let found = self.effects.iter().filter(|effect| effect.kind == kind);
        u64::try_from(found.count()).unwrap_or(u64::MAX)
    }

    /// How many images lose something for good: whose content is overwritten, that lose a snapshot or
    /// what a bitmap says. None where it can be taken back, and what can be brought back from the trash is
    /// not lost.
    fn losers(&self) -> u64 {
        if matches!(self.undo, Undo::Possible(_)) {
            return 0;
        }
        let lost = self.effects.iter().filter(|effect| match effect.kind {
            // A commit of an empty layer overwrites nothing.
            EffectKind::Writes => effect.bytes != Some(0),
            EffectKind::Drops => true,
            _ => false,
        });
        let mut paths: BTreeSet<&Path> = lost.map(|effect| effect.path.as_path()).collect();
        // An image and its data file are one loss.
        let forest = &self.context.forest;
        let images: Vec<&Node> = paths.iter().filter_map(|one| forest.by_path(one)).collect();
        for edge in images.iter().flat_map(|image| forest.also_reads(image.id)) {
            if edge.how == Reads::DataFile {
                paths.remove(&*edge.path);
            }
        }
        u64::try_from(paths.len()).unwrap_or(u64::MAX)
    }

    /// How many files something is lost with, and what happens to them, if anything is lost.
    pub(in crate::ops) fn lost(&self) -> Option<(u64, &'static str)> {
        // Who nobody named is no less broken when the image below is put back.
        let lost = [
            (self.count(EffectKind::Breaks), "would show other content"),
            (self.count(EffectKind::Deletes), "are deleted for good"),
            (self.losers(), "lose something for good"),
            (self.machines_harmed, "a machine needs as they are"),
            (self.golden, "are tagged golden"),
        ];
        lost.into_iter().find(|(number, _)| *number > 0)
    }

    /// Computes danger and confirmation, the one place where that is done: what loses something for good asks for the
    /// number of files that do, what only adds and warns of nothing asks nothing, anything else for a yes. A refused
    /// plan loses what could carry it out.
    pub(in crate::ops) fn settle(&mut self) {
        let only_adds = |effect: &Effect| {
            matches!(
                effect.kind,
                EffectKind::Reads
                    | EffectKind::Creates
                    | EffectKind::Restores
                    | EffectKind::Annotates
            )
        };
        (self.danger, self.confirm) = match self.lost() {
            _ if !self.refusals.is_empty() => (Danger::Refused, Confirm::Impossible),
            Some((number, _)) => (Danger::Loses, Confirm::Count(number)),
            None if self.effects.iter().all(only_adds) && self.redefinitions.is_empty() => {
                let warns = self.notes.iter().any(|note| note.warning);
                let confirm = if warns || self.is_asked {
                    Confirm::Yes
                } else {
                    Confirm::Nothing
                };
                (Danger::Creates, confirm)
            }
            None => (Danger::Reversible, Confirm::Yes),
        };
        if self.danger == Danger::Refused {
            self.job = None;
            // They would do what is not done here.
            self.commands.clear();
            self.guest_files.clear();
            self.guest_files_more = 0;
        }
    }

    /// Compares every file the plan looked at with what it was then. Faces ask this when the
    /// person is about to agree; running asks it again.
    ///
    /// # Errors
    /// [`Error::Stale`] names the first file that is another one, or has changed.
    pub fn verify_preconditions(&self) -> Result<(), Error> {
        self.preconditions.verify(self.host())
    }

    /// Has the plan rest on the file: what `compare` says of it has to stay as it is now. Refused where it cannot be
    /// looked at.
    pub(in crate::ops) fn require_unchanged(&mut self, path: &Path, compare: Compare) {
        if let Err(reason) = self.remember(path, compare) {
            self.refuse_for(reason);
        }
    }

    /// The same for whoever says by itself that it cannot be looked at.
    ///
    /// # Errors
    /// That, with the system's reason.
    pub(in crate::ops) fn remember(&mut self, path: &Path, compare: Compare) -> Result<(), Reason> {
        let host = Arc::clone(&self.context.host);
        let added = self.preconditions.add(host.as_ref(), path, compare);
        added.map_err(|error| resolve::unseen(path, &error))
    }

    /// Agrees to the plan.
    ///
    /// # Errors
    /// [`Denied`] if the plan is refused or the number typed is not the one it asks for.
    pub fn agree(self, consent: Consent) -> Result<Ready, Denied> {
        match (self.confirm, consent) {
            (Confirm::Impossible, _) => Err(Denied::Refused(
                self.refusals
                    .first()
                    .map_or_else(String::new, |r| r.text.clone()),
            )),
            (Confirm::Count(needed), Consent::Count(typed)) if needed == typed => {
                Ok(Ready::new(self))
            }
            (Confirm::Count(needed), _) => Err(Denied::Count { needed }),
            (Confirm::Nothing | Confirm::Yes, Consent::Count(_)) => Err(Denied::NoNumber),
            (Confirm::Nothing | Confirm::Yes, Consent::Yes) => Ok(Ready::new(self)),
        }
    }
}

impl Ready {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            proves: false,
        }
    }

    /// The same, proving that it changed nobody else's content: what every image around shows is read
    /// before and after, and compared.
    #[must_use]
    pub fn proving(self) -> Self {
        Self {
            proves: true,
            ..self
        }
    }

    pub(in crate::ops) fn proves(&self) -> bool {
        self.proves
    }

    /// The plan agreed to.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}
