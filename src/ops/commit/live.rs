//! Live commit: a frozen layer, or a run of them, is merged down by the machine that reads it, while its guest goes
//! on in a layer above. What the machine writes now is not merged: which clusters that will be nobody knows before.
//! Whoever else is built on the base is kept intact first, as without a machine; QEMU knows nobody but itself.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Forest, Node};
use crate::image::{self, Chain, Format, State};
use crate::live::{self, BlockNode, ExportError, Graph, Nbd, commit};
use crate::machines::Domain;
use crate::ops::framework::backing_name::{leading_from_all, recorded_style};
use crate::ops::framework::files_to_lock::FilesToLock;
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::locked_host::LockedHost;
use crate::ops::framework::locks::{Locks, look_again};
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::refusal::Reason;
use crate::ops::framework::request::Name;
use crate::ops::framework::{space, unlock};
use crate::ops::live::control::Control;
use crate::ops::live::following::{
    DomainEnd, DomainJob, begin_job, ended, follow_domain, job_id, looking, unpin,
};
use crate::ops::live::running::{By, Running, domain_disk, holders_of, is_open};
use crate::ops::live::weight::Weight;
use crate::ops::{
    ActiveCommit, BackingStyle, CommandLine, Commit, CommittedLayer, EffectKind, Error, LiveBranch,
    LiveOverlay, Note, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind, Request, Siblings,
    Undo, WayOut, trash,
};
use crate::units::size;

use super::analysis::Analysis;
use super::merge::{CommitJob, MergedFile};
use super::others::{judge_dependants, plan_children};
use super::run::{CommitRange, find_run};
use super::while_running::{base_of, is_gone, refuse_unfit, require_free};

/// Bytes compared at a time.
const PIECE: u64 = 4 << 20;

/// Merge `overlay`, which a machine that runs only reads, and all that is between, down into an image below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveCommit {
    /// The uppermost layer to merge.
    pub overlay: PathBuf,
    /// The image that receives what the layers hold; none for the one the overlay is built on.
    pub into: Option<PathBuf>,
    /// What happens to others that are built on the same base; they are never broken.
    pub siblings: Siblings,
    /// Bytes per second at most; none for as fast as it goes.
    pub speed: Option<u64>,
    /// Whether it goes on with one that was interrupted, whose job the machine may have still.
    #[serde(default)]
    pub takes_up: bool,
}

impl LiveCommit {
    /// The same without a machine.
    fn offline(&self) -> Commit {
        Commit {
            overlay: self.overlay.clone(),
            into: self.into.clone(),
            layer: CommittedLayer::Trash,
            siblings: self.siblings,
            keep_old: None,
        }
    }
}

impl Operation for LiveCommit {
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
        let siblings = (self.siblings == Siblings::Preserve).then_some("preserve");
        Some(
            CommandLine::new(&["commit"])
                .path(&self.overlay)
                .flag("--live", true)
                .option_path("--into", self.into.as_ref())
                .option("--siblings", siblings)
                .number("--speed", self.speed),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan.title = format!("Commit {} while it is in use", name(&self.overlay));
        if let Some(job) = plan_live(plan, self) {
            plan.job = Some(Arc::new(job));
        }
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let overlay = &self.overlay;
        let host = half.context.host.as_ref();
        if let Some(way) = is_gone(half, overlay) {
            return way;
        }
        if is_open(host, overlay) {
            let again = Self {
                takes_up: true,
                ..self.clone()
            };
            return Way::Ask(again.into());
        }
        let base = base_of(half, overlay, self.into.as_deref());
        if base.as_ref().is_some_and(|base| is_open(host, base)) {
            return Way::Impossible(format!(
                "the machine has merged it, and reads {} no longer: shut the machine down, and finish it then",
                name(overlay)
            ));
        }
        let offline = Commit {
            siblings: Siblings::Preserve,
            ..self.offline()
        };
        Way::But(
            offline.into(),
            Note::new(
                NoteKind::Interrupted,
                format!(
                    "no machine reads {} any more: what is left of it is done without one",
                    name(overlay)
                ),
            ),
        )
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

/// Plans the merge; what does it, unless that was refused.
fn plan_live(plan: &mut Plan, request: &LiveCommit) -> Option<LiveCommitJob> {
    let context = plan.context().clone();
    let forest = Arc::clone(&context.forest);
    let run = find_run(plan, &context, &request.overlay, request.into.as_deref())?;
    let readers = match readers(plan, &forest, &run, request) {
        Ok(readers) => readers,
        Err(reason) => {
            plan.refuse_for(reason);
            return None;
        }
    };
    plan.through = Some(readers.running.through(None));
    refuse_unfit(plan, &run, request.siblings);
    if !plan.refusals.is_empty() {
        return None;
    }
    if let Err(error) = unlock::unlock_chain(&context, run.top().id) {
        plan.refuse_error(&error);
        return None;
    }
    let mut analysis = match Analysis::make(&context, &run, false) {
        Ok(analysis) => analysis,
        Err(error) => {
            plan.refuse_unsaid(&error, "this commit");
            return None;
        }
    };
    // It shows the same by what the machine does.
    let is_other = |node| node != readers.child.id;
    let mut of_child = analysis.dependants.iter().filter(|one| !is_other(one.node));
    if of_child.any(|one| one.loses > 0) {
        let text = format!(
            "{} is shorter than {}, whose end would show in {}: shut the machine down, and commit it then",
            name(&run.top().path),
            name(&run.base.path),
            shown(&readers.child.path)
        );
        plan.refuse(RefusalKind::HasDependants, text);
        return None;
    }
    if super::refuse_growth(plan, &run, &analysis) {
        return None;
    }
    analysis
        .dependants
        .retain(|dependant| is_other(dependant.node));
    let base = run.base;
    plan.effect(
        EffectKind::Writes,
        &base.path,
        Some(analysis.data + analysis.zeros),
        format!(
            "{} by {}",
            super::what_is_written(&analysis),
            readers.running.name
        ),
    );
    let before = plan.refusals.len();
    let kept = judge_dependants(plan, &run, &analysis, &request.offline());
    live_ways_out(plan, before, request);
    let children = plan_children(plan, &run, &analysis);
    plan.effect(
        EffectKind::Relinks,
        &readers.child.path,
        None,
        format!(
            "now built on {}, by {}",
            name(&base.path),
            readers.running.name
        ),
    );
    super::say_what_goes(plan, &run, &analysis, &request.offline());
    plan.successors.clear();
    plan.frees = run
        .layers
        .iter()
        .filter_map(|layer| layer.size_on_disk())
        .sum();
    plan.copies = analysis.data + kept.iter().map(|dependant| dependant.loses).sum::<u64>();
    let files_to_lock = others_to_lock(plan, &kept, &children);
    files_to_lock.secure(plan);
    super::require_unchanged(plan, &analysis, &kept);
    for layer in &run.layers {
        plan.require_unchanged(&layer.path, Compare::Content);
    }
    // The machine may be writing it already.
    let of_base = match request.takes_up {
        true => Compare::Identity,
        false => Compare::Content,
    };
    plan.require_unchanged(&base.path, of_base);
    space::need_growth(plan, &base.path, analysis.new_in_base);
    for dependant in &kept {
        space::need_growth(plan, &dependant.path, dependant.growth);
    }
    plan.undo = Undo::Impossible(format!(
        "the old content of {} is overwritten",
        name(&base.path)
    ));
    plan.note(
        NoteKind::Manner,
        format!(
            "if this is stopped half way, {} keeps what was merged so far: nobody sees that, since the others are kept \
             intact first",
            name(&base.path)
        ),
    );
    let member = |node: &Node, format: &Format| MergedFile {
        path: node.path.clone(),
        format: format.clone(),
        bytes: node.size_on_disk().unwrap_or(0),
    };
    let layers = run.layers.iter().map(|layer| member(layer, &Format::Qcow2));
    let merge = CommitJob {
        run: layers.collect(),
        base: member(base, &run.base_format),
        files_to_lock,
        children,
        kept: super::by_file(&kept),
        keep_old: None,
        layer: CommittedLayer::Trash,
        bytes: plan.copies,
        undo: None,
        were: Vec::new(),
        keys: context.keys.clone(),
    };
    Some(LiveCommitJob {
        merge,
        top: run.top().clone(),
        base: base.clone(),
        speed: request.speed,
        takes_up: request.takes_up,
        readers,
    })
}

/// The machine that reads the layers, and the layer above them that it reads them for.
#[derive(Debug)]
struct Readers {
    running: Running,
    child: Node,
    /// The name of the base, as it is to be recorded in that one.
    recorded: OsString,
    /// The disk, by libvirt's name for it.
    target: Option<String>,
}

fn readers(
    plan: &Plan,
    forest: &Forest,
    run: &CommitRange<'_>,
    request: &LiveCommit,
) -> Result<Readers, Reason> {
    let top = run.top();
    let path = shown(&top.path);
    let running = Running::with(plan, top)?;
    if running.writes(plan, top) {
        let text = format!(
            "{} writes {path}: which clusters a commit would write is not known before. Have it go on in a new \
             overlay first; {path} is frozen then, and can be merged",
            running.name
        );
        let ways_out = vec![branch_first(forest, request), all_of_it(request)];
        return Err(Reason::new(RefusalKind::InUse, text).but(ways_out));
    }
    let has_it = |node: &&Node| {
        let mut holders = holders_of(plan.host(), node.file_id()).into_iter();
        holders.any(|holder| holder.pid == running.pid)
    };
    let above = |node: &Node| -> Vec<&Node> {
        let above = node.children.iter().filter_map(|id| forest.get(*id));
        let own = |node: &&Node| run.layers.iter().all(|layer| layer.id != node.id);
        above.filter(own).filter(has_it).collect()
    };
    let children = match above(top) {
        // It is merged, and has only not let the layers go.
        none if none.is_empty() && request.takes_up => above(run.base),
        children => children,
    };
    let [child] = &children[..] else {
        let text = format!(
            "{} reads {path} by {} layers above it: which of its disks is meant cannot be told",
            running.name,
            children.len()
        );
        return Err(Reason::new(RefusalKind::Machine, text));
    };
    let context = plan.context();
    let recorded = leading_from_all(context, child, &run.base.path, recorded_style(child));
    let recorded = recorded.map_err(|why| Reason::new(RefusalKind::BackingName, why))?;
    let target = match &running.by {
        By::Monitor => None,
        By::Libvirt { .. } => Some(domain_disk(plan, &running, top)?.target.clone()),
    };
    Ok(Readers {
        running,
        child: (*child).clone(),
        recorded,
        target,
    })
}

/// The way out where the layer is the one that is written.
fn branch_first(forest: &Forest, request: &LiveCommit) -> WayOut {
    let leaf = &request.overlay;
    let stem = leaf
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let free = (2_u32..).map(|number| leaf.with_file_name(format!("{stem}-{number}.qcow2")));
    let mut free = free.filter(|path| forest.by_path(path).is_none());
    let new = free
        .next()
        .unwrap_or_else(|| leaf.with_extension("new.qcow2"));
    WayOut {
        label: format!("branch first: the guest goes on in {}", name(&new)),
        request: LiveBranch {
            disks: vec![LiveOverlay {
                leaf: leaf.clone(),
                new,
            }],
            style: BackingStyle::default(),
            quiesce: true,
        }
        .into(),
    }
}

/// The other way out there: the guest goes on in the base.
fn all_of_it(request: &LiveCommit) -> WayOut {
    WayOut {
        label: "merge all of it: the guest goes on in what it is merged into".to_owned(),
        request: ActiveCommit {
            overlay: request.overlay.clone(),
            into: request.into.clone(),
            speed: request.speed,
            takes_up: false,
        }
        .into(),
    }
}

/// Ways out that ask for a commit ask for one by the machine, and none breaks anybody.
fn live_ways_out(plan: &mut Plan, before: usize, request: &LiveCommit) {
    for refusal in plan.refusals.iter_mut().skip(before) {
        refusal.ways_out.retain_mut(|way| match &way.request {
            Request::Commit(commit) if commit.siblings == Siblings::Preserve => {
                way.request = LiveCommit {
                    siblings: Siblings::Preserve,
                    ..request.clone()
                }
                .into();
                true
            }
            Request::EmptyTrash(_) => true,
            _ => false,
        });
    }
}

/// Everything that is written here; the rest is the machine's.
fn others_to_lock(
    plan: &Plan,
    kept: &[super::analysis::Dependant],
    children: &[super::merge::Child],
) -> FilesToLock {
    let mut files_to_lock = FilesToLock::default();
    let others = kept.iter().map(|dependant| &dependant.path);
    for path in others.chain(children.iter().map(|child| &child.path)) {
        files_to_lock.write(plan.host(), path, &Format::Qcow2);
    }
    files_to_lock
}

/// What keeps the others intact, has the machine merge, and gives up the layers.
#[derive(Debug)]
struct LiveCommitJob {
    merge: CommitJob,
    top: Node,
    base: Node,
    readers: Readers,
    speed: Option<u64>,
    takes_up: bool,
}

impl Job for LiveCommitJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let _control = Control::open(plan, progress);
        progress.enter(Phase::Collect, 0);
        let locks = self.merge.files_to_lock.lock(plan)?;
        let host = &LockedHost::new(plan.host(), &locks);
        let kept = self.merge.keep(&self.merge.kept, host, progress);
        kept.map_err(|error| self.merge.failed(error))?;
        // Nobody is kept from building on the base meanwhile; from here on the machine's own locks do.
        look_again(plan)?;
        // A folder that takes no trash is found out before anything is merged.
        let batch = self.merge.prepare_trash(plan)?;
        let merged = match self.readers.running.by {
            By::Monitor => self.merge_by_monitor(plan, progress),
            By::Libvirt { .. } => self.merge_by_libvirt(plan, progress),
        };
        let Merged {
            mut remarks,
            unproven,
        } = match merged {
            Ok(merged) => merged,
            Err(error) => {
                batch.into_iter().for_each(trash::Batch::give_up);
                return Err(error);
            }
        };
        progress.enter(Phase::CleanUp, 0);
        let mut touched = vec![self.base.path.clone(), self.readers.child.path.clone()];
        touched.extend(self.merge.kept.iter().map(|kept| kept.path.clone()));
        let gone = match unproven {
            None => self.give_up(&locks, plan, batch, &mut touched),
            Some(why) => {
                batch.into_iter().for_each(trash::Batch::give_up);
                Err(Error::failed(format!(
                    "what it merged could not be compared: {why}"
                )))
            }
        };
        let summary = match gone {
            Ok(entry) => format!("; {} is in the trash as {entry}", name(&self.top.path)),
            Err(error) => {
                remarks.push(
                    Note::new(
                        NoteKind::Trash,
                        format!("{} stays at its place: {error}", shown(&self.top.path)),
                    )
                    .warning(),
                );
                String::new()
            }
        };
        Ok(Outcome {
            summary: format!(
                "committed {} into {} while {} runs{summary}",
                shown(&self.top.path),
                shown(&self.base.path),
                self.readers.running.name
            ),
            touched,
            undo: None,
            remarks,
        })
    }
}

impl LiveCommitJob {
    fn left(&self) -> String {
        format!(
            "{} holds a part of {}, and everything shows what it showed; ask again to finish",
            shown(&self.base.path),
            name(&self.top.path)
        )
    }

    fn merge_by_monitor(&self, plan: &Plan, progress: &Progress) -> Result<Merged, Error> {
        let running = &self.readers.running;
        let (mut qmp, graph) = running.monitor(plan)?;
        let id = job_id("commit", self.top.file_id(), self.base.file_id());
        let is_begun = live::job::find(&mut qmp, &id).ok().flatten().is_some();
        let nodes = self.nodes(&graph);
        // One that is through has taken the layers out.
        let nodes = match (nodes, is_begun) {
            (Ok(nodes), _) => nodes,
            (Err(_), true) => MergedNodes::default(),
            (Err(error), false) => return Err(error),
        };
        progress.enter(Phase::Copy, plan.copies);
        let asked = commit::Commit {
            id: &id,
            root: &nodes.root,
            top: &nodes.top,
            base: &nodes.base,
            backing_file: &self.readers.recorded,
            speed: self.speed.unwrap_or(0),
        };
        let weight = self.weight(plan);
        let mut look = looking(progress, &weight);
        let end = commit::run(&mut qmp, &asked, &mut look);
        let end = end.map_err(|error| running.failed(&format!("{error}: {}", self.left())))?;
        ended(running, end, &self.left())?;
        // What the machine reads in the base now is what the layers hold.
        let graph = Graph::ask(&mut qmp, plan.host(), running.pid);
        let graph = graph.map_err(|error| running.failed(&error))?;
        for layer in &self.merge.run {
            let file = plan.host().stat(&layer.path).ok().map(|stat| stat.id);
            let left = file.into_iter().flat_map(|file| graph.of_file(file));
            let left: Vec<BlockNode> = left.cloned().collect();
            live::close(&mut qmp, &left);
        }
        let base = running.node(&graph, &self.base)?.name.clone();
        let proven = live::with_node(&mut qmp, running.pid, &base, |_, nbd| {
            self.compare(plan, nbd).map_err(ExportError::from)
        });
        match proven {
            Ok(()) => Ok(Merged::default()),
            // It serves somebody else over NBD already: what it merged is there all the same.
            Err(ExportError::Qmp(why)) => Ok(Merged {
                unproven: Some(why.to_string()),
                ..Merged::default()
            }),
            Err(ExportError::Read(why)) => Err(self.differs(&why)),
        }
    }

    fn weight(&self, plan: &Plan) -> Weight {
        let (top, layers) = (&self.top.path, self.merge.run.len());
        Weight::of_layers(plan.host(), top, Some(&Format::Qcow2), layers)
    }

    fn differs(&self, why: &dyn std::fmt::Display) -> Error {
        self.readers.running.failed(&format!(
            "what it merged could not be proven: {why}. {} stays where it is",
            shown(&self.top.path)
        ))
    }

    /// The nodes of the machine that are meant, as it has them open now.
    fn nodes(&self, graph: &Graph) -> Result<MergedNodes, Error> {
        let running = &self.readers.running;
        let top = running.node(graph, &self.top)?;
        let base = running.node(graph, &self.base)?;
        let roots = self
            .top
            .file_id()
            .map_or_else(Vec::new, |file| graph.roots_over(file));
        let above: Vec<&&BlockNode> = roots.iter().filter(|root| root.name != top.name).collect();
        let ([root], true) = (
            &above[..],
            graph
                .chain(&top.name)
                .iter()
                .any(|node| node.name == base.name),
        ) else {
            return Err(Error::stale(format!(
                "{} does not read {} as it did: plan again",
                running.name,
                shown(&self.top.path)
            )));
        };
        Ok(MergedNodes {
            root: root.name.clone(),
            top: top.name.clone(),
            base: base.name.clone(),
        })
    }

    /// Whether the base shows all that the merged layers hold, as the machine sees it.
    fn compare(&self, plan: &Plan, nbd: &mut Nbd) -> io::Result<()> {
        let chain = self
            .open(plan)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut read = |start: u64, theirs: &mut [u8]| nbd.read_at(start, theirs);
        self.compare_with(&chain, &mut read)
    }

    fn open(&self, plan: &Plan) -> image::Result<Chain> {
        let chain = Chain::open(plan.host(), &self.top.path, Some(&Format::Qcow2), &|_| true)?;
        chain.unlock(&self.merge.keys, &image::NoProgress)?;
        Ok(chain)
    }

    fn compare_with(
        &self,
        chain: &Chain,
        read: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let failed = |error: image::Error| io::Error::other(error.to_string());
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for run in chain.runs(self.merge.run.len(), 0, chain.virtual_size()) {
            let run = run.map_err(failed)?;
            if run.extent.state == State::Unallocated {
                continue;
            }
            let mut at = run.extent.start;
            while let Some(piece) = run.extent.clip(at, at.saturating_add(PIECE)) {
                at = piece.end();
                let len = usize::try_from(piece.len).map_err(io::Error::other)?;
                ours.resize(len, 0);
                theirs.resize(len, 0);
                chain.read_at(&mut ours, piece.start).map_err(failed)?;
                read(piece.start, &mut theirs)?;
                if ours != theirs {
                    let text = format!(
                        "{} and {} differ within {} from byte {}",
                        name(&self.top.path),
                        name(&self.base.path),
                        size(piece.len),
                        piece.start
                    );
                    return Err(io::Error::other(text));
                }
            }
        }
        Ok(())
    }

    fn merge_by_libvirt(&self, plan: &Plan, progress: &Progress) -> Result<Merged, Error> {
        let running = &self.readers.running;
        let disk = self.readers.target.as_deref().unwrap_or_default();
        let failed = |error: &dyn std::fmt::Display| running.failed(error);
        let mut domain = running.domain(plan)?;
        progress.enter(Phase::Copy, plan.copies);
        let begin = |domain: &mut Domain, speed| {
            domain.begin_commit(disk, &self.top.path, &self.base.path, speed)
        };
        let job = (disk, DomainJob::Commit);
        begin_job(running, &mut domain, job, self.takes_up, self.speed, begin)?;
        let shown = (progress, &self.weight(plan));
        let end = follow_domain(running, &mut domain, disk, shown, &self.left())?;
        if end == DomainEnd::Ready {
            domain.wait_for_end(disk).map_err(|error| failed(&error))?;
        }
        domain.flush().map_err(|error| failed(&error))?;
        // The base is read only again, and all of it is in its file.
        let proven = self.open(plan).and_then(|chain| {
            let format = Some(&self.merge.base.format);
            let base = Chain::open(plan.host(), &self.base.path, format, &|_| true)?;
            Ok((chain, base))
        });
        let (chain, base) = proven.map_err(|error| self.differs(&error))?;
        let mut read = |start: u64, theirs: &mut [u8]| {
            let read = base.read_at(theirs, start);
            read.map_err(|error| io::Error::other(error.to_string()))
        };
        let same = self.compare_with(&chain, &mut read);
        same.map_err(|error| self.differs(&error))?;
        Ok(Merged {
            remarks: unpin(running, &mut domain, disk).into_iter().collect(),
            unproven: None,
        })
    }

    /// Whoever was built on the layers is built on the base; then they go. Gives the entry of the trash.
    fn give_up(
        &self,
        locks: &Locks,
        plan: &Plan,
        batch: Option<trash::Batch<'_>>,
        touched: &mut Vec<PathBuf>,
    ) -> Result<String, Error> {
        if let Err(error) = require_free(plan, self.merge.run.iter().map(|layer| &layer.path)) {
            batch.into_iter().for_each(trash::Batch::give_up);
            return Err(error);
        }
        let held = &LockedHost::new(plan.host(), locks);
        self.merge
            .relink_children(held)
            .map_err(|error| self.merge.failed(error))?;
        touched.extend(self.merge.children.iter().map(|child| child.path.clone()));
        let batch = batch.ok_or_else(|| Error::failed("there is no trash".to_owned()))?;
        let entry = batch.name().to_owned();
        touched.extend(batch.execute(&Progress::new())?);
        Ok(entry)
    }
}

/// What a machine has merged.
#[derive(Debug, Default)]
struct Merged {
    remarks: Vec<Note>,
    /// Why nobody could compare it, if so: the layers stay then.
    unproven: Option<String>,
}

/// The nodes of a merge.
#[derive(Debug, Default)]
struct MergedNodes {
    root: String,
    top: String,
    base: String,
}
