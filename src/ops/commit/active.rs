//! Active commit: what a machine writes now is merged down into an image below, and its guest goes on in that one. It
//! writes the base from then on, so nothing else may be built on it, or on what is between.
//! <https://www.qemu.org/docs/master/interop/live-block-operations.html>

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::forest::{Forest, Node, NodeId};
use crate::host::printable;
use crate::image::{Format, Growth};
use crate::live::job::Ended;
use crate::live::{self, BlockNode, Graph, commit};
use crate::machines::{Domain, Part};
use crate::ops::framework::format::{listed, name, processes, shown};
use crate::ops::framework::locks::Locking;
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::refusal::Reason;
use crate::ops::framework::request::Name;
use crate::ops::framework::{absolute, space};
use crate::ops::live::control::Control;
use crate::ops::live::following::{
    DomainEnd, DomainJob, begin_job, ended, follow_domain, job_id, looking, require_disk, unpin,
};
use crate::ops::live::next_start::{self, Next};
use crate::ops::live::running::{
    By, Running, domain_disk, holders_at, holders_of, is_open, refuse_lost, written_node,
};
use crate::ops::live::weight::Weight;
use crate::ops::trash::Batch;
use crate::ops::{
    CommandLine, EffectKind, Error, Note, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind,
    Siblings, Undo,
};
use crate::units::size;

use super::merge::prepare_trash;
use super::run::{CommitRange, find_run};
use super::while_running::{base_of, is_gone, refuse_unfit, require_free};

/// Merge `overlay`, which a machine writes now, and all that is between, down into an image below, in which its guest
/// goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveCommit {
    /// The image that is written now.
    pub overlay: PathBuf,
    /// The image that receives what the layers hold; none for the one the overlay is built on.
    pub into: Option<PathBuf>,
    /// Bytes per second at most; none for as fast as it goes.
    pub speed: Option<u64>,
    /// Whether it goes on with one that was interrupted, whose job the machine may have still.
    #[serde(default)]
    pub takes_up: bool,
}

impl Operation for ActiveCommit {
    fn name(&self) -> &'static str {
        "commit"
    }

    fn verb(&self) -> &'static str {
        "Commit"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.overlay));
        if let Some(path) = &mut self.into {
            visit(Name::Path(path));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        vec![&self.overlay]
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(
            CommandLine::new(&["commit"])
                .path(&self.overlay)
                .flag("--live", true)
                .flag("--active", true)
                .option_path("--into", self.into.as_ref())
                .number("--speed", self.speed),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan.title = format!("Commit {} while it is written", name(&self.overlay));
        let planned = planned(plan, self);
        plan.is_done_by(planned);
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let host = half.context.host.as_ref();
        let overlay = shown(&self.overlay);
        if let Some(way) = is_gone(half, &self.overlay) {
            return way;
        }
        if is_open(host, &self.overlay) {
            let again = Self {
                takes_up: true,
                ..self.clone()
            };
            return Way::Ask(again.into());
        }
        let base = base_of(half, &self.overlay, self.into.as_deref());
        let Some(base) = base else {
            return Way::Impossible(format!("{overlay} is built on nothing that is known"));
        };
        let is_written = holders_at(host, &base).iter().any(|holder| holder.writes);
        match is_written {
            true => Way::Nothing(format!(
                "the machine writes {} already; discard {overlay} when it is not needed any more",
                shown(&base)
            )),
            // Either may hold what the guest wrote last.
            false => Way::Impossible(format!(
                "{overlay} was merged in part, or the guest went on in {base} before its machine ended: compare the \
                 two, and discard {overlay} where {base} is the newer one",
                base = shown(&base)
            )),
        }
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

/// What does it; none where the plan says why not.
fn planned(plan: &mut Plan, request: &ActiveCommit) -> Result<Option<ActiveCommitJob>, Reason> {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    let Some(run) = find_run(plan, &context, &request.overlay, request.into.as_deref()) else {
        return Ok(None);
    };
    let (top, base) = (run.top(), run.base);
    let running = Running::with(plan, top)?;
    // One that was stopped between the switch and the end of it.
    let has_switched = request.takes_up && running.writes(plan, base) && !running.writes(plan, top);
    if !has_switched && !running.writes(plan, top) {
        let path = shown(&top.path);
        let text = match request.takes_up {
            true => format!(
                "{} has {path} open and does not write it: shut the machine down first",
                running.name
            ),
            false => format!(
                "{} only reads {path}: commit it as the frozen layer that it is",
                running.name
            ),
        };
        return Err(Reason::new(RefusalKind::Invalid, text));
    }
    // Nor may what a definition pins above the base.
    plan.has_no_dependants = true;
    plan.through = Some(running.through(Some(&top.path)));
    refuse_unfit(plan, &run, Siblings::Refuse);
    for layer in &run.layers {
        refuse_lost(plan, layer, true);
    }
    refuse_other_sizes(plan, &run);
    refuse_others(plan, forest, &run, &running);
    let target = match &running.by {
        By::Monitor => None,
        By::Libvirt { .. } => Some(domain_disk(plan, &running, top)?.target.clone()),
    };
    let held: u64 = run
        .layers
        .iter()
        .filter_map(|layer| layer.size_on_disk())
        .sum();
    plan.effect(
        EffectKind::Writes,
        &base.path,
        Some(held),
        format!("{} by {}, which goes on in it", size(held), running.name),
    );
    for layer in &run.layers {
        plan.effect(
            EffectKind::Trashes,
            &layer.path,
            layer.size_on_disk(),
            format!("once {} has let it go", running.name),
        );
    }
    next_start::tell(plan, &running, &top.path, &base.path, Next::Copy);
    if run.base_format != Format::Qcow2 && running.by == By::Monitor {
        let text = format!(
            "{} is {}: its machine has to be started with that format",
            shown(&base.path),
            run.base_format.name()
        );
        plan.warn(NoteKind::Machine, text);
    }
    for layer in run.layers.iter().skip(1) {
        plan.require_unchanged(&layer.path, Compare::Content);
    }
    plan.require_unchanged(&top.path, Compare::Identity);
    // The machine may be writing it already.
    let of_base = match request.takes_up {
        true => Compare::Identity,
        false => Compare::Content,
    };
    plan.require_unchanged(&base.path, of_base);
    if !request.takes_up {
        // What the base has of it already is not known before.
        let most = Growth {
            data: held,
            tables: 0,
        };
        space::may_need_growth(plan, &base.path, Growth::default(), most);
    }
    plan.copies = held;
    plan.frees = held;
    plan.undo = Undo::Impossible(format!(
        "the old content of {} is overwritten",
        name(&base.path)
    ));
    Ok(Some(ActiveCommitJob {
        running,
        layers: run.layers.iter().map(|layer| (*layer).clone()).collect(),
        base: base.clone(),
        base_format: run.base_format.clone(),
        target,
        takes_up: request.takes_up,
        has_switched,
        speed: request.speed,
    }))
}

/// A guest does not expect its disk to be another size from one instant to the next.
fn refuse_other_sizes(plan: &mut Plan, run: &CommitRange<'_>) {
    let top = run.top();
    if run.base.virtual_size() != top.virtual_size() {
        let text = format!(
            "{} and {} have different sizes: shut the machine down, and commit it then",
            shown(&top.path),
            shown(&run.base.path)
        );
        plan.refuse(RefusalKind::Unsupported, text);
    }
}

/// Whoever else is built on what is written or goes, or reads it now: it would see a disk that changes all the time.
fn refuse_others(plan: &mut Plan, forest: &Forest, run: &CommitRange<'_>, running: &Running) {
    let own: Vec<NodeId> = run.layers.iter().map(|layer| layer.id).collect();
    for node in run.layers.iter().chain([&run.base]) {
        let readers = forest.readers(node.id).into_iter();
        let others: Vec<String> = readers
            .filter(|reader| !own.contains(&reader.node))
            .filter_map(|reader| forest.get(reader.node))
            .map(|reader| shown(&reader.path))
            .collect();
        if !others.is_empty() {
            let text = format!(
                "{} is built on {}, which the machine would write from then on: branch first, and merge the frozen \
                 layer",
                listed(&others, 5),
                shown(&node.path)
            );
            plan.refuse(RefusalKind::HasDependants, text);
        }
        let uses = forest.uses(node).into_iter();
        let mut others = uses.filter(|used| {
            let is_it = plan.through.as_ref().is_some_and(|it| it.is(used.machine));
            matches!(used.part, Part::Disk(_)) && !is_it
        });
        if let Some(used) = others.next() {
            let text = format!(
                "{} is a disk of {}, which would see it change: branch first, and merge the frozen layer",
                shown(&node.path),
                printable(&used.machine.name)
            );
            plan.refuse(RefusalKind::Machine, text);
        }
        let mut holders = holders_of(plan.host(), node.file_id());
        holders.retain(|holder| holder.pid != running.pid);
        if !holders.is_empty() {
            let text = format!(
                "{} is open in {} too, which would see it change",
                shown(&node.path),
                processes(&holders)
            );
            plan.refuse(RefusalKind::InUse, text);
        }
    }
}

/// What has the machine do it.
#[derive(Debug)]
struct ActiveCommitJob {
    running: Running,
    /// The uppermost first.
    layers: Vec<Node>,
    base: Node,
    base_format: Format,
    /// The disk, by libvirt's name for it.
    target: Option<String>,
    takes_up: bool,
    /// Whether the machine writes the base already.
    has_switched: bool,
    speed: Option<u64>,
}

impl Job for ActiveCommitJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let _control = Control::open(plan, progress);
        progress.enter(Phase::Collect, 0);
        let _locks = Locking::default().settle(plan)?;
        // A folder that takes no trash is found out before anything is merged.
        let layers = self.layers.iter();
        let layers = layers.map(|layer| (&layer.path, layer.size_on_disk().unwrap_or(0)));
        let batch = prepare_trash(plan, layers, &self.base.path)?;
        progress.enter(Phase::Copy, plan.copies);
        let merged = match self.running.by {
            By::Monitor => self.by_monitor(plan, progress).map(|()| Vec::new()),
            By::Libvirt { .. } => self.by_libvirt(plan, progress),
        };
        let mut remarks = match merged {
            Ok(remarks) => remarks,
            Err(error) => {
                batch.give_up();
                return Err(error);
            }
        };
        progress.enter(Phase::CleanUp, 0);
        let mut touched = vec![self.base.path.clone()];
        touched.extend(self.layers.iter().map(|layer| layer.path.clone()));
        let summary = match self.give_up(plan, batch, &mut touched) {
            Ok(entry) => format!("; {} is in the trash as {entry}", self.overlay()),
            Err(error) => {
                let text = format!("{} stays at its place: {error}", self.overlay());
                remarks.push(Note::new(NoteKind::Trash, text).warning());
                String::new()
            }
        };
        Ok(Outcome {
            summary: format!(
                "{} writes {} from now on{summary}",
                self.running.name,
                shown(&self.base.path)
            ),
            touched,
            undo: None,
            remarks,
        })
    }
}

impl ActiveCommitJob {
    fn top(&self) -> &Node {
        self.layers.first().unwrap_or(&self.base)
    }

    fn overlay(&self) -> String {
        shown(&self.top().path)
    }

    fn left(&self) -> String {
        format!(
            "{} goes on in {}, and {} holds a part of it; ask again to finish",
            self.running.name,
            self.overlay(),
            shown(&self.base.path)
        )
    }

    fn by_monitor(&self, plan: &Plan, progress: &Progress) -> Result<(), Error> {
        let running = &self.running;
        let (mut qmp, graph) = running.monitor(plan)?;
        let leaf = match self.has_switched {
            true => running.node(&graph, self.top())?,
            false => written_node(&graph, running, self.top())?,
        };
        let base = running.node(&graph, &self.base)?;
        let chain = graph.chain(&leaf.name);
        if !chain.iter().any(|node| node.name == base.name) {
            return Err(Error::stale(format!(
                "{} does not read {} as it did: plan again",
                running.name,
                shown(&self.base.path)
            )));
        }
        let merged = chain.into_iter().take_while(|node| node.name != base.name);
        let merged: Vec<BlockNode> = merged.cloned().collect();
        let asked = commit::ActiveCommit {
            id: &job_id("commit", self.top().file_id(), self.base.file_id()),
            leaf: &leaf.name,
            base: &base.name,
            speed: self.speed.unwrap_or(0),
        };
        let weight = Weight::as_told();
        let mut look = looking(progress, &weight);
        let failed = |error| running.failed(&format!("{error}: {}", self.left()));
        let is_there = live::job::find(&mut qmp, asked.id)
            .map_err(failed)?
            .is_some();
        let end = match self.has_switched && !is_there {
            true => Ended::Done,
            false => commit::run_active(&mut qmp, &asked, &mut look).map_err(failed)?,
        };
        if end == Ended::Done {
            let graph = Graph::ask(&mut qmp, plan.host(), running.pid);
            let graph = graph.map_err(|error| running.failed(&error))?;
            written_node(&graph, running, &self.base)?;
            live::close(&mut qmp, &merged);
        }
        ended(running, end, &self.left())
    }

    fn by_libvirt(&self, plan: &Plan, progress: &Progress) -> Result<Vec<Note>, Error> {
        let running = &self.running;
        let disk = self.target.as_deref().unwrap_or_default();
        let mut domain = running.domain(plan)?;
        if !self.has_switched {
            self.switch_by_libvirt(running, &mut domain, disk, progress)?;
        }
        let base = absolute::path(&self.base.path);
        require_disk(plan, running, &mut domain, disk, &base)?;
        let mut remarks: Vec<Note> = Vec::new();
        if let Err(error) = domain.redefine_as(disk, &base, Some(self.base_format.name())) {
            let text = format!(
                "the definition of {} names the old file still: {error}. Point it to {} before its next start",
                running.name,
                shown(&base)
            );
            remarks.push(Note::new(NoteKind::Machine, text).warning());
        }
        remarks.extend(unpin(running, &mut domain, disk));
        Ok(remarks)
    }

    fn switch_by_libvirt(
        &self,
        running: &Running,
        domain: &mut Domain,
        disk: &str,
        progress: &Progress,
    ) -> Result<(), Error> {
        let failed = |error: &dyn std::fmt::Display| running.failed(error);
        let begin =
            |domain: &mut Domain, speed| domain.begin_active_commit(disk, &self.base.path, speed);
        let job = (disk, DomainJob::ActiveCommit);
        begin_job(running, domain, job, self.takes_up, self.speed, begin)?;
        let shown = (progress, &Weight::as_told());
        match follow_domain(running, domain, disk, shown, &self.left())? {
            DomainEnd::Ready => {}
            DomainEnd::Gone => {
                return Err(failed(&format!(
                    "its commit ended by itself: {}",
                    self.left()
                )));
            }
        }
        domain.pivot(disk).map_err(|error| failed(&error))
    }

    /// The layers go; gives the entry of the trash.
    fn give_up(
        &self,
        plan: &Plan,
        batch: Batch<'_>,
        touched: &mut Vec<PathBuf>,
    ) -> Result<String, Error> {
        if let Err(error) = require_free(plan, self.layers.iter().map(|layer| &layer.path)) {
            batch.give_up();
            return Err(error);
        }
        let entry = batch.name().to_owned();
        touched.extend(batch.execute(&Progress::new())?);
        Ok(entry)
    }
}
