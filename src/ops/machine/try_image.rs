//! Trying an image: a machine runs on an overlay that is thrown away at its end. The image and all below it are only
//! read. The overlay is called like what is half made by this process, so that it is found where that was killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forest::{ScanOptions, news};
use crate::host::{LockSet, printable};
use crate::image::{Format, temporary_name};
use crate::machines::{Domain, Machine, MachineState, NewMachine, Sharing, cloned, shared};

use crate::ops::branch::NewOverlay;
use crate::ops::framework::absolute;
use crate::ops::framework::built_on::BuiltOn;
use crate::ops::framework::definition_change::is_defined_by_service;
use crate::ops::framework::format::{listed, name, shown};
use crate::ops::framework::locks::{Locking, Use, who_uses};
use crate::ops::framework::nature::{Nature, RestsOn};
use crate::ops::framework::operation::Operation;
use crate::ops::framework::plan::Job;
use crate::ops::framework::preconditions::Compare;
use crate::ops::framework::recovery::{Half, Way};
use crate::ops::framework::refusal::{Reason, RefusalKind};
use crate::ops::framework::request::Name;
use crate::ops::framework::resolve;
use crate::ops::live::running::is_open;
use crate::ops::redefine::find_machine;
use crate::ops::{
    CommandLine, Error, NoteKind, Outcome, Phase, Plan, Progress, RemoveLeftovers, Undo,
};

use super::target;

/// What stands for the overlay in a line that starts a machine.
pub const DISK: &str = "{disk}";

/// What starts a machine where nothing else is configured.
pub const TEMPLATE: &[&str] = &[
    "qemu-system-x86_64",
    "-machine",
    "accel=kvm:tcg",
    "-m",
    "1024",
    "-drive",
    "file={disk},format=qcow2,if=virtio",
];

/// How often is looked whether it has ended.
const EACH: Duration = Duration::from_millis(200);

/// Run a machine on an overlay that is thrown away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TryImage {
    /// The image.
    pub image: PathBuf,
    /// The machine of libvirt's whose definition it runs by; none for a program.
    pub like: Option<String>,
    /// The connection, where several have a machine of that name.
    pub connection: Option<String>,
    /// The program and its words, with [`DISK`] where the overlay goes; none for [`TEMPLATE`].
    pub template: Vec<String>,
    /// What the program has as its input and output.
    pub talks: Talks,
}

/// What a program has as its input and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Talks {
    /// Those of this process.
    #[default]
    Here,
    /// None: somebody else draws on the terminal.
    Nowhere,
}

impl Operation for TryImage {
    fn name(&self) -> &'static str {
        "machine"
    }

    fn verb(&self) -> &'static str {
        "Try"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::CreatesFiles
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        let connection = self.connection.iter_mut();
        connection.for_each(|connection| visit(Name::Connection(connection)));
        visit(Name::Path(&mut self.image));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        // A line of one's own is in the configuration.
        self.template.is_empty().then(|| {
            CommandLine::new(&["machine", "try"])
                .option("--connect", self.connection.as_ref())
                .option("--like", self.like.as_ref())
                .path(&self.image)
        })
    }

    fn plan(&self, plan: &mut Plan) {
        let title = format!("Try {}", name(&self.image));
        let planned = planned(plan, self);
        plan.title = title;
        plan.is_done_by(planned.map(Some));
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Touched(Compare::Content)
    }

    fn finish(&self, half: &Half<'_>) -> Way {
        let files = half.there_of(&half.entry.creates);
        match files.is_empty() {
            true => Way::Nothing("its overlay is gone".to_owned()),
            false => Way::Ask(RemoveLeftovers { files }.into()),
        }
    }

    fn can_roll_back(&self) -> bool {
        true
    }

    fn roll_back(&self, half: &Half<'_>) -> Way {
        self.finish(half)
    }
}

/// What runs.
#[derive(Debug)]
enum Runs {
    /// A program with its words.
    Program(Vec<String>),
    /// A domain that is not defined: its text, its connection and its UUID.
    Domain {
        text: String,
        connection: String,
        id: String,
        called: String,
    },
}

fn planned(plan: &mut Plan, asked: &TryImage) -> Result<TryJob, Reason> {
    let context = plan.context().clone();
    let image = absolute::path(&resolve::named(&context, &asked.image)?.path);
    let mut bases = vec![Base {
        target: None,
        image,
        format: None,
    }];
    let mut machine = None;
    if let Some(like) = &asked.like {
        let known = context.forest.machines();
        let found = find_machine(known.list(), like, asked.connection.as_deref())?;
        bases = disks(plan, found, &asked.image)?;
        machine = Some(found);
    }
    let (mut overlays, mut files) = (Vec::new(), Vec::new());
    refuse_written(plan, machine, &bases);
    let images = bases.iter().map(|base| base.image.clone()).collect();
    for base in bases {
        let Base {
            target: disk,
            image,
            format,
        } = base;
        let new = temporary_name(&image.with_file_name(overlay_of(&image, disk.as_deref())));
        let branch = target::overlay(image, new.clone(), format);
        overlays.extend(target::plan_on(plan, &branch));
        files.push((disk, new));
    }
    let runs = match machine {
        Some(machine) => like(plan, machine, &files)?,
        None => {
            let disk = files
                .first()
                .map(|(_, file)| file.as_path())
                .unwrap_or(Path::new(""));
            Runs::Program(filled(&asked.template, disk)?)
        }
    };
    plan.commands.clear();
    if let Runs::Program(words) = &runs {
        let words: Vec<&std::ffi::OsStr> = words.iter().map(std::ffi::OsStr::new).collect();
        plan.commands
            .push(crate::ops::framework::format::command(&words));
    }
    plan.note(
        NoteKind::Manner,
        "what its guest writes is thrown away when it ends; the image is only read",
    );
    plan.undo = Undo::Impossible("nothing of it stays".to_owned());
    Ok(TryJob {
        called: name(&asked.image),
        overlays,
        images,
        like: machine.map(|it| (it.place.clone(), it.id.clone())),
        runs,
        talks: asked.talks,
    })
}

/// What an overlay is built on.
struct Base {
    /// The disk that the overlay is then, by the name that the machine has for it.
    target: Option<String>,
    image: PathBuf,
    /// Its format, as far as anybody says it.
    format: Option<Format>,
}

/// Refuses an image that another machine writes while it is tried. One that is off cannot begin to: the image is
/// locked for reading as long.
fn refuse_written(plan: &mut Plan, like: Option<&Machine>, bases: &[Base]) {
    let forest = Arc::clone(&plan.context().forest);
    let is_another = |it: &Machine| {
        it.state != MachineState::Off && like.is_none_or(|like| !target::is_same(it, like))
    };
    for base in bases.iter().filter_map(|base| forest.by_path(&base.image)) {
        if let Some(reason) = target::written_by_another(forest.machines(), base, is_another) {
            plan.refuse_for(reason);
        }
    }
}

/// The name of an overlay before it is made that of something that goes.
fn overlay_of(base: &Path, target: Option<&str>) -> String {
    let stem = base.file_stem().unwrap_or_default().to_string_lossy();
    match target {
        Some(target) => format!("{stem}-try-{target}"),
        None => format!("{stem}-try"),
    }
}

/// What each disk that the machine writes is built on: the image where that is a layer of it, otherwise what the disk
/// is now.
fn disks(plan: &Plan, machine: &Machine, image: &Path) -> Result<Vec<Base>, Reason> {
    let forest = &plan.context().forest;
    let node = resolve::named(plan.context(), image)?;
    let written: Vec<_> = target::written(machine).collect();
    let mut found = Vec::new();
    let mut is_met = false;
    for disk in &written {
        let leaf = target::image(forest, machine, disk)?;
        let is_it = written.len() == 1 || forest.chain(leaf.id).contains(&node.id);
        is_met |= is_it;
        let base = if is_it { node } else { leaf };
        found.push(Base {
            target: Some(disk.target.clone()),
            image: absolute::path(&base.path),
            format: target::format(forest, machine, disk, base)?,
        });
    }
    if !is_met {
        let text = format!(
            "{} is a layer of no disk of {}: which of them it is to be is not known",
            shown(&node.path),
            printable(&machine.name)
        );
        return Err(Reason::new(RefusalKind::NotInChain, text));
    }
    Ok(found)
}

/// A domain as this machine is, which is gone when it ends.
fn like(
    plan: &mut Plan,
    machine: &Machine,
    files: &[(Option<String>, PathBuf)],
) -> Result<Runs, Reason> {
    let unable = |why: String| {
        let text = format!(
            "no machine can be made as {} is: {why}",
            printable(&machine.name)
        );
        Reason::new(RefusalKind::Machine, text)
    };
    if !is_defined_by_service(machine) {
        return Err(unable(
            "only libvirt's service tells how its machines are defined".to_owned(),
        ));
    }
    if target::nvram(machine).is_some() {
        return Err(unable(
            "the variables of its firmware would be shared: clone it instead".to_owned(),
        ));
    }
    let id = machine.id.as_deref().unwrap_or_default();
    let defined = plan.context().forest.machines().defined(&machine.place, id);
    let defined = defined.map_err(|error| unable(error.to_string()))?;
    let told = shared(&defined.text).map_err(|error| unable(error.to_string()))?;
    let written = told.iter().filter(|it| it.how == Sharing::Written);
    let written: Vec<String> = written.map(|it| printable(&it.what)).collect();
    if !written.is_empty() {
        return Err(unable(format!(
            "its guest could write more than its disks, which is not thrown away: {}. Clone it without that instead",
            listed(&written, 5)
        )));
    }
    let new = super::clone::new_id().map_err(|error| unable(error.to_string()))?;
    let called = format!("{}-try-{}", machine.name, std::process::id());
    let disks: Vec<(String, PathBuf, String)> = files
        .iter()
        .filter_map(|(target, file)| Some((target.clone()?, file.clone(), "qcow2".to_owned())))
        .collect();
    let text = cloned(
        &defined.text,
        &NewMachine {
            name: &called,
            id: &new,
            disks: &disks,
            nvram: None,
        },
    );
    plan.note(
        NoteKind::Machine,
        format!(
            "it is called {} at {}: its display and console are found by that name",
            printable(&called),
            machine.place
        ),
    );
    Ok(Runs::Domain {
        text: text.map_err(|error| unable(error.to_string()))?,
        connection: machine.place.clone(),
        id: new,
        called: printable(&called),
    })
}

/// The words of the line with the disk in its place. In an option a comma of a name is doubled, as QEMU takes it.
fn filled(template: &[String], disk: &Path) -> Result<Vec<String>, Reason> {
    let usual = || TEMPLATE.iter().map(|word| (*word).to_owned()).collect();
    let words: Vec<String> = if template.is_empty() {
        usual()
    } else {
        template.to_vec()
    };
    let Some(disk) = disk.to_str() else {
        let text = format!(
            "{} is no name that a program can be given here",
            shown(disk)
        );
        return Err(Reason::new(RefusalKind::Invalid, text));
    };
    if !words.iter().any(|word| word.contains(DISK)) {
        let text = format!("the line that starts a machine has no place for its disk ({DISK})");
        return Err(Reason::new(RefusalKind::Invalid, text));
    }
    let fill = |word: &String| match word.as_str() == DISK {
        true => disk.to_owned(),
        false => word.replace(DISK, &disk.replace(',', ",,")),
    };
    Ok(words.iter().map(fill).collect())
}

/// What makes the overlays, has the machine run, and takes the overlays away.
#[derive(Debug)]
struct TryJob {
    called: String,
    overlays: Vec<(NewOverlay, BuiltOn)>,
    /// What they are built on.
    images: Vec<PathBuf>,
    /// The connection and the UUID of the machine that it runs by.
    like: Option<(String, Option<String>)>,
    runs: Runs,
    talks: Talks,
}

/// Overlays that go when this does.
struct Thrown<'p> {
    plan: &'p Plan,
    files: Vec<PathBuf>,
}

impl Thrown<'_> {
    /// Whether nobody needs it: nobody uses it, nothing was built on it, and no machine was defined with it.
    fn is_free(&self, file: &Path) -> bool {
        let (host, context) = (self.plan.host(), self.plan.context());
        let is_unused = matches!(who_uses(host, file, LockSet::ReadWrite), Ok(Use::Free))
            && !is_open(host, file);
        let Some(id) = host
            .stat(file)
            .ok()
            .map(|stat| stat.id)
            .filter(|_| is_unused)
        else {
            return false;
        };
        let mut roots = context.looked_in.dirs();
        roots.extend(file.parent().map(Path::to_path_buf));
        let scan = ScanOptions {
            roots,
            follow: false,
            raw: false,
        };
        let came = news(&context.forest, &context.host, &scan);
        if came.iter().any(|it| it.reads().any(|base| base == id)) {
            return false;
        }
        let now = context.forest.machines().again();
        let mut disks = now
            .iter()
            .flat_map(|now| now.list())
            .flat_map(|it| &it.disks);
        !disks.any(|disk| disk.file.path == file || disk.file.file == Some(id))
    }
}

impl Drop for Thrown<'_> {
    fn drop(&mut self) {
        for file in &self.files {
            // One that is in use still, or cannot be removed, is found as what is half made.
            if self.is_free(file) {
                drop(self.plan.host().remove_file(file));
            }
        }
    }
}

impl Job for TryJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        for (_, on) in &self.overlays {
            on.hold(host, &mut locking)?;
        }
        // Held to the end: nobody begins to write what the machine reads.
        let locks = locking.settle(plan)?;
        target::look_again(plan, &self.images, |it| {
            let is_like = self
                .like
                .as_ref()
                .is_some_and(|(place, id)| it.place == *place && it.id == *id);
            it.state != MachineState::Off && !is_like
        })?;
        let mut thrown = Thrown {
            plan,
            files: Vec::new(),
        };
        for (overlay, on) in &self.overlays {
            overlay.create(host, &locks, progress)?;
            thrown.files.push(overlay.new.clone());
            on.look_again(host, std::slice::from_ref(&overlay.new))?;
        }
        let ended = match &self.runs {
            Runs::Program(words) => run_program(words, self.talks, progress),
            Runs::Domain {
                text,
                connection,
                id,
                called,
            } => {
                let domain = plan.context().forest.machines().domain(connection, id);
                let domain = domain.map_err(|error| Error::failed(format!("{called}: {error}")))?;
                run_domain(domain, text, called, progress)
            }
        };
        let files = thrown.files.clone();
        drop(thrown);
        ended?;
        Ok(Outcome {
            summary: format!(
                "{} was tried, and what was written is thrown away",
                self.called
            ),
            touched: files,
            undo: None,
            remarks: Vec::new(),
        })
    }
}

/// Runs a program to its end, or until nobody wants it any more.
fn run_program(words: &[String], talks: Talks, progress: &Progress) -> Result<(), Error> {
    let [program, words @ ..] = words else {
        return Err(Error::failed("the line that starts a machine is empty"));
    };
    let failed = |error: std::io::Error| {
        Error::failed(format!("{} does not run: {error}", printable(program)))
    };
    let mut command = Command::new(program);
    command.args(words);
    if talks == Talks::Nowhere {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
    }
    let mut child = Ended(command.spawn().map_err(failed)?);
    loop {
        if let Some(status) = child.0.try_wait().map_err(failed)? {
            return match status.success() || progress.is_cancelled() {
                true => Ok(()),
                false => Err(Error::failed(format!(
                    "{} ended with {status}",
                    printable(program)
                ))),
            };
        }
        if progress.is_cancelled() {
            return Ok(());
        }
        thread::sleep(EACH);
    }
}

/// A child that has ended when this goes.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Has a domain run that is not defined, to its end or until nobody wants it any more.
fn run_domain(
    mut domain: Domain,
    text: &str,
    called: &str,
    progress: &Progress,
) -> Result<(), Error> {
    let created = domain.create(text);
    created.map_err(|error| Error::failed(format!("{called} does not start: {error}")))?;
    loop {
        // What has ended is not known any more, or was defined by somebody meanwhile.
        match domain.is_known() {
            Ok(true) if domain.state().is_ok_and(|state| state == "shut off") => return Ok(()),
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(Error::failed(format!("{called}: {error}"))),
        }
        if progress.is_cancelled() {
            let ended = domain.destroy();
            return ended.map_err(|error| Error::failed(format!("{called} does not end: {error}")));
        }
        thread::sleep(EACH);
    }
}
