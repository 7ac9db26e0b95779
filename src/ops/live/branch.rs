//! Live branch: the guest of a machine that runs goes on in a new overlay, on one disk or on several at the same
//! instant. What it wrote before is frozen from then on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::forest::Node;
use crate::host::{FileId, Host};
use crate::image::{Chain, Format, State};
use crate::live::{self, Agent, Frozen, Graph, Qmp, snapshot};
use crate::ops::branch::{NewOverlay, plan_overlay};
use crate::ops::framework::format::{listed, listed_names, name, shown};
use crate::ops::framework::locks::{Locking, Locks};
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::refusal::Reason;
use crate::ops::framework::request::Name;
use crate::ops::framework::{absolute, resolve};
use crate::ops::{
    BackingStyle, Branch, CommandLine, EffectKind, Error, ImageOptions, Note, NoteKind, Outcome,
    Phase, Plan, Progress, RefusalKind, Undo,
};

use super::following::unpin;
use super::next_start::{self, Next};
use super::running::{By, Running, domain_disk, is_open, written_node};

/// The guest goes on in new overlays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveBranch {
    /// Each disk of one machine that is switched, all at the same instant.
    pub disks: Vec<LiveOverlay>,
    /// How the backing names are recorded.
    pub style: BackingStyle,
    /// Whether the guest's filesystems are held still meanwhile, where the agent in the guest answers.
    pub quiesce: bool,
}

/// A disk, and what it goes on in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveOverlay {
    /// The image that is written now.
    pub leaf: PathBuf,
    /// The file to create.
    pub new: PathBuf,
}

impl Operation for LiveBranch {
    fn name(&self) -> &'static str {
        "branch"
    }

    fn verb(&self) -> &'static str {
        "Branch"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        for disk in &mut self.disks {
            visit(Name::Path(&mut disk.leaf));
            visit(Name::Path(&mut disk.new));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new(&["branch"])
            .flag("--live", true)
            .flag("--no-quiesce", !self.quiesce)
            .flag("--absolute", self.style == BackingStyle::Absolute);
        let [first, others @ ..] = &self.disks[..] else {
            return None;
        };
        let line = line.path(&first.leaf).path(&first.new);
        let pairs = others.iter();
        Some(pairs.fold(line, |line, disk| line.path(&disk.leaf).path(&disk.new)))
    }

    fn plan(&self, plan: &mut Plan) {
        let leaves: Vec<String> = self.disks.iter().map(|disk| name(&disk.leaf)).collect();
        plan.title = format!("Branch {} while it is in use", listed(&leaves, 3));
        let planned = planned(plan, self);
        plan.is_done_by(planned);
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let host = half.context.host.as_ref();
        let made = half.there_of(&half.entry.creates);
        if made.is_empty() {
            return Way::Nothing("nothing was made, and no disk has changed".to_owned());
        }
        if made.iter().any(|path| is_open(host, path)) {
            return Way::Nothing(format!(
                "the machine writes {} already. If its guest hangs, send guest-fsfreeze-thaw to its agent",
                listed_names(&made)
            ));
        }
        match made.iter().all(|path| holds_nothing(host, path)) {
            true => half.unmake(),
            false => Way::Impossible(format!(
                "{} holds what the guest wrote since: start the machine with it, or merge it down",
                listed_names(&made)
            )),
        }
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        self.finish(half)
    }
}

/// What switches the disks; none where the plan says why not.
fn planned(plan: &mut Plan, request: &LiveBranch) -> Result<Option<LiveBranchJob>, Reason> {
    let context = plan.context().clone();
    let mut disks = Vec::new();
    let mut running: Option<Running> = None;
    for disk in &request.disks {
        let node = resolve::named(&context, &disk.leaf)?;
        let by = Running::with(plan, node)?;
        if let Some(other) = running.as_ref().filter(|other| **other != by) {
            let text = format!(
                "{} belongs to {}, the other disks to {}: disks are switched at one instant within one machine",
                shown(&disk.leaf),
                by.name,
                other.name
            );
            return Err(Reason::new(RefusalKind::Invalid, text));
        }
        let target = match &by.by {
            By::Monitor => None,
            By::Libvirt { .. } => Some(domain_disk(plan, &by, node)?.target.clone()),
        };
        let branch = Branch {
            base: disk.leaf.clone(),
            new: disk.new.clone(),
            format: by.opened_as(plan, node),
            size: None,
            style: request.style,
            image: ImageOptions::default(),
        };
        let Some((overlay, ())) = plan_overlay(plan, &branch, |_, _| ()) else {
            return Ok(None);
        };
        plan.effect(
            EffectKind::Freezes,
            &disk.leaf,
            None,
            format!("{} goes on in {}", by.name, name(&disk.new)),
        );
        next_start::tell(plan, &by, &disk.leaf, &disk.new, Next::Overlay);
        disks.push(SwitchedDisk {
            leaf: disk.leaf.clone(),
            overlay,
            target,
        });
        running = Some(by);
    }
    let running = running.ok_or_else(|| Reason::new(RefusalKind::Invalid, "no disk is named"))?;
    plan.through = Some(running.through(None));
    say_of_guest(plan, &running, request.quiesce);
    // What qemu-img would do is done by the machine.
    plan.commands.clear();
    plan.undo = Undo::Impossible(format!(
        "{} writes the new file from then on: merge it down when it is shut down, or discard what it wrote",
        running.name
    ));
    Ok(Some(LiveBranchJob {
        running,
        disks,
        quiesce: request.quiesce,
    }))
}

/// Whether its filesystems are at rest at that instant.
fn say_of_guest(plan: &mut Plan, running: &Running, quiesce: bool) {
    let has_agent = match &running.by {
        By::Monitor => live::agent_socket(running.pid).is_some(),
        By::Libvirt { .. } => true,
    };
    let text = match (quiesce, has_agent) {
        (true, true) => {
            "where the agent in the guest answers, its filesystems are held still for that instant; otherwise what is \
             frozen is as after a power cut"
        }
        (true, false) => {
            "the machine has no channel to an agent in the guest: what is frozen is as after a power cut, which \
             filesystems with a journal survive"
        }
        (false, _) => {
            "what is frozen is as after a power cut, which filesystems with a journal survive"
        }
    };
    plan.note(NoteKind::Guest, text);
}

/// A disk and its new overlay.
#[derive(Debug)]
struct SwitchedDisk {
    leaf: PathBuf,
    overlay: NewOverlay,
    /// The disk, by libvirt's name for it.
    target: Option<String>,
}

/// What makes the overlays and has the machine switch.
#[derive(Debug)]
struct LiveBranchJob {
    running: Running,
    disks: Vec<SwitchedDisk>,
    quiesce: bool,
}

impl Job for LiveBranchJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        progress.enter(Phase::Collect, 0);
        let mut made = Vec::new();
        let locks = Locking::default().settle(plan)?;
        let switched = self.make(plan, &locks, progress, &mut made).and_then(|()| {
            progress.enter(Phase::Switch, 0);
            match &self.running.by {
                By::Monitor => self.switch(plan),
                By::Libvirt { .. } => self.switch_domain(plan),
            }
        });
        let remarks = match switched {
            Ok(remarks) => remarks,
            Err(error) => {
                let host = plan.host();
                made.retain(|(path, _)| holds_nothing(host, path));
                take_away(host, &made);
                return Err(error);
            }
        };
        let new: Vec<PathBuf> = made.into_iter().map(|(path, _)| path).collect();
        let leaves = self.disks.iter().map(|disk| disk.leaf.clone());
        Ok(Outcome {
            summary: format!(
                "{} writes {} from now on; {} frozen",
                self.running.name,
                listed_names(&new),
                match &self.disks[..] {
                    [one] => format!("{} is", shown(&one.leaf)),
                    _ => "what it wrote before is".to_owned(),
                }
            ),
            touched: leaves.chain(new.iter().cloned()).collect(),
            undo: None,
            remarks,
        })
    }
}

impl LiveBranchJob {
    fn make(
        &self,
        plan: &Plan,
        locks: &Locks,
        progress: &Progress,
        made: &mut Vec<(PathBuf, Option<FileId>)>,
    ) -> Result<(), Error> {
        let host = plan.host();
        for disk in &self.disks {
            disk.overlay.create(host, locks, progress)?;
            let new = absolute::path(&disk.overlay.new);
            let file = host.stat(&new).ok().map(|stat| stat.id);
            made.push((new, file));
            give_to_owner_of(&disk.leaf, &disk.overlay.new)?;
        }
        Ok(())
    }

    fn switch(&self, plan: &Plan) -> Result<Vec<Note>, Error> {
        let (mut qmp, graph) = self.running.monitor(plan)?;
        let mut nodes = Vec::new();
        for disk in &self.disks {
            let node = plan_node(plan, &disk.leaf)?;
            nodes.push((
                written_node(&graph, &self.running, &node)?.name.clone(),
                absolute::path(&disk.overlay.new),
            ));
        }
        let switches: Vec<snapshot::Switch<'_>> = nodes
            .iter()
            .map(|(leaf, overlay)| snapshot::Switch { leaf, overlay })
            .collect();
        let mut remarks = Vec::new();
        let frozen = self.freeze(&mut remarks);
        let taken = snapshot::take(&mut qmp, &switches);
        let hangs = frozen.and_then(|frozen| frozen.thaw().err()).map(|error| {
            format!(
                "the filesystems of {} could not be let go: {error}. Send guest-fsfreeze-thaw to its agent, or it hangs",
                self.running.name
            )
        });
        if let Err(error) = taken {
            let hangs = hangs.map_or_else(String::new, |text| format!("; {text}"));
            return Err(self.running.failed(&format!("{error}{hangs}")));
        }
        remarks.extend(hangs.map(|text| Note::new(NoteKind::Guest, text).warning()));
        self.require_switched(plan, &mut qmp)?;
        Ok(remarks)
    }

    fn freeze(&self, remarks: &mut Vec<Note>) -> Option<Frozen> {
        let socket = live::agent_socket(self.running.pid).filter(|_| self.quiesce)?;
        match Agent::connect(&socket).and_then(Agent::freeze) {
            Ok(frozen) => Some(frozen),
            Err(error) => {
                remarks.push(Note::new(
                    NoteKind::Guest,
                    format!("the guest's filesystems were not held still: {error}"),
                ));
                None
            }
        }
    }

    /// What QEMU has open now is the proof.
    fn require_switched(&self, plan: &Plan, qmp: &mut Qmp) -> Result<(), Error> {
        let graph = Graph::ask(qmp, plan.host(), self.running.pid);
        let graph = graph.map_err(|error| self.running.failed(&error))?;
        let id = |path: &Path| plan.host().stat(path).map(|stat| stat.id);
        for disk in &self.disks {
            let new = &disk.overlay.new;
            let files = id(&disk.leaf).and_then(|leaf| Ok((leaf, id(new)?)));
            let (leaf, overlay) = files.map_err(|error| Error::io("look at", new, &error))?;
            if !snapshot::is_taken(&graph, leaf, overlay) {
                return Err(self
                    .running
                    .failed(&format!("it does not write {}", shown(new))));
            }
        }
        Ok(())
    }

    fn switch_domain(&self, plan: &Plan) -> Result<Vec<Note>, Error> {
        let mut domain = self.running.domain(plan)?;
        let mut disks: Vec<(String, Option<PathBuf>)> = Vec::new();
        for disk in &self.disks {
            let target = disk.target.clone().unwrap_or_default();
            disks.push((target, Some(absolute::path(&disk.overlay.new))));
        }
        for other in other_disks(plan, &self.running) {
            if disks.iter().all(|(target, _)| *target != other) {
                disks.push((other, None));
            }
        }
        let mut remarks = Vec::new();
        let mut taken = domain.snapshot(&disks, self.quiesce);
        let has_new = |disk: &SwitchedDisk| is_open(plan.host(), &disk.overlay.new);
        if let (Err(error), true) = (&taken, self.quiesce && !self.disks.iter().any(has_new)) {
            // The agent does not answer: libvirt says so before it does anything.
            remarks.push(Note::new(
                NoteKind::Guest,
                format!("the guest's filesystems were not held still: {error}"),
            ));
            taken = domain.snapshot(&disks, false);
        }
        taken.map_err(|error| self.running.failed(&error))?;
        for disk in &self.disks {
            let target = disk.target.as_deref().unwrap_or_default();
            remarks.extend(unpin(&self.running, &mut domain, target));
        }
        Ok(remarks)
    }
}

/// Other disks of the domain, by their names.
fn other_disks(plan: &Plan, running: &Running) -> Vec<String> {
    let By::Libvirt { id, .. } = &running.by else {
        return Vec::new();
    };
    let machines = plan.context().forest.machines().list().iter();
    let machines = machines.filter(|machine| machine.id.as_ref() == Some(id));
    let disks = machines.flat_map(|machine| &machine.disks);
    disks.map(|disk| disk.target.clone()).collect()
}

fn plan_node(plan: &Plan, leaf: &Path) -> Result<Node, Error> {
    let node = resolve::named(plan.context(), leaf);
    node.cloned().map_err(|reason| Error::stale(reason.text))
}

/// The machine may run as somebody else, who could not open the new file.
pub(super) fn give_to_owner_of(leaf: &Path, new: &Path) -> Result<(), Error> {
    use std::os::unix::fs::{MetadataExt, chown};
    let given = std::fs::metadata(leaf).and_then(|leaf| {
        let now = std::fs::metadata(new)?;
        match (leaf.uid(), leaf.gid()) == (now.uid(), now.gid()) {
            true => Ok(()),
            false => chown(new, Some(leaf.uid()), Some(leaf.gid())),
        }
    });
    given.map_err(|error| Error::io("give to the owner of its base", new, &error))
}

/// Takes away new files that no machine has. One that somebody uses after all, or has written, stays.
pub(super) fn take_away(host: &dyn Host, made: &[(PathBuf, Option<FileId>)]) {
    for (path, file) in made {
        if let Some(file) = file.filter(|_| !is_open(host, path)) {
            drop(host.remove_file_of(file, path));
        }
    }
}

/// Whether no guest has written an overlay.
pub(in crate::ops) fn holds_nothing(host: &dyn Host, overlay: &Path) -> bool {
    let chain = Chain::open(host, overlay, Some(&Format::Qcow2), &|_| true);
    chain.is_ok_and(|chain| {
        chain.layers().first().is_some_and(|layer| {
            let mut extents = layer.extents(0, layer.virtual_size());
            extents.all(|extent| extent.is_ok_and(|one| one.state == State::Unallocated))
        })
    })
}
