//! Live flatten (QEMU's stream): an image of a machine that runs takes in what layers below it hold. It writes no
//! other file, so that whatever else is built on those layers stays as it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::forest::{Node, NodeId};
use crate::host::FileId;
use crate::image::{Chain, Format};
use crate::live::job::{self, Ended};
use crate::live::{BlockNode, Graph, stream};
use crate::machines::Domain;
use crate::ops::framework::backing_name::{leading_from_all, recorded_style};
use crate::ops::framework::format::{listed, name, shown};
use crate::ops::framework::locks::Locking;
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::refusal::Reason;
use crate::ops::framework::request::Name;
use crate::ops::framework::{resolve, space};
use crate::ops::relink::request::PutBackLink;
use crate::ops::{
    CommandLine, EffectKind, Error, Note, NoteKind, Outcome, Phase, Plan, Progress, RefusalKind,
    Request, Undo,
};
use crate::units::size;

use super::control::Control;
use super::following::{
    DomainEnd, DomainJob, begin_job, ended, follow_domain, job_id, looking, unpin,
};
use super::running::{By, Running, domain_disk, is_open, refuse_lost};
use super::weight::Weight;

/// An image of a machine that runs takes in what layers below it hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveFlatten {
    /// The image, whose guest sees the same meanwhile and afterwards.
    pub image: PathBuf,
    /// What it is built on then, one of the images it is built on now; none for nothing.
    pub onto: Option<PathBuf>,
    /// Bytes per second at most; none for as fast as it goes.
    pub speed: Option<u64>,
    /// Whether it goes on with one that was interrupted, whose job the machine may have still.
    #[serde(default)]
    pub takes_up: bool,
}

impl Operation for LiveFlatten {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn verb(&self) -> &'static str {
        "Flatten"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
        if let Some(path) = &mut self.onto {
            visit(Name::Path(path));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        vec![&self.image]
    }

    fn command_line(&self) -> Option<CommandLine> {
        Some(
            CommandLine::new(&["flatten"])
                .path(&self.image)
                .flag("--in-place", true)
                .flag("--live", true)
                .option_path("--onto", self.onto.as_ref())
                .number("--speed", self.speed),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan.title = format!("Flatten {} while it is in use", name(&self.image));
        let planned = planned(plan, self);
        plan.is_done_by(planned.map(Some));
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let is_running = is_open(half.context.host.as_ref(), &self.image);
        match (is_running, &self.onto) {
            (true, _) => {
                let again = Self {
                    takes_up: true,
                    ..self.clone()
                };
                Way::Ask(again.into())
            }
            (false, Some(onto)) if half.is_built_on(&self.image, onto) => half.as_planned(),
            (false, _) => match half.planned_way_back() {
                Some(Way::Ask(back)) => Way::But(
                    back,
                    Note::new(
                        NoteKind::Interrupted,
                        "the machine ended meanwhile, and what it had taken in may be in no file: built on what it was \
                         built on before, the image shows what it showed",
                    ),
                ),
                _ => half.as_planned(),
            },
        }
    }

    fn can_roll_back(&self) -> bool {
        false
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        half.as_planned()
    }
}

/// What takes the layers in.
fn planned(plan: &mut Plan, request: &LiveFlatten) -> Result<LiveFlattenJob, Reason> {
    let context = plan.context().clone();
    let forest = context.forest.as_ref();
    let node = resolve::named(&context, &request.image)?;
    let running = Running::with(plan, node)?;
    plan.through = Some(running.through(None));
    refuse_lost(plan, node, false);
    let path = shown(&node.path);
    let below: Vec<NodeId> = forest.chain(node.id).into_iter().skip(1).collect();
    let base = match &request.onto {
        Some(onto) => Some(resolve::named(&context, onto)?),
        None => None,
    };
    let goes: Vec<&Node> = match base {
        None => below.iter().filter_map(|id| forest.get(*id)).collect(),
        Some(base) => {
            let Some(at) = below.iter().position(|id| *id == base.id) else {
                let text = format!("{path} is not built on {}", shown(&base.path));
                return Err(Reason::new(RefusalKind::NotInChain, text));
            };
            below
                .iter()
                .take(at)
                .filter_map(|id| forest.get(*id))
                .collect()
        }
    };
    // Its job has ended and is kept for whoever asks; libvirt's ends before what was taken in is in the file.
    if goes.is_empty() && !request.takes_up {
        plan.refuse_as_done(match below.is_empty() {
            true => format!("{path} is built on nothing: there is nothing to flatten"),
            false => format!("{path} is built on that directly: there is no layer between"),
        });
    }
    let target = match &running.by {
        By::Monitor => None,
        By::Libvirt { .. } => {
            let disk = domain_disk(plan, &running, node)?;
            if forest
                .meant(&disk.file)
                .is_none_or(|leaf| leaf.id != node.id)
            {
                let text = format!(
                    "libvirt only has the layer take something in that the guest writes: {} is frozen",
                    shown(&node.path)
                );
                return Err(Reason::new(RefusalKind::Unsupported, text));
            }
            Some(disk.target.clone())
        }
    };
    let recorded = match base {
        None => None,
        Some(base) => {
            let named = leading_from_all(&context, node, &base.path, recorded_style(node));
            Some(named.map_err(|why| Reason::new(RefusalKind::BackingName, why))?)
        }
    };
    let bytes = goes.iter().filter_map(|node| node.size_on_disk()).sum();
    say(plan, &running, node, base, &goes, bytes);
    space::need_at(plan, &node.path, bytes);
    plan.copies = bytes;
    way_back(plan, node);
    Ok(LiveFlattenJob {
        running,
        image: node.clone(),
        base: base.cloned(),
        recorded,
        target,
        is_through: goes.is_empty(),
        goes: goes.iter().map(|layer| layer.path.clone()).collect(),
        takes_up: request.takes_up,
        speed: request.speed,
    })
}

fn say(
    plan: &mut Plan,
    running: &Running,
    node: &Node,
    base: Option<&Node>,
    goes: &[&Node],
    bytes: u64,
) {
    let names: Vec<String> = goes.iter().map(|node| name(&node.path)).collect();
    let on = base.map_or_else(
        || "built on nothing then".to_owned(),
        |base| format!("built on {} then", name(&base.path)),
    );
    let receives = match names.is_empty() {
        true => {
            "has received what it read from the layers between; what is in memory is written down"
                .to_owned()
        }
        false => format!(
            "receives at most {} that it reads from {}; {on}",
            size(bytes),
            listed(&names, 3)
        ),
    };
    plan.effect(EffectKind::Preserves, &node.path, Some(bytes), receives);
    for layer in goes {
        plan.effect(EffectKind::Reads, &layer.path, None, "stays as it is");
    }
    if let By::Libvirt { .. } = running.by {
        plan.warn(
            NoteKind::Machine,
            format!(
                "do not kill {} before this is through: it is stopped for an instant at the end, so that QEMU writes \
                 down what it has taken in",
                running.name
            ),
        );
    }
}

/// Built on what it is built on now, the image shows what it shows, whatever it has taken in.
fn way_back(plan: &mut Plan, node: &Node) {
    if let Some(backing) = &node.backing {
        plan.roll_back = Some(Request::PutBackLink(PutBackLink {
            image: node.path.clone(),
            recorded: backing.name().to_os_string(),
            format: backing.format().cloned(),
        }));
    }
    plan.undo = Undo::Impossible(format!(
        "{} holds it then; as long as the layers below stay as they are, relink builds it on them again",
        name(&node.path)
    ));
}

/// What has the machine do it.
#[derive(Debug)]
struct LiveFlattenJob {
    running: Running,
    image: Node,
    base: Option<Node>,
    /// The name of the base, as it is to be recorded.
    recorded: Option<OsString>,
    /// The disk, by libvirt's name for it.
    target: Option<String>,
    /// Whether the image is built on the base already.
    is_through: bool,
    /// The layers that it takes in, the uppermost first.
    goes: Vec<PathBuf>,
    takes_up: bool,
    speed: Option<u64>,
}

impl Job for LiveFlattenJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let _control = Control::open(plan, progress);
        progress.enter(Phase::Collect, 0);
        let _locks = Locking::default().settle(plan)?;
        progress.enter(Phase::Copy, plan.copies);
        let remarks = match &self.running.by {
            By::Monitor => self.stream(plan, progress).map(|()| Vec::new())?,
            By::Libvirt { .. } => self.pull(plan, progress)?,
        };
        let path = shown(&self.image.path);
        Ok(Outcome {
            summary: match &self.base {
                Some(base) => format!("{path} is built on {} now", shown(&base.path)),
                None => format!("{path} is built on nothing now"),
            },
            touched: vec![self.image.path.clone()],
            undo: None,
            remarks,
        })
    }
}

impl LiveFlattenJob {
    fn left(&self) -> String {
        format!(
            "{} shows what it showed, and keeps what it has taken in so far; ask again to go on",
            shown(&self.image.path)
        )
    }

    fn weight(&self, plan: &Plan) -> Weight {
        let Some(first) = self.goes.first() else {
            return Weight::as_told();
        };
        let format = self.image.backing_format();
        Weight::of_layers(plan.host(), first, format, self.goes.len())
    }

    fn stream(&self, plan: &Plan, progress: &Progress) -> Result<(), Error> {
        let (mut qmp, graph) = self.running.monitor(plan)?;
        let image = self.running.node(&graph, &self.image)?;
        let chain = graph.chain(&image.name);
        let base = match &self.base {
            None => None,
            Some(base) => {
                let is_it = |node: &&&BlockNode| node.file == base.file_id();
                let node = chain.iter().find(is_it).ok_or_else(|| {
                    Error::stale(format!(
                        "{} does not read {} below {}: plan again",
                        self.running.name,
                        shown(&base.path),
                        shown(&self.image.path)
                    ))
                })?;
                Some(node.name.as_str())
            }
        };
        let base_file = self.base.as_ref().and_then(Node::file_id);
        let id = job_id("stream", self.image.file_id(), base_file);
        let asked = stream::Stream {
            id: &id,
            node: &image.name,
            base,
            backing_file: self.recorded.as_deref(),
            speed: self.speed.unwrap_or(0),
        };
        let weight = self.weight(plan);
        let mut look = looking(progress, &weight);
        let failed = |error: &dyn std::fmt::Display| {
            self.running.failed(&format!("{error}: {}", self.left()))
        };
        let is_there = job::find(&mut qmp, &id).map_err(|error| failed(&error))?;
        let end = match self.is_through && is_there.is_none() {
            true => Ended::Done,
            false => stream::run(&mut qmp, self.running.pid, &asked, &mut look)
                .map_err(|error| failed(&error))?,
        };
        ended(&self.running, end, &self.left())?;
        let graph = Graph::ask(&mut qmp, plan.host(), self.running.pid);
        let graph = graph.map_err(|error| self.running.failed(&error))?;
        let image = self.running.node(&graph, &self.image)?;
        let below = image
            .backing
            .as_ref()
            .map(|name| graph.node(name).and_then(|node| node.file));
        self.require_base(below)
    }

    fn pull(&self, plan: &Plan, progress: &Progress) -> Result<Vec<Note>, Error> {
        let disk = self.target.as_deref().unwrap_or_default();
        let mut domain = self.running.domain(plan)?;
        let failed = |error: &dyn std::fmt::Display| self.running.failed(error);
        if !self.is_through {
            let base = self.base.as_ref().map(|base| base.path.as_path());
            let begin = |domain: &mut Domain, speed| domain.begin_pull(disk, base, speed);
            begin_job(
                &self.running,
                &mut domain,
                (disk, DomainJob::Pull),
                self.takes_up,
                self.speed,
                begin,
            )?;
            let shown = (progress, &self.weight(plan));
            let end = follow_domain(&self.running, &mut domain, disk, shown, &self.left())?;
            if end == DomainEnd::Ready {
                domain.wait_for_end(disk).map_err(|error| failed(&error))?;
            }
        }
        // QEMU names the new base before what it has taken in is in the file: it writes that down when it stops.
        domain.flush().map_err(|error| failed(&error))?;
        self.require_base(self.recorded_base(plan)?)?;
        Ok(unpin(&self.running, &mut domain, disk)
            .into_iter()
            .collect())
    }

    /// What the header names as what the image is built on.
    fn recorded_base(&self, plan: &Plan) -> Result<Option<Option<FileId>>, Error> {
        let host = plan.host();
        let chain = Chain::open(host, &self.image.path, Some(&Format::Qcow2), &|_| true);
        let chain = chain.map_err(|error| Error::of_image(error.to_string(), error))?;
        let file = |path: &Path| host.stat(path).ok().map(|stat| stat.id);
        Ok(chain.layers().get(1).map(|below| file(below.path())))
    }

    /// A job that is gone may have failed, and one that was taken up may have been another: what the image is built on
    /// now tells.
    fn require_base(&self, below: Option<Option<FileId>>) -> Result<(), Error> {
        match below == self.base.as_ref().map(Node::file_id) {
            true => Ok(()),
            false => Err(self.running.failed(&format!(
                "the image is not built on what it was to be built on: {}",
                self.left()
            ))),
        }
    }
}
