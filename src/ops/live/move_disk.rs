//! Live move (QEMU's mirror): the guest of a machine that runs goes on in another file that shows the same; the old
//! one goes to the trash.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::forest::Node;
use crate::host::{FileId, FileKind, Host, printable};
use crate::image::{self, CreateOptions, Format};
use crate::live::job::Ended;
use crate::live::{self, BlockNode, Graph, mirror};
use crate::machines::Domain;
use crate::ops::branch::not_created;
use crate::ops::framework::backing_name::{leading, recorded_style};
use crate::ops::framework::format::{name, shown};
use crate::ops::framework::locks::{Locking, look_again};
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::refusal::Reason;
use crate::ops::framework::request::Name;
use crate::ops::framework::trash::{Batch, TrashItem};
use crate::ops::framework::{absolute, backing_format, new_file, resolve};
use crate::ops::revert::options_of;
use crate::ops::{
    CommandLine, EffectKind, Error, Note, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind,
    Undo,
};
use crate::units::size;

use super::branch::{give_to_owner_of, holds_nothing, take_away};
use super::control::Control;
use super::following::{
    DomainEnd, DomainJob, begin_job, ended, follow_domain, job_id, looking, require_disk,
};
use super::next_start::{self, Next};
use super::running::{By, Running, domain_disk, holders_at, is_open, refuse_lost, written_node};
use super::weight::Weight;

/// The guest goes on in another file that shows the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveMove {
    /// The image that is written now.
    pub image: PathBuf,
    /// The file to create.
    pub to: PathBuf,
    /// Bytes per second at most; none for as fast as it goes.
    pub speed: Option<u64>,
    /// Whether it goes on with one that was interrupted, whose job the machine may have still.
    #[serde(default)]
    pub takes_up: bool,
}

impl LiveMove {
    /// The same with the new name, where a folder was named.
    fn in_folder(&self, host: &dyn Host) -> Self {
        let is_folder = host
            .stat(&self.to)
            .is_ok_and(|stat| stat.kind == FileKind::Directory);
        match self.image.file_name().filter(|_| is_folder) {
            Some(name) => Self {
                to: self.to.join(name),
                ..self.clone()
            },
            None => self.clone(),
        }
    }
}

impl Operation for LiveMove {
    fn name(&self) -> &'static str {
        "move"
    }

    fn verb(&self) -> &'static str {
        "Move"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        visit(Name::Path(&mut self.to));
    }

    fn copies(&self) -> Vec<&Path> {
        vec![&self.image]
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(
            CommandLine::new(&["move"])
                .path(&self.image)
                .path(&self.to)
                .flag("--live", true)
                .number("--speed", self.speed),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan.title = format!(
            "Move {} to {} while it is in use",
            name(&self.image),
            shown(&self.to)
        );
        let planned = planned(plan, self);
        plan.is_done_by(planned);
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let host = half.context.host.as_ref();
        if !half.is_there(&self.to) {
            return Way::Nothing("nothing was made, and the disk has not changed".to_owned());
        }
        let (old, new) = (shown(&self.image), shown(&self.to));
        match (is_open(host, &self.image), is_open(host, &self.to)) {
            // Mirrored still.
            (true, true) => {
                let again = Self {
                    takes_up: true,
                    ..self.clone()
                };
                Way::Ask(again.into())
            }
            (false, true) => Way::Nothing(format!(
                "the machine writes {new} already; discard {old} when it is not needed any more"
            )),
            // The machine was not told yet.
            (_, false) if holds_nothing(host, &self.to) => half.unmake(),
            // Either may hold what the guest wrote last.
            (_, false) => Way::Impossible(format!(
                "{new} may be a copy that was not finished, or what the guest wrote last: compare it with {old}, and \
                 discard the one that is not needed"
            )),
        }
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        let host = half.context.host.as_ref();
        match is_open(host, &self.image) && is_open(host, &self.to) {
            true => Way::Impossible(
                "the machine copies still: finish it, and move it back the same way".to_owned(),
            ),
            false => self.finish(half),
        }
    }
}

/// What does it; none where the plan says why not.
fn planned(plan: &mut Plan, request: &LiveMove) -> Result<Option<LiveMoveJob>, Reason> {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    let request = &request.in_folder(plan.host());
    let node = resolve::named(&context, &request.image)?;
    let running = Running::with(plan, node)?;
    plan.through = Some(running.through(Some(&node.path)));
    refuse_lost(plan, node, true);
    let path = shown(&node.path);
    if !forest.is_leaf(node) {
        let text = format!("other images are built on {path}: it stays at its place");
        return Err(Reason::new(RefusalKind::HasDependants, text));
    }
    let is_qcow2 = running
        .opened_as(plan, node)
        .is_none_or(|format| format == Format::Qcow2);
    let Some(image) = options_of(node).filter(|_| is_qcow2) else {
        let text = format!("{path} is no qcow2 image whose features a new file can be given");
        return Err(Reason::new(RefusalKind::Unsupported, text));
    };
    if node.is_encrypted() {
        let text = format!(
            "{path} is encrypted, and its machine would have to be told the passphrase for a new file"
        );
        return Err(Reason::new(RefusalKind::Unsupported, text));
    }
    let backing = node.parent.and_then(|id| forest.get(id));
    let recorded = match (backing, &node.backing) {
        (_, None) => None,
        (Some(base), Some(_)) => {
            let named = leading(plan.host(), &request.to, &base.path, recorded_style(node));
            let named = named.map_err(|why| Reason::new(RefusalKind::BackingName, why))?;
            let Some(format) = backing_format::recorded(plan, node, base) else {
                return Ok(None);
            };
            Some((named, format))
        }
        (None, Some(known)) => {
            let text = format!(
                "{path} is built on {}, which is no file that is known here",
                printable(known.name())
            );
            return Err(Reason::new(RefusalKind::BackingName, text));
        }
    };
    let target = match &running.by {
        By::Monitor => None,
        By::Libvirt { .. } => Some(domain_disk(plan, &running, node)?.target.clone()),
    };
    let options = CreateOptions {
        backing: recorded,
        format: image,
        ..CreateOptions::new(node.virtual_size().unwrap_or(0))
    };
    let bytes = node.size_on_disk().unwrap_or(0);
    let empty = image::new_len(&request.to, &options)
        .map_err(|error| Reason::new(RefusalKind::Invalid, error.kind.to_string()))?;
    // What was begun and is mirrored still is taken up.
    let mut holders = holders_at(plan.host(), &request.to).into_iter();
    let is_begun = request.takes_up && holders.any(|holder| holder.pid == running.pid);
    if !is_begun && new_file::check(plan, &request.to, bytes.max(empty.image_blocks)).is_none() {
        return Ok(None);
    }
    // One that was stopped between the switch and the end of it.
    let has_switched = is_begun
        && !running.writes(plan, node)
        && forest
            .by_path(&request.to)
            .is_some_and(|new| running.writes(plan, new));
    plan.effect(
        EffectKind::Creates,
        &request.to,
        Some(bytes),
        format!(
            "shows what {} shows; {} goes on in it",
            name(&node.path),
            running.name
        ),
    );
    plan.counterpart(&node.path);
    plan.effect(
        EffectKind::Trashes,
        &node.path,
        Some(bytes),
        format!("{}, once {} has let it go", size(bytes), running.name),
    );
    next_start::tell(plan, &running, &node.path, &request.to, Next::Copy);
    plan.copies = bytes;
    plan.undo = Undo::Impossible(format!(
        "what {} writes meanwhile is in the new file only: move it back the same way",
        running.name
    ));
    Ok(Some(LiveMoveJob {
        running,
        image: node.clone(),
        backing: backing.cloned(),
        options,
        to: request.to.clone(),
        is_begun,
        has_switched,
        target,
        speed: request.speed,
    }))
}

/// What has the machine do it.
#[derive(Debug)]
struct LiveMoveJob {
    running: Running,
    image: Node,
    backing: Option<Node>,
    options: CreateOptions,
    to: PathBuf,
    /// Whether the machine copies into it already.
    is_begun: bool,
    /// Whether the machine writes it already.
    has_switched: bool,
    /// The disk, by libvirt's name for it.
    target: Option<String>,
    speed: Option<u64>,
}

impl Job for LiveMoveJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let _control = Control::open(plan, progress);
        progress.enter(Phase::Collect, 0);
        let _locks = Locking::default().settle(plan)?;
        let host = plan.host();
        if !self.is_begun {
            image::create(host, &self.to, &self.options, progress)
                .map_err(|error| not_created(&self.to, error))?;
        }
        let made = [(
            absolute::path(&self.to),
            host.stat(&self.to).ok().map(|stat| stat.id),
        )];
        progress.enter(Phase::Copy, plan.copies);
        let moved =
            give_to_owner_of(&self.image.path, &self.to).and_then(|()| match self.running.by {
                By::Monitor => self.mirror(plan, progress).map(|()| Vec::new()),
                By::Libvirt { .. } => self.copy(plan, progress),
            });
        let mut remarks = match moved {
            Ok(remarks) => remarks,
            Err(error) => {
                // Where the machine has ended, the new file may be the one that it wrote last.
                if is_open(host, &self.image.path) {
                    take_away(host, &made);
                }
                return Err(error);
            }
        };
        progress.enter(Phase::CleanUp, 0);
        let mut touched = vec![self.to.clone(), self.image.path.clone()];
        match self.trash(plan) {
            Ok(more) => touched.extend(more),
            Err(error) => remarks.push(
                Note::new(
                    NoteKind::Trash,
                    format!("{} stays at its place: {error}", shown(&self.image.path)),
                )
                .warning(),
            ),
        }
        Ok(Outcome {
            summary: format!(
                "{} writes {} from now on",
                self.running.name,
                shown(&self.to)
            ),
            touched,
            undo: None,
            remarks,
        })
    }
}

impl LiveMoveJob {
    fn left(&self) -> String {
        format!(
            "{} goes on in {}",
            self.running.name,
            shown(&self.image.path)
        )
    }

    fn mirror(&self, plan: &Plan, progress: &Progress) -> Result<(), Error> {
        let (mut qmp, graph) = self.running.monitor(plan)?;
        let leaf = match self.has_switched {
            true => None,
            false => Some(written_node(&graph, &self.running, &self.image)?),
        };
        let backing = match leaf {
            Some(leaf) => self.backing_node(&graph, leaf)?,
            None => None,
        };
        let target = absolute::path(&self.to);
        let to_file = plan.host().stat(&self.to).ok().map(|stat| stat.id);
        let id = job_id("mirror", self.image.file_id(), to_file);
        let asked = mirror::Mirror {
            id: &id,
            leaf: leaf.map_or("", |leaf| &leaf.name),
            backing: backing.as_deref(),
            target: &target,
            speed: self.speed.unwrap_or(0),
        };
        let failed = |error| self.running.failed(&format!("{error}: {}", self.left()));
        let is_there = live::job::find(&mut qmp, &id).map_err(failed)?.is_some();
        let weight = Weight::as_told();
        let mut look = looking(progress, &weight);
        let end = match self.has_switched && !is_there {
            true => Ended::Done,
            false => mirror::run(&mut qmp, &asked, &mut look).map_err(failed)?,
        };
        let graph = Graph::ask(&mut qmp, plan.host(), self.running.pid);
        let graph = graph.map_err(|error| self.running.failed(&error))?;
        let nodes_of = |file: Option<FileId>| -> Vec<BlockNode> {
            let nodes = file.into_iter().flat_map(|file| graph.of_file(file));
            nodes.cloned().collect()
        };
        let targets = nodes_of(to_file);
        let is_written = |node: &BlockNode| node.is_root && !node.read_only;
        let goes = match end {
            Ended::Done if targets.iter().any(is_written) => nodes_of(self.image.file_id()),
            Ended::Done => {
                let why = format!("its disk is not {}", shown(&self.to));
                return Err(self.running.failed(&why));
            }
            Ended::Cancelled | Ended::Failed(_) => targets,
        };
        live::close(&mut qmp, &goes);
        ended(&self.running, end, &self.left())
    }

    /// The node below, which both files are open on.
    fn backing_node(&self, graph: &Graph, leaf: &BlockNode) -> Result<Option<String>, Error> {
        let file = leaf
            .backing
            .as_ref()
            .and_then(|name| graph.node(name))
            .map(|node| node.file);
        let wanted = self.backing.as_ref().map(Node::file_id);
        match file == wanted {
            true => Ok(leaf.backing.clone()),
            false => Err(Error::stale(format!(
                "{} reads other layers below {} than its header names: plan again",
                self.running.name,
                shown(&self.image.path)
            ))),
        }
    }

    fn copy(&self, plan: &Plan, progress: &Progress) -> Result<Vec<Note>, Error> {
        let disk = self.target.as_deref().unwrap_or_default();
        let failed = |error: &dyn std::fmt::Display| self.running.failed(error);
        let mut domain = self.running.domain(plan)?;
        let target = absolute::path(&self.to);
        let is_shallow = self.backing.is_some();
        let begin = |domain: &mut Domain, speed| {
            domain.begin_copy(disk, &target, "qcow2", is_shallow, speed)
        };
        begin_job(
            &self.running,
            &mut domain,
            (disk, DomainJob::Copy),
            self.is_begun,
            self.speed,
            begin,
        )?;
        let shown = (progress, &Weight::as_told());
        match follow_domain(&self.running, &mut domain, disk, shown, &self.left())? {
            DomainEnd::Ready => {}
            DomainEnd::Gone => {
                return Err(failed(&format!(
                    "its copy ended by itself: {}",
                    self.left()
                )));
            }
        }
        domain.pivot(disk).map_err(|error| failed(&error))?;
        require_disk(plan, &self.running, &mut domain, disk, &target)?;
        let mut remarks = Vec::new();
        match domain.redefine_source(disk, &target) {
            Ok(()) => {}
            Err(error) => remarks.push(
                Note::new(
                    NoteKind::Machine,
                    format!(
                        "the definition of {} names the old file still: {error}. Point it to the new one before its \
                         next start",
                        self.running.name
                    ),
                )
                .warning(),
            ),
        }
        Ok(remarks)
    }

    fn trash(&self, plan: &Plan) -> Result<Vec<PathBuf>, Error> {
        let host = plan.host();
        // Somebody may have built on it while it was copied.
        look_again(plan)?;
        if is_open(host, &self.image.path) {
            return Err(Error::in_use(format!(
                "{} has it open still",
                self.running.name
            )));
        }
        let item = TrashItem {
            path: self.image.path.clone(),
            why: format!("moved to {}", name(&self.to)),
            bytes: self.image.size_on_disk().unwrap_or(0),
            step: 0,
            file: None,
        };
        let state_dir = plan.context().state_dir.as_deref();
        let batch = Batch::prepare(host, state_dir, plan.reason("move"), vec![item])?;
        batch.execute(&Progress::new())
    }
}
