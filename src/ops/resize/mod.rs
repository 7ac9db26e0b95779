//! Resize: the disk of an image becomes longer or shorter. What is new reads as zero; what is cut off
//! is gone, so that nobody may need it: no image built on this one, and no partition of its guest.

pub(super) mod new_size;
mod resumed;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::forest::{Location, Node, NodeId, Reader, Reads};
use crate::guest::{Partition, Partitions};
use crate::host::{Access, Host, LockSet};
use crate::image::{
    self, Chain, ErrorKind, Format, ImageFile, NoProgress, Preallocation, Root, Shrink, State,
    Target,
};
use crate::qcow2::CryptMethod;
use crate::units::{count, size};

pub(super) use super::NewSize;
use super::framework::dependants::dependants_of;
use super::framework::eligibility::{refuse_corrupt, refuse_foreign_data, refuse_unfit};
use super::framework::format::{command, listed, name, shown};
use super::framework::locked_host::LockedHost;
use super::framework::locks::{Locking, Locks, claim, data_file};
use super::framework::nature::{Nature, RestsOn};
use super::framework::operation::Operation;
use super::framework::plan::Job;
use super::framework::preconditions::Compare;
use super::framework::recovery::{Half, Way};
use super::framework::request::Name;
use super::framework::{device, new_file, resolve, space, unlock};
use super::{
    CommandLine, Dependants, EffectKind, Error, NoteKind, Outcome, Phase, Plan, Progress,
    RefusalKind, Request, Undo, WayOut,
};

/// Make the disk of an image longer or shorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    /// The image, qcow2 or raw.
    pub image: PathBuf,
    /// Its new virtual size.
    pub size: NewSize,
    /// Whether it may become shorter: what lies past the new end is lost.
    pub shrink: bool,
    /// What becomes of the space behind the old end.
    pub preallocation: Preallocation,
    /// What becomes of images that read what is cut off.
    pub dependants: Dependants,
}

impl Operation for Resize {
    fn name(&self) -> &'static str {
        "resize"
    }

    fn verb(&self) -> &'static str {
        "Resize"
    }

    fn nature(&self) -> Nature<'_> {
        Nature::Changes
    }

    fn each_name(&mut self, visit: &mut dyn FnMut(Name<'_>)) {
        visit(Name::Path(&mut self.image));
    }

    fn copies(&self) -> Vec<&Path> {
        Vec::new()
    }

    fn command_line(&self) -> Option<CommandLine> {
        let preallocation =
            (self.preallocation != Preallocation::Off).then(|| self.preallocation.name());
        Some(
            CommandLine::new(&["resize"])
                .path(&self.image)
                .plain(self.size)
                .flag("--shrink", self.shrink)
                .option("--preallocation", preallocation)
                .option(
                    "--dependants",
                    (self.dependants == Dependants::Break).then_some("break"),
                ),
        )
    }

    fn plan(&self, plan: &mut Plan) {
        plan_resize(plan, self)
    }

    fn rests_on(&self) -> RestsOn<'_> {
        RestsOn::Image(&self.image, Compare::Content)
    }

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

impl Resize {
    /// The same for a size that is worked out, with consent to more.
    fn but(&self, size: u64, dependants: Dependants) -> Request {
        Request::Resize(Self {
            image: self.image.clone(),
            size: NewSize::To(size),
            shrink: true,
            preallocation: self.preallocation,
            dependants,
        })
    }
}

/// Plans to make the disk longer or shorter.
fn plan_resize(plan: &mut Plan, request: &Resize) {
    let context = plan.context().clone();
    plan.title = format!("Resize {}", name(&request.image));
    let node = match resolve::named(&context, &request.image) {
        Ok(node) => node,
        Err(sentence) => return plan.refuse_for(sentence),
    };
    refuse_unfit(plan, node, "resized");
    refuse_foreign_data(plan, context.forest.chain(node.id));
    let (Some(old), Some(format)) = (node.virtual_size(), node.format()) else {
        if plan.refusals.is_empty() {
            plan.refuse(
                RefusalKind::Unreadable,
                format!(
                    "how large the disk of {} is cannot be seen",
                    shown(&node.path)
                ),
            );
        }
        return;
    };
    if !plan.refusals.is_empty() {
        return;
    }
    if let Err(error) = unlock::unlock_chain(&context, node.id) {
        return plan.refuse_error(&error);
    }
    resumed::refuse_as_resized_in_part(plan, &node.path, request.size);
    if !plan.refusals.is_empty() {
        return;
    }
    let Some(new) = wanted_size(plan, node, old, request.size) else {
        return;
    };
    plan.title = format!(
        "Resize {} from {} to {}",
        name(&node.path),
        size(old),
        size(new)
    );
    if new == old {
        return plan.refuse_as_done(format!(
            "{} is {} large already",
            shown(&node.path),
            size(old)
        ));
    }
    let below: Vec<PathBuf> = context
        .forest
        .chain(node.id)
        .into_iter()
        .skip(1)
        .filter_map(|id| context.forest.get(id))
        .map(|node| node.path.clone())
        .collect();
    let mut files = vec![node.path.clone()];
    if format == Format::Qcow2 {
        files.extend(data_file(context.host.as_ref(), &node.path));
    }
    for file in &files {
        claim(plan, file, LockSet::ReadWrite);
    }
    for file in &below {
        claim(plan, file, LockSet::ReadOnly);
    }
    if !plan.refusals.is_empty() {
        return;
    }
    let job = ResizeJob {
        image: node.path.clone(),
        format,
        below,
        old,
        new,
        preallocation: request.preallocation,
    };
    let is_raw_device = job.format != Format::Qcow2 && device::is_device(node);
    if let Some(stat) = node.stat.as_ref().filter(|_| is_raw_device) {
        let line = if new > old {
            device::extend_line(stat, new - old)
        } else {
            "make the device itself shorter, if nothing past its new end is needed".to_owned()
        };
        return plan.refuse(
            RefusalKind::Unsupported,
            format!(
                "{} is a raw block device, and its disk is as long as the device: {line}",
                shown(&node.path)
            ),
        );
    }
    if new > old {
        plan_growth(plan, node, &job);
    } else {
        plan_shrinking(plan, node, &job, request);
    }
    push_command(plan, &job);
    plan.roll_back = job.back();
    // What is asked again after an interruption means the same then.
    if let Request::Resize(Resize { size, .. }) = &mut plan.request {
        *size = NewSize::To(job.new);
    }
    plan.job = Some(Arc::new(job));
}

/// The new size in bytes.
fn wanted_size(plan: &mut Plan, node: &Node, old: u64, wanted: NewSize) -> Option<u64> {
    let bytes = match wanted {
        NewSize::To(bytes) => Some(bytes),
        NewSize::More(bytes) => old.checked_add(bytes),
        NewSize::Less(bytes) => old.checked_sub(bytes),
    };
    let Some(bytes) = bytes.filter(|bytes| *bytes > 0) else {
        plan.refuse(
            RefusalKind::Invalid,
            match wanted {
                NewSize::More(_) => "that is more than a disk can have".to_owned(),
                NewSize::To(_) => "a disk of no bytes is of no use".to_owned(),
                NewSize::Less(bytes) => format!(
                    "{} is {} large: it cannot become {} shorter",
                    shown(&node.path),
                    size(old),
                    size(bytes)
                ),
            },
        );
        return None;
    };
    let whole = new_file::whole_sectors(plan, bytes);
    plan.refusals.is_empty().then_some(whole)
}

fn plan_growth(plan: &mut Plan, node: &Node, job: &ResizeJob) {
    let (path, context) = (&node.path, plan.context().clone());
    if let Err(error) = job.may_grow(plan) {
        return plan.refuse_error(&error);
    }
    if job.format == Format::Qcow2 {
        refuse_corrupt(plan, path);
    }
    let added = job.new - job.old;
    let reserved = match job.preallocation {
        Preallocation::Off | Preallocation::Metadata => 0,
        Preallocation::Falloc | Preallocation::Full => added,
    };
    let how = match job.preallocation {
        Preallocation::Off => "takes space as the guest writes",
        Preallocation::Metadata => {
            "has its place in the tables, and takes space as the guest writes"
        }
        Preallocation::Falloc => "is reserved in the filesystem",
        Preallocation::Full => "is written as zeros",
    };
    plan.effect(
        EffectKind::Grows,
        path,
        (reserved > 0).then_some(reserved),
        format!(
            "its disk grows by {}, which reads as zero and {how}",
            size(added)
        ),
    );
    if device::is_device(node) {
        need_on_device(plan, node, job);
    } else {
        space::need_at(plan, path, reserved);
    }
    let above = context.forest.descendants(node.id).len();
    if above > 0 {
        plan.keeps.push(format!(
            "what the {} built on {} show{}: they keep their own sizes, and what is new below them reads as zero",
            if above == 1 { "image".to_owned() } else { count(above, "image") },
            name(path),
            if above == 1 { "s" } else { "" },
        ));
    }
    note_bitmaps(plan, node);
    plan.note(
        NoteKind::Guest,
        "partitions and filesystems inside stay as long as they are: grow them in the guest"
            .to_owned(),
    );
    plan.undo = Undo::Possible("shrink it again".to_owned());
}

/// On a device new tables need room that is there now, and what the guest writes later may not find any.
fn need_on_device(plan: &mut Plan, node: &Node, job: &ResizeJob) {
    let (path, host) = (&node.path, Arc::clone(&plan.context().host));
    let file = ImageFile::open(host.as_ref(), path, Access::Read);
    let Ok(header) = file.and_then(|file| image::read_header(&file)) else {
        return;
    };
    let geometry = header.geometry;
    // An L1 table that gets longer is written anew.
    let entries = |size| geometry.l1_entries_for(size);
    let mut needed = 0;
    if entries(job.new) > entries(job.old) {
        let clusters = geometry.clusters_for(entries(job.new).saturating_mul(8));
        needed = clusters.saturating_mul(geometry.cluster_size());
    }
    // What has its place in the tables has it on the device.
    if job.preallocation != Preallocation::Off {
        needed = needed.saturating_add(job.new - job.old);
    }
    space::need_at(plan, path, needed);
    if let Some((free, stat)) = device::free(host.as_ref(), path)
        && job.preallocation == Preallocation::Off
    {
        let used = stat.len.saturating_sub(free);
        if job.new > stat.len {
            plan.warn(NoteKind::Device, format!(
                "the device {} is {} long and {} of it are in use: a guest that writes all of its {} is stopped for \
                 want of room. To be sure, {}",
                shown(path),
                size(stat.len),
                size(used),
                size(job.new),
                device::extend_line(&stat, job.new.saturating_sub(stat.len))
            ));
        }
    }
}

fn plan_shrinking(plan: &mut Plan, node: &Node, job: &ResizeJob, request: &Resize) {
    let path = &node.path;
    let (old, new) = (job.old, job.new);
    if job.preallocation != Preallocation::Off {
        plan.refuse(
            RefusalKind::Invalid,
            "preallocation is for what is new, and this disk becomes shorter".to_owned(),
        );
    }
    if node.location == Location::OutsideScan {
        plan.refuse_for(resolve::dependants_unknown(path));
    }
    let looked = job.open_chain(plan, plan.host()).and_then(|disk| {
        let lost = Lost::at(&disk, new, old)?;
        Ok((lost, Partitions::read(&disk)?))
    });
    let (lost, partitions) = match looked {
        Ok(looked) => looked,
        Err(error) => return plan.refuse_error(&error),
    };
    plan.effect(
        EffectKind::Writes,
        path,
        // Nothing is written, and yet the disk loses what shows through.
        (lost.own > 0 || !lost.is_seen).then_some(lost.own),
        format!(
            "its disk loses its last {}, {}",
            size(old - new),
            match (lost.own, lost.is_seen) {
                (0, false) => "which read as zero".to_owned(),
                (0, true) => "which show what it is built on".to_owned(),
                (own, _) => format!("with {} of data", size(own)),
            }
        ),
    );
    if !request.shrink {
        plan.refuse_but(
            RefusalKind::WouldLose,
            format!(
                "{} would become shorter, and what lies past the new end would be lost",
                shown(path)
            ),
            vec![WayOut {
                label: format!("cut off the last {}", size(old - new)),
                request: request.but(new, request.dependants),
            }],
        );
    }
    judge_partitions(plan, node, &partitions, new);
    if lost.is_seen {
        judge_dependants(plan, node, new, request);
    } else if !node.children.is_empty() {
        plan.keeps.push(format!(
            "what is built on {}: it shows zeros past the new end as before",
            name(path)
        ));
    }
    note_bitmaps(plan, node);
    if node.info().is_some_and(|info| info.snapshots > 0) {
        plan.keeps.push(format!(
            "the internal snapshots of {}, each as long as it was",
            name(path)
        ));
    }
    plan.undo = Undo::Impossible(format!(
        "what lies past the new end of {} is gone",
        name(path)
    ));
    if !plan.refusals.is_empty() {
        return;
    }
    match job.plan_shrink(plan) {
        Ok(Some(shrink)) => {
            space::need_at(plan, path, shrink.written());
            plan.frees = shrink.freed().saturating_sub(shrink.written());
        }
        Ok(None) => plan.frees = lost.own,
        Err(error) => plan.refuse_error(&error),
    }
}

/// What is lost of a disk that is cut off.
struct Lost {
    /// Bytes of data that the image itself holds there.
    own: u64,
    /// Whether anything there reads as something else than zero.
    is_seen: bool,
}

impl Lost {
    fn at(disk: &Chain, new: u64, old: u64) -> image::Result<Self> {
        let mut lost = Self {
            own: 0,
            is_seen: false,
        };
        let mut at = new;
        while at < old {
            let run = disk.resolve(at, old)?;
            if run.extent.state != State::Zero {
                lost.is_seen = true;
                if run.layer == Some(0) {
                    lost.own += run.extent.len;
                }
            }
            at = run.extent.end();
        }
        Ok(lost)
    }
}

/// A partition that is cut in two is a broken filesystem.
fn judge_partitions(plan: &mut Plan, node: &Node, partitions: &Partitions, new: u64) {
    let path = shown(&node.path);
    if let Some(Partition { number, end, .. }) = partitions.last().filter(|one| one.end > new) {
        plan.refuse(RefusalKind::WouldLose, format!(
            "partition {number} on the disk of {path} reaches to {end} bytes, past the new end at {new}: shrink it \
             in the guest first, or make the disk no shorter than {}",
            size(end)
        ));
    }
    match partitions {
        Partitions::None => plan.warn(NoteKind::Guest, format!(
            "there is no partition table on the disk of {path}: whether a filesystem reaches past the new end is \
             not known, so shrink it in the guest first"
        )),
        Partitions::Gpt(_) => plan.warn(NoteKind::Guest,
            "the second copy of the partition table, at the disk's end, is cut off: have the guest write it anew \
             (`sgdisk -e`)"
                .to_owned(),
        ),
        Partitions::Mbr(_) => {}
    }
}

/// Everybody who reads what is cut off.
fn judge_dependants(plan: &mut Plan, node: &Node, new: u64, request: &Resize) {
    let forest = Arc::clone(&plan.context().forest);
    let host = Arc::clone(&plan.context().host);
    let (owners, built): (Vec<Reader>, Vec<Reader>) = dependants_of(&*host, &forest, node)
        .into_iter()
        .partition(|reader| reader.how == Reads::DataFile);
    let mut open: Vec<NodeId> = built.into_iter().map(|reader| reader.node).collect();
    open.dedup();
    let mut names = Vec::new();
    while let Some(child) = open.pop().and_then(|id| forest.get(id)) {
        // What its own internal snapshots read may reach further than it does itself.
        let has_snapshots = child.info().is_some_and(|info| info.snapshots > 0);
        if child.virtual_size().is_some_and(|size| size <= new) && !has_snapshots {
            continue;
        }
        plan.effect(
            EffectKind::Breaks,
            &child.path,
            None,
            format!(
                "reads what is cut off of {}, and would read zeros there",
                name(&node.path)
            ),
        );
        names.push(name(&child.path));
        open.extend(child.children.iter().filter(|id| **id != node.id));
        if names.len() > forest.len() {
            break;
        }
    }
    // Others that keep their data where this image does, or in it.
    for owner in owners.iter().filter_map(|owner| forest.get(owner.node)) {
        let text = format!(
            "keeps its data where {} does, and loses its end",
            name(&node.path)
        );
        plan.effect(EffectKind::Breaks, &owner.path, None, text);
        names.push(name(&owner.path));
    }
    names.sort();
    names.dedup();
    if names.is_empty() || request.dependants == Dependants::Break {
        return;
    }
    let is = if names.len() == 1 { "is" } else { "are" };
    plan.refuse_but(
        RefusalKind::HasDependants,
        format!(
            "{} {is} built on {}, and {} what would be cut off",
            listed(&names, 5),
            name(&node.path),
            if names.len() == 1 { "reads" } else { "read" },
        ),
        vec![WayOut {
            label: format!(
                "break them: {} would show zeros where they show the end of {}",
                count(names.len(), "image"),
                name(&node.path)
            ),
            request: request.but(new, Dependants::Break),
        }],
    );
}

fn note_bitmaps(plan: &mut Plan, node: &Node) {
    if node.info().is_some_and(|info| info.bitmaps > 0) {
        plan.keeps.push(format!(
            "the dirty bitmaps of {}, which become as long as its disk",
            name(&node.path)
        ));
    }
}

fn push_command(plan: &mut Plan, job: &ResizeJob) {
    let mut words: Vec<std::ffi::OsString> = vec![
        "qemu-img".into(),
        "resize".into(),
        "-f".into(),
        job.format.name().into(),
    ];
    if job.new < job.old {
        words.push("--shrink".into());
    }
    if job.preallocation != Preallocation::Off {
        words.push(format!("--preallocation={}", job.preallocation.name()).into());
    }
    words.push(job.image.as_os_str().to_owned());
    words.push(job.new.to_string().into());
    plan.commands.push(command(&words));
}

#[derive(Debug)]
struct ResizeJob {
    image: PathBuf,
    format: Format,
    below: Vec<PathBuf>,
    old: u64,
    new: u64,
    preallocation: Preallocation,
}

impl ResizeJob {
    /// The disk as its guest sees it now. What it is built on was met by the scan.
    fn open_chain(&self, plan: &Plan, host: &dyn Host) -> image::Result<Chain> {
        let context = plan.context();
        // Where its data files may be was judged before.
        let images = std::iter::once(&self.image).chain(&self.below);
        let data: Vec<PathBuf> = images
            .filter_map(|member| data_file(host, member))
            .collect();
        let may_follow = |path: &Path| {
            let found = resolve::named(context, path);
            found.is_ok_and(|node| node.location == Location::Scanned)
                || data.iter().any(|data| data == path)
        };
        let chain = Chain::open(host, &self.image, Some(&self.format), &may_follow)?;
        chain.unlock(&context.keys, &NoProgress)?;
        Ok(chain)
    }

    /// Whether the disk may grow to its new size.
    fn may_grow(&self, plan: &Plan) -> image::Result<()> {
        let path = &self.image;
        if self.format != Format::Qcow2 {
            if self.preallocation == Preallocation::Metadata {
                let text = "is a raw image, which has no tables to give new space a place in";
                return Err(image::Error::new(
                    path,
                    ErrorKind::Unsupported(text.to_owned()),
                ));
            }
            return Ok(());
        }
        let file = ImageFile::open(plan.host(), path, Access::Read)?;
        let header = image::read_header(&file)?;
        image::may_resize(&file, &header)?;
        if self.new > header.geometry.max_virtual_size() {
            let text = format!(
                "cannot be {} large: with its clusters of {} a disk has at most {}",
                size(self.new),
                size(header.geometry.cluster_size()),
                size(header.geometry.max_virtual_size())
            );
            return Err(image::Error::new(path, ErrorKind::Limit(text)));
        }
        if header.crypt != CryptMethod::None && self.preallocation != Preallocation::Off {
            let text = "is encrypted, and zeros set aside in advance would read as noise: grow it without preallocation";
            return Err(image::Error::new(
                path,
                ErrorKind::Unsupported(text.to_owned()),
            ));
        }
        // What it is built on decides where zeros have to be said.
        self.open_chain(plan, plan.host()).map(drop)
    }

    /// What makes a qcow2 image shorter; none for a raw one.
    fn plan_shrink(&self, plan: &Plan) -> image::Result<Option<Shrink>> {
        if self.format != Format::Qcow2 {
            return Ok(None);
        }
        let file = ImageFile::open(plan.host(), &self.image, Access::Read)?;
        Shrink::plan(&file, None, self.new, &NoProgress).map(Some)
    }

    fn failed(&self, error: image::Error) -> Error {
        let path = shown(&self.image);
        if matches!(error.kind, ErrorKind::Cancelled) {
            return Error::cancelled(format!("stopped: the disk of {path} is as large as it was"));
        }
        Error::of_image(
            format!(
                "{error}. The disk of {path} is complete and of its old or its new size; once that is mended, resize \
             it again"
            ),
            error,
        )
    }

    fn grow(&self, plan: &Plan, files: &Files, progress: &Progress) -> image::Result<()> {
        let (host, path) = (LockedHost::new(plan.host(), &files.locks), &self.image);
        let view = self.open_chain(plan, &host)?;
        let root = Root::Active;
        let mut target = Target::open(&host, path, &self.format, view, root, &NoProgress)?;
        if let Target::Qcow2(writer) = &mut target {
            writer.begin_same_content()?;
            writer.prepare_growth(self.new, self.preallocation, progress)?;
            writer.finish()?;
        }
        drop(target);
        progress.enter(Phase::Switch, 0);
        image::set_virtual_size(&files.image, self.new, &NoProgress)
    }
}

/// The files an image consists of, opened and locked.
struct Files {
    image: ImageFile,
    data: Option<ImageFile>,
    locks: Locks,
}

impl ResizeJob {
    /// What takes it back: what was cut off does not come back.
    fn back(&self) -> Option<Request> {
        (self.new > self.old).then(|| {
            Request::Resize(Resize {
                image: self.image.clone(),
                size: NewSize::To(self.old),
                shrink: true,
                preallocation: Preallocation::Off,
                dependants: Dependants::Refuse,
            })
        })
    }
}

impl Job for ResizeJob {
    fn run(&self, plan: &Plan, progress: &Progress) -> Result<Outcome, Error> {
        let host = plan.host();
        let mut touched = vec![self.image.clone()];
        progress.enter(Phase::Collect, 0);
        let mut locking = Locking::default();
        let write = LockSet::ReadWrite;
        let image = locking.take(host, &self.image, Access::ReadWrite, write)?;
        let data = match data_file(host, &self.image).filter(|_| self.format == Format::Qcow2) {
            None => None,
            Some(path) => {
                touched.push(path.clone());
                Some(locking.take(host, &path, Access::ReadWrite, write)?)
            }
        };
        for path in &self.below {
            let _ = locking.take(host, path, Access::Read, LockSet::ReadOnly)?;
        }
        let locks = locking.settle(plan)?;
        let files = Files {
            image: image.file(&locks),
            data: data.map(|file| file.file(&locks)),
            locks,
        };
        progress.enter(Phase::Copy, self.new.saturating_sub(self.old));
        let done = if self.format != Format::Qcow2 {
            image::resize_raw(&files.image, self.new, self.preallocation)
        } else if self.new > self.old {
            self.grow(plan, &files, progress)
        } else {
            let data = files.data.clone();
            Shrink::plan(&files.image, data, self.new, progress)
                .and_then(|shrink| shrink.commit(progress))
        };
        done.map_err(|error| self.failed(error))?;
        Ok(Outcome {
            summary: format!(
                "the disk of {} is {} large now, it was {}",
                shown(&self.image),
                size(self.new),
                size(self.old)
            ),
            touched,
            undo: plan.roll_back.clone(),
            remarks: Vec::new(),
        })
    }
}
