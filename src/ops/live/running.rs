//! Who runs the machine that has an image open, and by whom it is told what to do: by its own monitor, or by libvirt
//! where libvirt started it.

use std::path::Path;
use std::sync::Arc;

use crate::forest::Node;
use crate::host::{FileId, Holder, Host, printable};
use crate::image::Format;
use crate::live::{self, BlockNode, Graph, Qmp};
use crate::machines::{Disk, Domain, Machine, MachineState};
use crate::ops::framework::absolute;
use crate::ops::framework::definition_change::is_defined_by_service;
use crate::ops::framework::format::{processes, shown};
use crate::ops::framework::refusal::Reason;
use crate::ops::framework::through::Through;
use crate::ops::{Error, Plan, RefusalKind};

/// A machine that has images open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Running {
    /// The number of its process.
    pub(in crate::ops) pid: u32,
    /// What people call it, printable: `web`, `qemu-storage-daemon (process 12)`.
    pub(in crate::ops) name: String,
    /// Who is asked.
    pub(in crate::ops) by: By,
}

/// By whom a machine is told what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) enum By {
    /// By its own monitor.
    Monitor,
    /// By libvirt, which otherwise would not know of it.
    Libvirt {
        /// The connection: `qemu:///system`.
        connection: String,
        /// The domain's UUID.
        id: String,
    },
}

impl Running {
    /// The one machine that has this image open.
    ///
    /// # Errors
    /// Where nobody has, or more than one, or nobody can be asked.
    pub(in crate::ops) fn with(plan: &Plan, node: &Node) -> Result<Self, Reason> {
        let path = shown(&node.path);
        let context = plan.context();
        let holders = holders_of(context.host.as_ref(), node.file_id());
        // Who reads it without locks is no machine.
        let holders: Vec<Holder> = holders.into_iter().filter(|one| one.locks).collect();
        let [holder] = &holders[..] else {
            let text = match holders.is_empty() {
                true => format!("{path} is open in no machine: do the same without --live"),
                false => format!(
                    "{path} is open in more than one process ({}): each would have to do it",
                    processes(&holders)
                ),
            };
            return Err(Reason::new(RefusalKind::InUse, text));
        };
        if holder.is_unseen() {
            let text = format!(
                "{path} is in use by a process that cannot be seen from here: ask as the user who started it"
            );
            return Err(Reason::new(RefusalKind::InUse, text));
        }
        let pid = holder.pid;
        match domain_of_process(plan, pid).and_then(libvirts) {
            Some((name, by)) => Ok(Self { pid, name, by }),
            None if live::is_libvirts(pid) => Err(Reason::new(
                RefusalKind::Machine,
                format!(
                    "{holder} was started by libvirt, which could not be asked here: only libvirt may do it, so that it \
                     knows of it"
                ),
            )),
            None => match of_another_product(plan, node) {
                Some(machine) => Err(Reason::new(
                    RefusalKind::Machine,
                    format!(
                        "{path} is a disk of {} of {}, whose definition would go on naming it: have {} do it",
                        printable(&machine.name),
                        machine.product,
                        machine.product
                    ),
                )),
                None => Ok(Self {
                    pid,
                    name: holder.machine.as_ref().map_or_else(
                        || format!("{} (process {pid})", holder.command),
                        ToString::to_string,
                    ),
                    by: By::Monitor,
                }),
            },
        }
    }

    /// The same as what a plan counts on; `switches` is the file of the disk that is another one afterwards.
    pub(in crate::ops) fn through(&self, switches: Option<&Path>) -> Through {
        Through {
            pid: self.pid,
            id: match &self.by {
                By::Monitor => None,
                By::Libvirt { id, .. } => Some(id.clone()),
            },
            switches: switches.map(absolute::path),
        }
    }

    /// Whether it writes this image, and does not only read it under another one. A file may be open for writing
    /// although nobody writes it any more: its monitor knows.
    pub(in crate::ops) fn writes(&self, plan: &Plan, node: &Node) -> bool {
        let file = node.file_id();
        if self.by == By::Monitor
            && let (Some(file), Ok((_, graph))) = (file, self.monitor(plan))
        {
            return graph.of_file(file).any(|one| one.is_root && !one.read_only);
        }
        let mut holders = holders_of(plan.host(), file).into_iter();
        holders.any(|holder| holder.pid == self.pid && holder.writes)
    }

    /// The format as which it has the image of a disk open, whatever the bytes look like: the guest of a raw disk can
    /// write a header that names any file. None where its monitor does not tell.
    pub(in crate::ops) fn opened_as(&self, plan: &Plan, node: &Node) -> Option<Format> {
        let name = match &self.by {
            By::Monitor => {
                let (_, graph) = self.monitor(plan).ok()?;
                let mut nodes = graph.of_file(node.file_id()?);
                nodes.find(|one| one.is_root)?.driver.clone()
            }
            By::Libvirt { .. } => {
                let (machine, disk) = machine_disk(plan, self, node).ok()?;
                machine.format_of(disk)?.to_owned()
            }
        };
        Some(Format::from_name(&name))
    }

    /// Begins to speak with its monitor; gives its nodes as well.
    ///
    /// # Errors
    /// [`Error::InUse`] where somebody else speaks with it, [`Error::Failed`] where nobody answers.
    pub(in crate::ops) fn monitor(&self, plan: &Plan) -> Result<(Qmp, Graph), Error> {
        let failed = |why: String| Error::failed(format!("{} cannot be asked: {why}", self.name));
        let mut qmp = live::connect(self.pid).map_err(|error| failed(error.to_string()))?;
        let graph = Graph::ask(&mut qmp, plan.host(), self.pid);
        let graph = graph.map_err(|error| failed(error.to_string()))?;
        Ok((qmp, graph))
    }

    /// The one node that is this image.
    ///
    /// # Errors
    /// [`Error::Stale`] where there is none, or more than one.
    pub(in crate::ops) fn node<'g>(
        &self,
        graph: &'g Graph,
        image: &Node,
    ) -> Result<&'g BlockNode, Error> {
        let file = image.file_id();
        let nodes: Vec<&BlockNode> = file
            .into_iter()
            .flat_map(|file| graph.of_file(file))
            .collect();
        match &nodes[..] {
            [node] => Ok(node),
            [] => Err(Error::stale(format!(
                "{} has {} open no longer: plan again",
                self.name,
                shown(&image.path)
            ))),
            _ => Err(Error::failed(format!(
                "{} has {} open for several disks: which one is meant cannot be told",
                self.name,
                shown(&image.path)
            ))),
        }
    }

    /// Begins to speak with libvirt about it.
    ///
    /// # Errors
    /// [`Error::Failed`] where it cannot be asked.
    pub(in crate::ops) fn domain(&self, plan: &Plan) -> Result<Domain, Error> {
        let By::Libvirt { connection, id } = &self.by else {
            return Err(Error::failed(format!("{} is not libvirt's", self.name)));
        };
        let machines = Arc::clone(plan.context().forest.machines());
        let domain = machines.domain(connection, id);
        domain.map_err(|error| self.failed(&error))
    }

    /// That it did not do what it was asked, in its own words.
    pub(in crate::ops) fn failed(&self, why: &dyn std::fmt::Display) -> Error {
        Error::failed(format!("{} did not do it: {why}", self.name))
    }
}

/// The processes that have a file open.
pub(in crate::ops) fn holders_of(host: &dyn Host, file: Option<FileId>) -> Vec<Holder> {
    let holders = file.and_then(|file| host.holders(&[file]).remove(&file));
    holders.unwrap_or_default()
}

/// The same by a name of the file.
pub(in crate::ops) fn holders_at(host: &dyn Host, path: &Path) -> Vec<Holder> {
    holders_of(host, host.stat(path).ok().map(|stat| stat.id))
}

/// Whether any process has this file open.
pub(in crate::ops) fn is_open(host: &dyn Host, path: &Path) -> bool {
    !holders_at(host, path).is_empty()
}

/// A machine that a product other than libvirt defines, and that runs with this image.
fn of_another_product<'p>(plan: &'p Plan, node: &Node) -> Option<&'p Machine> {
    let uses = plan.context().forest.uses(node);
    let mut machines = uses.into_iter().map(|used| used.machine);
    machines.find(|machine| {
        let is_process = machine.place.starts_with("process ");
        machine.state == MachineState::Running && !is_process && !is_defined_by_service(machine)
    })
}

/// What a job that copies what is seen now would lose of an image for good.
pub(in crate::ops) fn refuse_lost(plan: &mut Plan, node: &Node, loses_bitmaps: bool) {
    let Some(info) = node.info() else { return };
    let path = shown(&node.path);
    if info.snapshots > 0 {
        let text = format!(
            "{path} has internal snapshots, which would show something else, or be left behind: delete or extract them \
             first, with the machine shut down"
        );
        plan.refuse(RefusalKind::WouldLose, text);
    }
    if info.bitmaps > 0 && loses_bitmaps {
        let text = format!(
            "{path} has dirty bitmaps, which would no longer fit what they record: this would break the backups that \
             go by them"
        );
        plan.refuse(RefusalKind::WouldLose, text);
    }
}

/// The domain whose process that is: an image far down a chain is named by no definition.
fn domain_of_process(plan: &Plan, pid: u32) -> Option<&Machine> {
    if !live::is_libvirts(pid) {
        return None;
    }
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let machines = plan.context().forest.machines();
    machines.list().iter().find(|machine| {
        let is_in_line = |id: &String| {
            let words = line.split(|byte| *byte == 0);
            words
                .into_iter()
                .any(|word| word.eq_ignore_ascii_case(id.as_bytes()))
        };
        is_defined_by_service(machine) && machine.id.as_ref().is_some_and(is_in_line)
    })
}

fn libvirts(machine: &Machine) -> Option<(String, By)> {
    let by = By::Libvirt {
        connection: machine.place.clone(),
        id: machine.id.clone()?,
    };
    Some((printable(&machine.name), by))
}

/// The disk of a running domain whose chain has this image.
pub(in crate::ops) fn domain_disk<'p>(
    plan: &'p Plan,
    running: &Running,
    node: &Node,
) -> Result<&'p Disk, Reason> {
    machine_disk(plan, running, node).map(|(_, disk)| disk)
}

fn machine_disk<'p>(
    plan: &'p Plan,
    running: &Running,
    node: &Node,
) -> Result<(&'p Machine, &'p Disk), Reason> {
    let forest = &plan.context().forest;
    let By::Libvirt { id, .. } = &running.by else {
        return Err(Reason::new(RefusalKind::Machine, "no domain of libvirt"));
    };
    let machines = forest.machines().list().iter();
    let mut machines = machines.filter(|machine| machine.id.as_ref() == Some(id));
    let has_it = |disk: &&Disk| {
        let leaf = forest.meant(&disk.file);
        leaf.is_some_and(|leaf| leaf.id == node.id || forest.chain(leaf.id).contains(&node.id))
    };
    let disk = machines.find_map(|machine| Some((machine, machine.disks.iter().find(has_it)?)));
    disk.ok_or_else(|| {
        Reason::new(
            RefusalKind::Machine,
            format!(
                "libvirt does not know {} as part of a disk of {}",
                shown(&node.path),
                running.name
            ),
        )
    })
}

/// The one node on which a guest stands that is this file, and is written.
///
/// # Errors
/// [`Error::Stale`] where there is none, or more than one.
pub(in crate::ops) fn written_node<'g>(
    graph: &'g Graph,
    running: &Running,
    node: &Node,
) -> Result<&'g BlockNode, Error> {
    let file = node.file_id();
    let nodes = file.into_iter().flat_map(|file| graph.of_file(file));
    let written: Vec<&BlockNode> = nodes.filter(|one| !one.read_only && one.is_root).collect();
    match &written[..] {
        [node] => Ok(node),
        [] => Err(Error::stale(format!(
            "{} does not write {} (any more): plan again",
            running.name,
            shown(&node.path)
        ))),
        _ => Err(Error::stale(format!(
            "{} writes {} as several disks: which one is meant cannot be told",
            running.name,
            shown(&node.path)
        ))),
    }
}
