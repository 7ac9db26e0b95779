//! Cloning a machine: another one of its own name, UUID and MAC addresses, with disks of its own: overlays on what the
//! disks are now, on which the old machine goes on in an overlay as well, or whole copies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::overlay_name;
use crate::host::{Access, LockSet, io_text, printable};
use crate::image::Format;
use crate::machines::{Disk, Machine, NewMachine, Sharing, cloned, shared};

use crate::ops::framework::definition_change::{Cure, Redefines, digest, is_defined_by_service};
use crate::ops::framework::format::{listed, name};
use crate::ops::framework::locks::Locking;
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::refusal::Reason;
use crate::ops::framework::request::Name;
use crate::ops::framework::{absolute, resumed};
use crate::ops::recover::each;
use crate::ops::{
    CloneImage, CommandLine, EffectKind, Error, Flatten, NoteKind, Outcome, Plan, Progress,
    Reflink, RefusalKind, Request, Undo,
};

use super::branch::written_since;
use super::remove::RemoveMachine;
use super::target;

/// Define another machine that has what a machine that is off has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneMachine {
    /// The machine's name, or its UUID.
    pub machine: String,
    /// The connection, where several have a machine of that name.
    pub connection: Option<String>,
    /// The name of the new one.
    pub new: String,
    /// Whether its disks are whole copies, which share nothing.
    pub full: bool,
    /// The folder for its disks; none for those of the disks themselves.
    pub folder: Option<PathBuf>,
    /// What was found out.
    #[serde(default)]
    pub found: Option<ClonedFiles>,
}

/// The files and the UUID of a clone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClonedFiles {
    /// The UUID.
    id: String,
    disks: Vec<ClonedDisk>,
    /// Its own file with the variables of its firmware.
    nvram: Option<PathBuf>,
    /// Whether that is made when it first starts: the old machine has none yet.
    #[serde(default)]
    nvram_comes_later: bool,
}

/// A disk of both machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ClonedDisk {
    target: String,
    /// What the disk is before.
    leaf: PathBuf,
    /// What the clone has.
    new: PathBuf,
    /// What the old machine has then, where both are built on the leaf.
    own: Option<PathBuf>,
    /// The leaf's format, as the definition says.
    #[serde(default)]
    format: Option<Format>,
}

impl Operation for CloneMachine {
    fn name(&self) -> &'static str {
        "machine"
    }

    fn verb(&self) -> &'static str {
        "Clone"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        let connection = self.connection.iter_mut();
        connection.for_each(|connection| visit(Name::Connection(connection)));
        self.folder
            .iter_mut()
            .for_each(|path| visit(Name::Path(path)));
        let Some(found) = &mut self.found else { return };
        found
            .nvram
            .iter_mut()
            .for_each(|path| visit(Name::Path(path)));
        for disk in &mut found.disks {
            visit(Name::Path(&mut disk.leaf));
            visit(Name::Path(&mut disk.new));
            disk.own.iter_mut().for_each(|path| visit(Name::Path(path)));
        }
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let line = CommandLine::new(&["machine", "clone"])
            .option("--connect", self.connection.as_ref())
            .flag("--full", self.full)
            .option_path("--folder", self.folder.as_ref());
        Some(line.word(&self.machine).word(&self.new))
    }

    fn plan(&self, plan: &mut Plan) {
        let title = format!(
            "Clone the machine {} as {}",
            printable(&self.machine),
            printable(&self.new)
        );
        plan.title.clone_from(&title);
        // A copy takes nobody's place here.
        plan.redefines = Redefines::Nothing;
        let planned = planned(plan, self);
        plan.is_done_by(planned.map(Some));
        plan.title = title;
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Identity)
    }

    fn finish(&self, _half: &Half<'_>) -> Way {
        Way::Ask(self.clone().into())
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        let overlays = self.found.iter().flat_map(|found| &found.disks);
        let overlays = overlays.filter_map(|disk| Some([disk.own.clone()?, disk.new.clone()]));
        let overlays: Vec<PathBuf> = overlays.flatten().collect();
        if let Some(way) = written_since(half, &overlays) {
            return way;
        }
        // The definitions change once all files are there.
        let is_whole = half.there_of(&half.entry.creates).len() == half.entry.creates.len();
        let back = half.planned_way_back().filter(|_| is_whole);
        back.unwrap_or_else(|| half.unmake())
    }
}

fn planned(plan: &mut Plan, asked: &CloneMachine) -> Result<CloneMachineJob, Reason> {
    let context = plan.context().clone();
    let machines = context.forest.machines();
    let machine = target::changeable(machines.list(), &asked.machine, asked.connection.as_deref())?;
    let found = match &asked.found {
        Some(found) => found.clone(),
        None => found_out(plan, machine, asked)?,
    };
    refuse_name(machines.list(), machine, asked, &found.id)?;
    let (called, new_called) = (printable(&machine.name), printable(&asked.new));
    let request: Request = CloneMachine {
        found: Some(found.clone()),
        ..asked.clone()
    }
    .into();
    let made = resumed::made(&context, &request);
    plan.request = request.clone();
    let leaf_of = |path: &Path| {
        let mut disks = found.disks.iter();
        let of_it = disks.find(|disk| disk.new == path || disk.own.as_deref() == Some(path));
        of_it.map(|disk| &disk.leaf)
    };
    let left = |path: &Path| {
        let is_made = made.iter().any(|one| one == path) && plan.host().stat_link(path).is_ok();
        let is_base_same =
            || leaf_of(path).is_none_or(|leaf| resumed::is_as_begun(&context, &request, leaf));
        !(is_made && is_base_same())
    };
    let requests: Vec<Request> = copies(machine, &found)
        .into_iter()
        .filter(|(to, _)| left(to))
        .map(|(_, it)| it)
        .collect();
    let parts: Vec<Plan> = requests.iter().map(|one| plan.part(one)).collect();
    let defines_at = plan.title.clone();
    each(plan, parts);
    plan.title = defines_at;
    let copying = plan.job.take();
    let cures = cures(machine, &found);
    let is_first = cures.len() == found.disks.iter().filter(|disk| disk.own.is_some()).count();
    for disk in found.disks.iter().filter(|disk| disk.own.is_some()) {
        plan.effect(
            EffectKind::Freezes,
            &disk.leaf,
            None,
            format!("both machines are built on it; {called} goes on in an overlay of its own"),
        );
    }
    define(plan, machine, asked, &found)?;
    if plan.refusals.is_empty() {
        plan.redefine_for(cures);
    }
    let back = RemoveMachine {
        machine: asked.new.clone(),
        connection: machine.place.clone(),
        id: found.id.clone(),
        files: files(&found),
        defined_as: None,
    };
    plan.roll_back = Some(back.clone().into());
    plan.undo = match is_first {
        true => Undo::Possible(format!("undefine {new_called}, and discard what was made")),
        false => Undo::Impossible(
            "it was begun before: undefine it, and discard what was made".to_owned(),
        ),
    };
    plan.commands.push(format!(
        "virsh -c {} define {new_called}.xml",
        machine.place
    ));
    Ok(CloneMachineJob {
        called: new_called,
        connection: machine.place.clone(),
        source: machine.id.clone().unwrap_or_default(),
        new: asked.new.clone(),
        copying,
        back: is_first.then_some(back),
        found,
    })
}

/// A name that the clone can have.
fn refuse_name(
    machines: &[Machine],
    machine: &Machine,
    asked: &CloneMachine,
    id: &str,
) -> Result<(), Reason> {
    let called = printable(&asked.new);
    let is_odd =
        asked.new.is_empty() || asked.new.contains(['/', '\n']) || asked.new.starts_with('.');
    if is_odd {
        let text = format!("“{called}” is no name for a machine: it names files as well");
        return Err(Reason::new(RefusalKind::Invalid, text));
    }
    let mut same = machines
        .iter()
        .filter(|it| is_defined_by_service(it) && it.place == machine.place);
    match same.find(|it| it.name == asked.new && it.id.as_deref() != Some(id)) {
        Some(_) => {
            let text = format!("a machine is called {called} already: choose another name");
            Err(Reason::new(RefusalKind::AlreadyExists, text))
        }
        None => Ok(()),
    }
}

/// The files that are to be made.
fn found_out(plan: &Plan, machine: &Machine, asked: &CloneMachine) -> Result<ClonedFiles, Reason> {
    let forest = &plan.context().forest;
    let disks: Vec<&Disk> = target::written(machine).collect();
    let (is_one, mut taken): (bool, Vec<PathBuf>) = (disks.len() == 1, Vec::new());
    let beside = |path: &Path, file: &str| match &asked.folder {
        Some(folder) => absolute::path(&folder.join(file)),
        None => path.with_file_name(file),
    };
    let mut all = Vec::new();
    for disk in disks {
        let image = target::image(forest, machine, disk)?;
        let format = target::format(forest, machine, disk, image)?;
        let is_another = |it: &Machine| !target::is_same(it, machine);
        if let Some(reason) = target::written_by_another(forest.machines(), image, is_another) {
            return Err(reason);
        }
        let leaf = absolute::path(&image.path);
        let target = disk.target.clone();
        let file = match is_one {
            true => format!("{}.qcow2", asked.new),
            false => format!("{}-{target}.qcow2", asked.new),
        };
        let new = beside(&leaf, &file);
        taken.push(new.clone());
        let own =
            (!asked.full).then(|| overlay_name(&leaf, |path| target::is_free(plan, path, &taken)));
        taken.extend(own.clone());
        all.push(ClonedDisk {
            target,
            leaf,
            new,
            own,
            format,
        });
    }
    if all.is_empty() {
        target::disk(machine, None)?;
    }
    let firmware = target::nvram(machine);
    let nvram = firmware.map(|disk| beside(&disk.file.path, &format!("{}_VARS.fd", asked.new)));
    let nvram_comes_later = match firmware.map(|disk| plan.host().stat(&disk.file.path)) {
        None | Some(Ok(_)) => false,
        // One that was never started has none yet: libvirt makes it.
        Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => true,
        Some(Err(error)) => {
            let text = format!(
                "the file with the variables of the firmware of {} cannot be looked at ({}), and the clone needs its own",
                printable(&machine.name),
                io_text(&error)
            );
            return Err(Reason::new(RefusalKind::Unreadable, text));
        }
    };
    Ok(ClonedFiles {
        id: new_id().map_err(|error| {
            Reason::new(
                RefusalKind::Unsupported,
                format!("no UUID can be had: {error}"),
            )
        })?,
        disks: all,
        nvram,
        nvram_comes_later,
    })
}

/// A random UUID, by the system.
pub(super) fn new_id() -> std::io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(text.trim().to_owned())
}

/// What makes each file.
fn copies(machine: &Machine, found: &ClonedFiles) -> Vec<(PathBuf, Request)> {
    let overlay = |base: &Path, new: &Path, format: &Option<Format>| {
        let branch = target::overlay(base.to_path_buf(), new.to_path_buf(), format.clone());
        (new.to_path_buf(), Request::from(branch))
    };
    let file = |image: &Path, new: &Path| {
        let clone = CloneImage {
            image: image.to_path_buf(),
            new: new.to_path_buf(),
            chain: false,
            reflink: Reflink::Auto,
        };
        (new.to_path_buf(), Request::from(clone))
    };
    let mut all = Vec::new();
    for disk in &found.disks {
        match &disk.own {
            Some(own) => all.extend([
                overlay(&disk.leaf, own, &disk.format),
                overlay(&disk.leaf, &disk.new, &disk.format),
            ]),
            None => {
                let flatten = Flatten {
                    image: disk.leaf.clone(),
                    onto: None,
                    new: Some(disk.new.clone()),
                    compress: None,
                };
                all.push((disk.new.clone(), flatten.into()));
            }
        }
    }
    let nvram = found.nvram.as_ref().filter(|_| !found.nvram_comes_later);
    if let (Some(new), Some(old)) = (nvram, target::nvram(machine)) {
        all.push(file(&old.file.path, new));
    }
    all
}

/// The old machine's disks, as far as they are to become others.
fn cures(machine: &Machine, found: &ClonedFiles) -> Vec<Cure> {
    let own = |disk: &Disk| {
        let mut disks = found.disks.iter();
        disks.find(|one| one.target == disk.target)?.own.clone()
    };
    let disks = target::written(machine);
    disks
        .filter_map(|disk| target::leads_to(machine, disk, &own(disk)?))
        .collect()
}

/// Says what the new machine is, and what both would want.
fn define(
    plan: &mut Plan,
    machine: &Machine,
    asked: &CloneMachine,
    found: &ClonedFiles,
) -> Result<(), Reason> {
    let unable = |error: String| {
        let text = format!("{} cannot be cloned: {error}", printable(&machine.name));
        Reason::new(RefusalKind::Machine, text)
    };
    let id = machine.id.as_deref().unwrap_or_default();
    let defined = plan.context().forest.machines().defined(&machine.place, id);
    let defined = defined.map_err(|error| unable(error.to_string()))?;
    definition(&defined.text, &asked.new, found).map_err(|error| unable(error.to_string()))?;
    let both = shared(&defined.text).map_err(|error| unable(error.to_string()))?;
    plan.note(
        NoteKind::Machine,
        format!(
            "{} is defined as {} is, with its own UUID and MAC addresses: what tells machines apart inside the guest \
             (host name, keys of SSH, machine-id) is the same in both",
            printable(&asked.new),
            printable(&machine.name)
        ),
    );
    let of = |how: Sharing| -> Vec<String> {
        let of_kind = both.iter().filter(|it| it.how == how);
        of_kind.map(|it| printable(&it.what)).collect()
    };
    let (wanted, written, left) = (of(Sharing::Wanted), of(Sharing::Written), of(Sharing::Left));
    if !left.is_empty() {
        plan.warn(
            NoteKind::Machine,
            format!(
                "not cloned: {}. What the guest has sealed in it, such as the key of an encrypted disk, does not open in \
                 {}: have a recovery key at hand",
                listed(&left, 5),
                printable(&asked.new)
            ),
        );
    }
    let both: Vec<String> = written.into_iter().chain(wanted).collect();
    if !both.is_empty() {
        plan.warn(
            NoteKind::Machine,
            format!(
                "both machines want {}: only one of them can run at a time",
                listed(&both, 5)
            ),
        );
    }
    Ok(())
}

fn definition(
    text: &str,
    new: &str,
    found: &ClonedFiles,
) -> Result<String, impl std::fmt::Display + use<>> {
    let disks = found.disks.iter();
    let disks: Vec<_> = disks
        .map(|disk| (disk.target.clone(), disk.new.clone(), "qcow2".to_owned()))
        .collect();
    cloned(
        text,
        &NewMachine {
            name: new,
            id: &found.id,
            disks: &disks,
            nvram: found.nvram.as_deref(),
        },
    )
}

/// All files that are made.
fn files(found: &ClonedFiles) -> Vec<PathBuf> {
    let disks = found.disks.iter();
    let disks = disks.flat_map(|disk| std::iter::once(disk.new.clone()).chain(disk.own.clone()));
    disks.chain(found.nvram.clone()).collect()
}

/// What makes the files, has the old machine go on in its own, and defines the new one.
#[derive(Debug)]
struct CloneMachineJob {
    called: String,
    connection: String,
    /// The UUID of the old machine.
    source: String,
    new: String,
    found: ClonedFiles,
    copying: Option<Arc<dyn Job>>,
    /// What takes it back, where all of it is done by this.
    back: Option<RemoveMachine>,
}

impl Job for CloneMachineJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        // Each copy takes its own locks; until the definitions lead to the copies nobody begins to write what those
        // are built on.
        let mut locking = Locking::default();
        for disk in &self.found.disks {
            let _ = locking.take(plan.host(), &disk.leaf, Access::Read, LockSet::ReadOnly)?;
        }
        let locks = locking.settle(plan)?;
        let leaves = self.found.disks.iter().map(|disk| &disk.leaf);
        target::look_again(plan, leaves, |it| {
            it.place != self.connection || it.id.as_ref() != Some(&self.source)
        })?;
        let copied = self
            .copying
            .as_ref()
            .map(|job| job.run(plan, progress))
            .transpose()?;
        plan.redefine_sources()?;
        let failed =
            |error: &dyn std::fmt::Display| Error::failed(format!("{}: {error}", self.called));
        let machines = plan.context().forest.machines();
        let defines = machines.defines().map_err(|error| failed(&error))?;
        let source = defines
            .read(&self.connection, &self.source)
            .map_err(|error| failed(&error))?;
        let text =
            definition(&source.text, &self.new, &self.found).map_err(|error| failed(&error))?;
        let defined = defines.define(&self.connection, &self.found.id, &text);
        let defined = defined.map_err(|error| failed(&error))?;
        drop(locks);
        let back = self.back.clone().map(|back| RemoveMachine {
            defined_as: Some(digest(&defined)),
            ..back
        });
        let files = files(&self.found);
        let disks: Vec<String> = self
            .found
            .disks
            .iter()
            .map(|disk| name(&disk.new))
            .collect();
        Ok(Outcome {
            summary: format!("{} is defined, with {}", self.called, listed(&disks, 5)),
            touched: files,
            undo: back.map(Into::into),
            remarks: copied.map(|copied| copied.remarks).unwrap_or_default(),
        })
    }
}
