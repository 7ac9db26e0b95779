//! Recover: an operation that was interrupted - by a crash, a kill, a power cut - is done to the end,
//! or what was done of it is taken back. Every operation leaves images that open; this is about not
//! leaving the rest of the way undone. How far it came is found in `recovery`; what is left to do then, and what
//! can be taken back, its operation says.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::host::{io_text, printable};

use super::framework::format::shown;
use super::framework::journal::origin;
use super::framework::journal::{Entry, Journal, Standing};
use super::framework::locks::Locking;
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{leaks, space};
use super::{
    CommandLine, Error, NoteKind, Outcome, Plan, Progress, Recovery, RefusalKind, Request, Undo,
    WayOut,
};

/// Bring an interrupted operation of the journal to an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverEntry {
    /// Its number.
    pub entry: u64,
    /// Which end.
    pub way: Recovery,
}

impl Request {
    /// To do an interrupted entry of the journal to the end.
    pub(super) fn finish(entry: u64) -> Self {
        let way = Recovery::Finish;
        RecoverEntry { entry, way }.into()
    }

    /// To take back what was done of an interrupted entry of the journal.
    pub(super) fn roll_back(entry: u64) -> Self {
        let way = Recovery::RollBack;
        RecoverEntry { entry, way }.into()
    }
}

impl Operation for RecoverEntry {
    fn name(&self) -> &'static str {
        "recover"
    }

    fn verb(&self) -> &'static str {
        match self.way {
            Recovery::Finish => "Finish",
            Recovery::RollBack => "Roll back",
            Recovery::Forget => "Forget",
        }
    }

    fn nature(&self) -> Nature<'_> {
        Nature::EndsInterrupted(self.entry, self.way)
    }

    fn each_name(&mut self, _visit: &mut dyn FnMut(Name<'_>)) {}

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let way = match self.way {
            Recovery::Finish => "--finish",
            Recovery::RollBack => "--roll-back",
            Recovery::Forget => "--forget",
        };
        Some(
            CommandLine::new(&["recover"])
                .plain(self.entry)
                .flag(way, true),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_recovery(plan, self.entry, self.way)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

/// Plans to bring the entry of this number to an end.
fn plan_recovery(plan: &mut Plan, id: u64, way: Recovery) {
    plan.title = format!("Recover {id}");
    let context = plan.context().clone();
    let Some(state_dir) = context.state_dir.as_deref() else {
        return plan.refuse(
            RefusalKind::NotReversible,
            "nothing is remembered from run to run: there is no log",
        );
    };
    let journal = Journal::at(state_dir);
    let entry = match journal.entry(id) {
        Ok(Some(entry)) => entry,
        Ok(None) => {
            return plan.refuse(RefusalKind::NotFound, format!("the log has no entry {id}"));
        }
        Err(error) => {
            let file = shown(journal.path());
            return plan.refuse(
                RefusalKind::Unreadable,
                format!(
                    "the log {file} cannot be read: {error}",
                    error = io_text(&error)
                ),
            );
        }
    };
    let what = printable(&entry.title);
    match entry.standing {
        Standing::Interrupted => {}
        Standing::Running => {
            return plan.refuse(
                RefusalKind::InUse,
                format!("“{what}” is still being carried out"),
            );
        }
        Standing::Done(_) | Standing::Failed(_) | Standing::Undone | Standing::Settled => {
            return plan.refuse(
                RefusalKind::NotReversible,
                format!("“{what}” was not interrupted: nothing is left to do"),
            );
        }
    }
    let title = match way {
        Recovery::Finish => format!("Finish {id}: {what}"),
        Recovery::RollBack => format!("Roll back {id}: {what}"),
        Recovery::Forget => format!("Forget {id}: {what}"),
    };
    plan.title.clone_from(&title);
    if way == Recovery::Forget {
        return forget(plan, &journal, &entry);
    }
    let request = match asked(&journal, &entry) {
        Ok(request) => request,
        Err(sentence) => return plan.refuse(RefusalKind::Interrupted, sentence),
    };
    // What a repair leaves is what it was asked for.
    let concerned = (request.operation().nature() != Nature::Repairs).then(|| entry.concerned());
    let half = Half {
        context: &context,
        entry: &entry,
    };
    let found = match way {
        Recovery::Finish => request.operation().finish(&half),
        Recovery::RollBack => request.operation().roll_back(&half),
        Recovery::Forget => Way::Nothing(String::new()),
    };
    // One that leads back into the journal was not written by us, and might lead round in a circle.
    let is_plain = match &found {
        Way::Ask(request) | Way::But(request, _) => request.is_of_images(),
        Way::Each(_) | Way::Nothing(_) | Way::Impossible(_) => true,
    };
    if !is_plain {
        return plan.refuse(
            RefusalKind::Damaged,
            format!("the log is damaged: entry {id} leads back into it"),
        );
    }
    let asked = RecoverEntry { entry: id, way };
    carry(plan, asked, found, title, &what);
    if let Some(concerned) = concerned {
        leaks::free_after(plan, &concerned);
    }
}

/// Becomes what brings the entry to its end as it was asked.
fn carry(plan: &mut Plan, asked: RecoverEntry, found: Way, title: String, what: &str) {
    let RecoverEntry { entry, way } = asked;
    match found {
        Way::Ask(request) => {
            plan.become_plan_of(&request, asked.into());
            plan.title = title;
            if plan.is_done
                && let [only] = plan.refusals.as_slice()
            {
                let sentence = only.text.clone();
                nothing_left(plan, sentence);
            }
        }
        Way::Each(requests) => {
            let plans = requests.iter().map(|one| plan.part(one)).collect();
            each(plan, plans);
        }
        Way::But(request, why) => {
            plan.become_plan_of(&request, asked.into());
            plan.title = match way {
                Recovery::Finish => format!("{title}, once more"),
                Recovery::RollBack | Recovery::Forget => title,
            };
            plan.warn_of(why);
        }
        Way::Nothing(sentence) => nothing_left(plan, sentence),
        Way::Impossible(sentence) => {
            let other = match way {
                Recovery::Finish => WayOut::roll_back(entry),
                Recovery::RollBack | Recovery::Forget => WayOut::finish(entry),
            };
            plan.refuse_but(
                RefusalKind::NotReversible,
                format!("“{what}”: {sentence}"),
                vec![other],
            );
        }
    }
}

/// What was being done. Of an undo or a recovery that was interrupted itself that is the operation it
/// led to: its half has changed the files, so they are not compared with what they were before.
fn asked(journal: &Journal, entry: &Entry) -> Result<Request, String> {
    let id = entry.id;
    let (to, undone) = match entry.request.operation().nature() {
        Nature::TakesBack(Some(to)) => (to, true),
        Nature::DoesAgain(Some(to)) | Nature::EndsInterrupted(to, _) => (to, false),
        Nature::TakesBack(None) | Nature::DoesAgain(None) => {
            return Err(format!("the log is damaged: entry {id} leads nowhere"));
        }
        Nature::CreatesImage(_)
        | Nature::CreatesFiles
        | Nature::Restores
        | Nature::Repairs
        | Nature::Moves(_)
        | Nature::Changes => return Ok(entry.request.clone()),
    };
    let leads = || format!("the log is damaged: entry {id} leads to {to}");
    // They lead to entries before them, never in a circle.
    if to >= id {
        return Err(leads());
    }
    match journal.entry(to) {
        Ok(Some(Entry {
            undo: Some(undo), ..
        })) if undone && undo.is_of_images() => Ok(undo),
        Ok(Some(_)) if matches!(entry.request.operation().nature(), Nature::DoesAgain(_)) => {
            let all = journal.entries().map_err(|error| io_text(&error))?;
            let redone = all.iter().find(|one| one.id == to);
            let first = redone.map(|redone| origin(&all, redone).request.clone());
            first.filter(Request::is_of_images).ok_or_else(leads)
        }
        Ok(Some(earlier)) if !undone && earlier.standing == Standing::Interrupted => Err(format!(
            "this was to recover entry {to}, which is interrupted still: recover that one, and forget this"
        )),
        Ok(Some(_)) if !undone => Err(format!(
            "entry {to}, which this was to recover, has come to its end: forget this"
        )),
        _ => Err(leads()),
    }
}

/// Does what several plans say, one after the other.
pub(super) fn each(plan: &mut Plan, plans: Vec<Plan>) {
    for one in &plans {
        for effect in &one.effects {
            // What several of them read is said once.
            if !plan.effects.contains(effect) {
                plan.effects.push(effect.clone());
            }
        }
        for note in &one.notes {
            if !plan.notes.contains(note) {
                plan.notes.push(note.clone());
            }
        }
        plan.keeps.extend(one.keeps.iter().cloned());
        for refusal in &one.refusals {
            if !plan.refusals.contains(refusal) {
                plan.refusals.push(refusal.clone());
            }
        }
        plan.commands.extend(one.commands.iter().cloned());
        for need in &one.space {
            space::add(plan, &need.dir, need.needed, need.possible);
        }
        plan.copies = plan.copies.saturating_add(one.copies);
        plan.machines_harmed = plan.machines_harmed.saturating_add(one.machines_harmed);
        if plan.machines.is_none() {
            plan.machines.clone_from(&one.machines);
        }
        plan.preconditions.join(&one.preconditions);
        plan.redefinitions.extend(one.redefinitions.iter().cloned());
    }
    plan.undo = Undo::Impossible("it is the way back itself".to_owned());
    plan.job = Some(Arc::new(Each { plans }));
}

#[derive(Debug)]
struct Each {
    plans: Vec<Plan>,
}

impl Job for Each {
    fn run(&self, _plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let mut done = Outcome {
            summary: String::new(),
            touched: Vec::new(),
            undo: None,
            remarks: Vec::new(),
        };
        for plan in &self.plans {
            let Some(job) = &plan.job else { continue };
            let mut plan = plan.clone();
            plan.made_before.extend(done.touched.iter().cloned());
            let outcome = job.run(&plan, progress)?;
            if !done.summary.is_empty() {
                done.summary.push_str("; ");
            }
            done.summary.push_str(&outcome.summary);
            done.touched.extend(outcome.touched);
            done.remarks.extend(outcome.remarks);
        }
        Ok(done)
    }
}

/// It stays as it is: what that is has to be said, since nobody knows afterwards how to go on.
fn forget(plan: &mut Plan, journal: &Journal, entry: &Entry) {
    let context = plan.context().clone();
    let halves = match asked(journal, entry) {
        Ok(request) => Half {
            context: &context,
            entry,
        }
        .sentences(request.operation().nature()),
        Err(sentence) => vec![sentence],
    };
    for sentence in halves {
        plan.warn(NoteKind::Interrupted, sentence);
    }
    plan.warn(
        NoteKind::Interrupted,
        "how it could be finished or taken back is not known any more after this",
    );
    plan.undo = Undo::Impossible("no image is changed".to_owned());
    plan.job = Some(Arc::new(Forget {
        title: entry.title.clone(),
    }));
}

/// Changes no image: the entry is settled once this is through.
#[derive(Debug)]
struct Forget {
    title: String,
}

impl Job for Forget {
    fn run(&self, _plan: &Plan, _progress: &Progress) -> Result<Outcome, Error> {
        Ok(Outcome {
            summary: format!("“{}” is left as it is", printable(&self.title)),
            touched: Vec::new(),
            undo: None,
            remarks: Vec::new(),
        })
    }
}

/// Nothing has to be done but to say that it is over.
fn nothing_left(plan: &mut Plan, sentence: String) {
    plan.refusals.clear();
    plan.effects.clear();
    plan.keeps.clear();
    plan.space.clear();
    plan.commands.clear();
    plan.note(
        NoteKind::Interrupted,
        format!("nothing is left to do: {sentence}"),
    );
    plan.undo = Undo::Impossible("nothing is changed".to_owned());
    plan.job = Some(Arc::new(Settle { sentence }));
}

/// Writes no image: the entry is settled once this is through.
#[derive(Debug)]
struct Settle {
    sentence: String,
}

impl Job for Settle {
    fn run(&self, plan: &Plan, _progress: &Progress) -> Result<Outcome, Error> {
        let _settled = Locking::default().settle(plan)?;
        Ok(Outcome {
            summary: format!("nothing was left to do: {}", self.sentence),
            touched: Vec::new(),
            undo: None,
            remarks: Vec::new(),
        })
    }
}
