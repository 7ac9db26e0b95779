//! Reverting a machine to a layer that it had before: all its disks as one set, each a new overlay on the layer of that
//! time. What the machine shows now is kept, as a branch of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Forest, Node, NodeId};
use crate::host::printable;
use crate::machines::{Disk, Machine};

use crate::ops::framework::format::{listed, name, shown};
use crate::ops::framework::journal::{Journal, Standing};
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::refusal::{Reason, WayOut};
use crate::ops::framework::request::Name;
use crate::ops::framework::resolve;
use crate::ops::{CommandLine, Plan, RefusalKind, Request};

use super::branch::{BranchMachine, DiskBranch, plan_branch};
use super::target;

/// Have all disks of a machine that is off go on from layers they had before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertMachine {
    /// The machine's name, or its UUID.
    pub machine: String,
    /// The connection, where several have a machine of that name.
    pub connection: Option<String>,
    /// The layer that a disk of it goes on from.
    pub to: PathBuf,
    /// What becomes of disks of which that layer does not tell.
    pub disks: Vec<DiskRevert>,
    /// Whether it is started then.
    pub start: bool,
}

/// What becomes of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRevert {
    /// The disk, by the name that the machine has for it.
    pub disk: String,
    /// The layer that it goes on from; none if it stays as it is.
    pub to: Option<PathBuf>,
}

impl Operation for RevertMachine {
    fn name(&self) -> &'static str {
        "machine"
    }

    fn verb(&self) -> &'static str {
        "Revert"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        let connection = self.connection.iter_mut();
        connection.for_each(|connection| visit(Name::Connection(connection)));
        visit(Name::Path(&mut self.to));
        for path in self.disks.iter_mut().filter_map(|disk| disk.to.as_mut()) {
            visit(Name::Path(path));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line =
            CommandLine::new(&["machine", "revert"]).option("--connect", self.connection.as_ref());
        let disks = self.disks.iter();
        let line = disks.fold(line, |line, disk| match &disk.to {
            Some(to) => {
                let mut value = std::ffi::OsString::from(format!("{}=", disk.disk));
                value.push(to);
                line.option("--disk", Some(value))
            }
            None => line.option("--keep", Some(&disk.disk)),
        });
        let line = line.option_path("--to", Some(&self.to));
        Some(line.flag("--start", self.start).word(&self.machine))
    }

    fn plan(&self, plan: &mut Plan) {
        let title = format!(
            "Revert the machine {} to {}",
            printable(&self.machine),
            name(&self.to)
        );
        plan.title.clone_from(&title);
        match branches(plan, self) {
            Ok(branch) => plan_branch(plan, &branch),
            Err(reason) => plan.refuse_for(reason),
        }
        plan.title = title;
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    // What is begun is the branch that was found out.
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

/// The overlays that it comes to.
fn branches(plan: &Plan, asked: &RevertMachine) -> Result<BranchMachine, Reason> {
    let forest = Arc::clone(&plan.context().forest);
    let machines = forest.machines();
    let machine = target::changeable(machines.list(), &asked.machine, asked.connection.as_deref())?;
    for one in &asked.disks {
        target::disk(machine, Some(&one.disk))?;
    }
    let to = resolve::named(plan.context(), &asked.to)?;
    if !has_layer(plan, asked, machine, to) {
        let text = format!(
            "no disk of {} is built on {}",
            printable(&machine.name),
            shown(&to.path)
        );
        return Err(Reason::new(RefusalKind::NotInChain, text));
    }
    let set = frozen_with(plan, &forest, machine, to);
    let (mut disks, mut unknown) = (Vec::new(), Vec::new());
    for disk in target::written(machine) {
        match layer(plan, asked, &set, machine, disk, to)? {
            Layer::Of(on) => disks.push(DiskBranch {
                disk: Some(disk.target.clone()),
                on: Some(on),
                new: None,
            }),
            Layer::Stays => {}
            Layer::Unknown => unknown.push(disk),
        }
    }
    if let Some(reason) = unsaid(asked, machine, &unknown) {
        return Err(reason);
    }
    if disks.is_empty() {
        let text = format!(
            "every disk of {} is to stay as it is: nothing is left to go back to {}",
            printable(&machine.name),
            shown(&asked.to)
        );
        return Err(Reason::new(RefusalKind::Invalid, text));
    }
    Ok(BranchMachine {
        machine: asked.machine.clone(),
        connection: asked.connection.clone(),
        disks,
        start: asked.start,
    })
}

/// Whether a disk shows that layer, or is to.
fn has_layer(plan: &Plan, asked: &RevertMachine, machine: &Machine, to: &Node) -> bool {
    let forest = &plan.context().forest;
    let is_named = |one: &DiskRevert| one.to.as_ref() == Some(&asked.to);
    let shows = |disk: &Disk| {
        let leaf = forest.meant(&disk.file);
        leaf.is_some_and(|leaf| forest.chain(leaf.id).contains(&to.id))
    };
    asked.disks.iter().any(is_named) || target::written(machine).any(shows)
}

/// What a disk goes on from.
enum Layer {
    Of(PathBuf),
    Stays,
    Unknown,
}

fn layer(
    plan: &Plan,
    asked: &RevertMachine,
    set: &BTreeSet<NodeId>,
    machine: &Machine,
    disk: &Disk,
    to: &Node,
) -> Result<Layer, Reason> {
    let forest = &plan.context().forest;
    if let Some(said) = asked.disks.iter().find(|one| one.disk == disk.target) {
        return Ok(match &said.to {
            Some(on) => Layer::Of(resolve::named(plan.context(), on)?.path.clone()),
            None => Layer::Stays,
        });
    }
    let leaf = target::image(forest, machine, disk)?;
    if leaf.id == to.id {
        let text = format!(
            "{} is what the disk {} of {} is now: there is nothing to go back to",
            shown(&to.path),
            printable(&disk.target),
            printable(&machine.name)
        );
        let branch = BranchMachine {
            machine: asked.machine.clone(),
            connection: asked.connection.clone(),
            disks: Vec::new(),
            start: asked.start,
        };
        let way = WayOut {
            label: "branch it instead".to_owned(),
            request: branch.into(),
        };
        return Err(Reason::new(RefusalKind::Invalid, text).but(vec![way]));
    }
    let chain = forest.chain(leaf.id);
    let below = chain.get(1..).unwrap_or_default();
    if below.contains(&to.id) {
        return Ok(Layer::Of(to.path.clone()));
    }
    let mut of_set = below
        .iter()
        .filter(|id| set.contains(id))
        .filter_map(|id| forest.get(*id));
    Ok(match (of_set.next(), of_set.next()) {
        (Some(one), None) => Layer::Of(one.path.clone()),
        _ => Layer::Unknown,
    })
}

/// The layers that were frozen at the same instant as this one: by a snapshot of libvirt's, or by us.
fn frozen_with(plan: &Plan, forest: &Forest, machine: &Machine, to: &Node) -> BTreeSet<NodeId> {
    let mut sets: Vec<BTreeSet<NodeId>> = Vec::new();
    for snapshot in &machine.snapshots {
        let needs = snapshot
            .needs
            .iter()
            .filter_map(|named| forest.meant(named));
        sets.push(needs.map(|node| node.id).collect());
    }
    let journal = plan.context().state_dir.as_deref().map(Journal::at);
    let entries = journal
        .and_then(|journal| journal.entries().ok())
        .unwrap_or_default();
    let done = entries
        .iter()
        .filter(|entry| matches!(entry.standing, Standing::Done(_)));
    for entry in done {
        let frozen: Vec<&PathBuf> = match entry.request.itself() {
            Request::LiveBranch(it) => it.disks.iter().map(|disk| &disk.leaf).collect(),
            Request::BranchMachine(it) => it
                .disks
                .iter()
                .filter_map(|disk| disk.on.as_ref())
                .collect(),
            _ => continue,
        };
        let nodes = frozen.into_iter().filter_map(|path| forest.by_path(path));
        sets.push(nodes.map(|node| node.id).collect());
    }
    sets.retain(|set| set.contains(&to.id));
    sets.into_iter().flatten().collect()
}

/// That it is not known what some disks were at that time.
fn unsaid(asked: &RevertMachine, machine: &Machine, unknown: &[&Disk]) -> Option<Reason> {
    unknown.first()?;
    let names: Vec<String> = unknown.iter().map(|disk| printable(&disk.target)).collect();
    let text = format!(
        "what {} of {} {} when {} was frozen is not known: name the layer of each, or have it stay as it is",
        listed(&names, 9),
        printable(&machine.name),
        if names.len() == 1 { "was" } else { "were" },
        shown(&asked.to),
    );
    let mut disks = asked.disks.clone();
    disks.extend(unknown.iter().map(|disk| DiskRevert {
        disk: disk.target.clone(),
        to: None,
    }));
    let keeping = RevertMachine {
        disks,
        ..asked.clone()
    };
    let way = WayOut {
        label: format!(
            "have {} stay as {} now",
            listed(&names, 9),
            if names.len() == 1 {
                "it is"
            } else {
                "they are"
            }
        ),
        request: keeping.into(),
    };
    Some(Reason::new(RefusalKind::Invalid, text).but(vec![way]))
}
