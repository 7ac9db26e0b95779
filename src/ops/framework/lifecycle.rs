//! The life of a change: a request is planned, and a plan that was agreed to is run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::forest::{Fingerprints, Forest, Index, look_at};
use crate::host::{during_one_scan, io_text};

use super::annotations::Carried;
use super::context::Context;
use super::definition_change::{Redefines, reversed};
use super::error::Error;
use super::journal::Journal;
use super::nature::Nature;
use super::note::{Note, NoteKind};
use super::on_machines::OnMachines;
use super::plan::{EffectKind, Outcome, Plan, Ready};
use super::preconditions::Preconditions;
use super::progress::{Phase, Progress};
use super::request::Request;
use super::{
    changed_bases, cut_short, data_files, device, journal, machines, may_write, peers, readers,
    tagged, trash, verify,
};

/// Looks at what `request` asks and says what it would do. Changes nothing, and always gives a
/// plan: what cannot be done is a plan with refusals.
#[must_use]
pub(in crate::ops) fn plan(context: &Context, request: &Request) -> Plan {
    // Who uses the files is found in one pass over the processes, however many files there are.
    during_one_scan(|| plan_anew(context, request))
}

fn plan_anew(context: &Context, request: &Request) -> Plan {
    let mut plan = planned(context, request);
    machines::judge(&mut plan);
    tagged::judge(&mut plan);
    plan.note_definitions();
    peers::judge(&mut plan);
    plan.settle();
    plan
}

/// The plan but for what it does to machines: one that becomes another's is judged as that.
pub(in crate::ops) fn planned(context: &Context, request: &Request) -> Plan {
    let mut plan = Plan::empty(request.clone(), context);
    if let Nature::EndsInterrupted(..) = request.operation().nature() {
        plan.on_machines = OnMachines::Warn;
    }
    request.operation().plan(&mut plan);
    readers::refuse_all(&mut plan);
    readers::tell_names_left(&mut plan);
    cut_short::warn(&mut plan);
    changed_bases::warn(&mut plan);
    data_files::warn(&mut plan);
    device::judge(&mut plan);
    if plan.refusals.is_empty() {
        may_write::refuse_unwritable(&mut plan);
    }
    plan.settle();
    plan
}

/// Does what the plan says. Locks are taken and the files' identities compared first; a file that
/// changed since makes it [`Error::Stale`] before anything is written.
///
/// # Errors
/// See [`Error`]; whatever it is, every image is readable and none but the named targets changed.
pub fn run(ready: Ready, progress: &Progress) -> Result<Outcome, Error> {
    let plan = ready.plan();
    plan.verify_preconditions()?;
    let Some(job) = &plan.job else {
        return Err(Error::failed(format!("{}: nothing to do", plan.title)));
    };
    let proof = ready
        .proves()
        .then(|| verify::Proof::take(plan, progress))
        .transpose()?;
    let journal = plan.context().state_dir.as_deref().map(Journal::at);
    let carried = carried(plan, journal.as_ref());
    let begun = journal
        .as_ref()
        .map(|journal| journal.begin(plan, &carried));
    let before = journal::before(plan);
    let told_of = changed_bases(plan);
    let defined = plan.definitions_done();
    let mut ended = job
        .run(plan, progress)
        .and_then(|outcome| with_definitions(plan, outcome));
    if let Ok(outcome) = &mut ended {
        outcome.remarks.extend(carried.put(plan.host()));
        // Before it is over by the journal: what ends here is begun again by recovery.
        remember_links(plan, &outcome.touched);
    }
    let mut unwritten = None;
    let half = match &ended {
        // Where no file has changed, no definition has either.
        Err(error) => {
            half_done(plan, &before, error, progress) || !plan.put_definitions_back(&defined)
        }
        Ok(_) => false,
    };
    match (&journal, begun) {
        (Some(journal), Some(Ok(id))) => {
            if half {
                ended = ended.map_err(|error| {
                    unwritten = journal.stop(id, &error).err();
                    error.but_half_done(id, plan.can_roll_back())
                });
            } else {
                unwritten = journal.end(id, plan, &ended).err();
            }
        }
        (_, Some(Err(error))) => unwritten = Some(error),
        _ => {}
    }
    if let (Some(error), Ok(outcome)) = (unwritten, &mut ended) {
        outcome.remarks.push(not_recorded(&error));
    }
    if let Ok(outcome) = &ended {
        trash::record_again(plan, &outcome.touched);
        renew_bases(plan, &outcome.touched, &told_of);
    }
    if let (Some(proof), Ok(outcome)) = (proof, &mut ended) {
        let text = proof.compare(plan, progress)?;
        outcome.remarks.push(Note::new(NoteKind::Proof, text));
    }
    ended
}

/// What is noted of the images that go somewhere: what brings an interrupted operation to an end carries what that one
/// had to.
fn carried(plan: &Plan, journal: Option<&Journal>) -> Carried {
    let mut carried = Carried::by(plan);
    if let Nature::EndsInterrupted(entry, _) = plan.request.operation().nature()
        && let Some(Ok(Some(entry))) = journal.map(|journal| journal.entry(entry))
    {
        carried.join(entry.carried);
    }
    carried
}

fn not_recorded(error: &std::io::Error) -> Note {
    let text = format!(
        "it could not be written down in the log, so that `undo` does not know it: {error}",
        error = io_text(error)
    );
    Note::new(NoteKind::NotRecorded, text)
}

fn fingerprints(plan: &Plan) -> Option<Fingerprints> {
    plan.context().state_dir.as_deref().map(Fingerprints::at)
}

/// Bases that somebody else has changed already: they are told of until they are accepted.
fn changed_bases(plan: &Plan) -> BTreeSet<PathBuf> {
    let files = plan.effects.iter().map(|effect| effect.path.as_path());
    let differing = fingerprints(plan).map(|noted| noted.differing(plan.host(), files));
    differing.and_then(Result::ok).unwrap_or_default()
}

/// What an image that was made or changed here is built on is known from now on, wherever later plans look: it may be
/// on a disk that no scan ever meets. Nothing fails for it: a scan that does meet it notes it as well.
fn remember_links(plan: &Plan, touched: &[PathBuf]) {
    let Some(index) = plan.context().state_dir.as_deref().map(Index::at) else {
        return;
    };
    let host = &plan.context().host;
    let mut forest = Forest::new();
    forest.extend(
        touched
            .iter()
            .filter_map(|path| look_at(Arc::clone(host), path)),
    );
    drop(index.merge(&**host, &forest));
}

/// What was changed here keeps what is built on it as it was, or the person was told. Nothing fails for it: a base that
/// is not noted anew is told of as changed.
fn renew_bases(plan: &Plan, touched: &[PathBuf], but: &BTreeSet<PathBuf>) {
    let host = plan.host();
    let fitted = |file: &&Path| host.canonical(file).is_ok_and(|file| !but.contains(&file));
    let files = touched.iter().map(PathBuf::as_path).filter(fitted);
    if let Some(noted) = fingerprints(plan) {
        drop(noted.renew(host, files));
    }
}

/// What is left to change in definitions once the files are as they are to be, and what takes it all back.
fn with_definitions(plan: &Plan, mut outcome: Outcome) -> Result<Outcome, Error> {
    plan.redefine_last()?;
    let changes = plan.definition_changes();
    outcome.undo = outcome
        .undo
        .take()
        .map(|undo| undo.changing_definitions(reversed(&changes)));
    Ok(outcome)
}

/// Whether an operation that did not end well has changed something: it is interrupted then, whoever
/// interrupted it.
fn half_done(plan: &Plan, before: &Preconditions, error: &Error, progress: &Progress) -> bool {
    let host = plan.host();
    let created = plan
        .effects
        .iter()
        .filter(|effect| effect.kind == EffectKind::Creates);
    let mut created = created.peekable();
    let is_by_machine = plan.through.is_some();
    // What a machine has open changes all the time.
    let is_told_by_files = is_by_machine && created.peek().is_some();
    if plan.request.operation().nature().makes_files() || is_told_by_files {
        return created.any(|effect| before.has_come(host, &effect.path));
    }
    if is_by_machine {
        return progress.view().phase != Phase::Collect;
    }
    // Somebody else may have changed a file before the first switch: that is no half of this.
    let is_ours = match error {
        Error::Failed(_) | Error::Cancelled(_) => true,
        Error::Stale(_) | Error::InUse(_) => {
            matches!(progress.view().phase, Phase::Switch | Phase::CleanUp)
        }
    };
    is_ours && before.moved_on(host).is_some()
}

impl Plan {
    /// The plan of what this one does in part, or one of those it may become: what it does to machines is made the
    /// same of.
    pub(in crate::ops) fn part(&self, request: &Request) -> Self {
        let part = during_one_scan(|| planned(self.context(), request));
        part.judged_within(self)
    }

    /// The same of one that is planned.
    pub(in crate::ops) fn judged_within(mut self, whole: &Self) -> Self {
        self.on_machines = whole.on_machines;
        if self.redefines == Redefines::Nothing {
            self.redefines.clone_from(&whole.redefines);
        }
        machines::judge(&mut self);
        tagged::judge(&mut self);
        self.settle();
        self
    }

    /// Becomes the plan of `request`, asked for as `asked`.
    pub(in crate::ops) fn become_plan_of(&mut self, request: &Request, asked: Request) {
        let on_machines = self.on_machines;
        *self = during_one_scan(|| planned(self.context(), request));
        if on_machines == OnMachines::Warn || self.on_machines == OnMachines::Refuse {
            self.on_machines = on_machines;
        }
        self.asked.clone_from(&asked);
        self.request = asked;
    }
}
